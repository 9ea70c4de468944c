"""Logs: one line for each call, and one for each event worth a person's attention."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

import msgspec
import structlog
from msgspec import Struct

from ..market.time import format_rfc3339
from .counters import LogCounts

LogFormat = Literal["json", "console"]
E = TypeVar("E")

LineOf: TypeAlias = "Callable[[E], Line | str]"
"""Makes a line of what it is about, or a text that is a line already, with its end."""

_log = structlog.get_logger(__name__)

_FAREWELL: Final = 5.0
"""Seconds that what is queued gets to be written at the end."""

_OURS = __name__.partition(".")[0]
"""Name below which all loggers of the gateway are."""


class Line(Struct, omit_defaults=True):
    """One line of a log."""

    timestamp: str
    """RFC 3339, to the nanosecond; a log fills it in."""


class CallLine(Line):
    """One call as it stands in the log. Field names are those that operators of the replaced services know."""

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

    trace_id: str | None = None
    """Of a call that is traced."""

    def __str__(self) -> str:
        """Return the line for a person."""
        outcome = self.code if self.reason is None else f"{self.code} {self.reason}"
        return (
            f"{self.timestamp} {self.endpoint:<36} {outcome:<24}"
            f" {self.values_given}/{self.values_asked} {self.response_time_ms:.3f} ms"
            f" {self.request_id}"
        )


class _Dropped(Line, omit_defaults=False):
    """So many lines are missing here."""

    count: int
    event: str
    level: str = "warning"

    def __str__(self) -> str:
        return f"{self.timestamp} {self.event} count={self.count}"


class Output(Protocol):
    """What lines are written to: a stream, or a file that is packed when it is full."""

    def write(self, text: str, /) -> object:
        """Write *text*, which is whole lines."""
        ...

    def flush(self) -> object:
        """Hold nothing back."""
        ...


class LineLog:
    """Writes lines from a thread of its own, in batches: calls, what was had by whom, and events among them.

    Whoever logs only appends to a queue; making lines and writing them happens elsewhere. When they come faster than
    they can be written the oldest go, and their number is logged: a log must never slow or fill the gateway.
    """

    _BATCH_EVERY = 0.1
    """Seconds between writes."""

    _BATCH = 1000
    """Lines of one write at most: some hundred kilobytes, which a file still has room for or not."""

    def __init__(
        self,
        output: Output,
        form: LogFormat,
        counts: LogCounts | None = None,
        *,
        name: str = "call",
        capacity: int = 100_000,
    ) -> None:
        """Write to *output*.

        Args:
            output: takes the lines.
            form: how they look.
            counts: where lines that were lost are counted.
            name: what its lines are, for the name of its thread and the word about those that were lost.
            capacity: lines that wait at most.
        """
        self.counts = LogCounts() if counts is None else counts
        self._output = output
        self._form = form
        self._dropped = f"{name}_lines_dropped"
        """What is said of lines that were lost."""

        self._lock = threading.Lock()
        self._entries: deque[tuple[int, int, LineOf[Any], Any]] = deque(maxlen=capacity)
        """Numbered, so that the writing thread sees exactly which are gone."""

        self._written = 0
        self._expected = 1
        self._unsaid = 0
        """Lines that were lost since the last one that was written."""

        self._faulty = False
        """Whether a fault of ours has cost a line, which is said once."""

        self._json = msgspec.json.Encoder()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name}-log", daemon=True)
        self._thread.start()

    def write(self, at: int, line_of: LineOf[E], entry: E) -> None:
        """Queue what *line_of* will make of *entry*; never waits.

        Args:
            at: the instant that the line is about, nanoseconds of the wall clock.
            line_of: makes the line of it, in another thread.
            entry: what the line is about; it is not changed any more.
        """
        # Events come from any thread. The lock is never held for longer than these two lines.
        with self._lock:
            self._written += 1
            self._entries.append((self._written, at, line_of, entry))

    def close(self) -> None:
        """Write what is queued and end the thread. One that hangs on its disk is left behind."""
        self._stop.set()
        self._thread.join(_FAREWELL)

    def _run(self) -> None:
        while not self._stop.wait(self._BATCH_EVERY):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        while self._entries:
            self._write_some()

    def _write_some(self) -> None:
        lines: list[str] = []
        count = said = 0
        while self._entries and count < self._BATCH:
            number, at, line_of, entry = self._entries.popleft()
            if number > self._expected:
                self._lose(number - self._expected)
            self._expected = number + 1
            try:
                line = self._text(line_of(entry), at)
            except Exception:  # noqa: BLE001 - a fault in one line must not end the log
                self._lose(1)
                if not self._faulty:
                    self._faulty = True
                    _log.exception("log_line_failed")
                continue
            if self._unsaid:
                lines.append(self._text(_Dropped("", self._unsaid, self._dropped), at))
                said, self._unsaid = said + self._unsaid, 0
            lines.append(line)
            count += 1
        try:
            self._output.write("".join(lines))
            self._output.flush()
        except OSError:
            # A full disk, a closed pipe: these lines are lost, and counted before the next that can be written.
            self._unsaid += said
            self._lose(count)

    def _lose(self, count: int) -> None:
        self._unsaid += count
        self.counts.dropped += count

    def _text(self, line: Line | str, at: int) -> str:
        if isinstance(line, str):
            return line
        line.timestamp = format_rfc3339(at)
        if self._form == "json":
            return self._json.encode(line).decode() + "\n"
        return f"{line}\n"


class EventStream:
    """A stream for events whose lines go to a `LineLog`, among those of calls: nobody waits for a disk."""

    def __init__(self, log: LineLog) -> None:
        """Write to *log*."""
        self._log = log

    def write(self, text: str) -> int:
        """Queue *text*, which is whole lines."""
        self._log.write(time.time_ns(), str, text)
        return len(text)

    def flush(self) -> None:
        """Do nothing: the log writes soon, and at its end all."""

    def isatty(self) -> bool:
        """Tell that nobody looks on."""
        return False


class Stream(Output, Protocol):
    """Where events are written to."""

    def isatty(self) -> bool:
        """Tell whether a person looks on."""
        ...


def start_logs(stream: Stream, form: LogFormat, level: str) -> None:
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
