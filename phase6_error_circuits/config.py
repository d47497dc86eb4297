"""What the phases behind the gate study: a contrast of two errors, in one format of the prompt."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from common.errors import ConfigError
from common.handoffs import ERROR_GATE
from common.model.settings import ModelConfig
from common.phases.settings import resamples, setting
from common.saes.settings import layer_numbers
from phase6_error_circuits.chosen import AUTO, studied_by
from phase6_error_circuits.pair import FORMATS

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class StudyConfig(ModelConfig):
    """Settings of a phase that looks for what carries the answer."""

    contrast: str = setting(AUTO, "contrast of two errors, such as IndexError/KeyError; auto: the one the gate chose")
    format: str = setting(
        AUTO, "how the question is put; auto: as the gate chose for the contrast", choices=(AUTO, *FORMATS)
    )
    force: bool = setting(
        False,
        "go on with a contrast that does not pass the gate: what carries an answer that the model does not give means "
        "little",
    )
    layers: str = setting(
        ALL,
        "layers whose stream, attention and MLP are looked at by themselves: all, or some with commas, as in 0,8,16, "
        "to which the last is added",
    )
    n_resamples: int = resamples()
    seed: int = setting(42, "seed of resamples and of random circuits", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        layer_numbers(self.layers, usual=ALL)

    def experiment(self) -> dict[str, str]:
        known = {"contrast": self.contrast, "format": self.format}
        return {**super().experiment(), **(known if AUTO not in known.values() else {})}

    def chosen_by(self, artifact: str, document: Callable[[], Any]) -> Self:
        """With the contrast and format that the gate chose, or that are nearest to passing it."""
        config = super().chosen_by(artifact, document)
        if artifact != ERROR_GATE.name:
            return config
        chosen = studied_by(document(), config.contrast, config.format, config.force)
        return dataclasses.replace(config, contrast=chosen.contrast, format=chosen.format)

    def layers_of(self, n_layers: int) -> list[int]:
        """Of a model of so many layers. Raises: ConfigError."""
        given = layer_numbers(self.layers, usual=ALL)
        if given is None:
            return [*range(n_layers)]
        if given[-1] >= n_layers:
            raise ConfigError(
                f"--layers is '{self.layers}'; the layers of {self.model} are 0 to {n_layers - 1}\n"
                f"Give layers among these, or {ALL}"
            )
        return sorted({*given, n_layers - 1})
