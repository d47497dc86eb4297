"""What is counted of the answers to some pairs, and the verdict on it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from common.evaluation.statistics import counted
from common.handoffs.error_gate import AnswersOfFormat, GateFigures, GateVerdict
from common.handoffs.estimates import Counted
from common.model.tokenization import TextOfToken
from phase6_error_circuits.gate.reading import Answer
from phase6_error_circuits.pair import ErrorPair

BOTH_SIGNS, CLEAN_ABOVE = 0.80, 0.95  # lower bound of the interval; share of pairs
N_TOP_TOKENS = 3


@dataclass(frozen=True, eq=False)
class Answered:
    """A pair with the answers to its prompts. `names` are the errors in the order of the logits.

    `prior` is each name's mean logit over all prompts of the format.
    """

    pair: ErrorPair
    clean: Answer
    corrupted: Answer
    names: tuple[str, ...]
    tokens: tuple[int, ...]
    prior: Float[np.ndarray, " n_names"]

    @property
    def differences(self) -> tuple[float, float]:
        """Logit of the clean error minus that of the corrupted one, after the clean and the corrupted prompt."""
        first, second = (self.names.index(error) for error in self.pair.contrast.split("/"))
        of = [float(answer.logits[first]) - float(answer.logits[second]) for answer in (self.clean, self.corrupted)]
        return of[0], of[1]

    @property
    def prompts(self) -> list[tuple[Answer, int]]:
        """Both answers, each with the place of the error that is raised."""
        pair = self.pair
        return [
            (self.clean, self.names.index(pair.clean_error)),
            (self.corrupted, self.names.index(pair.corrupted_error)),
        ]

    def name_of(self, answer: Answer) -> str:
        return self.names[int(answer.logits.argmax())]


def judge(both_signs: Counted, clean_above: Counted) -> GateVerdict:
    low, above = both_signs.rate.low, clean_above.rate.value
    if low is not None and low >= BOTH_SIGNS:
        return GateVerdict.PASS
    return GateVerdict.WEAK if above is not None and above >= CLEAN_ABOVE else GateVerdict.STOP


def gate_figures(pairs: Sequence[Answered], words: TextOfToken) -> GateFigures | None:
    """The figures of some pairs; None where there are none."""
    if not pairs:
        return None
    clean, corrupted = np.array([pair.differences for pair in pairs]).T
    both_signs = counted(int(((clean > 0) & (corrupted < 0)).sum()), len(pairs))
    clean_above = counted(int((clean > corrupted).sum()), len(pairs))
    answers = [answer for pair in pairs for answer, _ in pair.prompts]
    top = Counter(answer.top for answer in answers).most_common(N_TOP_TOKENS)
    return GateFigures(
        n=len(pairs),
        clean=float(clean.mean()),
        corrupted=float(corrupted.mean()),
        both_signs=both_signs,
        clean_above=clean_above,
        accuracy=_share(_right(pairs)),
        prior_corrected=_share(_right(pairs, corrected=True)),
        top=_share(_right_of_all(pairs)),
        mass=float(np.mean([answer.mass for answer in answers])),
        top_tokens={words(token): n for token, n in top},
        verdict=judge(both_signs, clean_above),
    )


def answers_of_format(pairs: Sequence[Answered]) -> AnswersOfFormat:
    """The figures of all real pairs in one format."""
    names = pairs[0].names
    right, corrected = _right(pairs), _right(pairs, corrected=True)
    raised = [names[place] for pair in pairs for _, place in pair.prompts]
    said = Counter(pair.name_of(answer) for pair in pairs for answer, _ in pair.prompts)

    def of(error: str, flags: list[bool]) -> Counted:
        return _share([flag for flag, its_error in zip(flags, raised, strict=True) if its_error == error])

    present = [error for error in names if error in raised]
    return AnswersOfFormat(
        n=len(raised),
        accuracy=_share(right),
        prior_corrected=_share(corrected),
        top=_share(_right_of_all(pairs)),
        mass=float(np.mean([answer.mass for pair in pairs for answer, _ in pair.prompts])),
        by_error={error: of(error, right) for error in present},
        prior_corrected_by_error={error: of(error, corrected) for error in present},
        predicted={error: said[error] / len(raised) for error in names},
    )


def _right(pairs: Sequence[Answered], corrected: bool = False) -> list[bool]:
    """Of each prompt, whether the most likely name is that of the error."""
    return [
        int((answer.logits - pair.prior if corrected else answer.logits).argmax()) == place
        for pair in pairs
        for answer, place in pair.prompts
    ]


def _right_of_all(pairs: Sequence[Answered]) -> list[bool]:
    """Of each prompt, whether the most likely token of all is that name's."""
    return [answer.top == pair.tokens[place] for pair in pairs for answer, place in pair.prompts]


def _share(flags: Sequence[bool]) -> Counted:
    return counted(sum(flags), len(flags))
