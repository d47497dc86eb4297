"""The sandbox of a phase, as its settings want it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from common.programs.settings import SandboxConfig
from common.sandbox import Sandbox


@contextmanager
def sandbox_of(config: SandboxConfig, log: logging.Logger) -> Iterator[Sandbox]:
    """The sandbox while the block is open; the log says what it keeps out. Raises: SandboxError."""
    with Sandbox(isolation=config.sandbox, workers=config.sandbox_workers) as sandbox:
        log.info("%s", sandbox.line)
        if sandbox.describe()["level"] == 0:
            log.warning("programs run unconfined: they can read and write this user's files")
        yield sandbox
