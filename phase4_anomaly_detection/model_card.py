"""The README.md of a detector's folder: what it is, what it was measured to be worth, and what it must not be used for.

Every number is taken from detector.json; nothing is computed anew.
"""

from __future__ import annotations

from typing import Any

from common.model.registry import shown_name
from common.words import UNKNOWN
from phase4_anomaly_detection.population import Population

_METRICS = (("auroc", "AUROC"), ("f1", "F1"), ("precision", "Precision"), ("recall", "Recall"))
_METRICS += (("specificity", "Specificity"), ("average_precision", "Average precision"))
_RULES = {
    "probe": "The latents with the largest |t|, of either sign, weighed by a logistic regression.",
    "ace": "Latents that fire more on incorrect texts, weighed by their t (ACE's own rule, for comparison).",
}
_TARGETS = {
    "recall": "share of the incorrect texts that it flags",
    "precision": "share of the texts it flags that are incorrect",
    "flag_rate": "share of all texts that it flags, at most",
}


def model_card(document: dict[str, Any]) -> str:
    """Markdown, from a detector's document."""
    card = document["card"]
    parts = [_head(document), _use(document)]
    parts += (
        [_not_evaluated(document)]
        if card is None
        else [_results(document), _operating_point(document), _calibration(document), _populations(card), _limits(card)]
    )
    parts += [_threshold(document), _latents(document)]
    return "\n\n".join(parts) + "\n"


def _head(document: dict[str, Any]) -> str:
    model, sae = document["model"], document["sae"]
    name = shown_name(model["name"])
    title = f"# Detector of failures of {name}, block {document['layer']}"
    revision = f", revision {model['revision']}" if model["revision"] else ""
    bits = "" if model.get("quantisation", "none") == "none" else f", its weights in {model['quantisation']}"
    chat = "; each is the user's message in the model's chat template" if model.get("prompt") == "chat" else ""
    return (
        f"{title}\n\n**Verdict on texts that it was not made from: {document['verdict']}.**\n\n"
        f"- Model: {name} ({model['identity']}{revision}), read in {model['dtype']}{bits}\n"
        f"- SAE: {sae['id']} ({sae['identity']}), at {document['site']}\n"
        f"- Texts: {document['text']}{chat}\n"
        f"- Population: {Population.from_json(document['population']).words()}\n"
        f"- Experiment: {', '.join(f'{key} {name}' for key, name in document['experiment'].items())}; "
        f"seed {document['seed']}"
    )


def _use(document: dict[str, Any]) -> str:
    return (
        "## Use\n\n```python\nfrom phase4_anomaly_detection import SAEAnomalyPipeline\n\n"
        'detection = SAEAnomalyPipeline.load("this folder").detect("a text")\n```\n\n'
        f"The score is a weighted sum of {_count(len(document['latents']), 'latent')} at the text's last token; "
        "`is_anomaly` says whether it exceeds the threshold. A text of another population gets no score: its route is "
        "abstain, and `reason` says why."
    )


def _not_evaluated(document: dict[str, Any]) -> str:
    return (
        "## Results\n\nNone. The threshold and the probabilities were fitted again, on other texts, and nothing was "
        "measured on texts beyond those. Make a detector with phase 4.1 to have it evaluated."
    )


def _results(document: dict[str, Any]) -> str:
    card = document["card"]
    n, of_detector = card["n"], card["detector"]
    less = card["auroc_minus"]
    rows = [_row("this detector", of_detector, None)]
    rows += [_row(name, each, less.get(name)) for name, each in card["baselines"].items()]
    absent = card["baselines_left_out"]
    left_out = f"\n\nNot every text has these, so they are no baselines: {', '.join(absent)}." if absent else ""
    tried = document["layers_tried"]
    layers = ", ".join(f"{layer}: {area:.3f}" for layer, area in tried.items())
    chosen = (
        f" The layer is the best of {len(tried)} by the AUROC of five-fold cross-validation there ({layers})."
        if tried
        else ""
    )
    again = f" {card['readings']} detectors were evaluated on this split so far." if card["readings"] > 1 else ""
    head = "| score | " + " | ".join(title for _, title in _METRICS) + " | AUROC of the detector less its |"
    rule = "|---|" + "---|" * (len(_METRICS) + 1)
    after = card["known_after"]
    left_out += f"\n\nKnown only after the program is written: {', '.join(after)}." if after else ""
    return (
        f"## Results\n\nLatents and weights were found on {n['sae']} texts, the threshold and the probabilities on "
        f"{n['hyperparams']} others.{chosen} Every number here is of {n['validation']} further texts, of which "
        f"{of_detector['n_positive']} are incorrect ({_number(of_detector['base_rate'])}).{again} In parentheses: "
        f"95 % intervals, {card['n_resamples']:,} bootstrap resamples.\n\n" + "\n".join([head, rule, *rows]) + left_out
    )


def _row(name: str, card: dict[str, Any], less: dict[str, Any] | None) -> str:
    cells = [_interval(card[key]) for key, _ in _METRICS]
    return f"| {name} | " + " | ".join([*cells, "" if less is None else _interval(less)]) + " |"


def _operating_point(document: dict[str, Any]) -> str:
    point, power = document["card"]["operating_point"], document["card"]["power"]
    rows = [
        f"| precision | {_interval(point['precision'])} | {_number(point['base_rate'])} (base rate) | "
        f"{_interval(point['precision_minus_base_rate'])} |",
        f"| recall | {_interval(point['recall'])} | {_number(point['flag_rate']['value'])} (flag rate) | "
        f"{_interval(point['recall_minus_flag_rate'])} |",
    ]
    head = "| of flagging | this detector | a random score that flags as many | difference |\n|---|---|---|---|"
    smallest = power["smallest_auroc"]
    could = "no AUROC" if smallest is None else f"an AUROC of {smallest:.2f}"
    return (
        f"## At its threshold\n\nIt flags {_interval(point['flag_rate'])} of the texts.\n\n{head}\n"
        + "\n".join(rows)
        + f"\n\nThe verdict is about the AUROC alone, whatever the threshold: so many texts would have called {could} "
        f'"ranks" in {100 * power["power"]:g} % of draws.'
    )


def _calibration(document: dict[str, Any]) -> str:
    calibration, target = document["card"]["calibration"], document["card"]["target"]
    chance = calibration["ece_by_chance"]
    method = document["calibration"]["method"]
    note = document["calibration"].get("note")
    value = (
        "nothing was flagged, so it is undefined"
        if target["value"] is None
        else f"{_interval(target)} ({target['count']} of {target['of']})"
    )
    lines = [
        f"- Wanted: {target['kind']} {target['wanted']:g}, the {_TARGETS[target['kind']]}. On validation: {value}: "
        f"**{target['met']}**.",
        f"- Probability of incorrect: {method}. Expected calibration error {_number(calibration['ece'])}; a perfectly "
        f"calibrated one shows {_number(chance['median'])} by chance on as many texts (95 % of the time at most "
        f"{_number(chance['q95'])}). Brier score {_number(calibration['brier'])}; always giving the base rate: "
        f"{_number(calibration['brier_of_base_rate'])}.",
    ]
    lines += [f"- Careful: {note}."] if note else []
    for name, route in document["card"]["routes"].items():
        rate = _interval(route["error_rate"])
        lines.append(f"- {name}: {_count(route['n'], 'text')} ({_number(route['share'])}), of which incorrect: {rate}")
    return "## Is it right when it is sure?\n\n" + "\n".join(lines)


def _populations(card: dict[str, Any]) -> str:
    rows = [
        f"| {read} | {population['n']} | {population['n_abstained']} | {_interval(population['auroc'])} |"
        for read, population in card["populations"].items()
    ]
    head = "| validation texts | given | of another form: abstains | AUROC of the score |\n|---|---|---|---|"
    return f"## On which texts\n\n{head}\n" + "\n".join(rows)


def _limits(card: dict[str, Any]) -> str:
    probe = card["baselines"]["logistic regression"]["auroc"]["value"]
    of_detector = card["detector"]["auroc"]["value"]
    compared = "below" if of_detector < probe else "not below"
    return (
        "## Limits\n\nThe numbers hold for texts like those above, read by this model. On other texts it abstains: by "
        "their form, and where the firing rates of the latents move far from those below. A flagged text is a reason "
        f"to check, no proof of a fault. Its AUROC is {compared} that of a probe of the whole residual stream "
        f"({_number(of_detector)} and {_number(probe)}): the latents are for explanation, not for the last percent."
    )


def _threshold(document: dict[str, Any]) -> str:
    target, band = document["target"], document["abstain"]
    reached = "reached" if target["reached"] else "**not reached by any threshold; this is the nearest**"
    if target["kind"] == "precision":
        bound = f"its lower bound at 95 % is {_number(target['low'])}"
        reached = f"{'reached' if target['reached'] else '**it cannot be promised**'}: {bound}"
    value = "undefined" if target["value"] is None else _number(target["value"])
    abstains = f"from {band['low']:.6g} to {band['high']:.6g} it abstains" if band is not None else "it never abstains"
    names = ("low", "medium", "high", "critical")
    levels = ", ".join(f"{name} from {bound:g}" for name, bound in zip(names, document["levels"], strict=True))
    return (
        f"## Threshold\n\nAbove {document['threshold']:.6g} a text is flagged; {abstains}. Chosen on {target['n']} "
        f"texts for {target['kind']} {target['wanted']:g}: {reached} (there {value}). Levels by probability: {levels}."
    )


def _latents(document: dict[str, Any]) -> str:
    counts = document["selection"]["counts"]
    passed = "; ".join(f"{name}: {count:,}" for name, count in counts.items())
    rows = [
        f"| {latent['latent']} | {latent['t']:.2f} | {latent['weight']:.4g} | {_number(latent['general_text_rate'])} | "
        f"{latent['n_fired']} of {latent['n']} |"
        for latent in document["latents"]
    ]
    head = "| latent | t | weight | fires on general text | fires on validation |\n|---|---|---|---|---|"
    chosen, rule = document["selection"], _RULES[document["weights_rule"]]
    worth = _interval(chosen["cross_validated_auroc"])
    return (
        f"## Latents\n\n{rule} Chosen anew in each of five outer folds of the texts that select, all of this (the "
        f"layer too, where it was chosen) has an AUROC of {worth} there. Latents of the layer ({passed}).\n\n{head}\n"
        + "\n".join(rows)
    )


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3f}"


def _interval(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return UNKNOWN
    if estimate["low"] is None:
        return _number(estimate["value"])
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"
