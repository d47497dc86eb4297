"""A small experiment with a real model: problems, programs, SAEs of noise, and latents that are said to be selected."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import documents
import numpy as np
import torch
from support import write_problems
from toy_phases import run_phase

from common import handoffs
from common.handoffs import ArtifactSchema
from common.model.settings import PromptConfig
from common.phases.context import RunContext
from common.phases.phase import Phase
from common.problems.settings import DatasetConfig
from common.saes.settings import SaeConfig
from phase0_1_split.config import SplitConfig
from phase0_1_split.phase import PHASE as SPLIT_PHASE
from phase0_difficulty.config import DifficultyConfig
from phase0_difficulty.phase import PHASE as DIFFICULTY_PHASE
from phase1_dataset_building.config import GenerationConfig
from phase1_dataset_building.phase import PHASE as GENERATION_PHASE

D_MODEL, N_LAYERS, N_LATENTS = 64, 4, 96
NORMS = {"resid_pre": 20.0, "resid_mid": 30.0, "resid_post": 40.0}


@dataclass(frozen=True, kw_only=True)
class MadeConfig(SaeConfig, DatasetConfig, PromptConfig):
    """Of artifacts that are written by hand."""


@dataclass
class SmallExperiment:
    """Where it lies. `latents` are the selected ones: layer and number."""

    data: Path
    dataset: Path
    model: Path
    sae: Path
    latents: dict[str, tuple[int, int]] = field(
        default_factory=lambda: {
            "predict_incorrect": (2, 5),
            "predict_correct": (0, 7),
            "steer_incorrect": (1, 9),
            "steer_correct": (2, 8),
        }
    )

    @property
    def words(self) -> dict[str, str]:
        return {name: str(getattr(self, name)) for name in ("dataset", "model", "sae")}

    def build(self, **generation: object) -> "SmallExperiment":
        """Run phases 0, 0.1 and 1; write what phases 1.1 and 2 would."""
        words = {"dataset": str(self.dataset)}
        run_phase(DIFFICULTY_PHASE, self.data, DifficultyConfig(**words))
        run_phase(SPLIT_PHASE, self.data, SplitConfig(**words))
        run_phase(GENERATION_PHASE, self.data, GenerationConfig(**words, model=str(self.model), **generation))
        self.write(handoffs.GENERAL_TEXT, self._norms)
        return self.select()

    def select(self) -> "SmallExperiment":
        given = {"directions": self._directions()}
        self.write(handoffs.LATENTS, lambda out: documents.write(out, "selected.json", given))
        return self

    def choose(
        self, chosen: dict[str, tuple[int, float] | None], site: str = "resid_post", steer: str = "last"
    ) -> None:
        """Write what phase 3.2 would: for each direction a layer and a coefficient, or None."""
        entries = {
            name: {
                "latent": {**self._directions()[name]["latents"][0]},
                "wanted": "raise",
                "site": site,
                "curve": [],
                "chosen": place and {"layer": place[0], "coefficient": place[1]},
                "why": "the tests say so",
            }
            for name, place in chosen.items()
        }
        document = {"steer": steer, "directions": entries}
        self.write(handoffs.COEFFICIENTS, lambda out: documents.write(out, "coefficients.json", document))

    def write(self, schema: ArtifactSchema, fill) -> Path:
        """A finished run of another phase whose files `fill` writes."""

        def run(ctx: RunContext, config: MadeConfig) -> None:
            with ctx.write() as out:
                fill(out)

        phase = Phase(id=schema.phase, title="made", config=MadeConfig, inputs=(), output=schema, run=run)
        return run_phase(phase, self.data, MadeConfig(**self.words), fresh=True)

    def _directions(self) -> dict[str, dict]:
        statistics = {"neuronpedia": None, "t": 3.0, "p_max": 0.01, "significant": True}
        return {
            name: {"latents": [{"layer": layer, "latent": latent, "sae_id": f"layer_{layer}", **statistics}]}
            for name, (layer, latent) in self.latents.items()
        }

    def _norms(self, out) -> None:
        rows = [
            {"layer": layer, "site": site, "mean_norm": norm + layer, "n": 1}
            for layer in range(N_LAYERS)
            for site, norm in NORMS.items()
        ]
        out.table("resid_norms.parquet", rows)
        rng, n = np.random.default_rng(3), 80
        facts = {"n_tokens": 9, "token_id": 5, "token": "x"}
        # The first document is its first token alone, which counts nowhere.
        documents_there = [{"document": i, "position": min(i, 4), **facts} for i in range(n)]
        out.table("documents.parquet", documents_there)
        for layer in range(N_LAYERS):
            resid = (rng.normal(size=(n, D_MODEL)) * rng.uniform(0.5, 4, D_MODEL)).astype(np.float32)
            out.tensors(f"activations/layer_{layer:02d}.safetensors", {"resid_post": resid, "document": np.arange(n)})


def save_noise_saes(folder: Path) -> Path:
    """SAEs of random weights for every layer of the tiny Gemma; about half of the latents fire."""
    from sae_lens import JumpReLUSAE, JumpReLUSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    rng = np.random.default_rng(5)
    for layer in range(N_LAYERS):
        metadata = SAEMetadata(hook_name=f"blocks.{layer}.hook_resid_post")
        config = JumpReLUSAEConfig(d_in=D_MODEL, d_sae=N_LATENTS, dtype="float32", device="cpu", metadata=metadata)
        sae = JumpReLUSAE(config)
        with torch.no_grad():
            sae.W_enc.copy_(torch.from_numpy(rng.normal(size=(D_MODEL, N_LATENTS))))
            sae.W_dec.copy_(torch.from_numpy(rng.normal(size=(N_LATENTS, D_MODEL))))
            sae.threshold.fill_(0.1), sae.b_enc.zero_(), sae.b_dec.zero_()
        sae.save_model(folder / f"layer_{layer}")
    return folder


def make_small_experiment(folder: Path, model: Path, saes: Path, problems: list[dict]) -> SmallExperiment:
    return SmallExperiment(folder / "data", write_problems(folder / "small.jsonl", problems), model, saes)


def json_of(run: Path, name: str) -> dict:
    return json.loads((run / name).read_text())
