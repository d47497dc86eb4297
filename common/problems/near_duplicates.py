"""Groups of problems so alike that seeing one gives away another: they must share a split.

1. Same text: descriptions equal after lower-casing and dropping everything but letters and digits.
2. Similar text: TF-IDF cosine of the descriptions at or above a threshold. Terms are single
   words and pairs of neighbouring words, with scikit-learn's smoothed idf and L2 norm, fitted
   on the problems at hand.
3. Same code: reference programs that are equal up to the names that they give (see `canonical_code`).

Two problems joined by any of these are a pair; groups are the connected components, so two
members of a group may be alike only through a third.
"""

import re
import unicodedata
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import TfidfVectorizer

from common.problems.canonical_code import canonical_code
from common.problems.problem import Problem


@dataclass(frozen=True)
class DuplicatePair:
    """Two near duplicates, the smaller task_id first; why (text, cosine, code); and their texts' cosine, 0 to 1."""

    task_id_a: int
    task_id_b: int
    reasons: tuple[str, ...]
    cosine: float


@dataclass(frozen=True)
class DuplicateGroup:
    """Problems that may not be split, and the pairs that join them."""

    task_ids: tuple[int, ...]
    pairs: tuple[DuplicatePair, ...]


def near_duplicate_pairs(problems: Sequence[Problem], cosine: float = 0.9) -> list[DuplicatePair]:
    """All pairs of near duplicates, by task_id."""
    similar = _similar_texts(problems, cosine)
    reasons: dict[tuple[int, int], list[str]] = {}
    for reason, pairs in (
        ("text", _pairs_with_equal([_normalised_text(problem.text) for problem in problems])),
        ("cosine", similar),
        ("code", _pairs_with_equal([canonical_code(problem.code, problem.entry_point) for problem in problems])),
    ):
        for pair in pairs:
            reasons.setdefault(pair, []).append(reason)
    missing = [pair for pair in reasons if pair not in similar]
    cosines = similar | _cosines(problems, missing)
    duplicates = []
    for (a, b), why in reasons.items():
        id_a, id_b = sorted((problems[a].task_id, problems[b].task_id))
        duplicates.append(DuplicatePair(id_a, id_b, tuple(why), cosines[a, b]))
    return sorted(duplicates, key=lambda pair: (pair.task_id_a, pair.task_id_b))


def group_near_duplicates(problems: Sequence[Problem], cosine: float = 0.9) -> list[DuplicateGroup]:
    """Every problem in exactly one group, most of them alone; groups by their smallest task_id, members by task_id.

    `cosine` is the least similarity, from 0 to 1, at which two texts count as near duplicates.
    """
    pairs = near_duplicate_pairs(problems, cosine)
    index_of = {problem.task_id: index for index, problem in enumerate(problems)}
    rows = [index_of[pair.task_id_a] for pair in pairs]
    columns = [index_of[pair.task_id_b] for pair in pairs]
    n = len(problems)
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (rows, columns)), shape=(n, n))
    n_groups, labels = connected_components(graph, directed=False) if n else (0, np.empty(0, dtype=int))
    members: list[list[int]] = [[] for _ in range(n_groups)]
    for problem, label in zip(problems, labels, strict=True):
        members[label].append(problem.task_id)
    pairs_of: list[list[DuplicatePair]] = [[] for _ in range(n_groups)]
    for pair in pairs:
        pairs_of[labels[index_of[pair.task_id_a]]].append(pair)
    groups = [DuplicateGroup(tuple(sorted(ids)), tuple(why)) for ids, why in zip(members, pairs_of, strict=True)]
    return sorted(groups, key=lambda group: group.task_ids[0])


def _pairs_with_equal(keys: Sequence[Hashable]) -> list[tuple[int, int]]:
    indices: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        indices.setdefault(key, []).append(index)
    return [(a, b) for same in indices.values() for place, a in enumerate(same) for b in same[place + 1 :]]


def _normalised_text(text: str) -> str:
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def _vectors(problems: Sequence[Problem]) -> Any:  # a sparse matrix, for which scikit-learn declares no type
    """TF-IDF rows, [n_problems, n_terms], each of length 1 (or 0 for a text without words)."""
    texts = [_normalised_text(problem.text) for problem in problems]
    if not any(texts):  # scikit-learn refuses an empty vocabulary
        texts = ["nothing" for _ in texts]
    return TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+").fit_transform(texts)


def _similar_texts(problems: Sequence[Problem], cosine: float) -> dict[tuple[int, int], float]:
    if len(problems) < 2:
        return {}
    vectors = _vectors(problems)
    products = (vectors @ vectors.T).tocoo()
    # Equal texts have a cosine of 1 up to rounding in the last places.
    near = (products.row < products.col) & (products.data >= cosine - 1e-9)
    rows, columns, values = products.row[near], products.col[near], products.data[near]
    return {(int(a), int(b)): min(1.0, float(value)) for a, b, value in zip(rows, columns, values, strict=True)}


def _cosines(problems: Sequence[Problem], pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], float]:
    if not pairs:
        return {}
    vectors = _vectors(problems)
    return {(a, b): min(1.0, float((vectors[[a]] @ vectors[[b]].T).sum())) for a, b in pairs}
