"""`run.py pipeline`: phases one after the other, then the report."""

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from common.cli import Parser
from common.errors import ConfigError, MissingArtifactError, suggestion
from common.handoffs import Handoff
from common.launch.program import Program
from common.launch.running import context_for, flags_of, words_among
from common.launch.tracking import TRACKERS, tracker_of
from common.phases.context import RunContext
from common.saes.own import OWN, newest_own
from common.saes.settings import NamedSaeConfig
from common.saes.sources import has_default

OWN_DICTIONARIES, READS_SAES, SECOND_MODEL = "1.3", "2", "3.6"  # phases
USE_OWN = ("--sae", OWN)
OF_THE_REPORT = ("--preset", "--data-dir", "--model", "--dataset", "--limit", "--sae", "--prompt")


def main(argv: list[str], program: Program) -> int:
    """Every phase in order; what is built already is kept, and what was begun is continued."""
    parser = Parser(prog="run.py pipeline", add_help=False)
    parser.add_argument("--from", dest="first", default="0")
    parser.add_argument("--report-to")
    args, words = parser.parse_known_args(argv)
    ids = [phase_id for phase_id in program.phases if phase_id not in program.apart]
    typed = words
    if not {"-h", "--help"} & {*words} and reads_its_own(context := saes_of(program, words)):
        words = [*words, *(USE_OWN if OWN not in words else ())]
        if not has_own(context):
            ids = [phase_id for phase_id in program.phases if phase_id in (*ids, OWN_DICTIONARIES)]
            print(f"no SAEs are known for this model: phase {OWN_DICTIONARIES} trains some", file=sys.stderr)
    without = {} if {"-h", "--help"} & {*words} else _left_out(program, ids, words)
    ids = [phase_id for phase_id in ids if phase_id not in without]
    if args.first in program.groups:
        args.first = program.groups[args.first][0]
    if args.first not in ids:
        raise ConfigError(f"--from is '{args.first}'.{suggestion(args.first, ids)}\nGive one of: {', '.join(ids)}")
    for phase_id, why in {SECOND_MODEL: "it needs a second model or dataset", **without}.items():
        print(f"left out, since {why}: phase {phase_id}", file=sys.stderr)
    name = "pipeline" if args.first == "0" else f"pipeline --from {args.first}"
    name += f" --report-to {args.report_to}" if args.report_to else ""
    ids_now = ids[ids.index(args.first) :]
    tracker = tracker_of(None if {"-h", "--help", "--dry-run"} & {*words} else args.report_to, [name, *words])
    with contextlib.closing(tracker):
        return run_in_order(program, ids_now, words, name, others=ids, typed=typed, ended=tracker.phase_ended)


def saes_of(program: Program, words: list[str]) -> RunContext:
    """Of a phase that reads SAEs, as it would be run."""
    return _context(program, READS_SAES, words)


def _context(program: Program, phase_id: str, words: list[str]) -> RunContext:
    phase = program.phase(phase_id)
    return context_for(phase, words_among(flags_of(phase), words))[0]


def _left_out(program: Program, ids: Sequence[str], words: list[str]) -> dict[str, str]:
    """Why phases are left out, by their id."""
    reasons = {one: program.phase(one).left_out(_context(program, one, words).config) for one in ids}
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
    program: Program,
    ids: Sequence[str],
    words: list[str],
    name: str,
    others: Sequence[str] = (),
    typed: list[str] | None = None,
    ended: Callable[[Handoff, Path, float], None] = lambda *_: None,
) -> int:
    """Run phases one after the other, each with those of the flags that it has; then the report.

    Flags that only phases among `others` have are passed over. `typed` are the words that go on with it, where they
    are not `words`. `ended` is told what a phase makes, in which data folder, and its seconds, when it has ended well.
    """
    if {"-h", "--help"} & {*words}:
        print(
            f"usage: run.py {name} [flags]\n\nRuns, one after the other, each with those of the flags that it has "
            f"(run.py phase ID --help shows them):\n  {', '.join(ids)}, then the report.\n\n--report-to "
            f"{'|'.join(TRACKERS)} logs what each phase took and found; --from ID begins with a later phase"
        )
        return 0
    phases = [program.phase(phase_id) for phase_id in ids]
    own_words = [words_among(flags_of(phase), words) for phase in phases]
    _check_known(program, ids, own_words, words, name, others)
    # An impossible value is better found now than hours later.
    contexts = [context_for(phase, own)[0] for phase, own in zip(phases, own_words, strict=True)]
    for phase, own, context in zip(phases, own_words, contexts, strict=True):
        began = time.monotonic()
        if status := program.command("phase")([phase.id, *own]):
            again = shlex.join(
                ["python3", "run.py", *name.split(), *(word for word in typed or words if word != "--fresh")]
            )
            print(f"phase {phase.id} was stopped. Go on with: {again}", file=sys.stderr)
            return status
        ended(phase.output, context.data_dir, time.monotonic() - began)
    return (
        0
        if "--dry-run" in words
        else program.command("report")(["--preset", "full", *words_among(OF_THE_REPORT, words)])
    )


def _check_known(
    program: Program, ids: Sequence[str], own_words: list[list[str]], words: list[str], name: str, others: Sequence[str]
) -> None:
    """Raises: ConfigError for a flag that no phase has."""
    known = [*own_words, *(words_among(flags_of(program.phase(phase_id)), words) for phase_id in others)]
    foreign = [word for word in words if not any(word in own for own in known)]
    if foreign:
        flags = sorted(set().union(*(flags_of(program.phase(phase_id)) for phase_id in ids)))
        hint = suggestion(foreign[0].split("=")[0], flags)
        raise ConfigError(
            f"no phase of '{name}' knows {foreign[0]}.{hint}\nSee: python3 run.py phase ID --help, for the phases "
            f"{', '.join(ids)}"
        )
