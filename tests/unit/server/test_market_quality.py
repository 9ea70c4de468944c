"""Score and flags of a quote: every deduction at its border."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tickgate_server.market.quality import Derived, Quality, QuoteFlag, assess, derive
from tickgate_server.market.quote import QuoteSide
from tickgate_server.market.session import MarketSession
from tickgate_server.market.time import NANOS

from ...support.fakes import quote, side

OPEN = MarketSession.OPEN
SIDES = st.none() | st.builds(
    QuoteSide,
    st.decimals("0.0001", "999999999", places=4),
    st.none() | st.integers(0, 10**6),
    st.none() | st.text(max_size=2),
)


def test_a_quote_with_nothing_against_it() -> None:
    """Young, two-sided, narrow and with sizes: 100 and no flags."""
    assert assess(quote(), 0, OPEN) == Quality(100, ())


@pytest.mark.parametrize(
    ("seconds", "score"),
    [(-5, 100), (30, 100), (30.999, 100), (31, 99), (40, 90), (80, 50), (81, 50), (10**6, 50)],
)
def test_age_costs_a_point_a_second(seconds: float, score: int) -> None:
    """Each whole second of event age above 30 s costs a point, at most 50."""
    quality = assess(quote(), round(seconds * NANOS), OPEN)
    assert quality.score == score
    assert (QuoteFlag.AGED in quality.flags) is (seconds > 30)


@pytest.mark.parametrize("session", list(MarketSession))
def test_age_costs_only_while_open(session: MarketSession) -> None:
    """In a known session other than the open market, age costs nothing."""
    expected = Quality(50, (QuoteFlag.AGED,)) if session is OPEN else Quality(100, ())
    assert assess(quote(), 600 * NANOS, session) == expected


def test_an_unknown_session_counts_as_open() -> None:
    """Where the session is not known, age costs what it costs in the open market."""
    assert assess(quote(), 600 * NANOS, None) == assess(quote(), 600 * NANOS, OPEN)


def test_an_unknown_age_costs_nothing() -> None:
    """A quote without a stamp is not called old."""
    assert assess(quote(), None, OPEN) == Quality(100, ())


@pytest.mark.parametrize("missing", ["bid", "ask"])
def test_a_missing_side_costs_30(missing: str) -> None:
    """One side alone is flagged and costs 30; it has no spread to be wide."""
    one = quote(bid=None) if missing == "bid" else quote(ask=None)
    assert assess(one, 0, OPEN) == Quality(70, (QuoteFlag.ONE_SIDED,))
    assert derive(one) is None


@pytest.mark.parametrize(("bid", "wide"), [("95.00", False), ("94.99", True)])
def test_a_spread_above_5_percent_of_the_ask_costs_20(bid: str, wide: bool) -> None:
    """Five percent itself is not wide, a cent more is."""
    quality = assess(quote(bid=side(bid), ask=side("100.00")), 0, OPEN)
    assert quality == (Quality(80, (QuoteFlag.WIDE,)) if wide else Quality(100, ()))


def test_locked_and_crossed_are_told_apart() -> None:
    """Equal sides are locked, a bid above the ask is crossed, and neither costs points."""
    assert assess(quote(bid=side("10"), ask=side("10.00")), 0, OPEN) == Quality(
        100, (QuoteFlag.LOCKED,)
    )
    assert assess(quote(bid=side("11"), ask=side("10")), 0, OPEN) == Quality(
        100, (QuoteFlag.CROSSED,)
    )


@pytest.mark.parametrize("size", [0, None])
@pytest.mark.parametrize("where", ["bid", "ask", "both"])
def test_a_size_that_is_missing_or_zero_costs_10_once(size: int | None, where: str) -> None:
    """Zero and missing count alike, and two such sizes cost no more than one."""
    bid = side("10.00", size) if where != "ask" else side("10.00")
    ask = side("10.02", size) if where != "bid" else side("10.02")
    assert assess(quote(bid=bid, ask=ask), 0, OPEN) == Quality(90, (QuoteFlag.ZERO_SIZE,))


@given(
    SIDES,
    SIDES,
    st.none() | st.integers(-(10**12), 10**15),
    st.sampled_from([None, *MarketSession]),
)
def test_a_score_lies_between_0_and_100(
    bid: QuoteSide | None, ask: QuoteSide | None, age: int | None, session: MarketSession | None
) -> None:
    """Whatever comes together, a score is 0 to 100 and no flag stands twice."""
    quality = assess(quote(bid=bid, ask=ask), age, session)
    assert 0 <= quality.score <= 100
    assert len(set(quality.flags)) == len(quality.flags)
    assert quality.score == 100 or quality.flags


def test_the_lowest_score() -> None:
    """All that can come together: age, a missing side and a missing size leave 10."""
    worst = assess(quote(bid=None, ask=side("1", None)), 10**6 * NANOS, None)
    assert worst.score == 10


AGES = st.none() | st.integers(-(10**12), 10**15)
SESSIONS = st.sampled_from([None, *MarketSession])


@given(SIDES, SIDES, st.integers(-(10**12), 10**12), st.integers(0, 10**12), SESSIONS)
def test_a_score_never_rises_with_age(
    bid: QuoteSide | None, ask: QuoteSide | None, age: int, more: int, session: MarketSession | None
) -> None:
    """The same quote some time later is worth as much or less, and no flag of it is gone."""
    one = quote(bid=bid, ask=ask)
    young, old = assess(one, age, session), assess(one, age + more, session)
    assert old.score <= young.score
    assert set(young.flags) <= set(old.flags)


@given(SIDES, SIDES, AGES, SESSIONS)
def test_deductions_add_up(
    bid: QuoteSide | None, ask: QuoteSide | None, age: int | None, session: MarketSession | None
) -> None:
    """A score is 100 less what each thing costs alone, and each flag stands for what is really there."""
    one = quote(bid=bid, ask=ask)
    quality = assess(one, age, session)
    there = [side for side in (bid, ask) if side is not None]
    costs = {
        QuoteFlag.AGED: 100 - assess(quote(), age, session).score,
        QuoteFlag.ONE_SIDED: 30 if len(there) < 2 else 0,
        QuoteFlag.WIDE: 20 if bid and ask and bid.price < ask.price * Decimal("0.95") else 0,
        QuoteFlag.ZERO_SIZE: 10 if any(not side.size for side in there) else 0,
    }
    assert quality.score == 100 - sum(costs.values())
    for flag, cost in costs.items():
        assert flag in quality.flags or cost == 0
        assert flag not in quality.flags or cost > 0 or flag is QuoteFlag.AGED


ADMITTED = st.decimals("0.00000000000000000001", "999999999.99999999999999999999", places=20)
"""Any price that the gate lets in, of up to 29 digits."""


@given(ADMITTED, ADMITTED)
@example(Decimal("0.00000000000000000001"), Decimal("999999999.99999999999999999999"))
def test_spread_and_mid_are_exact(bid: Decimal, ask: Decimal) -> None:
    """No digit of two prices is lost in their difference and their mean."""
    found = derive(quote(bid=QuoteSide(bid, 1, None), ask=QuoteSide(ask, 1, None)))
    assert found is not None
    assert Fraction(found.spread) == Fraction(ask) - Fraction(bid)
    assert Fraction(found.mid) == (Fraction(ask) + Fraction(bid)) / 2


@given(st.integers(1, 4 * 10**27), st.sampled_from([-1, 0, 1]))
def test_the_border_of_wide_is_exact(twentieth: int, beyond: int) -> None:
    """A spread of five percent of the ask to the last digit is not wide, one digit more is, however long the prices."""
    ask = Decimal(f"{20 * twentieth}E-20")
    bid = Decimal(f"{19 * twentieth - beyond}E-20")
    one = quote(bid=QuoteSide(bid, 1, None), ask=QuoteSide(ask, 1, None))
    assert (QuoteFlag.WIDE in assess(one, 0, OPEN).flags) is (beyond > 0)


@given(SIDES)
def test_a_side_alone_has_neither_spread_nor_mid(one: QuoteSide | None) -> None:
    """Spread and mid come from two real sides only; nothing is put in the place of a missing one."""
    assert derive(quote(bid=one, ask=None)) is None
    assert derive(quote(bid=None, ask=one)) is None


def test_a_crossed_spread_is_negative() -> None:
    """A bid above the ask has a spread below zero."""
    assert derive(quote(bid=side("2"), ask=side("1"))) == Derived(Decimal(-1), Decimal("1.5"))
