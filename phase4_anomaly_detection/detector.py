"""The detector: a weighted sum of a few latents' activations at a text's last token, read as a probability.

    detector = AnomalyDetector.load("data/phase4_1/<run>")
    detection = detector.detect(resid)[0]      # resid [n, d_model]: output of block `detector.layer`, last token

1. activation_i = JumpReLU(resid @ W_enc + b_enc)_i in float64, in the SAE's own units; anomaly_score = sum of
   weight_i * activation_i. There is no intercept: the score is the sum of the listed contributions.
2. A score above the threshold is an anomaly; the calibration turns the score into P(incorrect), its level into a word.
3. Scores in the abstain band are too close to the threshold to tell.
4. A text of another kind than those it was fitted on gets no score at all: `AnomalyDetector.abstained`, with the reason
   (population.py for its form, drift.py for how its latents fire).

A detector is a folder of three small files: detector.json (sealed, with the SHA-256 of the arrays),
latents.safetensors (the latents' encoder columns alone), and README.md, its model card. Neither SAELens nor torch
is needed to load it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from safetensors.numpy import load, save

from common.errors import ArtifactMismatchError, ConfigError, MissingArtifactError
from common.files import SEAL, digest_of, json_bytes, read_sealed_json, write_atomic
from phase4_anomaly_detection import calibration
from phase4_anomaly_detection.config import DetectorConfig
from phase4_anomaly_detection.model_card import model_card
from phase4_anomaly_detection.options import LEVELS
from phase4_anomaly_detection.population import Population

SCHEMA_VERSION = 2
DOCUMENT, ARRAYS, CARD = "detector.json", "latents.safetensors", "README.md"
SUBFOLDER = "detector"  # of a run of phase 4.1
Numbers = Sequence[int] | Int[np.ndarray, " n"]
PROCEED, VERIFY, ABSTAIN = "proceed", "verify", "abstain"
NOT_EVALUATED = "not evaluated: calibrated again on other texts"
SAME_PROBABILITY = 1e-3  # what a reader of three decimal digits sees as one
TOO_CLOSE = "the score is too close to the threshold to tell"


@dataclass(frozen=True)
class Detection:
    """What is said of one text. `window` tells which of several windows decided; None for a text read whole.

    `reason` says why it abstains. What is None of a text of another population has no meaning there.
    """

    is_anomaly: bool | None
    anomaly_score: float | None
    probability: float | None
    level: str | None
    threshold: float
    top_features: list[dict[str, Any]]
    route: str
    n_tokens: int | None = None
    window: dict[str, int] | None = None
    reason: str | None = None
    verdict: str = field(default="", repr=False)

    def as_json(self) -> dict[str, Any]:
        """The fields by name: plain numbers, words and lists."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, eq=False)
class AnomalyDetector:
    """`document` is detector.json without its seal and hash; `gate` are the latents' JumpReLU thresholds."""

    W_enc: Float[np.ndarray, "d_in k"]
    b_enc: Float[np.ndarray, " k"]
    gate: Float[np.ndarray, " k"]
    document: dict[str, Any]

    @property
    def layer(self) -> int:
        return self.document["layer"]

    @property
    def model_name(self) -> str:
        return self.document["model"]["name"]

    @property
    def latents(self) -> list[dict[str, Any]]:
        """Of each latent: its number, t, weight, firing rate on general text, and on how many of n texts it fired."""
        return self.document["latents"]

    @property
    def threshold(self) -> float:
        return self.document["threshold"]

    @property
    def verdict(self) -> str:
        return self.document["verdict"]

    @property
    def population(self) -> Population:
        """The kind of text that it was fitted on. `detect` reads no texts: whoever has them asks it first."""
        return Population.from_json(self.document["population"])

    @property
    def weights(self) -> Float[np.ndarray, " k"]:
        return np.array([latent["weight"] for latent in self.latents], dtype=np.float64)

    def activations(self, resid: Any) -> Float[np.ndarray, "n k"]:
        """Activations of the detector's latents on rows of the residual stream (numpy or torch), in float64.

        Raises: ArtifactMismatchError when the rows are not of this model's width; ConfigError for nan or infinity.
        """
        pre = self._pre_activations(self._checked(resid))
        return np.where(pre > self.gate.astype(np.float64), pre, 0.0)

    def _pre_activations(self, x: Float[np.ndarray, "n d_model"]) -> Float[np.ndarray, "n k"]:
        return x @ self.W_enc.astype(np.float64) + self.b_enc.astype(np.float64)

    def _checked(self, resid: Any) -> Float[np.ndarray, "n d_model"]:
        x = _as_float64(resid)
        if x.ndim != 2 or x.shape[1] != len(self.W_enc):
            raise ArtifactMismatchError(
                f"the detector reads rows of {len(self.W_enc)} numbers, the output of block {self.layer} of "
                f"{self.model_name}; these have the shape {list(x.shape)}\nGive the activations of that model and layer"
            )
        if not np.isfinite(x).all():
            row = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
            raise ConfigError(
                f"the residual stream of text {row} holds nan or infinity\nLoad the model in float32 or bfloat16: "
                f"float16 overflows in some"
            )
        return x

    def scores(self, resid: Any) -> Float[np.ndarray, " n"]:
        """The anomaly score of each row."""
        return (self.activations(resid) * self.weights).sum(axis=1)

    def probabilities(self, scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """P(incorrect) of each score."""
        return calibration.probabilities(self.document["calibration"], scores)

    def flags(self, scores: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Which scores are anomalies."""
        return scores > self.threshold

    def routes(self, scores: Float[np.ndarray, " n"]) -> list[str]:
        """proceed, verify or abstain for each score."""
        band = self.document["abstain"]
        flagged = np.where(self.flags(scores), VERIFY, PROCEED)
        if band is not None:
            flagged = np.where((scores >= band["low"]) & (scores <= band["high"]), ABSTAIN, flagged)
        return flagged.tolist()

    def sure(self, resid: Any, error: float) -> Bool[np.ndarray, " n"]:
        """Of which rows all that is decided stays, whatever in them is wrong by at most `error` of their length.

        That is which latents fire, flag, route and level, and the probability to a thousandth.
        """
        x, gate = self._checked(resid), self.gate.astype(np.float64)
        pre = self._pre_activations(x)
        reach = error * np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(self.W_enc, axis=0)
        active = pre > gate
        scores = (np.where(active, pre, 0.0) * self.weights).sum(axis=1)
        wrong_by = (reach * active * np.abs(self.weights)).sum(axis=1)
        low, high = (self._decided(scores + sign * wrong_by) for sign in (-1, 1))
        stays = [np.asarray(one) == np.asarray(other) for one, other in zip(low[1:], high[1:], strict=True)]
        stays.append(np.abs(low[0] - high[0]) <= SAME_PROBABILITY)
        return (np.abs(pre - gate) > reach).all(axis=1) & np.all(stays, axis=0)

    def _decided(self, scores: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
        """Probability, level, flag and route of each score."""
        chance = self.probabilities(scores)
        levels = np.searchsorted(self.document["levels"], chance, side="right")
        return chance, levels, self.flags(scores), self.routes(scores)

    def detect(self, resid: Any, n_tokens: Numbers | None = None, owners: Numbers | None = None) -> list[Detection]:
        """One Detection for each text, in order.

        `owners` gives the text (from 0) of each row, ascending, where texts were read in several windows: the window
        with the largest score decides. `n_tokens` is by text.
        """
        activations = self.activations(resid)
        scores = (activations * self.weights).sum(axis=1)
        rows, windows = deciding_rows(scores, owners)
        counts = [None] * len(rows) if n_tokens is None else [int(count) for count in n_tokens]
        decided = scores[rows]
        chance, levels, flagged, routes = self._decided(decided)
        return [
            Detection(
                is_anomaly=bool(flagged[i]),
                anomaly_score=float(decided[i]),
                probability=float(chance[i]),
                level=LEVELS[levels[i]],
                threshold=self.threshold,
                top_features=self._contributions(activations[row]),
                route=routes[i],
                n_tokens=counts[i],
                window=windows[i],
                reason=TOO_CLOSE if routes[i] == ABSTAIN else None,
                verdict=self.verdict,
            )
            for i, row in enumerate(rows)
        ]

    def abstained(self, reason: str) -> Detection:
        """What is said of a text of another population: why, and no number."""
        return Detection(
            is_anomaly=None,
            anomaly_score=None,
            probability=None,
            level=None,
            threshold=self.threshold,
            top_features=[],
            route=ABSTAIN,
            reason=reason,
            verdict=self.verdict,
        )

    def _contributions(self, activations: Float[np.ndarray, " k"]) -> list[dict[str, Any]]:
        """Every latent that fires, the largest contribution first; they sum to the score."""
        entries = []
        for latent, activation in zip(self.latents, activations, strict=True):
            if contribution := activation * latent["weight"]:
                entry = {"layer": self.layer, "latent": latent["latent"], "activation": float(activation)}
                entry |= {"weight": latent["weight"], "contribution": float(contribution), "t": latent["t"]}
                entries.append(entry)
        return sorted(entries, key=lambda entry: (-abs(entry["contribution"]), entry["latent"]))

    def having(self, **entries: Any) -> AnomalyDetector:
        """The same detector with some entries of its document replaced."""
        return dataclasses.replace(self, document={**self.document, **entries})

    def with_threshold(self, threshold: float) -> AnomalyDetector:
        """The same detector at another threshold. The abstain band lay around the earlier one, and is dropped."""
        if not np.isfinite(threshold):
            raise ConfigError(f"the threshold is {threshold}\nGive a finite number, in units of the anomaly score")
        return self.having(threshold=float(threshold), abstain=None)

    def calibrate(self, correct_resid: Any, incorrect_resid: Any, target: str = "recall=0.8") -> AnomalyDetector:
        """The same latents and weights with calibration, threshold and band fitted on these texts.

        What was measured of the earlier threshold is no longer true, so the card is dropped: the verdict says so.
        """
        correct, incorrect = self.scores(correct_resid), self.scores(incorrect_resid)
        scores = np.concatenate([correct, incorrect])
        config = DetectorConfig(target=target, levels=tuple(self.document["levels"]), **self.document["settings"])
        decided = config.decide(scores, np.arange(len(scores)) >= len(correct))
        return self.having(**decided, card=None, verdict=NOT_EVALUATED)

    def files(self) -> dict[str, bytes]:
        """The three files of its folder, by name."""
        arrays = {"W_enc": self.W_enc, "b_enc": self.b_enc, "threshold": self.gate}
        packed = save({name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()})
        document = {**self.document, "latents_sha256": hashlib.sha256(packed).hexdigest()}
        sealed = {**document, SEAL: digest_of(document)}
        return {ARRAYS: packed, CARD: model_card(self.document).encode(), DOCUMENT: json_bytes(sealed)}

    def save(self, folder: str | Path) -> Path:
        """Write the folder, detector.json last; returns it. Raises: ConfigError when it holds other things."""
        folder = Path(folder)
        check_folder(folder)
        for name, data in self.files().items():
            write_atomic(folder / name, data)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> AnomalyDetector:
        """The detector of a folder, or of a run folder of phase 4.1.

        Raises: MissingArtifactError when none is there; ArtifactMismatchError when it was changed.
        """
        folder = Path(folder)
        folder = folder if (folder / DOCUMENT).is_file() else folder / SUBFOLDER
        document = _document(folder)
        packed = _read(folder / ARRAYS)
        if hashlib.sha256(packed).hexdigest() != document.pop("latents_sha256"):
            raise _damaged(folder / ARRAYS, "its SHA-256 is not the one in detector.json")

        arrays = load(packed)
        return cls(arrays["W_enc"], arrays["b_enc"], arrays["threshold"], document)


def check_folder(folder: Path, flag: str = "") -> None:
    """Raises: ConfigError for a folder that holds anything but a detector; `flag` gave it, as in '--out '."""
    foreign = sorted({path.name for path in folder.iterdir()} - {ARRAYS, CARD, DOCUMENT}) if folder.is_dir() else []
    if foreign or (folder.exists() and not folder.is_dir()):
        held = f"already holds {', '.join(foreign[:3])}" if foreign else "is a file"
        raise ConfigError(f"{flag}{folder} {held}\nGive a new folder, or that of an earlier detector")


def _document(folder: Path) -> dict[str, Any]:
    path = folder / DOCUMENT
    if not path.is_file():
        shown = folder.parent if folder.name == SUBFOLDER else folder
        raise MissingArtifactError(
            f"no detector in {shown}: it holds no {DOCUMENT}\nMake one with: python3 run.py discover --out {shown}"
        )
    document = read_sealed_json(path)
    if document is None:
        raise _damaged(path, "an entry is not what was written")
    if document.get("schema_version") != SCHEMA_VERSION:
        raise ArtifactMismatchError(
            f"{path} has schema version {document.get('schema_version')}, this code reads version {SCHEMA_VERSION}\n"
            f"Make the detector again with: python3 run.py discover --out FOLDER"
        )
    return document


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _damaged(path, f"it cannot be read: {error.strerror}") from error


def _damaged(path: Path, what: str) -> ArtifactMismatchError:
    return ArtifactMismatchError(
        f"{path} is damaged: {what}\nCopy the detector again, or make it with: python3 run.py discover --out FOLDER"
    )


def _as_float64(resid: Any) -> np.ndarray:
    if hasattr(resid, "detach"):  # torch, which need not be installed where a detector is only read
        resid = resid.detach().to("cpu").double().numpy()
    return np.asarray(resid, dtype=np.float64)


def deciding_rows(
    scores: Float[np.ndarray, " n"], owners: Numbers | None
) -> tuple[Int[np.ndarray, " m"], list[dict[str, int] | None]]:
    """The row that decides each text, and which of its windows that is; None where it has one."""
    if owners is None:
        return np.arange(len(scores)), [None] * len(scores)
    owner = np.asarray(owners)
    rows, windows = [], []
    for text in range(int(owner.max()) + 1 if len(owner) else 0):
        rows_of_text = np.flatnonzero(owner == text)
        index = int(np.argmax(scores[rows_of_text]))
        rows.append(rows_of_text[index])
        windows.append({"index": index, "count": len(rows_of_text)} if len(rows_of_text) > 1 else None)
    return np.array(rows, dtype=np.int64), windows
