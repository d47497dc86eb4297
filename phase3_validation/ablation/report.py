"""Phase 3.7 on the page."""

from common.handoffs.changes import AblationDocument
from common.report.blocks import Paragraph, Section, warning
from common.report.collect import Collected, PhaseResult
from common.report.results import results_section
from common.words import sentence_case
from phase3_validation.ablation import words

CAPTIONS = {
    "prompt_ablation": (
        "Programs and latents under each prompt",
        "Vertical: prompts. Horizontal: pass rate (left; dotted: the whole prompt), change of the latents' "
        "activations in standard deviations (right); 95 % intervals.",
    ),
}


def section(phase: PhaseResult, _collected: Collected) -> Section:
    result: AblationDocument = phase.document()
    section = results_section(
        phase, "Prompt ablation", "Which part of the prompt do the programs and the latents depend on?", CAPTIONS
    )
    against = words.against_the_programs(result)
    n, said = len(result.sentences), [*words.form_of_the_prompt(result), *against]
    section.blocks[n:n] = [Paragraph(sentence_case(sentence)) for sentence in said]
    section.warnings += [warning("A latent moves against the programs", each) for each in against]
    return section
