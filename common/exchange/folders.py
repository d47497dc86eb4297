"""`run.py export --to hf-dataset FOLDER` and `--to json FOLDER`: what an experiment found, for other tools.

hf-dataset: a folder for `datasets.load_dataset(FOLDER, NAME)`, and for an upload to the hub as it is.

    README.md                      its card: what it is, which commands made it, what each column holds
    programs/SPLIT.parquet         phase 1, by split: sae selected, hyperparams tuned, validation reports
    samples/SPLIT.parquet          phase 1.2
    predictions/SPLIT.parquet      phase 3.1
    cards/validation.parquet       phases 3.1 and 4.1
    resid_post/SPLIT.parquet       with --activations: a row for each problem, layer and position
    references.bib

json: the same tables, each one file of one JSON object a line, and documents/ with every JSON file of every phase.
"""

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from common.errors import ConfigError
from common.exchange import rows
from common.exchange.card_page import FIELDS, card_page
from common.exchange.exporting import appearing, check_target
from common.files import json_bytes
from common.handoffs import GENERATIONS, SPLIT_NAMES
from common.report.collect import Collected
from common.report.papers.references import bibtex_of
from common.runs.artifacts import Artifact
from common.saes.activations import stored_layers, stored_positions
from common.tables import TableRow, to_parquet

REPORTS = SPLIT_NAMES[-1]
UNSPLIT = "unsplit"  # before phase 0.1; `all` is a word of `datasets` itself


def write_dataset(collected: Collected, folder: Path, *, activations: bool) -> int:
    """The folder of hf-dataset, whole or not at all; how many programs it holds.

    Raises: ConfigError where something lies there, or for `activations` of a run without any; MissingArtifactError
    without phase 1; PipelineError.
    """
    check_target(folder)
    tables = _tables(collected)
    stored = collected.needed(GENERATIONS).artifact
    if activations and not stored_layers(stored):
        raise ConfigError(f"{stored.path} holds no activations\nLeave out --activations")
    with appearing(folder) as partial:
        places: dict[str, dict[str, str]] = {}
        for name, table in tables.items():
            (partial / name).mkdir()
            places[name] = {}
            for split, part in _by_split(table).items():
                places[name][split] = f"{name}/{split}.parquet"
                (partial / places[name][split]).write_bytes(_parquet(name, part))
        if activations:
            places["resid_post"] = _write_activations(stored, tables["programs"], partial)
        (partial / "references.bib").write_text(bibtex_of(collected), encoding="utf-8")
        (partial / "README.md").write_text(card_page(collected, places), encoding="utf-8")
    return len(tables["programs"])


def write_json_lines(collected: Collected, folder: Path) -> int:
    """The folder of json, whole or not at all; how many programs it holds. Raises: as `write_dataset`."""
    check_target(folder)
    tables = _tables(collected)
    with appearing(folder) as partial:
        for name, table in tables.items():
            lines = "".join(json.dumps(without_nan(row), ensure_ascii=False, allow_nan=False) + "\n" for row in table)
            (partial / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        for phase in collected.done:
            for name in phase.schema.documents:
                if name in phase.manifest["files"]:
                    path = partial / "documents" / phase.place / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(phase.artifact.file(name).read_bytes())
        (partial / "experiment.json").write_bytes(json_bytes(_told(collected)))
    return len(tables["programs"])


def _tables(collected: Collected) -> dict[str, list[TableRow]]:
    """Those that have rows."""
    tables = {
        "programs": rows.programs(collected),
        "samples": rows.samples(collected),
        "predictions": rows.predictions(collected),
        "cards": rows.cards(collected),
    }
    return {name: table for name, table in tables.items() if table}


def without_nan(row: TableRow) -> TableRow:
    """JSON knows no NaN: what is not a number is null."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}


def _told(collected: Collected) -> dict[str, object]:
    phases = {one.place: {"phase": one.schema.phase, "command": one.manifest["command"]} for one in collected.done}
    return {"experiment": collected.experiment, "phases": phases}


def _by_split(table: list[TableRow]) -> dict[str, list[TableRow]]:
    """Rows by the split of their problem; what is of no problem is about those that report."""
    if "split" not in table[0]:
        return {REPORTS: table}
    names = [name for name in SPLIT_NAMES if any(row["split"] == name for row in table)]
    parts = {name: [row for row in table if row["split"] == name] for name in names}
    rest = [row for row in table if row["split"] is None]
    return parts | ({UNSPLIT: rest} if rest else {})


def _parquet(name: str, table: list[TableRow]) -> bytes:
    """With declared types where columns are declared: one of nulls in a split has the type that it has in others."""
    if name in FIELDS:
        return to_parquet(table, FIELDS[name])
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(table), buffer)
    return buffer.getvalue()


def _write_activations(stored: Artifact, programs: list[TableRow], folder: Path) -> dict[str, str]:
    """One file for each split, a layer in memory at a time; where they lie, by split."""
    places = {}
    for split, part in _by_split(programs).items():
        places[split] = f"resid_post/{split}.parquet"
        path = folder / places[split]
        path.parent.mkdir(exist_ok=True)
        batches = _activations(stored, {row["task_id"] for row in part})
        first = next(batches)
        with pyarrow.parquet.ParquetWriter(path, first.schema) as writer:
            for batch in (first, *batches):
                writer.write_table(batch)
    return places


def _activations(stored: Artifact, task_ids: set[int]) -> Iterator[pa.Table]:
    """A table for each layer and position: task_id, layer, position, resid_post."""
    for layer in stored_layers(stored):
        file = f"activations/layer_{layer:02d}.safetensors"
        ids = stored.tensor(file, "task_id")
        wanted = [row for row, task_id in enumerate(ids.tolist()) if task_id in task_ids]
        for position in stored_positions(stored):
            name = "resid_post" if position == "last" else f"resid_post.{position}"
            values = stored.tensor(file, name)[wanted]
            flat = pa.array(values.ravel(), pa.float32())
            yield pa.table(
                {
                    "task_id": pa.array(ids[wanted], pa.int64()),
                    "layer": pa.array([layer] * len(wanted), pa.int32()),
                    "position": pa.array([position] * len(wanted)),
                    "resid_post": pa.FixedSizeListArray.from_arrays(flat, values.shape[1]),
                }
            )
