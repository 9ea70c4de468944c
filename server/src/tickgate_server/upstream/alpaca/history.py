"""Alpaca's endpoints of the past as pages that say what is known after each of them."""

from __future__ import annotations

import asyncio
import re
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from msgspec import Struct

from ...errors import UpstreamRejected, UpstreamUnreadable
from ...ingress.gate import Gate
from ...ingress.history import HistoryGate
from ...market.columns import Block, Origin, part
from ...market.interval import Interval
from ...market.provenance import DataSource, Feed, Tier
from ...market.series import Adjustment, SeriesKind
from ...market.time import NANOS, format_rfc3339
from ...market.unavailable import Refusal, Unavailable
from ...observe.spans import span
from ...ports import (
    Clock,
    Group,
    Priority,
    Reply,
    Request,
    Requests,
    SeriesPart,
    Upstream,
    Walk,
)
from . import parse_history
from .paging import PagedParams
from .rest import noted

_WEEK: Final = 7 * 24 * 3600 * NANOS
"""Nanoseconds in which there is a trading day."""

_FREE: Final = 16 * 60 * NANOS
"""Age in nanoseconds of what every account may read: fifteen minutes, and one for clocks that differ."""

_STOCKS: Final = "/v2/stocks"
_OPTIONS: Final = "/v1beta1/options"

_MOST_BARREN: Final = 100
"""Pages in a row without a record. Alpaca sends a few where little happened; more of them lead nowhere."""

_QUICKLY_READ: Final = 32 * 1024
"""Bytes of a page that takes a millisecond: going to another thread is not worth it."""

_RECORDS: Final = {
    SeriesKind.BARS: "bar",
    SeriesKind.TRADES: "trade",
    SeriesKind.QUOTES: "quote",
}


class AlpacaHistory:
    """The multi-symbol endpoints of bars, trades and quotes as `HistoryPages`.

    Symbols are always sent in alphabetical order, because pages come in it: a symbol that a page has passed by is known
    to have nothing more. Of the last one of a page that is known only from the next. What Alpaca calls an end belongs
    to its range, so a nanosecond less is sent.

    One symbol that Alpaca calls invalid fails the whole request; the failure names it, and whoever walks asks again
    without it.
    """

    def __init__(self, requests: Requests, source: DataSource, gate: Gate, clock: Clock) -> None:
        """Ask over *requests*.

        Args:
            requests: sends one request for each page.
            source: whose the values are.
            gate: holds the rules, counts and notes refusals. Its business rules are not asked.
            clock: measures patience.
        """
        self._requests = requests
        self._source = source
        self._gate = gate
        self._past = HistoryGate(gate)
        self._clock = clock

    async def walk(self, walk: Walk) -> AsyncIterator[Sequence[SeriesPart]]:
        """Yield what each page makes known. The next page is asked for when somebody wants to know it."""
        pages = PagedParams(_params(walk))
        progress = _Progress(walk)
        goes_on = True
        while goes_on:
            reply = await self._ask(walk, pages.params)
            with (
                noted(self._gate, walk.key.kind.value, reply),
                self._gate.parsing.timing(),
                span("parse"),
            ):
                page = await self._read(walk, reply)
                goes_on = pages.goes_on(page.token)
                refused = {
                    symbol: self._refuse(walk, symbol, series.refused, reply)
                    for symbol, series in page.series.items()
                }
                parts = progress.take(page.series, refused, is_last=not goes_on)
            yield parts

    async def peek(self, symbol: str, feed: Feed, deadline: float) -> None:
        """Ask for one daily bar of *symbol*, only to see whether *feed* has a past that can be had.

        Raises:
            UpstreamFailure: it has none.
        """
        now = self._clock.market()
        params = {
            "symbols": symbol,
            "timeframe": "1Day",
            "start": format_rfc3339(now - _WEEK),
            "end": format_rfc3339(now - _FREE),
            "feed": feed.value,
            "limit": "1",
        }
        path = f"{_STOCKS}/{SeriesKind.BARS.value}"
        await self._requests.send(
            Request(
                Upstream.DATA, Group.HISTORY, path, params, deadline, priority=Priority.BACKFILL
            )
        )

    async def _ask(self, walk: Walk, params: Mapping[str, str]) -> Reply:
        request = Request(
            upstream=Upstream.DATA,
            group=Group.HISTORY,
            path=f"{_OPTIONS if walk.key.of_option else _STOCKS}/{walk.key.kind.value}",
            params=params,
            deadline=self._clock.monotonic() + walk.patience,
            priority=walk.priority,
            wanted_until=None if walk.wanted_until is None else walk.wanted_until(),
        )
        try:
            return await self._requests.send(request)
        except UpstreamRejected as failure:
            named = re.fullmatch(r"invalid symbol: (\S+)", failure.said)
            if named is None or named[1] not in walk.symbols:
                raise
            raise UpstreamRejected(failure.message, said=failure.said, symbol=named[1]) from failure

    async def _read(self, walk: Walk, reply: Reply) -> _Page:
        if len(reply.body) <= _QUICKLY_READ:
            return self._judged(walk, reply)
        # Ten thousand records take tens of milliseconds, in which no call would be answered.
        return await asyncio.to_thread(self._judged, walk, reply)

    def _judged(self, walk: Walk, reply: Reply) -> _Page:
        page = parse_history.page(reply.body, walk.key.kind)
        origin = Origin(
            source=self._source,
            feed=walk.key.feed,
            receive_time=reply.receive_time,
            upstream_request_id=reply.request_id,
            served_from=Tier.UPSTREAM,
        )
        series = {
            symbol: self._series(walk, symbol, records, origin)
            for symbol, records in page.series.items()
        }
        return _Page(series, page.token)

    def _series(
        self, walk: Walk, symbol: str, records: parse_history.Records, origin: Origin
    ) -> _Series:
        raw, unread = parse_history.columns(walk.key.kind, records)
        if raw is None:
            return _Series((), None, unread)
        _check_order(walk, symbol, raw.times)
        judged = self._past.judge(raw, symbol, origin)
        inside, strangers = _within(walk, judged.block)
        return _Series(raw.times, inside, (*unread, *judged.refused, *strangers))

    def _refuse(
        self, walk: Walk, symbol: str, refusals: Sequence[Refusal], reply: Reply
    ) -> list[Unavailable]:
        what = _RECORDS[walk.key.kind]
        feed, request_id = walk.key.feed, reply.request_id
        return [
            self._gate.refuse_past(refusal, what, symbol, feed, request_id) for refusal in refusals
        ]


class _Series(Struct, frozen=True):
    """What a page has of one symbol."""

    times: Sequence[int]
    """Of all records that have one, in the page's order, those that were refused included."""

    block: Block | None
    refused: Sequence[Refusal]


class _Page(Struct, frozen=True):
    series: Mapping[str, _Series]
    token: str | None


class _Progress:
    """How far a walk has come: what is known of each of its symbols."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._rest = [_Track(walk, symbol) for symbol in sorted(walk.symbols)]
        """Symbols of which not everything is known, in the order of the pages."""

        self._barren = 0

    def take(
        self,
        series: Mapping[str, _Series],
        refused: Mapping[str, Sequence[Unavailable]],
        *,
        is_last: bool,
    ) -> list[SeriesPart]:
        """Take a page, and return what it makes known.

        Raises:
            UpstreamUnreadable: the page is none of this walk, or one that was passed.
        """
        self._barren = 0 if series else self._barren + 1
        if self._barren > _MOST_BARREN:
            raise _unreadable("barren_pages", f"{self._barren} pages in a row without a record")
        places = {track.symbol: place for place, track in enumerate(self._rest)}
        for symbol in series:
            if symbol not in places:
                raise _stranger(symbol, self._walk)
        reached = max((places[symbol] for symbol in series), default=-1)
        known = len(self._rest) if is_last else max(reached, 0)
        parts: list[SeriesPart] = []
        for place, track in enumerate(self._rest[: max(known, reached + 1)]):
            sent = series.get(track.symbol, _NOTHING)
            why = refused.get(track.symbol, ())
            parts.extend(track.take(sent, why, is_open=place >= known))
        del self._rest[:known]
        return parts


class _Track:
    """What is known of one symbol."""

    def __init__(self, walk: Walk, symbol: str) -> None:
        self.symbol = symbol
        self._walk = walk
        self._rest = walk.interval
        """Of which nothing was told."""

        self._last: int | None = None
        """Instant of the last record."""

        self._carried: list[Block] = []
        """Values of that instant, which may go on in the next page."""

        self._refused: list[Unavailable] = []
        """Refusals that were not told."""

    def take(
        self, sent: _Series, refused: Sequence[Unavailable], *, is_open: bool
    ) -> Iterator[SeriesPart]:
        """Take what a page has of it, and yield what is known then; *is_open* where the next page may have more."""
        before, block, times = self._last, sent.block, sent.times
        self._refused.extend(refused)
        if times:
            self._check_continues(times[0])
            self._last = times[-1]
        if self._has_open_instant(before):
            assert before is not None
            block = self._complete(before, block)
            if not is_open or self._last != before:
                carried, self._carried = tuple(self._carried), []
                yield from self._tell(carried, self._past(before))
        if not is_open:
            yield from self._tell(_some(block), None)
        elif times and self._walk.key.kind is SeriesKind.BARS:
            # Of a bar there is one at a time.
            yield from self._tell(_some(block), self._past(times[-1]))
        elif times:
            earlier = self._without_last(block, times[-1])
            yield from self._tell(_some(earlier), self._before(times[-1]))

    def _has_open_instant(self, last: int | None) -> bool:
        return last is not None and last in self._rest

    def _check_continues(self, first: int) -> None:
        last = self._last
        if last is None:
            return
        if not _follows(self._walk, last, first):
            raise _out_of_order(self.symbol, last, first)

    def _complete(self, instant: int, block: Block | None) -> Block | None:
        """Carry what *block* has of *instant*, at its beginning, and return the rest."""
        if block is None:
            return None
        count = _leading(block.times, instant)
        return self._carry(block, 0, count, count, len(block))

    def _without_last(self, block: Block | None, instant: int) -> Block | None:
        """Carry what *block* has of *instant*, at its end, and return what is before."""
        if block is None:
            return None
        end = len(block) - _leading(block.times[::-1], instant)
        return self._carry(block, end, len(block), 0, end)

    def _carry(self, block: Block, start: int, end: int, rest: int, rest_end: int) -> Block | None:
        if start < end:
            self._carried.append(part(block, start, end))
        return part(block, rest, rest_end) if rest < rest_end else None

    def _past(self, instant: int) -> int:
        """Return the edge behind *instant*, in the order of the walk."""
        return instant if self._walk.newest_first else instant + 1

    def _before(self, instant: int) -> int:
        """Return the edge in front of *instant*, in the order of the walk."""
        return instant + 1 if self._walk.newest_first else instant

    def _tell(self, blocks: Sequence[Block], edge: int | None) -> Iterator[SeriesPart]:
        """Yield what is known up to *edge*, None for all that there is."""
        told, self._rest = _cut(self._rest, edge, newest_first=self._walk.newest_first)
        if told.empty:
            return
        refused = [why for why in self._refused if self._belongs(why, told)]
        self._refused = [why for why in self._refused if not self._belongs(why, told)]
        yield SeriesPart(
            symbol=self.symbol,
            blocks=blocks,
            interval=told,
            refused=len(refused),
            refusal=refused[0] if refused else None,
        )

    def _belongs(self, why: Unavailable, told: Interval) -> bool:
        # What has no readable stamp, or one of another range, is told with what is told next.
        time = why.last_event_time
        return time is None or time in told or time not in self._walk.interval


_NOTHING: Final = _Series((), None, ())


def _params(walk: Walk) -> dict[str, str]:
    key = walk.key
    params = {
        "symbols": ",".join(sorted(walk.symbols)),
        "start": format_rfc3339(walk.interval.start),
        # Alpaca's end belongs to the range.
        "end": format_rfc3339(walk.interval.end - 1),
        "limit": str(walk.page),
        "sort": "desc" if walk.newest_first else "asc",
    }
    if key.timeframe is not None:
        params["timeframe"] = str(key.timeframe)
    if key.of_option:
        return params
    if key.feed is not None:
        # Left out, it would be what the account may read.
        params["feed"] = key.feed.value
    if key.kind is SeriesKind.BARS:
        params["adjustment"] = _adjustment(key.adjustments)
    if key.symbol_date is not None or key.exact_symbol:
        params["asof"] = "-" if key.symbol_date is None else key.symbol_date.isoformat()
    return params


def _adjustment(adjustments: frozenset[Adjustment]) -> str:
    if not adjustments:
        return "raw"
    if adjustments == frozenset(Adjustment):
        return "all"
    return ",".join(sorted(one.value for one in adjustments))


def _follows(walk: Walk, one: int, other: int) -> bool:
    """Tell whether a record of instant *other* may come behind one of instant *one*."""
    if one == other:
        return walk.key.kind is not SeriesKind.BARS
    return (other < one) is walk.newest_first


def _check_order(walk: Walk, symbol: str, times: Sequence[int]) -> None:
    if list(times) == sorted(times, reverse=walk.newest_first) and (
        walk.key.kind is not SeriesKind.BARS or len(set(times)) == len(times)
    ):
        return
    # What follows a page like this is anybody's guess, so nothing of it can be told to be complete.
    one, other = next(pair for pair in pairwise(times) if not _follows(walk, *pair))
    raise _out_of_order(symbol, one, other)


def _within(walk: Walk, block: Block | None) -> tuple[Block | None, list[Refusal]]:
    """Return the values of *block* within the range of *walk*, and why the others are of no use."""
    if block is None:
        return None, []
    times = block.times[::-1] if walk.newest_first else block.times
    start = bisect_left(times, walk.interval.start)
    end = bisect_right(times, walk.interval.end - 1)
    if walk.newest_first:
        start, end = len(block) - end, len(block) - start
    strangers = [*block.times[:start], *block.times[end:]]
    asked = f"{format_rfc3339(walk.interval.start)} up to {format_rfc3339(walk.interval.end)}"
    refused = [
        Refusal("outside_range", f"asked {asked}, stamped {format_rfc3339(time)}", time)
        for time in strangers
    ]
    return (part(block, start, end) if start < end else None), refused


def _some(block: Block | None) -> tuple[Block, ...]:
    return () if block is None else (block,)


def _leading(times: Sequence[int], instant: int) -> int:
    """Return how many of *times* at the beginning are *instant*."""
    return next((place for place, time in enumerate(times) if time != instant), len(times))


def _cut(interval: Interval, edge: int | None, *, newest_first: bool) -> tuple[Interval, Interval]:
    """Return the part of *interval* up to *edge* in the order of a walk, and the rest. None takes all of it."""
    start, end = interval
    if newest_first:
        edge = start if edge is None else min(max(edge, start), end)
        return Interval(edge, end), Interval(start, edge)
    edge = end if edge is None else min(max(edge, start), end)
    return Interval(start, edge), Interval(edge, end)


def _stranger(symbol: str, walk: Walk) -> UpstreamUnreadable:
    if symbol in walk.symbols:
        return _unreadable("out_of_order", f"{symbol} comes again behind later symbols")
    asked = ",".join(sorted(walk.symbols)[:3])
    return _unreadable("symbol_mismatch", f"asked {asked}, answered {symbol[:20]!r}")


def _out_of_order(symbol: str, one: int, other: int) -> UpstreamUnreadable:
    evidence = f"{symbol}: {format_rfc3339(other)} behind {format_rfc3339(one)}"
    return _unreadable("out_of_order", evidence)


def _unreadable(rule: str, evidence: str) -> UpstreamUnreadable:
    return UpstreamUnreadable(Refusal(rule, evidence), "history")
