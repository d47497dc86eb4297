"""Covers phase4_anomaly_detection/drift.py: counts, Fisher's test against an independent one, and when it speaks."""

from math import comb
from types import SimpleNamespace

import numpy as np
import pytest

from phase4_anomaly_detection.detector import Detection
from phase4_anomaly_detection.drift import MIN_TEXTS, WINDOW, DriftMonitor

N_AT_DISCOVERY = 200
RATES = {7: 0.5, 11: 0.1, 13: 0.02}


def monitor(**changed) -> DriftMonitor:
    latents = [
        {"latent": latent, "weight": 1.0, "n_fired": round(rate * N_AT_DISCOVERY), "n": N_AT_DISCOVERY, **changed}
        for latent, rate in RATES.items()
    ]
    return DriftMonitor(SimpleNamespace(latents=latents))


def detection(*fired: int) -> Detection:
    entries = [{"latent": latent, "activation": 1.0, "contribution": 1.0} for latent in fired]
    return Detection(False, 0.0, 0.1, "none", 1.0, entries, "proceed")


def detections(n: int, rates: dict[int, float], seed: int) -> list[Detection]:
    generator = np.random.default_rng(seed)
    return [detection(*(latent for latent, rate in rates.items() if generator.random() < rate)) for _ in range(n)]


def fisher_by_hand(a: int, n: int, b: int, m: int) -> float:
    """Two-sided: the chance of every table with these margins that is no likelier than this one."""
    chance = {
        k: comb(n, k) * comb(m, a + b - k) / comb(n + m, a + b) for k in range(max(0, a + b - m), min(n, a + b) + 1)
    }
    return sum(p for p in chance.values() if p <= chance[a] * (1 + 1e-7))


def test_texts_and_firings_are_counted():
    own = monitor()
    own.count([detection(7), detection(), detection(7, 13)])
    own.count([detection(11)])
    report = own.report()
    assert report["n"] == 4 and own.n_fired == {7: 2, 11: 1, 13: 1}
    assert {row["latent"]: (row["rate"], row["rate_at_discovery"]) for row in report["latents"]} == {
        7: (0.5, 0.5),
        11: (0.25, 0.1),
        13: (0.25, 0.02),
    }
    own.reset()
    assert own.report()["n"] == 0 and own.report()["latents"][0]["rate"] is None


def test_nothing_is_said_of_fewer_than_fifty_texts():
    own = monitor()
    own.count([detection(7, 11, 13)] * (MIN_TEXTS - 1))
    assert not own.report()["moved"] and all(row["p"] is None for row in own.report()["latents"])
    own.count([detection(7, 11, 13)])
    assert own.report()["moved"] and all(row["moved"] for row in own.report()["latents"])


def test_p_is_fishers_exact_one_times_holms_factor():
    own = monitor()
    own.count([detection(7, 11)] * 20 + [detection(7)] * 25 + [detection()] * 15)
    p = {row["latent"]: row["p"] for row in own.report()["latents"]}
    raw = {
        latent: fisher_by_hand(round(rate * 200), 200, fired, 60)
        for (latent, rate), fired in zip(RATES.items(), (45, 20, 0), strict=True)
    }
    first, second, third = sorted(raw, key=raw.get)
    assert p[first] == pytest.approx(3 * raw[first])
    assert p[second] == pytest.approx(max(3 * raw[first], 2 * raw[second]))
    assert p[third] == pytest.approx(min(1.0, max(2 * raw[second], raw[third])))
    assert [row["latent"] for row in own.report()["latents"]] == sorted(p, key=p.get)


def test_texts_like_those_at_discovery_seldom_move_it():
    moved = 0
    for seed in range(40):
        own = monitor()
        own.count(detections(150, RATES, seed))
        moved += own.report()["moved"]
    assert moved <= 3  # 1 % of 40 at most, by the correction


def test_the_latent_that_moved_is_named_and_no_other():
    own = monitor()
    own.count(detections(150, {**RATES, 11: 0.4}, 1))
    report = own.report()
    assert report["moved"] and report["latents"][0]["latent"] == 11
    assert [row["moved"] for row in report["latents"]] == [True, False, False]


def test_a_detector_without_rates_of_discovery_is_never_moved():
    own = monitor(n=0, n_fired=0)
    own.count([detection(7)] * 100)
    assert not own.report()["moved"] and own.report()["latents"][0]["rate_at_discovery"] is None


def test_only_the_last_thousand_texts_are_compared():
    own, fresh = monitor(), monitor()
    own.count([detection(7, 11, 13)] * WINDOW)
    assert own.report()["moved"] and own.report()["n"] == WINDOW == 1_000
    recent = detections(WINDOW, RATES, 5)
    for start in range(0, WINDOW, 250):
        own.count(recent[start : start + 250])
    fresh.count(recent)
    assert own.report() == fresh.report() and own.n_fired == fresh.n_fired and own.report()["n"] == WINDOW


def test_a_report_is_computed_again_only_when_texts_were_counted():
    own = monitor()
    own.count([detection(7)] * 60)
    first = own.report()
    assert own.report() is first
    own.count([detection(11)])
    assert own.report(max_age_s=3600) is first
    assert own.report()["n"] == 61 and first["n"] == 60
    own.reset()
    assert own.report(max_age_s=3600)["n"] == 0
