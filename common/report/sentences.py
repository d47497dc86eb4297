"""The result in three sentences, computed from the results: does the model know, does it cause, how far to trust it."""

from dataclasses import dataclass
from typing import Any

from common.handoffs import COEFFICIENTS, DETECTION, LATENTS, SPLIT, STEERING, Handoff
from common.report.collect import FINISHED, Collected
from common.report.detection import ALWAYS_POSITIVE, PROBE, best_predictor
from common.words import (
    count,
    direction_words,
    interval,
    latent_words,
    listed,
    number,
    percent,
    plural,
    points,
    sentence_case,
)


@dataclass(frozen=True)
class Sentence:
    """One question and its answer."""

    question: str
    answer: str

    def __str__(self) -> str:
        return f"{self.question} {self.answer}"


def three_sentences(collected: Collected) -> list[Sentence]:
    pilot = f"(Of a pilot, {count(collected.pilot)} problems drawn at random.) " if collected.pilot is not None else ""
    return [
        Sentence("Does it know?", pilot + _knows(collected)),
        Sentence("Does it cause?", _causes(collected)),
        Sentence("How far to trust it?", _trust(collected)),
    ]


def _knows(collected: Collected) -> str:
    detection = collected.finished(DETECTION)
    if detection is None:
        return _not_measured(collected, DETECTION) + _selection_so_far(collected)
    best = best_predictor(detection.json("detection.json"))
    if best is None:
        return "No predicting direction could be judged on the validation split."
    name, entry = best
    card, positive, baselines = entry["card"], entry["positive"], entry["baselines"]
    always = number(baselines[ALWAYS_POSITIVE]["f1"]["value"])
    words = (
        f"{sentence_case(direction_words(name))} ({latent_words(entry['latent'])}) ranks {positive} programs above the "
        f"others with an AUROC of {interval(card['auroc'])} on {count(card['n'])} validation problems, verdict "
        f"“{entry['verdict']}”: its F1 is {interval(card['f1'])}, that of always saying {positive} is {always}"
    )
    if PROBE in baselines:
        area = interval(baselines[PROBE]["auroc"])
        words += f"; logistic regression on the full residual stream of the same layer has an AUROC of {area}"
    within = entry["auroc_within_strata"]
    if within["value"] is not None:
        words += f"; among problems of similar complexity the latent's is {interval(within)}"
    return f"{words}."


def _selection_so_far(collected: Collected) -> str:
    """What phase 2 says where no predictor was judged yet."""
    latents = collected.finished(LATENTS)
    if latents is None:
        return ""
    return f" On the selection split: {latents.json('selected.json')['conclusion']}"


def _causes(collected: Collected) -> str:
    steering = collected.finished(STEERING)
    if steering is None:
        words = _not_measured(collected, STEERING)
        tuned = collected.finished(COEFFICIENTS)
        return words if tuned is None else f"{words} {_tuned(tuned.json('coefficients.json'))}"
    result = steering.json("steering.json")
    parts = [_steered(name, entry) for name, entry in result["directions"].items()]
    return f"On {count(result['n'])} validation problems: {'; '.join(parts)}."


def _tuned(result: dict[str, Any]) -> str:
    """What the problems for tuning say of the chosen coefficients."""
    parts = []
    for name, entry in result["directions"].items():
        chosen = entry["chosen"]
        same = [point for point in entry["curve"] if chosen and all(point[key] == chosen[key] for key in chosen)]
        parts += [f"{direction_words(name)} {points(point['net_change'])}" for point in same[:1]]
    return f"On the {count(result['n'])} problems for tuning the best net change is {listed(parts)}." if parts else ""


def _steered(name: str, entry: dict[str, Any]) -> str:
    if "effect" not in entry:
        return f"{direction_words(name)}: “{entry['verdict']}”"
    effect = entry["effect"]
    kind, verb = ("correction", "corrects") if entry["wanted"] == "raise" else ("corruption", "corrupts")
    matched = entry["controls"].get("matched_latent")
    beside = "" if matched is None else f" (matched latents: {percent(matched['pooled']['rate'])})"
    whom = "failing" if kind == "correction" else "passing"
    return (
        f"adding {direction_words(name)} ({latent_words(entry['latent'])}) changes the pass rate by "
        f"{points(effect['net_change'])} and {verb} {percent(effect[kind]['rate'])} of the {whom} programs{beside}, "
        f"verdict “{entry['verdict']}”"
    )


def _trust(collected: Collected) -> str:
    parts = [*_sizes(collected), *_readings(collected), *_selection(collected)]
    left = collected.unfinished
    if left:
        names = listed([phase.handoff.phase for phase in left])
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
    n = split.json("split_metadata.json")["sizes"]
    return [
        f"latents are selected on {count(n['sae'])} problems, tuned on {count(n['hyperparams'])} and reported on "
        f"{count(n['validation'])}"
    ]


def _readings(collected: Collected) -> list[str]:
    n = collected.readings
    if not n:
        return ["the validation split was not read yet"]
    late = ", so what is shown may have been chosen by it" if n > 1 else ""
    return [f"the validation split was read for {plural(n, 'selection')}{late}"]


def _selection(collected: Collected) -> list[str]:
    latents = collected.finished(LATENTS)
    if latents is None:
        return []
    result = latents.json("selected.json")
    entries = [entry for entry in result["directions"].values() if entry["latents"]]
    significant = sum(entry["significant"] for entry in entries)
    how_many = {0: "none", len(entries): "all"}.get(significant, str(significant))
    return [
        f"{how_many} of the {plural(len(entries), 'selected direction')} {_are(significant)} significant among "
        f"{count(result['kept'])} ranked latents (family-wise p at most 0.05)"
    ]


def _not_measured(collected: Collected, handoff: Handoff) -> str:
    phase = collected.phases[handoff.name]
    return f"Not measured: phase {handoff.phase} is {phase.state}."
