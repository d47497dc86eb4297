"""The words that settings of phase 4.1 and of its Python API may have, and what a threshold has to reach."""

import math
from dataclasses import dataclass
from typing import Self

from common.errors import ConfigError

METHODS = ("auto", "platt", "isotonic")  # of calibration
RULES = ("probe", "ace")  # of latents and weights
KINDS = ("recall", "precision", "flag_rate")  # of targets
TEXT_KEYS = ("text", "prompt", "code")  # names of a text in a line of JSON
PROMPT_AND_CODE = ["prompt", "code"]  # one text: a program behind its prompt
LEVELS = ("none", "low", "medium", "high", "critical")


@dataclass(frozen=True)
class Target:
    """What a threshold has to reach: a `kind` of KINDS, and how much of it."""

    kind: str
    wanted: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """'recall=0.8', 'precision=0.9' or 'flag_rate=0.1'. Raises: ConfigError."""
        kind, _, value = text.strip().partition("=")
        try:
            wanted = float(value)
        except ValueError:
            wanted = math.nan
        if kind not in KINDS or not 0 < wanted <= 1:
            raise ConfigError(
                f"the target is '{text}'\nGive recall=R, precision=P or flag_rate=R, with a number above 0 and at "
                f"most 1, as in recall=0.8"
            )
        return cls(kind, wanted)

    def __str__(self) -> str:
        return f"{self.kind}={self.wanted:g}"
