"""The kind of text that a detector was fitted on, and whether another text is of that kind.

    population = Population.of(texts)            # the texts that it was fitted on
    population.says_no(["def f(n): ..."])        # ["the text does not end in ...: ..."], or [None]

1. Three questions of a text's form: does it end in the prompt's marker, does it hold the marker, does it hold a
   definition? What all fitted texts answered alike, a text has to answer so too; where they differ it may do as it
   likes. They are asked before a model reads anything: a text that says no is never scored.
2. Prompts end in the marker; programs do not, and hold a definition. What is read of phase 1 is the prompt, or the
   prompt with the program that was written for it; somebody's own texts may be neither (`texts`).
3. The last token is what is read: a program's last line is given its newline, if it lacks one.

In a chat the request stands in the marker's place, and what the template puts behind it may follow.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from common.handoffs.detector import PROGRAMS, PROMPTS, TEXTS, FittedPopulation
from common.problems.prompt import CHAT_REQUEST, SOLUTION_MARKER

DESCRIBED = {
    PROMPTS: "prompts, before the program is written",
    PROGRAMS: "programs that are written",
    TEXTS: "texts of a file",
}
_MARKERS = {"plain": f"{SOLUTION_MARKER}\n", "chat": CHAT_REQUEST}
_DEFINITION = re.compile(r"^[ \t\f]*(?:(?:async[ \t]+)?def[ \t]+\w+[ \t]*\(|class[ \t]+\w+[ \t]*[(:])", re.MULTILINE)
_SAYS = {  # question: what a text is told that answers no, and one that answers yes
    "ends_in_marker": ("does not end in {marker}", "ends in {marker}"),
    "holds_marker": ("holds no {marker}", "holds {marker}"),
    "holds_definition": ("holds no definition", "holds a definition"),
}


@dataclass(frozen=True, kw_only=True)
class Population(FittedPopulation):
    """What the artifact holds, and what other texts are asked by it."""

    @classmethod
    def of(cls, texts: Sequence[str], prompt: str = "plain", read: str = "", prompts: Sequence[str] = ()) -> Self:
        """What these texts have in common, and what they are where it is not told.

        `prompt` is the form of prompts, plain or chat, and `prompts` are those that the texts begin with, if any.
        """
        marker = _MARKERS[prompt]
        tail = _tail(prompts or texts, marker) if prompt == "chat" else ""
        answers = [_answers(text, marker, tail) for text in texts]
        counts = {question: sum(answer[question] for answer in answers) for question in _SAYS}
        return cls(read=read or _kind(counts, len(texts)), marker=marker, tail=tail, n=len(texts), **counts)

    def says_no(self, texts: Sequence[str]) -> list[str | None]:
        """For each text why it is of another population; None for one that is of this one."""
        return [self._why_not(text) for text in texts]

    def _why_not(self, text: str) -> str | None:
        for question, answer in _answers(text, self.marker, self.tail).items():
            if getattr(self, question) == (0 if answer else self.n):
                told = _SAYS[question][answer].format(marker=repr(self.marker))
                return f"the text {told}: this detector was fitted on {self._described}"
        return None

    def words(self) -> str:
        """What it is, and what a text of it looks like, for a reader."""
        asked = {question: getattr(self, question) for question in _SAYS}
        if self.ends_in_marker == self.n:  # says what the marker holds, and what it ends in
            asked = {question: asked[question] for question in ("ends_in_marker", "holds_definition")}
        settled = [_SAYS[question][count == self.n] for question, count in asked.items() if count in (0, self.n)]
        form = " and ".join(settled).format(marker=repr(self.marker))
        return f"{self._described} (a text {form})" if settled else self._described

    @property
    def _described(self) -> str:
        behind = self.read == PROGRAMS and self.holds_marker == self.n
        return "programs, each behind its prompt" if behind else DESCRIBED[self.read]

    def as_read(self, texts: Sequence[str]) -> list[str]:
        """What a model reads of texts of this population."""
        return ended(texts) if self.read == PROGRAMS else list(texts)

    def program_in(self, text: str) -> str:
        """What stands behind the prompt's marker; the text as it is where nothing does."""
        return text.rpartition(self.marker)[2].removeprefix(self.tail) or text

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Self:
        return cls(**entry)


def ended(texts: Sequence[str]) -> list[str]:
    """The texts, each with a newline at its end."""
    return [text if text.endswith("\n") else f"{text}\n" for text in texts]


def _answers(text: str, marker: str, tail: str) -> dict[str, bool]:
    body = text.removesuffix(tail) if tail else text
    return {
        "ends_in_marker": body.endswith(marker),
        "holds_marker": marker in body,
        "holds_definition": _DEFINITION.search(text) is not None,
    }


def _kind(counts: dict[str, int], n: int) -> str:
    if counts["ends_in_marker"] == n:
        return PROMPTS
    return PROGRAMS if counts["ends_in_marker"] == 0 and counts["holds_definition"] == n else TEXTS


def _tail(texts: Sequence[str], marker: str) -> str:
    """What a chat template puts behind the request, where these are whole prompts: the same for all of them."""
    tails = {text.rpartition(marker)[2] for text in texts if marker in text}
    return tails.pop() if len(tails) == 1 else ""
