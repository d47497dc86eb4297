"""What `natural.probes` measured, as Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any


def tables_of(results: dict[str, Any]) -> dict[str, str]:
    """Table by name, as the page's places are called."""
    errors = ([row["error"], row["n"], f"{row['share']:.1%}"] for row in results["errors"])
    baselines = (
        [row["name"], row["known"], with_interval(row["auroc"]), with_interval(row["within_complexity"])]
        for row in results["baselines"]
    )
    return {
        "pass rate by difficulty": _rates(results["by_difficulty"], "stratum", "difficulty"),
        "pass rate by temperature": _rates(results["by_temperature"], "temperature", "temperature"),
        "errors": table(("error", "programs", "of the failures"), errors),
        "probes": _probes(results["probes"]),
        "baselines": table(("score", "known", "AUROC", "within equal complexity"), baselines),
        "gains": _gains(results["gains"]),
    }


def _rates(rows: Sequence[dict[str, Any]], key: str, heading: str) -> str:
    cells = (
        [row[key], row["n"], row["correct"], f"{row['value']:.1%} ({row['low']:.1%} to {row['high']:.1%})"]
        for row in rows
    )
    return table((heading, "programs", "pass", "pass rate"), cells)


def _probes(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each layer; for each position cross-validated, fitted on sae, and fitted on sae + hyperparams."""
    positions = list(dict.fromkeys(row["position"] for row in rows))
    by_place = {(row["layer"], row["position"]): row for row in rows}
    lines = []
    for layer in sorted({row["layer"] for row in rows}):
        line: list[Any] = [layer]
        for position in positions:
            row = by_place[layer, position]
            both = row["fitted_on_sae_and_hyperparams"]["value"]
            line += [_three(row["cross_validated"]), with_interval(row["fitted_on_sae"]), _three(both)]
        lines.append(line)
    kinds = ("cross-validated", "on validation", "fitted on sae + hyperparams")
    return table(("layer", *(f"{position}: {kind}" for position in positions for kind in kinds)), lines)


def _gains(rows: Sequence[dict[str, Any]]) -> str:
    columns = ("probe", "probe_within_complexity", "without", "with_probe", "gain")
    cells = ([row["position"], row["layer"], *(with_interval(row[name]) for name in columns)] for row in rows)
    headings = ("position", "layer", "probe alone", "within equal complexity", "baselines together", "with the probe")
    return table((*headings, "gain"), cells)


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def with_interval(cell: dict[str, Any]) -> str:
    if cell["value"] is None:
        return "undefined"
    return f"{_three(cell['value'])} ({_three(cell['low'])} to {_three(cell['high'])})"


def _three(value: float) -> str:
    return f"{value:.3f}"
