"""The cache that replicas share in front of the store: which stretches it holds, and what is read from it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate_server.history.course import Course
from tickgate_server.history.slots import Slots, midnight
from tickgate_server.market.interval import Interval
from tickgate_server.market.series import SeriesKey, SeriesKind
from tickgate_server.market.time import parse_rfc3339
from tickgate_server.market.timeframe import Timeframe, Unit

from ...support.fakes import NOW, bar
from ...support.fanning import run_in_steered_time
from ...support.history_desk import DAY, SECOND, TRADES, Desk, trades_at

HOUR = 3600 * SECOND
MONDAY = midnight(date(2026, 9, 28))
TUESDAY, WEDNESDAY, THURSDAY = MONDAY + DAY, MONDAY + 2 * DAY, MONDAY + 3 * DAY
"""The last of them is the day of `NOW`."""

DAYS = SeriesKey(SeriesKind.BARS, "AAPL", TRADES.feed, Timeframe(1, Unit.DAY))
THREE_DAYS = Interval(MONDAY, THURSDAY)
HOURS = range(1, 72, 4)


def desk(*, stored: bool = False, hours: Sequence[int] = HOURS) -> Desk:
    """A trade every four hours from Monday to Wednesday, three at once at the first of them."""
    instants = [hour * HOUR for hour in (*hours[:1], *hours[:1], *hours)]
    return Desk({TRADES: trades_at(instants, base=MONDAY)}, stored=stored, cached=True)


def test_trades_and_short_bars_are_held_by_the_day_in_new_york() -> None:
    """A day is final once all of it is, also the one of 25 hours."""
    slots = Slots(TRADES, parse_rfc3339("2026-11-03T05:00:00Z"))
    sunday = Interval(parse_rfc3339("2026-11-01T04:00:00Z"), parse_rfc3339("2026-11-02T05:00:00Z"))

    assert slots.at(parse_rfc3339("2026-11-01T12:00:00Z")) == sunday
    assert slots.final(Interval(0, 2**63)).end == parse_rfc3339("2026-11-03T05:00:00Z")


def test_long_bars_are_held_by_the_year() -> None:
    """Of the running year, as far as it has come."""
    today = parse_rfc3339("2026-10-01T04:00:00Z")
    slots = Slots(DAYS, today)

    assert slots.at(parse_rfc3339("2024-05-01T04:00:00Z")) == Interval(
        parse_rfc3339("2024-01-01T05:00:00Z"), parse_rfc3339("2025-01-01T05:00:00Z")
    )
    assert slots.at(today - DAY) == Interval(parse_rfc3339("2026-01-01T05:00:00Z"), today)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("back", [False, True])
async def test_what_was_read_once_is_read_from_the_cache(newest_first: bool, back: bool) -> None:
    """Without a store, and in either order: whole final days need no upstream for a while."""
    made = desk()
    first = await made.ask_one(THREE_DAYS, newest_first=newest_first)
    pages = made.pages.pages
    again = await made.ask_one(THREE_DAYS, newest_first=back)

    assert again.numbers == (first.numbers if back is newest_first else first.numbers[::-1])
    assert again.tiers == ["redis"]
    assert made.pages.pages == pages


async def test_a_part_of_a_day_is_read_from_the_whole() -> None:
    """Any range within days that are held is answered from them, and goes on behind any value."""
    made = desk()
    whole = await made.ask_one(THREE_DAYS, rows=1)
    some = Interval(MONDAY + 3 * HOUR, TUESDAY + 12 * HOUR)

    part = await made.ask_one(some)

    assert part.numbers == [value.id for value in whole.values if value.event_time in some]
    assert part.tiers == ["redis"]
    for number, chunk in enumerate(whole.chunks):
        rest = await made.ask_one(THREE_DAYS, after=chunk.position)
        assert rest.numbers == whole.numbers[number + 1 :]


async def test_a_day_that_was_not_read_whole_is_not_held() -> None:
    """A cut day, a limited one and the running one would pass for whole."""
    made = desk()

    await made.ask_one(Interval(MONDAY + HOUR, TUESDAY))
    await made.ask_one(Interval(TUESDAY, WEDNESDAY), limit=2)
    await made.ask_one(Interval(THURSDAY, NOW))
    chunk = (await made.ask_one(Interval(TUESDAY + 1, WEDNESDAY), rows=1)).chunks[0]
    await made.ask_one(Interval(TUESDAY, WEDNESDAY), after=chunk.position)

    assert made.cache is not None
    assert made.cache.held == {}


async def test_a_day_with_refused_records_is_not_held() -> None:
    """The cache could not say how many there were."""
    made = desk()
    made.policy = replace(made.policy, page=4)
    made.reader = made.another()
    made.pages.refused = {TRADES: [TUESDAY + HOUR]}

    await made.ask_one(THREE_DAYS)

    assert made.cache is not None
    held = {slot.start for _, slot in made.cache.held}
    assert TUESDAY not in held
    assert WEDNESDAY in held
    assert (await made.ask_one(THREE_DAYS)).done.refused == 1


async def test_a_day_of_too_many_values_is_not_held() -> None:
    """It is no use to fill a cache with what it refuses."""
    made = desk()
    made.policy = replace(made.policy, slot_rows=6)
    made.reader = made.another()

    await made.ask_one(THREE_DAYS)

    assert made.cache is not None
    assert [slot.start for _, slot in made.cache.held] == [TUESDAY, WEDNESDAY]


async def test_what_the_store_gives_warms_the_cache() -> None:
    """A day from the store is in the cache afterwards; an empty one, too."""
    made = desk(stored=True, hours=range(24, 48, 3))
    await made.ask_one(THREE_DAYS)
    await made.settle()
    assert made.cache is not None
    made.cache.held.clear()

    assert (await made.ask_one(THREE_DAYS)).tiers == ["store"]
    assert {slot.start for _, slot in made.cache.held} == {MONDAY, TUESDAY, WEDNESDAY}
    assert (await made.ask_one(THREE_DAYS)).tiers == ["redis"]


@pytest.mark.parametrize("newest_first", [False, True])
async def test_the_cache_goes_on_where_the_store_has_stepped_in(newest_first: bool) -> None:
    """A range that begins and ends within a day takes those days from the store, and the day between from the cache."""
    made = desk(stored=True)
    whole = await made.ask_one(THREE_DAYS)
    await made.settle()
    # Of one stretch from the first day to the last, of which one record was refused.
    held = made.pages.series[TRADES]
    assert held is not None
    await made.memory.write(TRADES, THREE_DAYS, [held], 1)
    await made.settle()
    assert made.cache is not None
    del made.cache.held[TRADES, Interval(MONDAY, TUESDAY)]
    del made.cache.held[TRADES, Interval(WEDNESDAY, THURSDAY)]

    told = await made.ask_one(THREE_DAYS, newest_first=newest_first)

    assert told.tiers == ["store", "redis", "store"]
    assert told.done.refused == 1
    assert sorted(told.numbers, key=str) == sorted(whole.numbers, key=str)


async def test_only_what_the_cache_lacks_is_asked_for() -> None:
    """A hole between two days that are held is asked for alone."""
    made = desk()
    await made.ask_one(THREE_DAYS)
    assert made.cache is not None
    del made.cache.held[TRADES, Interval(TUESDAY, WEDNESDAY)]

    told = await made.ask_one(THREE_DAYS)

    assert told.tiers == ["redis", "upstream", "redis"]
    assert made.pages.walks[-1].interval == Interval(TUESDAY, WEDNESDAY)


async def test_symbols_that_the_cache_holds_do_not_travel_along() -> None:
    """Of several symbols those that are held are left out of the walk."""
    made = Desk(
        {DAYS.about(one): [bar(one, at=MONDAY), bar(one, at=TUESDAY)] for one in ("AAPL", "IBM")},
        stored=False,
        cached=True,
    )
    year = Interval(midnight(date(2026, 1, 1)), THURSDAY)
    await made.ask_one(year, key=DAYS.about("IBM"))

    told = await made.ask(year, "AAPL", "IBM", "MSFT", key=DAYS)

    assert made.pages.walks[-1].symbols == ("AAPL", "MSFT")
    assert told["IBM"].tiers == ["redis"]


async def test_a_cache_that_is_down_costs_nothing() -> None:
    """Everything goes on without it."""
    made = desk()
    assert made.cache is not None
    made.cache.down = True

    first, again = await made.ask_one(THREE_DAYS), await made.ask_one(THREE_DAYS)

    assert first.numbers == again.numbers
    assert again.tiers == ["upstream"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 95), max_size=30),
    st.lists(
        st.tuples(st.integers(0, 95), st.integers(1, 96), st.booleans()), min_size=1, max_size=5
    ),
    st.booleans(),
    st.integers(1, 9),
)
def test_the_cache_never_changes_an_answer(
    hours: list[int], questions: list[tuple[int, int, bool]], stored: bool, page: int
) -> None:
    """Whatever was asked before, each answer is the series; what is held is all there is."""
    values = trades_at([hour * HOUR for hour in hours], base=MONDAY - DAY)

    async def program() -> None:
        made = Desk({TRADES: values}, stored=stored, cached=True, page=page, spool=2)
        for one, another, newest_first in questions:
            start, end = sorted((one, another))
            asked = Interval(MONDAY - DAY + start * HOUR, MONDAY - DAY + end * HOUR + 1)
            told = await made.ask_one(asked, newest_first=newest_first, rows=3)
            expected = [value.id for value in values if value.event_time in asked]
            assert told.numbers == (expected[::-1] if newest_first else expected)
        assert made.cache is not None
        for (_, slot), blocks in made.cache.held.items():
            times = [time for block in blocks for time in block.times]
            assert times == [value.event_time for value in values if value.event_time in slot]
        await made.reader.aclose()

    run_in_steered_time(program())


@given(st.integers(MONDAY - 900 * DAY, NOW), st.booleans(), st.sampled_from([TRADES, DAYS]))
def test_slots_follow_each_other_without_holes(
    start: int, newest_first: bool, key: SeriesKey
) -> None:
    """In either order they cover what is final, once."""
    whole = Interval(start, NOW)
    course = Course(newest_first)
    slots = Slots(key, THURSDAY)

    found = sorted(slots.within(whole, course, 10_000))

    assert all(one.end == other.start for one, other in pairwise(found))
    if found:
        assert found[0].start <= start
        assert found[-1].end == THURSDAY
    else:
        assert start >= THURSDAY
