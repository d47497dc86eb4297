"""Programs written while something is added to the residual stream: records of a problem and a condition each.

Where a program is the very one that phase 1 wrote, so are its label and error: nothing is run twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from common.interventions.conditions import Condition, steering_vectors
from common.interventions.directions import Direction
from common.interventions.records import Earlier, Problem
from common.interventions.settings import SteeredConfig
from common.interventions.steered_generation import generate_steered
from common.interventions.writing import Written, write_conditions
from common.model.chat import chat_template_for
from common.model.generation import check_prompts_fit
from common.model.language_model import LanguageModel
from common.phases.context import RunContext
from common.programs.solutions import task_for
from common.programs.writing import Writer
from common.runs.records import RecordWriter
from common.saes.encoder import load_sae
from common.saes.sources import sae_source


@dataclass(frozen=True)
class SteeringPlan:
    """What is added, the unsteered condition first; `norms` are those of `conditions.mean_norms`."""

    conditions: list[Condition]
    directions: list[Direction]
    norms: dict[tuple[int, str], float]


def write_steered(
    ctx: RunContext[SteeredConfig],
    out: RecordWriter,
    problems: Sequence[Problem],
    plan: SteeringPlan,
    earlier: Earlier,
    steer_prompt: bool,
    *,
    first: int = 0,
    table: str = "steering.parquet",
    disturbance: bool = True,
) -> None:
    """Compute what `out` wants of these records: record first + i is problem i // n, condition i % n, of n conditions.

    See `conditions.steering_vectors` for what is added, `generate_steered` for `disturbance`. Where no record is
    wanted, no model is loaded.
    """
    if not any(map(out.wants, range(first, first + len(problems) * len(plan.conditions)))):
        return
    config, conditions = ctx.config, plan.conditions
    load = partial(load_sae, sae_source(config.sae, config.model, config.sae_revision))

    def begin(lm: LanguageModel) -> Writer[Written]:
        chat = chat_template_for(config.prompt, config.model, config.revision)
        tasks = [task_for(problem, config.seed, chat=chat) for problem in problems]
        lengths = check_prompts_fit(lm, [task.request for task in tasks])
        added = steering_vectors(conditions, plan.directions, load, plan.norms, seed=config.seed, d_model=lm.d_model)

        def write(batch: list[int]) -> list[Written]:
            places = [divmod(index - first, len(conditions)) for index in batch]
            made = generate_steered(
                lm,
                [tasks[problem].request for problem, _ in places],
                [added[condition] for _, condition in places],
                max_new_tokens=config.max_new_tokens,
                steer_prompt=steer_prompt,
                disturbance=disturbance,
            )
            return [
                Written(problems[problem], conditions[condition], one.generation, one.trajectory_kl)
                for (problem, condition), one in zip(places, made, strict=True)
            ]

        return Writer(write, [length for length in lengths for _ in conditions], first=first)

    write_conditions(ctx, out, config.model, begin, earlier, table)
