"""The result in three sentences, computed from the results: does the model know, does it cause, how far to trust it."""

from collections.abc import Mapping
from dataclasses import dataclass

from common.handoffs import COEFFICIENTS, DETECTION, LATENTS, POSITIVE_CONTROL, SPLIT, STEERING, ArtifactSchema
from common.report.collect import FINISHED, Collected
from common.words import count, listed, plural, roles_words, sentence_case

Answers = Mapping[str, str]


@dataclass(frozen=True)
class Sentence:
    """One question and its answer."""

    question: str
    answer: str

    def __str__(self) -> str:
        return f"{self.question} {self.answer}"


def three_sentences(collected: Collected, answers: Answers) -> list[Sentence]:
    """`answers` are what the phases say, by the name of their artifact."""
    pilot = f"(Of a pilot, {count(collected.pilot)} problems drawn at random.) " if collected.pilot is not None else ""
    return [
        Sentence("Does it know?", pilot + _knows(collected, answers)),
        Sentence("Does it cause?", _causes(collected, answers)),
        Sentence("How far to trust it?", _trust(collected)),
    ]


def _knows(collected: Collected, answers: Answers) -> str:
    selected = answers.get(LATENTS.name)
    so_far = f" On the selection split: {selected}" if selected else ""
    return answers.get(DETECTION.name) or _not_measured(collected, DETECTION) + so_far


def _causes(collected: Collected, answers: Answers) -> str:
    tuned = answers.get(COEFFICIENTS.name, "")
    so_far = f" {tuned}" if tuned else ""
    steering = answers.get(STEERING.name) or _not_measured(collected, STEERING) + so_far
    return " ".join(filter(None, [steering, answers.get(POSITIVE_CONTROL.name)]))


def _trust(collected: Collected) -> str:
    parts = [*_sizes(collected), *_readings(collected), *_selection(collected)]
    left = collected.unfinished
    if left:
        names = listed([phase.schema.phase for phase in left])
        total = len(left) + sum(phase.state == FINISHED for phase in collected.phases.values())
        parts.append(f"{len(left)} of {total} phases ({names}) {_are(len(left))} not finished")
    if collected.is_organism:
        parts.append("the model is an organism whose knowledge was planted, so this says nothing about natural models")
    return sentence_case("; ".join(parts) + ".")


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def _sizes(collected: Collected) -> list[str]:
    split = collected.finished(SPLIT)
    if split is None:
        return []
    n = split.document().sizes
    return [
        f"latents are selected on {count(n['sae'])} problems, tuned on {count(n['hyperparams'])} and reported on "
        f"{count(n['validation'])}"
    ]


def _readings(collected: Collected) -> list[str]:
    n = collected.readings
    if not n:
        return ["the validation split was not read yet"]
    if n == 1:
        return [
            "nothing was chosen on the held-out problems: one selection was made before, and every phase reports on it"
        ]
    return [
        f"the held-out problems were used for {plural(n, 'selection')}, and each further use weakens them: what is "
        "shown may have been chosen by them"
    ]


def _selection(collected: Collected) -> list[str]:
    latents = collected.finished(LATENTS)
    if latents is None:
        return []
    result = latents.document()
    entries = [entry for entry in result.directions.values() if entry.latents]
    significant = sum(entry.significant for entry in entries)
    how_many = {0: "none", len(entries): "all"}.get(significant, str(significant))
    roles = roles_words([entry.latents[0] for entry in entries])
    beside = f" ({roles})" if roles else ""
    return [
        f"{how_many} of the {plural(len(entries), 'selected direction')}{beside} {_are(significant)} significant among "
        f"{count(result.kept)} ranked latents (family-wise p at most 0.05)"
    ]


def _not_measured(collected: Collected, schema: ArtifactSchema) -> str:
    phase = collected.phases[schema.name]
    return f"Not measured: phase {schema.phase} is {phase.state}."
