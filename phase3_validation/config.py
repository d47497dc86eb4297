"""The splits that phase 3 reads: what was selected on the first is tuned on the second, and evaluated on the third."""

SAE_SPLIT = "sae_{dataset}.parquet"
HYPERPARAMS = "hyperparams_{dataset}.parquet"
VALIDATION = "validation_{dataset}.parquet"
