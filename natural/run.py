"""The main job on a natural model: phases 0, 0.1, 1, 1.1 and 1.2, each command measured.

    python3 -m natural.run --model qwen-coder --dataset mbpp.jsonl --folder data/natural

Everything is written under --folder: general text, artifacts of the phases in data/, and steps.json with time, memory
and size of every command. Stop it at any time and give the same command again. --page fills the table 'costs' of a
page.
"""

from common.cli import exit_with
from natural.experiment import Experiment, carry_out, experiment_of, parser_of
from natural.steps import Step


def steps_of(experiment: Experiment) -> list[Step]:
    problems = ("--dataset", experiment.dataset)
    return [
        experiment.phase("0", *problems),
        experiment.phase("0.1", *problems),
        experiment.programs(),
        experiment.text(),
        experiment.general_text(),
        experiment.sliced("1.2", *experiment.writing, *problems, "--samples", "2"),
    ]


def main(argv: list[str]) -> int:
    args = parser_of("natural.run", __doc__).parse_args(argv)
    experiment = experiment_of(args)
    return carry_out(steps_of(experiment), args, experiment, "costs")


if __name__ == "__main__":
    exit_with(main)
