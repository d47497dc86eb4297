"""Write a finished run of phase 1 in the layout of the original project (see common/exchange/layout.py).

The folder appears whole or not at all: it is filled beside its place under another name, reaches the disk,
and is then renamed. Whatever stops an export, the same command can be given again.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from common import handoffs, tables
from common.errors import ArtifactMismatchError, ConfigError, MissingArtifactError, PipelineError
from common.exchange.layout import EXCLUDED, TABLE_FIELDS, LayoutConfig, npz_bytes, npz_path, table_name
from common.files import json_bytes, sync
from common.handoffs import JUDGED
from common.phases.command_line import build_command
from common.phases.context import RunContext
from common.phases.phase import Phase
from common.progress import Progress
from common.runs import discovery
from common.runs.artifacts import Artifact
from common.saes.activations import LAYER_FILE

_LOCK = ".lock"


def export_run(ctx: RunContext, folder: Path) -> None:
    """Write the run that `ctx` picked into `folder`, which must not exist or be empty.

    Records that the sandbox could not judge have no place in the layout; they are listed in excluded_tasks.json.
    Raises: ConfigError, PipelineError.
    """
    folder = folder.resolve()
    check_target(folder)
    generations = ctx.read(handoffs.GENERATIONS)
    rows = generations.table("dataset.parquet")
    judged = [row for row in rows if row["label"] in JUDGED]
    problems = _problems(ctx, generations)
    layers = sorted(int(match[1]) for match in map(LAYER_FILE.fullmatch, generations.manifest["files"]) if match)
    with appearing(folder) as partial:
        table = tables.to_parquet([_table_row(row, problems.get(row["task_id"], {})) for row in judged], TABLE_FIELDS)
        dataset = discovery.slug(ctx.config.experiment()["dataset"])
        (partial / table_name(dataset)).write_bytes(table)
        if len(judged) < len(rows):
            (partial / EXCLUDED).write_bytes(json_bytes(_excluded(rows)))
        for label in JUDGED:
            (partial / "activations" / label).mkdir(parents=True)
        with Progress(len(layers) * len(judged), [], ctx.log, unit="activations") as progress:
            for layer in layers:
                _write_layer(generations, layer, judged, partial)
                progress.add([row["label"] for row in judged])
    left_out = f"; {len(rows) - len(judged)} that could not be judged are in {EXCLUDED}" if judged != rows else ""
    ctx.log.info("wrote %d records in %d layers to %s%s", len(judged), len(layers), folder, left_out)


def check_target(folder: Path) -> None:
    """Raises: ConfigError when something lies where the export is to appear."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "is not empty" if folder.is_dir() else "is a file"
        raise ConfigError(f"{folder} {what}, and nothing is ever overwritten\nGive a new folder")


def _write_layer(generations: Artifact, layer: int, judged: list[dict[str, Any]], folder: Path) -> None:
    file, n = f"activations/layer_{layer:02d}.safetensors", layer + 1
    resid_post = generations.tensor(file, "resid_post")
    row_of = {task_id: row for row, task_id in enumerate(generations.tensor(file, "task_id").tolist())}
    for row in judged:
        path = folder / npz_path(row["label"], row["task_id"], n)
        path.write_bytes(npz_bytes(n, resid_post[row_of[row["task_id"]]]))


def _table_row(row: dict[str, Any], problem: dict[str, Any]) -> dict[str, Any]:
    """Null where phase 0 is gone; what the original did not have keeps its own name."""
    known = {"cyclomatic_complexity": row["complexity"], "generated_code": row["code"]}
    known |= {"test_passed": row["label"] == "correct"}
    known |= {name: problem.get(name) for name in ("text", "code", "test_list")}
    return {name: known[name] if name in known else row[name] for name in TABLE_FIELDS}


def _problems(ctx: RunContext, generations: Artifact) -> dict[int, dict[str, Any]]:
    """Rows of the phase 0 that the run was made from, by task; empty, with a warning, when it is gone."""
    schema, lineage = handoffs.DIFFICULTY, generations.manifest["lineage"]
    build = build_command(schema, ctx.config, ctx.preset, ctx.data_dir)
    try:
        if schema.name not in lineage:
            raise MissingArtifactError(f"{generations.path} was made without phase 0\nBuild it with: {build}")
        made_from = {schema.name: lineage[schema.name]}
        run, _ = discovery.find_input(schema, ctx.data_dir, ctx.config.experiment(), made_from, build)
        rows = Artifact(schema, run, build).table("difficulty.parquet")
        return {row["task_id"]: row for row in rows}
    except (MissingArtifactError, ArtifactMismatchError) as error:
        ctx.log.warning("the columns text, code and test_list stay empty: %s", str(error).partition("\n")[0])
        return {}


def _excluded(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the original says of tasks that it could not judge."""
    excluded = [row for row in rows if row["label"] not in JUDGED]
    labels = [row["label"] for row in excluded]
    return {
        "total_tasks_attempted": len(rows),
        "tasks_included": len(rows) - len(excluded),
        "tasks_excluded": len(excluded),
        "exclusion_rate_percent": 100 * len(excluded) / len(rows),
        "excluded_task_ids": [row["task_id"] for row in excluded],
        "error_type_counts": {label: labels.count(label) for label in sorted({*labels})},
    }


@contextlib.contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `folder` when the block ends without an error, and vanishes otherwise."""
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with FileLock(partial / _LOCK, blocking=False):
            try:
                _empty(partial)  # what a killed export left
                yield partial
                for path in [*partial.rglob("*"), partial]:
                    sync(path)
                (partial / _LOCK).unlink(missing_ok=True)
                partial.replace(folder)
                sync(folder.parent)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except Timeout:
        raise PipelineError(f"another process is exporting to {folder}\nWait for it, or give another folder") from None
    except OSError as error:
        raise PipelineError(
            f"cannot write {folder}: {error.strerror}\nMake room, or give another folder; nothing was left behind"
        ) from error


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def export_to(folder: Path) -> Phase:
    """What run.py needs to pick the run that is exported to `folder`; its own folder gets nothing."""
    return Phase(
        id="export",
        title=f"a run of phase 1 in the layout of the original project, to {folder}",
        config=LayoutConfig,
        inputs=(handoffs.GENERATIONS,),
        output=handoffs.GENERATIONS,
        run=lambda ctx, config: export_run(ctx, folder),
    )
