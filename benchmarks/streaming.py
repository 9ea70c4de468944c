"""Live streams: what fan-out costs and how old what is read is (design, section 6; issue 4)."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from tools.programs import environment_without_settings

from .feeder import Played
from .live import PATIENCE, LiveStage, bare_writer, expect_all, live_stage, reading
from .processes import BrokenMeasurement, on_core
from .reader import Heard, Plan, Schedule
from .report import Table, count, micros, millis, spread
from .rounds import Effort
from .slow_reader import Read
from .stage import Stage
from .ticks import UNIVERSE

THOUSAND: Final = UNIVERSE[:1000]
_MOST_ROUNDS: Final = 3
_WARM_UP: Final = 1.0
"""Seconds of each round that nobody counts: the gateway learns how quickly its followers read."""

_IN_FRAME: Final = 100
"""Quotes of a frame, as in recordings of a busy market."""

BUSY_RATE: Final = 20_000
CALM_RATE: Final = 5_000
"""Quotes that the upstream sends in a second."""

_PACES: Final = (1, 4, 10, 100, 1000)
"""Quotes a second of slow readers."""

_SLOW_SECONDS: Final = 20.0
_SLOW_SYMBOLS: Final = 50

_CROWD: Final = 500
_SAMPLE: Final = 1.0
"""Seconds between two looks at the memory of the server."""

_GROWN_UP: Final = 60.0
"""Seconds after which memory is to be flat: tables and buffers are full."""


@dataclass(frozen=True, slots=True)
class Following:
    """Who follows what, and what the upstream sends."""

    symbols: Sequence[str]
    followed: Sequence[Sequence[str]]
    rate: float
    in_frame: int = _IN_FRAME

    @classmethod
    def chance(cls, followers: int, rate: float, in_frame: int = _IN_FRAME) -> Following:
        """Let each of so many followers follow 200 of 1,000 symbols, other ones than the next."""
        chosen = random.Random(followers)
        followed = [chosen.sample(THOUSAND, 200) for _ in range(followers)]
        return cls(THOUSAND, followed, rate, in_frame)

    @classmethod
    def same(cls, followers: int, rate: float) -> Following:
        """Let all of so many followers follow the same 200 symbols."""
        symbols = THOUSAND[:200]
        return cls(symbols, [symbols] * followers, rate)


@dataclass(frozen=True, slots=True)
class Fanned:
    """One round of one server."""

    heard: Heard
    seconds: float
    """For which the upstream sent."""

    cpu: float
    """Seconds of CPU that the server used."""

    @property
    def delivered(self) -> int:
        """Updates that were read, over all streams."""
        return sum(stream.delivered for stream in self.heard.streams)

    @property
    def conflated(self) -> int:
        """Updates that others superseded."""
        return sum(stream.conflated for stream in self.heard.streams)

    @property
    def messages(self) -> int:
        """Messages that were read."""
        return sum(stream.messages for stream in self.heard.streams)

    @property
    def cost(self) -> float:
        """Seconds of CPU for a delivered update."""
        return self.cpu / self.delivered


Reads = Callable[[Fanned], float]


@dataclass(frozen=True, slots=True)
class Compared:
    """All rounds of the gateway, and of the bare writer beside it."""

    gateway: Sequence[Fanned]
    bare: Sequence[Fanned]

    @property
    def sides(self) -> tuple[Sequence[Fanned], Sequence[Fanned]]:
        """The gateway's rounds and the bare writer's."""
        return self.gateway, self.bare

    def ratio(self, read: Reads) -> str:
        """Return what *read* says of the gateway's rounds, divided by what it says of those beside them."""
        pairs = zip(self.gateway, self.bare, strict=True)
        return spread([read(ours) / read(its) for ours, its in pairs])


def fan_out(stage: Stage, effort: Effort) -> Table:
    """Measure a hundred followers at 20,000 updates a second."""
    loads = {
        "other 200 of 1,000 symbols": Following.chance(100, BUSY_RATE),
        "the same 200 symbols": Following.same(100, BUSY_RATE),
    }
    rows, shares = [], []
    with _standing(stage, "fan-out") as live:
        for name, load in loads.items():
            compared = _compare(live, load, effort)
            shares += [one.heard.cpu / one.heard.seconds for one in compared.gateway]
            for title, rounds in zip(("gateway", "bare"), compared.sides, strict=True):
                rows.append(
                    (
                        f"{title}: {name}",
                        count(
                            _mid(rounds, lambda one: (one.delivered + one.conflated) / one.seconds)
                        ),
                        *_rates(rounds),
                        *_ages(rounds, 0, 1),
                        f"{_mid(rounds, lambda one: one.cpu / one.seconds):.2f}",
                        micros(_mid(rounds, lambda one: one.cost)),
                    )
                )
            ratios = (compared.ratio(age_of(place)) for place in (0, 1))
            cost = compared.ratio(lambda one: one.cpu)
            rows.append(("gateway / bare", "", "", "", "", *ratios, cost, ""))
    return Table(
        title="Fan-out to 100 followers at 20,000 updates/s",
        head=(
            *("", "absorbed/s", "delivered/s", "conflated/s", "messages/s"),
            *("age p50 ms", "age p99 ms", "server CPU", "CPU µs/delivery"),
        ),
        rows=rows,
        notes=[
            (
                f"Frames of {_IN_FRAME} quotes, each symbol as often as the others. Each follower has a connection of"
                " his own and acknowledges as our client does. Absorbed: delivered or conflated; each round sees by the"
                " numbers of the updates that this is, for each follower and symbol, what the upstream sent, and that"
                " there was no gap, no refusal and no loss."
            ),
            (
                "Age: from the moment at which the upstream sent the quote's frame to the reader. Bare: a grpc.aio"
                " server that writes the messages of the gateway's round at the moments at which the gateway made"
                " them, and nothing else; its ages are counted from those. Server CPU: cores."
            ),
            _readers_share(shares),
            "Targets: 400,000/s and 2,000,000/s absorbed, age p99 50 ms where symbols differ.",
        ],
    )


def followers(stage: Stage, effort: Effort) -> Table:
    """Measure what a delivery costs with more and more followers."""
    rows, shares = [], []
    with _standing(stage, "followers") as live:
        for number in (1, 10, 100, _CROWD):
            compared = _compare(live, Following.chance(number, BUSY_RATE), effort)
            gateway, bare = compared.sides
            shares += [one.heard.cpu / one.heard.seconds for one in gateway]
            rows.append(
                (
                    count(number),
                    *_rates(gateway),
                    *_ages(gateway, 0, 1),
                    f"{_mid(gateway, lambda one: one.cpu / one.seconds):.2f}",
                    micros(_mid(gateway, lambda one: one.cost)),
                    micros(_mid(bare, lambda one: one.cost)),
                    compared.ratio(lambda one: one.cpu),
                )
            )
    return Table(
        title="Deliveries by number of followers at 20,000 updates/s",
        head=(
            *("followers", "delivered/s", "conflated/s", "messages/s", "age p50 ms", "age p99 ms"),
            *("server CPU", "CPU µs/delivery", "bare µs/delivery", "CPU / bare"),
        ),
        rows=rows,
        notes=[
            "Each follows 200 of 1,000 symbols. Decoding 20,000 quotes a second is part of it, however few follow.",
            _readers_share(shares),
        ],
    )


def frame_to_reader(stage: Stage, effort: Effort) -> Table:
    """Measure the way from an upstream frame to 50 readers."""
    rows = []
    with _standing(stage, "latency") as live:
        for in_frame in (_IN_FRAME, 10):
            compared = _compare(live, Following.chance(50, CALM_RATE, in_frame), effort)
            for title, rounds in zip(("gateway", "bare"), compared.sides, strict=True):
                rows.append(
                    (
                        f"{title}, {in_frame} quotes a frame",
                        *_ages(rounds, 0, 1, 2),
                        count(_mid(rounds, lambda one: one.messages / one.seconds)),
                        f"{_mid(rounds, lambda one: one.cpu / one.seconds):.2f}",
                    )
                )
            ratios = (compared.ratio(age_of(place)) for place in (0, 1, 2))
            rows.append(("gateway / bare", *ratios, "", compared.ratio(lambda one: one.cpu)))
    return Table(
        title="From upstream frame to reader, 50 followers, 5,000 updates/s",
        head=("", "p50 ms", "p99 ms", "p99.9 ms", "messages/s", "server CPU"),
        rows=rows,
        notes=[
            (
                "From the moment at which the upstream sends a frame; bare: from the moment at which the message was"
                " due. Each follows 200 of 1,000 symbols."
            ),
            "Targets: p50 5 ms, p99 25 ms; of the replaced systems: p99 1 s.",
        ],
    )


def slow_readers(stage: Stage, effort: Effort) -> Table:
    """Measure how old what slow readers read is, with our client."""
    symbols = THOUSAND[:_SLOW_SYMBOLS]
    seconds = _SLOW_SECONDS if effort.seconds >= 1 else 10 * effort.seconds
    with _standing(stage, "slow") as live, ExitStack() as open_:
        readers = [
            open_.enter_context(_slow_reader(live, 1 / rate, seconds, symbols)) for rate in _PACES
        ]
        before = live.gateway.resident()
        for reader in readers:
            _tell(reader, "go")
        live.play(symbols, CALM_RATE, _IN_FRAME, seconds + 1)
        found = [_what_it_found(reader) for reader in readers]
        after, counts = live.gateway.resident(), live.counts()
    return Table(
        title="Age of what slow readers read, at 5,000 updates/s over 50 symbols",
        head=("quotes/s asked", "quotes/s read", "age p50 ms", "p99 ms", "largest ms", "target ms"),
        rows=[
            (
                count(rate),
                f"{read.quotes / seconds:,.1f}",
                *map(millis, read.ages),
                count(1e3 * max(0.5, 2 / rate)),
            )
            for rate, read in zip(_PACES, found, strict=True)
        ],
        notes=[
            (
                f"`client.follow` of our Python client, a process for each reader, all on the core of the load, for"
                f" {seconds:g} s. Age: from the quote's being sent by the upstream to its being taken."
            ),
            (
                f"The gateway delivered {counts.delivered:,} quotes and conflated {counts.conflated:,}; its memory went"
                f" from {before:.0f} to {after:.0f} MB."
            ),
        ],
    )


def footprint(stage: Stage, effort: Effort) -> Table:
    """Watch the server's memory with 500 streams of 200 symbols each, drawn from 10,000."""
    chosen = random.Random(_CROWD)
    followed = [chosen.sample(UNIVERSE, 200) for _ in range(_CROWD)]
    seconds = effort.minutes * 60
    grown_up = min(_GROWN_UP, seconds / 3)
    with live_stage("footprint", UNIVERSE, stage.folder, stage.cores) as live:
        empty = live.gateway.resident()
        with (
            reading(live.plan(followed, keep=False), stage.cores, stage.folder) as readers,
            ThreadPoolExecutor() as beside,
        ):
            opened = live.gateway.resident()
            readers.go()
            cpu = live.gateway.cpu_seconds()
            playing = beside.submit(live.play, UNIVERSE, CALM_RATE, _IN_FRAME, seconds)
            sampled = list(_samples(live, lambda: not playing.done()))
            played, cpu = playing.result(), live.gateway.cpu_seconds() - cpu
            live.settle()
            counts = live.counts()
            heard = readers.end()
    _expect_absorbed(followed, played, counts.delivered + counts.conflated)
    steady = [used for at, used in sampled if at >= grown_up]
    third = max(1, len(steady) // 3)
    first, last = median(steady[:third]), median(steady[-third:])
    rows = (
        ("nobody follows", empty),
        (f"{_CROWD} streams stand", opened),
        ("largest of all looks", max(used for _, used in sampled)),
        (f"median of the first third, from {grown_up:.0f} s on", first),
        ("median of the last third", last),
    )
    messages = sum(one.messages for one in heard.streams)
    return Table(
        title="Memory of the server: 500 streams of 200 symbols each, drawn from 10,000",
        head=("", "resident MB"),
        rows=[(name, f"{used:.1f}") for name, used in rows],
        notes=[
            (
                f"{CALM_RATE:,} updates/s over all symbols for {effort.minutes:g} min, looked at every {_SAMPLE:g} s:"
                f" {messages:,} messages, {counts.delivered / 1e6:.1f} million deliveries,"
                f" {counts.conflated / 1e6:.1f} million conflated, none lost; server CPU"
                f" {cpu / played.seconds:.2f}. From the first third to the last: {last - first:+.1f} MB."
            ),
            "Targets: 400 MB, and flat.",
        ],
    )


# ------------------------------------------------------------------------------ rounds of fan-out


@contextmanager
def _standing(stage: Stage, name: str) -> Iterator[LiveStage]:
    with live_stage(name, THOUSAND, stage.folder, stage.cores) as live:
        yield live


def _compare(live: LiveStage, load: Following, effort: Effort) -> Compared:
    """Let the gateway and a bare writer of its messages run in turns."""
    gateway, bare = [], []
    for _ in range(min(_MOST_ROUNDS, effort.rounds)):
        done, schedule = fan(live, load, effort.seconds)
        gateway.append(done)
        bare.append(_write(live, done, schedule))
        schedule.unlink()
    return Compared(gateway, bare)


def fan(live: LiveStage, load: Following, seconds: float) -> tuple[Fanned, Path]:
    """Let the gateway fan out, and return what came of it and the file of its messages.

    Raises:
        BrokenMeasurement: a follower was not given, or spared, what was sent.
    """
    schedule = live.folder / "schedule"
    plan = live.plan(load.followed, schedule=str(schedule))
    with reading(plan, live.cores, live.folder) as readers:
        # Its first frame also lets the upstream make the others, which takes a while.
        live.play(load.symbols, load.rate, load.in_frame, 0.0)
        live.play(load.symbols, load.rate, load.in_frame, _WARM_UP)
        live.settle()
        readers.go()
        cpu = live.gateway.cpu_seconds()
        played = live.play(load.symbols, load.rate, load.in_frame, seconds)
        live.settle()
        cpu = live.gateway.cpu_seconds() - cpu
        heard = readers.end()
    expect_all(load.followed, played, heard)
    return Fanned(heard, played.seconds, cpu), schedule


def _write(live: LiveStage, gateways: Fanned, schedule: Path) -> Fanned:
    """Let a bare server write the messages of the gateway's round.

    Raises:
        BrokenMeasurement: they did not all arrive.
    """
    began = msgspec.msgpack.decode(schedule.read_bytes(), type=Schedule).began
    with bare_writer(schedule, live.folder, live.cores) as bare:
        streams = len(gateways.heard.streams)
        asked = live.plan([()] * streams)
        plan = Plan(bare.process.port, asked.subscriptions, [0] * streams, 0)
        with reading(plan, live.cores, live.folder) as readers:
            readers.go()
            cpu = bare.process.cpu_seconds()
            shift = int(bare.wait_for("began")) - began
            bare.wait_for("written")
            # What is under way arrives, and nobody says when. Too short a pause would show in the count below, and the
            # bare server, whose time is taken, has nothing more to do.
            time.sleep(0.2)
            cpu = bare.process.cpu_seconds() - cpu
            heard = readers.end(shift)
    done = Fanned(heard, gateways.seconds, cpu)
    if done.delivered != gateways.delivered:
        msg = f"the bare server delivered {done.delivered} updates of {gateways.delivered}"
        raise BrokenMeasurement(msg)
    return done


def _mid(rounds: Sequence[Fanned], read: Reads) -> float:
    return median(map(read, rounds))


def age_of(place: int) -> Reads:
    """Return what reads an age of a round: 0 is p50, 1 is p99."""
    return lambda one: one.heard.ages[place]


def _ages(rounds: Sequence[Fanned], *places: int) -> tuple[str, ...]:
    return tuple(millis(_mid(rounds, age_of(place))) for place in places)


def _rates(rounds: Sequence[Fanned]) -> tuple[str, ...]:
    reads: tuple[Reads, ...] = (
        lambda one: one.delivered / one.seconds,
        lambda one: one.conflated / one.seconds,
        lambda one: one.messages / one.seconds,
    )
    return tuple(count(_mid(rounds, read)) for read in reads)


def _readers_share(shares: Sequence[float]) -> str:
    return f"All readers together took {max(shares):.0%} of their core at most (`benchmarks/reader.py`)."


# ------------------------------------------------------------------------------------ slow readers


@contextmanager
def _slow_reader(
    live: LiveStage, pace: float, seconds: float, symbols: Sequence[str]
) -> Iterator[subprocess.Popen[str]]:
    arguments = (live.gateway.port, pace, seconds, live.market_ahead, *symbols)
    with on_core(live.cores.others):
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.slow_reader", *map(str, arguments)],
            env=environment_without_settings(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise BrokenMeasurement("a slow reader did not come to stand")
        yield process
    finally:
        process.kill()
        process.communicate()


def _tell(reader: subprocess.Popen[str], word: str) -> None:
    if reader.stdin is not None:
        reader.stdin.write(f"{word}\n")
        reader.stdin.flush()


def _what_it_found(reader: subprocess.Popen[str]) -> Read:
    said, _ = reader.communicate(timeout=PATIENCE)
    if reader.returncode:
        raise BrokenMeasurement("a slow reader failed; what it said is above")
    return msgspec.json.decode(said, type=Read)


# ---------------------------------------------------------------------------------------- memory


def _samples(live: LiveStage, going_on: Callable[[], bool]) -> Iterator[tuple[float, float]]:
    """Yield seconds and resident megabytes for as long as it goes on."""
    begun = time.monotonic()
    while going_on():
        yield time.monotonic() - begun, live.gateway.resident()
        # Memory has no event: it is looked at, at a steady pace, which is what the table is about.
        time.sleep(_SAMPLE)


def _expect_absorbed(followed: Sequence[Sequence[str]], played: Played, absorbed: int) -> None:
    sent = sum(played.records.get(symbol, 0) for symbols in followed for symbol in symbols)
    if absorbed != sent:
        msg = f"of {sent} updates of all streams {absorbed} were delivered or conflated"
        raise BrokenMeasurement(msg)
