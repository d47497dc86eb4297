"""Start one of the sandbox's own processes: a lean Python that inherits nothing of this one."""

import subprocess
import sys
from pathlib import Path
from typing import IO

from common.errors import SandboxError

_ROOT = Path(__file__).resolve().parents[2]
# Not `-I`, which ignores PYTHONHASHSEED. The repository leaves the path again before any program runs.
_OPTIONS = ("-s", "-P", "-X", "utf8", "-W", "ignore")
# Of the sandbox's own modules bytecode is kept, or each start would compile them; of what comes later, none.
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from common.sandbox.{} import main; "
    "del sys.path[0]; sys.dont_write_bytecode = True; main()"
)


def environment(folder: str) -> dict[str, str]:
    """The whole environment of the new process; `folder` is its home and its place for temporary files."""
    return {
        "PYTHONHASHSEED": "0",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",  # with more, threads reserve so much address space that RLIMIT_AS stops them
        "PATH": "/nonexistent",
        "HOME": folder,
        "TMPDIR": folder,
    }


class Piped(subprocess.Popen[bytes]):
    """A process with pipes on descriptors 0 and 1."""

    stdin: IO[bytes]
    stdout: IO[bytes]


def start(
    module: str, folder: str, stderr: IO[bytes] | int, new_session: bool, inherited: tuple[int, ...] = ()
) -> Piped:
    """`common.sandbox.<module>.main()` in an interpreter of its own, with pipes on descriptors 0 and 1.

    `inherited`: further descriptors that it keeps, under their numbers.

    In a session of its own (`new_session`) the process gets no Ctrl-C from the terminal: the pipeline
    decides when a program in the middle of its run is given up.
    """
    if not sys.executable:
        raise SandboxError(
            f"the sandbox finds no Python: sys.executable is {sys.executable!r}\nRun under a python command"
        )
    # A virtual environment that is reached through a link under the home or /tmp would be out of sight once inside.
    executable = Path(sys.executable).parent.resolve() / Path(sys.executable).name
    return Piped(
        [executable, *_OPTIONS, *(["-B"] if sys.dont_write_bytecode else []), "-c", _START.format(module), str(_ROOT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environment(folder),
        cwd="/",
        close_fds=True,
        pass_fds=inherited,
        start_new_session=new_session,
        bufsize=0,
    )
