"""The beat: everybody with mail is woken together, soon while the loop keeps up, more rarely when it does not."""

from __future__ import annotations

import asyncio

import pytest

from tickgate_server.fanout.beat import Beat

from ...support.fanning import be_busy, in_steered_time

QUICKEST, SLOWEST = 0.001, 0.02


class Sleeper:
    """Remembers when it was woken."""

    def __init__(self) -> None:
        self.woken: list[float] = []

    def wake_for_mail(self) -> None:
        self.woken.append(asyncio.get_running_loop().time())


async def burden(beat: Beat, beats: int) -> None:
    """Let *beats* pass, each of which comes late by its own length."""
    for _ in range(beats):
        beat.strike()
        be_busy(beat.length * 2)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def relieve(beat: Beat, beats: int) -> None:
    """Let *beats* pass in time."""
    for _ in range(beats):
        beat.strike()
        await asyncio.sleep(SLOWEST)


@in_steered_time
async def test_without_mail_nobody_is_woken() -> None:
    """Where nothing is struck there is no beat."""
    beat, sleeper = Beat(), Sleeper()
    beat.wait(sleeper)
    await asyncio.sleep(3600)
    assert sleeper.woken == []


@in_steered_time
async def test_mail_is_announced_at_once() -> None:
    """After silence everybody is woken with the first mail."""
    beat, sleepers = Beat(), [Sleeper(), Sleeper()]
    for sleeper in sleepers:
        beat.wait(sleeper)
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    beat.strike()
    await asyncio.sleep(1)
    for sleeper in sleepers:
        assert sleeper.woken == [pytest.approx(began)]


@in_steered_time
async def test_mail_that_comes_soon_after_a_beat_shares_the_next() -> None:
    """While the loop keeps up beats are a millisecond apart, however often they are struck."""
    beat, sleeper = Beat(), Sleeper()
    beat.wait(sleeper)
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    for _ in range(100):
        beat.strike()
    await asyncio.sleep(QUICKEST / 4)
    beat.strike()
    await asyncio.sleep(QUICKEST / 4)
    beat.strike()
    await asyncio.sleep(1)
    assert sleeper.woken == [pytest.approx(began), pytest.approx(began + QUICKEST)]


@in_steered_time
async def test_who_has_left_is_not_woken() -> None:
    """Who left before a beat sleeps on, and to leave twice is no harm."""
    beat, gone, there = Beat(), Sleeper(), Sleeper()
    beat.wait(gone)
    beat.wait(there)
    beat.strike()
    beat.leave(gone)
    beat.leave(gone)
    await asyncio.sleep(1)
    assert (gone.woken, len(there.woken)) == ([], 1)


@in_steered_time
async def test_who_leaves_when_woken_keeps_nobody_from_waking() -> None:
    """Everybody who waits when a beat comes is woken by it, also if some leave at that."""
    beat = Beat()

    class Leaver(Sleeper):
        def wake_for_mail(self) -> None:
            super().wake_for_mail()
            beat.leave(self)

    sleepers = [Leaver() for _ in range(10)]
    for sleeper in sleepers:
        beat.wait(sleeper)
    for _ in range(2):
        beat.strike()
        await asyncio.sleep(1)
    assert [len(sleeper.woken) for sleeper in sleepers] == [1] * 10


@in_steered_time
async def test_a_loop_that_lags_is_asked_less_often() -> None:
    """When beats come late the next ones are longer, up to 20 ms."""
    beat = Beat()
    lengths = [beat.length]
    for _ in range(12):
        await burden(beat, 1)
        lengths.append(beat.length)
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (QUICKEST, SLOWEST)


@in_steered_time
async def test_a_loop_that_recovers_is_asked_more_often() -> None:
    """When beats come in time again they shorten to a millisecond, more slowly than they grew."""
    beat = Beat()
    await burden(beat, 12)
    await relieve(beat, 12)
    assert QUICKEST < beat.length < SLOWEST
    await relieve(beat, 100)
    assert beat.length == QUICKEST


@in_steered_time
async def test_a_little_late_is_in_time() -> None:
    """A beat that comes less than half its length late changes nothing."""
    beat = Beat()
    for _ in range(20):
        beat.strike()
        be_busy(beat.length * 0.4)
        await asyncio.sleep(0.001)
    assert beat.length == QUICKEST
