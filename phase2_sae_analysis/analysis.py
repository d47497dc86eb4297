"""Phase 2: which SAE latents separate problems that the model solves from those that it fails.

    python3 run.py phase 2 --model google/gemma-2-2b

1. Each layer's SAE is checked against its layer's activations on general text, and encodes them and those of the
   prompts.
2. Every latent gets its firing fractions, Welch t, AUROC (common/evaluation/separation.py), and the family-wise p of
   its |t| among all latents of all layers (common/evaluation/permutation.py).
3. Latents that fire on general text are left out first; then four directions are chosen (selection.py).
4. On the split that selects, the cost of that filter (limits.py), and how many latents hold what a layer knows
   (probing.py), both cross-validated.
"""

from typing import Any

import numpy as np
import torch

from common import handoffs
from common.evaluation.permutation import NullMaximum
from common.evaluation.statistics import ALPHA
from common.handoffs.selected import (
    GeneralTextFacts,
    LayerProbing,
    NullMaximumSummary,
    PromptFitFacts,
    SelectedDocument,
    Site,
)
from common.phases.command_line import build_command
from common.phases.context import RunContext
from common.saes.activations import (
    StoredText,
    check_reads_the_residual_stream,
    layer_activations,
    layer_list,
    stored_layers,
)
from common.saes.rates import firing_rates, settled_limit
from common.saes.site_check import checked_sae, prompt_fit
from common.saes.sources import SaeSource, sae_source
from phase2_sae_analysis import figures, probing, selection
from phase2_sae_analysis.config import LatentConfig
from phase2_sae_analysis.labels import GREEDY, SAMPLED, LabelledProblems, labelled_problems
from phase2_sae_analysis.layer_analysis import LayerResult, analyse_layer, layers_to_analyse
from phase2_sae_analysis.limits import LimitSweep
from phase2_sae_analysis.selection import add_family_statistics
from phase2_sae_analysis.words import cost_of_the_filter

SELECTING = "sae"
DESCRIPTION_ONLY = "description only: selected on the validation split, so no phase may read it"


def run(ctx: RunContext, config: LatentConfig) -> None:
    problems = _problems(ctx, config)
    stored = stored_layers(ctx.read(handoffs.GENERATIONS))
    source = sae_source(config.sae, config.model, config.sae_revision)
    if source.note:
        ctx.log.info("%s: %s", source.name, source.note)
    check_reads_the_residual_stream(source)
    layers = layers_to_analyse(config.chosen_layers(), stored, source.layers(max(stored) + 1), config.sae)
    ctx.log.info("layers %s", layer_list(layers))
    rebuild = build_command(handoffs.GENERAL_TEXT, ctx.config, ctx.preset, ctx.data_dir)
    text = StoredText(ctx.read(handoffs.GENERAL_TEXT), rebuild)
    text.check_layers(layers)  # before the first of them takes its time
    null = NullMaximum(problems.pass_rate, config.n_permutations, config.seed)
    with ctx.write() as out:
        layers_read = LayersFound(problems, config)
        for layer in layers:
            layers_read.add(ctx, layer, source, text, null)
        columns = layers_read.joined()
        add_family_statistics(columns, null.max_abs_t)
        selected = _selected(config, problems, layers_read, columns, null)
        _write(out, selected, problems, layers_read, columns, null)
        _log_conclusion(ctx, selected)


class LayersFound:
    """What is kept of each layer while the next one is analysed."""

    def __init__(self, problems: LabelledProblems, config: LatentConfig) -> None:
        self.problems, self.config = problems, config
        self.incorrect = problems.pass_rate < 1
        self.sweep = LimitSweep(self.incorrect, config.seed) if config.split == SELECTING else None
        self.probing: list[LayerProbing] = []
        self.columns: list[dict[str, Any]] = []
        self.activations: dict[tuple[int, int], Any] = {}
        self.sites: list[Site] = []
        self.urls: dict[tuple[int, int], str | None] = {}

    def add(self, ctx: RunContext, layer: int, source: SaeSource, text: StoredText, null: NullMaximum) -> None:
        """Analyse one layer. Its SAE and activations are gone when this returns."""
        config = self.config
        sae, fit = checked_sae(source, text, layer, config.accept_bad_fit, ctx.log)
        documents = text.every_of_layer(layer)
        rates, n_documents = firing_rates(sae, documents), len(documents)
        del documents
        limit = settled_limit(config.general_text_limit, rates)
        resid = layer_activations(ctx.read(handoffs.GENERATIONS), layer, self.problems.task_ids)
        with torch.no_grad():
            latent_acts = sae.encode(resid)
        carried = prompt_fit(sae, resid, latent_acts)
        ctx.log.info("%s at the last prompt token: %s", sae.id, carried)
        known: dict[str, Any] = {"layer": layer, "sae_id": sae.id, "sae_revision": sae.revision}
        known |= {"published_fvu": sae.published_fvu, "published_l0": sae.published_l0}
        at_prompt = PromptFitFacts(**carried.as_json())
        result = analyse_layer(latent_acts, sae, rates, limit, n_documents, self.problems.pass_rate, null)
        told = _general_text(result, limit, n_documents)
        self.sites.append(Site(**known, **fit.as_json(), last_prompt_token=at_prompt, general_text=told))
        place = {"layer": np.full(len(rates), layer), "latent": np.arange(len(rates))}
        self.columns.append({**place, **result.columns})
        self.activations |= {(layer, latent): values for latent, values in result.activations.items()}
        self.urls |= {(layer, latent): sae.neuronpedia_url(latent) for latent in result.activations}
        ctx.log.info(
            "layer %d: mean rate on general text %.2g, limit %.3g; %d of %d latents are kept, %d fire here; "
            "largest |t| %.2f",
            layer,
            told.mean_rate,
            limit,
            told.kept,
            len(rates),
            (result.columns["n_active"] > 0).sum(),
            np.abs(result.columns["t"][result.columns["kept"]]).max(initial=0),
        )
        if self.sweep is not None:
            acts, firing = latent_acts.numpy(), selection.in_family(result.columns)
            self.sweep.add(acts, rates, limit)
            probed = probing.probe_layer(layer, acts[:, firing], resid.numpy(), self.incorrect, config.seed)
            ctx.log.info("%s", probing.in_words(probed))
            self.probing.append(probed)

    def joined(self) -> dict[str, np.ndarray]:
        """The columns of all layers, one under the other."""
        return {name: np.concatenate([part[name] for part in self.columns]) for name in self.columns[0]}


def _general_text(result: LayerResult, limit: float, n_documents: int) -> GeneralTextFacts:
    columns = result.columns
    return GeneralTextFacts(
        limit=limit,
        mean_rate=float(columns["general_text_rate"].mean()),
        n_documents=n_documents,
        kept=int(columns["kept"].sum()),
        undecided=int(columns["undecided"].sum()),
    )


def _problems(ctx: RunContext, config: LatentConfig) -> LabelledProblems:
    split = ctx.read(handoffs.SPLIT).table(handoffs.SPLIT_FILES[config.split])
    generations, labels_from = ctx.read(handoffs.GENERATIONS), GREEDY
    programs, where = generations.table("dataset.parquet"), generations.path
    if handoffs.TEMPERATURE.name in ctx.artifacts:
        samples = ctx.read(handoffs.TEMPERATURE)
        names = sorted(name for name in samples.manifest["files"] if name.startswith("dataset_temp_"))
        programs, where = [row for name in names for row in samples.table(name)], samples.path
        labels_from = SAMPLED
    problems = labelled_problems(
        split, programs, str(where), labels_from=labels_from, accept_missing=config.accept_missing
    )
    left_out = "".join(f"; left out: {count} {reason}" for reason, count in problems.left_out.items())
    ctx.log.info(
        "%d problems of the split '%s', %s: %g correct, %g incorrect%s",
        len(problems.task_ids),
        config.split,
        labels_from,
        problems.n_correct,
        problems.n_incorrect,
        left_out,
    )
    return problems


def _selected(
    config: LatentConfig,
    problems: LabelledProblems,
    layers: LayersFound,
    columns: dict[str, np.ndarray],
    null: NullMaximum,
) -> SelectedDocument:
    sae_ids = {site.layer: site.sae_id for site in layers.sites}
    limits = {site.layer: site.general_text.limit for site in layers.sites}
    quantiles = {f"{q:g}": float(np.quantile(null.max_abs_t, q)) for q in (0.5, 0.9, 0.95, 0.99)}
    return SelectedDocument(
        conclusion=selection.conclusion(columns, null.max_abs_t),
        split=config.split,
        use=None if config.split == SELECTING else DESCRIPTION_ONLY,
        problems=len(problems.task_ids),
        labels_from=problems.labels_from,
        correct=_count(problems.n_correct),
        incorrect=_count(problems.n_incorrect),
        left_out=problems.left_out,
        latents=len(columns["latent"]),
        kept=int(columns["kept"].sum()),
        kept_and_varying=null.n_latents,
        general_text_limit=config.general_text_limit,
        null_maximum_of_abs_t=NullMaximumSummary(
            n_permutations=config.n_permutations, seed=config.seed, quantiles=quantiles
        ),
        sites=layers.sites,
        directions=selection.directions(columns, sae_ids, limits, lambda layer, latent: layers.urls[layer, latent]),
        limits=[] if layers.sweep is None else layers.sweep.table(columns),
        sparse_probing=layers.probing,
    )


def _write(
    out: Any,
    selected: SelectedDocument,
    problems: LabelledProblems,
    layers: LayersFound,
    columns: dict[str, np.ndarray],
    null: NullMaximum,
) -> None:
    """All files and the summary."""
    chosen, activations, pass_rate = selected.directions, layers.activations, problems.pass_rate
    out.columns("latents.parquet", {name: columns[name] for name in out.schema.columns("latents.parquet")})
    out.document("selected.json", selected)
    out.table(
        "top_problems.parquet",
        selection.top_problems(chosen, activations, problems.task_ids, problems.texts, pass_rate),
    )
    out.tensors("null_maximum.safetensors", {"max_abs_t": null.max_abs_t})
    drawn = figures.all_figures(columns, null.max_abs_t, chosen, activations, pass_rate)
    for name, data in {**drawn, **figures.cross_validated(selected)}.items():
        out.file(f"figures/{name}", data)
    shown = ("split", "use", "problems", "correct", "incorrect", "latents", "kept")
    out.summary = {name: value for name in shown if (value := getattr(selected, name)) is not None}
    out.summary |= {"layers": len(layers.sites), "mean_general_text_rate": float(columns["general_text_rate"].mean())}
    out.summary["significant_latents"] = int((columns["p_max"] <= ALPHA).sum())
    significant = [name for name, entry in chosen.items() if entry.significant]
    out.summary["significant_directions"] = ", ".join(significant) or "none"


def _log_conclusion(ctx: RunContext, selected: SelectedDocument) -> None:
    for name, entry in selected.directions.items():
        if (words := cost_of_the_filter(name, entry)) is not None:
            ctx.log.warning("%s", words)
    ctx.log.info("%s", selected.conclusion)


def _count(value: float) -> int | float:
    """A whole number where labels are whole; pass rates add up to others."""
    return round(value) if abs(value - round(value)) < 1e-9 else round(value, 6)
