"""Phase 4: an alarm beside a code model. The names below are the Python API; each is imported when it is used."""

import importlib
from typing import Any

_HOME = {
    "AnomalyDetector": "detector",
    "Detection": "detector",
    "DetectorConfig": "config",
    "DiscoveryConfig": "config",
    "FeatureDiscovery": "discovery",
    "JumpReLUSAE": "jumprelu_sae",
    "SAEAnomalyPipeline": "pipeline",
    "SidecarConfig": "sidecar",
    "SidecarModel": "sidecar",
}

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll] - imported when used  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'phase4_anomaly_detection' has no attribute '{name}'; it has {', '.join(_HOME)}")
    return getattr(importlib.import_module(f"phase4_anomaly_detection.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
