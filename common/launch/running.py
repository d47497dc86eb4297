"""One phase, from what was typed to its exit status."""

import argparse
import contextlib
import os
import shlex
from collections.abc import Callable, Collection
from pathlib import Path

from common.cli import Parser, new_log
from common.errors import AssetError, PipelineError
from common.launch.slices import STOPPED
from common.model.devices import check_device_name, limit_gpu_memory, resolve_device
from common.model.registry import is_on_this_disk, similar_model
from common.model.settings import ModelConfig
from common.phases.context import RunContext
from common.phases.phase import Phase, check_phase_takes_slices
from common.phases.settings import PRESETS, add_flags, build_config, differences_from_preset, typed
from common.runs.artifacts import AlreadyBuilt
from common.stopping import Stopped
from common.words import listed


def phase_parser(phase: Phase) -> Parser:
    """The flags of one phase; those that mean nothing to it are refused, but not shown."""
    parser = Parser(prog=f"run.py phase {phase.id}", description=f"Phase {phase.id}: {phase.title}.")
    where = parser.add_argument_group("where and how much")

    def shown(means_something: object, text: str) -> str:
        return text if means_something else argparse.SUPPRESS

    add_experiment_flags(where)
    text = "use this run folder, or a file in it, instead of the newest; repeatable"
    where.add_argument("--input", type=Path, action="append", default=[], help=shown(phase.inputs, text))
    text = "auto | cpu | cuda | cuda:N, the GPU of that number | mps (default: auto)"
    where.add_argument("--device", default="auto", help=shown(phase.config.runs_a_model, text))
    text = "first record, 0-based; slices cut the work, shortest prompts first, and are no samples: a pilot is --limit"
    text += " (default: 0)"
    where.add_argument("--start", type=int, default=0, help=shown(phase.n_records, text))
    text = "last record, included (default: the last one)"
    where.add_argument("--end", type=int, default=None, help=shown(phase.n_records, text))
    where.add_argument("--fresh", action="store_true", help="start over, instead of continuing an unfinished run")
    where.add_argument("--dry-run", action="store_true", help="show what would be done, and write nothing")
    add_flags(parser, phase.config)
    return parser


def add_experiment_flags(group: argparse._ArgumentGroup | Parser, preset: str | None = "full") -> None:
    presets = "; ".join(f"{name}: {meaning}" for name, meaning in PRESETS.items())
    text = f"settings to start from; {presets} (default: {preset or 'none'})"
    group.add_argument("--preset", default=preset, help=text)
    group.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of all artifacts (default: data)")


def context_for(phase: Phase, argv: list[str]) -> tuple[RunContext, argparse.Namespace]:
    """Read the flags of one phase. Raises: ConfigError."""
    args = phase_parser(phase).parse_args(argv)
    check_phase_takes_slices(phase, args.start, args.end)
    return context_from(phase, args, ["phase", phase.id, *argv]), args


def context_sharing_cores(phase: Phase, argv: list[str], n_processes: int) -> tuple[RunContext, list[str]]:
    """Of one of so many processes on this machine, with the words that say so. Raises: ConfigError.

    Processes must not fight for cores; and the number of threads is part of what a run is.
    """
    context, _ = context_for(phase, argv)
    if context.device == "cpu" and isinstance(context.config, ModelConfig) and not context.config.threads:
        argv = [*argv, "--threads", str(cores_for(n_processes))]
        context, _ = context_for(phase, argv)
    return context, argv


def cores_for(n_processes: int) -> int:
    """How many cores each of so many processes has for itself."""
    return max(1, (os.cpu_count() or 1) // n_processes)


def context_from(phase: Phase, args: argparse.Namespace, words: list[str]) -> RunContext:
    """`words` are what was typed after run.py."""
    config = build_config(phase.config, args.preset, vars(args))
    return RunContext(
        phase=phase,
        config=config,
        preset=args.preset,
        data_dir=args.data_dir,
        log=new_log(),
        device=resolve_device(args.device) if config.runs_a_model else check_device_name(args.device),
        command=shlex.join(["python3", "run.py", *_lasting_words(words)]),
        start=args.start,
        end=args.end,
        fresh=args.fresh,
        given_inputs=tuple(args.input),
    )


def flags_of(phase: Phase) -> set[str]:
    return {flag for action in phase_parser(phase)._actions for flag in action.option_strings}


def words_among(flags: Collection[str], words: list[str]) -> list[str]:
    """Those of the words that are among `flags`, with their values, as they were typed."""
    kept, keep = [], False
    for word in words:
        if word.startswith("--"):
            keep = word.split("=")[0] in flags
        if keep:
            kept.append(word)
    return kept


def say_what_runs(context: RunContext) -> None:
    changed = differences_from_preset(context.config, context.preset)
    shown = ", but " + ", ".join(f"{name} {typed(value)}" for name, value in changed.items()) if changed else ""
    context.log.info("phase %s: %s", context.phase.id, context.phase.title)
    context.log.info("settings: the %s preset%s", context.preset, shown)


def carry_out(context: RunContext, tidy_up: Callable[[], None] = lambda: None) -> int:
    """Run a phase; `tidy_up` is called when it ends before its end."""
    if isinstance(context.config, ModelConfig):
        if not is_on_this_disk(model := context.config.model):
            context.log.info("the model %s is not on this disk: the hub is asked. %s", model, similar_model(model))
        limit_gpu_memory(context.device, context.config.gpu_memory)
    context.stop.listen(context.log)
    with contextlib.closing(context):
        return _status_of(context, tidy_up)


def dry_run(context: RunContext, built_before: Collection[str] = ()) -> int:
    """Say what the command would read and write, and what has to be built before. Nothing is fetched.

    Phases that are `built_before` by the same command are named, and not how to build them.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # before its library is imported, which then asks nobody
    if isinstance(context.config, ModelConfig) and not is_on_this_disk(model := context.config.model):
        print(
            f"the model {model} is not on this disk: it would be fetched from the hub. {similar_model(model)}".strip()
        )
    unusable = context.unusable_inputs()
    waits_for = [f"phase {schema.phase}: {error}" for schema, error in unusable if schema.phase not in built_before]
    if unusable and not waits_for:
        first = listed([f"phase {schema.phase}" for schema, _ in unusable])
        print(
            "\n".join([f"it begins a run in {_parent_of(context)} after {first}", *_expected(context, counted=False)])
        )
    elif not waits_for:
        context.pick_inputs(network=False)
        for name, (key, repository) in context.config.repositories().items():
            if not getattr(context.config, name):
                print(f"{key} {repository}: its commit is settled when the run begins")
        try:
            path = context.target()
            print("\n".join([f"it would {'continue' if path.exists() else 'begin'} {path}", *_expected(context)]))
        except AlreadyBuilt as built:
            print(f"nothing to do: {built.path} is finished")
        except AssetError as error:
            waits_for = [str(error)]
    if waits_for:
        folder = _parent_of(context)
        words = [line.replace("\n", "\n    ") for line in waits_for]
        print("\n  ".join([f"it would begin a run in {folder}, once there is what it waits for:", *words]))
    return 0


def _parent_of(context: RunContext) -> Path:
    return context.data_dir / context.phase.output.folder


def _expected(context: RunContext, counted: bool = True) -> list[str]:
    if not context.config.runs_a_model:
        return []
    from common.programs.expectations import expectations  # imports torch, which help and most dry runs do not need

    return expectations(context, counted)


def _lasting_words(argv: list[str]) -> list[str]:
    """The flags that continue a run: no slice, nothing that begins it anew, and not where the data are today."""
    kept, skip = [], False
    for word in argv:
        if not skip and word.split("=")[0] not in ("--start", "--end", "--data-dir", "--fresh", "--dry-run"):
            kept.append(word)
        skip = word in ("--start", "--end", "--data-dir")
    return kept


def _status_of(context: RunContext, tidy_up: Callable[[], None]) -> int:
    try:
        context.pick_inputs()
        context.phase.carry_out(context)
        if not context.stop.asked:
            return 0
        context.log.warning("stopped, after the last batch: this phase is finished")
        return STOPPED
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
    return STOPPED
