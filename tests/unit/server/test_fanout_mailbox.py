"""The mailbox: mail in its order and at its beat, no faster than it is read, signs of life, and a last word."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from tickgate_server.errors import InvalidRequest
from tickgate_server.fanout.beat import Beat
from tickgate_server.fanout.box import MOST_STATUSES, MOST_UPDATES, Box
from tickgate_server.fanout.mailbox import (
    Closing,
    Event,
    Heartbeat,
    Mailbox,
    Refused,
    Statuses,
    Updates,
)
from tickgate_server.fanout.window import MOST_UNREAD
from tickgate_server.market.live import SymbolState
from tickgate_server.market.unavailable import Reason

from ...support.fanout import (
    QUOTES,
    TRADES,
    LiveFeeds,
    MailReader,
    crossed,
    pieces_of,
    statuses_of,
)
from ...support.hand_time import LoopClock, in_hand_time

CLOSING = Closing(Reason.SHUTTING_DOWN, "the gateway stops", 1.0)
QUIET_HEARTBEAT = 3000.0
"""Seconds; no heartbeat disturbs a test that is not about them."""


class Setup(LiveFeeds):
    """A feed on which everything is confirmed, and one stream."""

    def __init__(self, *, acks: bool = True, **limits: Any) -> None:
        super().__init__(LoopClock(), beat=Beat(), **limits)
        self.mailbox = Mailbox(self.beat, self.clock, self.encode, self.stream_counts, acks=acks)
        self.acks = acks
        self.reader = MailReader(self.mailbox)

    def subscribe(self, *symbols: str, **asked: Any) -> Box:
        """Begin a subscription, which the upstream confirms."""
        box = self.box(*(symbols or ("AAPL",)), **({"heartbeat": QUIET_HEARTBEAT} | asked))
        self.mailbox.put_up(box)
        for channel in box.terms.channels:
            self.confirm(channel=channel)
        return box

    async def subscribed(self, *symbols: str, **asked: Any) -> Box:
        """Begin one, and read what is said of its symbols at first."""
        box = self.subscribe(*symbols, **asked)
        await self.read()
        return box

    async def read(self, seconds: float = 1.0) -> list[Event]:
        """Read for so many seconds; where acks are known, acknowledge."""
        return await self.reader.read(seconds, ack=self.acks)


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


def kinds(events: list[Event]) -> list[str]:
    """What came."""
    return [type(event).__name__ for event in events]


# ------------------------------------------------------------------------------------------ order


@in_hand_time
async def test_messages_are_numbered_without_a_hole() -> None:
    """Each message of a stream has the next number, whatever it is about."""
    setup = Setup()
    await setup.subscribed(heartbeat=0.4)
    for _ in range(5):
        setup.quote()
        setup.mailbox.refuse("", InvalidRequest([("x", "y")]))
        await setup.read()
    numbers = [delivery.number for delivery in setup.reader.mail]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {type(delivery.event) for delivery in setup.reader.mail} == {
        Statuses, Updates, Heartbeat, Refused,
    }  # fmt: skip


@in_hand_time
async def test_statuses_come_before_updates() -> None:
    """What an update means is said before it."""
    setup = Setup()
    box = setup.subscribe()
    setup.quote()
    events = await setup.read()
    assert kinds(events) == ["Statuses", "Updates"]
    assert [delivery.box for delivery in setup.reader.mail] == [box, box]
    assert len(pieces_of(events)) == 1


@in_hand_time
async def test_mail_comes_at_the_beat() -> None:
    """After a pause a record is handed out at once, together with all that came with it."""
    setup = Setup()
    await setup.subscribed("AAPL", "IBM")
    at = now()
    setup.quote("AAPL")
    setup.quote("IBM")
    setup.hub.settle()
    await setup.read()
    assert setup.reader.times[-1] == pytest.approx(at)
    assert len(pieces_of([setup.reader.mail[-1].event])) == 2


@in_hand_time
async def test_what_comes_while_a_message_is_written_waits_for_the_next_beat() -> None:
    """A reader who takes his time for each message gets fuller ones, not more of them."""
    setup = Setup(acks=False)
    await setup.subscribed("AAPL", "IBM")
    setup.quote("AAPL")
    setup.hub.settle()
    await setup.reader.read_one(ack=False)
    for symbol in ("AAPL", "IBM"):
        setup.quote(symbol)
        setup.hub.settle()
    at = now()
    events = await setup.read()
    assert [len(pieces_of([event])) for event in events] == [2]
    assert setup.reader.times[-1] > at


@in_hand_time
async def test_subscriptions_take_turns() -> None:
    """A subscription with a long backlog lets the others have every other message."""
    setup = Setup(acks=False)
    symbols = [f"S{number}" for number in range(MOST_UPDATES * 2)]
    await setup.subscribed(*symbols, id="many")
    await setup.subscribed("AAPL", id="one")
    for symbol in (*symbols, "AAPL"):
        setup.quote(symbol)
    setup.hub.settle()
    await setup.read()
    names = [delivery.box and delivery.box.terms.id for delivery in setup.reader.mail[-3:]]
    assert names == ["many", "one", "many"]


@in_hand_time
async def test_mail_is_counted() -> None:
    """Counters tell how much was delivered, conflated and lost, and in how many messages."""
    setup = Setup()
    await setup.subscribed(channels=[QUOTES, TRADES], queue=2)
    before = setup.stream_counts.messages
    for _ in range(3):
        setup.quote()
    for _ in range(5):
        setup.trade()
    setup.hub.settle()
    await setup.read()
    counts = setup.stream_counts
    assert (counts.delivered, counts.conflated, counts.lost) == (3, 2, 3)
    assert counts.messages == before + 2


@in_hand_time
async def test_losses_are_counted_though_the_symbol_has_ended() -> None:
    """What was lost before a symbol was left is counted like any other loss."""
    setup = Setup()
    box = await setup.subscribed(channels=[TRADES], queue=1)
    for _ in range(3):
        setup.trade()
    setup.hub.leave(box, ["AAPL"])
    await setup.read()
    assert setup.stream_counts.lost == 2


# ---------------------------------------------------------------------------------------- interval


@in_hand_time
async def test_the_last_value_arrives_within_the_interval() -> None:
    """After a burst and then silence the newest quote comes when the interval is over, by itself."""
    setup = Setup()
    await setup.subscribed(interval=2.0)
    for bid in ("1", "2", "3"):
        setup.quote(bid=bid)
        setup.hub.settle()
        await setup.read(0.1)
    first, last = pieces_of(event.event for event in setup.reader.mail)[:1], await setup.read(5)
    assert [(piece.price, piece.conflated) for piece in (*first, *pieces_of(last))] == [
        ("1", 0), ("3", 1),
    ]  # fmt: skip
    at = [time for time, each in zip(setup.reader.times, setup.reader.mail, strict=True)
          if isinstance(each.event, Updates)]  # fmt: skip
    assert at[1] - at[0] == pytest.approx(2.0)


@in_hand_time
async def test_what_comes_to_a_waiting_reader_arrives_within_the_interval() -> None:
    """Also when he had nothing to wait for as he began to wait, and nothing else comes for hours."""
    setup = Setup()
    await setup.subscribed(interval=2.0)
    reading = asyncio.create_task(setup.read(3600))
    for bid in ("1", "2"):
        setup.quote(bid=bid)
        setup.hub.settle()
        await asyncio.sleep(0.1)
    await asyncio.sleep(3)
    assert [piece.price for piece in pieces_of(each.event for each in setup.reader.mail)] == [
        "1",
        "2",
    ]
    assert setup.reader.times[-1] - setup.reader.times[-2] == pytest.approx(2.0)
    reading.cancel()


@in_hand_time
async def test_each_subscription_has_its_own_interval() -> None:
    """One that wants every quote gets every quote, although another of the stream wants one a second."""
    setup = Setup()
    quick = await setup.subscribed("AAPL", id="quick")
    await setup.subscribed("AAPL", id="slow", interval=1.0)
    for number in range(20):
        setup.quote(bid=str(number + 1))
        setup.hub.settle()
        await setup.read(0.1)
    delivered = [each for each in setup.reader.mail if isinstance(each.event, Updates)]
    assert sum(each.box is quick for each in delivered) == 20
    assert sum(each.box is not quick for each in delivered) == 2


@in_hand_time
async def test_an_urgent_word_that_comes_while_a_message_is_written_does_not_wait() -> None:
    """A GAP that nobody could be told at its beat comes at the next one, not at the end of the interval."""
    setup = Setup(acks=False)
    await setup.subscribed(interval=3600.0)
    setup.quote()
    setup.hub.settle()
    await setup.reader.read_one(ack=False)
    setup.lose()
    await asyncio.sleep(0.5)
    at = now()
    events = await setup.read()
    assert [status.state for status in statuses_of(events)] == [SymbolState.GAP]
    assert setup.reader.times[-1] - at < 0.1


# ----------------------------------------------------------------------------------------- window


@in_hand_time
async def test_nothing_more_is_handed_out_than_the_window_allows() -> None:
    """Before the first acknowledgement one message is under way; what comes meanwhile is conflated."""
    setup = Setup()
    setup.subscribe()
    events = await setup.reader.read(1, ack=False)
    assert kinds(events) == ["Statuses"]
    for bid in ("1", "2", "3"):
        setup.quote(bid=bid)
        setup.hub.settle()
        assert await setup.reader.read(1, ack=False) == []
    setup.reader.ack()
    (piece,) = pieces_of(await setup.reader.read(1, ack=False))
    assert (piece.price, piece.conflated) == ("3", 2)


@in_hand_time
async def test_a_slow_reader_reads_what_is_new_when_he_is_free() -> None:
    """Whoever takes a second for each message reads quotes that were new when he became free for them."""
    setup = Setup()
    await setup.subscribed()
    ages = []

    async def produce() -> None:
        for number in range(1, 2000):
            setup.quote(bid=str(number))
            setup.hub.settle()
            await asyncio.sleep(0.01)

    producer = asyncio.create_task(produce())
    for _ in range(10):
        event = await setup.reader.read_one(ack=False)
        assert event is not None
        newest = setup.book.position
        await asyncio.sleep(1.0)
        ages.append(newest - pieces_of([event])[0].sequence)
        setup.reader.ack()
    producer.cancel()
    assert max(ages) <= 2


@in_hand_time
async def test_without_acks_everything_is_handed_out() -> None:
    """Who cannot acknowledge is sent whatever there is."""
    setup = Setup(acks=False)
    await setup.subscribed()
    for number in range(1, 200):
        setup.quote(bid=str(number))
        setup.hub.settle()
        assert len(pieces_of(await setup.read(0.01))) == 1


@pytest.mark.parametrize("number", [1, 2**63])
@in_hand_time
async def test_what_was_not_sent_cannot_be_acknowledged(number: int) -> None:
    """An acknowledgement beyond the newest message is refused, and changes nothing."""
    setup = Setup()
    with pytest.raises(InvalidRequest) as refused:
        setup.mailbox.ack(number)
    ((field, rule),) = refused.value.violations
    assert field == "ack.delivery_sequence"
    assert str(number) in rule


@in_hand_time
async def test_answers_do_not_wait_for_the_window() -> None:
    """A request that breaks a rule is answered at once, also to one who has acknowledged nothing."""
    setup = Setup()
    setup.subscribe()
    await setup.reader.read(1, ack=False)
    error = InvalidRequest([("add.symbols", "at least one")])
    setup.mailbox.refuse("main", error)
    assert await setup.reader.read(1, ack=False) == [Refused("main", error)]


@in_hand_time
async def test_answers_take_no_room_in_the_window() -> None:
    """However many answers were sent, they keep no mail from being sent."""
    setup = Setup()
    for _ in range(MOST_UNREAD * 2):
        setup.mailbox.refuse("", InvalidRequest([("x", "y")]))
        await setup.reader.read_one(ack=False)
    setup.subscribe()
    assert kinds(await setup.reader.read(1, ack=False)) == ["Statuses"]


@in_hand_time
async def test_who_breaks_rules_without_reading_is_shown_out() -> None:
    """A hundred answers wait for their reader; with more of them the stream ends."""
    setup = Setup()
    for _ in range(101):
        setup.mailbox.refuse("", InvalidRequest([("x", "y")]))
    assert await setup.reader.read() == []
    assert setup.reader.is_over


# ------------------------------------------------------------------------------------- heartbeats


@in_hand_time
async def test_heartbeats_come_on_their_timer() -> None:
    """A stream without mail has a heartbeat each interval; without a subscription every fifteen seconds."""
    setup = Setup()
    assert kinds(await setup.read(50)) == ["Heartbeat"] * 3
    assert setup.reader.times == [15.0, 30.0, 45.0]
    await setup.subscribed(heartbeat=2.0)
    begun = len(setup.reader.mail)
    await setup.read(10)
    times = setup.reader.times[begun:]
    assert [after - before for before, after in pairwise(times)] == [2.0] * 4


@in_hand_time
async def test_mail_does_not_put_off_heartbeats() -> None:
    """A busy stream has its heartbeats too: they tell when anything last arrived."""
    setup = Setup()
    await setup.subscribed(heartbeat=1.0)
    events = []
    for _ in range(100):
        setup.quote()
        setup.hub.settle()
        events += await setup.read(0.1)
    assert 9 <= kinds(events).count("Heartbeat") <= 10


@in_hand_time
async def test_the_shortest_heartbeat_counts() -> None:
    """Of several subscriptions the one that wants most heartbeats is heeded, and no longer when it has gone."""
    setup = Setup()
    await setup.subscribed("AAPL", id="patient", heartbeat=10.0)
    hasty = await setup.subscribed("AAPL", id="hasty", heartbeat=1.0)
    assert 99 <= len(await setup.read(100)) <= 101
    setup.mailbox.take_down(hasty)
    assert 9 <= len(await setup.read(100)) <= 11


@in_hand_time
async def test_who_does_not_read_gets_no_heartbeats_on_top() -> None:
    """After 64 messages without an acknowledgement nothing more is sent, and the loop has peace; then they go on."""
    setup = Setup()
    setup.subscribe(heartbeat=1.0)
    events = await setup.reader.read(500, ack=False)
    assert len(events) == MOST_UNREAD
    assert kinds(events) == ["Statuses"] + ["Heartbeat"] * (MOST_UNREAD - 1)
    reading = asyncio.create_task(setup.reader.read(1000, ack=False))
    await asyncio.sleep(500)
    setup.reader.ack()
    await asyncio.sleep(10)
    reading.cancel()
    assert 9 <= len(setup.reader.mail) - MOST_UNREAD <= 11


@in_hand_time
async def test_an_idle_stream_need_not_acknowledge_heartbeats() -> None:
    """Who has acknowledged all mail gets heartbeats for as long as he likes."""
    setup = Setup()
    await setup.subscribed(heartbeat=1.0)
    assert len(await setup.reader.read(300, ack=False)) >= 299


# ---------------------------------------------------------------------------------- coming, going


@in_hand_time
async def test_the_shortest_unread_age_counts() -> None:
    """Of several subscriptions the one that allows least age bounds what is under way."""
    setup = Setup()
    await setup.subscribed("AAPL", id="a", unread_age=10.0)
    patient = setup.mailbox._window
    assert patient is not None
    assert patient.unread_age == 10.0
    await setup.subscribed("AAPL", id="b", unread_age=0.01)
    assert patient.unread_age == 0.01


@in_hand_time
async def test_a_subscription_that_ends_is_read_to_its_end() -> None:
    """What a subscription still has to say comes after it was taken down, however much, and then nothing more of it."""
    setup = Setup()
    symbols = [f"S{number}" for number in range(MOST_STATUSES + 5)]
    box = await setup.subscribed(*symbols)
    setup.hub.leave(box, symbols)
    setup.mailbox.take_down(box)
    again = setup.subscribe("AAPL")
    events = await setup.read()
    removed = [status for status in statuses_of(events) if status.state is SymbolState.REMOVED]
    assert len(removed) == MOST_STATUSES + 5
    setup.quote()
    setup.quote("S0")
    setup.hub.settle()
    await setup.read()
    assert setup.reader.mail[-1].box is again
    assert [piece.symbol for piece in pieces_of([setup.reader.mail[-1].event])] == ["AAPL"]


@in_hand_time
async def test_closing_comes_after_the_mail() -> None:
    """Who is told to go gets first what there is for him, without waiting for an interval, then the last word."""
    setup = Setup()
    box = await setup.subscribed(interval=3600.0, channels=[QUOTES, TRADES])
    setup.quote()
    setup.hub.settle()
    await setup.read()
    setup.quote()
    for _ in range(3):
        setup.trade()
    setup.hub.detach(box)
    setup.mailbox.close(CLOSING)
    events = await setup.read()
    assert len(pieces_of(events)) == 4
    assert events[-1] == CLOSING
    assert setup.reader.is_over


@in_hand_time
async def test_closing_waits_for_who_reads_slowly() -> None:
    """The last word waits until what lies before it has been acknowledged, as any mail."""
    setup = Setup()
    box = setup.subscribe()
    setup.quote()
    await setup.reader.read(1, ack=False)
    setup.hub.detach(box)
    setup.mailbox.close(CLOSING)
    assert await setup.reader.read(30, ack=False) == []
    setup.reader.ack()
    assert kinds(await setup.reader.read(30, ack=True)) == ["Updates", "Closing"]


@in_hand_time
async def test_closing_waits_for_a_subscription_that_has_just_ended() -> None:
    """REMOVED of a subscription that was ended before the gateway stops is said before the last word."""
    setup = Setup()
    box = setup.subscribe()
    await setup.reader.read(1, ack=False)
    setup.hub.leave(box, ["AAPL"])
    setup.mailbox.take_down(box)
    setup.mailbox.close(CLOSING)
    assert await setup.reader.read(10, ack=False) == []
    setup.reader.ack()
    events = await setup.reader.read(1)
    assert kinds(events) == ["Statuses", "Closing"]
    assert [status.state for status in statuses_of(events)] == [SymbolState.REMOVED]


@pytest.mark.parametrize("acks", [True, False])
@in_hand_time
async def test_a_hurry_leaves_mail_unread(acks: bool) -> None:
    """When there is no more time the last word comes at once, whatever lies before it."""
    setup = Setup(acks=acks)
    box = setup.subscribe(channels=[TRADES])
    await setup.reader.read(1, ack=False)
    for _ in range(MOST_UPDATES * 5):
        setup.trade()
    setup.hub.detach(box)
    setup.mailbox.close(CLOSING)
    setup.mailbox.hurry()
    assert await setup.reader.read(5, ack=False) == [CLOSING]
    assert setup.reader.is_over


@pytest.mark.parametrize(("acks", "read"), [(True, True), (True, False), (False, False)])
@in_hand_time
async def test_the_last_word_is_waited_for(acks: bool, read: bool) -> None:
    """The stream ends when its last word was acknowledged, two seconds later if it is not, at once without acks."""
    setup = Setup(acks=acks)
    setup.mailbox.close(CLOSING)
    assert await setup.reader.read_one(ack=False) == CLOSING
    ending = asyncio.create_task(setup.mailbox.next())
    await asyncio.sleep(1)
    assert ending.done() is not acks
    if read:
        setup.reader.ack()
    await asyncio.sleep(0.5 if read else 1.5)
    assert ending.done()
    assert await ending is None


@in_hand_time
async def test_only_the_first_farewell_counts() -> None:
    """Who has been told why he goes is not told another reason."""
    setup = Setup()
    setup.mailbox.hurry()
    setup.mailbox.close(CLOSING)
    setup.mailbox.close(Closing(Reason.NOT_FEED_HOLDER, "elsewhere", 2.0))
    assert await setup.read() == [CLOSING]


@in_hand_time
async def test_an_end_is_an_end() -> None:
    """When nobody reads any more, whoever waits for mail is let go, and nothing more comes."""
    setup = Setup()
    waiting = asyncio.create_task(setup.mailbox.next())
    await asyncio.sleep(1)
    setup.mailbox.end()
    assert await waiting is None
    assert await setup.mailbox.next() is None


@in_hand_time
async def test_a_reader_who_was_interrupted_misses_nothing() -> None:
    """Giving up waiting for a message and asking again later loses nothing, and leaves nothing behind."""
    setup = Setup()
    await setup.subscribed()
    for number in range(1, 50):
        setup.quote(bid=str(number))
        setup.hub.settle()
        await setup.read(0.0005)
    await setup.read()
    pieces = pieces_of(delivery.event for delivery in setup.reader.mail)
    assert pieces[-1].sequence == 49
    assert sum(1 + piece.conflated for piece in pieces) == 49


@in_hand_time
async def test_a_rejection_wakes_who_waits() -> None:
    """Any word about a symbol wakes a reader who has waited for hours."""
    setup = Setup()
    await setup.subscribed()
    reading = asyncio.create_task(setup.reader.read_one())
    await asyncio.sleep(1000)
    setup.hub.rejected(QUOTES, ["AAPL"], crossed())
    await asyncio.sleep(0.1)
    assert reading.done()
