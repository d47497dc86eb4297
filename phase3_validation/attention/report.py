"""Phase 3.4 on the page."""

from common.report.blocks import Section
from common.report.collect import Collected, PhaseResult
from common.report.results import results_section

CAPTIONS = {
    "by_layer": (
        "Change of attention by layer",
        "Horizontal: layer. Vertical: change of the last prompt token's attention to each section, in points, mean "
        "over heads, with 95 % intervals over problems. The first token, BOS or a word, draws attention whatever "
        "it says, and is a section of its own.",
    ),
    "by_head": (
        "Change of attention by head",
        "Horizontal: head. Vertical: layer. Colour: change of attention to the section, in points. Dots: "
        "beyond all random directions of the same length.",
    ),
}


def section(phase: PhaseResult, _collected: Collected) -> Section:
    return results_section(
        phase, "Attention", "Where does the last prompt token look when a direction is added?", CAPTIONS
    )
