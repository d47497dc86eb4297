#!/usr/bin/env python3
"""PVA-SAE: does a code model know that the Python it is about to write is wrong?"""

import sys

try:
    import filelock  # noqa: F401 - the first package that is not Python's own
except ModuleNotFoundError:
    print(
        "error: the packages are not installed for this Python\nType: . .venv/bin/activate   "
        "(make demo and make test build .venv if it is missing)",
        file=sys.stderr,
    )
    sys.exit(2)

from common.cli import exit_with
from common.launch.catalogue import Catalogue, Command

PHASES = {  # id -> module that holds PHASE, in the order a full run takes
    "0": "phase0_difficulty.phase",
    "0.1": "phase0_1_split.phase",
    "1": "phase1_dataset_building.phase",
    "1.1": "phase1_dataset_building.general_text_phase",
    "1.2": "phase1_2_temperature.phase",
    "1.3": "phase1_3_dictionaries.phase",
    "2": "phase2_sae_analysis.phase",
    "3.1": "phase3_validation.detection.phase",
    "3.2": "phase3_validation.steering.coefficients_phase",
    "3.3": "phase3_validation.steering.steering_phase",
    "3.4": "phase3_validation.attention.phase",
    "3.5": "phase3_validation.orthogonalisation.phase",
    "3.6": "phase3_validation.transfer.phase",
    "3.7": "phase3_validation.ablation.phase",
    "3.8": "phase3_validation.positive_control.phase",
    "4.1": "phase4_anomaly_detection.phase",
    "5.1": "phase5_attribution_graphs.prompts.phase",
    "5.2": "phase5_attribution_graphs.baseline.phase",
    "5.3": "phase5_attribution_graphs.latents.phase",
    "5.4": "phase5_attribution_graphs.graphs.phase",
    "5.5": "phase5_attribution_graphs.interventions.phase",
    "6.1": "phase6_error_circuits.pairs.phase",
    "6.1b": "phase6_error_circuits.gate.phase",
    "6.2": "phase6_error_circuits.patching.phase",
    "6.3": "phase6_error_circuits.attribution.phase",
    "6.4": "phase6_error_circuits.circuits.phase",
    "6.4b": "phase6_error_circuits.dense.phase",
    "6.5": "phase6_error_circuits.nodes.phase",
}
COMMANDS = {  # name -> what carries it out, how it is typed, and what it does
    "phase": Command(
        "common.launch.phase_command:main",
        "phase 1",
        "run phase 1, or continue it where it stopped",
    ),
    "pipeline": Command(
        "common.launch.pipeline:main",
        "pipeline",
        "every phase in order, then the report   [--from PHASE] [--jobs N] [--report-to trackio|wandb]",
    ),
    "report": Command(
        "common.report.command:main",
        "report",
        "what was found, as one HTML file for each experiment; --compare sets them side by side",
    ),
    "latent": Command(
        "common.report.latents.command:main",
        "latent LAYER INDEX",
        "what one latent fires on and writes, as one HTML file",
    ),
    "discover": Command(
        "phase4_anomaly_detection.commands:discover",
        "discover --out FOLDER",
        "phase 4.1, and its detector as a folder of a few kilobytes",
    ),
    "detect": Command(
        "phase4_anomaly_detection.commands:detect",
        "detect --artifacts FOLDER --file TEXT",
        "what it says of a text; status 0, 3 or 4 routes it",
    ),
    "serve": Command(
        "phase4_anomaly_detection.commands:serve",
        "serve --artifacts FOLDER",
        "the same over HTTP",
    ),
    "trace": Command(
        "phase5_attribution_graphs.trace:main",
        "trace PROMPT --answer A --against B",
        "the attribution graph of any prompt, checked, as a page",
    ),
    "status": Command(
        "common.report.status:main",
        "status",
        "what is built, stale, unfinished or missing",
    ),
    "export": Command(
        "common.exchange.commands:export_run",
        "export --to KIND FOLDER",
        "what was found, for datasets (hf-dataset), as json or npz; dictionaries of phase 1.3 for sae-lens",
    ),
    "import": Command(
        "common.exchange.commands:import_run",
        "import --layout npz FOLDER",
        "a run of phase 1 from files of the original project",
    ),
    "grade": Command(
        "common.programs.grading:main",
        "grade PROGRAMS.jsonl --out VERDICTS.jsonl",
        "judge programs from any tool",
    ),
    "doctor": Command(
        "common.launch.doctor.doctor:main",
        "doctor [--model MODEL]",
        "is this machine ready, are its labels right, does a model behave?",
    ),
    "test-gpu": Command(
        "common.model.devices:main",
        "test-gpu [--detailed]",
        "devices, memory, number types, a small matrix product",
    ),
    "--version": Command("common.launch.version:main", "--version", "version and commit"),
}
EXAMPLES = {
    "phase": "list the phases",
    "phase 1 --help": "its settings, with units and defaults",
    "phase 1 --preset demo": "on the model organism: no network, no GPU",
    "phase 3": "phases 3.1, 3.2 and 3.3, then the report",
}
CATALOGUE = Catalogue(PHASES, COMMANDS, groups={"3": ("3.1", "3.2", "3.3")}, apart=("1.3", "3.6"))


def overview() -> str:
    """What may be typed, and what each command does."""
    rows = {command.usage: command.text for command in COMMANDS.values()}
    lines = [f"  python3 run.py {usage:<42}  {text}" for usage, text in {**EXAMPLES, **rows}.items()]
    end = "A run saves as it goes. Stop it at any time and give the same command again."
    return "\n".join([__doc__ or "", "", *lines, "", end])


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    return CATALOGUE.command(argv[0])(argv[1:])


if __name__ == "__main__":
    exit_with(main)
