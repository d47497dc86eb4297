"""Measure which errors the organism tells apart on minimal pairs with held-out words and held-out templates.

    python3 -m model_organism.evaluate_errors

Writes model_organism/weights/errors.json and its tables in model_organism/README.md. The figures of another
--model, such as an exported checkpoint, are written beside that folder.
"""

import argparse
import json
import logging
from pathlib import Path

from common.errors import PipelineError
from common.model.loading import load_model
from model_organism.evaluation.card import counts, markdown_table, rate, write_tables
from model_organism.evaluation.error_contrasts import GROUPS, N_PAIRS, error_contrasts
from model_organism.evaluation.held_out_answers import behaviour_accuracies, error_type_accuracy
from model_organism.train_model import sha256_of

HERE = Path(__file__).resolve().parent
SHIPPED = HERE / "weights" / "model"

logger = logging.getLogger(__name__)


def contrast_table(figures: dict) -> str:
    rows = []
    for group in GROUPS:
        for contrast, cell in figures[group].items():
            both, nothing, greedy = cell["both_signs"], cell["against_nothing"], cell["greedy"]
            rows.append([group, contrast, counts(both), rate(both), rate(nothing), rate(greedy)])
    header = [
        "held out",
        "contrast",
        "pairs",
        "both signs right",
        "error or nothing, both signs",
        "greedy answer right",
    ]
    return markdown_table(header, rows)


def target_table(figures: dict) -> str:
    rows = []
    for group, wanted in {"words": "95 %", "templates": "70 %"}.items():
        cells = {contrast: cell["both_signs"] for contrast, cell in figures[group].items()}
        worst = min(cells, key=lambda contrast: cells[contrast]["rate"])
        mean = sum(cell["rate"] for cell in cells.values()) / len(cells)
        rows.append([f"held-out {group}", wanted, f"{rate(cells[worst])} ({worst})", f"{100 * mean:.1f} %"])
    return markdown_table(["both signs right", "wanted", "the worst of six contrasts", "mean of six"], rows)


def refresh_readme(readme: Path, figures: dict) -> None:
    """Replace the tables of errors by what `figures` say. Raises: as `write_tables`."""
    write_tables(readme, figures, {"error targets": target_table, "error contrasts": contrast_table})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=SHIPPED, help="folder of the model (default: the shipped one)")
    parser.add_argument("--pairs", type=int, default=N_PAIRS, help=f"pairs of each contrast (default: {N_PAIRS})")
    parser.add_argument("--other-tasks", action="store_true", help="measure error types and behaviours as well")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        lm = load_model(str(arguments.model), "cpu", "float32")
    except PipelineError as error:
        parser.exit(2, f"error: {error}\n")
    figures: dict = {"sha256": sha256_of(arguments.model / "model.safetensors")}
    figures |= error_contrasts(lm, arguments.pairs)
    logger.info("both signs right\n%s\n%s", target_table(figures), contrast_table(figures))
    if arguments.other_tasks:
        figures["other_tasks"] = {"error type": error_type_accuracy(lm), **behaviour_accuracies(lm)}
        logger.info("%s", {name: rate(cell) for name, cell in figures["other_tasks"].items()})
    path = arguments.model.parent / "errors.json"
    path.write_text(json.dumps(figures, indent=1) + "\n")
    if arguments.model.resolve() == SHIPPED:
        refresh_readme(HERE / "README.md", figures)
    logger.info("wrote %s", path)


if __name__ == "__main__":
    main()
