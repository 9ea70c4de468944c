"""The composition root: the only module that knows every class.

`gateway` is one async context manager. Entering it starts a gateway, leaving it drains it; the program, the tests and
the benchmarks enter the same one.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from msgspec import Struct

from . import __version__
from .errors import UpstreamFailure
from .guards.cached import CachedLatest, FreshnessPolicy, MemoryTier, Timed
from .guards.coalesced import CoalescedLatest
from .guards.counted import CountedRequests
from .guards.graded import GradedQuotes
from .guards.remembered import RememberedReference
from .ingress.gate import Gate, Policy
from .jobs.asset_list import AssetKeeper
from .jobs.market_clock import MarketClock, MarketClockKeeper
from .market.asset import AssetList
from .market.quote import Quote
from .market.snapshot import Snapshot
from .market.time import NANOS
from .market.trade import Trade
from .observe.counters import Counters
from .observe.logs import CallLine, CallLog, LogFormat
from .ports import LatestSource, Upstream
from .rpc.calls import Call, Calls
from .rpc.convert import Moment
from .rpc.gateway_status import About, StatusServicer
from .rpc.quotes import QuoteServicer
from .rpc.reference import ReferenceServicer
from .rpc.serving import Serving
from .settings import Settings
from .upstream.alpaca.hosts import source_of
from .upstream.alpaca.http import HttpLimits, HttpRequests, http_session
from .upstream.alpaca.rest import (
    AlpacaLatest,
    AlpacaReference,
    Endpoint,
    quotes_endpoint,
    snapshots_endpoint,
    trades_endpoint,
)

V = TypeVar("V", bound=Timed)

_LIST_PATIENCE = 0.1
"""Seconds that a symbol without a value waits for the list of assets, if a job has not loaded it yet: the others of its
batch wait with it."""

_SANDBOX_CLOCK_INTERVAL = 1.0
"""Seconds between readings of a sandbox's clock, which somebody may set."""


class Gateway(Struct, frozen=True):
    """A running gateway."""

    port: int
    """Port that gRPC listens on."""

    counters: Counters
    clock: MarketClock
    keeper: MarketClockKeeper
    """Reads the upstream's clock; a test that sets a sandbox's clock lets it read at once."""


@asynccontextmanager
async def gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """Run a gateway for as long as the block does.

    Raises:
        OSError: the listen address cannot be used.
    """
    start_time = time.time_ns()
    counters = Counters()
    clock = MarketClock(follows_upstream=settings.environment == "sandbox")
    urls = {Upstream.DATA: settings.data_url, Upstream.TRADING: settings.trading_url}
    sources = {upstream: source_of(url) for upstream, url in urls.items()}

    def moment(request_id: str) -> Moment:
        return Moment(request_id, clock.wall(), clock.monotonic(), clock.market(), keeper.session())

    async with http_session(http_limits(settings), *settings.keys) as session:
        requests = CountedRequests(HttpRequests(session, urls, clock), counters.upstream, clock)
        gate = Gate(_gate_policy(settings), clock, counters.refusals)
        alpaca = AlpacaReference(requests, sources, gate)
        reference = RememberedReference(
            alpaca,
            clock,
            ttl=settings.reference.keep,
            retry_after=settings.reference.retry_after,
            cap=settings.reference.patience,
        )
        keeper = MarketClockKeeper(
            clock,
            alpaca,
            reference,
            interval=_clock_interval(settings),
            patience=settings.reference.patience,
        )

        async def listed(deadline: float) -> AssetList | None:
            try:
                return await reference.assets(min(deadline, clock.monotonic() + _LIST_PATIENCE))
            except UpstreamFailure:
                return None

        def latest(
            endpoint: Endpoint[V], memory: MemoryTier[V], *, bounds_events: bool = True
        ) -> LatestSource[V]:
            source = AlpacaLatest(requests, sources[Upstream.DATA], endpoint, listed)
            shared = CoalescedLatest(source, settings.alpaca.shared_call_cap, clock)
            policy = _freshness(settings, bounds_events=bounds_events)
            return CachedLatest(shared, memory, policy, clock, keeper.session)

        quote_memory = MemoryTier[Quote](settings.memory.capacity)
        trade_memory = MemoryTier[Trade](settings.memory.capacity)
        snapshot_memory = MemoryTier[Snapshot](settings.memory.capacity)
        quotes = QuoteServicer(
            GradedQuotes(latest(quotes_endpoint(gate), quote_memory), clock, keeper.session),
            latest(trades_endpoint(gate), trade_memory),
            latest(snapshots_endpoint(gate), snapshot_memory, bounds_events=False),
            settings.alpaca.stock_feed,
            moment,
        )
        about = About(
            version=__version__,
            environment=settings.environment,
            source=sources[Upstream.DATA],
            default_stock_feed=settings.alpaca.stock_feed,
            start_time=start_time,
        )
        memories = (quote_memory, trade_memory, snapshot_memory)
        for memory in memories:
            clock.when_set_back(memory.clear)
        with _call_log(settings, about, clock) as on_call:
            calls = Calls(clock, counters, on_call)
            serving = Serving(
                calls,
                quotes,
                ReferenceServicer(reference, keeper, moment),
                StatusServicer(about, counters, memories, moment),
            )
            port = serving.bind(settings.listen)
            assets = AssetKeeper(
                reference,
                clock,
                every=settings.reference.keep,
                retry_after=settings.reference.retry_after,
                patience=settings.reference.patience,
            )
            async with _jobs(keeper, assets, settings.reference.start_patience):
                await serving.start()
                try:
                    yield Gateway(port, counters, clock, keeper)
                finally:
                    await serving.drain(settings.drain)


@asynccontextmanager
async def _jobs(
    keeper: MarketClockKeeper, assets: AssetKeeper, patience: float
) -> AsyncIterator[None]:
    await asyncio.gather(keeper.try_refresh(patience), assets.try_load(patience))
    async with asyncio.TaskGroup() as tasks:
        jobs = [tasks.create_task(keeper.run()), tasks.create_task(assets.run())]
        try:
            yield
        finally:
            for job in jobs:
                job.cancel()


@contextmanager
def _call_log(
    settings: Settings, about: About, clock: MarketClock
) -> Iterator[Callable[[Call, float], None]]:
    if not settings.log.calls:
        yield lambda _call, _seconds: None
        return
    source = about.source.value

    def line_of(entry: tuple[Call, float]) -> CallLine:
        call, seconds = entry
        return CallLine(
            timestamp="",
            request_id=call.request_id,
            endpoint=call.method,
            code=call.code,
            response_time_ms=round(seconds * 1000, 3),
            values_asked=call.asked,
            values_given=call.given,
            real_data_available=0 < call.given == call.asked,
            cache_hit=call.given > 0 and call.from_upstream == 0,
            data_source=source if call.given else None,
            reason=call.reason,
            consumer=call.peer,
        )

    log = CallLog(sys.stderr, log_format(settings), line_of)

    def on_call(call: Call, seconds: float) -> None:
        log.write(clock.wall(), (call, seconds))

    try:
        yield on_call
    finally:
        log.close()


def log_format(settings: Settings) -> LogFormat:
    """Return the format of logs: for people on a terminal, for machines elsewhere, unless the settings say."""
    if settings.log.format == "auto":
        return "console" if sys.stderr.isatty() else "json"
    return settings.log.format


def http_limits(settings: Settings) -> HttpLimits:
    """Return the bounds of the connection pool that *settings* ask for."""
    http = settings.alpaca.http
    return HttpLimits(
        total=http.total,
        connect=http.connect,
        connections=http.connections,
        per_host=http.per_host,
        dns_cache=http.dns_cache,
        user_agent=http.user_agent,
    )


def _gate_policy(settings: Settings) -> Policy:
    rules = settings.validation
    return Policy(
        refuse_crossed=rules.crossed == "refuse",
        future_tolerance=_nanoseconds(rules.future_tolerance),
    )


def _freshness(settings: Settings, *, bounds_events: bool) -> FreshnessPolicy:
    freshness, memory = settings.freshness, settings.memory
    return FreshnessPolicy(
        max_age=_nanoseconds(freshness.max_age),
        max_event_age_open=_nanoseconds(freshness.max_event_age_open) if bounds_events else None,
        keep_open=memory.keep_open,
        keep_otherwise=memory.keep_otherwise,
        keep_unknown=memory.keep_unknown,
        stale_cap=freshness.stale_cap,
    )


def _clock_interval(settings: Settings) -> float:
    interval = settings.reference.clock_interval
    return min(interval, _SANDBOX_CLOCK_INTERVAL) if settings.environment == "sandbox" else interval


def _nanoseconds(seconds: float) -> int:
    return round(seconds * NANOS)
