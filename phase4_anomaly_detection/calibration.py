"""From a score to a probability, a threshold and a band in which the detector abstains; all fitted on one split.

1. Probability of *incorrect*: Platt's sigmoid below 1,000 texts, isotonic regression from there on (Niculescu-Mizil &
   Caruana found isotonic to overfit smaller sets). Both never fall as the score rises. A sigmoid that would fall
   becomes the base rate for every score, and says so.
2. Threshold: over the midpoints of distinct scores, the one that reaches what was wanted (recall=, precision= or
   flag_rate=). Flagging everything is none of them: that is no detector. A precision is reached where its lower bound
   is: of nine flag rates (10 %, 20 % ... 90 %) the largest whose bound by Clopper and Pearson, at 95 % for all nine
   together, is as high as wanted. The precision of the texts that chose the threshold flatters it; the bound does not.
3. Band: the texts whose scores lie nearest the threshold in rank, half on each side; equal scores are taken all
   together or not at all, so never more than the wanted share.

Sources: Platt 1999 with the stable form of Lin, Lin & Weng 2007, Machine Learning 68; Zadrozny & Elkan 2002;
Niculescu-Mizil & Caruana 2005, ICML; Clopper & Pearson 1934, Biometrika 26.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from common.errors import ConfigError
from common.evaluation.metrics import midpoints
from phase4_anomaly_detection.options import METHODS, Target

ISOTONIC_FROM = 1000  # texts
FLAG_RATES = tuple(k / 10 for k in range(1, 10))  # at which a precision may be promised
DOUBT = 0.05
CONSTANT = "the score does not rise with the share of incorrect texts, so every text gets the base rate"


def fit_calibration(scores: Float[np.ndarray, " n"], incorrect: Bool[np.ndarray, " n"], method: str) -> dict[str, Any]:
    """What `probabilities` needs: {"method": "platt", "slope", "intercept"} or {"method": "isotonic", "x", "y"}.

    An entry "note" says where the score means nothing. Raises: ConfigError as `checked_labels`.
    """
    incorrect = checked_labels(incorrect, len(scores))
    if method == "auto":
        method = "platt" if len(scores) < ISOTONIC_FROM else "isotonic"
    if method == "platt":
        return _platt(scores, incorrect)
    if method != "isotonic":
        raise ConfigError(f"the calibration is '{method}'\nGive one of: {', '.join(METHODS)}")

    from sklearn.isotonic import IsotonicRegression  # half a second, which a detector that only answers never needs

    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, incorrect.astype(float))
    calibration = {"method": "isotonic", "x": fitted.X_thresholds_.tolist(), "y": fitted.y_thresholds_.tolist()}
    return calibration if calibration["y"][-1] > calibration["y"][0] else {**calibration, "note": CONSTANT}


def probabilities(calibration: dict[str, Any], scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Probability that a text of each score is incorrect, 0 to 1."""
    if calibration["method"] == "platt":
        return _sigmoid(calibration["slope"] * scores + calibration["intercept"])
    return np.interp(scores, calibration["x"], calibration["y"])


def _platt(scores: np.ndarray, incorrect: np.ndarray) -> dict[str, Any]:
    """P = 1 / (1 + exp(-(slope * score + intercept))), fitted to Platt's softened labels."""
    n_incorrect, n_correct = int(incorrect.sum()), int((~incorrect).sum())
    centre, scale = float(scores.mean()), float(scores.std())
    slope = intercept = 0.0
    if scale > 0:
        wanted = np.where(incorrect, (n_incorrect + 1) / (n_incorrect + 2), 1 / (n_correct + 2))
        slope, intercept = _logistic((scores - centre) / scale, wanted)
    if slope <= 0:
        base = n_incorrect / len(scores)
        return {"method": "platt", "slope": 0.0, "intercept": math.log(base / (1 - base)), "note": CONSTANT}
    return {"method": "platt", "slope": slope / scale, "intercept": intercept - slope * centre / scale}


def _logistic(z: Float[np.ndarray, " n"], wanted: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Slope and intercept with the smallest cross-entropy to labels between 0 and 1: each text counts as both."""
    from sklearn.linear_model import LogisticRegression

    both = np.repeat([1, 0], len(z))
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
    fitted = model.fit(np.tile(z, 2)[:, None], both, sample_weight=np.concatenate([wanted, 1 - wanted]))
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def _sigmoid(margin: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -margin))


def reached_by(target: Target, flagged: Bool[np.ndarray, " n"], incorrect: Bool[np.ndarray, " n"]) -> tuple[int, int]:
    """The target's metric as a count of a total: (flagged incorrect, incorrect) for recall, and so on."""
    hits = int((flagged & incorrect).sum())
    if target.kind == "recall":
        return hits, int(incorrect.sum())
    return (hits, int(flagged.sum())) if target.kind == "precision" else (int(flagged.sum()), len(flagged))


def choose_threshold(
    scores: Float[np.ndarray, " n"], incorrect: Bool[np.ndarray, " n"], target: Target
) -> tuple[float, dict[str, Any]]:
    """The threshold (flagged: score > threshold), and what it does on these texts, as in detector.json.

    recall: the highest that reaches it. precision: the lowest whose lower bound, `low`, reaches it; None for the other
    kinds. flag_rate: the lowest that flags at most that share. Where none does: the nearest to it, and `reached` is
    false: a precision cannot be promised then. A score that is the same everywhere gets itself as the threshold, which
    flags nothing. Raises: as `checked_labels`.
    """
    incorrect = checked_labels(incorrect, len(scores))
    thresholds = midpoints(scores)
    if not len(thresholds):
        nothing = np.zeros(len(scores), dtype=bool)
        return float(scores[0]), {**_outcome(target, nothing, incorrect, reached=False), "low": None}
    order = np.argsort(scores, kind="stable")
    first_above = np.searchsorted(scores[order], thresholds, side="right")
    n_flagged = len(scores) - first_above
    hits = np.append(np.cumsum(incorrect[order][::-1])[::-1], 0)[first_above]
    if target.kind == "precision":
        at, reached, low = _promised(target.wanted, hits, n_flagged, len(scores))
    else:
        (at, reached), low = _best(target, hits, n_flagged, int(incorrect.sum()), len(scores)), None
    threshold = float(thresholds[at])
    return threshold, {**_outcome(target, scores > threshold, incorrect, reached), "low": low}


def _promised(wanted: float, hits: np.ndarray, n_flagged: np.ndarray, n: int) -> tuple[int, bool, float]:
    """Which of the ascending thresholds, whether its precision's lower bound is as high as wanted, and the bound."""
    from scipy.stats import beta  # half a second, which a detector that only answers never needs

    places = np.unique([int(np.searchsorted(-n_flagged, -math.floor(rate * n))) for rate in FLAG_RATES])
    places = places[places < len(n_flagged)]  # ties may leave no threshold that flags so few
    places = places if len(places) else np.array([len(n_flagged) - 1])
    n_right = hits[places]
    quantile = beta.ppf(DOUBT / len(FLAG_RATES), n_right, n_flagged[places] - n_right + 1)
    bounds = np.where(n_right > 0, quantile, 0.0)
    good = np.flatnonzero(bounds >= wanted)
    best = int(good[0]) if len(good) else int(bounds.argmax())
    return int(places[best]), bool(len(good)), float(bounds[best])


def _best(target: Target, hits: np.ndarray, n_flagged: np.ndarray, n_incorrect: int, n: int) -> tuple[int, bool]:
    """Which of the ascending thresholds, and whether it reaches a recall or a flag rate."""
    slack = 1e-12  # 0.8 of 5 texts is 4, whatever binary fractions say
    if target.kind == "recall":
        good = np.flatnonzero(hits >= target.wanted * n_incorrect - slack)
        return (int(good[-1]), True) if len(good) else (0, False)
    good = np.flatnonzero(n_flagged <= target.wanted * n + slack)
    return (int(good[0]), True) if len(good) else (len(hits) - 1, False)


def _outcome(target: Target, flagged: np.ndarray, incorrect: np.ndarray, reached: bool) -> dict[str, Any]:
    count, total = reached_by(target, flagged, incorrect)
    value = count / total if total else None
    return {"kind": target.kind, "wanted": target.wanted, "value": value, "n": len(flagged), "reached": reached}


def abstain_band(scores: Float[np.ndarray, " n"], threshold: float, share: float) -> dict[str, float] | None:
    """{"low", "high"}, both included: at most `share` of these texts, half below the threshold and half above.

    Its ends lie midway between two scores, as thresholds do: rounding cannot move a text over them. None where the
    band would hold no text.
    """
    distinct, counts = np.unique(scores, return_counts=True)
    each_side = math.floor(share * len(scores) / 2 + 1e-9)
    n_below = int((distinct <= threshold).sum())
    below = int((np.cumsum(counts[:n_below][::-1]) <= each_side).sum())
    above = int((np.cumsum(counts[n_below:]) <= each_side).sum())
    if below + above == 0:
        return None
    gap = np.diff(distinct, prepend=2 * distinct[0] - distinct[1], append=2 * distinct[-1] - distinct[-2]) / 2
    low = distinct[n_below - below] - gap[n_below - below] if below else threshold
    high = distinct[n_below + above - 1] + gap[n_below + above] if above else threshold
    return {"low": float(low), "high": float(high)}


def checked_labels(incorrect: Any, n: int) -> Bool[np.ndarray, " n"]:
    """Which of `n` texts are incorrect, from booleans or from 0 and 1 (1 is incorrect), in an array or a list.

    Raises: ConfigError for other labels, another number of them, or where one of the two is missing.
    """
    labels = np.asarray(incorrect)
    if labels.shape != (n,):
        raise ConfigError(f"there are {n} texts, and labels of the shape {list(labels.shape)}\nGive one label a text")
    if labels.dtype.kind not in "biufO" or not np.isin(labels, (0, 1)).all():
        wrong = next(
            (label for label in labels.tolist() if type(label) is str or label not in (0, 1)), labels.dtype.name
        )
        raise ConfigError(f"a label is {wrong!r}\nGive booleans, or 0 for correct and 1 for incorrect")
    labels = labels.astype(bool)
    if labels.all() or not labels.any():
        named = "incorrect" if n and labels.all() else "correct" if n else "no"
        raise ConfigError(f"all {n} texts are {named} ones: both labels are needed\nGive some of each")
    return labels
