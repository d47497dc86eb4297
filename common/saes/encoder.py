"""Sparse autoencoders and transcoders: loaded by SAELens, held in one form.

    source = sae_source("auto", "google/gemma-2-2b")
    sae = load_sae(source, 20)
    latent_acts = sae.encode(resid_post)

Every kind that is supported is brought into JumpReLU form, exactly: a pre-activation passes
where it exceeds a threshold. A ReLU has threshold 0, a decoder bias that is subtracted from the
input goes into b_enc. Only the top-k rule has no such form, and keeps its k.
"""

import contextlib
import dataclasses
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from jaxtyping import Float
from torch import Tensor

from common.errors import AssetError, ConfigError
from common.model.sites import ATTN_OUT, MLP_OUT, RESID_POST, site_name
from common.phases.hub import cached_revision, check_read_at, what_is_cached
from common.saes.dictionary import Dictionary
from common.saes.sources import Release, SaeSource, folder_config, layer_of, listing

SaeLensSae = Any  # sae_lens.SAE; importing it takes five seconds
ROWS_AT_ONCE = 500  # encoded together: 500 positions x 131k latents are 260 MB
_GATES = ("jumprelu", "jumprelu_transcoder", "jumprelu_skip_transcoder")
_SUPPORTED = ("standard", "topk", "transcoder", "skip_transcoder", *_GATES)
_READ_BY_SAES = (RESID_POST, ATTN_OUT, MLP_OUT)


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerSae(Dictionary):
    """One SAE (or transcoder), for inference on the CPU in float32.

    `site` is the activation it reads. An SAE reconstructs that; a transcoder gives `site_out`.
    `id` says what was loaded, and what a canonical id stands for; `revision` is the hub's commit.
    `published_fvu` and `published_l0` are what its makers measured on text, where they say so.
    """

    id: str
    layer: int
    kind: str
    site: str
    site_out: str
    neuronpedia_id: str | None
    revision: str | None
    top_k: int | None = None
    published_fvu: float | None = None
    published_l0: float | None = None
    W_skip: Float[Tensor, "d_out d_in"] | None = None  # what a skip transcoder adds to its reconstruction: W_skip @ x

    def neuronpedia_url(self, latent: int) -> str | None:
        """The latent's page, where Neuronpedia has these SAEs."""
        return self.neuronpedia_id and f"https://www.neuronpedia.org/{self.neuronpedia_id}/{latent}"

    def encode(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_sae"]:
        """Latent activations in the SAE's own units, none negative; by the top-k rule where it has that."""
        if self.top_k is None:
            return super().encode(x)
        pre_acts = torch.as_tensor(x).to(self.W_enc) @ self.W_enc + self.b_enc
        values, latents = pre_acts.topk(self.top_k, dim=-1)
        return torch.zeros_like(pre_acts).scatter_(-1, latents, values.relu())

    def reconstruct(
        self, x: Float[Tensor, "n d_in"], latent_acts: Float[Tensor, "n d_sae"]
    ) -> Float[Tensor, "n d_out"]:
        """What stands for the site that is written, given the latents of `x`."""
        decoded = self.decode(latent_acts)
        return decoded if self.W_skip is None else decoded + x @ self.W_skip.T

    def encode_latent(self, x: Float[Tensor, "n d_in"], latent: int) -> Float[Tensor, " n"]:
        """One latent's column of `encode`, without the others where the gate is its own."""
        if self.top_k is not None:
            return torch.cat([self.encode(rows)[:, latent] for rows in x.split(ROWS_AT_ONCE)])
        pre_acts = x @ self.W_enc[:, latent] + self.b_enc[latent]
        return pre_acts * (pre_acts > self.threshold[latent])


def load_sae(source: SaeSource, layer: int) -> LayerSae:
    """The SAE of one layer, on the CPU in float32.

    Raises: ConfigError when the layer has none, or one of a kind that is not supported;
    AssetError when it is not on this disk and cannot be fetched, or is damaged.
    """
    if layer not in source.ids:
        raise ConfigError(
            f"'{source.name}' has no SAE of layer {layer}\nGive one of the layers {listing(source.ids)}, or other SAEs"
        )
    if source.release is None:
        return load_from_folder(Path(source.ids[layer]), f"{source.identity} layer_{layer}", layer, source.kind)
    return load_from_release(source.release, source.ids[layer], layer, source.kind, source.revision)


def load_from_release(release: Release, sae_id: str, layer: int, kind: str, revision: str = "") -> LayerSae:
    """One SAE of a SAELens release, from the hub's cache or the hub. Raises: as `load_sae`.

    `revision` is the commit to read; '' reads what the repository's main branch is at.
    """
    path = release.paths[sae_id]
    label = f"{release.name} {sae_id}" + ("" if path == sae_id else f" = {path}")
    how_to_get = (
        f'Fetch it, where there is a network, with: python3 -c "from sae_lens import SAE; '
        f"SAE.from_pretrained('{release.name}', '{sae_id}')\", or give a folder with --sae"
    )
    wanted = f", commit {revision}{what_is_cached(release.repo_id, revision)}" if revision else ""
    if wanted:
        fetch = f"hf download {release.repo_id} --revision {revision}"
        how_to_get = f"Fetch it with: {fetch}, or begin anew with: --sae-revision main"
    with _loading_errors(f"SAE {label} (hub repository {release.repo_id}{wanted})", how_to_get):
        from sae_lens import SAE

        with _files_of_one_commit(revision or None) as read:
            sae = SAE.from_pretrained(release.name, sae_id, device="cpu", dtype="float32")
    if revision:
        check_read_at(release.repo_id, revision, read)
    read_from = revision or cached_revision(release.repo_id)
    loaded = _in_one_form(sae, label, layer, kind, release.neuronpedia[sae_id], read_from)
    return dataclasses.replace(loaded, **release.published(sae_id))


def load_from_folder(folder: Path, label: str, layer: int, kind: str) -> LayerSae:
    """One SAE that SAELens' save_model wrote. Raises: as `load_sae`."""
    _check_no_training_checkpoint(folder, label)
    with _loading_errors(f"SAE {label} in {folder}", "Write the SAE again with SAELens' save_model, or give another"):
        from sae_lens import SAE

        sae = SAE.load_from_disk(folder, device="cpu", dtype="float32")
    return _in_one_form(sae, label, layer, kind, sae.cfg.metadata.neuronpedia_id, None)


def _check_no_training_checkpoint(folder: Path, label: str) -> None:
    """Refuse architectures that SAELens knows in training alone, such as batchtopk. Raises: ConfigError."""
    from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY

    architecture = folder_config(folder).get("architecture")
    if architecture in SAE_TRAINING_CLASS_REGISTRY and architecture not in SAE_CLASS_REGISTRY:
        raise ConfigError(
            f"SAE {label} in {folder} is a training checkpoint: '{architecture}' has another form for inference\n"
            f"Write it with SAELens' save_inference_model in place of save_model"
        )


def _in_one_form(
    sae: SaeLensSae, label: str, layer: int, kind: str, neuronpedia_id: str | None, revision: str | None
) -> LayerSae:
    _check_supported(sae, label)
    _check_hook(sae, label, layer, kind)
    site, site_out = sae.cfg.metadata.hook_name, sae.cfg.metadata.hook_name_out
    arrays = _jumprelu_form(sae)
    # The extremes of an array with nan or infinity are not finite; isfinite of the whole takes thirty times as long.
    broken = [name for name, array in arrays.items() if not torch.stack(torch.aminmax(array)).isfinite().all()]
    if broken:
        raise AssetError(f"SAE {label}: {', '.join(broken)} holds nan or infinity\nFetch or train it again")
    top_k = sae.cfg.k if sae.cfg.architecture() == "topk" else None
    return LayerSae(
        id=label,
        layer=layer,
        kind=kind,
        site=site,
        site_out=site_out or site,
        neuronpedia_id=neuronpedia_id,
        revision=revision,
        top_k=top_k,
        published_fvu=sae.cfg.metadata.fvu,
        published_l0=sae.cfg.metadata.l0,
        W_skip=sae.W_skip.detach() if "skip" in sae.cfg.architecture() else None,
        **arrays,
    )


def _check_supported(sae: SaeLensSae, label: str) -> None:
    """Refuse what has no exact JumpReLU or top-k form. Raises: ConfigError."""
    architecture, normalised = sae.cfg.architecture(), sae.cfg.normalize_activations
    problem = None
    if architecture not in _SUPPORTED:
        problem = f"its architecture is '{architecture}'; supported: {', '.join(_SUPPORTED)}"
    elif normalised not in (None, "none"):
        problem = f"it normalises its input ('{normalised}') by what is not in its weights"
    if problem:
        raise ConfigError(f"SAE {label} cannot be used: {problem}\nGive other SAEs with --sae")


def _check_hook(sae: SaeLensSae, label: str, layer: int, kind: str) -> None:
    """Hold that the SAE reads what there is of this layer. Raises: ConfigError."""
    hook = sae.cfg.metadata.hook_name
    transcodes = "transcoder" in sae.cfg.architecture()
    sites = [site_name(layer, kind) for kind in _READ_BY_SAES]
    if transcodes != (kind == "transcoder") or hook is None:
        problem = f"it is called a {kind}, but is a '{sae.cfg.architecture()}' that reads '{hook}'"
    elif kind == "sae" and hook not in sites:
        problem = f"it reads '{hook}', none of {', '.join(sites)}"
    elif kind == "transcoder" and layer_of(hook) != layer:
        problem = f"it reads '{hook}', which is not in block {layer}"
    else:
        return
    raise ConfigError(f"SAE {label} cannot be used: {problem}\nGive SAEs of these sites with --sae")


@torch.no_grad()
def _jumprelu_form(sae: SaeLensSae) -> dict[str, Tensor]:
    """Weights, biases and thresholds with which encode and decode need nothing else."""
    W_enc, W_dec, b_enc, b_dec = (getattr(sae, name).detach() for name in ("W_enc", "W_dec", "b_enc", "b_dec"))
    threshold = torch.zeros_like(b_enc)
    if sae.cfg.architecture() in _GATES:
        threshold = sae.threshold.detach().clamp(min=0)  # SAELens has a ReLU before the gate
    if sae.cfg.apply_b_dec_to_input:
        parts = W_enc.split(8192, dim=1)  # in double precision, a part at a time
        shift = torch.cat([b_dec.double() @ part.double() for part in parts])
        b_enc = (b_enc.double() - shift).float()
    if getattr(sae.cfg, "rescale_acts_by_decoder_norm", False):
        norm = W_dec.norm(dim=-1)
        W_enc, b_enc, W_dec = W_enc * norm, b_enc * norm, W_dec / norm[:, None]
    return {"W_enc": W_enc, "b_enc": b_enc, "threshold": threshold, "W_dec": W_dec, "b_dec": b_dec}


@contextlib.contextmanager
def _loading_errors(what: str, how_to_get: str) -> Iterator[None]:
    """Turn the libraries' many ways of failing into one message, without their warnings."""
    import huggingface_hub.utils
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
    from safetensors import SafetensorError

    huggingface_hub.utils.logging.set_verbosity_error()
    torn = (EOFError, SafetensorError, BadZipFile, zlib.error)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `_check_supported` refuses what they warn of
            yield
    except (EntryNotFoundError, HfHubHTTPError, ConnectionError) as error:
        raise AssetError(f"{what} is not on this disk and cannot be fetched ({_line(error)})\n{how_to_get}") from error
    # numpy, safetensors, json, torch and SAELens raise all of these for files that are torn or do not fit.
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, *torn) as error:
        raise AssetError(f"{what} cannot be read: {_line(error)}\n{how_to_get}") from error


def _line(error: Exception) -> str:
    return type(error).__name__ + "".join(f": {line}" for line in str(error).strip().splitlines()[:1])


@contextlib.contextmanager
def _files_of_one_commit(revision: str | None) -> Iterator[list[str]]:
    """Let SAELens, which knows no revisions, read those files of a repository; gives the list of files it reads.

    It also reads arrays' shapes from the file that it loads next: for Gemma Scope 2 it asks the network for them, even
    when the file lies in the hub's cache.
    """
    from huggingface_hub import hf_hub_download
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from safetensors import safe_open

    read: list[str] = []

    def download(*args: Any, **kwargs: Any) -> str:
        read.append(hf_hub_download(*args, **{**kwargs, "revision": revision}))
        return read[-1]

    def shapes(repo_id: str, filename: str) -> dict[str, Any]:
        with safe_open(download(repo_id, filename), framework="pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - no mapping

    originals = loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes
    loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes = download, shapes
    try:
        yield read
    finally:
        loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes = originals
