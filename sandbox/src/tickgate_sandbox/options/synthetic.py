"""Made-up options on the made-up shares, for a first run with no recordings at hand.

Each share has calls and puts at forty strikes around its start price, for the next Fridays and
some months. Quotes follow the share's walk; like it they depend on nothing but seed, symbol and
instant. What real chains lack, these lack too: bids of what is worth nothing, greeks on the last
day and far from the money, trades of what nobody trades, bars of today in what is traded rarely.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from enum import Enum
from functools import cached_property, lru_cache
from hashlib import blake2b
from itertools import islice
from typing import Any, Final

import msgspec

from ..bars import DayBars, Trade, Weight
from ..calendar import ExchangeCalendar, Session
from ..channels import stream_record
from ..history.combine import combine
from ..history.timeframe import ONE_DAY, ONE_MINUTE, Timeframe
from ..market import Due
from ..synthetic import START_PRICES, Dice, SyntheticMarket, dollars
from ..timestamps import MINUTE, SECOND, days_after, new_york, new_york_date, parse, render
from .chain import Chain
from .market import History, Listing
from .occ import RIGHTS, THOUSANDTHS, Terms, occ_symbol, read_terms
from .pricing import greeks, price, volatility

_WEEKS: Final = 5
"""Fridays on which something expires, the next one first."""
_MONTHS: Final = 3
"""Third Fridays beyond those."""
_PAST_WEEKS: Final = 2
"""Fridays whose expired contracts are still told of."""
_STRIKES: Final = 20
"""Strikes on either side of the one at the start price."""
_WIDE_FROM: Final = 30_000
"""Start price in cents from which strikes lie ten dollars apart rather than five."""

_QUOTE_EVERY: Final = 10
"""Steps of the share to one of a contract."""
_MOST_DAYS: Final = 12
"""Sessions to look back for the last trade of what is traded rarely."""
_RARE_DAY: Final = 4
"""One day in so many sees a trade of what is traded rarely."""

_NEAR: Final = 0.08
"""Share of the start price; closer to it everything is traded every day."""
_FAR: Final = 0.2
"""Beyond this some are never traded at all."""
_DEEP: Final = 0.3
"""Beyond this no volatility is found for what was never traded."""

_NICKELS_FROM: Final = 300
"""Price in cents from which quotes move in steps of five."""
_LEAST_LIFE: Final = 3_600 * SECOND
_YEAR: Final = 365 * 86_400 * SECOND

_EXCHANGES = "ABCDEHIJMNPQTUWXZ"
_TRADE_CONDITIONS = "IIIaefgS"
_QUOTE_CONDITIONS = "  A"
_COUNTS = Weight(adds_volume=True, sets_price=True, sets_daily_price=True)
"""Every made-up trade of an option moves its bars."""

_ENCODER = msgspec.json.Encoder(decimal_format="number")


class _Activity(Enum):
    """How often a contract is traded."""

    DAILY = "daily"
    RARE = "rare"
    NEVER = "never"


class _Contract:
    """What about a made-up contract is the same every day."""

    def __init__(self, terms: Terms, seed: int) -> None:
        self.terms = terms
        self.start_price = START_PRICES[terms.root]
        self.strike = terms.strike * 100 / THOUSANDTHS
        """In cents, as all prices here."""
        self.bits = _bits(f"{seed}/{terms.symbol}")
        self.distance = abs(self.strike - self.start_price) / self.start_price
        self.activity = self._activity()

    def _activity(self) -> _Activity:
        kind = self.bits % 3
        if self.distance > _FAR and kind == 0:
            return _Activity.NEVER
        if self.distance > _NEAR and kind == 1:
            return _Activity.RARE
        return _Activity.DAILY

    def trades_on(self, day: date) -> bool:
        """Return whether it is traded on the session of *day*."""
        if self.activity is _Activity.RARE:
            return day.toordinal() % _RARE_DAY == self.bits // 3 % _RARE_DAY
        return self.activity is _Activity.DAILY

    def years(self, instant: int) -> float:
        """Return what is left of its life, never less than an hour."""
        left = max(new_york(self.terms.expiry, 16) - instant, _LEAST_LIFE)
        return left / _YEAR


class _ContractDay:
    """One contract's quotes and trades in one session."""

    def __init__(
        self, contract: _Contract, session: Session, shares: SyntheticMarket, seed: int, step: int
    ) -> None:
        self._contract = contract
        self._session = session
        self._shares = shares
        self._bits = _bits(f"{seed}/{contract.terms.symbol}/{session.day}")
        # Contracts take turns, or a whole chain would be quoted in one instant.
        self._first = session.open + self._bits % step
        self._step = step
        self._count = max(0, -(-(session.close - self._first) // step))

    @cached_property
    def bars(self) -> DayBars:
        """The session's bars, added up from its own trades."""
        return DayBars(self, self._session.day)

    def newest(self, instant: int) -> tuple[int, int] | None:
        """Return number and time of the quote that stood at *instant*."""
        number = min((instant - self._first) // self._step, self._count - 1)
        return (number, self._time(number)) if number >= 0 else None

    def quote(self, number: int) -> bytes:
        """Return a quote in the shape of REST."""
        bid, ask = self.sides(number)
        dice = Dice(_mixed(self._bits + number))
        return _ENCODER.encode(
            {
                "ap": dollars(ask),
                "as": 1 + dice.below(400),
                "ax": dice.pick(_EXCHANGES),
                "bp": dollars(bid),
                "bs": 1 + dice.below(400) if bid else 0,
                "bx": dice.pick(_EXCHANGES) if bid else " ",
                "c": dice.pick(_QUOTE_CONDITIONS),
                "t": render(self._time(number)),
            }
        )

    def sides(self, number: int) -> tuple[int, int]:
        """Return bid and ask of a quote in cents; a bid of 0 is none."""
        contract, time = self._contract, self._time(number)
        fair = price(
            call=contract.terms.right == "call",
            spot=self._spot(time),
            strike=contract.strike,
            years=contract.years(time),
        )
        half = max(1.0, fair * 0.01)
        tick = 5 if fair >= _NICKELS_FROM else 1
        bid = max(0, math.floor((fair - half) / tick)) * tick
        return bid, max(bid + tick, math.ceil((fair + half) / tick) * tick)

    def extras(self, number: int, today: date) -> dict[str, Any]:
        """Return greeks and implied volatility, if they can be had, by the quote *number*."""
        contract, time = self._contract, self._time(number)
        unknown = contract.activity is _Activity.NEVER and contract.distance > _DEEP
        if unknown or contract.terms.expiry <= today or not self.sides(number)[0]:
            return {}
        spot = self._spot(time)
        found = greeks(
            call=contract.terms.right == "call",
            # A greek is told of dollars.
            spot=spot / 100,
            strike=contract.strike / 100,
            years=contract.years(time),
        )
        return {
            "greeks": {name: round(value, 4) for name, value in found._asdict().items()},
            "impliedVolatility": round(volatility(spot, contract.strike), 4),
        }

    def quotes_due(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield times and quotes from *start* to before *end*."""
        first = max(0, -(-(start - self._first) // self._step))
        last = min(self._count, -(-(end - self._first) // self._step))
        for number in range(first, last):
            yield self._time(number), self.quote(number)

    def trades(self, start: int, end: int) -> Iterator[Trade]:
        """Return the trades of the half-open interval from *start* to *end*."""
        return (trade for trade, _ in self._trades if start <= trade.time < end)

    def trades_due(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield times and texts of the same."""
        return ((trade.time, text) for trade, text in self._trades if start <= trade.time < end)

    @cached_property
    def _trades(self) -> list[tuple[Trade, bytes]]:
        """The session's trades, oldest first, each at a side of the quote before it."""
        if not self._contract.trades_on(self._session.day) or not self._count:
            return []
        rare = self._contract.activity is _Activity.RARE
        count = 1 + self._bits % 2 if rare else 3 + self._bits % 8
        numbers = sorted(
            {_mixed(self._bits - index) % self._count for index in range(1, count + 1)}
        )
        return [self._trade(number) for number in numbers]

    def _trade(self, number: int) -> tuple[Trade, bytes]:
        dice = Dice(_mixed(self._bits ^ (number + 1)))
        bid, ask = self.sides(number)
        time = self._time(number) + 1 + dice.below(self._step // 2)
        paid = dollars(bid if bid and dice.below(2) else ask)
        size = 1 + dice.below(20)
        text = _ENCODER.encode(
            {
                "c": dice.pick(_TRADE_CONDITIONS),
                "p": paid,
                "s": size,
                "t": render(time),
                "x": dice.pick(_EXCHANGES),
            }
        )
        return Trade(time, paid, size, _COUNTS), text

    def _spot(self, instant: int) -> float:
        """Return the price of the share in cents.

        What is traded rarely takes the start price, or days of the share long past would have
        to be drawn for it.
        """
        if self._contract.activity is _Activity.RARE:
            return self._contract.start_price
        return self._shares.middle(self._contract.terms.root, instant)

    def _time(self, number: int) -> int:
        return self._first + number * self._step


class SyntheticOptions:
    """The made-up options as a market."""

    def __init__(
        self, shares: SyntheticMarket, calendar: ExchangeCalendar, *, step: float, seed: int
    ) -> None:
        """Make options on *shares*.

        Args:
            shares: The shares.
            calendar: The sessions in which they are quoted.
            step: Seconds of market time between two updates of a share.
            seed: Another seed gives other options.
        """
        self._shares = shares
        self._calendar = calendar
        self._step = round(step * _QUOTE_EVERY * SECOND)
        self._seed = seed
        self._contract = lru_cache(maxsize=16_384)(self._draw_contract)
        self._drawn = lru_cache(maxsize=16_384)(self._draw)
        self._chain = lru_cache(maxsize=8)(self._chain_at)
        self._expiries = lru_cache(maxsize=64)(self._expiries_from)

    @property
    def symbols(self) -> frozenset[str]:
        """No contract: there are too many for `*`, which gets what a test pushes."""
        return frozenset()

    @property
    def underlyings(self) -> frozenset[str]:
        """The made-up shares."""
        return self._shares.symbols

    async def load(self, symbols: Iterable[str]) -> None:
        """Do nothing: days are drawn when they are asked for."""

    def due(self, channel: str, symbol: str, start: int, end: int) -> Sequence[Due]:
        """Return what the stream sends of *symbol* from *start* to before *end*."""
        found: list[Due] = []
        for session in self._calendar.between(new_york_date(start), new_york_date(end)):
            if not self._is_listed(symbol, session.day):
                continue
            day = self._drawn(symbol, session)
            sent = day.quotes_due if channel == "quotes" else day.trades_due
            found += ((at, stream_record(channel, symbol, text)) for at, text in sent(start, end))
        return found

    async def chain(self, underlying: str, instant: int) -> Chain | None:
        """Return the chain of *underlying* at *instant*."""
        if underlying not in self.underlyings:
            return None
        return await asyncio.to_thread(self._chain, underlying, instant)

    async def listing(self, underlying: str, instant: int) -> Listing | None:
        """Return the contracts listed at *instant*, and those that expired a short while ago."""
        if underlying not in self.underlyings:
            return None
        return await asyncio.to_thread(self._listing, underlying, instant)

    async def bars(self, symbol: str, timeframe: Timeframe, instant: int) -> History:
        """Return the bars of *symbol* in the last few sessions."""
        return await asyncio.to_thread(self._bars, symbol, timeframe, instant)

    async def trades(self, symbol: str, instant: int) -> History:
        """Return the trades of *symbol* in the last few sessions."""
        return await asyncio.to_thread(
            lambda: [
                trade
                for session in reversed(list(self._trading_days(symbol, instant)))
                for trade in self._drawn(symbol, session).trades_due(0, instant + 1)
            ]
        )

    def _bars(self, symbol: str, timeframe: Timeframe, instant: int) -> list[Due]:
        found: list[Due] = []
        for session in reversed(list(self._trading_days(symbol, instant))):
            bars = self._drawn(symbol, session).bars
            if timeframe.intraday:
                found += bars.minute_bars(0, instant - MINUTE + 1)
            elif (bar := bars.daily_bar(instant)) is not None:
                found.append(bar)
        return found if timeframe in (ONE_MINUTE, ONE_DAY) else combine(found, timeframe.start_of)

    def _chain_at(self, underlying: str, instant: int) -> Chain:
        today = new_york_date(instant)
        return Chain(
            entry
            for symbol in self._contracts(underlying, self._expiries(today))
            if (entry := self._entry(symbol, instant, today)) is not None
        )

    def _entry(self, symbol: str, instant: int, today: date) -> tuple[str, bytes, int] | None:
        for session in self._newest_sessions(instant, 2):
            day = self._drawn(symbol, session)
            newest = day.newest(instant)
            if newest is None:
                continue
            number, updated = newest
            parts = day.extras(number, today)
            parts["latestQuote"] = msgspec.Raw(day.quote(number))
            traded = self._traded(symbol, instant)
            if "latestTrade" in traded:
                trade = msgspec.json.decode(traded["latestTrade"])
                updated = max(updated, parse(trade["t"]))
            return symbol, _ENCODER.encode(parts | traded), updated
        return None

    def _traded(self, symbol: str, instant: int) -> dict[str, msgspec.Raw]:
        """Return the parts of a snapshot that tell of trades; none of what was never traded."""
        parts: dict[str, msgspec.Raw] = {}
        days = (self._drawn(symbol, one) for one in self._trading_days(symbol, instant))
        begun = (day for day in days if next(day.trades_due(0, instant + 1), None) is not None)
        for day, name in zip(islice(begun, 2), ("dailyBar", "prevDailyBar"), strict=False):
            if (daily := day.bars.daily_bar(instant)) is not None:
                parts[name] = msgspec.Raw(daily[1])
            if (minute := day.bars.minute_bar(instant)) is not None:
                parts.setdefault("minuteBar", msgspec.Raw(minute[1]))
            *_, (_, trade) = day.trades_due(0, instant + 1)
            parts.setdefault("latestTrade", msgspec.Raw(trade))
        return parts

    def _trading_days(self, symbol: str, instant: int) -> Iterator[Session]:
        """Yield the sessions, newest first, on which *symbol* is or was traded."""
        terms = read_terms(symbol)
        if terms is None or not self._is_listed(symbol, min(terms.expiry, new_york_date(instant))):
            return
        contract = self._contract(symbol)
        if contract.activity is _Activity.NEVER:
            return
        count = _MOST_DAYS if contract.activity is _Activity.RARE else 3
        for session in self._newest_sessions(instant, count):
            if session.day <= terms.expiry and contract.trades_on(session.day):
                yield session

    def _newest_sessions(self, instant: int, count: int) -> Iterator[Session]:
        last = new_york_date(instant)
        for _ in range(count):
            session = self._calendar.on_or_before(last)
            yield session
            last = days_after(session.day, -1)

    def _listing(self, underlying: str, instant: int) -> Listing:
        today = new_york_date(instant)
        expiries = [*self._past_expiries(today), *self._expiries(today)]
        contracts = {
            symbol: self._known(symbol, instant, today)
            for symbol in self._contracts(underlying, expiries)
        }
        return Listing(underlying, today, contracts)

    def _known(self, symbol: str, instant: int, today: date) -> dict[str, Any]:
        """Return open interest and last close; a quarter of contracts have no open interest."""
        known: dict[str, Any] = {}
        dice = Dice(self._contract(symbol).bits >> 8)
        yesterday = self._calendar.on_or_before(days_after(today, -1)).day
        if dice.below(4):
            known["open_interest"] = str(dice.below(20_000))
            known["open_interest_date"] = yesterday.isoformat()
        for session in self._trading_days(symbol, instant):
            if session.day >= today:
                continue
            if (bar := self._drawn(symbol, session).bars.daily_bar(instant)) is not None:
                close = msgspec.json.decode(bar[1], type=dict[str, msgspec.Raw])["c"]
                known["close_price"] = bytes(close).decode()
                known["close_price_date"] = session.day.isoformat()
                break
        return known

    def _is_listed(self, symbol: str, day: date) -> bool:
        terms = read_terms(symbol)
        return (
            terms is not None
            and terms.root in self.underlyings
            and terms.strike in _strikes(terms.root)
            and terms.expiry in self._expiries(day)
        )

    def _contracts(self, underlying: str, expiries: Sequence[date]) -> Iterator[str]:
        for expiry in expiries:
            for right in RIGHTS:
                for strike in _strikes(underlying):
                    yield occ_symbol(underlying, expiry, right, strike)

    def _expiries_from(self, day: date) -> list[date]:
        """Return the days on which contracts listed on *day* expire, that day included."""
        friday = days_after(day, (4 - day.weekday()) % 7)
        weekly = [days_after(friday, 7 * week) for week in range(_WEEKS)]
        later = (days_after(weekly[-1], 7 * week) for week in range(1, 5 * (_MONTHS + 1)))
        monthly = islice((one for one in later if 15 <= one.day <= 21), _MONTHS)
        # Where a Friday is a holiday its contracts expire the day before.
        sessions = (self._calendar.on_or_before(one).day for one in (*weekly, *monthly))
        return [one for one in sessions if one >= day]

    def _past_expiries(self, day: date) -> list[date]:
        friday = days_after(day, (4 - day.weekday()) % 7)
        fridays = (days_after(friday, -7 * week) for week in range(_PAST_WEEKS, 0, -1))
        return [self._calendar.on_or_before(one).day for one in fridays]

    def _draw_contract(self, symbol: str) -> _Contract:
        terms = read_terms(symbol)
        assert terms is not None, "only listed contracts are drawn"
        return _Contract(terms, self._seed)

    def _draw(self, symbol: str, session: Session) -> _ContractDay:
        return _ContractDay(self._contract(symbol), session, self._shares, self._seed, self._step)


@lru_cache(maxsize=len(START_PRICES))
def _strikes(underlying: str) -> tuple[int, ...]:
    """Return the strikes of *underlying* in thousandths of a dollar."""
    start = START_PRICES[underlying]
    apart = 1_000 if start >= _WIDE_FROM else 500
    middle = round(start / apart)
    return tuple(
        (middle + index) * apart * THOUSANDTHS // 100 for index in range(-_STRIKES, _STRIKES + 1)
    )


def _bits(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


def _mixed(number: int) -> int:
    """Return 64 bits that look random and depend on *number* alone (splitmix64)."""
    mixed = (number * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


_MASK: Final = (1 << 64) - 1
