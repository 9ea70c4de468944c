"""One call while it is being answered, and what the error log keeps of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from ..market.provenance import Feed
from ..market.unavailable import Reason, Unavailable
from ..ports import ErrorEntry
from .status import Failure

_MOST_SYMBOLS: Final = 20
"""Symbols that an entry names; it counts all of them."""


class Call(Struct):
    """One call while it is being answered, and what its log line will say."""

    method: str
    """Service and method, such as "QuoteService/GetQuote"."""

    request_id: str
    deadline: float
    """Seconds of the monotonic clock."""

    peer: str
    started: float
    bounded: bool = True
    """Whether the caller set the deadline; otherwise it is the gateway's, which a stream of history does not heed."""

    code: str = "OK"
    reason: str | None = None
    asked: int = 0
    """Values asked for."""

    given: int = 0
    """Values given."""

    from_upstream: int = 0
    """Values that cost an upstream request, here or shared."""

    missing: Sequence[tuple[str, Unavailable]] = ()
    """Symbols without a value, and why; a symbol is empty where none was asked for."""

    feed: Feed | None = None
    """Feed that was asked. Only told of calls that miss values, as is `strict`."""

    strict: bool = False


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
    context = {"origin": "call", "endpoint": call.method, "consumer": call.peer}
    return ErrorEntry(time, call.request_id, failure.reason, failure.message, context)


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
        "consumer": call.peer,
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
