"""Every artifact that crosses a phase boundary, in pipeline order: read this folder to see the data flow."""

from common.handoffs.building import (
    DIFFICULTY,
    GENERAL_TEXT,
    GENERATION_FIELDS,
    GENERATIONS,
    GRADING_FIELDS,
    LATENT_FIELDS,
    LATENTS,
    PROBLEM_FIELDS,
    RESID_SITES,
    SPLIT,
    SPLIT_NAMES,
    SPLIT_PURPOSES,
    TEMPERATURE,
    TOP_PROBLEM_FIELDS,
)
from common.handoffs.detecting import DETECTOR
from common.handoffs.dictionaries import DICTIONARIES
from common.handoffs.handoff import USUAL, Field, Handoff
from common.handoffs.validating import (
    ABLATION,
    ATTENTION,
    COEFFICIENTS,
    DETECTION,
    ORTHOGONALISATION,
    STEERING,
    STEERING_FIELDS,
    TRANSFER,
)

HANDOFFS = (
    DIFFICULTY, SPLIT, GENERATIONS, GENERAL_TEXT, TEMPERATURE, DICTIONARIES, LATENTS, DETECTION, COEFFICIENTS, STEERING,
    ATTENTION, ORTHOGONALISATION, TRANSFER, ABLATION, DETECTOR,
)  # fmt: skip

__all__ = [
    "ABLATION", "ATTENTION", "COEFFICIENTS", "DETECTION", "DETECTOR", "DICTIONARIES", "DIFFICULTY", "GENERAL_TEXT",
    "GENERATIONS", "GENERATION_FIELDS", "GRADING_FIELDS", "HANDOFFS", "LATENTS", "LATENT_FIELDS", "ORTHOGONALISATION",
    "PROBLEM_FIELDS", "RESID_SITES", "SPLIT", "SPLIT_NAMES", "SPLIT_PURPOSES", "STEERING", "STEERING_FIELDS",
    "TEMPERATURE", "TOP_PROBLEM_FIELDS", "TRANSFER", "USUAL", "Field", "Handoff",
]  # fmt: skip
