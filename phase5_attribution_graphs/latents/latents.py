"""Phase 5.3: transcoder latents on prompts of behaviours, and how well the transcoders stand in for the MLPs there.

    python3 run.py phase 5.3 --preset demo
    python3 run.py phase 5.3 --model Qwen/Qwen3-0.6B --transcoders own

1. General text tells, before any prompt is read, whether the transcoders belong to the MLPs (fits.py).
2. Each prompt is read once, as an attribution graph reads it. What fires, the strongest latents of each layer and
   position, and input and output of every MLP at the last position are kept (prompts.py).
3. From all prompts follow how often latents fire (frequencies.py), and the fit within each behaviour.
4. The latents that are among the strongest of most prompts are described, for the pages of graphs: contexts in which
   they fire (examples.py), and tokens whose logits they move (effects.py).

Record i is prompt i of phase 5.1.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from common import handoffs
from common.handoffs.circuit_latents import CircuitLatentsDocument, TranscoderFit
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.model.unembedding import find_unembedding
from common.phases.context import RunContext
from common.runs.records import RecordWriter
from common.saes.dictionary import Latent
from common.tables import TableRow
from phase5_attribution_graphs.latents.chosen import Strongest
from phase5_attribution_graphs.latents.config import CircuitLatentsConfig
from phase5_attribution_graphs.latents.effects import effects
from phase5_attribution_graphs.latents.examples import contexts_of, examples
from phase5_attribution_graphs.latents.figures import draw
from phase5_attribution_graphs.latents.fits import (
    OnText,
    check_on_text,
    fit_of,
    fits_at_last,
    warn_of_lost_behaviours,
)
from phase5_attribution_graphs.latents.frequencies import frequencies
from phase5_attribution_graphs.latents.mlps import GeneralText
from phase5_attribution_graphs.latents.prompts import kept_positions, read_prompts
from phase5_attribution_graphs.latents.shelf import Shelf

TOP = "top"  # tensors that become activations.parquet


class Workplace:
    """Model, transcoders and general text of a run; each is there when it is first asked for."""

    def __init__(self, ctx: RunContext[CircuitLatentsConfig]):
        self._ctx, self.config = ctx, ctx.config
        prompts = ctx.read(handoffs.CIRCUIT_PROMPTS)
        self.prompts: list[TableRow] = prompts.table("prompts.parquet")
        self._front = [token.id for token in prompts.document().front]

    @functools.cached_property
    def lm(self) -> LanguageModel:
        ctx, config = self._ctx, self.config
        ctx.log.info("loading %s", config.model)
        return load_model(config.model, ctx.device, config.dtype, config.threads, revision=config.revision)

    @functools.cached_property
    def shelf(self) -> Shelf:
        return Shelf(self.config.source(), self.lm)

    @functools.cached_property
    def text(self) -> GeneralText:
        return GeneralText(self.lm, self.config, self._front)

    @functools.cached_property
    def on_text(self) -> dict[int, OnText]:
        """Raises: as `check_on_text`."""
        n, name = len(self.text.documents), self.text.source
        self._ctx.log.info("reading %d documents of '%s', which tell whether the transcoders fit", n, name)
        return check_on_text(self.shelf, self.text.one_of_each(), self.config.accept_bad_fit, self._ctx.log)


def run(ctx: RunContext[CircuitLatentsConfig], config: CircuitLatentsConfig) -> None:
    place = Workplace(ctx)
    with ctx.write() as out:
        out.only_for_conclusion = (TOP,)
        out.conclude = lambda: conclude(ctx, out, place)
        if out.n_wanted:
            assert place.on_text  # before hours of work
            n_pos = max(len(kept_positions(len(prompt["token_ids"]), config.positions)) for prompt in place.prompts)
            out.process |= {"model": place.lm.describe()}
            for batch in out.batches(config.batch_size):
                wanted = [index for index in batch if out.wants(index)]
                latents = read_prompts(place.lm, place.shelf, [place.prompts[index] for index in wanted], config)
                for index, one in zip(wanted, latents, strict=True):
                    out.append(index, {"fired.parquet": one.row}, one.tensors(n_pos))
                ctx.log.info("%d of %d prompts read", batch[-1] + 1, len(place.prompts))


def conclude(ctx: RunContext[CircuitLatentsConfig], out: RecordWriter, place: Workplace) -> None:
    """Write what follows from all records."""
    fired, strongest = out.joined_rows(), strongest_in(out, place.shelf)
    out.columns("activations.parquet", strongest.columns(place.prompts, place.lm.tokenizer))
    common = list(frequencies(fired))
    out.table("frequencies.parquet", common)
    chosen = strongest.most_frequent(ctx.config.described)
    describe(out, place, fired, chosen)
    layers = fits_of(out, place, fired)
    for layer, fit in layers.items():
        warn_of_lost_behaviours(layer, fit, ctx.log)
    document = CircuitLatentsDocument(
        transcoders=place.shelf.source.identity,
        positions=ctx.config.positions,
        top_k=ctx.config.top_k,
        text=place.text.source,
        n_documents=len(place.text.documents),
        n_described=len(chosen),
        accepted=ctx.config.accept_bad_fit,
        prompts=counted(fired),
        layers={str(layer): fit for layer, fit in layers.items()},
        without=place.shelf.without,
    )
    out.document("circuit_latents.json", document)
    out.file("figures/transcoder_fit.png", draw(document))
    texts = [fit.text.fvu for fit in layers.values()]
    out.summary = {
        "prompts": len(fired),
        "layers": len(layers),
        "fvu_on_text": f"{min(texts):.3f} to {max(texts):.3f}",
        "worse_than_the_mean": len(list(document.lost())),
    }


def strongest_in(out: RecordWriter, shelf: Shelf) -> Strongest:
    arrays = (out.joined_tensor(f"{TOP}/{name}") for name in ("latent", "activation", "pos"))
    return Strongest(shelf.layers, *arrays)


def describe(out: RecordWriter, place: Workplace, fired: list[TableRow], chosen: list[Latent]) -> None:
    """Write examples and effects of the chosen latents."""
    config, tokenizer = place.config, place.lm.tokenizer
    contexts = contexts_of(chosen, place.text, place.shelf, fired, place.prompts)
    out.table("examples.parquet", list(examples(contexts, config.examples, tokenizer)))
    end = find_unembedding(config.model, config.revision)
    out.table("effects.parquet", list(effects(chosen, place.shelf, end, config.examples, tokenizer)))


def fits_of(out: RecordWriter, place: Workplace, fired: list[TableRow]) -> dict[int, TranscoderFit]:
    """By layer: on text, and at the last positions of all prompts."""
    behaviours, fits = [row["behaviour"] for row in fired], {}
    for layer in place.shelf.layers:
        sae = place.shelf.sae(layer)
        x, mlp_out = (
            torch.from_numpy(np.array(out.joined_tensor(f"last_token/layer_{layer:02d}/{name}")))
            for name in ("mlp_input", "mlp_out")
        )
        fits[layer] = fit_of(sae, place.on_text[layer], *fits_at_last(sae, x, mlp_out, behaviours))
    return fits


def counted(fired: list[TableRow]) -> dict[str, dict[str, int]]:
    """Prompts of each behaviour and split."""
    counts: dict[str, dict[str, int]] = {}
    for row in fired:
        splits = counts.setdefault(row["behaviour"], {})
        splits[row["split"]] = splits.get(row["split"], 0) + 1
    return counts


def count_records(ctx: RunContext[CircuitLatentsConfig]) -> int:
    return ctx.read(handoffs.CIRCUIT_PROMPTS).n_rows("prompts.parquet")
