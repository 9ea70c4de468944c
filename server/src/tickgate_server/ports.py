"""What the gateway needs from outside, and how each of it can fail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import Enum
from typing import Protocol, TypeAlias, TypeVar

from msgspec import Struct

from .market.answer import Answer, Question
from .market.asset import AssetList, CodeKind, CodeTable
from .market.quote import Quote
from .market.session import Calendar, ClockReading, MarketNow, MarketSession
from .market.snapshot import Snapshot
from .market.trade import Trade
from .market.unavailable import Unavailable

V = TypeVar("V")

Answers: TypeAlias = Mapping[str, Answer[V] | Unavailable]
"""One entry for each asked symbol."""


class LatestSource(Protocol[V]):
    """Answers what the latest value of each symbol is."""

    async def latest(self, question: Question) -> Answers[V]:
        """Return an answer for every symbol of *question*, before its deadline.

        Never raises for lack of data: what goes wrong for a symbol is that symbol's `Unavailable`.
        """
        ...


QuoteSource: TypeAlias = LatestSource[Quote]
TradeSource: TypeAlias = LatestSource[Trade]
SnapshotSource: TypeAlias = LatestSource[Snapshot]


class ReferenceSource(Protocol):
    """Knows assets, sessions and codes. Every method raises `UpstreamFailure` when it cannot answer."""

    async def assets(self, deadline: float) -> AssetList:
        """Return every stock the upstream lists."""
        ...

    async def calendar(self, start: date, end: date, deadline: float) -> Calendar:
        """Return the trading days from *start* up to and without *end*."""
        ...

    async def codes(self, kind: CodeKind, tape: str, deadline: float) -> CodeTable:
        """Return a table of codes; *tape* is empty for exchanges."""
        ...


class MarketTimes(Protocol):
    """Knows what time it is for the market."""

    def session(self) -> MarketSession | None:
        """Return the session now, or None when it is not known. Never waits."""
        ...

    async def now(self, deadline: float) -> MarketNow:
        """Return the market's time.

        Raises:
            UpstreamFailure: the upstream's clock has never been read, and cannot be.
        """
        ...


class ClockSource(Protocol):
    """Reads the upstream's clock."""

    async def clock(self, deadline: float) -> ClockReading:
        """Return what the clock says.

        Raises:
            UpstreamFailure: it could not be read.
        """
        ...


class Upstream(Enum):
    """An upstream that is asked over HTTP; each has its own host and its own limits."""

    DATA = "alpaca.data"
    TRADING = "alpaca.trading"


class Group(Enum):
    """Endpoints of one upstream that fail together."""

    LATEST = "latest"
    REFERENCE = "reference"


class Request(Struct, frozen=True):
    """One HTTP request to an upstream."""

    upstream: Upstream
    group: Group
    path: str
    params: Mapping[str, str]
    deadline: float
    """When its answer is of no more use, seconds of the monotonic clock."""


class Reply(Struct, frozen=True):
    """A successful answer to a request."""

    body: bytes
    request_id: str
    """The upstream's own id of the answer; empty when it sent none."""

    receive_time: int
    """When the answer was complete, nanoseconds of the wall clock."""

    received_at: float
    """The same moment in seconds of the monotonic clock."""


class Requests(Protocol):
    """Sends requests to an upstream, one HTTP request for each call."""

    async def send(self, request: Request) -> Reply:
        """Return the answer.

        Raises:
            UpstreamFailure: there was none that can be used; the subclass says why.
        """
        ...


class Clock(Protocol):
    """The three clocks of the gateway."""

    def monotonic(self) -> float:
        """Return seconds that never jump: for deadlines, timers and the age of what is held."""
        ...

    def wall(self) -> int:
        """Return nanoseconds of civil time: for receive and serve times."""
        ...

    def market(self) -> int:
        """Return nanoseconds of the market's time: civil time, or the recording's in a replay."""
        ...
