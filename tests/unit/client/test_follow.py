"""Following over real streams, by both clients: what is read, what is sent, and how it ends.

A gateway is a script here, one for each stream. The synchronous client follows it from a thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from decimal import Decimal
from itertools import islice
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo

import tickgate
from tests.support.waiting import until
from tickgate import _convert as convert
from tickgate.v1 import channel_pb2, error_reason_pb2, provenance_pb2
from tickgate.v1 import stream_service_pb2 as pb

from . import messages, option_messages
from .serving import status as failure
from .streams import Peer, message, quote, status, statuses, streaming, trade, update, updates
from .test_follower import UNKNOWN, refusal

Script = Callable[[Peer], Awaitable[None]]
CLOSING = pb.StreamClosing(
    reason=error_reason_pb2.ERROR_REASON_SHUTTING_DOWN,
    message="stopping",
    retry_delay=Duration(nanos=1_000_000),
)


async def asynchronously(target: str, use: Callable[..., Any], follow: str, *symbols: Any) -> Any:
    """Follow with the asynchronous client and read what *use* says."""
    async with tickgate.connect(target) as client, getattr(client, follow)(*symbols) as followed:
        count, view = use(followed)
        seen = []
        async for each in view:
            seen.append(each)
            if len(seen) == count:
                break
        return seen, followed


async def synchronously(target: str, use: Callable[..., Any], follow: str, *symbols: Any) -> Any:
    """Follow with the synchronous client and read what *use* says."""

    def read() -> Any:
        with (
            tickgate.connect_sync(target) as client,
            getattr(client, follow)(*symbols) as followed,
        ):
            count, view = use(followed)
            return list(islice(view, count)), followed

    return await asyncio.to_thread(read)


both = pytest.mark.parametrize("follow", [asynchronously, synchronously])


def records(count: int) -> Callable[[Any], Any]:
    """Read so many records."""
    return lambda followed: (count, followed)


def everything(count: int) -> Callable[[Any], Any]:
    """Read so many things, events among them."""
    return lambda followed: (count, followed.with_events())


@both
async def test_quotes_are_read(follow: Any) -> None:
    """What the gateway streams is what the loop reads, and what was read is acknowledged."""
    asked = []

    async def gateway(peer: Peer) -> None:
        asked.append(await peer.begin())
        await peer.send(updates, quote("AAPL", 1))
        await peer.acked(2)
        await peer.send(updates, quote("MSFT", 2))
        await peer.gone()

    async with streaming(gateway) as target:
        quotes, followed = await follow(target, records(2), "follow", "AAPL", "MSFT")
    assert [(each.symbol, each.bid.price) for each in quotes] == [("AAPL", 1), ("MSFT", 2)]
    assert asked == [
        pb.Subscription(symbols=["AAPL", "MSFT"], channels=[channel_pb2.CHANNEL_QUOTES])
    ]
    assert followed.counts["AAPL"].delivered == 1
    assert not followed.connected


RECORDS = [
    ("follow", "QUOTES", {"quote": messages.QUOTE}, messages.QUOTE_READ),
    ("follow_trades", "TRADES", {"trade": messages.TRADE}, messages.TRADE_READ),
    (
        "follow_trades",
        "TRADES",
        {"trade_correction": messages.CORRECTION},
        messages.CORRECTION_READ,
    ),
    (
        "follow_trades",
        "TRADES",
        {"trade_cancellation": messages.CANCELLATION},
        messages.CANCELLATION_READ,
    ),
    ("follow_bars", "BARS", {"bar": messages.BAR}, messages.BAR_READ),
    ("follow_bars", "BARS", {"revised_bar": messages.BAR}, messages.REVISED_BAR_READ),
    ("follow_daily_bars", "DAILY_BARS", {"daily_bar": messages.BAR}, messages.BAR_READ),
    (
        "follow_trading_statuses",
        "TRADING_STATUSES",
        {"trading_status": messages.HALT},
        messages.HALT_READ,
    ),
    ("follow_price_bands", "PRICE_BANDS", {"price_bands": messages.BANDS}, messages.BANDS_READ),
]


@both
@pytest.mark.parametrize(("way", "channel", "sent", "value"), RECORDS)
async def test_every_record_can_be_followed(
    follow: Any, way: str, channel: str, sent: dict[str, Any], value: Any
) -> None:
    """Each kind of record is asked for by its channel and comes as a value of its own class."""

    async def gateway(peer: Peer) -> None:
        subscription = await peer.begin(channel=channel)
        assert [convert.CHANNEL.member(each) for each in subscription.channels] == [channel]
        await peer.send(updates, update(1, **sent))
        await peer.gone()

    async with streaming(gateway) as target:
        (record,), _ = await follow(target, records(1), way, "AAPL")
    assert record == value


@both
async def test_every_argument_is_sent(follow: Any) -> None:
    """What is asked for stands in the subscription as it was given, and the id in the metadata."""
    asked: list[Any] = []

    async def gateway(peer: Peer) -> None:
        asked.append(dict(peer.context.invocation_metadata() or ())["x-request-id"])
        asked.append(await peer.begin())
        await peer.gone()

    def options(client: Any) -> Any:
        return client.follow(
            "AAPL",
            feed=tickgate.Feed.SIP,
            min_update_interval=0.5,
            stale_after=30,
            max_unread_age=0.1,
            heartbeat_interval=5,
            request_id="mine",
        )

    async with streaming(gateway) as target:
        if follow is asynchronously:
            async with tickgate.connect(target) as client, options(client):
                pass
        else:

            def enter() -> None:
                with tickgate.connect_sync(target) as client, options(client):
                    pass

            await asyncio.to_thread(enter)
    assert asked == [
        "mine",
        pb.Subscription(
            symbols=["AAPL"],
            channels=[channel_pb2.CHANNEL_QUOTES],
            feed=provenance_pb2.FEED_SIP,
            min_update_interval=messages.lasting(messages.SECOND // 2),
            stale_after=messages.lasting(30 * messages.SECOND),
            max_unread_age=messages.lasting(messages.SECOND // 10),
            heartbeat_interval=messages.lasting(5 * messages.SECOND),
        ),
    ]


@both
@pytest.mark.parametrize(
    ("way", "channel", "sent", "value"),
    [
        ("follow", "QUOTES", {"quote": option_messages.QUOTE}, option_messages.QUOTE_READ),
        ("follow_trades", "TRADES", {"trade": option_messages.TRADE}, option_messages.TRADE_READ),
    ],
)
async def test_options_are_followed_like_stocks(
    follow: Any, way: str, channel: str, sent: dict[str, Any], value: Any
) -> None:
    """Quotes and trades of contracts come the same way; a contract may be named by its `Occ`."""

    async def gateway(peer: Peer) -> None:
        subscription = await peer.begin(channel=channel)
        assert subscription.symbols == [option_messages.SYMBOL]
        await peer.send(updates, update(1, **sent))
        await peer.gone()

    async with streaming(gateway) as target:
        (record,), followed = await follow(target, records(1), way, option_messages.OCC)
    assert record == value
    assert followed.latest(option_messages.OCC) == value


@both
async def test_a_contract_comes_and_goes_by_its_name(follow: Any) -> None:
    """Adding and removing take an `Occ` as well, and one is not followed twice under both its names."""
    with pytest.raises(tickgate.InvalidRequest, match="no symbol is followed twice"):
        tickgate.SyncClient(grpc.insecure_channel("127.0.0.1:1")).follow(
            option_messages.SYMBOL, option_messages.OCC
        )

    async def gateway(peer: Peer) -> None:
        await peer.begin()
        added = await peer.heard("add")
        await peer.send(statuses, *map(status, added.symbols))
        removed = await peer.heard("unsubscribe")
        assert added.symbols == removed.symbols == [option_messages.SYMBOL]
        await peer.send(statuses, status(option_messages.SYMBOL, "REMOVED"))
        await peer.gone()

    other = "SPY220715P00380000"
    async with streaming(gateway) as target:
        if follow is asynchronously:
            async with (
                tickgate.connect(target) as client,
                client.follow(other, feed=tickgate.Feed.OPRA) as followed,
            ):
                await followed.add(option_messages.OCC)
                await followed.remove(option_messages.OCC)
                assert set(followed.states) == {other}
        else:

            def change() -> set[str]:
                with (
                    tickgate.connect_sync(target) as client,
                    client.follow(other, feed=tickgate.Feed.OPRA) as followed,
                ):
                    followed.add(option_messages.OCC)
                    followed.remove(option_messages.OCC)
                    return set(followed.states)

            assert await asyncio.to_thread(change) == {other}


@both
async def test_events_stand_among_the_records(follow: Any) -> None:
    """A state, what was refused and lost, and a gap come in their order, and the counts add up."""
    loss = pb.Loss(
        cause=pb.LOSS_CAUSE_SLOW_FOLLOWER,
        first_sequence=2,
        last_sequence=3,
        count=2,
        start_time=messages.at(messages.NOON),
        end_time=messages.at(messages.NOON + 1),
    )

    async def gateway(peer: Peer) -> None:
        await peer.begin(channel="TRADES")
        await peer.send(updates, trade("AAPL", 1))
        lost = status("AAPL", "GAP", 3, "TRADES", losses=[loss], gaps=[messages.OPEN_GAP])
        await peer.send(statuses, lost)
        await peer.send(updates, trade("AAPL", 4))
        await peer.gone()

    async with streaming(gateway) as target:
        seen, followed = await follow(target, everything(4), "follow_trades", "AAPL")
    live, first, gap, second = seen
    assert live.state is tickgate.SymbolState.LIVE
    assert (first.sequence, second.sequence) == (1, 4)
    assert gap.gaps == (messages.OPEN_GAP_READ,)
    assert gap.losses == (
        tickgate.Loss(
            cause=tickgate.LossCause.SLOW_FOLLOWER,
            first_sequence=2,
            last_sequence=3,
            count=2,
            start_time_ns=messages.NOON,
            end_time_ns=messages.NOON + 1,
        ),
    )
    assert followed.counts == {
        "AAPL": tickgate.Counts(numbered=4, delivered=2, conflated=0, refused=0, lost=2)
    }


async def cut(peer: Peer) -> None:
    """Accept, send a trade, and end the call without a word when it was read."""
    await peer.begin(channel="TRADES")
    await peer.send(updates, trade("AAPL", 1))
    await peer.acked(2)
    await peer.context.abort(grpc.StatusCode.UNAVAILABLE, "cut")


async def closed(peer: Peer) -> None:
    """Accept, send a trade, and say goodbye when it was read."""
    await peer.begin(channel="TRADES")
    await peer.send(updates, trade("AAPL", 1))
    await peer.acked(2)
    await peer.send(message, closing=CLOSING, epoch="")


@both
@pytest.mark.parametrize(("ending", "said"), [(cut, "cut"), (closed, "stopping")])
async def test_a_lost_stream_is_made_again(follow: Any, ending: Script, said: str) -> None:
    """However a stream ends, the next one resumes it, and both are events."""
    tokens = []

    async def again(peer: Peer) -> None:
        tokens.append((await peer.begin(channel="TRADES")).resume_token)
        await peer.send(updates, trade("AAPL", 2, kind="REPLAY"), trade("AAPL", 3))
        await peer.gone()

    async with streaming(ending, again) as target:
        seen, _ = await follow(target, everything(7), "follow_trades", "AAPL")
    _, first, lost, found, _, second, third = seen
    assert [each.sequence for each in (first, second, third)] == [1, 2, 3]
    assert second.kind is tickgate.UpdateKind.REPLAY
    assert isinstance(lost.error, tickgate.GatewayUnreachable)
    assert lost.error.message == said
    assert found == tickgate.Reconnected(attempts=1, outage_ns=found.outage_ns, resumed=True)
    assert tokens == ["t2"]


@both
async def test_a_silent_stream_is_made_again(follow: Any) -> None:
    """A connection that is open and mute counts as lost after three heartbeats."""

    async def mute(peer: Peer) -> None:
        await peer.begin()
        await peer.gone()

    async def again(peer: Peer) -> None:
        await peer.begin()
        await peer.send(updates, quote("AAPL", 1))
        await peer.gone()

    async with streaming(mute, again) as target:
        if follow is asynchronously:
            async with (
                tickgate.connect(target) as client,
                client.follow("AAPL", heartbeat_interval=0.1) as quotes,
            ):
                assert (await anext(quotes)).symbol == "AAPL"
        else:

            def read() -> None:
                with (
                    tickgate.connect_sync(target) as client,
                    client.follow("AAPL", heartbeat_interval=0.1) as quotes,
                ):
                    assert next(quotes).symbol == "AAPL"

            await asyncio.to_thread(read)


def ends_with(code: grpc.StatusCode, reason: str) -> Script:
    """A gateway that fails a call."""

    async def script(peer: Peer) -> None:
        info = ErrorInfo(domain="tickgate", reason=reason)
        rich = failure(code, "no", info)
        await peer.context.abort(rich.code, rich.details, tuple(rich.trailing_metadata))

    return script


async def refuses(peer: Peer) -> None:
    """A gateway that refuses the subscription."""
    await peer.heard("subscribe")
    await peer.send(message, refused=refusal("too many"), epoch="")
    await peer.gone()


async def rejects(peer: Peer) -> None:
    """A gateway that knows no such symbol."""
    await peer.heard("subscribe")
    await peer.send(statuses, status("AAPL", "REJECTED", unavailable=UNKNOWN))
    await peer.gone()


@both
@pytest.mark.parametrize(
    ("script", "error"),
    [
        (refuses, tickgate.InvalidRequest),
        (rejects, tickgate.UnknownSymbol),
        (
            ends_with(grpc.StatusCode.RESOURCE_EXHAUSTED, "SUBSCRIPTION_LIMIT"),
            tickgate.SubscriptionLimit,
        ),
        (ends_with(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"), tickgate.NotPermitted),
        (ends_with(grpc.StatusCode.UNIMPLEMENTED, "?"), tickgate.GatewayError),
    ],
)
async def test_what_cannot_be_followed_is_raised(
    follow: Any, script: Script, error: type[Exception]
) -> None:
    """Where nothing can be followed, entering or reading raises why, at once."""
    async with streaming(script) as target:
        with pytest.raises(error):
            await follow(target, records(1), "follow", "AAPL")


@both
async def test_nobody_there_is_said_at_once(follow: Any) -> None:
    """Entering does not wait for a gateway that is not there."""
    with pytest.raises(tickgate.GatewayUnreachable, match=r"127\.0\.0\.1:1"):
        await follow("127.0.0.1:1", records(1), "follow", "AAPL")


@both
async def test_another_replica_is_tried(follow: Any) -> None:
    """A replica without the feed is left for the next one, over a connection of its own."""
    peers = []

    async def elsewhere(peer: Peer) -> None:
        peers.append(peer.context.peer())
        await ends_with(grpc.StatusCode.UNAVAILABLE, "NOT_FEED_HOLDER")(peer)

    async def here(peer: Peer) -> None:
        peers.append(peer.context.peer())
        await peer.begin()
        await peer.send(updates, quote("AAPL", 1))
        await peer.gone()

    async with streaming(elsewhere, elsewhere, here) as target:
        quotes, _ = await follow(target, records(1), "follow", "AAPL")
    assert quotes[0].symbol == "AAPL"
    assert len(set(peers)) == 3


async def test_a_reason_that_was_lost_is_asked_for_again() -> None:
    """Where the end of a stream crosses what is sent, asyncio's gRPC loses the status; the next attempt is told it."""

    async def crossed(peer: Peer) -> None:
        await peer.context.abort(grpc.StatusCode.INTERNAL, "Internal error from Core")

    refused = ends_with(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    async with streaming(crossed, crossed, refused) as target:
        with pytest.raises(tickgate.NotPermitted):
            await asynchronously(target, records(1), "follow", "AAPL")


async def changes(peer: Peer) -> None:
    """A gateway that adds one symbol, refuses the next, and removes."""
    await peer.begin()
    assert (await peer.heard("add")).symbols == ["TSLA"]
    await peer.send(statuses, status("TSLA", "PENDING"))
    await peer.heard("add")
    await peer.send(message, refused=refusal("too many"), epoch="")
    assert (await peer.heard("unsubscribe")).symbols == ["AAPL"]
    await peer.send(statuses, status("AAPL", "REMOVED"))
    await peer.send(updates, quote("AAPL", 1), quote("TSLA", 7))
    await peer.gone()


async def test_symbols_come_and_go() -> None:
    """`add` and `remove` return with the gateway's answer; a refusal raises and changes nothing."""
    async with (
        streaming(changes) as target,
        tickgate.connect(target) as client,
        client.follow("AAPL") as quotes,
    ):
        await quotes.add("TSLA")
        assert quotes.states["TSLA"].state is tickgate.SymbolState.PENDING
        with pytest.raises(tickgate.InvalidRequest, match="too many"):
            await quotes.add("MSFT")
        await quotes.remove("AAPL")
        assert quotes.states.keys() == {"TSLA"}
        assert (await anext(quotes)).symbol == "TSLA"
        assert quotes.latest("AAPL") is None
        assert quotes.latest("TSLA") is not None


async def test_symbols_come_and_go_without_asyncio() -> None:
    """The synchronous twin changes what it follows likewise."""

    def use(target: str) -> None:
        with tickgate.connect_sync(target) as client, client.follow("AAPL") as quotes:
            quotes.add("TSLA")
            assert quotes.states["TSLA"].state is tickgate.SymbolState.PENDING
            with pytest.raises(tickgate.InvalidRequest, match="too many"):
                quotes.add("MSFT")
            quotes.remove("AAPL")
            assert next(quotes).symbol == "TSLA"
            assert quotes.latest("TSLA") is not None

    async with streaming(changes) as target:
        await asyncio.to_thread(use, target)


async def test_a_change_without_an_answer_is_late() -> None:
    """An answer that does not come within the timeout raises; the subscription goes on."""
    answered = asyncio.Event()

    async def gateway(peer: Peer) -> None:
        await peer.begin()
        await answered.wait()
        await peer.send(updates, quote("AAPL", 1))
        await peer.gone()

    async with (
        streaming(gateway) as target,
        tickgate.connect(target) as client,
        client.follow("AAPL", timeout=0.2) as quotes,
    ):
        with pytest.raises(tickgate.DeadlineExceeded):
            await quotes.add("TSLA")
        answered.set()
        assert (await anext(quotes)).symbol == "AAPL"


async def test_an_answer_on_entering_may_be_late_too() -> None:
    """A gateway that takes the call and says nothing is given up after the timeout."""

    async def mute(peer: Peer) -> None:
        await peer.gone()

    async with streaming(mute, mute) as target:
        async with tickgate.connect(target) as client:
            with pytest.raises(tickgate.DeadlineExceeded):
                async with client.follow("AAPL", timeout=0.2):
                    pass

        def enter() -> None:
            with (
                tickgate.connect_sync(target) as client,
                pytest.raises(tickgate.DeadlineExceeded),
                client.follow("AAPL", timeout=0.2),
            ):
                pass

        await asyncio.to_thread(enter)


async def test_the_last_message_is_acknowledged_by_a_timer() -> None:
    """A reader who has caught up and waits has acknowledged everything, though he reads nothing more."""
    done = asyncio.Event()

    async def gateway(peer: Peer) -> None:
        await peer.begin()
        for number in range(1, 6):
            await peer.send(updates, quote("AAPL", number))
        await peer.acked(6)
        done.set()
        await peer.gone()

    async with (
        streaming(gateway) as target,
        tickgate.connect(target) as client,
        client.follow("AAPL") as quotes,
    ):
        reading = asyncio.create_task(_read_on(quotes))
        await done.wait()
        reading.cancel()


async def _read_on(quotes: tickgate.Subscription[tickgate.Quote]) -> None:
    async for _ in quotes:
        pass


def _bid(quote: tickgate.Quote | None) -> Decimal | None:
    return quote.bid.price if quote and quote.bid else None


async def test_the_newest_wins_over_a_reader_that_holds_the_loop() -> None:
    """Even one that never waits reads what has come in the meantime, not what had come before it."""
    sent = asyncio.Event()

    async def gateway(peer: Peer) -> None:
        await peer.begin()
        await peer.send(updates, quote("AAPL", 1), quote("MSFT", 1))
        await peer.acked(2)
        for number in range(2, 11):
            await peer.send(updates, quote("MSFT", number))
        sent.set()
        await peer.gone()

    async with (
        streaming(gateway) as target,
        tickgate.connect(target) as client,
        client.follow("AAPL", "MSFT") as quotes,
    ):
        assert (await anext(quotes)).symbol == "AAPL"
        await sent.wait()
        await until(lambda: _bid(quotes.latest("MSFT")) == 10)
        assert _bid(await anext(quotes)) == 10
        assert quotes.counts["MSFT"] == tickgate.Counts(
            numbered=10, delivered=1, conflated=9, refused=0, lost=0
        )


async def test_leaving_ends_the_call() -> None:
    """The gateway sees the follower go at once, whether he had read everything or not."""
    gone = asyncio.Event()

    async def gateway(peer: Peer) -> None:
        try:
            await peer.begin()
            await peer.send(updates, quote("AAPL", 1))
            await peer.gone()
        finally:
            gone.set()

    async with streaming(gateway) as target, tickgate.connect(target) as client:
        async with client.follow("AAPL") as quotes:
            pass
        await gone.wait()
        with pytest.raises(StopAsyncIteration):
            await anext(quotes)


async def test_a_cancelled_reader_leaves_nothing_behind() -> None:
    """Cancelling a task that waits for a record loses none: the next one reads it."""
    go = asyncio.Event()

    async def gateway(peer: Peer) -> None:
        await peer.begin()
        await go.wait()
        await peer.send(updates, quote("AAPL", 1))
        await peer.gone()

    async with (
        streaming(gateway) as target,
        tickgate.connect(target) as client,
        client.follow("AAPL") as quotes,
    ):
        reading = asyncio.ensure_future(anext(quotes))
        await until(lambda: bool(quotes._waiters))
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert not quotes._waiters
        go.set()
        assert (await anext(quotes)).symbol == "AAPL"


async def quiet(peer: Peer) -> None:
    """A gateway on which nothing moves."""
    await peer.begin()
    await peer.gone()


async def test_two_tasks_do_not_share_a_subscription() -> None:
    """The second reader is told so, and the first goes on; closing ends him."""
    async with streaming(quiet) as target, tickgate.connect(target) as client:
        async with client.follow("AAPL") as quotes:
            reading = asyncio.create_task(_read_on(quotes))
            await until(lambda: bool(quotes._waiters))
            with pytest.raises(RuntimeError, match="another task"):
                await anext(quotes)
        await reading


async def test_two_threads_do_not_share_a_subscription() -> None:
    """The second reader is told so, and the first goes on; closing ends him and every thread."""
    before = set(threading.enumerate())

    def use(target: str) -> None:
        with tickgate.connect_sync(target) as client, client.follow("AAPL") as quotes:
            reading = threading.Thread(target=list, args=(quotes,))
            reading.start()
            while not quotes._reading:
                pass
            with pytest.raises(RuntimeError, match="another thread"):
                next(quotes)
        reading.join()

    async with streaming(quiet) as target:
        await asyncio.to_thread(use, target)
        ours = [each for each in set(threading.enumerate()) - before if "follow" in each.name]
        assert not ours


@pytest.mark.parametrize("client", [tickgate.Client, tickgate.SyncClient])
async def test_a_subscription_is_entered_once_and_before_it_is_used(client: Any) -> None:
    """What is not open cannot be read or changed, and what was closed is not opened again."""
    if client is tickgate.Client:
        async with streaming(quiet) as target, tickgate.connect(target) as gateway:
            quotes = gateway.follow("AAPL")
            for use in (quotes.__anext__, quotes.add):
                with pytest.raises(RuntimeError, match="entered before"):
                    await use()
            async with quotes:
                with pytest.raises(RuntimeError, match="entered once"):
                    await quotes.__aenter__()
            with pytest.raises(RuntimeError, match="closed"):
                await quotes.add("TSLA")
        return

    def without_asyncio(target: str) -> None:
        with tickgate.connect_sync(target) as gateway:
            quotes = gateway.follow("AAPL")
            for use in (quotes.__next__, quotes.add):
                with pytest.raises(RuntimeError, match="entered before"):
                    use()
            with quotes, pytest.raises(RuntimeError, match="entered once"):
                quotes.__enter__()
            with pytest.raises(RuntimeError, match="closed"):
                quotes.add("TSLA")

    async with streaming(quiet) as target:
        await asyncio.to_thread(without_asyncio, target)


async def test_closing_a_client_closes_what_it_follows() -> None:
    """Whoever reads reaches the end when the client is closed."""

    def without_asyncio(target: str) -> None:
        client = tickgate.connect_sync(target)
        quotes = client.follow("AAPL").__enter__()
        client.close()
        assert list(quotes) == []

    async with streaming(quiet, quiet) as target:
        client = tickgate.connect(target)
        quotes = await client.follow("AAPL").__aenter__()
        await client.close()
        assert [each async for each in quotes] == []
        await asyncio.to_thread(without_asyncio, target)


async def test_a_channel_of_ones_own_is_used_for_streams_too() -> None:
    """A client that cannot make channels follows over the one that it was given."""

    def without_asyncio(target: str) -> str:
        with (
            tickgate.SyncClient(grpc.insecure_channel(target)) as client,
            client.follow("AAPL") as quotes,
        ):
            return next(quotes).symbol

    async def gateway(peer: Peer) -> None:
        await peer.begin()
        await peer.send(updates, quote("AAPL", 1))
        await peer.gone()

    async with streaming(gateway, gateway) as target:
        async with (
            tickgate.Client(grpc.aio.insecure_channel(target)) as client,
            client.follow("AAPL") as quotes,
        ):
            assert (await anext(quotes)).symbol == "AAPL"
        assert await asyncio.to_thread(without_asyncio, target) == "AAPL"
