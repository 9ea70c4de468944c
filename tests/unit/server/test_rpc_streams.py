"""StreamService over feeds that a test feeds by hand: what is said of losses, gaps, states and silence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import gap_pb2, provenance_pb2
from tickgate.v1 import stream_service_pb2 as pb
from tickgate_server.fanout.box import Status
from tickgate_server.fanout.hub import Hub
from tickgate_server.market.live import (
    Channel,
    FeedState,
    GapCause,
    Loss,
    LossCause,
    RecordKind,
    SymbolState,
)
from tickgate_server.market.provenance import Feed
from tickgate_server.market.session import MarketSession
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Reason, Refusal
from tickgate_server.rpc import convert, streams

from ...support.admin import Face, Parts, served
from ...support.fakes import NOW, quote, trade, unavailable
from ...support.following import TRADES, Follower, following, state_name, watching
from ...support.waiting import until

CROSSED = unavailable(
    Reason.INVALID_DATA,
    refusal=Refusal("crossed", "bid 2 above ask 1", NOW),
    last_event_time=NOW,
)


@asynccontextmanager
async def followed(
    parts: Parts, *symbols: str, channel: Channel = Channel.QUOTES, **terms: Any
) -> AsyncIterator[tuple[Follower, Hub, Face]]:
    """Follow *symbols* on one channel of a feed that has confirmed them."""
    number = convert.CHANNELS[channel]
    async with (
        served(parts) as face,
        following(face.streams, *symbols, channels=[number], **terms) as follower,
    ):
        for symbol in symbols:
            await follower.until(lambda: follower.statuses(symbol, number))  # noqa: B023
        hub = parts.live.hubs[Feed.IEX]
        hub.confirmed(channel, symbols)
        for symbol in symbols:
            await follower.until_state(symbol, "LIVE", number)
        yield follower, hub, face


def brings(hub: Hub, count: int, first: int = 1, symbol: str = "AAPL") -> None:
    """Let the feed bring *count* trades, numbered on from *first*, stamped a second apart."""
    for number in range(first, first + count):
        value = trade(symbol, at=NOW + number * NANOS)
        hub.accept(RecordKind.TRADE, symbol, value)
    hub.settle()


async def test_what_a_slow_follower_lost_is_told_exactly() -> None:
    """Who does not read is told from which number to which he lost, how many, and from when to when; the rest comes."""
    parts = Parts()
    async with followed(parts, "AAPL", channel=Channel.TRADES) as (follower, hub, _):
        follower.acks = False
        # A queue holds a hundred, and what was on its way before does not count.
        brings(hub, 1)
        await follower.until(lambda: len(follower.updates("AAPL")) == 1)
        brings(hub, 150, first=2)
        follower.acks = True
        await follower.ack(follower.messages[-1].delivery_sequence)
        await follower.until(lambda: len(follower.updates("AAPL")) == 101)

    (loss,) = [loss for status in follower.statuses("AAPL", TRADES) for loss in status.losses]
    assert loss.cause == pb.LOSS_CAUSE_SLOW_FOLLOWER
    assert (loss.first_sequence, loss.last_sequence, loss.count) == (2, 51, 50)
    assert loss.start_time.ToNanoseconds() == NOW + 2 * NANOS
    assert loss.end_time.ToNanoseconds() == NOW + 51 * NANOS
    numbers = [update.sequence for update in follower.updates("AAPL")]
    assert numbers == [1, *range(52, 152)]
    assert parts.counters.streams.lost == 50


async def test_refusals_are_counted_by_rule() -> None:
    """Refused records since the status before are told by rule, in order, and never twice."""
    no_sides = unavailable(Reason.NO_DATA)
    async with followed(Parts(), "AAPL") as (follower, hub, _):
        for why in (CROSSED, no_sides, CROSSED):
            hub.refuse(RecordKind.QUOTE, "AAPL", why)
        hub.settle()
        status = await follower.until_state("AAPL", "INVALID")
        hub.accept(RecordKind.QUOTE, "AAPL", quote())
        hub.settle()
        await follower.until_state("AAPL", "LIVE")

    refusals = [
        (one.rule, one.count) for told in follower.statuses("AAPL") for one in told.refusals
    ]
    assert sorted(refusals) == [("crossed", 2), ("no_sides", 1)]
    assert status.sequence == 3
    assert status.unavailable.reason == reasons.ERROR_REASON_INVALID_DATA
    assert status.unavailable.refusal.rule == "crossed"
    assert status.unavailable.last_event_time.ToNanoseconds() == NOW
    assert status.unavailable.request_id


async def test_a_quote_that_should_move_and_does_not_is_stale() -> None:
    """A quote that has not moved for as long as its follower takes is STALE for him alone, until it moves."""
    parts = Parts()
    async with (
        followed(parts, "AAPL", stale_after=Duration(seconds=5)) as (follower, hub, face),
        following(face.streams, "AAPL") as patient,
    ):
        await patient.until_state("AAPL", "LIVE")
        parts.clock.advance(5.5)
        await parts.live.streams.tick()
        await follower.until_state("AAPL", "STALE")
        hub.accept(RecordKind.QUOTE, "AAPL", quote(received=parts.clock.wall()))
        hub.settle()
        await follower.until_state("AAPL", "LIVE")
        assert "STALE" not in patient.states("AAPL")


@pytest.mark.parametrize("session", [None, *MarketSession])
async def test_only_a_closed_market_is_quiet(session: MarketSession | None) -> None:
    """While the market is closed symbols are QUIET and none is STALE; in any other session they are not QUIET."""
    parts = Parts()
    async with followed(parts, "AAPL") as (follower, _, _face):
        parts.live.session = session
        parts.clock.advance(3600)
        await parts.live.streams.tick()
        await follower.query()
        expected = {MarketSession.CLOSED: "QUIET", MarketSession.OPEN: "STALE"}
        await follower.until_state("AAPL", expected.get(session, "LIVE"))  # type: ignore[arg-type]  # None is a session


async def test_a_gap_is_told_from_its_beginning_to_its_end() -> None:
    """A follower is told of an open gap with cause and start, and of the same gap with its end."""
    parts = Parts()
    async with followed(parts, "AAPL") as (follower, hub, _):
        hub.lost(GapCause.DISCONNECTED, NOW - NANOS, "reset")
        opened = await follower.until_state("AAPL", "GAP")
        parts.clock.advance(2)
        hub.confirmed(Channel.QUOTES, ["AAPL"])
        closed = await follower.until_state("AAPL", "LIVE")

    (before,), (after,) = opened.gaps, closed.gaps
    assert before.id == after.id == 1
    assert (before.cause, before.message) == (gap_pb2.GAP_CAUSE_DISCONNECTED, "reset")
    assert before.start_time.ToNanoseconds() == NOW - NANOS
    assert not before.HasField("end_time")
    assert after.end_time.ToNanoseconds() == NOW + 2 * NANOS
    assert not after.parts


async def test_very_many_gaps_are_told_in_messages_of_bounded_size() -> None:
    """A follower who comes back after many gaps of many symbols is told of each, in messages that a client takes."""
    parts = Parts()
    symbols = [f"S{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    async with followed(parts, *symbols) as (follower, hub, face):
        token = follower.messages[-1].resume_token
        for _ in range(100):
            parts.clock.advance(1)
            hub.lost(GapCause.DISCONNECTED, parts.clock.wall(), "reset " * 10)
            hub.confirmed(Channel.QUOTES, symbols)
        async with following(face.streams, *symbols, resume_token=token) as back:

            def told() -> int:
                return sum(len(status.gaps) for status in back.statuses())

            await back.until(lambda: told() == 2600)

    assert max(len(message.SerializeToString()) for message in back.messages) < 1 << 18


async def test_a_heartbeat_without_records_names_no_time() -> None:
    """A heartbeat tells when something last came on the stream's own feeds, and no time before anything has."""
    beat = {"heartbeat_interval": Duration(nanos=100_000_000)}
    parts = Parts(last_records={Feed.SIP: NOW + NANOS})
    async with served(parts) as face, following(face.streams, "AAPL", **beat) as follower:
        # Why there is no snapshot is the last that is said by itself.
        await follower.until(
            lambda: any(one.HasField("unavailable") for one in follower.statuses())
        )
        parts.clock.advance(1)
        await follower.until(lambda: follower.of("heartbeat"))
        parts.last_records[Feed.IEX] = NOW
        parts.clock.advance(1)
        await follower.until(lambda: len(follower.of("heartbeat")) >= 2)

    first, *_, last = follower.of("heartbeat")
    assert not first.HasField("last_upstream_time")
    assert last.last_upstream_time.ToNanoseconds() == NOW


async def test_a_subscription_gets_the_defaults_that_it_does_not_name() -> None:
    """Channel, feed, intervals and ages that are left out are the gateway's; zero is not left out."""
    servicer = Parts().stream_servicer()
    order = servicer._order(pb.Subscription(symbols=["AAPL"]), "subscribe", watches=False)
    terms = order.terms
    assert (order.feed, terms.channels, order.token) == (Feed.IEX, (Channel.QUOTES,), None)
    assert (terms.interval, terms.heartbeat, terms.unread_age) == (0.0, 15.0, 0.25)
    assert (terms.stale_after, terms.queue) == (60 * NANOS, 100)
    watch = servicer._order(pb.Subscription(symbols=["AAPL"]), "subscription", watches=True)
    assert watch.terms.interval == streams.SLOWEST_WATCH
    zero = pb.Subscription(symbols=["AAPL"], min_update_interval=Duration())
    assert servicer._order(zero, "subscribe", watches=False).terms.interval == 0.0


@pytest.mark.parametrize("state", list(SymbolState))
def test_every_state_has_its_number(state: SymbolState) -> None:
    """Each state of a symbol is told by its name in the contract."""
    told = Status("AAPL", Channel.QUOTES, state, NOW, 7)
    assert state_name(streams._status(told, Parts().moment("id"))) == state.name


def test_every_cause_of_a_loss_has_its_number() -> None:
    """Each cause of a loss is told by its name in the contract."""
    for cause in LossCause:
        told = streams._loss(Loss(cause, 1, 2, 2, None, None))
        assert pb.LossCause.Name(told.cause) == f"LOSS_CAUSE_{cause.name}"
        assert not told.HasField("start_time")


# ---------------------------------------------------------------------------- what stays bounded


async def test_answers_that_nobody_reads_do_not_pile_up() -> None:
    """Who asks for ever more symbols and reads nothing is refused until he has read, and then gets the answers."""
    parts = Parts()
    async with served(parts) as face, following(face.streams, "AAPL") as follower:
        await follower.until(lambda: follower.of("statuses"))
        follower.acks = False
        for batch in range(12):
            await follower.add(*(f"x{batch}.{number}" for number in range(5000)))
        await follower.until(lambda: follower.of("refused"))
        refused = follower.of("refused")[0]
        (box,) = next(iter(parts.live.streams._followers)).mailbox.boxes.values()
        assert box.untold <= 25_000
        follower.acks = True
        await follower.ack(follower.messages[-1].delivery_sequence)
        await follower.until(lambda: len(follower.statuses()) > 20_000)

    assert refused.bad_request.field_violations[0].field == "add"
    assert "read them first" in refused.message


async def test_subscriptions_that_ended_unread_do_not_pile_up() -> None:
    """Beginning and ending subscriptions without reading is bounded as well."""
    parts = Parts()
    async with served(parts) as face, following(face.streams, "AAPL") as follower:
        await follower.until(lambda: follower.of("statuses"))
        follower.acks = False
        garbage = [f"x{number}" for number in range(8000)]
        for _ in range(6):
            await follower.subscribe(*garbage, id="again")
            await follower.unsubscribe(of="again")
        await follower.until(lambda: follower.of("refused"))
        assert next(iter(parts.live.streams._followers)).mailbox.untold <= 30_000


async def test_what_is_kept_of_a_wrong_request_is_short() -> None:
    """A request that breaks ten thousand rules is answered with sixteen of them and the number of the others."""
    async with served(Parts()) as face, following(face.streams) as follower:
        await follower.subscribe(*(["x" * 65] * 10_000))
        await follower.until(lambda: follower.of("refused"))

    (refused,) = follower.of("refused")
    violations = refused.bad_request.field_violations
    assert len(violations) == 17
    assert violations[-1].description.endswith("more broken rules are not listed")


@pytest.mark.parametrize("word", ["add", "unsubscribe", "query"])
async def test_an_endless_id_is_not_echoed(word: str) -> None:
    """A name that no subscription can have is refused as such, and not sent back."""
    async with served(Parts()) as face, following(face.streams) as follower:
        await follower.say(**{word: {"subscription_id": "x" * 100_000}})
        await follower.until(lambda: follower.of("refused"))

    (refused,) = follower.of("refused")
    assert f"{word}.subscription_id" in {one.field for one in refused.bad_request.field_violations}
    assert len(refused.SerializeToString()) < 1000


# ------------------------------------------------------------------------------------- the holder


async def test_only_the_feed_that_is_elsewhere_ends_a_stream() -> None:
    """A follower of another feed stays where the default feed is held by another process; nobody new is let in."""
    parts = Parts()
    async with served(parts) as face:
        async with (
            following(face.streams, "AAPL", feed=provenance_pb2.FEED_SIP) as other,
            following(face.streams, "AAPL") as follower,
        ):
            await other.until(lambda: other.of("statuses"))
            await follower.until(lambda: follower.of("statuses"))
            parts.live.hubs[Feed.IEX].changed(FeedState.WAITING_FOR_SLOT, "406")
            await follower.until_ended()
            async with watching(face.streams, "AAPL") as late:
                await late.until_ended()
            await other.query()
            before = len(other.messages)
            await other.until(lambda: len(other.messages) > before)
            assert not other.ended
        await until(lambda: parts.counters.streams.streams == 0)

    assert follower.of("closing")[0].reason == reasons.ERROR_REASON_NOT_FEED_HOLDER
    assert late.error is not None


async def test_a_process_that_held_the_feed_keeps_its_followers() -> None:
    """Once held, a feed that waits for its place again is a gap, and no reason to send followers away."""
    parts = Parts()
    async with followed(parts, "AAPL") as (follower, hub, face):
        hub.changed(FeedState.LIVE, "")
        hub.lost(GapCause.DISCONNECTED, NOW, "reset")
        hub.changed(FeedState.WAITING_FOR_SLOT, "406")
        await follower.until_state("AAPL", "GAP")
        async with following(face.streams, "AAPL") as late:
            await late.until_state("AAPL", "GAP")
        assert not follower.ended
