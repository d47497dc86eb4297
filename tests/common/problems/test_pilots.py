"""Covers pilots (--limit): which problems are drawn, that they are an experiment of their own, and sizes of splits."""

import logging
import re
import statistics

import numpy as np
import pytest
from runs import newest
from support import write_problems
from toy_phases import run_phase

from common.errors import ConfigError
from common.evaluation.label_counts import pass_rates_that_do, too_small
from common.handoffs import DIFFICULTY, GENERATIONS
from common.phases.command_line import build_command
from common.problems.datasets import dataset_name, load_problems, pilot_size
from common.problems.settings import DatasetConfig
from common.runs.discovery import describe, slug
from phase0_1_split.config import SplitConfig
from phase0_1_split.phase import PHASE as SPLIT_PHASE
from phase0_1_split.sizes import fault_of, fractions_that_do, what_they_assume
from phase0_1_split.stratify import split_sizes
from phase0_difficulty.config import DifficultyConfig
from phase0_difficulty.phase import PHASE as DIFFICULTY_PHASE
from phase1_dataset_building.config import GenerationConfig

NAMES = ("sae", "hyperparams", "validation")


def test_a_pilot_is_drawn_and_keeps_the_order():
    whole, drawn = (load_problems("organism", limit).problems for limit in (0, 240))
    ids = [problem.task_id for problem in drawn]
    assert len(ids) == 240 and ids == [p.task_id for p in whole if p.task_id in set(ids)]
    assert ids == [problem.task_id for problem in load_problems("organism", 240).problems]
    assert ids != [problem.task_id for problem in whole[:240]]
    lengths = [statistics.mean(len(p.text) for p in problems) for problems in (whole, drawn)]
    assert abs(lengths[0] - lengths[1]) < 0.05 * lengths[0]  # not the shortest


def test_a_larger_pilot_holds_the_smaller_one():
    small, large = ({p.task_id for p in load_problems("organism", n).problems} for n in (40, 240))
    assert small < large


def test_a_pilot_is_a_dataset_of_its_own(small_dataset):
    assert dataset_name("mbpp", 240) == "mbpp-pilot240" and dataset_name("mbpp") == "mbpp"
    name, whole = dataset_name(str(small_dataset), 40), dataset_name(str(small_dataset))
    assert name == whole.replace("@", "-pilot40@") and slug(name) == "small-pilot40"
    assert pilot_size(name) == 40 and pilot_size("mbpp-pilot240") == 240 and pilot_size(whole) is None
    config = GenerationConfig(dataset="mbpp", limit=240, model="organism", prompt="chat")
    assert config.experiment()["dataset"] == "mbpp-pilot240"
    assert describe(GENERATIONS, config.experiment()) == "organism on mbpp-pilot240, chat prompts"


def test_a_limit_beyond_the_dataset_is_one_message(small_dataset):
    with pytest.raises(ConfigError, match=r"--limit is 101.* 100 problems\n.* 100\b"):
        load_problems(str(small_dataset), 101)
    assert len(load_problems(str(small_dataset), 100).problems) == 100
    with pytest.raises(ConfigError, match="--limit"):
        DatasetConfig(limit=-1)


def test_a_pilot_and_the_whole_lie_side_by_side(tmp_path, small_dataset):
    words = {"dataset": str(small_dataset)}
    run_phase(DIFFICULTY_PHASE, tmp_path / "data", DifficultyConfig(**words))
    run_phase(DIFFICULTY_PHASE, tmp_path / "data", DifficultyConfig(**words, limit=50))
    assert newest(tmp_path / "data" / "phase0").name.endswith("Z_small-pilot50")
    run_phase(SPLIT_PHASE, tmp_path / "data", SplitConfig(**words))  # reads the whole, though the pilot is newer
    assert newest(tmp_path / "data" / "phase0_1").name.endswith("Z_small")
    run_phase(SPLIT_PHASE, tmp_path / "data", SplitConfig(**words, limit=50, fractions=(0.5, 0.25, 0.25)))
    assert (newest(tmp_path / "data" / "phase0_1") / "sae_small-pilot50.parquet").is_file()
    command = build_command(DIFFICULTY, DatasetConfig(**words, limit=50), "full", tmp_path / "data")
    assert "--limit 50" in command


def test_a_pilot_too_small_to_split_is_one_message_with_fractions_that_do(tmp_path, small_dataset):
    words = {"dataset": str(small_dataset), "limit": 60}
    run_phase(DIFFICULTY_PHASE, tmp_path / "data", DifficultyConfig(**words))
    with pytest.raises(ConfigError, match="(?s)--limit 60.*hyperparams.*6 problems.*--fractions 0") as error:
        run_phase(SPLIT_PHASE, tmp_path / "data", SplitConfig(**words))
    advised = tuple(map(float, str(error.value).partition("--fractions ")[2].partition(", or")[0].split(",")))
    run_phase(SPLIT_PHASE, tmp_path / "data", SplitConfig(**words, fractions=advised))


def test_few_problems_of_one_s_own_are_split_with_a_warning(tmp_path, small_problem_rows, caplog):
    dataset = str(write_problems(tmp_path / "few.jsonl", small_problem_rows[:30]))
    run_phase(DIFFICULTY_PHASE, tmp_path / "data", DifficultyConfig(dataset=dataset))
    log = logging.getLogger("test")
    with caplog.at_level(logging.WARNING, log.name):
        run_phase(SPLIT_PHASE, tmp_path / "data", SplitConfig(dataset=dataset))
    assert newest(tmp_path / "data" / "phase0_1").is_dir()
    assert "at least 40 problems" in caplog.text and "later phases need 10 correct" in caplog.text


@pytest.mark.parametrize("n", [40, 41, 47, 60, 99, 100, 240, 974])
def test_the_fractions_that_are_named_do(n):
    sizes = split_sizes(n, dict(zip(NAMES, (0.5, 0.1, 0.4), strict=True)))
    advised = fractions_that_do(sizes)
    assert not too_small(split_sizes(n, dict(zip(NAMES, advised, strict=True))))
    assert sum(advised) == pytest.approx(1)
    assert (fault_of(sizes) is None) == (n >= 99)


def test_below_forty_problems_no_fractions_do():
    sizes = split_sizes(39, dict(zip(NAMES, (0.5, 0.1, 0.4), strict=True)))
    assert fractions_that_do(sizes) is None and "at least 40 problems" in fault_of(sizes)


def test_with_the_pass_rates_that_do_all_splits_hold_enough_of_both_labels_in_95_of_100_draws():
    """As drawn, not as the formula says; a point lower they do not."""
    sizes = {"sae": 96, "hyperparams": 48, "validation": 96}
    low, high = pass_rates_that_do(sizes)
    generator = np.random.default_rng(0)

    def share(rate: float) -> float:
        enough = np.ones(20_000, dtype=bool)
        for name, least in {"sae": 10, "hyperparams": 5, "validation": 5}.items():
            passed = generator.binomial(sizes[name], rate, size=len(enough))
            enough &= (passed >= least) & (sizes[name] - passed >= least)
        return enough.mean()

    assert share(low) > 0.94 > share(low - 0.01) - 0.01 and high == pytest.approx(1 - low)
    assert share(low - 0.02) < 0.95


def test_of_a_tuning_split_of_twelve_half_of_which_pass_no_rate_is_sure():
    """A user's: 24, 12 and 24 problems, 47 % solved, and 4 correct programs to tune on."""
    sizes = {"sae": 24, "hyperparams": 12, "validation": 24}
    assert pass_rates_that_do(sizes) is None and "by chance hold too few" in (words := what_they_assume(sizes))
    more = int(re.search(r"(\d+) problems would do", words)[1])
    assert [
        pass_rates_that_do(split_sizes(n, dict(zip(NAMES, (0.4, 0.2, 0.4), strict=True)))) is None
        for n in (more - 6, more + 6)
    ] == [True, False]
    assert "in 95 % of draws" in what_they_assume({"sae": 487, "hyperparams": 97, "validation": 390})
