"""Phase 3.8 on the page: what a "yes" looks like, beside what phase 3.3 says of the selected directions."""

from common.handoffs.positive_control import JudgedControl, PairOutcome, PositiveControlDocument
from common.handoffs.steering import RANDOM_DIRECTION
from common.report.blocks import (
    Block,
    Cell,
    Column,
    Facts,
    Heading,
    Paragraph,
    Section,
    Table,
    count_cell,
    counted,
    figure_cell,
    text,
)
from common.report.collect import Collected, PhaseResult
from common.report.examples import changed_program
from common.words import count, number, percent, plural, points


def section(phase: PhaseResult, _collected: Collected) -> Section:
    result: PositiveControlDocument = phase.document()
    found = result.positive_control
    section = Section("steering", "Steering", "Does steering work where it must?", source=phase.place)
    section.answer = _answer(result)
    section.blocks += [
        Heading("Positive control", beside=str(found.verdict), tone="good" if found.verdict.works else "plain"),
        Paragraph(
            "What a “yes” looks like, by the same rules. Each pair of operations has twins: problems with the same "
            "arguments and names, of which one asks for the first operation and one for the second. The mean "
            "difference between the two, read where their programs part, is added while the model writes a program "
            "for the first. A program passes when it does what the second asks for, against its own prompt."
        ),
        _facts(result),
        _pairs(result.pairs),
        *_examples(result),
    ]
    return section


def _answer(result: PositiveControlDocument) -> str:
    found = result.positive_control
    did = found.effect.correction
    return (
        f"Positive control, where steering must work: the difference between two operations turns {count(did.n)} of "
        f"{count(did.of)} programs of one into programs of the other (the best of "
        f"{plural(found.controls[RANDOM_DIRECTION].n, 'random direction')}: {count(_best(found))}), verdict "
        f"“{found.verdict}”."
    )


def _best(found: JudgedControl) -> int:
    return max(control.n_corrected for control in found.controls[RANDOM_DIRECTION].each)


def _facts(result: PositiveControlDocument) -> Facts:
    found = result.positive_control
    random = found.controls[RANDOM_DIRECTION]
    kl = number(found.effect.trajectory_kl, 3)
    pairs = [
        ("Added", f"{number(found.coefficient)} of the mean difference, after block {found.layer}, at {found.site}"),
        ("Unsteered", f"{count(result.baseline.n_correct)} of {count(result.n)} programs do what the second asks for"),
        ("Steered", f"{percent(found.effect.correction.rate)}, a net change of {points(found.effect.net_change)}"),
        (
            "Random directions",
            f"{count(random.n)} of the same length: {count(random.pooled.n)} of {count(random.pooled.of)} programs, at "
            f"most {count(_best(found))} by one; rank {random.rank or '–'} of {random.n + 1}",
        ),
        ("Disturbance", f"{kl} nats per token of the unsteered program"),
    ]
    return Facts([(term, text(words)) for term, words in pairs])


def _pairs(pairs: dict[str, PairOutcome]) -> Table:
    columns = [
        Column("Operations", "of the prompt, and of the program that is wanted", numeric=False),
        Column("Read", "twins that the difference is read from"),
        Column("Unsteered"),
        Column("Steered"),
        Column("Random", "by the random direction that reaches most"),
        Column("Length", "of the added vector, in units of the residual stream"),
    ]
    rows = [
        [
            Cell(name, code=True),
            count_cell(each.n_read),
            count_cell(each.before),
            counted(each.passed),
            count_cell(each.most_of_a_control),
            figure_cell(each.length, 1),
        ]
        for name, each in pairs.items()
    ]
    return Table("Programs that do what the second operation asks for", columns, rows)


def _examples(result: PositiveControlDocument) -> list[Block]:
    """Whole programs, of the first pairs."""
    return [changed_program(example, "steered") for example in result.examples]
