"""The organism under changes of its latents, by plain transformers and hooks written for the tests alone."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from common.model.registry import model_location

TRANSCODERS = Path(model_location("organism")).parent / "transcoders"
Place = tuple[int, int, int]  # layer, position, latent
CAP = 30.0


class PlainOrganism:
    """Reads and sets latents one by one, in float32."""

    def __init__(self) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(
            model_location("organism"), dtype=torch.float32, attn_implementation="eager"
        )
        self.weights = [
            {
                name: array.float()
                for name, array in load_file(TRANSCODERS / f"layer_{layer}/sae_weights.safetensors").items()
            }
            for layer in range(len(self.model.model.layers))
        ]

    def activations(self, token_ids: list[int]) -> dict[Place, float]:
        """Of all latents that are active behind the first position."""
        found: dict[Place, float] = {}
        for layer, x in enumerate(self._read(token_ids)):
            acts = self._acts(layer, x)
            found |= {(layer, pos, latent): float(acts[pos, latent]) for pos, latent in acts.nonzero().tolist() if pos}
        return found

    def difference(
        self,
        token_ids: list[int],
        answers: tuple[int, int],
        values: Iterable[tuple[Place, float]] = (),
        added: Iterable[tuple[int, int, torch.Tensor]] = (),
        *,
        capped: bool = True,
    ) -> float:
        """The difference of two logits when latents have other values, and vectors are added to what MLPs write."""
        by_layer = defaultdict(list)
        for (layer, pos, latent), value in values:
            by_layer[layer].append((pos, latent, value))
        streams: dict[int, torch.Tensor] = {}

        def change(layer: int, output: torch.Tensor) -> torch.Tensor:
            output, acts = output.clone(), self._acts(layer, streams[layer])
            for pos, latent, value in by_layer[layer]:
                output[0, pos] += (value - acts[pos, latent]) * self.weights[layer]["W_dec"][latent]
            for where, pos, vector in added:
                output[0, pos] += vector if where == layer else 0
            return output

        handles = []
        for layer, block in enumerate(self.model.model.layers):
            before, after = block.pre_feedforward_layernorm, block.post_feedforward_layernorm
            handles.append(
                before.register_forward_pre_hook(lambda _m, a, layer=layer: streams.update({layer: a[0][0]}))
            )
            handles.append(after.register_forward_hook(lambda _m, _a, out, layer=layer: change(layer, out)))
        try:
            with torch.no_grad():
                logits = self.model(torch.tensor([token_ids])).logits[0, -1].double()
        finally:
            for handle in handles:
                handle.remove()
        logits = logits if capped else CAP * torch.atanh(logits / CAP)
        return float(logits[answers[0]] - logits[answers[1]])

    def _read(self, token_ids: list[int]) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        handles = [
            block.pre_feedforward_layernorm.register_forward_pre_hook(lambda _m, a: found.append(a[0][0]))
            for block in self.model.model.layers
        ]
        with torch.no_grad():
            self.model(torch.tensor([token_ids]))
        for handle in handles:
            handle.remove()
        return found

    def _acts(self, layer: int, stream: torch.Tensor) -> torch.Tensor:
        x = stream / (stream.square().mean(-1, keepdim=True) + self.model.config.rms_norm_eps).sqrt()
        w = self.weights[layer]
        pre = x @ w["W_enc"] + w["b_enc"]
        return torch.where(pre > w["threshold"], pre, 0.0)
