"""The tables of SAEs and transcoders, written from saes.json into the README between markers."""

from collections.abc import Callable
from pathlib import Path

from model_organism.evaluation.card import markdown_table, write_tables

HEADER = [
    "layer",
    "L0",
    "FVU",
    "L0, last prompt token",
    "FVU, last prompt token",
    "cross-entropy recovered",
    "dead latents",
    "best latent, AUROC",
    "within operations",
    "minutes",
]


def refresh_readme(readme: Path, figures: dict) -> None:
    """Replace the tables of SAEs and transcoders, and what was measured on, by what `figures` says."""
    write_tables(readme, figures, TABLES)


def _measurement(figures: dict) -> str:
    held_out = figures["held_out"]
    return (
        f"Measured on {held_out['tokens']:,} held-out tokens (cross-entropy on "
        f"{held_out['tokens_for_cross_entropy']:,} of them) and the last prompt token of the\n"
        f"{held_out['prompts']} held-out problems. All twelve together take {figures['bytes'] / 1e6:.1f} MB."
    )


def _layer_table(layers: dict[str, dict]) -> str:
    return markdown_table(HEADER, [[layer, *_cells(figures)] for layer, figures in layers.items()])


def _neighbour_table(layers: dict[str, dict]) -> str:
    """FVU of each SAE on its own layer and on those beside it, on text and on last prompt tokens."""
    rows = []
    for layer, figures in layers.items():
        fed = figures["fvu_fed_other_layers"]
        own = {"text": figures["fvu"], "prompts": figures["fvu_prompts"]}
        cells = [own, *(fed.get(str(int(layer) + step)) for step in (-1, 1))]
        rows.append([layer, *(f"{cell['text']:.3f}, {cell['prompts']:.3f}" if cell else "" for cell in cells)])
    return markdown_table(["SAE of layer", "fed its own", "fed the layer before", "fed the layer after"], rows)


def _cells(figures: dict) -> list[str]:
    best = figures["best_latent"]
    return [
        f"{figures['l0']:.1f}",
        f"{figures['fvu']:.3f}",
        f"{figures['l0_prompts']:.1f}",
        f"{figures['fvu_prompts']:.3f}",
        f"{figures['cross_entropy']['recovered']:.3f}",
        f"{100 * figures['dead']:.1f} %",
        f"{best['auroc']:.3f} ± {best['auroc_sd']:.3f}",
        f"{best['within_operations']:.3f}",
        f"{figures['minutes']:.1f}",
    ]


TABLES: dict[str, Callable[[dict], str]] = {
    "sae measurement": _measurement,
    "saes": lambda figures: _layer_table(figures["saes"]),
    "transcoders": lambda figures: _layer_table(figures["transcoders"]),
    "sae neighbours": lambda figures: _neighbour_table(figures["saes"]),
}
