"""One thing that the doctor looked at."""

from dataclasses import dataclass

GOOD, WORTH_KNOWING, BAD = "good", "note", "bad"
WIDTH = 9  # of the longest of what is looked at


@dataclass(frozen=True)
class Finding:
    """`state` is GOOD, WORTH_KNOWING or BAD: numbers made here cannot be trusted; `advice` says what to do or type."""

    what: str
    state: str
    words: str
    advice: str = ""

    def __str__(self) -> str:
        mark = {GOOD: "ok", WORTH_KNOWING: "note", BAD: "BAD"}[self.state]
        return f"{mark:<5}{self.what:<{WIDTH + 1}}{self.words}{'. ' * bool(self.advice)}{self.advice}"
