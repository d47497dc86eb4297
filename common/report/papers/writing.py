"""`run.py report --tables DIR`: what the report shows, as files for a paper."""

import re
from collections import Counter
from pathlib import Path

from common.files import write_atomic
from common.report.blocks import Block, Drawing, Figure, Fold, Section, Table
from common.report.collect import Collected
from common.report.papers.figures import files_of
from common.report.papers.references import bibtex_of
from common.report.papers.tables import csv_of, latex_of

REFERENCES = "references.bib"


def write_for_papers(collected: Collected, sections: list[Section], folder: Path) -> int:
    """Every table as CSV and LaTeX, every figure as SVG and PDF, and references.bib; the number of files.

    A file is named by its section and title: detection_scores.csv. Files that are there are replaced.
    Raises: PipelineError when one cannot be written.
    """
    files = {REFERENCES: bibtex_of(collected).encode()}
    taken: Counter[str] = Counter()
    for section in sections:
        for block in _inner(section.blocks):
            name = _slug(f"{section.id}_{block.title}")
            taken[name] += 1
            stem = name if taken[name] == 1 else f"{name}_{taken[name]}"
            files |= {f"{stem}.{ending}": data for ending, data in _files(block, stem).items()}
    for name, data in files.items():
        write_atomic(folder / name, data)
    return len(files)


def _inner(blocks: list[Block]) -> list[Table | Figure | Drawing]:
    """Tables with rows, and figures; those of folds too."""
    inner: list[Table | Figure | Drawing] = []
    for block in blocks:
        if isinstance(block, Fold):
            inner += _inner(block.blocks)
        elif isinstance(block, Figure | Drawing) or (isinstance(block, Table) and block.rows):
            inner.append(block)
    return inner


def _files(block: Table | Figure | Drawing, stem: str) -> dict[str, bytes]:
    if isinstance(block, Table):
        return {"csv": csv_of(block).encode(), "tex": latex_of(block, stem).encode()}
    return files_of(block)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:80]
