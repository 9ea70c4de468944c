"""The past: a year of bars, and a price at a moment, from the upstream, the store and Redis (issue 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Final

from .history_market import FROM, TO, HistoryStage, Turn, history_stage
from .history_reader import PANDAS, POLARS, ROWS, SDK
from .history_tape import YEAR, Taped, sessions, write_minute_bars
from .processes import BrokenMeasurement, Process
from .readings import Reading
from .report import Table, count, micros, millis, spread
from .rounds import Effort
from .stage import Stage

_SYMBOL: Final = "YEAR"
_MINUTES: Final = ("1Min", FROM, TO)

_ALPACAS_WAIT: Final = 0.15
"""Seconds that the upstream takes for a page, where it does not answer at once."""

_PAGES: Final = 10
"""That a year of minute bars takes."""

ABOUT: Final = (
    f"The past is made up: a bar for each minute of each regular session of {YEAR}, 250 times 390 and 210 of the half"
    " day and a whole one, prices in cents, vwap with four decimal places, written as a folder of recordings that the"
    " sandbox replays (`benchmarks/history_tape.py`). PostgreSQL is that of `tools.embedded` (16 MB of shared buffers,"
    " no fsync); it, Redis, the sandbox and who reads share the core of the load."
)


@dataclass(frozen=True, slots=True)
class _Contestant:
    """Who reads the year."""

    name: str
    way: str
    server: str
    """Which server: of `_gateways`, or the sandbox."""

    tier: str = ""
    """That must answer."""

    forgets: bool = False
    """Whether the store is emptied before."""

    slow: bool = False
    """Whether it is looked at with an upstream that takes its time, too."""


_SDK: Final = _Contestant("alpaca-py, .df (pandas)", SDK, "sandbox", slow=True)
_CONTESTANTS: Final = (
    _SDK,
    _Contestant("gateway, cold, no store, polars", POLARS, "bare", "UPSTREAM", slow=True),
    _Contestant("gateway, cold, polars", POLARS, "stored", "UPSTREAM", forgets=True, slow=True),
    _Contestant("gateway, from the store, polars", POLARS, "stored", "STORE"),
    _Contestant("gateway, from the store, pandas", PANDAS, "stored", "STORE"),
    _Contestant("gateway, from the store, rows", ROWS, "stored", "STORE"),
    _Contestant("gateway, from Redis, polars", POLARS, "cached", "REDIS"),
)


def minute_bars(stage: Stage, effort: Effort) -> Table:
    """Compare a year of minute bars in a table with what Alpaca's SDK reads from the same upstream."""
    tape = stage.folder / "tape-minutes"
    taped = write_minute_bars(tape, _SYMBOL)
    rows: list[tuple[str, ...]] = []
    with history_stage(tape, stage.folder, stage.cores) as history, ExitStack() as open_:
        history.load([_SYMBOL], "/v2/stocks/bars?timeframe=1Min&")
        gateways = {
            name: open_.enter_context(
                history.gateway(f"history-{name}", stored=name != "bare", cached=name == "cached")
            )
            for name in ("bare", "stored", "cached")
        }
        readers = {
            one: open_.enter_context(
                history.reading(
                    one.way,
                    gateways[one.server].port if one.server in gateways else history.sandbox.port,
                    taped,
                    *_MINUTES,
                )
            )
            for one in _CONTESTANTS
        }
        history.held(taped)
        history.tidy()
        history.cached(len(sessions()))
        for wait in (0.0, _ALPACAS_WAIT):
            if wait:
                history.sandbox.delay(wait)
            some = [one for one in _CONTESTANTS if one.slow or not wait]
            turns = _take_turns(history, gateways, readers, some, taped, effort)
            prefix = f"upstream at {wait * 1e3:.0f} ms: " if wait else ""
            rows += _rows(turns, prefix, taped.rows)
    return Table(
        title=f"A year of {taped.rows:,} minute bars, against Alpaca's SDK",
        head=(
            *(
                "",
                "received ms",
                "in a table ms",
                "largest ms",
                "server CPU ms",
                "PostgreSQL CPU ms",
            ),
            *("reader CPU ms", "reader µs/bar", "upstream requests", "SDK's / its"),
        ),
        rows=rows,
        notes=[
            ABOUT,
            (
                "Each contestant is a process of its own and reads the year once in a round; before that, once that is"
                " not counted. A round counts only if every column of the table, to the last digit and nanosecond, is"
                " what was written, and each part says the tier that is named here. Received: all columns are there."
                " In a table: and a DataFrame has been made of them, or a list of `Bar`."
            ),
            (
                "Cold: the tables of the store have been emptied. It is answered while it is written; how much later"
                " it is held is in the table of writes. The upstream answers at once, which Alpaca does not; below as"
                f" if it took {_ALPACAS_WAIT * 1e3:.0f} ms for a page of 10,000."
            ),
            "Target: from the store into a table in less than 500 ms.",
        ],
    )


def _take_turns(
    history: HistoryStage,
    gateways: Mapping[str, Process],
    readers: Mapping[_Contestant, Reading],
    contestants: Sequence[_Contestant],
    taped: Taped,
    effort: Effort,
) -> dict[_Contestant, list[Turn]]:
    turns: dict[_Contestant, list[Turn]] = {one: [] for one in contestants}
    for _ in range(effort.rounds):
        for one in contestants:
            if one.forgets:
                history.forget()
            turns[one].append(_turn(history, gateways.get(one.server), readers[one], one, taped))
            if one.forgets:
                history.held(taped)
                history.tidy()
    return turns


def _turn(
    history: HistoryStage, gateway: Process | None, reader: Reading, one: _Contestant, taped: Taped
) -> Turn:
    """Let one contestant read the year.

    Raises:
        BrokenMeasurement: it did not come from where it was to come.
    """
    turn = history.turn(reader, taped, gateway)
    if one.tier and turn.fetched.tiers != [one.tier]:
        raise BrokenMeasurement(f"{one.name}: it came from {turn.fetched.tiers}")
    pages = 0 if one.tier in ("STORE", "REDIS") else _PAGES
    if turn.requests != pages:
        raise BrokenMeasurement(f"{one.name}: {turn.requests} upstream requests, not {pages}")
    return turn


def _rows(
    turns: Mapping[_Contestant, Sequence[Turn]], prefix: str, bars: int
) -> Iterator[tuple[str, ...]]:
    peers = turns[_SDK]
    for one, done in turns.items():
        ours = one is not _SDK
        yield (
            f"{prefix}{one.name}",
            millis(_mid(done, lambda turn: turn.fetched.received or turn.fetched.seconds)),
            millis(_mid(done, _seconds)),
            millis(max(map(_seconds, done))),
            millis(_mid(done, lambda turn: turn.server)) if ours else "",
            millis(_mid(done, lambda turn: turn.postgres)) if one.server != "sandbox" else "",
            millis(_mid(done, lambda turn: turn.fetched.cpu)),
            micros(_mid(done, lambda turn: turn.fetched.cpu) / bars),
            count(_mid(done, lambda turn: turn.requests)),
            spread([_seconds(peer) / _seconds(own) for peer, own in zip(peers, done, strict=True)])
            if ours
            else "",
        )  # fmt: skip


def _seconds(turn: Turn) -> float:
    return turn.fetched.seconds


def _mid(turns: Sequence[Turn], read: Callable[[Turn], float]) -> float:
    return median(map(read, turns))
