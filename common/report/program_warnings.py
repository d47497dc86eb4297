"""What must be known of programs that a phase wrote and judged one by one: phases 1 and 1.2."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from common.report.blocks import Block, warning
from common.report.collect import PhaseResult
from common.report.runs import share_words


def warnings_of(phase: PhaseResult, rows: Sequence[dict[str, Any]]) -> list[Block]:
    """`rows` are those of all the phase's programs."""
    grading, warnings, where, n = phase.artifact.table("grading.parquet"), [], f"Phase {phase.schema.phase}", len(rows)
    near = sum(row["near_limit"] for row in grading)
    if near:
        words = f"{where}: {share_words(near, n)} programs came close to a limit of the sandbox."
        warnings.append(warning("Near a limit", f"{words} A slower machine may judge them otherwise."))
    cut = sum(row["stop_reason"] in ("max_new_tokens", "context_length") for row in rows)
    if cut:
        words = f"{where}: {share_words(cut, n)} outputs were cut off at the token limit."
        warnings.append(warning("Did not stop", words))
    labels = Counter(row["label"] for row in rows)
    for label, words in (("not_run", "the sandbox failed"), ("unsupported", "they return no value to judge by")):
        if labels[label]:
            warnings.append(
                warning("Not judged", f"{where}: {share_words(labels[label], n)} programs, because {words}.")
            )
    return warnings
