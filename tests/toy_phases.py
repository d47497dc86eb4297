"""Two small phases that only count, for tests of what is common to all phases."""

import contextlib
import dataclasses
import logging
from pathlib import Path

import numpy as np
from runs import exact_bytes

from common.handoffs import ArtifactSchema, Field
from common.phases.context import RunContext
from common.phases.phase import Phase
from common.phases.settings import PhaseConfig, setting
from common.runs import discovery
from common.stopping import StopRequest

N = 230
NUMBERS = ArtifactSchema(
    name="numbers",
    phase="8",
    folder="phase8",
    version=3,
    scope=("dataset",),
    tables={"numbers.parquet": {"task_id": Field("int64", "id"), "square": Field("int64", "its square")}},
)
SUMS = ArtifactSchema(
    name="sums",
    phase="9",
    folder="phase9",
    version=1,
    scope=("dataset",),
    tables={"sums.parquet": {"task_id": Field("int64", "id"), "text": Field("string", "any text")}},
    tensors={"twice": "[n, 2] float32"},
)

OTHER = dataclasses.replace(NUMBERS, name="other", folder="phase7")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(PhaseConfig):
    dataset: str = setting("left", "which")
    power: int = setting(2, "which power")

    def experiment(self) -> dict[str, str]:
        return {"dataset": self.dataset}


def build_numbers(ctx: RunContext, config: Config) -> None:
    with ctx.write() as out:
        out.table("numbers.parquet", [{"task_id": i, "square": i**config.power} for i in range(N)])
        out.summary = {"n": N}


def build_sums(ctx: RunContext, config: Config) -> None:
    numbers = ctx.read(NUMBERS).table("numbers.parquet")
    with ctx.write() as out:
        for batch in out.batches(20):
            for i in batch:
                row = {"task_id": numbers[i]["task_id"], "text": f"näme \U0001f600 \ud83d {i}" if i % 7 else "\x00"}
                twice = np.array([i, numbers[i]["square"]], dtype=np.float32) * 2
                out.append(i, {"sums.parquet": row}, {"vectors/layer_00/twice": twice})


NUMBERS_PHASE = Phase(id="8", title="numbers", config=Config, inputs=(), output=NUMBERS, run=build_numbers)
SUMS_PHASE = Phase(
    id="9", title="sums", config=Config, inputs=(NUMBERS,), output=SUMS, run=build_sums, n_records=lambda ctx: N
)


def run_phase(phase: Phase, data: Path, config: PhaseConfig | None = None, preset: str = "full", **options) -> Path:
    """Run a phase; returns its newest folder."""
    ctx = RunContext(
        phase=phase,
        config=config or Config(),
        preset=preset,
        data_dir=data,
        device="cpu",
        log=logging.getLogger("test"),
        command=f"python3 run.py phase {phase.id}",
        **options,
    )
    with contextlib.closing(ctx):
        ctx.pick_inputs()
        phase.carry_out(ctx)
    return discovery.list_runs(phase.output, data)[0].path


class stop_after(StopRequest):
    """A stop that is asked for when `n_batches` were begun."""

    def __init__(self, n_batches: int):
        self._left = n_batches + 1
        self._finishing = False

    @property
    def asked(self) -> bool:
        self._left -= 1
        return self._left <= 0


def content(folder: Path) -> dict[str, bytes]:
    """Every file that must not depend on when or how often the run was stopped."""
    skipped = {"manifest.json", "log.txt"}
    return {
        str(p.relative_to(folder)): exact_bytes(p) for p in folder.rglob("*") if p.is_file() and p.name not in skipped
    }
