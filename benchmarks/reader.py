"""Reads many streams at once, at a fraction of what gRPC's clients would cost.

python -m benchmarks.reader PLAN HEARD    both are files; see `Plan` and `Heard`

Each stream has a connection of its own. It is read as HTTP/2 and acknowledged as our client does: once a message is
taken, and at most every 50 ms. Messages are kept as they came and read when nothing is measured any more.

It says "ready" when every stream has what it was to wait for. After a line "go" on its input it forgets what came so
far, and says "going". It ends with a line "end" and a number: what to add to a message's serve_time to know when it was
due; 0 judges by the event times of its quotes.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from tickgate.v1 import stream_service_pb2 as pb
from tickgate_server.market.time import NANOS
from tickgate_server.rpc.wire import varint

from . import http2

SUBSCRIBE: Final = "/tickgate.v1.StreamService/Subscribe"

_ACK_INTERVAL: Final = 0.05
"""Seconds between acknowledgements at least, as in our client."""

_MOST_PROBLEMS: Final = 5
_STREAM: Final = 1
_LARGEST_ROUND: Final = 2**31 - 2**20
"""Bytes that a connection may bring: its window is opened once."""


class Plan(msgspec.Struct):
    """What to read."""

    port: int
    subscriptions: list[bytes]
    """What each stream sends first."""

    symbols: list[int]
    """Symbols that must be LIVE on each stream before it is ready; 0 waits for nothing."""

    market_ahead: int
    """Nanoseconds by which event times are ahead of the wall clock."""

    keep: bool = True
    """Whether messages are kept, and read in the end."""

    schedule: str = ""
    """File that is to hold what came, and when it was sent."""


class Schedule(msgspec.Struct):
    """Messages as a server sent them."""

    began: int
    """When the first was made, nanoseconds of the wall clock."""

    streams: list[list[tuple[int, bytes]]]
    """Messages of each stream, with the nanoseconds since then."""


class Stream(msgspec.Struct):
    """What came of one stream."""

    messages: int = 0
    delivered: int = 0
    conflated: int = 0
    records: dict[str, int] = {}
    """Delivered and conflated, by symbol."""


class Heard(msgspec.Struct):
    """What came of everything."""

    streams: list[Stream]
    ages: list[float]
    """Seconds from a quote's event, or from when its message was due, to the reader: p50, p99, p99.9 and the largest of
    all quotes."""

    payload: int
    """Bytes of all messages."""

    acks: int
    seconds: float
    cpu: float
    """Seconds of CPU that the reader used."""

    problems: list[str]
    """What was not as it should be."""


class Link(asyncio.Protocol):
    """One stream on a connection of its own."""

    def __init__(self, plan: Plan, number: int) -> None:
        """Read stream *number* of *plan*."""
        self.kept: list[tuple[int, bytes]] = []
        """When each message was taken, nanoseconds of the wall clock, and itself."""

        self.received = 0
        self.acks = 0
        self.payload = 0
        self.problem = ""
        self.live: set[str] = set()
        self.sequences: dict[str, int] = {}
        """Newest numbers from before anything was kept."""

        self._plan = plan
        self._number = number
        self._taken = 0
        self._transport: Any = None
        self._buffer = b""
        self._body = bytearray()
        self._acked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.settled = asyncio.Event()
        """Set once it is ready, or has a problem."""

        if self.is_ready:
            self.settled.set()

    @property
    def is_ready(self) -> bool:
        """Whether everything that it was to wait for is there."""
        return len(self.live) >= self._plan.symbols[self._number]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Call the method, and say what is wanted."""
        self._transport = transport
        address = f"127.0.0.1:{self._plan.port}"
        opened = struct.pack(">I", _LARGEST_ROUND)
        self._transport.write(
            http2.PREFACE
            + http2.settings(
                initial_window_size=http2.LARGEST_WINDOW, max_frame_size=http2.LARGEST_FRAME
            )
            + http2.frame(http2.WINDOW_UPDATE, 0, 0, opened)
            + http2.frame(
                http2.HEADERS, http2.END_HEADERS, _STREAM, http2.call_headers(address, SUBSCRIBE)
            )
        )
        self._say(self._plan.subscriptions[self._number])

    def connection_lost(self, exc: Exception | None) -> None:
        """Take notice of the end."""
        self._fail("a connection ended")

    def data_received(self, data: bytes) -> None:
        """Walk the frames that are complete."""
        if self._buffer:
            data = self._buffer + data
        at, size = 0, len(data)
        while at + http2.HEAD <= size:
            end = at + http2.HEAD + (data[at] << 16 | data[at + 1] << 8 | data[at + 2])
            if end > size:
                break
            if data[at + 3] == http2.DATA:
                self._heed(data[at + http2.HEAD : end])
            else:
                self._heed_rare(data[at + 3], data[at + 4], data[at + http2.HEAD : end])
            at = end
        self._buffer = data[at:]

    def begin_anew(self) -> None:
        """Forget what came, but for what it says of symbols."""
        for _, body in self.kept:
            self.learn(body)
        self.kept.clear()
        self.received = self.payload = self.acks = 0

    def close(self) -> None:
        """Hang up."""
        self.problem = self.problem or " "
        if self._timer is not None:
            self._timer.cancel()
        self._transport.abort()

    def _fail(self, problem: str) -> None:
        self.problem = self.problem or problem
        self.settled.set()

    def _heed_rare(self, kind: int, flags: int, payload: bytes) -> None:
        if kind in (http2.SETTINGS, http2.PING):
            if not flags & http2.ACK:
                answer = payload if kind == http2.PING else b""
                self._transport.write(http2.frame(kind, http2.ACK, 0, answer))
        elif kind in (http2.RST_STREAM, http2.GOAWAY) or flags & http2.END_STREAM:
            self._fail("a stream ended")

    def _heed(self, payload: bytes) -> None:
        if not self._body and len(payload) >= 5:
            length = int.from_bytes(payload[1:5], "big")
            if len(payload) == length + 5:
                # Nearly always: a message that fills a frame.
                self._take(payload[5:])
                return
        body = self._body
        body += payload
        while len(body) >= 5 and len(body) >= (end := 5 + int.from_bytes(body[1:5], "big")):
            self._take(bytes(body[5:end]))
            del body[:end]

    def _take(self, body: bytes) -> None:
        self._taken += 1
        self.received += 1
        self.payload += len(body)
        if not self.is_ready:
            self.learn(body)
        elif self._plan.keep:
            self.kept.append((time.time_ns(), body))
        if self._timer is None:
            wait = self._acked_at + _ACK_INTERVAL - self._loop.time()
            if wait <= 0:
                self._ack()
            else:
                self._timer = self._loop.call_later(wait, self._ack)

    def _ack(self) -> None:
        self._timer = None
        self._acked_at = self._loop.time()
        self.acks += 1
        number = b"\x08" + varint(self._taken)
        self._say(b"\x22" + varint(len(number)) + number)

    def _say(self, body: bytes) -> None:
        self._transport.write(http2.frame(http2.DATA, 0, _STREAM, http2.message(body)))

    def learn(self, body: bytes) -> None:
        """Note how its symbols stand."""
        message = pb.SubscribeResponse.FromString(body)
        for status in message.statuses.statuses:
            self.sequences[status.symbol] = status.sequence
            if status.state == pb.SYMBOL_STATE_LIVE:
                self.live.add(status.symbol)
        for update in message.updates.updates:
            self.sequences[update.quote.symbol] = update.sequence
        if self.is_ready:
            self.settled.set()


class Account:
    """Reads what was kept, and sees that nothing is missing."""

    def __init__(self, plan: Plan, shift: int) -> None:
        """Judge by event times, or by *shift* what serve times are to be moved by."""
        self.ages = array("d")
        self.problems: list[str] = []
        self._ahead = plan.market_ahead
        self._shift = shift

    def read(self, link: Link) -> Stream:
        """Return what came of *link*."""
        if link.problem:
            self._complain(link.problem)
        ages, records = array("d"), Counter[str]()
        stream = Stream(messages=len(link.kept))
        for taken, body in link.kept:
            message = pb.SubscribeResponse.FromString(body)
            event = message.WhichOneof("event")
            if event != "updates":
                self._read_rare(message, event)
            elif self._shift:
                late = (taken - self._shift - nanoseconds(message.serve_time)) / NANOS
                stream.delivered += (updates := len(message.updates.updates))
                ages.extend([late] * updates)
            else:
                self._read_updates(message, taken + self._ahead, link, stream, records, ages)
        stream.records = dict(records)
        self.ages.extend(ages)
        return stream

    def _read_updates(
        self,
        message: pb.SubscribeResponse,
        now: int,
        link: Link,
        stream: Stream,
        records: Counter[str],
        ages: array[float],
    ) -> None:
        sequences = link.sequences
        for update in message.updates.updates:
            quote = update.quote
            symbol, sequence, conflated = quote.symbol, update.sequence, update.conflated
            if update.kind != pb.UPDATE_KIND_LIVE:
                self._complain(f"an update of {symbol} is {update.kind}")
                continue
            if sequence != sequences.get(symbol, 0) + 1 + conflated:
                self._complain(
                    f"{symbol}: number {sequence} behind {sequences.get(symbol)}, {conflated} conflated"
                )
            sequences[symbol] = sequence
            records[symbol] += 1 + conflated
            stream.delivered += 1
            stream.conflated += conflated
            at = quote.provenance.event_time
            ages.append((now - at.seconds * NANOS - at.nanos) / NANOS)

    def _read_rare(self, message: pb.SubscribeResponse, event: str | None) -> None:
        if event == "heartbeat":
            return
        bad = [
            one
            for one in message.statuses.statuses
            if one.state != pb.SYMBOL_STATE_LIVE or one.refusals or one.losses or one.gaps
        ]
        if event != "statuses" or bad:
            self._complain(f"{event} amidst the updates: {bad[:1] or message}")

    def _complain(self, problem: str) -> None:
        if problem != " " and len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)


def percentiles(numbers: array[float], *percents: float) -> list[float]:
    """Return for each of *percents* the number below which so many of a hundred lie."""
    ordered = sorted(numbers)
    if not ordered:
        return [0.0 for _ in percents]
    return [ordered[min(len(ordered) - 1, int(len(ordered) * each / 100))] for each in percents]


def nanoseconds(stamp: Timestamp) -> int:
    """Return the instant of *stamp*."""
    return int(stamp.seconds * NANOS + stamp.nanos)


async def read(plan: Plan) -> Heard:
    """Read as *plan* says, and as the lines on the input say."""
    loop = asyncio.get_running_loop()
    links = [Link(plan, number) for number in range(len(plan.subscriptions))]
    for link in links:
        await loop.create_connection(lambda made=link: made, "127.0.0.1", plan.port)  # type: ignore[misc]  # the default binds it
    for link in links:
        await link.settled.wait()
        if link.problem:
            sys.exit(link.problem)
    print("ready", flush=True)
    await _line()
    for link in links:
        link.begin_anew()
    print("going", flush=True)
    cpu, begun = time.process_time(), time.perf_counter()
    words = (await _line()).split()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    shift = int(words[1])
    for link in links:
        link.close()
    if plan.schedule:
        _keep(links, Path(plan.schedule))
    account = Account(plan, shift)
    if plan.keep:
        streams = [account.read(link) for link in links]
    else:
        streams = [Stream(messages=link.received) for link in links]
        account.problems = [link.problem for link in links if link.problem.strip()]
    ages = percentiles(account.ages, 50, 99, 99.9, 100)
    payload, acks = (sum(getattr(link, name) for link in links) for name in ("payload", "acks"))
    return Heard(streams, ages, payload, acks, seconds, cpu, account.problems)


async def _line() -> str:
    """Return the next line of the input."""
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


def _keep(links: Sequence[Link], schedule: Path) -> None:
    streams = []
    for link in links:
        messages = [(pb.SubscribeResponse.FromString(body), body) for _, body in link.kept]
        made = [
            (nanoseconds(message.serve_time), body)
            for message, body in messages
            if message.HasField("updates")
        ]
        if any(second[0] < first[0] for first, second in pairwise(made)):
            sys.exit("messages were not made in the order in which they came")
        streams.append(made)
    began = min((stream[0][0] for stream in streams if stream), default=0)
    moved = [[(at - began, body) for at, body in stream] for stream in streams]
    schedule.write_bytes(msgspec.msgpack.encode(Schedule(began, moved)))


def main(plan: Path, heard: Path) -> None:
    """Run on the quickest loop there is."""
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415 - an extra of the server

        uvloop.install()
    told = msgspec.msgpack.decode(plan.read_bytes(), type=Plan)
    heard.write_bytes(msgspec.msgpack.encode(asyncio.run(read(told))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
