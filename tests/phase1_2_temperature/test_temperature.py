"""Covers phase 1.2: samples and their seeds, tables, slices, resumption, pass rates with intervals, the figure."""

import json
import shutil
import statistics
from pathlib import Path
from random import Random

import pyarrow.parquet
import pytest
from documents import made
from runs import content
from toy_phases import run_phase, stop_after

from common.errors import ConfigError, MissingArtifactError
from common.evaluation.statistics import clustered_rate_interval, wilson_interval
from common.handoffs import GENERATION_FIELDS, TEMPERATURE
from common.handoffs.document import as_json
from common.handoffs.preparation import SampledRate
from common.runs import discovery
from common.stopping import Stopped
from phase0_1_split.config import SplitConfig
from phase0_1_split.phase import PHASE as SPLIT_PHASE
from phase0_difficulty.config import DifficultyConfig
from phase0_difficulty.phase import PHASE as DIFFICULTY_PHASE
from phase1_2_temperature.config import TemperatureConfig
from phase1_2_temperature.pass_rates import draw_pass_rates, rate_at
from phase1_2_temperature.phase import PHASE
from phase1_2_temperature.sampling import records, table_of

TEMPERATURES, SAMPLES = (0.0, 0.5, 1.5), 2


@pytest.fixture(scope="session")
def split(tmp_path_factory, small_problem_rows) -> tuple[Path, Path]:
    """A dataset of a hundred problems, and a data folder where it is split."""
    data = tmp_path_factory.mktemp("split")
    dataset = data / "small.jsonl"
    dataset.write_text("".join(json.dumps(row) + "\n" for row in small_problem_rows))
    run_phase(DIFFICULTY_PHASE, data, DifficultyConfig(dataset=str(dataset)))
    run_phase(SPLIT_PHASE, data, SplitConfig(dataset=str(dataset)))
    return dataset, data


@pytest.fixture
def begun(split, tmp_path) -> Path:
    """A data folder where phase 1.2 is still to be run."""
    for name in ("phase0", "phase0_1"):
        shutil.copytree(split[1] / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="session")
def config(split, tiny_gemma) -> TemperatureConfig:
    return config_of(split[0], tiny_gemma)


def config_of(dataset: Path, model: Path, **changes) -> TemperatureConfig:
    settings = {"temperatures": TEMPERATURES, "samples": SAMPLES, "max_new_tokens": 12, "batch_size": 24, "threads": 1}
    return TemperatureConfig(dataset=str(dataset), model=str(model), **{**settings, **changes})


@pytest.fixture(scope="session")
def whole(split, config, tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp("whole")
    for name in ("phase0", "phase0_1"):
        shutil.copytree(split[1] / name, data / name)
    return run_phase(PHASE, data, config)


def rows_of(run: Path, temperature: float) -> list[dict]:
    return pyarrow.parquet.read_table(run / table_of(temperature)).to_pylist()


def test_each_temperature_has_its_table_with_the_columns_of_phase_1(whole, split):
    validation = next((split[1] / "phase0_1").glob("*/validation_small.parquet"))
    tasks = pyarrow.parquet.read_table(validation)["task_id"].to_pylist()
    for temperature, n in ((0.0, 1), (0.5, SAMPLES), (1.5, SAMPLES)):
        assert pyarrow.parquet.read_schema(whole / table_of(temperature)).names == list(GENERATION_FIELDS)
        found = [(row["task_id"], row["sample_index"]) for row in rows_of(whole, temperature)]
        assert found == [(task, sample) for task in tasks for sample in range(n)]
        assert {row["temperature"] for row in rows_of(whole, temperature)} == {temperature}
    assert len(pyarrow.parquet.read_table(whole / "grading.parquet")) == 5 * len(tasks)
    assert not list(whole.rglob("*.safetensors"))


def test_files_are_named_after_the_temperature():
    assert [table_of(t) for t in (0.3, 1.2, 0.0, 2)] == [
        f"dataset_temp_{name}.parquet" for name in ("0_3", "1_2", "0_0", "2_0")
    ]


def test_a_temperature_of_zero_is_sampled_once():
    found = records(2, TemperatureConfig(temperatures=(0.0, 0.7), samples=3))
    assert found == [(0, 0.0, 0), (1, 0.0, 0), *((p, 0.7, s) for p in (0, 1) for s in (0, 1, 2))]


def test_the_samples_of_a_problem_differ(whole):
    first, second = ([r["token_ids"] for r in rows_of(whole, 1.5) if r["sample_index"] == s] for s in (0, 1))
    assert sum(a != b for a, b in zip(first, second, strict=True)) > 0.9 * len(first)


def test_samples_do_not_depend_on_batches_nor_on_other_temperatures(whole, config, split, begun, tiny_gemma):
    other = config_of(split[0], tiny_gemma, temperatures=(1.5, 0.5), batch_size=7)
    run = run_phase(PHASE, begun, other)
    for temperature in (0.5, 1.5):
        for column in ("task_id", "sample_index", "token_ids", "code", "label"):
            ours, theirs = ([row[column] for row in rows_of(r, temperature)] for r in (run, whole))
            assert ours == theirs


def test_slices_give_the_same_bytes(whole, config, begun):
    for start, end in ((96, None), (0, 47), (48, 95)):
        run_phase(PHASE, begun, config, start=start, end=end)
    run = discovery.list_runs(TEMPERATURE, begun)[0]
    assert run.finished and content(run.path) == content(whole)


def test_a_stopped_run_goes_on_to_the_same_bytes(whole, config, begun):
    with pytest.raises(Stopped):
        run_phase(PHASE, begun, config, stop=stop_after(3))
    n_read = 3 * (24 // 4)  # three times a quarter of those that are written together
    assert discovery.n_saved(discovery.list_runs(TEMPERATURE, begun)[0].path) == n_read
    assert content(run_phase(PHASE, begun, config)) == content(whole)


def test_autosaves_hold_all_temperatures_so_far(config, begun):
    with pytest.raises(Stopped):
        run_phase(PHASE, begun, config, stop=stop_after(18))
    run = discovery.list_runs(TEMPERATURE, begun)[0].path
    n_saved = discovery.n_saved(run)
    assert 100 <= n_saved <= 18 * (24 // 4)
    assert len(pyarrow.parquet.read_table(run / "autosave_000100.parquet")) == n_saved


def test_the_metadata_count_what_the_tables_hold(whole):
    metadata = json.loads((whole / "temperature_metadata.json").read_text())
    assert [entry["temperature"] for entry in metadata["temperatures"]] == list(TEMPERATURES)
    for entry in metadata["temperatures"]:
        rows = rows_of(whole, entry["temperature"])
        assert entry["programs"] == len(rows) == sum(entry["labels"].values()) and entry["problems"] == 40
        assert entry["pass_rate"] == sum(row["label"] == "correct" for row in rows) / len(rows)
        assert entry["file"] == table_of(entry["temperature"])
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["summary"]["problems"] == 40 and manifest["files"]["figures/pass_rate_by_temperature.png"]


def simulated(n_problems: int, n_samples: int, seed: int) -> list[int]:
    """Successes per problem, when problems differ much in difficulty."""
    random = Random(seed)
    chances = [random.betavariate(0.4, 0.4) for _ in range(n_problems)]
    return [sum(random.random() < chance for _ in range(n_samples)) for chance in chances]


def test_the_interval_agrees_with_the_textbook_variance_of_a_ratio():
    successes, n = simulated(400, 5, 1), 5
    shares = [k / n for k in successes]
    error = statistics.stdev(shares) / len(shares) ** 0.5
    mean = statistics.mean(shares)
    low, high = clustered_rate_interval(successes, [n] * 400)
    assert low == pytest.approx(mean - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.1 * error)
    naive = wilson_interval(sum(successes), 400 * n)
    assert high - low > 1.5 * (naive[1] - naive[0])  # samples of a problem are alike


def test_the_interval_agrees_with_a_bootstrap_written_as_a_loop():
    random, successes, trials = Random(5), [0, 2, 3, 1, 5, 0, 4, 2], [5, 5, 3, 4, 5, 2, 5, 5]
    rates = []
    for _ in range(20_000):
        drawn = [random.randrange(8) for _ in range(8)]
        rates.append(sum(successes[i] for i in drawn) / sum(trials[i] for i in drawn))
    rates.sort()
    low, high = clustered_rate_interval(successes, trials)
    assert low == pytest.approx(rates[500], abs=0.02) and high == pytest.approx(rates[19_500], abs=0.02)
    assert (low, high) == clustered_rate_interval(successes, trials)


def test_the_interval_holds_the_true_rate_about_nineteen_times_in_twenty():
    runs = [clustered_rate_interval(simulated(100, 5, seed), [5] * 100, n_resamples=1000) for seed in range(200)]
    assert 180 <= sum(low <= 0.5 <= high for low, high in runs) <= 199


def test_where_all_or_none_pass_the_interval_is_wilson_s_over_problems():
    assert clustered_rate_interval([5] * 8, [5] * 8) == wilson_interval(8, 8)
    assert clustered_rate_interval([0] * 8, [5] * 8) == wilson_interval(0, 8)


def test_programs_that_could_not_be_judged_are_in_no_rate():
    labels = [(1, "correct"), (1, "incorrect"), (2, "not_run"), (2, "correct"), (3, "unsupported")]
    rows = [{"task_id": task, "label": label, "error": None} for task, label in labels]
    found = as_json(rate_at(rows, 0.6, "file"))
    assert found["pass_rate"] == 2 / 3 and found["problems"] == 3 and found["programs"] == 5
    assert found["problems_with_a_correct_program"] == 2 and found["problems_with_only_correct_programs"] == 1
    nothing = rate_at([{"task_id": 1, "label": "not_run", "error": None}], 0.6, "file")
    assert nothing.pass_rate is None and nothing.pass_rate_95_percent_interval is None


def test_the_figure_is_a_png_with_the_same_bytes_each_time():
    rates = [
        {"temperature": t, "pass_rate": r, "pass_rate_95_percent_interval": [r - 0.1, r + 0.1]}
        for t, r in ((0.3, 0.5), (0.9, 0.4))
    ]
    rates.append({"temperature": 1.2, "pass_rate": None, "pass_rate_95_percent_interval": None})
    rates = [made(SampledRate, rate) for rate in rates]
    first, second = draw_pass_rates(rates, "title"), draw_pass_rates(rates, "title")
    assert first == second and first.startswith(b"\x89PNG") and len(first) < 100_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperatures": (0.3, 0.3)}, r"--temperatures is '0.3,0.3'\n.*once"),
        ({"temperatures": ()}, r"--temperatures is ''\n.*once"),
        ({"temperatures": (-0.1,)}, "--temperatures is -0.1"),
        ({"temperatures": (float("nan"),)}, "--temperatures is nan"),
        ({"samples": 0}, "--samples is 0"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        TemperatureConfig(**changes)


def test_without_a_split_the_command_that_makes_one_is_named(config, tmp_path):
    with pytest.raises(MissingArtifactError, match=r"no finished split of small(.|\n)*phase 0\.1"):
        run_phase(PHASE, tmp_path, config)
