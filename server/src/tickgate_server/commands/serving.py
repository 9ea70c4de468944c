"""Commands that run for long, and what prepares for them."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Annotated, Final, Literal

import structlog
from cyclopts import Parameter

from ..app import gateway, programs, stores
from ..app.logs import event_log, log_format
from ..errors import CertificateUnusable, StoreUnusable
from ..observe.logs import start_logs
from ..settings import Settings, SettingsError
from .common import ConfigFile, finished, settings_of, stop_on_signals

_log = structlog.get_logger("tickgate_server")

_YOUNG: Final = 10_000
"""New objects after which Python looks for cycles among them; 700 by default, which some dozen calls have together."""


def serve(config: ConfigFile = None) -> int:
    """Serve until SIGTERM or SIGINT, then drain: nothing under way is lost."""
    settings = settings_of(config)
    _install_uvloop()
    try:
        with event_log(settings):
            asyncio.run(_serve(settings))
    except (OSError, CertificateUnusable, StoreUnusable) as error:
        print(f"tickgate-server: {error}", file=sys.stderr)
        return 1
    return 0


def ingest(config: ConfigFile = None) -> int:
    """Record, refresh and backfill history apart from serving, until SIGTERM or SIGINT."""
    settings = settings_of(config)
    if not settings.postgres_url.get_secret_value():
        msg = "postgres_url: not set, so there is nowhere to keep history"
        raise SettingsError(msg)
    if not settings.ingestion.enabled:
        msg = "ingestion.enabled: is off, so there is nothing to do"
        raise SettingsError(msg)
    _install_uvloop()
    return finished(_ingest(settings))


def migrate(
    config: ConfigFile = None,
    *,
    check: Annotated[
        bool, Parameter(negative="", help="Change nothing; fail if it is old.")
    ] = False,
) -> int:
    """Bring the schema of the PostgreSQL at TICKGATE_POSTGRES_URL up to date."""
    settings = settings_of(config)
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


async def _serve(settings: Settings) -> None:
    stop = stop_on_signals()
    async with gateway(settings) as running:
        _spare_collector()
        host = settings.listen.rpartition(":")[0]
        _log.info(
            "serving",
            listen=f"{host}:{running.port}",
            http_listen=_side_port(settings, running.http_port),
            environment=settings.environment,
            data_url=settings.data_url,
            stock_feed=settings.alpaca.stock_feed.value,
        )
        await stop.wait()
        _log.info("draining", seconds=settings.drain)
    _log.info("stopped")


async def _ingest(settings: Settings) -> int:
    stop = stop_on_signals()
    with event_log(settings):
        return await _ingest_logged(settings, stop)


async def _ingest_logged(settings: Settings, stop: asyncio.Event) -> int:
    async with programs.ingestion(settings) as http_port:
        _log.info(
            "ingesting",
            environment=settings.environment,
            feed=settings.alpaca.stock_feed.value,
            http_listen=_side_port(settings, http_port),
        )
        await stop.wait()
        _log.info("draining")
    _log.info("stopped")
    return 0


def _side_port(settings: Settings, port: int | None) -> str:
    host = settings.http_listen.rpartition(":")[0]
    return "off" if port is None else f"{host}:{port}"


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


def _spare_collector() -> None:
    """Keep Python's collector from looking at what is there for good, again and again (docs/adr/0027)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)


def _install_uvloop() -> None:
    try:
        import uvloop  # noqa: PLC0415 - an extra, and only the program needs it
    except ImportError:
        # An extra that saves some 8 % of the work; asyncio's own loop does the same.
        return
    uvloop.install()
