"""The streams of a process: who is let in, what a follower may ask for, and how everybody is shown out."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from itertools import islice, product
from string import ascii_uppercase
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from tickgate_server.errors import InvalidRequest, NotFeedHolder, ShuttingDown, TooManyStreams
from tickgate_server.fanout import tokens
from tickgate_server.fanout.box import Status
from tickgate_server.fanout.mailbox import Closing, Delivery, Statuses, Updates
from tickgate_server.fanout.recall import Recall, RecallSources
from tickgate_server.fanout.streams import Follower, LiveHub, Order, StreamPolicy, Streams
from tickgate_server.identity.consumer import Consumer
from tickgate_server.identity.current import CALLER
from tickgate_server.market.live import Channel, FeedState, RecordKind, SymbolState
from tickgate_server.market.provenance import OPTION_FEEDS, Feed
from tickgate_server.market.quote import Quote
from tickgate_server.market.session import MarketSession
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason, Unavailable
from tickgate_server.observe.counters import StreamCounts

from ...support.fakes import FakeLatest, unavailable
from ...support.fanning import Desk, LoopClock, PlainEncode, in_steered_time, terms

QUOTES, TRADES = Channel.QUOTES, Channel.TRADES
GOODBYE = Closing(Reason.SHUTTING_DOWN, "the gateway stops", 1.0)
GRACE = 10.0
CONTRACT = "AAPL261218C00200000"
SOON = 0.1
POLICY = StreamPolicy(
    enabled=True,
    streams=3,
    symbols=5,
    subscriptions=2,
    all_symbols=False,
    default_feed=Feed.IEX,
)


class House:
    """All streams of a process, and a desk for each feed that somebody follows."""

    def __init__(self, **policy: Any) -> None:
        self.desks: dict[Feed, Desk] = {}
        self.clock = LoopClock()
        self.counts = StreamCounts()
        self.missing: set[str] = set()
        """Symbols that do not exist."""

        self.known = asyncio.Event()
        """Whether a symbol exists is answered once it is set, as it is from the start."""

        self.known.set()
        self.looked_up: list[tuple[Feed, list[str]]] = []
        """Symbols that were looked up, and on which feed."""

        self.hurried: list[Feed] = []
        """Feeds that were asked for anew."""

        self.holding: list[bool] = []
        first = Desk()
        self.desks[Feed.IEX] = first
        self.streams = Streams(
            replace(POLICY, **policy), self._hub_of, first.beat, self.clock, PlainEncode(),
            self._unknown, self.counts,
        )  # fmt: skip
        self.streams.on_holding = self.holding.append

    def _hub_of(self, feed: Feed) -> LiveHub:
        desk = self.desks.get(feed)
        if desk is None:
            desk = self.desks[feed] = Desk(feed=feed)
        quotes, trades = FakeLatest[Quote](self.clock), FakeLatest[Trade](self.clock)
        sources = RecallSources({QUOTES: quotes, TRADES: trades}, quotes)
        recall = Recall(desk.hub, sources, self.clock, 5.0)
        return LiveHub(desk.hub, recall, lambda: self.hurried.append(feed))

    async def _unknown(self, feed: Feed, symbols: Collection[str]) -> Mapping[str, Unavailable]:
        self.looked_up.append((feed, list(symbols)))
        await self.known.wait()
        why = unavailable(Reason.SYMBOL_UNKNOWN)
        return {symbol: why for symbol in symbols if symbol in self.missing}

    @property
    def desk(self) -> Desk:
        """The default feed's."""
        return self.desks[Feed.IEX]

    def open(self, *, acks: bool = True) -> Reader:
        """Let a follower in."""
        return Reader(self.streams.open(acks=acks))


class Reader:
    """A follower who acknowledges what he reads."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.token = ""

    async def subscribe(
        self, *symbols: str, feed: Feed = Feed.IEX, token: str = "", **asked: Any
    ) -> None:
        """Begin a subscription."""
        channels = asked.pop("channels", (QUOTES,))
        order = Order(
            terms(*channels, **asked), feed, symbols, tokens.decode(token) if token else None
        )
        await self.follower.subscribe(order)

    async def hear(self, within: float = SOON) -> Delivery | None:
        """Read the next message, if it comes in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                delivery = await self.follower.next()
                if delivery is not None:
                    self.follower.mailbox.ack(delivery.number)
                    if delivery.box is not None:
                        self.token = delivery.box.token(LoopClock().wall())
                return delivery
        return None

    async def statuses(self) -> list[Status]:
        """Read one message after another until nothing comes, and return the statuses."""
        heard: list[Status] = []
        while (delivery := await self.hear()) is not None:
            if isinstance(delivery.event, Statuses):
                heard += delivery.event.statuses
        return heard

    async def told(self) -> list[str]:
        """Read all there is, and return the statuses in words."""
        return [
            f"{one.symbol} {one.state.name}" + (f" {one.why.reason.name}" if one.why else "")
            for one in await self.statuses()
        ]

    async def updates(self) -> list[str]:
        """Read all there is, and return the updates in words."""
        heard: list[str] = []
        while (delivery := await self.hear()) is not None:
            if isinstance(delivery.event, Updates):
                heard += [piece.decode() for piece in delivery.event.pieces]
        return heard


def rule(refused: pytest.ExceptionInfo[InvalidRequest]) -> tuple[str, str]:
    """The field of a refused request and the rule that it broke."""
    ((field, text),) = refused.value.violations
    return field, text


# ------------------------------------------------------------------------------------ who is let in


@in_steered_time
async def test_so_many_streams_are_let_in() -> None:
    """Beyond the limit a stream is refused with its setting, until another has gone; both are counted."""
    house = House()
    readers = [house.open() for _ in range(3)]
    assert (house.counts.streams, house.counts.limit) == (3, 3)
    with pytest.raises(TooManyStreams, match=r"stream\.streams"):
        house.open()
    readers[0].follower.leave()
    house.open()
    assert house.counts.streams == 3


@in_steered_time
async def test_who_leaves_twice_leaves_once() -> None:
    """A stream that is let go of again changes nothing."""
    house = House()
    first, _ = house.open(), house.open()
    for _ in range(2):
        first.follower.leave()
    assert house.counts.streams == 1


@in_steered_time
async def test_streams_may_be_switched_off() -> None:
    """Where streams are switched off the caller is sent to another replica, and told the setting."""
    with pytest.raises(NotFeedHolder, match=r"stream\.enabled"):
        House(enabled=False).open()


@in_steered_time
async def test_nobody_is_let_in_while_the_gateway_stops() -> None:
    """Once streams are closed a new one is refused with SHUTTING_DOWN."""
    house = House()
    house.streams.close(GOODBYE)
    with pytest.raises(ShuttingDown):
        house.open()


# ------------------------------------------------------------------------------------- the holder


@in_steered_time
async def test_who_waits_for_a_slot_sends_followers_elsewhere() -> None:
    """While another process holds the feed its followers are told NOT_FEED_HOLDER, and new ones are refused."""
    house = House()
    reader = house.open()
    await reader.subscribe("AAPL")
    house.desk.hub.changed(FeedState.WAITING_FOR_SLOT, "406")
    assert await reader.told() == ["AAPL PENDING"]
    heard = await reader.hear()
    assert heard is None
    assert house.holding == [False]
    with pytest.raises(NotFeedHolder, match="another replica"):
        house.open()
    house.desk.hub.changed(FeedState.LIVE, "")
    assert house.holding == [False, True]
    house.open()


@in_steered_time
async def test_who_comes_to_a_feed_that_is_elsewhere_lets_it_be_asked_for() -> None:
    """Whoever comes in vain may have been sent by the holder, who leaves: the feed is asked for again soon."""
    house = House()
    reader, of_two = house.open(), house.open()
    await reader.subscribe("AAPL")
    assert house.hurried == []
    house.desk.hub.changed(FeedState.WAITING_FOR_SLOT, "406")
    assert house.hurried == []
    with pytest.raises(NotFeedHolder):
        house.open()
    assert house.hurried == [Feed.IEX]
    house.streams.live(Feed.SIP).hub.changed(FeedState.WAITING_FOR_SLOT, "406")
    await of_two.subscribe("AAPL", feed=Feed.SIP)
    assert house.hurried == [Feed.IEX, Feed.SIP]
    house.desk.hub.changed(FeedState.LIVE, "")
    house.open()
    assert house.hurried == [Feed.IEX, Feed.SIP]


@in_steered_time
async def test_the_last_word_names_the_reason() -> None:
    """A follower who is sent elsewhere is told why and when to come to another replica."""
    house = House()
    reader = house.open()
    await reader.subscribe("AAPL")
    await reader.statuses()
    house.desk.hub.changed(FeedState.WAITING_FOR_SLOT, "406")
    last = await reader.hear()
    assert last is not None
    assert isinstance(last.event, Closing)
    assert (last.event.reason, last.event.retry_delay) == (Reason.NOT_FEED_HOLDER, 1.0)
    assert await reader.follower.next() is None


@in_steered_time
async def test_who_has_held_the_feed_keeps_its_followers() -> None:
    """A process that once was live is only disconnected: its followers stay, and new ones are let in."""
    house = House()
    reader = house.open()
    await reader.subscribe("AAPL")
    for state in (FeedState.LIVE, FeedState.BACKING_OFF, FeedState.WAITING_FOR_SLOT):
        house.desk.hub.changed(state, "")
    house.open()
    assert house.holding == [True, True, True]
    assert await reader.told() == ["AAPL PENDING"]
    assert reader.follower.mailbox.boxes


@in_steered_time
async def test_a_follower_of_two_feeds_is_not_sent_away_for_one() -> None:
    """Whoever follows another feed too stays, for that one is here."""
    house = House()
    both, one = house.open(), house.open()
    await both.subscribe("AAPL", id="iex")
    await both.subscribe("AAPL", id="sip", feed=Feed.SIP)
    await one.subscribe("AAPL", feed=Feed.SIP)
    house.desks[Feed.SIP].hub.changed(FeedState.WAITING_FOR_SLOT, "406")
    assert await both.told() == ["AAPL PENDING", "AAPL PENDING"]
    assert await one.told() == ["AAPL PENDING"]
    assert await one.follower.next() is None
    assert house.holding == []
    house.open()


@in_steered_time
async def test_who_comes_to_a_feed_that_is_elsewhere_is_told() -> None:
    """A subscription to a feed that another process holds is answered and the stream sent elsewhere."""
    house = House()
    house.open()
    house.streams.live(Feed.SIP).hub.changed(FeedState.WAITING_FOR_SLOT, "406")
    reader = house.open()
    await reader.subscribe("AAPL", feed=Feed.SIP)
    await reader.statuses()
    assert await reader.follower.next() is None


# -------------------------------------------------------------------------------- what he asks for


@in_steered_time
async def test_a_subscription_is_answered_symbol_by_symbol() -> None:
    """Each symbol is followed or REJECTED with its own reason, and none of them ends the stream."""
    house = House()
    house.missing = {"ZZZZ"}
    reader = house.open()
    await reader.subscribe("AAPL", "ZZZZ", "aapl!", "*", CONTRACT)
    assert sorted(await reader.told()) == [
        "* REJECTED INVALID_REQUEST",
        "AAPL PENDING",
        "AAPL261218C00200000 REJECTED INVALID_REQUEST",
        "ZZZZ REJECTED SYMBOL_UNKNOWN",
        "aapl! REJECTED INVALID_REQUEST",
    ]
    assert house.desk.feed.take_said() == [("follow", QUOTES, ("AAPL",))]


@pytest.mark.parametrize("feed", sorted(OPTION_FEEDS))
@in_steered_time
async def test_an_option_feed_has_contracts_alone(feed: Feed) -> None:
    """There a stock, a symbol that is none, and "*" whatever is allowed are REJECTED, unlike contracts that exist."""
    house = House(all_symbols=True)
    unlisted = CONTRACT.replace("C", "P")
    house.missing = {unlisted}
    reader = house.open()
    symbols = ("AAPL", CONTRACT, "*", unlisted, "AAPL261318C00200000")
    await reader.subscribe(*symbols, feed=feed)
    assert sorted(await reader.told()) == [
        "* REJECTED INVALID_REQUEST",
        "AAPL REJECTED INVALID_REQUEST",
        f"{CONTRACT} PENDING",
        f"{unlisted} REJECTED SYMBOL_UNKNOWN",
        "AAPL261318C00200000 REJECTED INVALID_REQUEST",
    ]
    assert house.looked_up == [(feed, [CONTRACT, unlisted])]
    assert house.desks[feed].feed.take_said() == [("follow", QUOTES, (CONTRACT,))]


@in_steered_time
async def test_everything_may_be_allowed() -> None:
    """Where the settings allow it "*" is followed."""
    house = House(all_symbols=True)
    reader = house.open()
    await reader.subscribe("*")
    house.desk.hub.confirmed(QUOTES, ["*"])
    house.desk.brings("AAPL")
    assert await reader.updates() == ["quote AAPL 1 live"]


@in_steered_time
async def test_a_stream_follows_so_many_symbols() -> None:
    """Beyond the limit, over all subscriptions, symbols are REJECTED; what is followed already is none more."""
    house = House()
    reader = house.open()
    await reader.subscribe("A", "B", "C", id="one", channels=(QUOTES, TRADES))
    await reader.subscribe("A", "B", "C", id="two")
    await reader.follower.add("one", ["A", "D"])
    rejected = sorted(one for one in await reader.told() if "REJECTED" in one)
    assert rejected == ["C REJECTED SUBSCRIPTION_LIMIT"] + 2 * ["D REJECTED SUBSCRIPTION_LIMIT"]
    reader.follower.unsubscribe("two", ["A"])
    await reader.follower.add("one", ["D"])
    assert "D PENDING" in await reader.told()


@in_steered_time
async def test_what_was_rejected_may_be_asked_for_again() -> None:
    """A symbol that did not exist and does now is followed when it is added again."""
    house = House()
    house.missing = {"NEWCO"}
    reader = house.open()
    await reader.subscribe("NEWCO")
    assert await reader.told() == ["NEWCO REJECTED SYMBOL_UNKNOWN"]
    house.missing.clear()
    await reader.follower.add("s", ["NEWCO"])
    assert await reader.told() == ["NEWCO PENDING"]


@in_steered_time
async def test_an_id_is_in_use_once() -> None:
    """A second subscription of the same id is refused, and harms not the first; once that has ended it is free."""
    house = House()
    reader = house.open()
    await reader.subscribe("AAPL", id="a")
    with pytest.raises(InvalidRequest) as refused:
        await reader.subscribe("IBM", id="a")
    assert rule(refused)[0] == "subscribe.id"
    assert await reader.told() == ["AAPL PENDING"]
    reader.follower.unsubscribe("a", [])
    await reader.subscribe("IBM", id="a")
    assert sorted(await reader.told()) == ["AAPL REMOVED", "IBM PENDING"]


@in_steered_time
async def test_a_stream_has_so_many_subscriptions() -> None:
    """One more than the limit is refused, and nothing of it is done."""
    house = House()
    reader = house.open()
    await reader.subscribe("A", id="one")
    await reader.subscribe("B", id="two")
    with pytest.raises(InvalidRequest) as refused:
        await reader.subscribe("C", id="three")
    assert rule(refused) == ("subscribe", "a stream has 2 subscriptions at most")
    assert list(house.desk.interest.on(QUOTES)) == ["A", "B"]


@pytest.mark.parametrize("word", ["add", "unsubscribe", "query"])
@in_steered_time
async def test_what_is_not_there_is_refused(word: str) -> None:
    """A request that names a subscription of which the stream knows nothing is refused by its field."""
    follower = House().open().follower

    async def ask() -> None:
        match word:
            case "add":
                await follower.add("nobody", ["AAPL"])
            case "unsubscribe":
                follower.unsubscribe("nobody", [])
            case _:
                follower.query("nobody")

    with pytest.raises(InvalidRequest) as refused:
        await ask()
    assert rule(refused) == (
        f"{word}.subscription_id",
        "there is no subscription 'nobody' on this stream",
    )


@in_steered_time
async def test_symbols_and_subscriptions_end_as_asked() -> None:
    """Named symbols end alone; without names the whole subscription does, and each symbol is answered REMOVED."""
    house = House()
    reader = house.open()
    await reader.subscribe("A", "B", "C")
    await reader.statuses()
    reader.follower.unsubscribe("s", ["A"])
    assert await reader.told() == ["A REMOVED"]
    reader.follower.unsubscribe("s", [])
    assert sorted(await reader.told()) == ["B REMOVED", "C REMOVED"]
    assert reader.follower.mailbox.boxes == {}
    assert not any(topic.boxes for topic in house.desk.interest)


@in_steered_time
async def test_a_query_tells_how_everything_stands() -> None:
    """Whoever asks hears the status of each symbol and channel, at once."""
    house = House()
    reader = house.open()
    await reader.subscribe("A", "B", channels=(QUOTES, TRADES), interval=60.0)
    await reader.statuses()
    reader.follower.query("s")
    assert sorted(await reader.told()) == 2 * ["A PENDING"] + 2 * ["B PENDING"]


@in_steered_time
async def test_who_asks_for_ever_more_and_reads_nothing_is_refused() -> None:
    """When twenty thousand statuses wait, whoever wants more must read first; then he may go on."""
    house = House(symbols=10**6)
    reader = house.open()
    symbols = ["".join(letters) for letters in islice(product(ascii_uppercase, repeat=4), 11_000)]
    await reader.subscribe(*symbols, channels=(QUOTES, TRADES))
    for ask in (
        reader.follower.add("s", ["ZZZ"]),
        reader.subscribe("ZZZ", id="other"),
    ):
        with pytest.raises(InvalidRequest, match="read them first"):
            await ask
    with pytest.raises(InvalidRequest, match="read them first"):
        reader.follower.unsubscribe("s", [])
    await reader.statuses()
    await reader.follower.add("s", ["ZZZ"])
    assert await reader.told() == 2 * ["ZZZ PENDING"]


# ------------------------------------------------------------------------------------ who comes back


@in_steered_time
async def test_who_comes_back_in_time_misses_nothing() -> None:
    """With the token of his last message a follower gets on a new stream what he missed, and no gap."""
    house = House()
    reader = house.open()
    await reader.subscribe("AAPL", channels=(TRADES,))
    house.desk.hub.confirmed(TRADES, ["AAPL"])
    house.desk.brings("AAPL", kind=RecordKind.TRADE, times=2)
    assert await reader.updates() == ["trade AAPL 1 live", "trade AAPL 2 live"]
    reader.follower.leave()
    house.desk.brings("AAPL", kind=RecordKind.TRADE, times=2)
    again = house.open()
    await again.subscribe("AAPL", channels=(TRADES,), token=reader.token)
    assert await again.updates() == ["trade AAPL 3 replay", "trade AAPL 4 replay"]


@in_steered_time
async def test_a_token_is_good_whatever_became_of_each_symbol() -> None:
    """The same symbols are the same subscription, also if one that was rejected then is followed now."""
    house = House()
    house.missing = {"NEWCO"}
    reader = house.open()
    await reader.subscribe("AAPL", "NEWCO", channels=(TRADES,))
    house.desk.hub.confirmed(TRADES, ["AAPL"])
    house.desk.brings("AAPL", kind=RecordKind.TRADE)
    await reader.updates()
    reader.follower.leave()
    house.missing.clear()
    house.desk.brings("AAPL", kind=RecordKind.TRADE)
    again = house.open()
    await again.subscribe("AAPL", "NEWCO", channels=(TRADES,), token=reader.token)
    assert await again.updates() == ["trade AAPL 2 replay"]


# --------------------------------------------------------------------------------------- who leaves


@in_steered_time
async def test_who_leaves_is_counted_no_more() -> None:
    """A stream that goes leaves all its symbols, and ends also if its next message is being waited for."""
    house = House()
    reader = house.open()
    await reader.subscribe("AAPL", "IBM", channels=(QUOTES, TRADES))
    await house.streams.tick()
    assert (house.counts.subscriptions, house.counts.followed) == (1, 4)
    await reader.statuses()
    waiting = asyncio.create_task(reader.follower.next())
    await asyncio.sleep(SOON)
    reader.follower.leave()
    assert await waiting is None
    assert not any(topic.boxes for topic in house.desk.interest)
    await house.streams.tick()
    assert (house.counts.subscriptions, house.counts.followed) == (0, 0)


@pytest.mark.parametrize("end", ["leaves", "is closed"])
@in_steered_time
async def test_who_goes_while_his_symbols_are_looked_up_follows_nothing(end: str) -> None:
    """A stream that ends while it is asked whether its symbols exist does not begin to follow them afterwards."""
    house = House()
    house.known.clear()
    reader = house.open()
    asking = asyncio.create_task(reader.subscribe("AAPL"))
    await asyncio.sleep(SOON)
    if end == "leaves":
        reader.follower.leave()
    else:
        house.streams.close(GOODBYE)
    house.known.set()
    await asking
    assert list(house.desk.interest) == []


# ------------------------------------------------------------------------------------- the stopping


@in_steered_time
async def test_everybody_gets_his_mail_and_the_last_word() -> None:
    """When the gateway stops each stream is sent what lies there, then the last word; nothing new comes in."""
    house = House()
    reader = house.open()
    await reader.subscribe("AAPL", interval=60.0)
    house.desk.hub.confirmed(QUOTES, ["AAPL"])
    house.desk.brings("AAPL")
    assert await reader.updates() == ["quote AAPL 1 live"]
    house.desk.brings("AAPL")
    house.streams.close(GOODBYE)
    house.desk.brings("AAPL")
    heard = [await reader.hear() for _ in range(2)]
    events = [one.event for one in heard if one is not None]
    assert events == [Updates([b"quote AAPL 2 live"]), GOODBYE]
    assert await reader.follower.next() is None


@in_steered_time
async def test_who_is_dismissed_gets_the_last_word_alone() -> None:
    """Whoever may not stay gets the last word at once, and nothing of what lay there for him; others follow on."""
    house = House()
    CALLER.set(Consumer("desk-7"))
    dismissed = house.open()
    CALLER.set(Consumer("desk-8"))
    other = house.open()
    for reader in (dismissed, other):
        await reader.subscribe("AAPL", interval=60.0)
        house.desk.hub.confirmed(QUOTES, ["AAPL"])
        house.desk.brings("AAPL")
        await reader.updates()
    house.desk.brings("AAPL")
    house.streams.dismiss(lambda consumer: GOODBYE if consumer.name == "desk-7" else None)
    last = await dismissed.hear()
    assert last is not None
    assert last.event == GOODBYE
    assert await dismissed.follower.next() is None
    house.desk.brings("AAPL")
    await asyncio.sleep(60.0)
    assert await other.updates()


@in_steered_time
async def test_draining_ends_when_all_have_gone() -> None:
    """The gateway waits no longer than until the last stream has left; without any it does not wait."""
    house = House()
    began = house.clock.monotonic()
    await house.streams.drain(GRACE)
    assert house.clock.monotonic() == began
    readers = [house.open() for _ in range(2)]
    house.streams.close(GOODBYE)
    draining = asyncio.create_task(house.streams.drain(GRACE))
    for reader in readers:
        await asyncio.sleep(1.0)
        assert not draining.done()
        reader.follower.leave()
    await draining
    assert house.clock.monotonic() - began == pytest.approx(2.0)


@in_steered_time
async def test_draining_hurries_who_reads_slowly() -> None:
    """In the second half of the grace the last word no longer waits for unread mail."""
    house = House()
    reader = house.open()
    await reader.subscribe("AAPL")
    assert (await reader.follower.next()) is not None  # and never acknowledged
    house.desk.hub.confirmed(QUOTES, ["AAPL"])
    house.streams.close(GOODBYE)
    began = house.clock.monotonic()
    draining = asyncio.create_task(house.streams.drain(GRACE))
    last = await reader.follower.next()
    assert last is not None
    assert last.event == GOODBYE
    assert house.clock.monotonic() - began == pytest.approx(GRACE / 2)
    reader.follower.leave()
    await draining


@in_steered_time
async def test_draining_ends_streams_before_the_grace_is_over() -> None:
    """Whoever has not even read the last word is ended with his status, before gRPC does it without."""
    house = House()
    reader = house.open()
    house.streams.close(GOODBYE)
    began = house.clock.monotonic()
    # The last word goes out just before the end, so that its reading is still waited for then.
    draining = asyncio.create_task(house.streams.drain(GRACE))
    await asyncio.sleep(0.85 * GRACE)
    assert (await reader.follower.next()) is not None
    assert await reader.follower.next() is None
    assert house.clock.monotonic() - began == pytest.approx(0.9 * GRACE)
    with capture_logs() as logs:
        await draining
    assert house.clock.monotonic() - began == pytest.approx(GRACE)
    assert [(line["event"], line["streams"]) for line in logs] == [("streams_cut_off", 1)]


# --------------------------------------------------------------------------------- what time does


@in_steered_time
async def test_time_is_looked_after_each_second() -> None:
    """Once it runs, sessions and staleness are looked after each second, for every feed."""
    house = House()
    reader = house.open()
    await reader.subscribe("AAPL")
    house.desk.hub.confirmed(QUOTES, ["AAPL"])
    await reader.statuses()
    running = asyncio.create_task(house.streams.run())
    house.desk.session = MarketSession.CLOSED
    await asyncio.sleep(1.5)
    assert [one.state for one in await reader.statuses()] == [SymbolState.QUIET]
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


@in_steered_time
async def test_a_fault_does_not_stop_the_time() -> None:
    """A tick that fails by a fault of ours is written down, and the next one comes."""
    house = House()
    house.streams.live(Feed.IEX)
    ticks: list[float] = []

    async def fail() -> None:
        ticks.append(house.clock.monotonic())
        msg = "a fault of ours"
        raise RuntimeError(msg)

    house.desk.hub.tick = fail  # type: ignore[method-assign] # no input makes it fail, as it should be
    with capture_logs() as logs:
        running = asyncio.create_task(house.streams.run())
        await asyncio.sleep(3.5)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert len(ticks) == 3
    assert [line["event"] for line in logs] == ["tick_failed"] * 3
