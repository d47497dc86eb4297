"""What the page is tested on of phase 2: what the general-text filter left out and costs, and how k latents do."""

from typing import Any

Row = dict[str, Any]


def interval(value: float | None, width: float = 0.05) -> Row:
    return (
        {"value": None, "low": None, "high": None}
        if value is None
        else {"value": value, "low": value - width, "high": value + width}
    )


def _probe(k: int, area: float) -> Row:
    return {"k": k, "auroc": interval(area), "strengths": [0.1] * 5}


_BEST: Row = {"layer": 4, "latent": 1276, "t": 12.3, "separation": -0.41, "auroc": 0.79, "general_text_rate": 0.052}
_BEST |= {"undecided": True}
LEFT_OUT = {**_BEST, "limit": 0.044, "stronger": True}
GENERAL_TEXT = {"limit": 0.044, "mean_rate": 0.01, "n_documents": 1000, "kept": 5225, "undecided": 31}
LIMITS = [
    {"limit": limit, "kept": 5225, "best": _BEST, "auroc": interval(0.789)}
    for limit in (1.0, 0.2, 0.1, 0.05, 0.02, 0.01, None)
]
SPARSE_PROBING = [
    {"layer": 4, "n_latents": 900, "full": _probe(256, 0.781), "sparse": [_probe(k, 0.76 + k / 1000) for k in (1, 4)]}
]


def counted(n: int, of: int) -> dict[str, Any]:
    return {"n": n, "of": of, "rate": interval(n / of)}
