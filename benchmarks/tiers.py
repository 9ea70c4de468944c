"""What a quote costs by the tier that gives it (issue 3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from google.protobuf import duration_pb2
from redis import Redis

from tickgate.v1 import freshness_pb2, provenance_pb2
from tickgate.v1 import quote_service_pb2 as pb
from tools.embedded import RedisServer, redis_server

from .evidence import expect_quotes, tier_hits
from .load import Pressure, Question
from .processes import BrokenMeasurement, Cores, on_core, wait_for
from .report import Table, count, micros, millis, spread
from .rounds import Contestant, Effort, Score, cpu_of, percentile_of, take_turns
from .sandbox import LISTED
from .stage import KEPT, Bare, Round, Stage
from .various import MEMORY, REDIS, UPSTREAM, Questions, VariousLoad

SERVICE: Final = "/tickgate.v1.QuoteService"
ASK_UPSTREAM: Final = freshness_pb2.Freshness(max_age=duration_pb2.Duration())
"""A max_age of zero always asks the upstream."""

_BATCH: Final = 200
_SINGLE_PRESSURE: Final = Pressure(connections=10, streams=100, rate=100)
_BATCH_PRESSURE: Final = Pressure(connections=5, streams=100, rate=5)
"""So slow that nobody asks for a batch that is still being asked for, and would share its answer."""

_MOST_ROUNDS: Final = 3
"""Eight contestants take their time."""

_UPSTREAM_WAIT: Final = 0.02
"""Seconds that the upstream takes for its answer."""

_BARE: Final = "bare grpc.aio echo"

_NOTHING_IN_MEMORY: Final = {**KEPT, "TICKGATE_MEMORY__CAPACITY": "1"}
"""Memory holds one value and nobody asks for the same symbol twice in a row, so each question finds Redis."""

_NOTES: Final = (
    (
        f"Each call asks for other symbols than the one before, {len(LISTED):,} in all, so a gateway reads more"
        " different requests than it remembers. The load comes from `benchmarks/asker.py`, a Python program whose own"
        " time is in p50 and p99. Calls/s per core: what one second of the server's CPU time is good for."
    ),
    (
        "Redis: another gateway, whose memory holds one value (`TICKGATE_MEMORY__CAPACITY=1`), before a real Redis on"
        " the core of the load. Each quote says that it comes from Redis, the gateway counts a hit there, and Redis a"
        " key found."
    ),
    "A miss asks with max_age 0. A single one also waits for company, 25 ms at most.",
)

_PUT_PATIENCE: Final = 5.0
"""Seconds within which what was asked must stand in Redis."""


def singles(freshness: freshness_pb2.Freshness | None = None) -> Questions:
    """Return a GetQuote of each symbol there is."""
    requests = [pb.GetQuoteRequest(symbol=symbol, freshness=freshness) for symbol in LISTED]
    return Questions(f"{SERVICE}/GetQuote", requests)


def batches(size: int, freshness: freshness_pb2.Freshness | None = None) -> Questions:
    """Return the GetQuotes, *size* symbols each, that together ask for every symbol there is."""
    requests = [
        pb.GetQuotesRequest(symbols=LISTED[first : first + size], freshness=freshness)
        for first in range(0, len(LISTED), size)
    ]
    return Questions(f"{SERVICE}/GetQuotes", requests, size)


@dataclass(frozen=True, slots=True)
class _Tier:
    """Answers every question from one tier, and proves it."""

    tier: provenance_pb2.Tier.ValueType
    stage: Stage
    questions: Questions
    load: VariousLoad
    redis: RedisServer | None = None

    def ask(self, calls: int, pressure: Pressure) -> Round:
        """Ask in turn for every symbol.

        Raises:
            BrokenMeasurement: a value was missing, or came from elsewhere.
        """
        hits, lookups = self._hits(), self._lookups()
        before = self.stage.sandbox.asked()
        reply = self.load.run(self.stage.gateway, self.questions, pressure, calls=calls)
        reply.expect(self.tier, self.questions.values)
        values, asked = calls * self.questions.values, self.stage.sandbox.asked().since(before)
        if self.tier == UPSTREAM:
            if not 0 < asked.symbols <= values:
                msg = f"{values} quotes were to come from the upstream, which was asked for {asked.symbols}"
                raise BrokenMeasurement(msg)
        elif asked.requests or self._hits() - hits != values:
            msg = f"of {values} hits the gateway counts {self._hits() - hits}, and {asked.requests} requests went up"
            raise BrokenMeasurement(msg)
        if self.redis is not None and self._lookups() - lookups < values:
            msg = f"of {values} quotes Redis has looked up {self._lookups() - lookups}"
            raise BrokenMeasurement(msg)
        return Round(reply.run, reply.cpu, asked.requests)

    def _hits(self) -> int:
        return tier_hits(self.stage.gateway, self.tier)

    def _lookups(self) -> int:
        """Return how many keys Redis itself says it has found."""
        if self.redis is None:
            return 0
        with Redis.from_url(self.redis.url) as client:
            return int(client.info("stats")["keyspace_hits"])


def tiers(stage: Stage, effort: Effort) -> Table:
    """Compare hits in memory, hits in Redis and misses with a bare echo, one symbol and 200 at a time."""
    rows: list[tuple[str, ...]] = []
    effort = Effort(min(_MOST_ROUNDS, effort.rounds), effort.seconds)
    with _behind_redis(stage) as (shared, redis):
        for questions, fresh, pressure, noun in (
            (singles(), singles(ASK_UPSTREAM), _SINGLE_PRESSURE, "GetQuote"),
            (
                batches(_BATCH),
                batches(_BATCH, ASK_UPSTREAM),
                _BATCH_PRESSURE,
                f"GetQuotes of {_BATCH}",
            ),
        ):
            load = VariousLoad(stage.cores.others, stage.folder)
            with _bare(stage, questions, load) as bare:
                stage.sandbox.delay(_UPSTREAM_WAIT)
                contestants: dict[str, Contestant] = {
                    "hit in memory": _Tier(MEMORY, stage, questions, load).ask,
                    "hit in Redis": _Tier(REDIS, shared, questions, load, redis).ask,
                    f"miss, upstream at {_UPSTREAM_WAIT * 1e3:.0f} ms": (
                        _Tier(UPSTREAM, stage, fresh, load).ask
                    ),
                    _BARE: bare,
                }
                scores = take_turns(contestants, effort, pressure)
                stage.sandbox.be_well()
            rows += _rows(scores, f"{noun} at {pressure.calls_a_second:g}/s", questions.values)
    return Table(
        title="GetQuote by the tier that answers",
        head=(
            *("", "p50 ms", "p99 ms", "server CPU µs/call", "µs/quote", "calls/s per core"),
            *("CPU / bare", "p50 / bare", "p99 / bare", "upstream requests"),
        ),
        rows=rows,
        notes=_NOTES,
    )


def _rows(scores: Mapping[str, Score], title: str, values: int) -> Iterator[tuple[str, ...]]:
    bare = scores[_BARE]
    for name, score in scores.items():
        ratios: Sequence[str] = ["", "", ""]
        if score is not bare:
            reads = (cpu_of, percentile_of(50), percentile_of(99))
            ratios = [spread(score.pairs(bare, read)) for read in reads]
        yield (
            f"{title}: {name}",
            millis(score.percentile(50)),
            millis(score.percentile(99)),
            micros(score.cpu),
            micros(score.cpu / values),
            count(1 / score.cpu),
            *ratios,
            count(sum(round_.upstream for round_ in score.rounds) / len(score.rounds)),
        )


@contextmanager
def _bare(stage: Stage, questions: Questions, load: VariousLoad) -> Iterator[Contestant]:
    _warm(stage)
    first = Question(questions.path, questions.requests[0], questions.values)
    with stage.bare(first) as bare:
        yield partial(_ask_bare, bare, questions, load)


def _ask_bare(
    bare: Bare, questions: Questions, load: VariousLoad, calls: int, pressure: Pressure
) -> Round:
    reply = load.run(bare.process, questions, pressure, calls=calls)
    if set(reply.answers) != {bare.answer}:
        msg = "the bare server sent something else than it was given"
        raise BrokenMeasurement(msg)
    return Round(reply.run, reply.cpu)


@contextmanager
def _behind_redis(stage: Stage) -> Iterator[tuple[Stage, RedisServer]]:
    """Run a real Redis, and before it a gateway that remembers nothing itself."""
    with running_redis(stage.cores) as redis:
        settings = {
            **_NOTHING_IN_MEMORY,
            "TICKGATE_REDIS_URL": redis.url,
            "TICKGATE_REDIS__TTL__QUOTE": "3600",
        }
        with stage.beside("gateway-redis", settings) as shared:
            _warm(shared)
            wait_for(
                lambda: _keys(redis) >= len(LISTED) or None,
                _PUT_PATIENCE,
                "the gateway did not write to Redis what it was given",
            )
            yield shared, redis


@contextmanager
def running_redis(cores: Cores) -> Iterator[RedisServer]:
    """Run Redis on the core of what stands behind the server."""
    with ExitStack() as parts:
        with on_core(cores.others):
            redis = parts.enter_context(redis_server())
        yield redis


def _warm(stage: Stage) -> None:
    questions = batches(_BATCH)
    for request in questions.requests:
        expect_quotes(stage.gateway, Question(questions.path, request, questions.values))


def _keys(redis: RedisServer) -> int:
    with Redis.from_url(redis.url) as client:
        return int(client.dbsize())
