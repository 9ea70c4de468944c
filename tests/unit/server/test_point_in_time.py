"""What a symbol traded at, at a moment of the past."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tickgate_server.errors import UpstreamBroken
from tickgate_server.history.point_in_time import PointInTime
from tickgate_server.market.answer import Answer
from tickgate_server.market.provenance import Tier
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason, Unavailable
from tickgate_server.ports import Priority

from ...support.fanning import run_in_steered_time
from ...support.history_desk import DAY, SECOND, TRADES, YESTERDAY, Desk, trade_at

HOUR = 3600 * SECOND
ODD, USUAL = ("@", "I"), ("@",)


def odd(instant: int, number: int) -> Trade:
    """A trade of an odd lot."""
    return replace(trade_at(YESTERDAY + instant, number), conditions=ODD)


def usual(instant: int, number: int, **changed: Any) -> Trade:
    """A trade that sets a price."""
    return replace(trade_at(YESTERDAY + instant, number), conditions=USUAL, **changed)


async def price_at(
    desk: Desk, instant: int, tolerance: int = HOUR, **more: Any
) -> Answer[Trade] | Unavailable:
    """Ask for the price at *instant*."""
    prices = PointInTime(desk.reader, desk.clock)
    deadline = desk.clock.monotonic() + 10
    return await prices.price_at(TRADES, YESTERDAY + instant, tolerance, deadline=deadline, **more)


def number_of(answer: Answer[Trade] | Unavailable) -> int | None:
    """The number of the trade that is the answer."""
    assert isinstance(answer, Answer), answer
    return answer.value.id


async def test_the_last_trade_counts_and_no_later_one() -> None:
    """A trade at the very moment is one, one a nanosecond later is none; of two at once the last."""
    desk = Desk({TRADES: [usual(0, 0), usual(10, 1), usual(10, 2), usual(11, 3)]})

    assert number_of(await price_at(desk, 9)) == 0
    assert number_of(await price_at(desk, 10)) == 2
    assert number_of(await price_at(desk, 11)) == 3


async def test_trades_that_set_no_price_are_passed_over() -> None:
    """Odd lots and what was taken back are none; the correction is one."""
    values = [
        usual(0, 0, amendment="corrected"),
        usual(1, 1, amendment="canceled"),
        usual(2, 2, amendment="incorrect"),
        odd(3, 3),
    ]

    assert number_of(await price_at(Desk({TRADES: values}), 5)) == 0


async def test_the_answer_has_its_origin() -> None:
    """First the upstream's, then the store's, with the time at which it happened."""
    desk = Desk({TRADES: [usual(0, 0)]})

    first = await price_at(desk, 5)
    await desk.settle()
    again = await price_at(desk, 5)

    assert isinstance(first, Answer)
    assert isinstance(again, Answer)
    assert (first.served_from, again.served_from) == (Tier.UPSTREAM, Tier.STORE)
    assert first.value == again.value
    assert again.value.event_time == YESTERDAY
    assert again.value.provenance.upstream_request_id == "upstream-1"
    assert desk.pages.pages == 1


async def test_it_is_asked_backwards_in_small_pages() -> None:
    """One small page almost always does, in the caller's name."""
    desk = Desk({TRADES: [usual(second * SECOND, second) for second in range(3000)]})

    assert number_of(await price_at(desk, 3000 * SECOND)) == 2999

    (walk,) = desk.pages.walks
    assert (walk.page, walk.newest_first, walk.priority) == (51, True, Priority.INTERACTIVE)
    assert desk.pages.pages == 1


async def test_a_long_run_of_odd_lots_is_walked_through() -> None:
    """However many set no price, the last that does is found, and none is asked for twice."""
    desk = Desk(
        {TRADES: [usual(0, 0), *(odd(SECOND + number, number) for number in range(1, 2000))]}
    )

    assert number_of(await price_at(desk, 2 * SECOND)) == 0
    told = desk.pages.told_of("AAPL")
    assert sum(one.end - one.start for one in told) == HOUR + 1


async def test_nothing_within_the_tolerance_is_said() -> None:
    """Over a weekend the price of Friday is no answer to who allows an hour; what was passed over is named."""
    desk = Desk({TRADES: [usual(0, 0), odd(3 * HOUR, 1)]})

    nothing = await price_at(desk, 2 * HOUR)
    passed_over = await price_at(desk, 3 * HOUR + 5)
    wide = await price_at(desk, 3 * HOUR + 5, 4 * HOUR)

    assert isinstance(nothing, Unavailable)
    assert nothing.reason is Reason.NO_DATA
    assert "2026-09-30T16:00:00Z" in nothing.message
    assert nothing.last_event_time is None
    assert isinstance(passed_over, Unavailable)
    assert passed_over.reason is Reason.NO_DATA
    assert passed_over.last_event_time == YESTERDAY + 3 * HOUR
    assert "1 that set none" in passed_over.message
    assert number_of(wide) == 0


async def test_reasons_of_the_history_are_told_on() -> None:
    """An unknown symbol, a failing upstream, a tier that holds nothing and an unknown past each are themselves."""
    unknown = await price_at(Desk(listed=()), 0)
    desk = Desk({TRADES: [usual(0, 0)]})
    not_held = await price_at(desk, 5, allowed_tiers=frozenset({Tier.STORE}))
    not_known = await price_at(desk, 5, as_of=YESTERDAY)
    desk.pages.failing_with = UpstreamBroken("answered 500")
    failed = await price_at(desk, 5)

    assert isinstance(unknown, Unavailable)
    assert unknown.reason is Reason.SYMBOL_UNKNOWN
    assert isinstance(not_held, Unavailable)
    assert not_held.reason is Reason.NOT_HELD
    assert "not held" in not_held.message
    assert isinstance(not_known, Unavailable)
    assert not_known.reason is Reason.NOT_HELD
    assert "not known then" in not_known.message
    assert isinstance(failed, Unavailable)
    assert failed.reason is Reason.UPSTREAM_ERROR


TRADE = st.tuples(st.integers(0, 200), st.booleans())


@settings(max_examples=100, deadline=None)
@given(
    st.lists(TRADE, max_size=80),
    st.lists(st.tuples(st.integers(0, 210), st.integers(0, 210)), min_size=1, max_size=4),
    st.booleans(),
)
def test_the_price_is_the_one_that_a_search_by_hand_finds(
    trades: Sequence[tuple[int, bool]], questions: Sequence[tuple[int, int]], stored: bool
) -> None:
    """Whatever is held, however crowded an instant is, it is the last trade that sets a price, and only that."""
    values = [
        (usual if sets else odd)(instant, number)
        for number, (instant, sets) in enumerate(sorted(trades))
    ]

    async def program() -> None:
        desk = Desk({TRADES: values}, stored=stored, least_page=1, page=7, spool=2)
        for instant, tolerance in questions:
            found = [
                value.id
                for value in values
                if value.conditions == USUAL
                and YESTERDAY + instant - tolerance
                <= (value.event_time or 0)
                <= YESTERDAY + instant
            ]
            answer = await price_at(desk, instant, tolerance)
            if found:
                assert number_of(answer) == found[-1]
            else:
                assert isinstance(answer, Unavailable)
                assert answer.reason is Reason.NO_DATA
        await desk.reader.aclose()

    run_in_steered_time(program())


@pytest.mark.parametrize("instant", [DAY - 5 * SECOND, 2 * DAY])
async def test_there_is_no_look_ahead(instant: int) -> None:
    """Also for a moment that is now or has not come, only what has happened counts."""
    desk = Desk({TRADES: [usual(DAY - 10 * SECOND, 0), usual(DAY + 5 * SECOND, 1)]})

    assert number_of(await price_at(desk, instant, 2 * DAY)) == 0
