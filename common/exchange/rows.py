"""What an experiment found, as rows of plain tables: programs, samples, predictions, cards."""

from common.exchange.cards import cards_of_detection, cards_of_detector
from common.handoffs import DETECTION, DETECTOR, GENERATION_FIELDS, GENERATIONS, SPLIT, SPLIT_FILES, TEMPERATURE, Field
from common.report.collect import Collected
from common.tables import TableRow

SPLIT_FIELD = {"split": Field("string", "sae selects, hyperparams tunes, validation reports; null before phase 0.1")}
PROGRAM_FIELDS = {**GENERATION_FIELDS, **SPLIT_FIELD}


def programs(collected: Collected) -> list[TableRow]:
    """What the model wrote greedily (phase 1), in the order of the dataset, each with its `split`.

    Raises: MissingArtifactError without phase 1.
    """
    return _with_split(collected, collected.needed(GENERATIONS).artifact.table("dataset.parquet"))


def samples(collected: Collected) -> list[TableRow]:
    """What it wrote at other temperatures (phase 1.2); none before that has run."""
    phase = collected.finished(TEMPERATURE)
    if phase is None:
        return []
    names = sorted(name for name in phase.manifest["files"] if name.startswith("dataset_temp_"))
    return _with_split(collected, [row for name in names for row in phase.artifact.table(name)])


def predictions(collected: Collected) -> list[TableRow]:
    """Every score of phase 3.1 on the problems that report, a row for each score and problem; none before that."""
    phase = collected.finished(DETECTION)
    return phase.artifact.table("predictions.parquet") if phase else []


def cards(collected: Collected) -> list[TableRow]:
    """What every score is worth, with 95 % intervals: of phases 3.1 and 4.1, as far as they have run."""
    detection, detector = collected.finished(DETECTION), collected.finished(DETECTOR)
    rows = cards_of_detection(detection.document()) if detection else []
    return rows + (cards_of_detector(detector.document()) if detector else [])


def _with_split(collected: Collected, rows: list[TableRow]) -> list[TableRow]:
    split_of = _splits(collected)
    return [{**row, "split": split_of.get(row["task_id"])} for row in rows]


def _splits(collected: Collected) -> dict[int, str]:
    split = collected.finished(SPLIT)
    members = {name: split.artifact.table(file) for name, file in SPLIT_FILES.items()} if split else {}
    return {row["task_id"]: name for name, rows in members.items() for row in rows}
