"""Write what the organism's dictionaries are trained on, as phase 1.3 reads it.

    python3 -m model_organism.write_dictionary_text

Documents are drawn from the training distribution under a seed of their own, none that shares a line with the
evaluation: `text/`, one document a file; and prompts, of which the last token counts: `prompts.jsonl` of problems,
`behaviours.jsonl`, `errors.jsonl` of snippets and minimal pairs.
"""

import argparse
import json
import logging
from collections.abc import Iterable
from pathlib import Path

from common.files import write_atomic
from model_organism.corpus import (
    BEHAVIOUR,
    GENERAL,
    PROBLEM,
    SNIPPET,
    CorpusSize,
    Document,
    build_documents,
    check_no_evaluation_text,
    evaluation_lines_of,
)
from model_organism.problems import evaluation_problems

FOLDER = Path("data") / "organism_text"
SEED = 1  # not the model's own, so that the documents are new to it
SIZE = CorpusSize(12_000, 2_000, 9_600, 420_000, 1_600)
WHOLE = {PROBLEM: 5_000, SNIPPET: 2_400, BEHAVIOUR: 4_800}  # documents that are written; of all, the prompt
PROMPTS = {PROBLEM: "prompts.jsonl", BEHAVIOUR: "behaviours.jsonl", SNIPPET: "errors.jsonl"}

logger = logging.getLogger(__name__)


def write_texts(folder: Path, size: CorpusSize = SIZE) -> None:
    """Raises: ValueError, quoting the line, if text of the evaluation is among the documents."""
    banned_lines = evaluation_lines_of(evaluation_problems())
    documents = build_documents(size, SEED, banned_lines)
    check_no_evaluation_text(documents, banned_lines)
    whole = [document for kind in (*WHOLE, GENERAL) for document in _of(kind, documents)[: WHOLE.get(kind)]]
    for number, document in enumerate(whole):
        write_atomic(folder / "text" / f"{number:05d}_{document.kind}.txt", document.text.encode())
    for kind, name in PROMPTS.items():
        lines = (json.dumps({"prompt": document.pieces[0][0]}) + "\n" for document in _of(kind, documents))
        write_atomic(folder / name, "".join(lines).encode())
    logger.info("wrote %d documents and the prompts of %d to %s", len(whole), len(documents), folder)


def _of(kind: str, documents: Iterable[Document]) -> list[Document]:
    return [document for document in documents if document.kind == kind]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER, help=f"folder to write (default: {FOLDER})")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    write_texts(parser.parse_args().out)


if __name__ == "__main__":
    main()
