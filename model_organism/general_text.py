"""General text: chunks of Python's own standard library, its code and its documentation strings.

It comes with every Python, so no network is needed; its licence (PSF-2.0) allows it. Whole files are
held out for the evaluation, one in ten by a hash of their path.
"""

import random
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from model_organism.operations.operation import stable_hash
from model_organism.problems import EVALUATION, TRAINING

LEFT_OUT = "site-packages dist-packages /test idlelib encodings pydoc_data __pycache__ /_sysconfig".split()
LONGEST_LINE = 400
CHUNK_LENGTHS = (500, 700)
WORD, FEWEST_TIMES = re.compile(r"(?<![A-Za-z_])[a-z]{3,10}(?![A-Za-z_])"), 3


def general_chunks(rng: random.Random, n_characters: int, split: str = TRAINING) -> list[str]:
    """Chunks of 500 to 700 characters, whole lines, about `n_characters` in all, in random order.

    Fewer characters come back where the library holds no more.
    """
    paths = [path for path in _library_files() if _is_held_out_file(path) == (split == EVALUATION)]
    rng.shuffle(paths)
    chunks: list[str] = []
    total = 0
    for path in paths:
        if total >= n_characters:
            break
        for chunk in _chunks_of(_text_of(path), rng):
            chunks.append(chunk)
            total += len(chunk)
    rng.shuffle(chunks)
    return chunks


@cache
def training_words() -> tuple[str, ...]:
    """Words of three to ten small letters that files that are not held out have three times or more, in order."""
    paths = (path for path in _library_files() if not _is_held_out_file(path))
    counts = Counter(word for path in paths for word in WORD.findall(_text_of(path)))
    return tuple(sorted(word for word, n in counts.items() if n >= FEWEST_TIMES))


def _library_root() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def _library_files() -> list[str]:
    root = _library_root()
    paths = (f"/{path.relative_to(root).as_posix()}" for path in root.rglob("*.py"))
    return sorted(path for path in paths if not any(part in path for part in LEFT_OUT))


def _is_held_out_file(path: str) -> bool:
    return stable_hash(f"general{path}") % 10 == 0


def _text_of(path: str) -> str:
    """The file's text; empty for tables and for files that are not UTF-8."""
    try:
        text = (_library_root() / path[1:]).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""
    return "" if max((len(line) for line in text.splitlines()), default=0) > LONGEST_LINE else text


def _chunks_of(text: str, rng: random.Random) -> Iterator[str]:
    start = 0
    while start < len(text):
        line_end = text.find("\n", start + rng.randint(*CHUNK_LENGTHS))
        end = len(text) if line_end < 0 else line_end + 1
        yield text[start:end]
        start = end
