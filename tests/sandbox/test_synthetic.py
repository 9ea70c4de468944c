"""The made-up market."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from tickgate_sandbox import SettingsError
from tickgate_sandbox.calendar import ExchangeCalendar
from tickgate_sandbox.synthetic import START_PRICES, SyntheticMarket
from tickgate_sandbox.timestamps import parse

from .asking import asked, synthetic

OPEN = parse("2026-11-20T15:00:00Z")
STEP = 3 * 1_000_000_000
CALENDAR = ExchangeCalendar()


class Quote(msgspec.Struct):
    t: str
    bp: Decimal
    ap: Decimal
    bs: int
    as_: int = msgspec.field(name="as")


def quotes(market: SyntheticMarket, symbol: str, steps: int) -> list[Quote]:
    """Return the quotes of so many steps after the open."""
    records = [market.quote(symbol, OPEN + step * STEP) for step in range(steps)]
    return [msgspec.json.decode(record, type=Quote) for record in records if record is not None]


def test_same_seed_same_market() -> None:
    """Seed and instant decide every value, whatever was asked before."""
    one, other = SyntheticMarket(CALENDAR, seed=7), SyntheticMarket(CALENDAR, seed=7)
    other.daily_bars("AAPL", OPEN + 1_000 * STEP)

    assert one.quote("AAPL", OPEN) == other.quote("AAPL", OPEN)
    assert one.trade("AAPL", OPEN) == other.trade("AAPL", OPEN)
    assert one.daily_bars("AAPL", OPEN) == other.daily_bars("AAPL", OPEN)


def test_another_seed_another_market() -> None:
    """Another seed gives other prices."""
    one, other = SyntheticMarket(CALENDAR, seed=1), SyntheticMarket(CALENDAR, seed=2)

    assert quotes(one, "AAPL", 20) != quotes(other, "AAPL", 20)


@pytest.mark.parametrize("symbol", sorted(START_PRICES))
def test_walk(symbol: str) -> None:
    """Bid stays below ask, sizes are positive, and nothing strays beyond two per cent."""
    start = Decimal(START_PRICES[symbol]) / 100
    drawn = quotes(SyntheticMarket(CALENDAR), symbol, 2_000)

    assert len({quote.t for quote in drawn}) == 2_000
    assert all(quote.bp < quote.ap for quote in drawn)
    assert all(quote.bs > 0 and quote.as_ > 0 for quote in drawn)
    assert min(quote.bp for quote in drawn) >= start * Decimal("0.98")
    assert max(quote.ap for quote in drawn) <= start * Decimal("1.02")


def test_step() -> None:
    """A value stands for a step of market time and then gives way to the next."""
    market = SyntheticMarket(CALENDAR)

    assert market.quote("AAPL", OPEN) == market.quote("AAPL", OPEN + STEP - 1)
    assert market.quote("AAPL", OPEN) != market.quote("AAPL", OPEN + STEP)


def test_no_record_is_of_the_future() -> None:
    """Nothing that is served happened after the instant it is served at."""
    market = SyntheticMarket(CALENDAR)
    for step in range(50):
        instant = OPEN + step * STEP // 3
        for record in (market.quote("TSLA", instant), market.trade("TSLA", instant)):
            assert parse(msgspec.json.decode(record or b"")["t"]) <= instant


def test_bars_come_from_the_trades() -> None:
    """A minute bar closes at the last trade of its minute."""
    market = SyntheticMarket(CALENDAR)
    minute_end = OPEN + 60 * 1_000_000_000
    bar = msgspec.json.decode(market.minute_bar("AAPL", minute_end) or b"")
    trade = msgspec.json.decode(market.trade("AAPL", minute_end - 1) or b"")

    assert bar["t"] == "2026-11-20T15:00:00Z"
    assert bar["c"] == trade["p"]
    assert bar["n"] == 20


def test_daily_bars() -> None:
    """The day so far comes with the whole session before it."""
    market = SyntheticMarket(CALENDAR)
    latest, previous = (msgspec.json.decode(bar or b"") for bar in market.daily_bars("AAPL", OPEN))

    assert (latest["t"], previous["t"]) == ("2026-11-20T05:00:00Z", "2026-11-19T05:00:00Z")
    assert previous["v"] > latest["v"] > 0


def test_closed_market_stands_still() -> None:
    """On a Sunday the last values of Friday evening stand."""
    market = SyntheticMarket(CALENDAR)
    sunday = parse("2026-11-22T15:00:00Z")
    quote = msgspec.json.decode(market.quote("AAPL", sunday) or b"")

    assert quote["t"] == "2026-11-21T00:59:57Z"
    assert market.quote("AAPL", sunday) == market.quote("AAPL", sunday + 100 * STEP)


def test_early_morning() -> None:
    """Before the first trade of a day the evening before answers for trade, bar and quote."""
    market = SyntheticMarket(CALENDAR)
    night = parse("2026-11-20T08:00:00Z")

    for record in (market.quote("MSFT", night), market.trade("MSFT", night)):
        assert msgspec.json.decode(record or b"")["t"].startswith("2026-11-20T00:59:5")
    bar = msgspec.json.decode(market.minute_bar("MSFT", night) or b"")
    assert bar["t"] == "2026-11-20T00:59:00Z"
    assert msgspec.json.decode(market.daily_bars("MSFT", night).latest or b"")["t"] == (
        "2026-11-19T05:00:00Z"
    )


def test_unknown_symbol() -> None:
    """The made-up market knows its five shares and nothing else."""
    market = SyntheticMarket(CALENDAR)

    assert market.quote("IBM", OPEN) is None
    assert market.trade("IBM", OPEN) is None
    assert market.minute_bar("IBM", OPEN) is None
    assert market.daily_bars("IBM", OPEN) == (None, None)


async def test_unknown_symbols_cannot_be_chosen() -> None:
    """A share that cannot be made up is refused by name."""
    with pytest.raises(SettingsError, match="no synthetic prices of IBM"):
        async with asked(synthetic(symbols=("AAPL", "IBM"))):
            pass
