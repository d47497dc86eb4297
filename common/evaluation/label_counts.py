"""How few correct and how few incorrect programs a number can be made from, and what that asks of a split's size."""

# All of these count the rarer label.
MIN_TO_COMPARE = 10  # phase 2: each label's variance enters Welch's t
MIN_TO_EVALUATE = 5  # the phases after it, which say how uncertain a number is
MIN_FOR_A_LATENT = 10  # the AUROC of one latent under a changed prompt, with its interval
MIN_IN_A_STRATUM = 5  # without which a stratum's numbers would be noise: they are left undefined
MIN_TO_CROSS_VALIDATE = 5  # one in each outer fold, which leaves three to learn from in each inner one
MIN_LABELLED = 20  # texts of one's own: 10, 2 and 8 in the three splits
OF_SPLITS = {"sae": MIN_TO_COMPARE, "hyperparams": MIN_TO_EVALUATE, "validation": MIN_TO_EVALUATE}


def too_small(sizes: dict[str, int]) -> dict[str, int]:
    """The splits that cannot hold enough of both labels, whatever the pass rate, with the size they need."""
    return {name: 2 * n for name, n in OF_SPLITS.items() if sizes[name] < 2 * n}


def pass_rates_that_do(sizes: dict[str, int], sure: float = 0.95) -> tuple[float, float] | None:
    """The lowest and the highest pass rate [whole percents] with which all splits hold enough of both labels.

    Enough in all of them at once in `sure` of draws, whose problems pass independently; None where no rate does.
    """
    from scipy.stats import binom  # help and most commands come here without it

    def holds(rate: float) -> bool:
        enough = 1.0
        for name, n in OF_SPLITS.items():
            enough *= float(binom.cdf(sizes[name] - n, sizes[name], rate) - binom.cdf(n - 1, sizes[name], rate))
        return enough >= sure

    low = next((percent / 100 for percent in range(1, 51) if holds(percent / 100)), None)
    return None if low is None else (low, 1 - low)
