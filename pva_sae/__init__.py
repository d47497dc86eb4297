"""PVA-SAE from Python: what a data folder holds, a phase as a call, and the detector. Names are imported when used."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.errors import PipelineError
    from phase4_anomaly_detection.detector import AnomalyDetector
    from phase4_anomaly_detection.pipeline import SAEAnomalyPipeline
    from pva_sae.phases import run_phase, run_phases
    from pva_sae.runs import Run, latest

__all__ = ["AnomalyDetector", "PipelineError", "Run", "SAEAnomalyPipeline", "latest", "run_phase", "run_phases"]

_HOME = {
    "AnomalyDetector": "phase4_anomaly_detection.detector",
    "PipelineError": "common.errors",
    "Run": "pva_sae.runs",
    "SAEAnomalyPipeline": "phase4_anomaly_detection.pipeline",
    "latest": "pva_sae.runs",
    "run_phase": "pva_sae.phases",
    "run_phases": "pva_sae.phases",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pva_sae' has no attribute '{name}'; it has {', '.join(_HOME)}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
