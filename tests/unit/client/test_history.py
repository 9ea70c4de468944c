"""The past, read in columns: whole or explicitly not, each row once, whatever becomes of the stream."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager
from datetime import date
from typing import Any

import grpc
import pytest
from google.type.date_pb2 import Date

import tickgate
from tickgate import _reader as reading
from tickgate.v1 import (
    history_pb2,
    history_service_pb2,
    provenance_pb2,
)

from . import history_messages as own
from . import messages
from .serving import served, served_by_threads

Script = Iterable[Any]
"""What a gateway sends on one stream: messages, and what it does to the context between them."""


class Gateway:
    """A gateway that plays one script after the other, and keeps what it was asked."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = deque(scripts)
        self.requests: list[Any] = []
        self.ended = threading.Event()
        """Set when a stream has been left."""

    def add(self, script: Script) -> None:
        """Play one more."""
        self._scripts.append(script)

    def answer(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Play the next script."""
        context.add_callback(self.ended.set)
        self.requests.append(request)
        for each in self._scripts.popleft():
            if callable(each):
                each(context)
            else:
                yield each

    @property
    def cursors(self) -> list[str]:
        """What each stream went on from."""
        return [request.cursor for request in self.requests]


def broken(code: str = "UNAVAILABLE", pushback: str | None = None) -> Callable[[Any], None]:
    """Let the stream break."""

    def act(context: grpc.ServicerContext) -> None:
        if pushback is not None:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", pushback),))
        context.abort(grpc.StatusCode[code], "the stream broke")

    return act


class Twin:
    """Either client, in one shape: what the asynchronous one does, the synchronous one does in a thread."""

    def __init__(self, gateway: Any) -> None:
        self._gateway = gateway

    def ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Make a history."""
        return getattr(self._gateway, method)(*args, **kwargs)

    async def rows(self, history: Any) -> list[Any]:
        """Read rows, all of them."""
        if isinstance(history, tickgate.History):
            return [row async for row in history]
        return await asyncio.to_thread(list, history)

    async def chunks(self, history: Any) -> list[Any]:
        """Read chunks, all of them."""
        if isinstance(history, tickgate.History):
            return [chunk async for chunk in history.chunks()]
        return await asyncio.to_thread(lambda: list(history.chunks()))

    async def fetch(self, history: Any) -> tickgate.Records[Any]:
        """Fetch all."""
        if isinstance(history, tickgate.History):
            return await history
        return await asyncio.to_thread(history.fetch)


Connect = Callable[..., Any]


@pytest.fixture(params=["Client", "SyncClient"])
def twin_of(request: pytest.FixtureRequest) -> Connect:
    """Talk to an address with either client."""

    @asynccontextmanager
    async def connected(target: str) -> AsyncIterator[Twin]:
        if request.param == "Client":
            async with tickgate.connect(target) as client:
                yield Twin(client)
        else:
            with tickgate.connect_sync(target) as client:
                yield Twin(client)

    return connected


@pytest.fixture
def talking_to(twin_of: Connect) -> Connect:
    """Serve scripts, and talk to them with either client."""

    @asynccontextmanager
    async def connected(gateway: Gateway, method: str = "StreamBars") -> AsyncIterator[Twin]:
        with served_by_threads(**{method: gateway.answer}) as target:
            async with twin_of(target) as twin:
                yield twin

    return connected


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts are a hundredth of what they are, and as many."""
    monkeypatch.setattr(reading, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(reading, "LONGEST_PAUSE", 0.1)


def minutes(rows: Iterable[tickgate.Bar]) -> list[int | None]:
    """Tell rows of `some_bars` apart."""
    return [row.volume for row in rows]


# ----------------------------------------------------------------------------------- what is sent

ASKED: dict[str, Any] = {
    "feed": tickgate.Feed.SIP,
    "symbol_date": date(2022, 6, 8),
    "sort": tickgate.Sort.NEWEST_FIRST,
    "limit": 5,
    "as_of": messages.NOON,
    "allowed_tiers": [tickgate.Tier.STORE, tickgate.Tier.REDIS],
    "clamp_to_entitlement": True,
    "cursor": "c",
}
SENT: dict[str, Any] = {
    "start_time": messages.at(1_709_303_400 * messages.SECOND),
    "end_time": messages.at(messages.NOON),
    "feed": provenance_pb2.FEED_SIP,
    "symbol_date": Date(year=2022, month=6, day=8),
    "sort": history_pb2.SORT_NEWEST_FIRST,
    "limit": 5,
    "as_of_time": messages.at(messages.NOON),
    "allowed_tiers": [provenance_pb2.TIER_STORE, provenance_pb2.TIER_REDIS],
    "clamp_to_entitlement": True,
    "cursor": "c",
}
RANGE = ("2024-03-01T14:30:00Z", messages.NOON)


@pytest.mark.parametrize(
    ("method", "args", "kwargs", "rpc", "request_", "event", "rows"),
    [
        (
            "bars",
            (["SPY"], "1Min", *RANGE),
            ASKED | {"adjustments": [tickgate.Adjustment.SPLIT]},
            "StreamBars",
            history_service_pb2.StreamBarsRequest(
                symbols=["SPY"],
                timeframe="1Min",
                adjustments=[history_pb2.ADJUSTMENT_SPLIT],
                **SENT,
            ),
            history_service_pb2.StreamBarsResponse(symbol="SPY", chunk=own.BARS),
            own.BARS_READ,
        ),
        (
            "trade_history",
            ("SPY", *RANGE),
            ASKED,
            "StreamTrades",
            history_service_pb2.StreamTradesRequest(symbols=["SPY"], **SENT),
            history_service_pb2.StreamTradesResponse(symbol="SPY", chunk=own.TRADES),
            own.TRADES_READ,
        ),
        (
            "quote_history",
            (("SPY",), *RANGE),
            ASKED,
            "StreamQuotes",
            history_service_pb2.StreamQuotesRequest(symbols=["SPY"], **SENT),
            history_service_pb2.StreamQuotesResponse(symbol="SPY", chunk=own.QUOTES),
            own.QUOTES_READ,
        ),
        (
            "quote_history",
            (("SPY",), *RANGE),
            ASKED,
            "StreamQuotes",
            history_service_pb2.StreamQuotesRequest(symbols=["SPY"], **SENT),
            history_service_pb2.StreamQuotesResponse(symbol="SPY", chunk=own.QUOTES_ALONE),
            own.QUOTES_ALONE_READ,
        ),
    ],
    ids=["bars", "trades", "quotes", "quotes-alone"],
)
async def test_each_kind_is_asked_and_read(
    talking_to: Connect,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    rpc: str,
    request_: Any,
    event: Any,
    rows: list[Any],
) -> None:
    """A method sends exactly its arguments, and columns come out as the rows that went in, digit for digit."""
    end = type(event)(
        symbol="SPY", end=history_pb2.SeriesEnd(count=len(rows), refused_count=2, cursor="e")
    )
    gateway = Gateway([event, end])
    async with talking_to(gateway, rpc) as twin:
        history = twin.ask(method, *args, **kwargs)
        assert not gateway.requests  # nothing is asked before it is read
        found = await twin.rows(history)
    assert gateway.requests == [request_]
    assert found == rows
    assert list(map(repr, found)) == list(map(repr, rows))
    assert history.count == len(rows)
    (said,) = history.ends
    assert (said.symbol, said.count, said.refused) == ("SPY", len(rows), 2)


async def test_what_is_left_out_is_not_sent(talking_to: Connect) -> None:
    """Whatever is left out is left to the gateway."""
    gateway = Gateway([own.some_bars("SPY", 0, 1), own.bars_end("SPY", 1)])
    async with talking_to(gateway) as twin:
        await twin.rows(twin.ask("bars", "SPY", "1Day", 0))
    assert gateway.requests == [
        history_service_pb2.StreamBarsRequest(
            symbols=["SPY"], timeframe="1Day", start_time=messages.at(0)
        )
    ]


# ------------------------------------------------------------------------------------- how it reads


async def test_symbols_come_one_after_the_other(talking_to: Connect) -> None:
    """Rows of several symbols come in the order asked for, and a part of what was fetched is of one of them."""
    script = [
        own.some_bars("SPY", 0, 2),
        own.some_bars("SPY", 2, 3),
        own.bars_end("SPY", 5),
        own.some_bars("AAPL", 7, 1),
        own.bars_end("AAPL", 1, clamped_end_time=messages.at(messages.NOON)),
    ]
    seen: list[tuple[str, int]] = []
    gateway = Gateway(script, script)
    async with talking_to(gateway) as twin:
        history = twin.ask(
            *("bars", ["SPY", "AAPL"], "1Min", 0),
            progress=lambda chunk: seen.append((chunk.symbol, len(chunk))),
        )
        records = await twin.fetch(history)
        chunks = await twin.chunks(history)

    assert minutes(records) == [0, 1, 2, 3, 4, 7]
    assert len(records) == 6
    assert records.symbols == ("SPY", "AAPL")
    assert records.whole
    assert minutes(records.of("AAPL")) == [7]
    assert records.of("AAPL").ends[0].clamped_end_time_ns == messages.NOON
    assert [each.count for each in records.ends] == [5, 1]
    assert [(each.symbol, len(each)) for each in chunks] == [("SPY", 2), ("SPY", 3), ("AAPL", 1)]
    assert seen == [("SPY", 2), ("SPY", 3), ("AAPL", 1)] * 2  # each reading asks anew
    assert [each.cursor for each in chunks] == ["SPY 2", "SPY 5", "AAPL 8"]
    assert chunks[1].first_time_ns == 2 * own.MINUTE
    assert chunks[1].last_time_ns == 4 * own.MINUTE
    assert repr(records) == "<Records: 6 bars of SPY, AAPL>"
    assert repr(chunks[1]).startswith("<Chunk of 3 bars of SPY from 1970-01-01 00:02:00")


async def test_leaving_early_closes_the_call(talking_to: Connect) -> None:
    """Whoever has read enough leaves the loop, and the gateway is told."""
    left = threading.Event()

    def endless() -> Iterator[Any]:
        first = 0
        while not left.is_set():
            yield own.some_bars("SPY", first, 1000)
            first += 1000

    gateway = Gateway(endless())

    def first_of(history: tickgate.SyncHistory[tickgate.Bar]) -> int | None:
        for bar in history:
            return bar.volume
        return None

    try:
        async with talking_to(gateway) as twin:
            history, found = twin.ask("bars", "SPY", "1Min", 0), None
            if isinstance(history, tickgate.History):
                async for bar in history:
                    found = bar.volume
                    break
            else:
                found = await asyncio.to_thread(first_of, history)
            assert await asyncio.to_thread(gateway.ended.wait, 10)
    finally:
        left.set()
    assert found == 0
    assert history.cursor == "SPY 1000"


async def test_a_cancelled_reading_is_cancelled_at_the_gateway() -> None:
    """Cancelling the task cancels the call, and raises nothing of ours."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def answer(request: Any, context: Any) -> Any:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with served(StreamBars=answer) as target, tickgate.connect(target) as gateway:
        reading_ = asyncio.ensure_future(gateway.bars("SPY", "1Min", 0).fetch())
        await started.wait()
        reading_.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading_
        await ended.wait()


# ----------------------------------------------------------------------------------- what is missing


async def test_the_one_symbol_that_breaks_off_is_raised(talking_to: Connect) -> None:
    """What came is delivered, then the typed reason is raised, and from where and how much is said."""
    gateway = Gateway([own.some_bars("SPY", 0, 2), own.no_bars("SPY", 2)])
    found: list[int | None] = []
    async with talking_to(gateway) as twin:
        history = twin.ask(
            *("bars", "SPY", "1Min", 0),
            progress=lambda chunk: found.extend(minutes(chunk)),
        )
        with pytest.raises(tickgate.CircuitOpen, match="SPY: not now") as caught:
            await twin.fetch(history)
    assert found == [0, 1]
    (missing,) = history.missing
    assert missing.symbol == "SPY"
    assert missing.from_time_ns == 2 * own.MINUTE
    assert (missing.count, missing.cursor) == (2, "SPY 2")
    assert missing.unavailable == caught.value.unavailable
    assert caught.value.symbol == "SPY"
    assert caught.value.__notes__ == [
        "SPY: 2 came; missing is all from 1970-01-01 00:02:00 UTC on: SPY: not now"
    ]


async def test_newest_first_all_before_is_missing(talking_to: Connect) -> None:
    """Where the newest come first, what is missing lies before what came."""
    gateway = Gateway([own.some_bars("SPY", 2, 1), own.no_bars("SPY", 1)])
    newest = tickgate.Sort.NEWEST_FIRST
    async with talking_to(gateway) as twin:
        records = await twin.fetch(twin.ask("bars", "SPY", "1Min", 0, sort=newest, partial=True))
    (missing,) = records.missing
    assert missing.newest_first
    assert missing.part == "all before 1970-01-01 00:01:00 UTC"


async def test_one_symbol_never_harms_another(talking_to: Connect) -> None:
    """The rows of all other symbols come before what one lacks is raised."""
    gateway = Gateway(
        [
            own.no_bars("ZZZZ", 0, "SYMBOL_UNKNOWN"),
            own.some_bars("SPY", 0, 2),
            own.bars_end("SPY", 2),
        ]
    )
    found: list[Any] = []
    async with talking_to(gateway) as twin:
        history = twin.ask("bars", ["ZZZZ", "SPY"], "1Min", 0, progress=found.append)
        with pytest.raises(tickgate.UnknownSymbol):
            await twin.rows(history)
    assert [len(chunk) for chunk in found] == [2]


async def test_what_can_be_had_is_enough_on_request(talking_to: Connect) -> None:
    """With `partial` nothing is raised, and what is missing stands beside the rows."""
    gateway = Gateway(
        [own.some_bars("SPY", 0, 2), own.no_bars("SPY", 2), own.no_bars("AAPL", 0, "NO_DATA")]
    )
    async with talking_to(gateway) as twin:
        records = await twin.fetch(twin.ask("bars", ["SPY", "AAPL"], "1Min", 0, partial=True))
    assert minutes(records) == [0, 1]
    assert [(each.symbol, each.unavailable.reason) for each in records.missing] == [
        ("SPY", tickgate.Reason.CIRCUIT_OPEN),
        ("AAPL", tickgate.Reason.NO_DATA),
    ]
    assert not records.whole
    assert "SPY, AAPL not whole" in repr(records)


async def test_that_nothing_happened_is_an_answer(talking_to: Connect) -> None:
    """Of several symbols one without a bar lacks nothing; asked for alone, there is no value and it raises."""
    script = [own.some_bars("SPY", 0, 1), own.bars_end("SPY", 1), own.no_bars("AAPL", 0, "NO_DATA")]
    async with talking_to(Gateway(script, [own.no_bars("AAPL", 0, "NO_DATA")])) as twin:
        records = await twin.fetch(twin.ask("bars", ["SPY", "AAPL"], "1Min", 0))
        assert records.whole
        assert records.missing[0].symbol == "AAPL"
        with pytest.raises(tickgate.NoData):
            await twin.rows(twin.ask("bars", "AAPL", "1Min", 0))


async def test_what_nobody_was_asked_for_is_missing(talking_to: Connect) -> None:
    """What the allowed tiers do not hold is no empty range: it raises, of several symbols and behind rows as well."""
    nothing, some = own.no_bars("AAPL", 0, "NOT_HELD"), own.some_bars("SPY", 0, 2)
    script = [some, own.no_bars("SPY", 2, "NOT_HELD"), nothing]
    async with talking_to(Gateway(script, script, [nothing], [nothing])) as twin:
        with pytest.raises(tickgate.NotHeld) as caught:
            await twin.fetch(twin.ask("bars", ["SPY", "AAPL"], "1Min", 0))
        assert [note.split(";")[0] for note in caught.value.__notes__] == [
            "SPY: 2 came",
            "AAPL: 0 came",
        ]
        records = await twin.fetch(twin.ask("bars", ["SPY", "AAPL"], "1Min", 0, partial=True))
        assert [records.whole, records.of("SPY").whole, records.of("AAPL").whole] == [False] * 3
        with pytest.raises(tickgate.NotHeld):
            await twin.rows(twin.ask("bars", "AAPL", "1Min", 0))
        alone = await twin.fetch(twin.ask("bars", "AAPL", "1Min", 0, partial=True))
        assert (len(alone), alone.whole) == (0, False)


async def test_an_empty_range_is_whole(talking_to: Connect) -> None:
    """With `partial` one symbol of which nothing happened is whole, and behind values NO_DATA is a lack like others."""
    broken_off = [own.some_bars("SPY", 0, 2), own.no_bars("SPY", 2, "NO_DATA")]
    async with talking_to(Gateway([own.no_bars("AAPL", 0, "NO_DATA")], broken_off)) as twin:
        empty = await twin.fetch(twin.ask("bars", "AAPL", "1Min", 0, partial=True))
        some = await twin.fetch(twin.ask("bars", ["SPY"], "1Min", 0, partial=True))
    assert (len(empty), empty.whole) == (0, True)
    assert (len(some), some.whole) == (2, False)


# ------------------------------------------------------------------------------- what breaks, and goes on


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "UNKNOWN"])
async def test_a_stream_that_breaks_goes_on(talking_to: Connect, code: str) -> None:
    """A stream that is lost is made again from the last cursor, and each row comes once."""
    gateway = Gateway(
        [own.some_bars("SPY", 0, 2), broken(code)],
        [own.some_bars("SPY", 2, 2), broken(code)],
        [own.some_bars("SPY", 4, 1), own.bars_end("SPY", 1), broken(code)],
        [own.some_bars("AAPL", 9, 1), own.bars_end("AAPL", 1)],
    )
    async with talking_to(gateway) as twin:
        records = await twin.fetch(twin.ask("bars", ["SPY", "AAPL"], "1Min", 0, limit=9))
    assert minutes(records) == [0, 1, 2, 3, 4, 9]
    assert gateway.cursors == ["", "SPY 2", "SPY 4", "SPY end"]
    assert all(request.limit == 9 for request in gateway.requests)
    assert [each.count for each in records.ends] == [5, 1]


async def test_a_gateway_that_is_restarted_is_found_again(twin_of: Connect) -> None:
    """A server that really goes away in the middle, and comes back at its address, costs a moment and no row."""
    before = Gateway()
    before.add([own.some_bars("SPY", 0, 2), lambda context: before.ended.wait(20)])
    after = Gateway([own.some_bars("SPY", 2, 1), own.bars_end("SPY", 1)])

    with ExitStack() as running, ExitStack() as restarted:
        target = running.enter_context(served_by_threads(StreamBars=before.answer))
        port = int(target.rpartition(":")[2])

        def restart(chunk: Any) -> None:
            if len(chunk) == 2:
                running.close()
                restarted.enter_context(served_by_threads(port, StreamBars=after.answer))

        async with twin_of(target) as twin:
            records = await twin.fetch(twin.ask("bars", "SPY", "1Min", 0, progress=restart))
    assert minutes(records) == [0, 1, 2]
    assert after.cursors == ["SPY 2"]


async def test_a_stream_that_breaks_behind_its_last_word_is_whole(talking_to: Connect) -> None:
    """Once everything has come there is nothing to go on with."""
    gateway = Gateway([own.some_bars("SPY", 0, 2), own.bars_end("SPY", 2), broken()])
    async with talking_to(gateway) as twin:
        assert minutes(await twin.rows(twin.ask("bars", "SPY", "1Min", 0))) == [0, 1]
    assert len(gateway.requests) == 1


async def test_what_could_not_be_had_gets_another_chance(talking_to: Connect) -> None:
    """A stream that breaks right behind the word that a symbol is missing asks for the symbol again."""
    gateway = Gateway(
        [own.some_bars("SPY", 0, 2), own.no_bars("SPY", 2), broken()],
        [own.some_bars("SPY", 2, 1), own.bars_end("SPY", 1)],
    )
    async with talking_to(gateway) as twin:
        records = await twin.fetch(twin.ask("bars", "SPY", "1Min", 0))
    assert minutes(records) == [0, 1, 2]
    assert records.missing == ()
    assert gateway.cursors == ["", "SPY 2"]


async def test_it_goes_on_from_a_cursor(talking_to: Connect) -> None:
    """A cursor of before leads behind what it stood at, be it in the middle of the symbols."""
    gateway = Gateway([own.some_bars("AAPL", 5, 1), own.bars_end("AAPL", 1)], [])
    async with talking_to(gateway) as twin:
        symbols = ["SPY", "AAPL"]
        records = await twin.fetch(twin.ask("bars", symbols, "1Min", 0, cursor="AAPL 5"))
        assert minutes(records) == [5]
        # Behind the last of all there is nothing more.
        assert not await twin.rows(twin.ask("bars", symbols, "1Min", 0, cursor="AAPL end"))


async def test_a_stream_that_gets_nowhere_is_given_up(talking_to: Connect) -> None:
    """So many attempts in a row without anything new are the last; what came is kept."""
    gateway = Gateway([own.some_bars("SPY", 0, 2), broken()], *([[broken()]] * 20))
    async with talking_to(gateway) as twin:
        history = twin.ask("bars", "SPY", "1Min", 0)
        with pytest.raises(tickgate.GatewayUnreachable, match="the stream broke"):
            await twin.fetch(history)
    assert len(gateway.requests) == reading.ATTEMPTS
    assert (history.count, history.cursor) == (2, "SPY 2")


async def test_a_stream_that_gets_on_may_break_as_often_as_it_likes(talking_to: Connect) -> None:
    """Whatever comes renews the attempts: only those in a row are counted."""
    count = 3 * reading.ATTEMPTS
    gateway = Gateway(*([own.some_bars("SPY", place, 1), broken()] for place in range(count)))
    gateway.add([own.bars_end("SPY", 0)])
    async with talking_to(gateway) as twin:
        records = await twin.fetch(twin.ask("bars", "SPY", "1Min", 0))
    assert minutes(records) == list(range(count))


async def test_before_anything_has_come_two_attempts_are_made(talking_to: Connect) -> None:
    """A gateway that is stopping is asked once more, like for any call."""
    gateway = Gateway(*([[broken()]] * 5))
    async with talking_to(gateway) as twin:
        with pytest.raises(tickgate.GatewayUnreachable):
            await twin.rows(twin.ask("bars", "SPY", "1Min", 0))
    assert len(gateway.requests) == 2


@pytest.mark.parametrize(
    "failure", [broken("INVALID_ARGUMENT"), broken("PERMISSION_DENIED"), broken(pushback="-1")]
)
async def test_what_cannot_be_mended_ends_it(
    talking_to: Connect, failure: Callable[[Any], None]
) -> None:
    """A failure that another attempt cannot mend is raised at once, also in the middle."""
    gateway = Gateway([own.some_bars("SPY", 0, 2), failure])
    async with talking_to(gateway) as twin:
        with pytest.raises(tickgate.TickgateError, match="the stream broke"):
            await twin.rows(twin.ask("bars", "SPY", "1Min", 0))
    assert len(gateway.requests) == 1


async def test_a_mute_gateway_is_given_up(talking_to: Connect) -> None:
    """Where nothing comes for as long as `timeout` says, waiting ends, with the id of the call, and the call too."""
    gateway = Gateway()
    gateway.add([own.some_bars("SPY", 0, 1), lambda context: gateway.ended.wait(20)])
    async with talking_to(gateway) as twin:
        history = twin.ask("bars", "SPY", "1Min", 0, timeout=0.2, request_id="mine")
        with pytest.raises(tickgate.DeadlineExceeded, match=r"nothing came for 0.2 s") as caught:
            await twin.rows(history)
        assert await asyncio.to_thread(gateway.ended.wait, 10)
    assert caught.value.request_id == "mine"
    assert history.cursor == "SPY 1"


# --------------------------------------------------------------------------- what breaks the contract


def chunk(**changes: Any) -> Any:
    """A message with BARS, some of whose columns are changed."""
    changed = history_pb2.BarChunk()
    changed.CopyFrom(own.BARS)
    for name, value in changes.items():
        changed.ClearField(name)  # type: ignore[arg-type]  # a field's name
        if isinstance(value, int):
            setattr(changed, name, value)
        elif value is not None:
            getattr(changed, name).CopyFrom(value)
    return history_service_pb2.StreamBarsResponse(symbol="SPY", chunk=changed)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ([own.some_bars("MSFT", 0, 1)], "MSFT came where SPY was due"),
        ([own.some_bars("SPY", 0, 2), own.bars_end("SPY", 3)], "3 values were sent, and 2 came"),
        ([own.some_bars("SPY", 0, 2), own.no_bars("SPY", 1)], "1 values were sent, and 2 came"),
        ([own.some_bars("SPY", 0, 2)], "ended before SPY did"),
        (
            [own.some_bars("SPY", 0, 1), own.bars_end("SPY", 1), own.some_bars("SPY", 1, 1)],
            "SPY came where nothing was due",
        ),
        ([chunk(count=0)], "holds no rows"),
        ([chunk(count=4)], "start_times has 3 entries for 4 rows"),
        ([chunk(close=own.cents(1, 2))], "close has 2 entries for 3 rows"),
        ([chunk(open=None)], "a chunk has no open"),
        ([chunk(low=own.cents(1, 2, 3, unset=(1,)))], "low is unset in some row"),
        ([chunk(vwap=own.cents(1, 2, 3, unset=(3,)))], "vwap names a row that is not there"),
        ([chunk(receive_times=own.times(0, 0, 1))], "receive_times has 2 entries for 3 rows"),
        ([chunk(provenance=provenance_pb2.Provenance())], "receive_time is unset"),
    ],
)
async def test_an_answer_that_is_not_whole_is_never_handed_on(
    talking_to: Connect, script: Script, said: str
) -> None:
    """Columns that do not fit each other, a symbol left out, a count that is wrong: all are a fault of the gateway."""
    async with talking_to(Gateway(script)) as twin:
        history = twin.ask("bars", "SPY", "1Min", 0, request_id="mine")
        with pytest.raises(tickgate.GatewayError, match=said) as caught:
            await twin.rows(history)
    assert caught.value.request_id == "mine"


async def test_a_code_that_is_not_there_is_refused(talking_to: Connect) -> None:
    """A row that points behind the codes of its column is a fault of the gateway."""
    changed = history_pb2.TradeChunk()
    changed.CopyFrom(own.TRADES)
    changed.exchange.places[0] = 3
    event = history_service_pb2.StreamTradesResponse(symbol="SPY", chunk=changed)
    async with talking_to(Gateway([event]), "StreamTrades") as twin:
        with pytest.raises(tickgate.GatewayError, match="exchange names a code that is not there"):
            await twin.rows(twin.ask("trade_history", "SPY", 0))


async def test_a_word_of_tomorrow_is_passed_over(talking_to: Connect) -> None:
    """An event that this client does not know is no reason to fail the rows around it."""
    strange = history_service_pb2.StreamBarsResponse(symbol="SPY")
    gateway = Gateway([strange, own.some_bars("SPY", 0, 1), strange, own.bars_end("SPY", 1)])
    async with talking_to(gateway) as twin:
        assert minutes(await twin.rows(twin.ask("bars", "SPY", "1Min", 0))) == [0]


# --------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("limit", [-1, 10_000_001, 1.5, "7", None])
def test_a_limit_out_of_bounds_is_never_sent(limit: Any) -> None:
    """A limit that the contract has no room for is refused where the method is called."""
    with (
        tickgate.connect_sync("127.0.0.1:1") as gateway,
        pytest.raises(tickgate.InvalidRequest, match=f"limit: 0 to 10,000,000, not {limit!r}"),
    ):
        gateway.bars("SPY", "1Min", 0, limit=limit)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"symbols": []}, tickgate.InvalidRequest, "symbols: at least one symbol is asked for"),
        ({"symbols": iter(())}, tickgate.InvalidRequest, "symbols: at least one symbol is asked"),
        ({"symbols": None}, tickgate.InvalidRequest, "symbols: a list of symbols, such as"),
        ({"symbols": ["SPY", None]}, tickgate.InvalidRequest, "a symbol is text or an Occ, not"),
        ({"sort": "x"}, ValueError, "'x' is no Sort: there are OLDEST_FIRST, NEWEST_FIRST"),
        ({"feed": "sip"}, ValueError, "'sip' is no Feed: there are SIP, "),
        ({"allowed_tiers": ["store"]}, ValueError, "'store' is no Tier: there are "),
        ({"allowed_tiers": tickgate.Tier.STORE}, TypeError, "several of Tier are given in a list"),
        ({"symbol_date": "2024-03-01"}, TypeError, "a day is a datetime.date, not '2024-03-01'"),
    ],
)
@pytest.mark.parametrize("method", ["bars", "trade_history", "quote_history"])
def test_an_argument_that_is_none_is_never_sent(
    method: str, arguments: dict[str, Any], error: type[Exception], said: str
) -> None:
    """What is no argument, and no symbol at all, is refused where the method is called, with a sentence that helps."""
    asked: dict[str, Any] = {"symbols": ["SPY"], "start": 0} | arguments
    if method == "bars":
        asked["timeframe"] = "1Min"
    with tickgate.connect_sync("127.0.0.1:1") as gateway, pytest.raises(error) as caught:
        getattr(gateway, method)(**asked)
    assert said in str(caught.value)


@pytest.mark.parametrize("adjustments", [["split"], ["NONE"], [None]])
def test_an_adjustment_is_one_of_three(adjustments: Any) -> None:
    """A word that is no adjustment is refused with those that there are."""
    with (
        tickgate.connect_sync("127.0.0.1:1") as gateway,
        pytest.raises(ValueError, match="is no Adjustment: there are SPLIT, DIVIDEND, SPIN_OFF"),
    ):
        gateway.bars("SPY", "1Min", 0, adjustments=adjustments)


def test_a_tolerance_is_a_length() -> None:
    """A text is no length of time, whatever the command line makes of it."""
    tolerance: Any = "3d"
    with (
        tickgate.connect_sync("127.0.0.1:1") as gateway,
        pytest.raises(tickgate.InvalidRequest, match="tolerance: a duration is seconds or a time"),
    ):
        gateway.price_at("SPY", 0, tolerance=tolerance)


async def test_options_are_asked_for_by_their_names(talking_to: Connect) -> None:
    """An `Occ` stands wherever a contract's symbol does."""
    contract = tickgate.Occ.parse("SPY220715C00380000")
    gateway = Gateway([own.some_bars(contract.symbol, 0, 1), own.bars_end(contract.symbol, 1)])
    async with talking_to(gateway) as twin:
        (bar,) = await twin.rows(twin.ask("bars", contract, "1Day", 0))
    assert bar.symbol == "SPY220715C00380000"
