"""Logs and the audit log, as the settings want them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote

from msgspec import Struct

from ..market.provenance import DataSource
from ..market.time import format_rfc3339
from ..observe.audit import MOST_SYMBOLS, AuditLine
from ..observe.counters import Counters
from ..observe.files import LogFile, Rotation
from ..observe.logs import CallLine, EventStream, Line, LineLog, LogFormat, start_logs
from ..ports import Clock
from ..rpc.call import Call
from ..rpc.calls import OnCall, OnStream
from ..settings import AuditSettings, LogSettings, Settings

_MIB: Final = 1 << 20
_DAY: Final = 24 * 3600.0

Finished: TypeAlias = tuple[Call, float]
"""A call that has ended, and the seconds it took."""


@contextmanager
def event_log(settings: Settings) -> Iterator[None]:
    """Send events to where logs go, for the length of the block.

    Raises:
        OSError: the file cannot be written.
    """
    form, level = log_format(settings), settings.log.level
    if not settings.log.file:
        start_logs(sys.stderr, form, level)
        yield
        return
    with _file_log("log", settings.log, form, "call") as log:
        # Whoever has started this looks for its lines here.
        sys.stderr.write(f"tickgate-server: logs go to {settings.log.file}\n")
        start_logs(EventStream(log), form, level)
        try:
            yield
        finally:
            start_logs(sys.stderr, form, level)


class Told(Struct, frozen=True):
    """Who is told of calls."""

    of_call: OnCall
    of_stream: OnStream | None
    """Of one that has begun; None where nobody wants to know."""


@contextmanager
def call_logs(
    settings: Settings, source: DataSource, clock: Clock, counters: Counters
) -> Iterator[Told]:
    """Keep the log of calls and the audit log for the length of the block; values are *source*'s.

    Raises:
        OSError: a file cannot be written.
    """
    with ExitStack() as logs:
        calls = logs.enter_context(_call_log(settings, counters)) if settings.log.calls else None
        audit = logs.enter_context(_audit_log(settings, counters)) if settings.audit.file else None

        def line_of(finished: Finished) -> CallLine:
            return _call_line(*finished, source)

        def of_call(call: Call, seconds: float) -> None:
            at, finished = clock.wall(), (call, seconds)
            if calls is not None:
                calls.write(at, line_of, finished)
            if audit is not None:
                audit.write(at, _audited, finished)

        def of_stream(call: Call) -> None:
            if audit is not None:
                # Made at once: the call goes on.
                audit.write(clock.wall(), _as_it_is, _audit_line(call, "stream_begun"))

        yield Told(of_call, None if audit is None else of_stream)


def log_format(settings: Settings) -> LogFormat:
    """Return the format of logs: for people on a terminal, for machines elsewhere, unless the settings say."""
    if settings.log.format == "auto":
        return "console" if sys.stderr.isatty() and not settings.log.file else "json"
    return settings.log.format


# --------------------------------------------------------------------------------------- files


@contextmanager
def _call_log(settings: Settings, counters: Counters) -> Iterator[LineLog]:
    form = log_format(settings)
    if settings.log.file:
        with _file_log("log", settings.log, form, "call") as log:
            counters.call_log = log.counts
            yield log
        return
    log = LineLog(sys.stderr, form, counters.call_log)
    try:
        yield log
    finally:
        log.close()


@contextmanager
def _audit_log(settings: Settings, counters: Counters) -> Iterator[LineLog]:
    with _file_log("audit", settings.audit, "json", "audit") as log:
        counters.audit_log = log.counts
        yield log


class _Open:
    """A file that is written in this process."""

    def __init__(self, file: LogFile, log: LineLog) -> None:
        self.file = file
        self.log = log
        self.users = 0


_OPEN: Final[dict[Path, _Open]] = {}
"""What is written now: a process writes a file once, whatever of it writes there, events and the calls of a gateway."""


@contextmanager
def _file_log(
    section: str, settings: LogSettings | AuditSettings, form: LogFormat, name: str
) -> Iterator[LineLog]:
    path = Path(settings.file)
    place = path.absolute()
    opened = _OPEN.get(place)
    if opened is None:
        rotation = Rotation(
            settings.rotate_mib * _MIB, settings.keep_days * _DAY, settings.keep_files
        )
        try:
            file = LogFile(path, rotation)
        except OSError as error:
            msg = f"{section}.file: {error}"
            raise OSError(msg) from error
        opened = _OPEN[place] = _Open(file, LineLog(file, form, name=name))
    opened.users += 1
    try:
        yield opened.log
    finally:
        opened.users -= 1
        if opened.users == 0:
            del _OPEN[place]
            opened.log.close()
            opened.file.close()


# --------------------------------------------------------------------------------------- lines


def _call_line(call: Call, seconds: float, source: DataSource) -> CallLine:
    return CallLine(
        timestamp="",
        request_id=call.request_id,
        endpoint=call.method,
        code=call.code,
        response_time_ms=round(seconds * 1000, 3),
        values_asked=call.asked,
        values_given=call.given,
        real_data_available=0 < call.given == call.asked,
        cache_hit=call.given > 0 and call.from_upstream == 0,
        data_source=source if call.given else None,
        reason=call.reason,
        consumer=call.consumer.name or unquote(call.peer),
        trace_id=None if call.span is None else call.span.trace_id,
    )


def _audited(finished: Finished) -> AuditLine:
    call, _ = finished
    return _audit_line(call, "stream_ended" if call.streams else "call")


def _audit_line(call: Call, event: Literal["call", "stream_begun", "stream_ended"]) -> AuditLine:
    start = end = None
    if call.interval is not None:
        start, end = format_rfc3339(call.interval.start), format_rfc3339(call.interval.end)
    return AuditLine(
        timestamp="",
        event=event,
        request_id=call.request_id,
        endpoint=call.method,
        peer=unquote(call.peer),
        code=call.code,
        symbols_asked=len(call.symbols),
        values_given=sum(call.points.values()) if call.points else call.given,
        consumer=call.consumer.name or None,
        key_id=call.consumer.key_id or None,
        symbols=call.symbols[:MOST_SYMBOLS],
        feed=call.feed,
        start=start,
        end=end,
        tiers=_tiers(call) or None,
        reason=call.reason,
    )


def _tiers(call: Call) -> dict[str, int]:
    """Return how many values came from which tier: of the past its rows, and otherwise what stands for a symbol."""
    if call.points:
        return {tier.value: count for tier, count in call.points.items()}
    counts: dict[str, int] = {}
    for tier in call.tiers:
        counts[tier] = counts.get(tier, 0) + 1
    return counts


def _as_it_is(line: Line) -> Line:
    return line
