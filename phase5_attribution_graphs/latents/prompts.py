"""What one prompt leaves of the latents: which fire, how strongly, and the strongest at each position.

The pass is that of an attribution graph, so a latent has the same activation here and there. At the first position,
an attention sink, no latent is counted: a graph has a constant there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.model.language_model import LanguageModel
from common.tables import TableRow
from phase5_attribution_graphs.latents.config import LAST, N_LAST, CircuitLatentsConfig
from phase5_attribution_graphs.latents.mlps import MlpRows
from phase5_attribution_graphs.latents.shelf import Shelf
from phase5_attribution_graphs.replacement.clean_run import clean_run
from phase5_attribution_graphs.replacement.local_model import N_SINKS

NO_LATENT = -1  # fills up where fewer fire than are kept


@dataclass
class PromptLatents:
    """What becomes a record: a row of fired.parquet, the last position of each layer, and the strongest latents.

    `top_latents` and `top_acts` are [layer, pos, rank], of the positions `kept`.
    """

    row: TableRow
    kept: list[int]
    last: dict[str, np.ndarray] = field(default_factory=dict)
    top_latents: list[np.ndarray] = field(default_factory=list)
    top_acts: list[np.ndarray] = field(default_factory=list)

    def tensors(self, n_pos: int) -> dict[str, np.ndarray]:
        """The arrays of the record, whose shapes are those of every other: filled up to `n_pos` positions."""
        more = n_pos - len(self.kept)
        filling = ((0, 0), (0, more), (0, 0))
        return {
            **self.last,
            "top/latent": np.pad(np.stack(self.top_latents), filling, constant_values=NO_LATENT),
            "top/activation": np.pad(np.stack(self.top_acts), filling),
            "top/pos": np.pad(np.array(self.kept, np.int32), (0, more), constant_values=NO_LATENT),
        }


def kept_positions(n_tokens: int, positions: str) -> list[int]:
    """Those whose strongest latents are kept, never the first."""
    first = max(N_SINKS, n_tokens - N_LAST) if positions == LAST else N_SINKS
    return list(range(first, n_tokens))


@torch.no_grad()
def read_prompts(
    lm: LanguageModel, shelf: Shelf, prompts: Sequence[TableRow], config: CircuitLatentsConfig
) -> list[PromptLatents]:
    """The latents of some prompts, rows of prompts.parquet; each is read in a pass of its own."""
    mlps = [_mlps_of(lm, prompt) for prompt in prompts]
    latents_of = [_begun(prompt, config.positions) for prompt in prompts]
    for layer in shelf.layers:  # outside, so that a transcoder is loaded once for all prompts
        transcoder = shelf.transcoder(layer)
        for one, by_layer in zip(latents_of, mlps, strict=True):
            x = by_layer[layer].inputs(transcoder.with_gain)
            acts = transcoder.gated(transcoder.pre_acts(x))
            acts[:N_SINKS] = 0
            _note(one, layer, acts, config.top_k)
            place = f"last_token/layer_{layer:02d}"
            one.last[f"{place}/mlp_input"], one.last[f"{place}/mlp_out"] = (
                _numpy(x[-1]),
                _numpy(by_layer[layer].out[-1]),
            )
    return latents_of


def _mlps_of(lm: LanguageModel, prompt: TableRow) -> list[MlpRows]:
    blocks = clean_run(lm, torch.tensor(prompt["token_ids"])).blocks
    return [MlpRows(block.mlp_input(with_gain=False), block.mlp_gain, block.mlp_out) for block in blocks]


def _begun(prompt: TableRow, positions: str) -> PromptLatents:
    n_tokens = len(prompt["token_ids"])
    row = {name: prompt[name] for name in ("record", "behaviour", "split")} | {"n_tokens": n_tokens}
    lists: TableRow = {name: [] for name in ("layers", "latents", "largest", "positions", "at_last")}
    return PromptLatents(row | lists, kept_positions(n_tokens, positions))


def _note(one: PromptLatents, layer: int, acts: Float[Tensor, "pos d_sae"], top_k: int) -> None:
    largest, positions = acts.max(0)
    [fired] = largest.nonzero(as_tuple=True)
    one.row["layers"] += [layer] * len(fired)
    one.row["latents"] += fired.tolist()
    one.row["largest"] += largest[fired].tolist()
    one.row["positions"] += positions[fired].tolist()
    one.row["at_last"] += acts[-1, fired].tolist()
    n_missing = max(0, top_k - acts.shape[1])
    values, latents = acts[one.kept].topk(top_k - n_missing, dim=1)
    latents = latents.masked_fill(values <= 0, NO_LATENT)
    filling = ((0, 0), (0, n_missing))
    one.top_latents.append(np.pad(_numpy(latents).astype(np.int32), filling, constant_values=NO_LATENT))
    one.top_acts.append(np.pad(_numpy(values), filling))


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
