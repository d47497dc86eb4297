"""`run.py report`: what was found, as one HTML file for each experiment; with --compare one of all of them."""

import argparse
import os
from pathlib import Path

from common.cli import Parser
from common.errors import ConfigError
from common.launch.catalogue import Catalogue
from common.launch.running import add_experiment_flags

COMPARISON = "comparison.html"
KEYS = ("model", "dataset", "limit", "sae", "prompt")


def main(argv: list[str], catalogue: Catalogue) -> int:
    args = _parser().parse_args(argv)
    os.environ["HF_HUB_OFFLINE"] = "1"  # before its library is imported: only what lies on this disk is read
    from common.report.document import write_reports

    given = {key: str(value) for key in KEYS if (value := getattr(args, key)) is not None}
    if args.compare is not None:
        return _compare(args, given)
    reports = write_reports(
        catalogue, args.data_dir, args.preset, given, args.out, tables=args.tables, texts=args.texts
    )
    for report in reports:
        title = [f"{report.name}:"] if len(reports) > 1 else []
        print("\n".join([*title, *report.sentences, f"Report: {report.path}"]))
    if args.tables:
        print(f"Tables and figures: {args.tables}")
    return 0


def _compare(args: argparse.Namespace, given: dict[str, str]) -> int:
    """Set experiments side by side: a page, and its table on the terminal. Raises: ConfigError."""
    if args.tables:
        raise ConfigError(f"--tables is {args.tables}: a comparison has no files for papers\nLeave out --tables")
    from common.report.comparing.page import terminal_lines, write_comparison
    from common.report.comparing.rows import compared_in

    folders = args.compare or [args.data_dir]
    rows = compared_in(folders, given, args.preset)
    path = args.out or folders[0] / COMPARISON
    write_comparison(rows, path)
    print("\n".join([*terminal_lines(rows), f"Comparison: {path}"]))
    return 0


def _parser() -> Parser:
    parser = Parser(prog="run.py report", description="What was found, as one HTML file for each experiment.")
    add_experiment_flags(parser, preset=None)
    for key in ("model", "dataset", "sae"):
        parser.add_argument(f"--{key}", default=None, help=f"only experiments with this {key} (default: all there are)")
    parser.add_argument("--limit", type=int, default=None, help="only pilots of so many problems (default: all)")
    parser.add_argument("--prompt", default=None, help="only experiments with plain prompts, or chat (default: all)")
    text = "file to write, for the newest of them (default: report.html in --data-dir; with several experiments there "
    text += "report_MODEL_DATASET.html for each)"
    parser.add_argument("--out", type=Path, default=None, help=text)
    text = "set experiments side by side instead, those in --data-dir or in these data folders: one table, one plot, "
    text += f"in {COMPARISON} of the first (default: no)"
    parser.add_argument("--compare", type=Path, nargs="*", default=None, metavar="FOLDER", help=text)
    text = "folder for every table as CSV and LaTeX, every figure as SVG and PDF, and references.bib (default: none)"
    parser.add_argument("--tables", type=Path, default=None, help=text)
    text = "for publishing: without the texts of problems, programs and documents, and without places of folders"
    parser.add_argument("--no-texts", dest="texts", action="store_false", help=text)
    return parser
