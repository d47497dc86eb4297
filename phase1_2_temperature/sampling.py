"""Phase 1.2: how the pass rate falls with the sampling temperature, on the validation split.

    python3 run.py phase 1.2 --model google/gemma-2-2b

1. Every problem is sampled several times at each temperature; a sample's seed depends on the base seed, the
   problem, the temperature and the sample's number alone.
2. The programs are judged as in phase 1.
3. Pass rate by temperature, with intervals from a bootstrap over problems, as metadata and figure.
"""

from common import handoffs
from common.handoffs.preparation import TemperatureDocument
from common.model.chat import chat_template_for
from common.phases.context import RunContext
from common.programs.solutions import request_for
from common.programs.writing import write_solutions
from common.runs.discovery import describe
from common.runs.records import RecordWriter
from phase1_2_temperature.config import TemperatureConfig
from phase1_2_temperature.pass_rates import draw_pass_rates, rate_at


def run(ctx: RunContext[TemperatureConfig], config: TemperatureConfig) -> None:
    problems = ctx.read(handoffs.SPLIT).table(handoffs.SPLIT_FILES["validation"])
    place = {problem["task_id"]: number for number, problem in enumerate(problems)}
    with ctx.write() as out:
        out.row_key = lambda row: (row["temperature"], place[row["task_id"]], row["sample_index"])
        out.summarize = lambda rows: {"problems": len(problems), "programs": len(rows)}
        out.conclude = lambda: conclude(out, config)
        if out.n_wanted:  # the run that only joins what slices left needs no model
            chat = chat_template_for(config.prompt, config.model, config.revision)
            requests = [
                request_for(problems[number], config.seed, temperature, sample_index, chat)
                for number, temperature, sample_index in records(len(problems), config)
            ]
            write_solutions(ctx, out, requests, config, table_of=table_of, shortest_first=True)


def records(n_problems: int, config: TemperatureConfig) -> list[tuple[int, float, int]]:
    """Problem, temperature and sample of every record: a temperature after the other, a problem's samples together."""
    return [
        (number, temperature, sample_index)
        for temperature in config.temperatures
        for number in range(n_problems)
        for sample_index in range(config.samples if temperature else 1)  # at 0 all samples would be the same
    ]


def table_of(temperature: float) -> str:
    """'dataset_temp_0_3.parquet'."""
    return f"dataset_temp_{str(float(temperature)).replace('.', '_')}.parquet"


def conclude(out: RecordWriter, config: TemperatureConfig) -> None:
    """Write temperature_metadata.json and the figure."""
    rows = out.joined_rows()
    rates = [
        rate_at([row for row in rows if row["temperature"] == temperature], temperature, table_of(temperature))
        for temperature in sorted(config.temperatures)
    ]
    metadata = TemperatureDocument(
        base_seed=config.seed,
        interval="95 %, bootstrap over problems: samples of one problem are not independent",
        temperatures=rates,
    )
    out.document("temperature_metadata.json", metadata)
    title = f"{describe(out.schema, out.identity['experiment'])}, validation split"
    out.file("figures/pass_rate_by_temperature.png", draw_pass_rates(rates, title))
    out.summary |= {f"pass_rate_at_{rate.temperature}": rate.pass_rate for rate in rates}


def count_samples(ctx: RunContext[TemperatureConfig]) -> int:
    return len(records(ctx.read(handoffs.SPLIT).n_rows(handoffs.SPLIT_FILES["validation"]), ctx.config))
