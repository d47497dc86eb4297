"""What this machine can enforce, found by doing each forbidden act in a throw-away child.

Never by looking: a kernel can know Landlock and have it switched off, and Ubuntu's AppArmor lets unshare
succeed and then refuses the map of user ids. Runs as its own process, before any server.
"""

import fcntl
import importlib
import os
import resource
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from common.sandbox import framing, landlock, libc, namespaces, scratch, seccomp, syscalls
from common.sandbox.confinement import LANDLOCK, NAMESPACES, RLIMITS, SECCOMP, Confinement, Setup, make_undumpable
from common.sandbox.limits import apply_limits, process_limits
from common.sandbox.programs import Limits
from common.sandbox.server import OFFERED_MODULES

_PATIENCE_S = 30
_REPORT_FD = 200
# Modules that a program may import and that the server did not: they need files, so layers can hide them.
ALSO_IMPORTED = (
    "asyncio csv email hashlib queue shutil socket sqlite3 ssl tempfile threading unittest uuid "
    "xml.etree.ElementTree zoneinfo"
).split()


class NotEnforced(Exception):
    """A forbidden act succeeded."""


def main() -> NoReturn:
    """Read {limits, home}, reply {level, missing: {layer: reason}, notes: {layer: detail}}."""
    config = framing.receive(0)
    limits, home = Limits(**config["limits"]), config["home"]
    folder = scratch.make()
    try:
        framing.send(1, Probe(limits, home, folder).report())
    finally:
        scratch.remove(folder)
    os._exit(0)


class Probe:
    """Tries each layer alone, then the whole set-up of the best level, and where that fails of those below it."""

    def __init__(self, limits: Limits, home: str, folder: str) -> None:
        self.limits, self.home = limits, home
        self.outside = Path(folder, "outside.txt")
        self.outside.write_text("untouched")
        self.scratch = str(Path(folder, "scratch"))
        os.mkdir(self.scratch)
        # A Python built without sqlite3 lacks it with any layers and with none.
        self.importable = ALSO_IMPORTED if _imports(*ALSO_IMPORTED) else [*filter(_imports, ALSO_IMPORTED)]

    def report(self) -> dict[str, Any]:
        acts = {
            RLIMITS: self.try_rlimits,
            SECCOMP: self.try_seccomp,
            LANDLOCK: self.try_landlock,
            NAMESPACES: self.try_namespaces,
        }
        reasons = {layer: in_throw_away_child(act) for layer, act in acts.items()}
        missing = {layer: reason for layer, reason in reasons.items() if reason}
        level = self.best_level(missing)
        notes = {} if LANDLOCK in missing else {LANDLOCK: f"v{landlock.version()}"}
        return {"missing": missing, "notes": notes, "level": level}

    def best_level(self, missing: dict[str, str]) -> int:
        """The best level whose layers work together; notes in `missing` the first that does not."""
        layers = (SECCOMP, LANDLOCK, NAMESPACES)
        if not missing.keys() & layers and not in_throw_away_child(lambda: self.try_level(len(layers))):
            return len(layers)  # where all work together, as they do nearly everywhere, fewer need no try
        for number, layer in enumerate(layers, start=1):
            if layer in missing:
                return number - 1
            if reason := in_throw_away_child(lambda number=number: self.try_level(number)):
                missing[layer] = f"together with the other layers: {reason}"
                return number - 1
        return len(layers)

    def try_rlimits(self) -> None:
        apply_limits(process_limits(self.limits))
        allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
        if allowed != self.limits.memory_bytes:
            raise NotEnforced(f"a hard limit of {allowed} bytes of address space is below {self.limits.memory_bytes}")
        _must_fail("taking more memory than allowed", lambda: bytearray(self.limits.memory_bytes))
        higher = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        _must_fail("raising a limit", lambda: resource.setrlimit(resource.RLIMIT_AS, higher))

    def try_seccomp(self) -> None:
        machine = os.uname().machine
        if not syscalls.is_known(machine):
            raise NotEnforced(f"no table of system calls for {machine}")
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        seccomp.install(seccomp.build_filter(file_changes=True))
        _must_fail("a socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        _must_fail("a signal to another process", lambda: os.kill(os.getppid(), 0))
        _must_fail("a signal to another process at input", lambda: fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid()))
        _must_fail("another program", lambda: os.execv(sys.executable, [sys.executable, "-c", ""]))
        _must_fail("another process", _fork_and_end)
        _must_fail("changing a file", lambda: self.outside.write_text("touched"))
        _must_fail("removing a file", self.outside.unlink)
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()

    def try_landlock(self) -> None:
        ruleset = landlock.build_ruleset(self.home, self.scratch)
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        landlock.restrict(ruleset)
        self.must_not_reach_outside()
        Path(self.scratch, "inside.txt").write_text("allowed")

    def try_namespaces(self) -> None:
        outer = os.getppid()
        namespaces.enter(self.home, namespaces.SCRATCH)
        _must_fail("seeing another process", lambda: os.kill(outer, 0))
        _must_fail("changing a file", lambda: self.outside.write_text("touched"))
        _must_fail("changing the root folder", lambda: Path("/pva-sandbox-probe").write_text("touched"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outgoing:
            _must_fail("a way to the network", lambda: outgoing.connect(("192.0.2.1", 9)))  # a test address
        Path(namespaces.SCRATCH, "inside.txt").write_text("allowed")

    def try_level(self, level: int) -> None:
        """The whole set-up, exactly as a program gets it, with every module that programs are offered."""
        folder = self.scratch
        if level == 3:
            folder = namespaces.SCRATCH
            namespaces.enter(self.home, folder)
            scratch.InMemory(folder, self.limits)
        make_undumpable()
        confinement = Confinement(Setup(level, self.limits, self.home, folder))
        confinement.enter(_REPORT_FD)
        if level >= 2:
            self.must_not_reach_outside()
            Path("inside.txt").write_text("allowed")
        _must_fail("a socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        for name in (*OFFERED_MODULES, *self.importable):
            importlib.import_module(name)

    def must_not_reach_outside(self) -> None:
        _must_fail("reading a file", self.outside.read_text)
        _must_fail("changing a file", lambda: self.outside.write_text("touched"))


def in_throw_away_child(act: Callable[[], object]) -> str:
    """Why `act` failed in a forked child; an empty text when it did all it should."""
    report, result = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(report)
        os.dup2(result, _REPORT_FD)
        try:
            act()
            os.write(_REPORT_FD, b"done")
        except BaseException as error:  # the reason is what we want to know
            os.write(_REPORT_FD, f"failed{_reason(error)}".encode())
        os._exit(0)
    os.close(result)
    text = ""
    while select.select([report], [], [], _PATIENCE_S)[0] and (chunk := os.read(report, 4096)):
        text += chunk.decode("utf-8", "replace")
    os.close(report)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if text == "done":
        return ""
    return text.removeprefix("failed") or f"the probe ended with status {os.waitstatus_to_exitcode(status)}"


def _imports(*names: str) -> bool:
    """Whether all of these modules can be imported, without any layer."""
    return not in_throw_away_child(lambda: [importlib.import_module(name) for name in names])


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno:
        return str(error.strerror or error)
    return str(error) or type(error).__name__


def _must_fail(what: str, act: Callable[[], object]) -> None:
    try:
        act()
    except (OSError, ValueError, MemoryError):
        return
    raise NotEnforced(f"{what} was not refused")


def _fork_and_end() -> None:
    if os.fork() == 0:
        os._exit(0)
