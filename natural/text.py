"""General text for phase 1.1, where Pile-10k cannot be had: English prose from the documentation of what is installed.

    python3 -m natural.text --out data/natural/text

1. Every installed distribution, by name, and the standard library: docstrings of its modules, the description in its
   metadata, and its .rst, .md and .txt files, licences left out.
2. Of these the paragraphs that are English prose (prose.py). A paragraph of which more than a third of the runs of five
   words were there before is a near duplicate, and left out.
3. Paragraphs of one file, in order, are joined to documents of at least 120 words, more than the 128 tokens that
   phase 1.1 reads. No distribution gives more than a tenth of the documents that are wanted.
4. The order follows from the seed and each document's text. One file each, and sources.json says for every document
   which distribution it comes from, in which version and under which licence.

The same packages give the same folder. It is made anew by anybody, so it is never committed.
"""

import collections
import dataclasses
import importlib.metadata
import shutil
import sysconfig
from collections.abc import Iterable, Iterator
from email.message import Message
from importlib.metadata import Distribution
from pathlib import Path
from typing import cast

from common.cli import Parser, exit_with, new_log
from common.errors import ConfigError
from common.files import text_sha256, write_json
from natural.prose import docstrings, paragraphs

MIN_WORDS = 120
SHINGLE, MOST_SEEN = 5, 1 / 3
MOST_OF_ONE = 0.1
SOURCES = "sources.json"
PYTHON = "Python's standard library"
_SKIPPED_FOLDERS = set("tests test testing __pycache__ site-packages idlelib lib2to3 _vendor vendored".split())
_SKIPPED_NAMES = ("license", "licence", "copying", "notice", "authors", "requirements", "top_level", "entry_points")
_TEXTS = (".rst", ".md", ".txt")


@dataclasses.dataclass(frozen=True)
class Document:
    """At least 120 words of prose, and where they come from."""

    text: str
    source: str
    version: str
    licence: str
    file: str


class Duplicates:
    """Which paragraphs say nothing new."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def is_new(self, paragraph: str) -> bool:
        """Whether most runs of five words of a paragraph are new; those of a new one count as seen from then on."""
        words = paragraph.lower().split()
        runs = {hash(tuple(words[i : i + SHINGLE])) for i in range(max(1, len(words) - SHINGLE + 1))}
        new = len(runs & self._seen) <= MOST_SEEN * len(runs)
        if new:
            self._seen |= runs
        return new


def join(prose: Iterable[str], min_words: int = MIN_WORDS) -> Iterator[str]:
    """Consecutive paragraphs joined until each document has `min_words`; what is left over is too short."""
    gathered: list[str] = []
    for paragraph in prose:
        gathered.append(paragraph)
        if sum(len(part.split()) for part in gathered) >= min_words:
            yield "\n\n".join(gathered) + "\n"
            gathered = []


def texts_of(path: Path) -> list[str]:
    """The texts in a file: its docstrings, or all of it; none where it is not UTF-8."""
    try:
        content = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError):
        return []
    return docstrings(content) if path.suffix == ".py" else [content]


def is_documentation(path: Path) -> bool:
    """Whether a file of a distribution may hold prose that belongs to it."""
    if _SKIPPED_FOLDERS & set(path.parts):
        return False
    return path.suffix == ".py" or (path.suffix in _TEXTS and not path.name.lower().startswith(_SKIPPED_NAMES))


def licence_of(distribution: Distribution) -> str:
    """The licence that a distribution's metadata names, in one line."""
    metadata = cast(Message, distribution.metadata)
    classifiers = [c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier", []) if c.startswith("License")]
    named = metadata.get("License-Expression") or ", ".join(classifiers) or metadata.get("License") or "not named"
    return named.strip().splitlines()[0][:80]


def all_documents(max_of_one: int) -> Iterator[Document]:
    """Prose of every distribution, by name, then of the standard library; at most `max_of_one` documents of each."""
    duplicates = Duplicates()
    known = {distribution.metadata["Name"].lower(): distribution for distribution in importlib.metadata.distributions()}
    for name in sorted(known):
        distribution = known[name]
        listed = sorted(file for file in distribution.files or () if is_documentation(Path(file)))
        files = [(str(file), texts_of(Path(str(distribution.locate_file(file))))) for file in listed]
        files.append(("METADATA", [str(cast(Message, distribution.metadata).get_payload() or "")]))
        yield from _documents(files, (name, distribution.version, licence_of(distribution)), duplicates, max_of_one)
    library = Path(sysconfig.get_path("stdlib"))
    paths = sorted(path for path in library.rglob("*.py") if is_documentation(path.relative_to(library)))
    files = [(str(path.relative_to(library)), texts_of(path)) for path in paths]
    about = (PYTHON, ".".join(sysconfig.get_python_version().split(".")[:2]), "PSF-2.0")
    yield from _documents(files, about, duplicates, max_of_one)


def _documents(
    files: Iterable[tuple[str, list[str]]], about: tuple[str, str, str], duplicates: Duplicates, max_of_one: int
) -> Iterator[Document]:
    """Of one distribution: those that come first by the hash of their text, so that no folder is preferred."""
    documents = []
    for file, texts in files:
        prose = (paragraph for text in texts for paragraph in paragraphs(text) if duplicates.is_new(paragraph))
        documents += [Document(text, *about, file) for text in join(prose)]
    yield from sorted(documents, key=lambda document: text_sha256(document.text))[:max_of_one]


def write_folder(documents: list[Document], n_found: int, seed: int, folder: Path) -> None:
    """One .txt file each, numbered in order, and sources.json; the folder gets its name once it is complete."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rows = {}
    for number, document in enumerate(documents):
        name = f"{number:05d}.txt"
        (partial / name).write_text(document.text, encoding="utf-8")
        rows[name] = [document.source, document.version, document.licence, document.file]
    counts = collections.Counter(document.source for document in documents)
    facts = {"documents": len(documents), "found": n_found, "seed": seed, "by_source": dict(counts.most_common())}
    write_json(partial / SOURCES, {**facts, "columns": ["source", "version", "licence", "file"], "files": rows})
    if folder.is_dir():
        folder.rmdir()
    partial.rename(folder)


def main(argv: list[str]) -> int:
    parser = Parser(prog="-m natural.text", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=_path, required=True, help="folder to make; it must not exist, or be empty")
    parser.add_argument("--documents", type=int, default=4000, help="documents, at most (default: 4000)")
    parser.add_argument("--seed", type=int, default=42, help="seed of their order (default: 42)")
    args, log = parser.parse_args(argv), new_log()
    if args.documents < 1:
        raise ConfigError(f"--documents is {args.documents}\nGive 1 or more")
    if args.out.is_dir() and any(args.out.iterdir()):
        raise ConfigError(f"--out {args.out} is not empty\nRemove it, or give another folder")
    documents = list(all_documents(max(1, round(MOST_OF_ONE * args.documents))))
    documents.sort(key=lambda document: text_sha256(f"{args.seed} {document.text}"))
    kept = documents[: args.documents]
    write_folder(kept, len(documents), args.seed, args.out)
    n_sources = len({document.source for document in kept})
    log.info("%d documents of %d distributions in %s (found: %d)", len(kept), n_sources, args.out, len(documents))
    return 0


def _path(text: str) -> Path:
    return Path(text).expanduser()


if __name__ == "__main__":
    exit_with(main)
