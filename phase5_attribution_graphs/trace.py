"""`run.py trace PROMPT`: one attribution graph of any prompt, checked, in a folder of its own.

    python3 run.py trace "The old farmers near the dog" --answer " are" --against " is" --preset demo
    python3 run.py trace "The capital of France is" --model Qwen/Qwen3-0.6B

With two answers their contrast is explained, at the first token in which they differ; without, the likeliest tokens.
The folder, data/traces/<time>_<prompt>, holds the whole graph (graph.safetensors), what of it is shown (graph.json,
graph.graphml, graph.html), what was verified, and how it was made (trace.json); on request, the heads of its strongest
edges (--head-loadings 50) and what weights alone say of them (--virtual-weights).
"""

import argparse
import dataclasses
import datetime
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.cli import Parser, new_log
from common.errors import ConfigError
from common.files import json_bytes, write_atomic
from common.launch.catalogue import Catalogue
from common.launch.running import add_experiment_flags
from common.model.devices import resolve_device
from common.phases.settings import add_flags, build_config, result_settings, setting
from common.provenance import code_state
from phase5_attribution_graphs.settings import ShownGraphConfig

if TYPE_CHECKING:
    from common.model.language_model import LanguageModel
    from phase5_attribution_graphs.graphs.explaining import Explained, Explainer
    from phase5_attribution_graphs.prompts.token_lists import TokenLists

FOLDER, WHOLE, MADE = "traces", "graph.safetensors", "trace.json"
SLUG_LENGTH = 40


@dataclass(frozen=True, kw_only=True)
class TraceConfig(ShownGraphConfig):
    """Settings of one graph."""

    head_loadings: int = setting(
        0, "strongest edges whose heads are told, layer by layer, in head_loadings.csv", minimum=0
    )
    virtual_weights: bool = setting(
        False, "write virtual_weights.csv: beside each edge between latents shown what weights alone say"
    )


def main(argv: list[str], _catalogue: Catalogue) -> int:
    args = _parser().parse_args(argv)
    if (args.answer is None) != (args.against is None):
        given = f"--answer '{args.answer}'" if args.against is None else f"--against '{args.against}'"
        raise ConfigError(f"only {given} is given, and no answer to compare it with\nGive both, or neither")
    config = build_config(TraceConfig, args.preset, vars(args)).found_in(args.data_dir)
    log = new_log()
    explainer, lists = _loaded(config, resolve_device(args.device))
    token_ids, pair = _read(lists, args)
    log.info("%d tokens: %s", len(token_ids), " ".join(map(str, token_ids)))
    explained = explainer.logits(token_ids) if pair is None else explainer.contrast(token_ids, pair, [])
    folder = args.out or args.data_dir / FOLDER / _name(args.prompt)
    _write(explained, explainer, lists, folder, config, _words(args.prompt))
    _say(explained, folder)
    return 0 if explained.verification.exact else 1


def _loaded(config: TraceConfig, device: str) -> "tuple[Explainer, TokenLists]":
    from common.model.hooks import embeddings_of
    from common.model.loading import load_model
    from phase5_attribution_graphs.graphs.explaining import Explainer, Limits
    from phase5_attribution_graphs.prompts.token_lists import TokenLists
    from phase5_attribution_graphs.replacement.transcoders import load_transcoders

    lm = load_model(config.model, device, config.dtype, config.threads, revision=config.revision)
    limits = Limits(
        max_latents=config.max_latents,
        max_memory_mb=config.max_memory,
        node_share=config.node_share,
        edge_share=config.edge_share,
        n_verified=config.n_verified,
    )
    lists = TokenLists(lm.tokenizer, embeddings_of(lm.model).num_embeddings, lm.name)
    return Explainer(lm, load_transcoders(config.source(), lm), limits), lists


def _read(lists: "TokenLists", args: argparse.Namespace) -> tuple[list[int], tuple[int, int] | None]:
    """Raises: ConfigError for answers that the tokenizer cannot tell apart behind this prompt."""
    from phase5_attribution_graphs.prompts.candidates import TEST, Candidate

    if args.answer is None:
        return lists.of(args.prompt), None
    candidate = Candidate(
        behaviour="trace",
        split=TEST,
        prompt=args.prompt,
        correct=args.answer,
        distractors=(args.against,),
        entity="",
    )
    reading = lists.read(candidate)
    if isinstance(reading, str):
        raise ConfigError(
            f"--answer '{args.answer}' and --against '{args.against}': {reading}\n"
            f"Give two answers that begin with a space, neither of which begins with the other"
        )
    return reading.token_ids, reading.next_tokens


def _write(
    explained: "Explained", explainer: "Explainer", lists: "TokenLists", folder: Path, config: TraceConfig, name: str
) -> None:
    from common.handoffs.document import as_json
    from phase5_attribution_graphs.edge_tables import (
        HEAD_LOADINGS,
        VIRTUAL_WEIGHTS,
        heads_of_edges,
        weights_of_edges,
    )
    from phase5_attribution_graphs.graphs.exporting import graph_document
    from phase5_attribution_graphs.graphs.files import files_of

    lm: LanguageModel = explainer.lm
    document = graph_document(
        explained,
        lm,
        slug=name,
        limits=explainer.limits,
        n_targets=len(explained.targets),
        known={},
        sink=None if lists.sink is None else lists.sink.text,
        settings={"transcoders": config.source().identity},
    )
    now = int(datetime.datetime.now(datetime.UTC).timestamp() * 1000)
    document = dataclasses.replace(document, origin=dataclasses.replace(document.origin, create_time_ms=now))
    files = files_of(document, as_json(explained.verification), with_page=True)
    made = {"settings": result_settings(config), "experiment": config.experiment(), "code": code_state()}
    made |= {"model": lm.describe(), "scores": as_json(explained.scores)}
    if config.head_loadings:
        files[HEAD_LOADINGS] = heads_of_edges(explained, config.head_loadings)
    if config.virtual_weights:
        files[VIRTUAL_WEIGHTS] = weights_of_edges(explained)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in {**files, WHOLE: explained.graph.to_bytes(), MADE: json_bytes(made)}.items():
        write_atomic(folder / name, data)


def _say(explained: "Explained", folder: Path) -> None:
    graph, verification = explained.graph, explained.verification
    value = float(graph.values[graph.n_latents])
    rows = "not asked of a capped graph" if verification.rows is None else f"{verification.rows:.1e}"
    print(f"explained: {explained.targets[0].name}, {value:.2f} before the model's final cap")
    n_shown, scores = len(explained.pruned.latents(graph)), explained.scores
    print(
        f"{graph.n_latents:,} of {graph.n_active:,} active latents, {n_shown} shown; errors add "
        f"{scores.errors_direct:.0%} of it directly, {scores.errors_signed:.0%} along all paths"
    )
    print(
        f"{'exact' if verification.exact else 'NOT EXACT'}: rows miss their value by {rows}, strongest edges "
        f"{verification.strongest.largest:.1e}, random edges {verification.random.largest:.1e}"
    )
    print(f"Page: {folder / 'graph.html'}")


def _name(prompt: str) -> str:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    return f"{now}_{_words(prompt)}"


def _words(prompt: str) -> str:
    """What of a prompt may stand in a file's name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", prompt).strip("-")[:SLUG_LENGTH] or "prompt"


def _parser() -> Parser:
    parser = Parser(prog="run.py trace", description="The attribution graph of one prompt, checked by interventions.")
    parser.add_argument("prompt", metavar="PROMPT", help="text that the model goes on with")
    parser.add_argument("--answer", help="the right answer, with the space before it; default: the likeliest tokens")
    parser.add_argument("--against", help="the wrong answer that it is compared with")
    parser.add_argument("--out", type=Path, help=f"folder for the graph (default: DATA_DIR/{FOLDER}/<time>_<prompt>)")
    parser.add_argument("--device", default="auto", help="auto | cpu | cuda | cuda:N | mps (default: auto)")
    add_experiment_flags(parser)
    add_flags(parser, TraceConfig)
    return parser
