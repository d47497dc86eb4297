"""Settings of phase 5.3."""

from dataclasses import dataclass

from common.model.settings import BehaviourPromptsConfig
from common.phases.settings import RecordsConfig, batches, setting
from common.saes.settings import TranscoderConfig

LAST, ALL = "last5", "all"
N_LAST = 5


@dataclass(frozen=True, kw_only=True)
class CircuitLatentsConfig(TranscoderConfig, BehaviourPromptsConfig, RecordsConfig):
    """Which latents are kept of a prompt, and what tells whether the transcoders fit."""

    positions: str = setting(
        LAST, f"positions whose strongest latents are kept; {ALL}: all behind the first", choices=(LAST, ALL)
    )
    top_k: int = setting(20, "latents kept of each layer and position: those with the largest activations", minimum=1)
    text: str = setting(
        "auto",
        "general text that tells whether the transcoders fit, and gives examples: pile-10k | organism, or a folder of "
        ".txt files; auto: organism for the model organism, else pile-10k",
    )
    documents: int = setting(300, "documents of it, from the first on", demo=64, minimum=16)
    max_tokens: int = setting(128, "tokens read of a document, with what stands in front", unit="tokens", minimum=2)
    described: int = setting(500, "latents that get examples and logit effects, over all layers", minimum=0)
    examples: int = setting(5, "contexts, and tokens to either side, that each of them gets", minimum=1, maximum=50)
    accept_bad_fit: bool = setting(False, "go on where a transcoder does not reconstruct its MLP on general text")
    batch_size: int = batches("prompts taken through each layer", 50, demo=50)
    seed: int = setting(42, "seed of the position in each document at which the fit is measured", minimum=0)

    def experiment(self) -> dict[str, str]:
        from common.model.general_text import text_for, text_identity

        return {**super().experiment(), "text": text_identity(text_for(self.text, self.model))}
