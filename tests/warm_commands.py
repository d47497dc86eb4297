"""Runs root scripts in processes of their own that need not import the libraries, which takes ten seconds.

    done = WarmCommands()("run.py", "phase", "1", "--model", "google/gemma-2-2b", home=cache)

One process imports the libraries, and nothing of this project. For each command it forks; the child executes the
script as `python3 run.py ...` does, from the reading of its words to its exit status. What a start costs, and that a
command imports what it needs, is tested with `support.cold_command`.

The interpreters that a launcher starts are lent in the same way, to `warm_python.py`.
"""

import atexit
import contextlib
import ctypes
import gc
import io
import json
import math
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent


class WarmCommands:
    """Root scripts, one at a time, without a network."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        self._own = {"HF_HUB_OFFLINE": "1", "HF_HOME": f"{self._folder.name}/home"}  # as libraries read them once
        self._own["OMP_NUM_THREADS"] = "1"  # without threads, a process may fork
        self.python = write_python(Path(self._folder.name))  # for who starts root scripts as sys.executable
        with socket.create_server(f"{self.python}.socket", family=socket.AF_UNIX) as listener:
            self._process = subprocess.Popen(
                [sys.executable, __file__, self.python, str(listener.fileno())],
                cwd=ROOT,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **self._own},
                pass_fds=[listener.fileno()],
            )

    def __call__(
        self, *words: object, home: Path | None = None, input: str = "", is_root: bool = True
    ) -> subprocess.CompletedProcess:
        """Run one. `home` holds the hub's cache, which is empty without it. `is_root`: who types it may be root."""
        with contextlib.ExitStack() as opened:
            files = [opened.enter_context(tempfile.NamedTemporaryFile("w+")) for _ in range(3)]
            print(input, end="", file=files[0], flush=True)
            status = self._run(words, [file.name for file in files], home, wait=True, is_root=is_root)
            return subprocess.CompletedProcess([*map(str, words)], status, *(file.read() for file in files[1:]))

    def start(self, *words: object, log: Path) -> "Started":
        """Run one that needs no hub while the test looks on; all that it writes is appended to `log`."""
        return Started(self._run(words, [os.devnull, str(log), str(log)], None, wait=False), self.ask)

    def _run(self, words: tuple, files: list[str], home: Path | None, wait: bool, is_root: bool = True) -> int:
        """Its exit status, or the number of its process."""
        self._move_to(home or Path(self._folder.name, "empty"))
        environment = {**os.environ, **self._own}
        argv = [*map(str, words)]
        return self.ask({"argv": argv, "files": files, "environment": environment, "is_root": is_root}, wait)

    def ask(self, *request: object) -> Any:
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def _move_to(self, home: Path) -> None:
        """Make HF_HOME that folder."""
        home.mkdir(parents=True, exist_ok=True)
        link = Path(self._own["HF_HOME"])
        link.unlink(missing_ok=True)
        link.symlink_to(home.resolve())

    def close(self) -> None:
        self._process.kill()  # it holds nothing but libraries, and would take them apart for seconds
        self._process.communicate()
        self._folder.cleanup()


class Started:
    """A process that is not ours to wait for; it has what the tests use of `subprocess.Popen`."""

    def __init__(self, pid: int, ask: Callable):
        self.pid, self.returncode, self._ask = pid, None, ask

    def poll(self) -> int | None:
        self.returncode = self._ask(self.pid, False) if self.returncode is None else self.returncode
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = math.inf) -> int:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(0.02)
        return self.returncode


def write_python(folder: Path) -> str:
    """A program of that folder that takes the words of `python`, and whose socket lies beside it."""
    python, words = folder / "python", (sys.executable, "-IS", Path(__file__).with_name("warm_python.py"))
    python.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$0.socket" "$@"\n')
    python.chmod(0o755)
    return str(python)


def serve(python: str, listener: socket.socket) -> None:
    """Read commands to fork, or numbers of processes, a line each, until the input ends; answer as `_run` says."""
    gc.disable()  # nothing that is imported is garbage
    import_libraries()
    gc.freeze(), gc.enable()  # a child that ends would look at all of it
    if os.fork() == 0:
        lend(listener)
    listener.close()
    for line in sys.stdin:
        what, wait = json.loads(line)
        pid = what if isinstance(what, int) else os.fork()
        if pid == 0:
            is_launcher = what["argv"][0] == "multi_gpu_launcher.py"
            files = [os.open(path, os.O_RDWR | os.O_APPEND) for path in what.pop("files")]
            become(**what, files=files, executable=python if is_launcher else sys.executable)
        if what == pid or wait:
            ended, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
            print(json.dumps(os.waitstatus_to_exitcode(status) if ended else None), flush=True)
        else:
            print(pid, flush=True)


def lend(listener: socket.socket) -> NoReturn:
    """Fork a process for each `warm_python.py` that connects, as long as the process lives that this one came from."""
    die_with_parent()
    os.close(0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that look after one process each
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            stand_behind(connection)
        connection.close()


def stand_behind(connection: socket.socket) -> NoReturn:
    """Fork the process that was asked for, and end it if who asked is gone; say its number, and how it ended."""
    text, files, *_ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as lines:
        asked = json.loads(text + lines.readline())
    pid = os.fork()
    if pid == 0:
        connection.close()
        if asked["leads"]:
            os.setsid()
        os.chdir(asked["folder"])
        become(asked["argv"], files, asked["environment"], is_root=True, executable=sys.executable)
    for file in files:
        os.close(file)
    connection.sendall(f"{pid}\n".encode())
    ended = os.pidfd_open(pid)
    if ended not in select.select([connection, ended], [], [])[0]:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        connection.sendall(f"{status}\n".encode())
    os._exit(0)


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def import_libraries() -> None:
    import datasets  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import sae_lens
    import scipy.stats  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import sklearn.model_selection  # noqa: F401
    from sae_lens.loading import pretrained_saes_directory
    from transformers import Gemma2ForCausalLM, Gemma3ForCausalLM, LlamaForCausalLM, Qwen3ForCausalLM  # noqa: F401
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    with contextlib.suppress(ImportError):  # which only the service needs
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    assert sae_lens.SAE.from_pretrained  # which is not imported before it is asked for
    pretrained_saes_directory.get_pretrained_saes_directory()  # a table of two seconds, kept by the library
    get_checkpoint_conversion_mapping("gemma2")  # a table of a second, likewise
    draw_a_figure()


def draw_a_figure() -> None:
    """So that matplotlib has found its fonts and built its grammar of formulas, which takes two seconds."""
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    figure.subplots().loglog([1, 1000], [1, 1000])
    figure.savefig(io.BytesIO(), format="png")


def become(argv: list[str], files: list[int], environment: dict[str, str], is_root: bool, executable: str) -> NoReturn:
    """Make this process that of `python3 ARGV`, with its input and output in files."""
    if not is_root:
        obey_file_modes()
    for descriptor, file in enumerate(files):
        os.dup2(file, descriptor)
    sys.executable = executable
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.path[0] = argv, str(ROOT)
    status = 0
    try:
        runpy.run_path(str(ROOT / argv[0]), run_name="__main__")
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()  # from here on as the interpreter ends, but the libraries are not taken apart: half a second
    atexit._run_exitfuncs()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(status)


def obey_file_modes() -> None:
    """Take from root, for good, the right to write everywhere; anybody else has no such right."""
    if os.geteuid() == 0:
        libc, dac_override, drop_from_bounding_set = ctypes.CDLL(None), 1, 24
        header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert libc.capget(header, sets) == 0
        for place in range(3):  # effective, permitted, inheritable: the last would give it to a child
            sets[place] &= ~(1 << dac_override)
        assert libc.prctl(drop_from_bounding_set, dac_override, 0, 0, 0) == 0 and libc.capset(header, sets) == 0


if __name__ == "__main__":
    serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
