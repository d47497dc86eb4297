"""One of the training processes: its own batches, averaged gradients, its part of the update.

Processes of one thread each are used, and not one process of several threads, because OpenMP's
threads collapse as soon as anything else runs on the machine. Each step:

1. forward and backward on the process's own batch, weights in bfloat16;
2. write the gradients to shared memory, wait for the others;
3. average them by token weight, update the owned part of the float32 master weights, wait;
4. copy the masters back into the model.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import fmean
from typing import cast

import torch

from model_organism.architecture import initial_model, model_in
from model_organism.corpus import GENERAL, KINDS, PROBLEM, SIGNATURE_WEIGHT, TokenizedCorpus
from model_organism.training.batches import Batch, BatchPlan
from model_organism.training.checkpoints import CheckpointFolder, Progress, read_progress, restore
from model_organism.training.losses import AuxiliaryHeads, training_loss, validation_loss
from model_organism.training.optimizer import HEAD_BETAS, Adam, SharedOptimizer
from model_organism.training.settings import TrainingSettings

WEIGHT_SCALE = 1000
VALIDATION_BATCH = 32


@dataclass(frozen=True)
class SharedState:
    """Memory that all processes see: [parameter], [process, parameter], [process], [process]."""

    masters: torch.Tensor
    gradients: torch.Tensor
    batch_weights: torch.Tensor
    tokens_seen: torch.Tensor

    @classmethod
    def allocate(cls, n_parameters: int, n_processes: int) -> "SharedState":
        return cls(
            torch.zeros(n_parameters).share_memory_(),
            torch.zeros(n_processes, n_parameters).share_memory_(),
            torch.zeros(n_processes).share_memory_(),
            torch.zeros(n_processes, dtype=torch.int64).share_memory_(),
        )


class TrainingProcess:
    """The state of one process, and its steps."""

    def __init__(
        self, rank: int, settings: TrainingSettings, folder: Path, shared: SharedState, barrier: Barrier
    ) -> None:
        torch.set_num_threads(1)
        self.rank, self.settings, self.shared, self.barrier = rank, settings, shared, barrier
        self.curve = folder / "curve.jsonl"
        corpus = TokenizedCorpus.load(folder / "corpus.safetensors")
        tokens_per_batch = settings.tokens_per_step // settings.n_processes
        self.plan = BatchPlan(corpus, tokens_per_batch, settings.seed, rank, settings.n_processes)
        shape = settings.shape
        start = folder / "start" if settings.start_sha256 else None
        self.model = (model_in(start) if start else initial_model(shape, settings.seed)).train()
        self.model.to(torch.bfloat16)  # pyright: ignore[reportArgumentType] - its decorator hides that this is a method
        self.names, self.parameters = zip(*self.model.named_parameters(), strict=True)
        self.masters = split_flat(shared.masters, self.parameters)
        self.gradients = [split_flat(flat, self.parameters) for flat in shared.gradients]
        if rank == 0:
            self._copy_parameters_to_masters()
        self.barrier.wait()
        self.optimizer = SharedOptimizer(
            self.names,
            self.masters,
            rank,
            settings.n_processes,
            settings.muon_learning_rate,
            settings.adam_learning_rate,
        )
        self.heads = AuxiliaryHeads(shape.d_model, shape.d_vocab, shape.n_layers)
        self.head_optimizer = Adam(list(self.heads.parameters()), HEAD_BETAS, 1e-8)
        self.checkpoints = CheckpointFolder(folder / "checkpoints", settings)
        self.progress = self._resume()
        self.last_checkpoint_step = self.progress.step
        self.started = time.monotonic() - self.progress.seconds
        self.recent: list[dict[str, float]] = []

    def run(self) -> None:
        """Train until the settings' number of tokens, reporting and checkpointing on the way."""
        for batch in self.plan.batches_from(self.progress.step):
            self.barrier.wait()
            step, n_tokens = self.progress.step, self.progress.n_tokens
            if n_tokens >= self.settings.mtokens * 1e6:
                break
            schedule = self.settings.schedule(step, n_tokens)
            gradient_norm = self._step(batch, step, schedule)
            n_tokens = int(self.shared.tokens_seen.sum())
            self.progress = Progress(step + 1, n_tokens, time.monotonic() - self.started)
            if self.rank == 0 and (step + 1) % self.settings.report_every == 0:
                self._report(gradient_norm, schedule)
            if (step + 1) % self.settings.checkpoint_every == 0:
                self._write_checkpoint()
        if self.progress.step != self.last_checkpoint_step:
            self._write_checkpoint()

    def _step(self, batch: Batch, step: int, schedule: float) -> float:
        """One update from every process's batch; returns the norm of the averaged gradient."""
        settings = self.settings
        loss = training_loss(self.model, self.heads, batch, settings)
        if self.rank == 0:
            self.recent.append(loss.parts())
        scale = loss.weight / WEIGHT_SCALE
        (loss.total * scale).backward()
        self._update_heads()
        self.shared.batch_weights[self.rank] = scale
        self.shared.tokens_seen[self.rank] += int((batch.token_ids != 0).sum())
        for shared, parameter in zip(self.gradients[self.rank], self.parameters, strict=True):
            shared.copy_(parameter.grad)
            parameter.grad = None
        self.barrier.wait()
        total = max(1e-6, float(self.shared.batch_weights.sum()))
        gradient_norm = float((self.shared.gradients.sum(0) / total).norm())
        averaged = [cast(torch.Tensor, sum(parts)) / total for parts in zip(*self.gradients, strict=True)]
        self.optimizer.update(averaged, step, schedule, clip=min(1.0, 1.0 / (gradient_norm + 1e-6)))
        self.barrier.wait()
        self._copy_masters_to_parameters()
        return gradient_norm

    def _update_heads(self) -> None:
        heads = self.head_optimizer.parameters
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in heads]
        self.head_optimizer.update(gradients, [self.settings.head_learning_rate] * len(gradients))
        self.heads.zero_grad()

    @torch.no_grad()
    def _copy_parameters_to_masters(self) -> None:
        for master, parameter in zip(self.masters, self.parameters, strict=True):
            master.copy_(parameter.float())

    @torch.no_grad()
    def _copy_masters_to_parameters(self) -> None:
        for master, parameter in zip(self.masters, self.parameters, strict=True):
            parameter.copy_(master)

    def _own_state(self) -> dict[str, torch.Tensor]:
        heads = {f"heads.{name}": value for name, value in self.heads.state_dict().items()}
        seen = {"tokens_seen": self.shared.tokens_seen[self.rank : self.rank + 1]}
        return {**self.optimizer.state(), **heads, **self.head_optimizer.state("head_adam"), **seen}

    def _resume(self) -> Progress:
        checkpoint = self.checkpoints.newest()
        progress = Progress()
        if checkpoint is not None:
            if self.rank == 0:
                restore(checkpoint, "shared", {"masters": self.shared.masters})
            restore(checkpoint, f"process_{self.rank}", self._own_state())
            progress = read_progress(checkpoint)
        if self.rank == 0:
            self._cut_curve(progress.step)
        self.barrier.wait()
        self._copy_masters_to_parameters()
        return progress

    def _write_checkpoint(self) -> None:
        step = self.progress.step
        if self.rank == 0:
            self.checkpoints.write_part(step, "shared", {"masters": self.shared.masters})
        self.checkpoints.write_part(step, f"process_{self.rank}", self._own_state())
        self.last_checkpoint_step = step
        self.barrier.wait()
        if self.rank == 0:
            self.checkpoints.complete(self.progress)

    def _cut_curve(self, step: int) -> None:
        """Drop the points after `step`, which the resumed run will write again."""
        lines = self.curve.read_text().splitlines() if self.curve.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        self.curve.write_text("".join(f"{line}\n" for line in kept))

    def _report(self, gradient_norm: float, schedule: float) -> None:
        progress, means = self.progress, means_by_name(self.recent)
        point = {
            "step": progress.step,
            "mtokens": round(progress.n_tokens / 1e6, 3),
            "minutes": round(progress.seconds / 60, 2),
            **means,
            "gradient_norm": round(gradient_norm, 2),
            "schedule": round(schedule, 3),
        }
        if progress.step % self.settings.validate_every == 0:
            point.update(self._validate())
        self.recent = []
        with self.curve.open("a") as curve:
            curve.write(json.dumps(point) + "\n")

    def _validate(self) -> dict[str, float]:
        """Mean loss on held-back rows: of answers to problems, of short documents, of general text."""
        self.model.eval()
        means = {}
        for index, kind in enumerate(KINDS):
            rows = self.plan.validation_rows[self.plan.corpus.kinds[self.plan.validation_rows] == index]
            answers = []
            for start in range(0, len(rows), VALIDATION_BATCH):
                losses, weights = validation_loss(self.model, self.plan.collate(rows[start : start + VALIDATION_BATCH]))
                least = {PROBLEM: SIGNATURE_WEIGHT, GENERAL: 0.0}.get(kind, 1.0)
                answers.append(losses[weights > least - 0.01])
            if answers:
                means[f"validation_{kind}"] = round(float(torch.cat(answers).mean()), 4)
        self.model.train()
        return means


def train_in_process(
    rank: int, settings: TrainingSettings, folder: Path, shared: SharedState, barrier: Barrier
) -> None:
    """The life of one process; if it fails, the others are released from their waiting and fail too."""
    finished = False
    try:
        TrainingProcess(rank, settings, folder, shared, barrier).run()
        finished = True
    finally:
        if not finished:
            barrier.abort()


def split_flat(flat: torch.Tensor, parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Views of the flat memory in the parameters' shapes and order."""
    sizes = [parameter.numel() for parameter in parameters]
    parts = flat.split(sizes)
    return [part.view(parameter.shape) for part, parameter in zip(parts, parameters, strict=True)]


def means_by_name(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of every part of the loss over the steps that have it."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: round(fmean(part[name] for part in parts if name in part), 4) for name in names}
