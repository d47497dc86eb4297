"""Phase 3.1 on the page: for each direction its evaluation card beside the baselines, strata, and temperatures."""

from dataclasses import replace
from typing import Any

from common.report.blocks import (
    Block,
    Cell,
    Column,
    Facts,
    Heading,
    Paragraph,
    Scale,
    Section,
    Table,
    count_cell,
    estimate,
    figure_cell,
    share,
    text,
)
from common.report.collect import PhaseResult
from common.report.figures import figures_of
from common.words import UNKNOWN, count, direction_words, interval, latent_words, number, p_value, sentence_case

_AREA = Scale(0, 1, 0.5)
_DETECTOR = "detector"
ALWAYS_POSITIVE, PROBE = "always positive", "logistic regression"  # names of baselines in detection.json
_METRICS = (  # key in a card, title, meaning
    ("f1", "F1", "harmonic mean of precision and recall for the direction's positive label"),
    ("precision", "Precision", "share of the programs called positive that are"),
    ("recall", "Recall", "share of the positive programs that are called so"),
    ("specificity", "Specificity", "share of the negative programs that are called so"),
    ("balanced_accuracy", "Balanced accuracy", "mean of recall and specificity; 0.5 is chance"),
    ("mcc", "MCC", "Matthews correlation; 0 is chance"),
    ("average_precision", "Average precision", "area under precision against recall; the base rate is chance"),
)


def best_predictor(result: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Name and entry of the predicting direction with the largest AUROC; None where none could be judged."""
    judged = {
        name: entry
        for name, entry in result["directions"].items()
        if name.startswith("predict") and entry["card"]["auroc"]["value"] is not None
    }
    name = max(judged, key=lambda name: judged[name]["card"]["auroc"]["value"], default=None)
    return None if name is None else (name, judged[name])


def detection_section(phase: PhaseResult) -> Section:
    result = phase.json("detection.json")
    n = result["n"]
    section = Section(
        "detection", "Detection", "Does one latent tell, before a token is written, which programs will fail?",
        source=phase.place,
    )  # fmt: skip
    section.blocks.append(Paragraph(
        f"The threshold maximises F1 on {count(n['hyperparams'])} problems for tuning; every figure below is of the "
        f"{count(n['validation'])} problems of the validation split. Intervals: 95 %, stratified bootstrap, "
        f"{count(result['n_resamples'])} resamples, seed {result['seed']}."
    ))  # fmt: skip
    section.blocks += figures_of(phase, "baselines")
    ordered = sorted(result["directions"].items(), key=lambda item: not item[0].startswith("predict"))
    for place, (name, entry) in enumerate(ordered):
        section.blocks += _direction(name, entry, first=place == 0)
    section.blocks += [_meanings(result), Heading("Curves")]
    section.blocks += [figure for figure in figures_of(phase) if figure not in section.blocks]
    return section


def _meanings(result: dict[str, Any]) -> Table:
    columns = [Column("Score", numeric=False), Column("Meaning", numeric=False)]
    rows = [[Cell(name), Cell(meaning)] for name, meaning in result["baselines"].items()]
    absent = result["baselines_left_out"]
    note = f"Left out, because not every problem has it: {', '.join(absent)}." if absent else ""
    return Table("What the scores are", columns, rows, note=note, folded=True)


def _direction(name: str, entry: dict[str, Any], first: bool) -> list[Block]:
    """What a direction that was selected to predict is worth; of one that was selected to steer, the same in short."""
    latent, positive, card, predicts = entry["latent"], entry["positive"], entry["card"], name.startswith("predict")
    tone = "good" if entry["verdict"] == _DETECTOR else "plain"
    link = latent.get("neuronpedia")
    pairs = [
        ("Latent", text(f"{latent_words(latent)} of {latent['sae_id']}", link)),
        ("Stands for", text(f"{positive} programs: {count(card['n_positive'])} of {count(card['n'])} here")),
        ("Selected by", text(_selection(latent))),
        ("AUROC", text(f"{interval(card['auroc'])}; by DeLong {_delong(card['auroc'])}")),
        ("AUROC within strata", text(f"{interval(entry['auroc_within_strata'])}: only pairs of similar complexity")),
    ]
    within = [f"{quantity} {interval(area)}" for quantity, area in entry["auroc_within"].items()]
    if within and predicts:
        pairs.append(("AUROC within bins of", text("; ".join(within))))
    if entry["random_latents"]["n"] and predicts:
        pairs.append(("Beside random latents", text(_random(entry["random_latents"]))))
    blocks: list[Block] = [Heading(direction_words(name), beside=entry["verdict"], tone=tone), Facts(pairs)]
    blocks.append(_cards(name, entry, folded=not predicts, explained=first))
    blocks += [table for table in (_strata(name, entry), _temperatures(name, entry)) if table.rows]
    return blocks


def _selection(latent: dict[str, Any]) -> str:
    word = "significant" if latent["significant"] else "not significant"
    return f"t = {number(latent['t'])}, family-wise p {p_value(latent['p_max'])}: {word} at 0.05"


def _delong(area: dict[str, Any]) -> str:
    return interval({"value": area["value"], "low": area["delong_low"], "high": area["delong_high"]})


def _random(found: dict[str, Any]) -> str:
    area = found["auroc"]
    return (
        f"AUROC rank {area['rank']} among {count(found['n'])} random latents of the layer, whose median is "
        f"{number(area['median'])} (5 to 95 %: {number(area['q05'])} to {number(area['q95'])})"
    )


def _cards(name: str, entry: dict[str, Any], folded: bool, explained: bool) -> Table:
    """The latent's card and those of the baselines; the columns are `explained` once on the page."""
    columns = [
        Column("Score", numeric=False),
        Column("AUROC", "probability that a positive program scores above a negative one; 0.5 is chance (the line)"),
        *(Column(title, meaning) for _, title, meaning in _METRICS),
        Column("Threshold", "the score above which the positive label is predicted"),
    ]
    if not explained:
        columns = [replace(column, meaning="") for column in columns]
    cards = {"this latent": entry["card"], **entry["baselines"]}
    return Table(
        f"Evaluation card of {direction_words(name)}, beside simpler scores", columns,
        [_card_row(score, card) for score, card in cards.items()], note=_fit(entry["baselines"]), folded=folded,
    )  # fmt: skip


def _fit(baselines: dict[str, Any]) -> str:
    """What is to be said of the probe's fit."""
    probe = baselines.get(PROBE, {})
    if "C" not in probe:
        return ""
    converged = "" if probe.get("converged", True) else ", and it did not converge"
    return f"Logistic regression: C = {probe['C']:g}{converged}."


def _card_row(score: str, card: dict[str, Any]) -> list[Cell]:
    return [
        Cell(score),
        estimate(card["auroc"], scale=_AREA),
        *(estimate(card[key]) for key, _, _ in _METRICS),
        Cell(UNKNOWN if card["threshold"] is None else f"{card['threshold']:.4g}", sort=card["threshold"]),
    ]


def _strata(name: str, entry: dict[str, Any]) -> Table:
    columns = [Column("Stratum", numeric=False), Column("Problems"), Column("Positive"), Column("AUROC"), Column("F1")]
    rows = [
        [Cell(row["stratum"]), count_cell(row["n"]), count_cell(row["n_positive"]),
         estimate(row["auroc"], scale=_AREA), estimate(row["f1"])]
        for row in entry["strata"]
    ]  # fmt: skip
    return Table(f"{sentence_case(direction_words(name))} by difficulty", columns, rows, folded=True)


def _temperatures(name: str, entry: dict[str, Any]) -> Table:
    columns = [
        Column("Temperature"), Column("Problems"), Column("Programs"),
        Column("Base rate", "share of positive programs"),
        Column("AUROC", "intervals by bootstrap over problems"), Column("F1"),
    ]  # fmt: skip
    rows = [
        [
            figure_cell(row["temperature"], 1), count_cell(row["n_problems"]), count_cell(row["n_programs"]),
            share(row["base_rate"]), estimate(row["auroc"], scale=_AREA), estimate(row["f1"]),
        ]
        for row in entry["temperatures"]
    ]  # fmt: skip
    return Table(f"{sentence_case(direction_words(name))} by sampling temperature", columns, rows, folded=True)
