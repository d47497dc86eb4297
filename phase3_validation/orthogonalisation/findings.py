"""What the programs of orthogonalised models say: statistics of phase 3.3, the weights' verification, and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.interventions.comparisons import LOWER, OUTCOME, RAISE, compare_direction, judge_family
from common.interventions.conditions import MATCHED_LATENT, Variant
from common.interventions.directions import Direction
from common.interventions.outcomes import Row
from common.words import direction_words, latent_words, listed, number, p_words, percent, points

Entry = dict[str, Any]
RowsOf = dict[Variant, list[Row]]


def entries(
    directions: Sequence[Direction], before: Sequence[Row], rows: RowsOf, own: dict[str, Variant],
    controls: dict[str, dict[int, Variant]],
) -> dict[str, Entry]:  # fmt: skip
    """A direction's entry is that of steering.json. `wanted` is what its loss should do to the pass rate."""
    found = {}
    for direction in directions:
        wanted = LOWER if direction.positive == "correct" else RAISE
        matched = {MATCHED_LATENT: {i: rows[variant] for i, variant in controls[direction.name].items()}}
        compared = compare_direction(before, rows[own[direction.name]], matched, wanted)
        found[direction.name] = {"latent": direction.facts, "wanted": wanted, "layer": direction.layer, **compared}
    judge_family(found)
    return found


def verification(
    rows: RowsOf, own: dict[str, Variant], controls: dict[str, dict[int, Variant]], limit: float
) -> dict[str, Entry]:
    """For each direction the largest |<d, write>| / |write| of all prompts: before, after, and where.

    `controls` is the largest of its matched latents'; `limit` is what was allowed.
    """
    found = {}
    for name, variant in own.items():
        worst = max(rows[variant], key=lambda row: row["share"])
        of_controls = [row["share"] for control in controls[name].values() for row in rows[control]]
        found[name] = {
            "worst": worst["share"], "component": worst["component"], "limit": limit,
            "before": max(row["share_before"] for row in rows[variant]), "controls": max(of_controls),
            "n_prompts": len(rows[variant]),
        }  # fmt: skip
    return found


def sentences(verified: dict[str, Entry], found: dict[str, Entry]) -> list[str]:
    """The measurement of the weights, then a paragraph for each direction."""
    worst = max(max(entry["worst"], entry["controls"]) for entry in verified.values())
    before = [f"{entry['before']:.2f} for {direction_words(name)}" for name, entry in verified.items()]
    limit = next(iter(verified.values()))["limit"]
    checked = (
        f"Measured on every prompt: of what any component writes to the residual stream, at most {worst:.1g} of its "
        f"length still lies along a removed direction (allowed: {limit:.1g}). In the unchanged model it is up to "
        f"{listed(before)}."
    )
    return [checked, *(_sentence(name, entry) for name, entry in found.items())]


def _sentence(name: str, entry: Entry) -> str:
    changed, matched, p_holm = entry["effect"], entry["controls"][MATCHED_LATENT], entry["p_holm"]
    outcome = {RAISE: "correction", LOWER: "corruption"}[entry["wanted"]]
    power = entry["smallest_effect"]["words"]
    return (
        f"Without {direction_words(name)} ({latent_words(entry['latent'])}), which should {entry['wanted']} the pass "
        f"rate, it changes by {points(changed['net_change'])}: {changed['correction']['n']} programs corrected, "
        f"{changed['corruption']['n']} corrupted, of {changed['n']} (McNemar, Holm: {p_words(p_holm['mcnemar'])}). "
        f"Of the programs that could be, {percent(changed[outcome]['rate'])} are {OUTCOME[entry['wanted']]}; without a "
        f"matched latent {percent(matched['pooled']['rate'])} (Fisher, Holm: {p_words(p_holm['fisher'])}). Its net "
        f"change ranks {matched['rank'] or 'nowhere'} of {matched['n'] + 1} among them. Verdict: {entry['verdict']}. "
        f"{power[:1].upper()}{power[1:]}."
    )


def tables(verified: dict[str, Entry], found: dict[str, Entry]) -> list[Entry]:
    """As the report shows them: title, columns, rows."""
    changes = [
        [
            direction_words(name), entry["wanted"], percent(entry["effect"]["pass_rate"]),
            points(entry["effect"]["net_change"]), percent(entry["effect"]["correction"]["rate"]),
            percent(entry["effect"]["corruption"]["rate"]), percent(entry["effect"]["newly_degenerate"]["rate"]),
            number(entry["effect"]["median_kl"], 3), entry["verdict"],
        ]
        for name, entry in found.items()
    ]  # fmt: skip
    controls = [
        [direction_words(name), control["index"], control["n_corrected"], control["n_corrupted"],
         points({"value": control["net_change"]}), number(control["median_kl"], 3)]
        for name, entry in found.items()
        for control in entry["controls"][MATCHED_LATENT]["each"]
    ]  # fmt: skip
    weights = [
        [direction_words(name), f"{entry['before']:.2g}", f"{entry['worst']:.1e}", entry["component"],
         f"{entry['controls']:.1e}", f"{entry['limit']:.1e}", entry["n_prompts"]]
        for name, entry in verified.items()
    ]  # fmt: skip
    return [
        {"title": "The model without each direction",
         "columns": ["taken away", "should", "pass rate", "net change", "corrected, of failed", "corrupted, of passed",
                     "newly degenerate", "median KL of the first token [nats]", "verdict"], "rows": changes},
        {"title": "Largest share of what a component writes along the direction",
         "columns": ["taken away", "before", "after", "written by", "after, matched latents", "allowed", "prompts"],
         "rows": weights},
        {"title": "The model without each matched latent",
         "columns": ["in place of", "latent", "corrected", "corrupted", "net change",
                     "median KL of the first token [nats]"], "rows": controls},
    ]  # fmt: skip
