"""Phases 1 and 1.1. The names below are the classes of the project's first README, imported when they are used."""

import importlib
from typing import Any

_CLASSES = (
    "DatasetBuilder",
    "EnhancedDatasetManager",
    "EnhancedMBPPTester",
    "ModelManager",
    "ProductionMBPPTester",
)


def __getattr__(name: str) -> Any:
    if name not in _CLASSES:
        raise AttributeError(
            f"module 'phase1_dataset_building' has no attribute '{name}'; it has {', '.join(_CLASSES)}"
        )
    return getattr(importlib.import_module("pva_sae.dataset_building"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_CLASSES])
