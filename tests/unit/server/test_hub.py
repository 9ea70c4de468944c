"""The hub: every record into the boxes of those who follow it, and every change of a symbol told to each of them."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from tickgate_server.fanout import tokens
from tickgate_server.fanout.box import MOST_STATUSES, Box
from tickgate_server.fanout.interest import EVERYTHING
from tickgate_server.market.live import (
    Channel,
    FeedState,
    Gap,
    GapCause,
    GapRepair,
    LossCause,
    RecordKind,
    SymbolState,
)
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.session import MarketSession
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Reason

from ...support.fakes import quote, side, unavailable
from ...support.fanning import CROSSED, EPOCH, Desk, be_busy, in_steered_time, terms, trading_status

QUOTES, TRADES, HALTS = Channel.QUOTES, Channel.TRADES, Channel.TRADING_STATUSES
TRADE = RecordKind.TRADE
BOTH = terms(QUOTES, TRADES)


def gaps_told(desk: Desk, box: Box) -> list[tuple[str, str, list[Gap]]]:
    """Symbol, state and gaps of each status that waits."""
    return [(status.symbol, status.state.name, list(status.gaps)) for status in desk.statuses(box)]


# ----------------------------------------------------------------------------------------- records


@in_steered_time
async def test_a_record_reaches_all_who_follow_it_and_nobody_else() -> None:
    """Whoever follows a symbol gets each of its records, and who follows another does not."""
    desk = Desk()
    one, two, other = desk.live("AAPL"), desk.live("AAPL", "IBM"), desk.live("MSFT")
    desk.brings("AAPL")
    assert [desk.read(box) for box in (one, two, other)] == [["quote AAPL 1 live"]] * 2 + [[]]


@in_steered_time
async def test_each_reader_has_his_own_pace() -> None:
    """One who reads everything and one who reads at the end both account for every quote."""
    desk = Desk()
    quick, slow = desk.live("AAPL"), desk.live("AAPL")
    read = []
    for _ in range(5):
        desk.brings("AAPL")
        read += desk.read(quick)
    assert read == [f"quote AAPL {number} live" for number in range(1, 6)]
    assert desk.read(slow) == ["quote AAPL 5 live +4"]
    assert desk.encode.bodies == 5


@in_steered_time
async def test_what_nobody_follows_is_passed_over() -> None:
    """A record of a symbol that nobody follows, valid or not, takes no number and changes nothing."""
    desk = Desk()
    box = desk.live("AAPL")
    before = desk.hub.position
    desk.brings("IBM")
    desk.refuses("IBM")
    assert (desk.hub.position, desk.read(box), desk.told(box)) == (before, [], [])


@in_steered_time
async def test_what_lingers_is_numbered_on() -> None:
    """While a symbol lingers its records are numbered, and who comes then begins to count behind them."""
    desk = Desk()
    desk.hub.leave(desk.live("AAPL"), ["AAPL"])
    desk.brings("AAPL", times=3)
    box = desk.follow("AAPL")
    assert [status.sequence for status in desk.statuses(box)] == [3]
    desk.brings("AAPL")
    assert desk.read(box) == ["quote AAPL 4 live"]


@in_steered_time
async def test_numbers_go_on_when_a_symbol_is_followed_again() -> None:
    """Unfollowed for good and followed again, a symbol never uses a number twice."""
    desk = Desk(linger=1.0)
    box = desk.live("AAPL")
    desk.brings("AAPL", times=3)
    desk.hub.leave(box, ["AAPL"])
    await desk.tick(2.0)
    desk.brings("AAPL")
    again = desk.follow("AAPL")
    assert [(one.state, one.sequence) for one in desk.statuses(again)] == [(SymbolState.PENDING, 3)]
    desk.hub.confirmed(QUOTES, ["AAPL"])
    desk.brings("AAPL")
    assert desk.read(again) == ["quote AAPL 4 live"]


# ------------------------------------------------------------------------------------------ states


@in_steered_time
async def test_a_symbol_is_pending_until_it_is_confirmed() -> None:
    """Each follower hears PENDING, then LIVE when the upstream confirms, and no more when it says so again."""
    desk = Desk()
    boxes = [desk.follow("AAPL") for _ in range(3)]
    assert [desk.told(box) for box in boxes] == [["AAPL PENDING"]] * 3
    desk.hub.confirmed(QUOTES, ["AAPL", "NOBODYS"])
    assert [desk.told(box) for box in boxes] == [["AAPL LIVE"]] * 3
    desk.hub.confirmed(QUOTES, ["AAPL"])
    assert [desk.told(box) for box in boxes] == [[]] * 3


@in_steered_time
async def test_a_record_before_the_confirmation_proves_as_much() -> None:
    """A symbol whose record comes before the word of the upstream is LIVE, or INVALID if it was refused."""
    desk = Desk()
    valid, refused = desk.follow("AAPL"), desk.follow("IBM")
    desk.told(valid)
    desk.told(refused)
    desk.brings("AAPL")
    desk.refuses("IBM")
    assert desk.told(valid) == ["AAPL LIVE"]
    assert desk.told(refused) == ["IBM INVALID"]


@in_steered_time
async def test_a_refused_record_is_told_with_its_rule() -> None:
    """Each follower hears INVALID with the reason and the rule, and LIVE with the next valid one."""
    desk = Desk()
    boxes = [desk.live("AAPL"), desk.live("AAPL")]
    desk.refuses("AAPL")
    for box in boxes:
        (status,) = desk.statuses(box)
        assert (status.state, status.refused, status.why) == (
            SymbolState.INVALID,
            {"crossed": 1},
            CROSSED,
        )
    for _ in range(3):
        desk.refuses("AAPL")
    desk.brings("AAPL")
    for box in boxes:
        (status,) = desk.statuses(box)
        assert (status.state, status.refused, status.why) == (
            SymbolState.LIVE,
            {"crossed": 3},
            None,
        )
        assert status.sequence == 5


@in_steered_time
async def test_whoever_must_forget_hears_of_refused_quotes() -> None:
    """The symbol of each refused quote is passed on; a refused trade is not."""
    desk = Desk()
    desk.live("AAPL", of=BOTH)
    heard: list[str] = []
    desk.hub.on_refusal = heard.append
    desk.refuses("AAPL")
    desk.refuses("AAPL", kind=TRADE)
    assert heard == ["AAPL"]


@in_steered_time
async def test_what_the_upstream_rejects_is_rejected_for_each() -> None:
    """Each follower of a symbol that cannot be had hears REJECTED and why; the channel that can be had stays."""
    desk = Desk()
    boxes = [desk.follow("AAPL", of=BOTH) for _ in range(3)]
    why = unavailable(Reason.NOT_ENTITLED)
    for box in boxes:
        desk.told(box)
    desk.hub.rejected(TRADES, ["AAPL"], why)
    for box in boxes:
        (status,) = desk.statuses(box)
        assert (status.channel, status.state, status.why) == (TRADES, SymbolState.REJECTED, why)
        assert [(entry.channel, entry.symbol) for entry in box.followed] == [(QUOTES, "AAPL")]


@in_steered_time
async def test_a_rejected_symbol_may_be_added_again() -> None:
    """After a rejection the same follower can ask again, and hears how it goes this time."""
    desk = Desk()
    box = desk.follow("AAPL")
    desk.hub.rejected(QUOTES, ["AAPL"], unavailable(Reason.NOT_ENTITLED))
    assert desk.told(box) == ["AAPL REJECTED"]
    desk.hub.join(box, ["AAPL"])
    desk.hub.confirmed(QUOTES, ["AAPL"])
    assert desk.told(box) == ["AAPL LIVE"]


@in_steered_time
async def test_who_asked_to_go_is_told_so() -> None:
    """Each symbol that is left is answered with REMOVED on every channel, and nothing more comes of it."""
    desk = Desk()
    box = desk.live("AAPL", "IBM", of=BOTH)
    desk.brings("AAPL", "IBM")
    desk.hub.leave(box, ["AAPL", "ZZZZ"])
    assert [(s.symbol, s.channel, s.state) for s in desk.statuses(box)] == [
        (symbol, channel, SymbolState.REMOVED)
        for symbol in ("AAPL", "ZZZZ")
        for channel in (QUOTES, TRADES)
    ]
    desk.brings("AAPL")
    assert desk.read(box) == ["quote IBM 1 live"]


@in_steered_time
async def test_who_adds_a_symbol_again_is_told_again() -> None:
    """Adding what he follows already tells a follower how it stands."""
    desk = Desk()
    box = desk.live("AAPL")
    desk.hub.join(box, ["AAPL"])
    assert desk.told(box) == ["AAPL LIVE"]


@in_steered_time
async def test_the_connections_state_is_kept_and_passed_on() -> None:
    """The counters say what state the feed is in, since when and why, and whoever must act on it is told."""
    desk = Desk()
    heard: list[FeedState] = []
    desk.hub.on_state = heard.append
    be_busy(3.0)
    desk.hub.changed(FeedState.BACKING_OFF, "answered 500")
    assert (desk.counts.state, desk.counts.message) == ("backing_off", "answered 500")
    assert desk.counts.changed_time == desk.clock.wall()
    assert (heard, desk.hub.state) == ([FeedState.BACKING_OFF], FeedState.BACKING_OFF)
    assert desk.counts.epoch == EPOCH


# ---------------------------------------------------------------------------------- QUIET and STALE


@in_steered_time
async def test_a_closed_market_is_quiet() -> None:
    """When the market closes each live symbol is QUIET, and LIVE when it opens; others stay as they are."""
    desk = Desk()
    box = desk.live("AAPL", "IBM")
    desk.refuses("IBM")
    pending = desk.follow("MSFT")
    desk.told(box)
    desk.told(pending)
    desk.session = MarketSession.CLOSED
    await desk.tick()
    assert (desk.told(box), desk.told(pending)) == (["AAPL QUIET"], [])
    await desk.tick()
    assert desk.told(box) == []
    desk.session = MarketSession.OPEN
    await desk.tick()
    assert desk.told(box) == ["AAPL LIVE"]


@in_steered_time
async def test_who_comes_at_night_is_told_quiet() -> None:
    """A symbol that is confirmed while the market is closed is QUIET from its first moment."""
    desk = Desk()
    desk.session = MarketSession.CLOSED
    await desk.tick()
    box = desk.follow("AAPL")
    desk.hub.confirmed(QUOTES, ["AAPL"])
    assert desk.told(box) == ["AAPL QUIET"]


@in_steered_time
async def test_a_feed_of_the_night_is_never_quiet_by_the_session() -> None:
    """A feed that trades while the exchanges are closed has to move then too."""
    desk = Desk(feed=Feed.OVERNIGHT)
    box = desk.live("AAPL")
    desk.session = MarketSession.CLOSED
    await desk.tick()
    assert desk.told(box) == []


@pytest.mark.parametrize(("halt", "resumption"), [("H", "T"), ("2", "3"), ("P", "T")])
@in_steered_time
async def test_a_halt_makes_a_symbol_quiet(halt: str, resumption: str) -> None:
    """Where somebody follows its trading statuses a halted symbol is QUIET for all until it resumes."""
    desk = Desk()
    desk.live("AAPL", of=terms(HALTS))
    box, other = desk.live("AAPL", of=BOTH), desk.live("IBM")
    desk.hub.accept(RecordKind.TRADING_STATUS, "AAPL", trading_status(code=halt))
    assert desk.told(box) == ["AAPL QUIET", "AAPL QUIET"]
    assert desk.told(desk.follow("AAPL")) == ["AAPL QUIET"]
    desk.hub.accept(RecordKind.TRADING_STATUS, "AAPL", trading_status(code="D"))
    assert desk.told(box) == []
    desk.hub.accept(RecordKind.TRADING_STATUS, "AAPL", trading_status(code=resumption))
    assert desk.told(box) == ["AAPL LIVE", "AAPL LIVE"]
    assert desk.told(other) == []


@in_steered_time
async def test_what_should_move_and_does_not_is_stale() -> None:
    """A quote that has not moved for longer than a follower's `stale_after` is STALE for him until it moves."""
    desk = Desk()
    hasty = desk.live("AAPL", of=terms(stale_after=5 * NANOS))
    patient = desk.live("AAPL", of=terms(stale_after=60 * NANOS))
    desk.brings("AAPL")
    await desk.tick(5.0)
    assert desk.told(hasty) == []
    await desk.tick(1.0)
    assert (desk.told(hasty), desk.told(patient)) == (["AAPL STALE"], [])
    await desk.tick(1.0)
    assert desk.told(hasty) == []
    desk.brings("AAPL")
    desk.read(hasty)
    assert desk.told(hasty) == ["AAPL LIVE"]


@in_steered_time
async def test_a_confirmation_counts_as_moving() -> None:
    """A quote that never came is stale so long after the upstream has confirmed it."""
    desk = Desk()
    box = desk.live("AAPL", of=terms(stale_after=5 * NANOS))
    await desk.tick(4.0)
    assert desk.told(box) == []
    await desk.tick(2.0)
    assert desk.told(box) == ["AAPL STALE"]


@pytest.mark.parametrize("session", [one for one in MarketSession if one is not MarketSession.OPEN])
@in_steered_time
async def test_nothing_is_stale_unless_the_market_is_open(session: MarketSession) -> None:
    """Outside of the regular session a quote need not move."""
    desk = Desk()
    box = desk.live("AAPL", of=terms(stale_after=NANOS))
    desk.session = session
    await desk.tick(60.0)
    assert "AAPL STALE" not in desk.told(box)


@in_steered_time
async def test_what_need_not_move_is_not_stale() -> None:
    """Neither trades, nor what is pending, invalid, halted or lost is ever STALE."""
    desk = Desk()
    hasty = {"stale_after": NANOS}
    boxes = [desk.follow("PEND", of=terms(**hasty)), desk.live("AAPL", of=terms(TRADES, **hasty))]
    boxes.append(desk.live("BAD", of=terms(**hasty)))
    desk.refuses("BAD")
    desk.live("HALT", of=terms(HALTS))
    boxes.append(desk.live("HALT", of=terms(**hasty)))
    desk.hub.accept(RecordKind.TRADING_STATUS, "HALT", trading_status("HALT"))
    await desk.tick(60.0)
    told = [word for box in boxes for word in desk.told(box)]
    assert told == ["PEND PENDING", "BAD INVALID", "HALT QUIET"]
    desk.breaks()
    await desk.tick(60.0)
    assert not [word for box in boxes for word in desk.told(box) if word.endswith("STALE")]


@in_steered_time
async def test_what_was_stale_takes_on_other_states_like_the_rest() -> None:
    """A stale quote that is refused, closed upon or lost is told so, and LIVE when it is confirmed again."""
    desk = Desk()
    boxes = [desk.live("AAPL", of=terms(stale_after=NANOS)) for _ in range(2)]
    box = boxes[0]

    async def grow_stale() -> None:
        await desk.tick(5.0)
        assert desk.told(box) == ["AAPL STALE"]

    await grow_stale()
    desk.refuses("AAPL")
    assert desk.told(box) == ["AAPL INVALID"]
    desk.brings("AAPL")
    assert desk.told(box) == ["AAPL LIVE"]
    desk.read(box)
    await grow_stale()
    desk.session = MarketSession.CLOSED
    await desk.tick()
    assert desk.told(box) == ["AAPL QUIET"]
    desk.session = MarketSession.OPEN
    desk.brings("AAPL")
    await desk.tick()
    assert desk.told(box) == ["AAPL LIVE"]
    await grow_stale()
    desk.breaks()
    assert desk.told(box) == ["AAPL GAP"]
    desk.hub.confirmed(QUOTES, ["AAPL"])
    assert [desk.told(box) for box in boxes] == [["AAPL LIVE"]] * 2


# -------------------------------------------------------------------------------------------- gaps


@in_steered_time
async def test_a_lost_connection_is_told_to_each_at_once() -> None:
    """Each follower of what was live hears GAP with the open gap, whatever his interval; who was pending does not."""
    desk = Desk()
    box, slow = desk.live("AAPL", of=BOTH), desk.live("AAPL", of=terms(interval=60.0))
    pending = desk.follow("IBM")
    desk.told(pending)
    desk.breaks(message="reset by peer")
    (gap,) = desk.gaps.newest_first()
    assert slow.has_mail(desk.clock.monotonic())
    assert gaps_told(desk, box) == [("AAPL", "GAP", [gap])] * 2
    assert gaps_told(desk, slow) == [("AAPL", "GAP", [gap])]
    assert desk.told(pending) == []
    assert (gap.cause, gap.message, gap.end) == (GapCause.DISCONNECTED, "reset by peer", None)
    assert gap.parts == {QUOTES: ("AAPL",), TRADES: ("AAPL",)}
    assert desk.counts.gaps == 1


@in_steered_time
async def test_a_gap_ends_when_the_upstream_confirms() -> None:
    """With the confirmation each hears LIVE with the gap's end, and it is asked where the quotes stand."""
    desk = Desk()
    box = desk.live("AAPL", of=BOTH)
    desk.resyncs.clear()
    desk.breaks()
    desk.told(box)
    await desk.tick(3.0)
    for channel in (QUOTES, TRADES):
        desk.hub.confirmed(channel, ["AAPL"])
    (gap,) = desk.gaps.newest_first()
    assert gap.end == desk.clock.wall()
    assert gaps_told(desk, box) == [("AAPL", "LIVE", [gap])] * 2
    assert desk.resyncs == [(["AAPL"], gap)]
    assert gap.repair is GapRepair.PENDING


@in_steered_time
async def test_a_gap_is_over_when_all_are_confirmed() -> None:
    """A symbol that is confirmed later than another has been missed for longer: the gap ends with the last."""
    desk = Desk()
    desk.live("AAPL", "IBM")
    desk.breaks()
    desk.hub.confirmed(QUOTES, ["AAPL"])
    with capture_logs() as logs:
        await desk.tick(5.0)
        assert logs == []
        desk.hub.confirmed(QUOTES, ["IBM"])
    (gap,) = desk.gaps.newest_first()
    assert [line["event"] for line in logs] == ["feed_gap_over"]
    assert gap.end == desk.clock.wall()


@pytest.mark.parametrize("valid", [True, False])
@in_steered_time
async def test_a_record_ends_a_gap_before_the_word_does(valid: bool) -> None:
    """A record, valid or refused, that comes before the confirmation ends the gap as that would have."""
    desk = Desk()
    box = desk.live("AAPL")
    desk.breaks()
    desk.told(box)
    desk.resyncs.clear()
    be_busy(2.0)
    if valid:
        desk.brings("AAPL")
    else:
        desk.refuses("AAPL")
    (gap,) = desk.gaps.newest_first()
    assert gap.end == desk.clock.wall()
    state = "LIVE" if valid else "INVALID"
    assert gaps_told(desk, box) == [("AAPL", state, [gap])]
    assert desk.resyncs == [(["AAPL"], gap)]
    desk.hub.confirmed(QUOTES, ["AAPL"])
    assert desk.told(box) == []


@in_steered_time
async def test_a_connection_that_flaps_leaves_a_gap_each_time() -> None:
    """What was confirmed and is lost again has a gap of its own; what was not goes on being missed in the first one."""
    desk = Desk()
    box = desk.live("AAPL", "IBM")
    desk.breaks()
    desk.hub.confirmed(QUOTES, ["AAPL"])
    desk.told(box)
    desk.breaks()
    second, first = desk.gaps.newest_first()
    assert gaps_told(desk, box) == [("AAPL", "GAP", [second])]
    assert second.parts == {QUOTES: ("AAPL",)}
    desk.hub.confirmed(QUOTES, ["AAPL", "IBM"])
    assert first.end == second.end == desk.clock.wall()
    assert desk.counts.gaps == 2


@in_steered_time
async def test_who_comes_in_a_gap_is_told_of_it() -> None:
    """A follower of a symbol that is being missed hears GAP with the gap from the start."""
    desk = Desk()
    desk.live("AAPL")
    desk.breaks()
    (gap,) = desk.gaps.newest_first()
    assert gaps_told(desk, desk.follow("AAPL")) == [("AAPL", "GAP", [gap])]


@in_steered_time
async def test_a_connection_that_brought_nothing_has_no_gap() -> None:
    """Where nothing was confirmed nothing was missed."""
    desk = Desk()
    desk.follow("AAPL")
    desk.breaks()
    desk.hub.missed(GapCause.OVERFLOW, desk.clock.wall(), "full", records=7)
    assert len(desk.gaps) == 0


@in_steered_time
async def test_what_is_lost_stands_no_longer() -> None:
    """In a gap the book answers nothing; whoever writes it behind has its moment before."""
    desk = Desk()
    desk.live("AAPL")
    desk.brings("AAPL")
    stood: list[bool] = []
    desk.hub.before_loss = lambda: stood.append(desk.book.standing("AAPL") is not None)
    desk.breaks()
    assert stood == [True]
    assert desk.book.standing("AAPL") is None


@in_steered_time
async def test_records_missed_on_a_standing_connection_are_a_gap_with_an_end() -> None:
    """What was dropped is told to each at once as a gap that is over, with its count; values before are not trusted."""
    desk = Desk()
    box, pending = desk.live("AAPL", of=BOTH), desk.follow("IBM")
    desk.told(pending)
    desk.brings("AAPL")
    desk.read(box)
    desk.resyncs.clear()
    be_busy(1.0)
    since = desk.clock.wall() - NANOS
    desk.hub.missed(GapCause.OVERFLOW, since, "full", records=7)
    (gap,) = desk.gaps.newest_first()
    assert (gap.start, gap.end, gap.lost_records) == (since, desk.clock.wall(), 7)
    assert gaps_told(desk, box) == [("AAPL", "LIVE", [gap])] * 2
    assert desk.resyncs == [(["AAPL"], gap)]
    assert desk.book.standing("AAPL") is None
    assert desk.told(pending) == []


@in_steered_time
async def test_what_nobody_can_ask_for_is_not_repaired() -> None:
    """A gap of queued channels only has nothing to repair."""
    desk = Desk()
    desk.live("AAPL", of=terms(TRADES))
    desk.breaks()
    desk.hub.confirmed(TRADES, ["AAPL"])
    (gap,) = desk.gaps.newest_first()
    assert (gap.repair, desk.resyncs) == (GapRepair.NONE, [])


@in_steered_time
async def test_a_gap_that_all_have_left_ends() -> None:
    """When nobody follows any more what is being missed, the gap is over and says that it was not made good."""
    desk = Desk(linger=1.0)
    box = desk.live("AAPL")
    desk.breaks()
    desk.hub.leave(box, ["AAPL"])
    await desk.tick(2.0)
    (gap,) = desk.gaps.newest_first()
    assert (gap.end, gap.repair) == (desk.clock.wall(), GapRepair.PARTIAL)


@in_steered_time
async def test_a_gap_ends_when_what_it_misses_is_rejected() -> None:
    """A symbol that cannot be had again is missed no longer, and REJECTED."""
    desk = Desk()
    box = desk.live("AAPL")
    desk.breaks()
    desk.hub.rejected(QUOTES, ["AAPL"], unavailable(Reason.NOT_ENTITLED))
    (gap,) = desk.gaps.newest_first()
    assert gap.end == desk.clock.wall()
    assert desk.told(box) == ["AAPL REJECTED"]


@in_steered_time
async def test_a_gap_of_everything_ends_with_everything() -> None:
    """What came through "*" is missed and confirmed with "*"."""
    desk = Desk()
    box = desk.live(EVERYTHING)
    desk.brings("AAPL", "IBM")
    desk.told(box)
    desk.breaks()
    assert sorted(desk.told(box)) == ["* GAP", "AAPL GAP", "IBM GAP"]
    desk.hub.confirmed(QUOTES, [EVERYTHING])
    assert sorted(desk.told(box)) == ["* LIVE", "AAPL LIVE", "IBM LIVE"]
    (gap,) = desk.gaps.newest_first()
    assert gap.end is not None


# --------------------------------------------------------------------------- snapshots and resyncs


@in_steered_time
async def test_a_snapshot_comes_first() -> None:
    """Who has just come reads what stands as SNAPSHOT, with the tier it is from, then what is LIVE, then RESYNC."""
    desk = Desk()
    box = desk.follow("AAPL")
    topic = desk.topic()
    desk.hub.give_snapshot(topic, box, quote(), RecordKind.QUOTE, Tier.REDIS)
    read = [desk.read(box)]
    desk.brings("AAPL")
    read.append(desk.read(box))
    desk.breaks()
    desk.hub.confirmed(QUOTES, ["AAPL"])
    desk.hub.publish_resync(topic, quote(bid=side("9.00")), RecordKind.QUOTE)
    read.append(desk.read(box))
    assert read == [
        ["quote AAPL 0 from redis snapshot"],
        ["quote AAPL 1 live"],
        ["quote AAPL 1 from upstream resync"],
    ]


@in_steered_time
async def test_a_crowds_snapshot_is_encoded_once() -> None:
    """All who come to the same value share one snapshot; a new value has its own."""
    desk = Desk()
    crowd = [desk.live("AAPL") for _ in range(100)]
    for value in (desk.brings("AAPL"), desk.brings("AAPL")):
        for box in crowd:
            desk.hub.give_snapshot(desk.topic(), box, value, RecordKind.QUOTE)
        read = [desk.read(box) for box in crowd]
        assert all(message == read[0] for message in read)
    assert desk.encode.bodies == 2


@in_steered_time
async def test_a_resync_stands_in_the_book() -> None:
    """What the upstream said after a gap is the live quote from then on."""
    desk = Desk()
    desk.live("AAPL")
    value = quote(bid=side("9.00"))
    desk.hub.publish_resync(desk.topic(), value, RecordKind.QUOTE)
    held = desk.book.standing("AAPL")
    assert getattr(held, "value", None) is value


@in_steered_time
async def test_nobody_is_told_twice_what_he_was_shown() -> None:
    """Who has had the same value as snapshot, before the confirmation, gets no resync of it; who has not does."""
    desk = Desk()
    shown, other = desk.follow("AAPL"), desk.follow("AAPL")
    value = quote()
    desk.hub.give_snapshot(desk.topic(), shown, value, RecordKind.QUOTE, Tier.REDIS)
    desk.read(shown)
    desk.hub.confirmed(QUOTES, ["AAPL"])
    desk.hub.publish_resync(desk.topic(), quote(received=desk.clock.wall() + 1), RecordKind.QUOTE)
    assert desk.read(shown) == []
    assert desk.read(other) == ["quote AAPL 0 from upstream resync"]
    desk.hub.publish_resync(desk.topic(), quote(bid=side("9.00")), RecordKind.QUOTE)
    assert desk.read(shown) == ["quote AAPL 0 from upstream resync"]


# ---------------------------------------------------------------------------------- who comes back


class Returning:
    """A follower of AAPL's quotes and trades who has read something, goes, and comes back with his token."""

    def __init__(self, desk: Desk, *symbols: str) -> None:
        self.desk = desk
        self.symbols = symbols or ("AAPL",)
        self.box = desk.live(*self.symbols, of=BOTH)

    def token(self) -> tokens.Token:
        """The token of a message that is handed out now."""
        return tokens.decode(self.box.token(self.desk.clock.wall()))

    def leaves(self) -> tokens.Token:
        """Let him go with the token of the last message."""
        token = self.token()
        self.desk.hub.detach(self.box)
        be_busy(1.0)
        return token

    def returns(self, token: tokens.Token, *symbols: str) -> Box:
        """Let him come back, and read nothing yet."""
        self.box = self.desk.follow(*(symbols or self.symbols), of=BOTH)
        self.desk.hub.resume(self.box, token)
        return self.box


def away(desk: Desk, box: Box) -> dict[str, list[GapCause]]:
    """The causes of the gaps that each channel was told."""
    return {
        status.channel.value: [gap.cause for gap in status.gaps] for status in desk.statuses(box)
    }


@in_steered_time
async def test_what_is_kept_is_sent_again() -> None:
    """Trades behind the token come as REPLAY, in order and none twice, then what is new; no gap is told."""
    desk = Desk()
    one = Returning(desk)
    desk.brings("AAPL", kind=TRADE, times=2)
    desk.read(one.box)
    desk.brings("AAPL", kind=TRADE)
    token = one.leaves()
    desk.brings("AAPL", kind=TRADE)
    box = one.returns(token)
    desk.brings("AAPL", kind=TRADE)
    assert away(desk, box) == {"quotes": [], "trades": []}
    assert desk.read(box) == [
        "trade AAPL 3 replay",
        "trade AAPL 4 replay",
        "trade AAPL 5 live",
    ]


@in_steered_time
async def test_others_records_are_not_sent_again() -> None:
    """Of what is kept he gets what he follows, and nothing of other symbols."""
    desk = Desk()
    one = Returning(desk)
    desk.live("IBM", of=BOTH)
    token = one.leaves()
    desk.brings("IBM", "AAPL", kind=TRADE)
    assert desk.read(one.returns(token)) == ["trade AAPL 1 replay"]


@pytest.mark.parametrize("why", ["too many", "too old"])
@in_steered_time
async def test_what_is_no_longer_kept_is_a_gap(why: str) -> None:
    """Where the ring has let records behind the token go, the queued channel has a gap; a quote has its snapshot."""
    desk = Desk(keeps=2)
    one = Returning(desk)
    token = one.leaves()
    if why == "too many":
        desk.brings("AAPL", kind=TRADE, times=3)
        replayed = ["trade AAPL 2 replay", "trade AAPL 3 replay"]
    else:
        desk.brings("AAPL", kind=TRADE)
        await desk.tick(61.0)
        replayed = []
    box = one.returns(token)
    assert away(desk, box) == {"quotes": [], "trades": [GapCause.RESUME]}
    assert desk.read(box) == replayed


@in_steered_time
async def test_another_session_is_a_gap() -> None:
    """A token of another epoch is told as a gap on every channel, from when it was made until now."""
    desk = Desk()
    one = Returning(desk)
    token = one.leaves()
    other = tokens.Token(token.feed, "0ther", token.digest, token.position, token.time)
    desk.brings("AAPL", kind=TRADE)
    box = one.returns(other)
    statuses = desk.statuses(box)
    assert len(statuses) == 2
    for status in statuses:
        (gap,) = status.gaps
        assert (gap.cause, gap.start, gap.end, gap.repair) == (
            GapCause.RESUME,
            token.time,
            desk.clock.wall(),
            GapRepair.NONE,
        )
    assert desk.read(box) == []


@in_steered_time
async def test_another_subscription_is_a_gap() -> None:
    """A token of other symbols or channels is told as a gap, and nothing is sent again."""
    desk = Desk()
    one = Returning(desk)
    token = one.leaves()
    desk.brings("AAPL", kind=TRADE)
    box = one.returns(token, "AAPL", "IBM")
    assert away(desk, box)["trades"] == [GapCause.RESUME]
    assert desk.read(box) == []


@in_steered_time
async def test_what_was_unfollowed_in_between_is_a_gap() -> None:
    """A symbol that nobody held for a while has missed what came then, though its numbers go on."""
    desk = Desk(linger=1.0)
    one = Returning(desk)
    desk.brings("AAPL", kind=TRADE)
    desk.read(one.box)
    token = one.leaves()
    await desk.tick(5.0)
    desk.live("IBM", of=BOTH)
    desk.brings("IBM", kind=TRADE)
    desk.live("AAPL", of=BOTH)
    box = one.returns(token)
    assert away(desk, box)["trades"] == [GapCause.RESUME]


@in_steered_time
async def test_gaps_in_between_are_told() -> None:
    """Every gap since the token is told with the first status, oldest first, those of the upstream as they were."""
    desk = Desk()
    one = Returning(desk)
    token = one.leaves()
    for cause in (GapCause.SILENT, GapCause.DISCONNECTED):
        desk.breaks(cause)
        be_busy(1.0)
        for channel in (QUOTES, TRADES):
            desk.hub.confirmed(channel, ["AAPL"])
    box = one.returns(token)
    causes = [GapCause.SILENT, GapCause.DISCONNECTED]
    assert away(desk, box) == {"quotes": causes, "trades": causes}


@in_steered_time
async def test_gaps_that_he_was_told_are_not_told_again() -> None:
    """A gap that was over before the token is none since."""
    desk = Desk()
    one = Returning(desk)
    desk.breaks()
    be_busy(1.0)
    for channel in (QUOTES, TRADES):
        desk.hub.confirmed(channel, ["AAPL"])
    desk.told(one.box)
    be_busy(1.0)
    box = one.returns(one.leaves())
    assert away(desk, box) == {"quotes": [], "trades": []}


@in_steered_time
async def test_a_token_before_the_replay_does_not_claim_it() -> None:
    """Who comes back, reads only the first status and goes again gets everything when he comes back once more."""
    desk = Desk()
    one = Returning(desk)
    token = one.leaves()
    desk.brings("AAPL", kind=TRADE, times=3)
    box = one.returns(token)
    desk.statuses(box)
    again = one.returns(one.leaves())
    assert away(desk, again) == {"quotes": [], "trades": []}
    assert desk.read(again) == [f"trade AAPL {number} replay" for number in (1, 2, 3)]


@in_steered_time
async def test_a_token_does_not_claim_a_gap_that_was_not_told() -> None:
    """Who has read only the first message of the statuses behind a gap is told the rest when he comes back."""
    desk = Desk()
    symbols = [f"S{number}" for number in range(MOST_STATUSES)]
    one = Returning(desk, *symbols)
    desk.breaks()
    be_busy(1.0)
    for channel in (QUOTES, TRADES):
        desk.hub.confirmed(channel, symbols)
    be_busy(1.0)
    (gap,) = desk.gaps.newest_first()
    heard = [status for status in one.box.take_statuses(0.0) if gap in status.gaps]
    assert 0 < len(heard) < 2 * len(symbols)
    told = desk.statuses(one.returns(one.leaves()))
    heard += [status for status in told if gap in status.gaps]
    assert {(one.symbol, one.channel) for one in heard} == {
        (symbol, channel) for symbol in symbols for channel in (QUOTES, TRADES)
    }


@in_steered_time
async def test_who_opens_the_market_gives_it_time_to_move() -> None:
    """A quote of yesterday is not STALE at the opening, but `stale_after` behind it; so behind a resumption."""
    desk = Desk()
    box = desk.live("AAPL", of=terms(stale_after=5 * NANOS))
    desk.live("AAPL", of=terms(HALTS))
    desk.session = MarketSession.CLOSED
    await desk.tick()
    await desk.tick(3600.0)
    desk.session = MarketSession.OPEN
    desk.told(box)
    await desk.tick()
    assert desk.told(box) == ["AAPL LIVE"]
    await desk.tick(5.5)
    assert desk.told(box) == ["AAPL STALE"]
    desk.hub.accept(RecordKind.TRADING_STATUS, "AAPL", trading_status(code="H"))
    await desk.tick(60.0)
    assert desk.told(box) == ["AAPL QUIET"]
    desk.hub.accept(RecordKind.TRADING_STATUS, "AAPL", trading_status(code="T"))
    await desk.tick(1.0)
    assert desk.told(box) == ["AAPL LIVE"]
    await desk.tick(5.0)
    assert desk.told(box) == ["AAPL STALE"]


@in_steered_time
async def test_what_was_refused_while_he_was_away_is_explained() -> None:
    """Numbers of refused records between those that are sent again are told by rule, behind where he stopped."""
    desk = Desk()
    one = Returning(desk)
    desk.brings("AAPL", kind=TRADE)
    desk.read(one.box)
    token = one.leaves()
    desk.brings("AAPL", kind=TRADE)
    desk.refuses("AAPL", kind=TRADE)
    desk.brings("AAPL", kind=TRADE)
    box = one.returns(token)
    first, second = [one for one in desk.statuses(box) if one.channel is TRADES]
    assert (first.sequence, first.refused) == (1, {})
    assert (second.sequence, second.refused) == (4, {"crossed": 1})
    assert desk.read(box) == ["trade AAPL 2 replay", "trade AAPL 4 replay"]


@in_steered_time
async def test_more_than_his_queue_holds_is_not_kept_for_him() -> None:
    """Of what came while he was away the newest fill his queue, and the rest is a loss with its exact range."""
    desk = Desk()
    small = terms(TRADES, queue=2)
    box = desk.live("AAPL", of=small)
    token = tokens.decode(box.token(desk.clock.wall()))
    desk.hub.detach(box)
    desk.brings("AAPL", kind=TRADE, times=5)
    again = desk.follow("AAPL", of=small)
    desk.hub.resume(again, token)
    losses = [loss for status in desk.statuses(again) for loss in status.losses]
    assert [(one.cause, one.first_sequence, one.last_sequence, one.count) for one in losses] == [
        (LossCause.NOT_KEPT, 1, 3, 3)
    ]
    assert desk.read(again) == ["trade AAPL 4 replay", "trade AAPL 5 replay"]


@in_steered_time
async def test_a_quiet_symbol_resumes_however_much_came_of_others() -> None:
    """What the ring let go of other symbols is no gap of one of which nothing was let go."""
    desk = Desk(keeps=2)
    one = Returning(desk)
    desk.live("BUSY", of=terms(TRADES))
    token = one.leaves()
    desk.brings("BUSY", kind=TRADE, times=10)
    assert away(desk, one.returns(token)) == {"quotes": [], "trades": []}


@in_steered_time
async def test_a_token_of_the_future_is_not_believed() -> None:
    """A token that claims more than there has been is told as a gap."""
    desk = Desk()
    one = Returning(desk)
    token = one.leaves()
    forged = tokens.Token(token.feed, token.epoch, token.digest, desk.hub.position + 1, token.time)
    causes = away(desk, one.returns(forged))
    assert causes == {"quotes": [GapCause.RESUME], "trades": [GapCause.RESUME]}


@in_steered_time
async def test_a_halt_does_not_outlive_its_statuses() -> None:
    """When nobody could have heard of the resumption, a symbol is no longer held to be halted."""
    desk = Desk(linger=1.0)
    statuses = desk.live("AAPL", of=terms(HALTS))
    box = desk.live("AAPL")
    desk.hub.accept(RecordKind.TRADING_STATUS, "AAPL", trading_status(code="H"))
    assert desk.told(box) == ["AAPL QUIET"]
    desk.hub.leave(statuses, ["AAPL"])
    await desk.tick(2.0)
    assert desk.told(box) == ["AAPL LIVE"]
    desk.live("AAPL", of=terms(HALTS))
    desk.hub.accept(RecordKind.TRADING_STATUS, "AAPL", trading_status(code="H"))
    desk.breaks()
    for channel in (QUOTES, HALTS):
        desk.hub.confirmed(channel, ["AAPL"])
    assert desk.told(box) == ["AAPL LIVE"]


@in_steered_time
async def test_what_was_invalid_is_not_known_after_a_miss() -> None:
    """A refused record that may have been superseded by a dropped one is the newest no longer."""
    desk = Desk()
    box = desk.live("AAPL")
    desk.refuses("AAPL")
    desk.told(box)
    desk.hub.missed(GapCause.UNREADABLE, desk.clock.wall(), "not JSON")
    (status,) = desk.statuses(box)
    assert (status.state, status.why) == (SymbolState.LIVE, None)


@in_steered_time
async def test_who_leaves_and_comes_again_before_he_reads_hears_both() -> None:
    """REMOVED explains the numbers up to the leaving, and the status behind it says where counting starts anew."""
    desk = Desk()
    box = desk.live("AAPL", of=terms(TRADES))
    desk.brings("AAPL", kind=TRADE, times=2)
    desk.hub.leave(box, ["AAPL"])
    desk.brings("AAPL", kind=TRADE)
    desk.hub.join(box, ["AAPL"])
    assert [(one.state, one.sequence) for one in desk.statuses(box)] == [
        (SymbolState.REMOVED, 2),
        (SymbolState.LIVE, 3),
    ]
    desk.brings("AAPL", kind=TRADE)
    assert desk.read(box) == ["trade AAPL 4 live"]


@in_steered_time
async def test_a_closed_subscription_claims_nothing_that_came_later() -> None:
    """The token of a stream that was told to go stops where its mail stopped."""
    desk = Desk()
    one = Returning(desk)
    desk.brings("AAPL", kind=TRADE)
    desk.hub.detach(one.box)
    desk.brings("AAPL", kind=TRADE)
    assert desk.read(one.box) == ["trade AAPL 1 live"]
    assert desk.read(one.returns(one.token())) == ["trade AAPL 2 replay"]


@in_steered_time
async def test_who_comes_back_with_a_strange_token_keeps_it_until_he_was_told() -> None:
    """Until he has heard of the gap his token stays what it was, so that he hears of it when he comes back again."""
    desk = Desk()
    one = Returning(desk)
    token = one.leaves()
    strange = tokens.Token(token.feed, "an0ther", token.digest, 99, token.time)
    one.returns(strange)
    assert one.token() == strange
    assert away(desk, one.returns(one.token()))["trades"] == [GapCause.RESUME]
    assert away(desk, one.returns(one.token())) == {"quotes": [], "trades": []}


@in_steered_time
async def test_gaps_that_are_forgotten_are_a_gap() -> None:
    """Of a token from before the oldest gap that is remembered nobody can say that nothing was missed."""
    desk = Desk()
    token = Returning(desk).leaves()
    for _ in range(1001):
        desk.gaps.add(Feed.IEX, GapCause.OVERFLOW, "others", desk.clock.wall(), {TRADES: ["IBM"]})
    assert away(desk, Returning(desk).returns(token)) == {
        "quotes": [GapCause.RESUME],
        "trades": [GapCause.RESUME],
    }


@in_steered_time
async def test_what_he_could_not_be_kept_and_what_he_then_lost_are_two_ranges() -> None:
    """Records that found no place in the queue of one who comes back, and those that he then reads too slowly for."""
    desk = Desk()
    small = terms(TRADES, queue=2)
    box = desk.live("AAPL", of=small)
    token = tokens.decode(box.token(desk.clock.wall()))
    desk.hub.detach(box)
    desk.brings("AAPL", kind=TRADE, times=5)
    again = desk.follow("AAPL", of=small)
    desk.hub.resume(again, token)
    desk.brings("AAPL", kind=TRADE)
    losses = [loss for status in desk.statuses(again) for loss in status.losses]
    assert [(one.cause, one.first_sequence, one.last_sequence) for one in losses] == [
        (LossCause.NOT_KEPT, 1, 3),
        (LossCause.SLOW_FOLLOWER, 4, 4),
    ]
    assert desk.read(again) == ["trade AAPL 5 replay", "trade AAPL 6 live"]


@in_steered_time
async def test_a_crowd_that_comes_back_shares_what_was_encoded() -> None:
    """What is sent again is encoded once, however many it is sent to."""
    desk = Desk()
    crowd = [Returning(desk) for _ in range(3)]
    gone = [one.leaves() for one in crowd]
    desk.live("AAPL", of=BOTH)
    desk.brings("AAPL", kind=TRADE)
    for one, token in zip(crowd, gone, strict=True):
        assert desk.read(one.returns(token)) == ["trade AAPL 1 replay"]
    assert desk.encode.bodies == 1


@in_steered_time
async def test_each_symbol_tells_its_own_end_of_a_gap() -> None:
    """The upstream confirms piece by piece: who is told that a gap is over is told when that was for his symbol."""
    desk = Desk()
    box = desk.live("AAPL", "IBM")
    desk.breaks()
    desk.told(box)
    ends = []
    for symbol in ("AAPL", "IBM"):
        be_busy(1.0)
        desk.hub.confirmed(QUOTES, [symbol])
        (status,) = desk.statuses(box)
        ends.append((status.symbol, [gap.end for gap in status.gaps], desk.clock.wall()))
        be_busy(1.0)
    assert ends == [(symbol, [now], now) for symbol, _, now in ends]


@in_steered_time
async def test_states_say_since_when_they_are() -> None:
    """Each change of a state has its own moment: confirmed, closed, stale after its time, moved again."""
    desk = Desk()
    box = desk.follow("AAPL", of=terms(stale_after=3 * NANOS))
    moments = [desk.clock.wall()]
    (pending,) = desk.statuses(box)
    be_busy(1.0)
    desk.hub.confirmed(QUOTES, ["AAPL"])
    moments.append(desk.clock.wall())
    (live,) = desk.statuses(box)
    moments.append(desk.clock.wall() + 3 * NANOS)
    await desk.tick(5.0)
    (stale,) = desk.statuses(box)
    desk.brings("AAPL")
    moments.append(desk.clock.wall())
    desk.read(box)
    (moved,) = desk.statuses(box)
    desk.session = MarketSession.CLOSED
    await desk.tick(1.0)
    moments.append(desk.clock.wall())
    (quiet,) = desk.statuses(box)
    told = [pending, live, stale, moved, quiet]
    assert [status.state.name for status in told] == ["PENDING", "LIVE", "STALE", "LIVE", "QUIET"]
    assert [status.changed for status in told] == moments


@in_steered_time
async def test_silence_before_the_opening_is_none() -> None:
    """A quote that did not move before the market opened has its time from the opening on."""
    desk = Desk()
    desk.session = MarketSession.PRE_MARKET
    await desk.tick()
    box = desk.live("AAPL", of=terms(stale_after=10 * NANOS))
    await desk.tick(3600.0)
    desk.session = MarketSession.OPEN
    await desk.tick()
    await desk.tick(10.0)
    assert desk.told(box) == []
    await desk.tick(1.0)
    assert desk.told(box) == ["AAPL STALE"]
    desk.session = MarketSession.AFTER_HOURS
    await desk.tick(1.0)
    assert desk.told(box) == ["AAPL LIVE"]


@in_steered_time
async def test_a_halt_outlasts_the_close() -> None:
    """A symbol that is halted when the market closes and opens is QUIET throughout, and told so once."""
    desk = Desk()
    desk.live("AAPL", of=terms(HALTS))
    box = desk.live("AAPL")
    desk.hub.accept(RecordKind.TRADING_STATUS, "AAPL", trading_status(code="2"))
    assert desk.told(box) == ["AAPL QUIET"]
    for session in (MarketSession.CLOSED, MarketSession.OPEN):
        desk.session = session
        await desk.tick(1.0)
    assert desk.told(box) == []
    desk.hub.accept(RecordKind.TRADING_STATUS, "AAPL", trading_status(code="3"))
    assert desk.told(box) == ["AAPL LIVE"]


@in_steered_time
async def test_a_rejected_symbol_takes_its_queue_along() -> None:
    """Trades of a symbol that cannot be had any more are not read behind its end, those of others are."""
    desk = Desk()
    box = desk.live("AAPL", "IBM", of=terms(TRADES))
    desk.brings("AAPL", "IBM", kind=TRADE)
    desk.hub.rejected(TRADES, ["AAPL"], unavailable(Reason.NOT_ENTITLED))
    assert desk.read(box) == ["trade IBM 1 live"]


@in_steered_time
async def test_what_a_symbol_has_told_is_told_when_it_is_left_in_a_gap() -> None:
    """Whoever leaves before he was told of a gap hears of it with REMOVED."""
    desk = Desk()
    box = desk.live("AAPL")
    desk.breaks()
    desk.hub.leave(box, ["AAPL"])
    assert gaps_told(desk, box) == [("AAPL", "REMOVED", list(desk.gaps.newest_first()))]


@in_steered_time
async def test_a_tick_lets_others_have_their_turns() -> None:
    """Looking after ten thousand symbols is done in slices, between which the loop does its other work."""
    desk = Desk()
    desk.live(*(f"S{number}" for number in range(10_000)))
    desk.session = MarketSession.CLOSED
    assert sum(1 for _ in desk.hub.tick().__await__()) >= 5


@in_steered_time
async def test_who_has_gone_is_held_by_nothing() -> None:
    """A box that was let go of stands in no topic."""
    desk = Desk()
    box = desk.live("AAPL", "IBM", of=BOTH)
    desk.hub.detach(box)
    assert not any(box in topic.boxes for topic in desk.interest)
