"""What phase 6.3 finds on the organism by its dictionaries of three sites: sums of layers, and the errors' share.

    python3 -m model_organism.evaluate_attribution data/phase6_3/<run> data/phase6_3/<run> data/phase6_3/<run>

Takes finished runs of phase 6.3, one for each site, all of the same pairs. Writes
model_organism/weights/attribution.json and its table in model_organism/README.md.
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from common import handoffs
from common.errors import ConfigError, PipelineError
from common.handoffs.error_attribution import ErrorAttributionDocument
from common.runs.artifacts import Artifact
from common.runs.discovery import read_run
from model_organism.evaluation.card import markdown_table, write_tables

HERE = Path(__file__).parent
SITES = {"hook_resid_post": "the stream", "hook_attn_out": "attention", "hook_mlp_out": "the MLP"}

logger = logging.getLogger(__name__)


def finished_run(folder: Path) -> Artifact[ErrorAttributionDocument]:
    """Raises: ConfigError for a folder that is no finished run of phase 6.3."""
    run = read_run(folder, handoffs.ERROR_ATTRIBUTION) if folder.is_dir() else None
    if run is None or run.damage is not None or not run.finished:
        raise ConfigError(
            f"{folder} is no finished run of phase 6.3\nMake one with: python3 run.py phase 6.3 --preset demo"
        )
    return Artifact(handoffs.ERROR_ATTRIBUTION, run, run.document["command"])


def figures_of(run: Artifact[ErrorAttributionDocument]) -> dict[str, Any]:
    """What is told of the first shape."""
    told = run.document()
    shape = told.shapes[0]
    return {
        "command": run.manifest["command"],
        "site": told.site,
        "pairs": {key: getattr(shape, key) for key in ("contrast", "format", "template", "shape", "n")},
        "effect": shape.effect.known,
        "above_null": shape.null_pairs.above,
        "n_nodes": shape.n_nodes,
        "error_share": vars(shape.error_share.share),
        "layers": {
            str(one.layer): {
                "worth": one.worth,
                "sum": one.ig,
                "errors_exact": one.errors.exact,
                "errors_sum": one.errors.signed,
                "errors_absolute": one.errors.absolute,
            }
            for one in shape.layers
        },
    }


def by_site(runs: list[Artifact[ErrorAttributionDocument]]) -> dict[str, Any]:
    """Site -> figures. Raises: ConfigError where a site is given twice, or pairs are not the same."""
    figures = [figures_of(run) for run in runs]
    sites, pairs = [one["site"] for one in figures], [json.dumps(one["pairs"]) for one in figures]
    if sorted(sites) != sorted(SITES) or len({*pairs}) > 1:
        raise ConfigError(
            f"the runs are of {', '.join(sites)} and of {len({*pairs})} groups of pairs\n"
            f"Give one of each of {', '.join(SITES)}, of the same pairs"
        )
    return {site: next(one for one in figures if one["site"] == site) for site in SITES}


def refresh_readme(readme: Path, figures: dict[str, Any]) -> None:
    """Replace the table of attributions, and the sentence above it."""
    write_tables(readme, figures, {"attribution": _table, "attribution pairs": _sentence})


def _sentence(figures: dict[str, Any]) -> str:
    first = next(iter(figures.values()))
    pairs = first["pairs"]
    errors = [
        f"{100 * one['error_share']['value']:.1f} % ({100 * one['error_share']['low']:.1f} to "
        f"{100 * one['error_share']['high']:.1f}) {SITES[site]}"
        for site, one in figures.items()
    ]
    return (
        f"{pairs['contrast']}, \u201c{pairs['template']}\u201d, {pairs['n']} pairs: the whole effect is "
        f"{first['effect']:.1f}. Of it is lost when all errors of a site are changed together: {', '.join(errors)}."
    )


def _table(figures: dict[str, Any]) -> str:
    header = ["output of", "layer", "worth", "sum of its nodes", "errors, exact", "errors, sum", "errors, absolute"]
    rows = [
        [SITES[site], layer, *(f"{layer_figures[key]:.3f}" for key in layer_figures)]
        for site, one in figures.items()
        for layer, layer_figures in one["layers"].items()
    ]
    return markdown_table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs of phase 6.3, one for each site")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        figures = by_site([finished_run(folder) for folder in arguments.runs])
    except PipelineError as error:
        parser.exit(2, f"error: {error}\n")
    path = HERE / "weights" / "attribution.json"
    path.write_text(json.dumps(figures, indent=1) + "\n")
    refresh_readme(HERE / "README.md", figures)
    logger.info("wrote %s", path)


if __name__ == "__main__":
    main()
