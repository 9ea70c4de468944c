"""The log of calls, as the settings want it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..market.provenance import DataSource
from ..observe.logs import CallLine, CallLog, LogFormat
from ..ports import Clock
from ..rpc.call import Call
from ..settings import Settings


@contextmanager
def call_log(
    settings: Settings, source: DataSource, clock: Clock
) -> Iterator[Callable[[Call, float], None]]:
    """Keep a log of calls, whose values are *source*'s, for the length of the block; give what is told of each."""
    if not settings.log.calls:
        yield lambda _call, _seconds: None
        return

    def line_of(entry: tuple[Call, float]) -> CallLine:
        call, seconds = entry
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
            data_source=source.value if call.given else None,
            reason=call.reason,
            consumer=call.caller,
        )

    log = CallLog(sys.stderr, log_format(settings), line_of)

    def on_call(call: Call, seconds: float) -> None:
        log.write(clock.wall(), (call, seconds))

    try:
        yield on_call
    finally:
        log.close()


def log_format(settings: Settings) -> LogFormat:
    """Return the format of logs: for people on a terminal, for machines elsewhere, unless the settings say."""
    if settings.log.format == "auto":
        return "console" if sys.stderr.isatty() else "json"
    return settings.log.format
