"""What is asked for on the command line, in the words of the house."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ..errors import OrderError
from ..market.occ import is_occ_symbol
from ..market.provenance import LIVE_FEEDS, STOCK_FEEDS, Feed
from ..market.series import Adjustment, SeriesKey, SeriesKind
from ..market.symbol import STOCK_SYMBOL_RULE, is_stock_symbol
from ..market.time import parse_rfc3339
from ..market.timeframe import TIMEFRAME_RULE, Timeframe, parse_timeframe
from ..settings import Settings
from . import policies
from .programs import BackfillOrder

_MOST_SYMBOLS = 1000
_MOMENT_RULE = "a moment is a day such as 2024-03-13, or RFC 3339 such as 2024-03-13T14:30:00Z"
_ALL_ADJUSTMENTS = "all"


def backfill_order(
    settings: Settings,
    symbols: Sequence[str],
    *,
    kind: SeriesKind,
    timeframe: str | None,
    start: str,
    end: str | None,
    feed: Feed | None,
    adjust: Sequence[str],
) -> BackfillOrder:
    """Return what a backfill is to fetch.

    Raises:
        OrderError: that makes no sense.
    """
    options = _are_options(symbols)
    key = SeriesKey(
        kind,
        symbols[0],
        _history_feed(settings, feed, options=options),
        _timeframe(kind, timeframe),
        _adjustments(kind, adjust, options=options),
    )
    if options and kind is SeriesKind.QUOTES:
        raise OrderError("--kind: the upstream has no history of quotes of options")
    begins = _moment("--start", start)
    ends = None if end is None else _moment("--end", end)
    if ends is not None and ends <= begins:
        raise OrderError("--end: must lie behind --start")
    first_day = settings.options_first_day if options else settings.first_day
    first = policies.instant(first_day)
    if ends is not None and ends <= first:
        raise OrderError(f"--end: the upstream has nothing before {first_day}")
    return BackfillOrder(key, tuple(symbols), max(begins, first), ends)


def session_feed(settings: Settings, symbols: Sequence[str], feed: Feed | None) -> Feed:
    """Return on which feed a session of *symbols* is recorded.

    Raises:
        OrderError: there is none.
    """
    if _are_options(symbols):
        raise OrderError("SYMBOL: sessions are recorded of stocks, not of options")
    chosen = feed or settings.alpaca.stock_feed
    if chosen not in LIVE_FEEDS & STOCK_FEEDS:
        raise OrderError(f"--feed: {chosen.value} carries no stocks live")
    return chosen


def session_length(length: datetime.timedelta | None) -> float | None:
    """Return for how many seconds a session is recorded; None until somebody stops it.

    Raises:
        OrderError: that is no time at all.
    """
    if length is None:
        return None
    if length <= datetime.timedelta():
        raise OrderError("--for: more than nothing, such as 10m or 6h30m")
    return length.total_seconds()


def _are_options(symbols: Sequence[str]) -> bool:
    if not symbols:
        raise OrderError("SYMBOL: name at least one")
    if len(symbols) > _MOST_SYMBOLS:
        raise OrderError(f"SYMBOL: {_MOST_SYMBOLS} at most")
    twins = sorted({one for one in symbols if symbols.count(one) > 1})
    if twins:
        raise OrderError(f"SYMBOL: more than once: {', '.join(twins)}")
    options = [is_occ_symbol(one) for one in symbols]
    if any(options) and not all(options):
        raise OrderError("SYMBOL: stocks, or contracts, but not both")
    for symbol in symbols:
        if not options[0] and not is_stock_symbol(symbol):
            raise OrderError(f"SYMBOL: {symbol!r}: {STOCK_SYMBOL_RULE}")
    return options[0]


def _history_feed(settings: Settings, feed: Feed | None, *, options: bool) -> Feed | None:
    if options:
        if feed is not None:
            raise OrderError("--feed: the upstream keeps no feeds of options' history apart")
        return None
    chosen = feed or settings.alpaca.stock_feed
    if chosen not in STOCK_FEEDS:
        raise OrderError(f"--feed: {chosen.value} carries no stocks")
    return chosen


def _timeframe(kind: SeriesKind, text: str | None) -> Timeframe | None:
    if kind is not SeriesKind.BARS:
        if text is not None:
            raise OrderError(f"--timeframe: {kind.value} have none")
        return None
    timeframe = parse_timeframe(text or "")
    if timeframe is None:
        raise OrderError(f"--timeframe: {TIMEFRAME_RULE}")
    return timeframe


def _adjustments(kind: SeriesKind, texts: Sequence[str], *, options: bool) -> frozenset[Adjustment]:
    if not texts:
        return frozenset()
    if kind is not SeriesKind.BARS or options:
        raise OrderError("--adjust: only bars of stocks are adjusted")
    if list(texts) == [_ALL_ADJUSTMENTS]:
        return frozenset(Adjustment)
    try:
        return frozenset(Adjustment(text) for text in texts)
    except ValueError:
        known = ", ".join(one.value for one in Adjustment)
        raise OrderError(f"--adjust: one or more of {known}; or all") from None


def _moment(option: str, text: str) -> int:
    try:
        return policies.instant(datetime.date.fromisoformat(text))
    except ValueError:
        try:
            return parse_rfc3339(text)
        except ValueError:
            raise OrderError(f"{option}: {_MOMENT_RULE}") from None
