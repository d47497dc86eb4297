"""What the page of a latent is made from: SAE, stored activations, prompts, general text, tokens. No model is run.

Each is read when it is first needed, and checked against what the phases read. What is not there is an error that says
what to type.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from common.errors import ArtifactMismatchError, ConfigError
from common.handoffs import GENERAL_TEXT, GENERATIONS, LATENTS, SPLIT, SPLIT_FILES
from common.model.chat import template_of
from common.model.general_text import first_documents, load_text, text_for
from common.model.loading import load_tokenizer
from common.model.registry import model_identity
from common.model.tokenization import Span
from common.model.unembedding import Unembedding, find_unembedding
from common.report.collect import Collected, PhaseResult
from common.saes.activations import check_reads_the_residual_stream, layer_activations, layer_list, stored_layers
from common.saes.encoder import LayerSae, load_sae
from common.saes.sources import SaeSource, sae_source
from common.tables import TableRow

SHOWN_SPLIT = "sae"  # the problems that selected the latents; the validation split is read by the phases that say so


@dataclass(frozen=True)
class Fired:
    """What was read, row by row, with the activation of one latent [n] in the SAE's units."""

    rows: list[TableRow]
    activations: np.ndarray

    @property
    def strongest_first(self) -> list[int]:
        """Places of the rows on which it fires."""
        order = np.argsort(-self.activations, kind="stable")
        return [int(place) for place in order if self.activations[place] > 0]


class Inputs:
    """Of all latents of one experiment. One SAE is in memory at a time."""

    def __init__(self, collected: Collected):
        self.collected = collected
        self._sae: LayerSae | None = None

    @functools.cached_property
    def model(self) -> tuple[str, str]:
        """Its name, as typed, and its commit. Raises: ArtifactMismatchError when it is not that of the experiment."""
        known, name = self.collected.experiment["model"], self.collected.model_name
        revision = self.collected.settings.get("revision", "")
        if (here := model_identity(name, revision)) != known:
            raise ArtifactMismatchError(
                f"--model {name} is {here} on this disk, the runs are of {known}\nRestore the files of that model"
            )
        return name, revision

    @functools.cached_property
    def source(self) -> SaeSource:
        """Raises: ArtifactMismatchError when the SAEs are not those of the experiment; as `sae_source`."""
        known, settings = self.collected.experiment["sae"], self.collected.settings
        name = settings.get("sae", "auto")
        source = sae_source(name, self.collected.model_name, settings.get("sae_revision", ""))
        check_reads_the_residual_stream(source)
        if source.identity != known:
            raise ArtifactMismatchError(
                f"--sae {name} is {source.identity} on this disk, the runs are of {known}\n"
                "Restore the files of those SAEs"
            )
        return source

    def sae(self, layer: int) -> LayerSae:
        """Raises: as `load_sae` and `source`."""
        if self._sae is None or self._sae.layer != layer:
            self._sae = None  # before the next one is there
            self._sae = load_sae(self.source, layer)
        return self._sae

    def latent_of(self, layer: int, latent: int) -> LayerSae:
        """The SAE of a layer that has this latent. Raises: as `sae`; ConfigError, with the range, when it has not."""
        sae = self.sae(layer)
        if not 0 <= latent < sae.n_latents:
            raise ConfigError(
                f"{sae.id} has latents 0 to {sae.n_latents - 1:,}, and none of the number {latent}\n"
                "Give one of these after the layer"
            )
        return sae

    def on_prompts(self, layer: int, latent: int) -> Fired:
        """Programs of the selection split, in its order, with the activation at the last prompt token."""
        generations = self._with_layer(self.collected.needed(GENERATIONS), layer)
        return Fired(self.programs, self._fired(generations, layer, latent, [row["task_id"] for row in self.programs]))

    def on_text(self, layer: int, latent: int) -> Fired:
        """Documents of phase 1.1, without those of one token, with the activation at the stored position."""
        general_text = self._with_layer(self.collected.needed(GENERAL_TEXT), layer)
        rows = [row for row in general_text.artifact.table("documents.parquet") if row["position"] > 0]
        numbers = [row["document"] for row in rows]
        return Fired(rows, self._fired(general_text, layer, latent, numbers, item="document"))

    @functools.cached_property
    def programs(self) -> list[TableRow]:
        """Those of the selection split that there are."""
        split = self.collected.needed(SPLIT).artifact.table(SPLIT_FILES[SHOWN_SPLIT])
        programs = self.collected.needed(GENERATIONS).artifact.table("dataset.parquet")
        by_task = {row["task_id"]: row for row in programs}
        return [by_task[row["task_id"]] for row in split if row["task_id"] in by_task]

    @functools.cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer(*self.model)

    def bodies(self, prompts: list[str]) -> list[Span] | None:
        """Where the messages stand in chat prompts, as `ids_and_spans` asks for them; None for plain ones."""
        if self.collected.experiment.get("prompt") != "chat":
            return None
        template = template_of(self.tokenizer, self.model[0])
        return [template.put(prompt)[1] for prompt in prompts]

    @functools.cached_property
    def documents(self) -> tuple[str, ...]:
        """The general text that phase 1.1 read. Raises: ArtifactMismatchError when it has changed since."""
        manifest = self.collected.needed(GENERAL_TEXT).manifest
        settings = manifest["all_settings"]
        name = text_for(settings["text"], settings["model"])
        if load_text(name).sha256 != manifest["text"]["sha256"]:
            raise ArtifactMismatchError(
                f"the text '{name}' is not the one that phase 1.1 read: {load_text(name).source}\nRestore its files"
            )
        return first_documents(name, settings["documents"])

    @functools.cached_property
    def unembedding(self) -> Unembedding:
        return find_unembedding(*self.model)

    def statistics(self, layer: int) -> dict[str, np.ndarray]:
        """The rows of one layer in latents.parquet, by latent."""
        phase = self.collected.needed(LATENTS)
        columns = phase.artifact.columns_where("latents.parquet", "layer", layer)
        if not len(columns["latent"]):
            raise ArtifactMismatchError(
                f"phase 2 did not analyse layer {layer}: {phase.artifact.path}\nRun it on all layers: {phase.command}"
            )
        order = np.argsort(columns["latent"], kind="stable")
        return {name: values[order] for name, values in columns.items()}

    def _with_layer(self, phase: PhaseResult, layer: int) -> PhaseResult:
        """The phase, when it stored this layer. Raises: ArtifactMismatchError."""
        if layer not in (stored := stored_layers(phase.artifact)):
            raise ArtifactMismatchError(
                f"phase {phase.schema.phase} stored no activations of layer {layer}, only of {layer_list(stored)}: "
                f"{phase.artifact.path}\nBuild them with: {phase.command} --fresh"
            )
        return phase

    def _fired(
        self, phase: PhaseResult, layer: int, latent: int, wanted: list[int], item: str = "task_id"
    ) -> np.ndarray:
        resid, sae = layer_activations(phase.artifact, layer, wanted, item), self.latent_of(layer, latent)
        with torch.no_grad():
            return sae.encode_latent(resid, latent).double().numpy()
