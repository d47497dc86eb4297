"""Break a command in every way there is, continue it, and compare with an unbroken run.

    python tests/faults/sweeps.py {crash-8,crash-9,crash-1,crash-grade,full-8,full-9,signals,together} FOLDER

Prints figures as JSON. Every sweep forks its runs from this process; see attempts.py.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from attempts import GO_AHEAD, Ending, attempt, count_operations, ending, start  # noqa: E402
from injection import FULL, KILL, Injector  # noqa: E402
from states import Base, records_of_processes, saved_records, state_of  # noqa: E402
from support import WHOLE_SWEEPS, swept  # noqa: E402
from toy_phases import N  # noqa: E402

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
MOMENTS = swept(50, 4)  # of each signal
SAMPLE, SAMPLE_OF_SLOW_ONES = 6, 4  # slow are phase 1 and grade: seconds a fault


def toy_base(phase: str, folder: Path) -> Base:
    """Phase 8 or 9 of the toys, with what it needs."""
    data = folder / "base"
    data.mkdir()
    if phase == "9":
        assert attempt(["phase", "8", "--data-dir", str(data)], folder).status == 0
    return with_whole(["phase", phase], data, f"phase{phase}", folder, N if phase == "9" else 0)


def real_base(folder: Path, words: list[str]) -> Base:
    """Phase 1 on a small random model: `words` are its flags."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma2ForCausalLM  # noqa: F401 - once, here

    import common.model.generation
    import common.model.loading  # noqa: F401
    import common.programs.solutions  # noqa: F401

    data = folder / "base"
    data.mkdir()
    dataset = words[words.index("--dataset") + 1]
    done = attempt(["phase", "0", "--dataset", dataset, "--data-dir", str(data)], folder)
    assert done.status == 0, done.said
    n_records = len(Path(dataset).read_text().splitlines())
    return with_whole(["phase", "1", *words], data, "phase1_0", folder, n_records)


def with_whole(words: list[str], data: Path, produced: str, folder: Path, n_records: int) -> Base:
    base = Base(words, data, produced, {}, n_records)
    unbroken = base.fresh_copy(folder / "whole")
    done = attempt(base.command(unbroken), folder)
    assert done.status == 0, done.said
    return Base(words, data, produced, state_of(unbroken / produced), n_records)


def crash_grading(folder: Path, n_programs: int = 12) -> dict[str, int]:
    """Break `run.py grade` at every operation; the labels must be an unbroken run's."""
    import common.programs.grading  # noqa: F401 - once, here, as in `crash`

    source, n_faults = folder / "programs.jsonl", 0
    rows = [
        {"id": i, "code": f"def f(n): return n + {i % 3}", "tests": ["assert f(1) == 2"]} for i in range(n_programs)
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def words(place: str) -> list[str]:
        shutil.rmtree(folder / place, ignore_errors=True)
        (folder / place).mkdir()
        return ["grade", str(source), "--out", str(folder / place / "out.jsonl"), "--workers", "1"]

    total = count_operations(words("whole"), folder)
    for at in operations(total, sample=SAMPLE_OF_SLOW_ONES):
        given = words("data")
        assert attempt(given, folder, Injector(KILL, at)).status == -signal.SIGKILL
        n_faults += 1
        done = attempt(given, folder)
        assert done.status == 0, f"operation {at}: {done.said}"
        assert labels(folder / "data") == labels(folder / "whole"), f"operation {at}"
        left = {path.name for path in (folder / "data").iterdir()} - {"out.jsonl.part.lock"}
        assert left == {"out.jsonl", "out.jsonl.meta.json"}, f"operation {at}: {left}"
    return {"faults": n_faults}


def labels(folder: Path) -> list[tuple]:
    rows = map(json.loads, (folder / "out.jsonl").read_text().splitlines())
    return [tuple(row[key] for key in ("id", "label", "error", "failed_test", "message")) for row in rows]


def check_continued(base: Base, data: Path, folder: Path, what: str) -> None:
    """Give the same command again: it must end well, compute only what was not saved, and leave the same bytes."""
    saved = saved_records(data / base.folder)
    done = attempt(base.command(data), folder)
    assert done.status == 0, f"{what}: the same command again ended with {done.status}: {done.said}"
    assert state_of(data / base.folder) == base.whole, f"{what}: other bytes than an unbroken run's"
    if "already built" not in done.said and base.n_records:
        computed = records_of_processes(data / base.folder)
        assert sum(computed) == base.n_records, f"{what}: processes account for {computed} records"
        assert base.n_records - saved in (*computed, 0), f"{what}: {saved} were saved, computed were {computed}"


def operations(total: int, step: int = 1, sample: int = SAMPLE) -> Iterable[int]:
    """Those that are broken: every `step`-th, or so many of them as a sample has, from all over the command."""
    every = range(1, total + 1, step)
    return every if WHOLE_SWEEPS else sorted(random.Random(total).sample(every, min(sample, len(every))))


def crash(base: Base, kind: str, folder: Path, step: int = 1, sample: int = SAMPLE) -> dict[str, int]:
    """Break the command at its `step`-th, 2 `step`-th ... operation, until it ends before the fault."""
    import common.launch.phase_command  # noqa: F401 - once, here: an import is no operation that is broken

    n_faults, total = 0, count_operations(base.command(base.fresh_copy(folder / "count")), folder)
    for at in operations(total, step, sample):
        data = base.fresh_copy(folder / "data")
        ended = attempt(base.command(data), folder, Injector(kind, at))
        what = f"{kind} at operation {at} of {total}"
        if kind == KILL:
            assert ended.status == -signal.SIGKILL, f"{what}: it ended with {ended.status}: {ended.said}"
        else:
            check_full_disk(ended, what)
        n_faults += 1
        check_continued(base, data, folder, what)
    return {"faults": n_faults}


def check_full_disk(ended: Ending, what: str) -> None:
    """A message that says so, and no traceback; an end without error only when nothing that matters was refused."""
    assert ended.status in (0, 2), f"{what}: it ended with {ended.status}: {ended.said}"
    assert "Traceback" not in ended.said, f"{what}: {ended.said}"
    if ended.status == 2:
        assert "No space left on device" in ended.said, f"{what}: {ended.said}"


def signals(base: Base, folder: Path) -> dict[str, int]:
    """Each signal at random moments of the command, every fifth time twice."""
    chooser, statuses = random.Random(0), Counter()
    began = time.monotonic()
    attempt(base.command(base.fresh_copy(folder / "data")), folder)
    duration = time.monotonic() - began
    for number, name in enumerate(SIGNALS * MOMENTS):
        data = base.fresh_copy(folder / "data")
        pid = start(base.command(data), folder / "said.txt")
        time.sleep(moment := chooser.uniform(0, 1.1 * duration))
        for _ in range(2 if number % 5 == 0 else 1):
            os.kill(pid, getattr(signal, name))  # the child may be gone, but not forgotten before we wait for it
        ended = ending(pid, folder / "said.txt")
        # Before it listens, a signal ends it by itself; there is nothing to save yet.
        assert ended.status in (0, 130, -getattr(signal, name)), f"{name}: status {ended.status}: {ended.said}"
        assert "Traceback" not in ended.said, f"{name}: {ended.said}"
        statuses[ended.status] += 1
        if ended.status == 0:
            # The signal came too late: no run takes longer than this, however slow the measured one was.
            duration = min(duration, moment)
        check_continued(base, data, folder, name)
    assert statuses[130] >= swept(MOMENTS, 1), statuses
    return {"signals": statuses.total(), "stopped": statuses[130]}


def together(base: Base, n_runs: int, folder: Path) -> dict[str, int]:
    """Runs that begin at once on one folder: one works, the others name it."""
    data = base.fresh_copy(folder / "data")
    gate, opening = os.pipe()

    def wait_at_the_gate() -> None:
        os.close(opening)
        os.read(gate, 1)

    outputs = [folder / f"said_{i}.txt" for i in range(n_runs)]
    words = ["phase", "9 when told", "--data-dir", str(data)]
    pids = [start(words, output, wait_at_the_gate) for output in outputs]
    os.close(opening)
    statuses: dict[int, int] = {}
    while len(statuses) < n_runs:
        if len(statuses) == n_runs - 1:
            (data / GO_AHEAD).touch()
        pid, status = os.waitpid(-1, 0)
        statuses[pid] = os.waitstatus_to_exitcode(status)
    ends = [Ending(statuses[pid], output.read_text()) for pid, output in zip(pids, outputs, strict=True)]
    os.close(gate)
    workers = [pid for pid, end in zip(pids, ends, strict=True) if " wrote " in end.said]
    assert len(workers) == 1, [end.said for end in ends]
    refused = [end for end in ends if end.status == 2]
    assert all(f"being computed by process {workers[0]} on " in end.said for end in refused), refused
    assert len(refused) == n_runs - 1, [end.said for end in ends]
    assert state_of(data / base.folder) == base.whole
    return {"runs": n_runs, "refused": len(refused)}


def main(sweep: str, folder: Path, words: list[str]) -> dict[str, int]:
    folder.mkdir(parents=True, exist_ok=True)
    if sweep == "crash-1":
        return crash(real_base(folder, words), KILL, folder, step=9, sample=SAMPLE_OF_SLOW_ONES)
    if sweep == "crash-grade":
        return crash_grading(folder)
    if sweep in ("crash-8", "crash-9", "full-8", "full-9"):
        return crash(toy_base(sweep[-1], folder), KILL if sweep.startswith("crash") else FULL, folder)
    if sweep == "signals":
        return signals(toy_base("9", folder), folder)
    base = toy_base("9", folder)
    return {
        key: sum(each[key] for each in [together(base, 2, folder), together(base, 20, folder)])
        for key in ("runs", "refused")
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])))
