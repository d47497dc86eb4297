"""`run.py export` and `run.py import`: a run of phase 1 to and from the files of the original project.

`export --to sae-lens FOLDER` copies dictionaries of phase 1.3.
"""

from pathlib import Path

from common.cli import Parser
from common.errors import ConfigError
from common.launch.running import add_experiment_flags, carry_out, context_from
from common.npz.dictionaries import ExportedConfig, dictionaries_to
from common.npz.exporting import export_to
from common.npz.importing import import_from
from common.npz.layout import LayoutConfig
from common.phases.settings import add_flags


def export_run(argv: list[str], _program: object) -> int:
    if any(word.partition("=")[0] == "--to" for word in argv):
        return _export_dictionaries(argv)
    parser = _parser("export", "Write the newest finished run of phase 1 in another project's files.")
    parser.add_argument("--out", type=Path, required=True, help="folder to make; it must not exist, or be empty")
    text = "export this run folder, instead of the newest"
    parser.add_argument("--input", type=Path, action="append", default=[], help=text)
    args = parser.parse_args(argv)
    return carry_out(context_from(export_to(args.out), args, ["export", *argv]))


def import_run(argv: list[str], _program: object) -> int:
    parser = _parser("import", "Make a finished run of phase 1 from another project's files.")
    text = "folder with dataset_*.parquet and activations/; or the table itself, where there are several"
    parser.add_argument("path", type=Path, metavar="PATH", help=text)
    parser.add_argument("--fresh", action="store_true", help="import again, and pass over unfinished runs")
    args = parser.parse_args(argv)
    return carry_out(context_from(import_from(args.path), args, ["import", *argv]))


def _export_dictionaries(argv: list[str]) -> int:
    text = "Copy the newest finished dictionaries of phase 1.3 into a folder, one SAELens folder for each layer."
    parser = Parser(prog="run.py export", description=text)
    text = "sae-lens, and the folder to make; it must not exist, or be empty"
    parser.add_argument("--to", nargs=2, metavar=("sae-lens", "FOLDER"), required=True, help=text)
    text = "export this run folder, instead of the newest"
    parser.add_argument("--input", type=Path, action="append", default=[], help=text)
    add_experiment_flags(parser)
    add_flags(parser, ExportedConfig)
    parser.set_defaults(device="cpu", start=0, end=None, fresh=False)
    args = parser.parse_args(argv)
    kind, folder = args.to
    if kind != "sae-lens":
        raise ConfigError(
            f"--to is '{kind}'\nGive --to sae-lens FOLDER, or --layout npz --out FOLDER for a run of phase 1"
        )
    return carry_out(context_from(dictionaries_to(Path(folder)), args, ["export", *argv]))


def _parser(command: str, description: str) -> Parser:
    text = "npz: that of the original project, one file per task and layer (common/npz/layout.py describes it)"
    parser = Parser(prog=f"run.py {command}", description=description)
    parser.add_argument("--layout", choices=["npz"], required=True, help=text)
    add_experiment_flags(parser)
    add_flags(parser, LayoutConfig)
    parser.set_defaults(device="cpu", start=0, end=None, fresh=False, input=[])
    return parser
