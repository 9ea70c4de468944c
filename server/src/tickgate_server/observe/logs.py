"""Logs: one line for each call, and one for each event worth a person's attention."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import IO, Any, Literal

import msgspec
import structlog
from msgspec import Struct

from ..market.time import format_rfc3339

LogFormat = Literal["json", "console"]


class CallLine(Struct, omit_defaults=True):
    """One call as it stands in the log. Field names are those that operators of the replaced services know."""

    timestamp: str
    request_id: str
    endpoint: str
    """Method, such as "QuoteService/GetQuote"."""

    code: str
    """gRPC status."""

    response_time_ms: float
    values_asked: int
    values_given: int
    real_data_available: bool
    """Every asked value was given."""

    cache_hit: bool
    """Every given value came from a tier of the gateway."""

    data_source: str | None = None
    reason: str | None = None
    """Why the first missing value is missing."""

    consumer: str | None = None
    """Who called, as far as it is known."""

    event: str = ""
    level: str = ""


class CallLog:
    """Writes call lines from a thread of its own, in batches.

    A call only appends to a queue; making text of it and the write happen elsewhere. When lines come faster than they
    can be written the oldest go, and their number is logged: the log must never slow or fill the gateway.
    """

    _BATCH_EVERY = 0.1
    """Seconds between writes."""

    def __init__(self, stream: IO[str], form: LogFormat, capacity: int = 100_000) -> None:
        """Write to *stream* in *form*, holding at most *capacity* lines."""
        self._stream = stream
        self._form = form
        self._lines: deque[tuple[int, int, CallLine]] = deque(maxlen=capacity)
        self._written = 0
        self._expected = 1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="call-log", daemon=True)
        self._thread.start()

    def write(self, at: int, line: CallLine) -> None:
        """Queue *line*, which belongs to the instant *at* (nanoseconds). Never waits."""
        # Numbered, so that the writing thread sees exactly which are gone, without a lock.
        self._written += 1
        self._lines.append((self._written, at, line))

    def close(self) -> None:
        """Write what is queued and end the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._BATCH_EVERY):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        texts, before = [], self._expected
        while self._lines:
            number, at, line = self._lines.popleft()
            line.timestamp = format_rfc3339(at)
            if number > self._expected:
                texts.append(self._dropped(number - self._expected, line.timestamp))
            self._expected = number + 1
            texts.append(self._text(line))
        try:
            self._stream.write("".join(texts))
            self._stream.flush()
        except OSError:
            # A full disk, a closed pipe: these lines are lost, and counted before the next that can be written.
            self._expected = before

    def _dropped(self, count: int, timestamp: str) -> str:
        if self._form == "console":
            return f"{timestamp} call_lines_dropped count={count}\n"
        event = {
            "timestamp": timestamp,
            "event": "call_lines_dropped",
            "level": "warning",
            "count": count,
        }
        return msgspec.json.encode(event).decode() + "\n"

    def _text(self, line: CallLine) -> str:
        if self._form == "json":
            return msgspec.json.encode(line).decode() + "\n"
        outcome = line.code if line.reason is None else f"{line.code} {line.reason}"
        return (
            f"{line.timestamp} {line.endpoint:<36} {outcome:<24}"
            f" {line.values_given}/{line.values_asked} {line.response_time_ms:.3f} ms"
            f" {line.request_id}\n"
        )


def start_logs(stream: IO[str], form: LogFormat, level: str) -> None:
    """Send events, of structlog and of the standard library, to *stream* as lines in *form*."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(
            serializer=lambda event, **_: msgspec.json.encode(event, enc_hook=str).decode()
        )
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        cache_logger_on_first_use=True,
    )
