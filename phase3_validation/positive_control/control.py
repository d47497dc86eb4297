"""Phase 3.8: steering that is known to work, so that a "no" of phase 3.3 can be told from a method that finds nothing.

    python3 run.py phase 3.8 --preset demo

1. Of each pair of operations A>B the mean difference of the residual stream is read from some twins (differences.py).
2. On other twins a part of it is added to A's prompts, from the last prompt token on, and beside it as many random
   directions of the same length as are needed. Nothing is scaled to the stream: its own units are what has an effect.
3. A program passes when it gives what B's asserts ask for, though the prompt describes A and shows A's asserts.
4. All pairs together are judged by the rules of phase 3.3. Nobody chose a sign here, so controls keep theirs.

Record i is twin i // n, condition i % n, of n conditions; the unsteered program comes first.
"""

from collections.abc import Sequence

from common.evaluation.statistics import counted
from common.handoffs.positive_control import JudgedControl, PairOutcome, PositiveControlDocument
from common.handoffs.steering import RAISE, RANDOM_DIRECTION, ChangedProgram, UnsteeredRate
from common.interventions.comparisons import compare_direction, judge_family
from common.interventions.conditions import UNSTEERED, Condition, random_direction, rows_by_condition, steered
from common.interventions.outcomes import effect, paired
from common.interventions.steered_generation import SteeringVector, generate_steered
from common.interventions.steered_rows import steered_draft
from common.model.chat import chat_template_for
from common.model.generation import check_prompts_fit
from common.model.language_model import LanguageModel
from common.model.sites import resid_site
from common.phases.context import RunContext
from common.problems.prompt import ChatTemplate
from common.programs.solutions import request_for
from common.programs.writing import Draft, ProgramWriter, batch_by_batch, write_programs
from common.runs.records import RecordWriter
from common.tables import TableRow
from phase3_validation.positive_control.config import PositiveControlConfig
from phase3_validation.positive_control.differences import mean_difference
from phase3_validation.positive_control.twins import READ, STEER, Twin, of_pairs, read_twins
from phase3_validation.steering.examples import examples

NAME, SITE = "positive_control", "resid_post"
N_EXAMPLES = 3


def run(ctx: RunContext[PositiveControlConfig], config: PositiveControlConfig) -> None:
    twins = read_twins(config.pairs_file())
    with ctx.write() as out:
        out.conclude = lambda: conclude(ctx, out, twins)
        if out.n_wanted:  # the run that only joins what slices left needs no model
            write(ctx, out, twins)


def conditions_of(config: PositiveControlConfig) -> list[Condition]:
    place = (config.layer, SITE, config.coefficient)
    controls = [Condition(NAME, RANDOM_DIRECTION, index, *place) for index in range(config.n_controls)]
    return [UNSTEERED, steered(NAME, *place), *controls]


def write(ctx: RunContext[PositiveControlConfig], out: RecordWriter, twins: Sequence[Twin]) -> None:
    """The programs: twin by twin, each with all conditions."""
    config, conditions, steered_twins = ctx.config, conditions_of(ctx.config), _steered(twins)

    def begin(lm: LanguageModel) -> ProgramWriter:
        chat = chat_template_for(config.prompt, config.model, config.revision)
        requests = [request_for(twin.a.row(), config.seed, chat=chat) for twin in steered_twins]
        lengths = check_prompts_fit(lm, requests)
        added = {pair: steering_vectors(lm, pair, group, config, chat) for pair, group in of_pairs(twins, READ).items()}

        def write_batch(batch: list[int]) -> list[Draft]:
            places = [divmod(index, len(conditions)) for index in batch]
            which = [(steered_twins[twin], condition) for twin, condition in places]
            programs = generate_steered(
                lm,
                [requests[twin] for twin, _ in places],
                [added[twin.pair][condition] for twin, condition in which],
                max_new_tokens=config.max_new_tokens,
            )
            return [
                steered_draft(
                    "steering.parquet",
                    index,
                    twin.b.row(),  # whose asserts judge it
                    conditions[condition],
                    one.generation,
                    one.trajectory_kl,
                    {"pair": twin.pair, "length": _length(added[twin.pair][condition])},
                )
                for index, (twin, condition), one in zip(batch, which, programs, strict=True)
            ]

        return ProgramWriter(batch_by_batch(write_batch), [length for length in lengths for _ in conditions])

    write_programs(ctx, out, config.model, begin, {})


def steering_vectors(
    lm: LanguageModel, pair: str, read: Sequence[Twin], config: PositiveControlConfig, chat: ChatTemplate | None
) -> list[SteeringVector | None]:
    """What each condition adds to a pair's problems: nothing, c d, or a random vector of the length of c d."""
    site = resid_site(config.layer, SITE)
    own = config.coefficient * mean_difference(lm, read, site, chat)
    others = [random_direction(config.seed, pair, index, lm.d_model) for index in range(config.n_controls)]
    return [None, SteeringVector(site, own), *(SteeringVector(site, own.norm() * other) for other in others)]


def conclude(ctx: RunContext[PositiveControlConfig], out: RecordWriter, twins: Sequence[Twin]) -> None:
    """Write positive_control.json, which follows from all records."""
    config, rows = ctx.config, rows_by_condition(out.joined_rows())
    _, own, *controls = conditions_of(config)
    before, after = rows[UNSTEERED], rows[own]
    of_controls = {condition.control_index: rows[condition] for condition in controls}
    compared = compare_direction(before, after, {RANDOM_DIRECTION: of_controls}, RAISE)
    [judged] = judge_family({NAME: compared}, {NAME: RAISE}).values()
    texts, baseline = {twin.task_id: twin.a.text for twin in twins}, paired(before, before)
    outcomes = {
        pair: _outcome(pair, len(group), before, after, list(of_controls.values()))
        for pair, group in of_pairs(twins, READ).items()
    }
    judged_control = JudgedControl(
        **vars(compared),
        **vars(judged),
        wanted=RAISE,
        layer=own.layer,
        site=own.site,
        coefficient=own.coefficient,
    )
    out.document(
        "positive_control.json",
        PositiveControlDocument(
            experiment=out.identity["experiment"],
            pairs_file=config.experiment()["pairs"],
            n=len(before),
            seed=config.seed,
            baseline=UnsteeredRate(n_correct=baseline.n_correct_before, pass_rate=effect(baseline).pass_rate),
            pairs=outcomes,
            examples=_first_of_each_pair(before, after, texts),
            positive_control=judged_control,
        ),
    )
    ctx.log.info("positive control: %s", judged_control.verdict)
    corrected = judged_control.effect.correction
    out.summary = {
        "problems": len(before),
        "steered": f"{corrected.n} of {corrected.of}",
        "verdict": str(judged_control.verdict),
    }


def _outcome(
    pair: str, n_read: int, before: list[TableRow], after: list[TableRow], controls: list[list[TableRow]]
) -> PairOutcome:
    def passing(rows: list[TableRow]) -> int:
        return sum(row["label"] == "correct" for row in rows if row["pair"] == pair)

    rows_of_pair = [row for row in after if row["pair"] == pair]
    return PairOutcome(
        n_read=n_read,
        before=passing(before),
        passed=counted(passing(after), len(rows_of_pair)),
        most_of_a_control=max(map(passing, controls)),
        length=rows_of_pair[0]["length"],
    )


def _first_of_each_pair(before: list[TableRow], after: list[TableRow], texts: dict[int, str]) -> list[ChangedProgram]:
    """The first program of each of the first pairs that is turned into one of B."""
    turned = []
    for pair in dict.fromkeys(row["pair"] for row in before):
        unsteered, steered_rows = ([row for row in rows if row["pair"] == pair] for rows in (before, after))
        turned += [one for one in examples(unsteered, steered_rows, texts) if one.transition == "fail_to_pass"][:1]
    return turned[:N_EXAMPLES]


def _steered(twins: Sequence[Twin]) -> list[Twin]:
    return [twin for twin in twins if twin.use == STEER]


def _length(steering: SteeringVector | None) -> float:
    return 0.0 if steering is None else float(steering.vector.norm())


def count_records(ctx: RunContext[PositiveControlConfig]) -> int:
    return len(_steered(read_twins(ctx.config.pairs_file()))) * len(conditions_of(ctx.config))
