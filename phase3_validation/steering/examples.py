"""A few programs that steering changed, as unified diffs: what the numbers look like up close."""

import difflib
from collections.abc import Sequence

from common.handoffs.steering import ChangedProgram
from common.interventions.outcomes import paired
from common.tables import TableRow

N_EXAMPLES = 3  # of each kind and direction
KINDS = {"fail_to_pass": ("incorrect", "correct"), "pass_to_fail": ("correct", "incorrect")}


def examples(before: Sequence[TableRow], after: Sequence[TableRow], texts: dict[int, str]) -> list[ChangedProgram]:
    """The first problems that steering corrected, and the first that it corrupted, in the order of the split.

    Nobody chose them. `texts` holds the problems' descriptions.
    """
    pairs = paired(before, after)
    shown = []
    for kind, labels in KINDS.items():
        both = zip(pairs.before, pairs.after, strict=True)
        changed = [(a, b) for a, b in both if (a["label"], b["label"]) == labels]
        shown += [
            ChangedProgram(
                transition=kind,
                task_id=a["task_id"],
                text=texts[a["task_id"]],
                error_before=a["error"],
                error_after=b["error"],
                degenerate=b["degenerate"],
                diff=unified_diff(a["code"], b["code"]),
            )
            for a, b in changed[:N_EXAMPLES]
        ]
    return shown


def unified_diff(unsteered: str, steered: str) -> str:
    lines = difflib.unified_diff(
        unsteered.splitlines(), steered.splitlines(), "unsteered", "steered", lineterm="", n=100
    )
    return "\n".join(lines).encode("utf-8", "backslashreplace").decode()  # half characters are no JSON
