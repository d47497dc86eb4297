"""`run.py latent`: what one latent fires on and writes, as one HTML file."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from common.cli import Parser
from common.errors import MissingArtifactError
from common.launch.catalogue import Catalogue
from common.launch.running import add_experiment_flags
from common.report.command import KEYS
from common.report.latents.neuronpedia import API, fetch_label
from common.runs.discovery import slug

if TYPE_CHECKING:
    from common.report.blocks import Block
    from common.report.collect import Collected
    from common.report.latents.inputs import Inputs


def main(argv: list[str], _catalogue: Catalogue) -> int:
    args = _parser().parse_args(argv)
    os.environ["HF_HUB_OFFLINE"] = "1"  # before its library is imported: only what lies on this disk is read
    from common.report.latents.inputs import Inputs
    from common.report.latents.page import sections_of_latent
    from common.report.page import Page, write_page

    inputs = Inputs(_experiment(args))
    collected, layer, latent = inputs.collected, args.layer, args.latent
    inputs.latent_of(layer, latent)  # where there is none, there is no page
    label = _label(inputs, layer, latent, args.fetch_label) if args.fetch_label else []
    sections = sections_of_latent(inputs, layer, latent, label)
    heading, kicker = f"Latent {latent} of layer {layer}", f"PVA-SAE · {collected.name}"
    path = args.out or args.data_dir / _usual_file(collected, layer, latent)
    write_page(Page(f"{heading}: {collected.name}", kicker, heading, collected.described, sections), path)
    print(f"Page: {path}")
    return 0


def _experiment(args: argparse.Namespace) -> "Collected":
    """The newest that fits; where phase 2 has not read it with these SAEs yet, what there is of it.

    Raises: MissingArtifactError where there is no finished run of phase 1; ConfigError for unknown SAEs.
    """
    from common.report.collect import choose, collect_experiment, runs_in
    from common.saes.own import OWN, newest_own
    from common.saes.sources import sae_source

    runs, data_dir = runs_in(args.data_dir), args.data_dir
    given = {key: str(value) for key in KEYS if (value := getattr(args, key)) is not None}
    try:
        names = choose(runs, given, data_dir, args.preset)[0]
    except MissingArtifactError:
        if given.pop("sae", None) is None:
            raise
        names = {**choose(runs, given, data_dir, args.preset)[0], "sae": None}
    collected = collect_experiment(runs, names, data_dir)
    if names["sae"] is not None:
        return collected
    typed = {"sae": args.sae or "auto"}
    if typed["sae"] == OWN:
        typed["sae"] = str(newest_own(collected.model_name, "", data_dir))
    identity = sae_source(typed["sae"], collected.model_name).identity
    return collect_experiment(runs, {**names, "sae": identity}, data_dir, typed)


def _label(inputs: "Inputs", layer: int, latent: int, api: str) -> "list[Block]":
    from common.report.blocks import Facts, text
    from common.report.latents.missing import or_why

    known = inputs.sae(layer).neuronpedia_id
    if known is None:
        return [Facts([("Label", text("Neuronpedia has none of this dictionary"))])]
    return or_why(
        lambda: [Facts([("Label", text(fetch_label(known, latent, api) or "Neuronpedia has none of it yet"))])]
    )


def _usual_file(collected: "Collected", layer: int, latent: int) -> Path:
    """One for each latent of each experiment in a data folder."""
    names = (collected.experiment[key] for key in ("model", "dataset", "sae"))
    return Path("latents") / "_".join(map(slug, names)) / f"layer_{layer}_latent_{latent}.html"


def _parser() -> Parser:
    parser = Parser(prog="run.py latent", description="What one latent fires on and writes, as one HTML file.")
    parser.add_argument("layer", type=int, metavar="LAYER", help="block whose output the SAE reads, from 0")
    parser.add_argument("latent", type=int, metavar="INDEX", help="number of the latent in the SAE, from 0")
    add_experiment_flags(parser, preset=None)
    for key in ("model", "dataset", "sae"):
        parser.add_argument(f"--{key}", default=None, help=f"of the experiment with this {key} (default: the newest)")
    parser.add_argument("--limit", type=int, default=None, help="of the pilot of so many problems (default: any)")
    parser.add_argument("--prompt", default=None, help="of the experiment with plain prompts, or chat (default: any)")
    text = f"ask Neuronpedia once for its label, or another server with its API (default: nobody; without URL: {API})"
    parser.add_argument("--fetch-label", nargs="?", const=API, default=None, metavar="URL", help=text)
    text = "file to write (default: latents/MODEL_DATASET_SAE/layer_LAYER_latent_INDEX.html in --data-dir)"
    parser.add_argument("--out", type=Path, default=None, help=text)
    return parser
