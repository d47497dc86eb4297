"""How many problems of each label the phases after 0.1 cannot do without, and what that asks of a split's size."""

MIN_TO_COMPARE, MIN_TO_EVALUATE = 10, 5  # correct problems, and incorrect ones: of phase 2, and of those after it
MIN_OF_A_LABEL = {"sae": MIN_TO_COMPARE, "hyperparams": MIN_TO_EVALUATE, "validation": MIN_TO_EVALUATE}


def too_small(sizes: dict[str, int]) -> dict[str, int]:
    """The splits that cannot hold enough of both labels, whatever the pass rate, with the size they need."""
    return {name: 2 * n for name, n in MIN_OF_A_LABEL.items() if sizes[name] < 2 * n}


def pass_rates_that_do(sizes: dict[str, int]) -> tuple[float, float]:
    """The lowest and the highest pass rate with which each split can be expected to hold enough of both labels."""
    share = max(n / sizes[name] for name, n in MIN_OF_A_LABEL.items())
    return share, 1 - share
