"""One stream's mail: statuses before updates, no faster than it is acknowledged, and the last word last."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tickgate_server.errors import InvalidRequest
from tickgate_server.fanout.box import MOST_STATUSES, MOST_UPDATES, Box
from tickgate_server.fanout.mailbox import (
    Closing,
    Delivery,
    Heartbeat,
    Mailbox,
    Refused,
    Statuses,
    Updates,
)
from tickgate_server.fanout.window import MOST_UNREAD
from tickgate_server.market.live import Channel, RecordKind
from tickgate_server.market.unavailable import Reason
from tickgate_server.observe.counters import StreamCounts

from ...support.fanning import Desk, in_steered_time, terms

QUOTES, TRADES = Channel.QUOTES, Channel.TRADES
TRADE = RecordKind.TRADE
GOODBYE = Closing(Reason.SHUTTING_DOWN, "the gateway stops", 1.0)
FAREWELL = 2.0
SOON = 0.1
"""Seconds in which a message that may be sent is sent, of a heartbeat of 15."""


def in_words(delivery: Delivery) -> list[str]:
    """What a message says."""
    match delivery.event:
        case Updates(pieces):
            return [piece.decode() for piece in pieces]
        case Statuses(statuses):
            return [f"{status.symbol} {status.state.name}" for status in statuses]
        case Heartbeat():
            return ["heartbeat"]
        case Refused(subscription_id, _):
            return [f"refused {subscription_id}"]
        case Closing(reason):
            return [f"closing {reason.name}"]


class Stream:
    """One stream to a reader, and the feed behind it."""

    def __init__(self, *, acks: bool = True) -> None:
        self.desk = Desk()
        self.counts = StreamCounts()
        self.mailbox = Mailbox(
            self.desk.beat, self.desk.clock, self.desk.encode, self.counts, acks=acks
        )
        self.acks = acks
        self.number = 0
        self.boxes: list[Box] = []

    @property
    def now(self) -> float:
        """Seconds of steered time."""
        return self.desk.clock.monotonic()

    def follow(self, *symbols: str, channel: Channel = QUOTES, **asked: Any) -> Box:
        """Follow symbols, which are live, and hear so at once."""
        box = self.desk.live(*symbols, of=terms(channel, **asked))
        self.mailbox.put_up(box)
        return box

    async def hear(self, within: float = SOON) -> Delivery | None:
        """Return the next message if it comes in time, unacknowledged."""
        try:
            async with asyncio.timeout(within):
                delivery = await self.mailbox.next()
        except TimeoutError:
            return None
        assert delivery is not None, "the stream is over"
        self.number += 1
        assert delivery.number == self.number
        return delivery

    async def read(self, within: float = SOON) -> list[str]:
        """Read the next message, if it comes in time, and acknowledge it."""
        delivery = await self.hear(within)
        if delivery is None:
            return []
        if self.acks:
            self.mailbox.ack(delivery.number)
        return in_words(delivery)

    async def learn(self) -> None:
        """Let it be learned that the reader is quick."""
        for _ in range(5):
            self.desk.brings(*self.symbols())
            await self.read()

    def symbols(self) -> list[str]:
        """What is followed."""
        return [entry.symbol for box in self.mailbox.boxes.values() for entry in box.followed]

    async def ends(self, within: float = SOON) -> bool:
        """Whether the stream ends in time, without another message."""
        try:
            async with asyncio.timeout(within):
                return await self.mailbox.next() is None
        except TimeoutError:
            return False


# ------------------------------------------------------------------------------------------- order


@in_steered_time
async def test_statuses_come_before_updates() -> None:
    """What a status says of the updates behind it is read first, in messages numbered from 1 without a hole."""
    stream = Stream()
    box = stream.desk.follow("AAPL")
    stream.mailbox.put_up(box)
    stream.desk.brings("AAPL")
    messages = [await stream.read() for _ in range(3)]
    assert messages == [["AAPL LIVE"], ["quote AAPL 1 live"], []]


@in_steered_time
async def test_a_message_names_its_subscription() -> None:
    """Each subscription has messages of its own."""
    stream = Stream()
    one, two = stream.follow("AAPL", id="one"), stream.follow("IBM", id="two")
    stream.desk.brings("AAPL", "IBM")
    boxes = []
    for _ in range(2):
        delivery = await stream.hear()
        assert delivery is not None
        stream.mailbox.ack(delivery.number)
        boxes.append(delivery.box)
    assert boxes == [one, two]


@in_steered_time
async def test_subscriptions_take_turns() -> None:
    """A subscription that has mail for many messages does not keep another of the stream waiting for them."""
    stream = Stream()
    stream.follow("BUSY", channel=TRADES, id="busy", queue=10 * MOST_UPDATES)
    stream.follow("QUIET", id="quiet")
    stream.desk.brings("BUSY", kind=TRADE, times=5 * MOST_UPDATES)
    stream.desk.brings("QUIET")
    assert len(await stream.read()) == MOST_UPDATES
    assert await stream.read() == ["quote QUIET 1 live"]


@in_steered_time
async def test_all_mail_of_a_moment_is_one_message() -> None:
    """What comes together is read together."""
    stream = Stream()
    stream.follow("AAPL", "IBM", "MSFT")
    stream.desk.brings("AAPL", "IBM", "MSFT", "AAPL")
    assert await stream.read() == [
        "quote AAPL 2 live +1",
        "quote IBM 1 live",
        "quote MSFT 1 live",
    ]
    assert await stream.read() == []


@in_steered_time
async def test_what_fills_several_messages_is_read_in_a_row() -> None:
    """More than a message holds follows in the next ones without anything new coming."""
    stream = Stream()
    stream.follow("AAPL", channel=TRADES, queue=10 * MOST_UPDATES)
    stream.desk.brings("AAPL", kind=TRADE, times=2 * MOST_UPDATES + 1)
    assert [len(await stream.read()) for _ in range(4)] == [MOST_UPDATES, MOST_UPDATES, 1, 0]


# ------------------------------------------------------------------------------- acknowledgements


@in_steered_time
async def test_who_does_not_acknowledge_gets_one_message() -> None:
    """Until the first message is acknowledged there is no second, however much comes; then there is the newest."""
    stream = Stream()
    stream.follow("AAPL")
    stream.desk.brings("AAPL")
    first = await stream.hear()
    assert first is not None
    for _ in range(100):
        stream.desk.brings("AAPL")
        await asyncio.sleep(0.01)
    assert await stream.hear() is None
    stream.mailbox.ack(first.number)
    assert await stream.read() == ["quote AAPL 101 live +99"]


@in_steered_time
async def test_a_quick_reader_has_several_under_way() -> None:
    """Once it is known that he reads quickly, messages do not wait for each acknowledgement, up to 64."""
    stream = Stream()
    stream.follow("AAPL")
    await stream.learn()
    under_way = 0
    for _ in range(2 * MOST_UNREAD):
        stream.desk.brings("AAPL")
        under_way += await stream.hear() is not None
    assert under_way == MOST_UNREAD


@in_steered_time
async def test_an_ack_beyond_what_was_sent_is_refused() -> None:
    """Who acknowledges a message that has not been sent is told its field and the newest, and it counts for nothing."""
    stream = Stream()
    stream.follow("AAPL")
    stream.desk.brings("AAPL")
    assert await stream.hear() is not None
    with pytest.raises(InvalidRequest) as refused:
        stream.mailbox.ack(2)
    assert refused.value.violations == [
        ("ack.delivery_sequence", "message 2 has not been sent; the newest is 1")
    ]
    stream.desk.brings("AAPL")
    assert await stream.hear() is None


@in_steered_time
async def test_without_acks_nothing_waits() -> None:
    """A reader who never acknowledges by agreement is sent everything."""
    stream = Stream(acks=False)
    stream.follow("AAPL")
    for number in range(1, 2 * MOST_UNREAD):
        stream.desk.brings("AAPL")
        assert await stream.read() == [f"quote AAPL {number} live"]


@in_steered_time
async def test_the_shortest_terms_count() -> None:
    """Of several subscriptions the shortest heartbeat and age hold, and go with theirs."""
    stream = Stream()
    stream.follow("AAPL", id="calm", heartbeat=10.0, unread_age=5.0)
    hasty = stream.follow("IBM", id="hasty", heartbeat=1.0, unread_age=0.5)
    began = stream.now
    assert await stream.read(20.0) == ["heartbeat"]
    assert stream.now - began == pytest.approx(1.0)
    stream.mailbox.take_down(hasty)
    began = stream.now
    assert await stream.read(20.0) == ["heartbeat"]
    assert stream.now - began == pytest.approx(10.0)


# ---------------------------------------------------------------------------------------- interval


@in_steered_time
async def test_updates_keep_their_distance_and_the_last_one_comes() -> None:
    """With an interval updates are no closer together, and after silence the last value comes within it."""
    stream = Stream()
    stream.follow("AAPL", interval=1.0)
    times, read = [], []
    stream.desk.brings("AAPL")
    read += await stream.read()
    times.append(stream.now)
    for _ in range(5):
        stream.desk.brings("AAPL")
        await asyncio.sleep(0.1)
    read += await stream.read(5.0)
    times.append(stream.now)
    assert read == ["quote AAPL 1 live", "quote AAPL 6 live +4"]
    assert times[1] - times[0] == pytest.approx(1.0, abs=0.03)


@in_steered_time
async def test_what_waits_for_an_interval_comes_to_who_waits_already() -> None:
    """A reader who waits when a value comes within his interval gets it at its end, not at the next heartbeat."""
    stream = Stream()
    stream.follow("AAPL", interval=1.0)
    stream.desk.brings("AAPL")
    await stream.read()
    sent_at = stream.now
    waiting = asyncio.create_task(stream.read(20.0))
    await asyncio.sleep(0.3)
    stream.desk.brings("AAPL")
    assert await waiting == ["quote AAPL 2 live"]
    assert stream.now - sent_at == pytest.approx(1.0, abs=0.03)


@in_steered_time
async def test_a_gap_does_not_wait_for_an_interval() -> None:
    """States that concern the connection come at once, and its values behind them in their time."""
    stream = Stream()
    stream.follow("AAPL", interval=10.0)
    stream.desk.brings("AAPL")
    await stream.read()
    stream.desk.brings("AAPL")
    stream.desk.breaks()
    assert await stream.read() == ["AAPL GAP"]
    assert await stream.read() == []
    assert await stream.read(10.0) == ["quote AAPL 2 live"]


# -------------------------------------------------------------------------------------- heartbeats


@in_steered_time
async def test_a_stream_beats_whether_it_is_silent_or_not() -> None:
    """There is a heartbeat at least each interval, however much mail there is besides."""
    stream = Stream(acks=False)
    stream.follow("AAPL", heartbeat=1.0)
    began, beats = stream.now, []
    for _ in range(50):
        stream.desk.brings("AAPL")
        if await stream.read(0.1) == ["heartbeat"]:
            beats.append(stream.now)
        await asyncio.sleep(0.05)
    for _ in range(3):
        assert await stream.read(5.0) == ["heartbeat"]
        beats.append(stream.now)
    assert [at - began for at in beats] == pytest.approx(range(1, len(beats) + 1), abs=0.2)
    assert len(beats) >= 5


@in_steered_time
async def test_a_stream_without_a_subscription_beats() -> None:
    """A follower who asks for nothing hears every fifteen seconds that the stream lives."""
    stream = Stream()
    began = stream.now
    assert await stream.read(60.0) == ["heartbeat"]
    assert stream.now - began == pytest.approx(15.0)


@in_steered_time
async def test_heartbeats_take_no_room() -> None:
    """A heartbeat that is not acknowledged yet keeps no update waiting."""
    stream = Stream()
    stream.follow("AAPL", heartbeat=1.0)
    assert await stream.hear(5.0) is not None
    stream.desk.brings("AAPL")
    assert await stream.hear() is not None


@in_steered_time
async def test_who_does_not_read_gets_no_heartbeats_without_end() -> None:
    """Who leaves 64 messages unacknowledged gets no more heartbeats, and one again when he acknowledges."""
    stream = Stream()
    stream.follow("AAPL", heartbeat=1.0)
    stream.desk.brings("AAPL")
    for _ in range(MOST_UNREAD):
        assert await stream.hear(5.0) is not None
    assert await stream.hear(3600.0) is None
    stream.mailbox.ack(stream.number)
    assert await stream.read(5.0) == ["heartbeat"]


# ---------------------------------------------------------------------------------------- refusals


@in_steered_time
async def test_a_bad_request_is_answered_although_the_window_is_shut() -> None:
    """The answer to a request that broke a rule does not wait behind unread updates."""
    stream = Stream()
    stream.follow("AAPL")
    stream.desk.brings("AAPL")
    assert await stream.hear() is not None
    stream.mailbox.refuse("sub", InvalidRequest([("add", "no")]))
    assert await stream.read() == ["refused sub"]


@in_steered_time
async def test_who_sends_bad_requests_and_reads_nothing_is_ended() -> None:
    """A hundred answers may wait; one more ends the stream, for nothing may grow without bound."""
    stream = Stream()
    for _ in range(100):
        stream.mailbox.refuse("", InvalidRequest([("add", "no")]))
    assert await stream.read() == ["refused "]
    for _ in range(2):
        stream.mailbox.refuse("", InvalidRequest([("add", "no")]))
    assert await stream.ends()


# --------------------------------------------------------------------------------- ends and closing


@in_steered_time
async def test_a_subscription_that_is_taken_down_tells_its_end() -> None:
    """Whoever ends a subscription reads what is left of it, REMOVED, and then nothing more of it."""
    stream = Stream()
    box = stream.follow("AAPL", "IBM")
    stream.desk.hub.leave(box, ["AAPL", "IBM"])
    stream.mailbox.take_down(box)
    assert await stream.read() == ["AAPL REMOVED", "IBM REMOVED"]
    stream.desk.brings("AAPL")
    assert await stream.read() == []
    assert stream.mailbox.boxes == {}


@in_steered_time
async def test_a_taken_down_subscription_waits_for_its_reader_too() -> None:
    """What is left of an ended subscription goes no faster than it is read, and in as many messages as it takes."""
    stream = Stream()
    symbols = [f"S{number}" for number in range(MOST_STATUSES + 1)]
    box = stream.follow(*symbols)
    stream.desk.hub.leave(box, symbols)
    stream.mailbox.take_down(box)
    assert stream.mailbox.untold == MOST_STATUSES + 1
    assert await stream.hear() is not None
    assert await stream.hear() is None
    assert stream.mailbox.untold == 1
    stream.mailbox.ack(1)
    assert await stream.read() == [f"{symbols[-1]} REMOVED"]


@in_steered_time
async def test_at_closing_mail_goes_first() -> None:
    """A reader who is told to go gets what lies there, his interval or not, then the last word, then the end."""
    stream = Stream()
    box = stream.follow("AAPL", interval=60.0)
    stream.desk.brings("AAPL")
    await stream.read()
    stream.desk.brings("AAPL")
    stream.desk.hub.detach(box)
    stream.mailbox.close(GOODBYE)
    stream.mailbox.close(Closing(Reason.NOT_FEED_HOLDER, "", 0.0))
    assert await stream.read() == ["quote AAPL 2 live"]
    assert await stream.read() == ["closing SHUTTING_DOWN"]
    assert await stream.ends()


@in_steered_time
async def test_an_ended_subscription_tells_its_end_before_the_last_word() -> None:
    """What is left of a subscription that has just been ended comes before the last word."""
    stream = Stream()
    box = stream.follow("AAPL")
    stream.desk.hub.leave(box, ["AAPL"])
    stream.mailbox.take_down(box)
    stream.mailbox.close(GOODBYE)
    assert [await stream.read() for _ in range(2)] == [["AAPL REMOVED"], ["closing SHUTTING_DOWN"]]


@in_steered_time
async def test_the_last_word_waits_for_a_reader_who_is_slow() -> None:
    """While a reader has unread messages the last word waits, unless there is hurry: then it is sent at once."""
    stream = Stream()
    stream.follow("AAPL")
    stream.desk.brings("AAPL")
    assert await stream.hear() is not None
    stream.desk.brings("AAPL")
    await asyncio.sleep(SOON)
    stream.mailbox.close(GOODBYE)
    assert await stream.hear() is None
    stream.mailbox.hurry()
    last = await stream.hear()
    assert last is not None
    assert last.event == GOODBYE


@in_steered_time
async def test_the_stream_ends_when_the_last_word_is_read() -> None:
    """The end comes with the acknowledgement of the last word, for gRPC throws away what is unread at an error."""
    stream = Stream()
    stream.mailbox.close(GOODBYE)
    last = await stream.hear()
    assert last is not None
    assert not await stream.ends(FAREWELL / 2)
    stream.mailbox.ack(last.number)
    assert await stream.ends(0.0001)


@in_steered_time
async def test_the_end_does_not_wait_for_ever() -> None:
    """Whoever does not acknowledge the last word is ended two seconds behind it; heartbeats come no more."""
    stream = Stream()
    stream.follow("AAPL", heartbeat=0.5)
    stream.mailbox.close(GOODBYE)
    assert await stream.hear() is not None
    began = stream.now
    assert await stream.ends(60.0)
    assert stream.now - began == pytest.approx(FAREWELL)


@in_steered_time
async def test_without_acks_the_end_follows_the_last_word() -> None:
    """Where nothing is acknowledged nobody waits for it."""
    stream = Stream(acks=False)
    stream.mailbox.close(GOODBYE)
    assert await stream.read() == ["closing SHUTTING_DOWN"]
    assert await stream.ends(0.0001)


@in_steered_time
async def test_hurry_alone_ends_nothing() -> None:
    """A stream that is not closing does not end by hurry."""
    stream = Stream()
    stream.follow("AAPL")
    stream.mailbox.hurry()
    stream.desk.brings("AAPL")
    assert await stream.read() == ["quote AAPL 1 live"]


@in_steered_time
async def test_who_has_gone_is_sent_nothing() -> None:
    """A stream that is ended says nothing more, also to who waits for its next message."""
    stream = Stream()
    stream.follow("AAPL")
    waiting = asyncio.create_task(stream.mailbox.next())
    await asyncio.sleep(SOON)
    stream.mailbox.end()
    assert await waiting is None
    stream.desk.brings("AAPL")
    assert await stream.ends()


# ---------------------------------------------------------------------------------------- counting


@in_steered_time
async def test_everything_is_counted() -> None:
    """Messages, delivered, conflated and lost records of a stream are counted when they are handed out."""
    stream = Stream()
    stream.follow("AAPL", id="quotes")
    stream.follow("AAPL", channel=TRADES, id="trades", queue=3)
    stream.desk.brings("AAPL", times=4)
    stream.desk.brings("AAPL", kind=TRADE, times=5)
    while await stream.read():
        pass
    counts = stream.counts
    assert (counts.delivered, counts.conflated, counts.lost) == (1 + 3, 3, 2)
    assert counts.messages == stream.number


@in_steered_time
async def test_a_reader_who_never_reads_costs_no_more_with_time() -> None:
    """Ten thousand records for one who does not acknowledge leave one quote, a full queue and a status a symbol."""
    stream = Stream()
    quotes = stream.follow("AAPL", id="quotes")
    trades = stream.follow("AAPL", channel=TRADES, id="trades", queue=7)
    assert await stream.hear(20.0) is not None
    for _ in range(100):
        stream.desk.brings("AAPL", times=100)
        stream.desk.brings("AAPL", kind=TRADE, times=100)
        stream.desk.refuses("AAPL")
        await stream.hear(0.01)
    assert stream.number <= MOST_UNREAD
    assert stream.mailbox.untold <= 2
    assert len(quotes.unread) == 1
    (status,) = stream.desk.statuses(trades)
    pieces = stream.desk.read(trades)
    (loss,) = status.losses
    assert (len(pieces), loss.count) == (7, loss.last_sequence - loss.first_sequence + 1)


@in_steered_time
async def test_heartbeats_go_on_when_the_silent_one_is_heard() -> None:
    """A reader who is waited for without any alarm is sent heartbeats again from his acknowledgement on."""
    stream = Stream()
    stream.follow("AAPL", heartbeat=1.0)
    stream.desk.brings("AAPL")
    for _ in range(MOST_UNREAD):
        assert await stream.hear(5.0) is not None
    waiting = asyncio.create_task(stream.mailbox.next())
    await asyncio.sleep(3600.0)
    assert not waiting.done()
    stream.mailbox.ack(MOST_UNREAD)
    await asyncio.sleep(1.0)
    assert waiting.done()
    assert in_words(await waiting or pytest.fail("the stream is over")) == ["heartbeat"]


@in_steered_time
async def test_an_idle_reader_need_not_acknowledge_heartbeats() -> None:
    """Who has acknowledged all mail has heartbeats for as long as he likes."""
    stream = Stream()
    stream.follow("AAPL", heartbeat=1.0)
    for _ in range(3 * MOST_UNREAD):
        delivery = await stream.hear(2.0)
        assert delivery is not None
        assert in_words(delivery) == ["heartbeat"]


@in_steered_time
async def test_answers_take_no_room_in_the_window() -> None:
    """However many answers a reader has not acknowledged, they keep no mail from him."""
    stream = Stream()
    for _ in range(2 * MOST_UNREAD):
        stream.mailbox.refuse("", InvalidRequest([("add", "no")]))
        assert await stream.hear() is not None
    stream.follow("AAPL")
    stream.desk.brings("AAPL")
    assert await stream.read() == ["quote AAPL 1 live"]


@in_steered_time
async def test_who_is_interrupted_misses_nothing() -> None:
    """Giving up waiting for a message and asking again later loses nothing."""
    stream = Stream()
    stream.follow("AAPL", channel=TRADES)
    heard: list[str] = []
    for _ in range(50):
        stream.desk.brings("AAPL", kind=TRADE)
        heard += await stream.read(within=0.0005)
    while more := await stream.read():
        heard += more
    assert heard == [f"trade AAPL {number} live" for number in range(1, 51)]


@in_steered_time
async def test_what_a_symbol_lost_is_counted_though_it_has_ended() -> None:
    """Losses are counted also where their symbol is left before anybody reads of them."""
    stream = Stream()
    box = stream.follow("AAPL", channel=TRADES, queue=1)
    stream.desk.brings("AAPL", kind=TRADE, times=3)
    stream.desk.hub.leave(box, ["AAPL"])
    assert await stream.read() == ["AAPL REMOVED"]
    assert stream.counts.lost == 2


@in_steered_time
async def test_an_urgent_word_that_came_between_two_messages_does_not_wait() -> None:
    """A GAP that comes while a message is being written is told at once, not at the end of the interval."""
    stream = Stream(acks=False)
    stream.follow("AAPL", interval=3600.0)
    stream.desk.brings("AAPL")
    assert await stream.read() == ["quote AAPL 1 live"]
    stream.desk.breaks()
    await asyncio.sleep(1.0)
    assert await stream.read() == ["AAPL GAP"]


@in_steered_time
async def test_only_the_first_farewell_counts() -> None:
    """Who has been told why he goes is not told another reason."""
    stream = Stream()
    stream.mailbox.close(GOODBYE)
    stream.mailbox.close(Closing(Reason.NOT_FEED_HOLDER, "elsewhere", 2.0))
    assert await stream.read() == ["closing SHUTTING_DOWN"]
