"""Covers common/programs/greedy.py: a sampled program is not taken for the greedy one by the phases that compare
greedy ones.
"""

import pytest

from common.errors import ConfigError
from common.programs.judged_problems import judged_problems
from phase2_sae_analysis.labels import SAMPLED, labelled_problems

PROBLEMS = [{"task_id": i, "text": "?"} for i in range(40)]


def programs(temperature: float) -> list[dict]:
    return [{"task_id": i, "label": "correct" if i % 2 else "incorrect", "temperature": temperature} for i in range(40)]


def test_sampled_programs_are_refused_where_greedy_ones_are_compared():
    splits = {"sae": PROBLEMS[:14], "hyperparams": PROBLEMS[14:26], "validation": PROBLEMS[26:]}
    assert len(judged_problems(splits, programs(0.0), "a run").problems) == 40
    with pytest.raises(ConfigError, match=r"a run .*temperature 0\.8.*\n.*--temperature 0 --fresh"):
        judged_problems(splits, programs(0.8), "a run")
    with pytest.raises(ConfigError, match=r"a run .*temperature 0\.8.*\n.*--temperature 0 "):
        labelled_problems(PROBLEMS, programs(0.8), "a run")
    assert labelled_problems(PROBLEMS, programs(0.8), "a run", labels_from=SAMPLED).n_correct == 20
