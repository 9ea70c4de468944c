"""Option chains: what the whole of one costs, alone and in a crowd, against Alpaca's own SDK (issue 5)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Final

from tickgate.v1 import option_pb2, provenance_pb2
from tickgate.v1 import option_service_pb2 as pb

from .chain_callers import Crowd
from .chain_market import CHAINS, PAGE, ChainStage, chain_stage, drop, gather
from .chain_reader import CLIENT, MESSAGES, SDK, SDK_RAW, Ask, Fetched
from .load import PREFIX
from .processes import BrokenMeasurement, Process
from .readings import Reading
from .report import Table, count, micros, millis, spread
from .rounds import Effort
from .stage import Stage

_ALPACAS_WAIT: Final = 0.15
"""Seconds that the upstream takes for a page, where it does not answer at once."""

_CROWD: Final = 100
_CROWD_WAIT: Final = 0.5
"""Seconds that the upstream takes for a page, so that every caller has asked before the first one comes."""

_MOST_ROUNDS: Final = 3
"""Of what starts gateways, or moves hundreds of megabytes."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a gateway comes by its answer."""

    name: str
    served_from: str
    max_age: float | None = None
    forgets: bool = False
    """Whether it is made to forget its chain before."""

    def requests(self, contracts: int, moved: int) -> int:
        """Return how many pages it asks the upstream for."""
        if self is _WARM:
            return 0
        return ceil(contracts / PAGE) if self is _COLD else max(1, ceil(moved / PAGE))


_COLD: Final = _Kind("cold", "UPSTREAM", forgets=True)
_WARM: Final = _Kind("warm", "MEMORY")
_REFRESHED: Final = _Kind("refreshed", "UPSTREAM", max_age=0.0)


@dataclass(frozen=True, slots=True)
class _Contestant:
    """Who reads the chain."""

    name: str
    way: str
    kind: _Kind | None = None
    """None of Alpaca's SDK, which keeps nothing."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """One chain that was read."""

    fetched: Fetched
    requests: int
    """Pages that the upstream was asked for."""

    server: float
    """Seconds of the gateway's CPU."""

    @property
    def looked(self) -> float:
        """Seconds until all of it had been looked at."""
        return self.fetched.total + self.fetched.looked


_PAIRS: Final = tuple(
    (
        _Contestant(f"alpaca-py, {its}", sdk),
        [
            _Contestant(f"gateway, {ours}, {kind.name}", way, kind)
            for kind in (_COLD, _WARM, _REFRESHED)
        ],
    )
    for its, sdk, ours, way in (
        ("raw_data", SDK_RAW, "messages", MESSAGES),
        ("its models", SDK, "our client's models", CLIENT),
    )
)
"""Alpaca's SDK, and what is compared with it."""

_Reads = Callable[[_Turn], float]


def chain(stage: Stage, effort: Effort) -> Table:
    """Compare the gateway's chain with what Alpaca's SDK reads from the same upstream."""
    rows: list[tuple[str, ...]] = []
    moved = 0
    with (
        chain_stage(stage.folder, stage.cores) as chains,
        chains.gateway("chain") as gateway,
        ExitStack() as open_,
    ):
        readings = {
            way: open_.enter_context(
                chains.reading("chain_reader", way, server.port, chains.underlying)
            )
            for way, server in (
                (SDK_RAW, chains.sandbox),
                (MESSAGES, gateway),
                (SDK, chains.sandbox),
                (CLIENT, gateway),
            )
        }
        for wait in (0.0, _ALPACAS_WAIT):
            if wait:
                chains.sandbox.delay(wait, CHAINS)
            turns = _take_turns(chains, gateway, readings, effort)
            prefix = f"upstream at {wait * 1e3:.0f} ms: " if wait else ""
            rows += _rows(turns, prefix, chains.expected.contracts)
            moved = _moved(turns)
    return Table(
        title=f"An option chain of {chains.expected.contracts:,} contracts, against Alpaca's SDK",
        head=(
            *("", "first message ms", "all ms", "looked at ms", "server CPU µs/contract"),
            *("reader CPU µs/contract", "upstream requests", "SDK's all / its"),
            "SDK's looked at / its",
        ),
        rows=rows,
        notes=[
            chains.about,
            (
                "Each contestant is a process of its own on the core of the load and reads the whole chain once in a"
                " round. A round counts only if bid, ask, latest price and delta of every contract are the upstream's"
                " and the header counts them rightly. All: the call has returned. Looked at: and those four of each"
                " contract have been read, of models and messages alike; reader CPU is for both. Messages are compared"
                " with the SDK's `raw_data`, models with its models."
            ),
            (
                "Cold: AdminService has made the gateway forget the chain; connections, calendar and what it has read"
                " of OCC symbols stay. Warm: from memory. Refreshed: max_age 0, and the upstream says that"
                f" {moved:,} contracts have moved. The SDK reads all pages each time. The upstream answers at once,"
                f" which Alpaca does not; below as if it took {_ALPACAS_WAIT * 1e3:.0f} ms for a page."
            ),
            "Targets: 5 times as fast as the SDK when warm, and never slower when cold.",
        ],
    )


def chain_crowd(stage: Stage, effort: Effort) -> Table:
    """Let a hundred ask for the same chain at once."""
    rows = []
    with (
        chain_stage(stage.folder, stage.cores) as chains,
        chains.gateway("chain-crowd") as gateway,
        chains.reading("chain_callers", gateway.port, chains.underlying, 1) as one,
        chains.reading("chain_callers", gateway.port, chains.underlying, _CROWD) as many,
    ):
        gather(gateway, pb.StreamOptionChainRequest(underlying_symbol=chains.underlying))
        chains.sandbox.delay(_CROWD_WAIT, CHAINS)
        for kind in (_COLD, _REFRESHED, _WARM):
            for callers, reading in ((1, one), (_CROWD, many)):
                crowds = [
                    _crowd(chains, gateway, reading, kind)
                    for _ in range(min(_MOST_ROUNDS, effort.rounds))
                ]
                rows.append(_crowd_row(f"{kind.name}, {callers} at once", crowds))
    return Table(
        title=f"{_CROWD} callers of one option chain of {chains.expected.contracts:,} contracts",
        head=(
            *("", "upstream requests", "first message p50 ms", "largest ms"),
            *("all p50 ms", "largest ms", "server CPU ms/caller"),
        ),
        rows=rows,
        notes=[
            chains.about,
            (
                f"The upstream takes {_CROWD_WAIT:g} s for each page, so that every caller has asked before it answers."
                " Each caller has a connection of his own; all are one Python program, which keeps messages as they"
                " come (`benchmarks/chain_callers.py`) and whose own time is in these. A round counts only if each"
                " caller got the upstream's chain, and the upstream was asked for no page more than one caller needs."
            ),
            "Target: one refresh for all who ask at once.",
        ],
    )


def chain_weight(stage: Stage, effort: Effort) -> Table:
    """Weigh a chain on the wire and in the gateway's memory."""
    with chain_stage(stage.folder, stage.cores) as chains:
        weighed = [_weigh(chains, number) for number in range(min(_MOST_ROUNDS, effort.rounds))]
    contracts = chains.expected.contracts
    before = median(each.empty for each in weighed)
    rows = [("no chain yet", "", "", f"{before:.1f}", "")]
    for place, (name, _) in enumerate(_HOLDINGS):
        answers = [each.answers[place] for each in weighed]
        resident = median(answer.resident for answer in answers)
        rows.append(
            (
                name,
                count(median(answer.size for answer in answers) / contracts),
                count(median(answer.messages for answer in answers)),
                f"{resident:.1f}",
                count((resident - before) * 1e6 / contracts),
            )
        )
        before = resident
    first = median(each.answers[0].seconds for each in weighed)
    return Table(
        title=f"What an option chain of {contracts:,} contracts weighs",
        head=("", "wire bytes/contract", "messages", "resident MB", "more bytes/contract"),
        rows=rows,
        notes=[
            chains.about,
            (
                "Wire: messages and their prefixes, not compressed; the upstream's own JSON has"
                f" {chains.expected.upstream_bytes / contracts:,.0f} bytes a contract. Resident: of a gateway that has"
                " just started, after each question; it holds values and their encoded form. The first chain also"
                " takes what the start has left free, so the second tells more. The full view holds the list of"
                " contracts too."
            ),
            f"The first chain of a process came in {millis(first)} ms.",
        ],
    )


# --------------------------------------------------------------------------------- against the SDK


def _take_turns(
    chains: ChainStage, gateway: Process, readings: Mapping[str, Reading], effort: Effort
) -> dict[_Contestant, list[_Turn]]:
    contestants = [one for peer, ours in _PAIRS for one in (peer, *ours)]
    turns: dict[_Contestant, list[_Turn]] = {one: [] for one in contestants}
    for _ in range(effort.rounds):
        for one in contestants:
            turns[one].append(_turn(chains, gateway, readings[one.way], one.kind))
    return turns


def _turn(chains: ChainStage, gateway: Process, reading: Reading, kind: _Kind | None) -> _Turn:
    """Let one contestant read the chain.

    Raises:
        BrokenMeasurement: it was not the whole chain, or not from where it was to come.
    """
    if kind is not None and kind.forgets:
        drop(gateway)
    requests, server = chains.sandbox.chain_requests(), gateway.cpu_seconds()
    fetched = reading.ask(Ask(None if kind is None else kind.max_age), Fetched)
    server = gateway.cpu_seconds() - server
    requests = chains.sandbox.chain_requests() - requests
    chains.expect(fetched, "" if kind is None else kind.served_from)
    _expect_requests(kind or _COLD, requests, chains.expected.contracts, fetched.moved)
    return _Turn(fetched, requests, server)


def _rows(
    turns: Mapping[_Contestant, Sequence[_Turn]], prefix: str, contracts: int
) -> Iterator[tuple[str, ...]]:
    for peer, ours in _PAIRS:
        for one in (peer, *ours):
            done = turns[one]
            firsts = [turn.fetched.first for turn in done if turn.fetched.first is not None]
            yield (
                f"{prefix}{one.name}",
                millis(median(firsts)) if firsts else "",
                millis(_mid(done, _total)),
                millis(_mid(done, _looked)),
                "" if one is peer else micros(_mid(done, _server) / contracts),
                micros(_mid(done, _reader) / contracts),
                count(_mid(done, _requests)),
                *("" if one is peer else _faster(turns[peer], done, r) for r in (_total, _looked)),
            )


def _faster(its: Sequence[_Turn], ours: Sequence[_Turn], read: _Reads) -> str:
    return spread([read(peer) / read(one) for peer, one in zip(its, ours, strict=True)])


def _mid(turns: Sequence[_Turn], read: _Reads) -> float:
    return median(map(read, turns))


def _total(turn: _Turn) -> float:
    return turn.fetched.total


def _looked(turn: _Turn) -> float:
    return turn.looked


def _server(turn: _Turn) -> float:
    return turn.server


def _reader(turn: _Turn) -> float:
    return turn.fetched.cpu


def _requests(turn: _Turn) -> float:
    return turn.requests


def _moved(turns: Mapping[_Contestant, Sequence[_Turn]]) -> int:
    """Return how many contracts a refresh brings.

    Raises:
        BrokenMeasurement: not always the same.
    """
    moved = {
        turn.fetched.moved for one, done in turns.items() if one.kind is _REFRESHED for turn in done
    }
    if len(moved) != 1:
        raise BrokenMeasurement(f"refreshes have brought {sorted(moved)} contracts")
    return moved.pop()


def _expect_requests(kind: _Kind, requests: int, contracts: int, moved: int) -> None:
    if requests != kind.requests(contracts, moved):
        msg = f"a {kind.name} chain cost {requests} upstream requests, not {kind.requests(contracts, moved)}"
        raise BrokenMeasurement(msg)


# -------------------------------------------------------------------------------------- in a crowd


@dataclass(frozen=True, slots=True)
class _Crowded:
    """One crowd that was answered."""

    crowd: Crowd
    requests: int
    server: float
    """Seconds of the gateway's CPU."""


def _crowd(chains: ChainStage, gateway: Process, reading: Reading, kind: _Kind) -> _Crowded:
    """Let a crowd ask.

    Raises:
        BrokenMeasurement: not each got the upstream's chain, or they cost more than one refresh.
    """
    if kind.forgets:
        drop(gateway)
    requests, server = chains.sandbox.chain_requests(), gateway.cpu_seconds()
    crowd = reading.ask(Ask(kind.max_age), Crowd)
    server = gateway.cpu_seconds() - server
    requests = chains.sandbox.chain_requests() - requests
    wanted = [(chains.expected.contracts, chains.expected.digest)]
    if list(zip(crowd.contracts, crowd.digests, strict=True)) != wanted:
        msg = f"a crowd got {len(crowd.digests)} chains of {crowd.contracts} contracts"
        raise BrokenMeasurement(msg)
    _expect_requests(kind, requests, chains.expected.contracts, 0)
    return _Crowded(crowd, requests, server)


def _crowd_row(name: str, crowds: Sequence[_Crowded]) -> tuple[str, ...]:
    def mid(read: Callable[[_Crowded], float]) -> float:
        return median(map(read, crowds))

    return (
        name,
        count(mid(lambda one: one.requests)),
        millis(mid(lambda one: median(one.crowd.firsts))),
        millis(mid(lambda one: max(one.crowd.firsts))),
        millis(mid(lambda one: median(one.crowd.times))),
        millis(mid(lambda one: max(one.crowd.times))),
        millis(mid(lambda one: one.server / len(one.crowd.times))),
    )


# ----------------------------------------------------------------------------------------- weights


_BASIC: Final = option_pb2.OPTION_VIEW_BASIC
_FULL: Final = option_pb2.OPTION_VIEW_FULL
_OPRA: Final = provenance_pb2.FEED_OPRA
_INDICATIVE: Final = provenance_pb2.FEED_INDICATIVE

_HOLDINGS: Final = (
    ("opra, basic view", (_OPRA, _BASIC)),
    ("indicative too", (_INDICATIVE, _BASIC)),
    ("opra in the full view", (_OPRA, _FULL)),
    ("indicative in the full view too", (_INDICATIVE, _FULL)),
)
"""What a gateway is asked for one after the other, so that it holds more and more."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """A chain as it went over the wire."""

    size: int
    messages: int
    seconds: float
    resident: float
    """Megabytes of the gateway afterwards."""


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A gateway that has been asked for more and more."""

    empty: float
    """Megabytes before."""

    answers: Sequence[_Answer]


def _weigh(chains: ChainStage, number: int) -> _Weighed:
    with chains.gateway(f"chain-weight-{number}") as gateway:
        empty = gateway.resident()
        return _Weighed(empty, [_answer(chains, gateway, *which) for _, which in _HOLDINGS])


def _answer(
    chains: ChainStage,
    gateway: Process,
    feed: provenance_pb2.Feed.ValueType,
    view: option_pb2.OptionView.ValueType,
) -> _Answer:
    request = pb.StreamOptionChainRequest(underlying_symbol=chains.underlying, feed=feed, view=view)
    start = time.perf_counter()
    messages = gather(gateway, request)
    seconds = time.perf_counter() - start
    end = pb.StreamOptionChainResponse.FromString(messages[-1]).end
    if end.count != chains.expected.contracts:
        raise BrokenMeasurement(f"of {chains.expected.contracts} contracts {end.count} came")
    size = sum(len(message) + PREFIX for message in messages)
    return _Answer(size, len(messages), seconds, gateway.resident())
