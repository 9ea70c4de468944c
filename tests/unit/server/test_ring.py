"""The ring: the newest records are kept for a while, and each symbol knows what of it is not kept any more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate_server.book import Entry, Update
from tickgate_server.fanout.ring import Kept, Refused, Ring
from tickgate_server.market.live import Channel, RecordKind
from tickgate_server.market.time import NANOS

from ...support.fakes import NOW, provenance, trade

AAPL, IBM = (Entry(Channel.TRADES, symbol, NOW) for symbol in ("AAPL", "IBM"))


def record(position: int, seconds: float = 0.0) -> Update:
    """A trade that was received so many seconds after the start."""
    value = replace(trade(), provenance=provenance(NOW, NOW + round(seconds * NANOS)))
    return Update(RecordKind.TRADE, value, position, position, position)


def positions(ring: Ring, after: int = 0) -> list[tuple[str, int]]:
    """Symbols and positions of what is kept."""
    return [(entry.symbol, kept.position) for entry, kept in ring.after(after)]


def filled(ring: Ring, *records: tuple[Entry, Kept]) -> Ring:
    """Put *records* into *ring*."""
    for entry, kept in records:
        ring.put(entry, kept)
    return ring


def test_what_is_kept_comes_back_in_order() -> None:
    """Everything behind a position comes back, oldest first, and nothing up to it."""
    ring = filled(Ring(10, NANOS), (AAPL, record(3)), (IBM, record(5)), (AAPL, record(6)))
    assert positions(ring) == [("AAPL", 3), ("IBM", 5), ("AAPL", 6)]
    assert positions(ring, after=3) == positions(ring, after=4) == [("IBM", 5), ("AAPL", 6)]
    assert positions(ring, after=6) == []
    assert len(ring) == 3


def test_the_oldest_makes_room() -> None:
    """No more records are kept than there is room for, and the symbol whose record went knows its position."""
    apple, other = Entry(Channel.TRADES, "AAPL", NOW), Entry(Channel.TRADES, "IBM", NOW)
    ring = filled(Ring(2, NANOS), (apple, record(1)), (other, record(2)), (apple, record(3)))
    assert positions(ring) == [("IBM", 2), ("AAPL", 3)]
    assert (apple.dropped, other.dropped) == (1, 0)


def test_what_is_too_old_is_dropped() -> None:
    """Nothing is kept for longer than it may be, counted from its receipt; refused records neither."""
    entry = Entry(Channel.TRADES, "AAPL", NOW)
    refused = Refused(2, 2, "crossed", NOW + NANOS)
    ring = filled(
        Ring(10, 5 * NANOS), (entry, record(1)), (entry, refused), (entry, record(3, 2.0))
    )
    ring.expire(NOW + 5 * NANOS)
    assert positions(ring) == [("AAPL", 1), ("AAPL", 2), ("AAPL", 3)]
    ring.expire(NOW + 5 * NANOS + 1)
    assert positions(ring) == [("AAPL", 2), ("AAPL", 3)]
    ring.expire(NOW + 6 * NANOS + 1)
    assert positions(ring) == [("AAPL", 3)]
    assert entry.dropped == 2
    ring.expire(NOW + 3600 * NANOS)
    assert len(ring) == 0
    assert entry.dropped == 3


def test_a_ring_may_keep_nothing() -> None:
    """With room for nothing each record is dropped as it comes."""
    entry = Entry(Channel.TRADES, "AAPL", NOW)
    ring = filled(Ring(0, NANOS), (entry, record(7)))
    assert len(ring) == 0
    assert entry.dropped == 7


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 90), st.booleans()), max_size=60),
    st.integers(0, 8),
)
def test_what_is_not_known_to_be_dropped_is_kept(
    steps: list[tuple[int, int, bool]], most: int
) -> None:
    """Whatever is put and expires, every record behind the newest that was dropped is there, and never too many are."""
    entry = Entry(Channel.TRADES, "AAPL", NOW)
    ring, put, position, at = Ring(most, 60 * NANOS), [], 0, 0.0
    for skipped, seconds, expires in steps:
        position += skipped
        at += seconds
        ring.put(entry, record(position, at))
        put.append(position)
        if expires:
            ring.expire(NOW + round(at * NANOS))
        assert [place for _, place in positions(ring)] == [
            one for one in put if one > entry.dropped
        ]
        assert len(ring) <= most
