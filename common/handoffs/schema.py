"""What describes one kind of artifact."""

import pkgutil
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Generic, TypeVar

from common.tables import Field

Document = TypeVar("Document")  # what the JSON file of an artifact holds

USUAL = {  # of an experiment: not named where it is so
    "prompt": "plain",
    "site": "resid_post",
    "prompts": "auto",
    "contrast": "auto",
    "contrasts": "auto",
    "format": "seed",
}
STUDIED = ("contrast", "contrasts", "format")  # keys that an input decides, where they were not typed
AMONG = "+"  # between several names under one key


@dataclass(frozen=True, kw_only=True)
class ArtifactSchema(Generic[Document]):
    """One kind of artifact. Raise `version` when a field is added, removed or changes its meaning, as a
    verdict's does when its rule changes.

    `scope` names what keeps experiments apart; `folder` is phase3_1 for phase 3.1, unless it is named. `tables` maps
    file name to columns ({dataset} is filled in; * stands for a setting's value, with one file for each), `tensors` a
    tensor's name to its meaning, `documents` a JSON file to what it holds, as 'module:class' of this folder, the
    artifact's own first. `unstable` files hold times, and figures drawings, which differ between identical runs: they
    are hashed for damage, but not part of the identity. `feeds` maps settings to the value that a run must have to be
    read by another phase: any other is for description only. `several` are keys of `scope` under which several names
    may stand, with + between: a run of more of them serves whoever asks for some.
    """

    name: str
    phase: str
    folder: str = ""
    version: int = 1
    scope: tuple[str, ...]
    tables: dict[str, dict[str, Field]]
    tensors: dict[str, str] = field(default_factory=dict)
    documents: dict[str, str] = field(default_factory=dict)
    unstable: tuple[str, ...] = ()
    feeds: dict[str, str] = field(default_factory=dict)
    several: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", self.folder or f"phase{self.phase.replace('.', '_')}")

    @property
    def keys(self) -> tuple[str, ...]:
        """`scope`, and the form of the prompts where a model was given problems."""
        return (*self.scope, "prompt") if {"model", "dataset"} <= {*self.scope} else self.scope

    def agrees(self, key: str, held: str | None, wanted: str | None) -> bool:
        """Whether a run that has `held` under a key is what is wanted, or that among others."""
        if key not in self.several or held is None or wanted is None:
            return held == wanted
        return {*wanted.split(AMONG)} <= {*held.split(AMONG)}

    def columns(self, table: str) -> dict[str, Field]:
        """Columns of one table. Raises: KeyError when no entry of `tables` fits its name: that is a bug."""
        for pattern, fields in self.tables.items():
            if table == pattern or fnmatchcase(table, pattern):
                return fields
        raise KeyError(f"{self.name} declares no table '{table}'")

    def kind_of(self, document: str) -> Any:
        """The class of one document; imported when it is asked for."""
        return pkgutil.resolve_name(f"common.handoffs.{self.documents[document]}")

    def is_unstable(self, file: str) -> bool:
        return file.startswith("figures/") or any(fnmatchcase(file, pattern) for pattern in self.unstable)
