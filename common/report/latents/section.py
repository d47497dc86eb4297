"""The selected latents in the report: the page of each, folded."""

from common.handoffs import DETECTION, LATENTS, STEERING
from common.handoffs.selected import LatentFacts
from common.handoffs.steering import FITTED
from common.report.blocks import Block, Fold, Heading, Section, latent_id
from common.report.collect import Collected
from common.report.latents.inputs import Inputs
from common.report.latents.page import sections_of_latent
from common.words import direction_words, listed, names_of_latents


def latents_section(collected: Collected) -> Section | None:
    """None before phase 2."""
    chosen = selected_latents(collected)
    if not chosen:
        return None
    section = Section("latents", "The selected latents", "What does each of them fire on, and what does it write?")
    inputs = Inputs(collected)
    for place in sorted(chosen):  # layer by layer: one SAE is in memory at a time
        parts = sections_of_latent(inputs, *place)
        blocks: list[Block] = [block for part in parts for block in (Heading(part.title), *part.blocks)]
        directions = listed([direction_words(name) for name in chosen[place]])
        section.blocks.append(Fold(latent_id(*place), "Layer {}, latent {}".format(*place), directions, blocks))
    return section


def selected_latents(collected: Collected) -> dict[tuple[int, int], list[str]]:
    """Every latent that a section of the report links to, by layer and number, with the directions it stands for."""
    named: list[tuple[str, LatentFacts]] = []
    if (phase := collected.finished(LATENTS)) is not None:
        named += [
            (name, entry.latents[0].facts) for name, entry in phase.document().directions.items() if entry.latents
        ]
    for schema in (DETECTION, STEERING):
        if (phase := collected.finished(schema)) is not None:
            entries = phase.document().directions.items()
            named += [(name, entry.latent) for name, entry in entries if name not in FITTED]
    return names_of_latents(named)
