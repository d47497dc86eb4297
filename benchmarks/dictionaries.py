"""Training dictionaries (phase 1.3) beside what it cannot do without: reading the text, and the steps.

    NATURAL=folder python -m benchmarks dictionaries      # smollm2 of that folder; else the model organism

Both sides read the same pieces of text, up to the same block, and take as many steps of one dictionary. The phase's
side is its own: pieces in order, activations into memory, massive ones left out, batches drawn from it, progress, the
state saved at the end. The bare side reads without keeping anything, and takes all its steps on one batch.
"""

import dataclasses
import logging
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.rounds import Rounds, alternate, row_of
from benchmarks.rows import Row
from common.handoffs.dictionaries import SITES
from common.model.hooks import embeddings_of, read_sites
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.saes.mixture import Batch, Normalisation, Part, Samples
from common.saes.training import DictionaryTrainer
from common.saes.training_settings import DictionarySettings
from common.stopping import StopRequest
from phase1_3_dictionaries.checkpoints import Checkpoints
from phase1_3_dictionaries.corpus import Piece, Stream, Text
from phase1_3_dictionaries.reading import Reader, Sites, batches_of, padded
from phase1_3_dictionaries.training import Training

NAME = "Dictionaries (phase 1.3)"
SMOLLM2 = "smollm2"
CONTEXT = 256
GOAL = ">= 0.8"
notes: list[str] = []


@dataclasses.dataclass(frozen=True)
class Sizes:
    """`tokens` are read in each round and trained on; `width` latents for each dimension."""

    tokens: int = 8_192
    batch: int = 256
    width: int = 8
    l0: float = 32.0


QUICK = Sizes(tokens=2_048, width=2, l0=4.0)


def measure(rounds: int, quick: bool) -> list[Row]:
    folder = os.environ.get("NATURAL")
    model = str(Path(folder) / SMOLLM2) if folder else "organism"
    return rows_of(load_model(model, "cpu", "float32", 1), QUICK if quick else Sizes(), rounds)


def rows_of(lm: LanguageModel, sizes: Sizes, rounds: int) -> list[Row]:
    """One dictionary of the middle layer's output, on random tokens: what they say changes no time."""
    layer, sites = lm.n_layers // 2, Sites(*SITES["resid_post"])
    rng = np.random.default_rng(0)
    n_pieces = sizes.tokens // (CONTEXT - 1) + 1
    d_vocab = embeddings_of(lm.model).num_embeddings
    pieces = [rng.integers(0, d_vocab, CONTEXT).astype(np.int32) for _ in range(n_pieces)]
    settings = DictionarySettings(
        d_sae=sizes.width * lm.d_model, l0=sizes.l0, n_samples=sizes.tokens, batch_size=sizes.batch
    )
    bare = bare_trainer(lm, pieces, layer, sites, settings)

    def phase(_round: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            train_as_the_phase(lm, pieces, layer, sites, settings, Path(folder))
        return settings.n_steps * sizes.batch

    def floor(_round: int) -> float:
        read_bare(lm, pieces, layer)
        trainer, batch = bare
        for _ in range(settings.n_steps):
            trainer.train([batch])
        return settings.n_steps * sizes.batch

    timed = alternate({"phase": phase, "bare": floor}, rounds)
    notes.append(
        f"{Path(lm.name).name} on {lm.device}, block {layer} of {lm.n_layers}, {settings.d_sae:,} latents, "
        f"{settings.n_steps * sizes.batch:,} tokens a round."
    )
    return [
        row_of(
            "phase 1.3, tokens a second", "reading and steps alone", ratios_of(timed), goal=GOAL, text=text_of(timed)
        )
    ]


def ratios_of(timed: Rounds) -> list[float]:
    return timed.times_as_fast("phase", "bare")


def text_of(timed: Rounds) -> str:
    speeds = {name: 1 / timed.median(name) for name in timed.seconds}
    return ", ".join(f"{name} {speed:,.0f} tokens/s" for name, speed in speeds.items())


def train_as_the_phase(
    lm: LanguageModel, pieces: list[Piece], layer: int, sites: Sites, settings: DictionarySettings, folder: Path
) -> None:
    stream = Stream("text", pieces, n_skipped=1, seed=0)
    Training(
        lm,
        [layer],
        sites,
        settings,
        {"text": (1.0, Text(stream, pieces[:1], "random tokens"))},
        Checkpoints(folder),
        checkpoint_every=settings.n_steps,
        stop=StopRequest(),
        log=logging.getLogger("benchmark"),
    ).carry_out()


def read_bare(lm: LanguageModel, pieces: list[Piece], layer: int) -> None:
    """The pass alone, up to the block, of pieces together as the phase reads them."""
    for batch in batches_of([len(piece) for piece in pieces]):
        ids, mask = padded([pieces[place] for place in batch], lm)
        with torch.inference_mode(), read_sites(lm.model, [f"blocks.{layer}.hook_resid_post"], _ignore, stop=True):
            lm.model.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False)


def bare_trainer(
    lm: LanguageModel, pieces: list[Piece], layer: int, sites: Sites, settings: DictionarySettings
) -> tuple[DictionaryTrainer, Batch]:
    """A trainer and one batch of real activations."""
    rows = Reader(lm, sites.names([layer]), logging.getLogger("benchmark")).every_token(pieces[:8], 1)
    x = sites.samples(rows, layer).inputs[: settings.batch_size]
    normalisation = Normalisation.of([Part(1.0, Samples(x, x))])
    inputs = normalisation.inputs.normalise(x)
    batch = Batch(inputs, inputs, torch.ones(len(x), device=x.device))
    endless = dataclasses.replace(settings, n_samples=10**12)  # the same learning rate at every step
    return DictionaryTrainer(endless, normalisation, True), batch


def _ignore(_site: str, _activations: torch.Tensor) -> None:
    pass
