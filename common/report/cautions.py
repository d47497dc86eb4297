"""What a reader must know before believing a number: what is missing, was left out, or came near a limit."""

from collections import Counter

from common.handoffs import GENERATIONS, TEMPERATURE
from common.provenance import code_words
from common.report.blocks import Block, Commands, Paragraph, Section, warning
from common.report.collect import DAMAGED, MISSING, STALE, UNFINISHED, Collected, PhaseResult
from common.report.runs import (
    codes_of,
    isolation_words,
    phases_words,
    processes,
    sandboxes_of,
    share_words,
    versions_of,
)
from common.words import listed, plural, sentence_case

FULL_ISOLATION = 3
NO_EVIDENCE = (
    "A toy: the model is a small one of our own, and what it knows was planted. It shows that the pipeline works; "
    "it is no evidence about natural models."
)


def cautions_section(collected: Collected, of_phases: list[Block]) -> Section:
    """`of_phases` are those that the phases have of their own results."""
    section = Section("warnings", "Warnings", "What must be known before believing a number?")
    done = collected.done
    warnings = [
        *_scope(collected),
        *_unfinished(collected),
        *of_phases,
        *_isolation(done),
        *_agreement(done),
        *_provenance(done),
    ]
    section.blocks += warnings or [Paragraph("None of what this report looks for was found.")]
    return section


def _scope(collected: Collected) -> list[Block]:
    warnings = []
    if collected.readings > 1:
        warnings.append(
            warning(
                "Validation read again",
                f"{collected.readings} different selections were evaluated on this validation "
                "split. What is chosen by its results looks better than it is.",
            )
        )
    return warnings


def _unfinished(collected: Collected) -> list[Block]:
    warnings = []
    for phase in collected.results:
        if phase.state in (UNFINISHED, STALE, DAMAGED):
            warnings.append(warning(sentence_case(phase.state), f"Phase {phase.schema.phase}: {phase.why}."))
            warnings.append(Commands([phase.command]))
        elif phase.newer:
            words = f"Phase {phase.schema.phase}: {phase.newer}; the one before it is shown."
            warnings.append(warning("Older run", words))
    missing = [phase for phase in collected.unfinished if phase.state == MISSING]
    if missing:
        names = phases_words([phase.schema.phase for phase in missing])
        warnings.append(warning("Not begun", f"{sentence_case(names)}. To run what is missing:"))
        warnings.append(Commands([phase.command for phase in missing]))
    return warnings


def _isolation(done: list[PhaseResult]) -> list[Block]:
    weak = {}
    for phase, sandbox in sandboxes_of(done):
        if sandbox["level"] < FULL_ISOLATION:
            weak.setdefault(isolation_words(sandbox), {})[phase.schema.phase] = None
    warnings = [
        warning("Weak isolation", f"The programs of {phases_words(list(phases))} were run at isolation {level}.")
        for level, phases in weak.items()
    ]
    near = Counter({phase.schema.phase: 0 for phase, _ in sandboxes_of(done)})
    for phase, sandbox in sandboxes_of(done):
        if phase.schema not in (GENERATIONS, TEMPERATURE):  # theirs are counted program by program
            near[phase.schema.phase] += sandbox.get("near_limit_count", 0)
    warnings += [
        warning("Near a limit", f"Phase {name}: {plural(n, 'program')} came close to a limit of the sandbox.")
        for name, n in near.items()
        if n
    ]
    return warnings


def _agreement(done: list[PhaseResult]) -> list[Block]:
    """Whether the phases that generate again get what phase 1 got."""
    warnings = []
    for phase in done:
        same = getattr(phase.document(), "agrees_with_phase_1", None) if phase.schema.documents else None
        if same and same.same_tokens < same.of:
            words = f"{share_words(same.of - same.same_tokens, same.of)} unsteered outputs are not those of phase 1."
            warnings.append(warning("Not the same again", f"Phase {phase.schema.phase}: {words}"))
    return warnings


def _provenance(done: list[PhaseResult]) -> list[Block]:
    warnings, codes = [], codes_of(done)
    dirty = [phase.schema.phase for phase in done if any(p["code"]["dirty"] for p in processes(phase))]
    if dirty:
        words = f"{sentence_case(phases_words(dirty))} ran with changes that were not committed."
        warnings.append(warning("Changed code", words))
    commits = {code_words({**process["code"], "dirty": False}) for phase in done for process in processes(phase)}
    if len(commits) > 1:
        warnings.append(warning("Several versions of the code", f"The phases were run by {listed(codes)}."))
    several = {name: versions for name, versions in versions_of(done).items() if len(versions) > 1}
    if several:
        words = "; ".join(f"{name} {' and '.join(versions)}" for name, versions in several.items())
        warnings.append(warning("Several versions of libraries", f"{words}."))
    return warnings
