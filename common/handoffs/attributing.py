"""What phase 5 leaves on disk: prompts of behaviours as token ids, and how well the model does on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.handoffs.schema import ArtifactSchema, Field

if TYPE_CHECKING:
    from common.handoffs.circuit_prompts import BaselineDocument, CircuitPromptsDocument

_ATTRIBUTED = ("model", "prompts")  # what keeps experiments of phase 5 apart: `prompts` names a file of one's own

_PROMPT_FIELDS = {
    "record": Field(
        "int64", "0-based number of the prompt: behaviour by behaviour, first those of train, then of test"
    ),
    "behaviour": Field("string", "agreement | capitals | sentiment | addition, or one of a file of one's own"),
    "split": Field("string", "train | test: no entity is in both"),
    "prompt": Field("string", "the text that is completed"),
    "correct_answer": Field("string", "the right completion, with the space before it"),
    "incorrect_answer": Field("string", "the wrong one that it is compared with"),
}

CIRCUIT_PROMPTS: ArtifactSchema[CircuitPromptsDocument] = ArtifactSchema(
    name="circuit_prompts",
    phase="5.1",
    scope=_ATTRIBUTED,
    tables={
        "prompts.parquet": {
            **_PROMPT_FIELDS,
            "entity": Field("string", "what the prompt is about: a noun, a country, a context, two operands"),
            "template": Field("string", "its frame, such as The capital of {country} is; empty where it has none"),
            "made_from": Field("string", "JSON object of what it was made from, such as subject, number and verb"),
            "pair": Field("int64", "record of the prompt that it is patched with, of as many tokens; -1: none"),
            "token_ids": Field(
                "list<int32>",
                "what every phase gives the model: what stands in front (BOS, or the sink), the prompt, and the tokens "
                "that both answers begin with",
            ),
            "n_prompt": Field(
                "int64", "how many of token_ids are in front or the prompt's; the others are the answers'"
            ),
            "correct_ids": Field("list<int32>", "all tokens of the right answer, those that both begin with included"),
            "incorrect_ids": Field("list<int32>", "the same of the wrong one"),
            "correct_token": Field("int64", "first token of the right answer that the wrong one does not share"),
            "incorrect_token": Field("int64", "the wrong answer's token in that place, which is right after token_ids"),
        }
    },
    documents={"prompts.json": "circuit_prompts:CircuitPromptsDocument"},
)

CIRCUIT_BASELINE: ArtifactSchema[BaselineDocument] = ArtifactSchema(
    name="circuit_baseline",
    phase="5.2",
    scope=_ATTRIBUTED,
    tables={
        "baseline.parquet": {
            **_PROMPT_FIELDS,
            "log_p_correct": Field("float64", "mean log-probability of a token of the right answer [nats]"),
            "log_p_incorrect": Field("float64", "the same of the wrong one"),
            "n_correct_tokens": Field("int64", "tokens of the right answer"),
            "n_incorrect_tokens": Field("int64", "tokens of the wrong one"),
            "margin": Field("float64", "log_p_correct - log_p_incorrect [nats a token]"),
            "logit_difference": Field(
                "float64", "logit of correct_token - that of incorrect_token after token_ids, as the model gives them"
            ),
            "above_threshold": Field("bool", "whether the margin is above the threshold of the behaviour"),
        }
    },
    documents={
        "baseline.json": "circuit_prompts:BaselineDocument",
        "baseline_metrics_train.json": "circuit_prompts:BaselineOfSplit",
        "baseline_metrics_test.json": "circuit_prompts:BaselineOfSplit",
    },
)
