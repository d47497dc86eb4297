"""Phase 3.3's programs beside one `generate` call for each problem and direction; and what one more control costs.

Both write the organism's programs while one selected direction, matched latents or random directions are added from
the last prompt token on, and judge them: the phase in its own batches (common/interventions/steered_generation.py)
and sandbox, with all it keeps of them; the loop with a hook that adds the vector, an end-of-sequence stop, and a
process for the tests.
The phase is given no programs of phase 1, whose verdicts it would take over where a program is the same. No side
counts the loading of the model. In each round other controls have their turn, and the loop writes other programs.
"""

import contextlib
import dataclasses
import json
import logging
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.one_by_one import passes_in_subprocess, take_the_faster_threads, write_text
from benchmarks.phase_runs import load_models_once, run_phase, write_problems
from benchmarks.rounds import Rounds, alternate, row_of
from benchmarks.rows import Row
from common import handoffs
from common.handoffs.steering import MATCHED_LATENT, RANDOM_DIRECTION
from common.interventions.conditions import UNSTEERED, Condition, steered, steering_vectors
from common.interventions.directions import Direction
from common.interventions.steered_generation import SteeringVector
from common.interventions.steered_programs import SteeringPlan, write_steered
from common.model import loading as models
from common.model.hooks import decoder_blocks, read_sites
from common.model.language_model import LanguageModel
from common.model.sites import resid_post_site
from common.phases.context import RunContext
from common.phases.settings import build_config
from common.problems.datasets import Problem
from common.problems.prompt import build_prompt
from common.provenance import ROOT
from common.saes.encoder import load_sae
from common.saes.sources import sae_source
from phase3_validation.steering.config import SteeringConfig
from phase3_validation.steering.steering_phase import PHASE as STEERING_PHASE

NAME = "Steering (phase 3.3)"
N_PROBLEMS, N_OF_LOOP, CONTROLS = 10, 30, (0, 2, 5, 10, 20)
NAME_OF_DIRECTION, COEFFICIENT = "steer_correct", 0.25
LOOP = "loop"
notes: list[str] = []


@dataclasses.dataclass(frozen=True)
class Setup:
    """What is steered: `norms` are the mean lengths of the residual stream, by layer and site."""

    lm: LanguageModel
    folder: Path
    problems: tuple[Problem, ...]
    direction: Direction
    norms: dict[tuple[int, str], float]
    config: SteeringConfig

    def conditions(self, k: int, number: int) -> list[Condition]:
        """Without steering, the direction, k matched latents and k random directions: others in each round."""
        layer, n_latents = self.direction.layer, 1024
        place, first = (layer, "resid_post", COEFFICIENT), number * k
        latents = [(37 * (first + i) + 5) % n_latents for i in range(k)]
        controls = [(MATCHED_LATENT, latent) for latent in latents] + [(RANDOM_DIRECTION, first + i) for i in range(k)]
        name = self.direction.name
        return [UNSTEERED, steered(name, *place), *(Condition(name, kind, i, *place) for kind, i in controls)]

    def steering_vectors(self, conditions: Sequence[Condition]) -> list[SteeringVector | None]:
        source = sae_source(self.config.sae, self.config.model)
        return steering_vectors(
            conditions, [self.direction], partial(load_sae, source), self.norms, seed=0, d_model=self.lm.d_model
        )


def measure(rounds: int, quick: bool) -> list[Row]:
    load_models_once()
    torch.set_num_threads(1)
    controls, n_of_loop = ((0, 1, 2), 2) if quick else (CONTROLS, N_OF_LOOP)
    with tempfile.TemporaryDirectory() as name:
        setup = _setup(Path(name), 2 if quick else N_PROBLEMS, {"max_new_tokens": 20} if quick else {})
        _engine(setup, 0)(0)  # warms everything up, and sets the phase's threads
        threads = torch.get_num_threads()
        first = [(setup.problems[0], steering) for steering in setup.steering_vectors(setup.conditions(0, 0))]
        threads_of_loop = 1 if quick else take_the_faster_threads(lambda: _one_by_one(setup, first))
        engines = {f"{k} controls": _engine(setup, k) for k in controls}
        timed = alternate({**engines, LOOP: _loop(setup, controls[-1], n_of_loop, threads_of_loop)}, rounds)
    return _rows(timed, setup, controls, n_of_loop, (threads, threads_of_loop))


def _setup(folder: Path, n_problems: int, settings: dict) -> Setup:
    lm, problems = models.load_model("organism", "cpu"), write_problems(folder, n_problems)
    run_phase("0", folder)
    selection = json.loads((ROOT / "model_organism" / "weights" / "selection.json").read_text())
    entry = selection["directions"][NAME_OF_DIRECTION]
    direction = Direction(NAME_OF_DIRECTION, entry["layer"], entry["index"], "organism", entry)
    norms = {(direction.layer, "resid_post"): _mean_norm(lm, problems, direction.layer)}
    words = {"dataset": str(folder / "problems.jsonl"), "again": True, **settings}
    return Setup(lm, folder, problems, direction, norms, build_config(SteeringConfig, "demo", words))


def _mean_norm(lm: LanguageModel, problems: Sequence[Problem], layer: int) -> float:
    """Of the residual stream at the prompts' last tokens."""
    lengths: list[float] = []

    def note(_site: object, resid: torch.Tensor) -> None:
        lengths.append(float(resid[0, -1].norm()))

    with torch.no_grad(), read_sites(lm.model, [resid_post_site(layer)], note):
        for problem in problems:
            lm.model(**lm.tokenizer(build_prompt(problem.text, problem.test_list).text, return_tensors="pt"))
    return statistics.mean(lengths)


def _engine(setup: Setup, k: int) -> Callable[[int], int]:
    """Phase 3.3 up to its joined records, with k controls of each kind; programs written."""
    log = logging.getLogger("benchmarks.steering")
    log.propagate, log.handlers[:] = False, [logging.NullHandler()]

    def write(number: int) -> int:
        conditions = setup.conditions(k, number)
        n_programs = len(setup.problems) * len(conditions)

        def programs(ctx: RunContext[SteeringConfig], _config: SteeringConfig) -> None:
            problems = ctx.read(handoffs.DIFFICULTY).table("difficulty.parquet")
            with ctx.write() as out:
                plan = SteeringPlan(conditions, [setup.direction], setup.norms)
                write_steered(ctx, out, problems, plan, earlier={}, steer_prompt=False)

        own = dict(inputs=(handoffs.DIFFICULTY,), optional_inputs=lambda config: (), n_records=lambda ctx: n_programs)
        phase = dataclasses.replace(STEERING_PHASE, run=programs, **own)
        told: dict[str, Any] = dict(config=setup.config, preset="demo", data_dir=setup.folder, device="cpu", fresh=True)
        context = RunContext(phase=phase, log=log, command="", **told)
        with contextlib.closing(context), open("/dev/null", "w") as nowhere, contextlib.redirect_stderr(nowhere):
            context.pick_inputs()
            phase.carry_out(context)
        return n_programs

    return write


def _loop(setup: Setup, k: int, n_programs: int, threads: int) -> Callable[[int], int]:
    """`n_programs` of the programs that the engine writes with k controls, evenly spaced, others in each round."""

    def write(number: int) -> int:
        torch.set_num_threads(threads)
        conditions = setup.conditions(k, number)
        added = setup.steering_vectors(conditions)
        n = len(setup.problems) * len(conditions)
        places = [divmod((i * n // n_programs + number) % n, len(conditions)) for i in range(n_programs)]
        _one_by_one(setup, [(setup.problems[problem], added[condition]) for problem, condition in places])
        return n_programs

    return write


def _one_by_one(setup: Setup, wanted: Sequence[tuple[Problem, SteeringVector | None]]) -> None:
    for problem, steering in wanted:
        with added(setup.lm, steering):
            text = write_text(setup.lm, problem, setup.config.max_new_tokens)
        passes_in_subprocess(text, problem)


@contextlib.contextmanager
def added(lm: LanguageModel, steering: SteeringVector | None):
    """Add the vector to the last token of every pass: the prompt's, and then each new one."""
    if steering is None:
        yield
        return

    def hook(_block: object, _arguments: tuple, output: Tensor) -> Tensor:
        output[:, -1] += steering.vector
        return output

    layer = int(steering.site.split(".")[1])
    with decoder_blocks(lm.model)[layer].register_forward_hook(hook):
        yield


def _rows(timed: Rounds, setup: Setup, controls: Sequence[int], n_of_loop: int, threads: tuple[int, int]) -> list[Row]:
    most, n_problems = controls[-1], len(setup.problems)
    ours = f"{most} controls"
    name = f"phase 3.3, {n_problems} problems, a direction with {most} controls of each kind, judged"
    text = (
        f"{1 / timed.median(ours):.1f} beside {1 / timed.median(LOOP):.1f} programs per second; the loop wrote "
        f"{n_of_loop} of the {n_problems * (2 + 2 * most)} programs in each round; threads: {threads[0]} and "
        f"{threads[1]} (what was faster there)"
    )
    beside = "one generate call for each problem and direction, end-of-sequence stop, a process for the tests"
    first = row_of(name, beside, timed.times_as_fast(ours, LOOP), goal=">= 8", text=text)
    return [first, *_cost_rows(timed, [k for k in controls if k])]


def _cost_rows(timed: Rounds, controls: Sequence[int]) -> list[Row]:
    """What a control costs for a problem: as its share of the whole run, and beyond the run without controls."""
    rows, fewest, most = [], controls[0], controls[-1]
    for name, goal, beyond in (("a control's share of the whole run", "< 1", False), ("one more control", "< 1", True)):
        costs = {k: _costs(timed, k, beyond) for k in controls}
        ratios = [many / few for many, few in zip(costs[most], costs[fewest], strict=True)]
        text = ", ".join(f"{1000 * statistics.median(cost):.0f} with {k}" for k, cost in costs.items())
        text = f"milliseconds for a problem{', beyond the run without controls' if beyond else ''}: {text}"
        rows.append(row_of(f"{name}, {most} of each kind", f"{fewest} of each kind", ratios, goal=goal, text=text))
    return rows


def _costs(timed: Rounds, k: int, beyond: bool) -> list[float]:
    """Seconds for each control and problem in each round; each problem has 2 + 2 k programs."""
    with_controls, without = timed.seconds[f"{k} controls"], timed.seconds["0 controls"]
    return [(a * (2 + 2 * k) - (b * 2 if beyond else 0)) / (2 * k) for a, b in zip(with_controls, without, strict=True)]
