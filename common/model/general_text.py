"""General text that has nothing to do with the task: pile-10k, the model organism's own, or a folder of .txt files."""

import functools
import hashlib
import json
import platform
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from common.errors import AssetError, ConfigError
from common.files import file_sha256
from common.problems.hub_datasets import hub_rows
from common.provenance import ROOT
from common.words import plural

HUB_TEXTS = {"pile-10k": "NeelNanda/pile-10k"}
ORGANISM_FILE = ROOT / "model_organism" / "general_text.jsonl"
CODE = "code"  # Python's own library, as this machine has it
TEXTS = (*HUB_TEXTS, "organism", CODE)
_APART = {"test", "tests", "idle_test", "site-packages", "dist-packages", "lib2to3", "__pycache__"}
TEXT_OF_MODEL = {"organism": "organism"}  # every other model reads the first of TEXTS


@dataclass(frozen=True)
class GeneralText:
    """Documents in order, where they came from, and the SHA-256 of their JSON."""

    documents: tuple[str, ...]
    source: str

    @functools.cached_property
    def sha256(self) -> str:
        return hashlib.sha256(json.dumps(self.documents).encode("ascii")).hexdigest()


def text_for(text: str, model: str) -> str:
    """What 'auto' stands for."""
    return TEXT_OF_MODEL.get(model, TEXTS[0]) if text == "auto" else text


@functools.cache
def text_identity(text: str) -> str:
    """The name of a text of the hub, or '<name>@<hash of its files>'; reads no hub.

    Raises: ConfigError for what is no text; AssetError when the organism's text is gone.
    """
    if text in HUB_TEXTS:
        return text
    if text == "organism":
        return f"organism@{file_sha256(_organism_file())[:8]}"
    if text == CODE:
        files = _library_files()
        digest = hashlib.sha256("".join(f"{path.name}:{file_sha256(path)}\n" for path in files).encode())
        return f"{CODE}@{digest.hexdigest()[:8]}"
    files = _files_in(text)
    digest = hashlib.sha256("".join(f"{path.name}:{file_sha256(path)}\n" for path in files).encode())
    return f"{Path(text).resolve().name}@{digest.hexdigest()[:8]}"


@functools.cache
def load_text(text: str) -> GeneralText:
    """The documents of a text.

    Raises: ConfigError for what is no text; AssetError when it is neither on this disk nor reachable.
    """
    if text in HUB_TEXTS:
        try:
            rows, source = hub_rows(f"the documents of {text}", HUB_TEXTS[text])
        except AssetError as error:
            way_out = "Or give English text of your own, a folder of .txt files: --text FOLDER"
            raise AssetError(f"{error}\n{way_out}") from None
        documents = [row["text"] for row in rows]
    elif text == "organism":
        lines, source = _organism_file().read_text(encoding="utf-8").split("\n"), "model_organism/general_text.jsonl"
        documents = [json.loads(line)["text"] for line in lines if line]
    elif text == CODE:
        documents = [path.read_text(encoding="utf-8", errors="replace") for path in _library_files()]
        source = f"the library of Python {platform.python_version()}"
    else:
        documents, source = [_text_of(path) for path in _files_in(text)], text
    return GeneralText(tuple(documents), source)


def first_documents(text: str, n_documents: int) -> tuple[str, ...]:
    """The documents that a run reads: the first `n_documents`, without those in which there is nothing to read.

    Raises: ConfigError when the text has fewer, or nothing in them.
    """
    documents = load_text(text).documents
    if len(documents) < n_documents:
        raise ConfigError(
            f"the text '{text}' has {plural(len(documents), 'document')}, but --documents is {n_documents}\n"
            f"Give --documents {len(documents)} or fewer, or another text with --text"
        )
    kept = tuple(document for document in documents[:n_documents] if document.strip())
    if not kept:
        raise ConfigError(f"the first {n_documents} documents of '{text}' are blank\nGive another text with --text")
    return kept


@functools.cache
def _library_files() -> tuple[Path, ...]:
    """The modules of Python's own library, without their tests and what was installed beside them."""
    library = Path(sysconfig.get_path("stdlib"))
    files = (path for path in library.rglob("*.py") if not _APART.intersection(path.relative_to(library).parts))
    return tuple(sorted(files))


def _organism_file() -> Path:
    if not ORGANISM_FILE.is_file():
        shown = ORGANISM_FILE.relative_to(ROOT)
        raise AssetError(
            f"the model organism's general text is missing: {ORGANISM_FILE}\n"
            f"It is part of the repository; restore it with: git checkout -- {shown}"
        )
    return ORGANISM_FILE


def _files_in(folder: str) -> list[Path]:
    """Its .txt files by name: one document each."""
    if not folder or not Path(folder).is_dir():
        raise ConfigError(
            f"no text is called {folder!r}; there are {', '.join(TEXTS)}\n"
            "Give one of these to --text, or a folder of .txt files, one document in each"
        )
    files = sorted(Path(folder).glob("*.txt"))
    if not files:
        raise ConfigError(f"{folder} holds no .txt file\nGive a folder of .txt files to --text, one document in each")
    return files


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: the byte at {error.start} is not UTF-8\nConvert it with: iconv -f <its encoding> -t utf-8"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})\nGive files that this user may read") from None
