"""Phase 1.1: what general text does to the residual stream, and how often it makes each latent fire.

    python3 run.py phase 1.1 --model google/gemma-2-2b

1. The model reads the first tokens of each document; the output of every block is kept at one random position.
2. When all documents are there: the mean norms of the residual stream, by layer and site.
3. And for every layer that has an SAE, the share of documents that make each latent fire.
"""

import math
from typing import Any

import numpy as np
import torch

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
from common.saes.activations import check_reads_the_residual_stream
from common.saes.encoder import load_sae
from common.saes.fit import check_site, site_fit
from common.saes.sources import SaeSource, sae_source
from phase1_dataset_building.config import GeneralTextConfig

DOCUMENTS_AT_ONCE = 500  # encoded together: 500 documents x 131k latents are 260 MB
DOCUMENTS_OF_FIT = 1_000


def run(ctx: RunContext, config: GeneralTextConfig) -> None:
    name = text_for(config.text, config.model)
    documents = first_documents(name, config.documents)
    source = sae_source(config.sae, config.model, config.sae_revision)
    with ctx.write() as out:
        out.summarize = lambda rows: {"documents": len(rows)}
        out.conclude = lambda: conclude(ctx, out, source, config)
        out.details["text"] = {"source": load_text(name).source, "sha256": load_text(name).sha256}
        if not out.n_wanted:  # the run that only joins what slices left needs no model
            return
        if len(documents) < config.documents:
            n_blank = config.documents - len(documents)
            ctx.log.info("%d of the first %d documents are blank: left out", n_blank, config.documents)
        if source.note:
            ctx.log.info("%s: %s", source.name, source.note)
        for line in expectations(ctx):
            ctx.log.info("%s", line)
        ctx.log.info("loading %s", config.model)
        lm = load_model(config.model, ctx.device, config.dtype, config.threads, revision=config.revision)
        check_sae_fits(source, lm)

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


def check_sae_fits(source: SaeSource, lm: LanguageModel) -> None:
    """Whether the first of the SAEs is there and reads vectors of this model: better now than after hours.

    Raises: AssetError, ConfigError.
    """
    sae = load_sae(source, source.layers(lm.n_layers)[0])
    check_reads_the_residual_stream(source, sae)
    if sae.d_in != lm.d_model:
        raise ConfigError(
            f"{sae.id} reads vectors of {sae.d_in} numbers, but the residual stream of {lm.name} has {lm.d_model}\n"
            f"Give another --sae, or the --model that it was trained on"
        )


def conclude(ctx: RunContext, out: RecordWriter, source: SaeSource, config: GeneralTextConfig) -> None:
    """Write resid_norms.parquet and firing_rates.parquet, which follow from all documents."""
    if config.threads:  # this process may have loaded no model
        torch.set_num_threads(config.threads)
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
    rates = {layer: layer_rates(ctx, out, source, layer) for layer in source.layers(len(norms))}
    write_rates(out, rates)
    often = sum(int((rate > 0.02).sum()) for rate in rates.values())
    out.summary |= {"layers_with_an_sae": len(rates), "latents_that_fire_on_more_than_2_percent": often}


def check_readable(rows: list[dict[str, Any]], config: GeneralTextConfig) -> None:
    """Raises: ConfigError when no document has a token behind its first."""
    if all(row["position"] == 0 for row in rows):
        raise ConfigError(
            f"none of the {len(rows)} documents of '{config.text}' has more than one token\n"
            f"Give longer documents with --text, and --fresh"
        )


def layer_rates(ctx: RunContext, out: RecordWriter, source: SaeSource, layer: int) -> np.ndarray:
    """Share of the documents on which each latent fires, [d_sae]. Logs how well the SAE fits.

    A document of one token has only position 0, an attention sink that is no sample of text: it does not count.
    """
    behind_the_first = torch.tensor([row["position"] > 0 for row in out.joined_rows()])
    resid = torch.from_numpy(out.joined_tensor(f"activations/layer_{layer:02d}/resid_post"))[behind_the_first]
    sae = load_sae(source, layer)
    n_fires = torch.zeros(sae.n_latents, dtype=torch.int64)
    with torch.inference_mode():
        # Here the fit only informs, as the documents are read; phase 2 compares it with that of the layers beside.
        check_site(site_fit(sae, resid[:DOCUMENTS_OF_FIT]), sae, accept_bad_fit=True, log=ctx.log)
        for some in resid.split(DOCUMENTS_AT_ONCE):
            n_fires += (sae.encode(some) > 0).sum(0)
    return n_fires.numpy() / len(resid)


def write_rates(out: RecordWriter, rates: dict[int, np.ndarray]) -> None:
    columns = {
        "layer": np.concatenate([np.full(len(rate), layer) for layer, rate in rates.items()]),
        "latent": np.concatenate([np.arange(len(rate)) for rate in rates.values()]),
        "rate": np.concatenate(list(rates.values())),
    }
    out.columns("firing_rates.parquet", columns)


def count_documents(ctx: RunContext[GeneralTextConfig]) -> int:
    """Raises: ConfigError when the text has fewer than were asked for, or the SAEs read something else."""
    config = ctx.config
    source = sae_source(config.sae, config.model, config.sae_revision)
    if source.kind != "sae":
        raise ConfigError(
            f"--sae {config.sae} for {config.model} names transcoders, which do not read the residual stream\n"
            f"Give SAEs of the residual stream with --sae"
        )
    check_reads_the_residual_stream(source)
    return len(first_documents(text_for(config.text, config.model), config.documents))
