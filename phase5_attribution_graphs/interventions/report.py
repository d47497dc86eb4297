"""Phase 5.5 on the page: do the latents that graphs name carry the answers, and how much of them?"""

from collections.abc import Callable

from common.handoffs.circuit_interventions import (
    CircuitVerdict,
    InterventionsDocument,
    InterventionsOfBehaviour,
    NamedSet,
)
from common.handoffs.estimates import Interval
from common.report.blocks import (
    Block,
    Cell,
    Column,
    Heading,
    Paragraph,
    Section,
    Table,
    count_cell,
    counted,
    estimate,
    p_cell,
    share,
    table_of,
    warning,
    word_columns,
)
from common.report.collect import Collected, PhaseResult
from common.report.figures import figures_of
from common.words import count, interval, listed, number, percent, plural
from phase5_attribution_graphs.interventions.circuits import TOP_INFLUENCE, TOP_SIGNED
from phase5_attribution_graphs.interventions.figures import CAPTIONS
from phase5_attribution_graphs.interventions.words import determined, verdict_words
from phase5_attribution_graphs.page import circuits

HIGH_ERRORS, WEAK_MATCH = 0.5, 0.5
SETS = {TOP_SIGNED: "by signed effect, together", TOP_INFLUENCE: "by influence, one by one"}
CORRELATIONS = {
    "influence_and_size": "influence and absolute effect",
    "signed_and_effect": "signed effect and effect",
    "signed_and_frozen": "signed effect and effect, attention and norms as recorded",
    "frozen_and_free": "effect as recorded and free",
}
Named = tuple[str, InterventionsOfBehaviour]


def section(phase: PhaseResult, _collected: Collected) -> Section:
    document: InterventionsDocument = phase.document()
    section = circuits(phase.place)
    section.answer = _answer(document)
    section.blocks = [
        Heading("Tried in the model itself"),
        Paragraph(section.answer, "verdict"),
        Paragraph(_method(document)),
        _named_sets(document),
        *figures_of(phase, CAPTIONS),
        _whole_circuits(document),
        _changes(document),
        *_patched(document),
        _steered(document),
        _correlations(document),
    ]
    section.warnings = [one for name, behaviour in document.behaviours.items() for one in _warnings(name, behaviour)]
    return section


def _answer(document: InterventionsDocument) -> str:
    by_verdict: dict[CircuitVerdict, list[str]] = {}
    for name, behaviour in document.behaviours.items():
        by_verdict.setdefault(behaviour.sets[TOP_SIGNED].verdict, []).append(name)
    said = {
        CircuitVerdict.CARRIED: "{} {} carried by the latents that graphs name",
        CircuitVerdict.NO_MORE: "in {} they do no more than matched latents",
        CircuitVerdict.CANNOT_TELL: "for {} the result is inconclusive",
    }
    parts = [
        said[verdict].format(listed(by_verdict[verdict]), "is" if len(by_verdict[verdict]) == 1 else "are")
        for verdict in said
        if verdict in by_verdict
    ]
    words = "; ".join(parts)
    return f"{words[:1].upper()}{words[1:]}: {_sizes(document)}."


def _sizes(document: InterventionsDocument) -> str:
    """'agreement: 10 latents take 33.0 % of the difference, matched sets −2.1 %'."""
    told = []
    for name, behaviour in document.behaviours.items():
        top, baseline = behaviour.sets[TOP_SIGNED], behaviour.baseline.value
        matched = top.null.times(1 / baseline).value if baseline else None
        share_of_null = "–" if matched is None else f"{number(100 * matched, 1)} %"
        latents = f"{name}: {count(document.set_size)} latents take"
        if determined(top.share):
            told.append(f"{latents} {percent(top.share)} of the logit difference, matched ones {share_of_null}")
        else:
            told.append(f"{latents} a share of the logit difference that is not determined")
    return "; ".join(told)


def _method(document: InterventionsDocument) -> str:
    return (
        f"Of each prompt the graph names the {count(document.set_size)} latents with the largest signed effect. They "
        "are set to zero in the model itself; what its transcoders miss stays. Beside them stand "
        f"{count(document.n_nulls)} random sets of other latents, of the same layers and positions and about as "
        "active. The effect is the logit difference of the two answers without the change minus that with it, in "
        "logits as the model gives them. That a set does more than others says that the graph is right about these "
        "latents, not what they stand for."
    )


def _named_sets(document: InterventionsDocument) -> Table:
    columns = [
        *word_columns("Behaviour", "The top"),
        Column("Prompts"),
        Column("Difference", "of the answers' logits, without a change"),
        Column("Effect", "logits that the named latents take from it; one by one: mean absolute effect of each"),
        Column("Matched", "the same of the random sets, mean"),
        Column("Share", "effect as a share of the difference"),
        Column("First", "prompts in which no random set does as much"),
        Column("First twentieth", "prompts in which at most a twentieth of the sets do"),
        Column("p, Holm", "of the mean over prompts among the means of the random sets; over the behaviours"),
        *word_columns("Verdict"),
    ]
    rows = [
        [Cell(name), Cell(words), *_of_set(behaviour, behaviour.sets[which])]
        for name, behaviour in document.behaviours.items()
        for which, words in SETS.items()
    ]
    return Table("Named latents set to zero, beside latents that match them", columns, rows)


def _of_set(behaviour: InterventionsOfBehaviour, one: NamedSet) -> list[Cell]:
    return [
        count_cell(behaviour.n),
        estimate(behaviour.baseline),
        estimate(one.effect),
        estimate(one.null),
        _share_cell(one.share),
        counted(one.first),
        counted(one.first_twentieth),
        p_cell(one.p_holm),
        Cell(verdict_words(one, behaviour.n)),
    ]


def _share_cell(value: Interval) -> Cell:
    return share(value) if determined(value) else Cell("not determined")


def _whole_circuits(document: InterventionsDocument) -> Table:
    columns = [
        Column("Behaviour", numeric=False, cell=lambda one: Cell(one[0])),
        _share("Faithful", "what is left of the part that latents carry, with only the pruned graph's", "faithfulness"),
        _share("Left", "what is left of it without them; 0: complete", "left"),
        _share("Errors, direct", "what transcoders miss adds to the difference by itself", "errors_direct"),
        _share("Errors, all paths", "and through what follows", "errors_signed"),
        _share("Without errors", "what is left of the difference with transcoders in place of MLPs", "without_errors"),
        Column("Same token", "prompts with the same likeliest token then", cell=lambda one: counted(one[1].same_token)),
        Column(
            "Important",
            "latents of the pruned graphs that matter alone, beside left-out ones (Benjamini-Hochberg, 5 %)",
            cell=lambda one: counted(one[1].important),
        ),
    ]
    return table_of("The whole of the pruned graphs, and what transcoders miss", columns, document.behaviours.items())


def _share(title: str, meaning: str, field: str) -> Column:
    return Column(title, meaning, cell=lambda one: _share_cell(getattr(one[1], field)))


def _changes(document: InterventionsDocument) -> Table:
    columns = [
        *word_columns("Behaviour", "The top", "Set to"),
        Column("Free", "effect [logits] when attention and norms follow"),
        Column("As recorded", "effect when they stay as they were"),
    ]
    below = f"−{document.inhibit:g} times its activation"
    values = {"zero": "zero", "mean": "its mean over train prompts", "inhibit": below}
    rows = [
        [Cell(name), Cell(SETS[which].partition(",")[0]), Cell(values[what]), *map(estimate, by_fixed.values())]
        for name, behaviour in document.behaviours.items()
        for which, by_change in behaviour.changes.items()
        for what, by_fixed in by_change.items()
    ]
    return Table("Both named sets, changed in three ways", columns, rows, folded=True)


def _patched(document: InterventionsDocument) -> list[Block]:
    paired = {name: behaviour.patched for name, behaviour in document.behaviours.items() if behaviour.patched.n}
    if not paired:
        return []
    sets = list(dict.fromkeys(one for patched in paired.values() for one in patched.moved))
    columns = [
        *word_columns("Behaviour"),
        Column("Pairs"),
        *(Column(one.replace("_", " ")) for one in sets),
        Column("kept, back", "the first prompt's activations in the second"),
    ]
    rows = [
        [Cell(name), count_cell(one.n), *(share(one.moved.get(each)) for each in sets), share(one.back)]
        for name, one in paired.items()
    ]
    note = (
        "Share of the difference between two paired prompts that moves when latents of the first are set to what they "
        f"are in the second. {_refused(document)}"
    )
    return [Table("Patched between paired prompts", columns, rows, note=note)]


def _refused(document: InterventionsDocument) -> str:
    told = [
        f"{name}: {plural(n, 'prompt')} with {'a partner of ' * (why != 'no partner')}{why}"
        for name, behaviour in document.behaviours.items()
        for why, n in behaviour.patched.refused.items()
    ]
    return f"Not patched are, of {'; of '.join(told)}." if told else ""


def _steered(document: InterventionsDocument) -> Table:
    coefficients = list(dict.fromkeys(one for behaviour in document.behaviours.values() for one in behaviour.steered))
    columns = [*word_columns("Behaviour"), *(Column(f"{float(one):+g}".replace("-", "−")) for one in coefficients)]
    rows = [
        [Cell(name), *(estimate(behaviour.steered.get(one), signed=True) for one in coefficients)]
        for name, behaviour in document.behaviours.items()
    ]
    note = (
        "Effect [logits] when so many times the activation of the top latent by signed effect, along its decoder's "
        "direction, is added in its layer at the last position; below 0 the right answer gains."
    )
    return Table("The top latent as a direction", columns, rows, note=note, folded=True)


def _correlations(document: InterventionsDocument) -> Table:
    cells: dict[str, Callable[[Named], Cell]] = {
        name: lambda one, name=name: estimate(one[1].correlations[name]) for name in CORRELATIONS
    }
    columns = [
        Column("Behaviour", numeric=False, cell=lambda one: Cell(one[0])),
        *(Column(words, cell=cells[name]) for name, words in CORRELATIONS.items()),
    ]
    note = "Rank correlations (Spearman) over single latents of one prompt, mean over prompts."
    rows = document.behaviours.items()
    return table_of("What graphs claim, and what happens", columns, rows, note=note, folded=True)


def _warnings(name: str, behaviour: InterventionsOfBehaviour) -> list[Block]:
    made = []
    errors = behaviour.errors_direct
    if errors.value is not None and errors.value > HIGH_ERRORS:
        words = f"{name}: {percent(errors)} of the difference is added by what transcoders miss, so graphs say little"
        made.append(warning("Errors carry much of an answer", f"{words}."))
    ratio = behaviour.activation_ratio
    if ratio.value is not None and ratio.value < WEAK_MATCH:
        words = f"{name}: the latents of random sets are {interval(ratio)} times as active as those they match"
        made.append(warning("Few latents are as active as the named ones", f"{words}."))
    return made
