"""A real Slurm of one node on loopback, for tests: its own munged, slurmctld and slurmd, and nothing left behind.

Needs root and the Debian packages slurm-wlm and munge. Other Slurm on the machine is not touched.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "srun")
START_S, END_S = 30, 30
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class NoSlurm(Exception):
    """Slurm cannot be started here, and why."""


def why_not() -> str | None:
    """The reason why no Slurm can be started here, and what to type; None when it can be tried."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
    if missing:
        install = "apt-get install --no-install-recommends slurm-wlm munge"
        return f"Slurm is not installed ({missing[0]} is missing); as root: {install}"
    return None if os.geteuid() == 0 else "Slurm's daemons are started by root only"


@contextlib.contextmanager
def one_node_slurm() -> Iterator[dict[str, str]]:
    """Start Slurm; yields the environment in which sbatch finds it. Raises: NoSlurm."""
    folder = Path(tempfile.mkdtemp(prefix="slurm_", dir="/tmp"))  # a socket's path must be short
    daemons: list[subprocess.Popen] = []
    environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(_configure(folder))}
    try:
        munge = ["--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={folder}/munge.key"]
        munge += [f"--{name}-file={folder}/munge.{name}" for name in ("log", "pid", "seed")]
        for words in (["munged", *munge], ["slurmctld", "-D"], ["slurmd", "-D", "-N", _host()]):
            with open(folder / f"{words[0]}.out", "w") as out:
                daemons.append(subprocess.Popen(words, env=environment, stdout=out, stderr=out))
            if words[0] == "munged":
                _wait_until(lambda: (folder / "munge.socket").exists(), daemons, folder)
        _wait_until(lambda: "idle" in _type(environment, "sinfo", "--noheader", "--format=%T"), daemons, folder)
        yield environment
    finally:
        with contextlib.suppress(NoSlurm):
            _type(environment, "scancel", "--user=root")
            _wait_until(lambda: not _type(environment, "squeue", "--noheader"), daemons, folder, END_S)
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path) -> Path:
    """Write slurm.conf and munge's key."""
    folder.chmod(0o755)  # munge wants nobody else to write there
    for name in ("state", "spool"):
        (folder / name).mkdir()
    text = (Path(__file__).parent / "slurm.conf").read_text()
    names = {"HOST": _host(), "FOLDER": folder, "CTLD_PORT": _free_port(), "SLURMD_PORT": _free_port()}
    for name, value in names.items():
        text = text.replace(f"@{name}@", str(value))
    (folder / "slurm.conf").write_text(text)
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    return folder / "slurm.conf"


def _host() -> str:
    return socket.gethostname().split(".")[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _type(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(words, env=environment, text=True, capture_output=True, timeout=30, check=False)
    return done.stdout.strip()


def _wait_until(holds, daemons: list[subprocess.Popen], folder: Path, seconds: float = START_S) -> None:
    """Raises: NoSlurm, with a daemon's last words, when one ends or time is over."""
    deadline = time.monotonic() + seconds
    while not holds():
        ended = [daemon.args[0] for daemon in daemons if daemon.poll() is not None]
        if ended or time.monotonic() > deadline:
            name = ended[0] if ended else daemons[-1].args[0]
            words = (folder / f"{name}.out").read_text(errors="replace").strip().splitlines()
            raise NoSlurm(f"{name} does not work here: {words[-1] if words else 'it says nothing'}")
        time.sleep(0.2)
