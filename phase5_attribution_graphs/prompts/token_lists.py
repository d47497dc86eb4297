"""The one list of tokens that all of phase 5 gives the model for a prompt.

1. In front stands what the tokenizer puts there: BOS, once.
2. Where it puts nothing there, a token is added as an attention sink: its BOS where it has one that it does not use,
   else its pad token. The first token takes about half of all attention, whatever it is, and in a graph it is a
   constant, which no word of the prompt should be.
3. The prompt follows, then the tokens that both answers begin with, so that what comes next tells them apart.
"""

from dataclasses import dataclass
from typing import Any

from common.handoffs.circuit_prompts import Token
from common.model.answers import front_of, n_shared
from common.model.tokenization import ids_and_spans
from phase5_attribution_graphs.prompts.candidates import Candidate

TOKENS_CHANGE = "the answer changes the prompt's tokens"
NO_DIFFERENCE = "one answer begins with the other"


@dataclass(frozen=True)
class Reading:
    """A prompt as tokens. `token_ids`: its `n_prompt`, and those that both answers begin with."""

    incorrect: str
    token_ids: list[int]
    n_prompt: int
    correct_ids: list[int]
    incorrect_ids: list[int]

    @property
    def next_tokens(self) -> tuple[int, int]:
        """The first of the right answer, and of the wrong one, that they do not share."""
        n_shared = len(self.token_ids) - self.n_prompt
        return self.correct_ids[n_shared], self.incorrect_ids[n_shared]


class TokenLists:
    """Makes the lists of one tokenizer, of whose tokens the model knows the first `n_known`."""

    def __init__(self, tokenizer: Any, n_known: int, model: str):
        self._tokenizer = tokenizer
        front = front_of(tokenizer, n_known, model)
        self._front, self._n_own = list(front.ids), 0 if front.is_added else len(front.ids)
        self.sink = self._token(front.ids[0]) if front.is_added else None

    @property
    def front(self) -> list[Token]:
        return [self._token(number) for number in self._front]

    def of(self, text: str) -> list[int]:
        """Token ids of a text, with what stands in front."""
        [(ids, _)] = ids_and_spans(self._tokenizer, [text], None, offsets=False)
        return [*self._front, *ids[self._n_own :]]

    def read(self, candidate: Candidate) -> Reading | str:
        """The candidate as tokens, or why it has to be left out.

        Of its wrong answers the first is taken that has as many tokens as the right one, or as nearly as may be.
        """
        prompt = self.of(candidate.prompt)
        correct = self._answer(candidate.prompt, prompt, candidate.correct)
        answers = {one: self._answer(candidate.prompt, prompt, one) for one in candidate.distractors}
        kept = {one: ids for one, ids in answers.items() if ids is not None}
        if correct is None or not kept:
            return TOKENS_CHANGE
        n = len(correct)
        incorrect = min(kept, key=lambda one: abs(len(kept[one]) - n))  # the first of equals
        n_alike = n_shared(correct, kept[incorrect])
        if n_alike == min(n, len(kept[incorrect])):
            return NO_DIFFERENCE
        return Reading(incorrect, prompt + correct[:n_alike], len(prompt), correct, kept[incorrect])

    def _answer(self, text: str, prompt: list[int], answer: str) -> list[int] | None:
        """Its tokens after the prompt; None where the prompt's own are others then."""
        whole = self.of(text + answer)
        return whole[len(prompt) :] if whole[: len(prompt)] == prompt else None

    def _token(self, number: int) -> Token:
        return Token(id=number, text=self._tokenizer.convert_ids_to_tokens(number))
