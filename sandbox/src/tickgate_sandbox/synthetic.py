"""A made-up market for a first run with no recordings at hand.

Five shares walk at random around a start price, in trading hours only: outside them the last
values of the session stand, as they would on a real market. A day's walk depends on nothing
but seed, symbol, day and step, so any instant can be asked again, in any order.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from functools import cached_property, lru_cache
from itertools import accumulate, chain, islice
from typing import Final, NamedTuple

import msgspec

from .bars import DayBars, Trade, weigh
from .calendar import ExchangeCalendar, Session
from .channels import stream_record
from .market import DailyBars, Due
from .timestamps import MINUTE, SECOND, days_after, new_york_date, render

START_PRICES: Final = {
    "AAPL": 22_850,
    "AMZN": 21_940,
    "GOOGL": 27_860,
    "MSFT": 50_410,
    "TSLA": 39_575,
}
"""The made-up shares and the price around which each walks, in cents."""

_RANGE = 0.02
"""A price strays at most this far from its start price."""
_LONGEST_MOVE = 3
"""In cents a step."""
_EVEN = 252
"""Bytes below this make each move equally likely, or a walk would drift; the others stand still."""
_MOVES = [
    byte % (2 * _LONGEST_MOVE + 1) - _LONGEST_MOVE if byte < _EVEN else 0 for byte in range(256)
]
"""By random byte, the move of a step in cents."""
_ROUND_LOT = 100
_ODD_LOT_EVERY = 8
"""One trade in so many is an odd lot; a power of two, told by so many bits."""
_QUOTE_BYTES = 4
_TRADE_BYTES = 8
"""Random bytes of a step's quote and of its trade."""
_FROM_MIDDLE = {(wider, side): (2 * side - 1) * (1 + wider) for wider in (0, 1) for side in (0, 1)}
"""Where a side of the quote lies from the middle, in cents: bid is side 0, ask is side 1."""
_LOT_SIZES = [_ROUND_LOT * (1 + byte % 9) for byte in range(256)]
_ODD_SIZES = [1 + byte % (_ROUND_LOT - 1) for byte in range(256)]
"""By random byte, the shares in a trade."""
_TAPE = "C"
_EXCHANGES = "QPKZV"
_CONDITIONS = {
    (True, False): ("@",),
    (True, True): ("@", "I"),
    (False, False): ("@", "T"),
    (False, True): ("@", "T", "I"),
}
"""Sale conditions by whether the session is on and whether the trade is an odd lot."""

_ENCODER = msgspec.json.Encoder(decimal_format="number")


class Dice:
    """Small random numbers out of the random bits of one step."""

    __slots__ = ("_left",)

    def __init__(self, bits: int) -> None:
        """Use up *bits*."""
        self._left = bits

    def below(self, limit: int) -> int:
        """Return a number from 0 to before *limit*."""
        self._left, number = divmod(self._left, limit)
        return number

    def pick(self, letters: str) -> str:
        """Return one of *letters*."""
        return letters[self.below(len(letters))]

    def lots(self, most: int) -> int:
        """Return a size of up to *most* round lots, in shares."""
        return _ROUND_LOT * (1 + self.below(most))


@lru_cache(maxsize=65_536)
def dollars(cents: int) -> Decimal:
    """Return *cents* in dollars with no trailing zeros, as Alpaca writes prices."""
    whole, rest = divmod(cents, 100)
    return Decimal(f"{whole}.{rest:02}".rstrip("0").rstrip("."))


class Columns(NamedTuple):
    """The trades of a day, one a step, as far as bars need them."""

    prices: list[int]
    """In cents."""
    sizes: list[int]
    """In shares."""
    round_lots: list[bool]
    """Whether each moves the price."""


class SyntheticDay:
    """One symbol's walk through one session: at each step a quote, and soon after it a trade."""

    def __init__(self, symbol: str, price: int, session: Session, step: int, seed: int) -> None:
        """Draw the walk.

        Args:
            symbol: The share.
            price: The price in cents around which it walks.
            session: The session to walk through, pre-market and after-hours included.
            step: Nanoseconds between two updates.
            seed: Another seed gives another walk.
        """
        self._day = session.day
        self._open = session.open
        self._close = session.close
        self._first = session.extended_open
        self._step = step
        steps = -(-(session.extended_close - self._first) // step)
        # Drawn as bytes, by which a whole day of them is a matter of milliseconds.
        source = random.Random(f"{seed}/{symbol}/{session.day}")
        self._mids = _walk(price, source.randbytes(steps))
        self._quote_bits = source.randbytes(steps * _QUOTE_BYTES)
        self._trade_bits = source.randbytes(steps * _TRADE_BYTES)

    @cached_property
    def bars(self) -> DayBars:
        """The day's bars, added up from its own trades."""
        return DayBars(self, self._day)

    def quote(self, instant: int) -> bytes | None:
        """Return the quote that stood at *instant*."""
        index = self._index(instant)
        return self._quote(index) if index >= 0 else None

    def middle(self, instant: int) -> int | None:
        """Return the price in cents around which the quote at *instant* stood."""
        index = self._index(instant)
        return self._mids[index] if index >= 0 else None

    def trade(self, instant: int) -> bytes | None:
        """Return the last trade of the session that set a price."""
        for index in range(self._index(instant), -1, -1):
            trade, conditions = self._trade(index)
            if trade.time <= instant and trade.weight.sets_price:
                return _trade_json(trade, conditions, trade_id=index + 1)
        return None

    def trades(self, start: int, end: int) -> Iterator[Trade]:
        """Return the trades of the half-open interval from *start* to *end*."""
        first = max(0, self._index(start))
        for index in range(first, self._index(end) + 1):
            trade, _ = self._trade(index)
            if start <= trade.time < end:
                yield trade

    def columns(self) -> Columns:
        """Return what the day's bars need to know of its trades, all at once."""
        sides = (self._quote_bits[::_QUOTE_BYTES], self._trade_bits[::_TRADE_BYTES])
        rolls = zip(sides[1], self._trade_bits[1::_TRADE_BYTES], strict=True)
        return Columns(
            prices=[
                mid + _FROM_MIDDLE[quote & 1, trade & 1]
                for mid, quote, trade in zip(self._mids, *sides, strict=True)
            ],
            sizes=[
                _ODD_SIZES[roll] if _is_odd_lot(trade) else _LOT_SIZES[roll]
                for trade, roll in rolls
            ],
            round_lots=[not _is_odd_lot(trade) for trade in sides[1]],
        )

    def due(self, channel: str, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield what is sent on *channel* from *start* to before *end*, in the shape of REST."""
        if channel == "quotes":
            yield from self._quotes(start, end)
        elif channel == "trades":
            yield from self._trades(start, end)
        elif channel == "bars":
            for begin, bar in self.bars.minute_bars(start - MINUTE, end - MINUTE):
                yield begin + MINUTE, bar
        elif channel == "dailyBars":
            for begin, bar in self.bars.running_bars(start - MINUTE, end - MINUTE):
                yield begin + MINUTE, bar

    def _quotes(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        for index in range(max(0, self._index(start - 1) + 1), self._index(end - 1) + 1):
            yield self._first + index * self._step, self._quote(index)

    def _trades(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        for index in range(max(0, self._index(start)), self._index(end) + 1):
            trade, conditions = self._trade(index)
            if start <= trade.time < end:
                yield trade.time, _trade_json(trade, conditions, trade_id=index + 1)

    def _index(self, instant: int) -> int:
        """Return the newest step at or before *instant*; negative before the first."""
        return min((instant - self._first) // self._step, len(self._mids) - 1)

    def _sides(self, index: int) -> tuple[int, int]:
        """Return bid and ask in cents, never closer than the two ticks around the middle."""
        mid = self._mids[index]
        wider = self._quote_bits[index * _QUOTE_BYTES] & 1
        return mid + _FROM_MIDDLE[wider, 0], mid + _FROM_MIDDLE[wider, 1]

    def _quote(self, index: int) -> bytes:
        bid, ask = self._sides(index)
        dice = Dice(_word(self._quote_bits, index, _QUOTE_BYTES) >> 1)
        return _ENCODER.encode(
            {
                "t": render(self._first + index * self._step),
                "ax": dice.pick(_EXCHANGES),
                "ap": dollars(ask),
                "as": dice.lots(20),
                "bx": dice.pick(_EXCHANGES),
                "bp": dollars(bid),
                "bs": dice.lots(20),
                "c": ["R"],
                "z": _TAPE,
            }
        )

    def _trade(self, index: int) -> tuple[Trade, tuple[str, ...]]:
        """Return a step's trade and its sale conditions."""
        bits = _word(self._trade_bits, index, _TRADE_BYTES)
        first, second = bits & 0xFF, bits >> 8 & 0xFF
        side = self._sides(index)[first & 1]
        odd_lot = _is_odd_lot(first)
        size = _ODD_SIZES[second] if odd_lot else _LOT_SIZES[second]
        # After the quote it trades on and before the next one.
        time = self._first + index * self._step + 1 + (bits >> 16) % (self._step // 2)
        in_session = self._open <= time < self._close
        conditions = _CONDITIONS[in_session, odd_lot]
        return Trade(time, dollars(side), size, weigh(conditions, _TAPE)), conditions


def _trade_json(trade: Trade, conditions: tuple[str, ...], trade_id: int) -> bytes:
    return _ENCODER.encode(
        {
            "t": render(trade.time),
            "x": _EXCHANGES[trade_id % len(_EXCHANGES)],
            "p": trade.price,
            "s": trade.size,
            "c": conditions,
            "i": trade_id,
            "z": _TAPE,
        }
    )


def _word(bits: bytes, index: int, size: int) -> int:
    return int.from_bytes(bits[index * size : (index + 1) * size], "little")


def _is_odd_lot(first: int) -> bool:
    """Return whether a trade is an odd lot, by the first byte of its bits."""
    return not first >> 1 & (_ODD_LOT_EVERY - 1)


def _walk(start: int, moves: bytes) -> list[int]:
    """Return mid prices in cents, one for each of *moves*, in the range around *start*."""
    # Two cents inside, so that bid and ask stay in the range as well.
    bounce = _bounce(start, int(start * _RANGE) - 2)
    period = len(bounce)
    steps = chain([0], map(_MOVES.__getitem__, moves[:-1]))
    return [bounce[distance % period] for distance in accumulate(steps)]


@lru_cache(maxsize=16)
def _bounce(start: int, reach: int) -> list[int]:
    """Return by distance from *start* the price that a walk has which bounces off its bounds."""
    up, down = range(start, start + reach), range(start + reach, start - reach, -1)
    return [*up, *down, *range(start - reach, start)]


class SyntheticMarket:
    """The made-up shares as a market."""

    def __init__(
        self,
        calendar: ExchangeCalendar,
        *,
        symbols: frozenset[str] = frozenset(START_PRICES),
        step: float = 3.0,
        seed: int = 0,
    ) -> None:
        """Make a market.

        Args:
            calendar: The sessions in which prices move.
            symbols: The shares to offer, out of `START_PRICES`.
            step: Seconds of market time between two updates of a share.
            seed: Another seed gives other walks.
        """
        self._symbols = symbols
        self._calendar = calendar
        self._step = round(step * SECOND)
        self._seed = seed
        # Three days of each share answer everything about one instant.
        self._drawn = lru_cache(maxsize=4 * len(START_PRICES))(self._draw)

    @property
    def symbols(self) -> frozenset[str]:
        """The made-up shares."""
        return self._symbols

    async def load(self, symbols: Iterable[str]) -> None:
        """Do nothing: days are drawn when they are asked for."""

    @property
    def step(self) -> int:
        """Nanoseconds of market time between two updates of a share."""
        return self._step

    def day(self, symbol: str, session: Session) -> SyntheticDay:
        """Return the walk of *symbol*, one of the made-up shares, through *session*."""
        return self._drawn(symbol, session)

    def draw(self, symbol: str, session: Session) -> SyntheticDay:
        """Return the same as `day`, but not kept: for days that others will not soon ask for."""
        return self._draw(symbol, session)

    def due(self, channel: str, symbol: str, start: int, end: int) -> Sequence[Due]:
        """Return what the stream sends of *symbol* from *start* to before *end*."""
        if symbol not in self._symbols:
            return []
        # The bar of a day's last minute is sent when the minute is over.
        days = new_york_date(start - MINUTE), new_york_date(end)
        return [
            (at, stream_record(channel, symbol, record))
            for session in self._calendar.between(*days)
            for at, record in self._drawn(symbol, session).due(channel, start, end)
        ]

    def quote(self, symbol: str, instant: int) -> bytes | None:
        """Return the quote of *symbol* that stood at *instant*."""
        for day in self._newest_days(symbol, instant):
            if (quote := day.quote(instant)) is not None:
                return quote
        return None

    def trade(self, symbol: str, instant: int) -> bytes | None:
        """Return the last trade that set the price of *symbol*."""
        for day in self._newest_days(symbol, instant):
            if (trade := day.trade(instant)) is not None:
                return trade
        return None

    def middle(self, symbol: str, instant: int) -> int:
        """Return the price in cents around which the quote of *symbol* stood at *instant*."""
        for day in self._newest_days(symbol, instant):
            if (middle := day.middle(instant)) is not None:
                return middle
        return START_PRICES[symbol]

    def minute_bar(self, symbol: str, instant: int) -> bytes | None:
        """Return the newest minute bar that was complete at *instant*."""
        for day in self._newest_days(symbol, instant):
            if (bar := day.bars.minute_bar(instant)) is not None:
                return bar[1]
        return None

    def daily_bars(self, symbol: str, instant: int) -> DailyBars:
        """Return the running or newest daily bar and that of the session before."""
        bars = (
            bar[1]
            for day in self._newest_days(symbol, instant, count=3)
            if (bar := day.bars.daily_bar(instant)) is not None
        )
        return DailyBars(*islice(bars, 2))

    def _newest_days(self, symbol: str, instant: int, count: int = 2) -> Iterator[SyntheticDay]:
        """Yield the day of *instant* and those before it: trading may not have begun today."""
        if symbol not in self._symbols:
            return
        last = new_york_date(instant)
        for _ in range(count):
            session = self._calendar.on_or_before(last)
            yield self._drawn(symbol, session)
            last = days_after(session.day, -1)

    def _draw(self, symbol: str, session: Session) -> SyntheticDay:
        return SyntheticDay(symbol, START_PRICES[symbol], session, self._step, self._seed)
