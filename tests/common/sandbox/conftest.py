"""What the sandbox tests share: one open sandbox per level, and short ways to write programs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.errors import SandboxError
from common.sandbox import Limits, Program, Sandbox, Verdict
from common.sandbox.levels import choose_isolation

# Small enough for quick tests of programs that hang, large enough for a busy machine: CPU time does not
# depend on load.
QUICK = Limits(cpu_s=1.0, blocked_s=1.0, comparison_cpu_s=0.5)


def make_program(code: str, *tests: str, setup: str = "", entry_point: str | None = "f") -> Program:
    return Program(code, tests, entry_point, setup)


def open_sandbox(level: int, limits: Limits = QUICK, workers: int = 2) -> Sandbox:
    """A sandbox at exactly this level; skips where the machine refuses a layer of it."""
    sandbox = Sandbox("none" if level == 0 else "auto", workers, limits, at_most=level)
    if sandbox.isolation.level < level:
        sandbox.close()
        pytest.skip(f"this machine refuses level {level}: {sandbox.isolation.missing}")
    return sandbox


@pytest.fixture(scope="session")
def patient(best_level: int) -> Iterator[Sandbox]:
    """With the limits of a real run: what is right on the slowest machine is not hurried."""
    with open_sandbox(best_level, Limits()) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def program() -> Callable[..., Program]:
    """program(code, test, ...), whose function is called f unless `entry_point` says otherwise."""
    return make_program


@pytest.fixture(scope="session")
def open_at() -> Callable[..., Sandbox]:
    """open_at(level), for a sandbox of the test's own."""
    return open_sandbox


@pytest.fixture(scope="session")
def best_level() -> int:
    try:
        return choose_isolation("auto", QUICK, str(Path.home())).level
    except SandboxError:
        return 0


@pytest.fixture(scope="session", params=[1, 2, 3], ids="level {}".format)
def confined(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox at every level that confines programs at all."""
    with open_sandbox(request.param) as sandbox:
        yield sandbox


@pytest.fixture(scope="session", params=[2, 3], ids="level {}".format)
def with_files(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox at every level that confines files by place, and so has a scratch folder to write to."""
    with open_sandbox(request.param) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def sandbox(best_level: int) -> Iterator[Sandbox]:
    """A sandbox at the best level of this machine."""
    with open_sandbox(best_level) as opened:
        yield opened


@pytest.fixture(scope="session")
def judged(sandbox: Sandbox) -> Callable[..., Verdict]:
    """judged(code, test, ...) is the verdict on a program whose function is called f."""

    def judge(code: str, *tests: str, **options: str) -> Verdict:
        return sandbox.submit(make_program(code, *tests, **options)).result()

    return judge


@pytest.fixture(scope="session")
def mbpp(shared: Path) -> list[dict]:
    return [json.loads(line) for line in (shared / "mbpp" / "mbpp.jsonl").read_text().splitlines()]
