"""Commands of run.py that are no phase: each takes what was typed after its name, and returns the exit status."""

import sys
from pathlib import Path

from common.cli import Parser, add_sandbox_flags, new_log, sandbox_settings
from common.stopping import Stopped, StopRequest


def status(argv: list[str]) -> int:
    from common.handoffs import HANDOFFS
    from common.report.status import status_lines

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
    from common.model.devices import gpu_report

    parser = Parser(prog="run.py test-gpu", description="Devices, memory, number types, a small matrix product.")
    parser.add_argument("--detailed", action="store_true", help="larger products, with their speed")
    args = parser.parse_args(argv)
    print("\n".join(gpu_report(args.detailed)))
    return 0


def grade(argv: list[str]) -> int:
    from common.programs.grading import grade_file

    parser = Parser(
        prog="run.py grade",
        description="Judge programs in the sandbox. A line of input: id (or task_id), code (or generated_code), tests "
        "(or test_list), and where there are any entry_point and setup (or test_setup_code).",
    )
    parser.add_argument("programs", type=Path, help="file of JSON lines")
    parser.add_argument("--out", type=Path, required=True, help="file for the verdicts; with .meta.json beside it")
    parser.add_argument("--dataset", default=None, help="where lines without tests find them, by task_id")
    parser.add_argument("--fresh", action="store_true", help="judge again, instead of continuing or keeping verdicts")
    add_sandbox_flags(parser)
    args = parser.parse_args(argv)
    log, stop = new_log(), StopRequest()
    stop.listen(log)
    try:
        line = grade_file(
            args.programs, args.out, sandbox_settings(args), dataset=args.dataset, fresh=args.fresh,
            log=log, stop=stop,
        )  # fmt: skip
    except Stopped:
        log.warning("stopped; everything judged is saved. Give the same command to continue")
        return 130
    print(line, file=sys.stderr)
    return 0


def doctor(argv: list[str]) -> int:
    from common.programs.doctor import diagnose

    parser = Parser(prog="run.py doctor", description="Judge reference solutions here: all must pass.")
    parser.add_argument("--dataset", default=None, help="whose (default: mbpp where it is on this disk, else organism)")
    parser.add_argument("--full", action="store_true", help="all of them, instead of ten seconds' worth")
    add_sandbox_flags(parser)
    args = parser.parse_args(argv)
    settings = sandbox_settings(args)
    diagnosis = diagnose(args.dataset, settings["isolation"], settings["workers"], args.full)
    print("\n".join([*diagnosis.lines, *diagnosis.wrong]))
    return 1 if diagnosis.wrong else 0
