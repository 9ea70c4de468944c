"""What the way in costs, without sockets: frames to values to bytes, against Alpaca's own SDK on the same frames."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import median
from typing import Any, Final

from alpaca.data.live import StockDataStream

from tickgate_server.app import policies
from tickgate_server.book import Book
from tickgate_server.ingress.context import Context
from tickgate_server.ingress.gate import Gate
from tickgate_server.jobs.market_clock import MarketClock
from tickgate_server.market.live import Channel, FeedState, GapCause, LiveValue, RecordKind
from tickgate_server.market.provenance import DataSource, Feed
from tickgate_server.market.session import MarketSession, Span
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Unavailable
from tickgate_server.observe.counters import Counters
from tickgate_server.rpc.updates import UpdateEncoder
from tickgate_server.settings import Settings
from tickgate_server.upstream.alpaca.stream.handover import Frame
from tickgate_server.upstream.alpaca.stream.records import Records

from .processes import BrokenMeasurement, on_core
from .report import Table, count, micros, spread
from .rounds import Effort
from .stage import Stage
from .ticks import UNIVERSE, Ticks

_SYMBOLS: Final = UNIVERSE[:1000]
_IN_FRAME: Final = 100
_FRAMES: Final = 200
"""Frames of a turn: 20,000 quotes."""

_DAY: Final = 24 * 3600 * NANOS

_RAW: Final = "alpaca-py, messages as they are"
"""What the others are compared with: Alpaca's SDK with `raw_data`, which makes nothing of a message."""

Contestant = Callable[[Sequence[bytes]], float]
"""Takes frames, and returns the seconds of CPU that it took."""


class _IntoBook:
    """A listener that puts records into the book, and encodes them if it is told how."""

    def __init__(self, book: Book, encoder: UpdateEncoder | None) -> None:
        self.taken = 0
        self._book = book
        self._encoder = encoder

    def accept(self, kind: RecordKind, symbol: str, value: LiveValue) -> None:
        update = self._book.accept(kind, symbol, value)
        if update is None:
            raise BrokenMeasurement(f"the book does not take {symbol}")
        self.taken += 1
        if self._encoder is not None:
            update.body = self._encoder.body(kind, value, update.sequence, update.tier)

    def refuse(self, kind: RecordKind, symbol: str, why: Unavailable) -> None:
        raise BrokenMeasurement(f"a quote of {symbol} was refused: {why.message}")

    def missed(
        self, cause: GapCause, since: int, message: str, *, records: int | None = None
    ) -> None:
        raise BrokenMeasurement(f"a frame was missed: {message}")

    def settle(self) -> None:
        """Nobody is told."""

    def confirmed(self, channel: Channel, symbols: Collection[str]) -> None:
        """Nobody is told."""

    def rejected(self, channel: Channel, symbols: Collection[str], why: Unavailable) -> None:
        """Nobody is told."""

    def lost(self, cause: GapCause, since: int, message: str) -> None:
        """Nobody is told."""

    def changed(self, state: FeedState, message: str) -> None:
        """Nobody is told."""


class _Ours:
    """The gateway's way in, up to the book."""

    def __init__(self, *, encodes: bool) -> None:
        settings, clock, counters = Settings(), MarketClock(follows_upstream=False), Counters()
        book = Book(Feed.SIP, "bench", clock)
        for symbol in _SYMBOLS:
            book.open(Channel.QUOTES, symbol)
        self._listener = _IntoBook(book, UpdateEncoder() if encodes else None)
        now = time.time_ns()
        span = Span(MarketSession.OPEN, now - _DAY, now + _DAY)
        context = Context(policies.context(settings), lambda _: span, {})
        gate = Gate(policies.gate(settings), clock, {}, context=context)
        counts = counters.feed(Feed.SIP.value)
        self._records = Records(gate, DataSource.SANDBOX, Feed.SIP, self._listener, clock, counts)

    def __call__(self, frames: Sequence[bytes]) -> float:
        taken, take, now = self._listener.taken, self._records.take, time.time_ns
        before = time.thread_time()
        for frame in frames:
            take(Frame(now(), frame))
        took = time.thread_time() - before
        _expect(self._listener.taken - taken)
        return took


class _Socket:
    """A socket over which frames have come, as the SDK asks it."""

    def __init__(self, frames: Sequence[bytes], stop: Callable[[], Any]) -> None:
        self._frames = iter(frames)
        self._stop = stop

    async def recv(self) -> bytes:
        frame = next(self._frames, None)
        if frame is None:
            await self._stop()
            return b"\x90"
        return frame

    async def close(self) -> None:
        """There is nothing to close."""


class _Theirs:
    """Alpaca's SDK, from the frame to a handler that does nothing but count."""

    def __init__(self, *, raw: bool) -> None:
        self._raw = raw

    def __call__(self, frames: Sequence[bytes]) -> float:
        return asyncio.run(self._consume(frames))

    async def _consume(self, frames: Sequence[bytes]) -> float:
        taken = 0

        async def handle(_: object) -> None:
            nonlocal taken
            taken += 1

        stream: Any = StockDataStream("key", "secret", raw_data=self._raw)
        stream.subscribe_quotes(handle, *_SYMBOLS)
        # Its public way in makes a connection, whose cost is none of this.
        stream._ws = _Socket(frames, stream.stop_ws)  # noqa: SLF001
        before = time.thread_time()
        await stream._consume()  # noqa: SLF001
        took = time.thread_time() - before
        _expect(taken)
        return took


def decoding(stage: Stage, effort: Effort) -> Table:
    """Compare the gateway's way in with Alpaca's SDK on the same frames."""
    contestants: dict[str, Contestant] = {
        "decode, validate, book": _Ours(encodes=False),
        "decode, validate, book, encode": _Ours(encodes=True),
        _RAW: _Theirs(raw=True),
        "alpaca-py, its models": _Theirs(raw=False),
    }
    with on_core(stage.cores.server):
        took = _take_turns(contestants, effort)
    return Table(
        title="From frames to values, against Alpaca's SDK",
        head=("", "quotes/s per core", "µs/quote", "quotes/s / alpaca-py's messages"),
        rows=[
            (
                name,
                count(1 / median(each)),
                micros(median(each)),
                spread([b / a for a, b in zip(each, took[_RAW], strict=True)]),
            )
            for name, each in took.items()
        ],
        notes=[
            (
                f"CPU in this process over the same frames of {_IN_FRAME} quotes, {len(_SYMBOLS):,} symbols, no socket."
                " Alpaca's SDK decodes and dispatches to a handler that does nothing, with `raw_data` and without; it"
                " validates nothing and keeps nothing. Encoding: what all followers of a quote get alike."
            ),
            "Targets: 200,000 quotes/s on one core, with encoding 100,000.",
        ],
    )


def _take_turns(
    contestants: Mapping[str, Contestant], effort: Effort
) -> Mapping[str, Sequence[float]]:
    """Return the seconds that each takes for a quote, turn by turn."""
    ticks = Ticks(_SYMBOLS, _IN_FRAME)
    took: dict[str, list[float]] = {name: [] for name in contestants}
    until = time.monotonic() + effort.rounds * effort.seconds
    warm = False
    while time.monotonic() < until or not took[_RAW]:
        now = time.time_ns()
        frames = [ticks.frame(number, now) for number in range(_FRAMES)]
        for name, contestant in contestants.items():
            seconds = contestant(frames) / (_FRAMES * _IN_FRAME)
            if warm:
                took[name].append(seconds)
        warm = True
    return took


def _expect(taken: int) -> None:
    if taken != _FRAMES * _IN_FRAME:
        raise BrokenMeasurement(f"of {_FRAMES * _IN_FRAME} quotes {taken} arrived")
