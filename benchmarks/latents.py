"""What phase 2 costs beside the matrix products that it cannot do without, measured in one run.

    .venv/bin/python -m benchmarks.latents                # real size, written to benchmarks/RESULTS.md too
    .venv/bin/python -m benchmarks.latents --layers 2 --permutations 200 --out /tmp/RESULTS.md

Arrays have the shapes of Gemma-2-2b on MBPP and are made here, one layer at a time: activations of 974 problems in a
file per layer, of which the 489 of the sae split are analysed, and a random SAE that fires sparsely. For each layer
these are timed, the one first and then the other in turn: the phase's own functions (reading, site checks, encoding,
exact statistics, permutations), and the products alone (activations x encoder; permuted labels x activations and
x their squares, for the same latents in the same chunks, in float32). What comes after the last layer
(q, selection, tables, figures) counts as the phase's. Loading an SAE from a disk counts for neither.
"""

import argparse
import dataclasses
import datetime
import os
import platform
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy.stats import norm

from benchmarks.sections import RESULTS, write_section
from common import tables
from common.handoffs import LATENTS
from common.permutation import NullMaximum
from common.saes import LayerSae, check_neighbours, site_fit
from common.stored_activations import N_BESIDE, rows_for_site_check
from phase2_sae_analysis import figures, selection
from phase2_sae_analysis.layer_analysis import LayerResult, analyse_layer

LIMIT = 0.02
N_LAYERS_BESIDE = 2


@dataclasses.dataclass
class Seconds:
    """Time of each part, summed over the layers; `ratios` is by layer."""

    phase: float = 0.0
    products: float = 0.0
    end: float = 0.0
    ratios: list[float] = dataclasses.field(default_factory=list)


def make_layer(args: argparse.Namespace, layer: int, path: Path) -> tuple[LayerSae, np.ndarray]:
    """An SAE and its rates on general text; the layer's activations are written to `path`."""
    rng, generator = np.random.default_rng(layer), torch.Generator().manual_seed(layer)
    resid = torch.randn(args.problems, args.d_model, generator=generator)
    save_file({"resid_post": resid.numpy()}, path)
    rates = np.clip(rng.lognormal(np.log(0.002), 1.5, args.latents), 0, 0.3)
    W_enc = torch.randn(args.d_model, args.latents, generator=generator) / args.d_model**0.5
    threshold = torch.from_numpy(norm.isf(rates)).float()
    name = f"blocks.{layer}.hook_resid_post"
    sae = LayerSae(
        id=f"random {layer}", layer=layer, kind="sae", site=name, site_out=name, neuronpedia_id=None, revision=None,
        W_enc=W_enc, b_enc=torch.zeros(args.latents), threshold=threshold.clamp(min=0),
        W_dec=W_enc.T.contiguous(), b_dec=torch.zeros(args.d_model),
    )  # fmt: skip
    return sae, rates


def read_rows(path: Path, rows: np.ndarray) -> torch.Tensor:
    with safe_open(path, framework="numpy") as opened:
        return torch.from_numpy(opened.get_tensor("resid_post")[rows])


def by_phase(
    path: Path, rows: np.ndarray, sae: LayerSae, rates: np.ndarray, pass_rate: np.ndarray, null: NullMaximum
) -> LayerResult:
    resid = read_rows(path, rows)
    checked = rows_for_site_check(len(resid))
    site_fit(sae, resid[checked])
    few = checked[:: len(checked) // N_BESIDE]
    check_neighbours(sae, resid[few], {beside: read_rows(path, rows)[few] for beside in range(N_LAYERS_BESIDE)})
    return analyse_layer(resid, sae, rates, LIMIT, pass_rate, null)


def products_alone(
    resid: torch.Tensor, W_enc: torch.Tensor, labels: torch.Tensor, operands: list[tuple[torch.Tensor, torch.Tensor]]
) -> None:
    resid @ W_enc
    for activations, squares in operands:
        labels @ activations
        labels @ squares


def operands_of(resid: torch.Tensor, sae: LayerSae, rates: np.ndarray, null: NullMaximum) -> list:
    """What the permuted labels are multiplied with: the latents that are kept and vary, in the phase's chunks."""
    acts = sae.encode(resid)
    columns = ((acts != acts[0]).any(dim=0) & torch.from_numpy(rates <= LIMIT)).nonzero().squeeze(1)
    return [null.operands(acts.index_select(1, chunk)) for chunk in columns.split(null.latents_at_once)]


def timed(function, *arguments):
    began = time.perf_counter()
    found = function(*arguments)
    return time.perf_counter() - began, found


def conclude(parts: list[dict], activations: dict, null: NullMaximum, pass_rate: np.ndarray) -> int:
    """What the phase does after the last layer; returns the size of the table [bytes]."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    selection.add_family_statistics(columns, null.max_abs_t)
    fields = LATENTS.tables["latents.parquet"]
    data = tables.columns_to_parquet({name: columns[name] for name in fields}, fields)
    layers = {int(layer): "" for layer in np.unique(columns["layer"])}
    chosen = selection.directions(columns, layers, lambda layer, latent: None)
    ids = list(range(len(pass_rate)))
    selection.top_problems(chosen, activations, ids, ["text"] * len(ids), pass_rate)
    selection.conclusion(columns, null.max_abs_t)
    figures.all_figures(columns, null.max_abs_t, chosen, activations, pass_rate)
    return len(data)


def measure(args: argparse.Namespace, folder: Path) -> tuple[Seconds, NullMaximum]:
    rng, seconds = np.random.default_rng(0), Seconds()
    rows = np.sort(rng.permutation(args.problems)[: args.analysed])
    pass_rate = (rng.random(len(rows)) < 0.4).astype(float)
    took, null = timed(NullMaximum, pass_rate, args.permutations, 0)
    seconds.end += took
    parts, activations = [], {}
    for layer in range(args.layers):
        path = folder / "layer.safetensors"
        sae, rates = make_layer(args, layer, path)
        resid = read_rows(path, rows)
        operands = operands_of(resid, sae, rates, null)
        bare = (products_alone, resid, sae.W_enc, null.labels, operands)
        own = (by_phase, path, rows, sae, rates, pass_rate, null)
        if layer % 2:
            products, _ = timed(*bare)
        phase, result = timed(*own)
        if layer % 2 == 0:
            products, _ = timed(*bare)
        seconds.phase, seconds.products = seconds.phase + phase, seconds.products + products
        seconds.ratios.append(phase / products)
        place = {"layer": np.full(args.latents, layer), "latent": np.arange(args.latents)}
        parts.append({**place, **result.columns})
        activations |= {(layer, latent): values for latent, values in result.activations.items()}
    took, _ = timed(conclude, parts, activations, null, pass_rate)
    seconds.end += took
    return seconds, null


def report(args: argparse.Namespace, seconds: Seconds, null: NullMaximum) -> str:
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    total = seconds.phase + seconds.end
    return "\n".join([
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{datetime.date.today()}; {args.problems} x {args.layers} layers x {args.d_model:,}, of which {args.analysed} "
        f"problems are analysed; {args.latents:,} latents a layer, {null.n_latents:,} in all pass the filter and fire; "
        f"{args.permutations:,} permutations; the order alternates by layer",
        "", "| | seconds | as a multiple of the products |", "|---|---|---|",
        f"| matrix products alone | {seconds.products:.1f} | 1 |",
        f"| phase 2, layer by layer | {seconds.phase:.1f} | {seconds.phase / seconds.products:.2f} "
        f"(layers: {min(seconds.ratios):.2f} to {max(seconds.ratios):.2f}) |",
        f"| q, selection, table, figures | {seconds.end:.1f} | {seconds.end / seconds.products:.2f} |",
        f"| phase 2 in all | {total:.1f} | {total / seconds.products:.2f} |",
        "", f"Peak memory of the process, the arrays of the comparison included: {gib:.2f} GiB.",
    ]) + "\n"  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = {"layers": 26, "permutations": 1000, "problems": 974, "analysed": 489, "d-model": 2304, "latents": 16384}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"(default: {default})")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file for the table (default: benchmarks/RESULTS.md)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = report(args, *measure(args, Path(folder)))
    write_section(args.out, "Latents (phase 2)", text)
    print(text)


if __name__ == "__main__":
    main()
