"""What the stream does not say is asked for: what stands when somebody comes, and what stands after a gap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from tickgate_server.fanout.box import Box
from tickgate_server.fanout.interest import EVERYTHING
from tickgate_server.fanout.recall import Recall, RecallSources
from tickgate_server.market.live import Channel, GapRepair, RecordKind, SymbolState
from tickgate_server.market.quote import Quote
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason
from tickgate_server.ports import Answers

from ...support.fakes import FakeLatest, quote, side, trade, unavailable
from ...support.fanning import Desk, in_steered_time, terms

QUOTES, TRADES = Channel.QUOTES, Channel.TRADES
GRACE, AGAIN, PATIENCE = 0.25, 5.0, 5.0
SOON = 0.01
MOST = 200


class Office:
    """A hub, and those who answer its questions."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.quotes = FakeLatest[Quote](self.desk.clock, {"AAPL": quote(), "IBM": quote("IBM")})
        self.trades = FakeLatest[Trade](self.desk.clock, {"AAPL": trade()})
        self.upstream = FakeLatest[Quote](self.desk.clock, {"AAPL": quote(bid=side("9.00"))})
        sources = RecallSources({QUOTES: self.quotes, TRADES: self.trades}, self.upstream)
        self.recall = Recall(self.desk.hub, sources, self.desk.clock, PATIENCE)
        self.desk.hub.resync = self.recall.resync

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Let questions be asked."""
        running = asyncio.create_task(self.recall.run())
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    def comes(self, *symbols: str, channel: Channel = QUOTES) -> Box:
        """Let somebody follow symbols, as a stream does."""
        box = self.desk.hub.box(terms(channel))
        self.recall.snapshot(self.desk.hub.join(box, symbols), box)
        return box

    async def breaks(self, *symbols: str) -> None:
        """Lose the connection for a second, and have *symbols* confirmed again."""
        self.desk.breaks()
        await asyncio.sleep(1.0)
        self.desk.hub.confirmed(QUOTES, symbols)

    def repair(self) -> GapRepair:
        """What was done about the newest gap."""
        return self.desk.gaps.newest_first()[0].repair


# --------------------------------------------------------------------------------------- snapshots


@in_steered_time
async def test_who_comes_gets_what_stands() -> None:
    """Somebody who follows a symbol that has not spoken yet is sent what another tier knows of it, as SNAPSHOT."""
    office = Office()
    async with office.open():
        box, traded = office.comes("AAPL"), office.comes("AAPL", channel=TRADES)
        await asyncio.sleep(SOON)
    assert office.desk.read(box) == ["quote AAPL 0 from upstream snapshot"]
    assert office.desk.read(traded) == ["trade AAPL 0 from upstream snapshot"]
    assert office.quotes.symbols_asked == [("AAPL",)]


@in_steered_time
async def test_the_stream_is_asked_first() -> None:
    """Where the stream has said what stands nobody is asked, and the book is the tier."""
    office = Office()
    office.desk.live("AAPL")
    office.desk.brings("AAPL")
    async with office.open():
        box = office.comes("AAPL")
        assert office.desk.read(box) == ["quote AAPL 1 snapshot"]
        await asyncio.sleep(SOON)
    assert office.quotes.asked == []


@in_steered_time
async def test_a_refused_record_has_no_snapshot() -> None:
    """Where the newest record was refused no older value is sent, nor asked for."""
    office = Office()
    office.desk.live("AAPL")
    office.desk.refuses("AAPL")
    async with office.open():
        box = office.comes("AAPL")
        await asyncio.sleep(SOON)
    assert office.desk.told(box) == ["AAPL INVALID"]
    assert (office.desk.read(box), office.quotes.asked) == ([], [])


@in_steered_time
async def test_a_crowd_asks_once() -> None:
    """A hundred who come together for the same symbol are one question, and one encoded record."""
    office = Office()
    async with office.open():
        crowd = [office.comes("AAPL", "IBM") for _ in range(100)]
        await asyncio.sleep(SOON)
    for box in crowd:
        assert len(office.desk.read(box)) == 2
    assert office.quotes.symbols_asked == [("AAPL", "IBM")]
    assert office.desk.encode.bodies == 2


@in_steered_time
async def test_many_symbols_are_several_questions() -> None:
    """More symbols than fit into a question are asked for in several, each once."""
    office = Office()
    symbols = [f"S{number}" for number in range(2 * MOST + 1)]
    async with office.open():
        office.comes(*symbols)
        await asyncio.sleep(SOON)
    asked = office.quotes.symbols_asked
    assert [len(one) for one in asked] == [MOST, MOST, 1]
    assert sorted(symbol for one in asked for symbol in one) == sorted(symbols)


@in_steered_time
async def test_few_questions_are_under_way() -> None:
    """However many symbols are wanted, four questions at most wait for an answer."""
    office = Office()
    office.quotes.open.clear()
    async with office.open():
        office.comes(*(f"S{number}" for number in range(10 * MOST)))
        await asyncio.sleep(SOON)
        assert len(office.quotes.asked) == 4
        office.quotes.open.set()
        await asyncio.sleep(SOON)
    assert len(office.quotes.asked) == 10


@in_steered_time
async def test_a_lack_of_data_is_told_and_harms_no_other() -> None:
    """A symbol that cannot be answered has a status with the reason; the others have their snapshots."""
    office = Office()
    office.quotes.reasons["AAPL"] = unavailable(Reason.NO_DATA)
    async with office.open():
        box = office.comes("AAPL", "IBM")
        await asyncio.sleep(SOON)
    whys = {status.symbol: status.why for status in office.desk.statuses(box)}
    assert whys == {"AAPL": unavailable(Reason.NO_DATA), "IBM": None}
    assert office.desk.read(box) == ["quote IBM 0 from upstream snapshot"]


@in_steered_time
async def test_a_stream_that_was_quicker_is_not_overwritten() -> None:
    """When a record comes while the question is under way, the answer is older and is not sent."""
    office = Office()
    office.quotes.open.clear()
    async with office.open():
        box, refused = office.comes("AAPL"), office.comes("IBM")
        await asyncio.sleep(SOON)
        office.desk.brings("AAPL")
        office.desk.refuses("IBM")
        office.quotes.open.set()
        await asyncio.sleep(SOON)
    assert office.desk.read(box) == ["quote AAPL 1 live"]
    assert office.desk.read(refused) == []


@in_steered_time
async def test_who_has_left_is_sent_nothing() -> None:
    """An answer for somebody who no longer follows goes to those who do."""
    office = Office()
    office.quotes.open.clear()
    async with office.open():
        gone, there = office.comes("AAPL"), office.comes("AAPL")
        await asyncio.sleep(SOON)
        office.desk.hub.leave(gone, ["AAPL"])
        office.quotes.open.set()
        await asyncio.sleep(SOON)
    assert office.desk.read(gone) == []
    assert office.desk.read(there) == ["quote AAPL 0 from upstream snapshot"]


@in_steered_time
async def test_what_nobody_can_answer_is_not_asked() -> None:
    """Neither "*" nor channels of which no tier knows the newest record have a question."""
    office = Office()
    async with office.open():
        office.comes(EVERYTHING)
        for channel in set(Channel) - {QUOTES, TRADES}:
            office.comes("AAPL", channel=channel)
        await asyncio.sleep(1.0)
    assert office.quotes.asked == office.trades.asked == []


@in_steered_time
async def test_a_question_has_a_deadline_and_takes_any_age() -> None:
    """A question may take its patience, and a symbol that has not moved for years stands where it stands."""
    office = Office()
    async with office.open():
        office.comes("AAPL")
        began = office.desk.clock.monotonic()
        await asyncio.sleep(SOON)
    (question,) = office.quotes.asked
    assert question.deadline == pytest.approx(began + PATIENCE)
    assert question.freshness.max_event_age is not None
    assert question.freshness.max_event_age > 5 * 365 * 86400 * 10**9


# ----------------------------------------------------------------------------------------- resyncs


@in_steered_time
async def test_a_silent_symbol_is_asked_for_after_its_confirmation() -> None:
    """A quote that has not come within a moment after the confirmation is asked of the upstream, and sent as RESYNC."""
    office = Office()
    async with office.open():
        box = office.desk.follow("AAPL")
        office.desk.hub.confirmed(QUOTES, ["AAPL"])
        await asyncio.sleep(GRACE - SOON)
        assert office.upstream.asked == []
        await asyncio.sleep(2 * SOON)
    assert office.desk.read(box) == ["quote AAPL 0 from upstream resync"]
    (question,) = office.upstream.asked
    assert question.freshness.max_age == 0


@in_steered_time
async def test_a_busy_symbol_says_it_itself() -> None:
    """What speaks within the moment, validly or not, is not asked for."""
    office = Office()
    async with office.open():
        boxes = [office.desk.live("AAPL"), office.desk.live("IBM")]
        office.desk.brings("AAPL")
        office.desk.refuses("IBM")
        await asyncio.sleep(1.0)
    assert office.upstream.asked == []
    assert [office.desk.read(box) for box in boxes] == [["quote AAPL 1 live"], []]


@in_steered_time
async def test_a_stream_quicker_than_the_answer_wins() -> None:
    """A record that comes while the upstream is asked is newer than its answer."""
    office = Office()
    office.upstream.open.clear()
    async with office.open():
        box = office.desk.live("AAPL")
        await asyncio.sleep(1.0)
        office.desk.brings("AAPL")
        office.upstream.open.set()
        await asyncio.sleep(SOON)
    assert office.desk.read(box) == ["quote AAPL 1 live"]


@in_steered_time
async def test_a_gap_is_repaired_when_all_were_answered() -> None:
    """After a gap each silent quote is asked for again, and then the gap says CURRENT; the book answers again."""
    office = Office()
    async with office.open():
        box = office.desk.live("AAPL")
        office.desk.brings("AAPL")
        await office.breaks("AAPL")
        assert office.repair() is GapRepair.PENDING
        await asyncio.sleep(2.0)
    assert office.repair() is GapRepair.CURRENT
    assert office.desk.read(box) == ["quote AAPL 1 from upstream resync +1"]
    assert office.desk.book.standing("AAPL") is not None


@in_steered_time
async def test_an_outage_leaves_a_gap_partial_until_it_is_over() -> None:
    """While the upstream cannot be asked the gap says PARTIAL, and it is asked again, more and more rarely."""
    office = Office()
    office.upstream.outage = unavailable(Reason.UPSTREAM_TIMEOUT)
    async with office.open():
        box = office.desk.live("AAPL")
        office.desk.brings("AAPL")
        await office.breaks("AAPL")
        await asyncio.sleep(2.0)
        assert office.repair() is GapRepair.PARTIAL
        await asyncio.sleep(1800.0)
        asked = len(office.upstream.asked)
        assert 1800 / (AGAIN * 10) < asked < 1800 / AGAIN
        office.upstream.outage = None
        await asyncio.sleep(120.0)
    assert office.repair() is GapRepair.CURRENT
    assert office.desk.read(box) == ["quote AAPL 1 from upstream resync +1"]


@in_steered_time
async def test_a_delay_that_the_upstream_names_is_kept() -> None:
    """Where a failure says when to come again, it is not asked before."""
    office = Office()
    office.upstream.outage = unavailable(Reason.UPSTREAM_RATE_LIMITED, retry_delay=60.0)
    async with office.open():
        office.desk.live("AAPL")
        await asyncio.sleep(59.0)
        assert len(office.upstream.asked) == 1
        await asyncio.sleep(2.0)
        assert len(office.upstream.asked) == 2


@in_steered_time
async def test_what_cannot_be_known_is_not_asked_for_ever() -> None:
    """A symbol of which the upstream has nothing is asked for once, and keeps no gap open."""
    office = Office()
    async with office.open():
        box = office.desk.live("ZZZZ")
        office.desk.told(box)
        await office.breaks("ZZZZ")
        await asyncio.sleep(3600.0)
    assert office.repair() is GapRepair.CURRENT
    assert len(office.upstream.asked) == 1
    whys = [status.why.reason for status in office.desk.statuses(box) if status.why is not None]
    assert whys == [Reason.SYMBOL_UNKNOWN]


@in_steered_time
async def test_who_has_left_is_not_asked_for() -> None:
    """A topic that nobody follows any more when its time comes costs no question."""
    office = Office()
    async with office.open():
        box = office.desk.live("AAPL")
        office.desk.hub.leave(box, ["AAPL"])
        await asyncio.sleep(10.0)
    assert office.upstream.asked == []


@in_steered_time
async def test_resyncs_of_many_symbols_are_several_questions() -> None:
    """More silent symbols than fit into a question are asked for in several, and the gap is over with the last."""
    office = Office()
    symbols = [f"S{number}" for number in range(MOST + 1)]
    office.upstream.values = {symbol: quote(symbol) for symbol in symbols}
    async with office.open():
        box = office.desk.live(*symbols)
        office.desk.brings(*symbols)
        await office.breaks(*symbols)
        await asyncio.sleep(2.0)
    assert [len(one) for one in office.upstream.symbols_asked] == [MOST, 1]
    assert office.repair() is GapRepair.CURRENT
    assert len(office.desk.read(box)) == MOST + 1


@in_steered_time
async def test_nobody_hears_twice_what_he_was_shown() -> None:
    """Who was sent a snapshot before the confirmation gets no resync that says the same."""
    office = Office()
    office.upstream.values["AAPL"] = office.quotes.values["AAPL"]
    async with office.open():
        box = office.comes("AAPL")
        await asyncio.sleep(SOON)
        assert office.desk.read(box) == ["quote AAPL 0 from upstream snapshot"]
        office.desk.hub.confirmed(QUOTES, ["AAPL"])
        await asyncio.sleep(1.0)
    assert len(office.upstream.asked) == 1
    assert office.desk.read(box) == []


# ------------------------------------------------------------------------------------------ faults


class Broken(FakeLatest[Any]):
    """Fails as nothing should."""

    async def latest(self, question: Any) -> Answers[Any]:
        """Raise once."""
        self.asked.append(question)
        if len(self.asked) == 1:
            msg = "a fault of ours"
            raise RuntimeError(msg)
        return await super().latest(question)


@in_steered_time
async def test_a_fault_ends_no_asking() -> None:
    """One question that fails by a fault of ours is written down, told to whoever waited, and the next is asked."""
    office = Office()
    broken = Broken(office.desk.clock, {"IBM": quote("IBM")})
    sources = RecallSources({QUOTES: broken, TRADES: office.trades}, office.upstream)
    office.recall = Recall(office.desk.hub, sources, office.desk.clock, PATIENCE)
    with capture_logs() as logs:
        async with office.open():
            first = office.comes("AAPL")
            await asyncio.sleep(SOON)
            second = office.comes("IBM")
            await asyncio.sleep(SOON)
    (status,) = office.desk.statuses(first)
    assert status.state is SymbolState.PENDING
    assert status.why is not None
    assert status.why.reason is Reason.UPSTREAM_ERROR
    assert office.desk.read(second) == ["quote IBM 0 from upstream snapshot"]
    assert [line["event"] for line in logs] == ["recall_failed"]


@in_steered_time
async def test_without_questions_nothing_turns() -> None:
    """Where nothing is wanted the asking sleeps, however long."""
    office = Office()
    async with office.open():
        await asyncio.sleep(10**6)
        box = office.comes("AAPL", channel=TRADES)
        await asyncio.sleep(SOON)
    office.desk.brings("AAPL", kind=RecordKind.TRADE)
    assert office.desk.read(box) == ["trade AAPL 0 from upstream snapshot", "trade AAPL 1 live"]


@in_steered_time
async def test_a_gap_is_judged_when_its_last_symbol_is_back() -> None:
    """Where trades are confirmed long after the quotes were asked for again, the gap says CURRENT once it is over."""
    office = Office()
    async with office.open():
        office.comes("AAPL")
        office.comes("AAPL", channel=TRADES)
        for channel in (QUOTES, TRADES):
            office.desk.hub.confirmed(channel, ["AAPL"])
        await office.breaks("AAPL")
        await asyncio.sleep(30.0)
        assert office.repair() is GapRepair.PENDING
        office.desk.hub.confirmed(TRADES, ["AAPL"])
        await asyncio.sleep(2.0)
        assert office.repair() is GapRepair.CURRENT


@in_steered_time
async def test_a_gap_is_repaired_when_all_of_it_is() -> None:
    """While some of its quotes are still to be asked for, a gap does not say CURRENT for those that were."""
    office = Office()
    async with office.open():
        office.comes("AAPL", "IBM")
        office.desk.hub.confirmed(QUOTES, ["AAPL", "IBM"])
        office.upstream.values["IBM"] = quote("IBM")
        await office.breaks("AAPL")
        await asyncio.sleep(0.2)
        office.desk.hub.confirmed(QUOTES, ["IBM"])
        await asyncio.sleep(0.1)
        assert office.upstream.symbols_asked[-1] == ("AAPL",)
        assert office.repair() is GapRepair.PENDING
        await asyncio.sleep(0.3)
        assert office.upstream.symbols_asked[-1] == ("IBM",)
        assert office.repair() is GapRepair.CURRENT


@in_steered_time
async def test_nonsense_for_an_answer_does_not_end_the_asking() -> None:
    """A source that breaks its promise is written down, and whoever comes next is answered."""
    office = Office()
    office.quotes.reasons["AAPL"] = "nonsense"  # type: ignore[assignment]  # which is what a promise broken looks like
    async with office.open():
        with capture_logs() as log:
            for _ in range(10):
                office.comes("AAPL")
                await asyncio.sleep(SOON)
        assert {line["event"] for line in log if line["log_level"] == "error"} == {"recall_failed"}
        box = office.comes("IBM")
        await asyncio.sleep(SOON)
        assert office.desk.read(box) == ["quote IBM 0 from upstream snapshot"]
