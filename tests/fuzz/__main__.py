"""`python -m tests.fuzz`: nonsense from callers and from the upstream. Exit status 1 when anything was wrong.

Every run has a seed, which is printed: the same seed spoils the same things in the same ways.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable

import structlog

# Before anything wakes gRPC: its fork handlers have no place in the children that become other programs.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def main() -> int:
    """Fuzz, print what was found, and return the exit status."""
    from .found import Found  # noqa: PLC0415 - gRPC wakes with it
    from .http2 import ATTACKS, fuzz_http2  # noqa: PLC0415
    from .payloads import fuzz_bodies, fuzz_frames  # noqa: PLC0415
    from .requests import fuzz_requests  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="how many of each kind")
    parser.add_argument(
        "--seed", type=int, default=None, help="that of an earlier run, to see it again"
    )
    parser.add_argument("--only", default="", help="requests, http2, bodies or frames alone")
    asked = parser.parse_args()
    # The gateway runs in this process, and has much to tell of such callers.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    seed = asked.seed if asked.seed is not None else secrets.randbelow(1 << 31)
    print(f"seed {seed}", flush=True)
    kinds: dict[str, Callable[[], Found]] = {
        "frames": lambda: fuzz_frames(seed, asked.count),
        "bodies": lambda: asyncio.run(fuzz_bodies(seed, asked.count)),
        "http2": lambda: asyncio.run(fuzz_http2(seed, max(2, asked.count // 100 // len(ATTACKS)))),
        "requests": lambda: asyncio.run(fuzz_requests(seed, asked.count)),
    }
    is_good = True
    for name, fuzz in kinds.items():
        if asked.only in ("", name):
            began = time.monotonic()
            found = fuzz()
            is_good = is_good and not found.wrong and found.grown < GROWTH
            print("\n".join(found.lines()))
            print(f"  {time.monotonic() - began:.0f} s", flush=True)
    return 0 if is_good else 1


GROWTH = 64.0
"""MiB by which the second half of a run may make this process grow."""


if __name__ == "__main__":
    sys.exit(main())
