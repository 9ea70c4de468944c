"""Logs: one line for each call, never in the way, and honest about what was dropped."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from tickgate_server.market.time import NANOS
from tickgate_server.observe.counters import LogCounts
from tickgate_server.observe.logs import CallLine, EventStream, LineLog, start_logs

from ...support.fakes import NOW
from ...support.logging_kept import logging_as_before


def line(number: int = 1, **changed: Any) -> CallLine:
    """The line of a call that was answered in full."""
    given: dict[str, Any] = {
        "timestamp": "",
        "request_id": f"id-{number}",
        "endpoint": "QuoteService/GetQuote",
        "code": "OK",
        "response_time_ms": 1.25,
        "values_asked": 2,
        "values_given": 2,
        "real_data_available": True,
        "cache_hit": False,
    }
    return CallLine(**(given | changed))


class Blocked(io.StringIO):
    """A stream that takes nothing until it is opened, like a terminal somebody paused."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.waiting = threading.Event()

    def write(self, text: str) -> int:
        """Write once the stream is open."""
        self.waiting.set()
        self.open.wait()
        return super().write(text)


def as_it_is(entry: CallLine) -> CallLine:
    """Log entries that are lines already."""
    return entry


def test_a_call_is_one_json_line() -> None:
    """Each call is one JSON object with the names operators know, and its time to the nanosecond."""
    stream = io.StringIO()
    log = LineLog(stream, "json")
    log.write(NOW + 5, as_it_is, line(data_source="sandbox", consumer="ipv4:1"))
    log.write(
        NOW,
        as_it_is,
        line(2, code="NOT_FOUND", reason="NO_DATA", values_given=0, real_data_available=False),
    )
    log.close()
    first, second = (json.loads(text) for text in stream.getvalue().splitlines())
    assert first == {
        "timestamp": "2026-10-01T15:00:00.000000005Z",
        "request_id": "id-1",
        "endpoint": "QuoteService/GetQuote",
        "code": "OK",
        "response_time_ms": 1.25,
        "values_asked": 2,
        "values_given": 2,
        "real_data_available": True,
        "cache_hit": False,
        "data_source": "sandbox",
        "consumer": "ipv4:1",
    }
    assert (second["code"], second["reason"], second["real_data_available"]) == (
        "NOT_FOUND",
        "NO_DATA",
        False,
    )
    assert "data_source" not in second


def test_the_console_form_is_for_people() -> None:
    """On a terminal a call is one line with its outcome, values, time and id."""
    stream = io.StringIO()
    log = LineLog(stream, "console")
    log.write(NOW, as_it_is, line())
    log.write(NOW, as_it_is, line(2, code="NOT_FOUND", reason="NO_DATA", values_given=0))
    log.close()
    first, second = stream.getvalue().splitlines()
    for part in ("2026-10-01T15:00:00Z", "QuoteService/GetQuote", "OK", "2/2", "1.250 ms", "id-1"):
        assert part in first
    assert "NOT_FOUND NO_DATA" in second
    assert "0/2" in second


def test_closing_writes_what_is_queued() -> None:
    """Nothing that was logged before the end is lost, and its order is kept."""
    stream = io.StringIO()
    log = LineLog(stream, "json")
    for number in range(1000):
        log.write(NOW, as_it_is, line(number))
    log.close()
    written = [json.loads(text)["request_id"] for text in stream.getvalue().splitlines()]
    assert written == [f"id-{number}" for number in range(1000)]


@pytest.mark.parametrize("form", ["json", "console"])
def test_the_oldest_lines_go_and_are_counted(form: Any) -> None:
    """When lines come faster than they can be written the oldest go, and the log says how many."""
    stream = Blocked()
    log = LineLog(stream, form, capacity=10)
    log.write(NOW, as_it_is, line(0))
    stream.waiting.wait()
    for number in range(1, 36):
        log.write(NOW + number * NANOS, as_it_is, line(number))
    stream.open.set()
    log.close()
    texts = stream.getvalue().splitlines()
    assert len(texts) == 12
    assert "id-0" in texts[0]
    assert "call_lines_dropped" in texts[1]
    assert [
        f"id-{number}" in text for number, text in zip(range(26, 36), texts[2:], strict=True)
    ] == [True] * 10
    if form == "json":
        assert json.loads(texts[1]) == {
            "timestamp": "2026-10-01T15:00:26Z",
            "event": "call_lines_dropped",
            "level": "warning",
            "count": 25,
        }
    else:
        assert "count=25" in texts[1]


class Failing(io.StringIO):
    """A stream that fails as often as it is told, like a disk that was full for a while."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times
        self.failed = threading.Event()

    def write(self, text: str) -> int:
        """Fail, or write."""
        if self.left:
            self.left -= 1
            self.failed.set()
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_lines_that_could_not_be_written_are_counted() -> None:
    """A stream that fails costs the lines of that moment; the log goes on and says how many are missing."""
    stream = Failing(1)
    log = LineLog(stream, "json")
    log.write(NOW, as_it_is, line(1))
    stream.failed.wait()
    log.write(NOW, as_it_is, line(2))
    log.close()
    dropped, written = [json.loads(text) for text in stream.getvalue().splitlines()]

    assert (dropped["event"], dropped["count"]) == ("call_lines_dropped", 1)
    assert written["request_id"] == "id-2"


def test_a_count_that_could_not_be_written_is_not_lost() -> None:
    """When the word about missing lines cannot be written either, the next one counts them all."""
    stream, counts = Failing(1), LogCounts()
    log = LineLog(stream, "json", counts)
    log.write(NOW, as_it_is, line(1))
    stream.failed.wait()
    stream.failed.clear()
    stream.left = 1
    log.write(NOW, as_it_is, line(2))
    stream.failed.wait()
    log.write(NOW, as_it_is, line(3))
    log.close()
    dropped, written = [json.loads(text) for text in stream.getvalue().splitlines()]

    assert (dropped["count"], written["request_id"]) == (2, "id-3")
    assert counts.dropped == 2


async def test_events_from_many_threads_are_all_there() -> None:
    """Threads that log at once lose no line, and none is taken for dropped."""
    stream, counts = io.StringIO(), LogCounts()
    log = LineLog(stream, "json", counts)
    events = EventStream(log)

    def say(who: int) -> None:
        for number in range(500):
            events.write(f"{who} {number}\n")

    await asyncio.gather(*(asyncio.to_thread(say, who) for who in range(4)))
    log.close()
    said = stream.getvalue().splitlines()
    assert counts.dropped == 0
    assert [
        [text for text in said if text.startswith(f"{who} ")] == [f"{who} {n}" for n in range(500)]
        for who in range(4)
    ] == [True] * 4


def test_a_fault_in_a_line_costs_that_line() -> None:
    """A line that cannot be made is counted as lost, and those behind it are written."""
    stream, counts = io.StringIO(), LogCounts()
    log = LineLog(stream, "json", counts)
    log.write(NOW, broken, line(1))
    log.write(NOW, as_it_is, line(2))
    log.close()
    dropped, written = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert (dropped["count"], written["request_id"]) == (1, "id-2")
    assert counts.dropped == 1


def broken(_: CallLine) -> CallLine:
    """Make no line."""
    raise RuntimeError


def test_nothing_dropped_is_not_mentioned() -> None:
    """A queue that is filled to the brim and no further drops nothing."""
    stream = Blocked()
    log = LineLog(stream, "json", capacity=10)
    log.write(NOW, as_it_is, line(0))
    stream.waiting.wait()
    for number in range(1, 11):
        log.write(NOW, as_it_is, line(number))
    stream.open.set()
    log.close()
    assert "dropped" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 11


# ---------------------------------------------------------------------------- events


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    """Leave the process's logging as it was found."""
    with logging_as_before():
        yield


@pytest.mark.usefixtures("_logging_as_before")
def test_events_are_json_lines() -> None:
    """Events of ours and of libraries are lines of one form, from the level on that was asked for."""
    stream = io.StringIO()
    start_logs(stream, "json", "info")
    structlog.get_logger("tickgate_server.part").info(
        "serving", listen="127.0.0.1:1", feed=("iex",), odd=io.StringIO
    )
    structlog.get_logger("tickgate_server.part").debug("too quiet")
    logging.getLogger("theirs").warning("careful: %s", "really")
    first, second = (json.loads(text) for text in stream.getvalue().splitlines())
    assert (first["event"], first["level"], first["listen"]) == ("serving", "info", "127.0.0.1:1")
    assert (second["event"], second["level"]) == ("careful: really", "warning")
    assert first["timestamp"].endswith("Z")


@pytest.mark.parametrize("level", ["debug", "info", "error"])
@pytest.mark.usefixtures("_logging_as_before")
def test_libraries_are_heard_from_warnings_on(level: str) -> None:
    """What a library does by itself is no event of the gateway; what worries it is, where warnings are wanted."""
    stream = io.StringIO()
    start_logs(stream, "json", level)
    theirs = logging.getLogger("alembic.runtime.migration")
    theirs.debug("looking")
    theirs.info("Will assume transactional DDL.")
    theirs.warning("careful")
    events = [json.loads(text)["event"] for text in stream.getvalue().splitlines()]
    assert events == ([] if level == "error" else ["careful"])


@pytest.mark.usefixtures("_logging_as_before")
def test_an_exception_is_logged_whole() -> None:
    """A fault of ours stands in the log with its traceback, as one line."""
    stream = io.StringIO()
    start_logs(stream, "json", "error")
    try:
        int("inside")
    except ValueError:
        structlog.get_logger("tickgate_server.part").exception("call_failed")
    (text,) = stream.getvalue().splitlines()
    assert "ValueError: invalid literal" in json.loads(text)["exception"]


@pytest.mark.usefixtures("_logging_as_before")
def test_events_for_people_are_plain() -> None:
    """Where the stream is no terminal the console form carries no colors."""
    stream = io.StringIO()
    start_logs(stream, "console", "info")
    structlog.get_logger("tickgate_server.part").info("draining", seconds=2)
    assert "draining" in stream.getvalue()
    assert "seconds=2" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
