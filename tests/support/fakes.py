"""Doubles that behave like what they stand for, values to feed them, and a clock that moves by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Generic, TypeVar

from msgspec.structs import replace

from tickgate_server.errors import UpstreamFailure, UpstreamRejected
from tickgate_server.ingress.gate import Gate, Policy
from tickgate_server.market.answer import Answer, Freshness, Held, Question
from tickgate_server.market.asset import Asset, AssetList, AssetStatus, CodeKind, CodeTable
from tickgate_server.market.bar import Bar
from tickgate_server.market.provenance import DataSource, Feed, Provenance, Tier
from tickgate_server.market.quote import Quote, QuoteSide
from tickgate_server.market.session import Calendar, ClockReading, TradingDay
from tickgate_server.market.time import NANOS, parse_rfc3339
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason, Unavailable
from tickgate_server.ports import Answers, Clock, Reply, Request

V = TypeVar("V")

NOW = parse_rfc3339("2026-10-01T15:00:00Z")
"""A Thursday, 11:00 in New York: where every hand-driven clock starts."""


class HandClock:
    """The gateway's three clocks, moved by hand and only together."""

    def __init__(self, at: int = NOW) -> None:
        self._start = at
        self._elapsed = 0.0

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass."""
        self._elapsed += seconds

    def monotonic(self) -> float:
        """Return seconds since some moment long before."""
        return 1000.0 + self._elapsed

    def wall(self) -> int:
        """Return nanoseconds of civil time."""
        return self._start + round(self._elapsed * NANOS)

    def market(self) -> int:
        """Return the market's time, which here is civil time."""
        return self.wall()


def provenance(event_time: int | None = NOW, receive_time: int = NOW) -> Provenance:
    """An origin with every field filled in."""
    return Provenance(DataSource.SANDBOX, Feed.IEX, event_time, receive_time, "upstream-1")


def side(price: str = "10.00", size: int | None = 100, exchange: str | None = "V") -> QuoteSide:
    """One side of a quote."""
    return QuoteSide(Decimal(price), size, exchange)


def quote(
    symbol: str = "AAPL",
    bid: QuoteSide | None = side("10.00"),  # noqa: B008 - frozen
    ask: QuoteSide | None = side("10.02"),  # noqa: B008 - frozen
    *,
    at: int | None = NOW,
    received: int = NOW,
) -> Quote:
    """A quote that nothing can be said against."""
    return Quote(symbol, bid, ask, ("R",), "C", provenance(at, received))


def trade(symbol: str = "AAPL", price: str = "10.01", *, at: int | None = NOW) -> Trade:
    """A trade with every field but an amendment."""
    return Trade(symbol, Decimal(price), 50, "V", ("@",), 7, "C", None, provenance(at))


def bar(symbol: str = "AAPL", *, at: int | None = NOW) -> Bar:
    """A bar with every field."""
    one = Decimal("10.01")
    return Bar(symbol, one, one, one, one, 500, 12, one, provenance(at))


def asset(symbol: str, name: str = "", status: AssetStatus | None = AssetStatus.ACTIVE) -> Asset:
    """An asset of which little is known."""
    return Asset(symbol, name, f"id-{symbol}", "NYSE", "us_equity", status, True, None, None, None, ())  # fmt: skip


def question(
    *symbols: str,
    feed: Feed = Feed.IEX,
    deadline: float = 1010.0,
    min_quality: int = 0,
    **freshness: Any,
) -> Question:
    """A question that a `HandClock` at its start leaves ten seconds for."""
    return Question(symbols, feed, deadline, Freshness(**freshness), min_quality)


def unavailable(reason: Reason, **known: Any) -> Unavailable:
    """A reason, in words that name it."""
    return Unavailable(reason=reason, message=f"because of {reason.name}", **known)


def gate(clock: HandClock, refusals: dict[str, int] | None = None, *, crossed: bool = True) -> Gate:
    """A gate that tolerates five seconds of the future."""
    policy = Policy(refuse_crossed=crossed, future_tolerance=5 * NANOS)
    return Gate(policy, clock, {} if refusals is None else refusals)


class FakeLatest(Generic[V]):
    """An upstream of latest values: what it holds it answers, the rest is unknown, an outage hits all."""

    def __init__(self, clock: Clock, values: Mapping[str, V] | None = None) -> None:
        self._clock = clock
        self.values = dict(values or {})
        self.reasons: dict[str, Unavailable] = {}
        """Symbols that cannot be answered now, and why."""

        self.outage: Unavailable | None = None
        self.open = asyncio.Event()
        """Answers wait until it is set, as it is from the start."""

        self.open.set()
        self.asked: list[Question] = []
        self.waiting = asyncio.Event()
        """Set once a question has arrived."""

    async def latest(self, question: Question) -> Answers[V]:
        """Answer every symbol."""
        self.asked.append(question)
        self.waiting.set()
        await self.open.wait()
        return {symbol: self._one(symbol) for symbol in question.symbols}

    def _one(self, symbol: str) -> Answer[V] | Unavailable:
        why = self.outage or self.reasons.get(symbol)
        if why is not None:
            return why
        if symbol not in self.values:
            return unavailable(Reason.SYMBOL_UNKNOWN)
        return Answer(Held(self.values[symbol], self._clock.monotonic()), Tier.UPSTREAM)

    @property
    def symbols_asked(self) -> list[tuple[str, ...]]:
        """What each question named."""
        return [question.symbols for question in self.asked]


class FakeRequests:
    """Alpaca's data API as seen over `Requests`: leaves unknown symbols out, fails all for one malformed.

    Answers of other endpoints are set by path.
    """

    def __init__(self, clock: HandClock, records: Mapping[str, str] | None = None) -> None:
        self._clock = clock
        self.records = dict(records or {})
        """JSON text of each symbol's record."""

        self.wrapper = "quotes"
        self.malformed: set[str] = set()
        self.bodies: dict[str, bytes] = {}
        """Answers by path, whatever is asked there."""

        self.failure: UpstreamFailure | None = None
        self.sent: list[Request] = []

    async def send(self, request: Request) -> Reply:
        """Answer one request."""
        self.sent.append(request)
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return Reply(self._body(request), f"up-{len(self.sent)}", NOW, self._clock.monotonic())

    def _body(self, request: Request) -> bytes:
        if request.path in self.bodies:
            return self.bodies[request.path]
        symbols = request.params["symbols"].split(",")
        for symbol in symbols:
            if symbol in self.malformed:
                said = f"invalid symbol: {symbol}"
                raise UpstreamRejected(f"answered 400: {said}", said=said)
        found = [f"{json.dumps(s)}:{self.records[s]}" for s in symbols if s in self.records]
        inner = "{" + ",".join(found) + "}"
        return (f'{{"{self.wrapper}":{inner}}}' if self.wrapper else inner).encode()


class FakeReference:
    """A source of reference data, and a clock, that can fail and can be made to wait."""

    def __init__(self, symbols: Iterable[str] = (), days: Sequence[TradingDay] = ()) -> None:
        self.list = AssetList([asset(symbol) for symbol in symbols], provenance(None))
        self.days = tuple(days)
        self.reading: ClockReading | None = None
        self.failure: UpstreamFailure | None = None
        self.failing_calendar: UpstreamFailure | None = None
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    async def _ask(self, what: str) -> None:
        self.asked.append(what)
        await self.open.wait()
        if self.failure is not None:
            raise self.failure

    async def assets(self, deadline: float) -> AssetList:
        """Return the list."""
        await self._ask("assets")
        return self.list

    async def calendar(self, start: date, end: date, deadline: float) -> Calendar:
        """Return the days of the range that it has."""
        await self._ask(f"calendar {start} {end}")
        if self.failing_calendar is not None:
            raise self.failing_calendar
        days = [day for day in self.days if start <= day.date < end]
        return Calendar(days, provenance(None, NOW + start.year))

    async def codes(self, kind: CodeKind, tape: str, deadline: float) -> CodeTable:
        """Return a table that names its kind and tape."""
        await self._ask(f"codes {kind.value} {tape}".rstrip())
        return CodeTable({"V": f"{kind.value} {tape}"}, provenance(None))

    async def clock(self, deadline: float) -> ClockReading:
        """Return the reading."""
        await self._ask("clock")
        assert self.reading is not None
        return self.reading


def reading(
    market_time: int = NOW, *, is_open: bool = True, speed: float = 1.0, **changed: Any
) -> ClockReading:
    """What a clock says on an open day."""
    hour = 3600 * NANOS
    said = ClockReading(
        market_time=market_time,
        is_open=is_open,
        next_open=market_time + 22 * hour,
        next_close=market_time + 5 * hour,
        speed=speed,
        provenance=provenance(None),
    )
    return replace(said, **changed)


def trading_day(
    day: str, hours: tuple[str, str, str, str] = ("08:00", "13:30", "20:00", "24:00")
) -> TradingDay:
    """A day of summer time with its four edges, given in UTC; an empty edge is none, 24:00 ends the day."""

    def edge(hour: str) -> int | None:
        if hour == "24:00":
            return parse_rfc3339(f"{day}T00:00:00Z") + 24 * 3600 * NANOS
        return parse_rfc3339(f"{day}T{hour}:00Z") if hour else None

    pre, opening, close, after = (edge(hour) for hour in hours)
    assert opening is not None
    assert close is not None
    return TradingDay(date.fromisoformat(day), pre, opening, close, after, None)


async def settle(done: Callable[[], bool]) -> None:
    """Give the loop's other tasks their turns until *done*."""
    for _ in range(10_000):
        if done():
            return
        await asyncio.sleep(0)
    msg = "what was waited for did not come"
    raise AssertionError(msg)
