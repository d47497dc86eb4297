"""Run model-written programs on the researcher's machine: honest labels, an unharmed host. See README.md."""

import importlib
from typing import Any

_HOME = {
    "Limits": "programs",
    "Program": "programs",
    "Sandbox": "pool",
    "Verdict": "verdict",
    "infer_entry_point": "entry_point",
}
__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll] - imported when used


def __getattr__(name: str) -> Any:
    """Import a public name when it is used: servers import this package too, and each fork copies what they hold."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
