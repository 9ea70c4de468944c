"""HistoryService over the gateway's own reader: positions that travel mean the same to both."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import history_pb2, provenance_pb2
from tickgate.v1 import history_service_pb2 as pb
from tickgate_server.errors import UpstreamBroken
from tickgate_server.history.policy import HistoryPolicy
from tickgate_server.history.reader import HistoryReader
from tickgate_server.market.provenance import Feed
from tickgate_server.market.series import SeriesKey, SeriesKind
from tickgate_server.market.time import NANOS
from tickgate_server.market.trade import Trade
from tickgate_server.rpc import history_answers
from tickgate_server.rpc.call import Call

from ...support.admin import Parts
from ...support.fakes import NOW, HandClock, trade
from ...support.history_pages import FakePages
from ...support.history_source import FakeActions
from ...support.history_store import MemoryStore
from ...support.history_wire import value_of, values_of

SYMBOLS = ("AAPL", "MSFT", "IBM")
TRADES = SeriesKey(SeriesKind.TRADES, "AAPL", Feed.IEX)
YESTERDAY = NOW - 24 * 3600 * NANOS
RANGE: dict[str, Any] = {
    "start_time": Timestamp(seconds=YESTERDAY // NANOS),
    "end_time": Timestamp(seconds=YESTERDAY // NANOS + 1),
}
Told = list[tuple[str, Any]]


class Desk:
    """The gateway's own reader before an upstream in memory, with or without a store."""

    def __init__(
        self, series: dict[SeriesKey, list[Trade]], *, stored: bool = True, page: int = 10_000
    ) -> None:
        self.pages = FakePages(series)
        clock = HandClock()
        self.reader = HistoryReader(
            pages=self.pages,
            store=MemoryStore(clock) if stored else None,
            cache=None,
            actions=FakeActions(),
            policy=HistoryPolicy(page=page),
            clock=clock,
            listed=self._listed,
        )

    async def _listed(self, _: Sequence[str], __: float) -> Collection[str]:
        return SYMBOLS


def trades_at(offsets: Iterable[int], symbol: str = "AAPL") -> list[Trade]:
    """Trades so many nanoseconds after the start, told apart by their numbers."""
    return [
        replace(trade(symbol, at=YESTERDAY + offset), id=number)
        for number, offset in enumerate(sorted(offsets))
    ]


def call() -> Call:
    """A call that has time."""
    return Call("HistoryService/ListTrades", "id", 1010.0, "unix:", 1000.0)


async def pages_of(desk: Desk, size: int, **more: Any) -> list[pb.ListTradesResponse]:
    """All pages of the range."""
    servicer = Parts().history_servicer(desk.reader)
    pages: list[pb.ListTradesResponse] = []
    while not pages or pages[-1].next_page_token:
        assert len(pages) < 200, "a walk that does not end"
        token = pages[-1].next_page_token if pages else ""
        request = pb.ListTradesRequest(
            symbols=SYMBOLS, page_size=size, page_token=token, **RANGE, **more
        )
        pages.append(pb.ListTradesResponse.FromString(await servicer.ListTrades(request, call())))
    return pages


async def messages_of(desk: Desk, **more: Any) -> list[pb.StreamTradesResponse]:
    """A stream of the range."""
    servicer = Parts().history_servicer(desk.reader)
    request = pb.StreamTradesRequest(symbols=SYMBOLS, **RANGE, **more)
    return [
        pb.StreamTradesResponse.FromString(body)
        async for body in servicer.StreamTrades(request, call())
    ]


def in_rows(pages: Sequence[pb.ListTradesResponse]) -> Told:
    """What pages tell."""
    told: Told = []
    for page in pages:
        for result in page.results:
            if result.HasField("unavailable"):
                told.append((result.symbol, result.unavailable.reason))
            told += [(result.symbol, value_of(row)) for row in result.page.trades]
    return told


def in_columns(messages: Sequence[pb.StreamTradesResponse]) -> Told:
    """What messages tell."""
    told: Told = []
    for message in messages:
        if message.HasField("chunk"):
            told += [(message.symbol, value) for value in values_of(message.chunk, message.symbol)]
        elif message.HasField("unavailable"):
            told.append((message.symbol, message.unavailable.unavailable.reason))
    return told


@st.composite
def desks(draw: st.DrawFn) -> tuple[Desk, dict[str, list[Trade]]]:
    """A reader before an upstream with trades of some symbols, with or without a store."""
    series = {
        symbol: trades_at(draw(st.lists(st.integers(0, 6), max_size=12)), symbol)
        for symbol in SYMBOLS
    }
    known = {TRADES.about(symbol): trades for symbol, trades in series.items()}
    return Desk(known, stored=draw(st.booleans()), page=draw(st.integers(1, 8))), series


@settings(max_examples=60, deadline=None)  # one example is a dozen streams
@given(
    desks(),
    st.integers(1, 9),
    st.integers(1, 4),
    st.sampled_from([history_pb2.SORT_OLDEST_FIRST, history_pb2.SORT_NEWEST_FIRST]),
    st.sampled_from([0, 0, 3]),
)
async def test_however_it_is_cut_it_is_the_same(
    past: tuple[Desk, dict[str, list[Trade]]], size: int, most: int, sort: int, limit: int
) -> None:
    """Pages, the stream, and the stream resumed behind any of its messages tell each value once."""
    desk, series = past
    whole: Told = []
    for symbol, trades in series.items():
        ordered = trades if sort == history_pb2.SORT_OLDEST_FIRST else trades[::-1]
        if not trades:
            whole.append((symbol, reasons.ERROR_REASON_NO_DATA))
        whole += [(symbol, trade) for trade in ordered[: limit or None]]
    more = {"sort": sort, "limit": limit}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_answers, "FIRST_CHUNK", most)
        patch.setattr(history_answers, "CHUNK", most)
        assert in_rows(await pages_of(desk, size, **more)) == whole
        messages = await messages_of(desk, **more)
        assert in_columns(messages) == whole
        for cut, message in enumerate(messages, 1):
            cursor = getattr(message, message.WhichOneof("event") or "").cursor
            rest = await messages_of(desk, cursor=cursor, **more)
            assert in_columns(messages[:cut]) + in_columns(rest) == whole


@pytest.mark.parametrize("stored", [True, False])
async def test_a_break_in_the_middle_is_gone_on_from(*, stored: bool) -> None:
    """When the upstream fails in the middle, pages and streams tell what came, and where they go on the rest comes."""
    for columns in (True, False):
        trades = {TRADES.about(symbol): trades_at(range(9), symbol) for symbol in SYMBOLS}
        desk = Desk(trades, stored=stored, page=4)
        desk.pages.failing_at, desk.pages.failing_with = 3, UpstreamBroken("answered 500")
        if columns:
            told = await messages_of(desk)
            broken = next(one for one in told if one.HasField("unavailable"))
            cursor = broken.unavailable.cursor
            before = in_columns(told[: told.index(broken)])
            desk.pages.failing_with = None
            after = in_columns(await messages_of(desk, cursor=cursor))
        else:
            servicer = Parts().history_servicer(desk.reader)
            request = pb.ListTradesRequest(symbols=SYMBOLS, **RANGE)
            page = pb.ListTradesResponse.FromString(await servicer.ListTrades(request, call()))
            note = page.results[-1].page.note.broken
            assert note.unavailable.reason == reasons.ERROR_REASON_UPSTREAM_ERROR
            before = in_rows([page])
            desk.pages.failing_with = None
            request.page_token = page.next_page_token
            rest = pb.ListTradesResponse.FromString(await servicer.ListTrades(request, call()))
            after = in_rows([rest])
        whole = [(key.symbol, trade) for key, found in trades.items() for trade in found]
        assert before
        assert before + after == whole


async def test_what_is_held_says_so() -> None:
    """Asked again, the same is told from the store, and says so in columns and rows."""
    desk = Desk({TRADES: trades_at(range(9))})
    first = await messages_of(desk)
    pages = desk.pages.pages
    again = await messages_of(desk)
    assert in_columns(again) == in_columns(first)
    told = [one.chunk.provenance.served_from for one in (first[0], again[0])]
    assert told == [provenance_pb2.TIER_UPSTREAM, provenance_pb2.TIER_STORE]
    (page,) = await pages_of(desk, 100)
    served = {row.provenance.served_from for row in page.results[0].page.trades}
    assert served == {provenance_pb2.TIER_STORE}
    assert desk.pages.pages == pages
