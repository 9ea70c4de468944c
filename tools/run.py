"""`make run`: sandbox, Redis, PostgreSQL and a gateway before all of them, up until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import Final

from rich.console import Console
from rich.text import Text

from . import hints
from .embedded import ServerFailed, postgres_server, redis_server
from .programs import ProgramFailed, gateway_program, sandbox_program

_SIDE_PORT: Final = "127.0.0.1:9464"
"""Where a gateway tells its metrics unless told otherwise."""


def main() -> int:
    """Start them all, say how to talk to them, and wait."""
    parser = argparse.ArgumentParser(prog="python -m tools.run", description=__doc__)
    parser.add_argument("--at", help="when the sandbox's market begins; now unless given")
    at = parser.parse_args().at
    console = Console()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with (
            sandbox_program(*(["--at", at] if at else []), listen="127.0.0.1:50080") as sandbox,
            redis_server() as redis,
            postgres_server() as postgres,
            gateway_program(
                *(sandbox.address, {"TICKGATE_HTTP_LISTEN": _SIDE_PORT}, hints.GATEWAY),
                redis_url=redis.url,
                postgres_url=postgres.url,
            ) as gateway,
        ):
            for name, address in (
                ("sandbox", f"http://{sandbox.address}"),
                ("redis", redis.url),
                ("postgres", postgres.url),
                ("gateway", gateway.address),
                ("metrics", f"http://{_SIDE_PORT}/metrics"),
            ):
                console.print(Text(f"{name:<8}  {address}"), soft_wrap=True)
            console.print("\nin another terminal")
            hints.show(console)
            console.print("\nCtrl-C stops them all.")
            stop.wait()
    except (ProgramFailed, ServerFailed) as failure:
        console.print(Text(f"{failure}", style="red"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
