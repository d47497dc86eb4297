"""The words that settings of phase 4.1 and of its Python API may have."""

METHODS = ("auto", "platt", "isotonic")  # of calibration
SIGNIFICANCE = ("none", "bonferroni", "permutation")
RULES = ("auto", "t", "l1")  # of weights
