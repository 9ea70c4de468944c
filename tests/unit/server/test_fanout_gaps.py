"""Gaps: the newest are remembered, and can be asked for by time and by symbol."""

from __future__ import annotations

from tickgate_server.fanout.gaps import Gaps, was_missed
from tickgate_server.market.live import Channel, Gap, GapCause, GapRepair
from tickgate_server.market.provenance import Feed

QUOTES, TRADES = Channel.QUOTES, Channel.TRADES


def add(
    gaps: Gaps, start: int, end: int | None = None, *symbols: str, feed: Feed = Feed.IEX
) -> Gap:
    """Note a gap of quotes."""
    gap = gaps.add(feed, GapCause.DISCONNECTED, "gone", start, {QUOTES: list(symbols) or ["AAPL"]})
    gap.end = end
    return gap


def test_a_new_gap_is_open_and_unmended() -> None:
    """A gap begins with a number of its own, open, its symbols in alphabetical order, and not repaired."""
    gaps = Gaps()
    gap = gaps.add(Feed.SIP, GapCause.SILENT, "mute", 5, {QUOTES: ["IBM", "AAPL"], TRADES: ["IBM"]})
    assert (gap.id, gap.feed, gap.cause, gap.message, gap.start) == (
        1,
        Feed.SIP,
        GapCause.SILENT,
        "mute",
        5,
    )
    assert (gap.end, gap.repair, gap.lost_records) == (None, GapRepair.PENDING, None)
    assert gap.parts == {QUOTES: ("AAPL", "IBM"), TRADES: ("IBM",)}
    assert add(gaps, 6).id == 2
    assert len(gaps) == 2


def test_the_newest_come_first_and_the_oldest_are_forgotten() -> None:
    """They are listed newest first, and no more than so many are kept."""
    gaps = Gaps(most=3)
    for start in range(5):
        add(gaps, start)
    assert [gap.start for gap in gaps.newest_first()] == [4, 3, 2]


def test_what_was_not_over_at_a_time_is_found() -> None:
    """Since a time: those of the feed that are open, and those that ended later, oldest first."""
    gaps = Gaps()
    add(gaps, 1, 4)
    later = add(gaps, 2, 6)
    still_open = add(gaps, 3, None)
    add(gaps, 3, None, feed=Feed.SIP)
    assert gaps.since(Feed.IEX, 4) == [later, still_open]
    assert gaps.since(Feed.IEX, 5) == [later, still_open]
    assert gaps.since(Feed.IEX, 6) == [still_open]


def test_what_may_be_forgotten_is_known() -> None:
    """Of a time before the oldest gap that is remembered nobody can say that nothing was missed, if any was dropped."""
    gaps = Gaps(most=2)
    for start in (10, 20):
        add(gaps, start, start + 1)
    assert not gaps.forgot(5)
    add(gaps, 30, 31)
    assert gaps.forgot(5)
    assert gaps.forgot(19)
    assert not gaps.forgot(20)


def test_a_gap_knows_whom_it_missed() -> None:
    """Only what was followed while it lasted was missed."""
    gap = add(Gaps(), 1, 2, "IBM", "AAPL", "MSFT")
    assert all(was_missed(gap, QUOTES, symbol) for symbol in ("AAPL", "IBM", "MSFT"))
    for symbol in ("A", "AAPLE", "IBN", "ZZZZ"):
        assert not was_missed(gap, QUOTES, symbol)
    assert not was_missed(gap, TRADES, "AAPL")


def test_a_connection_that_flaps_does_not_repeat_its_names() -> None:
    """Gaps in a row with the same symbols share the names of ten thousand of them."""
    gaps = Gaps()
    names = [f"S{number}" for number in range(100)]
    first, second = add(gaps, 1, 2, *names), add(gaps, 3, 4, *reversed(names))
    assert second.parts is first.parts
    assert add(gaps, 5, 6, "AAPL").parts is not first.parts
