"""Write general_text.jsonl: general text that the model organism was not trained on.

    python3 -m model_organism.write_general_text

Chunks of the held-out files of Python's standard library (PSF-2.0), those of 300 characters or more. Another
Python has another library; the file in the repository was written with Python 3.11.
"""

import json
import random
from pathlib import Path

from common.files import write_atomic
from model_organism.general_text import general_chunks
from model_organism.problems import EVALUATION

FILE = Path(__file__).parent / "general_text.jsonl"
SHORTEST, SEED, EVERYTHING = 300, 42, 10**9


def write_general_text(path: Path) -> None:
    chunks = general_chunks(random.Random(SEED), EVERYTHING, EVALUATION)
    rows = [{"text": chunk} for chunk in chunks if len(chunk) >= SHORTEST]
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())


if __name__ == "__main__":
    write_general_text(FILE)
