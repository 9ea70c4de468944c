"""Small questions about the past: a year of daily bars, and what a symbol traded at (issue 6)."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import accumulate
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from tickgate.v1 import history_pb2, provenance_pb2
from tickgate.v1 import history_service_pb2 as pb

from .history_market import FROM, TO, HistoryStage, history_stage
from .history_reader import CHUNKS, POLARS, PRICES
from .history_tape import (
    NANOS,
    SESSION,
    Columns,
    Print,
    Taped,
    prints,
    sessions,
    together,
    write_daily_bars,
    write_trades,
)
from .load import Pressure
from .processes import BrokenMeasurement, Process
from .report import Table, count, micros, millis
from .rounds import Contestant, Effort, Score, take_turns
from .sandbox import LISTED
from .stage import Round, Stage
from .various import Questions, Reply, VariousLoad, name_of

_SERVICE: Final = "/tickgate.v1.HistoryService"
_STORE: Final = provenance_pb2.TIER_STORE
_REDIS: Final = provenance_pb2.TIER_REDIS
_UPSTREAM: Final = provenance_pb2.TIER_UPSTREAM

_LEAST_SECONDS: Final = 4.0
"""Of a round, for its hundredth part to be more than one call."""

_SYMBOLS: Final = LISTED[:100]
_DAILY_PRESSURE: Final = Pressure(connections=5, streams=10, rate=10)

_TRADED: Final = LISTED[:4]
_EACH: Final = 30_000
_APART: Final = 300
"""Trades between two moments that are asked about. A cold question reads fifty, so none is held for the next one."""

_PRICE_PRESSURE: Final = Pressure(connections=5, streams=10, rate=20)
_COLD_PRESSURE: Final = Pressure(connections=5, streams=10, rate=4)

_ALPACAS_WAIT: Final = 0.15
"""Seconds that the upstream takes for a page, where it does not answer at once."""


# -------------------------------------------------------------------------------------- daily bars


@dataclass(frozen=True, slots=True)
class _Daily:
    """Answers a year of daily bars from one tier, and proves it."""

    tier: provenance_pb2.Tier.ValueType
    gateway: Process
    questions: Questions
    load: VariousLoad
    history: HistoryStage
    taped: Mapping[str, Taped]

    def ask(self, calls: int, pressure: Pressure) -> Round:
        """Ask in turn for every symbol.

        Raises:
            BrokenMeasurement: an answer was not what was taped, or came from elsewhere.
        """
        before = self.history.requests()
        reply = self.load.run(self.gateway, self.questions, pressure, calls=calls)
        for symbol, tiers, columns in map(self._read, reply.answers):
            taped = self.taped[symbol]
            if (columns.rows, columns.sums) != (taped.rows, taped.sums) or tiers != {self.tier}:
                msg = f"{self.gateway.name}: a year of {symbol} is {columns.rows} bars from {set(map(name_of, tiers))}"
                raise BrokenMeasurement(msg)
        return Round(reply.run, reply.cpu, self.history.requests() - before)

    def _read(self, answer: bytes) -> tuple[str, set[Any], Columns]:
        return _of_stream(answer) if self.questions.streamed else _of_page(answer)


def daily_bars(stage: Stage, effort: Effort) -> Table:
    """Ask for a year of daily bars, as rows and as columns, from the store and from Redis."""
    tape = stage.folder / "tape-days"
    taped = {symbol: write_daily_bars(tape, symbol) for symbol in _SYMBOLS}
    everything = together(taped.values())
    effort = Effort(effort.rounds, max(_LEAST_SECONDS, effort.seconds))
    with history_stage(tape, stage.folder, stage.cores) as history, ExitStack() as open_:
        gateways = {
            _STORE: open_.enter_context(history.gateway("daily-stored")),
            _REDIS: open_.enter_context(history.gateway("daily-cached", cached=True)),
        }
        for gateway in gateways.values():
            # The first fetches it all, and the second puts into Redis what it finds in the store.
            open_.enter_context(history.reading(POLARS, gateway.port, everything, "1Day", FROM, TO))
            history.held(everything)
        history.cached(len(_SYMBOLS))
        history.tidy()
        load = VariousLoad(stage.cores.others, stage.folder)
        contestants: dict[str, Contestant] = {
            f"{questions.path.rpartition('/')[2]}, from {where}": (
                _Daily(tier, gateways[tier], questions, load, history, taped).ask
            )
            for questions in (_daily_rows(), _daily_columns())
            for tier, where in ((_STORE, "the store"), (_REDIS, "Redis"))
        }
        scores = take_turns(contestants, effort, _DAILY_PRESSURE)
    return Table(
        title=f"A year of {len(sessions())} daily bars at {_DAILY_PRESSURE.calls_a_second:g} calls/s",
        head=("", "p50 ms", "p99 ms", "server CPU ms/call", "µs/bar", "bytes", "upstream requests"),
        rows=[
            (
                name,
                millis(score.percentile(50)),
                millis(score.percentile(99)),
                millis(score.cpu),
                micros(score.cpu / len(sessions())),
                count(score.answer_bytes),
                count(sum(round_.upstream for round_ in score.rounds)),
            )
            for name, score in scores.items()
        ],
        notes=[
            (
                f"Each call asks for another of {len(_SYMBOLS)} symbols, {_DAILY_PRESSURE}; the load comes from"
                " `benchmarks/asker.py`, whose own time is in p50 and p99, and shares its core with PostgreSQL and"
                " Redis. A round counts only if each answer is what was taped, to the last digit, from the tier that"
                " is named."
            ),
            "Target: p50 20 ms, p99 50 ms.",
        ],
    )


def _daily_rows() -> Questions:
    requests = [
        pb.ListBarsRequest(symbols=[symbol], timeframe="1Day", **_year()) for symbol in _SYMBOLS
    ]
    return Questions(f"{_SERVICE}/ListBars", requests)


def _daily_columns() -> Questions:
    requests = [
        pb.StreamBarsRequest(symbols=[symbol], timeframe="1Day", **_year()) for symbol in _SYMBOLS
    ]
    return Questions(f"{_SERVICE}/StreamBars", requests, streamed=True)


def _year() -> dict[str, Any]:
    start, end = Timestamp(), Timestamp()
    start.FromJsonString(FROM)
    end.FromJsonString(TO)
    return {"start_time": start, "end_time": end}


def _of_page(answer: bytes) -> tuple[str, set[Any], Columns]:
    (result,) = pb.ListBarsResponse.FromString(answer).results
    bars = result.page.bars
    columns: dict[str, bytes] = {
        name: array("d", [float(getattr(bar, name).value) for bar in bars]).tobytes()
        for name in PRICES
    }
    columns |= {
        name: array("q", [getattr(bar, name) for bar in bars]).tobytes()
        for name in ("volume", "trade_count")
    }
    columns["time"] = array("q", [bar.start_time.ToNanoseconds() for bar in bars]).tobytes()
    found = Columns()
    found.add(len(bars), columns)
    return result.symbol, {bar.provenance.served_from for bar in bars}, found


def _of_stream(answer: bytes) -> tuple[str, set[Any], Columns]:
    messages = list(_messages(answer))
    found, tiers = Columns(), set()
    for message in messages[:-1]:
        chunk = message.chunk
        tiers.add(chunk.provenance.served_from)
        columns: dict[str, array[Any]] = {name: _prices(getattr(chunk, name)) for name in PRICES}
        columns |= {
            name: array("q", getattr(chunk, name).values) for name in ("volume", "trade_count")
        }
        columns["time"] = _times(chunk.start_times)
        found.add(chunk.count, {name: column.tobytes() for name, column in columns.items()})
    if messages[-1].end.count != found.rows:
        raise BrokenMeasurement(f"of {messages[-1].end.count} bars {found.rows} came")
    return messages[-1].symbol, tiers, found


def _messages(answer: bytes) -> Iterator[pb.StreamBarsResponse]:
    place = 0
    while place < len(answer):
        start = place + 4
        place = start + int.from_bytes(answer[place:start], "big")
        yield pb.StreamBarsResponse.FromString(answer[start:place])


def _prices(column: history_pb2.DecimalColumn) -> array[float]:
    return array("d", [float(Decimal(one).scaleb(column.exponent)) for one in column.values])


def _times(column: history_pb2.TimeColumn) -> array[int]:
    first, unit = column.first_time.ToNanoseconds(), 10**column.exponent
    return array("q", [first + since * unit for since in accumulate(column.deltas)])


# ---------------------------------------------------------------------------------------- price at


@dataclass(frozen=True, slots=True)
class _PriceAt:
    """Answers what symbols traded at from one tier, and proves it."""

    tier: provenance_pb2.Tier.ValueType
    gateway: Process
    load: VariousLoad
    history: HistoryStage
    moments: Sequence[_Moment]
    requests: list[int] = field(default_factory=list)
    """Of the upstream's pages, in each round."""

    def ask(self, calls: int, pressure: Pressure) -> Round:
        """Ask about other moments each time.

        Raises:
            BrokenMeasurement: a price was not the tape's, or came from elsewhere.
        """
        if self.tier == _UPSTREAM:
            self.history.forget()
        before = self.history.requests()
        requests = [moment.request for moment in self.moments]
        reply = self.load.run(
            self.gateway, Questions(f"{_SERVICE}/GetPriceAt", requests), pressure, calls=calls
        )
        self._check(reply)
        asked = self.history.requests() - before
        if (asked > 0) != (self.tier == _UPSTREAM):
            raise BrokenMeasurement(f"{calls} prices cost {asked} upstream requests")
        return Round(reply.run, reply.cpu, asked)

    def _check(self, reply: Reply) -> None:
        for number, answer in enumerate(reply.answers):
            moment = self.moments[number % len(self.moments)]
            result = pb.GetPriceAtResponse.FromString(answer).result
            trade = result.price.trade
            told = (
                trade.provenance.event_time.ToNanoseconds(),
                Decimal(trade.price.value or 0),
                trade.provenance.served_from,
            )
            expected = (moment.last.time, Decimal(moment.last.price), self.tier)
            if told != expected:
                msg = f"{moment.request} was answered with {result}, and the last trade is {moment.last}"
                raise BrokenMeasurement(msg)


@dataclass(frozen=True, slots=True)
class _Moment:
    """A question, and what the tape says."""

    request: pb.GetPriceAtRequest
    last: Print


def price_at(stage: Stage, effort: Effort) -> Table:
    """Ask what symbols traded at, from the store and from the upstream."""
    tape = stage.folder / "tape-prices"
    taped = write_trades(tape, _TRADED, _EACH)
    moments = list(_moments())
    effort = Effort(effort.rounds, max(_LEAST_SECONDS, effort.seconds))
    rows: list[tuple[str, ...]] = []
    with (
        history_stage(tape, stage.folder, stage.cores) as history,
        history.gateway("price-at") as gateway,
    ):
        history.load(_TRADED, "/v2/stocks/trades?")
        load = VariousLoad(stage.cores.others, stage.folder)
        held = _PriceAt(_STORE, gateway, load, history, moments)
        cold = _PriceAt(_UPSTREAM, gateway, load, history, moments)
        with history.reading(CHUNKS, gateway.port, taped, "trades", FROM, TO) as reader:
            history.turn(reader, taped, gateway)
            history.held(taped)
        history.tidy()
        rows += _price_rows(
            take_turns({"from the store": held.ask}, effort, _PRICE_PRESSURE), _PRICE_PRESSURE
        )
        for wait in (0.0, _ALPACAS_WAIT):
            if wait:
                history.sandbox.delay(wait)
            name = f"cold, upstream at {wait * 1e3:.0f} ms"
            rows += _price_rows(
                take_turns({name: cold.ask}, effort, _COLD_PRESSURE), _COLD_PRESSURE
            )
    return Table(
        title="GetPriceAt",
        head=("", "p50 ms", "p99 ms", "largest ms", "server CPU ms/call", "upstream requests/call"),
        rows=rows,
        notes=[
            (
                f"Each call asks about another moment of the session of {SESSION}, in no order, in which each of"
                f" {len(_TRADED)} symbols traded {_EACH:,} times; {_APART} trades lie between two moments. A third of"
                " the trades are odd lots, which set no price. A round counts only if each answer is the last trade"
                " of the tape that does, with its time, from the tier that is named. Cold: the tables of the store"
                " have been emptied, each question asks the upstream for the fifty trades before its moment, and they"
                " are held afterwards."
            ),
            "The load comes from `benchmarks/asker.py`, as for daily bars. No target is set.",
        ],
    )


def _price_rows(scores: Mapping[str, Score], pressure: Pressure) -> Iterator[tuple[str, ...]]:
    for name, score in scores.items():
        calls = sum(len(round_.run.times) for round_ in score.rounds)
        yield (
            f"{name}, {pressure.calls_a_second:g} calls/s",
            millis(score.percentile(50)),
            millis(score.percentile(99)),
            millis(max(max(round_.run.times) for round_ in score.rounds)),
            millis(score.cpu),
            f"{sum(round_.upstream for round_ in score.rounds) / calls:.2f}",
        )


def _moments() -> Iterable[_Moment]:
    dice = random.Random(0)
    moments = [moment for symbol in _TRADED for moment in _moments_of(symbol, dice)]
    dice.shuffle(moments)
    return moments


def _moments_of(symbol: str, dice: random.Random) -> Iterator[_Moment]:
    tape = prints(symbol, _EACH)
    for place in range(_APART, _EACH - 1, _APART):
        # Between this trade and the next, or at this one.
        time = dice.randrange(tape[place].time, tape[place + 1].time)
        last = next(one for one in reversed(tape[: place + 1]) if one.sets_price)
        moment = Timestamp(seconds=time // NANOS, nanos=time % NANOS)
        yield _Moment(pb.GetPriceAtRequest(symbol=symbol, time=moment), last)
