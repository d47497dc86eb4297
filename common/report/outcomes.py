"""What the first screen says: does the model know, and can it be steered? A verdict and one plain sentence each."""

import enum
from dataclasses import dataclass
from typing import TypeVar

from common.handoffs import DETECTION, STEERING, Handoff
from common.handoffs.detection import PROBE, PROMPT_TEXT, DetectedDirection
from common.handoffs.steering import Change, NotSteered, SteeredDirection, SteeringVerdict
from common.handoffs.verdicts import DifficultyVerdict, RankingVerdict
from common.report.collect import Collected
from common.words import direction_words, interval, latent_words, listed, plural, points, sentence_case

NOT_MEASURED = "not measured"


class Tone(enum.StrEnum):
    """How a verdict is shown: each has a colour and a shape of its own."""

    YES = "yes"
    PARTLY = "partly"
    OPEN = "open"
    NO = "no"
    MISSING = "missing"


@dataclass(frozen=True)
class Outcome:
    """One question, its verdict in its own words, and a plain sentence of what that rests on.

    `section` is where its numbers stand; `command` is what to type where nothing was measured.
    """

    question: str
    verdict: str
    tone: Tone
    sentence: str
    section: str = ""
    command: str = ""


def outcomes_of(collected: Collected) -> list[Outcome]:
    """Of the two questions."""
    return [knows(collected), can_be_steered(collected)]


def knows(collected: Collected) -> Outcome:
    """By the direction that was chosen on other problems than those it is judged on."""
    question, phase = "Knows", collected.finished(DETECTION)
    if phase is None:
        return _missing(question, collected, DETECTION)
    headline = phase.document().headline
    if headline is None:
        why = "No predicting direction could be judged on the validation split."
        return Outcome(question, NOT_MEASURED, Tone.MISSING, why, section="detection")
    name, entry = headline
    verdict = str(entry.verdict)
    if entry.verdict is RankingVerdict.RANKS:  # whether it goes beyond difficulty asks nothing of one that does not
        beyond = entry.beyond_difficulty.verdict
        unknown = f"whether beyond difficulty: {beyond}"
        verdict += f", {unknown if beyond is DifficultyVerdict.CANNOT_TELL else beyond}"
    return Outcome(question, verdict, _tone_of_ranking(entry), _known_in_words(name, entry), section="detection")


def _tone_of_ranking(entry: DetectedDirection) -> Tone:
    if entry.verdict is RankingVerdict.CANNOT_TELL:
        return Tone.OPEN
    if entry.verdict is not RankingVerdict.RANKS:
        return Tone.NO
    return Tone.YES if entry.beyond_difficulty.verdict is DifficultyVerdict.BEYOND else Tone.PARTLY


def _known_in_words(name: str, entry: DetectedDirection) -> str:
    others = {PROBE: "a probe of the whole stream", PROMPT_TEXT: "the text of the prompt alone"}
    beside = [
        f"{words} has {interval(entry.baselines[other].auroc)}"
        for other, words in others.items()
        if other in entry.baselines
    ]
    return (
        f"One latent, {direction_words(name)} ({latent_words(entry.latent)}), tells {entry.positive} programs from the "
        f"others with an AUROC of {interval(entry.card.auroc)} on {plural(entry.card.n, 'problem')} that it was not "
        f"chosen by{'; ' * bool(beside)}{listed(beside)}."
    )


def can_be_steered(collected: Collected) -> Outcome:
    """By the direction whose verdict says most; every other one is named beside it."""
    question, phase = "Can be steered", collected.finished(STEERING)
    if phase is None:
        return _missing(question, collected, STEERING)
    found = phase.document()
    if not found.directions:
        why = "No direction was steered."
        return Outcome(question, NOT_MEASURED, Tone.MISSING, why, section="steering")
    (name, entry), *others = by_worth(found.directions).items()
    sentence = f"{_steered_in_words(name, entry, found.n)}{_others_in_words(entry, others)}."
    return Outcome(question, change_words(entry.verdict), tone_of_change(entry.verdict), sentence, section="steering")


_BY_WORTH = (Tone.YES, Tone.PARTLY, Tone.OPEN, Tone.NO)
Direction = TypeVar("Direction", bound=SteeredDirection | NotSteered)


def by_worth(directions: dict[str, Direction]) -> dict[str, Direction]:
    """Those first whose verdict says most, else in their order."""
    return dict(sorted(directions.items(), key=lambda item: _BY_WORTH.index(tone_of_change(item[1].verdict))))


_IN_PART = (Change.RAISES_WITHOUT_CONTROLS, Change.LOWERS_WITHOUT_CONTROLS, Change.BEYOND_FEW)


def tone_of_change(verdict: SteeringVerdict) -> Tone:
    """A change that breaks the output, or whose controls are too few, is shown as one in part."""
    if verdict.works:
        return Tone.YES
    if verdict.change in (*_IN_PART, Change.RAISES, Change.LOWERS):
        return Tone.PARTLY
    return Tone.OPEN if verdict.change is Change.CANNOT_TELL else Tone.NO


def change_words(verdict: SteeringVerdict) -> str:
    """The verdict in short: what would have been found, and how many controls there were, stands elsewhere."""
    return str(SteeringVerdict(verdict.change, verdict.breaks))


def _steered_in_words(name: str, entry: SteeredDirection | NotSteered, n: int) -> str:
    if isinstance(entry, NotSteered):
        return f"{sentence_case(direction_words(name))}: “{entry.verdict}”"
    return (
        f"Adding {direction_words(name)} changes the pass rate on {plural(n, 'problem')} by "
        f"{points(entry.effect.net_change)}: “{entry.verdict}”"
    )


def _others_in_words(
    first: SteeredDirection | NotSteered, others: list[tuple[str, SteeredDirection | NotSteered]]
) -> str:
    """What is said of the other directions, those alike together."""
    alike: dict[str, list[str]] = {change_words(first.verdict): []}
    for name, entry in others:
        alike.setdefault(change_words(entry.verdict), []).append(direction_words(name))
    same, *different = alike.items()
    parts = [f"the same of {listed(same[1])}"] if same[1] else []
    return "".join(f"; {part}" for part in [*parts, *(f"{listed(names)}: “{words}”" for words, names in different)])


def _missing(question: str, collected: Collected, handoff: Handoff) -> Outcome:
    phase = collected.phases[handoff.name]
    why = f": {phase.why}" if phase.why else ""
    sentence = f"Phase {handoff.phase} is {phase.state}{why}. To measure it, type:"
    return Outcome(question, NOT_MEASURED, Tone.MISSING, sentence, command=phase.command)
