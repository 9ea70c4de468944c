"""An upstream's past by the page, held in memory, and series to fill it with."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TypeAlias

from tickgate_server.errors import NotEntitled, UpstreamFailure, UpstreamRejected
from tickgate_server.market.bar import Bar
from tickgate_server.market.columns import (
    BarBlock,
    Block,
    Decimals,
    Origin,
    QuoteBlock,
    TradeBlock,
    codes,
    counts,
    decimals,
    part,
    reversed_block,
)
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import Tier
from tickgate_server.market.quote import Quote, QuoteSide
from tickgate_server.market.series import SeriesKey, SeriesKind
from tickgate_server.market.time import format_rfc3339
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason, Refusal, Unavailable
from tickgate_server.ports import SeriesPart, Walk

Value: TypeAlias = Bar | Trade | Quote

_EMPTY = QuoteSide(Decimal(0), None, None)

RECENT = "subscription does not permit querying recent SIP data"
"""How Alpaca refuses a range that reaches into the last quarter of an hour."""


class FakePages:
    """Pages of series in memory, as the upstream would cut them: symbol after symbol, however a page falls."""

    def __init__(self, series: Mapping[SeriesKey, Sequence[Value] | Block]) -> None:
        """Hold *series*, each oldest first; any other series is empty."""
        self.series: dict[SeriesKey, Block | None] = {
            key: block_of(values) for key, values in series.items()
        }
        self.refused: dict[SeriesKey, Sequence[int]] = {}
        """Instants of records that are no market values, one entry a record."""

        self.invalid: Collection[str] = ()
        """Symbols that fail every walk that names them."""

        self.readable_until: int | None = None
        """End of what the account may read; None reads everything."""

        self.failing_with: UpstreamFailure | None = None
        """What becomes of the page of number `failing_at` and all behind it; None fails nothing."""

        self.failing_at = 1
        """A number as `pages` counts them."""

        self.open = asyncio.Event()
        """Pages wait until it is set, as it is from the start."""

        self.open.set()
        self.waiting = asyncio.Event()
        """Set once a page has been asked for."""

        self.pages = 0
        """Pages that were asked for, failing ones included: what the upstream would count."""

        self.walks: list[Walk] = []
        """What was asked for, as soon as its first page was."""

    async def walk(self, walk: Walk) -> AsyncIterator[Sequence[SeriesPart]]:
        """Yield the parts of each page."""
        assert not walk.interval.empty, walk
        assert 1 <= walk.page <= 10_000, walk
        assert len(walk.symbols) == len(set(walk.symbols)) > 0, walk
        self.walks.append(walk)
        await self._ask(walk)
        halves = [self._rows(walk, symbol) for symbol in sorted(walk.symbols)]
        left = sum(len(rows.block or ()) for rows in halves)
        while halves:
            room, parts = walk.page, list[SeriesPart]()
            while halves and (room or not left):
                rows = halves[0]
                taken = min(room, rows.left)
                room, left = room - taken, left - taken
                # The last one of a page might go on, for all that the upstream says.
                is_open = left > 0 and room == 0
                parts.extend(rows.take(taken, is_open=is_open))
                if is_open:
                    break
                halves.pop(0)
            yield parts
            if halves:
                await self._ask(walk)

    async def _ask(self, walk: Walk) -> None:
        self.pages += 1
        number = self.pages
        self.waiting.set()
        await self.open.wait()
        # As over the wire: others get their turn.
        await asyncio.sleep(0)
        for symbol in walk.symbols:
            if symbol in self.invalid:
                said = f"invalid symbol: {symbol}"
                raise UpstreamRejected(f"answered 400: {said}", said=said, symbol=symbol)
        if self.readable_until is not None and walk.interval.end > self.readable_until:
            raise NotEntitled(f"answered 403: {RECENT}", said=RECENT, about_feed=True)
        if self.failing_with is not None and number >= self.failing_at:
            raise self.failing_with

    def _rows(self, walk: Walk, symbol: str) -> _Rows:
        key = walk.key.about(symbol)
        block = self.series.get(key)
        if block is not None:
            inside = [row for row, time in enumerate(block.times) if time in walk.interval]
            block = part(block, inside[0], inside[-1] + 1) if inside else None
        if block is not None and walk.newest_first:
            block = reversed_block(block)
        return _Rows(walk, symbol, block, self.refused.get(key, ()))


class _Rows:
    """What a walk has of one symbol, and how much of it has been told."""

    def __init__(
        self, walk: Walk, symbol: str, block: Block | None, refused: Sequence[int]
    ) -> None:
        self._walk = walk
        self._symbol = symbol
        self._refused = refused
        self.block = block
        self._read = 0
        """Rows that were on pages."""

        self._told = 0
        """Rows that were in parts."""

        self._rest = walk.interval

    @property
    def left(self) -> int:
        """Rows that were on no page yet."""
        return (0 if self.block is None else len(self.block)) - self._read

    def take(self, count: int, *, is_open: bool) -> Iterator[SeriesPart]:
        """Yield what is known when *count* more rows were on a page, behind which it may go on."""
        stamps = () if self.block is None else self.block.times
        carried, self._read = self._read, self._read + count
        if self._told < carried and self._told < self._read:
            # An instant that was left open is told by itself: it came with another answer.
            first = stamps[self._told]
            until = self._behind(self._told, first)
            if until < self._read or not is_open:
                yield from self._tell(until, self._past(first))
        if not is_open:
            yield from self._tell(self._read, None)
        elif count:
            last = stamps[self._read - 1]
            if self._walk.key.kind is SeriesKind.BARS:
                yield from self._tell(self._read, self._past(last))
            else:
                yield from self._tell(self._first(last), self._before(last))

    def _behind(self, row: int, instant: int) -> int:
        assert self.block is not None
        while row < self._read and self.block.times[row] == instant:
            row += 1
        return row

    def _first(self, instant: int) -> int:
        assert self.block is not None
        row = self._read
        while row > 0 and self.block.times[row - 1] == instant:
            row -= 1
        return row

    def _past(self, instant: int) -> int:
        return instant if self._walk.newest_first else instant + 1

    def _before(self, instant: int) -> int:
        return instant + 1 if self._walk.newest_first else instant

    def _tell(self, until: int, edge: int | None) -> Iterator[SeriesPart]:
        rest = self._rest
        if edge is None:
            told, self._rest = rest, Interval(rest.end, rest.end)
        elif self._walk.newest_first:
            told, self._rest = Interval(edge, rest.end), Interval(rest.start, edge)
        else:
            told, self._rest = Interval(rest.start, edge), Interval(edge, rest.end)
        if told.empty:
            return
        block = None if self.block is None else part(self.block, self._told, until)
        self._told = until
        refused = [time for time in self._refused if time in told]
        yield SeriesPart(
            symbol=self._symbol,
            blocks=(block,) if block is not None and len(block) else (),
            interval=told,
            refused=len(refused),
            refusal=_refusal(self._symbol, refused[0]) if refused else None,
        )


def _refusal(symbol: str, time: int) -> Unavailable:
    refusal = Refusal("zero_price", "price 0", time)
    message = f"{symbol}: refused by rule zero_price, price 0 at {format_rfc3339(time)}"
    return Unavailable(
        reason=Reason.INVALID_DATA, message=message, last_event_time=time, refusal=refusal
    )


def block_of(values: Sequence[Value] | Block, tier: Tier = Tier.UPSTREAM) -> Block | None:
    """Return *values* of one kind as a block, with the origin of the first; None when there are none."""
    if isinstance(values, BarBlock | TradeBlock | QuoteBlock):
        return values if len(values) else None
    if not values:
        return None
    said = values[0].provenance
    origin = Origin(said.source, said.feed, said.receive_time, said.upstream_request_id, tier)
    bars = [one for one in values if isinstance(one, Bar)]
    trades = [one for one in values if isinstance(one, Trade)]
    quotes = [one for one in values if isinstance(one, Quote)]
    assert len(values) in (len(bars), len(trades), len(quotes)), "values of one kind"
    stamps = array("q", (_stamp(one) for one in values))
    if bars:
        return BarBlock(
            origin=origin,
            times=stamps,
            open=_all([bar.open for bar in bars]),
            high=_all([bar.high for bar in bars]),
            low=_all([bar.low for bar in bars]),
            close=_all([bar.close for bar in bars]),
            volume=counts([bar.volume for bar in bars]),
            trade_count=counts([bar.trade_count for bar in bars]),
            vwap=decimals([bar.vwap for bar in bars]),
        )
    if trades:
        return TradeBlock(
            origin=origin,
            times=stamps,
            price=_all([trade.price for trade in trades]),
            size=counts([trade.size for trade in trades]),
            exchange=codes([trade.exchange for trade in trades]),
            conditions=codes([trade.conditions for trade in trades]),
            id=counts([trade.id for trade in trades]),
            tape=codes([trade.tape for trade in trades]),
            amendment=codes([trade.amendment for trade in trades]),
        )
    bids = [quote.bid or _EMPTY for quote in quotes]
    asks = [quote.ask or _EMPTY for quote in quotes]
    return QuoteBlock(
        origin=origin,
        times=stamps,
        bid_price=decimals([side.price or None for side in bids]),
        bid_size=counts([side.size for side in bids]),
        bid_exchange=codes([side.exchange for side in bids]),
        ask_price=decimals([side.price or None for side in asks]),
        ask_size=counts([side.size for side in asks]),
        ask_exchange=codes([side.exchange for side in asks]),
        conditions=codes([quote.conditions for quote in quotes]),
        tape=codes([quote.tape for quote in quotes]),
    )


def _all(numbers: Sequence[Decimal]) -> Decimals:
    column = decimals(numbers)
    assert column is not None
    return column


def _stamp(value: Value) -> int:
    assert value.event_time is not None
    return value.event_time
