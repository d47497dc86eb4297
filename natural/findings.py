"""What the study found, as tables of a page: each number is read from an artifact.

    python3 -m natural.findings --folder data/natural --page PAGE.md --cards FOLDER

The newest finished run of each phase in the folder counts; a table whose phase has none is left as it is. Numbers in
brackets are 95 % intervals. --cards is where the detectors' own cards are copied to, as detector_of_prompts.md and
detector_of_programs.md.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.cli import Parser, exit_with, new_log
from common.errors import ConfigError
from common.files import write_atomic
from common.handoffs import (
    ABLATION,
    ATTENTION,
    COEFFICIENTS,
    DETECTION,
    DETECTOR,
    DICTIONARIES,
    LATENTS,
    ORTHOGONALISATION,
    STEERING,
    TRANSFER,
    ArtifactSchema,
)
from common.handoffs.detection import LATENT, DetectionDocument, Known
from common.handoffs.detector import DetectorDocument
from common.handoffs.dictionaries import DictionariesDocument
from common.handoffs.selected import SelectedDocument
from common.handoffs.steering import CoefficientsDocument, Compared, SteeringDocument
from common.runs.artifacts import Artifact
from common.runs.discovery import readable_runs
from common.words import count, direction_words, interval, latent_words, number, p_value, percent, points
from natural.nulls import VERDICTS, summary
from natural.page import fill
from natural.tables import table

MAKE = "python3 -m natural.study --help"
KEYBOARD_S_MINUS, MINUS_SIGN = r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}"


def dictionaries(document: DictionariesDocument) -> str:
    """One row for each layer."""
    rows = [
        [
            layer,
            count(card.n_latents),
            number(card.text.fvu, 3),
            number(card.text.l0, 1),
            percent_of(card.dead_share),
            number(card.last_tokens["prompts"].fvu_between if "prompts" in card.last_tokens else None, 3),
            percent_of(card.cross_entropy.recovered),
        ]
        for layer, card in document.layers.items()
    ]
    headings = ("layer", "latents", "FVU of text", "active at a token", "never active")
    return table((*headings, "FVU between last prompt tokens", "cross-entropy recovered"), rows)


def latents(document: SelectedDocument) -> str:
    """The first latent of each direction."""
    rows = []
    for name, direction in document.directions.items():
        for latent in direction.latents[:1]:
            facts = [number(latent.t, 2), p_value(latent.p_max), number(latent.auroc, 3)]
            fires = [percent_of(latent.f_correct), percent_of(latent.f_incorrect)]
            rows.append(
                [direction_words(name), latent_words(latent), *facts, *fires, percent_of(latent.general_text_rate)]
            )
    headings = ("direction", "latent", "t", "family-wise p", "AUROC of incorrect", "fires if correct")
    return table((*headings, "fires if incorrect", "fires on general text"), rows)


def limits(document: SelectedDocument) -> str:
    """What every limit on general text leaves, and the latent that it would put first; the one in use stands last."""
    rows = []
    for at in document.limits:
        row = ["in use" if at.limit is None else "none" if at.limit >= 1 else percent_of(at.limit), count(at.kept)]
        best = ["–", "–", "–"]
        if at.best is not None:
            best = [latent_words(at.best), percent_of(at.best.general_text_rate), number(at.best.auroc, 3)]
        rows.append([*row, *best, interval(at.auroc, 3)])
    headings = ("limit", "latents left", "first", "fires on general text", "its AUROC of incorrect")
    return table((*headings, "the first of each fold, on the rest"), rows)


def sparse_probing(document: SelectedDocument) -> str:
    """Cross-validated AUROC by the number of latents, and of the whole stream."""
    sizes = sorted({probe.k for layer in document.sparse_probing for probe in layer.sparse})
    rows = []
    for layer in document.sparse_probing:
        of_size = {probe.k: interval(probe.auroc, 3) for probe in layer.sparse}
        rows.append([layer.layer, *(of_size.get(k, "–") for k in sizes), interval(layer.full.auroc, 3)])
    return table(("layer", *(f"k = {k}" for k in sizes), "whole stream"), rows)


def scores(document: DetectionDocument) -> str:
    """The headline's latent and every baseline: those known before the program, then those after."""
    if document.headline is None:
        return "No latent was selected."
    name, entry = document.headline
    rows: list[list[Any]] = [
        [f"{LATENT} ({latent_words(entry.latent)})", Known.BEFORE, interval(entry.card.auroc, 3), "", entry.verdict]
    ]
    for baseline, card in entry.baselines.items():
        difference = entry.differences.get(baseline)
        known = "" if difference is None else difference.known
        rows.append([baseline, known, interval(card.auroc, 3), "" if difference is None else signed(difference.auroc)])
        rows[-1].append("")
    rows[1:] = sorted(rows[1:], key=lambda row: row[1] == Known.AFTER)
    headings = ("score", "known", f"AUROC of {entry.positive}", "latent less it", f"verdict on {direction_words(name)}")
    return table(headings, rows)


def directions(document: DetectionDocument) -> str:
    """The latent of each direction."""
    rows = []
    for name, entry in document.directions.items():
        gain = entry.beyond_difficulty
        beyond = ["–", "–"] if gain is None else [signed(gain.gain), gain.verdict]
        area = interval(entry.card.auroc, 3)
        rows.append([direction_words(name), latent_words(entry.latent), entry.positive, area, entry.verdict, *beyond])
    headings = ("direction", "latent", "positive", "AUROC", "verdict", "gain over difficulty and text", "beyond them?")
    return table(headings, rows)


def beyond_difficulty(document: DetectionDocument) -> str:
    """What latent and probe add to a regression on all that the problem's text tells."""
    if document.headline is None:
        return "No latent was selected."
    entry = document.headline[1]
    rows = [
        [name, *(interval(each, 3) for each in (gain.auroc_of_covariates, gain.auroc_with_score)), signed(gain.gain)]
        + [gain.verdict]
        for name, gain in (("latent", entry.beyond_difficulty), ("full probe", entry.probe_beyond_difficulty))
        if gain is not None
    ]
    return table(("score", "difficulty and text", "with the score", "gain", "verdict"), rows)


def coefficients(document: CoefficientsDocument) -> str:
    """Phase 3.2's curves."""
    rows = [
        [direction_words(name), point.layer, number(point.coefficient, 2), percent(point.pass_rate)]
        + [f"{point.n_corrected} / {point.n_corrupted}", number(point.trajectory_kl, 3)]
        + ["chosen" if tuned.chosen and tuned.chosen.coefficient == point.coefficient else ""]
        for name, tuned in document.directions.items()
        for point in tuned.curve
    ]
    headings = ("direction", "layer", "coefficient", "pass rate", "corrected / corrupted", "KL [nats per token]", "")
    return table(headings, rows)


def steering(document: SteeringDocument) -> str:
    """What was judged, beside its controls."""
    return _compared({name: (entry, entry.verdict) for name, entry in document.steered.items()})


def taken_away(document: Any) -> str:
    """The same of directions that were taken out of the weights."""
    return _compared({name: (entry, entry.verdict) for name, entry in document.directions.items()})


def _compared(entries: dict[str, tuple[Compared, Any]]) -> str:
    rows = []
    for name, (entry, verdict) in entries.items():
        effect = entry.effect
        changed = f"{effect.correction.n} of {effect.correction.of} / {effect.corruption.n} of {effect.corruption.of}"
        ranks = "; ".join(f"{kind.replace('_', ' ')}s: {one.rank_words}" for kind, one in entry.controls.items())
        kl = number(effect.trajectory_kl, 3)
        rows.append([direction_words(name), effect.n, changed, points(effect.net_change), kl, ranks, verdict])
    headings = ("direction", "problems", "corrected / corrupted", "net change", "KL [nats per token]")
    return table((*headings, "rank among controls", "verdict"), rows)


def detector(documents: list[DetectorDocument]) -> str:
    """One row for each detector."""
    rows = []
    for document in documents:
        card, target = document.card, document.card.target
        early = {name: card.baselines[name].auroc for name in card.auroc_minus if name not in card.known_after}
        best = max(early, key=lambda name: early[name].value or 0.0, default=None)
        beside = ["–", "–"] if best is None else [f"{best}: {interval(early[best], 3)}", signed(card.auroc_minus[best])]
        rows.append(
            [document.population.read, document.layer, len(document.latents), interval(card.detector.auroc, 3)]
            + beside
            + [percent(card.operating_point.precision), percent(card.operating_point.recall)]
            + [f"{percent_of(card.operating_point.base_rate)}", target.met, document.verdict]
        )
    headings = ("reads", "layer", "latents", "AUROC", "best of what is known as early", "detector less it")
    return table((*headings, "precision", "recall", "always flagged: precision", "its target", "verdict"), rows)


def nulls(folder: Path) -> str:
    """How often chance was called knowledge."""
    lines = [json.loads(line) for line in (folder / VERDICTS).read_text().splitlines()]
    return "\n".join(f"- {words}" for words in summary(lines))


def signed(estimate: Any) -> str:
    return interval(estimate, 3, signed=True)


def sentences(document: Any) -> str:
    """What the phase itself says, with minus signs as in print."""
    return "\n".join(f"- {re.sub(KEYBOARD_S_MINUS, MINUS_SIGN, words)}" for words in document.sentences)


def percent_of(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


TABLES: tuple[tuple[str, ArtifactSchema, Callable[[Any], str]], ...] = (
    ("dictionaries", DICTIONARIES, dictionaries),
    ("latents", LATENTS, latents),
    ("limits", LATENTS, limits),
    ("sparse probing", LATENTS, sparse_probing),
    ("directions", DETECTION, directions),
    ("scores", DETECTION, scores),
    ("beyond difficulty", DETECTION, beyond_difficulty),
    ("steering", STEERING, steering),
    ("attention", ATTENTION, sentences),
    ("taken away", ORTHOGONALISATION, taken_away),
    ("transfer", TRANSFER, sentences),
    ("without parts of the prompt", ABLATION, sentences),
)


def tables_of(folder: Path) -> dict[str, str]:
    """Every table whose artifact is there, by name."""
    data, found = folder / "data", {}
    for name, schema, make in TABLES:
        for run in readable_runs(schema, data)[:1]:
            found[name] = make(Artifact(schema, run, MAKE).document())
    curves = [Artifact(COEFFICIENTS, run, MAKE).document() for run in readable_runs(COEFFICIENTS, data)]
    if curves:  # the one that screened every direction
        found["screening"] = coefficients(max(curves, key=lambda document: len(document.directions)))
    if detectors := newest_detectors(data):
        found["detectors"] = detector([detectors[read].document() for read in sorted(detectors, reverse=True)])
    if (folder / VERDICTS).is_file():
        found["nulls"] = nulls(folder)
    return found


def newest_detectors(data: Path) -> dict[str, Artifact]:
    """By what they read: prompts, programs."""
    runs = [Artifact(DETECTOR, run, MAKE) for run in readable_runs(DETECTOR, data)]
    return {run.document().population.read: run for run in reversed(runs)}


def write_cards(data: Path, folder: Path) -> None:
    """Copy each detector's own card."""
    for read, run in newest_detectors(data).items():
        write_atomic(folder / f"detector_of_{read}.md", (run.path / "detector" / "README.md").read_bytes())


def main(argv: list[str]) -> int:
    parser = Parser(prog="-m natural.findings", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="that of natural.study")
    parser.add_argument("--page", type=Path, required=True, help="page whose tables are filled")
    parser.add_argument("--cards", type=Path, help="folder for the detectors' cards")
    args = parser.parse_args(argv)
    folder = args.folder.expanduser()
    tables = tables_of(folder)
    if not tables:
        raise ConfigError(f"{args.folder} holds no finished run of a phase\nMake one with: {MAKE}")
    if args.cards and not args.cards.is_dir():
        raise ConfigError(f"--cards {args.cards} is no folder\nMake it with: mkdir -p {args.cards}")
    fill(args.page, tables)
    if args.cards:
        write_cards(folder / "data", args.cards)
    new_log().info("filled in %s: %s", args.page, ", ".join(tables))
    return 0


if __name__ == "__main__":
    exit_with(main)
