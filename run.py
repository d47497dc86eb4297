#!/usr/bin/env python3
"""PVA-SAE: does a code model know that the Python it is about to write is wrong?

  python3 run.py phase                    list the phases
  python3 run.py phase 1                  run phase 1, or continue it where it stopped
  python3 run.py phase 1 --help           its settings, with units and defaults
  python3 run.py phase 1 --preset demo    on the model organism: no network, no GPU
  python3 run.py phase 3                  phases 3.1, 3.2 and 3.3, then the report
  python3 run.py pipeline                 every phase in order, then the report   [--from PHASE]
  python3 run.py report                   what was found, as one HTML file for each experiment
  python3 run.py discover --out FOLDER    phase 4.1, and its detector as a folder of a few kilobytes
  python3 run.py detect --artifacts FOLDER --file TEXT    what it says of a text; status 0, 3 or 4 routes it
  python3 run.py serve --artifacts FOLDER                 the same over HTTP
  python3 run.py status                   what is built, stale, unfinished or missing
  python3 run.py export --layout npz --out FOLDER    a run of phase 1 in the original project's files
  python3 run.py import --layout npz FOLDER          the way back; also for data that it published
  python3 run.py grade PROGRAMS.jsonl --out VERDICTS.jsonl    judge programs from any tool
  python3 run.py doctor [--full]          does this machine judge programs rightly?
  python3 run.py test-gpu [--detailed]    devices, memory, number types, a small matrix product

A run saves as it goes. Stop it at any time and give the same command again.
"""

import argparse
import contextlib
import importlib
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

try:
    import filelock  # noqa: F401 - the first package that is not Python's own
except ModuleNotFoundError:
    print("error: the packages are not installed for this Python\nType: . .venv/bin/activate   "
          "(make demo and make test build .venv if it is missing)", file=sys.stderr)  # fmt: skip
    sys.exit(2)

from common import commands
from common.cli import Parser, exit_with, new_log
from common.errors import AssetError, ConfigError, PipelineError, suggestion
from common.model.devices import check_device_name, limit_gpu_memory, resolve_device
from common.model.registry import is_on_this_disk, similar_model
from common.model.settings import ModelConfig
from common.phases.context import RunContext
from common.phases.phase import Phase, check_phase_takes_slices
from common.phases.settings import PRESETS, add_flags, build_config, differences_from_preset, typed
from common.runs.artifacts import AlreadyBuilt
from common.stopping import Stopped

PHASES = {  # id -> module that holds PHASE, in the order a full run takes
    "0": "phase0_difficulty.phase",
    "0.1": "phase0_1_split.phase",
    "1": "phase1_dataset_building.phase",
    "1.1": "phase1_dataset_building.general_text_phase",
    "1.2": "phase1_2_temperature.phase",
    "2": "phase2_sae_analysis.phase",
    "3.1": "phase3_validation.detection.phase",
    "3.2": "phase3_validation.steering.coefficients_phase",
    "3.3": "phase3_validation.steering.steering_phase",
    "3.4": "phase3_validation.attention.phase",
    "3.5": "phase3_validation.orthogonalisation.phase",
    "3.6": "phase3_validation.transfer.phase",
    "3.7": "phase3_validation.ablation.phase",
    "4.1": "phase4_anomaly_detection.phase",
}
GROUPS = {"3": ("3.1", "3.2", "3.3")}  # what one word runs, one after the other, with the report at the end
APART = ("3.6",)  # phases that need what a pipeline does not have: a second model


def load_phase(phase_id: str) -> Phase:
    """The PHASE of one phase. Raises: ConfigError, naming the phases there are."""
    if phase_id not in PHASES:
        hint = suggestion(phase_id, list(PHASES))
        raise ConfigError(f"there is no phase '{phase_id}'{hint and '.' + hint}\nGive one of: {', '.join(PHASES)}")
    return importlib.import_module(PHASES[phase_id]).PHASE


def phase_parser(phase: Phase) -> Parser:
    """The flags of one phase; those that mean nothing to it are refused, but not shown."""
    parser = Parser(prog=f"run.py phase {phase.id}", description=f"Phase {phase.id}: {phase.title}.")
    where = parser.add_argument_group("where and how much")

    def shown(means_something: object, text: str) -> str:
        return text if means_something else argparse.SUPPRESS

    _add_experiment_flags(where)
    text = "use this run folder, or a file in it, instead of the newest; repeatable"
    where.add_argument("--input", type=Path, action="append", default=[], help=shown(phase.inputs, text))
    text = "auto | cpu | cuda | cuda:N, the GPU of that number | mps (default: auto)"
    where.add_argument("--device", default="auto", help=shown(issubclass(phase.config, ModelConfig), text))
    text = "first record, 0-based; slices cut the work, shortest prompts first, and are no samples: a pilot is --limit"
    text += " (default: 0)"
    where.add_argument("--start", type=int, default=0, help=shown(phase.n_records, text))
    text = "last record, included (default: the last one)"
    where.add_argument("--end", type=int, default=None, help=shown(phase.n_records, text))
    where.add_argument("--fresh", action="store_true", help="start over, instead of continuing an unfinished run")
    where.add_argument("--dry-run", action="store_true", help="show what would be done, and write nothing")
    add_flags(parser, phase.config)
    return parser


def _add_experiment_flags(group: argparse._ArgumentGroup, preset: str | None = "full") -> None:
    presets = "; ".join(f"{name}: {meaning}" for name, meaning in PRESETS.items())
    text = f"settings to start from; {presets} (default: {preset or 'none'})"
    group.add_argument("--preset", default=preset, help=text)
    group.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of all artifacts (default: data)")


def context_for(phase: Phase, argv: list[str]) -> tuple[RunContext, argparse.Namespace]:
    """Read the flags of one phase. Raises: ConfigError."""
    args = phase_parser(phase).parse_args(argv)
    check_phase_takes_slices(phase, args.start, args.end)
    return _context(phase, args, ["phase", phase.id, *argv]), args


def _context(phase: Phase, args: argparse.Namespace, words: list[str]) -> RunContext:
    """`words` are what was typed after run.py."""
    config = build_config(phase.config, args.preset, vars(args))
    return RunContext(
        phase=phase, config=config, preset=args.preset, data_dir=args.data_dir, log=new_log(),
        device=resolve_device(args.device) if isinstance(config, ModelConfig) else check_device_name(args.device),
        command=shlex.join(["python3", "run.py", *_lasting_words(words)]),
        start=args.start, end=args.end, fresh=args.fresh, given_inputs=tuple(args.input),
    )  # fmt: skip


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
    if argv[0] in GROUPS:
        return run_in_order(GROUPS[argv[0]], argv[1:], f"phase {argv[0]}")
    context, args = context_for(load_phase(argv[0]), argv[1:])
    _say_what_runs(context)
    return dry_run(context) if args.dry_run else _carry_out(context, context.forget_empty_runs)


def pipeline(argv: list[str]) -> int:
    """Every phase in order; what is built already is kept, and what was begun is continued."""
    parser = Parser(prog="run.py pipeline", add_help=False)
    parser.add_argument("--from", dest="first", default="0")
    args, words = parser.parse_known_args(argv)
    ids = [phase_id for phase_id in PHASES if phase_id not in APART]
    if args.first in GROUPS:
        args.first = GROUPS[args.first][0]
    if args.first not in ids:
        raise ConfigError(f"--from is '{args.first}'.{suggestion(args.first, ids)}\nGive one of: {', '.join(ids)}")
    print(f"left out, since they need a second model: phase {', '.join(APART)}", file=sys.stderr)
    name = "pipeline" if args.first == "0" else f"pipeline --from {args.first}"
    return run_in_order(ids[ids.index(args.first) :], words, name, others=ids)


def run_in_order(ids: Sequence[str], words: list[str], name: str, others: Sequence[str] = ()) -> int:
    """Run phases one after the other, each with those of the flags that it has; then the report.

    Flags that only phases among `others` have are passed over.
    """
    if {"-h", "--help"} & {*words}:
        print(f"usage: run.py {name} [flags]\n\nRuns, one after the other, each with those of the flags that it has "
              f"(run.py phase ID --help shows them):\n  {', '.join(ids)}, then the report")  # fmt: skip
        return 0
    phases = [load_phase(phase_id) for phase_id in ids]
    own_words = [words_for(phase_parser(phase), words) for phase in phases]
    known = [*own_words, *(words_for(phase_parser(load_phase(phase_id)), words) for phase_id in others)]
    foreign = [word for word in words if not any(word in own for own in known)]
    if foreign:
        flags = [flag for phase in phases for action in phase_parser(phase)._actions for flag in action.option_strings]
        hint = suggestion(foreign[0].split("=")[0], flags)
        raise ConfigError(f"no phase of '{name}' knows {foreign[0]}.{hint}\nSee: python3 run.py phase ID --help, for "
                          f"the phases {', '.join(ids)}")  # fmt: skip
    for phase, own in zip(phases, own_words, strict=True):
        context_for(phase, own)  # an impossible value is better found now than hours later
    for phase, own in zip(phases, own_words, strict=True):
        if status := run_phase([phase.id, *own]):
            again = shlex.join(["python3", "run.py", *name.split(), *(word for word in words if word != "--fresh")])
            print(f"phase {phase.id} was stopped. Go on with: {again}", file=sys.stderr)
            return status
    return 0 if "--dry-run" in words else report(["--preset", "full", *words_for(report_parser(), words)])


def words_for(parser: Parser, words: list[str]) -> list[str]:
    """Those of the words that are flags of `parser`, with their values, as they were typed."""
    flags = {flag for action in parser._actions for flag in action.option_strings}
    kept, keep = [], False
    for word in words:
        if word.startswith("--"):
            keep = word.split("=")[0] in flags
        if keep:
            kept.append(word)
    return kept


def report(argv: list[str]) -> int:
    from common.report import write_reports

    args = report_parser().parse_args(argv)
    keys = ("model", "dataset", "limit", "sae", "prompt")
    given = {key: str(value) for key in keys if (value := getattr(args, key)) is not None}
    reports = write_reports(args.data_dir, args.preset, given, args.out)
    for found in reports:
        title = [f"{found.name}:"] if len(reports) > 1 else []
        print("\n".join([*title, *found.sentences, f"Report: {found.path}"]))
    return 0


def report_parser() -> Parser:
    parser = Parser(prog="run.py report", description="What was found, as one HTML file for each experiment.")
    _add_experiment_flags(parser, preset=None)
    for key in ("model", "dataset", "sae"):
        parser.add_argument(f"--{key}", default=None, help=f"only experiments with this {key} (default: all there are)")
    parser.add_argument("--limit", type=int, default=None, help="only pilots of so many problems (default: all)")
    parser.add_argument("--prompt", default=None, help="only experiments with plain prompts, or chat (default: all)")
    text = "file to write, for the newest of them (default: report.html in --data-dir; with several experiments there "
    text += "report_MODEL_DATASET.html for each)"
    parser.add_argument("--out", type=Path, default=None, help=text)
    return parser


def _carry_out(context: RunContext, tidy_up: Callable[[], None] = lambda: None) -> int:
    """Run a phase; `tidy_up` is called when it ends before its end."""
    if isinstance(context.config, ModelConfig):
        if not is_on_this_disk(model := context.config.model):
            context.log.info("the model %s is not on this disk: the hub is asked. %s", model, similar_model(model))
        limit_gpu_memory(context.device, context.config.gpu_memory)
    context.stop.listen(context.log)
    with contextlib.closing(context):
        return _status_of(context, tidy_up)


def _status_of(context: RunContext, tidy_up: Callable[[], None]) -> int:
    try:
        context.pick_inputs()
        context.phase.run(context, context.config)
        if not context.stop.asked:
            return 0
        context.log.warning("stopped, after the last batch: this phase is finished")
        return 130
    except AlreadyBuilt as built:
        context.log.info("already built, with these settings and inputs: %s (--fresh builds it again)", built.path)
        return 0
    except Stopped:
        context.log.warning("stopped; everything computed is saved. Continue with: %s", context.again)
    except KeyboardInterrupt:
        context.log.warning("stopped at once; what was saved is kept. Continue with: %s", context.again)
    except PipelineError as error:
        context.log.error("%s", error, extra={"only_in_file": True})  # whoever runs it at night reads the file
        tidy_up()
        raise
    tidy_up()
    return 130


def dry_run(context: RunContext) -> int:
    """Say what the command would read and write, and what has to be built before. Nothing is fetched."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # before its library is imported, which then asks nobody
    from common.model.expectations import expectations

    if isinstance(context.config, ModelConfig) and not is_on_this_disk(model := context.config.model):
        print(
            f"the model {model} is not on this disk: it would be fetched from the hub. {similar_model(model)}".strip()
        )
    waits_for = [f"phase {handoff.phase}: {error}" for handoff, error in context.unusable_inputs()]
    if not waits_for:
        context.pick_inputs(network=False)
        for name, (key, repository) in context.config.repositories().items():
            if not getattr(context.config, name):
                print(f"{key} {repository}: its commit is settled when the run begins")
        try:
            path = context.target()
            print("\n".join([f"it would {'continue' if path.exists() else 'begin'} {path}", *expectations(context)]))
        except AlreadyBuilt as built:
            print(f"nothing to do: {built.path} is finished")
        except AssetError as error:
            waits_for = [str(error)]
    if waits_for:
        folder = context.data_dir / context.phase.output.folder
        words = [line.replace("\n", "\n    ") for line in waits_for]
        print("\n  ".join([f"it would begin a run in {folder}, once there is what it waits for:", *words]))
    return 0


def list_phases() -> int:
    print("usage: run.py phase ID [flags]; each has its own --help\n")
    for phase_id in PHASES:
        phase = load_phase(phase_id)
        needs = " and ".join(f"phase {handoff.phase}" for handoff in phase.inputs) or "nothing"
        print(f"{phase.id:>5}  {phase.title}")
        print(f"       needs {needs}; builds data/{phase.output.folder}/")
    return 0


def export_run(argv: list[str]) -> int:
    from common.npz.exporting import export_to

    parser = _layout_parser("export", "Write the newest finished run of phase 1 in another project's files.")
    parser.add_argument("--out", type=Path, required=True, help="folder to make; it must not exist, or be empty")
    text = "export this run folder, instead of the newest"
    parser.add_argument("--input", type=Path, action="append", default=[], help=text)
    args = parser.parse_args(argv)
    return _carry_out(_context(export_to(args.out), args, ["export", *argv]))


def import_run(argv: list[str]) -> int:
    from common.npz.importing import import_from

    parser = _layout_parser("import", "Make a finished run of phase 1 from another project's files.")
    text = "folder with dataset_*.parquet and activations/; or the table itself, where there are several"
    parser.add_argument("path", type=Path, metavar="PATH", help=text)
    parser.add_argument("--fresh", action="store_true", help="import again, and pass over unfinished runs")
    args = parser.parse_args(argv)
    return _carry_out(_context(import_from(args.path), args, ["import", *argv]))


def discover(argv: list[str]) -> int:
    """Phase 4.1, and its detector where the user wants it."""
    from phase4_anomaly_detection import commands as detectors

    phase = load_phase("4.1")
    parser = phase_parser(phase)
    parser.prog = "run.py discover"
    detectors.add_out_flag(parser)
    args = parser.parse_args(argv)
    check_phase_takes_slices(phase, args.start, args.end)
    detectors.check_out(args.out)
    context = _context(phase, args, ["phase", phase.id, *words_for(phase_parser(phase), argv)])
    if args.dry_run:
        return dry_run(context)
    _say_what_runs(context)
    return _carry_out(context, context.forget_empty_runs) or detectors.hand_over(context, args.out)


def _detector_command(name: str) -> Callable[[list[str]], int]:
    return lambda argv: getattr(importlib.import_module("phase4_anomaly_detection.commands"), name)(argv)


def _layout_parser(command: str, description: str) -> Parser:
    from common.npz.layout import LayoutConfig

    text = "npz: that of the original project, one file per task and layer (common/npz/layout.py describes it)"
    parser = Parser(prog=f"run.py {command}", description=description)
    parser.add_argument("--layout", choices=["npz"], required=True, help=text)
    _add_experiment_flags(parser)
    add_flags(parser, LayoutConfig)
    parser.set_defaults(device="cpu", start=0, end=None, fresh=False, input=[])
    return parser


def _say_what_runs(context: RunContext) -> None:
    changed = differences_from_preset(context.config, context.preset)
    shown = ", but " + ", ".join(f"{name} {typed(value)}" for name, value in changed.items()) if changed else ""
    context.log.info("phase %s: %s", context.phase.id, context.phase.title)
    context.log.info("settings: the %s preset%s", context.preset, shown)


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(__doc__.strip())
        return 0
    known = {
        "phase": run_phase, "pipeline": pipeline, "report": report, "export": export_run, "import": import_run,
        "discover": discover, "detect": _detector_command("detect"), "serve": _detector_command("serve"),
        "status": commands.status, "grade": commands.grade, "doctor": commands.doctor, "test-gpu": commands.test_gpu,
    }  # fmt: skip
    if argv[0] not in known:
        raise ConfigError(f"there is no command '{argv[0]}'.{suggestion(argv[0], list(known))}\n"
                          f"Give one of: {', '.join(known)}")  # fmt: skip
    return known[argv[0]](argv[1:])


if __name__ == "__main__":
    exit_with(main)
