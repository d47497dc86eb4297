"""Phase 3.5 on the page."""

from common.report.blocks import Section
from common.report.collect import Collected, PhaseResult
from common.report.results import results_section

CAPTIONS = {
    "orthogonalisation": (
        "The model without each direction, and without each matched latent",
        "Horizontal: net change of the pass rate, in points; with its 95 % interval for the direction. Vertical: "
        "what was taken away.",
    ),
}


def section(phase: PhaseResult, _collected: Collected) -> Section:
    return results_section(
        phase, "Orthogonalisation", "What happens when the model can no longer write a direction?", CAPTIONS
    )
