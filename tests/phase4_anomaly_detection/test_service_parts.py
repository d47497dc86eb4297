"""Covers the parts of the service that need no model: settings, token files, log lines and batches."""

import asyncio
import contextlib
import json
import logging
import sys
import threading
import time

import pytest
from services import TOKEN

from common.errors import ConfigError
from phase4_anomaly_detection.service.batching import Batcher
from phase4_anomaly_detection.service.logs import JsonLines
from phase4_anomaly_detection.service.settings import ServiceSettings, is_loopback, read_token


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.invalid", ""])
def test_it_does_not_start_where_others_can_reach_it_without_a_token(host):
    with pytest.raises(ConfigError, match="token"):
        ServiceSettings(host=host)
    assert ServiceSettings(host=host, token=TOKEN).token == TOKEN and TOKEN not in repr(
        ServiceSettings(host=host, token=TOKEN)
    )


def test_which_hosts_are_this_machine_alone():
    assert is_loopback("127.0.0.1") and is_loopback("127.8.8.8") and is_loopback("::1") and is_loopback("localhost")
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "")))


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match=r"--sandbox is 'bogus'\n.*auto, strict, none"):
        ServiceSettings(sandbox="bogus")
    with pytest.raises(ConfigError, match="--max-windows is 0"):
        ServiceSettings(max_windows=0)
    with pytest.raises(ConfigError, match="--verify-s is 0"):
        ServiceSettings(verify=True, verify_s=0)


@pytest.mark.parametrize("content", [b"", b" \n", b"short", b"two words of sixteen", b"\xff" * 20, "ü".encode() * 20])
def test_a_token_file_that_holds_no_token_is_refused(tmp_path, content):
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="--token-file"):
        read_token(path)
    with pytest.raises(ConfigError, match=r"--token-file .*/missing cannot be read.*\n"):
        read_token(tmp_path / "missing")


def test_the_log_has_an_exception_s_words_only_when_asked():
    """Of an exception, the log has the place and its words only when asked to."""
    try:
        raise ValueError("def a_name_like_no_other")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "it broke", (), sys.exc_info())
    silent, talking = (json.loads(JsonLines(with_code).format(record)) for with_code in (False, True))
    assert silent["exception"]["type"] == "ValueError" and "a_name" not in json.dumps(silent)
    assert "test_service_parts.py" in silent["exception"]["frames"][-1]
    assert talking["exception"]["message"] == "def a_name_like_no_other"


def run_batches(detect, texts, batch_size=4, wait_s=0.01):
    """Answers of the texts, submitted together, and the sizes of the batches."""

    async def ask():
        sizes: list[int] = []
        batcher = Batcher(detect, batch_size, wait_s, lambda size, _seconds: sizes.append(size))
        batcher.start()
        answers = await asyncio.gather(*map(batcher.submit, texts), return_exceptions=True)
        assert await batcher.stop(60)
        return answers, sizes

    return asyncio.run(ask())


def test_batches_are_full_and_answers_are_not_mixed():
    def detect(texts):
        time.sleep(0.001)
        return [text * 2 for text in texts]

    texts = [f"text {i}" for i in range(101)]
    answers, sizes = run_batches(detect, texts)
    assert answers == [text * 2 for text in texts] and sum(sizes) == 101 and max(sizes) == 4 and len(sizes) == 26


def test_what_is_refused_is_refused_alone():
    def detect(texts):
        if bad := [text for text in texts if "bad" in text]:
            raise ConfigError(f"{bad[0]} is bad")
        return [text.upper() for text in texts]

    texts = ["a", "bad 1", "b", "c", "d", "bad 2", "bad 3", "e", "f"]
    answers, _ = run_batches(detect, texts, batch_size=8)
    for text, answer in zip(texts, answers, strict=True):
        assert str(answer) == (f"{text} is bad" if "bad" in text else text.upper())
        assert isinstance(answer, ConfigError) == ("bad" in text)


def test_a_batch_that_breaks_breaks_no_other():
    def detect(texts):
        if "broken" in texts:
            raise ZeroDivisionError("a bug")
        return list(texts)

    answers, _ = run_batches(detect, ["a", "broken", "b", "c"], batch_size=2)
    assert [type(answer) for answer in answers] == [ZeroDivisionError, ZeroDivisionError, str, str]


def test_a_batch_waits_for_a_text_on_its_way_only():
    """A batch waits for a text that is on its way and for no other."""

    async def ask(arriving: bool) -> tuple[list[int], float]:
        sizes: list[int] = []
        batcher = Batcher(lambda texts: texts, 8, 0.01, lambda size, _seconds: sizes.append(size))
        batcher.start()
        with batcher.arriving() if arriving else contextlib.nullcontext():
            began = time.monotonic()
            first = batcher.submit("a")
            await first
            took = time.monotonic() - began
        assert await batcher.stop(60)
        return sizes, took

    sizes, took = asyncio.run(ask(arriving=True))
    assert sizes == [1] and took >= 0.009
    assert asyncio.run(ask(arriving=False))[0] == [1]


def test_texts_that_wait_for_a_batch_when_it_stops_are_told_so():
    async def ask() -> list[object]:
        batcher = Batcher(lambda texts: texts, 8, 3600, lambda *_: None)
        batcher.start()
        with batcher.arriving():
            first = batcher.submit("a")
            while batcher.n_waiting:  # until it is out of the queue, in a batch that waits for the one on its way
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not first.done() and await batcher.stop(60)
            late = batcher.submit("b")
            async with asyncio.timeout(60):
                return await asyncio.gather(first, late, return_exceptions=True)

    assert [type(answer) for answer in asyncio.run(ask())] == [asyncio.CancelledError] * 2


def test_a_batch_that_does_not_end_is_not_waited_for():
    release = threading.Event()

    async def ask() -> bool:
        batcher = Batcher(lambda texts: release.wait(60) and texts, 8, 0.0, lambda *_: None)
        batcher.start()
        answer = batcher.submit("a")
        while batcher.n_waiting:
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        ended = await batcher.stop(0.1)
        assert answer.cancelled()
        return ended

    try:
        assert asyncio.run(ask()) is False
    finally:
        release.set()
