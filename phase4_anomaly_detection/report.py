"""Phase 4.1 on the page: the detector's card beside simpler scores, its calibration, its routes, its latents."""

from common.handoffs import DETECTION
from common.handoffs.detector import PROMPTS, DetectorCard, DetectorDocument, DetectorLatent
from common.handoffs.estimates import UNDEFINED
from common.handoffs.score_verdicts import RankingVerdict
from common.report.blocks import (
    AREA,
    Block,
    Cell,
    Column,
    Facts,
    Heading,
    Paragraph,
    Section,
    Table,
    count_cell,
    estimate,
    figure_cell,
    number_cell,
    share,
    table_of,
    text,
)
from common.report.collect import Collected, PhaseResult
from common.words import UNKNOWN, count, direction_words, interval, number, percent, plural
from phase4_anomaly_detection.evaluation import ALWAYS, MET

_METRICS = (
    ("f1", "F1", "harmonic mean of precision and recall for incorrect texts"),
    ("precision", "Precision", "share of the flagged texts that are incorrect"),
    ("recall", "Recall", "share of the incorrect texts that are flagged"),
    ("specificity", "Specificity", "share of the correct texts that are not flagged"),
)


def section(phase: PhaseResult, collected: Collected) -> Section:
    detector: DetectorDocument = phase.document()
    card = detector.card
    n = card.n
    made = Section(
        "detector",
        "Detector",
        "Can a few latents, added up, say which texts the model gets wrong?",
        source=phase.place,
    )
    tone = "good" if detector.verdict is RankingVerdict.RANKS else "plain"
    made.blocks += [
        Paragraph(
            f"{plural(len(detector.latents), 'latent')} of layer {detector.layer}, found on {count(n['sae'])} "
            f"{detector.population.read}, "
            f"with a threshold from {count(n['hyperparams'])} others. Every figure below is of "
            f"{count(n['validation'])} further texts. Intervals: 95 %, stratified bootstrap, "
            f"{count(card.n_resamples)} resamples."
        ),
        Heading("The detector", beside=detector.verdict, tone=tone),
        Paragraph(" ".join([_worth(card), *_beside_one_latent(detector, collected), *_beside_always(card)]), "verdict"),
        _facts(detector, card),
        _operating_point(card),
        _cards(card),
        _populations(card),
        _routes(card),
        _reliability(card),
        _latents(detector),
    ]
    return made


def _worth(card: DetectorCard) -> str:
    return f"Its AUROC is {interval(card.detector.auroc)}."


def _beside_one_latent(detector: DetectorDocument, collected: Collected) -> list[str]:
    """Of the page's headline, where both were read on the same problems before a token was written."""
    phase = collected.finished(DETECTION)
    headline = None if phase is None else phase.document().headline
    own = detector.card.detector.auroc
    if headline is None or detector.population.read != PROMPTS or headline[1].card.n != detector.card.n["validation"]:
        return []
    name, other = headline[0], headline[1].card.auroc
    if own.value is None or other.value is None:
        return []
    verdict = "it does not beat that"
    if own.value > other.value:
        apart = own.low is not None and other.high is not None and own.low > other.high
        verdict = "it beats that" if apart else "no difference between the two is shown"
    return [f"The single latent {direction_words(name)} has {interval(other)}: {verdict}."]


def _beside_always(card: DetectorCard) -> list[str]:
    """The F1 of always flagging follows from the base rate, so that it has no spread of its own."""
    always, own = card.baselines.get(ALWAYS), card.detector.f1
    if always is None or always.f1.value is None or own.low is None or own.high is None:
        return []
    beats = "above" if own.low > always.f1.value else "below" if own.high < always.f1.value else "not clearly above"
    return [f"Its F1 of {interval(own)} is {beats} that of always flagging, {number(always.f1.value)}."]


def _facts(detector: DetectorDocument, card: DetectorCard) -> Block:
    target, calibration, chosen = card.target, card.calibration, detector.target
    chance = calibration.ece_by_chance
    reached = "" if chosen.reached else "; no threshold reached it on the texts for tuning"
    if chosen.kind == "precision" and not chosen.reached:
        reached = f"; it cannot be promised: its lower bound on the texts for tuning is {number(chosen.low)}"
    note, readings = detector.calibration.get("note"), card.readings
    only_so = target.met == MET and target.low is not None and target.low < target.wanted
    met = f"{target.met} by the estimate, not by its lower bound" if only_so else target.met
    facts = [
        ("AUROC", text(interval(card.detector.auroc))),
        ("Target", text(f"{target.kind.replace('_', ' ')} of {target.wanted:g}: {interval(target.interval)}, "
                        f"{met}{reached}")),
        ("Calibration error", text(f"{number(calibration.ece)} (expected calibration error); a perfect probability "
                                   f"shows {number(chance.median)} by chance, and seldom more than "
                                   f"{number(chance.q95)}")),
        ("Brier score", text(f"{number(calibration.brier)}; always giving the base rate: "
                             f"{number(calibration.brier_of_base_rate)}")),
        ("Weights", text({"probe": "by logistic regression, of latents of either sign",
                          "ace": "by Welch t, of latents that rise (ACE's own rule)"}[detector.weights_rule])),
    ]  # fmt: skip
    facts += [("Probability", text(f"careful: {note}"))] if note else []
    counted = f"{count(readings)} detectors were evaluated on these texts so far: the figures of the last flatter it"
    facts += [("Readings", text(counted))] if readings > 1 else []
    return Facts(facts)


def _operating_point(card: DetectorCard) -> Table:
    point = card.operating_point
    columns = [
        Column("Of flagging", numeric=False),
        Column("This detector"),
        Column("A random score", "one that flags as many texts: its precision is the base rate, its recall that share"),
        Column("Difference", "paired"),
    ]
    shown = (
        ("precision", point.precision, point.base_rate, point.precision_minus_base_rate),
        ("recall", point.recall, point.flag_rate.value, point.recall_minus_flag_rate),
    )
    rows = [[Cell(name), estimate(own), figure_cell(random), estimate(more)] for name, own, random, more in shown]
    return Table("At the threshold that was asked for", columns, rows, note=f"Power: {card.power.words}.")


def _cards(card: DetectorCard) -> Table:
    columns = [
        Column("Score", numeric=False),
        Column("AUROC", "probability that an incorrect text scores above a correct one; 0.5 is chance (the line)"),
        Column("AUROC less its", "that of the detector less that of the score, paired"),
        *(Column(title, meaning) for _, title, meaning in _METRICS),
    ]
    cards = {"this detector": card.detector, **card.baselines}
    rows = [
        [
            Cell(name),
            estimate(each.auroc, scale=AREA),
            estimate(card.auroc_minus.get(name, UNDEFINED)),
            *(estimate(getattr(each, key)) for key, _, _ in _METRICS),
        ]
        for name, each in cards.items()
    ]
    absent = card.baselines_left_out
    note = f"Left out, because not every text has it: {', '.join(absent)}. " if absent else ""
    note += f"Known only after the program is written: {', '.join(card.known_after)}." if card.known_after else ""
    return Table("The detector beside simpler scores, with thresholds for the same target", columns, rows, note=note)


def _populations(card: DetectorCard) -> Table:
    columns = [
        Column("Validation texts", numeric=False),
        Column("Given"),
        Column("Refused", "because of their form: they are of another population than the texts it was fitted on"),
        Column("AUROC of the score", "what it would be worth there; unknown where they were not read (--score-other)"),
    ]
    rows = [
        [
            Cell(read),
            count_cell(population.n),
            count_cell(population.n_abstained),
            estimate(population.auroc, scale=AREA),
        ]
        for read, population in card.populations.items()
    ]
    return Table("On which texts it answers", columns, rows)


def _routes(card: DetectorCard) -> Table:
    columns = [Column("Route", numeric=False), Column("Texts"), Column("Share"), Column("Incorrect among them")]
    rows = [
        [Cell(name), count_cell(route.n), share(route.share), Cell(percent(route.error_rate))]
        for name, route in card.routes.items()
    ]
    return Table("Where the texts go", columns, rows)


def _reliability(card: DetectorCard) -> Table:
    columns = [
        Column("Probability said", cell=lambda group: figure_cell(group.predicted)),
        Column("Incorrect", cell=lambda group: estimate(group.observed)),
        Column("Texts", cell=lambda group: count_cell(group.n)),
    ]
    return table_of("Is a probability of incorrect what it says?", columns, card.calibration.groups, folded=True)


def _latents(detector: DetectorDocument) -> Table:
    general_text = "share of general-text documents on which it fires"
    columns = [
        Column("Latent", cell=lambda latent: number_cell(latent.latent)),
        Column("t", "Welch t, incorrect against correct", cell=lambda latent: figure_cell(latent.t)),
        Column("Weight", cell=lambda latent: figure_cell(latent.weight, 3)),
        Column("General text", general_text, cell=lambda latent: share(latent.general_text_rate)),
        Column("Fires on", cell=_firings),
    ]
    return table_of("Its latents", columns, detector.latents, folded=True)


def _firings(latent: DetectorLatent) -> Cell:
    return Cell(f"{latent.n_fired} of {latent.n}" if latent.n else UNKNOWN, sort=latent.n_fired)
