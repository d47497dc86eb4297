"""Phase 3.7 on the page."""

from common.report.blocks import Section
from common.report.collect import Collected, PhaseResult
from common.report.results import results_section

CAPTIONS = {
    "prompt_ablation": (
        "Programs and latents under each prompt",
        "Vertical: prompts. Horizontal: pass rate (left; dotted: the whole prompt), change of the latents' "
        "activations in standard deviations (right); 95 % intervals.",
    ),
}


def section(phase: PhaseResult, _collected: Collected) -> Section:
    return results_section(
        phase, "Prompt ablation", "Which part of the prompt do the programs and the latents depend on?", CAPTIONS
    )
