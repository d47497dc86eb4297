"""The page of one latent, in parts: what it is, where it fires, what it writes, what was measured of it."""

from collections.abc import Callable, Sequence

from common.errors import PipelineError
from common.handoffs import LATENTS
from common.report.blocks import Block, Cell, Facts, Section, text
from common.report.latents.inputs import Inputs
from common.report.latents.logits import blocks_of_logits
from common.report.latents.missing import or_why, why
from common.report.latents.on_prompts import blocks_on_prompts
from common.report.latents.on_text import blocks_on_text
from common.report.latents.statistics import blocks_of_statistics
from common.runs.discovery import plain_name
from common.saes.encoder import LayerSae
from common.words import count, number

Make = Callable[[Inputs, int, int], list[Block]]
_WITH_THE_SAE: tuple[tuple[str, str, str, Make], ...] = (
    (
        "prompts",
        "On prompts",
        "On which programming problems does it fire, at the last prompt token?",
        blocks_on_prompts,
    ),
    ("text", "On general text", "How often does it fire on text in general, and on which?", blocks_on_text),
    ("logits", "On the logits", "Which next tokens does it write for, by the direct path?", blocks_of_logits),
)
_WITHOUT: tuple[tuple[str, str, str, Make], ...] = (
    ("statistics", "Statistics", "How does it differ between correct and incorrect programs?", blocks_of_statistics),
)


def sections_of_latent(inputs: Inputs, layer: int, latent: int, label: Sequence[Block] = ()) -> list[Section]:
    """Its parts; `label` is what Neuronpedia says, where it was asked. What cannot be made says why."""
    first, parts = Section("what", "What it is", "Which direction of which model?"), _WITH_THE_SAE + _WITHOUT
    try:
        first.blocks += [_facts(inputs, inputs.latent_of(layer, latent), latent), *label]
    except PipelineError as error:
        first.blocks += [*why(error), *_told_by_phase_2(inputs, layer, latent)]
        parts = _WITHOUT
    return [first, *(_part(inputs, layer, latent, *part) for part in parts)]


def _part(inputs: Inputs, layer: int, latent: int, name: str, title: str, question: str, make: Make) -> Section:
    return Section(name, title, question, or_why(lambda: make(inputs, layer, latent)))


def _facts(inputs: Inputs, sae: LayerSae, latent: int) -> Facts:
    experiment, revision = inputs.collected.experiment, f", commit {sae.revision}" if sae.revision else ""
    norm = float(sae.W_dec[latent].norm())
    return Facts(
        [
            ("Model", text(plain_name(experiment["model"]))),
            ("Dictionary", text(f"{sae.id}{revision}: {count(sae.n_latents)} latents of {sae.site}")),
            ("Place", text(f"layer {sae.layer}, latent {latent}")),
            ("Fires", text(_gate(sae, latent))),
            ("Decoder norm", text(f"{number(norm, 3)}, in the units of the residual stream per unit of activation")),
            ("Neuronpedia", _neuronpedia(sae.neuronpedia_url(latent))),
        ]
    )


def _gate(sae: LayerSae, latent: int) -> str:
    if sae.top_k is not None:
        return f"where its pre-activation is above 0 and among the {sae.top_k} largest of a position"
    return f"where its pre-activation is above {number(float(sae.threshold[latent]), 3)}, in the SAE's units"


def _told_by_phase_2(inputs: Inputs, layer: int, latent: int) -> list[Block]:
    """What selected.json says of a latent whose SAE is not here."""
    if (phase := inputs.collected.finished(LATENTS)) is None:
        return []
    every = [each for entry in phase.document().directions.values() for each in entry.latents]
    selected = next((each for each in every if (each.layer, each.latent) == (layer, latent)), None)
    return (
        [Facts([("Dictionary", text(selected.sae_id)), ("Neuronpedia", _neuronpedia(selected.neuronpedia))])]
        if selected
        else []
    )


def _neuronpedia(url: str | None) -> Cell:
    """A link; what a data folder says instead of one is not shown."""
    return text(url, url) if url and url.startswith("https://") else text("has no page of it")
