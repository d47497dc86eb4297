"""What every phase shares that evaluates a selection on the validation split."""

VALIDATION = "validation_{dataset}.parquet"
