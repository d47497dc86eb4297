"""Texts that somebody labelled: one JSON object in each line of a file, cut into three splits.

    {"text": "Write a function ...", "label": "incorrect"}
    {"code": "def f(n): ...", "label": 0}

`text`, `prompt` and `code` are names for the same thing: what the model reads; a prompt and a code together are one
text. A label is correct or incorrect, or 0 or 1 (1 = incorrect). The splits have 50, 10 and 40 % of each label, by
seed; equal texts lie in one split.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from common.errors import ConfigError
from common.evaluation.label_counts import MIN_LABELLED
from common.problems.json_values import values_of
from common.problems.problem import shown
from phase4_anomaly_detection.text_rows import text_of

LABELS = {"correct": False, "incorrect": True}
SHARES = {"sae": 0.5, "hyperparams": 0.1, "validation": 0.4}
MIN_IN_A_SPLIT = 2  # of each label


@dataclass(frozen=True)
class LabelledFile:
    """The texts in the file's order, and which of them are incorrect."""

    texts: list[str]
    incorrect: Bool[np.ndarray, " n"]


def labelled_name(path: str) -> str:
    """'<stem>@<first 8 of its SHA-256>': an edited file is another one. Raises: ConfigError."""
    return f"{Path(path).stem}@{labelled_sha256(path)[:8]}"


def labelled_sha256(path: str) -> str:
    """SHA-256 of a file's content, whatever the file is called. Raises: ConfigError."""
    return hashlib.sha256(_content(Path(path))).hexdigest()


def read_labelled(path: str) -> LabelledFile:
    """The labelled texts of a file; empty lines are passed over.

    Raises: ConfigError naming the file and the line, or with fewer than 20 texts of a label.
    """
    texts, incorrect = [], []
    for where, row in values_of(io.BytesIO(_content(Path(path))), path):
        texts.append(text_of(row, where))
        incorrect.append(_label(row.get("label"), where))
    labelled = LabelledFile(texts, np.array(incorrect, dtype=bool))
    counts = {"correct": int((~labelled.incorrect).sum()), "incorrect": int(labelled.incorrect.sum())}
    if min(counts.values()) < MIN_LABELLED:
        both = " and ".join(f"{count} {label}" for label, count in counts.items())
        raise ConfigError(
            f"{path} has {both} texts: a detector needs {MIN_LABELLED} of each\nLabel more, or put files together"
        )
    return labelled


def split_of(texts: list[str], incorrect: Bool[np.ndarray, " n"], seed: int) -> np.ndarray:
    """The split of each text: sae, hyperparams or validation.

    Raises: ConfigError when equal texts leave a split without two texts of each label.
    """
    members: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        members.setdefault(text, []).append(place)
    labels = {text: frozenset(incorrect[places].tolist()) for text, places in members.items()}
    generator, split = np.random.default_rng(seed), np.full(len(texts), "validation", dtype="U11")
    for label in ({False}, {True}, {False, True}):  # texts that carry both labels are a kind of their own
        groups = [members[text] for text in members if labels[text] == label]
        total, used = sum(map(len, groups)), 0
        n_sae = round(SHARES["sae"] * total)
        n_tuning = n_sae + max(round(SHARES["hyperparams"] * total), MIN_IN_A_SPLIT)
        for place in generator.permutation(len(groups)):
            split[groups[place]] = "sae" if used < n_sae else "hyperparams" if used < n_tuning else "validation"
            used += len(groups[place])
    for name in SHARES:
        is_incorrect = incorrect[split == name]
        if min(is_incorrect.sum(), (~is_incorrect).sum()) < MIN_IN_A_SPLIT:
            raise ConfigError(
                f"the split '{name}' would have {int((~is_incorrect).sum())} correct and {int(is_incorrect.sum())} "
                f"incorrect texts, as equal texts stay together: {MIN_IN_A_SPLIT} of each are "
                f"needed\nLabel more texts that differ"
            )
    return split


def _content(path: Path) -> bytes:
    if path.suffix != ".jsonl":
        raise ConfigError(f"--labelled is '{path}': a file of labelled texts ends in .jsonl\nWrite one object per line")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--labelled {path} cannot be read: {error.strerror}\nGive an existing .jsonl file") from None


def _label(label: Any, where: str) -> bool:
    if isinstance(label, str) and label in LABELS:
        return LABELS[label]
    if type(label) is int and label in (0, 1):
        return label == 1
    raise ConfigError(f"{where}: 'label' is {shown(label)}\nGive correct or incorrect, or 0 or 1 (1 is incorrect)")
