"""The layers of one server: prepared once, entered by every child just before it runs a program."""

import os
import signal
import sys
from dataclasses import asdict, dataclass
from typing import Any

from common.sandbox import landlock, libc, seccomp
from common.sandbox.limits import apply_limits, process_limits
from common.sandbox.programs import Limits

RLIMITS, SECCOMP, LANDLOCK, NAMESPACES = "rlimits", "seccomp", "landlock", "namespaces"
LAYERS = (RLIMITS, SECCOMP, LANDLOCK, NAMESPACES)  # level n has the first n + 1


@dataclass(frozen=True)
class Setup:
    """What a server is told at its start."""

    level: int
    limits: Limits
    home: str
    scratch: str

    @property
    def layers(self) -> tuple[str, ...]:
        return LAYERS[: self.level + 1]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Setup":
        return cls(**{**fields, "limits": Limits(**fields["limits"])})


class Confinement:
    """The layers of `setup`, without the namespaces, which a server enters once for all its children."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.limits = process_limits(setup.limits)
        self.filter: bytes | None = None
        self.ruleset: int | None = None
        if SECCOMP in setup.layers:
            self.filter = seccomp.build_filter(file_changes=LANDLOCK not in setup.layers)
        self.build_rules()

    def build_rules(self) -> None:
        """Landlock's rules name folders themselves, not their paths: a new scratch folder needs new rules."""
        if self.ruleset is not None:
            os.close(self.ruleset)
        if LANDLOCK in self.setup.layers:
            self.ruleset = landlock.build_ruleset(self.setup.home, self.setup.scratch)

    def enter(self, *descriptors: int) -> None:
        """Confine this process, for good. Keeps no descriptor open but `descriptors` and /dev/null.

        Raises: OSError when a layer fails. The order is the only one that works: limits while files
        can still be opened, Landlock and seccomp last because they refuse what sets up the others.
        """
        os.setpgid(0, 0)
        self._close_descriptors(descriptors)
        if sys.platform == "linux":
            libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        apply_limits(self.limits)
        os.chdir(self.setup.scratch)
        if sys.platform == "linux":
            libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        if self.setup.layers[-1] == LANDLOCK:  # so that the server sees what files it holds; it cannot see /proc itself
            libc.prctl(libc.PR_SET_DUMPABLE, 1)
        if self.ruleset is not None:
            landlock.restrict(self.ruleset)
            os.close(self.ruleset)
        if self.filter is not None:
            seccomp.install(self.filter)

    def _close_descriptors(self, kept_open: tuple[int, ...]) -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        kept = sorted({2, *kept_open} | ({self.ruleset} if self.ruleset is not None else set()))
        for below, above in zip(kept, [*kept[1:], MAX_DESCRIPTORS], strict=True):
            os.closerange(below + 1, above)


MAX_DESCRIPTORS = 1024  # servers lower their own limit to this, so that no higher one can exist


def make_undumpable() -> None:
    """Let no process of the same user trace this one or read its memory. Children inherit it, but see `enter`."""
    if sys.platform == "linux":
        libc.prctl(libc.PR_SET_DUMPABLE, 0)


def die_with_parent() -> None:
    """SIGKILL for this process when the thread that started it ends."""
    if sys.platform == "linux":
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
