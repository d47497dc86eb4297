"""The README's tables of the dictionaries: from the cards of phase 1.3, and from what they do not say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.handoffs.dictionaries import DictionariesDocument, DictionaryCard
from model_organism.evaluation.behaviour_fit import POOLED
from model_organism.evaluation.card import markdown_table, write_tables

PROMPTS = "prompts.jsonl"  # the file of the mixture with the prompts of problems
OF_PARTS = {"attention_saes": "attention", "mlp_saes": "MLP"}  # what these read the output of
HEADER = (
    "layer",
    "L0",
    "FVU",
    "L0, last prompt token",
    "FVU between prompts",
    "cross-entropy recovered",
    "dead latents",
    "mean firing rate",
    "best latent, AUROC",
    "within operations",
)


def refresh_readme(readme: Path, measured: dict, cards: dict[str, DictionariesDocument]) -> None:
    """Replace the tables of dictionaries: `cards` by the dictionaries' name, `measured` is what they do not say."""
    write_tables(readme, {"measured": measured, **cards}, TABLES)


def _measurement(figures: dict) -> str:
    measured, card = figures["measured"], figures["saes"]
    minutes = " and ".join(f"{measured[name]['minutes']:.0f} minutes" for name in ("saes", "transcoders"))
    size = sum(measured["bytes"][name] for name in ("saes", "transcoders"))
    return (
        f"Trained on {card.tokens:,} tokens each ({minutes} for the six of a kind, on one core), measured on "
        f"{_n_held_out(card):,} tokens that were held out. All twelve together take {size / 1e6:.1f} MB."
    )


def _measurement_of_parts(figures: dict) -> str:
    measured, card = figures["measured"], figures["attention_saes"]
    minutes = " and ".join(f"{measured[name]['minutes']:.0f}" for name in OF_PARTS)
    n_latents = next(iter(card.layers.values())).n_latents
    return (
        f"{n_latents:,} latents each, trained on {card.tokens:,} tokens ({minutes} minutes for the two of a kind, "
        f"on a core that much else used), "
        f"measured on {_n_held_out(card):,} tokens that were held out. All four together take "
        f"{sum(measured['bytes'][name] for name in OF_PARTS) / 1e6:.1f} MB."
    )


def _n_held_out(card: DictionariesDocument) -> int:
    return next(iter(card.layers.values())).text.n


def _layer_table(kind: str) -> Callable[[dict], str]:
    def table(figures: dict) -> str:
        best = figures["measured"]["best_latent"] if kind == "saes" else {}
        rows = [[layer, *_cells(card), *_best(best.get(layer))] for layer, card in figures[kind].layers.items()]
        return markdown_table(HEADER[: len(rows[0])], rows)

    return table


def _parts_table(figures: dict) -> str:
    rows = [
        [part, layer, *_cells(card)] for name, part in OF_PARTS.items() for layer, card in figures[name].layers.items()
    ]
    return markdown_table(["output of", *HEADER[: len(rows[0]) - 1]], rows)


def _cells(card: DictionaryCard) -> list[str]:
    [at_prompts] = [fit for part, fit in card.last_tokens.items() if Path(part).name == PROMPTS]
    recovered = card.cross_entropy.recovered
    between = at_prompts.fvu_between
    return [
        f"{card.text.l0:.1f}",
        f"{card.text.fvu:.3f}",
        f"{at_prompts.l0:.1f}",
        "" if between is None else f"{between:.3f}",
        "" if recovered is None else f"{recovered:.3f}",
        f"{100 * card.dead_share:.1f} %",
        f"{100 * card.firing.mean:.2f} %",
    ]


def _best(best: dict[str, Any] | None) -> list[str]:
    return [] if best is None else [f"{best['auroc']:.3f} ± {best['auroc_sd']:.3f}", f"{best['within_operations']:.3f}"]


def _behaviour_table(figures: dict) -> str:
    fvus = figures["measured"]["behaviour_fvu"]
    names = [name for name in next(iter(fvus.values())) if name != POOLED]
    rows = [
        [layer, *(f"{fvu_of[name]:.3f}" for name in names), f"{fvu_of[POOLED]:.3f}"] for layer, fvu_of in fvus.items()
    ]
    return markdown_table(["layer", *names, "four pooled"], rows)


def _neighbour_table(figures: dict) -> str:
    """FVU of each SAE on its own layer and on those beside it."""
    rows = []
    for layer, card in figures["saes"].layers.items():
        fed = {neighbour.layer: f"{neighbour.fvu:.3f}" for neighbour in card.neighbours}
        rows.append([layer, f"{card.text.fvu:.3f}", *(fed.get(int(layer) + step, "") for step in (-1, 1))])
    return markdown_table(["SAE of layer", "fed its own", "fed the layer before", "fed the layer after"], rows)


TABLES: dict[str, Callable[[dict], str]] = {
    "dictionaries": _measurement,
    "saes": _layer_table("saes"),
    "transcoders": _layer_table("transcoders"),
    "dictionaries of parts": _measurement_of_parts,
    "saes of parts": _parts_table,
    "behaviour fit": _behaviour_table,
    "sae neighbours": _neighbour_table,
}
