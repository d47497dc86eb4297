"""Choose the isolation level, and say in one line what it is."""

import functools
import platform
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from typing import Any

from common.errors import SandboxError
from common.sandbox import framing, interpreter
from common.sandbox.confinement import LAYERS, NAMESPACES, RLIMITS
from common.sandbox.programs import MIB, Limits

BEST_LEVEL = 3
ISOLATIONS = ("auto", "strict", "none")


@dataclass(frozen=True)
class Isolation:
    """The level in use, its layers, and why the layers beyond it are missing."""

    level: int
    layers: tuple[str, ...]
    missing: dict[str, str]

    def line(self, limits: Limits) -> str:
        """`sandbox: level 2/3 (...); cpu 10 s, blocked 10 s, memory 1 GiB; python 3.11, hash seed 0`."""
        python = ".".join(platform.python_version_tuple()[:2])
        absent = "".join(f"; no {layer}: {reason}" for layer, reason in self.missing.items())
        return (
            f"sandbox: level {self.level}/{BEST_LEVEL} ({', '.join(self.layers)}{absent}); "
            f"cpu {limits.cpu_s:g} s, blocked {limits.blocked_s:g} s, "
            f"memory {limits.memory_bytes / (1024 * MIB):g} GiB; "
            f"python {python}, hash seed 0"
        )


def choose_isolation(isolation: str, limits: Limits, home: str, at_most: int = BEST_LEVEL) -> Isolation:
    """The best level this machine enforces, as far as `isolation` and `at_most` want it.

    Raises: SandboxError when `strict` cannot be had, or when `auto` would be no isolation at all.
    """
    if isolation not in ISOLATIONS:
        raise SandboxError(
            f"no sandbox setting is called {isolation!r}\nValid settings are --sandbox {', '.join(ISOLATIONS)}"
        )
    report = _probe(limits, home)
    missing: dict[str, str] = dict(report["missing"])
    if RLIMITS in missing:
        raise SandboxError(
            f"the sandbox cannot limit a program's memory and CPU time here: {missing[RLIMITS]}\n"
            "Run on Linux, with a hard limit (ulimit -H -v) that is not below the memory limit"
        )
    level = 0 if isolation == "none" else min(report["level"], at_most)
    if isolation == "strict" and level < BEST_LEVEL:
        layer = next((name for name in LAYERS if name in missing), NAMESPACES)
        reason = missing.get(layer, "not asked for")
        raise SandboxError(
            f"--sandbox strict needs the layer {layer}, which this machine refuses: {reason}\n"
            f"Take the best level there is (here {level}/{BEST_LEVEL}) with: --sandbox auto"
        )
    if isolation == "auto" and level == 0 and at_most > 0:
        reasons = "; ".join(f"{layer}: {reason}" for layer, reason in missing.items())
        raise SandboxError(
            f"the sandbox finds no isolation on this machine ({reasons})\n"
            "To run programs all the same, with nothing but limits around them: --sandbox none"
        )
    layers = [f"{name} {report['notes'][name]}" if name in report["notes"] else name for name in LAYERS[: level + 1]]
    for name in LAYERS[level + 1 :]:
        missing.setdefault(name, "not asked for")
    return Isolation(level, tuple(layers), {name: missing[name] for name in LAYERS[level + 1 :]})


@functools.cache  # a machine does not change while a process runs
def _probe(limits: Limits, home: str) -> dict[str, Any]:
    process = interpreter.start("probe", tempfile.gettempdir(), stderr=subprocess.DEVNULL, new_session=True)
    with process:
        try:
            framing.send(process.stdin.fileno(), {"limits": asdict(limits), "home": home})
            return framing.receive(process.stdout.fileno())
        except framing.ChannelClosed as error:
            process.kill()
            raise SandboxError(
                f"the sandbox's probe of this machine ended early, status {process.wait()}\n"
                "To run programs all the same, with nothing but limits around them: --sandbox none"
            ) from error
