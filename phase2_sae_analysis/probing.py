"""How many latents hold what a layer knows: probes of k latents beside one of the whole residual stream.

Latents are those that passed the general-text filter and fire on a problem; they, and every penalty, are chosen inside
each of 5 outer folds of the problems, the same for all layers and for both kinds of probe
(common/evaluation/sparse_probing.py).
"""

import numpy as np
from jaxtyping import Bool, Float

from common.evaluation import probes
from common.evaluation.sparse_probing import KS, Grid, Nested, auroc_over_folds, nested
from common.handoffs.selected import CrossValidatedProbe, LayerProbing


def probe_layer(
    layer: int,
    latent_acts: Float[np.ndarray, "n k"],
    resid: Float[np.ndarray, "n d_model"],
    incorrect: Bool[np.ndarray, " n"],
    seed: int,
) -> LayerProbing:
    """Cross-validated probes of 1 to 32 of the given latents, as far as there are so many, and of the stream."""
    n_latents, width = latent_acts.shape[1], resid.shape[1]
    sizes = tuple(k for k in KS if k <= n_latents)
    sparse = []
    if sizes:
        probes_of_latents = nested(latent_acts, incorrect, Grid(sizes, seed=seed))
        sparse = [_read(probes_of_latents, row, k, incorrect) for row, k in enumerate(sizes)]
    full = nested(resid, incorrect, Grid((width,), probes.STRENGTHS, seed))
    return LayerProbing(layer=layer, n_latents=n_latents, sparse=sparse, full=_read(full, 0, width, incorrect))


def _read(probes: Nested, row: int, k: int, incorrect: np.ndarray) -> CrossValidatedProbe:
    area = auroc_over_folds(probes.scores[row], incorrect, probes.fold)
    return CrossValidatedProbe(k=k, auroc=area, strengths=probes.strengths[:, row].tolist())


def in_words(probing: LayerProbing) -> str:
    """One line of a log."""
    sparse = [f"{probe.k}: {probe.auroc.known:.3f}" for probe in probing.sparse]
    every = ", ".join([*sparse, f"whole stream: {probing.full.auroc.known:.3f}"])
    return f"layer {probing.layer}: cross-validated AUROC by number of latents: {every}"
