"""Phase 1.1: what is in the residual stream while the model reads general text.

    python3 run.py phase 1.1 --model google/gemma-2-2b

1. The model reads the first tokens of each document; the output of every block is kept at one random position.
2. When all documents are there: the mean norms of the residual stream, by layer and site.

No SAE is asked: which documents make a latent fire is told from these activations, for whichever SAEs a phase reads.
"""

import math
from typing import Any

from common import handoffs
from common.errors import ConfigError
from common.model.general_text import first_documents, load_text, text_for
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.model.memory import FittingParts, batch_bytes
from common.model.text_activations import Reading, count_positions, mean_norms, read_documents
from common.phases.context import RunContext
from common.programs.expectations import expectations
from common.progress import Progress
from common.runs.records import RecordWriter
from phase1_dataset_building.config import GeneralTextConfig


def run(ctx: RunContext, config: GeneralTextConfig) -> None:
    name = text_for(config.text, config.model)
    documents = first_documents(name, config.documents)
    with ctx.write() as out:
        out.summarize = lambda rows: {"documents": len(rows)}
        out.conclude = lambda: conclude(out, config)
        out.details["text"] = {"source": load_text(name).source, "sha256": load_text(name).sha256}
        if not out.n_wanted:  # the run that only joins what slices left needs no model
            return
        if len(documents) < config.documents:
            n_blank = config.documents - len(documents)
            ctx.log.info("%d of the first %d documents are blank: left out", n_blank, config.documents)
        for line in expectations(ctx):
            ctx.log.info("%s", line)
        ctx.log.info("loading %s", config.model)
        lm = load_model(config.model, ctx.device, config.dtype, config.threads, revision=config.revision)

        def read(some: list[int]) -> list[Reading]:
            texts = [documents[index] for index in some]
            return read_documents(lm, texts, max_tokens=config.max_tokens, base_seed=config.seed)

        def expected(some: list[int]) -> int:
            return batch_bytes(lm.model, len(some), config.max_tokens, 0)

        name = "document {}".format
        fitting = FittingParts(read, size=len, expected=expected, name=name, device=lm.device, log=ctx.log)
        with Progress(out.end - out.start + 1, ["done"] * len(out.saved_rows), ctx.log, "documents") as progress:
            for batch in out.batches(config.batch_size):
                readings = fitting(batch)
                wanted = [index for index in batch if out.wants(index)]
                for index in wanted:
                    append(out, lm, index, readings[index - batch[0]])
                out.process |= {"model": lm.describe()}
                progress.add(["done"] * len(wanted))


def append(out: RecordWriter, lm: LanguageModel, index: int, reading: Reading) -> None:
    token_id = reading.token_ids[reading.position]
    row = {
        "document": index,
        "n_tokens": len(reading.token_ids),
        "position": reading.position,
        "token_id": token_id,
        "token": lm.tokenizer.decode([token_id]),
    }
    assert reading.norm_sum is not None  # it is that of the whole batch
    layers = enumerate(reading.resid_post)
    tensors = {f"activations/layer_{layer:02d}/resid_post": resid for layer, resid in layers}
    out.append(index, {"documents.parquet": row}, {**tensors, "resid_norms/norm_sum": reading.norm_sum})


def conclude(out: RecordWriter, config: GeneralTextConfig) -> None:
    """Write resid_norms.parquet, which follows from all documents."""
    check_readable(out.joined_rows(), config)
    n_tokens = [row["n_tokens"] for row in out.joined_rows()]
    norms = mean_norms(out.joined_tensor("resid_norms/norm_sum"), n_tokens)
    rows = [
        {"layer": layer, "site": site, "mean_norm": float(norms[layer, k]), "n": count_positions(n_tokens)}
        for layer in range(len(norms))
        for k, site in enumerate(handoffs.RESID_SITES)
        if not math.isnan(norms[layer, k])  # the block has no such site
    ]
    out.table("resid_norms.parquet", rows)
    out.summary["mean_norm_of_resid_post"] = [float(norms[0, -1]), float(norms[-1, -1])]  # first and last layer


def check_readable(rows: list[dict[str, Any]], config: GeneralTextConfig) -> None:
    """Raises: ConfigError when no document has a token behind its first."""
    if all(row["position"] == 0 for row in rows):
        raise ConfigError(
            f"none of the {len(rows)} documents of '{config.text}' has more than one token\n"
            f"Give longer documents with --text, and --fresh"
        )


def count_documents(ctx: RunContext[GeneralTextConfig]) -> int:
    """Raises: ConfigError when the text has fewer than were asked for."""
    config = ctx.config
    return len(first_documents(text_for(config.text, config.model), config.documents))
