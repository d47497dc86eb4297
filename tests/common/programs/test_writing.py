"""Covers common/programs/writing.py and the order of joined records: what is kept when a run ends in the middle."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from toy_phases import NUMBERS_PHASE, SUMS, N, run_phase, stop_after

from common.errors import ArtifactMismatchError
from common.handoffs import GENERATION_FIELDS, GRADING_FIELDS, ArtifactSchema, Field
from common.model.language_model import LanguageModel
from common.model.rows import Generation
from common.phases.context import RunContext
from common.phases.phase import Phase
from common.programs import writing
from common.programs.settings import SolutionConfig
from common.programs.solutions import Solution, request_for
from common.programs.writing import Draft, Kept, ProgramWriter, batch_by_batch, write_programs, write_solutions
from common.runs import discovery
from common.stopping import Stopped
from common.tables import from_parquet

CODE = "def f(n):\n    return n + 1\n"
SLOW = "import time\ndef f(n):\n    time.sleep(8)\n    return n + 1\n"
JUDGED = {"code": CODE, "label": "correct", "error": None, "failed_test": None}  # a row of phase 1: nothing is run
BATCH, N_PROGRAMS = 3, 9
PROGRAMS = ArtifactSchema(
    name="programs",
    phase="77",
    folder="phase77",
    version=1,
    scope=("model",),
    tables={"programs.parquet": {"task_id": Field("int64", "id"), "label": Field("string", "label")}},
)


def problem(number: int) -> dict:
    return {
        "task_id": number,
        "text": f"Add one, way {number}.",
        "entry_point": "f",
        "complexity": 1,
        "test_list": ["assert f(1) == 2"],
        "test_setup_code": "",
    }


def draft(number: int, code: str, record: Callable[[Solution], Kept] | None = None) -> Draft:
    def row(solution: Solution) -> Kept:
        return {"programs.parquet": {"task_id": number, "label": solution.label}}, {}

    return Draft(problem(number), Generation(text=code, stop_reason="end_of_sequence"), record or row)


def phase_that_writes(write: Callable[[list[int]], list[Draft]], judged: bool) -> Phase:
    def run(ctx: RunContext, config: SolutionConfig) -> None:
        earlier = {number: JUDGED for number in range(N_PROGRAMS)} if judged else {}
        with ctx.write() as out:
            write_programs(
                ctx, out, config.model, lambda _lm: ProgramWriter(batch_by_batch(write), [1] * N_PROGRAMS), earlier
            )

    return Phase(
        id="77",
        title="programs",
        config=SolutionConfig,
        inputs=(),
        output=PROGRAMS,
        run=run,
        n_records=lambda _ctx: N_PROGRAMS,
    )


@pytest.fixture
def config(tiny_gemma) -> SolutionConfig:
    return SolutionConfig(model=str(tiny_gemma), dataset="organism", batch_size=BATCH, sandbox_workers=1, threads=1)


def n_saved(data: Path) -> int:
    return discovery.n_saved(discovery.list_runs(PROGRAMS, data)[0].path)


def test_every_program_is_judged_and_kept_once(tmp_path, config):
    written: list[int] = []

    def write(batch: list[int]) -> list[Draft]:
        written.extend(batch)
        return [draft(number, CODE if number % 2 else CODE.replace("1", "2")) for number in batch]

    run = run_phase(phase_that_writes(write, judged=False), tmp_path, config)
    rows = from_parquet((run / "programs.parquet").read_bytes())
    assert written == list(range(N_PROGRAMS)) == [row["task_id"] for row in rows]
    assert [row["label"] for row in rows] == ["correct" if n % 2 else "incorrect" for n in range(N_PROGRAMS)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_judged_batch_is_kept_when_the_next_one_breaks_off(tmp_path, config, error):
    """A batch that is judged is kept when the next one ends in the middle."""

    def write(batch: list[int]) -> list[Draft]:
        if batch[0]:
            raise error
        return [draft(number, CODE) for number in batch]

    with pytest.raises(error):
        run_phase(phase_that_writes(write, judged=True), tmp_path, config)
    assert n_saved(tmp_path) == BATCH


def test_what_is_not_judged_yet_is_waited_for_after_an_error(tmp_path, config):
    """What is not judged yet is waited for after an error but not after a second signal."""

    def write_then(error: type[BaseException]) -> Callable[[list[int]], list[Draft]]:
        def write(batch: list[int]) -> list[Draft]:
            if batch[0]:
                raise error
            return [draft(number, SLOW if error is KeyboardInterrupt else CODE) for number in batch]

        return write

    for error, expected in ((KeyboardInterrupt, 0), (RuntimeError, BATCH)):
        data = tmp_path / error.__name__
        with pytest.raises(error):
            run_phase(phase_that_writes(write_then(error), judged=False), data, config)
        assert n_saved(data) == expected


def test_what_has_ended_is_saved_while_a_last_row_goes_on(tmp_path, config, monkeypatch):
    monkeypatch.setattr(writing, "SAVE_EVERY_S", 0.0)
    saved: list[int] = []

    def begin(lm: LanguageModel) -> ProgramWriter:
        def write(batches, _limit):
            for batch in batches:
                yield from ((number, draft(number, CODE)) for number in batch if number)
            lm.meter.on_change()  # as after each token of the row that is left
            saved.append(n_saved(tmp_path))
            yield 0, draft(0, CODE)

        return ProgramWriter(write, [1] * N_PROGRAMS)

    def run(ctx: RunContext, config: SolutionConfig) -> None:
        with ctx.write() as out:
            write_programs(ctx, out, config.model, begin, {number: JUDGED for number in range(N_PROGRAMS)})

    phase = dataclasses.replace(phase_that_writes(lambda batch: [], judged=True), run=run)
    run_phase(phase, tmp_path, config)
    assert saved == [N_PROGRAMS - 1]


def test_records_before_one_that_fails_are_kept_once(tmp_path, config):
    def fails(_solution: Solution) -> Kept:
        raise RuntimeError("no row")

    def write(batch: list[int]) -> list[Draft]:
        return [draft(number, CODE, fails if number == 2 else None) for number in batch]

    with pytest.raises(RuntimeError, match="no row"):
        run_phase(phase_that_writes(write, judged=True), tmp_path, config)
    assert n_saved(tmp_path) == 2


def test_a_stop_waits_for_the_batch_that_is_judged(tmp_path, config):
    def write(batch: list[int]) -> list[Draft]:
        return [draft(number, CODE) for number in batch]

    with pytest.raises(Stopped):
        run_phase(phase_that_writes(write, judged=False), tmp_path, config, stop=stop_after(2))
    assert n_saved(tmp_path) == 2 * BATCH


def test_records_that_were_numbered_otherwise_are_not_continued(tmp_path, config):
    """As when another tokenizer orders the prompts by length in another way."""
    output = ArtifactSchema(
        name="solutions",
        phase="78",
        folder="phase78",
        version=1,
        scope=("model",),
        tables={"dataset.parquet": GENERATION_FIELDS, "grading.parquet": GRADING_FIELDS},
    )
    numbers = list(range(N_PROGRAMS))

    def run(ctx: RunContext, config: SolutionConfig) -> None:
        with ctx.write() as out:
            write_solutions(ctx, out, [request_for(problem(number), config.seed) for number in numbers], config)

    phase = Phase(
        id="78",
        title="solutions",
        config=SolutionConfig,
        inputs=(),
        output=output,
        run=run,
        n_records=lambda _ctx: N_PROGRAMS,
    )
    short = SolutionConfig(**{**vars(config), "max_new_tokens": 3})
    with pytest.raises(Stopped):
        run_phase(phase, tmp_path, short, stop=stop_after(1))
    numbers.reverse()
    with pytest.raises(ArtifactMismatchError, match=r"record (\d) .*problem \1.* problem \d\b.*\n.*--fresh"):
        run_phase(phase, tmp_path, short)


def sums_by(key: Callable[[dict], object]) -> Phase:
    import numpy as np

    def run(ctx: RunContext, _config: object) -> None:
        with ctx.write() as out:
            out.row_key = key
            for batch in out.batches(50):
                for i in batch:
                    row = {"task_id": i, "text": str(i)}
                    out.append(i, {"sums.parquet": row}, {"vectors/layer_00/twice": np.array([i, 2 * i], np.float32)})

    return Phase(
        id="9", title="sums", config=NUMBERS_PHASE.config, inputs=(), output=SUMS, run=run, n_records=lambda _ctx: N
    )


def test_joined_tables_and_arrays_stand_in_the_order_of_the_row_key(tmp_path):
    run = run_phase(sums_by(lambda row: -row["task_id"]), tmp_path)
    rows, arrays = from_parquet((run / "sums.parquet").read_bytes()), load_file(run / "vectors/layer_00.safetensors")
    assert [row["task_id"] for row in rows] == list(range(N))[::-1] == arrays["task_id"].tolist()
    assert (arrays["twice"][:, 1] == 2 * arrays["task_id"]).all()


def test_records_of_one_thing_are_not_joined(tmp_path):
    with pytest.raises(ArtifactMismatchError, match=r"twice.*\n.*--fresh"):
        run_phase(sums_by(lambda row: row["task_id"] // 2), tmp_path)
