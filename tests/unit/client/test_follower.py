"""The core of following, without I/O: what is handed on, acknowledged, resumed and counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest
from hypothesis import given, settings
from hypothesis import strategies as st

import tickgate
from tickgate import _plans as plans
from tickgate._follower import ACK_INTERVAL, CALM, HOP, LONGEST_PAUSE, WINDOW, Follower
from tickgate.v1 import error_reason_pb2, provenance_pb2, quote_pb2, unavailable_pb2
from tickgate.v1 import stream_service_pb2 as pb

from . import messages
from .streams import message, quote, status, statuses, trade, update, updates


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


LOST = tickgate.GatewayUnreachable("cut")
UNKNOWN = unavailable_pb2.DataUnavailable(
    reason=error_reason_pb2.ERROR_REASON_SYMBOL_UNKNOWN,
    category=unavailable_pb2.UNAVAILABLE_CATEGORY_DATA_UNAVAILABLE,
    message="ZZZZ: no such asset",
)

TIMELESS = provenance_pb2.Provenance(source=provenance_pb2.DATA_SOURCE_ALPACA)


def following(
    *symbols: str, clock: Clock | None = None, way: Any = plans.follow, **options: Any
) -> Follower[Any]:
    """A follower whose subscription was accepted with message 1, taken and acknowledged."""
    follower: Follower[Any] = Follower(
        way(*symbols, **options), clock=clock or Clock(), chance=lambda: 1.0
    )
    follower.connect()
    channel = follower.plan.channel
    follower.receive(statuses(1, *(status(each, channel=channel) for each in symbols)))
    drain(follower)
    follower.requests()
    return follower


def drain(follower: Follower[Any]) -> list[Any]:
    """Take everything that is there."""
    taken = []
    while (each := follower.take()) is not None:
        taken.append(each)
    return taken


def values(follower: Follower[Any]) -> list[tuple[str, int]]:
    """Take everything that is there; name symbol and number of each record."""
    return [(e.symbol, e.sequence) for e in drain(follower) if isinstance(e, tickgate.Update)]


def acks(follower: Follower[Any]) -> list[int]:
    """The acks that are due."""
    return [each.ack.delivery_sequence for each in follower.requests() if each.HasField("ack")]


# ------------------------------------------------------------------------------------- newest wins


def test_the_newest_quote_wins() -> None:
    """Whatever has come is merged: the newest quote of each symbol, the oldest symbol first."""
    follower = following("AAPL", "MSFT", "TSLA")
    follower.receive(updates(2, quote("MSFT", 1), quote("AAPL", 1)))
    follower.receive(updates(3, quote("TSLA", 1), quote("MSFT", 4, conflated=2)))
    msft, aapl, tsla = drain(follower)
    assert (msft.symbol, msft.sequence, msft.conflated) == ("MSFT", 4, 3)
    assert (aapl.symbol, aapl.sequence, aapl.conflated) == ("AAPL", 1, 0)
    assert tsla.symbol == "TSLA"


def test_a_busy_symbol_does_not_starve_a_quiet_one() -> None:
    """A quote that is superseded keeps its place in line, and the next one of its symbol goes behind."""
    follower = following("AAPL", "MSFT")
    follower.receive(updates(2, quote("AAPL", 1), quote("MSFT", 1)))
    assert follower.take().symbol == "AAPL"  # type: ignore[union-attr]
    follower.receive(updates(3, quote("AAPL", 2)))
    assert values(follower) == [("MSFT", 1), ("AAPL", 2)]


def test_queued_records_keep_their_order() -> None:
    """No trade supersedes another."""
    follower = following("AAPL", "MSFT", way=plans.follow_trades)
    follower.receive(updates(2, trade("AAPL", 1), trade("MSFT", 1), trade("AAPL", 2)))
    follower.receive(updates(3, trade("AAPL", 3)))
    assert values(follower) == [("AAPL", 1), ("MSFT", 1), ("AAPL", 2), ("AAPL", 3)]


def test_a_live_record_is_complete() -> None:
    """What a record leaves to its message and to the reader is filled in: when it was served, how old it was."""
    follower = following("AAPL")
    follower.receive(updates(2, quote("AAPL", 1)))
    (live,) = drain(follower)
    origin = live.value.provenance
    assert origin.serve_time_ns == messages.NOON + 5
    assert origin.receive_age_ns == 4
    assert origin.event_age is None
    assert live.kind is tickgate.UpdateKind.LIVE


# -------------------------------------------------------------------------------------------- acks


def test_nothing_is_acknowledged_before_it_is_taken() -> None:
    """That a message has come is no reason for the gateway to send more."""
    follower = following("AAPL")
    follower.receive(updates(2, quote("AAPL", 1)))
    assert follower.due_in() is None
    assert acks(follower) == []


def test_a_take_acknowledges_all_that_was_merged() -> None:
    """An ack is cumulative: what conflates takes no more room, however much of it is unread."""
    clock = Clock()
    follower = following("AAPL", "MSFT", clock=clock)
    clock.now += 1
    follower.receive(updates(2, quote("AAPL", 1), quote("MSFT", 1)))
    follower.receive(updates(3, quote("AAPL", 2)))
    follower.take()
    assert acks(follower) == [3]


def test_a_queued_message_is_acknowledged_with_its_last_record() -> None:
    """What is queued makes room only by being taken."""
    clock = Clock()
    follower = following("AAPL", clock=clock, way=plans.follow_trades)
    clock.now += 1
    follower.receive(updates(2, trade("AAPL", 1), trade("AAPL", 2)))
    follower.receive(updates(3, trade("AAPL", 3)))
    follower.take()
    assert acks(follower) == []
    follower.take()
    assert acks(follower) == [2]


def test_acks_are_no_closer_together_than_the_interval() -> None:
    """A quick reader acknowledges every 50 ms; the last ack is due when they have passed."""
    clock = Clock()
    follower = following("AAPL", clock=clock)
    clock.now += 1
    follower.receive(updates(2, quote("AAPL", 1)))
    follower.take()
    assert acks(follower) == [2]
    follower.receive(updates(3, quote("AAPL", 2)))
    follower.take()
    clock.now += ACK_INTERVAL / 2
    follower.receive(updates(4, quote("AAPL", 3)))
    follower.take()
    assert acks(follower) == []
    assert follower.due_in() == pytest.approx(ACK_INTERVAL / 2)
    clock.now += ACK_INTERVAL / 2
    assert acks(follower) == [4]
    assert follower.due_in() is None


def test_a_slow_reader_acknowledges_at_his_pace() -> None:
    """Who takes once a second acknowledges once a second, at once: that is what holds the gateway back."""
    clock = Clock()
    follower = following("AAPL", clock=clock)
    said = []
    for number in range(2, 6):
        follower.receive(updates(number, quote("AAPL", number)))
        clock.now += 1
        said.append(acks(follower))
        follower.take()
        said.append(acks(follower))
    assert said == [[], [2], [], [3], [], [4], [], [5]]


def test_a_heartbeat_is_acknowledged_when_nothing_is_unread() -> None:
    """A sign of life needs no reader, unless there is something before it."""
    clock = Clock()
    follower = following("AAPL", clock=clock)
    clock.now += 1
    follower.receive(message(2, heartbeat=pb.Heartbeat()))
    assert acks(follower) == [2]
    clock.now += 1
    follower.receive(updates(3, quote("AAPL", 1)))
    follower.receive(message(4, heartbeat=pb.Heartbeat()))
    assert acks(follower) == []


# ---------------------------------------------------------------------------------------- silence


def test_silence_is_three_heartbeats_without_a_sign() -> None:
    """The connection counts as lost when nothing has come for three intervals."""
    clock = Clock()
    follower = following("AAPL", clock=clock, heartbeat_interval=2)
    clock.now += 5
    assert follower.silent_in() == pytest.approx(1)
    follower.receive(message(2, heartbeat=pb.Heartbeat()))
    assert follower.silent_in() == pytest.approx(6)
    assert "6 s" in str(follower.silence())


def test_a_reader_who_does_not_read_is_not_a_lost_connection() -> None:
    """With a full window the gateway falls silent by itself; when it is acknowledged, the time begins anew."""
    clock = Clock()
    follower = following("AAPL", clock=clock, heartbeat_interval=2)
    for number in range(2, 2 + WINDOW):
        follower.receive(updates(number, quote("AAPL", number)))
    clock.now += 3600
    assert follower.silent_in() > 0
    follower.take()
    follower.requests()
    assert follower.silent_in() == pytest.approx(6)


# --------------------------------------------------------------------------------------- resuming


def test_a_stream_resumes_behind_what_was_taken() -> None:
    """The token is that of the last message all of whose records were taken."""
    follower = following("AAPL", way=plans.follow_trades)
    follower.receive(updates(2, trade("AAPL", 1)))
    follower.receive(updates(3, trade("AAPL", 2), trade("AAPL", 3)))
    follower.take()
    follower.take()
    follower.lose(LOST)
    request = follower.connect().subscribe
    assert request.resume_token == "t2"
    assert request.symbols == ["AAPL"]


def test_nothing_is_delivered_twice() -> None:
    """Of what is replayed only what was not taken is handed on, each record once."""
    follower = following("AAPL", way=plans.follow_trades)
    follower.receive(updates(2, trade("AAPL", 1), trade("AAPL", 2), trade("AAPL", 3)))
    taken = [follower.take(), follower.take()]
    follower.lose(LOST)
    follower.connect()
    follower.receive(statuses(1, status("AAPL", channel="TRADES", sequence=4)))
    replayed = [trade("AAPL", number, kind="REPLAY") for number in (1, 2, 3, 4)]
    follower.receive(updates(2, *replayed, trade("AAPL", 5)))
    assert [each.sequence for each in taken if isinstance(each, tickgate.Update)] == [1, 2]
    assert values(follower) == [("AAPL", 3), ("AAPL", 4), ("AAPL", 5)]
    counts = follower.counts()["AAPL"]
    assert (counts.numbered, counts.delivered, counts.outstanding) == (5, 5, 0)


def test_a_resumed_queue_needs_no_snapshot() -> None:
    """What stands is among what is replayed, so it is handed on once, in its place."""
    follower = following("AAPL", way=plans.follow_trades)
    follower.receive(updates(2, trade("AAPL", 7, kind="SNAPSHOT")))
    assert values(follower) == [("AAPL", 7)]
    follower.lose(LOST)
    follower.connect()
    follower.receive(statuses(1, status("AAPL", channel="TRADES", sequence=9)))
    replayed = [trade("AAPL", number, kind="REPLAY") for number in (8, 9)]
    follower.receive(updates(2, trade("AAPL", 9, kind="SNAPSHOT"), *replayed))
    assert values(follower) == [("AAPL", 8), ("AAPL", 9)]


def test_what_has_come_is_kept_where_it_cannot_come_again() -> None:
    """Another session of the feed replays nothing: what was unread of the old one is still handed on, first."""
    follower = following("AAPL", way=plans.follow_trades)
    follower.receive(updates(2, trade("AAPL", 1), trade("AAPL", 2)))
    follower.lose(LOST)
    follower.connect()
    gap = messages.OPEN_GAP
    first = status("AAPL", channel="TRADES", sequence=7, gaps=[gap])
    follower.receive(statuses(1, first, epoch="e2"))
    follower.receive(updates(2, trade("AAPL", 8), epoch="e2"))
    one, two, lost, again, said, new = drain(follower)
    assert [each.sequence for each in (one, two, new)] == [1, 2, 8]
    assert isinstance(lost, tickgate.Disconnected)
    assert (again.resumed, again.attempts) == (False, 1)
    assert said.gaps == (messages.OPEN_GAP_READ,)


def test_an_outage_is_told_once_with_its_newest_word() -> None:
    """However many attempts fail, a reader who comes later finds one loss, and its end."""
    clock = Clock()
    follower = following("AAPL", clock=clock)
    for said in ("cut", "still away"):
        follower.lose(tickgate.GatewayUnreachable(said))
        clock.now += 2
        follower.connect()
    follower.receive(statuses(1, status("AAPL")))
    lost, again, live = drain(follower)
    assert lost.error.message == "still away"
    assert (again.attempts, again.outage.total_seconds(), again.resumed) == (2, 4, True)
    assert live.state is tickgate.SymbolState.LIVE


def test_nothing_is_known_while_the_connection_is_lost() -> None:
    """States of yesterday are no states; the newest record stays what it is, with its times."""
    follower = following("AAPL")
    follower.receive(updates(2, quote("AAPL", 7)))
    assert follower.states["AAPL"].state is tickgate.SymbolState.LIVE
    follower.lose(LOST)
    assert follower.states == {}
    assert not follower.connected
    latest = follower.latest("AAPL")
    assert latest is not None
    assert latest.bid.price == 7


# ------------------------------------------------------------------------------------ trying again


def test_pauses_grow_and_are_spread() -> None:
    """Each failed attempt doubles the pause, up to half a minute; chance takes up to half of it away."""
    follower = following("AAPL")
    pauses = [follower.lose(LOST) for _ in range(12)]
    assert pauses[:3] == [0.1, 0.2, 0.4]
    assert pauses[-1] == LONGEST_PAUSE
    lucky: Follower[Any] = Follower(plans.follow("AAPL"), chance=lambda: 0.0)
    lucky.opened = True
    assert lucky.lose(LOST) == 0.05


def refused(follower: Follower[Any], error: tickgate.TickgateError, gateways: int) -> float | None:
    """Lose the stream and begin another, and give the pause between the two."""
    pause = follower.lose(error, gateways=gateways)
    follower.connect()
    return pause


def test_every_gateway_is_tried_before_a_pause() -> None:
    """Of several gateways the untried are tried at once, and only whole rounds that failed make the pauses grow."""
    follower = following("AAPL")
    pauses = [refused(follower, LOST, 3) for _ in range(9)]
    assert pauses == [HOP, HOP, 0.1, HOP, HOP, 0.2, HOP, HOP, 0.4]


def test_the_delay_that_one_gateway_asks_for_is_no_reason_to_spare_the_others() -> None:
    """Who was asked to come again later turns to the others now, and comes again not before that."""
    busy = tickgate.GatewayError("busy", code="RESOURCE_EXHAUSTED", retry_delay_ns=8 * 10**9)
    follower = following("AAPL")
    assert refused(follower, busy, 2) == HOP
    assert refused(follower, busy, 2) == 12


def test_gateways_that_accept_and_end_are_left_alone_for_a_while() -> None:
    """Streams that begin and end at once are no round of untried gateways for long."""
    follower = following("AAPL")
    pauses = []
    for _ in range(6):
        pauses.append(follower.lose(LOST, gateways=2))
        follower.connect()
        follower.receive(statuses(1, status("AAPL")))
    assert pauses == [HOP] * 4 + [0.4, 0.4]


def test_a_connection_that_lasted_is_made_again_at_once() -> None:
    """Only a connection that has held for a while makes the pauses short again."""
    clock = Clock()
    follower = following("AAPL", clock=clock)
    for pause in (0.1, 0.2, 0.4):
        assert follower.lose(LOST) == pause
        follower.connect()
        follower.receive(statuses(1, status("AAPL")))
    clock.now += CALM
    assert follower.lose(LOST) == 0.1


def test_the_gateways_delay_is_kept() -> None:
    """A gateway that is leaving, a pushback and a RetryInfo name the least to wait; the rest is chance."""
    follower = following("AAPL")
    closing = pb.StreamClosing(
        reason=error_reason_pb2.ERROR_REASON_NOT_FEED_HOLDER,
        message="elsewhere",
        retry_delay=Duration(seconds=4),
    )
    follower.receive(message(2, closing=closing))
    assert follower.closing
    assert follower.lose(None) == 6
    (lost,) = drain(follower)
    assert type(lost.error) is tickgate.NotFeedHolder
    assert following("AAPL").lose(LOST, 2.0) == 3
    busy = tickgate.GatewayError("busy", code="RESOURCE_EXHAUSTED", retry_delay_ns=8 * 10**9)
    assert following("AAPL").lose(busy) == 12


@pytest.mark.parametrize(
    "error",
    [
        tickgate.InvalidRequest("wrong"),
        tickgate.NotPermitted("no"),
        tickgate.Unauthenticated("who?"),
        tickgate.GatewayError("what?", code="UNIMPLEMENTED"),
        tickgate.GatewayError("who?", code="UNAUTHENTICATED"),
        tickgate.NotEntitled(messages.unavailable_read(None)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_be_mended_ends_it(error: tickgate.TickgateError) -> None:
    """An error that trying again cannot mend is raised, behind everything that has come before it."""
    follower = following("AAPL")
    follower.receive(updates(2, quote("AAPL", 1)))
    assert follower.lose(error) is None
    assert follower.take() is not None
    for _ in range(2):
        with pytest.raises(type(error)):
            follower.take()


@pytest.mark.parametrize(
    ("error", "pushback", "again"),
    [
        (tickgate.GatewayError("fault", code="INTERNAL"), None, True),
        (tickgate.GatewayError("fault", code="INTERNAL"), -1.0, False),
        (tickgate.NotFeedHolder("elsewhere"), -1.0, True),
        (tickgate.SubscriptionLimit(messages.unavailable_read(None)), -1.0, True),
        (None, None, True),
    ],
)
def test_a_no_is_a_no_unless_the_reason_says_otherwise(
    error: tickgate.TickgateError | None, pushback: float | None, again: bool
) -> None:
    """A negative pushback stops it, but not where the contract says to come again."""
    assert (following("AAPL").lose(error, pushback) is not None) is again


# -------------------------------------------------------------------------------------- entering


def test_whoever_enters_is_told_at_once() -> None:
    """Before the gateway has answered, nobody there is an error after one more attempt."""
    follower: Follower[Any] = Follower(plans.follow("AAPL"))
    assert follower.lose(LOST) is not None
    assert follower.lose(LOST) is None
    with pytest.raises(tickgate.GatewayUnreachable):
        follower.take()


def test_whoever_enters_has_every_gateway_tried() -> None:
    """Before one has answered, nobody at any of several is an error after one more attempt than there are."""
    follower: Follower[Any] = Follower(plans.follow("AAPL"))
    for _ in range(3):
        assert follower.lose(LOST, gateways=3) is not None
    assert follower.lose(LOST, gateways=3) is None


def test_whoever_enters_waits_for_the_feed_to_be_taken_over() -> None:
    """Where one replica is the wrong one and the others are away, somebody is about to take over: it goes on."""
    follower: Follower[Any] = Follower(plans.follow("AAPL"))
    errors = [LOST, tickgate.NotFeedHolder("elsewhere"), *[LOST] * 7]
    assert None not in [follower.lose(error, gateways=2) for error in errors]


def test_the_wrong_replica_is_left_for_another() -> None:
    """As long as there is time, one replica after the other is tried for the one that has the feed."""
    follower: Follower[Any] = Follower(plans.follow("AAPL"))
    pauses = [follower.lose(tickgate.NotFeedHolder("elsewhere")) for _ in range(9)]
    assert None not in pauses
    assert type(follower.late(5)) is tickgate.NotFeedHolder
    assert type(following("AAPL").late(5)) is tickgate.DeadlineExceeded


def refusal(text: str) -> pb.RequestRefused:
    """A refused request."""
    violation = BadRequest.FieldViolation(field="subscribe.symbols", description=text)
    return pb.RequestRefused(
        reason=error_reason_pb2.ERROR_REASON_INVALID_REQUEST,
        message=text,
        bad_request=BadRequest(field_violations=[violation]),
    )


def test_a_refused_subscription_is_an_invalid_request() -> None:
    """What the gateway refuses is raised with each field, and not tried again."""
    follower: Follower[Any] = Follower(plans.follow("AAPL"))
    follower.connect()
    follower.receive(message(1, epoch="", refused=refusal("too many")))
    assert follower.closing
    assert follower.lose(None) is None
    with pytest.raises(tickgate.InvalidRequest) as caught:
        follower.take()
    assert caught.value.violations[0].field == "subscribe.symbols"


# --------------------------------------------------------------------------------- symbols and states


def test_symbols_are_added_and_removed() -> None:
    """A change is settled by the gateway's answers, and the next stream begins with what is wanted then."""
    follower = following("AAPL")
    added = follower.add(["TSLA", "MSFT"])
    (request,) = follower.requests()
    assert request.add.symbols == ["TSLA", "MSFT"]
    follower.receive(statuses(2, status("TSLA", "PENDING")))
    assert added.waiting == {"MSFT"}
    follower.receive(statuses(3, status("MSFT", "REJECTED", unavailable=UNKNOWN)))
    assert added.settled
    follower.settled(added)

    removed = follower.remove(["AAPL"])
    (request, *_) = follower.requests()
    assert request.unsubscribe.symbols == ["AAPL"]
    follower.receive(statuses(4, status("AAPL", "REMOVED")))
    assert removed.settled
    follower.settled(removed)
    follower.lose(LOST)
    assert follower.connect().subscribe.symbols == ["TSLA", "MSFT"]


def test_an_answer_is_not_held_back_by_what_is_unread() -> None:
    """While an answer is waited for, messages are acknowledged as they come: the window stays open for it."""
    clock = Clock()
    follower = following("AAPL", clock=clock)
    clock.now += 1
    follower.receive(updates(2, quote("AAPL", 1)))
    follower.add(["TSLA"])
    assert acks(follower) == [2]
    clock.now += 1
    follower.receive(updates(3, quote("AAPL", 2)))
    assert acks(follower) == [3]


def test_a_removed_symbol_is_gone() -> None:
    """Nothing of it is handed on any more, not even what had come."""
    follower = following("AAPL", "MSFT", way=plans.follow_trades)
    follower.receive(updates(2, trade("AAPL", 1), trade("MSFT", 1), trade("AAPL", 2)))
    follower.remove(["AAPL"])
    follower.receive(updates(3, trade("AAPL", 3)))
    follower.receive(statuses(4, status("AAPL", "REMOVED")))
    assert values(follower) == [("MSFT", 1)]
    assert follower.latest("AAPL") is None
    assert follower.states.keys() == follower.counts().keys() == {"MSFT"}


def test_a_refused_change_changes_nothing() -> None:
    """What is followed is what was followed before, and the subscription goes on."""
    follower = following("AAPL", "MSFT")
    for begin, symbol in ((follower.add, "TSLA"), (follower.remove, "AAPL")):
        change = begin([symbol])
        follower.receive(message(2, epoch="", refused=refusal("no")))
        with pytest.raises(tickgate.InvalidRequest, match="no"):
            follower.settled(change)
    follower.lose(LOST)
    assert set(follower.connect().subscribe.symbols) == {"AAPL", "MSFT"}


def test_a_change_outlives_its_connection() -> None:
    """What was asked for on a stream that is lost is part of the next one, and settled by it."""
    follower = following("AAPL", "MSFT")
    removed = follower.remove(["MSFT"])
    follower.lose(LOST)
    assert follower.connect().subscribe.symbols == ["AAPL"]
    follower.receive(statuses(1, status("AAPL")))
    assert removed.settled
    follower.settled(removed)
    follower.lose(LOST)
    added = follower.add(["TSLA"])
    assert follower.requests() == []
    assert follower.connect().subscribe.symbols == ["AAPL", "TSLA"]
    follower.receive(statuses(1, status("AAPL"), status("TSLA")))
    assert added.settled


def test_the_last_symbol_is_not_removed() -> None:
    """A subscription to nothing is left, not kept."""
    with pytest.raises(tickgate.InvalidRequest, match="leave the subscription"):
        following("AAPL").remove(["AAPL"])


def test_all_rejected_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    """Some symbols that cannot be followed are a warning to who reads records alone; all of them an error."""
    follower = following("ZZZZ", "AAPL")
    follower.receive(statuses(2, status("ZZZZ", "REJECTED", unavailable=UNKNOWN)))
    (rejected,) = drain(follower)
    assert follower.value(rejected) is None
    assert caplog.messages == ["ZZZZ is not followed: ZZZZ: no such asset"]
    follower.receive(statuses(3, status("AAPL", "REJECTED", unavailable=UNKNOWN)))
    (rejected,) = drain(follower)
    with pytest.raises(tickgate.UnknownSymbol):
        follower.value(rejected)


def test_a_symbol_that_breaks_a_rule_is_an_invalid_request() -> None:
    """A symbol that cannot be one is raised as for any other question."""
    why = unavailable_pb2.DataUnavailable(
        reason=error_reason_pb2.ERROR_REASON_INVALID_REQUEST, message="aapl: upper case"
    )
    follower = following("aapl")
    follower.receive(statuses(2, status("aapl", "REJECTED", unavailable=why)))
    (rejected,) = drain(follower)
    with pytest.raises(tickgate.InvalidRequest, match="upper case"):
        follower.value(rejected)


@pytest.mark.parametrize(
    "broken",
    [
        updates(2, trade("AAPL", 1)),
        updates(2, pb.Update(sequence=1)),
        updates(2, update(1, quote=quote_pb2.Quote(symbol="AAPL", provenance=TIMELESS))),
        statuses(2, status("AAPL", "REJECTED")),
        statuses(2, pb.SymbolStatus(symbol="AAPL")),
    ],
    ids=["another channel", "nothing", "no times", "no reason", "no state"],
)
def test_a_broken_contract_is_said(broken: pb.SubscribeResponse) -> None:
    """What the contract rules out is a fault of the gateway, and never handed on."""
    follower = following("AAPL", "MSFT")
    follower.receive(broken)
    with pytest.raises(tickgate.GatewayError, match="breaks the contract"):
        drain(follower)


@pytest.mark.parametrize(
    ("symbols", "error"),
    [
        ((), tickgate.InvalidRequest),
        (("AAPL", "AAPL"), tickgate.InvalidRequest),
        ((["AAPL"],), TypeError),
    ],
)
def test_symbols_are_checked_at_once(symbols: Any, error: type[Exception]) -> None:
    """Nothing, the same twice and a list are refused before anything is sent."""
    with pytest.raises(error, match="symbol"):
        plans.follow(*symbols)


@pytest.mark.parametrize(
    "field",
    ["min_update_interval", "stale_after", "max_unread_age", "heartbeat_interval", "timeout"],
)
def test_lengths_are_checked_at_once(field: str) -> None:
    """A length of time that cannot be one is refused before anything is sent."""
    arguments: dict[str, Any] = {field: -1}
    with pytest.raises(tickgate.InvalidRequest, match=field):
        plans.follow("AAPL", **arguments)


# -------------------------------------------------------------------------------------- the law


class Gateway:
    """A gateway that keeps the law: it numbers, conflates or queues, refuses, replays and says so."""

    def __init__(self, follower: Follower[Any], *, conflates: bool) -> None:
        self.follower = follower
        self.conflates = conflates
        self.make = quote if conflates else trade
        self.channel = "QUOTES" if conflates else "TRADES"
        self.number: Counter[str] = Counter()
        self.valid: dict[str, list[int]] = {"AAPL": [], "MSFT": []}
        self.sent_upto: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.tokens: list[dict[str, int]] = []
        """What each token says was sent: the newest number of each symbol."""
        self.statuses = 0
        """Statuses that were ever sent."""
        self.stream: list[tuple[str, int, list[tuple[str, int]]]] = []
        """The messages of the stream: token, statuses ever sent up to there, and records."""

    def connect(self) -> str:
        """Take the subscription, say where counting starts, and send what a resume owes."""
        token = self.follower.connect().subscribe.resume_token
        self.stream, self.refused = [], Counter()
        self.sent_upto = Counter(self.tokens[int(token)]) if token else Counter()
        self._say(*self.valid)
        kind = "SNAPSHOT" if self.conflates else "REPLAY"
        found = self._new() if token and not self.conflates else {}
        if self.conflates:
            found = {symbol: numbers[-1:] for symbol, numbers in self.valid.items()}
        self._send_records([(s, n, 0) for s, numbers in found.items() for n in numbers], kind)
        return token

    def record(self, symbol: str, *, valid: bool) -> None:
        """Receive a record from the upstream."""
        self.number[symbol] += 1
        if valid:
            self.valid[symbol].append(self.number[symbol])
        else:
            self.refused[symbol] += 1

    def flush(self) -> None:
        """Send what has come since."""
        if self.refused:
            self._say(*self.refused)
            self.refused.clear()
        records = []
        for symbol, numbers in self._new().items():
            if self.conflates:
                records += [(symbol, n, len(numbers) - 1) for n in numbers[-1:]]
            else:
                records += [(symbol, n, 0) for n in numbers]
        self._send_records(records, "LIVE")

    def _new(self) -> dict[str, list[int]]:
        return {s: [n for n in found if n > self.sent_upto[s]] for s, found in self.valid.items()}

    def _say(self, *symbols: str) -> None:
        self.statuses += len(symbols)
        refusals = {
            s: [unavailable_pb2.RefusalCount(rule="crossed", count=self.refused[s])]
            for s in symbols
            if self.refused[s]
        }
        said = [
            status(s, sequence=self.number[s], channel=self.channel, refusals=refusals.get(s, ()))
            for s in symbols
        ]
        self._send(statuses, said, [])

    def _send_records(self, records: list[tuple[str, int, int]], kind: str) -> None:
        for symbol, number, _ in records:
            self.sent_upto[symbol] = max(self.sent_upto[symbol], number)
        if records:
            made = [self.make(s, n, kind=kind, conflated=conflated) for s, n, conflated in records]
            self._send(updates, made, [(s, n) for s, n, _ in records])

    def _send(self, make: Any, content: list[Any], records: list[tuple[str, int]]) -> None:
        token = str(len(self.tokens))
        self.tokens.append(dict(self.sent_upto))
        self.stream.append((token, self.statuses, records))
        self.follower.receive(make(len(self.stream), *content, token=token))


class Reader:
    """An application, and what it has a right to."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.taken: dict[str, list[int]] = {"AAPL": [], "MSFT": []}
        self.on_stream: set[tuple[str, int]] = set()
        self.statuses = 0
        self.token = ""
        self.acked = self.merged = 0

    def take(self) -> Any:
        """Take one thing."""
        each = self.gateway.follower.take()
        self.merged = len(self.gateway.stream)
        if isinstance(each, tickgate.Update):
            self.on_stream.add((each.symbol, each.sequence))
            self.taken[each.symbol].append(each.sequence)
        self.statuses += isinstance(each, tickgate.SymbolStatus)
        for token, said, records in self.gateway.stream:
            if self.statuses < said or not all(self.has_taken(*record) for record in records):
                break
            self.token = token
        return each

    def take_all(self) -> None:
        """Take everything that is there."""
        while self.take() is not None:
            pass

    def has_taken(self, symbol: str, number: int) -> bool:
        """Tell whether a record, or a newer one in its place, was taken."""
        if self.gateway.conflates:
            return any(s == symbol and n >= number for s, n in self.on_stream)
        return number in self.taken[symbol]

    def check_acks(self) -> None:
        """Acks grow, and are never beyond what was taken."""
        for number in acks(self.gateway.follower):
            assert self.acked < number
            self.acked = number
            if self.gateway.conflates:
                assert number <= self.merged
            else:
                read = self.gateway.stream[:number]
                assert all(self.has_taken(*record) for _, _, found in read for record in found)

    def live_through(self, operation: str, clock: Clock) -> None:
        """Do one thing, or have it happen."""
        match operation.split():
            case ["flush"]:
                self.gateway.flush()
            case ["burst"]:
                for symbol in ("AAPL", "MSFT", "AAPL"):
                    self.gateway.record(symbol, valid=True)
                self.gateway.flush()
            case ["take"]:
                self.take()
            case ["wait"]:
                clock.now += ACK_INTERVAL
            case ["cut"]:
                self.cut()
            case [symbol, *refused]:
                self.gateway.record(symbol, valid=not refused)

    def cut(self) -> None:
        """Lose the stream and make another, which resumes behind the last message that was taken whole."""
        self.gateway.follower.lose(LOST)
        self.on_stream.clear()
        self.acked = self.merged = 0
        assert self.gateway.connect() == self.token


OPERATIONS = st.lists(
    st.sampled_from(
        ["AAPL", "MSFT", "AAPL refused", "flush", "burst", "take", "take", "take", "wait", "cut"]
    ),
    min_size=10,
    max_size=60,
)


@pytest.mark.parametrize("conflates", [True, False], ids=["conflated", "queued"])
@settings(max_examples=200, deadline=None)
@given(operations=OPERATIONS)
def test_the_law_holds(conflates: bool, operations: list[str]) -> None:
    """Whatever comes, is taken and is cut in whatever order: acks, tokens, order and counts are right."""
    clock = Clock()
    way: Any = plans.follow if conflates else plans.follow_trades
    follower: Follower[Any] = Follower(way("AAPL", "MSFT"), clock=clock)
    gateway = Gateway(follower, conflates=conflates)
    reader = Reader(gateway)
    gateway.connect()
    reader.take_all()
    for operation in [*operations, "flush"]:
        reader.live_through(operation, clock)
        reader.check_acks()
    reader.take_all()

    for symbol, numbers in reader.taken.items():
        counts = follower.counts()[symbol]
        assert counts.outstanding == 0
        if conflates:
            assert numbers == sorted(numbers)
            assert numbers[-1:] == gateway.valid[symbol][-1:]
        else:
            assert numbers == gateway.valid[symbol]
            assert (counts.delivered, counts.conflated) == (len(numbers), 0)
