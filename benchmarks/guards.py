"""What guards and tiers add to the handler of a hit (issue 3): measured in this process, without gRPC."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from statistics import median
from typing import Any, Final

from tickgate.v1 import quote_service_pb2 as pb
from tickgate_server.app.questions import Questions
from tickgate_server.app.stores import open_stores
from tickgate_server.app.wire import open_wire
from tickgate_server.jobs.market_clock import MarketClock
from tickgate_server.market.answer import Question
from tickgate_server.market.provenance import Tier
from tickgate_server.market.quote import Quote
from tickgate_server.market.session import MarketSession
from tickgate_server.observe.counters import Counters
from tickgate_server.observe.logs import start_logs
from tickgate_server.ports import Answers
from tickgate_server.rpc.call import Call
from tickgate_server.rpc.convert import Moment
from tickgate_server.rpc.quotes import Asked, QuoteServicer
from tickgate_server.settings import Settings

from .processes import BrokenMeasurement, on_core
from .report import Table, micros
from .rounds import Effort
from .sandbox import SYMBOLS
from .stage import Stage

_KEEP: Final = 3600.0
_PATIENCE: Final = 10.0
"""Seconds that a question may take."""

_TURNS: Final = 10
"""Times that the contestants take turns within a round: what else the machine does strikes all of them."""

_NOTES: Final = (
    (
        "CPU of the servicer's method in a loop. There is no gRPC between the calls, between whose work the same code"
        " takes two to three times as long. The guards are the gateway's own, wired by `app`; the other servicer gets"
        " the same answers from a source that has nothing to do. Medians of turns; the difference is formed turn by"
        " turn."
    ),
    "Target: at most 20 µs for a hit.",
)

_FIRST_CALLS: Final = 100
"""Calls that tell how many fill a turn."""

Handle = Callable[[Asked, Call], Awaitable[bytes]]
Took = Mapping[str, Sequence[float]]
"""Seconds of CPU for a call, by contestant, turn by turn."""


class _Handed:
    """A source that has been handed the answer."""

    def __init__(self, answers: Answers[Quote]) -> None:
        self._answers = answers

    async def latest(self, question: Question) -> Answers[Quote]:
        return self._answers


def added(stage: Stage, effort: Effort) -> Table:
    """Compare the handler of a hit in memory with the same handler that is handed the answer."""
    start_logs(sys.stderr, "json", "warning")
    with on_core(stage.cores.server), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        found = {
            "GetQuote": (1, runner.run(_measure(stage, effort, SYMBOLS[:1]))),
            f"GetQuotes of {len(SYMBOLS)}": (
                len(SYMBOLS),
                runner.run(_measure(stage, effort, SYMBOLS)),
            ),
        }
    rows = []
    for name, (values, took) in found.items():
        guarded, handed = took["guarded"], took["handed"]
        more = [a - b for a, b in zip(guarded, handed, strict=True)]
        rows.append(
            (
                name,
                *(micros(median(times)) for times in (guarded, handed, more)),
                micros(median(more) / values),
                f"{median(more) / median(guarded):.0%}",
            )
        )
    return Table(
        title="What guards and tiers add to a hit",
        head=(
            *("", "handler µs/call", "handed the answer µs/call", "guards and tiers µs/call"),
            *("µs/quote", "share"),
        ),
        rows=rows,
        notes=_NOTES,
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415 - an extra of the server

        return uvloop.new_event_loop
    return None


async def _measure(stage: Stage, effort: Effort, symbols: tuple[str, ...]) -> Took:
    settings = _settings(stage.sandbox.url)
    counters, clock = Counters(), MarketClock(follows_upstream=True)
    async with AsyncExitStack() as parts:
        stores = await parts.enter_async_context(open_stores(settings, counters, clock))
        wire = await parts.enter_async_context(open_wire(settings, counters, clock, stores))
        questions = Questions(settings, counters, clock, stores, wire)
        await questions.keeper.try_refresh(_PATIENCE)
        if questions.keeper.session() is not MarketSession.OPEN:
            raise BrokenMeasurement("the sandbox's market was to be open")

        def servicer(quotes: Any) -> Handle:
            made = QuoteServicer(
                *(quotes, questions.trades, questions.snapshots, settings.alpaca.stock_feed),
                lambda request_id: Moment(
                    *(request_id, clock.wall(), clock.monotonic(), clock.market()),
                    questions.keeper.session(),
                ),
            )
            return made.GetQuotes

        asked = _read(symbols, settings)
        await questions.quotes.latest(asked.question_of(_call(clock.monotonic())))
        answers = await questions.quotes.latest(asked.question_of(_call(clock.monotonic())))
        if any(getattr(one, "served_from", None) is not Tier.MEMORY for one in answers.values()):
            raise BrokenMeasurement("memory was to hold every quote")
        handlers = {"guarded": servicer(questions.quotes), "handed": servicer(_Handed(answers))}
        return await _take_turns(handlers, asked, clock, effort)


async def _take_turns(
    handlers: Mapping[str, Handle], asked: Asked, clock: MarketClock, effort: Effort
) -> Took:
    # Both questions together take as long as one round of two servers.
    turn = effort.seconds / _TURNS / 2
    calls = {
        name: max(1, round(turn / await _took(handle, asked, clock, _FIRST_CALLS)))
        for name, handle in handlers.items()
    }
    took: dict[str, list[float]] = {name: [] for name in handlers}
    for _ in range(_TURNS * effort.rounds):
        for name, handle in handlers.items():
            took[name].append(await _took(handle, asked, clock, calls[name]))
    return took


async def _took(handle: Handle, asked: Asked, clock: MarketClock, calls: int) -> float:
    before = time.thread_time()
    for _ in range(calls):
        await handle(asked, _call(clock.monotonic()))
    return (time.thread_time() - before) / calls


def _call(now: float) -> Call:
    return Call("QuoteService/GetQuotes", "bench", now + _PATIENCE, "", now)


def _read(symbols: tuple[str, ...], settings: Settings) -> Asked:
    """Return the request as the servicer reads it."""
    made: Any = QuoteServicer
    reader = made(None, None, None, settings.alpaca.stock_feed, None)
    read: Callable[[bytes], Asked] = reader.reading(pb.GetQuotesRequest.FromString)
    return read(pb.GetQuotesRequest(symbols=symbols).SerializeToString())


def _settings(upstream: str) -> Settings:
    given: dict[str, Any] = {
        "alpaca": {"data_url": upstream, "trading_url": upstream},
        "memory": {"keep_open": _KEEP, "keep_otherwise": _KEEP},
        "freshness": {"max_age": _KEEP},
    }
    return Settings(**given)
