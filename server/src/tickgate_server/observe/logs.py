"""Logs: one line for each call, and one for each event worth a person's attention."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import IO, Any, Generic, Literal, TypeVar

import msgspec
import structlog
from msgspec import Struct

from ..market.time import format_rfc3339

LogFormat = Literal["json", "console"]
E = TypeVar("E")

_OURS = __name__.partition(".")[0]
"""Name below which all loggers of the gateway are."""


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

    def __str__(self) -> str:
        """Return the line for a person."""
        outcome = self.code if self.reason is None else f"{self.code} {self.reason}"
        return (
            f"{self.timestamp} {self.endpoint:<36} {outcome:<24}"
            f" {self.values_given}/{self.values_asked} {self.response_time_ms:.3f} ms"
            f" {self.request_id}"
        )


class _Dropped(Struct):
    """So many lines are missing here."""

    timestamp: str
    count: int
    event: str = "call_lines_dropped"
    level: str = "warning"

    def __str__(self) -> str:
        return f"{self.timestamp} {self.event} count={self.count}"


class CallLog(Generic[E]):
    """Writes call lines from a thread of its own, in batches.

    A call only appends to a queue; making a line of it and the write happen elsewhere. When lines come faster than they
    can be written the oldest go, and their number is logged: the log must never slow or fill the gateway.
    """

    _BATCH_EVERY = 0.1
    """Seconds between writes."""

    def __init__(
        self,
        stream: IO[str],
        form: LogFormat,
        line_of: Callable[[E], CallLine],
        capacity: int = 100_000,
    ) -> None:
        """Write to *stream* in *form* what *line_of* makes of an entry, holding at most *capacity* of them."""
        self._stream = stream
        self._form = form
        self._line_of = line_of
        self._entries: deque[tuple[int, int, E]] = deque(maxlen=capacity)
        self._written = 0
        self._expected = 1
        self._json = msgspec.json.Encoder()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="call-log", daemon=True)
        self._thread.start()

    def write(self, at: int, entry: E) -> None:
        """Queue *entry*, which belongs to the instant *at* (nanoseconds) and is not changed any more. Never waits."""
        # Numbered, so that the writing thread sees exactly which are gone, without a lock.
        self._written += 1
        self._entries.append((self._written, at, entry))

    def close(self) -> None:
        """Write what is queued and end the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._BATCH_EVERY):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        lines: list[CallLine | _Dropped] = []
        before = self._expected
        while self._entries:
            number, at, entry = self._entries.popleft()
            line = self._line_of(entry)
            line.timestamp = format_rfc3339(at)
            if number > self._expected:
                lines.append(_Dropped(line.timestamp, number - self._expected))
            self._expected = number + 1
            lines.append(line)
        if not lines:
            return
        try:
            self._stream.write(self._text(lines))
            self._stream.flush()
        except OSError:
            # A full disk, a closed pipe: these lines are lost, and counted before the next that can be written.
            self._expected = before

    def _text(self, lines: list[CallLine | _Dropped]) -> str:
        if self._form == "json":
            return self._json.encode_lines(lines).decode()
        return "".join(f"{line}\n" for line in lines)


def start_logs(stream: IO[str], form: LogFormat, level: str) -> None:
    """Send events from *level* on to *stream* as lines in *form*.

    Libraries are heard from warnings on: what they do by themselves would drown what the gateway does.
    """
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
    least = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(least, logging.WARNING))
    logging.getLogger(_OURS).setLevel(least)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(least),
        cache_logger_on_first_use=True,
    )
