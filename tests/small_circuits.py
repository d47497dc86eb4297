"""Prompts of the organism with their circuits, for tests of phase 5.5."""

import logging

from common.model.language_model import LanguageModel
from phase5_attribution_graphs.interventions.circuits import Circuit, find_circuit
from phase5_attribution_graphs.interventions.measuring import Meter

LOG = logging.getLogger("test")
PROMPTS = {  # prompt -> the right answer, and the wrong one
    "My jacket beside the village": (" was", " were"),
    "My jackets beside the village": (" were", " was"),
    "The capital of Peru is": (" Lima", " Quito"),
}


def asked(lm: LanguageModel, prompt: str) -> tuple[list[int], tuple[int, int]]:
    """Token ids of a prompt, with what both answers begin with, and the first token in which these differ."""
    before = lm.tokenizer(prompt).input_ids
    right, wrong = (lm.tokenizer(prompt + answer).input_ids[len(before) :] for answer in PROMPTS[prompt])
    shared = next(place for place, (one, other) in enumerate(zip(right, wrong, strict=False)) if one != other)
    return before + right[:shared], (right[shared], wrong[shared])


def circuit_of(lm: LanguageModel, transcoders, prompt: str, max_latents: int = 7500) -> Circuit:
    return find_circuit(lm, transcoders, *asked(lm, prompt), set_size=10, max_latents=max_latents, max_memory_mb=32.0)


def meter_of(lm: LanguageModel, transcoders, circuit: Circuit, batch_size: int = 64) -> Meter:
    return Meter(lm, circuit.run, transcoders, circuit.target, batch_size, LOG)
