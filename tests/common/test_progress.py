"""Covers common/progress.py and common/evaluation/statistics.py: what is shown while a run goes on."""

import logging

import pytest
from statsmodels.stats.proportion import proportion_confint

from common.evaluation.statistics import wilson_interval
from common.progress import Progress


def test_a_line_tells_count_pass_rate_rate_and_time_left():
    progress = Progress(10, ["correct", "incorrect"], logging.getLogger("test"))
    progress.add(["correct", "correct", "not_run"])
    line = progress.line()
    assert line.startswith("5 of 10 programs, pass rate 75.0 %, ") and line.endswith(" left")


def test_plain_lines_are_written_where_there_is_no_terminal(caplog):
    log = logging.getLogger("test.progress")
    with caplog.at_level(logging.INFO), Progress(2, [], log) as progress:
        progress.add(["correct"])
        progress.add(["incorrect"])
    assert [record.message.split(",")[0] for record in caplog.records] == ["2 of 2 programs"]


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (526, 974), (1, 1)])
def test_the_wilson_interval_is_that_of_statsmodels(k, n):
    assert wilson_interval(k, n) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)
