"""Make a finished run of phase 1 from a folder in the layout of the original project (see common/exchange/layout.py).

1. The table is read, and a label found for each of its tasks: test_passed, label, and the folder must agree.
2. Every activation file is read, hashed and checked. Up to here nothing is written.
3. The run is written with one layer in memory at a time. A column that the source lacks is null, never made up.
"""

import functools
import hashlib
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from common import handoffs, tables
from common.errors import ArtifactMismatchError, ConfigError, MissingArtifactError
from common.evaluation.statistics import wilson_interval
from common.exchange.layout import NPZ_NAME, LayoutConfig, npz_path, read_npz, source_column
from common.files import file_sha256, text_sha256
from common.handoffs import JUDGED
from common.phases.command_line import build_command
from common.phases.context import RunContext
from common.phases.hub import COMMIT
from common.phases.phase import Phase
from common.progress import Progress
from common.runs import discovery
from common.runs.artifacts import Artifact
from common.runs.locks import in_use
from common.runs.target_folder import differences

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

SOURCE = "npz_folder"  # the name of the source among a run's inputs

Found = dict[int, dict[str, set[int]]]  # task -> label of the folder -> layers


@dataclass(frozen=True)
class Source:
    """A checked folder. Among the inputs of a run it stands like an artifact, under its content's hash."""

    path: Path
    rows: list[dict[str, Any]]
    layers: list[int]
    sha256: dict[Path, str]
    left_aside: list[str]
    manifest: dict[str, Any] = field(default_factory=lambda: {"lineage": {}})

    @property
    def folder(self) -> Path:
        return self.path.parent

    @functools.cached_property
    def content_sha256(self) -> str:
        names = {
            str(path.relative_to(self.folder)): digest for path, digest in self.sha256.items() if path != self.path
        }
        return text_sha256(json.dumps({**names, "table": self.sha256[self.path]}, sort_keys=True))

    def npz(self, row: dict[str, Any], n: int) -> Path:
        return self.folder / npz_path(row["label"], row["task_id"], n)


def import_folder(ctx: RunContext[LayoutConfig], path: Path) -> None:
    """Read the folder, or the one of its tables that `path` names, and write a run.

    Raises: ConfigError for a mistake in the source; ArtifactMismatchError when an unfinished run is in the way.
    """
    ctx.settle()
    ctx.config.experiment()  # an unknown model or dataset is found before thousands of files are read
    source = check_source(path.resolve(), ctx.log)
    _pick_inputs(ctx, source)
    _warn_without_commit(ctx)
    with ctx.write() as out:
        out.table("dataset.parquet", source.rows)
        nothing = dict.fromkeys(handoffs.GRADING_FIELDS)
        out.table("grading.parquet", [{**nothing, "task_id": row["task_id"]} for row in source.rows])
        with _progress(source, ctx.log, "activations imported") as progress:
            for n in source.layers:
                out.tensors(f"activations/layer_{n - 1:02d}.safetensors", _layer(source, n))
                progress.add([row["label"] for row in source.rows])
        out.summary = _summary([row["label"] for row in source.rows])
        out.details["imported"] = {
            "layout": "npz",
            "table": str(source.path),
            "table_sha256": source.sha256[source.path],
            "activation_files": len(source.sha256) - 1,
            "sha256": source.content_sha256,
            "layers_of_the_files": source.layers,
            "left_aside": source.left_aside,
        }


def _warn_without_commit(ctx: RunContext[LayoutConfig]) -> None:
    """Who wrote the programs need not be on this disk, but phases that run the model ask for one commit of it."""
    if ctx.config.repositories() and not COMMIT.fullmatch(ctx.config.revision):
        words = "which commit of %s wrote the programs is not known: phases that run the model will not take this run"
        ctx.log.warning(f"{words} for theirs; --revision COMMIT says it", ctx.config.model)


def _pick_inputs(ctx: RunContext[LayoutConfig], source: Source) -> None:
    """Make the source an input of the run, beside phase 0 of its dataset if that was run here."""
    schema = handoffs.DIFFICULTY
    build = build_command(schema, ctx.config, ctx.preset, ctx.data_dir)
    try:
        run, reason = discovery.find_input(schema, ctx.data_dir, ctx.config.experiment(), {}, build)
    except MissingArtifactError:
        ctx.log.info("no finished phase 0 of the dataset here: whether the tasks are its own is not checked")
    else:
        ctx.log.info("input %s: %s (%s)", schema.name, run.path, reason)
        ctx.artifacts[schema.name], ctx.reasons[schema.name] = Artifact(schema, run, build), reason
        problems = ctx.read(schema).table("difficulty.parquet")
        _check_tasks(source, {problem["task_id"] for problem in problems}, ctx.config.dataset)
    ctx.artifacts[SOURCE], ctx.reasons[SOURCE] = cast(Artifact, source), "given on the command line"
    if not ctx.fresh:
        _check_nothing_is_overtaken(ctx)


def check_source(path: Path, log: logging.Logger) -> Source:
    """Everything of a folder but the activations themselves, after a look at each of them. Raises: ConfigError."""
    table = _find_table(path)
    rows, unused = _read_rows(table)
    stored, foreign = _find_npz(table.parent)
    for row in rows:
        row["label"] = _label(row, stored.get(row["task_id"], {}), table)
    tasks = {row["task_id"] for row in rows}
    layers = sorted({n for task in tasks for present in stored.get(task, {}).values() for n in present} - {0})
    left_aside = [f"column {name}" for name in unused] + foreign
    if strangers := sorted(stored.keys() - tasks):
        left_aside.append(f"activations of tasks that the table lacks ({len(strangers)}, the first is {strangers[0]})")
    if any(0 in present for task in tasks for present in stored.get(task, {}).values()):
        left_aside.append("activations of layer 0: the embedding is the output of no block")
    if left_aside:
        more = f"; and {len(left_aside) - 12} more" if len(left_aside) > 12 else ""
        log.info("left aside: %s%s", "; ".join(left_aside[:12]), more)
    _check_complete(rows, stored, layers, table)
    source = Source(table, rows, layers, {table: file_sha256(table)}, left_aside)
    _check_npz(source, log)
    return source


def _find_table(path: Path) -> Path:
    if path.is_file() and path.suffix == ".parquet":
        return path
    if not path.is_dir():
        raise ConfigError(f"{path} is no folder and no .parquet file\nGive a folder that holds dataset_*.parquet")
    tables = sorted(path.glob("dataset_*.parquet"))
    if not tables:
        raise ConfigError(f"{path} holds no dataset_*.parquet\nGive the folder that holds it and activations/")
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables)
        raise ConfigError(f"{path} holds {len(tables)} tables: {names}\nGive the path of one of them")
    return tables[0]


def _read_rows(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows with the columns of a run and test_passed; and the columns that were not read."""
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path).read()
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{path} cannot be read as Parquet: {reason}\nFetch or write the file again") from None
    names = {name: source_column(name, table.column_names) for name in handoffs.GENERATION_FIELDS}
    names["test_passed"] = source_column("test_passed", table.column_names)
    if names["task_id"] is None:
        raise ConfigError(f"{path} has no column task_id; it has {', '.join(table.column_names)}\nGive another table")
    wanted = {**handoffs.GENERATION_FIELDS, "test_passed": handoffs.Field("bool", "")}
    columns = {name: _column(table, names[name], wanted[name], path) for name in wanted}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    tasks = [row["task_id"] for row in rows]
    if None in tasks or len({*tasks}) < len(tasks) or not tasks:
        twice = sorted({task for task in tasks if task is not None and tasks.count(task) > 1})
        what = f"task {twice[0]} twice" if twice else "a row without task_id" if tasks else "no rows"
        raise ConfigError(f"{path} has {what}\nGive a table with one row per task")
    return rows, [name for name in table.column_names if name not in names.values()]


def _column(table: "pyarrow.Table", name: str | None, wanted: handoffs.Field, path: Path) -> list[Any]:
    """One column as Python values of the declared type; nulls where the table lacks it."""
    import pyarrow

    if name is None:
        return [None] * table.num_rows
    kind = tables.arrow_type(wanted)
    try:
        return table.column(name).cast(kind).to_pylist()
    except pyarrow.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"{path}: column {name} is of type {table.column(name).type}, where {kind} is expected ({reason})\n"
            f"Convert the column, or take it out of the table"
        ) from None


def _find_npz(folder: Path) -> tuple[Found, list[str]]:
    """Which activations there are, by task, folder and layer; and what else lies in the folders."""
    stored: Found = {}
    foreign = []
    for label in JUDGED:
        parent = folder / "activations" / label
        for path in sorted(parent.iterdir()) if parent.is_dir() else []:
            match = NPZ_NAME.fullmatch(path.name)
            if match:
                stored.setdefault(int(match[1]), {}).setdefault(label, set()).add(int(match[2]))
            else:
                foreign.append(str(path.relative_to(folder)))
    if not stored:
        hint = f"; it holds {foreign[0]}" if foreign else ""
        raise ConfigError(
            f"{folder} holds no activations/correct/<task>_layer_<n>.npz{hint}\n"
            f"Give a folder in the layout of the original project"
        )
    return stored, foreign


def _label(row: dict[str, Any], folders: dict[str, set[int]], table: Path) -> str:
    """The label that all sources of one agree on. Raises: ConfigError, naming the task, when they do not."""
    task, claims = row["task_id"], {f"it lies in activations/{label}": label for label in folders}
    passed = row.pop("test_passed")
    if passed is not None:
        claims[f"test_passed is {passed}"] = JUDGED[0] if passed else JUDGED[1]
    if row["label"] is not None:
        claims[f"label is {row['label']}"] = row["label"]
    if len(labels := {*claims.values()}) > 1:
        raise ConfigError(
            f"task {task} has contradicting labels: {', but '.join(claims)} ({table})\n"
            f"Move the wrong files away, or take the task out of the table"
        )
    if not labels:
        raise ConfigError(f"task {task} of {table} has neither a label nor activations\nTake it out of the table")
    if not labels <= {*JUDGED}:
        raise ConfigError(f"task {task} of {table} has the label '{row['label']}'\nGive one of: {', '.join(JUDGED)}")
    return labels.pop()


def _check_complete(rows: list[dict[str, Any]], stored: Found, layers: list[int], table: Path) -> None:
    """Raises: ConfigError when a task lacks a layer that another one has."""
    if not layers:
        raise ConfigError(f"the tasks of {table} have no activations below it\nGive the table that belongs to them")
    for row in rows:
        missing = [n for n in layers if n not in stored.get(row["task_id"], {}).get(row["label"], ())]
        if missing:
            path = table.parent / npz_path(row["label"], row["task_id"], missing[0])
            more = f" and {len(missing) - 1} more of its layers" if len(missing) > 1 else ""
            raise ConfigError(
                f"task {row['task_id']} lacks layer {missing[0]}{more}, which other tasks have: {path} does not exist\n"
                f"Fetch the file, or take the task out of {table}"
            )


def _check_npz(source: Source, log: logging.Logger) -> None:
    """Read every activation once; its hash is kept, to be sure of reading the same again."""
    d_model = None
    with _progress(source, log, "activations checked") as progress:
        for n in source.layers:
            for row in source.rows:
                path = source.npz(row, n)
                data = _bytes_of(path)
                size = len(read_npz(data, path))
                d_model = d_model or size
                if size != d_model:
                    raise ConfigError(
                        f"{path} holds {size} numbers, the files before it {d_model}\n"
                        f"Fetch the file again, or give another folder: all activations must be of one model"
                    )
                source.sha256[path] = hashlib.sha256(data).hexdigest()
            progress.add([row["label"] for row in source.rows])


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}\nGive the same command again once it can be"
        ) from None


def _layer(source: Source, n: int) -> "dict[str, np.ndarray]":
    """What a run keeps of one layer. Raises: ConfigError when a file is no longer what was checked."""
    import numpy as np

    resid_post = []
    for row in source.rows:
        path = source.npz(row, n)
        data = _bytes_of(path)
        if hashlib.sha256(data).hexdigest() != source.sha256[path]:
            raise ConfigError(f"{path} was changed while it was imported\nGive the same command again")
        resid_post.append(read_npz(data, path))
    task_id = np.array([row["task_id"] for row in source.rows], dtype=np.int64)
    return {"resid_post": np.stack(resid_post), "task_id": task_id}


def _check_tasks(source: Source, tasks: set[int], dataset: str) -> None:
    unknown = [row["task_id"] for row in source.rows if row["task_id"] not in tasks]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise ConfigError(
            f"task {unknown[0]}{more} of {source.path} is none of the {len(tasks)} problems of {dataset}\n"
            f"Give the --dataset that the programs were written for"
        )


def _check_nothing_is_overtaken(ctx: RunContext[LayoutConfig]) -> None:
    """Raises: ArtifactMismatchError when an unfinished run would become older than the newest finished one.

    Such a run could not be continued any more.
    """
    identity = ctx.identity()
    for run in discovery.runs_of(handoffs.GENERATIONS, ctx.data_dir, identity["experiment"]):
        if run.finished:
            return
        n_saved = discovery.n_saved(run.path)
        if differences(run.document, identity) and (n_saved or in_use(run.path)):
            raise ArtifactMismatchError(
                f"{run.path} is unfinished ({n_saved} records saved), and could not be continued after an import\n"
                f"Give it up by adding --fresh, or finish it with: {discovery.command_in(run, ctx.data_dir)}"
            )


def _progress(source: Source, log: logging.Logger, unit: str) -> Progress:
    return Progress(len(source.layers) * len(source.rows), [], log, unit=unit)


def _summary(labels: list[str]) -> dict[str, Any]:
    n_correct = labels.count("correct")
    interval = list(wilson_interval(n_correct, len(labels)))
    rate = {"pass_rate": n_correct / len(labels), "pass_rate_95_percent_interval": interval}
    return {"programs": len(labels), "correct": n_correct, **rate, "imported": "npz"}


def import_from(path: Path) -> Phase:
    """What run.py needs to make a run of phase 1 from the folder or table at `path`."""
    return Phase(
        id="import",
        title=f"a run of phase 1 from {path}",
        config=LayoutConfig,
        inputs=(),  # phase 0 only if there is one: see _pick_inputs
        output=handoffs.GENERATIONS,
        run=lambda ctx, config: import_folder(ctx, path),
    )
