"""Runs the benchmarks, prints their tables and writes them to benchmarks/RESULTS.md.

python -m benchmarks.run                           everything, in about six minutes
python -m benchmarks.run --rounds 9 --seconds 4    the same, steadier
python -m benchmarks.run --only cached_quote       one table, written nowhere
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from . import circuit, guards, spared, tiers, unary
from .h2load import NoLoadGenerator, find
from .load import Load
from .processes import BrokenMeasurement, Cores
from .report import Table, machine
from .rounds import Effort
from .stage import KEPT, UNBOUND, Stage, stage

_HERE: Final = Path(__file__).parent
_RESULTS: Final = _HERE / "RESULTS.md"
CACHE: Final = _HERE.parent / ".build" / "h2load"

BENCHMARKS: Final[tuple[Callable[[Stage, Effort], Table], ...]] = (
    unary.cached_quote,
    unary.cached_batch,
    unary.unhurried,
    unary.uncached,
    tiers.tiers,
    guards.added,
    circuit.refusals,
    spared.mix,
    spared.crowds,
    unary.slow_upstream,
)
"""Each makes a table of its own; its name is what --only takes."""

_METHOD: Final = """\
Contestants take turns (A B A B …), {rounds} rounds of {seconds:g} s each. Numbers are medians of the rounds. A ratio is
formed pair by pair and written as its median, its least and its largest; tables of many contestants take three rounds.
{cores} Server CPU is user and system time of
all its threads.

The gateway is the program `tickgate-server serve` with its default settings, its log of calls going to a file. Only
these differ: {unbound}, so that no budget slows the asking and nothing goes upstream that nobody asks for; and, where a
table does not say otherwise, {kept}, so that values stay in memory for the length of a run. Behind it stands
`tickgate-sandbox serve` with a market that stands still. The bare echo is a grpc.aio server that sends the gateway's
own bytes and does nothing else (`benchmarks/echo.py`). The load comes from h2load where every call asks the same, and
from `benchmarks/asker.py` where they differ.

A round of h2load counts only if each call was answered with HTTP 200 and a message, the gateway logged each as it was
to end, nothing went upstream where memory was to answer, and the answers were of one size. A real gRPC client asks
before and after. The asker keeps every answer, and each is read when the round is over: how many values it holds, and
from which tier."""


def measure(only: str | None, effort: Effort) -> list[Table]:
    """Run the benchmarks and print each table as soon as it is there."""
    if sys.platform != "linux":
        sys.exit(
            "The benchmarks read other processes' CPU clocks and keep servers on one core: they need Linux."
        )
    tables = []
    cores = Cores.divide()
    with TemporaryDirectory(prefix="tickgate-bench-") as folder:
        load = Load(find(CACHE), cores.others, Path(folder))
        with stage(load, Path(folder), cores) as running:
            for benchmark in BENCHMARKS:
                if only in (None, benchmark.__name__):
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
    return "\n\n".join(["# Benchmarks", about, method, *map(str, tables)]) + "\n"


def _listed(settings: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}={value}`" for name, value in settings.items())


def main() -> int:
    """Read the command line and do as it says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round (2)")
    names = [benchmark.__name__ for benchmark in BENCHMARKS]
    parser.add_argument("--only", choices=names, help="run one benchmark and write no page")
    arguments = parser.parse_args()

    effort = Effort(max(1, arguments.rounds), max(0.1, arguments.seconds))
    try:
        tables = measure(arguments.only, effort)
    except (BrokenMeasurement, NoLoadGenerator) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    if arguments.only is None:
        command = shlex.join(["python", "-m", "benchmarks.run", *sys.argv[1:]])
        command = command if sys.argv[1:] else "make bench"
        _RESULTS.write_text(page(tables, command, effort), encoding="utf-8")
        print(f"\nwritten to {os.path.relpath(_RESULTS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
