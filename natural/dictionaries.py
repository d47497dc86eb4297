"""SAEs of three layers of a natural model, by phase 1.3: an hour to a day, gone on with after any stop.

    python3 -m natural.dictionaries --model qwen-coder --dataset mbpp.jsonl --folder data/natural

The layers are those where probes know most (docs/natural/README.md). The folder is that of natural.run, whose text and
split are used where they are there.
"""

from common.cli import exit_with
from natural.experiment import Experiment, carry_out, experiment_of, parser_of
from natural.steps import Step

LAYERS, TOKENS = "12,15,18", "2000000"
# Of what was tried, this leaves least of what varies between last prompt tokens (docs/natural/README.md).
SPARSITY = ("--threshold", "topk", "--l0", "64")
SAVE_EVERY = "190"  # steps: at the end of every text in memory, of 195 steps for three layers of 896 dimensions


def steps_of(experiment: Experiment, layers: str = LAYERS, tokens: str = TOKENS) -> list[Step]:
    problems = ("--dataset", experiment.dataset)
    training = ("--layers", layers, "--tokens", tokens, "--text", str(experiment.folder / "text"), *SPARSITY)
    precision = ("--matmul-precision", "medium") if experiment.dtype == "bfloat16" else ()
    loading = experiment.loading_with(experiment.workers)  # one process: threads take the place of others
    saving = ("--checkpoint-every", SAVE_EVERY)
    return [
        experiment.phase("0", *problems),
        experiment.phase("0.1", *problems),
        experiment.text(),
        experiment.phase("1.3", *loading, *problems, *training, *precision, *saving),
    ]


def main(argv: list[str]) -> int:
    parser = parser_of("natural.dictionaries", __doc__)
    parser.add_argument("--layers", default=LAYERS, help=f"layers that get an SAE (default: {LAYERS})")
    parser.add_argument("--tokens", default=TOKENS, help=f"tokens trained on (default: {TOKENS})")
    args = parser.parse_args(argv)
    experiment = experiment_of(args)
    return carry_out(steps_of(experiment, args.layers, args.tokens), args, experiment, "costs of the dictionaries")


if __name__ == "__main__":
    exit_with(main)
