"""Run model-written programs on the researcher's machine: honest labels, an unharmed host. See README.md."""

from common.sandbox.entry_point import infer_entry_point
from common.sandbox.pool import Sandbox
from common.sandbox.programs import Limits, Program
from common.sandbox.verdicts import Verdict

__all__ = ["Limits", "Program", "Sandbox", "Verdict", "infer_entry_point"]
