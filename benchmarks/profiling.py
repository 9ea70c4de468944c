"""Says where the gateway's own Python spends its time: on a cached GetQuote, a batch, chains, the past, fan-out.

python -m benchmarks.profiling [calls] [everything] [chains] [history] [streams]

Each function's own time by cProfile, in microseconds of one call, in nanoseconds of one contract, bar or delivered
update. "everything" says what keys, limits, metrics, traces, logs and audit add to each function of a cached GetQuote;
all else is without them.
The profiler adds to every Python function that is called and nothing to gRPC's own code, so compare lines with each
other and never with RESULTS.md.
"""

from __future__ import annotations

import argparse
import pstats
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tickgate.v1 import option_service_pb2 as pb

from .chain_market import ChainStage, chain_stage, drop, gather
from .consumer import OFF, everything_on
from .evidence import expect_quotes
from .h2load import NoLoadGenerator, find
from .history_market import FROM, TO, HistoryStage, history_stage
from .history_reader import POLARS
from .history_tape import Taped, write_minute_bars
from .live import live_stage
from .load import Load, Question
from .processes import BrokenMeasurement, Cores
from .run import CACHE
from .sandbox import Sandbox
from .stage import GATEWAY, KEPT, running_gateway, running_sandbox
from .streaming import Fanned, Following, fan
from .unary import BUSY, MANY, ONE

_CALLS: Final = ((ONE, 5000), (MANY, 200))
_FEW: Final = 50
_MANY: Final = 1000
_CHAINS: Final = 10
_YEARS: Final = 5
_SYMBOL: Final = "YEAR"
_LINES: Final = 30

_FOLLOWING: Final = Following.chance(100, 10_000)
"""Half of what the gateway can do, for the profiler takes as much again."""

_SHORT, _LONG = 0.5, 5.5
"""Seconds for which the upstream sends."""

_PROFILED: Final = ("-m", "cProfile", "-o")

_WHAT: Final = ["calls", "everything", "chains", "history", "streams"]

Times = Mapping[tuple[str, str], float]
"""Seconds of its own that each function took, by place and name."""


def profile(question: Question, calls: int, load: Load, sandbox: Sandbox, folder: Path) -> str:
    """Return the functions of the gateway that take most of *question*, with the microseconds of each."""
    few = _measure(question, _FEW, load, sandbox, folder)
    many = _measure(question, _FEW + calls, load, sandbox, folder)
    said = f"{question.path}, {question.values} values: µs of a call"
    return _said(said, few, many, calls / 1e6)


def profile_everything(load: Load, sandbox: Sandbox, folder: Path) -> str:
    """Return the functions that take longer for a cached GetQuote when everything is on, with the microseconds."""
    question, calls = _CALLS[0]
    with everything_on(folder, Cores.divide()):
        times = [
            _measure(question, _FEW + more, load, sandbox, folder, everything=everything)
            for everything in (False, True)
            for more in (0, calls)
        ]
    (few_off, many_off), (few_on, many_on) = times[:2], times[2:]
    # What a start takes differs as well: each is subtracted from its own.
    off = {place: many_off[place] - few_off.get(place, 0.0) for place in many_off}
    on = {place: many_on[place] - few_on.get(place, 0.0) for place in many_on}
    return _said(f"{question.path}: µs more of a call, everything on", off, on, calls / 1e6)


def profile_streams(folder: Path) -> str:
    """Return the functions of the gateway that take most of fan-out, with the nanoseconds of each."""
    few, short = _measure_streams(_SHORT, folder)
    many, long = _measure_streams(_LONG, folder)
    followers, more = len(_FOLLOWING.followed), long.delivered - short.delivered
    said = (
        f"{_FOLLOWING.rate:,.0f} updates/s to {followers} followers: ns of a delivered update"
        f" ({more:,} in {long.messages - short.messages:,} messages)"
    )
    return _said(said, few, many, more / 1e9)


def profile_chains(chains: ChainStage, *, cold: bool) -> str:
    """Return the functions of the gateway that take most of a chain, with the nanoseconds of each contract."""
    few, many = (_measure_chains(chains, times, cold=cold) for times in (1, 1 + _CHAINS))
    contracts = chains.expected.contracts
    said = f"a chain of {contracts:,} contracts, {'cold' if cold else 'warm'}: ns of a contract"
    return _said(said, few, many, _CHAINS * contracts / 1e9)


def profile_history(history: HistoryStage, taped: Taped, *, cold: bool) -> str:
    """Return the functions of the gateway that take most of a year of minute bars, with the nanoseconds of each bar."""
    few, many = (_measure_history(history, taped, years, cold=cold) for years in (1, 1 + _YEARS))
    said = f"{taped.rows:,} minute bars, {'cold' if cold else 'from the store'}: ns of a bar"
    return _said(said, few, many, _YEARS * taped.rows / 1e9)


def _said(title: str, few: Times, many: Times, units: float) -> str:
    # What a start and an end take stands in both.
    taken = {place: (many[place] - few.get(place, 0.0)) / units for place in many}
    most = sorted(taken.items(), key=lambda entry: entry[1], reverse=True)[:_LINES]
    lines = [f"{each:8.2f}  {place} {name}" for (place, name), each in most]
    return "\n".join([title, *lines])


def _measure(
    question: Question,
    calls: int,
    load: Load,
    sandbox: Sandbox,
    folder: Path,
    *,
    everything: bool = False,
) -> Times:
    written = folder / "profile"
    with running_gateway(
        *("profiled", sandbox, folder, Cores.divide()),
        command=(*_PROFILED, str(written), *GATEWAY),
        settings=KEPT if everything else {**KEPT, **OFF},
        everything=everything,
    ) as gateway:
        expect_quotes(gateway, question)
        load.run(gateway.port, question, calls, BUSY)
    # What only a start calls is none of the call's; 1 % of all calls are traced.
    return _read(written, calls // 200 if calls > _MANY else 0)


def _measure_chains(chains: ChainStage, times: int, *, cold: bool) -> Times:
    written = chains.folder / "profile"
    request = pb.StreamOptionChainRequest(underlying_symbol=chains.underlying)
    with chains.gateway("profiled", (*_PROFILED, str(written), *GATEWAY)) as gateway:
        gather(gateway, request)
        for _ in range(times):
            if cold:
                drop(gateway)
            gather(gateway, request)
    return _read(written)


def _measure_history(history: HistoryStage, taped: Taped, times: int, *, cold: bool) -> Times:
    written = history.folder / "profile"
    command = (*_PROFILED, str(written), *GATEWAY)
    with (
        history.gateway("profiled", command=command) as gateway,
        history.reading(POLARS, gateway.port, taped, "1Min", FROM, TO) as reader,
    ):
        for _ in range(times):
            history.held(taped)
            if cold:
                history.forget()
            history.turn(reader, taped, gateway)
        history.held(taped)
    return _read(written)


def _measure_streams(seconds: float, folder: Path) -> tuple[Times, Fanned]:
    written = folder / "profile"
    command = (*_PROFILED, str(written), *GATEWAY)
    symbols, cores = _FOLLOWING.symbols, Cores.divide()
    with live_stage("profiled", symbols, folder, cores, command=command) as live:
        done, schedule = fan(live, _FOLLOWING, seconds)
    schedule.unlink()
    return _read(written), done


def _read(written: Path, least: int = 0) -> Times:
    """Return the times of the functions that were called at *least* so often."""
    # The profile is there when the gateway has ended.
    stats: Any = pstats.Stats(str(written))
    return {
        (f"{'/'.join(Path(file).parts[-2:])}:{line}", name): own
        for (file, line, name), (_, called, own, _, _) in stats.stats.items()
        if called >= least
    }


def main() -> int:
    """Profile what is asked for, or everything, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", nargs="*", choices=_WHAT, default=_WHAT)
    what = parser.parse_args().what
    try:
        with TemporaryDirectory(prefix="tickgate-profile-") as name:
            if "calls" in what:
                _profile_calls(Path(name))
            if "everything" in what:
                _profile_everything(Path(name))
            if "chains" in what:
                _profile_chains(Path(name))
            if "history" in what:
                _profile_history(Path(name))
            if "streams" in what:
                print(f"\n{profile_streams(Path(name))}", flush=True)
    except (BrokenMeasurement, NoLoadGenerator) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


def _profile_calls(folder: Path) -> None:
    cores = Cores.divide()
    load = Load(find(CACHE), cores.others, folder)
    with running_sandbox(folder, cores) as sandbox:
        for question, calls in _CALLS:
            print(f"\n{profile(question, calls, load, sandbox, folder)}", flush=True)


def _profile_everything(folder: Path) -> None:
    cores = Cores.divide()
    load = Load(find(CACHE), cores.others, folder)
    with running_sandbox(folder, cores) as sandbox:
        print(f"\n{profile_everything(load, sandbox, folder)}", flush=True)


def _profile_chains(folder: Path) -> None:
    with chain_stage(folder, Cores.divide()) as chains:
        for cold in (True, False):
            print(f"\n{profile_chains(chains, cold=cold)}", flush=True)


def _profile_history(folder: Path) -> None:
    taped = write_minute_bars(folder / "tape", _SYMBOL)
    with history_stage(folder / "tape", folder, Cores.divide()) as history:
        history.load([_SYMBOL], "/v2/stocks/bars?timeframe=1Min&")
        for cold in (True, False):
            print(f"\n{profile_history(history, taped, cold=cold)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
