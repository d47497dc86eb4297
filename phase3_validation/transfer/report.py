"""Phase 3.6 on the page."""

from common.report.blocks import Section
from common.report.collect import Collected, PhaseResult
from common.report.results import results_section

CAPTIONS = {
    "transfer": (
        "Both models side by side",
        "Left, horizontal: AUROC of each latent; line: chance. Right, horizontal: net change of the pass rate, in "
        "points. Circles: the first model; squares: the other; 95 % intervals. Vertical: directions.",
    ),
}


def section(phase: PhaseResult, _collected: Collected) -> Section:
    question = "Do the same latents hold in another model of the same shape?"
    return results_section(phase, "Transfer", question, CAPTIONS)
