"""How much each consumer has had. Time is moved by hand."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.access.meters import Meters
from tickgate_server.errors import LimitExceeded
from tickgate_server.identity.consumer import ANYBODY, Consumer, Limits

from ...support.fakes import HandClock

DAY = 24 * 3600.0


class Desk:
    """Meters, and the clock that they go by."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.meters = Meters(self.clock.monotonic)

    def refusal(self, consumer: Consumer) -> LimitExceeded | None:
        """Make a call, and return why it was refused."""
        try:
            self.meters.admit(consumer)
        except LimitExceeded as refusal:
            return refusal
        return None

    def admitted(self, consumer: Consumer, most: int = 10_000) -> int:
        """Make calls until one is refused, at most so many, and return how many were not."""
        return next((count for count in range(most) if self.refusal(consumer)), most)


def limited(name: str = "quant", **limits: float) -> Consumer:
    """A consumer with some limits."""
    return Consumer(name, limits=Limits(**limits))  # type: ignore[arg-type]  # whole numbers where they must be


# ---------------------------------------------------------------------------------------- calls


def test_a_seconds_worth_may_come_at_once() -> None:
    """A consumer makes a second's worth of calls at once, and then as many as come back."""
    desk, quant = Desk(), limited(calls_per_second=10)
    assert desk.admitted(quant) == 10
    desk.clock.advance(0.35)
    assert desk.admitted(quant) == 3


def test_a_refused_call_says_when_to_come_back() -> None:
    """A refusal names who, the limit and the delay, and whoever comes after it is let in."""
    desk, quant = Desk(), limited(calls_per_second=4)
    desk.admitted(quant)
    refusal = desk.refusal(quant)
    assert refusal is not None
    assert (refusal.limit, refusal.retry_delay) == ("calls_per_second", 0.25)
    assert str(refusal) == "calls a second: quant may make 4 here"
    desk.clock.advance(0.25)
    assert desk.refusal(quant) is None


def test_a_limit_below_one_a_second() -> None:
    """A limit of one call in ten seconds admits one call, and the next ten seconds later."""
    desk, quant = Desk(), limited(calls_per_second=0.1)
    assert desk.admitted(quant) == 1
    desk.clock.advance(9.9)
    assert desk.admitted(quant) == 0
    desk.clock.advance(0.1)
    assert desk.admitted(quant) == 1


def test_another_limit_holds_from_the_next_call() -> None:
    """A limit that was changed holds at once, and what has been had stays had."""
    desk = Desk()
    assert desk.admitted(limited(calls_per_second=10)) == 10
    assert desk.admitted(limited(calls_per_second=1000)) == 0
    desk.clock.advance(0.1)
    assert desk.admitted(limited(calls_per_second=1000)) == 100
    desk.clock.advance(60)
    assert desk.admitted(limited(calls_per_second=2)) == 2
    assert desk.admitted(limited(), 500) == 500


def test_each_name_has_its_own() -> None:
    """What one consumer has had is there for another, and two keys of one name share."""
    desk = Desk()
    assert desk.admitted(limited("a", calls_per_second=3)) == 3
    assert desk.admitted(limited("b", calls_per_second=3)) == 3
    other_key = Consumer("a", "k2", limits=Limits(calls_per_second=3))
    assert desk.admitted(other_key) == 0


def test_a_trailer_says_how_it_stands() -> None:
    """A trailer tells the limit, what is left of it, and the seconds until all of it is there again."""
    desk, quant = Desk(), limited(calls_per_second=4)
    for _ in range(3):
        desk.meters.admit(quant)
    assert desk.meters.trailer(quant) == ("ratelimit", "limit=4, remaining=1, reset=0.750")
    many = limited("many", calls_per_second=2_500_000)
    assert desk.meters.trailer(many) == (
        "ratelimit",
        "limit=2500000, remaining=2500000, reset=0.000",
    )
    assert desk.meters.trailer(limited()) is None
    assert desk.meters.trailer(ANYBODY) is None


@given(
    limit=st.floats(0.01, 500),
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=80),
)
def test_never_more_than_the_limit_and_never_less(limit: float, gaps: list[float]) -> None:
    """In any time no more calls are admitted than it brings, beside a second's worth; and who waits as told gets in."""
    desk, quant = Desk(), limited(calls_per_second=limit)
    most = max(1.0, limit)
    admitted: list[float] = []
    for gap in gaps:
        desk.clock.advance(gap)
        refusal = desk.refusal(quant)
        if refusal is not None:
            assert refusal.retry_delay is not None
            assert 0 < refusal.retry_delay <= 1 / limit + 1e-6
            desk.clock.advance(refusal.retry_delay)
            assert desk.refusal(quant) is None
        admitted.append(desk.clock.monotonic())
    for first, since in enumerate(admitted):
        for count, at in enumerate(admitted[first:], 1):
            assert count <= most + (at - since) * limit + 1e-3


# -------------------------------------------------------------------------------------- streams


def test_only_so_many_streams_at_once() -> None:
    """One stream too many is refused, which waiting does not help; when one ends there is room for another."""
    desk, quant = Desk(), limited(streams=2)
    with ExitStack() as first, ExitStack() as others:
        first.enter_context(desk.meters.stream(quant))
        others.enter_context(desk.meters.stream(quant))
        with pytest.raises(
            LimitExceeded, match="streams at once: quant may have 2 here"
        ) as refused:
            others.enter_context(desk.meters.stream(quant))
        assert (refused.value.limit, refused.value.retry_delay) == ("streams", None)
        others.enter_context(desk.meters.stream(limited("other", streams=1)))
        first.close()
        others.enter_context(desk.meters.stream(quant))


def test_streams_count_from_before_there_was_a_limit() -> None:
    """A limit that a consumer is given holds for the streams that it has already."""
    desk = Desk()
    with (
        desk.meters.stream(limited()),
        desk.meters.stream(limited()),
        pytest.raises(LimitExceeded),
        desk.meters.stream(limited(streams=2)),
    ):
        pass


def test_nobody_in_particular_has_any_number_of_streams() -> None:
    """Whoever has no name is not counted."""
    desk = Desk()
    with ExitStack() as streams:
        for _ in range(100):
            streams.enter_context(desk.meters.stream(ANYBODY))


# ------------------------------------------------------------------------------ points of the past


def test_points_come_back_within_a_day() -> None:
    """What was given is counted, one answer may take more than there was, and the next waits until it has come back."""
    desk, quant = Desk(), limited(history_points_per_day=2400)
    assert desk.meters.points_refusal(quant) is None
    desk.meters.charge_points(quant, 2399)
    assert desk.meters.points_refusal(quant) is None
    desk.meters.charge_points(quant, 301)
    refusal = desk.meters.points_refusal(quant)
    assert refusal is not None
    assert refusal.limit == "history_points_per_day"
    assert refusal.retry_delay == pytest.approx(301 * 36.0)
    desk.clock.advance(refusal.retry_delay or 0)
    assert desk.meters.points_refusal(quant) is None


def test_points_are_counted_of_whoever_has_a_limit() -> None:
    """Without a limit nothing is counted, and another limit holds at once."""
    desk = Desk()
    desk.meters.charge_points(limited(), 10**9)
    assert desk.meters.points_refusal(limited()) is None
    desk.meters.charge_points(limited(history_points_per_day=100), 100)
    assert desk.meters.points_refusal(limited(history_points_per_day=100)) is not None
    desk.clock.advance(DAY / 50)
    assert desk.meters.points_refusal(limited(history_points_per_day=1000)) is None


# ------------------------------------------------------------------------------------ forgetting


def test_who_is_gone_is_forgotten() -> None:
    """However many names have called, only those are kept whose limit is not whole again, and some besides."""
    desk = Desk()
    for number in range(20_000):
        desk.clock.advance(0.01)
        desk.meters.admit(limited(f"service-{number}", calls_per_second=5))
    assert desk.meters.known < 600


def test_who_is_remembered_is_not_let_off() -> None:
    """Forgetting those who are gone forgives nobody what it has had a moment ago."""
    desk, quant = Desk(), limited(calls_per_second=0.001)
    desk.meters.admit(quant)
    for number in range(5000):
        desk.clock.advance(0.001)
        desk.meters.admit(limited(f"service-{number}", calls_per_second=50))
    assert desk.refusal(quant) is not None
