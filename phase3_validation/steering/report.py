"""Phase 3.3 on the page: what the chosen dose did, and what the controls did."""

from common.handoffs import GENERATIONS, SPLIT, SPLIT_FILES
from common.handoffs.steering import (
    FITTED,
    MATCHED_LATENT,
    MIN_CONTROLS,
    RAISE,
    AgainstControls,
    Effect,
    NotSteered,
    SteeredDirection,
    SteeringDocument,
)
from common.interventions.controls import match_words
from common.interventions.power import power_words
from common.report.blocks import (
    Block,
    Cell,
    Column,
    Facts,
    Heading,
    Paragraph,
    Scale,
    Section,
    Table,
    change,
    count_cell,
    counted,
    figure_cell,
    latent_cell,
    number_cell,
    p_cell,
    scale_of_changes,
    share,
    table_of,
    text,
    warning,
)
from common.report.collect import Collected, PhaseResult
from common.report.figures import figures_of
from common.words import (
    UNKNOWN,
    count,
    direction_words,
    latent_words,
    listed,
    number,
    percent,
    plural,
    points,
    sentence_case,
    title_of,
)
from phase3_validation.steering.dose_report import BETTER_SIGN, KL, NET

CAPTIONS = {
    "among_controls_*": (
        "{} among its controls",
        "Left, horizontal: net change of the pass rate; with its 95 % interval for the direction, one mark for "
        "each control. Right: the same, upwards, against the disturbance along the unsteered program.",
    ),
    "dose_response_*": (
        "Dose and response of {}, with what validation says",
        "As in phase 3.2; the star is the chosen coefficient on the validation split, the bars beside it the range "
        "of its controls.",
    ),
    "transitions_*": (
        "What became of the programs under {}",
        "Rows: without steering. Columns: steered. Cells: programs and their share.",
    ),
}


def steering_section(phase: PhaseResult, collected: Collected) -> Section:
    result: SteeringDocument = phase.document()
    question = "Does adding a direction change whether programs pass, beyond its controls?"
    section = Section("steering", "Steering", question, source=phase.place, answer=_answer(result))
    section.warnings += [*_few_problems(collected, phase, result), *_broken(result)]
    baseline, of = result.baseline, _n_validation(collected)
    which = "the" if result.n == of else f"{count(result.n)} of the"
    section.blocks.append(
        Paragraph(
            f"On {which} {count(of)} problems of the validation split, at the coefficients chosen before. Unsteered, "
            f"{count(baseline.n_correct)} programs pass: {percent(baseline.pass_rate)}. Rates have Wilson's 95 % "
            "intervals; p-values are corrected over the directions by Holm's method. Each control is added at its "
            f"direction's length, with the sign that is better for it on {plural(result.n_tuned_on, 'problem')} for "
            "tuning."
        )
    )
    if result.steered:
        section.blocks.append(_effects(result.steered))
    for name, entry in result.directions.items():
        section.blocks += _direction(phase, name, entry)
    return section


def _answer(result: SteeringDocument) -> str:
    """Does it cause? What adding each direction did, beside its controls."""
    parts = [_in_a_sentence(name, entry) for name, entry in result.directions.items()]
    return f"On {count(result.n)} validation problems: {'; '.join(parts)}."


def _in_a_sentence(name: str, entry: SteeredDirection | NotSteered) -> str:
    if isinstance(entry, NotSteered):
        return f"{direction_words(name)}: “{entry.verdict}”"
    effect, matched = entry.effect, entry.controls.get(MATCHED_LATENT)
    did, verb, whom = effect.correction, "corrects", "failing"
    if entry.wanted != RAISE:
        did, verb, whom = effect.corruption, "corrupts", "passing"
    beside = "" if matched is None else f" (nearest latents: {percent(matched.pooled.rate)})"
    sign = f"; {BETTER_SIGN}" * entry.subtracted
    added = "subtracting" if entry.subtracted else "adding"
    return (
        f"{added} {direction_words(name)} ({_what(name, entry)}{sign}) changes the pass rate by "
        f"{points(effect.net_change)} and {verb} {count(did.n)} of {count(did.of)} {whom} programs, "
        f"{percent(did.rate)}{beside}, "
        f"verdict “{entry.verdict}”"
    )


def _n_validation(collected: Collected) -> int:
    split = collected.finished(SPLIT)
    assert split is not None  # phase 3.3 rests on it
    return split.artifact.n_rows(SPLIT_FILES["validation"])


def _few_problems(collected: Collected, phase: PhaseResult, result: SteeringDocument) -> list[Block]:
    """A trial on some problems, with few controls or another limit of length, must not be taken for the result."""
    warnings, of, generations = [], _n_validation(collected), collected.finished(GENERATIONS)
    assert generations is not None  # phase 3.3 rests on it
    if result.n < of:
        words = f"Phase 3.3 steered {count(result.n)} of {count(of)} validation problems: small effects cannot show."
        warnings.append(warning("Some problems", words))
    few = [
        direction_words(name)
        for name, entry in result.steered.items()
        if any(controls.are_few for controls in entry.controls.values())
    ]
    if few:
        words = f"Fewer than {MIN_CONTROLS} controls of a kind for {listed(few)}"
        warnings.append(warning("Few controls", f"{words}: a rank among so few cannot reach p = 0.05."))
    unlike = {name: entry.controls[MATCHED_LATENT].match for name, entry in result.steered.items()}
    for name, match in unlike.items():
        if match is not None and match.n_worse:
            warnings.append(warning("Unlike controls", f"Beside {direction_words(name)} {match_words(match)}."))
    then, now = (each.manifest["settings"].get("max_new_tokens") for each in (generations, phase))
    if then != now:
        warnings.append(warning("Another limit", f"Phase 3.3 cut programs off at {now} tokens, phase 1 at {then}."))
    return warnings


def _broken(result: SteeringDocument) -> list[Block]:
    warnings = []
    for name, entry in result.steered.items():
        if entry.effect.breaks:
            share_of_outputs = percent(entry.effect.newly_degenerate.rate)
            words = f"Steering with {direction_words(name)} breaks {share_of_outputs} of the outputs."
            warnings.append(warning("Degenerate outputs", words))
    return warnings


def _effects(steered: dict[str, SteeredDirection]) -> Table:
    columns = [
        Column("Direction", numeric=False),
        Column("Net change", NET),
        Column("Correction", "of the programs that failed, the share that passes"),
        Column("Corruption", "of the programs that passed, the share that fails"),
        Column("Pass rate"),
        Column("p of the change", "McNemar's exact test, two-sided, corrected by Holm: did the pass rate change?"),
        Column(
            "p against controls",
            "Fisher's exact test, one-sided, corrected by Holm: against all programs of the matched latents as if "
            "these were independent, so it only describes",
        ),
        Column("Newly degenerate"),
        Column("Disturbance", KL),
        Column(
            "Per nat",
            "net change, in points, per nat of disturbance; empty where the interval of the net change holds 0",
        ),
    ]
    shown = [entry.effect for entry in steered.values()]
    shown += [entry.selective.effect for entry in steered.values() if entry.selective]
    scale, rows = scale_of_changes([effect.net_change for effect in shown]), []
    for name, entry in steered.items():
        named = Cell(direction_words(name), under="subtracted" * entry.subtracted)
        rows.append([named, *_effect_cells(entry.effect, entry.p_holm, scale)])
        selective = entry.selective
        if selective:
            rows.append(
                [
                    Cell(f"{direction_words(name)}, selective", under=f"{count(selective.n_steered)} steered"),
                    *_effect_cells(selective.effect, {}, scale),
                ]
            )
    notes = _same_counts(steered)
    if any(entry.subtracted for entry in steered.values()):
        notes.append(f"Subtracted: with a negative coefficient, {BETTER_SIGN}.")
    if any(entry.selective for entry in steered.values()):
        notes.append("Selective: steered only where the predictor of the other label passes its threshold.")
    return Table("What steering did", columns, rows, note=" ".join(notes))


def _same_counts(steered: dict[str, SteeredDirection]) -> list[str]:
    """Of directions whose rows are alike, so that this is not taken for a fault of the table."""
    alike: dict[tuple[int, int], list[str]] = {}
    for name, entry in steered.items():
        counts = entry.effect.correction.n, entry.effect.corruption.n
        alike.setdefault(counts, []).append(direction_words(name))
    return [
        f"{sentence_case(listed(names))} changed exactly the same numbers of programs: each corrected {count(n)} and "
        f"corrupted {count(lost)}."
        for (n, lost), names in alike.items()
        if len(names) > 1
    ]


def _effect_cells(effect: Effect, p_holm: dict[str, float | None], scale: Scale) -> list[Cell]:
    return [
        change(effect.net_change, scale),
        counted(effect.correction),
        counted(effect.corruption),
        share(effect.pass_rate),
        p_cell(p_holm.get("mcnemar")),
        p_cell(p_holm.get("fisher")),
        counted(effect.newly_degenerate),
        figure_cell(effect.trajectory_kl, 3),
        _points(effect.net_change_per_nat) if _is_a_change(effect) else Cell(UNKNOWN),
    ]


def _is_a_change(effect: Effect) -> bool:
    """Whether the interval of the net change lies on one side of 0."""
    low, high = effect.net_change.low, effect.net_change.high
    return low is None or high is None or low > 0 or high < 0


def _direction(phase: PhaseResult, name: str, entry: SteeredDirection | NotSteered) -> list[Block]:
    if isinstance(entry, NotSteered):
        return [Heading(direction_words(name), beside=str(entry.verdict))]
    latent = entry.latent
    if name in FITTED:
        what = ("Fitted", text(f"to the residual stream of {_what(name, entry)}; controls are those of its latent"))
    else:
        cell = latent_cell(f"{latent_words(latent)} of {latent.sae_id}", latent.layer, latent.latent)
        what = ("Latent", cell)
    pairs = [
        what,
        ("Added", text(_added(entry))),
        ("Wanted", text(f"to {entry.wanted} the pass rate")),
        ("Labels", text(_transitions(entry.transitions))),
        ("Power", text(f"{sentence_case(power_words(entry.power))} (simulated)")),
    ]
    match = entry.controls[MATCHED_LATENT].match if MATCHED_LATENT in entry.controls else None
    if match is not None:
        pairs.append(("Match", text(sentence_case(match_words(match)))))
    heading = Heading(direction_words(name), beside=str(entry.verdict), tone="good" if entry.verdict.works else "plain")
    tables = [_each(name, kind, controls) for kind, controls in entry.controls.items()]
    return [heading, Facts(pairs), _controls(name, entry), *figures_of(phase, CAPTIONS, f"*_{name}"), *tables]


def _what(name: str, entry: SteeredDirection) -> str:
    """'layer 3, latent 1207', or 'layer 3' of a direction that is fitted to its stream."""
    return f"layer {entry.latent.layer}" if name in FITTED else latent_words(entry.latent)


def _added(entry: SteeredDirection) -> str:
    return (
        f"{number(entry.coefficient, signed=True)} mean norms of {entry.site} of layer {entry.layer} "
        f"(one is {number(entry.norm, 1)})" + f"; subtracted: {BETTER_SIGN}" * entry.subtracted
    )


def _transitions(n: dict[str, int]) -> str:
    return (
        f"{count(n['fail_to_pass'])} from fail to pass, {count(n['pass_to_fail'])} from pass to fail; "
        f"{count(n['pass_to_pass'])} stay passing, {count(n['fail_to_fail'])} stay failing"
    )


def _controls(name: str, entry: SteeredDirection) -> Table:
    outcome = "corrected" if entry.wanted == RAISE else "corrupted"
    columns = [
        Column("Controls", numeric=False),
        Column("Number"),
        Column("Rank", "of the direction's net change among the controls; 1 is beyond all of them: this decides"),
        Column("p of the rank", "the rank, of the number of controls and one more"),
        Column(f"Programs {outcome}", "by all controls of the kind together; resampled over problems and controls"),
        Column("p by Fisher", "only describes: one-sided, not corrected; takes the controls' programs for independent"),
        Column("p by binomial", "only describes: one-sided, against the controls' rate as if it were known"),
    ]
    rows = [
        [
            Cell(title_of(kind)),
            count_cell(controls.n),
            Cell(controls.rank_words, sort=controls.rank),
            p_cell(controls.rank_p),
            counted(controls.pooled),
            p_cell(controls.fisher_p),
            p_cell(controls.binomial_p),
        ]
        for kind, controls in entry.controls.items()
    ]
    return Table(f"{sentence_case(direction_words(name))} against its controls", columns, rows)


def _points(value: float | None) -> Cell:
    return figure_cell(None if value is None else 100 * value, 1, signed=True)


def _each(name: str, kind: str, controls: AgainstControls) -> Table:
    columns = [
        Column("Latent" if kind == MATCHED_LATENT else "Number", cell=lambda one: number_cell(one.index)),
        Column("Coefficient", "with its better sign", cell=lambda one: figure_cell(one.coefficient, 2, signed=True)),
        *_match_columns(controls),
        Column("Net change", cell=lambda one: _points(one.net_change)),
        Column("Corrected", cell=lambda one: count_cell(one.n_corrected)),
        Column("Corrupted", cell=lambda one: count_cell(one.n_corrupted)),
        Column("Degenerate", cell=lambda one: share(one.degenerate_rate)),
        Column("Disturbance", KL, cell=lambda one: figure_cell(one.trajectory_kl, 3)),
    ]
    title = f"{sentence_case(direction_words(name))}: every {kind.replace('_', ' ')}"
    return table_of(title, columns, controls.each, folded=True)


def _match_columns(controls: AgainstControls) -> list[Column]:
    """What the controls were matched on."""
    if controls.match is None:
        return []
    match, place = controls.match, {one.index: i for i, one in enumerate(controls.each)}
    return [
        Column(
            sentence_case(name),
            f"the direction's own: {number(own, 3)}",
            cell=lambda one, name=name: figure_cell(match.each[name][place[one.index]], 3),
        )
        for name, own in match.own.items()
    ]
