"""What the first screen says: does the model know, and can it be steered? A verdict and one plain sentence each."""

import enum
from dataclasses import dataclass
from typing import TypeVar

from common.handoffs import DETECTION, GENERATIONS, STEERING, ArtifactSchema
from common.handoffs.detection import PROBE, DetectedDirection
from common.handoffs.score_verdicts import DifficultyVerdict, RankingVerdict
from common.handoffs.steering import Change, NotSteered, SteeredDirection, SteeringVerdict
from common.report.collect import Collected
from common.words import count, direction_words, interval, latent_words, listed, plural, points, sentence_case

NOT_MEASURED = "not measured"
TRUNCATED, MANY_CUT_OFF = "truncated", 0.2  # an error; the share of the failing programs from which on it is said
WITHOUT_THE_MODEL = "difficulty and text"


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
    sentence = _known_in_words(name, entry, phase.document().predicting) + _cut_off(collected)
    verdict = str(entry.verdict)
    if entry.verdict is RankingVerdict.RANKS:  # whether it goes beyond difficulty asks nothing of one that does not
        beyond = entry.beyond_difficulty.verdict
        unknown = f"whether beyond difficulty: {beyond}"
        verdict += f", {unknown if beyond is DifficultyVerdict.CANNOT_TELL else beyond}"
    return Outcome(question, verdict, _tone_of_ranking(entry), sentence, section="detection")


def _cut_off(collected: Collected) -> str:
    """Where many failing programs were never finished: what ranks them may tell how long a program gets, no more."""
    phase = collected.finished(GENERATIONS)
    errors = [] if phase is None else [e for e in phase.artifact.columns("dataset.parquet")["error"] if e is not None]
    n = sum(error == TRUNCATED for error in errors)
    if not errors or n < MANY_CUT_OFF * len(errors):
        return ""
    return (
        f" {count(n)} of the {count(len(errors))} failing programs of phase 1 were cut off at the token limit "
        "(--max-new-tokens): a score may rank how long they get."
    )


def _tone_of_ranking(entry: DetectedDirection) -> Tone:
    if entry.verdict is RankingVerdict.CANNOT_TELL:
        return Tone.OPEN
    if entry.verdict is not RankingVerdict.RANKS:
        return Tone.NO
    return Tone.YES if entry.beyond_difficulty.verdict is DifficultyVerdict.BEYOND else Tone.PARTLY


def _known_in_words(name: str, entry: DetectedDirection, directions: dict[str, DetectedDirection]) -> str:
    """What the latent is worth, what the same is worth without the model, and what the others are."""
    beyond, others = entry.beyond_difficulty, {other: told for other, told in directions.items() if other != name}
    beside = [f"{direction_words(other)} has {interval(told.card.auroc)}" for other, told in others.items()]
    if PROBE in entry.baselines:
        beside.insert(0, f"The probe of the whole stream has {interval(entry.baselines[PROBE].auroc)}")
    sentences = [
        f"One latent, {direction_words(name)} ({latent_words(entry.latent)}), ranks {entry.positive} programs above "
        f"the others with an AUROC of {interval(entry.card.auroc)} on {plural(entry.card.n, 'held-out problem')}"
    ]
    if beyond.gain.value is not None:
        sentences.append(
            f"{WITHOUT_THE_MODEL} alone have {interval(beyond.auroc_of_covariates)}, to which the latent adds "
            f"{interval(beyond.gain, 3, signed=True)}"
        )
    return " ".join(f"{sentence_case(sentence)}." for sentence in filter(None, [*sentences, "; ".join(beside)]))


def can_be_steered(collected: Collected) -> Outcome:
    """By the direction whose verdict says most; every other one is named beside it."""
    question, phase = "Can be steered", collected.finished(STEERING)
    if phase is None:
        return _missing(question, collected, STEERING)
    steering = phase.document()
    if not steering.directions:
        why = "No direction was steered."
        return Outcome(question, NOT_MEASURED, Tone.MISSING, why, section="steering")
    (name, entry), *others = by_worth(steering.directions).items()
    sentence = f"{_steered_in_words(name, entry, steering.n)}{_few_controls(entry)}{_others_in_words(entry, others)}."
    return Outcome(question, change_words(entry.verdict), tone_of_change(entry.verdict), sentence, section="steering")


_BY_WORTH = (Tone.YES, Tone.PARTLY, Tone.OPEN, Tone.NO)
Direction = TypeVar("Direction", bound=SteeredDirection | NotSteered)


def by_worth(directions: dict[str, Direction]) -> dict[str, Direction]:
    """Those first whose verdict says most, else in their order."""
    return dict(sorted(directions.items(), key=lambda item: _BY_WORTH.index(tone_of_change(item[1].verdict))))


_IN_PART = (Change.RAISES_WITHOUT_CONTROLS, Change.LOWERS_WITHOUT_CONTROLS, Change.BEYOND_ITS_FEW)


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
    did = "Subtracting" if entry.subtracted else "Adding"
    return (
        f"{did} {direction_words(name)} changes the pass rate on {plural(n, 'problem')} by "
        f"{points(entry.effect.net_change)}: “{entry.verdict}”"
    )


def _few_controls(entry: SteeredDirection | NotSteered) -> str:
    """How many there were, where the verdict says that they are few."""
    if isinstance(entry, NotSteered) or not entry.verdict.few:
        return ""
    return f" ({listed([plural(kind.n_ranked, name.replace('_', ' ')) for name, kind in entry.controls.items()])})"


def _others_in_words(
    first: SteeredDirection | NotSteered, others: list[tuple[str, SteeredDirection | NotSteered]]
) -> str:
    """What is said of the other directions, those alike together."""
    alike: dict[str, list[str]] = {change_words(first.verdict): []}
    for name, entry in others:
        alike.setdefault(change_words(entry.verdict), []).append(direction_words(name))
    same, *different = alike.items()
    parts = [f"the same verdict for {listed(same[1])}"] if same[1] else []
    return "".join(f"; {part}" for part in [*parts, *(f"{listed(names)}: “{words}”" for words, names in different)])


def _missing(question: str, collected: Collected, schema: ArtifactSchema) -> Outcome:
    phase = collected.phases[schema.name]
    why = f": {phase.why}" if phase.why else ""
    sentence = f"Phase {schema.phase} is {phase.state}{why}. To measure it, type:"
    return Outcome(question, NOT_MEASURED, Tone.MISSING, sentence, command=phase.command)
