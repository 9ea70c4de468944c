"""Runs the benchmarks, prints their tables and writes them to benchmarks/RESULTS.md.

python -m benchmarks.run                                everything, in about three quarters of an hour
python -m benchmarks.run --rounds 9 --seconds 4         the same, steadier
python -m benchmarks.run --only cached_quote fan_out    some tables, written nowhere
python -m benchmarks.run --only streams --merge         those of streams, written to where they stand on the page
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from . import (
    chains,
    circuit,
    decoding,
    everything,
    guards,
    history,
    history_memory,
    history_questions,
    history_writes,
    spared,
    streaming,
    tiers,
    unary,
)
from .consumer import everything_on
from .h2load import NoLoadGenerator, find
from .load import Load
from .peers import compare
from .processes import BrokenMeasurement, Cores
from .report import Table, machine
from .rounds import Effort
from .stage import KEPT, UNBOUND, Stage, stage

_HERE: Final = Path(__file__).parent
_RESULTS: Final = _HERE / "RESULTS.md"
CACHE: Final = _HERE.parent / ".build" / "h2load"

Benchmark = Callable[[Stage, Effort], Table]

STREAMS: Final[tuple[Benchmark, ...]] = (
    streaming.fan_out,
    streaming.followers,
    streaming.frame_to_reader,
    decoding.decoding,
    streaming.slow_readers,
    streaming.footprint,
)

HISTORY: Final[tuple[Benchmark, ...]] = (
    history.minute_bars,
    history_writes.history_writes,
    history_questions.daily_bars,
    history_questions.price_at,
    history_memory.five_million,
)

BENCHMARKS: Final[tuple[Benchmark, ...]] = (
    unary.cached_quote,
    unary.cached_batch,
    unary.unhurried,
    compare.peers,
    everything.everything,
    everything.everything_streams,
    unary.uncached,
    tiers.tiers,
    guards.added,
    circuit.refusals,
    spared.mix,
    spared.crowds,
    unary.slow_upstream,
    chains.chain,
    chains.chain_crowd,
    chains.chain_weight,
    *HISTORY,
    *STREAMS,
)
"""Each makes a table of its own; its name is what --only takes."""

_GROUPS: Final[Mapping[str, tuple[Benchmark, ...]]] = {"history": HISTORY, "streams": STREAMS}
"""What --only takes for several of them."""

_METHOD: Final = """\
Contestants take turns (A B A B …), {rounds} rounds of {seconds:g} s each. Numbers are medians of the rounds. A ratio is
formed pair by pair and written as its median, its least and its largest; tables of many contestants take three rounds.
{cores} Server CPU is user and system time of
all its threads.

The gateway is the program `tickgate-server serve` with everything on: callers show an API key, limits are counted and
never reached, metrics are kept, one call in a hundred is traced and sent by OTLP to a collector that counts, and calls
go into a log and into an audit log, both files. All other settings are the defaults. Only these differ: {unbound},
so that no budget slows the asking and nothing goes upstream that nobody asks for; and, where a
table does not say otherwise, {kept}, so that values stay in memory for the length of a run. Behind it stands
`tickgate-sandbox serve` with a market that stands still. The bare echo is a grpc.aio server that sends the gateway's
own bytes and does nothing else (`benchmarks/echo.py`). The load comes from h2load where every call asks the same, and
from `benchmarks/asker.py` where they differ.

A round of h2load counts only if each call was answered with HTTP 200 and a message, the gateway logged each as it was
to end, nothing went upstream where memory was to answer, and the answers were of one size. A real gRPC client asks
before and after. The asker keeps every answer, and each is read when the round is over: how many values it holds, and
from which tier."""

_ABOUT_STREAMS: Final = """\
Where streams are measured, a gateway with the plan plus follows the feed sip of `benchmarks/feeder.py`, which sends
frames made beforehand, before a sandbox whose market is open and goes on. `benchmarks/reader.py` reads. A round counts
only if the numbers of the updates show, for each follower and symbol, that everything the upstream sent was delivered
or conflated."""


def measure(only: Collection[str], effort: Effort, *, off: bool = False) -> list[Table]:
    """Run the benchmarks and print each table as soon as it is there; *off* leaves gateways as bare as they start."""
    if sys.platform != "linux":
        sys.exit(
            "The benchmarks read other processes' CPU clocks and keep servers on one core: they need Linux."
        )
    tables = []
    cores = Cores.divide()
    with TemporaryDirectory(prefix="tickgate-bench-") as folder:
        load = Load(find(CACHE), cores.others, Path(folder))
        with (
            nullcontext() if off else everything_on(Path(folder), cores),
            stage(load, Path(folder), cores) as running,
        ):
            for benchmark in BENCHMARKS:
                if benchmark.__name__ in only:
                    tables.append(benchmark(running, effort))
                    print(f"\n{tables[-1]}", flush=True)
    return tables


def page(tables: Sequence[Table], command: str, effort: Effort) -> str:
    """Return RESULTS.md."""
    cores = (
        "The server that is measured has a core of its own; h2load and the sandbox share another."
        if Cores.divide().server is not None
        else "Everything shares one core."
    )
    about = "\n".join(f"- {fact}" for fact in (f"Command: `{command}`", *machine()))
    method = _METHOD.format(
        rounds=effort.rounds,
        seconds=effort.seconds,
        cores=cores,
        unbound=_listed(UNBOUND),
        kept=_listed(KEPT),
    )
    return "\n\n".join(["# Benchmarks", about, method, _ABOUT_STREAMS, *map(str, tables)]) + "\n"


def merge(written: str, tables: Sequence[Table], only: Collection[str], command: str) -> str:
    """Return the page *written* with *tables*, which *only* names, in their places or behind all others."""
    head, *sections = re.split(r"^(?=## )", written.rstrip("\n") + "\n\n", flags=re.MULTILINE)
    by_title = {section.partition("\n")[0]: section for section in sections}
    when = (
        f"Measured apart from the others, with everything on: `{command}`, {'; '.join(machine())}."
    )
    for table in tables:
        section = str(replace(table, notes=[*table.notes, when]))
        by_title[section.partition("\n")[0]] = f"{section}\n\n"
    if _ABOUT_STREAMS not in head and any(one.__name__ in only for one in STREAMS):
        head += f"{_ABOUT_STREAMS}\n\n"
    return "".join([head, *by_title.values()]).rstrip("\n") + "\n"


def _listed(settings: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}={value}`" for name, value in settings.items())


def main() -> int:
    """Read the command line and do as it says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round (2)")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="for which memory is watched (10)"
    )
    names = [benchmark.__name__ for benchmark in BENCHMARKS]
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*names, *_GROUPS],
        metavar="NAME",
        help=f"run some and write no page: {', '.join(_GROUPS)}, or {', '.join(names)}",
    )
    parser.add_argument("--merge", action="store_true", help="write what --only found to the page")
    parser.add_argument(
        "--off",
        action="store_true",
        help="without keys, limits, traces and audit; goes with --only",
    )
    arguments = parser.parse_args()
    if arguments.merge and not arguments.only:
        parser.error("--merge goes with --only")

    if arguments.off and (arguments.merge or not arguments.only):
        parser.error("--off goes with --only, and is not merged")

    effort = Effort(
        max(1, arguments.rounds), max(0.1, arguments.seconds), max(0.1, arguments.minutes)
    )
    only = set(arguments.only or names)
    for name, group in _GROUPS.items():
        if name in only:
            only |= {benchmark.__name__ for benchmark in group}
    try:
        tables = measure(only, effort, off=arguments.off)
    except (BrokenMeasurement, NoLoadGenerator) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    command = shlex.join(["python", "-m", "benchmarks.run", *sys.argv[1:]])
    if arguments.merge:
        written = merge(_RESULTS.read_text(encoding="utf-8"), tables, only, command)
    elif arguments.only:
        return 0
    else:
        written = page(tables, command if sys.argv[1:] else "make bench", effort)
    _RESULTS.write_text(written, encoding="utf-8")
    print(f"\nwritten to {os.path.relpath(_RESULTS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
