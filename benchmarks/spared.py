"""What the upstream is spared: by memory on a realistic mix, and by sharing and batching in a crowd (issue 3)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import Final

from tickgate.v1 import admin_service_pb2, error_reason_pb2
from tickgate.v1 import quote_service_pb2 as pb

from .evidence import ask
from .flood import flood
from .load import Pressure, Question
from .processes import BrokenMeasurement
from .report import Table, count, micros, millis
from .rounds import Effort
from .sandbox import LISTED, SYMBOLS
from .stage import Stage
from .tiers import SERVICE, singles
from .various import MEMORY, UPSTREAM, Questions, VariousLoad, name_of, served_from

_DEFAULTS: Final[Mapping[str, str]] = {}

_UPSTREAM_WAIT: Final = 0.02
"""Seconds that the upstream takes for its answer."""

_MIX: Final = Pressure(connections=10, streams=100, rate=50)
_MIX_ROUNDS: Final = 30
"""So many times as long as a round of others: a minute by default."""

_CROWD: Final = Pressure(connections=20, streams=50)
_CROWD_CALLS: Final = 1000
_CROWD_ROUNDS: Final = 7
_STRANGERS: Final = Pressure(connections=20, streams=500)
_STRANGERS_CALLS: Final = 10_000

_FORGET: Final = Question(
    "/tickgate.v1.AdminService/InvalidateCache", admin_service_pb2.InvalidateCacheRequest()
)


def mix(stage: Stage, effort: Effort) -> Table:
    """Ask for a thousand symbols as often as their popularity says, and count what goes upstream."""
    rate = _MIX.calls_a_second or 0
    order = _by_popularity(round(rate * effort.seconds * _MIX_ROUNDS))
    stage.sandbox.delay(_UPSTREAM_WAIT)
    with stage.beside("gateway-mix", _DEFAULTS) as fresh:
        before = stage.sandbox.asked()
        load = VariousLoad(stage.cores.others, stage.folder)
        reply = load.run(fresh.gateway, singles(), _MIX, order=order)
        asked = stage.sandbox.asked().since(before)
    stage.sandbox.be_well()
    times: dict[str, list[float]] = {"all": [], "from memory": [], "from upstream": []}
    for taken, tiers in zip(reply.run.times, map(served_from, reply.results()), strict=True):
        if tiers not in ((MEMORY,), (UPSTREAM,)):
            msg = f"a quote was to come from memory or upstream, not from {tiers}"
            raise BrokenMeasurement(msg)
        times["all"].append(taken)
        times[f"from {name_of(tiers[0])}"].append(taken)
    calls = reply.run.calls
    return Table(
        title="Upstream requests saved on a realistic mix",
        head=("", "calls", "share", "p50 ms", "p99 ms"),
        rows=[
            (
                name,
                count(len(some)),
                f"{len(some) / calls:.1%}",
                *(millis(_percentile(some, percent)) for percent in (50, 99)),
            )
            for name, some in times.items()
        ],
        notes=[
            (
                f"GetQuote at {rate} calls/s for {calls / rate:.0f} s, from cold, over {len(LISTED):,} symbols:"
                " the n-th is asked for 1/n as often as the first (Zipf, s = 1.0). The upstream takes"
                f" {_UPSTREAM_WAIT * 1e3:.0f} ms. A gateway with the default keep times, 5 s while the market is open."
                " The market stands still, which changes nothing: how long a value is kept is counted from its receipt."
            ),
            (
                f"Upstream requests: {asked.requests:,} for {calls:,} calls, {1 - asked.requests / calls:.1%} saved;"
                f" {asked.symbols / asked.requests:.1f} symbols in each. Server CPU {micros(reply.cpu)} µs/call."
            ),
            "Target: more than 80 % from memory. Times are counted from the instant at which a call was due.",
        ],
    )


def crowds(stage: Stage, effort: Effort) -> Table:
    """Count the upstream requests that a crowd over cold symbols costs, and one that asks for a symbol there is not."""
    stage.sandbox.delay(_UPSTREAM_WAIT)
    with stage.beside("gateway-crowd", _DEFAULTS) as cold:
        at_once = [_flood(cold) for _ in range(_CROWD_ROUNDS)]
        in_turn = [_crowd(cold, None) for _ in range(_CROWD_ROUNDS)]
        shuffled = [_crowd(cold, random.Random(number)) for number in range(_CROWD_ROUNDS)]
        unknown = [_strangers(cold, number) for number in range(min(2, effort.rounds))]
    stage.sandbox.be_well()
    named = (
        (f"{_CROWD_CALLS:,} calls written at once, {len(SYMBOLS)} cold symbols", at_once, 4),
        (f"{_CROWD_CALLS:,} calls of a client, {len(SYMBOLS)} cold symbols in turn", in_turn, 4),
        (
            f"{_CROWD_CALLS:,} calls of a client, {len(SYMBOLS)} cold symbols in no order",
            shuffled,
            4,
        ),
        (f"{_STRANGERS_CALLS:,} calls, one unknown symbol", unknown, 1),
    )
    return Table(
        title="Upstream requests for a crowd",
        head=("all at once", "rounds", "least", "median", "most", "target", "within ms"),
        rows=[
            (
                name,
                *(count(len(found)), count(min(requests))),
                *(f"{median(requests):g}", count(max(requests)), count(target)),
                count(median(seconds) * 1e3),
            )
            for name, found, target in named
            for requests, seconds in (tuple(zip(*found, strict=True)),)
        ],
        notes=[
            (
                "A gateway with the default settings; between rounds it is told to forget everything. The upstream"
                f" takes {_UPSTREAM_WAIT * 1e3:.0f} ms. Within: median time from the first call to the last answer."
                " A batch leaves once nobody has joined it for 5 ms, or after 25 ms, later only where the event loop"
                " does not keep up with those who have arrived."
            ),
            (
                "Written at once: all calls are in the gateway's socket before it answers the first. A client is one"
                " asyncio process on a core of its own and takes most of the time to send its calls: over what it"
                " takes to name all symbols nobody is kept waiting for the last."
            ),
        ],
    )


def _flood(stage: Stage) -> tuple[int, float]:
    """Return the upstream requests that a crowd has cost which arrives all at once, and the seconds until the end."""
    ask(stage.gateway, _FORGET)
    requests = [
        pb.GetQuoteRequest(symbol=SYMBOLS[number % len(SYMBOLS)]) for number in range(_CROWD_CALLS)
    ]
    before = stage.sandbox.requests()
    bodies = [request.SerializeToString() for request in requests]
    answers, taken = flood(f"127.0.0.1:{stage.gateway.port}", f"{SERVICE}/GetQuote", bodies)
    for request, answer in zip(requests, answers, strict=True):
        result = pb.GetQuoteResponse.FromString(answer).result
        if result.symbol != request.symbol or not result.HasField("quote"):
            msg = f"{request.symbol} was asked for, and {result} answered"
            raise BrokenMeasurement(msg)
    return stage.sandbox.requests() - before, taken


def _crowd(stage: Stage, chance: random.Random | None) -> tuple[int, float]:
    """Return the upstream requests that a crowd has cost, and the seconds until all had their answer."""
    ask(stage.gateway, _FORGET)
    order = list(range(len(SYMBOLS))) * (_CROWD_CALLS // len(SYMBOLS))
    if chance is not None:
        chance.shuffle(order)
    before = stage.sandbox.requests()
    load = VariousLoad(stage.cores.others, stage.folder)
    reply = load.run(stage.gateway, singles(), _CROWD, order=order)
    found = Counter(map(served_from, reply.results()))
    if found[UPSTREAM,] + found[MEMORY,] != _CROWD_CALLS:
        msg = f"every call of a crowd was to get its quote, and they got {found}"
        raise BrokenMeasurement(msg)
    return stage.sandbox.requests() - before, reply.run.calls / reply.run.rate


def _strangers(stage: Stage, number: int) -> tuple[int, float]:
    """Return the same of a crowd that asks for a symbol that does not exist."""
    # Another each time: an unknown symbol is remembered for a minute.
    request = pb.GetQuoteRequest(symbol=f"ZZZ{'ABC'[number]}")
    before = stage.sandbox.requests()
    load = VariousLoad(stage.cores.others, stage.folder)
    reply = load.run(
        stage.gateway,
        Questions(f"{SERVICE}/GetQuote", [request]),
        _STRANGERS,
        calls=_STRANGERS_CALLS,
    )
    reasons = {result.unavailable.reason for answer in reply.results() for result in answer}
    if reasons != {error_reason_pb2.ERROR_REASON_SYMBOL_UNKNOWN}:
        msg = f"the symbol is unknown, and calls were told {reasons}"
        raise BrokenMeasurement(msg)
    return stage.sandbox.requests() - before, reply.run.calls / reply.run.rate


def _by_popularity(calls: int) -> list[int]:
    weights = [1 / rank for rank in range(1, len(LISTED) + 1)]
    return random.Random(3).choices(range(len(LISTED)), weights, k=calls)


def _percentile(times: Sequence[float], percent: int) -> float:
    return quantiles(times, n=100, method="inclusive")[percent - 1]
