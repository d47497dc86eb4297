"""What holds there, in the other model or on the other dataset, beside the first: effects, sentences and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.evaluation.statistics import holm, rate
from common.handoffs.changes import (
    NotSteeredThere,
    NotTransferred,
    PassRates,
    ResultTable,
    SourceEffect,
    TransferDataset,
    TransferredCards,
    TransferredDirection,
    TransferredSteering,
    TransferSite,
)
from common.handoffs.detection import DetectedDirection
from common.handoffs.selected import PromptFitFacts
from common.handoffs.steering import Change, CoefficientCurve, SteeredDirection, SteeringVerdict
from common.interventions.comparisons import mcnemar_p, verdict_without_controls
from common.interventions.conditions import Condition
from common.interventions.directions import Direction
from common.interventions.outcomes import effect, paired, transitions
from common.interventions.power import power_without_controls
from common.runs.discovery import plain_name
from common.tables import TableRow
from common.words import count, direction_words, interval, latent_words, listed, number, p_words, percent, points
from phase3_validation.transfer.detection import JUDGING, TargetProblems


@dataclass(frozen=True)
class Names:
    """Where it was found, and where it is tried: a model, with its dataset where there are two; `model` is the first.

    `differ` says what of the two is another one: model, dataset, or both.
    """

    source: str
    target: str
    model: str
    differ: str

    @classmethod
    def of(cls, experiment: Mapping[str, str]) -> Names:
        """From identities: a hub id as it is, a folder's name without the hash of its content."""
        models = _told_apart(experiment["model"], experiment["to"])
        if "to_dataset" not in experiment:
            return cls(*models, models[0], "model")
        datasets = _told_apart(experiment["dataset"], experiment["to_dataset"])
        source, target = (f"{model} on {dataset}" for model, dataset in zip(models, datasets, strict=True))
        return cls(source, target, models[0], "dataset" if experiment["model"] == experiment["to"] else "both")

    @property
    def short(self) -> tuple[str, str]:
        """Without owners, for figures and tables."""
        return self.source.rpartition("/")[2], self.target.rpartition("/")[2]

    @property
    def first(self) -> str:
        """What coefficients are of, in short."""
        return "the first dataset" if self.differ == "dataset" else "the first model"

    @property
    def in_both(self) -> str:
        two = {"model": "in both models", "dataset": "on both datasets"}
        return two.get(self.differ, "in both models, each on its own dataset")


def _told_apart(identity: str, other: str) -> tuple[str, str]:
    """Two plain names, of which the second is the first only where both are the same."""
    one, two = plain_name(identity), plain_name(other)
    return one, f"{two} (the other)" if one == two and identity != other else two


def steering_entries(
    rows: Sequence[TableRow],
    n_unsteered: int,
    conditions: dict[str, Condition],
    tuned: dict[str, CoefficientCurve],
    at_home: dict[str, SteeredDirection],
    norms: dict[tuple[int, str], float],
) -> dict[str, TransferredSteering | NotSteeredThere]:
    """What each direction does in the other model, and what it did `at_home`; with McNemar, Holm over directions."""
    unsteered = {row["task_id"]: row for row in rows[:n_unsteered]}
    pairs = {}
    for name in conditions:
        after = [row for row in rows[n_unsteered:] if row["direction"] == name]
        pairs[name] = paired([unsteered[row["task_id"]] for row in after], after)
    p = {name: mcnemar_p(outcomes.corrected, outcomes.corrupted) for name, outcomes in pairs.items()}
    p_holm = dict(zip(p, holm(list(p.values())), strict=True))
    entries: dict[str, TransferredSteering | NotSteeredThere] = {}
    for name, entry in tuned.items():
        if name not in conditions:
            verdict = SteeringVerdict(Change.UNUSABLE, why=entry.why)
            entries[name] = NotSteeredThere(wanted=entry.wanted, verdict=verdict)
            continue
        condition, measured = conditions[name], effect(pairs[name])
        # What a matched latent would do in the other model was not tried.
        power = power_without_controls(measured, entry.wanted, len(conditions))
        entries[name] = TransferredSteering(
            wanted=entry.wanted,
            layer=condition.layer,
            site=condition.site,
            coefficient=condition.coefficient,
            norm=norms[condition.layer, condition.site],
            source=SourceEffect(effect=at_home[name].effect if name in at_home else None),
            effect=measured,
            mcnemar_p=p[name],
            transitions=transitions(pairs[name]),
            p_holm={"mcnemar": p_holm[name]},
            verdict=verdict_without_controls(measured, p_holm[name], power, entry.wanted),
            power=power,
        )
    return entries


def entries(
    directions: Sequence[Direction],
    problems: TargetProblems,
    source: dict[str, DetectedDirection],
    steering: dict[str, TransferredSteering | NotSteeredThere],
) -> dict[str, TransferredDirection]:
    """All directions; `source` is what phase 3.1 says of the first model."""
    transferred = {}
    for direction in directions:
        home, why = source[direction.name], problems.too_few()
        facts = {"source": home.card, "source_verdict": home.verdict}
        if why:
            detection = NotTransferred(**facts, why=why)
        else:
            detection = TransferredCards(**facts, **problems.cards(direction.name, home.card.threshold))
        transferred[direction.name] = TransferredDirection(
            latent=direction.facts,
            positive=direction.positive,
            detection=detection,
            steering=steering.get(direction.name),
        )
    return transferred


def baseline(source: dict[str, DetectedDirection], problems: TargetProblems) -> PassRates:
    """Pass rates on validation without steering; `source` is what phase 3.1 says of the first model."""
    judging = problems.split == JUDGING
    name, entry = next(iter(source.items()))
    n, n_positive = entry.card.n, entry.card.n_positive
    n_correct = n_positive if name.endswith("_correct") else n - n_positive
    there = rate(int((~problems.incorrect[judging]).sum()), int(judging.sum()))
    return PassRates(source=rate(n_correct, n), target=there)


def sentences(
    names: Names,
    passed: PassRates,
    sites: Sequence[TransferSite],
    directions: dict[str, TransferredDirection],
    dataset: TransferDataset | None = None,
) -> list[str]:
    """The other dataset, pass rates, fit of the SAEs, then a paragraph for each direction."""
    missed = [
        f"{percent_of(site)} at layer {site.layer} (in {names.source} {percent_of(site.source)})" for site in sites
    ]
    there, here = " from the same prompts", ""
    if dataset is not None:
        there, here = f" of {plain_name(dataset.identity)}", " of its own"
    words = [
        f"{names.target} solves {percent(passed.target)} of the validation problems{there}, {names.source} "
        f"{percent(passed.source)}{here}.",
        f"Of the squared length of its activations at the last prompt token the SAEs, which were made for "
        f"{names.model}, miss {listed(missed)}.",
    ]
    if dataset is not None:
        words.insert(0, _on_dataset(dataset))
    for name, entry in directions.items():
        words.append(_on_detection(names, name, entry))
        if entry.steering is not None:
            words.append(_on_steering(names, name, entry.steering))
    return words


def _on_dataset(dataset: TransferDataset) -> str:
    return (
        f"Of the {count(dataset.n)} problems of {plain_name(dataset.identity)} those are left out "
        f"({count(dataset.n_seen)}) on which, or on near duplicates of which, latents were selected or thresholds and "
        f"coefficients tuned."
    )


def _on_detection(names: Names, name: str, entry: TransferredDirection) -> str:
    cards = entry.detection
    what = f"{direction_words(name)} ({latent_words(entry.latent)})"
    if isinstance(cards, NotTransferred):
        return f"{what} cannot be judged in {names.target}: {cards.why}."
    home, kept, refitted = cards.source, cards.source_threshold, cards.refitted
    return (
        f"{what}: AUROC {interval(kept.auroc)} in {names.target}, {interval(home.auroc)} in {names.source}. "
        f"F1 is {interval(kept.f1)} with the threshold of {names.source}, {interval(refitted.f1)} with one "
        f"refitted; always saying {entry.positive} has {number(cards.always_positive_f1)}. "
        f"Verdict: {cards.verdict}{cards.power.beside(cards.verdict)}; with the threshold of {names.source} "
        f"{cards.against_always.source_threshold.words(entry.positive)}, with the refitted one "
        f"{cards.against_always.refitted.words(entry.positive)}."
    )


def _on_steering(names: Names, name: str, entry: TransferredSteering | NotSteeredThere) -> str:
    if isinstance(entry, NotSteeredThere):
        return f"{direction_words(name)}: {entry.verdict}."
    home = entry.source.effect
    return (
        f"Adding {direction_words(name)} with the coefficient of {names.source}, {number(entry.coefficient)} at "
        f"layer {entry.layer}, changes the pass rate of {names.target} by {points(entry.effect.net_change)} "
        f"({entry.effect.correction.n} corrected, {entry.effect.corruption.n} corrupted of "
        f"{entry.effect.n}; McNemar, Holm: {p_words(entry.p_holm['mcnemar'])}), that of {names.source} by "
        f"{points(home and home.net_change)}. Verdict: {entry.verdict}."
    )


def tables(
    names: Names, sites: Sequence[TransferSite], directions: dict[str, TransferredDirection]
) -> list[ResultTable]:
    """As the report shows them: title, columns, rows."""
    first, other = names.short
    where = "model" if names.differ == "model" else "model and dataset"
    detection = []
    for name, entry in directions.items():
        cards = entry.detection
        rows = [(first, "its own", cards.source)]
        if isinstance(cards, TransferredCards):
            rows += [(other, f"of {first}", cards.source_threshold), (other, "refitted", cards.refitted)]
        detection += [
            [direction_words(name), model, which, number(card.threshold, 3),
             card.auroc, card.f1, card.precision, card.recall, card.mcc, number(card.base_rate)]
            for model, which, card in rows
        ]  # fmt: skip
    steering = []
    for name, entry in directions.items():
        steered = entry.steering
        if isinstance(steered, TransferredSteering):
            both = ((first, steered.source.effect), (other, steered.effect))
            steering += [
                [direction_words(name), steered.wanted, model, points(one.net_change),
                 percent(one.correction.rate), percent(one.corruption.rate),
                 percent(one.newly_degenerate.rate), number(one.trajectory_kl, 3), one.n]
                for model, one in both if one is not None
            ]  # fmt: skip
    fits = [
        [site.layer, site.missed_share, site.source.missed_share, site.fvu_between, site.source.fvu_between, site.n]
        for site in sites
    ]
    return [
        ResultTable(
            title=f"Detection {names.in_both}",
            columns=["direction", where, "threshold", "threshold's value", "AUROC", "F1", "precision", "recall",
                     "Matthews correlation", "base rate"],
            rows=detection,
        ),
        ResultTable(
            title=f"Steering {names.in_both}",
            columns=["direction", "should", where, "net change", "corrected, of failed", "corrupted, of passed",
                     "newly degenerate", "disturbance [nats per token]", "problems"],
            rows=steering,
        ),
        ResultTable(
            title="What the SAEs miss at the last prompt token",
            columns=["layer", f"share of |x|^2 in {other}", f"in {first}", f"between-prompt FVU in {other}",
                     f"in {first}", "activations"],
            rows=fits,
        ),
    ]  # fmt: skip


def percent_of(fit: TransferSite | PromptFitFacts) -> str:
    return "an unknown share" if fit.missed_share is None else f"{100 * fit.missed_share:.2g} %"


def in_short(entry: TransferredDirection) -> str:
    """For the summary of the run."""
    cards = entry.detection
    words = cards.why if isinstance(cards, NotTransferred) else str(cards.verdict)
    return words if entry.steering is None else f"{words}; steered: {entry.steering.verdict}"
