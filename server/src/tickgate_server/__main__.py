"""`tickgate-server`: serve, and what an operator does beside that."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import structlog
from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from . import __version__
from .app import gateway, programs, stores
from .app import keys as api_keys
from .app.health import health_target
from .app.logs import event_log, log_format
from .app.orders import backfill_order, session_feed, session_length
from .app.programs import OrderError
from .errors import CertificateUnusable, StoreDown, StoreUnusable
from .identity.consumer import Limits
from .market.backfill import Backfill
from .market.provenance import Feed
from .market.series import SeriesKind
from .market.time import format_rfc3339
from .observe.logs import start_logs
from .rpc.health import ask_health
from .settings import Settings, SettingsError, load

cli = App(
    name="tickgate-server",
    help="A gRPC market data gateway over Alpaca.",
    version=f"tickgate-server {__version__}",
)

keys = App(name="keys", help="Make, list and revoke API keys, while gateways run.")
cli.command(keys)

_CONFIG_VARIABLE = "TICKGATE_CONFIG"

ConfigFile = Annotated[
    Path | None,
    Parameter(name="--config", help=f"TOML file with settings; {_CONFIG_VARIABLE} names one too."),
]

_PATIENCE = 30.0
"""Seconds that a live feed may take to begin, where a session is to last for some time."""

FeedName = Literal["sip", "iex", "delayed_sip", "boats", "overnight", "otc"]
LiveFeedName = Literal["sip", "iex", "delayed_sip"]

_log = structlog.get_logger("tickgate_server")


@cli.command
def serve(config: ConfigFile = None) -> int:
    """Serve until SIGTERM or SIGINT, then drain: nothing under way is lost."""
    settings = _load(config)
    _install_uvloop()
    try:
        with event_log(settings):
            asyncio.run(_serve(settings))
    except (OSError, CertificateUnusable, StoreUnusable) as error:
        print(f"tickgate-server: {error}", file=sys.stderr)
        return 1
    return 0


@cli.command
def ingest(config: ConfigFile = None) -> int:
    """Record, refresh and backfill history apart from serving, until SIGTERM or SIGINT."""
    settings = _load(config)
    if not settings.postgres_url.get_secret_value():
        msg = "postgres_url: not set, so there is nowhere to keep history"
        raise SettingsError(msg)
    if not settings.ingestion.enabled:
        msg = "ingestion.enabled: is off, so there is nothing to do"
        raise SettingsError(msg)
    _install_uvloop()
    return _finished(_ingest(settings))


@cli.command
def backfill(
    *symbols: Annotated[str, Parameter(name="SYMBOL")],
    config: ConfigFile = None,
    start: str,
    end: str | None = None,
    kind: SeriesKind = SeriesKind.BARS,
    timeframe: str | None = None,
    feed: FeedName | None = None,
    adjust: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
) -> int:
    """Fetch history into the store. What is there already costs nothing, so the same command goes on where it was.

    Parameters
    ----------
    symbols
        Stocks, or contracts by their OCC symbols.
    start
        First moment: a day in New York such as 2024-03-13, or RFC 3339.
    end
        Moment before which it ends; now by default.
    kind
        What to fetch.
    timeframe
        Of bars, such as 1Min, 1Hour or 1Day.
    feed
        Feed of stocks; the configured one by default.
    adjust
        What bars are corrected for: split, dividend, spin-off; or all.
    """
    settings = _load(config)
    if not settings.postgres_url.get_secret_value():
        msg = "postgres_url: not set, so there is nowhere to keep history"
        raise SettingsError(msg)
    order = backfill_order(
        settings,
        symbols,
        kind=kind,
        timeframe=timeframe,
        start=start,
        end=end,
        feed=None if feed is None else Feed(feed),
        adjust=adjust or (),
    )
    start_logs(sys.stderr, log_format(settings), "error")
    return _finished(_backfill(settings, order))


@cli.command
def record(
    *symbols: Annotated[str, Parameter(name="SYMBOL")],
    config: ConfigFile = None,
    out: Path,
    feed: LiveFeedName | None = None,
    for_: Annotated[datetime.timedelta | None, Parameter(name="--for")] = None,
) -> int:
    """Record a session, as it comes, into a folder that `tickgate-sandbox serve --replay` lives again.

    Parameters
    ----------
    symbols
        Stocks.
    out
        Folder; what it holds already stays.
    feed
        Live feed; the configured one by default.
    for_
        How long from when the feed begins, such as 10m or 6h30m; until SIGTERM or SIGINT by default.
    """
    settings = _load(config)
    chosen = session_feed(settings, symbols, None if feed is None else Feed(feed))
    seconds = session_length(for_)
    start_logs(sys.stderr, log_format(settings), "warning")
    return _finished(_record(settings, chosen, symbols, out, seconds))


@cli.command
def health(
    config: ConfigFile = None,
    *,
    target: str | None = None,
    service: str = "",
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    timeout: Annotated[float, Parameter(validator=Number(gt=0, lte=3600))] = 5.0,
) -> int:
    """Ask a gateway whether it serves: 0 if it does, 1 if not. It is what the container's health check runs.

    Parameters
    ----------
    target
        Host and port; by default where the settings listen, as seen from this machine.
    service
        One service, such as tickgate.v1.StreamService; the whole gateway by default.
    ca
        PEM file of the authority that a gateway with TLS is checked against.
    certificate
        PEM file of a certificate, for a gateway that asks its callers for one.
    key
        PEM file of that certificate's private key.
    timeout
        Seconds to wait for the answer.
    """
    try:
        target, identity = health_target(lambda: _load(config), target, ca, certificate, key)
    except (OrderError, SettingsError) as error:
        # Whoever runs health checks knows no other status than 0 and 1.
        print(f"tickgate-server: it cannot be asked\n{error}", file=sys.stderr)
        return 1
    health = asyncio.run(ask_health(target, service, identity, timeout))
    print(health.said, file=sys.stdout if health.serves else sys.stderr)
    return 0 if health.serves else 1


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


_PER_SECOND: Final = Parameter(validator=Number(gte=0, lte=1_000_000))
_COUNT: Final = Parameter(validator=Number(gte=0, lte=10**12))
"""Limits that a key has of its own; 0 is none."""


@keys.command(name="create")
def create_key(
    name: Annotated[str, Parameter(name="NAME")],
    *,
    config: ConfigFile = None,
    scopes: Annotated[list[str], Parameter(consume_multiple=True, negative="")],
    expires: str,
    calls_per_second: Annotated[float | None, _PER_SECOND] = None,
    symbols_per_batch: Annotated[int | None, _COUNT] = None,
    streams: Annotated[int | None, _COUNT] = None,
    symbols_per_stream: Annotated[int | None, _COUNT] = None,
    history_points_per_day: Annotated[int | None, _COUNT] = None,
) -> int:
    """Make an API key and write it to standard output: once, for it is kept nowhere.

    Gateways that run let it in within `identity.reload_every`. Limits that are not given are those of the settings; 0
    is none.

    Parameters
    ----------
    name
        Whose key it is: a consumer, as logs name it. Several keys may be one consumer's, while one replaces the other.
    scopes
        What it is for: read, stream, history, admin; several with commas between.
    expires
        After how long it ends, such as 90d; or never.
    calls_per_second
        Calls a second.
    symbols_per_batch
        Symbols of one request.
    streams
        Streams at once.
    symbols_per_stream
        Symbols of one stream.
    history_points_per_day
        Bars, trades and quotes of the past within 24 hours.
    """
    limits = Limits(
        calls_per_second, symbols_per_batch, streams, symbols_per_stream, history_points_per_day
    )
    order = api_keys.key_order(name, scopes, expires, limits)
    return _finished(_create_key(_settings_of_operator(config), order))


@keys.command(name="list")
def list_keys(
    *,
    config: ConfigFile = None,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Print the API keys, oldest first.

    Parameters
    ----------
    all_
        Also those that have expired or were revoked.
    json_
        For programs.
    """
    return _finished(_list_keys(_settings_of_operator(config), ended=all_, json=json_))


@keys.command(name="revoke")
def revoke_key(key_id: Annotated[str, Parameter(name="ID")], *, config: ConfigFile = None) -> int:
    """Revoke an API key: gateways that run refuse it, and end its streams, within `identity.reload_every`.

    Parameters
    ----------
    key_id
        What `keys list` shows as its id; it is the part of the key behind tg_.
    """
    return _finished(_revoke_key(_settings_of_operator(config), key_id))


def main() -> None:
    """Run the command line."""
    try:
        sys.exit(cli())
    except OrderError as error:
        print(f"tickgate-server: {error}", file=sys.stderr)
        sys.exit(2)
    except SettingsError as error:
        print(f"tickgate-server: the settings cannot be used\n{error}", file=sys.stderr)
        sys.exit(2)


def _load(path: Path | None) -> Settings:
    named = os.environ.get(_CONFIG_VARIABLE)
    return load(path or (Path(named) if named else None))


def _settings_of_operator(config: Path | None) -> Settings:
    settings = _load(config)
    start_logs(sys.stderr, log_format(settings), "error")
    return settings


async def _create_key(settings: Settings, order: api_keys.KeyOrder) -> int:
    key, token = await api_keys.create(settings, order)
    print(token)
    ends = api_keys.NEVER if key.expires is None else format_rfc3339(key.expires)
    print(
        f"the API key {key.id} of {key.name}, expires {ends}; it is shown this once",
        file=sys.stderr,
    )
    return 0


async def _list_keys(settings: Settings, *, ended: bool, json: bool) -> int:
    found = await api_keys.everything(settings, ended=ended)
    print(api_keys.in_json(found) if json else api_keys.table(found))
    return 0


async def _revoke_key(settings: Settings, key_id: str) -> int:
    key = await api_keys.revoke(settings, key_id)
    if key is None:
        print(
            f"tickgate-server: there is no API key {key_id}; `tickgate-server keys list --all` shows all",
            file=sys.stderr,
        )
        return 1
    print(f"the API key {key.id} of {key.name} is revoked, as of {key.revoked}")
    return 0


def _finished(program: Coroutine[Any, Any, int]) -> int:
    """Run *program* and return its exit status; what it cannot use is said in a sentence."""
    try:
        return asyncio.run(program)
    except (OSError, StoreDown, StoreUnusable) as error:
        print(f"tickgate-server: {error}", file=sys.stderr)
        return 1


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _ingest(settings: Settings) -> int:
    stop = _stop_on_signals()
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


async def _backfill(settings: Settings, order: programs.BackfillOrder) -> int:
    stop = _stop_on_signals()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fetched]:,} fetched"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with progress:
        bar = progress.add_task(_title(order), total=len(order.symbols), fetched=0)

        async def report(state: Backfill) -> None:
            done = state.progress * len(order.symbols)
            progress.update(bar, completed=round(done, 3), fetched=state.fetched)

        work = asyncio.create_task(programs.backfill(settings, order, report))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            await asyncio.wait((work,))
        stopped.cancel()
    if work.cancelled():
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 1
    return _tell(work.result())


def _title(order: programs.BackfillOrder) -> str:
    what = order.key.kind.value if order.key.timeframe is None else f"{order.key.timeframe} bars"
    return f"{what} of {len(order.symbols)} {'symbol' if len(order.symbols) == 1 else 'symbols'}"


def _tell(done: Backfill) -> int:
    failed = len(done.failures)
    good = len(done.symbols) - failed
    print(f"{good} of {len(done.symbols)} symbols are held, {done.fetched} values were fetched")
    for failure in done.failures:
        why = failure.why
        print(f"{failure.symbol}: {why.reason.name}: {why.message}", file=sys.stderr)
    return 1 if failed else 0


async def _record(
    settings: Settings, feed: Feed, symbols: Sequence[str], out: Path, seconds: float | None
) -> int:
    stop = _stop_on_signals()
    async with programs.recording(settings, feed, symbols, out) as session:
        # The time counts from when there is something to record.
        await _first_of(
            stop, session.over, session.begun, within=seconds and max(seconds, _PATIENCE)
        )
        if session.begun.is_set():
            await _first_of(stop, session.over, within=seconds)
        elif not (stop.is_set() or session.over.is_set()):
            session.hopeless = f"the live feed {feed.value} could not be had"
    counts = session.counts
    print(
        f"recorded {counts.quotes} quotes, {counts.trades} trades and {counts.bars} bars in {out}"
        f" ({counts.gaps} gaps, {counts.left_out} records left out, {counts.held} held already)"
    )
    for symbol, why in counts.rejected.items():
        # Some reasons name the symbol themselves, some are about all of them.
        print(f"{symbol}: {why.removeprefix(f'{symbol}: ')}", file=sys.stderr)
    for note in session.notes:
        print(note, file=sys.stderr)
    if session.hopeless:
        print(f"tickgate-server: {session.hopeless}", file=sys.stderr)
    return 1 if session.hopeless or counts.rejected else 0


async def _first_of(*events: asyncio.Event, within: float | None) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _serve(settings: Settings) -> None:
    stop = _stop_on_signals()
    async with gateway(settings) as running:
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


def _install_uvloop() -> None:
    try:
        import uvloop  # noqa: PLC0415 - an extra, and only the program needs it
    except ImportError:
        # An extra that saves some 8 % of the work; asyncio's own loop does the same.
        return
    uvloop.install()


if __name__ == "__main__":
    main()
