"""Phase 2 at real size, beside the matrix products that it cannot do without and beside what people write.

Arrays have the shapes of Gemma-2-2b on MBPP and are made here, one layer at a time: activations of 974 problems and of
10,000 documents of general text in a file each, of which the 489 problems of the sae split are analysed, and a random
SAE that fires sparsely. Each layer is a round, in alternating order: the phase's own functions (reading, site checks,
firing rates, encoding, exact statistics, permutations, the cost of the filter, sparse probing); the products alone
(activations of documents and problems x encoder; permuted labels x activations and x their squares, for the same
latents in the same chunks, in float32); scipy's Welch test for one latent after the other, on some of them; and the
encoder of SAELens on one problem after the other, on some of them. What comes after the last layer (q, selection,
tables, figures) counts as the phase's. Loading an SAE from a disk counts for neither. All cores, but numpy and scipy on
one thread, as in a phase.
"""

import dataclasses
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy.stats import norm, ttest_ind
from threadpoolctl import threadpool_limits

from benchmarks.rounds import Rounds, row_of
from benchmarks.rows import Row
from common import tables
from common.evaluation.permutation import NullMaximum
from common.evaluation.separation import layer_statistics
from common.handoffs import LATENTS
from common.saes.activations import N_DOCUMENTS
from common.saes.encoder import LayerSae
from common.saes.rates import DOCUMENTS_AT_ONCE, firing_rates
from common.saes.site_check import check_neighbours, prompt_fit, site_fit
from phase2_sae_analysis import figures, selection
from phase2_sae_analysis.layer_analysis import LayerResult, analyse_layer
from phase2_sae_analysis.limits import LimitSweep
from phase2_sae_analysis.probing import probe_layer

NAME = "Latents (phase 2)"
LIMIT = 0.02
N_LAYERS_BESIDE = 2
SMALLER = 0.8  # activations of a layer beside: this SAE fits them worse, as a real one does
PROBLEMS, TEXT = "problems.safetensors", "text.safetensors"  # activations of a layer
PHASE, PRODUCTS, STATISTICS, SCIPY, ENCODER, SAE_LENS = "phase", "products", "statistics", "scipy", "encoder", "SAELens"
notes: list[str] = []


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of the arrays; `tested` latents are taken by scipy, `encoded` problems by SAELens."""

    layers: int = 26
    permutations: int = 1000
    problems: int = 974
    analysed: int = 489
    documents: int = 10_000
    d_model: int = 2304
    latents: int = 16384
    tested: int = 200
    encoded: int = 10


Result = TypeVar("Result")
QUICK = Sizes(
    layers=2, permutations=50, problems=150, analysed=100, documents=600, d_model=64, latents=512, tested=20, encoded=5
)


def measure(_rounds: int, quick: bool) -> list[Row]:
    """Every layer is a round, whatever number is asked for."""
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    sizes = QUICK if quick else Sizes()
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(limits=1, user_api="blas"):
        timed, end, n_latents = measure_layers(sizes, Path(folder))
    notes.append(
        f"{sizes.problems} x {sizes.layers} layers x {sizes.d_model:,}, of which {sizes.analysed} problems are "
        f"analysed, and {sizes.documents:,} documents; {sizes.latents:,} latents a layer, {n_latents:,} in all pass "
        f"the filter and fire; "
        f"{sizes.permutations:,} permutations; {threads} threads. Peak memory of the process, the arrays of the "
        f"comparison included: {peak_gib():.2f} GiB."
    )
    return rows_of(sizes, timed, end, n_latents / sizes.layers)


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure_layers(sizes: Sizes, folder: Path) -> tuple[Rounds, float, int]:
    """Seconds of each layer by contender; seconds of what comes after the last; latents that were analysed.

    scipy's are for one latent, SAELens' and the encoder's for one problem, the statistics' for a layer.
    """
    rng, end = np.random.default_rng(0), 0.0
    rows = np.sort(rng.permutation(sizes.problems)[: sizes.analysed])
    pass_rate = (rng.random(len(rows)) < 0.4).astype(float)
    took, null = _timed(lambda: NullMaximum(pass_rate, sizes.permutations, 0))
    end += took
    parts, activations, seconds = [], {}, {}
    for layer in range(sizes.layers):
        sae = make_layer(sizes, layer, folder)
        contenders = _contenders(sizes, folder, rows, sae, pass_rate, null)
        results = {}
        for name in contenders if layer % 2 == 0 else reversed(list(contenders)):
            took, results[name] = _timed(contenders[name])
            seconds.setdefault(name, []).append(took)
        result = results[PHASE]
        place = {"layer": np.full(sizes.latents, layer), "latent": np.arange(sizes.latents)}
        parts.append({**place, **result.columns})
        activations |= {(layer, latent): values for latent, values in result.activations.items()}
    took, _ = _timed(lambda: conclude(parts, activations, null, pass_rate))
    for name, units in ((SCIPY, sizes.tested), (ENCODER, sizes.analysed), (SAE_LENS, sizes.encoded)):
        seconds[name] = [each / units for each in seconds[name]]
    return Rounds(seconds), end + took, null.n_latents


def make_layer(sizes: Sizes, layer: int, folder: Path) -> LayerSae:
    """An SAE; the layer's activations are written to `folder`."""
    rng, generator = np.random.default_rng(layer), torch.Generator().manual_seed(layer)
    for name, n in ((PROBLEMS, sizes.problems), (TEXT, sizes.documents)):
        save_file({"resid_post": torch.randn(n, sizes.d_model, generator=generator).numpy()}, folder / name)
    rates = np.clip(rng.lognormal(np.log(0.002), 1.5, sizes.latents), 0, 0.3)
    W_enc = torch.randn(sizes.d_model, sizes.latents, generator=generator) / sizes.d_model**0.5
    threshold = torch.from_numpy(norm.isf(rates)).float()
    name = f"blocks.{layer}.hook_resid_post"
    where = dict(id=f"random {layer}", layer=layer, kind="sae", site=name, site_out=name)
    encoder = dict(W_enc=W_enc, b_enc=torch.zeros(sizes.latents), threshold=threshold.clamp(min=0))
    decoder = dict(W_dec=W_enc.T.contiguous(), b_dec=torch.zeros(sizes.d_model))
    return LayerSae(**where, neuronpedia_id=None, revision=None, **encoder, **decoder)


def _contenders(
    sizes: Sizes, folder: Path, rows: np.ndarray, sae: LayerSae, pass_rate: np.ndarray, null: NullMaximum
) -> dict[str, Callable[[], object]]:
    """What is timed on one layer; what they need beyond the phase's own input is made before."""
    resid, text = _read_rows(folder / PROBLEMS, rows), _read_rows(folder / TEXT, np.arange(sizes.documents))
    operands = _operands_of(resid, sae, firing_rates(sae, text), null)
    acts, of_sae_lens = sae.encode(resid), _in_sae_lens(sae)
    firing = (acts > 0).sum(dim=0).argsort(descending=True)[: sizes.tested].tolist()  # others have no t
    values, failed = acts[:, firing].numpy(), pass_rate == 0

    def products() -> None:
        for some in (*text.split(DOCUMENTS_AT_ONCE), resid):
            _ = some @ sae.W_enc
        for activations, squares in operands:
            _ = null.labels @ activations, null.labels @ squares

    def by_scipy() -> list:
        return [ttest_ind(column[failed], column[~failed], equal_var=False) for column in values.T]

    def by_sae_lens() -> list:
        with torch.no_grad():
            return [of_sae_lens.encode(resid[i]) for i in range(sizes.encoded)]

    return {
        PHASE: lambda: _by_phase(sizes, folder, rows, sae, pass_rate, null),
        PRODUCTS: products,
        STATISTICS: lambda: layer_statistics(acts, pass_rate),
        SCIPY: by_scipy,
        ENCODER: lambda: sae.encode(resid),
        SAE_LENS: by_sae_lens,
    }


def _read_rows(path: Path, rows: np.ndarray) -> torch.Tensor:
    with safe_open(path, framework="numpy") as opened:
        return torch.from_numpy(opened.get_tensor("resid_post")[rows])


def _by_phase(
    sizes: Sizes, folder: Path, rows: np.ndarray, sae: LayerSae, pass_rate: np.ndarray, null: NullMaximum
) -> LayerResult:
    documents = np.arange(sizes.documents)
    text = _read_rows(folder / TEXT, documents[:N_DOCUMENTS])
    site_fit(sae, text)
    others = {
        beside: SMALLER * _read_rows(folder / TEXT, documents[-N_DOCUMENTS:]) for beside in range(N_LAYERS_BESIDE)
    }
    check_neighbours(sae, text, others)
    rates = firing_rates(sae, _read_rows(folder / TEXT, documents))
    resid = _read_rows(folder / PROBLEMS, rows)
    latent_acts = sae.encode(resid)
    prompt_fit(sae, resid, latent_acts)
    result = analyse_layer(latent_acts, sae, rates, LIMIT, len(documents), pass_rate, null)
    incorrect, firing = pass_rate < 1, selection.in_family(result.columns)
    LimitSweep(incorrect, 0).add(latent_acts.numpy(), rates, LIMIT)
    probe_layer(sae.layer, latent_acts.numpy()[:, firing], resid.numpy(), incorrect, 0)
    return result


def _operands_of(resid: torch.Tensor, sae: LayerSae, rates: np.ndarray, null: NullMaximum) -> list:
    """What the permuted labels are multiplied with: the latents that are kept and vary, in the phase's chunks."""
    acts = sae.encode(resid)
    columns = ((acts != acts[0]).any(dim=0) & torch.from_numpy(rates <= LIMIT)).nonzero().squeeze(1)
    return [null.operands(acts.index_select(1, chunk)) for chunk in columns.split(null.latents_at_once)]


def _in_sae_lens(sae: LayerSae):
    """The same SAE, as SAELens holds it."""
    from sae_lens import JumpReLUSAE, JumpReLUSAEConfig

    made = JumpReLUSAE(JumpReLUSAEConfig(d_in=sae.d_in, d_sae=sae.n_latents, apply_b_dec_to_input=False))
    for name in ("W_enc", "b_enc", "threshold", "W_dec", "b_dec"):
        getattr(made, name).data = getattr(sae, name)
    return made.eval()


def _timed(function: Callable[[], Result]) -> tuple[float, Result]:
    began = time.perf_counter()
    result = function()
    return time.perf_counter() - began, result


def conclude(parts: list[dict], activations: dict, null: NullMaximum, pass_rate: np.ndarray) -> int:
    """What the phase does after the last layer; returns the size of the table [bytes]."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    selection.add_family_statistics(columns, null.max_abs_t)
    fields = LATENTS.tables["latents.parquet"]
    data = tables.columns_to_parquet({name: columns[name] for name in fields}, fields)
    layers = {int(layer): "" for layer in np.unique(columns["layer"])}
    chosen = selection.directions(columns, layers, dict.fromkeys(layers, LIMIT), lambda layer, latent: None)
    ids = list(range(len(pass_rate)))
    selection.top_problems(chosen, activations, ids, ["text"] * len(ids), pass_rate)
    selection.conclusion(columns, null.max_abs_t)
    figures.all_figures(columns, null.max_abs_t, chosen, activations, pass_rate)
    return len(data)


def rows_of(sizes: Sizes, timed: Rounds, end: float, n_permuted: float) -> list[Row]:
    """`n_permuted` latents of a layer, on average, pass the filter and vary: only those are permuted."""
    phase, products = sum(timed.seconds[PHASE]), sum(timed.seconds[PRODUCTS])
    name = f"phase 2, {sizes.layers} layers of {sizes.latents:,} latents, {sizes.permutations:,} permutations"
    labellings = sizes.permutations + 1
    statistics = [sizes.latents * ratio for ratio in timed.times_as_fast(STATISTICS, SCIPY)]
    tests = sizes.latents + sizes.permutations * n_permuted  # of a layer
    permuted = [tests * ratio for ratio in timed.times_as_fast(PHASE, SCIPY)]
    micro, milli = 1e6 * timed.median(SCIPY), 1e3 * timed.median(SAE_LENS)
    scipy = f"scipy: {micro:.0f} µs a latent, extrapolated from {sizes.tested} of {sizes.latents:,} latents of a layer"
    hours = tests * sum(timed.seconds[SCIPY]) / 3600
    text = f"{phase:.1f} s beside {products:.1f} s; a round is a layer"
    in_all = f"{phase + end:.1f} s beside {products:.1f} s; q, selection, table and figures included"
    alone = "its matrix products alone"
    took = f"{timed.median(STATISTICS):.2f} s a layer; {scipy}"
    layer_by_layer = (
        f"{phase:.0f} s beside {hours:.1f} h; {scipy} and one labelling; labels are permuted for {n_permuted:,.0f} "
        f"latents of a layer"
    )
    encoded = (
        f"{1e3 * timed.median(ENCODER):.2f} ms a problem beside {milli:.1f} ms, extrapolated from {sizes.encoded} of "
        f"{sizes.analysed} problems of a layer"
    )
    welch, loop = "scipy's Welch test, latent by latent", f"the same loop for each of {labellings:,} labellings"
    encoder, lens = timed.times_as_fast(ENCODER, SAE_LENS), "SAELens encode, problem by problem"
    return [
        row_of(name, alone, timed.times_as_long(PHASE, PRODUCTS), goal="<= 1.6", text=text),
        Row(f"{name}, to its end", alone, ratio=(phase + end) / products, goal="<= 1.6", text=in_all),
        row_of("its statistics of a layer (t, p, AUROC and more)", welch, statistics, text=took),
        row_of("phase 2, layer by layer", loop, permuted, text=layer_by_layer),
        row_of("its encoder, all problems at once", lens, encoder, text=encoded),
    ]
