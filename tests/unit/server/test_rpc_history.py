"""HistoryService: every value once, in order, whole or explicitly not, however it is cut."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from google.type.date_pb2 import Date
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import history_pb2, provenance_pb2
from tickgate.v1 import history_service_pb2 as pb
from tickgate_server.errors import InvalidRequest, UpstreamBroken
from tickgate_server.identity.consumer import Scope
from tickgate_server.market.columns import Block, Decimals, TradeBlock, part
from tickgate_server.market.corporate_action import CorporateAction, CorporateActionType
from tickgate_server.market.history_rows import rows
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.series import HistoryQuestion, SeriesKey, SeriesKind
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Reason
from tickgate_server.ports import Covered
from tickgate_server.rpc import history_answers
from tickgate_server.rpc.call import Call
from tickgate_server.rpc.calls import StrictRefusal
from tickgate_server.rpc.convert_history import MOST_STRETCHES

from ...support.admin import FakeContext, Parts, served
from ...support.fakes import NOW, provenance, trade, unavailable
from ...support.history_pages import block_of
from ...support.history_wire import instant, value_of, values_of

DAY = 24 * 3600 * NANOS
START, END = NOW - 10 * DAY, NOW - DAY
OUTAGE = unavailable(Reason.CIRCUIT_OPEN, retry_delay=1.5)
CONTRACT = "SPY260918C00380000"


def call(**changed: Any) -> Call:
    """A call that somebody gave ten seconds."""
    return replace(Call("HistoryService/ListTrades", "id", 1010.0, "unix:", 1000.0), **changed)


def stamp(at: int) -> Timestamp:
    """A moment."""
    return Timestamp(seconds=at // NANOS, nanos=at % NANOS)


def ticks(symbol: str, *offsets: int) -> Block:
    """Trades of *symbol* so many nanoseconds after the start, each of its own price."""
    block = block_of(
        [trade(symbol, f"10.{number:04}1", at=START + at) for number, at in enumerate(offsets)]
    )
    assert block is not None
    return replace(block, origin=replace(block.origin, served_from=Tier.STORE))


def many(count: int) -> Block:
    """Plain trades, a second apart."""
    numbers = range(count)
    return TradeBlock(
        origin=ticks("AAPL", 0).origin,
        times=array("q", (START + number * NANOS for number in numbers)),
        price=Decimals(-2, array("q", (1000 + number for number in numbers))),
        size=None,
        exchange=None,
        conditions=None,
        id=None,
        tape=None,
        amendment=None,
    )


def holding(**blocks: Block) -> Parts:
    """Parts that know some symbols' trades."""
    parts = Parts()
    parts.history.blocks = dict(blocks)
    return parts


def asking(*symbols: str, **more: Any) -> dict[str, Any]:
    """The fields of a request for trades of the range."""
    return {"symbols": symbols, "start_time": stamp(START), "end_time": stamp(END)} | more


async def listed(parts: Parts, *symbols: str, **more: Any) -> pb.ListTradesResponse:
    """A page of trades."""
    request = pb.ListTradesRequest(**asking(*symbols, **more))
    body = await parts.history_servicer().ListTrades(request, call())
    return pb.ListTradesResponse.FromString(body)


async def streamed(parts: Parts, *symbols: str, **more: Any) -> list[pb.StreamTradesResponse]:
    """All messages of a stream of trades."""
    return [message async for message in stream(parts, call(), *symbols, **more)]


async def stream(
    parts: Parts, at: Call, *symbols: str, **more: Any
) -> AsyncIterator[pb.StreamTradesResponse]:
    """The messages of a stream of trades."""
    request = pb.StreamTradesRequest(**asking(*symbols, **more))
    async for body in parts.history_servicer().StreamTrades(request, at):
        yield pb.StreamTradesResponse.FromString(body)


async def walked(
    parts: Parts, size: int, *symbols: str, **more: Any
) -> list[pb.ListTradesResponse]:
    """All pages of at most *size* rows."""
    pages: list[pb.ListTradesResponse] = []
    token = ""
    while token or not pages:
        assert len(pages) < 1000, "a walk that does not end"
        pages.append(await listed(parts, *symbols, page_size=size, page_token=token, **more))
        token = pages[-1].next_page_token
    return pages


Told = list[tuple[str, Any]]


def rows_of(pages: Sequence[pb.ListTradesResponse]) -> Told:
    """What pages tell: the values, and what there is none of."""
    told: Told = []
    for page in pages:
        for result in page.results:
            if result.HasField("unavailable"):
                told.append((result.symbol, result.unavailable.reason))
            told += [(result.symbol, value_of(row)) for row in result.page.trades]
    return told


def columns_of(messages: Sequence[pb.StreamTradesResponse]) -> Told:
    """What a stream tells: the values, and what there is none of."""
    told: Told = []
    for message in messages:
        match message.WhichOneof("event"):
            case "chunk":
                values = values_of(message.chunk, message.symbol)
                told += [(message.symbol, value) for value in values]
            case "unavailable":
                told.append((message.symbol, message.unavailable.unavailable.reason))
    return told


def cursor_of(message: pb.StreamTradesResponse) -> str:
    """Where a message says that it goes on."""
    cursor: str = getattr(message, message.WhichOneof("event") or "").cursor
    return cursor


def expected(parts: Parts, *symbols: str, **more: Any) -> Told:
    """What is to be told, read from what the source holds without a page or a chunk."""
    key = SeriesKey(SeriesKind.TRADES, symbols[0], Feed.IEX)
    question = HistoryQuestion(
        key,
        symbols,
        Interval(START, END),
        newest_first=more.get("sort") == history_pb2.SORT_NEWEST_FIRST,
        limit=more.get("limit", 0),
    )
    told: Told = []
    for symbol in symbols:
        block = parts.history.selected(question, symbol)
        if block is None:
            told.append((symbol, reasons.ERROR_REASON_NO_DATA))
        else:
            told += [(symbol, value) for value in rows(block, symbol)]
    return told


@st.composite
def pasts(draw: st.DrawFn) -> tuple[Parts, tuple[str, ...], dict[str, Any]]:
    """Some symbols with trades, many of them at the same nanosecond, and a question about them."""
    symbols = ("AAPL", "MSFT", "TSLA")[: draw(st.integers(1, 3))]
    blocks = {}
    for symbol in symbols:
        offsets = sorted(draw(st.lists(st.integers(0, 6), max_size=12)))
        if offsets:
            blocks[symbol] = ticks(symbol, *offsets)
    more = {"sort": draw(st.integers(0, 2)), "limit": draw(st.sampled_from([0, 0, 1, 5]))}
    return holding(**blocks), symbols, more


# ------------------------------------------------------------------------------------ the laws


@settings(deadline=None)  # one example is up to a dozen pages
@given(pasts(), st.integers(1, 14))
async def test_pages_of_any_size_tell_every_value_once(
    past: tuple[Parts, tuple[str, ...], dict[str, Any]], size: int
) -> None:
    """Pages of any size and the stream tell the same: each value once, in order, and of what there is none."""
    parts, symbols, more = past
    whole = expected(parts, *symbols, **more)
    pages = await walked(parts, size, *symbols, **more)
    assert rows_of(pages) == whole
    assert columns_of(await streamed(parts, *symbols, **more)) == whole
    for page in pages:
        assert len(page.results) >= 1
        assert sum(len(result.page.trades) for result in page.results) <= size
        assert all(result.page.trades or result.HasField("unavailable") for result in page.results)
        order = [symbols.index(result.symbol) for result in page.results]
        assert order == list(range(order[0], order[0] + len(order)))
    assert parts.history.reading == 0


@settings(deadline=None)  # one example is up to a dozen streams
@given(pasts(), st.integers(1, 4), st.integers(1, 4))
async def test_a_stream_goes_on_behind_any_message(
    past: tuple[Parts, tuple[str, ...], dict[str, Any]], first: int, most: int
) -> None:
    """A stream that is cut behind any of its messages and resumed with that one's cursor tells each value once."""
    parts, symbols, more = past
    whole = expected(parts, *symbols, **more)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_answers, "FIRST_CHUNK", first)
        patch.setattr(history_answers, "CHUNK", most)
        messages = await streamed(parts, *symbols, **more)
        for cut in range(1, len(messages) + 1):
            head, cursor = messages[:cut], cursor_of(messages[cut - 1])
            if head[-1].HasField("unavailable"):
                # It tries again from there.
                head = head[:-1]
            rest = await streamed(parts, *symbols, cursor=cursor, **more)
            assert columns_of(head) + columns_of(rest) == whole


# ---------------------------------------------------------------------------------------- pages


async def test_a_page_reads_no_more_than_it_holds() -> None:
    """A page takes a piece beyond its rows at most, to hear whether there are more, and gives the rest up."""
    parts = holding(AAPL=many(5000))
    page = await listed(parts, "AAPL", page_size=100)
    assert page.next_page_token
    assert parts.history.read_rows <= 100 + 101
    assert parts.history.reading == 0


@pytest.mark.parametrize(
    ("asked", "given_"), [(0, 1000), (7, 7), (10_000, 3000), (2**31 - 1, 3000)]
)
async def test_a_page_has_its_bounds(asked: int, given_: int) -> None:
    """A page that names no size holds 1,000 rows; a large one as many as a message may be long."""
    page = await listed(holding(AAPL=many(3000)), "AAPL", page_size=asked)
    assert len(page.results[0].page.trades) == given_


async def test_pages_stay_below_a_megabyte() -> None:
    """However many rows are asked for, a page is no larger than a message may be, and none of them is lost."""
    block = many(12_000)
    origin = replace(block.origin, upstream_request_id="x" * 64)
    parts = holding(AAPL=replace(block, origin=origin))
    pages = await walked(parts, 10_000, "AAPL")
    assert all(900_000 < page.ByteSize() < 1 << 20 for page in pages[:-1])
    assert sum(len(page.results[0].page.trades) for page in pages) == 12_000


async def test_an_open_end_stays_where_the_first_page_put_it() -> None:
    """A range without an end reaches up to now, and all its pages up to the same now."""
    parts = holding(AAPL=many(10))
    request: dict[str, Any] = {"symbols": ["AAPL"], "start_time": stamp(START), "page_size": 4}
    servicer = parts.history_servicer()
    first = pb.ListTradesResponse.FromString(
        await servicer.ListTrades(pb.ListTradesRequest(**request), call())
    )
    parts.clock.advance(3600)
    token = first.next_page_token
    await servicer.ListTrades(pb.ListTradesRequest(**request, page_token=token), call())
    ends = [question.interval.end for question, *_ in parts.history.asked]
    assert ends == [NOW, NOW]


async def test_a_break_ends_a_page_that_tries_again() -> None:
    """What came before a break stands, with a note from where it is missing and why; the next page tries again."""
    parts = holding(AAPL=ticks("AAPL", 0, 5, 9), MSFT=ticks("MSFT", 1))
    parts.history.breaks["AAPL"] = (2, OUTAGE)
    (result,) = (broken := await listed(parts, "AAPL", "MSFT")).results
    note = result.page.note.broken
    assert len(result.page.trades) == note.count == 2
    assert note.unavailable.reason == reasons.ERROR_REASON_CIRCUIT_OPEN
    assert instant(note.missing_from_time) == START + 6
    assert note.cursor
    parts.history.breaks.clear()
    page = await listed(parts, "AAPL", "MSFT", page_token=broken.next_page_token)
    assert [(one.symbol, len(one.page.trades)) for one in page.results] == [
        ("AAPL", 1),
        ("MSFT", 1),
    ]
    assert not page.next_page_token


async def test_a_break_that_stays_does_not_stop_the_walk() -> None:
    """A symbol that breaks again is unavailable, and the walk goes on with the next and comes to its end."""
    parts = holding(AAPL=ticks("AAPL", 0, 5, 9), MSFT=ticks("MSFT", 1))
    parts.history.breaks["AAPL"] = (2, OUTAGE)
    one, two = await walked(parts, 100, "AAPL", "MSFT")
    assert [result.symbol for result in one.results] == ["AAPL"]
    assert [result.WhichOneof("result") for result in two.results] == ["unavailable", "page"]


async def test_notes_say_what_rows_do_not() -> None:
    """Records that are no values, and an end that gave way, are told with a symbol's last rows and nowhere else."""
    parts = holding(AAPL=ticks("AAPL", 0, 1, 2), MSFT=ticks("MSFT", 0))
    parts.history.refused["AAPL"] = 3
    parts.history.clamped["AAPL"] = END - 7
    one, two = await walked(parts, 2, "AAPL", "MSFT", clamp_to_entitlement=True)
    assert not one.results[0].page.HasField("note")
    note = two.results[0].page.note
    assert note.refused_count == 3
    assert instant(note.clamped_end_time) == END - 7
    assert not two.results[1].page.HasField("note")
    assert parts.history.asked[0][0].clamp


async def test_a_strict_page_fails_for_the_first_lack() -> None:
    """Strict, a page fails with the reason of the first symbol of which it would have nothing."""
    parts = holding(AAPL=ticks("AAPL", 0))
    with pytest.raises(StrictRefusal) as failed:
        await listed(parts, "AAPL", "MSFT", "TSLA", strict=True)
    assert (failed.value.symbol, failed.value.why.reason) == ("MSFT", Reason.NO_DATA)


async def test_a_page_is_counted_by_symbols() -> None:
    """A page's log line counts the symbols that it reached, those with values, and those asked of the upstream."""
    parts = holding(AAPL=ticks("AAPL", 0), MSFT=ticks("MSFT", 0))
    fresh = parts.history.blocks["MSFT"]
    parts.history.blocks["MSFT"] = replace(
        fresh, origin=replace(fresh.origin, served_from=Tier.UPSTREAM)
    )
    at = call()
    request = pb.ListTradesRequest(**asking("AAPL", "MSFT", "TSLA"))
    await parts.history_servicer().ListTrades(request, at)
    assert (at.asked, at.given, at.from_upstream, at.reason) == (3, 2, 1, "NO_DATA")
    assert [symbol for symbol, _ in at.missing] == ["TSLA"]
    assert at.feed is Feed.IEX


async def test_a_page_has_the_deadline_of_its_call() -> None:
    """Whoever asks for a page waits until his deadline, or the gateway's own."""
    parts = holding(AAPL=ticks("AAPL", 0))
    at = call(bounded=False)
    await parts.history_servicer().ListTrades(pb.ListTradesRequest(**asking("AAPL")), at)
    assert parts.history.asked[0][3] == at.deadline


# -------------------------------------------------------------------------------------- streams


async def test_a_stream_has_no_deadline_but_its_callers() -> None:
    """A stream without a deadline is answered as long as it gets on, one with a deadline until then."""
    parts = holding(AAPL=ticks("AAPL", 0))
    for at, deadline in ((call(bounded=False), None), (call(), 1010.0)):
        assert [message async for message in stream(parts, at, "AAPL")]
        assert parts.history.asked[-1][3] == deadline


async def test_a_stream_begins_small() -> None:
    """The first chunk is small, so that its reader has something to do; those behind it are large."""
    messages = await streamed(holding(AAPL=many(20_000)), "AAPL")
    assert [one.chunk.count for one in messages[:-1]] == [500, 7500, 8000, 4000]
    assert messages[-1].end.count == 20_000
    assert all(message.ByteSize() < 1 << 20 for message in messages)


async def test_a_chunk_of_long_numbers_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk whose numbers make it too large for a message is halved until it fits, and goes on behind each half."""
    monkeypatch.setattr(history_answers, "LARGEST_CHUNK", 20_000)
    block = many(4000)
    assert isinstance(block, TradeBlock)
    long = Decimal("0.12345678901234567890")
    wide = Decimals(0, array("q"), wide=tuple(long + number for number in range(4000)))
    parts = holding(AAPL=replace(block, price=wide))
    messages = await streamed(parts, "AAPL")
    assert [one.chunk.count for one in messages[:3]] == [500, 437, 438]
    assert all(message.ByteSize() <= 20_000 for message in messages)
    whole = columns_of(messages)
    assert whole == expected(parts, "AAPL")
    rest = await streamed(parts, "AAPL", cursor=cursor_of(messages[1]))
    assert columns_of(messages[:2]) + columns_of(rest) == whole


async def test_an_end_says_how_much_there_was() -> None:
    """Each symbol ends with its count, the records that were no values, and an end that gave way."""
    parts = holding(AAPL=ticks("AAPL", 0, 1), MSFT=ticks("MSFT", 0))
    parts.history.refused["AAPL"] = 3
    parts.history.clamped["AAPL"] = END - 7
    ends = [one for one in await streamed(parts, "AAPL", "MSFT") if one.HasField("end")]
    assert [(one.symbol, one.end.count, one.end.refused_count) for one in ends] == [
        ("AAPL", 2, 3),
        ("MSFT", 1, 0),
    ]
    assert instant(ends[0].end.clamped_end_time) == END - 7
    assert not ends[1].end.HasField("clamped_end_time")


@pytest.mark.parametrize(("sort", "missing"), [(1, START + 6), (2, START + 5)])
async def test_a_broken_stream_says_from_where(sort: int, missing: int) -> None:
    """A break tells why, what came before it, and from where it is missing; the other symbols go on, and so can it."""
    parts = holding(AAPL=ticks("AAPL", 0, 5, 9), MSFT=ticks("MSFT", 1))
    parts.history.breaks["AAPL"] = (2, OUTAGE)
    at = call()
    messages = [one async for one in stream(parts, at, "AAPL", "MSFT", sort=sort)]
    (broken,) = (one for one in messages if one.HasField("unavailable"))
    assert broken.unavailable.unavailable.reason == reasons.ERROR_REASON_CIRCUIT_OPEN
    assert broken.unavailable.unavailable.retry_delay.ToMilliseconds() == 1500
    assert broken.unavailable.count == 2
    assert instant(broken.unavailable.missing_from_time) == missing
    assert (at.asked, at.given, at.reason) == (2, 1, "CIRCUIT_OPEN")
    assert messages[-1].end.count == 1
    parts.history.breaks.clear()
    cursor = broken.unavailable.cursor
    rest = await streamed(parts, "AAPL", "MSFT", cursor=cursor, sort=sort)
    assert [symbol for symbol, _ in columns_of(rest)] == ["AAPL", "MSFT"]


async def test_a_strict_stream_fails_for_the_first_lack() -> None:
    """Strict, a stream fails where it would say that something is missing; what it sent before stands."""
    parts = holding(AAPL=ticks("AAPL", 0, 5))
    parts.history.breaks["AAPL"] = (1, OUTAGE)
    messages = stream(parts, call(), "AAPL", strict=True)
    assert (await anext(messages)).HasField("chunk")
    with pytest.raises(StrictRefusal) as failed:
        await anext(messages)
    assert failed.value.why is OUTAGE
    assert parts.history.reading == 0


async def test_who_leaves_a_stream_gives_its_answer_up() -> None:
    """A stream that nobody reads any more lets go of what answers it."""
    parts = holding(AAPL=many(20_000))
    request = pb.StreamTradesRequest(**asking("AAPL"))
    messages = parts.history_servicer().StreamTrades(request, call())
    await anext(messages)
    assert parts.history.reading == 1
    await messages.aclose()
    assert parts.history.reading == 0
    assert parts.history.read_rows == 8000


async def test_a_stopping_gateway_cuts_a_stream_that_can_go_on_elsewhere() -> None:
    """A stream is cut behind a chunk with SHUTTING_DOWN when the gateway stops, and another gateway goes on there."""
    parts = holding(AAPL=many(20_000))
    calls, context = parts.calls(), FakeContext(time_left=None)
    servicer = parts.history_servicer()

    async def method(request: pb.StreamTradesRequest, at: Call) -> Any:
        async for message in servicer.StreamTrades(request, at):
            yield message
            calls.close()

    request = pb.StreamTradesRequest(**asking("AAPL"))
    handler: Any = calls.streaming(
        "HistoryService/StreamTrades",
        lambda _: request,
        method,
        Scope.HISTORY,
        ends=True,
        resumable=True,
    )
    with pytest.raises(grpc.aio.AbortError):
        await handler.unary_stream(b"", context)
    info = error_details_pb2.ErrorInfo()
    said = status_pb2.Status.FromString(context.trailers["grpc-status-details-bin"])
    assert said.details[0].Unpack(info)
    assert (context.code, info.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    before = [pb.StreamTradesResponse.FromString(body) for body in context.written]
    after = await streamed(holding(AAPL=many(20_000)), "AAPL", cursor=cursor_of(before[-1]))
    assert len(columns_of(before)) + len(columns_of(after)) == 20_000


# ------------------------------------------------------------------------------ every kind of RPC


async def test_every_kind_is_served() -> None:
    """Bars, trades and quotes are answered in rows and in columns, over the wire, each by its own RPCs."""
    parts = holding(AAPL=ticks("AAPL", 0))
    async with served(parts) as face:
        page = await face.history.ListTrades(pb.ListTradesRequest(**asking("AAPL")))
        assert value_of(page.results[0].page.trades[0]) == trade("AAPL", "10.00001", at=START)
        events = face.history.StreamTrades(pb.StreamTradesRequest(**asking("AAPL")))
        assert [one.WhichOneof("event") async for one in events] == ["chunk", "end"]
        parts.history.blocks = {}
        timed = asking("AAPL", timeframe="1Min")
        for answer in (
            await face.history.ListBars(pb.ListBarsRequest(**timed)),
            await face.history.ListQuotes(pb.ListQuotesRequest(**asking("AAPL"))),
        ):
            assert answer.results[0].unavailable.reason == reasons.ERROR_REASON_NO_DATA
        for call_ in (
            face.history.StreamBars(pb.StreamBarsRequest(**timed)),
            face.history.StreamQuotes(pb.StreamQuotesRequest(**asking("AAPL"))),
        ):
            assert [one.WhichOneof("event") async for one in call_] == ["unavailable"]
    kinds = [question.key.kind.value for question, *_ in parts.history.asked]
    assert kinds == ["trades", "trades", "bars", "quotes", "bars", "quotes"]
    assert [noted.reason for noted in parts.errors.entries] == ["NO_DATA"] * 4


# ----------------------------------------------------------------------------------- price at


async def price_at(parts: Parts, **request: Any) -> history_pb2.PriceAtResult:
    """A price at a moment."""
    known: dict[str, Any] = {"symbol": "AAPL", "time": stamp(START)} | request
    body = await parts.history_servicer().GetPriceAt(pb.GetPriceAtRequest(**known), call())
    return pb.GetPriceAtResponse.FromString(body).result


async def test_a_price_is_a_trade_with_its_age() -> None:
    """The price is the trade that it was paid in, with its origin and how long before the moment that was."""
    parts = Parts()
    parts.prices.trades["AAPL"] = trade("AAPL", "10.25", at=START - 90)
    result = await price_at(parts)
    assert value_of(result.price.trade) == trade("AAPL", "10.25", at=START - 90)
    assert result.price.age.ToNanoseconds() == 90
    assert result.price.trade.provenance.served_from == provenance_pb2.TIER_STORE
    assert result.symbol == "AAPL"
    ((key, time, tolerance, deadline, as_of, tiers),) = parts.prices.asked
    assert key == SeriesKey(SeriesKind.TRADES, "AAPL", Feed.IEX)
    assert (time, tolerance, deadline, as_of, tiers) == (START, 3600 * NANOS, 1010.0, None, None)


async def test_a_price_question_is_passed_on_whole() -> None:
    """Tolerance, feed, knowledge time and tiers reach who answers."""
    parts = Parts()
    tolerance = history_pb2.PriceAt().age
    tolerance.FromSeconds(31 * 24 * 3600)
    await price_at(
        parts,
        tolerance=tolerance,
        feed=provenance_pb2.FEED_SIP,
        as_of_time=stamp(NOW - 5),
        allowed_tiers=[provenance_pb2.TIER_STORE],
    )
    ((key, _, length, _, as_of, tiers),) = parts.prices.asked
    assert key.feed is Feed.SIP
    assert (length, as_of, tiers) == (31 * DAY, NOW - 5, frozenset({Tier.STORE}))


async def test_a_price_that_nobody_paid_is_refused() -> None:
    """Where nothing traded the answer is why, and strict it is a status."""
    parts = Parts()
    result = await price_at(parts)
    assert result.unavailable.reason == reasons.ERROR_REASON_NO_DATA
    with pytest.raises(StrictRefusal):
        await price_at(parts, strict=True)


# ----------------------------------------------------------------------------------- coverage


async def covered(parts: Parts, *symbols: str, **request: Any) -> pb.GetCoverageResponse:
    """What is held of some trades."""
    known: dict[str, Any] = {"symbols": symbols, "kind": history_pb2.SERIES_KIND_TRADES} | request
    body = await parts.history_servicer().GetCoverage(pb.GetCoverageRequest(**known), call())
    return pb.GetCoverageResponse.FromString(body)


async def test_touching_stretches_are_one() -> None:
    """What is held without a hole between is one stretch, as old as its oldest part, with the values of all of them."""
    parts = Parts()
    key = SeriesKey(SeriesKind.TRADES, "AAPL", Feed.IEX)
    parts.history.covered = {
        key: [
            Covered(Interval(20, 30), 7, 2),
            Covered(Interval(0, 10), 9, 1),
            Covered(Interval(10, 20), 8, 4),
            Covered(Interval(31, 40), 5, 3),
        ]
    }
    answer = await covered(parts, "AAPL", "MSFT")
    aapl, msft = answer.results
    assert [
        (instant(one.start_time), instant(one.end_time), instant(one.receive_time), one.count)
        for one in aapl.coverage.intervals
    ] == [(0, 30, 7, 7), (31, 40, 5, 3)]
    assert msft.WhichOneof("result") == "coverage"
    assert not msft.coverage.intervals
    ((keys, interval, as_of),) = parts.history.coverage_asked
    assert (list(keys), interval, as_of) == ([key, key.about("MSFT")], Interval(0, NOW), None)


async def test_coverage_of_too_many_stretches_is_cut() -> None:
    """Of more stretches than an answer may name the oldest are named."""
    parts = Parts()
    key = SeriesKey(SeriesKind.TRADES, "AAPL", Feed.IEX)
    parts.history.covered = {
        key: [Covered(Interval(n * 10, n * 10 + 1), 0, 0) for n in range(MOST_STRETCHES + 1)]
    }
    (result,) = (await covered(parts, "AAPL")).results
    assert len(result.coverage.intervals) == MOST_STRETCHES
    assert instant(result.coverage.intervals[0].start_time) == 0


async def test_coverage_that_cannot_be_told_says_why() -> None:
    """Without a store each symbol has the reason, and the call is noted to have missed all of them."""
    parts = Parts()
    parts.history.covered = unavailable(Reason.NOT_SUPPORTED)
    at = call()
    request = pb.GetCoverageRequest(
        symbols=["AAPL", "MSFT"], kind=history_pb2.SERIES_KIND_BARS, timeframe="1T"
    )
    body = await parts.history_servicer().GetCoverage(request, at)
    results = pb.GetCoverageResponse.FromString(body).results
    assert [one.unavailable.reason for one in results] == [reasons.ERROR_REASON_NOT_SUPPORTED] * 2
    assert (at.asked, at.given, len(at.missing)) == (2, 0, 2)
    ((keys, *_),) = parts.history.coverage_asked
    assert str(keys[0].timeframe) == "1Min"


# ------------------------------------------------------------------------------------- actions


def split(symbol: str, day: date | None, number: str = "") -> CorporateAction:
    """A split of which little is known."""
    return CorporateAction(
        id=number,
        type=CorporateActionType.FORWARD_SPLIT,
        symbol=symbol,
        new_symbol=None,
        old_rate=Decimal(1),
        new_rate=Decimal("4.0"),
        cash_rate=None,
        ex_date=day,
        record_date=None,
        payable_date=None,
        process_date=None,
        special=None,
        provenance=replace(provenance(None), feed=None),
    )


async def happened(
    parts: Parts, at: Call | None = None, **request: Any
) -> pb.ListCorporateActionsResponse:
    """A page of events."""
    known: dict[str, Any] = {
        "symbols": ["AAPL", "MSFT"],
        "start_date": Date(year=2000, month=1, day=1),
        "end_date": Date(year=2026, month=1, day=1),
    } | request
    body = await parts.history_servicer().ListCorporateActions(
        pb.ListCorporateActionsRequest(**known), at or call()
    )
    return pb.ListCorporateActionsResponse.FromString(body)


async def test_events_are_told_as_they_were_sent() -> None:
    """An event has what the upstream sent of it, exactly, and nothing else."""
    parts = Parts()
    parts.actions.actions = [split("AAPL", date(2020, 8, 31), "a1")]
    (action,) = (await happened(parts)).page.corporate_actions
    assert (action.id, action.symbol) == ("a1", "AAPL")
    assert action.type == history_pb2.CORPORATE_ACTION_TYPE_FORWARD_SPLIT
    assert (action.old_rate.value, action.new_rate.value) == ("1", "4.0")
    assert action.ex_date == Date(year=2020, month=8, day=31)
    told = {field.name for field, _ in action.ListFields()}
    assert told == {"id", "type", "symbol", "old_rate", "new_rate", "ex_date", "provenance"}
    assert action.provenance.source == provenance_pb2.DATA_SOURCE_SANDBOX
    assert action.provenance.HasField("serve_time")
    assert not action.provenance.HasField("event_time")
    assert not action.provenance.HasField("feed")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["AAPL", "MSFT"]),
            st.sampled_from([date(2010, 1, 1), date(2011, 1, 1), None]),
            st.sampled_from(["", "x"]),
        ),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 5),
)
async def test_pages_of_events_tell_each_once(
    events: list[tuple[str, date | None, str]], size: int
) -> None:
    """Pages of any size tell every event once, by day and symbol, also events that are alike."""
    parts = Parts()
    parts.actions.actions = [split(*event) for event in events]
    seen: list[tuple[str, int, str]] = []
    token, pages = "", 0
    while token or not pages:
        page = (await happened(parts, page_size=size, page_token=token)).page
        seen += [(one.symbol, one.ex_date.year, one.id) for one in page.corporate_actions]
        token, pages = page.next_page_token, pages + 1
    wanted = [(symbol, 0 if day is None else day.year, number) for symbol, day, number in events]
    assert seen == sorted(wanted, key=lambda one: (one[1], one[0], one[2]))


async def test_a_page_of_events_that_are_gone_says_so() -> None:
    """A token behind which nothing is left is refused, instead of answered with an empty page."""
    parts = Parts()
    parts.actions.actions = [split("AAPL", date(2010, 1, 1)), split("AAPL", date(2011, 1, 1))]
    token = (await happened(parts, page_size=1)).page.next_page_token
    parts.actions.actions.pop()
    with pytest.raises(InvalidRequest, match="start again"):
        await happened(parts, page_size=1, page_token=token)


async def test_no_event_is_no_data() -> None:
    """Where nothing happened the answer says so, and where nobody could be asked it says that."""
    parts, at = Parts(), call()
    types = [history_pb2.CORPORATE_ACTION_TYPE_SPIN_OFF]
    answer = await happened(parts, at, types=types)
    assert answer.unavailable.reason == reasons.ERROR_REASON_NO_DATA
    assert at.reason == "NO_DATA"
    parts.actions.failure = UpstreamBroken("alpaca.data answered 500")
    assert (await happened(parts)).unavailable.reason == reasons.ERROR_REASON_UPSTREAM_ERROR
    with pytest.raises(StrictRefusal):
        await happened(parts, strict=True)


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        (["AAPL"], reasons.ERROR_REASON_NO_DATA),
        (None, reasons.ERROR_REASON_NO_DATA),
        (["IBM"], reasons.ERROR_REASON_SYMBOL_UNKNOWN),
    ],
)
async def test_nothing_happens_to_what_does_not_exist(
    listed: list[str] | None, reason: reasons.ErrorReason.ValueType
) -> None:
    """Where none of the symbols is listed that is said, as far as it can be told; one that is makes it NO_DATA."""
    parts = Parts(listed=listed)
    assert (await happened(parts)).unavailable.reason == reason
    # What has happened did, whatever is listed.
    parts.actions.actions = [split("AAPL", date(2020, 8, 31))]
    assert len((await happened(parts)).page.corporate_actions) == 1


def test_the_parts_of_a_block_stand_behind_each_other() -> None:
    """A position behind a part is the one behind all of it, however it was reached."""
    block = ticks("AAPL", 0, 0, 0, 1, 1, 2, 2, 2, 2)
    for first in range(1, 9):
        for second in range(first + 1, 10):
            one = history_answers.behind(None, "AAPL", part(block, 0, first).times)
            two = history_answers.behind(one, "AAPL", part(block, first, second).times)
            assert two == history_answers.behind(None, "AAPL", block.times[:second])
