"""Intervals for what the pipeline counts."""


def wilson_interval(n_successes: int, n_trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion, in [0, 1].

    Source: Wilson 1927, J. Am. Stat. Assoc. 22.
    """
    from scipy.stats import binomtest

    interval = binomtest(n_successes, n_trials).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
