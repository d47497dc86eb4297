"""A PCA dictionary of a share of the dimensions, as SAEs in SAELens' format: what any real dictionary has to beat.

    python3 -m natural.pca --model qwen-coder --text data/natural/text --layers 12,18 --out FOLDER

1. The model reads the last documents of a folder of .txt files; phase 1.1 reads from the first on, and does not reach
   them. Of each, resid_post is taken at evenly spaced positions, but not at position 0, which is a sink.
2. Per layer: mean m, and the k directions V [d_model, k] of the largest variance, k a share of d_model.
3. A ReLU SAE with W_enc = [V, -V], W_dec = [V, -V]^T, b_dec = m: of a direction and its opposite, one fires. So its
   reconstruction is m + V V^T (x - m), that of the PCA.
4. The fraction of variance that it leaves unexplained is measured on documents of which it has seen nothing.

Written as layer_L/, which `--sae FOLDER` loads.
"""

from __future__ import annotations

import argparse
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.cli import Parser, exit_with, new_log
from common.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from common.model.language_model import LanguageModel

MAX_TOKENS, PER_DOCUMENT, BATCH = 128, 64, 16
HELD_OUT = 0.1  # of the documents
MIN_VECTORS_PER_DIMENSION = 5


@dataclass(frozen=True, eq=False)
class Pca:
    """Mean, and orthonormal directions by falling variance."""

    mean: Float[Tensor, " d_model"]
    directions: Float[Tensor, "d_model k"]

    def unexplained(self, x: Float[Tensor, "n d_model"]) -> float:
        """Fraction of the variance of `x` that the reconstruction misses."""
        from common.saes.site_check import share_unexplained

        centred = x.double() - self.mean
        missed = centred - centred @ self.directions @ self.directions.T
        return share_unexplained(missed, x)


def fit(x: Float[Tensor, "n d_model"], n_directions: int) -> Pca:
    """The PCA of the rows of `x`, in float64."""
    import torch

    mean = x.double().mean(0)
    centred = x.double() - mean
    _, vectors = torch.linalg.eigh(centred.T @ centred)  # ascending
    return Pca(mean, vectors.flip(-1)[:, :n_directions].contiguous())


def read_vectors(
    lm: LanguageModel, documents: Sequence[str], layers: Sequence[int], n_vectors: int, log: logging.Logger
) -> tuple[dict[int, Float[Tensor, "n d_model"]], list[int]]:
    """resid_post of each layer at PER_DOCUMENT positions a document, position 0 left out, until there are `n_vectors`;
    and the document of each vector."""
    import torch

    from common.model.hooks import read_sites
    from common.model.sites import resid_post_site
    from common.model.tokenization import encode

    layer_of = {resid_post_site(layer): layer for layer in layers}
    parts_of: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
    owners: list[int] = []
    for first in range(0, len(documents), BATCH):
        limit = min(MAX_TOKENS, lm.context_length)
        rows = [ids[:limit] for ids in encode(lm, documents[first : first + BATCH])]
        width = max(map(len, rows))
        ids = torch.tensor([row + [lm.pad_token_id] * (width - len(row)) for row in rows])
        wanted = [(row, at) for row, tokens in enumerate(rows) for at in _positions(len(tokens))]
        row_numbers, columns = torch.tensor(wanted).T.to(lm.device)

        def take(site: str, resid: torch.Tensor, at: tuple = (row_numbers, columns)) -> None:
            parts_of[layer_of[site]].append(resid[at].float().cpu())

        # Padding stands on the right, where causal attention does not see it; the head is not needed.
        with torch.inference_mode(), read_sites(lm.model, list(layer_of), take):
            lm.model.get_decoder()(input_ids=ids.to(lm.device), use_cache=False)
        owners += [first + row for row, _ in wanted]
        if len(owners) >= n_vectors:
            break
        if first // BATCH % 10 == 0:
            log.info("%d of %d vectors", len(owners), n_vectors)
    return {layer: torch.cat(parts) for layer, parts in parts_of.items()}, owners


def _positions(n_tokens: int) -> list[int]:
    """Evenly spaced, from 1 on; all but the first where there are few."""
    import torch

    n = min(PER_DOCUMENT, n_tokens - 1)
    return torch.linspace(1, n_tokens - 1, n).round().int().tolist() if n > 0 else []


def save(pca: Pca, layer: int, model: str, facts: dict, folder: Path) -> None:
    """Write `folder`/layer_L, replacing what is there; it gets its name once it is complete."""
    import torch
    from sae_lens import StandardSAE, StandardSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    from common.model.sites import resid_post_site

    W_enc = torch.cat([pca.directions, -pca.directions], dim=1).float()
    metadata = SAEMetadata(model_name=model, hook_name=resid_post_site(layer), training=facts)
    d_in, d_sae = W_enc.shape
    config = StandardSAEConfig(d_in, d_sae, "float32", "cpu", metadata=metadata, apply_b_dec_to_input=True)
    sae = StandardSAE(config)
    encoder = {"W_enc": W_enc, "b_enc": torch.zeros(W_enc.shape[1])}
    sae.load_state_dict({**encoder, "W_dec": W_enc.T.contiguous(), "b_dec": pca.mean.float()})
    final = folder / f"layer_{layer}"
    partial = folder / f".layer_{layer}.partial"
    for stale in (partial, final):
        shutil.rmtree(stale, ignore_errors=True)
    sae.save_model(partial)
    partial.rename(final)


def documents_of(folder: Path) -> list[str]:
    """The texts of a folder, from the last on. Raises: ConfigError when there is none."""
    files = sorted(folder.glob("*.txt"), reverse=True)
    if not files:
        raise ConfigError(f"--text {folder} holds no .txt file\nMake it with: python3 -m natural.text --out {folder}")
    return [file.read_text(encoding="utf-8") for file in files]


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[int]]:
    """The flags, and the layers among them. Raises: ConfigError."""
    parser = Parser(prog="-m natural.pca", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of the model, or its hub id")
    parser.add_argument("--text", type=Path, required=True, help="folder of .txt files, one document each")
    parser.add_argument("--layers", required=True, help="blocks, as in 12,18")
    parser.add_argument("--out", type=Path, required=True, help="folder for layer_L of each layer")
    parser.add_argument("--share", type=float, default=0.7, help="directions, as a share of d_model (default: 0.7)")
    parser.add_argument("--vectors", type=int, default=20_000, help="activations of a layer to read (default: 20000)")
    parser.add_argument("--dtype", default="auto", help="number type of the model's weights (default: auto)")
    parser.add_argument("--threads", type=int, default=0, help="processor threads; 0: torch's own choice (default: 0)")
    parser.add_argument("--device", default="auto", help="auto | cpu | cuda | mps (default: auto)")
    args = parser.parse_args(argv)
    if not 0 < args.share <= 1:
        raise ConfigError(f"--share is {args.share}\nGive a share of the dimensions above 0, at most 1")
    if not all(layer.isdigit() for layer in args.layers.split(",")):
        raise ConfigError(f"--layers is '{args.layers}'\nGive layers with commas, as in 12,18")
    return args, sorted({int(layer) for layer in args.layers.split(",")})


def main(argv: list[str]) -> int:
    args, layers = parse(argv)
    documents, log = documents_of(args.text), new_log()
    from common.model.devices import resolve_device
    from common.model.loading import load_model

    lm = load_model(args.model, resolve_device(args.device), args.dtype, args.threads)
    if layers[-1] >= lm.n_layers:
        raise ConfigError(
            f"--layers is '{args.layers}', but {args.model} has {lm.n_layers}\nGive some of 0 to {lm.n_layers - 1}"
        )
    vectors, owners = read_vectors(lm, documents, layers, args.vectors, log)
    # The documents read last are held out: all vectors of a document are on one side.
    limit = (1 - HELD_OUT) * owners[-1]
    n_fitted, n_directions = sum(owner < limit for owner in owners), round(args.share * lm.d_model)
    if n_fitted < MIN_VECTORS_PER_DIMENSION * lm.d_model:
        raise ConfigError(
            f"{n_fitted} activations are too few for {lm.d_model} dimensions\nGive more with --vectors "
            f"({2 * MIN_VECTORS_PER_DIMENSION * lm.d_model} or more), or a larger --text"
        )
    for layer, x in vectors.items():
        pca = fit(x[:n_fitted], n_directions)
        facts = {"kind": "PCA", "directions": n_directions, "vectors": n_fitted, "dtype": lm.dtype}
        facts |= {"fvu": pca.unexplained(x[:n_fitted]), "fvu_held_out": pca.unexplained(x[n_fitted:])}
        save(pca, layer, lm.name, facts, args.out)
        words = "layer %d: %d of %d directions, FVU %.2g, %.2g on other documents"
        log.info(words, layer, n_directions, lm.d_model, facts["fvu"], facts["fvu_held_out"])
    return 0


if __name__ == "__main__":
    exit_with(main)
