"""The texts a detector is made from, with label and split, and their residual streams: from phase 1, or labelled ones.

From phase 1 a text is the prompt (`--read prompts`: what phase 1 stored is used), or the prompt with the model's greedy
program (`--read programs`: the model reads them now); its label is that of the program. The residual stream is that
of the last token in every case.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from common import handoffs
from common.errors import ConfigError
from common.handoffs import SPLIT_FILES, SPLIT_NAMES
from common.handoffs.detection import MEAN_LOGPROB, SUMMED_LOGPROB
from common.model.read_text import ReadText
from common.model.registry import MODELS, ModelEntry, model_identity
from common.phases.command_line import build_command
from common.phases.context import RunContext
from common.problems.prompt import ChatTemplate, build_prompt
from common.programs.judged_problems import JudgedProblems, judged_problems
from common.runs.artifacts import Artifact
from common.saes.activations import StoredText, layer_activations, stored_layers
from common.saes.encoder import LayerSae
from common.saes.site_check import TextStreams, checked_sae
from common.saes.sources import SaeSource
from phase4_anomaly_detection.config import DetectorPhaseConfig
from phase4_anomaly_detection.labelled import read_labelled, split_of
from phase4_anomaly_detection.population import PROGRAMS, PROMPTS, Population, ended
from phase4_anomaly_detection.sidecar import SidecarConfig, SidecarModel

DESCRIBED = {
    PROMPTS: "prompts: a description, asserts and '# Solution:', read before the program is written",
    PROGRAMS: "programs: a prompt and the program that the model wrote for it, read to its last token",
}
LABELLED = "labelled texts of a file, each read whole"
MEASURES = {  # what is no activation, but may tell as much: name -> columns of dataset.parquet that are multiplied
    MEAN_LOGPROB: ("mean_logprob",),
    SUMMED_LOGPROB: ("mean_logprob", "n_new_tokens"),
    "first-token entropy": ("first_token_entropy",),
    "program length": ("n_new_tokens",),
}
BEFORE = "first-token entropy"  # of these known once the prompt is read
LENGTH = "text length"
LoadSae = Callable[[int], LayerSae]  # of a layer


class Activations(Protocol):
    """Where residual streams come from."""

    @property
    def layers(self) -> list[int]: ...

    @property
    def model(self) -> dict[str, Any]: ...

    def of_layer(self, layer: int) -> Tensor: ...


@dataclass(frozen=True)
class OtherTexts:
    """Texts of another kind about the problems of the validation split; `activations` where their scores are wanted."""

    read: str
    texts: list[str]
    incorrect: np.ndarray
    activations: Activations | None


@dataclass(frozen=True)
class Texts:
    """Texts in the order of the splits, and the SAE of a layer, checked.

    `measured` has simple quantities by name; `absent` those not all texts have. `population` is the kind of those that
    a detector is fitted on.
    """

    task_ids: np.ndarray
    incorrect: np.ndarray
    split: np.ndarray
    activations: Activations
    sae: LoadSae
    texts: list[str]
    population: Population
    described: str
    measured: dict[str, np.ndarray]
    absent: list[str] = field(default_factory=list)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    other: OtherTexts | None = None

    @property
    def known_after(self) -> list[str]:
        """What is measured of a program that is written behind these texts; of programs nothing."""
        names = [name for name in MEASURES if name in self.measured and name != BEFORE]
        return names if self.population.read == PROMPTS else []

    def of(self, name: str) -> np.ndarray:
        """Which texts are of a split."""
        return self.split == name


@dataclass
class StoredActivations:
    """Those that phase 1 kept."""

    generations: Artifact
    source: SaeSource
    task_ids: list[int]
    model: dict[str, Any]

    @property
    def layers(self) -> list[int]:
        stored = stored_layers(self.generations)
        return sorted({*stored} & {*self.source.layers(max(stored) + 1)})

    def of_layer(self, layer: int) -> Tensor:
        return layer_activations(self.generations, layer, self.task_ids)


@dataclass
class ReadActivations:
    """Those of texts that are read now; a model of several layers reads each text once."""

    sidecar: SidecarModel
    source: SaeSource
    texts: list[str]
    wanted: Sequence[int]
    _read: dict[int, Tensor] = field(default_factory=dict)

    @property
    def layers(self) -> list[int]:
        return self.source.layers(self.sidecar.lm.n_layers)

    @property
    def model(self) -> dict[str, Any]:
        lm, config = self.sidecar.lm, self.sidecar.config
        facts = {"revision": lm.revision, "dtype": self.sidecar.dtype, "quantisation": config.quantisation}
        return {**_named(config.model, config.revision, config.prompt), **facts}

    def of_layer(self, layer: int) -> Tensor:
        if layer not in self._read:
            layers = sorted({layer, *(self.wanted or self.layers)})
            readings = self.sidecar.read_layers(self.texts, layers)
            self._read = {each: torch.from_numpy(reading.resid).float() for each, reading in readings.items()}
        return self._read[layer]


def texts_of(ctx: RunContext, config: DetectorPhaseConfig, source: SaeSource) -> Texts:
    """What the phase works on. Raises: ConfigError, MissingArtifactError."""
    names = ("model", "dtype", "quantisation", "batch_size", "threads", "revision", "prompt")
    sidecar = SidecarModel(SidecarConfig(device=ctx.device, **{name: getattr(config, name) for name in names}))
    general_text: TextStreams = ReadText(config.text, config.model, lambda: sidecar.lm, ctx.log)
    if handoffs.GENERAL_TEXT.name in ctx.artifacts:
        general_text = stored_text(ctx)

    def sae(layer: int) -> LayerSae:
        return checked_sae(source, general_text, layer, config.accept_bad_fit, ctx.log)[0]

    made = _labelled if config.labelled else _from_phase_1
    texts = made(ctx, config, source, sidecar, sae)
    ctx.log.info("fitted on %s", texts.population.words())
    for name in SPLIT_NAMES:
        is_incorrect = texts.incorrect[texts.of(name)]
        left_out = "".join(f"; left out: {n} {reason}" for reason, n in texts.left_out.get(name, {}).items())
        ctx.log.info("%s: %d texts, %d incorrect%s", name, len(is_incorrect), is_incorrect.sum(), left_out)
    return texts


def _from_phase_1(
    ctx: RunContext, config: DetectorPhaseConfig, source: SaeSource, sidecar: SidecarModel, sae: LoadSae
) -> Texts:
    split, generations = ctx.read(handoffs.SPLIT), ctx.read(handoffs.GENERATIONS)
    rows = {name: split.table(file) for name, file in SPLIT_FILES.items()}
    problems = judged_problems(rows, generations.table("dataset.parquet"), str(generations.path), config.accept_missing)
    prompts, read = _prompts(ctx, config, problems), config.read_from_phase_1
    kinds, codes = {PROMPTS: prompts}, [row["code"] for row in problems.programs]
    if None not in codes:
        kinds[PROGRAMS] = [prompt + code for prompt, code in zip(prompts, codes, strict=True)]
    elif read == PROGRAMS:
        raise ConfigError(
            f"--read is {read}, but {codes.count(None)} of {len(codes)} programs are not kept in {generations.path}\n"
            f"Run phase 1 again, or give --read {PROMPTS}"
        )
    texts, wanted = kinds[read], known_layer(config)
    stored = StoredActivations(generations, source, problems.task_ids, _model_of(config, generations))
    fitted = [text for text, split in zip(texts, problems.split, strict=True) if split != "validation"]
    population = Population.of(fitted, config.prompt, read, prompts)
    read_now = ReadActivations(sidecar, source, population.as_read(texts), [] if wanted is None else [wanted])
    measured, absent = _measured(problems, texts)
    return Texts(
        np.array(problems.task_ids, dtype=np.int64),
        problems.incorrect,
        problems.split,
        stored if read == PROMPTS else read_now,
        sae,
        texts,
        population,
        DESCRIBED[read],
        measured,
        absent,
        problems.left_out,
        _other(config, kinds, problems, stored, read_now),
    )


def _prompts(ctx: RunContext, config: DetectorPhaseConfig, problems: JudgedProblems) -> list[str]:
    """The prompt of each problem: where phase 1 has not kept them, as in an import, built from the problem."""
    kept = [row["prompt"] for row in problems.programs]
    if None not in kept:
        return kept
    ctx.log.info("the run of phase 1 does not hold its prompts: they are built from the problems")
    chat = ChatTemplate("", "") if config.prompt == "chat" else None
    return [build_prompt(row["text"], row["test_list"], chat).text for row in problems.problems]


def _other(
    config: DetectorPhaseConfig,
    kinds: dict[str, list[str]],
    problems: JudgedProblems,
    stored: StoredActivations,
    read_now: ReadActivations,
) -> OtherTexts | None:
    """The other kind of text of the validation split. Prompts' activations are stored, programs have to be read."""
    other = PROMPTS if config.read_from_phase_1 == PROGRAMS else PROGRAMS
    if other not in kinds:
        return None
    judged, activations = np.flatnonzero(problems.split == "validation"), None
    texts = [kinds[other][place] for place in judged]
    if other == PROMPTS:
        activations = dataclasses.replace(stored, task_ids=[problems.task_ids[place] for place in judged])
    elif config.score_other:
        activations = ReadActivations(read_now.sidecar, read_now.source, ended(texts), read_now.wanted)
    return OtherTexts(other, texts, problems.incorrect[judged], activations)


def _measured(problems: JudgedProblems, texts: list[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Quantities by name that every text has, and the names of those that some lack."""
    measured, absent = {LENGTH: np.array([len(text) for text in texts], dtype=np.float64)}, []
    for name, columns in MEASURES.items():
        values = np.array([[row[column] for column in columns] for row in problems.programs], dtype=np.float64)
        if np.isfinite(values).all():  # None is NaN
            measured[name] = values.prod(axis=1)
        else:
            absent.append(name)
    return measured, absent


def _model_of(config: DetectorPhaseConfig, generations: Artifact) -> dict[str, Any]:
    processes = generations.manifest.get("processes", [])
    facts = next((process["model"] for process in processes if "model" in process), {})
    model = _named(config.model, config.revision, config.prompt) | {"quantisation": "none"}
    return model | {"revision": config.revision or facts.get("revision"), "dtype": facts.get("dtype")}


def _labelled(
    _ctx: RunContext, config: DetectorPhaseConfig, source: SaeSource, sidecar: SidecarModel, sae: LoadSae
) -> Texts:
    labelled = read_labelled(config.labelled)
    split = split_of(labelled.texts, labelled.incorrect, config.seed)
    order = np.concatenate([np.flatnonzero(split == name) for name in SPLIT_NAMES])
    texts, wanted = [labelled.texts[place] for place in order], known_layer(config)
    measured = {LENGTH: np.array([len(text) for text in texts], dtype=np.float64)}
    fitted = [text for text, name in zip(texts, split[order], strict=True) if name != "validation"]
    population = Population.of(fitted, config.prompt)
    if config.read not in ("auto", population.read):
        raise ConfigError(
            f"--read is {config.read}, but the texts of {config.labelled} are {population.words()}\n"
            f"Give a file of {config.read}, or leave out --read"
        )
    per_text = order, labelled.incorrect[order], split[order]
    activations = ReadActivations(sidecar, source, population.as_read(texts), [] if wanted is None else [wanted])
    return Texts(*per_text, activations, sae, texts, population, LABELLED, measured, list(MEASURES))


def stored_text(ctx: RunContext) -> StoredText:
    """What phase 1.1 stored."""
    rebuild = build_command(handoffs.GENERAL_TEXT, ctx.config, ctx.preset, ctx.data_dir)
    return StoredText(ctx.read(handoffs.GENERAL_TEXT), rebuild)


def known_layer(config: DetectorPhaseConfig) -> int | None:
    """The layer that was given, or that the registry has for the model; None: it has to be found."""
    return int(config.layer) if config.layer != "auto" else MODELS.get(config.model, ModelEntry()).detector_layer


def check_layer(layer: int, layers: list[int], sae: str) -> None:
    """Raises: ConfigError for a layer without activations or without an SAE."""
    if layer not in layers:
        raise ConfigError(
            f"layer {layer} cannot be read: activations and SAEs ({sae}) are there for layers "
            f"{', '.join(map(str, layers)) or 'none'}\nGive one of these to --layer, or auto"
        )


def _named(model: str, revision: str, prompt: str) -> dict[str, Any]:
    return {"name": model, "identity": model_identity(model, revision), "prompt": prompt}
