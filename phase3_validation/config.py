"""The splits that phase 3 reads: what was selected is tuned on one, and evaluated on the other."""

HYPERPARAMS = "hyperparams_{dataset}.parquet"
VALIDATION = "validation_{dataset}.parquet"
