"""All dictionaries of a run in training: on one stretch of text after the other, each read once for all of them."""

import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from common.errors import ConfigError
from common.handoffs.dictionaries import TrainedPart
from common.model.language_model import LanguageModel
from common.model.memory import FLOAT32, free_bytes
from common.progress import Progress
from common.saes.mixture import Normalisation, Ordinary, Part, Samples, batches, rows_of_parts
from common.saes.training import DictionaryTrainer
from common.saes.training_settings import DictionarySettings
from common.seeds import document_seed
from common.stopping import Stopped, StopRequest
from phase1_3_dictionaries.checkpoints import Checkpoints, State
from phase1_3_dictionaries.corpus import Parts, Piece, Text, prompts_of, texts_of
from phase1_3_dictionaries.reading import Reader, Sites

NUMBERS_IN_MEMORY = 2**27  # of activations of text: half a gigabyte
FEWEST_ROWS, MOST_ROWS = 8_192, 65_536
_MEAN, _LIMIT = "mean_of_ordinary", "limit_of_ordinary"
COPIES = 5  # of the weights: themselves, their gradients, Adam's two moments, what a step makes

Rows = dict[str, dict[str, Tensor]]  # part -> site -> activations


@dataclass
class Training:
    """One trainer for each layer. `parts` of the mixture, each with its share; text comes first."""

    lm: LanguageModel
    layers: list[int]
    sites: Sites
    settings: DictionarySettings
    parts: Parts
    checkpoints: Checkpoints
    checkpoint_every: int
    stop: StopRequest
    log: logging.Logger
    trainers: dict[int, DictionaryTrainer] = field(default_factory=dict)
    ordinary: dict[int, Ordinary] = field(default_factory=dict)
    seconds: float = 0.0

    def carry_out(self) -> None:
        """Take every step that is left. Raises: Stopped, once all is saved; ConfigError for too little memory."""
        self._check_parts()
        self._check_memory()
        n_done = self._resume()
        reader = Reader(self.lm, self.sites.names(self.layers), self.log, self.stop)
        prompts = {name: reader.last_tokens(part.trained) for name, part in prompts_of(self.parts).items()}
        total, last_saved = self.settings.n_steps, n_done
        done = ["done"] * sum(trainer.step for trainer in self.trainers.values())
        with Progress(total * len(self.layers), done, self.log, "steps") as progress, self.stop.finishing_batches():
            for first in range(0, total, self.steps_in_memory):
                last = min(first + self.steps_in_memory, total)
                pieces = self._next_pieces(last - first)
                if last <= n_done:
                    continue
                began = time.monotonic()
                texts = self._read(reader, pieces)
                for layer in self.layers:
                    self._train(layer, texts | prompts, first, last, lambda: progress.add(["done"]))
                self.seconds += time.monotonic() - began
                if self.stop.asked or last - last_saved >= self.checkpoint_every or last == total:
                    self._save()
                    last_saved = last
                if self._n_done() < last:
                    raise Stopped

    def _read(self, reader: Reader, pieces: dict[str, list[Piece]]) -> Rows:
        """Activations of a stretch of text. Raises: Stopped, once what was trained is saved."""
        texts = texts_of(self.parts)
        try:
            return {name: reader.every_token(some, texts[name].stream.n_skipped) for name, some in pieces.items()}
        except Stopped:
            self._save()
            raise

    def told_parts(self) -> dict[str, TrainedPart]:
        """What each part was, for the card."""
        told = {}
        rows = self._rows_of_a_batch()
        for name, (share, part) in self.parts.items():
            told[name] = TrainedPart(
                share=share,
                source=part.source,
                n_tokens=part.n_tokens,
                n_held_out=part.n_held_out,
                times=rows[name] * self.settings.n_steps / part.n_tokens,
            )
        return told

    @property
    def steps_in_memory(self) -> int:
        """Steps on one stretch of text: by the model and the settings alone, so that any machine takes the same."""
        n_numbers = self.lm.d_model * len(self.sites.names(self.layers))
        n_rows = min(max(NUMBERS_IN_MEMORY // n_numbers, FEWEST_ROWS), MOST_ROWS)
        return max(1, n_rows // self.settings.batch_size)

    def _train(self, layer: int, rows: Rows, first: int, last: int, tick: Callable[[], None]) -> None:
        """The steps `first` to `last` of one layer, those left of them, until a stop is asked for."""
        if self.stop.asked:
            return
        parts = [
            Part(
                share,
                self._ordinary(layer, rows[name]) if isinstance(part, Text) else self.sites.samples(rows[name], layer),
            )
            for name, (share, part) in self.parts.items()
        ]
        if layer not in self.trainers:
            normalisation = Normalisation.of(parts)
            self.trainers[layer] = DictionaryTrainer(self.settings, normalisation, self.sites.is_autoencoder)
        trainer = self.trainers[layer]
        generator = torch.Generator().manual_seed(document_seed(self.settings.seed, f"steps/{first}"))
        every = batches(parts, self.settings.batch_size, trainer.normalisation, generator)
        for batch in itertools.islice(every, trainer.step - first, last - first):
            if self.stop.asked:
                return
            trainer.train([batch])
            tick()

    def _ordinary(self, layer: int, rows: dict[str, Tensor]) -> Samples:
        """Rows of text of one layer, without massive activations: what those are is settled on the first stretch."""
        samples = self.sites.samples(rows, layer)
        if layer not in self.ordinary:
            self.ordinary[layer] = Ordinary.of(samples.targets)
        kept = self.ordinary[layer].among(samples.targets)
        if kept.all():
            return samples
        inputs = samples.inputs[kept]
        return Samples(inputs, inputs if samples.is_autoencoder else samples.targets[kept])

    def _next_pieces(self, n_steps: int) -> dict[str, list[Piece]]:
        rows = self._rows_of_a_batch()
        return {name: part.stream.take(rows[name] * n_steps) for name, part in texts_of(self.parts).items()}

    def _rows_of_a_batch(self) -> dict[str, int]:
        shares = [share for share, _ in self.parts.values()]
        return dict(zip(self.parts, rows_of_parts(shares, self.settings.batch_size), strict=True))

    def _resume(self) -> int:
        """Go on from what is saved; how many steps every layer has taken."""
        states, self.seconds = self.checkpoints.load(self.layers)
        for layer, state in states.items():
            self.ordinary[layer] = Ordinary(state[_MEAN].to(self.lm.device), state[_LIMIT].item())
            trainer = DictionaryTrainer.resumed(self.settings, state, self.sites.is_autoencoder, self.lm.device)
            self.trainers[layer] = trainer
        n_done = self._n_done()
        if self.trainers:
            self.log.info("going on at step %d of %d", n_done, self.settings.n_steps)
        return n_done

    def _n_done(self) -> int:
        """Steps that every layer has taken."""
        return min(self.trainers[layer].step if layer in self.trainers else 0 for layer in self.layers)

    def _save(self) -> None:
        """Keep the state of every layer that has taken a step; the others begin where they would have."""
        states: dict[int, State] = {}
        for layer, trainer in self.trainers.items():
            if trainer.step:
                ordinary = self.ordinary[layer]
                limit = torch.tensor(ordinary.limit, dtype=torch.float64)
                states[layer] = trainer.state() | {_MEAN: ordinary.mean.cpu(), _LIMIT: limit}
        if states:
            self.checkpoints.save(states, sum(trainer.step for trainer in self.trainers.values()), self.seconds)

    def _check_parts(self) -> None:
        for name, n_rows in self._rows_of_a_batch().items():
            if n_rows == 0:
                raise ConfigError(
                    f"the part '{name}' has no token in a batch of {self.settings.batch_size}\n"
                    f"Give it a larger share in --mixture, or a larger --batch-size"
                )

    def _check_memory(self) -> None:
        d_model = self.lm.d_model
        weights = len(self.layers) * 2 * d_model * self.settings.d_sae * COPIES * FLOAT32
        text = self.steps_in_memory * self.settings.batch_size * d_model * FLOAT32
        wanted, free = weights + 2 * text * len(self.sites.names(self.layers)), free_bytes(self.lm.device)
        self.log.info("training takes about %.1f GB on %s", wanted / 1e9, self.lm.device)
        if free is not None and wanted > free:
            raise ConfigError(
                f"{len(self.layers)} dictionaries of {self.settings.d_sae} latents take {wanted / 1e9:.1f} GB in "
                f"training; {free / 1e9:.1f} GB are free on {self.lm.device}\n"
                f"Give fewer --layers, in several runs, or a smaller --width"
            )
