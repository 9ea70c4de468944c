"""Every way to ask for the past in columns: its arguments, and what is to be read. Knows no I/O.

Each function stands for one method of both clients, as in `_questions`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import _chunks as chunks
from . import _convert as convert
from . import _rules as rules
from ._instants import timestamp
from ._occ import Occ, name_of, names_of
from ._questions import Call, new_id
from .v1 import history_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, timedelta

    from google.protobuf.message import Message

    from ._chunks import Chunk, Layout
    from ._enums import Adjustment, Feed, Sort, Tier
    from ._instants import Moment
    from ._models import Bar, Quote, Trade

Item = TypeVar("Item")

MOST = 10_000_000
"""Values of a symbol at most that a limit may name."""

PATIENCE = 65.0
"""Seconds without anything new after which a reading is given up; the gateway gives its upstream up after sixty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past(Call, Generic[Item]):
    """What of the past is to be read, and how."""

    rpc: str
    """Service and method, such as "HistoryService/StreamBars"."""
    request: Any
    """The request of the RPC; the cursor in it changes."""
    reply: type[Message]
    layout: Layout[Item]
    symbols: tuple[str, ...]
    several: bool
    """Whether several symbols were asked for, if only one of them came out."""
    partial: bool
    """Whether what came is enough, if not all can be had."""
    progress: Callable[[Chunk[Any]], object] | None

    @property
    def path(self) -> str:
        """Name of the RPC on the wire."""
        return f"/tickgate.v1.{self.rpc}"


def bars(
    symbols: str | Occ | Iterable[str | Occ],
    timeframe: str,
    start: Moment,
    end: Moment | None = None,
    *,
    feed: Feed | None = None,
    adjustments: Iterable[Adjustment] = (),
    symbol_date: date | None = None,
    exact_symbols: bool = False,
    sort: Sort | None = None,
    limit: int = 0,
    as_of: Moment | None = None,
    allowed_tiers: Iterable[Tier] | None = None,
    clamp_to_entitlement: bool = False,
    partial: bool = False,
    cursor: str = "",
    progress: Callable[[Chunk[Any]], object] | None = None,
    timeout: float | timedelta | None = None,
    request_id: str | None = None,
) -> Past[Bar]:
    """Read bars of the past, of stocks or of options.

    Nothing is asked before the answer is read: row by row by iterating, in columns by `chunks`, all at once by `fetch`
    or, as a table, by `polars`, `pandas` or `arrow`. A stream that breaks goes on behind what has come by itself.

    Args:
        symbols: One symbol, or 1 to 100 without duplicates: all of stocks, or all OCC symbols or `Occ`.
        timeframe: Length of an interval: "1Min" to "59Min", "1Hour" to "23Hour", "1Day", "1Week", and "1Month",
            "2Month", "3Month", "4Month", "6Month" or "12Month".
        start: First instant of the range, which belongs to it: an aware datetime, RFC 3339 text such as
            "2024-03-01T15:30:00Z", nanoseconds since 1970, or a day as a date or as text, which begins at midnight in
            New York. A bar belongs where its interval starts.
        end: End of the range, which does not belong to it, likewise: of a day, its first instant. The market's present
            time when left out.
        feed: Stock feed; the gateway's configured one when left out. Options have none.
        adjustments: What prices and volumes are adjusted for; nothing when left out.
        symbol_date: The day whose symbols are meant: with a day before a company changed its symbol, the old symbol
            finds it. Left out, today's are meant, and what the company traded as before is found as well.
        exact_symbols: Take symbols literally: only what traded under them.
        sort: Order in time; oldest first when left out. Symbols stay in the order in which they are asked for.
        limit: Most values of each symbol, up to 10,000,000; 0 sets no limit. With `Sort.NEWEST_FIRST` the newest.
        as_of: What was known at this moment, like *start*: without what was revised later. Only the gateway's store
            can tell.
        allowed_tiers: Tiers that may answer, of `Tier.REDIS`, `Tier.STORE` and `Tier.UPSTREAM`; all when left out.
        clamp_to_entitlement: Where the account may not read up to the end of the range, answer up to where it may;
            `ends` says so. Otherwise the whole range is refused.
        partial: Take what can be had: what cannot stands in `missing`. Otherwise it is raised, after all that came.
        cursor: Go on from there: the `cursor` of a `Chunk`, `Missing` or `SeriesEnd`, with everything else unchanged.
        progress: Is called with each `Chunk` as it comes.
        timeout: Longest time without anything new, in seconds or as a timedelta; 65 s when left out.
        request_id: As for `quote`.

    Returns:
        The bars, ready to be read. They are `Bar`.

    Raises:
        InvalidRequest: an argument breaks a rule of the API; at once, or while reading.
        NoData: while reading, nothing happened to the one symbol that was asked for. Of several, `missing` says so.
        NotHeld: while reading, *allowed_tiers* do not hold all of it, or it was not known at *as_of*.
        DataUnavailableError: while reading, some of it cannot be had. The subclass says why; `missing` from where.
        DeadlineExceeded: while reading, nothing came for too long.
        GatewayUnreachable: while reading, no gateway answers.
        GatewayError: while reading, the gateway failed.
    """
    asked, several = _asked(symbols)
    rules.check_number("limit", limit, MOST)
    return Past(
        rpc="HistoryService/StreamBars",
        request=pb.StreamBarsRequest(
            symbols=asked,
            timeframe=timeframe,
            start_time=timestamp("start_time", start),
            end_time=timestamp("end_time", end),
            feed=convert.optional_number(convert.FEED, feed),
            adjustments=convert.ADJUSTMENT.numbers(adjustments),
            symbol_date=convert.optional_date(symbol_date),
            exact_symbols=exact_symbols,
            sort=convert.optional_number(convert.SORT, sort),
            limit=limit,
            as_of_time=timestamp("as_of_time", as_of),
            allowed_tiers=convert.TIER.numbers(allowed_tiers or ()),
            clamp_to_entitlement=clamp_to_entitlement,
            cursor=cursor,
        ),
        reply=pb.StreamBarsResponse,
        layout=chunks.BARS,
        symbols=asked,
        several=several,
        partial=partial,
        progress=progress,
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def trade_history(
    symbols: str | Occ | Iterable[str | Occ],
    start: Moment,
    end: Moment | None = None,
    *,
    feed: Feed | None = None,
    symbol_date: date | None = None,
    exact_symbols: bool = False,
    sort: Sort | None = None,
    limit: int = 0,
    as_of: Moment | None = None,
    allowed_tiers: Iterable[Tier] | None = None,
    clamp_to_entitlement: bool = False,
    partial: bool = False,
    cursor: str = "",
    progress: Callable[[Chunk[Any]], object] | None = None,
    timeout: float | timedelta | None = None,
    request_id: str | None = None,
) -> Past[Trade]:
    """Read trades of the past, of stocks or of options. All of them, also those that set no price.

    They are read as `bars` are.

    Args:
        symbols: As for `bars`.
        start: As for `bars`.
        end: As for `bars`.
        feed: As for `bars`.
        symbol_date: As for `bars`.
        exact_symbols: As for `bars`.
        sort: As for `bars`.
        limit: As for `bars`.
        as_of: As for `bars`.
        allowed_tiers: As for `bars`.
        clamp_to_entitlement: As for `bars`.
        partial: As for `bars`.
        cursor: As for `bars`.
        progress: As for `bars`.
        timeout: As for `bars`.
        request_id: As for `quote`.

    Returns:
        The trades, ready to be read. They are `Trade`.

    Raises:
        TickgateError: as for `bars`.
    """
    asked, several = _asked(symbols)
    rules.check_number("limit", limit, MOST)
    return Past(
        rpc="HistoryService/StreamTrades",
        request=pb.StreamTradesRequest(
            symbols=asked,
            start_time=timestamp("start_time", start),
            end_time=timestamp("end_time", end),
            feed=convert.optional_number(convert.FEED, feed),
            symbol_date=convert.optional_date(symbol_date),
            exact_symbols=exact_symbols,
            sort=convert.optional_number(convert.SORT, sort),
            limit=limit,
            as_of_time=timestamp("as_of_time", as_of),
            allowed_tiers=convert.TIER.numbers(allowed_tiers or ()),
            clamp_to_entitlement=clamp_to_entitlement,
            cursor=cursor,
        ),
        reply=pb.StreamTradesResponse,
        layout=chunks.TRADES,
        symbols=asked,
        several=several,
        partial=partial,
        progress=progress,
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def quote_history(
    symbols: str | Iterable[str],
    start: Moment,
    end: Moment | None = None,
    *,
    feed: Feed | None = None,
    symbol_date: date | None = None,
    exact_symbols: bool = False,
    sort: Sort | None = None,
    limit: int = 0,
    as_of: Moment | None = None,
    allowed_tiers: Iterable[Tier] | None = None,
    clamp_to_entitlement: bool = False,
    partial: bool = False,
    cursor: str = "",
    progress: Callable[[Chunk[Any]], object] | None = None,
    timeout: float | timedelta | None = None,
    request_id: str | None = None,
) -> Past[Quote]:
    """Read quotes of the past, of stocks; the upstream keeps none of options.

    They are read as `bars` are.

    Args:
        symbols: One stock symbol, or 1 to 100 without duplicates.
        start: As for `bars`.
        end: As for `bars`.
        feed: As for `bars`.
        symbol_date: As for `bars`.
        exact_symbols: As for `bars`.
        sort: As for `bars`.
        limit: As for `bars`.
        as_of: As for `bars`.
        allowed_tiers: As for `bars`.
        clamp_to_entitlement: As for `bars`.
        partial: As for `bars`.
        cursor: As for `bars`.
        progress: As for `bars`.
        timeout: As for `bars`.
        request_id: As for `quote`.

    Returns:
        The quotes, ready to be read. They are `Quote`.

    Raises:
        TickgateError: as for `bars`.
    """
    asked, several = _asked(symbols)
    rules.check_number("limit", limit, MOST)
    return Past(
        rpc="HistoryService/StreamQuotes",
        request=pb.StreamQuotesRequest(
            symbols=asked,
            start_time=timestamp("start_time", start),
            end_time=timestamp("end_time", end),
            feed=convert.optional_number(convert.FEED, feed),
            symbol_date=convert.optional_date(symbol_date),
            exact_symbols=exact_symbols,
            sort=convert.optional_number(convert.SORT, sort),
            limit=limit,
            as_of_time=timestamp("as_of_time", as_of),
            allowed_tiers=convert.TIER.numbers(allowed_tiers or ()),
            clamp_to_entitlement=clamp_to_entitlement,
            cursor=cursor,
        ),
        reply=pb.StreamQuotesResponse,
        layout=chunks.QUOTES,
        symbols=asked,
        several=several,
        partial=partial,
        progress=progress,
        timeout=timeout,
        request_id=request_id or new_id(),
    )


def _asked(symbols: str | Occ | Iterable[str | Occ]) -> tuple[tuple[str, ...], bool]:
    """The symbols by their names, and whether they are several."""
    if isinstance(symbols, str | Occ):
        return (name_of(symbols),), False
    several = names_of(symbols)
    if not several:
        # Of nothing, everything has come before anything is asked: the gateway's own refusal would not be waited for.
        raise rules.refused("symbols", "at least one symbol is asked for")
    return tuple(several), True
