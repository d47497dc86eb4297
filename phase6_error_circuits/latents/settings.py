"""Which contrasts phases 6.3 to 6.5 look at; nothing here imports torch."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from common.handoffs import AMONG, ERROR_GATE
from common.phases.settings import setting
from common.saes.settings import SaeConfig
from phase6_error_circuits.latents.chosen import PASSING, STUDIED, chosen_contrasts

CONTRASTS_HELP = (
    f"{STUDIED}: the one that the gate chose; {PASSING}: all that it lets through; or contrasts with commas between"
)


@dataclass(frozen=True, kw_only=True)
class ContrastsConfig(SaeConfig):
    """Settings of a phase that looks at the latents behind some contrasts, which are settled when the gate is read."""

    contrasts: tuple[str, ...] = setting((STUDIED,), CONTRASTS_HELP)

    def experiment(self) -> dict[str, str]:
        is_open = self.contrasts in ((STUDIED,), (PASSING,))
        return {**super().experiment(), **({} if is_open else {"contrasts": AMONG.join(self.contrasts)})}

    def chosen_by(self, artifact: str, document: Callable[[], Any]) -> Self:
        config = super().chosen_by(artifact, document)
        if artifact != ERROR_GATE.name:
            return config
        names = tuple(one.contrast for one in chosen_contrasts(document(), config.contrasts))
        return dataclasses.replace(config, contrasts=names)
