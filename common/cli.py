"""What the root scripts share: one kind of parser, one log, and errors that are one message."""

import argparse
import errno
import logging
import logging.handlers
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from common.errors import ConfigError, PipelineError, suggestion
from common.stopping import ignore_further_signals, lose_no_interrupt

CLOSED_PIPE = 128 + signal.SIGPIPE  # as of any command whose reader had enough
DISK_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


class Parser(argparse.ArgumentParser):
    """argparse, whose complaints are ours: one message, no usage block, exit 2."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> None:
        flags = [flag for action in self._actions for flag in action.option_strings]
        words = {word.split("=")[0] for word in message.split() if word.startswith("--")} - {*flags}
        hints = [suggestion(word, flags) for word in sorted(words) if message.startswith("unrecognized")]
        raise ConfigError(f"{message}.{''.join(hints)}\nSee: python3 {self.prog} --help")


def add_sandbox_flags(parser: Parser) -> None:
    parser.add_argument("--sandbox", default="auto", help="auto (the best level here) | strict | none (default: auto)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="programs at a time (default: cores)")


def sandbox_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What was given of `add_sandbox_flags`. Raises: ConfigError."""
    if args.sandbox not in ("auto", "strict", "none"):
        raise ConfigError(f"--sandbox is '{args.sandbox}'\nGive one of: auto, strict, none")
    if args.workers < 1:
        raise ConfigError(f"--workers is {args.workers}\nGive 1 or more")
    return {"isolation": args.sandbox, "workers": args.workers}


def new_log() -> logging.Logger:
    """The log of one run: to the terminal, and held for the log.txt of the run's folder until that is chosen."""
    log = logging.getLogger("pva_sae")
    log.setLevel(logging.INFO)
    log.propagate = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    handler.addFilter(lambda record: not getattr(record, "only_in_file", False))
    # What is said before a run folder is chosen waits here, for the folder's log.txt.
    early = logging.handlers.MemoryHandler(capacity=1000, flushLevel=logging.CRITICAL + 1)
    log.handlers[:] = [handler, early]
    return log


def exit_with(main: Callable[[list[str]], int]) -> NoReturn:
    """Run a root script's main: errors that a user can mend are one message and status 2."""
    lose_no_interrupt()
    try:
        sys.exit(_said(main))
    except BrokenPipeError:
        # What is still held back would break the pipe again at the very end, where Python complains of it.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        sys.exit(CLOSED_PIPE)
    except PipelineError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except OSError as error:
        if _is_an_interrupt(error):
            _stopped_at_once()
        if error.errno not in DISK_REFUSALS:
            raise
        where = f": {error.filename}" if error.filename else ""
        sys.stderr.write(
            f"error: {error.strerror}{where}\nMake room there, or choose another disk, and give the same command "
            "again: what is saved is kept\n"
        )
        sys.exit(2)
    except KeyboardInterrupt:
        _stopped_at_once()
    except RuntimeError as error:
        if not _is_an_interrupt(error):
            raise
        _stopped_at_once()


def _is_an_interrupt(error: OSError | RuntimeError) -> bool:
    """Whether Python's own code made this of an interrupt.

    Up to 3.11 it wraps what is raised while a class is made (in __set_name__), and shutil.rmtree, interrupted as it
    closes a folder, closes it twice.
    """
    return isinstance(error.__cause__ or error.__context__, KeyboardInterrupt)


def _stopped_at_once() -> NoReturn:
    ignore_further_signals()
    sys.stderr.write("\nstopped at once; what was saved before is kept\n")
    sys.exit(130)


def _said(main: Callable[[list[str]], int]) -> int | str | None:
    """The exit status of `main`, once all that it printed is out. Raises: BrokenPipeError when nobody reads it."""
    try:
        return main(sys.argv[1:])
    except SystemExit as done:  # argparse's own, after --help
        return done.code
    finally:
        sys.stdout.flush()
