"""The whole detector in one object: a model that reads, a detector that scores, a monitor that counts.

    SAEAnomalyPipeline().load_model().run_discovery().save("my_detector")
    pipeline = SAEAnomalyPipeline.load("my_detector")
    pipeline.detect("Write a function to ...").route          # proceed | verify | abstain
    pipeline.detect([text, text])                             # batched

Discovery is phase 4.1's own: what `run.py phase 4.1` computes from the same artifacts or texts. Loading a detector and
detecting with it need neither SAELens nor the artifacts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from common.errors import ArtifactMismatchError, ConfigError
from common.model.registry import MODELS, at_commit, model_identity
from common.runs.discovery import plain_name
from phase4_anomaly_detection.config import DetectorConfig, DiscoveryConfig
from phase4_anomaly_detection.detector import AnomalyDetector, Detection, deciding_rows
from phase4_anomaly_detection.drift import DriftMonitor
from phase4_anomaly_detection.float64 import FLOAT32_ERROR
from phase4_anomaly_detection.sidecar import (
    QUANTISATIONS,
    Reading,
    SidecarConfig,
    SidecarModel,
    check_texts,
)

if TYPE_CHECKING:
    from jaxtyping import Float

    from common.phases.context import RunContext
    from common.phases.settings import PhaseConfig

LOG = logging.getLogger("pva_sae")
PRECISION = ("float16", "bfloat16", "float32", "float64")  # a later one rounds less
FROM_LISTS = "given_texts.jsonl"  # where texts that come as lists lie while they are read
OTHER_TEXTS = "Give texts of that kind, or make a detector of these with: python3 run.py discover --labelled FILE.jsonl"
MAKE_ONE = "Make one with .run_discovery(), or load one with SAEAnomalyPipeline.load(FOLDER)"


class SAEAnomalyPipeline:
    """A sidecar with a detector, once one is discovered or loaded."""

    def __init__(
        self,
        sidecar: SidecarConfig | None = None,
        discovery: DiscoveryConfig | None = None,
        detector: DetectorConfig | None = None,
    ):
        self.sidecar = SidecarModel(sidecar)
        self._discovery, self._decision = discovery, detector
        self._in_use: tuple[AnomalyDetector, DriftMonitor] | None = None
        self._dtype_is_said = False

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str = "auto",
        *,
        model: str | None = None,
        layer: int | None = None,
        threshold: float | None = None,
        quantisation: str | None = None,
        **settings: Any,
    ) -> SAEAnomalyPipeline:
        """The detector of a folder, with the model it was made for. `settings` are further ones of SidecarConfig.

        `model` says where that model lies now; another model or layer is refused. `threshold` replaces the
        detector's, without an abstain band. Quantisation, and for `dtype` auto the number type of a model that is
        not small, are those that the detector was made with; another quantisation is refused.
        Raises: ConfigError, ArtifactMismatchError, MissingArtifactError.
        """
        detector = AnomalyDetector.load(folder)
        if layer is not None and layer != detector.layer:
            raise ConfigError(
                f"--layer is {layer}, but the detector in {folder} reads layer {detector.layer}: its latents mean "
                f"nothing elsewhere\nLeave out --layer, or make a detector of layer {layer} with: python3 run.py "
                f"discover --layer {layer} --out FOLDER"
            )
        name = _model_of(detector, model, folder)
        bits = _quantisation_of(detector, quantisation, folder)
        of_detector = {"layer": detector.layer, "quantisation": bits, **_read_as(detector)}
        sidecar = SidecarConfig(model=name, device=device, **of_detector, **settings)
        pipeline = cls(sidecar)
        pipeline._use(detector if threshold is None else detector.with_threshold(threshold))
        return pipeline

    @property
    def detector(self) -> AnomalyDetector:
        """Raises: ConfigError before there is one."""
        return self._with_its_monitor()[0]

    @property
    def drift(self) -> DriftMonitor:
        """Counts how often the latents fired in what `detect` has read."""
        return self._with_its_monitor()[1]

    def load_model(self) -> SAEAnomalyPipeline:
        """Load the model now, and not at the first text; returns self."""
        self.sidecar.load()
        if self._in_use is not None and not self._dtype_is_said:
            self._dtype_is_said = True
            _say_if_read_otherwise(self.detector, self.sidecar.dtype)
        return self

    def run_discovery(
        self,
        correct: Sequence[str] | None = None,
        incorrect: Sequence[str] | None = None,
        data_dir: str | Path = "data",
        **settings: Any,
    ) -> SAEAnomalyPipeline:
        """Make a detector as phase 4.1 does, in a run folder of `data_dir`; returns self.

        Without texts it is made from the newest artifacts there. `settings` are further ones of phase 4.1 (see
        `run.py phase 4.1 --help`), beside those of this pipeline's configs.
        Raises: ConfigError, MissingArtifactError, ArtifactMismatchError, AssetError.
        """
        if (correct is None) != (incorrect is None):
            label = "correct" if incorrect is None else "incorrect"
            raise ConfigError(
                f"there are {label} texts alone: they make no detector\nGive correct and incorrect, or neither"
            )
        with tempfile.TemporaryDirectory() as folder:
            if correct is not None and incorrect is not None:
                settings = {"labelled": str(_labelled_file(Path(folder), correct, incorrect)), **settings}
                self.sidecar.unload()  # the phase loads its own
            context = self._context(Path(data_dir), settings)
            run = run_to_its_folder(context)
        self._use(AnomalyDetector.load(run))
        config = dataclasses.replace(self.sidecar.config, **_read_as(self.detector))  # the phase has settled these
        if config != self.sidecar.config:
            self.sidecar = SidecarModel(config, self.sidecar.usual_dtype)
        self.sidecar = self.sidecar.at_layer(self.detector.layer)
        return self

    def save(self, folder: str | Path) -> Path:
        """Write the detector's folder; returns it."""
        return self.detector.save(folder)

    @overload
    def detect(self, text: str) -> Detection: ...
    @overload
    def detect(self, text: Sequence[str]) -> list[Detection]: ...
    def detect(self, text):
        """What the detector says of a text, or of each text of a list, which are read in batches.

        A text of another population than the detector's is not read: it abstains, and says why.
        Raises: ConfigError for an empty text, or one longer than the model's context.
        """
        texts = [text] if isinstance(text, str) else list(text)
        check_texts(texts)
        detector, drift = self._with_its_monitor()
        reasons = detector.population.says_no(texts)
        read = [text for text, reason in zip(texts, reasons, strict=True) if reason is None]
        drift.count_others(len(texts) - len(read))
        scored = iter(self._scored(detector, drift, detector.population.as_read(read)))
        detections = [next(scored) if reason is None else detector.abstained(reason) for reason in reasons]
        return detections[0] if isinstance(text, str) else detections

    def _scored(self, detector: AnomalyDetector, drift: DriftMonitor, texts: list[str]) -> list[Detection]:
        """What is said of texts that have the form of the detector's."""
        if not texts:
            return []
        self.load_model()
        reading = self._read(detector, texts)
        detections = detector.detect(reading.resid, n_tokens=reading.n_tokens, owners=reading.owners)
        drift.count(detections, texts)
        strayed = drift.strayed()
        return detections if strayed is None else [detector.abstained(strayed)] * len(texts)

    def _read(self, detector: AnomalyDetector, texts: list[str]) -> Reading:
        """Read in float32 where that is known to decide as float64 does; the other texts once more, in float64."""
        reading = self.sidecar.read(texts, exact=False)
        if self.sidecar.reads_quickly:
            unsure = np.unique(reading.owners[~detector.sure(reading.resid, FLOAT32_ERROR)])
            if len(unsure):
                again = self.sidecar.read([texts[text] for text in unsure])
                reading.resid[np.isin(reading.owners, unsure)] = again.resid
        return reading

    def calibrate(
        self, correct: Sequence[str], incorrect: Sequence[str], target: str = "recall=0.8"
    ) -> SAEAnomalyPipeline:
        """Fit calibration, threshold and abstain band on these texts; latents and weights stay. Returns self.

        A text that is read in windows counts once, by the window that decides it in `detect`.
        Raises: ConfigError for a text of another population, which would be told nothing.
        """
        detector = self.detector
        for reason in detector.population.says_no([*correct, *incorrect]):
            if reason is not None:
                raise ConfigError(f"a text to calibrate on is of another population: {reason}\n{OTHER_TEXTS}")
        of_correct, of_incorrect = (self._deciding_rows(list(texts)) for texts in (correct, incorrect))
        self._use(detector.calibrate(of_correct, of_incorrect, target))
        return self

    def _deciding_rows(self, texts: list[str]) -> Float[np.ndarray, "n d_model"]:
        reading = self.sidecar.read(self.detector.population.as_read(texts))
        rows, _ = deciding_rows(self.detector.scores(reading.resid), reading.owners)
        return reading.resid[rows]

    def _use(self, detector: AnomalyDetector) -> None:
        self._in_use = detector, DriftMonitor(detector)  # together: threads that ask share one monitor
        self.sidecar.usual_dtype = detector.document["model"]["dtype"] or "auto"

    def _with_its_monitor(self) -> tuple[AnomalyDetector, DriftMonitor]:
        if self._in_use is None:
            raise ConfigError(f"this pipeline has no detector yet\n{MAKE_ONE}")
        return self._in_use

    def _context(self, data_dir: Path, settings: dict[str, Any]) -> RunContext:
        """Phase 4.1 with this pipeline's settings, on the preset that belongs to its model."""
        from common.model.devices import resolve_device
        from common.phases.context import RunContext
        from common.phases.settings import build_config
        from phase4_anomaly_detection.phase import PHASE

        sidecar = self.sidecar.config
        given: dict[str, Any] = {"model": sidecar.model, "batch_size": sidecar.batch_size, "threads": sidecar.threads}
        given |= {"quantisation": sidecar.quantisation, "revision": sidecar.revision, "prompt": sidecar.prompt}
        given |= {} if sidecar.layer is None else {"layer": str(sidecar.layer)}
        given |= {} if sidecar.dtype in ("auto", "float64") else {"dtype": sidecar.dtype}
        for config in (self._discovery, self._decision):
            given |= {} if config is None else dataclasses.asdict(config)
        names = {field.name for field in dataclasses.fields(PHASE.config)}
        if unknown := sorted({*settings} - names):
            raise ConfigError(
                f"phase 4.1 has no setting '{unknown[0]}'\nSee: python3 run.py phase 4.1 --help, with _ in place of -"
            )
        preset = "demo" if sidecar.model == "organism" else "full"
        config = build_config(
            PHASE.config, preset, {key: value for key, value in given.items() if key in names} | settings
        )
        return RunContext(
            phase=PHASE,
            config=config,
            preset=preset,
            data_dir=data_dir,
            device=resolve_device(sidecar.device),
            log=LOG,
            command=_command(config, preset),
        )


def run_to_its_folder(context: RunContext) -> Path:
    """Run a phase, unless it is built; returns the run's folder."""
    from common.runs.artifacts import AlreadyBuilt

    with contextlib.closing(context):
        context.pick_inputs()
        with contextlib.suppress(AlreadyBuilt):
            context.phase.carry_out(context)
    return folder_of(context)


def folder_of(context: RunContext) -> Path:
    """The finished run of these settings and inputs."""
    from common.runs.artifacts import AlreadyBuilt

    context.fresh = False
    try:
        path = context.target()
    except AlreadyBuilt as built:
        return built.path
    raise AssertionError(f"a phase that ended without an error left no finished run: {path}")


def _command(config: PhaseConfig, preset: str) -> str:
    """What a shell would be told for the same run; texts that were given as lists would have to lie in a file."""
    from common.phases.settings import differences_from_preset, typed

    words = ["python3", "run.py", "phase", "4.1", "--preset", preset]
    for name, value in differences_from_preset(config, preset).items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words += [f"--{flag}" if value else f"--no-{flag}"] if name != "reuse_validation" else []
        else:
            words += [f"--{flag}", FROM_LISTS if Path(str(value)).name == FROM_LISTS else typed(value)]
    return shlex.join(words)


def _labelled_file(folder: Path, correct: Sequence[str], incorrect: Sequence[str]) -> Path:
    labelled = [("correct", text) for text in correct] + [("incorrect", text) for text in incorrect]
    rows = [{"text": text, "label": label} for label, text in labelled]
    path = folder / FROM_LISTS
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _model_of(detector: AnomalyDetector, given: str | None, folder: str | Path) -> str:
    """Where the detector's model is. Raises: ConfigError, ArtifactMismatchError when another lies there."""
    model = detector.document["model"]
    name = model["name"] if given is None else given
    lay_in_a_folder = not _revision_of(detector) and "@" in model["identity"]
    if given is None and name not in MODELS and lay_in_a_folder and not Path(name).is_dir():
        raise ConfigError(
            f"the model of the detector in {folder} is not in {name} any more\n"
            f"Say where it lies with --model FOLDER (it is {model['identity']})"
        )
    identity, wanted = model_identity(name, _revision_of(detector)), model["identity"]
    # A folder is known by its content, whatever it is called.
    if identity != wanted and ("@" not in wanted or identity.rpartition("@")[2] != wanted.rpartition("@")[2]):
        raise ArtifactMismatchError(
            f"the detector in {folder} reads {wanted}, and {name} is {identity}: its latents mean nothing there\n"
            f"Give the detector's model with --model, or make a detector with: python3 run.py discover --model {name} "
            f"--out FOLDER"
        )
    return name


def _read_as(detector: AnomalyDetector) -> dict[str, str]:
    """What of a sidecar's config decides what the detector's model reads."""
    return {"revision": _revision_of(detector), "prompt": detector.document["model"].get("prompt", "plain")}


def _revision_of(detector: AnomalyDetector) -> str:
    """The commit of a model of the hub; '' of one in a folder, and of detectors that were made before it was known."""
    model = detector.document["model"]
    commit = model["revision"] or ""
    return commit if model["identity"] == at_commit(plain_name(model["identity"]), commit) else ""


def _quantisation_of(detector: AnomalyDetector, given: str | None, folder: str | Path) -> str:
    """How the model's weights are held: as they were for the detector. Raises: ConfigError for another way."""
    of_detector = detector.document["model"].get("quantisation", "none")
    if given not in (None, of_detector) and given in QUANTISATIONS:
        with_it = f"--quantisation {given}" if given != "none" else "no --quantisation"
        raise ConfigError(
            f"--quantisation is {given}, but the detector in {folder} was made with {of_detector}: other weights "
            f"give its latents other activations, for which its threshold was not chosen\nLeave out --quantisation, or "
            f"make a detector with: python3 run.py discover --labelled FILE.jsonl --out FOLDER and {with_it}"
        )
    return of_detector if given is None else given


def _say_if_read_otherwise(detector: AnomalyDetector, dtype: str) -> None:
    """Log it where the model computes in another number type than at discovery; warn where that rounds more."""
    of_detector = detector.document["model"]["dtype"]
    if of_detector in PRECISION and dtype != of_detector:
        level = logging.INFO if PRECISION.index(dtype) > max(PRECISION.index(of_detector), 1) else logging.WARNING
        words = "the model is read in %s; the detector was made in %s: last digits of a score differ"
        LOG.log(level, words, dtype, of_detector)
