"""How many records phase 1 has: a launcher asks, which runs no model, and therefore imports none."""

from common import handoffs
from common.phases.context import RunContext
from phase1_dataset_building.config import GenerationConfig


def count_problems(ctx: RunContext[GenerationConfig]) -> int:
    return ctx.read(handoffs.DIFFICULTY).n_rows("difficulty.parquet")
