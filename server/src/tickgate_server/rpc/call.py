"""One call while it is being answered, and what the error log keeps of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct, field

from ..errors import LimitExceeded
from ..identity.consumer import ANYBODY, Consumer
from ..market.interval import Interval
from ..market.provenance import Feed, Tier
from ..market.unavailable import Reason, Unavailable
from ..observe.spans import Span
from ..ports import ErrorEntry
from .status import Failure

_MOST_SYMBOLS: Final = 20
"""Symbols that an entry names; it counts all of them."""


_GOOD_ENDS: Final = frozenset({"OK", "CANCELLED"})
"""Statuses that are no failure of ours: whoever leaves a stream has it cancelled."""


class Call(Struct, gc=False):
    """One call while it is being answered, and what its log line will say.

    Nothing that it holds refers to it, and thousands wait for their lines: the collector need not look at them.
    """

    method: str
    """Service and method, such as "QuoteService/GetQuote"."""

    request_id: str
    deadline: float
    """Seconds of the monotonic clock."""

    peer: str
    started: float
    bounded: bool = True
    """Whether the caller set the deadline; otherwise it is the gateway's, which a stream of history does not heed."""

    consumer: Consumer = ANYBODY
    code: str = "OK"
    reason: str | None = None
    asked: int = 0
    """Values asked for."""

    given: int = 0
    """Values given."""

    from_upstream: int = 0
    """Values that cost an upstream request, here or shared."""

    symbols: Sequence[str] = ()
    """What was asked for, as far as it is symbols."""

    tiers: Sequence[Tier] = ()
    """Where each given value came from, as far as it came from tiers."""

    missing: Sequence[tuple[str, Unavailable]] = ()
    """Symbols without a value, and why; a symbol is empty where none was asked for."""

    feed: Feed | None = None
    """Feed that was asked."""

    strict: bool = False
    """Whether one missing value fails it. Only told of calls that miss values."""

    streams: bool = False
    """Whether the answer is a stream."""

    interval: Interval | None = None
    """Range of the past that was asked for."""

    points: dict[Tier, int] = field(default_factory=dict)
    """Values of the past that were given, by tier: `given` counts symbols."""

    span: Span | None = None
    """All of it in its trace; None where it is not traced."""

    def check_batch(self, symbols: int) -> None:
        """Refuse to ask for so many *symbols* at once, where the consumer may not.

        Raises:
            LimitExceeded: it may not.
        """
        most = self.consumer.limits.symbols_per_batch
        if most is not None and symbols > most:
            msg = f"symbols of one request: {self.consumer.name} may name {most} here, and names {symbols}"
            raise LimitExceeded("symbols_per_batch", msg)

    @property
    def caller(self) -> str:
        """Who calls, as logs say it: the consumer's name, or the address of somebody who has none."""
        return self.consumer.name or self.peer


def missing_entries(call: Call, time: int) -> list[ErrorEntry]:
    """Return what the error log keeps of the values that *call* misses: one entry for each reason."""
    return [
        ErrorEntry(
            time, call.request_id, reason.name, missing[0][1].message, _context(call, missing)
        )
        for reason, missing in _by_reason(call.missing).items()
    ]


def failure_entry(call: Call, failure: Failure, time: int) -> ErrorEntry:
    """Return what the error log keeps of *call*, which failed before any value was asked for."""
    context = {"origin": "call", "endpoint": call.method, "consumer": call.caller}
    return ErrorEntry(time, call.request_id, failure.reason, failure.message, context)


def end_span(call: Call, span: Span) -> None:
    """End *span*, which is all of *call*, and tell in it what became of the call: never which symbols it was about."""
    span.tell(
        request_id=call.request_id,
        code=call.code,
        symbols=len(call.symbols),
        values_asked=call.asked,
        values_given=call.given,
        tiers=tuple(dict.fromkeys(tier.value for tier in call.tiers)),
    )
    if call.feed is not None:
        span.tell(feed=call.feed.value)
    if call.consumer.name:
        span.tell(consumer=call.consumer.name)
    if call.reason is not None:
        # Of a call that was answered it is why the first missing value is missing.
        span.tell(reason=call.reason)
    if call.code not in _GOOD_ENDS:
        span.fail(call.reason or call.code)
    span.end()


_Missing = Sequence[tuple[str, Unavailable]]


def _by_reason(missing: _Missing) -> dict[Reason, _Missing]:
    if len(missing) == 1:
        return {missing[0][1].reason: missing}
    groups: dict[Reason, list[tuple[str, Unavailable]]] = {}
    for one in missing:
        groups.setdefault(one[1].reason, []).append(one)
    return dict(groups)


def _context(call: Call, missing: _Missing) -> dict[str, Any]:
    """Return what else is known of values that are *missing* for one reason, by the example of the first."""
    symbol, why = missing[0]
    context: dict[str, Any] = {
        "origin": "call",
        "endpoint": call.method,
        "consumer": call.caller,
        "strict": call.strict,
    }
    if symbol:
        context["symbols"] = [symbol for symbol, _ in missing[:_MOST_SYMBOLS]]
        context["count"] = len(missing)
    if call.feed is not None:
        context["feed"] = call.feed.value
    if why.tiers:
        context["tiers"] = [f"{tried.tier.value} {tried.outcome.name}" for tried in why.tiers]
    if why.refusal is not None:
        context["rule"], context["evidence"] = why.refusal.rule, why.refusal.evidence
    if why.upstream:
        context["upstream"] = why.upstream
    if why.retry_delay is not None:
        context["retry_delay"] = why.retry_delay
    return context
