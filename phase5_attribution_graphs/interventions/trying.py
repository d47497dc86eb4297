"""Phase 5.5: latents that graphs name, tried in the model itself, against latents that match them.

    python3 run.py phase 5.5 --preset demo

1. Of each test prompt of phase 5.1 the graph of its two answers is built anew, which takes less than reading it.
2. What it names is set to zero, to its mean over train prompts, and below zero, with attention and norms free and as
   recorded; beside it random sets that match it by layer, position and activation (ablations.py, nulls.py).
3. Each latent of the pruned graph is set to zero alone (importance.py), latents are patched between paired prompts
   (patching.py), and the top one is added as a direction (steering.py).
4. All prompts of a behaviour are judged together (summary.py).

Record i is the i-th prompt that is tried, behaviour by behaviour. What transcoders miss stays, recomputed, throughout.
"""

from collections import defaultdict
from collections.abc import Sequence

from common import handoffs
from common.errors import ConfigError
from common.handoffs.circuit_interventions import InterventionsDocument
from common.model.loading import load_model
from common.phases.context import RunContext
from common.runs.records import RecordWriter
from common.tables import TableRow
from phase5_attribution_graphs.baseline.baseline import csv_of
from phase5_attribution_graphs.interventions.circuits import TOP_SIGNED
from phase5_attribution_graphs.interventions.config import CircuitInterventionsConfig
from phase5_attribution_graphs.interventions.figures import effects_beside_nulls
from phase5_attribution_graphs.interventions.study import Studied, Study
from phase5_attribution_graphs.interventions.summary import COMPARED, Evidence, summarize
from phase5_attribution_graphs.interventions.words import in_short
from phase5_attribution_graphs.replacement.transcoders import load_transcoders

TEST = "test"
TABLES = ("circuits.parquet", "effects.parquet", "importance.parquet")
NULLS = "nulls"


def run(ctx: RunContext[CircuitInterventionsConfig], config: CircuitInterventionsConfig) -> None:
    tried = tried_prompts(ctx)
    if not tried:
        raise ConfigError(
            f"no prompt in {ctx.read(handoffs.CIRCUIT_PROMPTS).path} is of the split '{TEST}'\n"
            f'Mark some in the file of --prompts with "split": "{TEST}", and make them again: run.py phase 5.1'
        )
    with ctx.write() as out:
        out.conclude = lambda: conclude(ctx, out)
        if out.n_wanted:  # the run that only joins what slices left needs no model
            write(ctx, out, tried)


def tried_prompts(ctx: RunContext[CircuitInterventionsConfig]) -> list[TableRow]:
    """The first test prompts of each behaviour."""
    prompts_of: dict[str, list[TableRow]] = defaultdict(list)
    for row in ctx.read(handoffs.CIRCUIT_PROMPTS).table("prompts.parquet"):
        if row["split"] == TEST and len(prompts_of[row["behaviour"]]) < ctx.config.n_prompts:
            prompts_of[row["behaviour"]].append(row)
    return [row for rows in prompts_of.values() for row in rows]


def count_records(ctx: RunContext[CircuitInterventionsConfig]) -> int:
    return len(tried_prompts(ctx))


def write(ctx: RunContext[CircuitInterventionsConfig], out: RecordWriter, tried: Sequence[TableRow]) -> None:
    config = ctx.config
    ctx.log.info("loading %s", config.model)
    lm = load_model(config.model, ctx.device, config.dtype, config.threads, revision=config.revision)
    transcoders = load_transcoders(config.source(), lm)
    study = Study(lm, transcoders, ctx.read(handoffs.CIRCUIT_PROMPTS).table("prompts.parquet"), config, ctx.log)
    out.process |= {"model": lm.describe()}
    for [index] in out.batches(1):
        studied = study.of(tried[index])
        which = {"record": index, "behaviour": tried[index]["behaviour"]}
        circuit = {**which, "prompt_record": tried[index]["record"], **studied.circuit}
        rows = [circuit, *([{**which, **row} for row in each] for each in (studied.effects, studied.importance))]
        arrays = {f"{NULLS}/{name}": null for name, null in studied.nulls.items()}
        out.append(index, dict(zip(TABLES, rows, strict=True)), arrays)
        ctx.log.info("%d of %d, %s: %s", index + 1, len(tried), which["behaviour"], _told(studied))


def _told(studied: Studied) -> str:
    [row] = [row for row in studied.effects if row["set"] == TOP_SIGNED and row["rank"] > 0]
    return f"{row['n_latents']} latents take {row['effect']:.2f} of {row['whole']:.2f}, rank {row['rank']}"


def conclude(ctx: RunContext[CircuitInterventionsConfig], out: RecordWriter) -> None:
    """Write interventions.json, the tables as CSV, and the figure, which follow from all records."""
    config, evidence = ctx.config, evidence_of(out)
    document = InterventionsDocument(
        experiment=out.identity["experiment"],
        n=out.n_records,
        n_nulls=config.n_nulls,
        set_size=config.set_size,
        inhibit=config.inhibit,
        seed=config.seed,
        behaviours=summarize(evidence, config.n_resamples, config.seed),
    )
    out.document("interventions.json", document)
    for name in TABLES:
        out.file(name.replace(".parquet", ".csv"), csv_of(out.joined_rows(name)))
    out.file("figures/effects.png", effects_beside_nulls(evidence, document))
    lines = {name: in_short(one) for name, one in document.behaviours.items()}
    for name, line in lines.items():
        ctx.log.info("%s: %s", name, line)
    out.summary = {"prompts": out.n_records, **{name: str(_verdict(document, name)) for name in lines}}


def evidence_of(out: RecordWriter) -> dict[str, Evidence]:
    """By behaviour, in the order of the records."""
    circuits, effects = (out.joined_rows(name) for name in TABLES[:2])
    nulls = {name: out.joined_tensor(f"{NULLS}/{name}") for name in COMPARED}
    evidence = {}
    for behaviour in dict.fromkeys(row["behaviour"] for row in circuits):
        numbers = [number for number, row in enumerate(circuits) if row["behaviour"] == behaviour]
        evidence[behaviour] = Evidence(
            [circuits[number] for number in numbers],
            [row for row in effects if row["behaviour"] == behaviour],
            {name: null[numbers] for name, null in nulls.items()},
        )
    return evidence


def _verdict(document: InterventionsDocument, behaviour: str) -> str:
    return document.behaviours[behaviour].sets[TOP_SIGNED].verdict
