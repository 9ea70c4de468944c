"""The hub: how symbols stand, what was missed, and what one who comes back is given."""

from __future__ import annotations

from typing import Any

import pytest

from tickgate_server.fanout import tokens
from tickgate_server.fanout.box import Box
from tickgate_server.fanout.interest import Topic
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
from tickgate_server.market.session import MarketSession
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Unavailable

from ...support.fakes import HandClock, quote, side
from ...support.fanout import BARS, QUOTES, STATUSES, TRADES, LiveFeeds, crossed

PENDING, LIVE, STALE, QUIET, INVALID, GAP, REJECTED, REMOVED = SymbolState


class Setup(LiveFeeds):
    """A feed, and what its hub asks of others."""

    def __init__(self, **limits: Any) -> None:
        self.hand = HandClock()
        super().__init__(self.hand, **limits)
        self.session = MarketSession.OPEN
        self.resyncs: list[tuple[list[str], Gap | None]] = []
        self.live_before_loss: list[int] = []
        self.refused: list[str] = []
        self.hub.resync = lambda topics, gap: self.resyncs.append((symbols_of(topics), gap))
        self.hub.before_loss = lambda: self.live_before_loss.append(len(self.live_quotes))
        self.hub.on_refusal = self.refused.append

    def following(self, *symbols: str, **asked: Any) -> Box:
        """Follow *symbols*, which the upstream confirms, and read what is said of them at first."""
        box = self.box(*(symbols or ("AAPL",)), **asked)
        for channel in box.terms.channels:
            self.confirm(channel=channel)
        self.take(box)
        self.resyncs.clear()
        return box

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and the hub look after it each second."""
        for _ in range(int(seconds)):
            self.hand.advance(1)
            await self.hub.tick()
        self.hand.advance(seconds % 1)

    def token(self, box: Box) -> tokens.Token:
        """The newest token of *box*."""
        return tokens.decode(box.token(self.clock.wall()))

    def resumed(self, token: tokens.Token, *symbols: str, **asked: Any) -> Box:
        """Come back with a token."""
        box = self.box(*(symbols or ("AAPL",)), **({"channels": [TRADES]} | asked))
        self.hub.resume(box, token)
        return box

    def causes(self, box: Box) -> list[list[GapCause]]:
        """Read everything, and return the causes of the gaps in each status."""
        return [[gap.cause for gap in status.gaps] for status in self.statuses(box)]


def symbols_of(topics: Any) -> list[str]:
    """Symbols of topics."""
    return [topic.entry.symbol for topic in topics]


# ----------------------------------------------------------------------------------------- states


def test_a_symbol_is_pending_and_then_live() -> None:
    """Every follower is told PENDING until the upstream confirms, and LIVE then, with the time of each."""
    setup = Setup()
    boxes = [setup.box("AAPL"), setup.box("AAPL")]
    asked_at = setup.clock.wall()
    for box in boxes:
        (status,) = setup.statuses(box)
        assert (status.state, status.changed) == (PENDING, asked_at)
    setup.hand.advance(0.3)
    setup.confirm()
    for box in boxes:
        (status,) = setup.statuses(box)
        assert (status.state, status.changed) == (LIVE, asked_at + NANOS * 3 // 10)


def test_who_comes_later_is_told_how_it_stands() -> None:
    """A symbol that others follow already is LIVE for whoever comes, at once."""
    setup = Setup()
    setup.following()
    assert setup.states(setup.box("AAPL")) == [LIVE]


def test_a_record_says_that_the_upstream_sends() -> None:
    """A record that is quicker than its confirmation is taken, and makes the symbol LIVE by itself."""
    setup = Setup()
    box = setup.box("AAPL")
    setup.quote()
    statuses, pieces = setup.take(box)
    assert [status.state for status in statuses] == [LIVE]
    assert [piece.sequence for piece in pieces] == [1]
    setup.confirm()
    assert setup.statuses(box) == []


def test_each_refusal_is_told() -> None:
    """A refused record makes the symbol INVALID for all, with the reason; the next valid one makes it LIVE again."""
    setup = Setup()
    boxes = [setup.following(), setup.following()]
    setup.refuse()
    for box in boxes:
        (status,) = setup.statuses(box)
        assert (status.state, status.why, status.refused) == (INVALID, crossed(), {"crossed": 1})
    setup.refuse()
    assert [setup.states(box) for box in boxes] == [[INVALID], [INVALID]]
    setup.quote()
    assert [setup.states(box) for box in boxes] == [[LIVE], [LIVE]]
    assert setup.refused == ["AAPL", "AAPL"]


def test_a_refused_trade_is_no_word_about_the_quote() -> None:
    """A channel's refusals are its own: the quote stays LIVE, and nobody is told to forget it."""
    setup = Setup()
    box = setup.following(channels=[QUOTES, TRADES])
    setup.refuse(kind=RecordKind.TRADE)
    assert [(status.channel, status.state) for status in setup.statuses(box)] == [(TRADES, INVALID)]
    assert setup.refused == []


def test_the_book_answers_as_followers_are_told() -> None:
    """While a symbol is INVALID its quote is the refusal, while it is in a GAP there is none."""
    setup = Setup()
    setup.following()
    key = (setup.book.feed, "AAPL")
    setup.quote()
    setup.refuse()
    assert isinstance(setup.live_quotes.get(key), Unavailable)
    setup.quote()
    assert key in setup.live_quotes
    setup.lose()
    assert setup.live_quotes.get(key) is None


def test_what_the_upstream_rejects_is_told_and_final() -> None:
    """A symbol that the upstream refuses is REJECTED for all, with the reason, and nothing more of it comes."""
    setup = Setup()
    boxes = [setup.box("AAPL", "IBM"), setup.box("AAPL")]
    for box in boxes:
        setup.take(box)
    setup.hub.rejected(QUOTES, ["AAPL", "ZZZZ"], crossed())
    for box in boxes:
        (status,) = setup.statuses(box)
        assert (status.symbol, status.state, status.why) == ("AAPL", REJECTED, crossed())
    setup.quote("AAPL")
    assert [setup.pieces(box) for box in boxes] == [[], []]
    assert "AAPL" in boxes[0].symbols


def test_a_rejected_symbol_takes_its_queue_along() -> None:
    """Trades of a symbol that is rejected are not handed out behind its end, those of others are."""
    setup = Setup()
    box = setup.following("AAPL", "IBM", channels=[TRADES])
    setup.trade("AAPL")
    setup.trade("IBM")
    setup.hub.rejected(TRADES, ["AAPL"], crossed())
    assert [piece.symbol for piece in setup.pieces(box)] == ["IBM"]


def test_who_leaves_is_told_so() -> None:
    """Each symbol that is left is answered with REMOVED on each channel, also one that was never followed."""
    setup = Setup()
    box = setup.following("AAPL", "IBM", channels=[QUOTES, TRADES])
    setup.quote("AAPL")
    setup.hub.leave(box, ["AAPL", "ZZZZ"])
    statuses, pieces = setup.take(box)
    assert [
        (status.symbol, status.channel, status.state, status.sequence) for status in statuses
    ] == [
        ("AAPL", QUOTES, REMOVED, 1),
        ("AAPL", TRADES, REMOVED, 0),
        ("ZZZZ", QUOTES, REMOVED, 0),
        ("ZZZZ", TRADES, REMOVED, 0),
    ]
    assert pieces == []
    setup.quote("IBM")
    assert [piece.symbol for piece in setup.pieces(box)] == ["IBM"]


def test_what_was_asked_for_and_rejected_is_told_with_the_rest() -> None:
    """Symbols that cannot be followed are REJECTED on each channel, and belong to the subscription's tokens."""
    setup = Setup()
    box = setup.hub.box(setup.following(channels=[QUOTES, TRADES]).terms)
    setup.hub.join(box, ["AAPL"], {"ZZZZ": crossed()})
    told = [(status.symbol, status.channel, status.state) for status in setup.statuses(box)]
    assert told[:2] == [("ZZZZ", QUOTES, REJECTED), ("ZZZZ", TRADES, REJECTED)]
    assert box.prefix == tokens.prefix(setup.book.feed, "ep0c4", [QUOTES, TRADES], ["AAPL", "ZZZZ"])


def test_adding_a_followed_symbol_tells_again_how_it_stands() -> None:
    """A symbol that is followed already gets its status again, and its count goes on."""
    setup = Setup()
    box = setup.following()
    setup.quote()
    setup.quote()
    setup.hub.join(box, ["AAPL"])
    statuses, pieces = setup.take(box)
    assert [(status.state, status.sequence) for status in statuses] == [(LIVE, 2)]
    assert [(piece.sequence, piece.conflated) for piece in pieces] == [(2, 1)]


# -------------------------------------------------------------------------------- sessions, halts


async def test_a_closed_market_is_quiet() -> None:
    """When the market closes every LIVE symbol turns QUIET, and LIVE again when it opens, each told with its time."""
    setup = Setup()
    box = setup.following("AAPL", "IBM", channels=[QUOTES, TRADES])
    await setup.pass_time(1)
    setup.session = MarketSession.CLOSED
    await setup.pass_time(1)
    statuses = setup.statuses(box)
    assert [status.state for status in statuses] == [QUIET] * 4
    assert {status.changed for status in statuses} == {setup.clock.wall()}
    assert setup.states(setup.box("AAPL")) == [QUIET]
    setup.session = MarketSession.PRE_MARKET
    await setup.pass_time(1)
    assert setup.states(box) == [LIVE] * 4
    await setup.pass_time(5)
    assert setup.statuses(box) == []


async def test_a_symbol_that_is_not_live_is_not_quiet() -> None:
    """What is PENDING, INVALID or in a GAP stays so when the market closes."""
    setup = Setup()
    box = setup.following("AAPL", "IBM")
    setup.refuse("IBM")
    setup.take(box)
    setup.hub.join(box, ["MSFT"])
    setup.take(box)
    setup.session = MarketSession.CLOSED
    await setup.pass_time(1)
    assert [(status.symbol, status.state) for status in setup.statuses(box)] == [("AAPL", QUIET)]
    box.restate()
    assert setup.states(box) == [QUIET, INVALID, PENDING]


async def test_an_unknown_session_is_not_closed() -> None:
    """When nobody knows the session nothing is concluded from it."""
    setup = Setup()
    setup.session = None
    box = setup.following(stale_after=1.0)
    await setup.pass_time(5)
    assert setup.statuses(box) == []


@pytest.mark.parametrize(("halt", "resumption"), [("2", "3"), ("H", "T"), ("P", "T")])
def test_a_halted_symbol_is_quiet(halt: str, resumption: str) -> None:
    """A halt of the statuses channel makes a symbol QUIET on every channel, and its resumption LIVE; others go on."""
    setup = Setup()
    setup.following(channels=[STATUSES])
    box = setup.following("AAPL", "IBM", channels=[QUOTES, TRADES])
    setup.trading_status(halt)
    assert [(status.symbol, status.state) for status in setup.statuses(box)] == [
        ("AAPL", QUIET), ("AAPL", QUIET),
    ]  # fmt: skip
    setup.trading_status(halt)
    setup.trading_status("Q")
    assert setup.statuses(box) == []
    setup.trading_status(resumption)
    assert setup.states(box) == [LIVE, LIVE]


async def test_a_halt_outlasts_the_close() -> None:
    """A symbol that is halted when the market closes and opens is QUIET throughout, and told so once."""
    setup = Setup()
    setup.following(channels=[STATUSES])
    box = setup.following()
    setup.trading_status("H")
    assert setup.states(box) == [QUIET]
    for session in (MarketSession.CLOSED, MarketSession.OPEN):
        setup.session = session
        await setup.pass_time(1)
        assert setup.statuses(box) == []
    setup.trading_status("T")
    assert setup.states(box) == [LIVE]


async def test_a_halt_of_which_nothing_more_is_heard_is_forgotten() -> None:
    """When nobody follows the statuses of a symbol any more its resumption would go unheard: it is LIVE again."""
    setup = Setup()
    statuses = setup.following(channels=[STATUSES])
    box = setup.following()
    setup.trading_status("H")
    setup.take(box)
    setup.hub.detach(statuses)
    await setup.pass_time(15)
    assert setup.states(box) == [LIVE]


def test_a_halt_may_have_ended_in_a_gap() -> None:
    """When statuses may have been missed a symbol is not taken for halted any more."""
    setup = Setup()
    box = setup.following(channels=[QUOTES, STATUSES])
    setup.trading_status("H")
    setup.take(box)
    setup.hub.missed(GapCause.OVERFLOW, setup.clock.wall(), "too much")
    assert setup.states(box) == [LIVE, LIVE]
    setup.trading_status("H")
    setup.take(box)
    setup.lose()
    setup.confirm()
    setup.confirm(channel=STATUSES)
    assert setup.states(box) == [LIVE, LIVE]


async def test_a_quote_that_does_not_move_is_stale() -> None:
    """While the market is open, a quote that has not moved for `stale_after` is STALE, for each by his own measure."""
    setup = Setup()
    patient, hasty = setup.following(stale_after=60.0), setup.following(stale_after=3.0)
    await setup.pass_time(1)
    setup.quote()
    quoted_at = setup.clock.wall()
    for box in (patient, hasty):
        setup.take(box)
    await setup.pass_time(3)
    assert setup.statuses(hasty) == []
    await setup.pass_time(1)
    (status,) = setup.statuses(hasty)
    assert (status.state, status.changed) == (STALE, quoted_at + 3 * NANOS)
    assert setup.statuses(patient) == []
    await setup.pass_time(60)
    assert setup.states(patient) == [STALE]
    assert setup.statuses(hasty) == []


async def test_a_stale_quote_that_moves_is_live_again() -> None:
    """The update that ends staleness is followed by LIVE, since its receipt."""
    setup = Setup()
    box = setup.following(stale_after=3.0)
    await setup.pass_time(5)
    assert setup.states(box) == [STALE]
    setup.hand.advance(0.5)
    setup.quote()
    moved_at = setup.clock.wall()
    statuses, pieces = setup.take(box)
    assert len(pieces) == 1
    assert [(status.state, status.changed) for status in statuses] == [(LIVE, moved_at)]
    box.restate()
    assert setup.statuses(box)[0].changed == moved_at
    await setup.pass_time(3)
    assert setup.statuses(box) == []


async def test_staleness_ends_for_who_does_not_read() -> None:
    """A quote that moves is no longer stale for one who has not read it yet either."""
    setup = Setup()
    box = setup.following(stale_after=3.0, interval=3600.0)
    setup.quote()
    setup.take(box)
    await setup.pass_time(5)
    assert setup.states(box) == [STALE]
    setup.quote()
    await setup.pass_time(1)
    statuses, pieces = setup.take(box)
    assert [status.state for status in statuses] == [LIVE]
    assert pieces == []


async def test_only_open_markets_make_stale() -> None:
    """Before the opening nothing is stale, afterwards silence is counted from the opening; at the close it is QUIET."""
    setup = Setup()
    setup.session = MarketSession.PRE_MARKET
    box = setup.following(stale_after=10.0)
    await setup.pass_time(60)
    setup.session = MarketSession.OPEN
    await setup.pass_time(11)
    assert setup.statuses(box) == []
    await setup.pass_time(1)
    assert setup.states(box) == [STALE]
    setup.session = MarketSession.AFTER_HOURS
    await setup.pass_time(1)
    assert setup.states(box) == [LIVE]
    setup.session = MarketSession.CLOSED
    await setup.pass_time(1)
    assert setup.states(box) == [QUIET]
    setup.session = MarketSession.OPEN
    await setup.pass_time(5)
    assert setup.states(box) == [LIVE]


async def test_only_live_quotes_are_stale() -> None:
    """Trades, and quotes that are halted, INVALID or in a GAP, are not called stale."""
    setup = Setup()
    setup.following("HALTED", channels=[STATUSES])
    box = setup.following("AAPL", "HALTED", "BAD", channels=[QUOTES, TRADES], stale_after=2.0)
    setup.trading_status("H", "HALTED")
    setup.refuse("BAD")
    setup.take(box)
    await setup.pass_time(10)
    assert [(status.symbol, status.channel, status.state) for status in setup.statuses(box)] == [
        ("AAPL", QUOTES, STALE)
    ]
    setup.trading_status("T", "HALTED")
    assert setup.states(box) == [LIVE, LIVE]
    await setup.pass_time(2)
    assert setup.statuses(box) == []
    setup.lose()
    assert set(setup.states(box)) == {GAP}
    await setup.pass_time(10)
    assert setup.statuses(box) == []


async def test_a_tick_lets_others_have_their_turns() -> None:
    """Looking after ten thousand symbols does not keep the loop from its other work."""
    setup = Setup()
    setup.following(*(f"S{number}" for number in range(10_000)))
    setup.session = MarketSession.CLOSED
    ticking = setup.hub.tick().__await__()
    assert sum(1 for _ in ticking) >= 5


# ------------------------------------------------------------------------------------------- gaps


def test_a_lost_connection_is_a_gap_for_all() -> None:
    """Every confirmed symbol turns GAP with the open gap, whose symbols, cause and beginning are kept."""
    setup = Setup()
    box = setup.following("AAPL", "IBM", channels=[QUOTES, TRADES])
    setup.quote()
    setup.take(box)
    setup.hub.lost(GapCause.SLOW_READER, setup.clock.wall() - 7, "dropped as too slow")
    statuses = setup.statuses(box)
    assert [status.state for status in statuses] == [GAP] * 4
    (gap,) = setup.gaps.newest_first()
    assert all(list(status.gaps) == [gap] for status in statuses)
    assert (gap.cause, gap.start, gap.end) == (GapCause.SLOW_READER, setup.clock.wall() - 7, None)
    assert gap.parts == {QUOTES: ("AAPL", "IBM"), TRADES: ("AAPL", "IBM")}
    assert (gap.repair, setup.counts.gaps) == (GapRepair.PENDING, 1)
    assert setup.live_before_loss == [1]


def test_a_gap_ends_when_the_upstream_confirms() -> None:
    """Then every symbol is LIVE, with the gap's end, and where its quotes stand is found out."""
    setup = Setup()
    box = setup.following("AAPL", "IBM")
    setup.lose()
    setup.take(box)
    began = setup.clock.wall()
    setup.hand.advance(3)
    setup.confirm()
    statuses = setup.statuses(box)
    assert [status.state for status in statuses] == [LIVE, LIVE]
    assert [(gap.start, gap.end) for status in statuses for gap in status.gaps] == [
        (began, began + 3 * NANOS)
    ] * 2
    (gap,) = setup.gaps.newest_first()
    assert gap.end == began + 3 * NANOS
    assert setup.resyncs == [(["AAPL", "IBM"], gap)]


def test_each_symbol_ends_its_gap_when_it_is_confirmed() -> None:
    """The upstream confirms piece by piece: each symbol tells its own end, and the gap is over with the last."""
    setup = Setup()
    box = setup.following("AAPL", "IBM")
    setup.lose()
    setup.take(box)
    setup.hand.advance(1)
    setup.confirm("AAPL")
    first_end = setup.clock.wall()
    (status,) = setup.statuses(box)
    assert (status.symbol, [gap.end for gap in status.gaps]) == ("AAPL", [first_end])
    (gap,) = setup.gaps.newest_first()
    assert gap.end is None
    setup.hand.advance(1)
    setup.confirm("AAPL", "IBM")
    (status,) = setup.statuses(box)
    assert (status.symbol, [gap.end for gap in status.gaps]) == ("IBM", [setup.clock.wall()])
    assert gap.end == setup.clock.wall()


def test_a_record_ends_the_gap_of_its_symbol() -> None:
    """A record that is quicker than the confirmation ends its symbol's gap, and the others stay in theirs."""
    setup = Setup()
    box = setup.following("AAPL", "IBM")
    setup.lose()
    setup.take(box)
    setup.hand.advance(1)
    setup.quote("AAPL")
    (status,) = setup.statuses(box)
    assert (status.symbol, status.state, [gap.end for gap in status.gaps]) == (
        "AAPL", LIVE, [setup.clock.wall()],
    )  # fmt: skip
    setup.confirm()
    (gap,) = setup.gaps.newest_first()
    assert gap.end == setup.clock.wall()
    assert ["IBM"] in [symbols for symbols, _ in setup.resyncs]


def test_a_refused_record_ends_the_gap_too() -> None:
    """A record that is no value shows as well that the upstream sends again."""
    setup = Setup()
    box = setup.following()
    setup.lose()
    setup.take(box)
    setup.refuse()
    (status,) = setup.statuses(box)
    assert (status.state, len(status.gaps)) == (INVALID, 1)
    assert status.gaps[0].end == setup.clock.wall()


def test_a_connection_that_is_lost_again_is_another_gap() -> None:
    """What was confirmed in between has a gap of its own; what was not is still in the first one."""
    setup = Setup()
    box = setup.following("AAPL", "IBM")
    setup.lose()
    setup.hand.advance(1)
    setup.confirm("AAPL")
    setup.take(box)
    setup.hand.advance(1)
    setup.lose()
    (status,) = setup.statuses(box)
    assert status.symbol == "AAPL"
    second, first = setup.gaps.newest_first()
    assert second.parts == {QUOTES: ("AAPL",)}
    assert list(status.gaps) == [second]
    setup.hand.advance(1)
    setup.confirm()
    ends = {status.symbol: status.gaps for status in setup.statuses(box)}
    assert [gap.id for gap in ends["AAPL"]] == [second.id]
    assert [gap.id for gap in ends["IBM"]] == [first.id]
    assert first.end == second.end == setup.clock.wall()


def test_a_loss_of_nothing_is_no_gap() -> None:
    """When the upstream had confirmed nothing, nothing was missed: PENDING stays PENDING."""
    setup = Setup()
    box = setup.box("AAPL")
    setup.take(box)
    setup.lose()
    setup.hub.missed(GapCause.OVERFLOW, setup.clock.wall(), "too much")
    assert setup.statuses(box) == []
    assert setup.gaps.newest_first() == ()
    assert setup.live_before_loss == []


async def test_a_gap_does_not_wait_for_who_has_gone() -> None:
    """A gap is over when all who are still followed are confirmed, though others were let go of meanwhile."""
    setup = Setup(symbol_limit=2)
    box = setup.following("AAPL")
    gone = setup.following("IBM")
    setup.lose()
    setup.confirm("AAPL")
    ends = [gap.end for gap in setup.gaps.newest_first()]
    setup.hub.detach(gone)
    await setup.pass_time(15)
    ends += [gap.end for gap in setup.gaps.newest_first()]
    assert ends == [None, setup.clock.wall()]
    assert setup.states(box) == [LIVE]


def test_a_gap_does_not_wait_for_who_made_room() -> None:
    """Nor for a symbol that went because somebody wanted another."""
    setup = Setup(symbol_limit=1)
    box = setup.following("AAPL")
    setup.lose()
    setup.hub.detach(box)
    setup.box("IBM")
    setup.confirm("IBM")
    (gap,) = setup.gaps.newest_first()
    assert gap.end == setup.clock.wall()


def test_a_gap_does_not_wait_for_what_is_rejected() -> None:
    """A symbol that the upstream no longer sends after a gap is REJECTED, and the gap is over."""
    setup = Setup()
    box = setup.following()
    setup.lose()
    setup.take(box)
    setup.hub.rejected(QUOTES, ["AAPL"], crossed())
    (status,) = setup.statuses(box)
    assert status.state is REJECTED
    (gap,) = setup.gaps.newest_first()
    assert gap.end == setup.clock.wall()


def test_who_comes_in_a_gap_is_told_of_it() -> None:
    """A follower of a symbol that is being missed is told GAP, with the gap."""
    setup = Setup()
    setup.following()
    setup.lose()
    (status,) = setup.statuses(setup.box("AAPL"))
    assert status.state is GAP
    assert list(status.gaps) == list(setup.gaps.newest_first())


def test_what_was_missed_meanwhile_is_a_gap_that_is_over() -> None:
    """Records that the gateway dropped are a gap with its count; symbols stay LIVE and are asked about."""
    setup = Setup()
    box = setup.following("AAPL", "IBM")
    setup.quote("AAPL")
    setup.refuse("IBM")
    setup.take(box)
    since = setup.clock.wall()
    setup.hand.advance(1)
    setup.hub.missed(GapCause.OVERFLOW, since, "too much", records=12)
    statuses = setup.statuses(box)
    assert [status.state for status in statuses] == [LIVE, LIVE]
    (gap,) = setup.gaps.newest_first()
    assert (gap.start, gap.end, gap.lost_records) == (since, setup.clock.wall(), 12)
    assert all(list(status.gaps) == [gap] for status in statuses)
    assert setup.resyncs == [(["AAPL", "IBM"], gap)]
    assert len(setup.live_quotes) == 0


def test_a_gap_of_queued_channels_cannot_be_repaired() -> None:
    """Where nobody followed quotes nothing is asked for: what is missing stays missing."""
    setup = Setup()
    setup.following(channels=[TRADES])
    setup.hub.missed(GapCause.UNREADABLE, setup.clock.wall(), "garbage")
    (gap,) = setup.gaps.newest_first()
    assert gap.repair is GapRepair.NONE
    assert setup.resyncs == []


def test_an_unread_gap_is_told_as_it_is_by_then() -> None:
    """Who reads only after the end is told the gap once, with its end."""
    setup = Setup()
    box = setup.following()
    setup.lose()
    setup.hand.advance(1)
    setup.confirm()
    (status,) = setup.statuses(box)
    assert (status.state, [gap.end for gap in status.gaps]) == (LIVE, [setup.clock.wall()])


def test_a_symbol_that_is_left_in_a_gap_tells_of_it() -> None:
    """Whoever leaves before he was told of the gap hears of it with the end of the symbol."""
    setup = Setup()
    box = setup.following()
    setup.lose()
    setup.hub.leave(box, ["AAPL"])
    (status,) = setup.statuses(box)
    assert (status.state, len(status.gaps)) == (REMOVED, 1)


def test_the_connection_has_a_state() -> None:
    """Each state of the connection is counted with its words and time, and told on."""
    setup = Setup()
    told: list[FeedState] = []
    setup.hub.on_state = told.append
    setup.hub.changed(FeedState.WAITING_FOR_SLOT, "somebody has it")
    assert (setup.counts.state, setup.counts.message) == ("waiting_for_slot", "somebody has it")
    assert setup.counts.changed_time == setup.clock.wall()
    assert told == [setup.hub.state] == [FeedState.WAITING_FOR_SLOT]


# --------------------------------------------------------------------------------- snapshots, resyncs


def test_a_crowd_shares_one_snapshot() -> None:
    """Whoever comes is given what stands, encoded once for all of them, until something newer does."""
    setup = Setup()
    setup.following()
    value = setup.quote()
    topic = setup.interest.on(QUOTES)["AAPL"]
    for _ in range(3):
        box = setup.following()
        setup.hub.give_snapshot(topic, box, value, RecordKind.QUOTE)
        (piece,) = setup.pieces(box)
        assert (piece.origin, piece.sequence, piece.tier) == ("SNAPSHOT", 1, "book")
    assert setup.encode.encoded["AAPL", 1] == 1
    setup.refuse()
    box = setup.following()
    setup.hub.give_snapshot(topic, box, value, RecordKind.QUOTE)
    assert [piece.sequence for piece in setup.pieces(box)] == [2]


def test_a_resync_is_for_all() -> None:
    """What stands after a gap comes to every follower, with the number of the record before, and answers GetQuote."""
    setup = Setup()
    boxes = [setup.following(), setup.following()]
    setup.quote(bid="1")
    setup.pieces(boxes[0])
    setup.lose()
    setup.confirm()
    topic = setup.interest.on(QUOTES)["AAPL"]
    setup.hub.publish_resync(topic, quote("AAPL", side("7")), RecordKind.QUOTE)
    read, unread = (setup.pieces(box)[0] for box in boxes)
    assert (read.origin, read.sequence, read.price, read.tier) == ("RESYNC", 1, "7", "upstream")
    assert (read.conflated, unread.conflated) == (0, 1)
    assert len(setup.live_quotes) == 1
    setup.quote(bid="8")
    assert [(piece.sequence, piece.conflated) for piece in setup.pieces(boxes[1])] == [(2, 0)]


# --------------------------------------------------------------------------------------- resuming


def test_queued_records_are_replayed() -> None:
    """Who comes back gets the trades since his token, in order, and counts from where he was; then live ones."""
    setup = Setup()
    setup.following(channels=[TRADES])
    box = setup.following(channels=[TRADES])
    setup.trade()
    setup.pieces(box)
    token = setup.token(box)
    setup.hub.detach(box)
    for _ in range(3):
        setup.trade()
    again = setup.resumed(token)
    setup.trade()
    statuses, pieces = setup.take(again)
    assert [(status.state, status.sequence, list(status.gaps)) for status in statuses] == [
        (LIVE, 1, [])
    ]
    assert [(piece.origin, piece.sequence) for piece in pieces] == [
        ("REPLAY", 2), ("REPLAY", 3), ("REPLAY", 4), ("LIVE", 5),
    ]  # fmt: skip


def test_what_was_refused_meanwhile_is_told() -> None:
    """Numbers that were refused while he was away are explained before what is replayed."""
    setup = Setup()
    setup.following(channels=[TRADES])
    box = setup.following(channels=[TRADES])
    setup.refuse(kind=RecordKind.TRADE)
    setup.trade()
    setup.take(box)
    token = setup.token(box)
    setup.hub.detach(box)
    setup.refuse(kind=RecordKind.TRADE)
    setup.trade()
    setup.refuse(kind=RecordKind.TRADE, rule="future")
    statuses, pieces = setup.take(setup.resumed(token))
    assert [(status.state, status.sequence, status.refused) for status in statuses] == [
        (INVALID, 2, {}),
        (INVALID, 5, {"crossed": 1, "future": 1}),
    ]
    assert [piece.sequence for piece in pieces] == [4]


def test_replays_share_what_was_encoded() -> None:
    """A crowd that comes back shares the bytes of what it missed."""
    setup = Setup()
    boxes = [setup.following(channels=[TRADES]) for _ in range(3)]
    tokens_ = [setup.token(box) for box in boxes]
    setup.trade()
    for token in tokens_:
        assert len(setup.pieces(setup.resumed(token))) == 1
    assert setup.encode.encoded == {("AAPL", 1): 1}


def test_only_what_is_followed_is_replayed() -> None:
    """Records of other symbols and channels stay where they are."""
    setup = Setup()
    setup.following("AAPL", "IBM", channels=[TRADES, BARS])
    token = setup.token(setup.following(channels=[TRADES]))
    setup.trade("IBM")
    setup.bar("AAPL")
    setup.trade("AAPL")
    assert [(piece.kind, piece.symbol) for piece in setup.pieces(setup.resumed(token))] == [
        ("trade", "AAPL")
    ]


def test_a_quiet_symbol_resumes_after_any_time() -> None:
    """A token is good for as long as nothing of its own symbols has been dropped, however much of others was."""
    setup = Setup(kept=5)
    setup.following("AAPL", "IBM", channels=[TRADES])
    box = setup.following("AAPL", channels=[TRADES])
    setup.trade("AAPL")
    setup.pieces(box)
    token = setup.token(box)
    for _ in range(100):
        setup.trade("IBM")
    again = setup.resumed(token)
    assert setup.causes(again) == [[]]


@pytest.mark.parametrize("by", ["room", "time"])
async def test_what_is_no_longer_kept_is_a_gap(by: str) -> None:
    """A token from before what is kept resumes with a gap since it, and what is still kept is replayed."""
    setup = Setup(kept=3, kept_for=10.0)
    box = setup.following(channels=[TRADES])
    token = setup.token(box)
    for number in range(5):
        setup.trade()
        setup.hand.advance(1 if by == "room" else 0.1 + 9.9 * (number == 1))
    await setup.hub.tick()
    again = setup.resumed(token)
    (status,), pieces = setup.take(again)
    (gap,) = status.gaps
    assert (gap.cause, gap.start, gap.end) == (GapCause.RESUME, token.time, setup.clock.wall())
    assert status.sequence == 2
    assert [piece.sequence for piece in pieces] == [3, 4, 5]


@pytest.mark.parametrize(
    "foreign",
    [
        tokens.prefix(*(LiveFeeds().book.feed, "an0ther", [TRADES], ["AAPL"])),
        tokens.prefix(*(LiveFeeds().book.feed, "ep0c4", [TRADES], ["AAPL", "IBM"])),
        tokens.prefix(*(LiveFeeds().book.feed, "ep0c4", [BARS], ["AAPL"])),
    ],
)
def test_a_token_of_something_else_is_a_gap(foreign: str) -> None:
    """Of another epoch or subscription nothing is known: each symbol begins with a gap, and nothing is replayed."""
    setup = Setup()
    setup.following(channels=[QUOTES, TRADES])
    setup.trade()
    token = tokens.decode(tokens.encode(foreign, 0, setup.clock.wall() - 5))
    again = setup.resumed(token)
    statuses, pieces = setup.take(again)
    assert [[gap.cause for gap in status.gaps] for status in statuses] == [[GapCause.RESUME]]
    assert pieces == []
    assert setup.causes(setup.resumed(token, channels=[QUOTES])) == [[GapCause.RESUME]]


def test_a_token_from_the_future_is_a_gap() -> None:
    """A position that the feed has not reached was never handed out, so nothing is known of what was read."""
    setup = Setup()
    box = setup.following(channels=[TRADES])
    token = tokens.decode(tokens.encode(box.prefix, 7, setup.clock.wall() + 5))
    (status,) = setup.statuses(setup.resumed(token))
    (gap,) = status.gaps
    assert (gap.cause, gap.start) == (GapCause.RESUME, setup.clock.wall())


async def test_a_symbol_that_was_not_followed_meanwhile_is_a_gap() -> None:
    """When nobody followed a symbol for a while its records had no numbers: what lies between is not known."""
    setup = Setup()
    box = setup.following(channels=[TRADES])
    setup.trade()
    setup.pieces(box)
    token = setup.token(box)
    setup.hub.detach(box)
    await setup.pass_time(15)
    assert setup.causes(setup.resumed(token)) == [[GapCause.RESUME]]
    setup.confirm(channel=TRADES)
    assert setup.causes(setup.resumed(token)) == [[GapCause.RESUME]]
    setup.trade()
    statuses, pieces = setup.take(setup.resumed(token))
    assert [[gap.cause for gap in status.gaps] for status in statuses] == [[GapCause.RESUME]]
    assert [piece.sequence for piece in pieces] == [2]


@pytest.mark.parametrize("channel", [QUOTES, TRADES])
def test_gaps_of_the_upstream_are_told_to_who_comes_back(channel: Channel) -> None:
    """Every gap that was not over at the token's time is told with the first status, and no other."""
    setup = Setup()
    setup.following("IBM", channels=[channel])
    box = setup.following(channels=[channel])
    setup.hub.missed(GapCause.UNREADABLE, setup.clock.wall(), "before")
    setup.take(box)
    token = setup.token(box)
    setup.hub.detach(box)
    setup.hand.advance(1)
    setup.hub.missed(GapCause.OVERFLOW, setup.clock.wall(), "first")
    setup.hand.advance(1)
    setup.lose()
    setup.hand.advance(1)
    setup.confirm(channel=channel)
    again = setup.resumed(token, channels=[channel])
    (status,) = setup.statuses(again)
    assert [gap.cause for gap in status.gaps] == [GapCause.OVERFLOW, GapCause.DISCONNECTED]
    assert all(gap.end is not None for gap in status.gaps)


def test_who_comes_back_in_a_gap_is_told_of_it_once() -> None:
    """A gap that is open stands in the first status once."""
    setup = Setup()
    setup.following(channels=[TRADES])
    token = setup.token(setup.following(channels=[TRADES]))
    setup.lose()
    (status,) = setup.statuses(setup.resumed(token))
    assert status.state is GAP
    assert [gap.cause for gap in status.gaps] == [GapCause.DISCONNECTED]


def test_so_many_gaps_that_some_are_forgotten_are_a_gap() -> None:
    """Of a token from before the oldest gap that is remembered nobody can say that nothing was missed."""
    setup = Setup()
    setup.following("IBM", channels=[TRADES])
    token = setup.token(setup.following("AAPL", channels=[TRADES]))
    for _ in range(1001):
        setup.hand.advance(1)
        setup.gaps.add(
            setup.book.feed, GapCause.OVERFLOW, "IBM", setup.clock.wall(), {TRADES: ["IBM"]}
        )
    assert setup.causes(setup.resumed(token)) == [[GapCause.RESUME]]


def test_more_than_his_queue_holds_is_not_kept_for_him() -> None:
    """Of what was sent while he was away the newest fill his queue, and the range before them is told as not kept."""
    setup = Setup()
    setup.following(channels=[TRADES])
    token = setup.token(setup.following(channels=[TRADES]))
    for _ in range(5):
        setup.trade()
    again = setup.resumed(token, queue=2)
    setup.trade()
    (first, then), pieces = setup.take(again)
    assert (first.sequence, first.losses) == (0, ())
    assert [(loss.cause, loss.first_sequence, loss.last_sequence) for loss in then.losses] == [
        (LossCause.NOT_KEPT, 1, 3), (LossCause.SLOW_FOLLOWER, 4, 4),
    ]  # fmt: skip
    assert [piece.sequence for piece in pieces] == [5, 6]


def test_a_resumed_token_does_not_claim_replays_that_lie_unread() -> None:
    """Who is cut off again before he has read his replays gets them again from any token of the stream in between."""
    setup = Setup()
    setup.following(channels=[TRADES])
    token = setup.token(setup.following(channels=[TRADES]))
    for _ in range(3):
        setup.trade()
    again = setup.resumed(token)
    assert setup.token(again) == token
    again.take_statuses(0.0)
    assert setup.token(again).position == token.position
    third = setup.resumed(setup.token(again))
    assert [piece.sequence for piece in setup.pieces(third)] == [1, 2, 3]


def test_a_token_of_something_else_stays_so_until_its_gaps_are_told() -> None:
    """Who is cut off before he was told of the gap is told of it when he comes back again."""
    setup = Setup()
    setup.following(channels=[TRADES])
    foreign = tokens.prefix(setup.book.feed, "an0ther", [TRADES], ["AAPL"])
    token = tokens.decode(tokens.encode(foreign, 99, setup.clock.wall() - 5))
    again = setup.resumed(token)
    assert setup.token(again) == token
    again.take_statuses(0.0)
    assert setup.causes(setup.resumed(setup.token(again))) == [[]]


def test_what_was_replayed_needs_no_snapshot() -> None:
    """The hub says what it has replayed something of: only the others need to be told what stands."""
    setup = Setup()
    setup.following("AAPL", "IBM", channels=[QUOTES, TRADES])
    token = setup.token(setup.following("AAPL", "IBM", channels=[QUOTES, TRADES]))
    setup.trade("AAPL")
    setup.quote("AAPL")
    box = setup.box("AAPL", "IBM", channels=[QUOTES, TRADES])
    replayed = setup.hub.resume(box, token)
    assert [(entry.symbol, entry.channel) for entry in replayed] == [("AAPL", TRADES)]


def test_topics_are_let_go_of_without_a_trace() -> None:
    """A box that has gone is referred to by nothing of the hub."""
    setup = Setup()
    box = setup.following("AAPL", "IBM", channels=[QUOTES, TRADES])
    setup.hub.detach(box)
    topics: list[Topic] = list(setup.interest)
    assert all(box not in topic.boxes for topic in topics)
