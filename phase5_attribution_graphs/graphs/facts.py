"""What phase 5.3 found out of latents, for the pages of graphs: where they fire most, and which tokens they write."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from common.handoffs import CIRCUIT_LATENTS
from common.phases.context import RunContext
from common.report.graphs.graph_document import LogitEffect, TextExample
from common.saes.dictionary import Latent
from phase5_attribution_graphs.graphs.exporting import LatentFacts
from phase5_attribution_graphs.latents.effects import PROMOTES, SUPPRESSES


def facts_of(ctx: RunContext) -> Mapping[Latent, LatentFacts]:
    """Of each latent that phase 5.3 described; none where it was not run."""
    if CIRCUIT_LATENTS.name not in ctx.artifacts:
        return {}
    described = ctx.read(CIRCUIT_LATENTS)
    examples, effects = (_by_latent(described.table(f"{name}.parquet")) for name in ("examples", "effects"))
    return {
        latent: LatentFacts(
            tuple(_example(row) for row in examples[latent]),
            tuple(_effect(row) for row in effects[latent] if row["side"] == PROMOTES),
            tuple(_effect(row) for row in effects[latent] if row["side"] == SUPPRESSES),
        )
        for latent in {*examples, *effects}
    }


def _by_latent(rows: list[dict[str, Any]]) -> dict[Latent, list[dict[str, Any]]]:
    by_latent: dict[Latent, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["rank"]):
        by_latent[row["layer"], row["latent"]].append(row)
    return by_latent


def _example(row: dict[str, Any]) -> TextExample:
    return TextExample(row["before"], row["token"], row["after"], row["activation"])


def _effect(row: dict[str, Any]) -> LogitEffect:
    return LogitEffect(row["token"], row["effect"])
