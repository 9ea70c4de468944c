"""The composition root: the only package that knows every class.

`gateway` is one async context manager. Entering it starts a gateway, leaving it drains it; the program, the tests and
the benchmarks enter the same one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from msgspec import Struct
from stamina.instrumentation import set_on_retry_hooks

from ..access.meters import Meters
from ..access.pressure import Pressure
from ..fanout.mailbox import Closing
from ..jobs.asset_list import AssetKeeper
from ..jobs.loop_lag import LoopLag
from ..jobs.market_clock import MarketClock, MarketClockKeeper
from ..market.unavailable import Reason
from ..observe.counters import Counters
from ..ports import Upstream
from ..rpc.calls import Calls
from ..rpc.serving import Serving
from ..settings import Settings
from . import policies
from .history import History
from .identity import Identity, open_tls
from .jobs import Ingestion
from .live import Live
from .logs import call_logs
from .notes import sparing
from .questions import Questions
from .services import Parts, servicers
from .side_port import open_side_port
from .stores import open_stores
from .tasks import running_jobs
from .telemetry import Telemetry
from .tracing import tracer
from .wire import open_wire

_FAREWELL: Final = Closing(
    Reason.SHUTTING_DOWN, "the gateway is stopping; connect again, to another replica", 1.0
)

_LEAVING: Final = "the gateway is stopping: it finishes what is under way and takes nothing new"


class Gateway(Struct, frozen=True):
    """A running gateway."""

    port: int
    """Port that gRPC listens on."""

    http_port: int | None
    """The side port; None where the settings want none."""

    counters: Counters
    clock: MarketClock
    keeper: MarketClockKeeper
    """Reads the upstream's clock; a test that sets a sandbox's clock lets it read at once."""


@asynccontextmanager
async def gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """Run a gateway for as long as the block does.

    Raises:
        OSError: an address to listen on cannot be used.
        StoreUnusable: Redis or PostgreSQL is there and must not be used. One that is away is no reason not to start.
        CertificateUnusable: what it was to serve TLS with cannot be used.
        SettingsError: the settings open it to more callers than somebody has said.
    """
    settings.check_serving()
    start_time = time.time_ns()
    # A repetition is counted; its default hook would log each, thousands in an outage.
    set_on_retry_hooks(())
    counters = Counters()
    clock = MarketClock(follows_upstream=settings.environment == "sandbox")
    async with AsyncExitStack() as parts:
        telemetry = Telemetry(settings, counters, clock)
        parts.callback(telemetry.metrics.close)
        # First and last, so that whoever looks sees why it is not ready.
        http_port = await parts.enter_async_context(
            open_side_port(settings, counters, telemetry.metrics, start_time)
        )
        followers = await parts.enter_async_context(AsyncExitStack())
        stores = await parts.enter_async_context(open_stores(settings, counters, clock))
        wire = await parts.enter_async_context(open_wire(settings, counters, clock, stores))
        questions = Questions(settings, counters, clock, stores, wire)
        keeper = questions.keeper
        history = History(settings, counters, clock, stores, wire, questions)
        parts.push_async_callback(history.reader.aclose)
        live = Live(settings, counters, clock, questions, lambda job: following(job()))
        feeds = live if settings.stream.enabled else None
        ingestion = Ingestion(settings, counters, clock, stores, questions, history, feeds)
        # What was recorded is written when recording has ended, and before the store is closed.
        parts.push_async_callback(ingestion.close)
        telemetry.read(stores, wire, questions, live)
        told = parts.enter_context(
            call_logs(settings, wire.sources[Upstream.DATA], clock, counters)
        )
        identity = Identity(settings, counters, clock, stores.keys)
        meters = Meters(clock.monotonic)
        pressure = Pressure(settings.limits.calls, settings.limits.memory_mib, counters)
        serving = Serving(
            Calls(
                clock,
                counters,
                telemetry.counted(told.of_call),
                sparing(stores.errors.note, clock),
                wire.budget.telling(Upstream.DATA),
                identity.door,
                meters,
                pressure,
                await parts.enter_async_context(tracer(settings)),
                told.of_stream,
            ),
            *servicers(
                Parts(
                    settings,
                    start_time,
                    counters,
                    clock,
                    stores,
                    wire,
                    questions,
                    history,
                    live,
                    ingestion,
                    meters,
                )
            ),
            limits=policies.connection_limits(settings),
        )
        await identity.begin()
        tls = open_tls(settings, counters, clock)
        port = serving.bind(settings.listen, None if tls is None else tls.credentials())
        assets = _asset_keeper(settings, questions, clock)
        start = await parts.enter_async_context(running_jobs())
        following = await followers.enter_async_context(running_jobs())
        identity.on_look = lambda: live.streams.dismiss(identity.last_word)
        live.streams.on_refusal = counters.refuse_limit
        live.streams.on_holding = lambda holding: start(serving.tell_streams(serving=holding))
        for job in (*stores.jobs, *questions.jobs, *identity.jobs()):
            start(job())
        if tls is not None:
            start(tls.run())
        for job in live.jobs():
            following(job())
        patience = settings.reference.start_patience
        await asyncio.gather(keeper.try_refresh(patience), assets.try_load(patience))
        await serving.start()
        if identity.known is None or identity.known.is_set():
            await serving.open()
        else:
            start(serving.open_once(identity.known))
        for job in (
            keeper.run, assets.run, pressure.run, LoopLag(counters).run, *ingestion.jobs(), serving.stand
        ):  # fmt: skip
            start(job())
        if not settings.stream.enabled:
            await serving.tell_streams(serving=False)
        counters.unready = ""
        try:
            yield Gateway(port, http_port, counters, clock, keeper)
        finally:
            counters.unready = _LEAVING
            await serving.leave()
            live.streams.close(_FAREWELL)
            # The upstream's place is free for whoever comes next before anything else ends.
            await followers.aclose()
            await serving.drain(settings.drain, live.streams.drain)


def _asset_keeper(settings: Settings, questions: Questions, clock: MarketClock) -> AssetKeeper:
    return AssetKeeper(
        questions.reference,
        clock,
        every=settings.reference.keep,
        retry_after=settings.reference.retry_after,
        patience=settings.reference.patience,
    )
