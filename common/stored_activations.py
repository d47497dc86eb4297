"""The activations that phase 1 stored, and the SAEs that read them: one layer at a time, checked on load."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from common.errors import ArtifactMismatchError, ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from common.artifacts import Artifact
    from common.sae_sources import SaeSource
    from common.saes import LayerSae, SiteFit

_LAYER_FILE = re.compile(r"activations/layer_(\d+)\.safetensors")
N_IN_SITE_CHECK = 64  # problems whose activations tell whether an SAE belongs to a layer
N_BESIDE = 32  # activations of each layer beside its own that an SAE is tried on


def stored_layers(generations: Artifact) -> list[int]:
    """The layers whose activations a run of phase 1 holds, ascending."""
    matches = map(_LAYER_FILE.fullmatch, generations.manifest["files"])
    return sorted(int(match[1]) for match in matches if match)


def layer_list(layers: Sequence[int]) -> str:
    """As --layers takes them: "3,5,7"."""
    return ",".join(map(str, layers)) or "none"


def layer_activations(generations: Artifact, layer: int, task_ids: Sequence[int]) -> Float[Tensor, "n d_model"]:
    """resid_post of one layer at the last prompt token, in the order of `task_ids`, float32.

    Raises: ArtifactMismatchError when some are not finite (float16 overflows).
    """
    import torch

    file = f"activations/layer_{layer:02d}.safetensors"
    row_of = {task_id: row for row, task_id in enumerate(generations.tensor(file, "task_id").tolist())}
    resid = generations.tensor(file, "resid_post")[[row_of[task_id] for task_id in task_ids]]
    resid = resid.astype(np.float32, copy=False)
    n_bad = int((~np.isfinite(resid)).any(axis=1).sum())
    if n_bad:
        raise ArtifactMismatchError(
            f"the activations of {n_bad} of {len(task_ids)} problems are NaN or infinite: {generations.path / file}\n"
            "Run phase 1 again with --dtype bfloat16 or float32"
        )
    return torch.from_numpy(resid)


def checked_sae(
    source: SaeSource, generations: Artifact, layer: int, task_ids: Sequence[int], accept_bad_fit: bool,
    log: logging.Logger,
) -> tuple[LayerSae, SiteFit]:  # fmt: skip
    """The SAE of one layer, once it was seen to fit the layer's activations, and better than those beside it.

    Also how well it fits, on at most N_IN_SITE_CHECK of the problems `task_ids`.

    Raises: ConfigError for a transcoder, and as `SaeSource.load`; ArtifactMismatchError when it does not fit,
    unless `accept_bad_fit`.
    """
    from common.saes import check_neighbours, check_site, site_fit

    check_reads_the_residual_stream(source)
    sae = source.load(layer)
    rows = rows_for_site_check(len(task_ids))
    some = [task_ids[row] for row in rows]
    resid = layer_activations(generations, layer, some)
    fit = site_fit(sae, resid)
    check_site(fit, sae, accept_bad_fit, log, sae.usual_fvu)
    if not accept_bad_fit:
        step = max(1, len(some) // N_BESIDE)
        beside = sorted({layer - 1, layer + 1} & set(stored_layers(generations)))
        others = {other: layer_activations(generations, other, some[::step]) for other in beside}
        check_neighbours(sae, resid[::step], others)
    return sae, fit


def rows_for_site_check(n: int) -> np.ndarray:
    """Evenly spaced rows, enough to tell whether an SAE fits."""
    return np.unique(np.linspace(0, n - 1, min(n, N_IN_SITE_CHECK)).round().astype(int))


def check_reads_the_residual_stream(source: SaeSource) -> None:
    """Raises: ConfigError for transcoders: what they read is not stored."""
    if source.kind != "sae":
        raise ConfigError(
            f"--sae {source.name} names {source.kind}s, which do not read the residual stream\n"
            "Give SAEs of the residual stream with --sae"
        )
