"""How quickly the past is written, and how much later than it is answered it is held (issue 6)."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import psycopg

from tickgate_server.market.series import SeriesKind

from .history_market import FROM, TO, HistoryStage, Turn, history_stage
from .history_reader import POLARS
from .history_tape import SESSION, YEAR, Columns, Taped, write_minute_bars, write_trades
from .history_writer import COPY, EXECUTEMANY, PAGE, STORE, Written, bare
from .processes import BrokenMeasurement, Process
from .readings import Reading, reading
from .report import Table, count, micros, millis, spread
from .rounds import Effort
from .stage import Stage

_SYMBOL: Final = "YEAR"
_TRADED: Final = "TRADED"
_TRADES: Final = 200_000

_MOST_ROUNDS: Final = 3
"""A row by row insert takes its time."""

_WAYS: Final = {
    STORE: "the store",
    COPY: "psycopg, COPY in binary",
    EXECUTEMANY: "psycopg, executemany",
}


@dataclass(frozen=True, slots=True)
class _Turn:
    """Everything written once."""

    written: Written
    postgres: float
    """Seconds of PostgreSQL's CPU."""

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.written.rows / self.written.seconds


@dataclass(frozen=True, slots=True)
class _Held:
    """One cold reading, and when the store held what it was given."""

    turn: Turn
    held: float
    """Seconds from the end of the reading until it was held."""


def history_writes(stage: Stage, effort: Effort) -> Table:
    """Compare the store's writing with a bare psycopg, and see how much later than it is read a year is held."""
    tape = stage.folder / "tape-writes"
    written = {
        SeriesKind.BARS: (write_minute_bars(tape, _SYMBOL), f"bars/{_SYMBOL}-1Min-{YEAR}.json.gz"),
        SeriesKind.TRADES: (
            write_trades(tape, [_TRADED], _TRADES),
            f"trades/{_TRADED}-{SESSION}.jsonl.gz",
        ),
    }
    rounds = min(_MOST_ROUNDS, effort.rounds)
    with history_stage(tape, stage.folder, stage.cores) as history:
        history.load([_SYMBOL], "/v2/stocks/bars?timeframe=1Min&")
        bars = written[SeriesKind.BARS][0]
        with (
            history.gateway("history-writes") as gateway,
            history.reading(POLARS, gateway.port, bars, "1Min", FROM, TO) as reader,
        ):
            cold = [_cold(history, gateway, reader, bars) for _ in range(rounds)]
        rows = []
        for kind, (taped, recording) in written.items():
            turns = _take_turns(history, kind, taped, tape / recording, rounds)
            rows += list(_rows(kind, turns))
    late = [one.held for one in cold]
    whole = [one.turn.fetched.seconds + one.held for one in cold]
    return Table(
        title="Writing the past",
        head=(
            "",
            "rows/s",
            "seconds",
            "writer CPU µs/row",
            "PostgreSQL CPU µs/row",
            "rate / COPY's",
        ),
        rows=rows,
        notes=[
            (
                f"A year of {bars.rows:,} minute bars, and {_TRADES:,} trades of one session. Each contestant is a"
                " process of its own on the core of servers, PostgreSQL on that of the load (`tools.embedded`, no"
                f" fsync). The store writes blocks of {PAGE:,}, those of an upstream's page, each a transaction that"
                " locks the series, looks at what is held, and records coverage. psycopg writes tuples of Python's"
                " own integers and decimals into a bare table of the same columns and indexes, in one transaction."
                " Blocks and tuples were made before. A round counts only if the table then holds what was written."
            ),
            (
                f"End to end: a cold StreamBars of the year, whose upstream answers at once, was in a DataFrame after"
                f" {millis(median(one.turn.fetched.seconds for one in cold))} ms, and held by the store"
                f" {millis(median(late))} ms later (at most {millis(max(late))}):"
                f" {count(bars.rows / median(whole))} rows/s from the question to the last commit, the gateway using"
                f" {micros(median(one.turn.server for one in cold) / bars.rows)} µs of CPU a bar for all of it."
            ),
            "Target: 100,000 rows/s.",
        ],
    )


def _cold(history: HistoryStage, gateway: Process, reader: Reading, taped: Taped) -> _Held:
    history.held(taped)
    history.forget()
    turn = history.turn(reader, taped, gateway)
    start = time.perf_counter()
    history.held(taped)
    return _Held(turn, time.perf_counter() - start)


def _take_turns(
    history: HistoryStage, kind: SeriesKind, taped: Taped, recording: Path, rounds: int
) -> dict[str, list[_Turn]]:
    turns: dict[str, list[_Turn]] = {way: [] for way in _WAYS}
    with psycopg.connect(history.postgres.url, autocommit=True) as connection, ExitStack() as open_:
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {bare(kind)} (LIKE history_{kind} INCLUDING ALL)"
        )
        writers = {
            way: open_.enter_context(
                reading(
                    history.cores.server,
                    "history_writer",
                    *(way, kind, recording, taped.symbols[0], history.postgres.url),
                )
            )
            for way in _WAYS
        }
        for number in range(rounds + 1):
            for way, writer in writers.items():
                turn = _turn(history, connection, kind, way, writer, taped)
                # In the first one partitions are made and statements prepared.
                turns[way] += [turn] if number else []
    return turns


def _turn(
    history: HistoryStage,
    connection: psycopg.Connection,
    kind: SeriesKind,
    way: str,
    writer: Reading,
    taped: Taped,
) -> _Turn:
    """Let one contestant write everything.

    Raises:
        BrokenMeasurement: it is not all there, or something else.
    """
    history.forget()
    connection.execute(f"TRUNCATE {bare(kind)}")
    connection.execute("CHECKPOINT")
    cpu = history.postgres_cpu()
    written = writer.ask({}, Written)
    turn = _Turn(written, history.postgres_cpu() - cpu)
    table = f"history_{kind}" if way == STORE else bare(kind)
    columns = Columns()
    columns.add(taped.rows, _held_in(connection, table, taped))
    if (written.rows, columns.sums) != (taped.rows, taped.sums):
        raise BrokenMeasurement(f"{way}: {table} does not hold what was written")
    return turn


def _held_in(connection: psycopg.Connection, table: str, taped: Taped) -> dict[str, bytes]:
    whole = {"time", "volume", "trade_count", "size", "id"}
    names = list(taped.sums)
    found = connection.execute(
        f"SELECT {', '.join(names)} FROM {table} WHERE known_until IS NULL ORDER BY time, ordinal"  # noqa: S608 - ours
    ).fetchall()
    columns = zip(*found, strict=True)
    return {
        name: array("q" if name in whole else "d", map(float if name not in whole else int, column)).tobytes()
        for name, column in zip(names, columns, strict=True)
    }  # fmt: skip


def _rows(kind: SeriesKind, turns: Mapping[str, Sequence[_Turn]]) -> Iterator[tuple[str, ...]]:
    for way, done in turns.items():
        yield (
            f"{kind}, {_WAYS[way]}",
            count(median(turn.rate for turn in done)),
            f"{median(turn.written.seconds for turn in done):.2f}",
            micros(median(turn.written.cpu / turn.written.rows for turn in done)),
            micros(median(turn.postgres / turn.written.rows for turn in done)),
            ""
            if way == COPY
            else spread(
                [own.rate / its.rate for own, its in zip(done, turns[COPY], strict=True)]
            ),
        )  # fmt: skip
