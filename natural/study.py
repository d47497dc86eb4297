"""The question on a natural model: phases 1 to 4 on all problems, with dictionaries of its own, each command measured.

    python3 -m natural.study --model qwen-coder --dataset mbpp.jsonl --folder data/natural --dtype float32

In the folder of natural.dictionaries, whose steps come first where they are not finished: hours of one core.

1. What is known before anything is steered: phases 2, 3.1 and 4.1 (of prompts, then of programs).
2. Steering, as docs/natural/plan.md settled it: phase 3.2 screens every direction on problems that tune, and once more
   writes down the coefficient of the one that natural/screening.py chooses; phase 3.3 judges that one alone.
3. Phases 3.7 and 3.5, 3.6 on other problems where --to-dataset names them, and 3.4.

Stop it at any time and give the same command again. --page fills the table 'costs of the study'.
"""

from common.cli import exit_with
from natural import dictionaries, plan
from natural.experiment import Experiment, carry_out, experiment_of, parser_of
from natural.screening import screened
from natural.steps import Step

SAE = ("--sae", "own")
# A share of documents. What is active where these dictionaries read prompts is active in much other text; the automatic
# limit leaves next to none of it (docs/natural/plan.md).
LIMIT = ("--general-text-limit", "0.2")
TOGETHER = ("--batch-size", "256")  # steered programs: more rows for each reading of the weights
TAKEN_AWAY, CONTROLS_TAKEN_AWAY = "48", "19"  # phase 3.5: problems, matched latents of each direction
WITHOUT_PARTS = "97"  # phase 3.7: problems


def before_steering(experiment: Experiment, *again: str) -> list[Step]:
    """The programs, the latents, what they predict, the detectors; `again` is --reuse-validation, or nothing."""
    problems = ("--dataset", experiment.dataset)
    reading = (*experiment.loading, *SAE, *problems)
    analysing = ("--model", experiment.model, *SAE, *problems)
    return [
        *dictionaries.steps_of(experiment),
        experiment.programs(),
        experiment.general_text(),
        experiment.phase("2", *analysing, *LIMIT),
        experiment.phase("3.1", *analysing, *again),
        experiment.phase("4.1", *reading, *LIMIT, *again),
        experiment.phase("4.1", *reading, "--read", "programs", *LIMIT, *again, name="of programs, phase"),
    ]


def screening(experiment: Experiment) -> Step:
    """Phase 3.2 on every direction."""
    return _coefficients(experiment, name="screening, phase")


def steering(experiment: Experiment, direction: str, other: str | None, *again: str) -> list[Step]:
    """Everything under an intervention, once it is known what is steered; `again` as in `before_steering`."""
    design = plan.settled()
    writing = (*experiment.writing, *SAE, "--dataset", experiment.dataset, *TOGETHER, *again)
    judging = ("--n-controls", str(design.n_controls), "--problems", str(design.n_problems))
    steps = [
        _coefficients(experiment, "--directions", direction),
        experiment.sliced("3.3", *writing, *judging, "--tuning-problems", str(plan.SIGNS_ON)),
        experiment.sliced("3.7", *writing, "--problems", WITHOUT_PARTS),
        experiment.sliced("3.5", *writing, "--problems", TAKEN_AWAY, "--n-controls", CONTROLS_TAKEN_AWAY),
    ]
    if other:
        steps.append(experiment.sliced("3.6", *writing, "--to-dataset", other))
    return [*steps, experiment.phase("3.4", *experiment.loading, *SAE, "--dataset", experiment.dataset)]


def _coefficients(experiment: Experiment, *words: str, name: str = "phase") -> Step:
    tried = ("--coefficients", ",".join(map(str, plan.COEFFICIENTS)), "--problems", str(plan.TRIED_ON))
    writing = (*experiment.writing, *SAE, "--dataset", experiment.dataset, *TOGETHER)
    return experiment.sliced("3.2", *writing, *tried, *words, name=name)


def main(argv: list[str]) -> int:
    parser = parser_of("natural.study", __doc__)
    parser.add_argument("--to-dataset", help="other problems, for phase 3.6: a name or a file, as phase 3.6 takes them")
    parser.add_argument(
        "--reuse-validation",
        action="store_true",
        help="read the problems that report once more, where they were read with other dictionaries; it is counted",
    )
    args = parser.parse_args(argv)
    experiment = experiment_of(args)
    again = ("--reuse-validation",) if args.reuse_validation else ()
    steps = [*before_steering(experiment, *again), screening(experiment)]
    if not args.dry_run and (status := carry_out(steps, args, experiment, None)):
        return status
    direction = "CHOSEN" if args.dry_run else screened(experiment.data)
    steps += steering(experiment, direction, args.to_dataset, *again)
    return carry_out(steps, args, experiment, "costs of the study")


if __name__ == "__main__":
    exit_with(main)
