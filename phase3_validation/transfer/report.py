"""Phase 3.6 on the page."""

from common.handoffs.changes import TransferDocument
from common.report.blocks import Section
from common.report.collect import Collected, PhaseResult
from common.report.results import results_section

AXES = (
    "Left, horizontal: AUROC of each latent; line: chance. Right, horizontal: net change of the pass rate, in points. "
    "Circles: the first {0}; squares: the other; 95 % intervals. Vertical: directions."
)


def section(phase: PhaseResult, _collected: Collected) -> Section:
    result: TransferDocument = phase.document()
    in_another_model = result.target.identity != result.experiment.get("model")
    what = "model" if in_another_model else "dataset"
    captions = {"transfer": (f"Both {what}s side by side", AXES.format(what))}
    return results_section(phase, "Transfer", _question(result, in_another_model), captions)


def _question(result: TransferDocument, in_another_model: bool) -> str:
    if result.target.dataset is None:
        return "Do the same latents hold in another model of the same shape?"
    other = "in another model of the same shape, on another dataset" if in_another_model else "on another dataset"
    return f"Do the same latents hold {other}: {result.target.name}?"
