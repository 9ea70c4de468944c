"""The program `tickgate-sandbox`."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from . import __version__
from .recordings import RecordingError
from .server import sandbox
from .settings import Plan, SandboxSettings, SettingsError

app = App(
    name="tickgate-sandbox",
    version=__version__,
    help="A stand-in for Alpaca's market data and trading REST API and its streams.",
)

_Flag = Annotated[bool, Parameter(negative="")]


@app.command
def serve(
    *,
    listen: str = "127.0.0.1:50080",
    replay: Path | None = None,
    symbols: str = "",
    at: str | None = None,
    shift_to_now: _Flag = False,
    speed: float = 1.0,
    max_records: int | None = None,
    step: float = 3.0,
    seed: int = 0,
    plan: Plan = Plan.BASIC,
    rate_limit: int | None = None,
    connections: int = 1,
    auth_timeout: float = 10.0,
    key_id: str | None = None,
    secret: str | None = None,
    ready_file: Path | None = None,
) -> int:
    """Answer as Alpaca would until SIGTERM or SIGINT.

    Parameters
    ----------
    listen
        Address as host:port; port 0 takes a free one.
    replay
        Folder of recordings to replay; without it the market is made up.
    symbols
        Comma list of the symbols to offer; all there are by default.
    at
        Market time at the start, RFC 3339.
    shift_to_now
        Move the recordings so that the instant of --at is now.
    speed
        Market seconds per real second; 0 freezes market time.
    max_records
        Read at most so many lines of each file of quotes or trades.
    step
        Seconds of market time between two made-up updates of a symbol.
    seed
        Another seed gives another made-up market.
    plan
        Alpaca data plan: decides which feeds may be asked for.
    rate_limit
        Requests a minute; no limit by default.
    connections
        Stream connections to each feed; 0 sets no limit.
    auth_timeout
        Seconds that a stream connection has to authenticate.
    key_id
        The only API key that is accepted; any by default. Goes with --secret.
    secret
        The secret of --key-id.
    ready_file
        File to write the address to once the sandbox listens.
    """
    try:
        settings = SandboxSettings(
            listen=listen,
            replay=replay,
            symbols=tuple(filter(None, symbols.split(","))),
            at=at,
            shift_to_now=shift_to_now,
            speed=speed,
            max_records=max_records,
            step=step,
            seed=seed,
            plan=plan,
            rate_limit=rate_limit,
            connections=connections,
            auth_timeout=auth_timeout,
            key_id=key_id,
            secret=secret,
        )
        asyncio.run(_serve(settings, ready_file))
    except (SettingsError, RecordingError) as error:
        print(f"tickgate-sandbox: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"tickgate-sandbox: cannot listen on {listen}: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: SandboxSettings, ready_file: Path | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with sandbox(settings) as running:
        _announce(running.url, ready_file)
        await stopped.wait()


def _announce(url: str, ready_file: Path | None) -> None:
    if ready_file is not None:
        ready_file.write_text(f"{url}\n")
    print(url, flush=True)


def main() -> None:
    """Run the program; exit with its status."""
    sys.exit(app())


if __name__ == "__main__":
    main()
