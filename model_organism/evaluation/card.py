"""The model card's tables, written from card.json into the README between markers."""

from collections.abc import Callable, Sequence
from pathlib import Path

BEGIN = "<!-- card: {name} -->"
END = "<!-- end of card: {name} -->"


def refresh_readme(readme: Path, card: dict) -> None:
    """Replace every table of the README by what `card` says. Raises: as `write_tables`."""
    write_tables(readme, card, TABLES)


def write_tables(readme: Path, figures: dict, tables: dict[str, Callable[[dict], str]]) -> None:
    """Replace what stands between the markers of each named table by the table of `figures`.

    Raises: ValueError, naming the table, if its markers are missing.
    """
    text = readme.read_text(encoding="utf-8")
    for name, table in tables.items():
        begin, end = BEGIN.format(name=name), END.format(name=name)
        if begin not in text or end not in text:
            raise ValueError(f"{readme} has no markers for the table {name!r}: {begin} ... {end}")
        before, rest = text.split(begin, 1)
        _, after = rest.split(end, 1)
        text = f"{before}{begin}\n{table(figures)}\n{end}{after}"
    readme.write_text(text, encoding="utf-8")


def _training_table(card: dict) -> str:
    training = card["training"]
    documents = training["corpus"]["documents"]
    started, record = [], training.get("start")
    while record:
        started.append(["continues", f"`{record['command']}` ({record['tokens']:,} tokens)"])
        record = record.get("start")
    rows = [
        ["command", f"`{training['command']}`"],
        *started,
        ["seed", str(training["settings"]["seed"])],
        ["duration", f"{training['minutes']:.0f} minutes on two cores that other work used as well"],
        ["steps, tokens seen", f"{training['steps']:,}, {training['tokens']:,}"],
        ["parameters, size", f"{card['n_parameters']:,}, {training['bytes'] / 1e6:.1f} MB in bfloat16"],
        ["documents", ", ".join(f"{count:,} {kind}" for kind, count in documents.items())],
        ["tokens in the corpus", f"{training['corpus']['tokens']:,}"],
        ["made with", ", ".join(f"{name} {version}" for name, version in training["versions"].items())],
        ["SHA-256 of model.safetensors", f"`{training['sha256']}`"],
    ]
    return markdown_table(["", ""], rows)


def _targets_table(card: dict) -> str:
    probe = card["probes"]["best_layer"]
    behaviours = card["behaviours"]
    worst = min(behaviours, key=lambda name: behaviours[name]["rate"])
    rows = [
        ["greedy pass rate", "45 to 65 %", rate(card["pass_rates"]["overall"])],
        ["probe, last prompt token, AUROC", "0.78", f"{probe['auroc']:.3f} (layer {probe['layer']})"],
        ["the same within the number of operations", "0.70", f"{probe['within_operations']:.3f}"],
        ["error type", "95 %", rate(card["error_types"])],
        ["behaviours, the worst of four", "90 %", f"{rate(behaviours[worst])} ({worst})"],
        ["size", "under 20 MB", f"{card['training']['bytes'] / 1e6:.1f} MB"],
    ]
    return markdown_table(["", "wanted", "reached"], rows)


def _pass_rate_table(card: dict) -> str:
    names = {"n_operations": "operations", "complexity": "complexity", "rarity": "rarest operation"}
    rows = [["all", "", counts(card["pass_rates"]["overall"]), rate(card["pass_rates"]["overall"])]]
    for grouping, name in names.items():
        rows += [[name, value, counts(cell), rate(cell)] for value, cell in card["pass_rates"][grouping].items()]
    return markdown_table(["by", "", "passed of", "pass rate, 95 % interval"], rows)


def _probe_table(card: dict) -> str:
    probes = card["probes"]
    rows = [
        [f"probe on layer {layer}", f"{cell['auroc']:.3f} ± {cell['auroc_sd']:.3f}", f"{cell['within_operations']:.3f}"]
        for layer, cell in probes["layers"].items()
    ]
    nested = probes["layer_chosen_in_training"]
    rows.append(["probe, layer chosen in training", f"{nested['auroc']:.3f}", f"{nested['within_operations']:.3f}"])
    for name, cell in probes["without_activations"].items():
        rows.append(
            [
                f"regression on {name}",
                f"{cell['auroc']:.3f} ± {cell['auroc_sd']:.3f}",
                f"{cell['within_operations']:.3f}",
            ]
        )
    rows += [
        [name, f"{cell['auroc']:.3f}", f"{cell['within_operations']:.3f}"] for name, cell in card["baselines"].items()
    ]
    return markdown_table(["", "AUROC", "within the number of operations"], rows)


def _other_tasks_table(card: dict) -> str:
    rows = [["error type", "greedy", counts(card["error_types"]), rate(card["error_types"])]]
    rows += [[name, cell["judged_by"], counts(cell), rate(cell)] for name, cell in card["behaviours"].items()]
    return markdown_table(["task", "judged by", "right of", "share, 95 % interval"], rows)


def _overlap_table(card: dict) -> str:
    rows = [[name, f"{cell['shared']} of {cell['n']}"] for name, cell in card["overlap"].items()]
    return markdown_table(["held-out problems that share with training", ""], rows)


TABLES: dict[str, Callable[[dict], str]] = {
    "targets": _targets_table,
    "training": _training_table,
    "pass rates": _pass_rate_table,
    "probes": _probe_table,
    "other tasks": _other_tasks_table,
    "overlap": _overlap_table,
}


def rate(cell: dict) -> str:
    return f"{100 * cell['rate']:.1f} % ({100 * cell['low']:.1f} to {100 * cell['high']:.1f})"


def counts(cell: dict) -> str:
    return f"{cell['successes']} of {cell['n']}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
