"""Says where the gateway's own Python spends its time on a cached GetQuote and on a batch of 200.

python -m benchmarks.profiling

Each function's own time, in microseconds of one call, by cProfile. The profiler adds to every Python function that is
called and nothing to gRPC's own code, so compare lines with each other and never with RESULTS.md.
"""

from __future__ import annotations

import argparse
import pstats
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from .evidence import expect_quotes
from .h2load import NoLoadGenerator, find
from .load import Load, Question
from .processes import BrokenMeasurement, Cores
from .run import CACHE
from .sandbox import Sandbox
from .stage import running_gateway, running_sandbox
from .unary import BUSY, MANY, ONE

_CALLS: Final = ((ONE, 5000), (MANY, 200))
_FEW: Final = 50
_LINES: Final = 30


Times = Mapping[tuple[str, str], float]
"""Seconds of its own that each function took, by place and name."""


def profile(question: Question, calls: int, load: Load, sandbox: Sandbox, folder: Path) -> str:
    """Return the functions of the gateway that take most of *question*, with the microseconds of each."""
    few = _measure(question, _FEW, load, sandbox, folder)
    many = _measure(question, _FEW + calls, load, sandbox, folder)
    # What a start and an end take stands in both.
    taken = {place: (many[place] - few.get(place, 0.0)) / calls for place in many}
    most = sorted(taken.items(), key=lambda entry: entry[1], reverse=True)[:_LINES]
    lines = [f"{seconds * 1e6:8.2f}  {place} {name}" for (place, name), seconds in most]
    return "\n".join([f"{question.path}, {question.values} values: µs of a call", *lines])


def _measure(question: Question, calls: int, load: Load, sandbox: Sandbox, folder: Path) -> Times:
    written = folder / "profile"
    command = ("-m", "cProfile", "-o", str(written), "-m", "tickgate_server", "serve")
    with running_gateway("profiled", sandbox, folder, Cores.divide(), command=command) as gateway:
        expect_quotes(gateway, question)
        load.run(gateway.port, question, calls, BUSY)
    # The profile is there when the gateway has ended.
    stats: Any = pstats.Stats(str(written))
    return {
        (f"{'/'.join(Path(file).parts[-2:])}:{line}", name): own
        for (file, line, name), (_, _, own, _, _) in stats.stats.items()
    }


def main() -> int:
    """Profile both questions and print what was found."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    cores = Cores.divide()
    try:
        with TemporaryDirectory(prefix="tickgate-profile-") as name:
            folder = Path(name)
            load = Load(find(CACHE), cores.others, folder)
            with running_sandbox(folder, cores) as sandbox:
                for question, calls in _CALLS:
                    print(f"\n{profile(question, calls, load, sandbox, folder)}", flush=True)
    except (BrokenMeasurement, NoLoadGenerator) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
