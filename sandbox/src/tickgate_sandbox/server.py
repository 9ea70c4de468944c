"""A running sandbox: the only module that puts the parts together."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from aiohttp import web

from .assets import AssetDirectory, built_in_assets, listing_on_tape, told_when_options_close
from .calendar import FIRST_DAY, ExchangeCalendar
from .clock import MarketClock
from .control import ControlApi
from .counters import Counters
from .fakepaca import FakepacaSource
from .faults import Faults
from .gate import LONGEST_TARGET, Buckets, Gate, mark
from .history.actions import CorporateActions, read_actions, well_known_actions
from .history.actions_api import CorporateActionsApi
from .history.api import HistoryApi
from .history.past import Past
from .history.replay import ReplayPast
from .history.synthetic import SyntheticPast
from .keys import Keys
from .limits import TokenBucket
from .market import Market
from .options.api import OptionsApi
from .options.contracts import ContractsApi
from .options.market import OptionMarket
from .options.replay import ReplayOptions
from .options.synthetic import SyntheticOptions
from .pins import Pins
from .recordings import RecordingFolder
from .replay import ReplayMarket, Shift
from .settings import SandboxSettings, SettingsError
from .stocks import StocksApi
from .stream.control import StreamControlApi
from .stream.faults import StreamFaults
from .stream.feeds import Content
from .stream.session import Account
from .stream.slots import Slots
from .stream.stream import Stream
from .synthetic import START_PRICES, SyntheticMarket
from .timestamps import new_york, new_york_date
from .trading import TradingApi

_START_HOUR = 10
"""New York hour at which a replay starts by itself: the market is open and has quotes."""

_GRACE: Final = 1.0
"""Seconds that requests under way are given when the sandbox stops."""

_CLOSED_HOUR = 17
"""New York hour at which a replay of nothing but options starts: all of that day's chains stand."""

Nanoseconds = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox that is listening, and the parts of it that a test steers."""

    url: str
    """Base of every Alpaca URL: `http://127.0.0.1:50080`, without a slash at the end."""
    port: int
    """The port it listens on."""
    market: Market
    """The records of shares that it serves."""
    options: OptionMarket
    """The options that it serves."""
    clock: MarketClock
    """Market time."""
    counters: Counters
    """What was asked of it."""
    faults: Faults
    """How it fails."""
    pins: Pins
    """Records served in the place of the market's own."""
    stream: Stream
    """The streams: what is sent on them, and how they fail."""

    @property
    def stream_url(self) -> str:
        """Base of every stream URL: `ws://127.0.0.1:50080`, before `/v2/iex`."""
        return self.url.replace("http", "ws", 1)


@asynccontextmanager
async def sandbox(
    settings: SandboxSettings | None = None,
    *,
    wall_ns: Nanoseconds = time.time_ns,
    monotonic_ns: Nanoseconds = time.monotonic_ns,
) -> AsyncIterator[Sandbox]:
    """Run a sandbox for as long as the context is entered.

    Args:
        settings: How it behaves; unset, a synthetic market on the default port.
        wall_ns: Where the present time is read, in nanoseconds since the epoch.
        monotonic_ns: Where elapsed real time is read.

    Raises:
        SettingsError: the settings do not fit the recordings.
        RecordingError: the folder to replay holds no recordings.
        OSError: the address cannot be listened on.
    """
    settings = settings or SandboxSettings()
    calendar = ExchangeCalendar()
    counters, faults, pins = Counters(), Faults(), Pins()
    # The holiday tables are read on first use: now, not in the first answer.
    calendar.after(FIRST_DAY)
    offer = _synthetic if settings.replay is None else _replay
    market, options, assets, past, start = offer(settings, calendar)
    await market.load(settings.symbols)
    await options.load(settings.symbols)
    # Market time begins last: whatever came before may have taken seconds.
    clock = MarketClock(start(wall_ns()), settings.speed, monotonic_ns)
    account = _account(settings, counters)
    sources = {
        Content.STOCKS: market,
        Content.OPTIONS: options,
        Content.TEST: FakepacaSource(settings.seed),
    }
    stream = Stream(sources, clock, account)
    gate = Gate(counters, faults, account.keys, _buckets(settings, monotonic_ns))
    app = web.Application(middlewares=gate.middlewares())
    app.on_response_prepare.append(mark)
    app.add_routes(StocksApi(market, clock, pins, settings.plan).routes())
    app.add_routes(
        HistoryApi(past.records, past.actions, clock, settings.plan, past.moved_by).routes()
    )
    app.add_routes(CorporateActionsApi(past.actions, clock, past.moved_by).routes())
    app.add_routes(OptionsApi(options, clock, pins, settings.plan).routes())
    app.add_routes(ContractsApi(options, assets, calendar, clock, pins).routes())
    app.add_routes(
        TradingApi(assets, calendar, clock, pins, lambda: past.records.first_day).routes()
    )
    app.add_routes(ControlApi(calendar, clock, counters, faults, pins).routes())
    app.add_routes(stream.routes())
    app.add_routes(StreamControlApi(calendar, stream).routes())
    async with _listening(app, settings.address, faults, stream) as (host, port):
        url = f"http://{host}:{port}"
        yield Sandbox(url, port, market, options, clock, counters, faults, pins, stream)


@asynccontextmanager
async def _listening(
    app: web.Application, address: tuple[str, int], faults: Faults, stream: Stream
) -> AsyncIterator[tuple[str, int]]:
    """Serve *app* at *address*; yield host and port as they stand in a URL."""
    host, port = address
    runner = web.AppRunner(
        app,
        access_log=None,
        # A request whose client has gone away need not hang any longer.
        handler_cancellation=True,
        # Room for URLs that are too long, which get an answer of their own.
        max_line_size=8 * LONGEST_TARGET,
        shutdown_timeout=_GRACE,
    )
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
        yield f"[{host}]" if ":" in host else host, runner.addresses[0][1]
        # Nobody new, before those who hang are let go: they might come straight back.
        await site.stop()
    finally:
        faults.clear()
        stream.faults.clear()
        await stream.close()
        await runner.cleanup()


class _History(NamedTuple):
    """What is known of the past."""

    records: Past
    actions: CorporateActions
    moved_by: Callable[[], int]
    """Days by which recorded dates are moved before they are shown."""


_Offer = tuple[Market, OptionMarket, AssetDirectory, _History, Callable[[int], int]]
"""A market, its options, the assets listed beside them, what they did before, and what starts
them: wall clock in, market time out."""


def _synthetic(settings: SandboxSettings, calendar: ExchangeCalendar) -> _Offer:
    offered = frozenset(START_PRICES)
    market = SyntheticMarket(
        calendar,
        symbols=_chosen(settings, offered, "synthetic prices"),
        step=settings.step,
        seed=settings.seed,
    )
    options = SyntheticOptions(market, calendar, step=settings.step, seed=settings.seed)

    def start(now: int) -> int:
        return settings.start if settings.start is not None else now

    past = _History(SyntheticPast(market, calendar), CorporateActions(), lambda: 0)
    return market, options, AssetDirectory(built_in_assets()), past, start


def _replay(settings: SandboxSettings, calendar: ExchangeCalendar) -> _Offer:
    if settings.replay is None:
        raise SettingsError("a replay needs a folder")
    folder = RecordingFolder(settings.replay, settings.max_records)
    symbols = _chosen(settings, folder.symbols | folder.underlyings, "recordings")
    at = settings.start
    recorded = at if at is not None else _default_start(folder, symbols)
    market = ReplayMarket(folder, calendar, only=symbols)
    options = ReplayOptions(folder, calendar, only=symbols)

    def start(now: int) -> int:
        if not settings.shift_to_now:
            return recorded
        market.shift = options.shift = Shift.between(recorded, now)
        return now

    actions = CorporateActions(
        [*well_known_actions(symbols), *read_actions(folder.corporate_actions())]
    )
    first_day = folder.first_day(symbols) or new_york_date(recorded)
    past = _History(
        ReplayPast(market, calendar, actions, first_day), actions, lambda: market.shift.days
    )
    return market, options, AssetDirectory(_listed(folder)), past, start


def _default_start(folder: RecordingFolder, symbols: frozenset[str]) -> int:
    days = {day for symbol in symbols for day in folder.days(symbol)}
    chains = {day for symbol in symbols for day in folder.option_days(symbol)}
    if days:
        return new_york(max(days), _START_HOUR)
    if chains:
        return new_york(max(chains), _CLOSED_HOUR)
    raise SettingsError("only bars are recorded: name the instant to start from with at")


def _listed(folder: RecordingFolder) -> list[bytes]:
    """Return the recorded assets, or built-in ones, and whatever else has recordings."""
    assets = folder.assets() or built_in_assets()
    known = AssetDirectory(assets)
    assets += [
        listing_on_tape(symbol, folder.listing_tape(symbol))
        for symbol in sorted(folder.symbols | folder.underlyings)
        if symbol not in known
    ]
    return list(map(told_when_options_close, assets))


def _chosen(settings: SandboxSettings, offered: frozenset[str], what: str) -> frozenset[str]:
    """Return the symbols that the settings ask for, or all that are *offered*."""
    missing = sorted(set(settings.symbols) - offered)
    if missing:
        there = ", ".join(sorted(offered))
        raise SettingsError(f"there are no {what} of {', '.join(missing)}, only of {there}")
    return frozenset(settings.symbols) or offered


def _keys(settings: SandboxSettings) -> Keys | None:
    if settings.key_id is None or settings.secret is None:
        return None
    return Keys(settings.key_id, settings.secret)


def _account(settings: SandboxSettings, counters: Counters) -> Account:
    return Account(
        keys=_keys(settings),
        plan=settings.plan,
        slots=Slots(settings.connections),
        auth_timeout=settings.auth_timeout,
        faults=StreamFaults(),
        counters=counters.stream,
    )


def _buckets(settings: SandboxSettings, monotonic_ns: Nanoseconds) -> Buckets | None:
    if settings.rate_limit is None:
        return None
    return Buckets(
        data=TokenBucket(settings.rate_limit, monotonic_ns),
        trading=TokenBucket(settings.rate_limit, monotonic_ns),
    )
