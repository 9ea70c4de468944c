"""Stretches of time, against a model that knows every instant by itself."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.market.interval import Interval, union, within, without

instants = st.integers(-12, 12)
any_interval = st.builds(Interval, instants, instants)
"""Of few instants, so that most of them touch, overlap or hold each other. Some end before they start."""

several = st.lists(any_interval, max_size=8)


def every(*intervals: Interval) -> set[int]:
    """Return the instants that belong to one of *intervals*, one by one."""
    return {instant for one in intervals for instant in range(one.start, one.end)}


def is_tidy(intervals: list[Interval]) -> bool:
    """Tell whether *intervals* are in order, not empty, and no two of them touch."""
    return not any(one.empty for one in intervals) and all(
        one.end < other.start for one, other in pairwise(intervals)
    )


@given(any_interval, instants)
def test_the_start_belongs_to_it_and_the_end_does_not(interval: Interval, instant: int) -> None:
    """An instant belongs to an interval if it is not before its start and is before its end."""
    assert (instant in interval) == (instant in every(interval))
    assert interval.empty == (not every(interval))


def test_only_instants_belong_to_it() -> None:
    """What is no whole number of nanoseconds belongs to no interval."""
    assert 0.5 not in Interval(0, 1)


@given(any_interval, any_interval)
def test_what_two_share(one: Interval, other: Interval) -> None:
    """The intersection holds the instants that belong to both, and is the same either way."""
    assert every(one.intersection(other)) == every(one) & every(other)
    assert one.intersection(other) == other.intersection(one)


@given(several)
def test_a_union_is_the_same_instants_in_order(intervals: list[Interval]) -> None:
    """A union holds every instant that belongs to one of them, in as few intervals as can be."""
    united = union(intervals)
    assert every(*united) == every(*intervals)
    assert is_tidy(united)
    assert union(united) == united


@given(several, any_interval)
def test_what_lies_within(intervals: list[Interval], whole: Interval) -> None:
    """Within an interval are the instants that belong to it and to one of the others."""
    found = within(intervals, whole)
    assert every(*found) == every(*intervals) & every(whole)
    assert is_tidy(found)


@given(several, any_interval)
def test_what_is_left(intervals: list[Interval], whole: Interval) -> None:
    """Without the others an interval is the instants that belong to it and to none of them."""
    left = without(whole, intervals)
    assert every(*left) == every(whole) - every(*intervals)
    assert is_tidy(left)


@given(several, any_interval)
def test_what_is_taken_and_what_is_left_is_all(intervals: list[Interval], whole: Interval) -> None:
    """What lies within an interval and what is left of it without that share nothing, and are the interval."""
    taken, left = within(intervals, whole), without(whole, intervals)
    assert not every(*taken) & every(*left)
    assert union([*taken, *left]) == union([whole])
    assert sum(one.end - one.start for one in [*taken, *left]) == len(every(whole))
