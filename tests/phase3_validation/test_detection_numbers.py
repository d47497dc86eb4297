"""Covers the numbers of phase 3.1: each one again, from its tables alone, with other people's code."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk
from statsmodels.stats.proportion import proportion_confint

NAMES = ("predict_incorrect", "predict_correct", "steer_incorrect", "steer_correct")
BASELINES = [
    "always positive",
    "prompt length",
    "description length",
    "complexity",
    "operations",
    "mean log-probability",
    "summed log-probability",
    "first-token entropy",
    "text of the prompt",
    "text of the description",
    "logistic regression",
    "difference of means",
    "full probe",
]
AT_THRESHOLD = {
    "f1": lambda truth, predicted: sk.f1_score(truth, predicted),
    "precision": lambda truth, predicted: sk.precision_score(truth, predicted) if predicted.any() else np.nan,
    "recall": lambda truth, predicted: sk.recall_score(truth, predicted),
    "specificity": lambda truth, predicted: sk.recall_score(~truth, ~predicted),
    "balanced_accuracy": lambda truth, predicted: sk.balanced_accuracy_score(truth, predicted),
    "mcc": lambda truth, predicted: sk.matthews_corrcoef(truth, predicted),
}


def document(folder) -> dict:
    return json.loads((folder / "detection.json").read_text())


class Tables:
    """predictions.parquet and labels.parquet of a run, and nothing else of it but the seed."""

    def __init__(self, folder, seed: int = 42, n_resamples: int = 2000):
        self.predictions = pd.read_parquet(folder / "predictions.parquet")
        self.labels = pd.read_parquet(folder / "labels.parquet")
        greedy = self.labels[self.labels.temperature == 0]
        self.greedy = {split: rows.set_index("task_id") for split, rows in greedy.groupby("split")}
        self.seed, self.n_resamples = seed, n_resamples

    def values(self, direction: str, score: str, split: str) -> tuple[np.ndarray, float]:
        """Values in the order of the labels, and the threshold."""
        rows = self.predictions.query("direction == @direction and score == @score and split == @split")
        assert rows.threshold.nunique(dropna=False) == 1
        return rows.set_index("task_id").value[self.greedy[split].index].to_numpy(), float(rows.threshold.iloc[0])

    def positive(self, direction: str, split: str) -> np.ndarray:
        return (self.greedy[split].label == direction.rpartition("_")[-1]).to_numpy()

    def resamples(self) -> list[np.ndarray]:
        """Rows of every resample, from the draws that the document describes."""
        incorrect = (self.greedy["validation"].label == "incorrect").to_numpy()
        generator = np.random.default_rng(self.seed)
        counts = np.zeros((self.n_resamples, len(incorrect)), dtype=int)
        for label in (incorrect, ~incorrect):
            n = label.sum()
            counts[:, label] = generator.multinomial(n, np.ones(n) / n, size=self.n_resamples)
        return [np.repeat(np.arange(len(incorrect)), drawn) for drawn in counts]


@pytest.fixture(scope="module")
def tables(detection_run) -> Tables:
    return Tables(detection_run[1])


@pytest.fixture(scope="module")
def found(detection_run) -> dict:
    return document(detection_run[1])


def cards_of(found: dict, direction: str) -> dict[str, dict]:
    entry = found["directions"][direction]
    return {"latent": entry["card"], **entry["baselines"]}


@pytest.mark.parametrize("direction", NAMES)
def test_every_point_of_every_card_follows_from_the_tables(tables, found, direction):
    for name, card in cards_of(found, direction).items():
        (values, threshold), truth = (
            tables.values(direction, name, "validation"),
            tables.positive(direction, "validation"),
        )
        predicted = values > threshold
        assert card["threshold"] == threshold and card["n"] == len(truth) and card["n_positive"] == truth.sum()
        assert card["base_rate"] == pytest.approx(truth.mean())
        for metric, compute in AT_THRESHOLD.items():
            assert card[metric]["value"] == pytest.approx(compute(truth, predicted), nan_ok=True), (name, metric)
        assert card["auroc"]["value"] == pytest.approx(sk.roc_auc_score(truth, values))
        assert card["average_precision"]["value"] == pytest.approx(sk.average_precision_score(truth, values))


@pytest.mark.parametrize("direction", NAMES)
def test_every_threshold_has_the_best_f1_of_all_midpoints_on_hyperparams(tables, found, direction):
    scores = tables.predictions.query("direction == @direction").score.unique()
    assert list(scores[: 1 + len(BASELINES)]) == ["latent", *BASELINES]
    few = ["latent", "complexity", "operations", "full probe", *scores[1 + len(BASELINES) :: 4]]
    for name in few:
        (values, threshold), truth = (
            tables.values(direction, name, "hyperparams"),
            tables.positive(direction, "hyperparams"),
        )
        distinct = np.unique(values)
        midpoints = (distinct[1:] + distinct[:-1]) / 2
        if not len(midpoints):
            assert np.isnan(threshold)
            continue
        f1 = [sk.f1_score(truth, values > midpoint) for midpoint in midpoints]
        assert threshold == pytest.approx(midpoints[int(np.argmax(np.round(f1, 12)))]), name
    values, threshold = tables.values(direction, "always positive", "validation")
    assert (values > threshold).all()


def test_every_interval_follows_from_the_draws_that_are_described(tables, found):
    """A plain loop over resamples, for a latent, a constant and a probe."""
    assert "multinomial" in found["resamples"] and found["n_resamples"] == 2000 and found["seed"] == 42
    direction, resamples = "predict_incorrect", tables.resamples()
    truth = tables.positive(direction, "validation")
    for name in ("latent", "always positive", "logistic regression"):
        card = cards_of(found, direction)[name]
        values, threshold = tables.values(direction, name, "validation")
        drawn = [metrics_of(truth[rows], values[rows], threshold) for rows in resamples]
        for metric in drawn[0]:
            assert_ends(card[metric], [each[metric] for each in drawn])
        precisions = [sk.average_precision_score(truth[rows], values[rows]) for rows in resamples]
        assert_ends(card["average_precision"], precisions)


def metrics_of(truth: np.ndarray, values: np.ndarray, threshold: float) -> dict[str, float]:
    """By their textbook formulas; test_detection_metrics.py compares with scikit-learn, which takes its time."""
    predicted = values > threshold
    tp, fp, fn, tn = (
        (truth & predicted).sum(),
        (~truth & predicted).sum(),
        (truth & ~predicted).sum(),
        (~truth & ~predicted).sum(),
    )
    recall, specificity = tp / (tp + fn), tn / (tn + fp)
    precision = tp / (tp + fp) if tp + fp else np.nan
    margins = float(tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    mcc = (tp * tn - fp * fn) / np.sqrt(margins) if margins else 0.0
    return {
        "auroc": _area(truth, values),
        "f1": _f1(truth, predicted),
        "precision": precision,
        "recall": recall,
        "specificity": specificity,
        "balanced_accuracy": (recall + specificity) / 2,
        "mcc": mcc,
    }


def assert_ends(interval: dict, resampled: list[float]) -> None:
    ends = np.nanquantile(resampled, [0.025, 0.975])
    assert [interval["low"], interval["high"]] == pytest.approx(ends.tolist(), abs=1e-9)


def _area(truth: np.ndarray, values: np.ndarray) -> float:
    """From the sum of ranks, as Mann and Whitney's U."""
    n = truth.sum()
    return (stats.rankdata(values)[truth].sum() - n * (n + 1) / 2) / (n * (len(truth) - n))


def _f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    return 2 * (truth & predicted).sum() / (truth.sum() + predicted.sum())


@pytest.mark.parametrize("direction", NAMES)
def test_delongs_interval_follows_from_the_tables(tables, found, direction):
    values, _ = tables.values(direction, "latent", "validation")
    truth = tables.positive(direction, "validation")
    psi = (np.sign(values[truth][:, None] - values[~truth]) + 1) / 2
    error = np.sqrt(psi.mean(axis=1).var(ddof=1) / len(psi) + psi.mean(axis=0).var(ddof=1) / psi.shape[1])
    area = found["directions"][direction]["card"]["auroc"]
    wanted = np.clip(psi.mean() + stats.norm.ppf([0.025, 0.975]) * error, 0, 1)
    assert [area["delong_low"], area["delong_high"]] == pytest.approx(wanted.tolist())


@pytest.mark.parametrize("direction", NAMES)
def test_random_latents_are_ranked_as_the_tables_say(tables, found, direction):
    truth, entry = tables.positive(direction, "validation"), found["directions"][direction]
    names = [name for name in tables.predictions.query("direction == @direction").score.unique() if "random" in name]
    drawn = [tables.values(direction, name, "validation") for name in names]
    for key, values in {
        "auroc": [sk.roc_auc_score(truth, value) for value, _ in drawn],
        "f1": [sk.f1_score(truth, value > threshold) for value, threshold in drawn],
    }.items():
        summary = entry["random_latents"][key]
        assert [summary["q05"], summary["median"], summary["q95"]] == pytest.approx(
            np.quantile(values, [0.05, 0.5, 0.95]).tolist()
        )
        assert summary["rank"] == 1 + sum(value >= entry["card"][key]["value"] - 1e-12 for value in values)
    assert entry["random_latents"]["n"] == len(names) <= 20
    assert f"random_latent_{entry['latent']['latent']}" not in names


@pytest.mark.parametrize("direction", NAMES)
def test_strata_follow_from_the_tables(tables, found, direction):
    values, threshold = tables.values(direction, "latent", "validation")
    truth, entry = tables.positive(direction, "validation"), found["directions"][direction]
    stratum, resamples = tables.greedy["validation"].stratum.to_numpy(), tables.resamples()
    assert {each["stratum"] for each in entry["strata"]} == set(stratum)
    for each in entry["strata"]:
        inside = stratum == each["stratum"]
        assert (each["n"], each["n_positive"]) == (inside.sum(), truth[inside].sum())
        if min(truth[inside].sum(), (~truth[inside]).sum()) < 5:
            assert each["auroc"]["value"] is None
            continue
        assert each["auroc"]["value"] == pytest.approx(sk.roc_auc_score(truth[inside], values[inside]))
        assert each["f1"]["value"] == pytest.approx(sk.f1_score(truth[inside], values[inside] > threshold))
        if direction != NAMES[0]:
            continue
        own = [rows[inside[rows]] for rows in resamples]
        own = [rows for rows in own if 0 < truth[rows].sum() < len(rows)]
        assert_ends(each["auroc"], [_area(truth[rows], values[rows]) for rows in own])
    for name, within in {"": entry["auroc_within_strata"], **entry["auroc_within"]}.items():
        groups = stratum if not name else tables.values(direction, name, "validation")[0]
        won = pairs = 0.0
        for group in set(groups):
            x, y = values[truth & (groups == group)], values[~truth & (groups == group)]
            won += ((np.sign(x[:, None] - y) + 1) / 2).sum()
            pairs += len(x) * len(y)
        assert within["value"] == pytest.approx(won / pairs), name
        assert within["low"] <= within["value"] <= within["high"]
    assert set(entry["auroc_within"]) == {"prompt length", "description length", "complexity", "operations"}


@pytest.mark.parametrize("direction", NAMES)
def test_temperatures_follow_from_the_tables(tables, found, direction):
    values, threshold = tables.values(direction, "latent", "validation")
    value_of = dict(zip(tables.greedy["validation"].index, values, strict=True))
    entry = found["directions"][direction]
    assert [each["temperature"] for each in entry["temperatures"]] == [0.0, 0.3, 0.6]
    for each in entry["temperatures"]:
        programs = tables.labels[
            (tables.labels.split == "validation") & (tables.labels.temperature == each["temperature"])
        ]
        truth = (programs.label == direction.rpartition("_")[-1]).to_numpy()
        scores = programs.task_id.map(value_of).to_numpy()
        assert (each["n_programs"], each["n_problems"]) == (len(programs), programs.task_id.nunique())
        assert each["base_rate"] == pytest.approx(truth.mean())
        assert each["auroc"]["value"] == pytest.approx(sk.roc_auc_score(truth, scores))
        assert each["f1"]["value"] == pytest.approx(sk.f1_score(truth, scores > threshold))
        if direction != NAMES[0]:
            continue
        ids = tables.greedy["validation"].index.to_numpy()
        generator = np.random.default_rng(42)
        counts = generator.multinomial(len(ids), np.ones(len(ids)) / len(ids), size=2000)
        place = pd.Series(np.arange(len(ids)), index=ids)[programs.task_id].to_numpy()
        drawn = [np.repeat(np.arange(len(programs)), row[place]) for row in counts]
        assert_ends(each["auroc"], [_area(truth[rows], scores[rows]) for rows in drawn])
        assert_ends(each["f1"], [_f1(truth[rows], scores[rows] > threshold) for rows in drawn])


@pytest.mark.parametrize("direction", NAMES)
def test_the_calibration_follows_from_the_tables(tables, found, direction):
    from sklearn.isotonic import IsotonicRegression

    (tuned, _), (values, _) = (tables.values(direction, "latent", split) for split in ("hyperparams", "validation"))
    fitted = IsotonicRegression(out_of_bounds="clip").fit(tuned, tables.positive(direction, "hyperparams"))
    probability, truth = fitted.predict(values), tables.positive(direction, "validation")
    calibration = found["directions"][direction]["calibration"]
    assert calibration["brier"] == pytest.approx(sk.brier_score_loss(truth, probability.clip(0, 1)))
    ranks = np.floor((stats.rankdata(probability) - 0.5) / len(probability) * 5)
    groups = [(probability[ranks == rank].mean(), truth[ranks == rank]) for rank in np.unique(ranks)]
    assert len(groups) == len(calibration["groups"])
    for (predicted, inside), group in zip(groups, calibration["groups"], strict=True):
        low, high = proportion_confint(inside.sum(), len(inside), method="wilson")
        assert group["predicted"] == pytest.approx(predicted) and group["n"] == len(inside)
        assert group["observed"] == pytest.approx({"value": inside.mean(), "low": low, "high": high})


@pytest.mark.parametrize("direction", NAMES)
def test_paired_differences_follow_from_the_tables(tables, found, direction):
    truth, entry = tables.positive(direction, "validation"), found["directions"][direction]
    (values, threshold), resamples = tables.values(direction, "latent", "validation"), tables.resamples()
    assert list(entry["differences"]) == BASELINES[1:]
    after = {"mean log-probability", "summed log-probability"}
    own = [_area(truth[rows], values[rows]) for rows in resamples] if direction == NAMES[0] else []
    for name, difference in entry["differences"].items():
        other, _ = tables.values(direction, name, "validation")
        wanted = sk.roc_auc_score(truth, values) - sk.roc_auc_score(truth, other)
        assert difference["auroc"]["value"] == pytest.approx(wanted)
        assert difference["known"] == ("after" if name in after else "before")
        if own and name in ("full probe", "prompt length"):
            drawn = [area - _area(truth[rows], other[rows]) for area, rows in zip(own, resamples, strict=True)]
            assert_ends(difference["auroc"], drawn)
    always = entry["against_always"]["f1_difference"]
    everything = np.ones(len(truth), dtype=bool)
    assert always["value"] == pytest.approx(_f1(truth, values > threshold) - _f1(truth, everything))
    if own:
        drawn = [_f1(truth[rows], values[rows] > threshold) - _f1(truth[rows], everything) for rows in resamples]
        assert_ends(always, drawn)


@pytest.mark.parametrize("direction", NAMES)
def test_every_verdict_follows_from_the_intervals(tables, found, direction):
    entry = found["directions"][direction]
    area, random = entry["card"]["auroc"], entry["random_latents"]["auroc"]["q95"]
    wanted = "does not rank" if area["high"] < 0.55 else "cannot tell"
    if area["low"] > 0.5:
        wanted = "ranks" if area["value"] > random else "ranks no better than random latents"
    assert entry["verdict"] == wanted and entry["positive"] == direction.rpartition("_")[-1]
    gain = entry["beyond_difficulty"]["gain"]
    wanted = "beyond" if gain["low"] > 0 else "not beyond" if gain["high"] < 0.02 else "cannot tell"
    assert entry["beyond_difficulty"]["verdict"].removesuffix(" difficulty") == wanted
    f1 = entry["against_always"]["f1_difference"]
    wanted = "better than always" if f1["low"] > 0 else "worse than always" if f1["high"] < 0 else "cannot tell"
    assert entry["against_always"]["verdict"] == wanted
    n_positive = int(tables.positive(direction, "validation").sum())
    assert (entry["power"]["n_positive"], entry["power"]["n_negative"]) == (n_positive, 150 - n_positive)
    assert 0.5 < entry["power"]["smallest_auroc"] < 0.8 and entry["power"]["power"] == 0.8
