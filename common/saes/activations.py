"""The activations that phases 1 and 1.1 stored, one layer at a time."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.errors import ArtifactMismatchError, ConfigError
from common.model.sites import RESID_POST
from common.runs.artifacts import Artifact
from common.saes.encoder import LayerSae
from common.saes.sources import SaeSource

LAYER_FILE = re.compile(r"activations/layer_(\d+)\.safetensors")
N_DOCUMENTS = 256  # of general text, which tell whether an SAE belongs to a layer


def stored_layers(stored: Artifact) -> list[int]:
    """The layers whose activations a run of phase 1 or 1.1 holds, ascending."""
    matches = map(LAYER_FILE.fullmatch, stored.manifest["files"])
    return sorted(int(match[1]) for match in matches if match)


def stored_positions(stored: Artifact) -> list[str]:
    """The prompt positions whose activations a run of phase 1 holds; the last token alone where it was imported."""
    return [*stored.manifest["settings"].get("positions", ["last"])]


def layer_list(layers: Sequence[int]) -> str:
    """As --layers takes them: "3,5,7"."""
    return ",".join(map(str, layers)) or "none"


def layer_activations(
    stored: Artifact, layer: int, wanted: Sequence[int], item: str = "task_id"
) -> Float[Tensor, "n d_model"]:
    """resid_post of one layer that was stored of each `wanted` problem (or document), in that order, float32.

    Raises: ArtifactMismatchError when some are not finite (float16 overflows).
    """
    file = f"activations/layer_{layer:02d}.safetensors"
    row_of = {number: row for row, number in enumerate(stored.tensor(file, item).tolist())}
    resid = stored.tensor(file, "resid_post")[[row_of[number] for number in wanted]]
    resid = resid.astype(np.float32, copy=False)
    n_bad = int((~np.isfinite(resid)).any(axis=1).sum())
    if n_bad:
        items = {"task_id": "problems"}.get(item, f"{item}s")
        raise ArtifactMismatchError(
            f"the activations of {n_bad} of {len(wanted)} {items} are NaN or infinite: {stored.path / file}\n"
            f"Run phase {stored.schema.phase} again with --dtype bfloat16 or float32"
        )
    return torch.from_numpy(resid)


class StoredText:
    """resid_post on general text, which phase 1.1 stored, one activation per document, the same ones at every layer.

    `rebuild` is the command that makes them. A document whose only token is its first one is left out: position 0, an
    attention sink, is no sample of text.
    """

    def __init__(self, general_text: Artifact, rebuild: str) -> None:
        self._general_text, self._rebuild = general_text, rebuild
        self._layers = stored_layers(general_text)

    def layers(self) -> list[int]:
        return self._layers

    def check_layers(self, layers: Sequence[int]) -> None:
        """Raises: ArtifactMismatchError when a layer is not stored."""
        absent = sorted({*layers} - {*self._layers})
        if absent:
            raise ArtifactMismatchError(
                f"general text has no stored activations of layer {layer_list(absent)}; there are those of layers "
                f"{layer_list(self._layers)}: {self._general_text.path}\nBuild them with: {self._rebuild} --fresh"
            )

    def of_layer(self, layer: int) -> Float[Tensor, "n d_model"]:
        """Those of documents evenly spaced over all, which tell whether an SAE belongs to the layer.

        Raises: as `every_of_layer`.
        """
        spaced = np.linspace(0, len(self._documents) - 1, min(len(self._documents), N_DOCUMENTS))
        return self._read(layer, [self._documents[place] for place in np.unique(spaced.round().astype(int))])

    def every_of_layer(self, layer: int) -> Float[Tensor, "n d_model"]:
        """Those of all documents.

        Raises: ArtifactMismatchError when the layer is not stored, or holds no finite numbers.
        """
        return self._read(layer, self._documents)

    def _read(self, layer: int, documents: list[int]) -> Float[Tensor, "n d_model"]:
        self.check_layers([layer])
        return layer_activations(self._general_text, layer, documents, item="document")

    @functools.cached_property
    def _documents(self) -> list[int]:
        rows = self._general_text.table("documents.parquet")
        documents = [row["document"] for row in rows if row["position"] > 0]
        if not documents:
            raise ArtifactMismatchError(
                f"no document of general text has more than its first token: {self._general_text.path}\n"
                f"Give phase 1.1 another text: {self._rebuild} --fresh --text FOLDER"
            )
        return documents


def check_reads_the_residual_stream(source: SaeSource, sae: LayerSae | None = None) -> None:
    """That the SAEs read what is stored: of some releases only one that is loaded, `sae`, tells what it reads.

    Raises: ConfigError for SAEs of another site, and for transcoders.
    """
    site = source.site if sae is None else sae.site.removeprefix(f"blocks.{sae.layer}.")
    if source.kind != "sae" or site not in (None, RESID_POST):
        kind = "SAEs" if source.kind == "sae" else f"{source.kind}s"
        read = f"do not read {RESID_POST}" if site is None else f"read {site}, not {RESID_POST}"
        raise ConfigError(
            f"--sae {source.name} names {kind}, which {read}\n"
            f"Give SAEs of the residual stream behind each block ({RESID_POST}) with --sae"
        )
