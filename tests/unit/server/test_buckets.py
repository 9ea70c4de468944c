"""Histograms of plain integers."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.observe.buckets import AGES, SCORES, SECONDS, Buckets, merged

numbers = st.lists(st.floats(0, 1000, allow_nan=False), max_size=50)


@given(numbers)
def test_each_bound_has_counted_what_is_no_larger(given_: list[float]) -> None:
    """The count under each bound is that of the numbers that are at most as large, and the last one is that of all."""
    buckets = Buckets()
    for number in given_:
        buckets.observe(number)

    assert buckets.cumulated() == [
        *(sum(number <= bound for number in given_) for bound in SECONDS),
        len(given_),
    ]
    assert buckets.count == len(given_)
    assert buckets.total == pytest.approx(sum(given_))


@given(st.lists(numbers, max_size=4))
def test_merged_buckets_are_those_of_all_numbers_together(several: list[list[float]]) -> None:
    """What several buckets have counted is what one would have that had seen it all, and they stay as they are."""
    each = [Buckets() for _ in several]
    whole = Buckets()
    for buckets, some in zip(each, several, strict=True):
        for number in some:
            buckets.observe(number)
            whole.observe(number)
    before = [list(buckets.counts) for buckets in each]
    together = merged(each)

    assert together.counts == whole.counts
    assert together.total == pytest.approx(whole.total)
    assert [buckets.counts for buckets in each] == before


def test_a_number_on_a_bound_lies_below_it() -> None:
    """A bound belongs to the bucket below it, as Prometheus has it; what is negative lies in the first."""
    buckets = Buckets(SCORES)
    for score in (0, 10, 11, 100, -5):
        buckets.observe(score)

    assert buckets.counts == [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("bounds", [SECONDS, AGES, SCORES])
def test_bounds_are_in_order(bounds: tuple[float, ...]) -> None:
    """Bounds rise, none of them twice: a bucket would have no place."""
    assert list(bounds) == sorted(set(bounds))
    assert all(bisect_left(bounds, bound) == place for place, bound in enumerate(bounds))


def test_a_block_is_timed_however_it_ends() -> None:
    """The seconds of a block are counted once, whether it ends well or not."""
    buckets = Buckets()
    with buckets.timing():
        pass
    with pytest.raises(KeyError), buckets.timing():
        raise KeyError

    assert buckets.count == 2
    assert buckets.total >= 0
