"""Whatever a follower does, he is told what he missed, the gateway holds little for him, and nobody else notices."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from tickgate.v1 import gap_pb2
from tickgate.v1 import stream_service_pb2 as pb

from ..support.ledger import ENOUGH, QUOTES, TRADES, Account, Follower, following
from ..support.proxy import fault_proxy
from ..support.running import Stack, running
from ..support.ticker import Ticker, begun, left, shown
from ..support.waiting import until, until_told

QUEUE = 100
SETTINGS: dict[str, Any] = {"stream": {"linger": 0.1, "queue": QUEUE}}
"""A queue that a few trades fill."""

BOTH = (QUOTES, TRADES)


async def stand(follower: Follower, *symbols: str) -> None:
    """Wait until quotes and trades of *symbols* are current."""
    await follower.standing(*symbols)
    await follower.standing(*symbols, channel=TRADES)


@pytest.mark.parametrize("reads", [True, False], ids=["never-acknowledges", "never-reads"])
async def test_who_does_not_read_is_told_what_he_missed(reads: bool) -> None:
    """For one who does not read a bounded number of records waits; when he does, he is told the exact range he lost."""
    async with running(**SETTINGS) as stack:
        before = await begun(stack)
        ticker = Ticker(stack.sandbox)
        async with (
            following(stack.channel, "AAPL", channels=BOTH) as quick,
            following(stack.channel, "AAPL", channels=BOTH, acks=False, reads=reads) as idle,
        ):
            await stand(quick, "AAPL")
            await until(lambda: stack.gateway.counters.streams.streams == 2, within=ENOUGH)
            await until(lambda: _followed(stack) == 4, within=ENOUGH)
            sent = stack.gateway.counters.streams.messages
            for _ in range(10):
                await ticker.quote("AAPL", count=100)
                await ticker.trade("AAPL", count=50)
                # Not delayed by the other: everything is here before the next is sent.
                await quick.given("AAPL", ticker.numbers["AAPL"])
                await quick.given("AAPL", ticker.trades["AAPL"], TRADES)
            # The first message is all that went to the one who says nothing; all others were the quick one's.
            assert stack.gateway.counters.streams.messages - sent <= quick.number + 1
            assert idle.number <= 1

            reading = asyncio.create_task(idle.read()) if not reads else None
            await idle.until(lambda one: one.number > 0, "a message")
            await idle.ack()
            await idle.given("AAPL", 1000)
            await idle.given("AAPL", 500, TRADES)
            await idle.balance(AAPL=1000)
            await quick.balance(AAPL=1000)
            trades = idle.of("AAPL", TRADES)
            (loss,) = trades.losses
            assert (loss.cause, loss.count) == (pb.LOSS_CAUSE_SLOW_FOLLOWER, 500 - QUEUE)
            assert (loss.first_sequence, loss.last_sequence) == (1, 500 - QUEUE)
            assert loss.HasField("start_time")
            assert loss.HasField("end_time")
            for one in (idle, quick):
                last = one.of("AAPL").last
                assert last is not None
                assert last.quote.bid.price.value == ticker.bid(1000)
            assert not quick.of("AAPL", TRADES).losses
            assert (await shown(stack)).streams.lost == 500 - QUEUE
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        await left(stack, before)


def _followed(stack: Stack) -> int:
    return stack.gateway.counters.streams.followed


async def test_a_backlog_of_one_channel_keeps_no_other_waiting() -> None:
    """However many trades wait for one who reads slowly, the newest quotes are in the first message that he gets."""
    order: list[str] = []

    def heed(_: Account, update: pb.Update, __: int) -> None:
        if update.kind == pb.UPDATE_KIND_LIVE:
            order.append(update.WhichOneof("value") or "")

    async with running(stream={"linger": 0.1, "queue": 100_000}) as stack:
        ticker = Ticker(stack.sandbox)
        async with (
            following(stack.channel, "AAPL", "MSFT", channels=BOTH) as quick,
            following(stack.channel, "AAPL", "MSFT", channels=BOTH, acks=False, heed=heed) as slow,
        ):
            await stand(quick, "AAPL", "MSFT")
            await slow.until(lambda one: one.number > 0, "a message")
            for number in range(1, 11):
                await ticker.trade("AAPL", "MSFT", count=500)
                await quick.given("MSFT", 500 * number, TRADES)
            await ticker.quote("AAPL", "MSFT")
            await quick.given("MSFT", 1)
            await slow.ack()
            await slow.given("MSFT", 5000, TRADES)
            await slow.balance(AAPL=1, MSFT=1)
    # A message holds a thousand updates, and one may have been under way when the quotes came.
    assert order.index("quote") <= 1000
    assert order.count("trade") == 10_000


async def test_who_never_comes_back_to_reading_costs_nothing_more() -> None:
    """However long one reads nothing, nothing more is kept for him, and his end leaves nothing behind."""
    async with running(**SETTINGS) as stack:
        before = await begun(stack)
        ticker = Ticker(stack.sandbox)
        async with (
            following(stack.channel, "AAPL", channels=BOTH) as quick,
            following(stack.channel, "AAPL", channels=BOTH, reads=False, heartbeat_interval=0.1),
        ):
            await stand(quick, "AAPL")
            await until(lambda: _followed(stack) == 4, within=ENOUGH)
            for number in range(1, 31):
                await ticker.quote("AAPL", count=100)
                await quick.given("AAPL", 100 * number)
            sent = stack.gateway.counters.streams.messages - quick.number
            assert sent <= 64 + 1
        await left(stack, before)


@pytest.mark.parametrize("way", ["reset", "blackhole"])
async def test_who_vanishes_disturbs_nobody(way: str) -> None:
    """A follower whose connection breaks, or swallows everything, delays nobody; once it is noticed nothing is left."""
    async with (
        running(**SETTINGS) as stack,
        fault_proxy(stack.gateway.port) as proxy,
    ):
        before = await begun(stack)
        ticker = Ticker(stack.sandbox)
        async with following(stack.channel, "AAPL", channels=BOTH) as stays:
            await stand(stays, "AAPL")
            async with (
                grpc.aio.insecure_channel(f"127.0.0.1:{proxy.port}") as channel,
                following(channel, "AAPL", "MSFT", channels=BOTH) as gone,
            ):
                await stand(gone, "AAPL", "MSFT")
                await ticker.quote("AAPL", "MSFT")
                await gone.given("MSFT", 1)
                if way == "reset":
                    proxy.refuse()
                    await gone.ended()
                    await until(lambda: stack.gateway.counters.streams.streams == 1, within=ENOUGH)
                else:
                    proxy.blackhole()
                for number in range(2, 32):
                    await ticker.quote("AAPL", count=100)
                    await ticker.trade("AAPL", count=10)
                    await stays.given("AAPL", 1 + 100 * (number - 1))
                    await stays.given("AAPL", 10 * (number - 1), TRADES)
                sent = stack.gateway.counters.streams.messages - stays.number
                assert sent <= gone.number + 64 + 1
            proxy.mend()
            proxy.reset()
            await until(lambda: stack.gateway.counters.streams.streams == 1, within=ENOUGH)
            upstream = stack.sandbox.counters.stream
            await until(lambda: ("quotes", "MSFT") not in upstream.subscribed("iex"), within=ENOUGH)
            assert ("quotes", "AAPL") in upstream.subscribed("iex")
            await stays.balance(AAPL=3001)
            assert stays.of("AAPL").gaps == []
        await left(stack, before)


CROWD = 500


@pytest.mark.timeout(180)  # five hundred streams are begun and ended on a machine that may be busy
async def test_a_crowd_arrives_at_once() -> None:
    """500 who come at once are one subscription upstream, get all what they follow, and are one unsubscription."""
    async with running(**SETTINGS) as stack:
        before = await begun(stack)
        upstream = stack.sandbox.counters.stream
        upstream.clear()
        ticker = Ticker(stack.sandbox)
        async with AsyncExitStack() as parts:
            channels = [
                await parts.enter_async_context(_connection(stack, number)) for number in range(10)
            ]
            crowd = await asyncio.gather(
                *(
                    parts.enter_async_context(following(channels[number % 10], "AAPL"))
                    for number in range(CROWD)
                )
            )
            await asyncio.gather(*(one.standing("AAPL", within=90) for one in crowd))
            for number in range(1, 4):
                await ticker.quote("AAPL")
                await asyncio.gather(*(one.given("AAPL", number) for one in crowd))
            for one in crowd:
                await one.balance(AAPL=3)
                assert one.of("AAPL").delivered == 3
            await until_told(
                lambda: shown(stack),
                lambda it: (it.streams.subscriptions, it.streams.followed) == (CROWD, CROWD),
            )
            assert (await shown(stack)).streams.streams == CROWD
            assert upstream.subscribes == {("quotes", "AAPL"): 1}
        await left(stack, before)
        assert upstream.unsubscribes == {("quotes", "AAPL"): 1}
        assert upstream.connections == 0


def _connection(stack: Stack, number: int) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(stack.target, options=(("tickgate.connection", number),))


async def test_one_at_each_pace() -> None:
    """Whoever keeps up gets each quote and whoever reads five messages a second the newest; refusals reach both."""
    async with running(**SETTINGS) as stack:
        ticker = Ticker(stack.sandbox)
        async with (
            following(stack.channel, "AAPL", "MSFT") as quick,
            following(stack.channel, "AAPL", "MSFT", every=0.2) as slow,
        ):
            await quick.standing("AAPL", "MSFT")
            await slow.standing("AAPL", "MSFT")
            for number in range(1, 101):
                await ticker.quote("AAPL", "MSFT")
                await ticker.crossed("MSFT")
                await quick.given("AAPL", number)
            await ticker.quote("AAPL", "MSFT")
            for one in (quick, slow):
                await one.given("MSFT", 201)
                await one.balance(AAPL=101, MSFT=201)
                assert one.of("MSFT").refused == {"crossed": 100}
        assert quick.of("AAPL").delivered == 101
        assert slow.of("AAPL").conflated > 0


async def test_a_stream_that_only_says_nonsense() -> None:
    """Bad requests are refused on the stream one by one, and disturb neither its subscription nor another stream."""
    async with running(**SETTINGS) as stack:
        before = await begun(stack)
        ticker = Ticker(stack.sandbox)
        async with (
            following(stack.channel, "AAPL") as calm,
            following(stack.channel, "AAPL") as wild,
        ):
            await calm.standing("AAPL")
            await wild.standing("AAPL")
            for number in range(1, 31):
                await wild.say(ack=pb.Ack(delivery_sequence=10**9))
                await wild.say(subscribe=pb.Subscription(symbols=["AAPL"]))
                await wild.say(subscribe=pb.Subscription(id="b", resume_token="garbage"))
                await wild.say(unsubscribe=pb.Unsubscribe(subscription_id="nobody"))
                await ticker.quote("AAPL")
                await calm.given("AAPL", number)
                await wild.until(lambda one: len(one.refusals) == 4 * number, "the refusals")  # noqa: B023 - awaited
            await wild.balance(AAPL=30)
            assert wild.of("AAPL").delivered == 30
            assert not calm.refusals
        await left(stack, before)


async def test_who_comes_back_in_time_has_missed_nothing() -> None:
    """To one who shows his token the trades of his absence are sent again, and quotes as they stand."""
    async with (
        running(**SETTINGS) as stack,
        fault_proxy(stack.gateway.port) as proxy,
        following(stack.channel, "AAPL", channels=BOTH) as stays,
    ):
        ticker = Ticker(stack.sandbox)
        await stand(stays, "AAPL")
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{proxy.port}") as channel,
            following(channel, "AAPL", channels=BOTH) as first,
        ):
            await stand(first, "AAPL")
            await ticker.trade("AAPL", count=3)
            await first.given("AAPL", 3, TRADES)
            await first.balance()
            proxy.refuse()
            await first.ended()
        await ticker.trade("AAPL", count=5)
        await ticker.quote("AAPL", count=5)
        await stays.given("AAPL", 5)
        await stays.given("AAPL", 8, TRADES)
        async with following(
            stack.channel, "AAPL", channels=BOTH, resume_token=first.token
        ) as again:
            await stand(again, "AAPL")
            trades = again.of("AAPL", TRADES)
            await again.until(lambda _: len(trades.replayed) >= 5, "what he missed")
            await ticker.trade("AAPL")
            await ticker.quote("AAPL")
            await again.given("AAPL", 9, TRADES)
            await again.given("AAPL", 6)
            await again.balance()
            assert [update.sequence for update in trades.replayed] == [4, 5, 6, 7, 8]
            assert [update.sequence for update in trades.of_kind(pb.UPDATE_KIND_LIVE)] == [9]
            for account in again.accounts.values():
                assert not account.gaps
                assert not account.losses
            (snapshot,) = again.of("AAPL").of_kind(pb.UPDATE_KIND_SNAPSHOT)
            assert (snapshot.sequence, snapshot.quote.bid.price.value) == (5, ticker.bid(5))


async def test_who_comes_back_too_late_is_told_so() -> None:
    """When more was sent than is kept, one who shows his token gets what is kept, and a gap, RESUME, for the rest."""
    kept: dict[str, Any] = {"stream": {"linger": 0.1, "keep_records": 10}}
    async with (
        running(**kept) as stack,
        following(stack.channel, "AAPL", channels=BOTH) as stays,
    ):
        ticker = Ticker(stack.sandbox)
        await stand(stays, "AAPL")
        async with following(stack.channel, "AAPL", channels=BOTH) as first:
            await stand(first, "AAPL")
            await ticker.trade("AAPL", count=3)
            await first.given("AAPL", 3, TRADES)
        await ticker.trade("AAPL", count=100)
        await stays.given("AAPL", 103, TRADES)
        async with following(
            stack.channel, "AAPL", channels=BOTH, resume_token=first.token
        ) as again:
            trades = again.of("AAPL", TRADES)
            await again.until(lambda _: len(trades.replayed) >= 10, "what is kept")
            (gap,) = trades.gaps
            assert gap.cause == gap_pb2.GAP_CAUSE_RESUME
            assert [update.sequence for update in trades.replayed] == list(range(94, 104))
            assert not again.of("AAPL").gaps


@pytest.mark.slow
@pytest.mark.timeout(
    180
)  # the gateway pings every half a minute, and waits ten seconds for the answer
async def test_who_vanishes_without_a_word_is_noticed() -> None:
    """A connection over which nothing comes any more, not even an end, is given up, and nothing is left of it."""
    async with (
        running(**SETTINGS) as stack,
        fault_proxy(stack.gateway.port) as proxy,
    ):
        before = await begun(stack)
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{proxy.port}") as channel,
            following(channel, "AAPL", channels=BOTH) as gone,
        ):
            await stand(gone, "AAPL")
            proxy.blackhole()
            await until(lambda: stack.gateway.counters.streams.streams == 0, within=120)
            await left(stack, before)
