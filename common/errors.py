"""Errors that a user can mend. run.py prints them without a traceback and exits with status 2.

Every message answers three questions in this order: what is wrong, with the offending
value; where (path, phase or field); and, on a new line, what to type. Anything else that escapes is a
bug, keeps its traceback and exits with status 1.
"""

import difflib
from pathlib import Path


class PipelineError(Exception):
    """The pipeline cannot go on, and the user can act on it."""


class ConfigError(PipelineError):
    """A setting has an unknown name or an impossible value, or an input file a bad field."""


class MissingArtifactError(PipelineError):
    """An input artifact was never built, or its build did not finish."""


class ArtifactMismatchError(PipelineError):
    """An artifact exists, but was built by other code, settings or inputs, or was damaged since."""


class DamagedRunError(ArtifactMismatchError):
    """A run folder at `path` cannot be used, whatever is asked of it."""

    def __init__(self, message: str, path: Path):
        super().__init__(message)
        self.path = path


class AssetError(PipelineError):
    """A model, SAE or dataset cannot be had: not on this disk, and not reachable."""


class UnknownHookError(PipelineError):
    """A site's name matches no activation of the loaded model."""


class SandboxError(PipelineError):
    """The sandbox cannot be set up as asked, or broke while it ran."""


def suggestion(name: str, known: list[str]) -> str:
    """' Did you mean X?' for a near miss, whatever its capitals, else nothing."""
    spelt = {word.lower(): word for word in known}
    close = difflib.get_close_matches(name.lower(), spelt, n=1)
    return f" Did you mean {spelt[close[0]]}?" if close else ""
