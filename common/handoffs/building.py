"""What phases 0 to 2 leave on disk: problems, splits, programs with activations, general text, latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.handoffs.schema import ArtifactSchema, Field

if TYPE_CHECKING:
    from common.handoffs.preparation import SplitDocument, TemperatureDocument
    from common.handoffs.selected import SelectedDocument

PROBLEM_FIELDS = {
    "task_id": Field("int64", "number of the problem in its dataset"),
    "text": Field("string", "description, in English"),
    "code": Field("string", "reference solution"),
    "test_list": Field("list<string>", "asserts that a solution must pass"),
    "test_setup_code": Field("string", "code run after the solution and before the asserts"),
    "challenge_test_list": Field("list<string>", "further asserts, not used for labels"),
    "entry_point": Field("string", "name of the tested function"),
    "attributes": Field("string", "JSON object of what else the dataset says of the problem"),
    "complexity": Field("int64", "cyclomatic complexity of the reference solution, 1 or more (radon)"),
    "n_lines": Field("int64", "source lines of the reference solution, without blanks and comments"),
    "n_nodes": Field("int64", "nodes of its abstract syntax tree"),
}

DIFFICULTY = ArtifactSchema(
    name="difficulty",
    phase="0",
    scope=("dataset",),
    tables={"difficulty.parquet": PROBLEM_FIELDS},
)

SPLIT_NAMES = ("sae", "hyperparams", "validation")
SPLIT_FILES = {name: f"{name}_{{dataset}}.parquet" for name in SPLIT_NAMES}
SPLIT_PURPOSES = {"sae": "to select latents", "hyperparams": "to tune", "validation": "to report"}

SPLIT: ArtifactSchema[SplitDocument] = ArtifactSchema(
    name="split",
    phase="0.1",
    scope=("dataset",),
    tables=dict.fromkeys(SPLIT_FILES.values(), PROBLEM_FIELDS),
    documents={"split_metadata.json": "preparation:SplitDocument"},
)

JUDGED = ("correct", "incorrect")  # labels of programs that could be judged

# Of GENERATIONS and TEMPERATURE here and of ABLATION in validating.py: a change raises the version of all three.
GENERATION_FIELDS = {
    "task_id": Field("int64", "number of the problem in its dataset"),
    "prompt": Field("string", "the prompt, without the beginning-of-sequence token"),
    "generated_text": Field("string", "everything the model wrote"),
    "code": Field("string", "the program taken from generated_text"),
    "label": Field("string", "correct | incorrect | not_run: the sandbox failed | unsupported: no value to judge by"),
    "error": Field(
        "string",
        "why an incorrect program failed, else null: wrong_answer, syntax_error, name_error, type_error, value_error, "
        "index_error, key_error, attribute_error, import_error, zero_division, recursion, other_exception, timeout, "
        "memory, killed, or truncated: the token limit broke it",
    ),
    "failed_test": Field("string", "the first assert that did not hold; null when correct, or when none was reached"),
    "n_new_tokens": Field("int64", "tokens generated, the end-of-sequence token included"),
    "stop_reason": Field("string", "end_of_sequence | solution_complete | max_new_tokens | context_length"),
    "mean_logprob": Field(
        "float64", "mean log-probability of the generated tokens at temperature 1 [nats]", exact=False
    ),
    "first_token_logprob": Field("float64", "log-probability of the first generated token [nats]"),
    "first_token_entropy": Field("float64", "entropy of the first token's distribution [nats]"),
    "complexity": Field("int64", "cyclomatic complexity of the reference solution"),
    "token_ids": Field("list<int32>", "the generated tokens"),
    "temperature": Field("float64", "sampling temperature; 0 is greedy"),
    "sample_index": Field("int64", "0-based number of the sample of this problem"),
}

GRADING_FIELDS = {
    "task_id": Field("int64", "number of the problem in its dataset"),
    "message": Field("string", "what the sandbox saw; empty when correct"),
    "cpu_s": Field("float64", "processor time of the program [s]"),
    "wall_s": Field("float64", "elapsed time of the program [s]"),
    "near_limit": Field("bool", "whether the program came close to a limit of the sandbox"),
}

GENERATIONS = ArtifactSchema(
    name="generations",
    phase="1",
    folder="phase1_0",
    version=2,
    scope=("model", "dataset"),
    tables={"dataset.parquet": GENERATION_FIELDS, "grading.parquet": GRADING_FIELDS},
    tensors={
        "resid_post": "output of the block at the last prompt token, [n problems, d_model] float32",
        "resid_post.description_end": "the same at the description's last token (--positions)",
        "resid_post.tests_end": "the same at the last token of the asserts (--positions)",
        "task_id": "problem of each row, [n problems] int64",
    },
    unstable=("grading.parquet",),
)

RESID_SITES = ("resid_pre", "resid_mid", "resid_post")

GENERAL_TEXT = ArtifactSchema(
    name="general_text",
    phase="1.1",
    version=2,
    scope=("model",),
    tables={
        "documents.parquet": {
            "document": Field("int64", "0-based number of the document in the text"),
            "n_tokens": Field("int64", "tokens read, the beginning-of-sequence token included"),
            "position": Field("int64", "0-based position of the stored activation; 0: the only token, counted nowhere"),
            "token_id": Field("int64", "the token there"),
            "token": Field("string", "its text"),
        },
        "resid_norms.parquet": {
            "layer": Field("int64", "block, from 0"),
            "site": Field("string", f"{' | '.join(RESID_SITES)}: before attention, before the MLP, output"),
            "mean_norm": Field("float64", "mean L2 norm of the residual stream over n positions"),
            "n": Field("int64", "tokens read in all documents, without each document's first"),
        },
    },
    tensors={
        "resid_post": "output of the block at the document's position, [n documents, d_model] float32",
        "norm_sum": f"sum of the norms of a document, [n documents, n layers, {len(RESID_SITES)} sites] float64",
        "document": "document of each row, [n documents] int64",
    },
)

_SAMPLE_FIELDS = {name: GENERATION_FIELDS[name] for name in ("temperature", "sample_index")}

TEMPERATURE: ArtifactSchema[TemperatureDocument] = ArtifactSchema(
    name="temperature_samples",
    phase="1.2",
    version=2,
    scope=("model", "dataset"),
    tables={"dataset_temp_*.parquet": GENERATION_FIELDS, "grading.parquet": {**GRADING_FIELDS, **_SAMPLE_FIELDS}},
    documents={"temperature_metadata.json": "preparation:TemperatureDocument"},
    unstable=("grading.parquet",),
)

_OF_NEITHER = "NaN where fewer than two problems of a group make it fire"
_OF_KEPT = "over the kept latents of all layers; NaN for the others"

LATENT_FIELDS = {
    "layer": Field("int64", "block whose output the SAE reads, from 0"),
    "latent": Field("int64", "number of the latent in the SAE"),
    "n_active": Field("int64", "problems on which it fires"),
    "f_correct": Field("float64", "share of the correct problems on which it fires, 0 to 1"),
    "f_incorrect": Field("float64", "share of the incorrect problems on which it fires, 0 to 1"),
    "separation": Field("float64", "f_correct - f_incorrect, -1 to 1"),
    "t": Field("float64", "Welch's t of the activation, zeros included; positive: more active on incorrect problems"),
    "t_active": Field("float64", f"the same over the problems on which it fires; {_OF_NEITHER}"),
    "df": Field("float64", "Welch-Satterthwaite degrees of freedom of t"),
    "p": Field("float64", "two-sided p of t, for this latent alone"),
    "q": Field("float64", "Benjamini-Hochberg q of p over the kept latents that fire on a problem; NaN for the others"),
    "p_max": Field("float64", f"family-wise p: permutations whose largest |t| reaches this one's, {_OF_KEPT}"),
    "auroc": Field("float64", "AUROC of the activation for incorrect, ties counted half; below 0.5: for correct"),
    "general_text_rate": Field("float64", "share of general-text documents on which it fires, 0 to 1"),
    "decoder_norm": Field("float64", "L2 norm of its decoder row"),
    "kept": Field("bool", "whether general_text_rate is at most the layer's limit; only these are ranked"),
    "undecided": Field("bool", "whether that limit lies in the 95 % Wilson interval of general_text_rate"),
}

TOP_PROBLEM_FIELDS = {
    "direction": Field("string", "predict_incorrect | predict_correct | steer_incorrect | steer_correct"),
    "rank": Field("int64", "place of the latent in its direction, from 1"),
    "layer": LATENT_FIELDS["layer"],
    "latent": LATENT_FIELDS["latent"],
    "place": Field("int64", "place of the problem among those on which the latent is most active, from 1"),
    "task_id": Field("int64", "number of the problem in its dataset"),
    "activation": Field("float64", "the latent's activation at the last prompt token, in the SAE's units"),
    "pass_rate": Field("float64", "share of the problem's programs that are correct; 0 or 1 for greedy ones"),
    "text": Field("string", "description, in English"),
}

LATENTS: ArtifactSchema[SelectedDocument] = ArtifactSchema(
    name="latents",
    phase="2",
    version=3,
    scope=("model", "dataset", "sae"),
    tables={"latents.parquet": LATENT_FIELDS, "top_problems.parquet": TOP_PROBLEM_FIELDS},
    tensors={"max_abs_t": "largest |t| of all kept latents under each permutation of the labels, [n_permutations]"},
    documents={"selected.json": "selected:SelectedDocument"},
    feeds={"split": "sae"},
)
