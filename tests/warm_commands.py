"""Runs root scripts in processes of their own that need not import the libraries, which takes ten seconds.

    done = WarmCommands()("run.py", "phase", "1", "--model", "google/gemma-2-2b", home=cache)

One process imports the libraries, and nothing of this project. For each command it forks; the child executes the
script as `python3 run.py ...` does, from the reading of its words to its exit status. What a start costs, and that a
command imports what it needs, is tested with `support.cold_command`.
"""

import atexit
import gc
import json
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent


class WarmCommands:
    """Root scripts, one at a time, without a network."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        self._own = {"HF_HUB_OFFLINE": "1", "HF_HOME": f"{self._folder.name}/home"}  # as libraries read them once
        self._own["OMP_NUM_THREADS"] = "1"  # without threads, a process may fork
        self._process = subprocess.Popen(
            [sys.executable, __file__], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, **self._own},
        )  # fmt: skip

    def __call__(self, *words: object, home: Path | None = None, input: str = "") -> subprocess.CompletedProcess:
        """Run one. `home` holds the hub's cache, which is empty without it."""
        self._move_to(home or Path(self._folder.name, "empty"))
        argv, files = [str(word) for word in words], [tempfile.NamedTemporaryFile("w+") for _ in range(3)]
        stdin, stdout, stderr = files
        print(input, end="", file=stdin, flush=True)
        request = {"argv": argv, "files": [file.name for file in files], "environment": {**os.environ, **self._own}}
        print(json.dumps(request), file=self._process.stdin, flush=True)
        status = json.loads(self._process.stdout.readline())
        done = subprocess.CompletedProcess(argv, status, stdout.read(), stderr.read())
        for file in files:
            file.close()
        return done

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


def serve() -> None:
    """Read commands, a line each, until the input ends; answer with the exit status of each."""
    import_libraries()
    gc.freeze()  # a child that ends would look at all of it
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            become(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def import_libraries() -> None:
    import matplotlib.pyplot  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import sae_lens
    import scipy.stats  # noqa: F401
    from sae_lens.loading import pretrained_saes_directory
    from transformers import Gemma2ForCausalLM, Gemma3ForCausalLM, LlamaForCausalLM, Qwen3ForCausalLM  # noqa: F401

    assert sae_lens.SAE.from_pretrained  # which is not imported before it is asked for
    pretrained_saes_directory.get_pretrained_saes_directory()  # a table of two seconds, kept by the library


def become(argv: list[str], files: list[str], environment: dict[str, str]) -> NoReturn:
    """Make this process that of `python3 ARGV`, with its input and output in files."""
    for descriptor, path in enumerate(files):
        os.dup2(os.open(path, os.O_RDWR), descriptor)
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


if __name__ == "__main__":
    serve()
