"""Quotes by request, cached and not (design, section 6)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from google.protobuf import duration_pb2

from tickgate.v1 import freshness_pb2
from tickgate.v1 import quote_service_pb2 as pb

from .evidence import expect_quotes
from .load import Pressure, Question
from .processes import BrokenMeasurement
from .report import Table, count, micros, millis, spread
from .rounds import Contestant, Effort, Score, cpu_of, percentile_of, rate_of, take_turns
from .sandbox import SYMBOLS
from .stage import Round, Stage

_SERVICE: Final = "/tickgate.v1.QuoteService"
ONE: Final = Question(f"{_SERVICE}/GetQuote", pb.GetQuoteRequest(symbol=SYMBOLS[0]))
MANY: Final = Question(f"{_SERVICE}/GetQuotes", pb.GetQuotesRequest(symbols=SYMBOLS), len(SYMBOLS))
FRESH: Final = Question(
    f"{_SERVICE}/GetQuote",
    pb.GetQuoteRequest(
        symbol=SYMBOLS[0], freshness=freshness_pb2.Freshness(max_age=duration_pb2.Duration())
    ),
)
"""A max_age of zero always asks the upstream."""

BUSY: Final = Pressure(connections=4, streams=4)
_UNHURRIED: Final = Pressure(connections=100, streams=10, rate=10)
_ALONE: Final = Pressure(connections=1, streams=1)
_CROWD: Final = Pressure(connections=10, streams=100)
_CROWD_CALLS: Final = 1000
_CROWD_WAIT: Final = 2.0
"""Seconds that the upstream takes for its answer, so that every caller has asked before it comes."""

_BARE: Final = "bare grpc.aio echo"
_GATEWAY: Final = "gateway"


def cached_quote(stage: Stage, effort: Effort) -> Table:
    """Compare a cached GetQuote with a bare echo of the same bytes."""
    with _against_bare(stage, ONE) as contestants:
        scores = take_turns(contestants, effort, BUSY)
    gateway, bare = scores[_GATEWAY], scores[_BARE]
    reads = (rate_of, percentile_of(50), percentile_of(99), cpu_of)
    return Table(
        title="Cached GetQuote against a bare echo of the same bytes",
        head=("", "calls/s", "p50 ms", "p99 ms", "server CPU µs/call"),
        rows=[
            *(
                (
                    name,
                    count(score.rate),
                    millis(score.percentile(50)),
                    millis(score.percentile(99)),
                    micros(score.cpu),
                )
                for name, score in scores.items()
            ),
            ("gateway / bare", *(spread(gateway.pairs(bare, read)) for read in reads)),
        ],
        notes=[_circumstances(gateway, BUSY), "Target: at least 0.75 of the bare calls/s."],
    )


def cached_batch(stage: Stage, effort: Effort) -> Table:
    """Compare a cached GetQuotes of 200 symbols with as many single calls."""
    expect_quotes(stage.gateway, ONE)
    with _against_bare(stage, MANY) as contestants:
        single: dict[str, Contestant] = {"gateway, GetQuote": partial(_cached, stage, ONE)}
        scores = take_turns(contestants | single, effort, BUSY)
    many, bare, one = scores.values()
    named = (
        (f"gateway, GetQuotes of {MANY.values}", many, MANY.values),
        (f"{_BARE} of the {MANY.values}", bare, MANY.values),
        ("gateway, GetQuote", one, ONE.values),
    )
    faster = [ratio * MANY.values for ratio in many.pairs(one, rate_of)]
    cheaper = [ratio * MANY.values for ratio in one.pairs(many, cpu_of)]
    return Table(
        title=f"Cached GetQuotes of {MANY.values} symbols against as many single calls",
        head=("", "quotes/s", "quotes/s per core", "p50 ms", "p99 ms", "server CPU µs/quote"),
        rows=[
            *(
                (
                    name,
                    count(score.rate * values),
                    count(values / score.cpu),
                    millis(score.percentile(50)),
                    millis(score.percentile(99)),
                    micros(score.cpu / values),
                )
                for name, score, values in named
            ),
            ("GetQuotes / GetQuote", spread(faster), spread(cheaper), "", "", ""),
        ],
        notes=[
            _circumstances(many, BUSY),
            "Per core: what one second of the server's CPU time is good for.",
            "Target: 200,000 quotes/s on one core.",
        ],
    )


def unhurried(stage: Stage, effort: Effort) -> Table:
    """Measure what a caller waits for a cached GetQuote at the load that a firm has."""
    with _against_bare(stage, ONE) as contestants:
        scores = take_turns(contestants, Effort(1, effort.seconds * 2), _UNHURRIED)
    return Table(
        title="Cached GetQuote at 1,000 calls/s",
        head=("", "calls/s", "p50 ms", "p95 ms", "p99 ms", "server CPU µs/call"),
        rows=[
            (
                name,
                count(score.rate),
                *(millis(score.percentile(percent)) for percent in (50, 95, 99)),
                micros(score.cpu),
            )
            for name, score in scores.items()
        ],
        notes=[
            _circumstances(scores[_GATEWAY], _UNHURRIED),
            "Targets of the replaced systems: p95 20 ms, p99 50 ms.",
        ],
    )


def uncached(stage: Stage, effort: Effort) -> Table:
    """Measure the whole way to the upstream, and what a crowd that asks the same costs the upstream."""
    expect_quotes(stage.gateway, FRESH)
    ask = partial(stage.ask_gateway, FRESH, cached=False)
    alone = take_turns({"": ask}, Effort(1, effort.seconds), _ALONE)[""].rounds[0]
    stage.sandbox.delay(_CROWD_WAIT)
    crowd = ask(_CROWD_CALLS, _CROWD)
    stage.sandbox.be_well()
    named = (
        ("one after another", alone),
        (f"{_CROWD_CALLS:,} at once, upstream at {_CROWD_WAIT:g} s", crowd),
    )
    return Table(
        title="Uncached GetQuote (max_age 0)",
        head=("", "calls", "upstream requests", "p50 ms", "p99 ms", "server CPU µs/call"),
        rows=[
            (
                name,
                count(round_.run.calls),
                count(round_.upstream),
                millis(round_.run.percentile(50)),
                millis(round_.run.percentile(99)),
                micros(round_.cpu),
            )
            for name, round_ in named
        ],
        notes=["Target: one upstream request for all who ask at once."],
    )


@contextmanager
def _against_bare(stage: Stage, question: Question) -> Iterator[dict[str, Contestant]]:
    # Warms memory too: the bare server is to give the answer that memory gives.
    expect_quotes(stage.gateway, question)
    with stage.bare(question) as bare:
        yield {_GATEWAY: partial(_cached, stage, question), _BARE: bare.ask}
        expect_quotes(bare.process, question)
    expect_quotes(stage.gateway, question)


def _cached(stage: Stage, question: Question, calls: int, pressure: Pressure) -> Round:
    done = stage.ask_gateway(question, calls, pressure)
    if done.upstream:
        msg = (
            f"memory was to answer all calls of a round, and {done.upstream} requests went upstream"
        )
        raise BrokenMeasurement(msg)
    return done


def _circumstances(score: Score, pressure: Pressure) -> str:
    return f"{pressure}; {score.answer_bytes:,.0f} bytes an answer."
