"""The ring: the newest queued records, so many and so long, and from where on they are complete."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.book import Entry, Update
from tickgate_server.fanout.ring import Ring
from tickgate_server.market.live import Channel, RecordKind
from tickgate_server.market.time import NANOS

from ...support.fakes import NOW
from ...support.fanning import value_of

KEEP = 60 * NANOS
AAPL = Entry(Channel.TRADES, "AAPL", NOW)


def update(position: int, received: int = NOW) -> Update:
    """The trade at *position* of the feed."""
    value = value_of(RecordKind.BAR, "AAPL", received)
    return Update(RecordKind.TRADE, value, position, position, position)


def positions(ring: Ring, after: int = 0) -> list[int]:
    """What is kept behind *after*."""
    return [kept.position for _, kept in ring.after(after)]


def test_what_is_put_is_kept_in_order() -> None:
    """The records behind a position come oldest first, each with the symbol that it is of."""
    ring = Ring(10, KEEP)
    ibm = Entry(Channel.TRADES, "IBM", NOW)
    for position in (2, 3, 7):
        ring.put(ibm if position == 3 else AAPL, update(position))
    assert [(entry.symbol, kept.position) for entry, kept in ring.after(2)] == [
        ("IBM", 3),
        ("AAPL", 7),
    ]
    assert (positions(ring, 0), positions(ring, 7)) == ([2, 3, 7], [])
    assert ring.complete_from == 0


def test_the_oldest_makes_room() -> None:
    """With one more than it keeps the oldest goes, and what is complete begins behind it."""
    ring = Ring(3, KEEP)
    for position in (2, 3, 5, 8):
        ring.put(AAPL, update(position))
    assert (positions(ring), len(ring), ring.complete_from) == ([3, 5, 8], 3, 2)


def test_what_is_old_goes() -> None:
    """What was received longer ago than is kept goes; what was received exactly so long ago stays."""
    ring = Ring(10, KEEP)
    for position in range(1, 4):
        ring.put(AAPL, update(position, NOW + position * NANOS))
    ring.expire(NOW + 2 * NANOS + KEEP)
    assert (positions(ring), ring.complete_from) == ([2, 3], 1)
    ring.expire(NOW + 3600 * NANOS)
    assert (positions(ring), ring.complete_from) == ([], 3)


def test_an_empty_ring_still_knows_what_it_let_go() -> None:
    """Once everything has expired, new records do not make the old ones complete again."""
    ring = Ring(10, KEEP)
    ring.put(AAPL, update(4))
    ring.expire(NOW + 2 * KEEP)
    ring.put(AAPL, update(9, NOW + 2 * KEEP))
    assert (positions(ring), ring.complete_from) == ([9], 4)


def test_a_ring_that_keeps_nothing_says_so() -> None:
    """With room for none every record is let go of at once."""
    ring = Ring(0, KEEP)
    ring.put(AAPL, update(1))
    assert (len(ring), ring.complete_from) == (0, 1)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 30), st.booleans()), max_size=60),
    st.integers(0, 8),
)
def test_what_is_complete_is_complete(steps: list[tuple[int, int, bool]], most: int) -> None:
    """Whatever is put and expires, behind `complete_from` no record is missing, and there are never too many."""
    ring, put, position, now = Ring(most, KEEP), [], 0, NOW
    for skipped, seconds, expires in steps:
        position += skipped
        now += seconds * NANOS
        ring.put(AAPL, update(position, now))
        put.append(position)
        if expires:
            ring.expire(now)
        kept = positions(ring, ring.complete_from)
        assert kept == [one for one in put if one > ring.complete_from]
        assert len(ring) <= most
