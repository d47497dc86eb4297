"""`run.py export` and `run.py import`: what was found, to other tools' files, and a run of phase 1 from such files."""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from common.cli import Parser
from common.errors import ConfigError, suggestion
from common.exchange.dictionaries import ExportedConfig, dictionaries_to
from common.exchange.exporting import export_to
from common.exchange.folders import write_dataset, write_json_lines
from common.exchange.importing import import_from
from common.exchange.layout import LayoutConfig
from common.launch.running import add_experiment_flags, carry_out, context_from
from common.model.settings import NamedModelConfig
from common.phases.settings import add_flags
from common.report.collect import Collected, choose, collect_experiment, runs_in


@dataclass(frozen=True, kw_only=True)
class ExportConfig(ExportedConfig, LayoutConfig):
    """The flags of every kind of export; each takes those that it knows."""


def export_run(argv: list[str], _program: object) -> int:
    args = _export_parser().parse_args(argv)
    kind, folder = _target(args)
    return KINDS[kind](args, Path(folder), ["export", *argv])


def _target(args: Namespace) -> tuple[str, str]:
    """What is written, and where. Raises: ConfigError."""
    if bool(args.layout) != (args.out is not None):
        given, other = ("--layout npz", "--out FOLDER") if args.layout else ("--out", "--layout npz")
        raise ConfigError(f"{given} is given without {other}\nGive --to npz FOLDER")
    if (args.to is None) == (args.out is None):
        what = (
            "--to KIND FOLDER is missing" if args.to is None else f"--to {args.to[0]} is given beside --out {args.out}"
        )
        raise ConfigError(f"{what}\nGive one --to: {', '.join(KINDS)}, and the folder to make")
    kind, folder = args.to or ("npz", args.out)
    if kind not in KINDS:
        raise ConfigError(
            f"--to is '{kind}'.{suggestion(kind, [*KINDS])}\nGive one of {', '.join(KINDS)}, and a folder"
        )
    return kind, folder


def _npz(args: Namespace, folder: Path, words: list[str]) -> int:
    return carry_out(context_from(export_to(folder), args, words))


def _sae_lens(args: Namespace, folder: Path, words: list[str]) -> int:
    return carry_out(context_from(dictionaries_to(folder), args, words))


def _hf_dataset(args: Namespace, folder: Path, _words: list[str]) -> int:
    return _tell(write_dataset(_experiment(args), folder.resolve(), activations=args.activations), folder)


def _json(args: Namespace, folder: Path, _words: list[str]) -> int:
    return _tell(write_json_lines(_experiment(args), folder.resolve()), folder)


KINDS = {"hf-dataset": _hf_dataset, "json": _json, "npz": _npz, "sae-lens": _sae_lens}


def _experiment(args: Namespace) -> Collected:
    """The newest experiment of these settings, every phase of it that is there. Raises: MissingArtifactError."""
    typed, preset = vars(args), None if args.preset == "full" else args.preset
    given = {name: str(typed[name]) for name in ("model", "dataset", "limit", "prompt") if name in typed}
    runs = runs_in(args.data_dir)
    return collect_experiment(runs, choose(runs, given, args.data_dir, preset)[0], args.data_dir)


def _tell(n_programs: int, folder: Path) -> int:
    print(f"{n_programs} programs, and what was found of them: {folder}")
    return 0


def import_run(argv: list[str], _program: object) -> int:
    parser = _import_parser()
    text = "folder with dataset_*.parquet and activations/; or the table itself, where there are several"
    parser.add_argument("path", type=Path, metavar="PATH", help=text)
    parser.add_argument("--fresh", action="store_true", help="import again, and pass over unfinished runs")
    args = parser.parse_args(argv)
    return carry_out(context_from(import_from(args.path), args, ["import", *argv]))


def _export_parser() -> Parser:
    parser = Parser(prog="run.py export", description="Write what was found in another tool's files.")
    text = "hf-dataset: a folder for datasets.load_dataset, with its card; json: the same as lines of JSON, and every "
    text += "document; npz: phase 1 in the original project's layout (common/exchange/layout.py); sae-lens: the newest "
    text += "dictionaries of phase 1.3. The folder must not exist, or be empty"
    parser.add_argument("--to", nargs=2, metavar=("KIND", "FOLDER"), help=text)
    parser.add_argument("--layout", choices=["npz"], help="--layout npz --out FOLDER is --to npz FOLDER")
    parser.add_argument("--out", type=Path, help="see --layout")
    text = "with --to hf-dataset: the residual stream of every layer too, which may be gigabytes"
    parser.add_argument("--activations", action="store_true", help=text)
    text = "with --to npz or sae-lens: this run folder, instead of the newest"
    parser.add_argument("--input", type=Path, action="append", default=[], help=text)
    return _of_experiment(parser, ExportConfig)


def _import_parser() -> Parser:
    text = "npz: that of the original project, one file per task and layer (common/exchange/layout.py describes it)"
    description = "Make a finished run of phase 1 from another project's files."
    parser = Parser(prog="run.py import", description=description)
    parser.add_argument("--layout", choices=["npz"], required=True, help=text)
    return _of_experiment(parser, LayoutConfig)


def _of_experiment(parser: Parser, config_class: type[NamedModelConfig]) -> Parser:
    """Flags that say which experiment is meant."""
    add_experiment_flags(parser)
    add_flags(parser, config_class)
    parser.set_defaults(device="cpu", start=0, end=None, fresh=False, input=[])
    return parser
