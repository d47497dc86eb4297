"""What goes into the sandbox: a program with its tests, and the limits it runs under."""

from dataclasses import dataclass, fields

from common.errors import SandboxError

MIB = 1 << 20


@dataclass(frozen=True)
class Program:
    """A program to judge. `setup` runs after the code (it may use its classes) and before the tests.

    `reference` is a solution that the tests may call by that name, beside the program; it runs apart from both.
    """

    code: str
    tests: tuple[str, ...]
    entry_point: str | None
    setup: str = ""
    reference: str = ""


@dataclass(frozen=True)
class Limits:
    """Limits of one program, chosen so that a loaded machine changes no label.

    Time is CPU time and blocked time (neither running nor waiting for a core), never elapsed
    time alone: one MBPP reference needs 2 to 8 s of CPU, and elapsed time grows with load.
    """

    cpu_s: float = 10.0
    blocked_s: float = 10.0
    memory_bytes: int = 1024 * MIB  # address space of the program
    answer_bytes: int = 16 * MIB  # everything it may send back
    file_bytes: int = 16 * MIB  # largest file it may write
    scratch_bytes: int = 64 * MIB  # all files of its scratch folder together
    threads: int = 256
    open_files: int = 64
    comparison_cpu_s: float = 5.0  # the judge's own work on the values of one program

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value <= 0:
                raise SandboxError(
                    f"sandbox limit {field.name} must be above 0, is {value!r}\n"
                    f"Leave it out for the default, {field.default:g}"
                )

    @property
    def wall_s(self) -> float:
        """Elapsed time after which a program is stopped whatever the clocks of the kernel say."""
        return 20 * max(self.blocked_s, self.cpu_s)
