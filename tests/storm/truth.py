"""What the made-up market really held: any record of it by symbol and instant, drawn again from the seed.

The sandbox's walks depend on seed, symbol, day and step alone. So this process can know every record that the sandbox
program has sent or could have sent, without asking it and without a part of the gateway.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import msgspec

from tickgate_sandbox.calendar import ExchangeCalendar, Session
from tickgate_sandbox.options.synthetic import SyntheticOptions
from tickgate_sandbox.synthetic import START_PRICES, SyntheticDay, SyntheticMarket
from tickgate_sandbox.timestamps import MINUTE, SECOND, new_york_date, parse

Record = Mapping[str, Any]
"""A record in Alpaca's words, its numbers as decimals."""

SHARES: Final = tuple(sorted(START_PRICES))
"""The shares that have prices."""

SILENT: Final = "QUIET"
"""A share that is listed and has never had a price."""

UNKNOWN: Final = "ZZZQ"
"""No share at all."""

_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_LONGEST_QUIET: Final = 20 * 60 * SECOND
"""No contract that is quoted at all is quoted less often, in the session."""


@dataclass(frozen=True, slots=True)
class Market:
    """Which made-up market it is: what the sandbox is started with."""

    at: str = "2026-11-20T10:00:00-05:00"
    """Market time at the start: a Friday in the session, so that there is a contract on its last day."""

    step: float = 0.25
    """Seconds between two quotes of a share."""

    seed: int = 7

    @property
    def start(self) -> int:
        """Market time at the start, nanoseconds."""
        return parse(self.at)

    @property
    def arguments(self) -> Sequence[str]:
        """What the sandbox program is told."""
        return ("--at", self.at, "--step", str(self.step), "--seed", str(self.seed))


@dataclass(slots=True)
class Truth:
    """The market, to be asked for any instant."""

    market: Market = field(default_factory=Market)
    shares: SyntheticMarket = field(init=False)
    options: SyntheticOptions = field(init=False)
    calendar: ExchangeCalendar = field(init=False)
    _days: dict[tuple[str, date], SyntheticDay] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.calendar = ExchangeCalendar()
        step, seed = self.market.step, self.market.seed
        self.shares = SyntheticMarket(self.calendar, step=step, seed=seed)
        self.options = SyntheticOptions(self.shares, self.calendar, step=step, seed=seed)

    def draw(self) -> None:
        """Draw what will be asked for most, before anybody waits for it."""
        for symbol in SHARES:
            for session in (self.session_before(), self.today):
                self._day(symbol, session).bars.minute_bar(session.close)

    @property
    def today(self) -> Session:
        """The session in which it all happens."""
        return self.calendar.on_or_before(new_york_date(self.market.start))

    def session_before(self, sessions: int = 1) -> Session:
        """Return the session so many before today's."""
        found = self.today
        for _ in range(sessions):
            found = self.calendar.on_or_before(found.day - timedelta(days=1))
        return found

    def records(self, channel: str, symbol: str, start: int, end: int) -> list[tuple[int, Record]]:
        """Return when, and what, was due of *symbol* on *channel* from *start* to before *end*."""
        if len(symbol) > 6:
            due: Any = self.options.due(channel, symbol, start, end)
        else:
            due = self._due(channel, symbol, start, end)
        return [(at, _decode(text)) for at, text in due]

    def count(self, channel: str, symbol: str, start: int, end: int) -> int:
        """Return how many records were due of *symbol* on *channel* from *start* to before *end*."""
        if len(symbol) > 6:
            return len(self.options.due(channel, symbol, start, end))
        return sum(1 for _ in self._due(channel, symbol, start, end))

    def at(self, channel: str, symbol: str, instant: int) -> Record | None:
        """Return the record of *symbol* on *channel* that was stamped at *instant*, or None."""
        found = self.records(channel, symbol, instant, instant + 1)
        return found[0][1] if found else None

    def next_after(self, channel: str, symbol: str, instant: int) -> int | None:
        """Return when the next record behind *instant* was due; None when none was for long."""
        ahead = _LONGEST_QUIET if len(symbol) > 6 else 100 * round(self.market.step * SECOND)
        found = self.records(channel, symbol, instant + 1, instant + ahead)
        return found[0][0] if found else None

    def minute_bar(self, symbol: str, begin: int) -> Record | None:
        """Return the bar of the minute that starts at *begin*."""
        found = next(self._due("bars", symbol, begin + MINUTE, begin + MINUTE + 1), None)
        return None if found is None else dict(_decode(found[1]))

    def daily_bars(self, symbol: str, day: date, start: int, end: int) -> list[Record]:
        """Return every state that the bar of *day* has had from *start* to *end*, both included."""
        session = self.calendar.on_or_before(day)
        if session.day != day:
            return []
        if end >= session.extended_close:
            start = max(start, session.extended_close)
        walk = self._day(symbol, session)
        times = [start, *(trade.time for trade in walk.trades(start, end + 1))]
        found = (walk.bars.daily_bar(time) for time in times)
        return [_decode(bar[1]) for bar in found if bar is not None]

    def bars(self, symbol: str, start: int, end: int) -> list[Record]:
        """Return the minute bars that begin from *start* to before *end*."""
        return [
            _decode(text) for _, text in self._due("bars", symbol, start + MINUTE, end + MINUTE)
        ]

    def last_trade(self, symbol: str, instant: int) -> tuple[int, Record] | None:
        """Return the newest trade at or before *instant*, whether it sets a price or not."""
        found = self.records("trades", symbol, instant - 60 * SECOND, instant + 1)
        return found[-1] if found else None

    def contracts(self, underlying: str, most: int) -> list[str]:
        """Return some contracts near the money that are quoted and traded today."""
        session = self.today
        near = START_PRICES[underlying] * 10
        listed = self.options._listing(underlying, self.market.start).contracts
        quoted = [
            symbol
            for symbol in listed
            if abs(int(symbol[-8:]) - near) < near * 0.05
            and self.options.due("quotes", symbol, session.open, session.open + _LONGEST_QUIET)
        ]
        return quoted[:: max(1, len(quoted) // most)][:most]

    @lru_cache(maxsize=100_000)  # noqa: B019 - there is one of these for a whole storm
    def model(self, symbol: str, instant: int) -> Record:
        """Return the greeks and the volatility that belong to the quote that *symbol* had at *instant*."""
        day = self.options._drawn(symbol, self.calendar.on_or_before(new_york_date(instant)))
        newest = day.newest(instant)
        if newest is None:
            return {}
        return day.extras(newest[0], new_york_date(self.market.start))

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def _due(self, channel: str, symbol: str, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        if symbol not in START_PRICES:
            return
        days = new_york_date(start - MINUTE), new_york_date(end)
        for session in self.calendar.between(*days):
            yield from self._day(symbol, session).due(channel, start, end)

    def _day(self, symbol: str, session: Session) -> SyntheticDay:
        key = symbol, session.day
        if key not in self._days:
            self._days[key] = self.shares.day(symbol, session)
        return self._days[key]


class Timeline:
    """When records were due, in order, for counting what lies between two of them without drawing it again."""

    def __init__(self, truth: Truth) -> None:
        """Count in *truth*."""
        self._truth = truth
        self._times: dict[tuple[str, str], list[int]] = {}

    def draw(self, channel: str, symbol: str) -> list[int]:
        """Return when records were due from the start to an hour later."""
        times = self._times.get((channel, symbol))
        if times is None:
            first = self._truth.market.start - MINUTE
            due = self._truth.options.due if len(symbol) > 6 else self._truth._due
            times = [at for at, _ in due(channel, symbol, first, first + 60 * MINUTE)]
            self._times[channel, symbol] = times
        return times

    def between(self, channel: str, symbol: str, start: int, end: int) -> list[int]:
        """Return when records were due after *start* and up to *end*."""
        times = self.draw(channel, symbol)
        return times[bisect_right(times, start) : bisect_left(times, end + 1)]
