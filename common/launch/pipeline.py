"""`run.py pipeline`: phases one after the other, or several at a time, then the report."""

import contextlib
import shlex
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from common.cli import Parser
from common.errors import ConfigError, MissingArtifactError, PipelineError, suggestion
from common.handoffs import ArtifactSchema
from common.launch.catalogue import Catalogue
from common.launch.running import context_for, context_sharing_cores, dry_run, flags_of, say_what_runs, words_among
from common.launch.side_by_side import Step, run_side_by_side
from common.launch.slices import STOPPED, USER_ERROR
from common.launch.tracking import TRACKERS, tracker_of
from common.phases.context import RunContext
from common.saes.own import OWN, newest_own
from common.saes.settings import NamedSaeConfig
from common.saes.sources import has_default

OWN_DICTIONARIES, READS_SAES, SECOND_MODEL = "1.3", "2", "3.6"  # phases
USE_OWN = ("--sae", OWN)
OF_THE_PIPELINE = f"""\
  --from ID       begin with a later phase
  --until ID      end with an earlier one
  --report-to X   {"|".join(TRACKERS)}: log what each phase took and found
"""
OF_THE_REPORT = ("--preset", "--data-dir", "--model", "--dataset", "--limit", "--sae", "--prompt")


def main(argv: list[str], catalogue: Catalogue) -> int:
    """Every phase in order; what is built already is kept, and what was begun is continued."""
    parser = Parser(prog="run.py pipeline", add_help=False)
    parser.add_argument("--from", dest="first", default="0")
    parser.add_argument("--until", dest="last", default=None)
    parser.add_argument("--report-to")
    args, words = parser.parse_known_args(argv)
    ids = [phase_id for phase_id in catalogue.phases if phase_id not in catalogue.apart]
    typed = words
    if not {"-h", "--help"} & {*words} and reads_its_own(context := saes_of(catalogue, words)):
        words = [*words, *(USE_OWN if OWN not in words else ())]
        if not has_own(context):
            ids = [phase_id for phase_id in catalogue.phases if phase_id in (*ids, OWN_DICTIONARIES)]
            print(f"no SAEs are known for this model: phase {OWN_DICTIONARIES} trains some", file=sys.stderr)
    without = {} if {"-h", "--help"} & {*words} else _left_out(catalogue, ids, words)
    ids = [phase_id for phase_id in ids if phase_id not in without]
    last = args.last or ids[-1]
    begin = _place_of("--from", catalogue.groups.get(args.first, (args.first,))[0], ids)
    end = _place_of("--until", catalogue.groups.get(last, (last,))[-1], ids)
    if end < begin:
        raise ConfigError(f"--until {args.last} comes before --from {args.first}\nGive a later phase with --until")
    for phase_id, why in {SECOND_MODEL: "it needs a second model or dataset", **without}.items():
        print(f"left out, since {why}: phase {phase_id}", file=sys.stderr)
    given = (("--from", args.first if begin else None), ("--until", args.last), ("--report-to", args.report_to))
    name = " ".join(["pipeline", *(f"{flag} {value}" for flag, value in given if value)])
    ids_now = ids[begin : end + 1]
    tracker = tracker_of(None if {"-h", "--help", "--dry-run"} & {*words} else args.report_to, [name, *words])
    with contextlib.closing(tracker):
        return run_in_order(catalogue, ids_now, words, name, others=ids, typed=typed, ended=tracker.phase_ended)


def _place_of(flag: str, phase_id: str, ids: list[str]) -> int:
    """Raises: ConfigError for a phase that the pipeline does not run."""
    if phase_id not in ids:
        raise ConfigError(f"{flag} is '{phase_id}'.{suggestion(phase_id, ids)}\nGive one of: {', '.join(ids)}")
    return ids.index(phase_id)


def saes_of(catalogue: Catalogue, words: list[str]) -> RunContext:
    """Of a phase that reads SAEs, as it would be run."""
    return _context(catalogue, READS_SAES, words)


def _context(catalogue: Catalogue, phase_id: str, words: list[str]) -> RunContext:
    phase = catalogue.phase(phase_id)
    return context_for(phase, words_among(flags_of(phase), words))[0]


def _left_out(catalogue: Catalogue, ids: Sequence[str], words: list[str]) -> dict[str, str]:
    """Why phases are left out, by their id."""
    reasons = {one: catalogue.phase(one).left_out(_context(catalogue, one, words).config) for one in ids}
    return {phase_id: why for phase_id, why in reasons.items() if why}


def reads_its_own(context: RunContext) -> bool:
    """Whether the SAEs are those of phase 1.3: named so, or because nobody published any of the model."""
    config = context.config
    assert isinstance(config, NamedSaeConfig)
    return config.sae == OWN or (config.sae == "auto" and not has_default(config.model))


def has_own(context: RunContext) -> bool:
    """Whether phase 1.3 has trained some, with whatever settings."""
    config = context.config
    assert isinstance(config, NamedSaeConfig)
    try:
        newest_own(config.model, config.revision, context.data_dir)
    except MissingArtifactError:
        return False
    return True


def run_in_order(
    catalogue: Catalogue,
    ids: Sequence[str],
    words: list[str],
    name: str,
    others: Sequence[str] = (),
    typed: list[str] | None = None,
    ended: Callable[[ArtifactSchema, Path, float], None] = lambda *_: None,
) -> int:
    """Run phases in their order, each with those of the flags that it has; then the report.

    With --jobs among the words, so many are carried out at a time where none needs another.
    Flags that only phases among `others` have are passed over. `typed` are the words that go on with it, where they
    are not `words`. `ended` is told what a phase makes, in which data folder, and its seconds, when it has ended well.
    """
    if {"-h", "--help"} & {*words}:
        print(_help(catalogue, ids, name))
        return 0
    typed = words if typed is None else typed
    n_jobs, words = _jobs_in(words)
    phases = [catalogue.phase(phase_id) for phase_id in ids]
    own_words = [words_among(flags_of(phase), words) for phase in phases]
    _check_known(catalogue, ids, own_words, words, name, others)
    # An impossible value, or a file that will be refused, is better found now than hours later.
    steps = [
        Step(*context_sharing_cores(phase, own, n_jobs)) if n_jobs > 1 else Step(context_for(phase, own)[0], own)
        for phase, own in zip(phases, own_words, strict=True)
    ]
    for step in steps:
        step.context.config.check_files()

    def say(step: Step, seconds: float) -> None:
        ended(step.context.phase.output, step.context.data_dir, seconds)

    if "--dry-run" in words:
        return _dry_run(steps)
    run = _one_by_one if n_jobs == 1 else partial(run_side_by_side, n_jobs=n_jobs)
    if stopped := run(catalogue, steps, ended=say):
        lasting = [word for word in typed if word != "--fresh"]
        again = shlex.join(["python3", "run.py", *name.split(), *lasting])
        what = "was stopped" if stopped[1] == STOPPED else "failed"
        print(f"phase {stopped[0].id} {what}. Go on with: {again}", file=sys.stderr)
        return stopped[1]
    if not any({"model", "dataset"} <= {*step.context.phase.output.keys} for step in steps):
        return 0  # of what there is no report yet
    return catalogue.command("report")(["--preset", "full", *words_among(OF_THE_REPORT, words)])


def _help(catalogue: Catalogue, ids: Sequence[str], name: str) -> str:
    return (
        f"usage: run.py {name} [flags]\n\nRuns, one after the other, each with those of the flags that it has:\n"
        f"  {', '.join(ids)}, then the report.\n\n"
        "  --jobs N        carry out N phases at a time, where none needs another: each holds the model (default: 1)\n"
        f"{OF_THE_PIPELINE * name.startswith('pipeline')}\n"
        "Flags, behind the phases that have them; run.py phase ID --help says what they mean:\n"
        + _flags_in_words(catalogue, ids)
    )


def _flags_in_words(catalogue: Catalogue, ids: Sequence[str]) -> str:
    """A line for each set of phases that have the same flags, those of most phases first."""
    phases_of: dict[str, list[str]] = {}
    for phase_id in ids:
        for flag in flags_of(catalogue.phase(phase_id)):
            phases_of.setdefault(flag, []).append(phase_id)
    alike: dict[tuple[str, ...], list[str]] = {}
    for flag in sorted(phases_of):
        if flag.startswith("--") and not flag.startswith("--no-"):
            alike.setdefault(tuple(phases_of[flag]), []).append(flag)
    lines = [
        f"{'all' if len(of) == len(ids) else ', '.join(of)}: {' '.join(flags)}"
        for of, flags in sorted(alike.items(), key=lambda item: -len(item[0]))
    ]
    return "\n".join(
        textwrap.indent(textwrap.fill(line, 116, subsequent_indent="  ", break_on_hyphens=False), "  ")
        for line in lines
    )


def _dry_run(steps: Sequence[Step]) -> int:
    """What each phase would do, those before it being carried out by the same command."""
    for place, step in enumerate(steps):
        say_what_runs(step.context)
        dry_run(step.context, built_before=[before.id for before in steps[:place]])
    return 0


def _jobs_in(words: list[str]) -> tuple[int, list[str]]:
    """How many phases are carried out at a time, and the words without it. Raises: ConfigError."""
    parser = Parser(prog="run.py pipeline", add_help=False)
    parser.add_argument("--jobs", type=int, default=1)
    args, others = parser.parse_known_args(words)
    if args.jobs < 1:
        raise ConfigError(f"--jobs is {args.jobs}, the number of phases at a time\nGive 1 or more")
    return args.jobs, others


def _one_by_one(
    catalogue: Catalogue, steps: Sequence[Step], ended: Callable[[Step, float], None]
) -> tuple[Step, int] | None:
    """As `run_side_by_side`, in this process."""
    for step in steps:
        began = time.monotonic()
        try:
            status = catalogue.command("phase")([step.id, *step.words])
        except PipelineError as error:
            print(f"error: {error}", file=sys.stderr)
            status = USER_ERROR
        if status:
            return step, status
        ended(step, time.monotonic() - began)
    return None


def _check_known(
    catalogue: Catalogue,
    ids: Sequence[str],
    own_words: list[list[str]],
    words: list[str],
    name: str,
    others: Sequence[str],
) -> None:
    """Raises: ConfigError for a flag that no phase has."""
    known = [*own_words, *(words_among(flags_of(catalogue.phase(phase_id)), words) for phase_id in others)]
    foreign = [word for word in words if not any(word in known_flags for known_flags in known)]
    if foreign:
        flags = sorted(set().union(*(flags_of(catalogue.phase(phase_id)) for phase_id in ids)))
        hint = suggestion(foreign[0].split("=")[0], flags)
        raise ConfigError(
            f"no phase of '{name}' knows {foreign[0]}.{hint}\nSee: python3 run.py phase ID --help, for the phases "
            f"{', '.join(ids)}"
        )
