"""What phase 6 leaves on disk: pairs of programs that raise different errors, and what the model says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.handoffs.schema import ArtifactSchema, Field

if TYPE_CHECKING:
    from common.handoffs.error_gate import ErrorGateDocument
    from common.handoffs.error_pairs import ErrorPairsDocument

PAIR_FIELDS = {
    "record": Field("int64", "0-based number of the row"),
    "pair": Field("int64", "number of the two programs: the same in every format"),
    "kind": Field("string", "real | null: both programs are clean, and of one shape"),
    "contrast": Field("string", "what the clean and the corrupted program of a real pair raise: TypeError/SyntaxError"),
    "template": Field("string", "name of the template, within its contrast"),
    "format": Field("string", "seed | neutral | chat | few-shot: what stands around the code"),
    "split": Field("string", "select | report: no word is in both"),
    "shape": Field("int64", "number of the shape, within template and format; 0 is the most frequent one"),
}

ERROR_PAIRS: ArtifactSchema[ErrorPairsDocument] = ArtifactSchema(
    name="error_pairs",
    phase="6.1",
    scope=("model",),
    tables={
        "pairs.parquet": {
            **PAIR_FIELDS,
            "corruption": Field("string", "what makes the corrupted program of the clean one: one for each template"),
            "clean": Field("string", "the clean program"),
            "corrupted": Field("string", "the corrupted one; in a null pair another clean one"),
            "clean_error": Field("string", "class of the exception that the clean program raises"),
            "corrupted_error": Field("string", "the same of the corrupted one"),
            "clean_ids": Field("list<int32>", "what every phase gives the model: the whole clean prompt as tokens"),
            "corrupted_ids": Field("list<int32>", "the corrupted prompt, of as many tokens"),
            "roles": Field(
                "list<string>", "of each token of the clean prompt: the parts that it covers, with + between"
            ),
            "code_start": Field("int64", "first token of the code; all before it is the same in every pair"),
            "diff_first": Field("int64", "first token in which the two prompts of a real pair of this shape differ"),
            "diff_last": Field("int64", "the last such token"),
            "after_diff": Field("int64", "the token after diff_last"),
            "code_end": Field("int64", "the token that holds the end of the code's last line"),
            "raise": Field("int64", "the token of the word raise, or raises, in the question"),
            "end": Field("int64", "the last token, after which the answer stands"),
            "clean_token": Field("int64", "first token of the name of the contrast's first error, as the answer"),
            "corrupted_token": Field("int64", "the same of its second error"),
        }
    },
    documents={"pairs.json": "error_pairs:ErrorPairsDocument"},
)

ERROR_GATE: ArtifactSchema[ErrorGateDocument] = ArtifactSchema(
    name="error_gate",
    phase="6.1b",
    scope=("model",),
    tables={
        "gate.parquet": {
            **PAIR_FIELDS,
            "ld_clean": Field("float64", "logit of clean_token - that of corrupted_token after the clean prompt"),
            "ld_corrupted": Field("float64", "the same after the corrupted prompt"),
            "clean_answer": Field("string", "most likely of the eight names after the clean prompt"),
            "corrupted_answer": Field("string", "the same after the corrupted prompt"),
            "clean_top": Field("string", "most likely token of all after the clean prompt"),
            "corrupted_top": Field("string", "the same after the corrupted prompt"),
            "clean_mass": Field("float64", "probability of the first tokens of the eight names together"),
            "corrupted_mass": Field("float64", "the same after the corrupted prompt"),
        }
    },
    documents={"gate.json": "error_gate:ErrorGateDocument"},
)
