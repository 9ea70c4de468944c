"""Quotes by request, cached and not (design, section 6)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from tickgate.v1 import quote_service_pb2 as pb

from .evidence import expect_quotes, retries_of_latest
from .load import Pressure, Question, Run
from .processes import BrokenMeasurement
from .report import Table, count, micros, millis, spread
from .rounds import Contestant, Effort, Score, cpu_of, percentile_of, rate_of, take_turns
from .sandbox import LISTED, SYMBOLS
from .stage import Round, Stage
from .tiers import ASK_UPSTREAM, SERVICE, batches, singles
from .various import UPSTREAM, VariousLoad

ONE: Final = Question(f"{SERVICE}/GetQuote", pb.GetQuoteRequest(symbol=SYMBOLS[0]))
MANY: Final = Question(f"{SERVICE}/GetQuotes", pb.GetQuotesRequest(symbols=SYMBOLS), len(SYMBOLS))
FRESH: Final = Question(
    f"{SERVICE}/GetQuote",
    pb.GetQuoteRequest(symbol=SYMBOLS[0], freshness=ASK_UPSTREAM),
)

BUSY: Final = Pressure(connections=4, streams=4)
UNHURRIED: Final = Pressure(connections=100, streams=10, rate=10)
_ALONE: Final = Pressure(connections=1, streams=1)
_CROWD: Final = Pressure(connections=10, streams=100)
_CROWD_CALLS: Final = 1000
_CROWD_WAIT: Final = 2.0
"""Seconds that the upstream takes for its answer, so that every caller has asked before it comes."""

_COLD: Final = Pressure(connections=100, streams=10, rate=10)
_SLOW_WAIT: Final = 0.15
_SOME: Final = 20
_SOME_BATCHES: Final = 10
_REPAIRED: Final = 40

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
        single: dict[str, Contestant] = {"gateway, GetQuote": partial(cached, stage, ONE)}
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
        scores = take_turns(contestants, Effort(1, effort.seconds * 2), UNHURRIED)
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
            _circumstances(scores[_GATEWAY], UNHURRIED),
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


def slow_upstream(stage: Stage, effort: Effort) -> Table:
    """Measure what the replaced systems promised for questions that memory cannot answer."""
    load = VariousLoad(stage.cores.others, stage.folder)
    some = batches(_SOME, ASK_UPSTREAM)
    asks = (
        ("GetQuote, cold", singles(ASK_UPSTREAM), "500 ms"),
        (
            f"GetQuotes of {_SOME}, cold",
            replace(some, requests=some.requests[:_SOME_BATCHES]),
            "2 s",
        ),
    )
    stage.sandbox.delay(_SLOW_WAIT)
    rows = []
    for name, questions, target in asks:
        before = stage.sandbox.requests()
        calls = round(effort.seconds * 2) * (_COLD.calls_a_second or 0)
        reply = load.run(stage.gateway, questions, _COLD, calls=calls)
        reply.expect(UPSTREAM, questions.values)
        rows.append((name, list(reply.run.times), stage.sandbox.requests() - before, target))
    stage.sandbox.be_well()
    before = stage.sandbox.requests()
    repaired = [_with_one_retry(stage) for _ in range(_REPAIRED)]
    rows.append(("GetQuote with one retry", repaired, stage.sandbox.requests() - before, "2 s"))
    return Table(
        title="What the replaced systems promised where the upstream is asked",
        head=("", "calls", "upstream requests", "p50 ms", "p95 ms", "p99 ms", "target"),
        rows=[
            (
                name,
                count(len(times)),
                count(asked),
                *(millis(Run(len(times), 0, tuple(times), 0).percentile(p)) for p in (50, 95, 99)),
                target,
            )
            for name, times, asked, target in rows
        ],
        notes=[
            (
                f"Cold: {_COLD}, max_age 0, the upstream at {_SLOW_WAIT * 1e3:.0f} ms; single questions go through"
                f" {len(LISTED):,} symbols, those of {_SOME} through {_SOME * _SOME_BATCHES}, and whoever asks for what"
                " is being asked for shares the answer."
            ),
            (
                "One retry: one call after another, the upstream answers the first request of each with a 503 and the"
                " second at once."
            ),
        ],
    )


def _with_one_retry(stage: Stage) -> float:
    retries, asked = retries_of_latest(stage.gateway), stage.sandbox.requests()
    stage.sandbox.fail(times=1)
    start = time.perf_counter()
    expect_quotes(stage.gateway, FRESH)
    took = time.perf_counter() - start
    if retries_of_latest(stage.gateway) - retries != 1 or stage.sandbox.requests() - asked != 2:
        raise BrokenMeasurement("the question was to be answered by one repetition")
    return took


@contextmanager
def _against_bare(stage: Stage, question: Question) -> Iterator[dict[str, Contestant]]:
    # Warms memory too: the bare server is to give the answer that memory gives.
    expect_quotes(stage.gateway, question)
    with stage.bare(question) as bare:
        yield {_GATEWAY: partial(cached, stage, question), _BARE: bare.ask}
        expect_quotes(bare.process, question)
    expect_quotes(stage.gateway, question)


def cached(stage: Stage, question: Question, calls: int, pressure: Pressure) -> Round:
    """Ask the gateway, and see that memory answers.

    Raises:
        BrokenMeasurement: it does not.
    """
    done = stage.ask_gateway(question, calls, pressure)
    if done.upstream:
        msg = (
            f"memory was to answer all calls of a round, and {done.upstream} requests went upstream"
        )
        raise BrokenMeasurement(msg)
    return done


def _circumstances(score: Score, pressure: Pressure) -> str:
    return f"{pressure}; {score.answer_bytes:,.0f} bytes an answer."
