"""Why the past, or some of it, is not told, in the words that a caller gets."""

from __future__ import annotations

from ..market.interval import Interval
from ..market.series import SeriesKey, SeriesKind
from ..market.time import format_rfc3339
from ..market.unavailable import Reason, Unavailable

NO_STORE = "this gateway has no store of history"
STORE_DOWN = "the store of history cannot be had now"


def no_store() -> Unavailable:
    """Only a store could answer, and there is none."""
    return Unavailable(reason=Reason.NOT_SUPPORTED, message=NO_STORE)


def store_down() -> Unavailable:
    """Only the store could answer."""
    return Unavailable(reason=Reason.STORE_UNAVAILABLE, message=STORE_DOWN, passing=True)


def out_of_time(key: SeriesKey) -> Unavailable:
    """The deadline came first. What was told stands, and another question goes on behind it."""
    message = f"{what(key)}: the deadline came before all of them were told"
    return Unavailable(reason=Reason.OUT_OF_TIME, message=message, passing=True)


def not_come(symbol: str, start: int) -> Unavailable:
    """The range has not begun yet."""
    message = f"{symbol}: the range begins at {format_rfc3339(start)}, which has not come yet"
    return Unavailable(reason=Reason.NO_DATA, message=message)


def not_held(key: SeriesKey, missing: Interval) -> Unavailable:
    """The tiers that may answer do not hold it."""
    message = f"{what(key)} {span(missing)} are not held by the tiers that may answer"
    return Unavailable(reason=Reason.NOT_HELD, message=message)


def not_known_then(key: SeriesKey, missing: Interval, as_of: int) -> Unavailable:
    """It was not held at the moment that is asked about."""
    message = f"{what(key)} {span(missing)} were not known then, at {format_rfc3339(as_of)}"
    return Unavailable(reason=Reason.NOT_HELD, message=message)


def nothing(key: SeriesKey, interval: Interval, *, passing: bool) -> Unavailable:
    """The upstream has confirmed that there is nothing; *passing* where the symbol may yet prove to be unknown."""
    message = f"{what(key)} {span(interval)}: the upstream has none"
    return Unavailable(reason=Reason.NO_DATA, message=message, passing=passing)


def unknown(key: SeriesKey) -> Unavailable:
    """The upstream does not list the symbol."""
    if key.of_option:
        message = f"{key.symbol}: not in the upstream's list of contracts"
        return Unavailable(reason=Reason.CONTRACT_UNKNOWN, message=message)
    message = f"{key.symbol}: not in the upstream's list of assets"
    return Unavailable(reason=Reason.SYMBOL_UNKNOWN, message=message)


def malformed(key: SeriesKey, said: str) -> Unavailable:
    """The upstream does not take the symbol."""
    reason = Reason.CONTRACT_UNKNOWN if key.of_option else Reason.SYMBOL_UNKNOWN
    return Unavailable(reason=reason, message=f"{key.symbol}: the upstream says {said[:100]!r}")


def all_refused(
    key: SeriesKey, interval: Interval, refused: int, first: Unavailable | None
) -> Unavailable:
    """There are records, and none of them is a market value."""
    if first is not None:
        return first
    message = f"{what(key)} {span(interval)}: none of {refused} records is a market value"
    return Unavailable(reason=Reason.INVALID_DATA, message=message)


def what(key: SeriesKey) -> str:
    """Return *key* as a caller would call it."""
    kind = f"{key.timeframe} bars" if key.kind is SeriesKind.BARS else key.kind.value
    return f"{key.symbol}: {kind}" if key.feed is None else f"{key.symbol}: {key.feed.value} {kind}"


def span(interval: Interval) -> str:
    """Return *interval* in words."""
    return f"from {format_rfc3339(interval.start)} to before {format_rfc3339(interval.end)}"
