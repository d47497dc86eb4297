"""`run.py phase`: one phase, or several that one word stands for; without a word, the list of them."""

from common.launch.catalogue import Catalogue
from common.launch.pipeline import run_in_order
from common.launch.running import carry_out, context_for, dry_run, say_what_runs


def main(argv: list[str], catalogue: Catalogue) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        return list_phases(catalogue)
    if argv[0] in catalogue.groups:
        return run_in_order(catalogue, catalogue.groups[argv[0]], argv[1:], f"phase {argv[0]}")
    context, args = context_for(catalogue.phase(argv[0]), argv[1:])
    say_what_runs(context)
    return dry_run(context) if args.dry_run else carry_out(context, context.forget_empty_runs)


def list_phases(catalogue: Catalogue) -> int:
    print("usage: run.py phase ID [flags]; each has its own --help\n")
    for phase_id in catalogue.phases:
        phase = catalogue.phase(phase_id)
        needs = " and ".join(f"phase {schema.phase}" for schema in phase.inputs) or "nothing"
        print(f"{phase.id:>5}  {phase.title}")
        print(f"       needs {needs}; builds data/{phase.output.folder}/")
    return 0
