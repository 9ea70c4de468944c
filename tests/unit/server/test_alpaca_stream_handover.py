"""Between the threads: everything in order, nothing without bound, and no wake too many."""

from __future__ import annotations

import asyncio

import pytest

from tickgate_server.market.live import FeedState
from tickgate_server.upstream.alpaca.stream.handover import (
    Changed,
    Frame,
    Handover,
    Item,
    Shed,
    record_count,
)

from ...support.fakes import settle
from ...support.live_feed import packed

LIVE = Changed(FeedState.LIVE, "")


def frame(number: int, records: int = 1) -> Frame:
    """A frame that arrived in the nanosecond *number*."""
    return Frame(number, packed(*range(records)))


def handover(most_frames: int = 100, most_bytes: int = 10_000) -> tuple[Handover, list[None]]:
    """A queue to this loop, and its wakes."""
    wakes: list[None] = []
    queue = Handover(
        asyncio.get_running_loop(),
        lambda: wakes.append(None),
        most_frames=most_frames,
        most_bytes=most_bytes,
    )
    return queue, wakes


def taken(queue: Handover) -> list[Item]:
    """Everything that is in *queue*."""
    items: list[Item] = []
    while (item := queue.take()) is not None:
        items.append(item)
    return items


async def test_all_comes_in_order() -> None:
    """Frames and what happened between them are taken as they were put."""
    queue, _ = handover()
    put: list[Item] = [frame(1), LIVE, frame(2), frame(3), LIVE]
    for item in put:
        queue.put(item)
    assert taken(queue) == put


async def test_one_wake_for_a_burst() -> None:
    """The loop is woken when there is something after there was nothing, and not for each item."""
    queue, wakes = handover()
    for number in range(5):
        queue.put(frame(number))
    await settle(lambda: len(wakes) == 1)
    taken(queue)
    queue.put(frame(6))
    await settle(lambda: len(wakes) == 2)


async def test_an_overflow_drops_the_older_half() -> None:
    """What is dropped is told where it stood, with its records and the arrival of its first."""
    queue, _ = handover(most_frames=4)
    queue.put(LIVE)
    for number in range(1, 6):
        queue.put(frame(number, records=number))
    assert taken(queue) == [LIVE, Shed(6, 1), frame(4, 4), frame(5, 5)]


async def test_what_happened_is_never_dropped() -> None:
    """Word between dropped frames stays, before the word of what was dropped."""
    queue, _ = handover(most_frames=2)
    put: list[Item] = [frame(1), LIVE, frame(2), LIVE, frame(3)]
    for item in put:
        queue.put(item)
    assert taken(queue) == [LIVE, Shed(2, 1), LIVE, frame(3)]


async def test_bytes_are_bounded_too() -> None:
    """A few large frames are as much as many small ones."""
    queue, _ = handover(most_bytes=100)
    for number in range(1, 4):
        queue.put(frame(number, records=40))
    items = taken(queue)
    assert items == [Shed(80, 1), frame(3, 40)]


async def test_what_was_taken_makes_room() -> None:
    """Only what waits counts against the bounds."""
    queue, _ = handover(most_frames=2)
    for number in range(10):
        queue.put(frame(number))
        assert queue.take() == frame(number)
    assert queue.take() is None


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"\x90", 0),
        (b"\x9f", 15),
        (b"\xdc\x01\x00", 256),
        (b"\xdd\x00\x01\x00\x00", 65_536),
        (b"", 0),
        (b"[{}]", 0),
        (b"\x81\xa1T\xa1q", 0),
    ],
)
def test_records_are_counted_by_the_head_of_their_frame(data: bytes, count: int) -> None:
    """How many records a frame holds stands in its first bytes; what is no array holds none."""
    assert record_count(data) == count
