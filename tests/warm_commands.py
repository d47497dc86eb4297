"""Runs commands of run.py in processes of their own that need not import the libraries, which takes ten seconds.

    with WarmCommands(home) as run_py:
        done = run_py("phase", "1", "--model", "google/gemma-2-2b")

One process imports the libraries, and nothing of this project. For each command it forks; the child executes
run.py as `python3 run.py ...` does, from the reading of its words to its exit status.
"""

import gc
import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}  # without threads, a process may fork


class WarmCommands:
    """Root commands, one at a time, without a network; `home` holds the hub's cache."""

    def __init__(self, home: Path):
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ENVIRONMENT, "HF_HOME": str(home)},
        )

    def __call__(self, *words: object) -> subprocess.CompletedProcess:
        argv = [str(word) for word in words]
        with tempfile.NamedTemporaryFile("r") as stdout, tempfile.NamedTemporaryFile("r") as stderr:
            print(json.dumps([argv, stdout.name, stderr.name]), file=self._process.stdin, flush=True)
            status = json.loads(self._process.stdout.readline())
            return subprocess.CompletedProcess(argv, status, stdout.read(), stderr.read())

    def __enter__(self) -> "WarmCommands":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # it holds nothing but libraries, and would take them apart for seconds
        self._process.communicate()


def serve() -> None:
    """Read commands, a line each, until the input ends; answer with the exit status of each."""
    import_libraries()
    gc.freeze()  # a child that ends would look at all of it
    for line in sys.stdin:
        argv, stdout, stderr = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become(argv, stdout, stderr)
            return
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


def become(argv: list[str], stdout: str, stderr: str) -> None:
    """Make this process that of `python3 run.py ...`, with its output in files."""
    for descriptor, path in enumerate((os.devnull, stdout, stderr)):
        os.dup2(os.open(path, os.O_RDWR), descriptor)
    sys.argv, sys.path[0] = ["run.py", *argv], str(ROOT)
    runpy.run_path(str(ROOT / "run.py"), run_name="__main__")


if __name__ == "__main__":
    serve()
