"""Pairs of prompts made by hand, and a gate that lets them through, for tests of the phases behind it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from toy_phases import run_phase

from common import handoffs
from common.evaluation.statistics import counted
from common.handoffs.error_gate import (
    AnswersOfFormat,
    ErrorGateDocument,
    GateFigures,
    GateOfContrast,
    GateResult,
    GateVerdict,
    Studied,
)
from common.handoffs.error_pairs import ErrorPairsDocument
from common.model.settings import NamedModelConfig
from common.phases.context import RunContext
from common.phases.phase import Phase
from phase6_error_circuits.pair import ErrorPair

CONTRAST, OTHER = "IndexError/KeyError", "TypeError/NameError"
RIGHT, WRONG = 40, 41
N_TOKENS, CODE_START, DIFF, END = 9, 2, 4, 8


def made_pair(number: int, *, n_tokens: int = N_TOKENS, template: str = "bracket", **known) -> ErrorPair:
    """Tokens from 100 on, drawn by the number; the prompts differ at DIFF and after it, and begin and end alike."""
    generator = torch.Generator().manual_seed(number)
    ids = torch.randint(100, 1000, (n_tokens,), generator=generator).tolist()
    ids[:CODE_START], ids[-1] = [2, 3], 50
    corrupted = [*ids]
    corrupted[DIFF : DIFF + 2] = [60 + number % 5, 70]
    positions = {"diff_first": DIFF, "diff_last": DIFF + 1, "after_diff": DIFF + 2}
    positions |= {"code_end": n_tokens - 3, "raise": n_tokens - 2, "end": n_tokens - 1}
    made = ErrorPair(
        record=number,
        pair=number,
        kind="real",
        contrast=CONTRAST,
        template=template,
        format="seed",
        split="select" if number % 2 == 0 else "report",
        shape=0,
        corruption="another bracket",
        clean=f"clean {number}",
        corrupted=f"corrupted {number}",
        clean_error="IndexError",
        corrupted_error="KeyError",
        clean_ids=ids,
        corrupted_ids=corrupted,
        roles=["front"] * n_tokens,
        code_start=CODE_START,
        positions=positions,
        clean_token=RIGHT,
        corrupted_token=WRONG,
    )
    return replace(made, **known)


def made_pairs(n: int, **known) -> list[ErrorPair]:
    return [made_pair(number, **known) for number in range(n)]


def made_nulls(pairs: Sequence[ErrorPair]) -> list[ErrorPair]:
    """Two clean prompts each, of neighbours."""
    others = [*pairs[1:], pairs[0]]
    return [
        replace(
            one, record=1000 + one.record, kind="null", corrupted_ids=other.clean_ids, corrupted_error=one.clean_error
        )
        for one, other in zip(pairs, others, strict=True)
    ]


def made_gate(verdicts: dict[str, GateVerdict], studied: str | None) -> ErrorGateDocument:
    """`verdicts` by contrast, in the format seed."""
    contrasts = {}
    for name, verdict in verdicts.items():
        figures = _figures(verdict)
        result = GateResult(select=figures, held_out=None, null_pairs=None)
        templates = ["bracket"] if verdict.goes_on else []
        gate = GateOfContrast(verdict=verdict, templates=templates, together=result, by_template={"bracket": result})
        contrasts[name] = {"seed": gate}
    chosen = studied and Studied(
        contrast=studied, format="seed", templates=["bracket"], verdict=verdicts[studied], forced=False
    )
    every = AnswersOfFormat(
        n=20,
        accuracy=counted(10, 20),
        prior_corrected=counted(10, 20),
        top=counted(10, 20),
        mass=0.9,
        by_error={},
        prior_corrected_by_error={},
        predicted={},
    )
    return ErrorGateDocument(
        n=20,
        both_signs=counted(10, 20),
        held_out=None,
        null_pairs=None,
        studied=chosen or None,
        formats={"seed": every},
        contrasts=contrasts,
    )


def write_runs(
    data: Path, model: Path, pairs: Sequence[ErrorPair], gate: ErrorGateDocument, fresh: bool = False
) -> None:
    """Finished runs of phases 6.1 and 6.1b."""
    numbered = [replace(pair, record=record) for record, pair in enumerate(pairs)]
    columns = handoffs.ERROR_GATE.tables["gate.parquet"]

    def write_pairs(ctx: RunContext, _config: NamedModelConfig) -> None:
        with ctx.write() as out:
            out.table("pairs.parquet", [pair.as_row() for pair in numbered])
            nothing = dict.fromkeys(("formats", "contrasts"), {})
            document = ErrorPairsDocument(
                python="3",
                seed=0,
                templates="",
                n=len(pairs),
                held_out=0,
                null_pairs=0,
                front=[],
                without=[],
                **nothing,
            )
            out.document("pairs.json", document)

    def write_gate(ctx: RunContext, _config: NamedModelConfig) -> None:
        with ctx.write() as out:
            blank = {name: 0.0 if field.type == "float64" else "" for name, field in columns.items()}
            rows = [{**blank, **{k: v for k, v in pair.as_row().items() if k in columns}} for pair in numbered]
            out.table("gate.parquet", rows)
            out.document("gate.json", gate)

    for schema, run, inputs in (
        (handoffs.ERROR_PAIRS, write_pairs, ()),
        (handoffs.ERROR_GATE, write_gate, (handoffs.ERROR_PAIRS,)),
    ):
        phase = Phase(id=schema.phase, title="made", config=NamedModelConfig, inputs=inputs, output=schema, run=run)
        run_phase(phase, data, NamedModelConfig(model=str(model)), fresh=fresh)


def _figures(verdict: GateVerdict) -> GateFigures:
    n = {GateVerdict.PASS: 20, GateVerdict.WEAK: 2, GateVerdict.STOP: 0}[verdict]
    return GateFigures(
        n=20,
        clean=1.0,
        corrupted=-1.0,
        both_signs=counted(n, 20),
        clean_above=counted(20, 20),
        accuracy=counted(n, 20),
        prior_corrected=counted(n, 20),
        top=counted(n, 20),
        mass=0.9,
        top_tokens={},
        verdict=verdict,
    )
