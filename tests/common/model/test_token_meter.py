"""Covers common/model/token_meter.py and common/runs/pace.py: how far a batch is before any of it is saved."""

import json
import logging
import os
import re
import time

import pytest
from tiny_models import save_tiny_llama

from common import progress as progress_module
from common.model.generation import generate
from common.model.loading import load_model
from common.model.rows import Request
from common.model.token_meter import TokenMeter, TokenWork
from common.problems.prompt import build_prompt
from common.progress import Progress
from common.runs.pace import Pace, PaceOfAll, pace_file, telling


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return load_model(str(save_tiny_llama(tmp_path_factory.mktemp("llama"))), "cpu", threads=1)


def requests(n: int) -> list[Request]:
    return [
        Request({"task_id": i, "entry_point": "f"}, build_prompt("Add one. " * (1 + i), ["assert f(1) == 2"]), i)
        for i in range(n)
    ]


def test_the_meter_counts_every_token_that_is_read_and_written(lm):
    some, before = requests(5), (lm.meter.n_read, lm.meter.n_written, lm.meter.n_ended, lm.meter.n_in_ended)
    made = generate(lm, some, max_new_tokens=7)
    width = max(len(lm.tokenizer(request.prompt.text)["input_ids"]) for request in some)
    written = sum(len(one.token_ids) for one in made)
    after = (lm.meter.n_read, lm.meter.n_written, lm.meter.n_ended, lm.meter.n_in_ended)
    assert [b - a for a, b in zip(before, after, strict=True)] == pytest.approx([5 * width, written, 5, written])
    assert lm.meter.read_s > 0 and lm.meter.written_s > 0


def test_lines_come_while_a_batch_is_written_and_not_only_at_its_end(lm, caplog, monkeypatch):
    monkeypatch.setattr(progress_module, "SECONDS_TO_FIRST_LINE", 0.0)
    monkeypatch.setattr(progress_module, "SECONDS_BETWEEN_LINES", 0.0)
    lm.meter.n_ended = lm.meter.n_in_ended = lm.meter.n_read = lm.meter.n_written = 0
    work = TokenWork(lm.meter, n_programs=40, n_prompt_tokens=40 * 30, max_new_tokens=7)
    with caplog.at_level(logging.INFO), Progress(40, [], logging.getLogger("test.meter"), work=work) as progress:
        lm.meter.on_change = progress.tick
        work.begin([30] * 5)
        generate(lm, requests(5), max_new_tokens=7)
    lm.meter.on_change = lambda: None
    lines = [record.message for record in caplog.records]
    assert len(lines) > lm.n_layers, "one after each block that reads, at least"
    assert lines[0].startswith("0 of 40 programs, 0 more of 5 written, ") and lines[0].endswith("unknown time left")
    assert re.search(r"5 more of 5 written, \d+ tokens per second, \d+ s left", lines[-1])


def test_the_time_left_is_that_of_the_tokens_left():
    meter = TokenMeter(n_read=1000, n_written=400, read_s=10.0, written_s=40.0, n_ended=8, n_in_ended=320)
    work = TokenWork(meter, n_programs=80, n_prompt_tokens=9000, max_new_tokens=100)
    work.begin([100] * 10)
    # 80 programs of 40 tokens are 3,200, of which 400 are written at 10 a second; 8,000 of the prompts' are unread.
    assert work.seconds_left(0) == pytest.approx(280 + 80)
    meter.n_ended = meter.n_in_ended = 0
    assert work.seconds_left(0) == pytest.approx((80 * 50 - 400) / 10 + 80), "half of what is allowed, before any ends"


def test_before_anything_is_written_nothing_is_said_of_the_time(lm):
    work = TokenWork(TokenMeter(), n_programs=80, n_prompt_tokens=9000, max_new_tokens=100)
    assert work.seconds_left(80) is None and work.text == ""


def test_the_launcher_adds_up_what_its_processes_tell(tmp_path):
    (tmp_path / "parts").mkdir()
    everyone = PaceOfAll(tmp_path)
    assert everyone.text == "" and everyone.seconds_left(100) is None
    telling(pace_file(tmp_path), lambda: Pace(100.0, 150.0, 7))()
    (tmp_path / "parts" / "pace_1.json").write_text(
        json.dumps({"tokens_per_second": 50.0, "tokens_of_a_record": 250.0, "n_in_flight": 3})
    )
    (tmp_path / "parts" / "pace_2.json").write_text('{"tokens_per_second": 50.0, "tok')
    assert everyone.text == "10 more written, 150 tokens per second"
    assert everyone.seconds_left(100) == pytest.approx(90 * 200 / 150)
    old = time.time() - 3600
    os.utime(tmp_path / "parts" / "pace_1.json", (old, old))
    assert everyone.text == "7 more written, 100 tokens per second", "a process that is gone is not counted"


def test_a_disk_that_is_full_only_silences_the_pace(tmp_path):
    telling(tmp_path / "missing" / "pace_1.json", lambda: Pace(1.0, 1.0, 0))()
    assert list(tmp_path.iterdir()) == []
