"""`run.py report`: what was found, as one HTML file for each experiment."""

import os
from pathlib import Path

from common.cli import Parser
from common.launch.program import Program
from common.launch.running import add_experiment_flags

KEYS = ("model", "dataset", "limit", "sae", "prompt")


def main(argv: list[str], program: Program) -> int:
    args = _parser().parse_args(argv)
    os.environ["HF_HUB_OFFLINE"] = "1"  # before its library is imported: only what lies on this disk is read
    from common.report.document import write_reports

    given = {key: str(value) for key in KEYS if (value := getattr(args, key)) is not None}
    reports = write_reports(program, args.data_dir, args.preset, given, args.out, tables=args.tables)
    for found in reports:
        title = [f"{found.name}:"] if len(reports) > 1 else []
        print("\n".join([*title, *found.sentences, f"Report: {found.path}"]))
    if args.tables:
        print(f"Tables and figures: {args.tables}")
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
    text = "folder for every table as CSV and LaTeX, every figure as SVG and PDF, and references.bib (default: none)"
    parser.add_argument("--tables", type=Path, default=None, help=text)
    return parser
