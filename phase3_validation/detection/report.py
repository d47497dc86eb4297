"""Phase 3.1 on the page: for each direction its evaluation card beside the baselines, strata, and temperatures."""

from dataclasses import replace

from common.handoffs.detection import (
    LOGISTIC_REGRESSION,
    PROBE,
    BaselineCard,
    Card,
    DetectedDirection,
    DetectionDocument,
    RandomLatents,
)
from common.handoffs.estimates import AurocInterval, Interval
from common.handoffs.score_verdicts import DifficultyVerdict, RankingVerdict
from common.handoffs.selected import LatentFacts
from common.report.blocks import (
    AREA,
    Block,
    Cell,
    Column,
    Facts,
    Heading,
    Paragraph,
    Scale,
    Section,
    Table,
    count_cell,
    estimate,
    figure_cell,
    latent_cell,
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
    interval,
    latent_words,
    left_out_words,
    listed,
    number,
    p_value,
    plural,
    roles_words,
    sentence_case,
)
from phase3_validation.detection import words

_METRICS = (  # key in a card, title, meaning
    ("f1", "F1", "harmonic mean of precision and recall for the direction's positive label"),
    ("precision", "Precision", "share of the programs called positive that are"),
    ("recall", "Recall", "share of the positive programs that are called so"),
    ("specificity", "Specificity", "share of the negative programs that are called so"),
    ("balanced_accuracy", "Balanced accuracy", "mean of recall and specificity; 0.5 is chance"),
    ("mcc", "MCC", "Matthews correlation; 0 is chance"),
    ("average_precision", "Average precision", "area under precision against recall; the base rate is chance"),
)

_AUROC_F1 = "AUROC (circles) and F1 (squares) with 95 % intervals; dotted: chance for the AUROC"
CAPTIONS = {
    "baselines": (
        "AUROC of the latent and of simpler scores",
        "Horizontal: AUROC on the validation split with its 95 % interval; dotted: chance; grey: the middle 90 % "
        "of random latents of the layer. Vertical: scores.",
    ),
    "roc": (
        "True against false positives",
        "Horizontal: share of negative programs called positive. Vertical: share of positive programs called so. "
        "The band is a 95 % interval of the latent; dotted: chance.",
    ),
    "precision_recall": (
        "Precision against recall",
        "Horizontal: recall. Vertical: precision. The band is a 95 % interval of the latent; dotted: base rate.",
    ),
    "f1_by_threshold": (
        "F1 by threshold",
        "Horizontal: threshold on the activation; dotted: the one chosen on the problems for tuning. Vertical: F1 "
        "on the validation split; dashed: always saying positive.",
    ),
    "by_difficulty": ("Detection by difficulty", f"Horizontal: complexity of the problem. Vertical: {_AUROC_F1}."),
    "by_temperature": (
        "Detection by sampling temperature",
        f"Horizontal: temperature, 0 is greedy. Vertical: {_AUROC_F1}.",
    ),
    "reliability": (
        "Calibration",
        "Horizontal: probability fitted on the problems for tuning. Vertical: share of positive programs on the "
        "validation split; on the dotted line both agree.",
    ),
}


def section(phase: PhaseResult, _collected: Collected) -> Section:
    result: DetectionDocument = phase.document()
    n = result.n
    section = Section(
        "detection",
        "Detection",
        "Does one latent tell, before a token is written, which programs will fail?",
        source=phase.place,
        warnings=_warnings(result),
        answer=words.answer(result),
    )
    roles = roles_words([entry.latent for entry in result.directions.values()])
    section.blocks.append(
        Paragraph(
            f"The threshold maximises F1 on {count(n['hyperparams'])} problems for tuning; every figure below is of "
            f"the {count(n['validation'])} problems of the validation split. Intervals: 95 %, stratified bootstrap, "
            f"{count(result.n_resamples)} resamples, seed {result.seed}."
            + f" The {plural(len(result.directions), 'direction')} are {roles}."
            * bool(roles)
        )
    )
    section.blocks += figures_of(phase, CAPTIONS, "baselines")
    ordered = sorted(result.directions.items(), key=lambda item: not item[0].startswith("predict"))
    for place, (name, entry) in enumerate(ordered):
        section.blocks += _direction(name, entry, first=place == 0)
    section.blocks += [_meanings(result), Heading("Curves")]
    section.blocks += [figure for figure in figures_of(phase, CAPTIONS) if figure not in section.blocks]
    return section


def _warnings(result: DetectionDocument) -> list[Block]:
    warnings = [
        warning("Left out", f"In detection, of {part}: {left_out_words(left_out)}.")
        for part, left_out in result.left_out.items()
        if any(left_out.values())
    ]
    probes = {name: entry.baselines.get(LOGISTIC_REGRESSION) for name, entry in result.directions.items()}
    loose = [direction_words(name) for name, probe in probes.items() if probe and probe.converged is False]
    if loose:
        warnings.append(warning("Not converged", f"The logistic regression beside {listed(loose)}."))
    return warnings


def _meanings(result: DetectionDocument) -> Table:
    columns = [Column("Score", numeric=False), Column("Meaning", numeric=False)]
    rows = [[Cell(name), Cell(meaning)] for name, meaning in result.baselines.items()]
    absent = result.baselines_left_out
    note = f"Left out, because not every problem has it: {', '.join(absent)}." if absent else ""
    return Table("What the scores are", columns, rows, note=note, folded=True)


def _direction(name: str, entry: DetectedDirection, first: bool) -> list[Block]:
    """What a direction that was selected to predict is worth; of one that was selected to steer, the same in short."""
    predicts = name.startswith("predict")
    beyond = entry.beyond_difficulty.verdict is DifficultyVerdict.BEYOND
    tone = "good" if entry.verdict is RankingVerdict.RANKS and beyond else "plain"
    verdicts = [str(entry.verdict)]
    if entry.beyond_difficulty.verdict is not DifficultyVerdict.CANNOT_TELL:
        verdicts.append(str(entry.beyond_difficulty.verdict))
    pairs = [*_facts(entry), *(_more_facts(entry) if predicts else [])]
    blocks: list[Block] = [Heading(direction_words(name), beside=", ".join(verdicts), tone=tone), Facts(pairs)]
    blocks.append(_cards(name, entry, folded=not predicts, explained=first))
    tables = (_differences(name, entry, folded=not predicts), _strata(name, entry), _temperatures(name, entry))
    return blocks + [table for table in tables if table.rows]


def _facts(entry: DetectedDirection) -> list[tuple[str, Cell]]:
    latent, positive, card = entry.latent, entry.positive, entry.card
    pairs = [
        ("Latent", latent_cell(f"{latent_words(latent)} of {latent.sae_id}", latent.layer, latent.latent)),
        ("Stands for", text(f"{positive} programs: {count(card.n_positive)} of {count(card.n)} here")),
        ("Selected by", text(_selection(latent))),
        ("AUROC", text(f"{interval(card.auroc)}; by DeLong {_delong(card.auroc)}")),
        ("Beyond difficulty", text(words.beyond(entry.beyond_difficulty, "it", entry.probe_beyond_difficulty))),
        ("AUROC within strata", text(f"{interval(entry.auroc_within_strata)}: only pairs of equal complexity")),
    ]
    if entry.verdict is not RankingVerdict.RANKS:
        pairs.insert(4, ("What could be found", text(f"{sentence_case(entry.power.words)}.")))
    return pairs


def _more_facts(entry: DetectedDirection) -> list[tuple[str, Cell]]:
    """Of a direction that was selected to predict."""
    pairs = []
    within = [f"{quantity} {interval(area)}" for quantity, area in entry.auroc_within.items()]
    if within:
        pairs.append(("AUROC at equal", text("; ".join(within))))
    if entry.random_latents.n:
        pairs.append(("Beside random latents", text(_random(entry.random_latents))))
    always = entry.against_always
    difference = f"by {interval(always.f1_difference, signed=True)}"
    pairs.append(("Beside always", text(f"{sentence_case(always.words(entry.positive))}: it differs {difference}")))
    pairs.append(("Stability", text(words.stability(entry.stability))))
    return pairs


def _selection(latent: LatentFacts) -> str:
    word = "significant" if latent.significant else "not significant"
    return f"t = {number(latent.t)}, family-wise p {p_value(latent.p_max)}: {word} at 0.05"


def _delong(area: AurocInterval) -> str:
    return interval(Interval(area.value, area.delong_low, area.delong_high))


def _random(random: RandomLatents) -> str:
    area = random.auroc
    return (
        f"AUROC rank {area.rank} among {count(random.n)} random latents of the layer, whose median is "
        f"{number(area.median)} (5 to 95 %: {number(area.q05)} to {number(area.q95)})"
    )


def _cards(name: str, entry: DetectedDirection, folded: bool, explained: bool) -> Table:
    """The latent's card and those of the baselines; the columns are `explained` once on the page."""
    columns = [
        Column("Score", numeric=False),
        Column("AUROC", "probability that a positive program scores above a negative one; 0.5 is chance (the line)"),
        *(Column(title, meaning) for _, title, meaning in _METRICS),
        Column("Threshold", "the score above which the positive label is predicted"),
    ]
    if not explained:
        columns = [replace(column, meaning="") for column in columns]
    cards = {"this latent": entry.card, **entry.baselines}
    return Table(
        f"Evaluation card of {direction_words(name)}, beside simpler scores",
        columns,
        [_card_row(score, card) for score, card in cards.items()],
        note=_fit(entry.baselines),
        folded=folded,
    )


def _fit(baselines: dict[str, BaselineCard]) -> str:
    """What is to be said of the fit of the probes."""
    fits = []
    for name in (LOGISTIC_REGRESSION, PROBE):
        probe = baselines.get(name)
        if probe is not None and probe.C is not None:
            converged = ", and it did not converge" if probe.converged is False else ""
            layer = "" if probe.layer is None else f"layer {probe.layer}, "
            fits.append(f"{sentence_case(name)}: {layer}C = {probe.C:g}{converged}.")
    return " ".join(fits)


def _card_row(score: str, card: Card) -> list[Cell]:
    return [
        Cell(score),
        estimate(card.auroc, scale=AREA),
        *(estimate(getattr(card, key)) for key, _, _ in _METRICS),
        Cell(UNKNOWN if card.threshold is None else f"{card.threshold:.4g}", sort=card.threshold),
    ]


def _differences(name: str, entry: DetectedDirection, folded: bool) -> Table:
    """The latent's AUROC less that of each other score, on the same problems and resamples."""
    furthest = [
        max(abs(difference.auroc.low or 0), abs(difference.auroc.high or 0))
        for difference in entry.differences.values()
    ]
    widest = max([0.05, *furthest])
    columns = [
        Column("Other score", numeric=False),
        Column("Difference", "AUROC of the latent less that of the other, paired; at the line they are equal"),
        Column("Known", "when the other score is known: before or after the program is written", numeric=False),
    ]
    rows = [
        [
            Cell(other),
            estimate(difference.auroc, signed=True, scale=Scale(-widest, widest, 0)),
            Cell(str(difference.known)),
        ]
        for other, difference in entry.differences.items()
    ]
    return Table(f"{sentence_case(direction_words(name))} less simpler scores", columns, rows, folded=folded)


def _strata(name: str, entry: DetectedDirection) -> Table:
    columns = [
        Column("Stratum", numeric=False, cell=lambda row: Cell(row.stratum)),
        Column("Problems", cell=lambda row: count_cell(row.n)),
        Column("Positive", cell=lambda row: count_cell(row.n_positive)),
        Column("AUROC", cell=lambda row: estimate(row.auroc, scale=AREA)),
        Column("F1", cell=lambda row: estimate(row.f1)),
    ]
    return table_of(f"{sentence_case(direction_words(name))} by difficulty", columns, entry.strata, folded=True)


def _temperatures(name: str, entry: DetectedDirection) -> Table:
    intervals = "intervals by bootstrap over problems"
    columns = [
        Column("Temperature", cell=lambda row: figure_cell(row.temperature, 1)),
        Column("Problems", cell=lambda row: count_cell(row.n_problems)),
        Column("Programs", cell=lambda row: count_cell(row.n_programs)),
        Column("Base rate", "share of positive programs", cell=lambda row: share(row.base_rate)),
        Column("AUROC", intervals, cell=lambda row: estimate(row.auroc, scale=AREA)),
        Column("F1", cell=lambda row: estimate(row.f1)),
    ]
    title = f"{sentence_case(direction_words(name))} by sampling temperature"
    return table_of(title, columns, entry.temperatures, folded=True)
