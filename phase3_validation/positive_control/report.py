"""Phase 3.8 on the page: what a "yes" looks like, beside what phase 3.3 says of the selected directions."""

from common.handoffs import STEERING
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
from common.words import count, number, percent, plural, points, sentence_case


def section(phase: PhaseResult, collected: Collected) -> Section:
    result: PositiveControlDocument = phase.document()
    control = result.positive_control
    section = Section("steering", "Steering", "Does steering work where it must?", source=phase.place)
    section.answer = _answer(result)
    section.blocks += [
        Heading("Positive control", beside=_works(control), tone="good" if control.verdict.works else "plain"),
        Paragraph(_says(control), "verdict"),
        Paragraph(
            "What a “yes” looks like, by the same rules. Each pair of operations has twins: problems with the same "
            "arguments and names, of which one asks for the first operation and one for the second. The mean "
            "difference between the two, read where their programs part, is added while the model writes a program "
            "for the first. A program passes when it does what the second asks for, against its own prompt."
        ),
        _facts(result, collected),
        _pairs(result.pairs),
        *_examples(result),
    ]
    return section


def _works(control: JudgedControl) -> str:
    verdict = control.verdict
    return "the control works" if verdict.works else f"it is not shown that the control works: {verdict}"


def _says(control: JudgedControl) -> str:
    did, n = control.effect.correction, control.controls[RANDOM_DIRECTION].n
    return (
        f"{sentence_case(_works(control))}. {count(did.n)} of {count(did.of)} programs of one operation became "
        f"programs of another (the best of {plural(n, 'random direction')}: {count(_best(control))}). It does not test "
        "whether correctness can be steered."
    )


def _answer(result: PositiveControlDocument) -> str:
    control = result.positive_control
    did = control.effect.correction
    return (
        f"Positive control, where steering must work: the difference between two operations turns {count(did.n)} of "
        f"{count(did.of)} programs of one into programs of the other (the best of "
        f"{plural(control.controls[RANDOM_DIRECTION].n, 'random direction')}: {count(_best(control))}): "
        f"{_works(control)}. It does not test whether correctness can be steered."
    )


def _best(judged: JudgedControl) -> int:
    return max(control.n_corrected for control in judged.controls[RANDOM_DIRECTION].each)


def _facts(result: PositiveControlDocument, collected: Collected) -> Facts:
    control = result.positive_control
    random = control.controls[RANDOM_DIRECTION]
    kl = number(control.effect.trajectory_kl, 3)
    pairs = [
        (
            "Added",
            f"{number(control.coefficient)} of the mean difference, after block {control.layer}, at {control.site}",
        ),
        ("Unsteered", f"{count(result.baseline.n_correct)} of {count(result.n)} programs do what the second asks for"),
        ("Steered", f"{percent(control.effect.correction.rate)}, a net change of {points(control.effect.net_change)}"),
        (
            "Random directions",
            f"{count(random.n)} of the same length: {count(random.pooled.n)} of {count(random.pooled.of)} programs, at "
            f"most {count(_best(control))} by one; rank {random.rank_words}",
        ),
        ("Disturbance", f"{kl} nats per token of the unsteered program{_beside_steering(control, collected)}"),
    ]
    return Facts([(term, text(words)) for term, words in pairs])


def _beside_steering(control: JudgedControl, collected: Collected) -> str:
    """How much stronger it is than what phase 3.3 did: it tests the machinery, not that dose."""
    phase, own = collected.finished(STEERING), control.effect.trajectory_kl
    disturbed = [] if phase is None else [each.effect.trajectory_kl for each in phase.document().steered.values()]
    most = max(filter(None, disturbed), default=None)
    if own is None or most is None:
        return ""
    much = f"{number(own / most, 0 if own > 10 * most else 1)} times"
    return (
        f", {much} the {number(most, 3)} of the direction that phase 3.3 disturbs most with: the control shows that "
        "steering and its judgement work, not that so small a dose would show"
        if own > most
        else f"; phase 3.3's directions reach {number(most, 3)}"
    )


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
    becomes = "steered, it does what the second operation asks for, and unsteered it did not"
    return [changed_program(example, "steered", becomes) for example in result.examples]
