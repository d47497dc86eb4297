"""The problems a run works on, by name (mbpp, humaneval, organism ...) or from a file."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import AssetError, ConfigError, suggestion
from common.problems.files import is_problem_file, problem_stem, problems_of, read_problem_bytes, rows_in
from common.problems.hub_datasets import hub_rows
from common.problems.problem import Problem, RowReader
from common.provenance import ROOT

__all__ = ["DATASETS", "ORGANISM_FILE", "Problem", "ProblemSet", "dataset_name", "drawn", "load_problems", "pilot_size"]

ORGANISM_FILE = ROOT / "model_organism" / "problems_974.jsonl"
_HUB = {
    "mbpp": ("google-research-datasets/mbpp", "full"),
    "mbpp-sanitized": ("google-research-datasets/mbpp", "sanitized"),
    "humaneval": ("openai/openai_humaneval", "openai_humaneval"),
    "mbpp+": ("evalplus/mbppplus", "default"),
    "humaneval+": ("evalplus/humanevalplus", "default"),
}
DATASETS = (*_HUB, "organism")
PILOT = "-pilot"  # stands between the name of a dataset and the number of problems drawn from it
_PILOT_SEED = 42
# Content whose reference solutions pass their own tests, all of them; tests hold it.
_KNOWN_GOOD = {
    "b4df13decff55bc5b86552c5ec867c8d179bd9c421e7546934dc99859f8395c9",  # MBPP
    "c78682361b8e6a15a0bf2c6369e6ef20cf554952d0a2ca998e45b0322099304a",  # its sanitized form
    "2c1ea46738434dd6c555609074b25ffdf7b0a2fd124085c3d80129f6f74ff5bd",  # the organism's
}


@dataclass(frozen=True)
class ProblemSet:
    """Problems, where they came from, and the SHA-256 of their canonical JSON: equal content, equal hash.

    `is_known_good`: every reference solution of theirs is known to pass its tests.
    """

    name: str
    problems: tuple[Problem, ...]
    source: str
    sha256: str
    is_known_good: bool


def dataset_name(dataset: str, limit: int = 0) -> str:
    """The name that keeps experiments apart; reads no hub.

    A dataset of the hub is its name; a file is "<stem>@<first 8 of its SHA-256>", so that an edited
    file is another dataset. Names of folders and files show what stands before the "@". A pilot of
    `limit` problems is a dataset of its own: "mbpp-pilot240".

    Raises: ConfigError for an unknown name, listing the valid ones, or an unreadable file.
    """
    pilot = f"{PILOT}{limit}" if limit else ""
    if dataset in _HUB:
        return dataset + pilot
    if dataset == "organism":
        stem, content = dataset, _organism_bytes()
    else:
        path = _path_of(dataset)
        stem, content = problem_stem(path), read_problem_bytes(path)
    return f"{stem}{pilot}@{hashlib.sha256(content).hexdigest()[:8]}"


def pilot_size(dataset_identity: str) -> int | None:
    """The number of problems of a pilot; None for a whole dataset."""
    match = re.search(rf"{PILOT}([1-9][0-9]*)(?:@[0-9a-f]{{8}})?$", dataset_identity)
    return int(match[1]) if match else None


def load_problems(dataset: str, limit: int = 0) -> ProblemSet:
    """The problems of a dataset: by task_id from the hub, in the file's order from a file.

    `limit` above 0 draws so many of them, by `drawn`.
    Raises: ConfigError for an unknown name, a file with a mistake in it or too large a limit; AssetError when the
    dataset is neither on this disk nor reachable.
    """
    rows, source = published_rows(dataset)
    problems = problems_of(rows)
    is_known_good = _content_hash(sorted(problems, key=_by_number)) in _KNOWN_GOOD
    if limit > len(problems):
        raise ConfigError(
            f"--limit is {limit}, but {dataset} has {len(problems)} problems\n"
            f"Give at most {len(problems)}, or leave it out"
        )
    if limit:
        problems, source = drawn(problems, limit), f"{source}; {limit} of {len(problems)} drawn"
    return ProblemSet(dataset_name(dataset, limit), problems, source, _content_hash(problems), is_known_good)


def published_rows(dataset: str) -> tuple[list[tuple[str, dict[str, Any]]], str]:
    """The rows of a dataset as they were published, each with its place, in the order of `load_problems`.

    The text says where they came from. Raises: as `load_problems`.
    """
    if dataset in _HUB:
        repository, config = _HUB[dataset]
        rows, source = hub_rows(f"the problems of {dataset}", repository, config)
        placed = [(f"{repository}, task {row['task_id']}", row) for row in rows]
        return sorted(placed, key=lambda pair: RowReader(pair[1], pair[0]).task_id()), source
    if dataset == "organism":
        return rows_in(_organism_bytes(), ORGANISM_FILE), "model_organism/problems_974.jsonl"
    path = _path_of(dataset)
    return rows_in(read_problem_bytes(path), path), str(path)


def drawn(problems: tuple[Problem, ...], n: int) -> tuple[Problem, ...]:
    """`n` problems at random, in the order they had: the same n always, and those of a smaller draw among them."""

    def draw(problem: Problem) -> str:
        return hashlib.sha256(f"pilot:{_PILOT_SEED}:{problem.task_id}".encode()).hexdigest()

    chosen = {problem.task_id for problem in sorted(problems, key=draw)[:n]}
    return tuple(problem for problem in problems if problem.task_id in chosen)


def _path_of(dataset: str) -> Path:
    path = Path(dataset)
    if not is_problem_file(path) and not path.is_file():
        raise ConfigError(
            f"no dataset is called {dataset!r}; there are {', '.join(DATASETS)}.{suggestion(dataset, list(DATASETS))}\n"
            "Give one of these to --dataset, or the path of a .jsonl or .json file in the schema of MBPP, HumanEval or "
            "EvalPlus"
        )
    return path


def _by_number(problem: Problem) -> int:
    return problem.task_id


def _content_hash(problems: Sequence[Problem]) -> str:
    rows = [dataclasses.asdict(problem) for problem in problems]
    canonical = json.dumps(rows, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _organism_bytes() -> bytes:
    if not ORGANISM_FILE.is_file():
        raise AssetError(
            f"the model organism's problems are missing: {ORGANISM_FILE}\n"
            "They are part of the repository; restore them with: git checkout -- model_organism/problems_974.jsonl"
        )
    return read_problem_bytes(ORGANISM_FILE)
