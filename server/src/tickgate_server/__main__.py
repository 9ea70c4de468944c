"""`tickgate-server`: serve, show the settings that would be served with, or bring the schema up to date."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import structlog
from cyclopts import App, Parameter

from . import __version__
from .app import gateway, stores
from .app.calls_log import log_format
from .errors import StoreUnusable
from .observe.logs import start_logs
from .settings import Settings, SettingsError, load

cli = App(
    name="tickgate-server",
    help="A gRPC market data gateway over Alpaca.",
    version=f"tickgate-server {__version__}",
)

_CONFIG_VARIABLE = "TICKGATE_CONFIG"

ConfigFile = Annotated[
    Path | None,
    Parameter(name="--config", help=f"TOML file with settings; {_CONFIG_VARIABLE} names one too."),
]

_log = structlog.get_logger("tickgate_server")


@cli.command
def serve(config: ConfigFile = None) -> int:
    """Serve until SIGTERM or SIGINT, then drain: nothing under way is lost."""
    settings = _load(config)
    start_logs(sys.stderr, log_format(settings), settings.log.level)
    _install_uvloop()
    try:
        asyncio.run(_serve(settings))
    except (OSError, StoreUnusable) as error:
        print(f"tickgate-server: {error}", file=sys.stderr)
        return 1
    return 0


@cli.command(name="config")
def show_config(config: ConfigFile = None) -> int:
    """Print the effective settings, without secrets, as JSON."""
    print(json.dumps(_load(config).shown(), indent=2))
    return 0


@cli.command
def migrate(
    config: ConfigFile = None,
    *,
    check: Annotated[
        bool, Parameter(negative="", help="Change nothing; fail if it is old.")
    ] = False,
) -> int:
    """Bring the schema of the PostgreSQL at TICKGATE_POSTGRES_URL up to date."""
    settings = _load(config)
    if not settings.postgres_url.get_secret_value():
        msg = "postgres_url: not set, so there is nothing to migrate"
        raise SettingsError(msg)
    start_logs(sys.stderr, log_format(settings), "error")
    try:
        print(asyncio.run(_migrate(settings, "check" if check else "auto")))
    except StoreUnusable as error:
        print(f"tickgate-server: {error}", file=sys.stderr)
        return 1
    return 0


def main() -> None:
    """Run the command line."""
    try:
        sys.exit(cli())
    except SettingsError as error:
        print(f"tickgate-server: the settings cannot be used\n{error}", file=sys.stderr)
        sys.exit(2)


def _load(path: Path | None) -> Settings:
    named = os.environ.get(_CONFIG_VARIABLE)
    return load(path or (Path(named) if named else None))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with gateway(settings) as running:
        host = settings.listen.rpartition(":")[0]
        _log.info(
            "serving",
            listen=f"{host}:{running.port}",
            environment=settings.environment,
            data_url=settings.data_url,
            stock_feed=settings.alpaca.stock_feed.value,
        )
        await stop.wait()
        _log.info("draining", seconds=settings.drain)
    _log.info("stopped")


async def _migrate(settings: Settings, mode: Literal["auto", "check"]) -> str:
    """Return what became of the schema, in a sentence.

    Raises:
        StoreUnusable: the schema is not what it should be, and the message says why.
    """
    done = await stores.migrate(settings, mode)
    if done.before == done.now:
        return f"schema {done.now} is up to date"
    before = "nothing" if done.before is None else f"schema {done.before}"
    return f"migrated from {before} to schema {done.now}"


def _install_uvloop() -> None:
    try:
        import uvloop  # noqa: PLC0415 - an extra, and only the program needs it
    except ImportError:
        # An extra that saves some 8 % of the work; asyncio's own loop does the same.
        return
    uvloop.install()


if __name__ == "__main__":
    main()
