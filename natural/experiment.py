"""What the whole run and the pilot share: where things lie, the settings, and the steps before the programs."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from common.cli import Parser, new_log
from common.errors import ConfigError
from common.handoffs import SCHEMAS
from common.launch.slices import STOPPED
from natural.page import fill
from natural.steps import Step, costs_table, run_steps

DOCUMENTS, OF_PHASE_1_1 = 4000, 1000  # most are for the pilot's dictionary, which so is tried on text new to it
FOLDERS = {schema.phase: schema.folder for schema in SCHEMAS}


@dataclass(frozen=True)
class Experiment:
    """One model on one file of problems, in one folder: text/, data/, steps.json."""

    model: str
    dataset: str
    folder: Path
    workers: int
    dtype: str = "bfloat16"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def loading(self) -> tuple[str, ...]:
        return self.loading_with(threads=1)

    def loading_with(self, threads: int) -> tuple[str, ...]:
        return ("--model", self.model, "--dtype", self.dtype, "--threads", str(threads), "--device", "cpu")

    @property
    def writing(self) -> tuple[str, ...]:
        """The settings of a phase that writes programs."""
        return (*self.loading, "--prompt", "plain", "--max-new-tokens", "256")

    def text(self) -> Step:
        out = self.folder / "text"
        return Step("general text", ("-m", "natural.text", "--out", str(out), "--documents", str(DOCUMENTS)), out)

    def programs(self) -> Step:
        """Phase 1, with the residual stream at every position."""
        positions = ("--positions", "last,description_end,tests_end")
        return self.sliced("1", *self.writing, "--dataset", self.dataset, *positions)

    def general_text(self) -> Step:
        words = ("--text", str(self.folder / "text"), "--documents", str(OF_PHASE_1_1))
        return self.sliced("1.1", *self.loading, *words)

    def phase(self, phase_id: str, *words: str, name: str = "phase") -> Step:
        """One phase, in one process."""
        command = ("run.py", "phase", phase_id, *words, "--data-dir", str(self.data))
        return Step(f"{name} {phase_id}", command, self.data / FOLDERS[phase_id])

    def sliced(self, phase_id: str, *words: str, name: str = "phase") -> Step:
        """One phase, cut into slices for several processes."""
        command = ("multi_gpu_launcher.py", "--phase", phase_id, "--workers", str(self.workers), *words)
        return Step(f"{name} {phase_id}", (*command, "--data-dir", str(self.data)), self.data / FOLDERS[phase_id])


def parser_of(module: str, description: str | None) -> Parser:
    """The flags that both commands have."""
    parser = Parser(prog=f"-m {module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the model, or its hub id")
    parser.add_argument("--dataset", required=True, help="problems: a .jsonl file in MBPP's schema, or mbpp")
    parser.add_argument("--folder", type=Path, required=True, help="where everything is written, and goes on")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread (default: 2)")
    parser.add_argument(
        "--dtype", default="bfloat16", help="float32 where a processor has no fast bfloat16 (default: bfloat16)"
    )
    parser.add_argument("--page", type=Path, help="page whose table of costs is filled when all is done")
    parser.add_argument("--dry-run", action="store_true", help="list the commands, and run none")
    return parser


def experiment_of(args: argparse.Namespace) -> Experiment:
    """The experiment that the flags describe; paths are made absolute, since commands run in the repository."""
    if args.workers < 1:
        raise ConfigError(f"--workers is {args.workers}\nGive 1 or more")
    model, dataset, folder = _absolute(args.model), _absolute(args.dataset), args.folder.expanduser().resolve()
    return Experiment(model, dataset, folder, args.workers, args.dtype)


def _absolute(name: str) -> str:
    """A path where there is one, else a name that the pipeline knows."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else name


def carry_out(steps: list[Step], args: argparse.Namespace, experiment: Experiment, table: str | None) -> int:
    """List the steps, or run them and fill the `table` of the page, where there is one. Returns the exit status."""
    log = new_log()
    if args.dry_run:
        for step in steps:
            log.info("%s: %s", step.name, step.command)
        return 0
    if args.page and not args.page.is_file():
        raise ConfigError(f"--page {args.page} does not exist\nGive the page to fill, or none")
    status = run_steps(steps, experiment.folder, log)
    if status == STOPPED:
        log.warning("stopped; everything computed is saved. Give the same command again to go on")
    elif args.page and table:
        fill(args.page, {table: costs_table(steps, experiment.folder)})
    return status
