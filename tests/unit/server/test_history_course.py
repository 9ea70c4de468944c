"""The two orders of the past, against what can be counted instant by instant."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tickgate_server.history.course import Course
from tickgate_server.market.columns import Origin, TradeBlock, counts, decimals
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import DataSource, Tier

from ...support.fakes import trade

COURSES = st.builds(Course, st.booleans())
INTERVALS = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(
    lambda ends: Interval(min(ends), max(ends))
)
SOME = INTERVALS.filter(lambda interval: not interval.empty)


def block(times: Sequence[int]) -> TradeBlock:
    """Trades at *times*."""
    price = decimals([trade().price] * len(times))
    assert price is not None
    return TradeBlock(
        origin=Origin(DataSource.SANDBOX, None, 0, "", Tier.STORE),
        times=array("q", times),
        price=price,
        size=None,
        exchange=None,
        conditions=None,
        id=counts(list(range(len(times)))),
        tape=None,
        amendment=None,
    )


@given(COURSES, st.lists(st.integers(0, 12), min_size=1), INTERVALS)
def test_a_cut_holds_the_rows_of_the_interval(
    course: Course, times: list[int], interval: Interval
) -> None:
    """All of them and no other, in either order."""
    times = sorted(times, reverse=course.newest_first)

    cut = course.cut(block(times), interval)

    assert list(cut.times) == [time for time in times if time in interval]


@given(COURSES, SOME, SOME)
def test_an_interval_is_read_up_to_another_and_behind_it(
    course: Course, whole: Interval, other: Interval
) -> None:
    """What comes before, what both share and what comes behind make the whole."""
    order = sorted(range(whole.start, whole.end), reverse=course.newest_first)
    inside = [place for place, instant in enumerate(order) if instant in other]
    if not inside:
        return

    before, behind = course.before(whole, other), course.behind(whole, other)

    assert sorted(order[: inside[0]]) == list(range(before.start, before.end))
    assert sorted(order[inside[-1] + 1 :]) == list(range(behind.start, behind.end))
    assert course.first(whole) == order[0]


@given(COURSES, SOME, st.integers(0, 12))
def test_onward_begins_with_the_instant(course: Course, whole: Interval, instant: int) -> None:
    """The instant itself belongs to what is left."""
    onward = course.onward(whole, instant)

    assert [one for one in range(13) if one in onward] == [
        one
        for one in range(13)
        if one in whole and (one <= instant if course.newest_first else one >= instant)
    ]


def test_turning_is_its_own_inverse() -> None:
    """Blocks and their rows change places, and come back."""
    blocks = [block([1, 2]), block([3])]
    course = Course(newest_first=True)

    turned = course.turned(blocks)

    assert [list(one.times) for one in turned] == [[3], [2, 1]]
    assert [list(one.times) for one in course.turned(turned)] == [[1, 2], [3]]
