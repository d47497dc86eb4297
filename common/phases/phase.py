"""The one interface of a phase."""

import dataclasses
import gc
import pkgutil
from collections.abc import Callable
from typing import Any

from common.errors import ConfigError
from common.handoffs import ArtifactSchema
from common.phases.settings import PhaseConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """What a phase folder exports as PHASE.

    `run` takes the RunContext and the settings. `n_records` tells, from the context, how many records a run has, for
    phases that can be cut into slices. Both are named as 'module:function': what does the work is imported when it is
    done, and help needs none of it. `report`, named likewise, makes its section of the page from a finished run.
    `n_kept_vectors` tells how many vectors of the model's width a record keeps, given the settings and the layers.
    `optional_inputs` are read where there is a finished run of them. `without` names those of `inputs` that a run
    with these settings does not read. `left_out` tells why a pipeline with these settings goes without the phase, and
    nothing where it does not.
    """

    id: str
    title: str
    config: type[PhaseConfig]
    inputs: tuple[ArtifactSchema, ...]
    output: ArtifactSchema
    run: str | Callable[[Any, Any], None]
    report: str = ""
    n_records: str | Callable[[Any], int] | None = None
    n_kept_vectors: Callable[[Any, int], int] = lambda config, n_layers: 0
    optional_inputs: Callable[[Any], tuple[ArtifactSchema, ...]] = lambda config: ()
    without: Callable[[Any], tuple[ArtifactSchema, ...]] = lambda config: ()
    left_out: Callable[[Any], str] = lambda config: ""

    def carry_out(self, ctx: Any) -> None:
        """Run the phase in a context; numpy and scipy on one thread.

        Sums over another number of threads differ in their last bits, and a machine's number of cores is no setting.
        """
        run = _function(self.run)
        from threadpoolctl import threadpool_limits  # after what it limits, which help does not import

        with threadpool_limits(limits=1, user_api="blas"):
            run(ctx, ctx.config)

    def count_records(self, ctx: Any) -> int:
        """How many records a run in this context has; 0 for a phase without slices."""
        return 0 if self.n_records is None else _function(self.n_records)(ctx)

    def needed(self, config: Any) -> tuple[ArtifactSchema, ...]:
        """The inputs that a run with these settings cannot do without."""
        spared = self.without(config)
        return tuple(schema for schema in self.inputs if schema not in spared)


def check_phase_takes_slices(phase: Phase, start: int, end: int | None) -> None:
    if phase.n_records is None and (start, end) != (0, None):
        raise ConfigError(f"phase {phase.id} has no slices\nLeave out --start and --end")


def _function(named: str | Callable) -> Callable:
    """The function of that name. Its module may import torch: looking for garbage meanwhile, in vain, takes a sixth."""
    if not isinstance(named, str):
        return named
    gc.disable()
    try:
        return pkgutil.resolve_name(named)
    finally:
        gc.enable()
