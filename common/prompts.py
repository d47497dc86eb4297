"""The one prompt every phase uses: description, asserts, and the marker after which the model writes."""

from collections.abc import Sequence
from dataclasses import dataclass

SOLUTION_MARKER = "# Solution:"


@dataclass(frozen=True)
class Prompt:
    """A prompt and where its sections end, in characters of `text` (exclusive ends)."""

    text: str
    description_end: int
    tests_end: int


def build_prompt(description: str, tests: Sequence[str]) -> Prompt:
    """The prompt of one problem: description, blank line, one assert per line, blank line, marker.

    The text ends with a newline, so the last prompt token is that newline and the model's
    first token starts the program. `tests` are complete statements ("assert f(1) == 2"):
    prefixing them with another `assert` was one of the mistakes of earlier work.
    An empty description, or no tests (the prompts of phase 3.7), leaves out its blank line too.
    """
    description = description.strip()
    asserts = "\n".join(test.strip() for test in tests)
    body = "\n\n".join(section for section in (description, asserts) if section)
    return Prompt(f"{body}\n\n{SOLUTION_MARKER}\n", len(description), len(body))
