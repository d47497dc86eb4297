"""Every artifact that crosses a phase boundary, in pipeline order: read this file to see the data flow."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Field:
    """One column: Arrow type, and meaning with unit."""

    type: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Handoff:
    """One kind of artifact. Raise `version` when a field is added, removed or changes its meaning.

    `scope` names what keeps experiments apart. `tables` maps file name to columns ({dataset}
    is filled in), `tensors` a tensor's name to its meaning. `unstable` files hold times, which
    differ between identical runs: they are hashed for damage, but not part of the identity.
    """

    name: str
    phase: str
    folder: str
    version: int
    scope: tuple[str, ...]
    tables: dict[str, dict[str, Field]]
    tensors: dict[str, str] = field(default_factory=dict)
    unstable: tuple[str, ...] = ()


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

DIFFICULTY = Handoff(
    name="difficulty",
    phase="0",
    folder="phase0",
    version=1,
    scope=("dataset",),
    tables={"difficulty.parquet": PROBLEM_FIELDS},
)

SPLIT_NAMES = ("sae", "hyperparams", "validation")

SPLIT = Handoff(
    name="split",
    phase="0.1",
    folder="phase0_1",
    version=1,
    scope=("dataset",),
    tables={f"{name}_{{dataset}}.parquet": PROBLEM_FIELDS for name in SPLIT_NAMES},
)

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
    "mean_logprob": Field("float64", "mean log-probability of the generated tokens at temperature 1 [nats]"),
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

GENERATIONS = Handoff(
    name="generations",
    phase="1",
    folder="phase1_0",
    version=1,
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

HANDOFFS = (DIFFICULTY, SPLIT, GENERATIONS)
