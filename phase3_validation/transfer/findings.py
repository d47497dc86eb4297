"""What holds in the other model, beside the first: steering effects, sentences and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.evaluation.statistics import holm
from common.interventions.comparisons import (
    ALPHA,
    BREAKS,
    DEGENERATE_LIMIT,
    DOES,
    NOTHING,
    RAISE,
    UNUSABLE,
    UNWANTED,
    mcnemar_p,
)
from common.interventions.conditions import Variant
from common.interventions.directions import Direction
from common.interventions.outcomes import Row, effect, paired, rate, transitions
from common.runs.discovery import plain_name
from common.words import direction_words, interval, latent_words, listed, number, p_words, percent, points
from phase3_validation.transfer.detection import JUDGING, TargetProblems

Entry = dict[str, Any]


@dataclass(frozen=True)
class Names:
    """The first model and the other one."""

    source: str
    target: str

    @classmethod
    def of(cls, source: str, target: str) -> Names:
        """From identities: a hub id as it is, a folder's name without the hash of its content."""
        first, other = plain_name(source), plain_name(target)
        return cls(first, other if other != first else f"{other} (the other)")

    @property
    def short(self) -> tuple[str, str]:
        """Without owners, for figures and tables."""
        return self.source.rpartition("/")[2], self.target.rpartition("/")[2]


def steering_entries(
    rows: Sequence[Row], n_unsteered: int, variants: dict[str, Variant], source: Entry,
    norms: dict[tuple[int, str], float],
) -> dict[str, Entry]:  # fmt: skip
    """What each direction does in the other model, and what it did in the first; with McNemar, Holm over directions.

    `source` holds the directions of coefficients.json, and steering.json.
    """
    unsteered = {row["task_id"]: row for row in rows[:n_unsteered]}
    found = {}
    for name, entry in source["coefficients"].items():
        facts = {"wanted": entry["wanted"]}
        if name not in variants:
            found[name] = {**facts, "verdict": f"{UNUSABLE}: {entry['why']}"}
            continue
        variant = variants[name]
        after = [row for row in rows[n_unsteered:] if row["direction"] == name]
        pairs = paired([unsteered[row["task_id"]] for row in after], after)
        found[name] = {
            **facts, "layer": variant.layer, "site": variant.site, "coefficient": variant.coefficient,
            "norm": norms[variant.layer, variant.site],
            "source": {"effect": source["steering"]["directions"].get(name, {}).get("effect")},
            "effect": effect(pairs), "mcnemar_p": mcnemar_p(pairs.corrected, pairs.corrupted),
            "transitions": transitions(pairs),
        }  # fmt: skip
    steered = [entry for entry in found.values() if "effect" in entry]
    for entry, p in zip(steered, holm([entry["mcnemar_p"] for entry in steered]), strict=True):
        entry["p_holm"] = {"mcnemar": p}
        entry["verdict"] = _verdict(entry)
    return found


def _verdict(entry: Entry) -> str:
    """Without controls: what a matched latent would do in the other model was not tried."""
    newly, change = entry["effect"]["newly_degenerate"]["rate"]["value"], entry["effect"]["net_change"]["value"]
    breaks = [BREAKS] if newly is not None and newly >= DEGENERATE_LIMIT else []
    if change is None or entry["p_holm"]["mcnemar"] >= ALPHA:
        words = NOTHING
    elif (change > 0) != (entry["wanted"] == RAISE):
        words = UNWANTED
    else:
        words = f"{DOES[entry['wanted']]} (without controls)"
    return "; ".join([*breaks, words])


def entries(
    directions: Sequence[Direction], problems: TargetProblems, source: Entry, steering: dict[str, Entry]
) -> dict[str, Entry]:
    """All directions; `source` is the directions' part of the first model's detection.json."""
    found = {}
    for direction in directions:
        card, why = source[direction.name]["card"], problems.too_few()
        cards = {"why": why} if why else problems.cards(direction.name, card["threshold"])
        detection = {"source": card, "source_verdict": source[direction.name]["verdict"], **cards}
        found[direction.name] = {
            "latent": direction.facts, "positive": direction.positive, "detection": detection,
            "steering": steering.get(direction.name),
        }  # fmt: skip
    return found


def baseline(source: Entry, problems: TargetProblems) -> Entry:
    """Pass rates on validation without steering; `source` is the directions' part of detection.json."""
    own = problems.split == JUDGING
    name, entry = next(iter(source.items()))
    n, n_positive = entry["card"]["n"], entry["card"]["n_positive"]
    n_correct = n_positive if name.endswith("_correct") else n - n_positive
    return {"source": rate(n_correct, n), "target": rate(int((~problems.incorrect[own]).sum()), int(own.sum()))}


def sentences(names: Names, passed: Entry, sites: Sequence[Entry], found: dict[str, Entry]) -> list[str]:
    """Pass rates, fit of the SAEs, then a paragraph for each direction."""
    missed = [
        f"{percent_of(site)} at layer {site['layer']} (in {names.source} {percent_of(site['source'])})"
        for site in sites
    ]
    words = [
        f"{names.target} solves {percent(passed['target'])} of the validation problems from the same prompts, "
        f"{names.source} {percent(passed['source'])}.",
        f"Of the squared length of its activations at the last prompt token the SAEs, which were made for "
        f"{names.source}, miss {listed(missed)}.",
    ]
    for name, entry in found.items():
        words.append(_on_detection(names, name, entry))
        if entry["steering"] is not None:
            words.append(_on_steering(names, name, entry["steering"]))
    return words


def _on_detection(names: Names, name: str, entry: Entry) -> str:
    cards = entry["detection"]
    what = f"{direction_words(name)} ({latent_words(entry['latent'])})"
    if "why" in cards:
        return f"{what} cannot be judged in {names.target}: {cards['why']}."
    home, kept, refitted = cards["source"], cards["source_threshold"], cards["refitted"]
    return (
        f"{what}: AUROC {interval(kept['auroc'])} in {names.target}, {interval(home['auroc'])} in {names.source}. "
        f"F1 is {interval(kept['f1'])} with the threshold of {names.source}, {interval(refitted['f1'])} with one "
        f"refitted; always saying {entry['positive']} has {number(cards['always_positive_f1'])}. "
        f"Verdict: {cards['verdicts']['source_threshold']}; refitted: {cards['verdicts']['refitted']}."
    )


def _on_steering(names: Names, name: str, entry: Entry) -> str:
    if "effect" not in entry:
        return f"{direction_words(name)}: {entry['verdict']}."
    home = entry["source"]["effect"]
    return (
        f"Adding {direction_words(name)} with the coefficient of {names.source}, {number(entry['coefficient'])} at "
        f"layer {entry['layer']}, changes the pass rate of {names.target} by {points(entry['effect']['net_change'])} "
        f"({entry['effect']['correction']['n']} corrected, {entry['effect']['corruption']['n']} corrupted of "
        f"{entry['effect']['n']}; McNemar, Holm: {p_words(entry['p_holm']['mcnemar'])}), that of {names.source} by "
        f"{points(home and home['net_change'])}. Verdict: {entry['verdict']}."
    )


def tables(names: Names, sites: Sequence[Entry], found: dict[str, Entry]) -> list[Entry]:
    """As the report shows them: title, columns, rows."""
    first, other = names.short
    detection = []
    for name, entry in found.items():
        cards = entry["detection"]
        rows = [(first, "its own", cards["source"]), (other, f"of {first}", cards.get("source_threshold")),
                (other, "refitted", cards.get("refitted"))]  # fmt: skip
        detection += [
            [direction_words(name), model, which, number(card["threshold"], 3),
             *(card[key] for key in ("auroc", "f1", "precision", "recall", "mcc")), number(card["base_rate"])]
            for model, which, card in rows if card is not None
        ]  # fmt: skip
    steering = []
    for name, entry in found.items():
        steered = entry["steering"]
        if steered is not None and "effect" in steered:
            both = ((first, steered["source"]["effect"]), (other, steered["effect"]))
            steering += [
                [direction_words(name), steered["wanted"], model, points(one["net_change"]),
                 percent(one["correction"]["rate"]), percent(one["corruption"]["rate"]),
                 percent(one["newly_degenerate"]["rate"]), number(one["median_kl"], 3), one["n"]]
                for model, one in both if one is not None
            ]  # fmt: skip
    return [
        {"title": "Detection in both models", "rows": detection,
         "columns": ["direction", "model", "threshold", "threshold's value", "AUROC", "F1", "precision", "recall",
                     "Matthews correlation", "base rate"]},
        {"title": "Steering in both models", "rows": steering,
         "columns": ["direction", "should", "model", "net change", "corrected, of failed", "corrupted, of passed",
                     "newly degenerate", "median KL of the first token [nats]", "problems"]},
        {"title": "What the SAEs miss at the last prompt token",
         "columns": ["layer", f"share of |x|^2 in {other}", f"in {first}", f"between-prompt FVU in {other}",
                     f"in {first}", "activations"],
         "rows": [[site["layer"], site["missed_share"], site["source"]["missed_share"], site["fvu_between"],
                   site["source"]["fvu_between"], site["n"]] for site in sites]},
    ]  # fmt: skip


def percent_of(fit: Entry) -> str:
    return "an unknown share" if fit["missed_share"] is None else f"{100 * fit['missed_share']:.2g} %"


def in_short(entry: Entry) -> str:
    """For the summary of the run."""
    cards = entry["detection"]
    words = cards["why"] if "why" in cards else cards["verdicts"]["source_threshold"]
    return words if entry["steering"] is None else f"{words}; steered: {entry['steering']['verdict']}"
