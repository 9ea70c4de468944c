"""What no upstream should send, through the real readers and the real ingress: REST bodies, and frames of live feeds.

Whatever comes, there is a value whose every number and time stands in what was sent, or a reason why there is none.
"""

from __future__ import annotations

import asyncio
import random
import re
import struct
import time
from array import array
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import aiohttp
import msgspec

from tickgate_sandbox import SandboxSettings, sandbox
from tickgate_sandbox.timestamps import parse
from tickgate_server.errors import UpstreamFailure
from tickgate_server.ingress.gate import Gate, Policy
from tickgate_server.market.asset import CodeKind
from tickgate_server.market.columns import Block, Codes, Counts, Decimals
from tickgate_server.market.interval import Interval
from tickgate_server.market.option import ContractScope
from tickgate_server.market.provenance import DataSource, Feed, Provenance
from tickgate_server.market.series import SeriesKey, SeriesKind
from tickgate_server.market.timeframe import Timeframe, Unit
from tickgate_server.market.unavailable import Refusal, Unavailable
from tickgate_server.observe.counters import FeedCounts
from tickgate_server.ports import Priority, Reply, Request, Upstream, Walk
from tickgate_server.upstream.alpaca.corporate_actions import AlpacaCorporateActions
from tickgate_server.upstream.alpaca.history import AlpacaHistory
from tickgate_server.upstream.alpaca.options import (
    AlpacaChains,
    AlpacaContracts,
    options_endpoint,
)
from tickgate_server.upstream.alpaca.rest import (
    AlpacaLatest,
    AlpacaReference,
    quotes_endpoint,
    snapshots_endpoint,
    trades_endpoint,
)
from tickgate_server.upstream.alpaca.stream.handover import Frame
from tickgate_server.upstream.alpaca.stream.records import Records

from ..support.fakes import NOW, HandClock, question
from ..support.live_feed import Listener, quote, stamp, trade
from .found import Found
from .mutate import spoil_frame, spoil_json

_AT: Final = "2026-10-01T15:00:00Z"
_HOUR: Final = 3_600 * 10**9
_SLOW: Final = 1.0
"""Seconds of the processor that reading a body of some kilobytes must not take."""

_LOOKS: Final = 20
_CONTRACTS: Final = ("AAPL261120C00220000", "AAPL261120P00230000")
_COUNTED: Final = frozenset({"size", "volume", "trade_count", "id", "contracts"})
"""Whole numbers of a value that the upstream says."""

_OURS: Final = frozenset({"confirmed_at", "read_at", "speed"})
"""Floats that are no values of the upstream's, or are not where it says nothing."""

_TIMED: Final = frozenset({"event_time", "time"})
_NUMBER: Final = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_TEXT: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"')

Drive = Callable[["Spoilt"], Awaitable[Any]]


class Spoilt:
    """A `Requests` that answers everything with one body, and ends a walk that would not end by itself."""

    def __init__(self, clock: HandClock) -> None:
        self.body = b""
        self.left = 0
        self._clock = clock

    async def send(self, request: Request) -> Reply:
        """Answer."""
        self.left -= 1
        if self.left < 0:
            msg = "more requests than any answer has pages"
            raise TooMany(msg)
        await asyncio.sleep(0)
        return Reply(self.body, "up-1", NOW, self._clock.monotonic())


class TooMany(Exception):
    """A walk goes on although every page was the same."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint: where true bodies come from, and who reads them."""

    name: str
    path: str
    params: Mapping[str, str]
    drive: Drive


def _gate(clock: HandClock) -> Gate:
    return Gate(Policy(refuse_crossed=True, future_tolerance=5 * 10**9), clock, {})


def _endpoints(clock: HandClock) -> list[Endpoint]:
    gate = _gate(clock)
    sources = {Upstream.DATA: DataSource.SANDBOX, Upstream.TRADING: DataSource.SANDBOX}

    async def listed(symbols: Sequence[str], _: float) -> set[str]:
        return {"AAPL", "MSFT"}

    def latest(endpoint: Any, *symbols: str) -> Drive:
        def drive(requests: Spoilt) -> Awaitable[Any]:
            source: AlpacaLatest[Any] = AlpacaLatest(
                requests, DataSource.SANDBOX, endpoint(gate), listed
            )
            feed = Feed.INDICATIVE if len(symbols[0]) > 6 else Feed.IEX
            return source.latest(question(*symbols, feed=feed))

        return drive

    def reference(ask: Callable[[AlpacaReference], Awaitable[Any]]) -> Drive:
        return lambda requests: ask(AlpacaReference(requests, sources, gate))

    def past(kind: SeriesKind, timeframe: Timeframe | None = None) -> Drive:
        async def drive(requests: Spoilt) -> Any:
            key = SeriesKey(kind, "AAPL", Feed.IEX, timeframe)
            walk = Walk(
                key, ("AAPL", "MSFT"), Interval(NOW - _HOUR, NOW), False, 20, Priority.HISTORY, 10.0
            )
            pages = AlpacaHistory(requests, DataSource.SANDBOX, gate, clock)
            return [part async for part in pages.walk(walk)]

        return drive

    deadline = clock.monotonic() + 10
    shares = {"symbols": "AAPL,MSFT"}
    contracts = {"symbols": ",".join(_CONTRACTS), "feed": "indicative"}
    span = {"start": "2026-10-01T14:00:00Z", "end": _AT, "limit": "20", "feed": "iex", **shares}
    first, last = date(2026, 9, 1), date(2026, 10, 31)
    return [
        Endpoint("quotes", "/v2/stocks/quotes/latest", shares, latest(quotes_endpoint, "AAPL", "MSFT")),
        Endpoint("trades", "/v2/stocks/trades/latest", shares, latest(trades_endpoint, "AAPL", "MSFT")),
        Endpoint("snapshots", "/v2/stocks/snapshots", shares, latest(snapshots_endpoint, "AAPL", "MSFT")),
        Endpoint("options", "/v1beta1/options/snapshots", contracts, latest(options_endpoint, *_CONTRACTS)),
        Endpoint(
            "chain", "/v1beta1/options/snapshots/AAPL",
            {"feed": "indicative", "limit": "20", "expiration_date": "2026-11-20"},
            lambda requests: AlpacaChains(requests, DataSource.SANDBOX, gate, clock).read(
                "AAPL", Feed.INDICATIVE, None, deadline
            ),
        ),
        Endpoint(
            "contracts", "/v2/options/contracts",
            {"underlying_symbols": "AAPL", "limit": "20", "expiration_date": "2026-11-20"},
            lambda requests: AlpacaContracts(requests, DataSource.SANDBOX, gate).contracts(
                ContractScope(first, date(2026, 12, 31), "AAPL"), deadline
            ),
        ),
        Endpoint("assets", "/v2/assets", {}, reference(lambda one: one.assets(deadline))),
        Endpoint(
            "calendar", "/v2/calendar", {"start": "2026-09-01", "end": "2026-10-31"},
            reference(lambda one: one.calendar(first, last, deadline)),
        ),
        Endpoint("clock", "/v2/clock", {}, reference(lambda one: one.clock(deadline))),
        Endpoint(
            "codes", "/v2/stocks/meta/exchanges", {},
            reference(lambda one: one.codes(CodeKind.EXCHANGE, "", deadline)),
        ),
        Endpoint(
            "bars", "/v2/stocks/bars", {"timeframe": "1Min", **span},
            past(SeriesKind.BARS, Timeframe(1, Unit.MINUTE)),
        ),
        Endpoint("past trades", "/v2/stocks/trades", span, past(SeriesKind.TRADES)),
        Endpoint("past quotes", "/v2/stocks/quotes", span, past(SeriesKind.QUOTES)),
        Endpoint(
            "corporate actions", "", {},
            lambda requests: AlpacaCorporateActions(requests, DataSource.SANDBOX, gate).corporate_actions(
                ["AAPL"], None, first, last, deadline
            ),
        ),
    ]  # fmt: skip


_ACTIONS: Final = (
    b'{"corporate_actions":{"cash_dividends":[{"id":"a-1","symbol":"AAPL","rate":0.26,"special":false,"foreign":false,'
    b'"ex_date":"2026-10-01","record_date":"2026-10-02","payable_date":"2026-10-09","process_date":"2026-10-09"}],'
    b'"forward_splits":[{"id":"a-2","symbol":"AAPL","old_rate":1,"new_rate":4,"ex_date":"2026-09-02","process_date":'
    b'"2026-09-02"}]},"next_page_token":null}'
)


async def true_bodies(endpoints: Sequence[Endpoint]) -> dict[str, bytes]:
    """Ask a sandbox what it truly says at each of *endpoints*."""
    settings = SandboxSettings(listen="127.0.0.1:0", at=_AT, speed=0)
    keys = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}
    bodies = {"corporate actions": _ACTIONS}
    async with sandbox(settings) as running, aiohttp.ClientSession(headers=keys) as session:
        for one in endpoints:
            if one.path:
                async with session.get(running.url + one.path, params=one.params) as reply:
                    assert reply.status == 200, (one.name, await reply.text())
                    bodies[one.name] = await reply.read()
    return bodies


async def fuzz_bodies(seed: int, count: int) -> Found:
    """Have *count* spoilt bodies read, by each endpoint in turn."""
    dice = random.Random(seed)
    clock = HandClock()
    endpoints = _endpoints(clock)
    true = await true_bodies(endpoints)
    found = Found("bodies of the upstream")
    requests = Spoilt(clock)
    for one in endpoints:
        requests.body, requests.left = true[one.name], 50
        with suppress(TooMany, UpstreamFailure):
            # A true page that has a token leads to itself here, which is refused as it must be.
            told = await one.drive(requests)
            assert list(_numbers(told)) or one.name in ("assets", "calendar", "clock", "codes"), (
                one.name
            )
    for number in range(count):
        one = endpoints[number % len(endpoints)]
        requests.body, requests.left = spoil_json(dice, true[one.name]), 50
        began = time.process_time()
        try:
            async with asyncio.timeout(30):
                told = await one.drive(requests)
        except UpstreamFailure as error:
            found.outcomes[type(error).__name__] += 1
        except TooMany:
            # It has a page token that leads to itself: the walk's own check of tokens comes from its caller's deadline.
            found.outcomes["walk without end"] += 1
            if one.name not in (
                "corporate actions",
                "contracts",
                "chain",
                "bars",
                "past trades",
                "past quotes",
            ):
                found.object("more requests than answers", f"{one.name} {requests.body[:500]!r}")
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            found.object(
                f"{type(error).__name__} from {one.name}", f"{error!r} {requests.body[:700]!r}"
            )
        else:
            found.outcomes["read"] += 1
            _compare(
                told, _Sent.of_json(requests.body), f"{one.name} {requests.body[:900]!r}", found
            )
        if time.process_time() - began > _SLOW:
            found.object(
                "a slow reading",
                f"{one.name} {time.process_time() - began:.1f} s {requests.body[:300]!r}",
            )
        if number % max(1, count // _LOOKS) == 0:
            found.look()
    found.look()
    return found


# ------------------------------------------------------------------------------------ live frames


def _true_frames() -> list[bytes]:
    bar = {
        "S": "AAPL",
        "o": 1.5,
        "h": 2.25,
        "l": 1.25,
        "c": 2.0,
        "v": 100,
        "n": 7,
        "vw": 1.75,
        "t": stamp(NOW - _HOUR),
    }
    records: list[list[Any]] = [
        [quote(), quote("MSFT", 410.05, 410.1)],
        [trade(), trade("MSFT", 410.07, s=3)],
        [{"T": "b", **bar}, {"T": "u", **bar}, {"T": "d", **bar}],
        [{"T": "c", "S": "AAPL", "x": "V", "oi": 7, "op": 10.5, "os": 3, "oc": ["@"],
          "ci": 8, "cp": 10.25, "cs": 4, "cc": ["@"], "z": "C", "t": stamp(NOW)}],
        [{"T": "x", "S": "AAPL", "i": 7, "x": "V", "p": 10.5, "s": 3, "a": "C", "z": "C", "t": stamp(NOW)}],
        [{"T": "s", "S": "AAPL", "sc": "H", "sm": "Halted", "rc": "T1", "rm": "News", "z": "C", "t": stamp(NOW)}],
        [{"T": "l", "S": "AAPL", "u": 11.5, "d": 9.5, "i": "B", "z": "C", "t": stamp(NOW)}],
        [quote(), {"T": "?", "S": "AAPL"}, trade()],
    ]  # fmt: skip
    option = {"S": _CONTRACTS[0], "t": stamp(NOW)}
    records.append(
        [
            {
                "T": "q",
                "bx": "A",
                "bp": 9.25,
                "bs": 3,
                "ax": "B",
                "ap": 9.5,
                "as": 4,
                "c": "A",
                **option,
            }
        ]
    )
    records.append([{"T": "t", "p": 9.3, "s": 2, "x": "A", "c": "I", **option}])
    return [msgspec.msgpack.encode(one) for one in records]


def fuzz_frames(seed: int, count: int) -> Found:
    """Have *count* spoilt frames read by the decoder of a live feed, half of them by that of options."""
    dice = random.Random(seed)
    true = _true_frames()
    found = Found("frames of live feeds")
    clock = HandClock()
    listener = Listener()
    readers = [
        Records(_gate(clock), DataSource.SANDBOX, feed, listener, clock, FeedCounts())
        for feed in (Feed.IEX, Feed.INDICATIVE)
    ]
    for number in range(count):
        frame = spoil_frame(dice, dice.choice(true), true)
        began = time.process_time()
        try:
            readers[number % 2].take(Frame(clock.wall(), frame))
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            found.object(f"{type(error).__name__} from a frame", f"{error!r} {frame.hex()[:900]}")
        if time.process_time() - began > _SLOW:
            found.object("a slow reading", frame.hex()[:300])
        found.outcomes.update(call[0] for call in listener.told)
        if accepted := listener.of("accept"):
            sent = _Sent.of_frame(frame)
            for _, _, value in accepted:
                _compare(value, sent, frame.hex()[:900], found)
        if not listener.told:
            found.outcomes["nothing"] += 1
        listener.told.clear()
        if number % max(1, count // _LOOKS) == 0:
            found.look()
    found.look()
    return found


# ------------------------------------------------------------------------------- what was in there


@dataclass(frozen=True, slots=True)
class _Sent:
    """Every number and instant that stands anywhere in what was sent."""

    numbers: frozenset[Decimal]
    instants: frozenset[int]

    @classmethod
    def of_json(cls, body: bytes) -> _Sent:
        numbers = set()
        for text in _NUMBER.findall(body):
            with suppress(InvalidOperation):
                numbers.add(Decimal(text.decode()))
                # Greeks are doubles, and this is the double that stands there.
                numbers.add(Decimal(repr(float(text))))
        instants = set()
        for text in _TEXT.findall(body):
            with suppress(ValueError):
                told = text.decode("utf-8", "replace")
                instants.add(parse(told))
                continue
            with suppress(ValueError):
                # An escaped letter is as good as the letter.
                instants.add(parse(msgspec.json.decode(b'"' + text + b'"', type=str)))
        return cls(frozenset(numbers), frozenset(instants))

    @classmethod
    def of_frame(cls, frame: bytes) -> _Sent:
        """Read a number and an instant at every place of *frame*, whatever its structure says."""
        numbers: set[Decimal] = set()
        instants: set[int] = set()
        for at, kind in enumerate(frame):
            numbers.update(_numbers_at(frame, at, kind))
            instants.update(_instants_at(frame, at, kind))
        return cls(frozenset(numbers), frozenset(instants))


_LAYOUTS: Final = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip


def _numbers_at(frame: bytes, at: int, kind: int) -> Iterator[Decimal]:
    if kind < 0x80:
        yield Decimal(kind)
    if kind >= 0xE0:
        yield Decimal(kind - 256)
    layout = _LAYOUTS.get(kind)
    if layout is not None and at + 1 + struct.calcsize(layout) <= len(frame):
        (value,) = struct.unpack_from(layout, frame, at + 1)
        yield Decimal(repr(value))


def _instants_at(frame: bytes, at: int, kind: int) -> Iterator[int]:
    rest = frame[at + 1 :]
    with suppress(struct.error, ValueError):
        if kind == 0xD6 and rest[:1] == b"\xff":
            yield struct.unpack_from(">I", rest, 1)[0] * 10**9
        if kind == 0xD7 and rest[:1] == b"\xff":
            (both,) = struct.unpack_from(">Q", rest, 1)
            yield (both & ((1 << 34) - 1)) * 10**9 + (both >> 34)
        if kind == 0xC7 and rest[:2] == b"\x0c\xff":
            nanos, seconds = struct.unpack_from(">Iq", rest, 2)
            yield seconds * 10**9 + nanos
        # A time may come as text as well.
        for width, length in ((0xA0, kind & 0x1F), (0xD9, rest[0] if rest else 0)):
            text = rest[:length] if width == 0xA0 else rest[1 : 1 + length]
            if kind == width or (width == 0xA0 and kind & 0xE0 == 0xA0):
                yield parse(text.decode())


def _compare(told: Any, sent: _Sent, what: str, found: Found) -> None:
    for value in _numbers(told):
        if value not in sent.numbers:
            found.object("a number that was not sent", f"{value} of {what}")
    for instant in _instants(told):
        if instant not in sent.instants:
            found.object("an instant that was not sent", f"{instant} of {what}")


def _numbers(told: Any) -> Iterator[Decimal]:
    """Yield the numbers of a value that the upstream must have sent."""
    for name, value in _fields(told):
        if isinstance(value, Decimal):
            yield value
        elif isinstance(value, float) and name not in _OURS:
            # What is a double here was one to the upstream, which wrote its shortest text.
            yield Decimal(repr(value))
        elif name in _COUNTED and type(value) is int:
            yield Decimal(value)


def _instants(told: Any) -> Iterator[int]:
    for name, value in _fields(told):
        if name in _TIMED and type(value) is int:
            yield value


def _fields(told: Any, name: str = "") -> Iterator[tuple[str, Any]]:  # noqa: C901 - a list of cases
    """Yield every field at any depth with its name; a block of columns as its columns' entries."""
    if isinstance(told, Provenance):
        yield "event_time", told.event_time
    elif isinstance(told, Unavailable | Refusal | Codes):
        return
    elif isinstance(told, Block):
        yield from (("time", at) for at in told.times)
        for column in told.columns.values():
            if isinstance(column, Decimals | Counts):
                yield from (("size", Decimal(one)) for one in column if one is not None)
    elif isinstance(told, msgspec.Struct):
        for field in told.__struct_fields__:
            yield from _fields(getattr(told, field), field)
    elif isinstance(told, Mapping):
        for one in told.values():
            yield from _fields(one, name)
    elif isinstance(told, list | tuple | set | frozenset):
        for one in told:
            yield from _fields(one, name)
    elif not isinstance(told, array):
        yield name, told
