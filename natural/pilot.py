"""A pilot of 240 problems through every phase, with a PCA dictionary of two layers, each command measured.

    python3 -m natural.pilot --model qwen-coder --dataset mbpp.jsonl --folder data/natural

It shows that every phase works on a model that nobody here made; 8 steered problems and 10 controls decide nothing.
Every latent of a PCA dictionary fires on half of all texts, so that has no limit (--general-text-limit 1); no flag
accepts a bad fit. Phase 3.6 needs another model of the same shape, of which there is none here: the same weights in
another folder stand in, and it must find what the phases before it found. In the folder of natural.run, what that has
made is used. Stop it at any time and give the same command again. --page fills the table 'costs of the pilot'.
"""

import shutil
from pathlib import Path

from common.cli import exit_with
from common.errors import ConfigError
from natural.experiment import Experiment, carry_out, experiment_of, parser_of
from natural.steps import Step

PROBLEMS, STEERED, CONTROLS = "240", "8", "10"
FRACTIONS = "0.4,0.2,0.4"  # 48 problems for tuning: 24 would leave too few of a label
LAYERS = "12,18"  # of the dictionary
COEFFICIENTS = "-0.1,0.1"  # at 0.5 of the stream's norm, too many programs are degenerate


def steps_of(experiment: Experiment, layers: str = LAYERS) -> list[Step]:
    problems, sae = ("--dataset", experiment.dataset, "--limit", PROBLEMS), ("--sae", str(folder_of_saes(experiment)))
    generating = (*experiment.writing, *problems)
    writing = (*generating, *sae)
    reading = ("--model", experiment.model, *sae, *problems)
    some = ("--problems", STEERED)

    def phase(phase_id: str, *words: str) -> Step:
        return experiment.phase(phase_id, *words, name="pilot, phase")

    def sliced(phase_id: str, *words: str) -> Step:
        return experiment.sliced(phase_id, *words, name="pilot, phase")

    return [
        experiment.text(),
        experiment.general_text(),
        dictionary(experiment, layers),
        phase("0", *problems),
        phase("0.1", *problems, "--fractions", FRACTIONS),
        sliced("1", *generating),
        sliced("1.2", *generating, "--temperatures", "0.6,1.2", "--samples", "1"),
        phase("2", *reading, "--layers", layers, "--general-text-limit", "1"),
        phase("3.1", *reading),
        sliced("3.2", *writing, *some, "--coefficients", COEFFICIENTS),
        sliced("3.3", *writing, *some, "--n-controls", CONTROLS),
        phase("3.4", *experiment.loading, *sae, *problems, "--n-random", CONTROLS),
        sliced("3.5", *writing, *some, "--n-controls", CONTROLS),
        sliced("3.6", *writing, *some, "--to", str(twin_of(experiment))),
        sliced("3.7", *writing, *some),
        phase("4.1", *experiment.loading, *sae, *problems, "--general-text-limit", "1"),
    ]


def folder_of_saes(experiment: Experiment) -> Path:
    return experiment.folder / "pca"


def dictionary(experiment: Experiment, layers: str) -> Step:
    """It reads other documents than phase 1.1, on which so it is tried."""
    out = folder_of_saes(experiment)
    words = ("--text", str(experiment.folder / "text"), "--layers", layers, "--out", str(out))
    return Step("PCA dictionary", ("-m", "natural.pca", *experiment.loading, *words), out)


def twin_of(experiment: Experiment) -> Path:
    """Where the same weights lie once more."""
    return experiment.folder / f"{Path(experiment.model).name}-twin"


def make_twin(experiment: Experiment) -> None:
    """A folder with the model's files; links where the disk allows, since the weights are large.

    Raises: ConfigError when the model is no folder.
    """
    model, twin = Path(experiment.model), twin_of(experiment)
    if not model.is_dir():
        raise ConfigError(
            f"--model {experiment.model} is no folder, and phase 3.6 needs its files once more\n"
            f"Fetch it with: hf download {experiment.model} --local-dir FOLDER  and give that folder"
        )
    if not twin.is_dir():
        partial = twin.with_name(f"{twin.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(model, partial, symlinks=False, copy_function=_link)
        partial.rename(twin)


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(Path(source).resolve())


def main(argv: list[str]) -> int:
    parser = parser_of("natural.pilot", __doc__)
    parser.add_argument("--layers", default=LAYERS, help=f"layers of the PCA dictionary (default: {LAYERS})")
    args = parser.parse_args(argv)
    experiment = experiment_of(args)
    if not args.dry_run:
        make_twin(experiment)
    return carry_out(steps_of(experiment, args.layers), args, experiment, "costs of the pilot")


if __name__ == "__main__":
    exit_with(main)
