"""Hand-made hub caches that hold SAEs and transcoders in the files and shapes of the real repositories."""

import importlib.util
import io
import json
import os
import re
from pathlib import Path

import numpy as np
from safetensors.numpy import save

COMMIT = "0" * 40


class SparseFile(io.FileIO):
    """A new file whose long stretches of zeros take no disk."""

    PAGE = 1 << 20  # many small holes make a file that takes long to delete

    def __init__(self, path: Path):
        super().__init__(path, "w+")

    def write(self, data: bytes) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), self.PAGE):
            page = bytes(view[start : start + self.PAGE])
            if page != bytes(len(page)):
                super().write(page)
            else:
                self.seek(len(page), os.SEEK_CUR)
        self.truncate(max(self.tell(), os.fstat(self.fileno()).st_size))
        return len(view)


def cached_file(home: Path, repo_id: str, path: str) -> Path:
    """Where the hub's client looks for a file of a repository when HF_HOME is `home`; its folder is made."""
    repository = home / "hub" / f"models--{repo_id.replace('/', '--')}"
    file = repository / "snapshots" / COMMIT / path
    file.parent.mkdir(parents=True, exist_ok=True)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return file


def random_arrays(d_in: int, d_sae: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights in Gemma Scope's names, [d_in, d_sae] for the encoder."""
    rng = np.random.default_rng(seed)
    shapes = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_enc": (d_sae,), "b_dec": (d_in,)}
    arrays = {name: rng.normal(size=shape).astype("f4") * 0.2 for name, shape in shapes.items()}
    return {**arrays, "threshold": rng.uniform(0.1, 1.0, d_sae).astype("f4")}


def mostly_zero_arrays(d_in: int, d_sae: int) -> dict[str, np.ndarray]:
    """The same of full size, with one number per input in each matrix, so that they take little disk."""
    rng = np.random.default_rng(1)
    arrays = {"W_enc": np.zeros((d_sae, d_in), "f4").T, "W_dec": np.zeros((d_sae, d_in), "f4")}
    rows, latents = np.arange(d_in), rng.integers(d_sae - d_in) + rng.permutation(d_in)
    arrays["W_enc"][rows, latents] = arrays["W_dec"][latents, rows] = rng.normal(size=d_in)
    biases = {"b_enc": rng.normal(size=d_sae).astype("f4"), "b_dec": rng.normal(size=d_in).astype("f4")}
    return {**arrays, **biases, "threshold": rng.uniform(0.1, 1.0, d_sae).astype("f4")}


def fitting_arrays(resid: np.ndarray, d_sae: int, seed: int = 0) -> dict[str, np.ndarray]:
    """An SAE that reconstructs `resid`, [n, d_in], and the activations of no other layer.

    Latents of a pair fire on either side of the mean along a principal component; the others never fire.
    """
    mean = resid.mean(axis=0)
    variance, axes = np.linalg.eigh((resid - mean) @ (resid - mean).T)  # of few rows: no large matrix is taken apart
    used = variance > 1e-3 * variance.max()
    components = (axes[:, used] / variance[used] ** 0.5).T @ (resid - mean)
    both = np.concatenate([components, -components])
    latents = np.random.default_rng(seed).integers(d_sae - len(both)) + np.arange(len(both))
    arrays = {"W_enc": np.zeros((d_sae, len(mean)), "f4").T, "W_dec": np.zeros((d_sae, len(mean)), "f4")}
    arrays["W_enc"][:, latents], arrays["W_dec"][latents] = both.T, both
    arrays |= {"b_enc": np.zeros(d_sae, "f4"), "b_dec": mean, "threshold": np.full(d_sae, 1e-3, "f4")}
    arrays["b_enc"][latents] = -both @ mean
    return arrays


def write_gemma_scope(home: Path, repo_id: str, path: str, arrays: dict[str, np.ndarray]) -> None:
    with SparseFile(cached_file(home, repo_id, f"{path}/params.npz")) as file:
        np.savez(file, **arrays)


def write_gemma_scope_2(home: Path, repo_id: str, path: str, arrays: dict[str, np.ndarray]) -> None:
    layer = path.split("layer_")[1].split("_")[0]
    config = {
        "architecture": "jump_relu",
        "model_name": repo_id.replace("google/gemma-scope-2", "gemma-v3"),
        "hf_hook_point_in": f"model.layers.{layer}.output",
    }
    if path.startswith("transcoder"):
        names = [f"model.layers.{layer}.{norm}_feedforward_layernorm.output" for norm in ("pre", "post")]
        config |= {"hf_hook_point_in": names[0], "hf_hook_point_out": names[1], "affine_connection": False}
    cached_file(home, repo_id, f"{path}/config.json").write_text(json.dumps(config))
    lower = {name.lower(): array for name, array in arrays.items()}
    write_safetensors(cached_file(home, repo_id, f"{path}/params.safetensors"), lower)


def write_llama_scope(home: Path, repo_id: str, path: str, arrays: dict[str, np.ndarray]) -> None:
    """Linear layers as torch keeps them, one threshold for all latents, in units of normalised activations."""
    d_in, d_sae = arrays["W_enc"].shape
    scale = _factor_in_saelens_table(path)
    norm = d_in**0.5 / scale
    layer = path.split("-L")[-1].split("R")[0]
    hyperparameters = {
        "d_model": d_in,
        "d_sae": d_sae,
        "jump_relu_threshold": 0.05,
        "hook_point_in": f"blocks.{layer}.hook_resid_post",
        "dataset_average_activation_norm": {"in": norm, "out": norm},
    }
    cached_file(home, repo_id, f"{path}/hyperparams.json").write_text(json.dumps(hyperparameters))
    layers = {
        "encoder.weight": arrays["W_enc"].T,
        "encoder.bias": arrays["b_enc"] * scale,
        "decoder.weight": arrays["W_dec"].T,
        "decoder.bias": arrays["b_dec"] * scale,
    }
    write_safetensors(cached_file(home, repo_id, f"{path}/checkpoints/final.safetensors"), layers)


def _factor_in_saelens_table(path: str) -> float:
    """What brings a layer's activations to the norm that Llama Scope was trained at."""
    table = Path(importlib.util.find_spec("sae_lens").origin).parent / "pretrained_saes.yaml"
    return float(re.search(rf"norm_scaling_factor: (\S+)\n +path: {path}\n", table.read_text())[1])


def write_qwen_transcoder(home: Path, repo_id: str, path: str, arrays: dict[str, np.ndarray]) -> None:
    """Plain ReLU, the encoder transposed; the widths are in YAML files beside the weights."""
    d_in, d_sae = arrays["W_enc"].shape
    widths = f"d_model: {{value: {d_in}}}\nd_feature: {{value: {d_sae}}}\nbatch_size: {{value: 4096}}\n"
    cached_file(home, repo_id, "wandb-config.yaml").write_text(widths)
    if "-14b-" not in repo_id:  # that repository has none
        size = repo_id.split("qwen3-")[1].split("-")[0].upper()
        cached_file(home, repo_id, "config.yaml").write_text(
            f'model_name: "Qwen/Qwen3-{size}"\nmodel_kind: transcoder_set\n'
            "feature_input_hook: mlp.hook_in\nfeature_output_hook: mlp.hook_out\n"
        )
    weights = {**arrays, "W_enc": arrays["W_enc"].T}
    write_safetensors(cached_file(home, repo_id, path), {n: a for n, a in weights.items() if n != "threshold"})


def write_saelens(home: Path, repo_id: str, path: str, arrays: dict[str, np.ndarray]) -> None:
    """Settings as SAELens wrote them before its version 6; b_dec is subtracted from the input."""
    d_in, d_sae = arrays["W_enc"].shape
    layer = int(path.split("blocks.")[1].split(".")[0])
    config = {
        "architecture": "jumprelu",
        "d_in": d_in,
        "d_sae": d_sae,
        "dtype": "float32",
        "device": "cuda",
        "hook_name": f"blocks.{layer}.hook_resid_post",
        "hook_layer": layer,
        "model_name": "gemma-2-2b",
        "activation_fn_str": "relu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
    }
    cached_file(home, repo_id, f"{path}/cfg.json").write_text(json.dumps(config))
    write_safetensors(cached_file(home, repo_id, f"{path}/sae_weights.safetensors"), arrays)


def write_safetensors(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with SparseFile(path) as file:
        file.write(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


WRITERS = {
    "sae_lens": write_saelens,
    "gemma_2": write_gemma_scope,
    "gemma_3": write_gemma_scope_2,
    "llama_scope": write_llama_scope,
    "mwhanna_transcoder": write_qwen_transcoder,
}
