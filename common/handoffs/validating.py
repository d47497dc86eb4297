"""What the parts of phase 3 leave on disk: predictions, and programs that were written under a change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.handoffs.building import GENERATION_FIELDS, RESID_SITES
from common.handoffs.schema import ArtifactSchema, Field

if TYPE_CHECKING:
    from common.handoffs.changes import AblationDocument, AttentionDocument, OrthogonalisationDocument, TransferDocument
    from common.handoffs.detection import DetectionDocument
    from common.handoffs.positive_control import PositiveControlDocument
    from common.handoffs.steering import CoefficientsDocument, SteeringDocument

_VALIDATED = ("model", "dataset", "sae")  # what keeps experiments of phase 3 apart

DETECTION: ArtifactSchema[DetectionDocument] = ArtifactSchema(
    name="detection",
    phase="3.1",
    version=2,
    scope=_VALIDATED,
    tables={
        "predictions.parquet": {
            "direction": Field("string", "predict_incorrect | predict_correct | steer_incorrect | steer_correct"),
            "score": Field("string", "latent, the name of a baseline, or random_latent_LATENT"),
            "task_id": Field("int64", "number of the problem in its dataset"),
            "split": Field("string", "hyperparams | validation"),
            "value": Field("float64", "the score: larger speaks for the direction's positive label"),
            "threshold": Field("float64", "value above which the positive label is predicted"),
        },
        "labels.parquet": {
            "task_id": Field("int64", "number of the problem in its dataset"),
            "split": Field("string", "hyperparams | validation"),
            "temperature": Field("float64", "sampling temperature of the program; 0 is greedy"),
            "sample_index": Field("int64", "0-based number of the sample of this problem"),
            "label": Field("string", "correct | incorrect"),
            "complexity": Field("int64", "cyclomatic complexity of the reference solution"),
            "stratum": Field("string", "difficulty stratum of the problem"),
        },
    },
    documents={"detection.json": "detection:DetectionDocument"},
)

STEERING_FIELDS = {
    "record": Field("int64", "0-based number of the record: problem by problem, each with all its conditions"),
    "task_id": Field("int64", "number of the problem in its dataset"),
    "direction": Field("string", "the selected direction; none for the unsteered program"),
    "control": Field("string", "none: the direction itself | matched_latent | random_direction | unsteered"),
    "control_index": Field("int64", "the control's latent, or number of the random direction; -1 without control"),
    "layer": Field("int64", "block whose residual stream was changed; -1 when unsteered"),
    "site": Field("string", f"{' | '.join(RESID_SITES)}; empty when unsteered"),
    "coefficient": Field("float64", "length of the added vector, in mean norms of the residual stream at the site"),
    "code": Field("string", "the program taken from what the model wrote"),
    "label": GENERATION_FIELDS["label"],
    "error": GENERATION_FIELDS["error"],
    "degenerate": Field("bool", "whether it repeats itself, does not parse, or did not stop"),
    "trajectory_kl": Field(
        "float64", "mean over the unsteered program's tokens of KL(unsteered || steered) of the next token [nats]"
    ),
    "n_new_tokens": GENERATION_FIELDS["n_new_tokens"],
    "stop_reason": GENERATION_FIELDS["stop_reason"],
    "token_ids": GENERATION_FIELDS["token_ids"],
}

COEFFICIENTS: ArtifactSchema[CoefficientsDocument] = ArtifactSchema(
    name="coefficients",
    phase="3.2",
    version=2,
    scope=_VALIDATED,
    tables={
        "steering.parquet": STEERING_FIELDS,
        "vectors.parquet": {
            "direction": Field("string", "mean_difference | probe: fitted on the split sae, towards correct"),
            "layer": Field("int64", "block whose output at the last prompt token it was fitted to"),
            "dimension": Field("int64", "0-based dimension of the residual stream"),
            "value": Field("float64", "the direction's part along it; the whole vector has length 1"),
        },
    },
    documents={"coefficients.json": "steering:CoefficientsDocument"},
)

STEERING: ArtifactSchema[SteeringDocument] = ArtifactSchema(
    name="steering",
    phase="3.3",
    version=2,
    scope=_VALIDATED,
    tables={
        "steering.parquet": {
            **STEERING_FIELDS,
            "record": Field(
                "int64", "number of the record: those of tuning.parquet come first, then problem by problem"
            ),
        },
        "tuning.parquet": {
            **STEERING_FIELDS,
            "record": Field("int64", "0-based number: problem by problem, each unsteered and with every control twice"),
            "trajectory_kl": Field("float64", "always NaN: not measured"),
        },
    },
    documents={
        "steering.json": "steering:SteeringDocument",
        "examples.json": "steering:Examples",
    },
)

ATTENTION: ArtifactSchema[AttentionDocument] = ArtifactSchema(
    name="attention",
    phase="3.4",
    version=3,
    scope=_VALIDATED,
    tables={
        "attention.parquet": {
            "task_id": Field("int64", "number of the problem in its dataset"),
            "direction": Field("string", "the steering direction; none for the unsteered pass"),
            "layer": Field("int64", "block, from 0"),
            "head": Field("int64", "attention head of the block, from 0"),
            "section": Field(
                "string",
                "first_token (BOS, or the first word where the model has none) | template | description | tests | "
                "marker | learned_sink",
            ),
            "attention": Field("float64", "attention of the last prompt token to the section's tokens, 0 to 1"),
        },
        "controls.parquet": {
            "task_id": Field("int64", "number of the problem in its dataset"),
            "direction": Field("string", "the steering direction that a random one of the same length stands beside"),
            "control_index": Field("int64", "number of the random direction"),
            "displaced": Field("float64", "attention that it moves to another section, 0 to 1: mean of heads in reach"),
        },
        "head_controls.parquet": {
            "direction": Field("string", "the steering direction that a random one of the same length stands beside"),
            "control_index": Field("int64", "number of the random direction"),
            "layer": Field("int64", "block, from 0"),
            "head": Field("int64", "attention head of the block, from 0"),
            "section": Field("string", "as in attention.parquet"),
            "change": Field(
                "float64", "change of attention to the section under the random direction, mean of problems"
            ),
        },
    },
    documents={"attention.json": "changes:AttentionDocument"},
)

ORTHOGONALISATION: ArtifactSchema[OrthogonalisationDocument] = ArtifactSchema(
    name="orthogonalisation",
    phase="3.5",
    version=2,
    scope=_VALIDATED,
    tables={
        "orthogonalised.parquet": {
            **STEERING_FIELDS,
            "record": Field("int64", "0-based number of the record: condition by condition, each with all problems"),
            "layer": Field("int64", "block whose latent's direction was taken away; -1 for the unchanged model"),
            "site": Field("string", "always empty: the direction is taken away everywhere"),
            "coefficient": Field("float64", "always 0: nothing is added"),
            "trajectory_kl": Field(
                "float64",
                "mean over the unchanged model's program of KL(unchanged || changed) of the next token [nats]",
            ),
            "share_before": Field(
                "float64",
                "largest |<d, write>| / |write| of the unchanged model's components on the prompt; NaN for it",
            ),
            "share": Field("float64", "the same of the changed model's components: what they still write"),
            "component": Field(
                "string",
                "embedding | blocks.L.attn | blocks.L.mlp, or as the model calls it | the stream after the ...",
            ),
        }
    },
    documents={
        "orthogonalisation.json": "changes:OrthogonalisationDocument",
        "examples.json": "steering:Examples",
    },
)

TRANSFER: ArtifactSchema[TransferDocument] = ArtifactSchema(
    name="transfer",
    phase="3.6",
    version=3,
    scope=_VALIDATED,
    tables={
        "steering.parquet": {
            **STEERING_FIELDS,
            "record": Field(
                "int64",
                "0-based number of the record: unsteered programs of hyperparams and validation, then each direction's",
            ),
        },
        "predictions.parquet": {
            **DETECTION.tables["predictions.parquet"],
            "score": Field("string", "latent: with the first model's threshold | latent_refitted: with its own"),
        },
        "labels.parquet": {
            name: field for name, field in DETECTION.tables["labels.parquet"].items() if name != "stratum"
        },
    },
    tensors={
        "resid_post": "output of the block at the last prompt token, [n records, d_model] float32; NaN when steered",
        "record": "record of each row, [n records] int64",
    },
    documents={"transfer.json": "changes:TransferDocument"},
)

_ABLATION = Field("string", "prompt: none, the whole one | no_tests | name_only | shuffled_tests | no_description")

ABLATION: ArtifactSchema[AblationDocument] = ArtifactSchema(
    name="prompt_ablation",
    phase="3.7",
    scope=_VALIDATED,
    tables={
        "ablation.parquet": {
            "record": Field("int64", "0-based number of the record: problem by problem, each with all prompts"),
            "ablation": _ABLATION,
            **GENERATION_FIELDS,
        },
        "activations.parquet": {
            "task_id": Field("int64", "number of the problem in its dataset"),
            "ablation": _ABLATION,
            "direction": Field("string", "selected direction whose latent it is"),
            "activation": Field("float64", "the latent's activation at the last prompt token, in the SAE's units"),
        },
    },
    tensors={"resid_post": "output of a selected latent's block, last prompt token, [n records, d_model] float32"},
    documents={"prompt_ablation.json": "changes:AblationDocument"},
)

POSITIVE_CONTROL: ArtifactSchema[PositiveControlDocument] = ArtifactSchema(
    name="positive_control",
    phase="3.8",
    scope=("model",),
    tables={
        "steering.parquet": {
            **STEERING_FIELDS,
            "record": Field("int64", "0-based number of the record: twin by twin, each with all conditions"),
            "task_id": Field("int64", "number of the twin's row in the file of pairs"),
            "direction": Field("string", "positive_control; none for the unsteered program"),
            "control": Field("string", "none: the difference itself | random_direction | unsteered"),
            "coefficient": Field("float64", "how much of the mean difference is added; a random one has its length"),
            "label": Field("string", "correct where the program passes the asserts of the twin b"),
            "pair": Field("string", "operations: of the prompt, and that the program is to be turned into"),
            "length": Field("float64", "length of the added vector [units of the residual stream]; 0 when unsteered"),
        }
    },
    documents={"positive_control.json": "positive_control:PositiveControlDocument"},
)
