"""The memory of gaps: numbered, newest first when read, bounded, and shared where they tell the same."""

from __future__ import annotations

from tickgate_server.fanout.gaps import Gaps, was_missed
from tickgate_server.market.live import Channel, Gap, GapCause, GapRepair
from tickgate_server.market.provenance import Feed
from tickgate_server.market.time import NANOS

from ...support.fakes import NOW

QUOTES, TRADES = Channel.QUOTES, Channel.TRADES


def add(
    gaps: Gaps, *symbols: str, feed: Feed = Feed.IEX, start: int = NOW, channel: Channel = QUOTES
) -> Gap:
    """Let *symbols* be missed."""
    return gaps.add(feed, GapCause.DISCONNECTED, "cut", start, {channel: symbols})


def test_a_gap_begins_open() -> None:
    """A new gap says what was missed, in alphabetical order, since when and why, and has neither end nor repair."""
    gap = Gaps().add(
        Feed.SIP, GapCause.SILENT, "mute", NOW, {QUOTES: ["IBM", "AAPL"], TRADES: ["MSFT"]}
    )
    assert gap == Gap(
        1,
        Feed.SIP,
        GapCause.SILENT,
        "mute",
        NOW,
        parts={QUOTES: ("AAPL", "IBM"), TRADES: ("MSFT",)},
    )
    assert (gap.end, gap.lost_records, gap.repair) == (None, None, GapRepair.PENDING)


def test_gaps_are_numbered_and_read_newest_first() -> None:
    """Each has a number of its own, whatever its feed, and the newest is read first."""
    gaps = Gaps()
    for feed in (Feed.IEX, Feed.SIP, Feed.IEX):
        add(gaps, "AAPL", feed=feed)
    assert [(gap.id, gap.feed) for gap in gaps.newest_first()] == [
        (3, Feed.IEX),
        (2, Feed.SIP),
        (1, Feed.IEX),
    ]


def test_only_so_many_are_remembered() -> None:
    """The oldest is forgotten for the newest, and no number comes again."""
    gaps = Gaps(3)
    for _ in range(5):
        add(gaps, "AAPL")
    assert [gap.id for gap in gaps.newest_first()] == [5, 4, 3]
    assert len(gaps) == 3


def test_a_thousand_are_remembered() -> None:
    """Without another word a thousand gaps are kept."""
    gaps = Gaps()
    for _ in range(1001):
        add(gaps, "AAPL")
    assert len(gaps) == 1000


def test_a_flapping_connection_costs_its_names_once() -> None:
    """Gaps in a row that miss the same symbols share their names; another set has its own."""
    gaps = Gaps()
    first, again = add(gaps, "AAPL", "IBM"), add(gaps, "IBM", "AAPL")
    other = add(gaps, "AAPL")
    assert first.parts is again.parts
    assert other.parts == {QUOTES: ("AAPL",)}


def test_what_a_returning_follower_missed() -> None:
    """Since a time come the gaps of the symbol, oldest first, that are open or ended after it."""
    gaps = Gaps()
    over, later, still = (add(gaps, "AAPL", start=NOW + n) for n in range(3))
    over.end, later.end = NOW + 10 * NANOS, NOW + 20 * NANOS
    assert gaps.since(Feed.IEX, NOW) == [over, later, still]
    assert gaps.since(Feed.IEX, NOW + 10 * NANOS) == [later, still]
    assert gaps.since(Feed.IEX, NOW + 3600 * NANOS) == [still]


def test_what_others_missed_is_not_told() -> None:
    """A gap of another feed, channel or symbol is none of this one's."""
    gaps = Gaps()
    add(gaps, "AAPL", feed=Feed.SIP)
    add(gaps, "AAPL", channel=TRADES)
    add(gaps, "IBM")
    assert [gap for gap in gaps.since(Feed.IEX, NOW) if was_missed(gap, QUOTES, "AAPL")] == []


def test_what_may_be_forgotten_is_known() -> None:
    """Of a time before the oldest gap that is remembered nobody can say that nothing was missed, if any was dropped."""
    gaps = Gaps(2)
    for start in (NOW + 10, NOW + 20):
        add(gaps, "AAPL", start=start)
    assert not gaps.forgot(NOW)
    add(gaps, "AAPL", start=NOW + 30)
    assert gaps.forgot(NOW)
    assert gaps.forgot(NOW + 19)
    assert not gaps.forgot(NOW + 20)


def test_only_what_was_followed_was_missed() -> None:
    """A gap knows each of its symbols, first and last, and no other."""
    gap = add(Gaps(), "MSFT", "AAPL", "IBM")
    assert all(was_missed(gap, QUOTES, symbol) for symbol in ("AAPL", "IBM", "MSFT"))
    assert not any(was_missed(gap, QUOTES, symbol) for symbol in ("A", "AAPLE", "IBN", "ZZZZ"))
    assert not was_missed(gap, TRADES, "AAPL")
