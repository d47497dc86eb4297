"""A small experiment on disk: problems, labels, activations, SAEs and a baseline; latents can be planted in it."""

import contextlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import documents
import numpy as np

from common import handoffs
from common.phases.context import RunContext
from common.phases.phase import Phase
from common.phases.settings import PhaseConfig
from common.runs import discovery
from phase2_sae_analysis.config import LatentConfig
from phase2_sae_analysis.phase import PHASE

N, D, LAYERS, N_DOCUMENTS = 130, 16, 3, 1000
PLANTED, GENERAL = (1, 7), (2, 3)  # (layer, latent); the second separates better, but fires on general text
RATE, GENERAL_RATE = 0.005, 0.03  # on general text: five times the mean of its layer


@dataclass
class Experiment:
    """What the artifacts are made from; change it before `build`.

    `rates` holds the share of general text on which each latent shall fire; `text`, where there is any, the activations
    on it.
    `split` holds the problems of every split, unless `splits` names those of each. `problems` and `programs` hold
    further fields of a problem (phase 0.1) and of its program (phase 1), by task.
    """

    data: Path
    model: Path
    dataset: Path
    sae: Path
    labels: list[str]
    resid: dict[int, np.ndarray]
    rates: dict[int, np.ndarray]
    text: dict[int, np.ndarray] = field(default_factory=dict)
    split: list[int] = field(default_factory=lambda: list(range(N)))
    temperature: dict[int, list[str]] = field(default_factory=dict)
    splits: dict[str, list[int]] = field(default_factory=dict)
    problems: dict[int, dict] = field(default_factory=dict)
    programs: dict[int, dict] = field(default_factory=dict)

    def config(self, **given: object) -> LatentConfig:
        words = {"dataset": self.dataset, "model": self.model, "sae": self.sae}
        return LatentConfig(**{**{key: str(word) for key, word in words.items()}, "n_permutations": 200, **given})

    def build(self, **given: object) -> "Experiment":
        made = [handoffs.SPLIT, handoffs.GENERATIONS, handoffs.GENERAL_TEXT]
        made += [handoffs.TEMPERATURE] if self.temperature else []
        for schema in made:
            self.make(schema)
        return self

    def run(self, log: logging.Logger | None = None, inputs: tuple[Path, ...] = (), **given: object) -> Path:
        """Run phase 2; returns its newest folder."""
        return self.run_phase(PHASE, self.config(**given), log, inputs)

    def run_phase(
        self, phase: Phase, config: PhaseConfig, log: logging.Logger | None = None, inputs: tuple[Path, ...] = ()
    ) -> Path:
        """Run a phase on the artifacts there are; returns its newest folder."""
        ctx = self.context(phase, config, log, inputs)
        with contextlib.closing(ctx):
            ctx.pick_inputs()
            phase.carry_out(ctx)
        return discovery.list_runs(phase.output, self.data)[0].path

    def context(
        self, phase: Phase, config: object, log: logging.Logger | None = None, inputs: tuple = ()
    ) -> RunContext:
        return RunContext(
            phase=phase,
            config=config,
            preset="full",
            data_dir=self.data,
            device="cpu",
            fresh=False,
            log=log or logging.getLogger("test"),
            command=f"python3 run.py phase {phase.id}",
            given_inputs=inputs,
        )

    def make(self, schema: handoffs.ArtifactSchema) -> None:
        fill = {
            "split": self._split,
            "generations": self._generations,
            "general_text": self._general_text,
            "temperature_samples": self._samples,
        }[schema.name]

        def run(ctx: RunContext, config: LatentConfig) -> None:
            with ctx.write() as out:
                fill(out)

        phase = Phase(id=schema.phase, title="made", config=LatentConfig, inputs=(), output=schema, run=run)
        ctx = self.context(phase, self.config())
        run(ctx, ctx.config)

    def _split(self, out) -> None:
        for name in handoffs.SPLIT_NAMES:
            members = self.splits.get(name, self.split)
            rows = [
                {**_blank(handoffs.PROBLEM_FIELDS), "task_id": i, "text": f"Problem {i}.", **self.problems.get(i, {})}
                for i in members
            ]
            out.table(f"{name}_{{dataset}}.parquet", rows)
        documents.write(out, "split_metadata.json", {})

    def _generations(self, out) -> None:
        order = list(range(len(self.labels)))[::-1]  # the split's order is another
        rows = [{**self._program(i, self.labels[i]), **self.programs.get(i, {})} for i in order]
        out.table("dataset.parquet", rows)
        for layer, resid in self.resid.items():
            arrays = {"resid_post": resid[order], "task_id": np.array(order)}
            out.tensors(f"activations/layer_{layer:02d}.safetensors", arrays)

    def _samples(self, out) -> None:
        """Every other sample of a problem at 0.3, the others at 0.6."""
        for temperature, first in ((0.3, 0), (0.6, 1)):
            rows = [
                {**self._program(i, label), "temperature": temperature, "sample_index": sample_index}
                for i, labels in self.temperature.items()
                for sample_index, label in enumerate(labels[first::2])
            ]
            out.table(f"dataset_temp_{temperature:g}.parquet".replace("0.", "0_"), rows)

    def _general_text(self, out) -> None:
        text = self.text or {layer: text_with(rates, quiet(layer)) for layer, rates in self.rates.items()}
        numbers = np.arange(len(next(iter(text.values()))))
        rows = [{**_blank(handoffs.GENERAL_TEXT.columns("documents.parquet")), "position": 1} for _ in numbers]
        out.table("documents.parquet", [{**row, "document": i} for i, row in enumerate(rows)])
        for layer, resid in text.items():
            arrays = {"resid_post": resid, "document": numbers}
            out.tensors(f"activations/layer_{layer:02d}.safetensors", arrays)

    def _program(self, task_id: int, label: str) -> dict:
        return _blank(handoffs.GENERATION_FIELDS) | {"task_id": task_id, "label": label}


def _blank(fields: dict[str, handoffs.Field]) -> dict:
    empty = {"int64": 0, "float64": 0.0, "string": "", "bool": False}
    return {name: empty.get(field.type, []) for name, field in fields.items()}


def quiet(layer: int) -> list[int]:
    """The dimensions in which a layer's activations vary little."""
    return [8 + 2 * layer, 9 + 2 * layer]


def save_saes(folder: Path, silent: Callable[[int], list[int]] = quiet) -> Path:
    """SAEs saved by SAELens that reconstruct well: latent j is x_j above 0.5, latent D + j is -x_j above 0.5.

    Those of a layer's `silent` dimensions never fire, so that an SAE fits its own layer better than another.
    """
    import torch
    from sae_lens import JumpReLUSAE, JumpReLUSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    both = torch.cat([torch.eye(D), -torch.eye(D)], dim=1)
    for layer in range(LAYERS):
        metadata = SAEMetadata(hook_name=f"blocks.{layer}.hook_resid_post", neuronpedia_id=f"small/{layer}-res")
        sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=D, d_sae=2 * D, dtype="float32", device="cpu", metadata=metadata))
        with torch.no_grad():
            sae.W_enc.copy_(both), sae.W_dec.copy_(both.T), sae.threshold.fill_(0.5)
            sae.threshold[[side + j for side in (0, D) for j in silent(layer)]] = 100.0
            sae.b_enc.zero_(), sae.b_dec.zero_()
        sae.save_model(folder / f"layer_{layer}")
    return folder


def text_with(rates: np.ndarray, silent: list[int]) -> np.ndarray:
    """Activations of documents, on whose share each latent of `save_saes` fires; those of `silent` dimensions never do.

    What makes none fire is noise too small for any threshold, and too large for activity to be called massive.
    """
    rng = np.random.default_rng(1)
    text = rng.normal(scale=0.06, size=(N_DOCUMENTS, D))
    for j in set(range(D)) - set(silent):
        counts = [round(rates[latent] * N_DOCUMENTS) for latent in (j, D + j)]
        text[rng.permutation(N_DOCUMENTS)[: sum(counts)], j] = np.repeat([0.8, -0.8], counts)
    return text.astype(np.float32)


def make_experiment(folder: Path, saes: Path, n: int = N) -> Experiment:
    """An experiment where no activation has anything to do with the labels."""
    rng = np.random.default_rng(0)
    model, dataset = folder / "model", folder / "small.jsonl"
    model.mkdir()
    (model / "config.json").write_text("{}")
    dataset.write_text(json.dumps({"task_id": 1, "text": "?", "code": "def f():\n    pass", "test_list": ["assert 1"]}))
    resid = {layer: rng.normal(size=(n, D)).astype(np.float32) for layer in range(LAYERS)}
    for layer in resid:
        resid[layer][:, quiet(layer)] *= 0.1
    return Experiment(
        folder / "data",
        model,
        dataset,
        saes,
        labels=["correct" if passed else "incorrect" for passed in rng.permutation(n) < round(n * 80 / N)],
        resid=resid,
        rates={layer: np.full(2 * D, RATE) for layer in range(LAYERS)},
    )


def plant(experiment: Experiment) -> Experiment:
    """Add a latent that fires more on what fails, and a better one that fires on general text, as its mirror does."""
    failed = np.array([label == "incorrect" for label in experiment.labels])
    for strength, (layer, latent) in ((1.6, PLANTED), (4.0, GENERAL)):
        experiment.resid[layer][failed, latent] += strength
    experiment.rates[GENERAL[0]][[GENERAL[1], GENERAL[1] + D]] = GENERAL_RATE
    return experiment
