#!/usr/bin/env python3
"""PVA-SAE: does a code model know that the Python it is about to write is wrong?

  python3 run.py phase                    list the phases
  python3 run.py phase 1                  run phase 1, or continue it where it stopped
  python3 run.py phase 1 --help           its settings, with units and defaults
  python3 run.py phase 1 --preset demo    on the model organism: no network, no GPU
  python3 run.py status                   what is built, stale, unfinished or missing
  python3 run.py grade PROGRAMS.jsonl --out VERDICTS.jsonl    judge programs from any tool
  python3 run.py doctor [--full]          does this machine judge programs rightly?
  python3 run.py test-gpu [--detailed]    devices, memory, number types, a small matrix product

A run saves as it goes. Stop it at any time and give the same command again.
"""

import argparse
import importlib
import logging
import logging.handlers
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

try:
    import filelock  # noqa: F401 - the first package that is not Python's own
except ModuleNotFoundError:
    print("error: the packages are not installed for this Python\nType: . .venv/bin/activate   "
          "(make demo and make test build .venv if it is missing)", file=sys.stderr)  # fmt: skip
    sys.exit(2)

from common.artifacts import AlreadyBuilt
from common.config import PRESETS, ModelConfig, add_flags, build_config, differences_from_preset, suggestion, typed
from common.devices import check_device_name, resolve_device
from common.errors import ConfigError, PipelineError
from common.phase import Phase, RunContext, check_phase_takes_slices
from common.stopping import Stopped, StopRequest

PHASES = {  # id -> folder, in the order a full run takes
    "0": "phase0_difficulty",
    "0.1": "phase0_1_split",
    "1": "phase1_dataset_building",
}


class Parser(argparse.ArgumentParser):
    """argparse, whose complaints are ours: one message, no usage block, exit 2."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> None:
        flags = [flag for action in self._actions for flag in action.option_strings]
        words = {word.split("=")[0] for word in message.split() if word.startswith("--")} - {*flags}
        hints = [suggestion(word, flags) for word in sorted(words) if message.startswith("unrecognized")]
        raise ConfigError(f"{message}.{''.join(hints)}\nSee: python3 {self.prog} --help")


def load_phase(phase_id: str) -> Phase:
    """The PHASE of one phase folder. Raises: ConfigError, naming the phases there are."""
    if phase_id not in PHASES:
        raise ConfigError(f"there is no phase '{phase_id}'\nGive one of: {', '.join(PHASES)}")
    return importlib.import_module(f"{PHASES[phase_id]}.phase").PHASE


def phase_parser(phase: Phase) -> Parser:
    """The flags of one phase; those that mean nothing to it are refused, but not shown."""
    parser = Parser(prog=f"run.py phase {phase.id}", description=f"Phase {phase.id}: {phase.title}.")
    where = parser.add_argument_group("where and how much")

    def shown(means_something: object, text: str) -> str:
        return text if means_something else argparse.SUPPRESS

    presets = "; ".join(f"{name}: {meaning}" for name, meaning in PRESETS.items())
    where.add_argument("--preset", default="full", help=f"settings to start from; {presets} (default: full)")
    where.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of all artifacts (default: data)")
    text = "use this run folder, or a file in it, instead of the newest; repeatable"
    where.add_argument("--input", type=Path, action="append", default=[], help=shown(phase.inputs, text))
    text = "auto | cpu | cuda | mps (default: auto)"
    where.add_argument("--device", default="auto", help=shown(issubclass(phase.config, ModelConfig), text))
    text = "first record, 0-based (default: 0)"
    where.add_argument("--start", type=int, default=0, help=shown(phase.n_records, text))
    text = "last record, included (default: the last one)"
    where.add_argument("--end", type=int, default=None, help=shown(phase.n_records, text))
    where.add_argument("--fresh", action="store_true", help="start over, instead of continuing an unfinished run")
    where.add_argument("--dry-run", action="store_true", help="show what would be done, and write nothing")
    add_flags(parser, phase.config)
    return parser


def context_for(phase: Phase, argv: list[str]) -> tuple[RunContext, argparse.Namespace]:
    """Read the flags of one phase. Raises: ConfigError."""
    args = phase_parser(phase).parse_args(argv)
    check_phase_takes_slices(phase, args.start, args.end)
    config = build_config(phase.config, args.preset, vars(args))
    context = RunContext(
        phase=phase, config=config, preset=args.preset, data_dir=args.data_dir, log=_logger(),
        device=resolve_device(args.device) if isinstance(config, ModelConfig) else check_device_name(args.device),
        command=shlex.join(["python3", "run.py", "phase", phase.id, *_lasting_words(argv)]),
        start=args.start, end=args.end, fresh=args.fresh, given_inputs=tuple(args.input),
    )  # fmt: skip
    return context, args


def _lasting_words(argv: list[str]) -> list[str]:
    """The flags that continue a run: no slice, nothing that begins it anew, and not where the data are today."""
    kept, skip = [], False
    for word in argv:
        if not skip and word.split("=")[0] not in ("--start", "--end", "--data-dir", "--fresh", "--dry-run"):
            kept.append(word)
        skip = word in ("--start", "--end", "--data-dir")
    return kept


def run_phase(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        return list_phases()
    context, args = context_for(load_phase(argv[0]), argv[1:])
    _say_what_runs(context)
    if args.dry_run:
        return dry_run(context)
    context.stop.listen(context.log)
    try:
        context.pick_inputs()
        context.phase.run(context, context.config)
        return 0
    except AlreadyBuilt as built:
        context.log.info("already built, with these settings and inputs: %s (--fresh builds it again)", built.path)
        return 0
    except Stopped:
        context.log.warning("stopped; everything computed is saved. Continue with: %s", context.again)
    except KeyboardInterrupt:
        context.log.warning("stopped at once; what was saved is kept. Continue with: %s", context.again)
    except PipelineError as error:
        context.log.error("%s", error, extra={"only_in_file": True})  # whoever runs it at night reads the file
        context.forget_empty_runs()
        raise
    context.forget_empty_runs()
    return 130


def dry_run(context: RunContext) -> int:
    """Say what the command would read and write."""
    context.pick_inputs()
    try:
        path = context.target()
    except AlreadyBuilt as built:
        print(f"nothing to do: {built.path} is finished")
        return 0
    print(f"it would {'continue' if path.exists() else 'begin'} {path}")
    return 0


def list_phases() -> int:
    print("usage: run.py phase ID [flags]; each has its own --help\n")
    for phase_id in PHASES:
        phase = load_phase(phase_id)
        needs = " and ".join(f"phase {handoff.phase}" for handoff in phase.inputs) or "nothing"
        print(f"{phase.id:>5}  {phase.title}")
        print(f"       needs {needs}; builds data/{phase.output.folder}/")
    return 0


def status(argv: list[str]) -> int:
    from common.handoffs import HANDOFFS
    from common.status import status_lines

    parser = Parser(prog="run.py status", description="What is built, stale, unfinished or missing, per experiment.")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of all artifacts (default: data)")
    args = parser.parse_args(argv)
    for line in status_lines(HANDOFFS, args.data_dir):
        print(f"phase {line.phase:<4} {line.state:<11} {line.experiment}{'  ' * bool(line.detail)}{line.detail}")
        if line.path is not None:
            print(f"           {line.path}")
        if line.command is not None:
            print(f"           next: {line.command}")
    return 0


def test_gpu(argv: list[str]) -> int:
    from common.devices import gpu_report

    parser = Parser(prog="run.py test-gpu", description="Devices, memory, number types, a small matrix product.")
    parser.add_argument("--detailed", action="store_true", help="larger products, with their speed")
    args = parser.parse_args(argv)
    print("\n".join(gpu_report(args.detailed)))
    return 0


def grade(argv: list[str]) -> int:
    from common.grading import grade_file

    parser = Parser(
        prog="run.py grade",
        description="Judge programs in the sandbox. A line of input: id (or task_id), code (or generated_code), tests "
        "(or test_list), and where there are any entry_point and setup (or test_setup_code).",
    )
    parser.add_argument("programs", type=Path, help="file of JSON lines")
    parser.add_argument("--out", type=Path, required=True, help="file for the verdicts; with .meta.json beside it")
    parser.add_argument("--dataset", default=None, help="where lines without tests find them, by task_id")
    parser.add_argument("--fresh", action="store_true", help="judge again, instead of continuing or keeping verdicts")
    _add_sandbox_flags(parser)
    args = parser.parse_args(argv)
    log, stop = _logger(), StopRequest()
    stop.listen(log)
    try:
        line = grade_file(
            args.programs, args.out, _sandbox_settings(args), dataset=args.dataset, fresh=args.fresh,
            log=log, stop=stop,
        )  # fmt: skip
    except Stopped:
        log.warning("stopped; everything judged is saved. Give the same command to continue")
        return 130
    print(line, file=sys.stderr)
    return 0


def doctor(argv: list[str]) -> int:
    from common.doctor import diagnose

    parser = Parser(prog="run.py doctor", description="Judge reference solutions here: all must pass.")
    parser.add_argument("--dataset", default=None, help="whose (default: mbpp where it is on this disk, else organism)")
    parser.add_argument("--full", action="store_true", help="all of them, instead of ten seconds' worth")
    _add_sandbox_flags(parser)
    args = parser.parse_args(argv)
    settings = _sandbox_settings(args)
    diagnosis = diagnose(args.dataset, settings["isolation"], settings["workers"], args.full)
    print("\n".join([*diagnosis.lines, *diagnosis.wrong]))
    return 1 if diagnosis.wrong else 0


def _add_sandbox_flags(parser: Parser) -> None:
    parser.add_argument("--sandbox", default="auto", help="auto (the best level here) | strict | none (default: auto)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="programs at a time (default: cores)")


def _sandbox_settings(args: argparse.Namespace) -> dict[str, str | int]:
    if args.sandbox not in ("auto", "strict", "none"):
        raise ConfigError(f"--sandbox is '{args.sandbox}'\nGive one of: auto, strict, none")
    if args.workers < 1:
        raise ConfigError(f"--workers is {args.workers}\nGive 1 or more")
    return {"isolation": args.sandbox, "workers": args.workers}


def _say_what_runs(context: RunContext) -> None:
    changed = differences_from_preset(context.config, context.preset)
    shown = ", but " + ", ".join(f"{name} {typed(value)}" for name, value in changed.items()) if changed else ""
    context.log.info("phase %s: %s", context.phase.id, context.phase.title)
    context.log.info("settings: the %s preset%s", context.preset, shown)


def _logger() -> logging.Logger:
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


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(__doc__.strip())
        return 0
    commands = {"phase": run_phase, "status": status, "grade": grade, "doctor": doctor, "test-gpu": test_gpu}
    if argv[0] not in commands:
        raise ConfigError(f"there is no command '{argv[0]}'.{suggestion(argv[0], list(commands))}\n"
                          f"Give one of: {', '.join(commands)}")  # fmt: skip
    return commands[argv[0]](argv[1:])


def exit_with(main_function: Callable[[list[str]], int]) -> NoReturn:
    """Run a root script's main: errors that a user can mend are one message and status 2."""
    try:
        sys.exit(main_function(sys.argv[1:]))
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped at once; what was saved before is kept", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    exit_with(main)
