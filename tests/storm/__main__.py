"""`python -m tests.storm`: the storm, or with --soak a long day, for people. Exit status 1 when anything was wrong.

docs/faults.md says what is thrown, and how to read the report. Nothing here but `stage` starts a part of the gateway,
and what judges imports none.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys

# Before anything wakes gRPC: its fork handlers have no place in the children that become other programs.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def main() -> int:
    """Rage, print what was found, and return the exit status."""
    from .faults import every_fault  # noqa: PLC0415 - gRPC wakes with it
    from .soak import soak  # noqa: PLC0415
    from .storm import Storm, sample  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="how long, at least, for the whole matrix"
    )
    parser.add_argument(
        "--seed", type=int, default=None, help="that of an earlier storm, to see it again"
    )
    parser.add_argument(
        "--sample", type=int, default=0, help="throw so many faults by lot instead of all"
    )
    parser.add_argument(
        "--only", default="", help="throw the faults whose name has this text in it"
    )
    parser.add_argument("--grid", action="store_true", help="print every cell of calls by faults")
    parser.add_argument(
        "--soak",
        action="store_true",
        help="throw nothing; half of the capacity for so many minutes",
    )
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else secrets.randbelow(1 << 31)
    print(f"seed {seed}", flush=True)
    if asked.soak:
        return 0 if asyncio.run(soak(asked.minutes, seed, _say)) else 1
    chosen = sample(seed, asked.sample) if asked.sample else every_fault()
    chosen = [one for one in chosen if asked.only in one.name]
    storm = Storm(seed, asked.minutes * 60, _say)
    whole = not asked.sample and not asked.only
    report = asyncio.run(storm.rage(chosen, again=whole))
    print("\n".join(report.lines(grid=asked.grid or whole)))
    return 0 if report.is_good else 1


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
