"""Redis and PostgreSQL, where the settings name them, and what stands in for them where they do not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from msgspec import Struct

from ..errors import StoreDown, StoreUnusable
from ..market.option import OptionQuote
from ..market.provenance import DataSource, Tier
from ..market.quote import Quote
from ..market.snapshot import Snapshot
from ..market.trade import Trade
from ..observe.counters import CacheCounts, Counters, ErrorLogCounts, PoolCounts
from ..ports import (
    BackfillLog,
    Clock,
    ErrorLog,
    HistoryCache,
    HistoryStore,
    HotCache,
    KeyStore,
    Watchlists,
)
from ..settings import Settings
from ..stores.error_ring import ErrorRing
from ..stores.key_file import KeyFile
from ..stores.redis.history_cache import HistoryCacheLimits, RedisHistoryCache
from ..stores.redis.hot_cache import RedisHotCache
from ..stores.redis.link import RedisLink
from ..stores.watchlists import MemoryWatchlists
from ..upstream.alpaca.hosts import source_of
from . import policies

if TYPE_CHECKING:
    from ..stores.postgres.link import PostgresLink
    from ..stores.postgres.migrate import Migrated

V = TypeVar("V", Quote, Trade, Snapshot, OptionQuote)

Job: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Something that runs until it is cancelled."""


class Kept(Struct, frozen=True):
    """What is in PostgreSQL, or stands in for it where there is none."""

    errors: ErrorLog
    watchlists: Watchlists
    history: HistoryStore | None = None
    """None without PostgreSQL: then the past is read from the upstream each time."""

    backfill_log: BackfillLog | None = None
    keys: KeyStore | None = None
    """None where nobody is asked for a key."""

    pools: Callable[[], Mapping[str, PoolCounts]] = dict
    """Tells how the connections stand."""


class Stores:
    """What outlives a call."""

    def __init__(
        self,
        redis: RedisLink | None,
        kept: Kept,
        jobs: list[Job],
        counters: Counters,
        clock: Clock,
    ) -> None:
        """Hand out *redis*, where there is one, and what is *kept*."""
        self.redis = redis
        self.errors = kept.errors
        self.watchlists = kept.watchlists
        self.history = kept.history
        self.backfill_log = kept.backfill_log
        self.keys = kept.keys
        self.pools = kept.pools
        self.jobs = jobs
        """Keep the stores going while the gateway runs."""

        self._counters = counters
        self._clock = clock
        self._caches: list[RedisHotCache[Any]] = []
        self._flushed: list[Job] = []

    def hot_cache(
        self, type_: type[V], source: DataSource, ttl: Callable[[], float], kept: CacheCounts
    ) -> HotCache[V] | None:
        """Return what holds values of *type_* for all replicas, each for *ttl* seconds; None without Redis.

        What is *kept* there is counted.
        """
        if self.redis is None:
            return None
        counts = self._counters.tier(Tier.REDIS)
        cache = RedisHotCache(self.redis, type_, source, ttl, counts, self._clock, kept=kept)
        self._caches.append(cache)
        self.jobs.append(cache.run)
        return cache

    def history_cache(self, source: DataSource, ttl: float) -> HistoryCache | None:
        """Return what holds final history of *source* for all replicas, for *ttl* seconds; None without Redis."""
        if self.redis is None:
            return None
        limits = HistoryCacheLimits(ttl=ttl)
        counts, kept = self._counters.tier(Tier.REDIS), self._counters.cache(Tier.REDIS, "history")
        cache = RedisHistoryCache(self.redis, source, counts, limits, kept)
        self._flushed.append(cache.flush)
        self.jobs.append(cache.run)
        return cache

    def set_back(self) -> None:
        """Trust nothing that was received before now."""
        for cache in self._caches:
            cache.set_back()

    async def flush(self) -> None:
        """Write what is still to be written."""
        for cache in self._caches:
            await cache.flush()
        for flush in self._flushed:
            await flush()


@asynccontextmanager
async def open_stores(
    settings: Settings, counters: Counters, clock: Clock
) -> AsyncIterator[Stores]:
    """Open the stores that *settings* name, and write what is left to be written when the block ends.

    Raises:
        StoreUnusable: one of them is there and must not be used.
    """
    async with AsyncExitStack() as parts:
        redis = await parts.enter_async_context(_redis(settings, counters, clock))
        jobs: list[Job] = [] if redis is None else [redis.run]
        kept = await parts.enter_async_context(_kept(settings, counters, clock, jobs))
        stores = Stores(redis, kept, jobs, counters, clock)
        try:
            yield stores
        finally:
            await stores.flush()


@asynccontextmanager
async def _redis(
    settings: Settings, counters: Counters, clock: Clock
) -> AsyncIterator[RedisLink | None]:
    url, counts = settings.redis_url.get_secret_value(), counters.tier(Tier.REDIS)
    if not url:
        counts.state = "off"
        yield None
        return
    link = RedisLink(url, policies.redis_limits(settings), counts, clock)
    try:
        await link.validate()
        yield link
    finally:
        await link.close()


@asynccontextmanager
async def _kept(
    settings: Settings, counters: Counters, clock: Clock, jobs: list[Job]
) -> AsyncIterator[Kept]:
    if not settings.postgres_url.get_secret_value():
        yield Kept(
            ErrorRing(settings.error_log.ring, counters.error_log),
            MemoryWatchlists(),
            keys=_key_store(settings, None),
        )
        return
    # Without PostgreSQL its library need not be loaded, which takes a while.
    from ..stores.postgres.backfill_log import PostgresBackfillLog  # noqa: PLC0415
    from ..stores.postgres.error_log import LogPolicy, PostgresErrorLog  # noqa: PLC0415
    from ..stores.postgres.history.store import HistoryLimits, PostgresHistory  # noqa: PLC0415
    from ..stores.postgres.watchlists import PostgresWatchlists  # noqa: PLC0415

    link = _postgres(settings, counters.error_log, settings.store.migrate)
    # Written is what PostgreSQL has, whatever the ring beside it holds.
    ring = ErrorRing(settings.error_log.ring, ErrorLogCounts())
    errors = PostgresErrorLog(
        link, ring, LogPolicy(settings.error_log.keep_days), counters.error_log
    )
    limits = HistoryLimits(settings.history.connections, settings.history.timeout)
    history = PostgresHistory(link, source_of(settings.data_url), clock, counters.store, limits)
    jobs += [link.run, errors.run, history.run]
    try:
        await link.start()
        yield Kept(
            errors,
            PostgresWatchlists(link),
            history,
            PostgresBackfillLog(link),
            _key_store(settings, link),
            link.pools,
        )
    finally:
        await errors.close()
        await link.close()


@asynccontextmanager
async def open_keys(settings: Settings) -> AsyncIterator[KeyStore | None]:
    """Open where API keys are kept, and nothing else; None where the settings want none.

    Raises:
        StoreDown: it cannot be had.
        StoreUnusable: it is there and must not be used.
    """
    if settings.identity.keys != "postgres":
        yield _key_store(settings, None)
        return
    from ..stores.postgres.link import PostgresDown  # noqa: PLC0415 - as above

    link = _postgres(settings, ErrorLogCounts(), settings.store.migrate)
    try:
        await link.connect()
        yield _key_store(settings, link)
    except PostgresDown as down:
        msg = f"PostgreSQL cannot be had: {down}"
        raise StoreDown(msg) from down
    finally:
        await link.close()


def _key_store(settings: Settings, link: PostgresLink | None) -> KeyStore | None:
    if settings.identity.keys == "file":
        return KeyFile(Path(settings.identity.file))
    if settings.identity.keys == "off" or link is None:
        return None
    from ..stores.postgres.keys import PostgresKeys  # noqa: PLC0415 - as above

    return PostgresKeys(link)


async def migrate(settings: Settings, mode: Literal["auto", "check"]) -> Migrated:
    """Bring the schema of the PostgreSQL that *settings* name up to date, or only check it; return what became of it.

    Raises:
        StoreUnusable: it cannot be had, or its schema is not what it should be.
    """
    from ..stores.postgres.link import PostgresDown  # noqa: PLC0415 - as above

    link = _postgres(settings, ErrorLogCounts(), mode)
    try:
        return await link.connect()
    except PostgresDown as down:
        msg = f"PostgreSQL cannot be had: {down}"
        raise StoreUnusable(msg) from down
    finally:
        await link.close()


def _postgres(
    settings: Settings, counts: ErrorLogCounts, mode: Literal["auto", "check"]
) -> PostgresLink:
    from ..stores.postgres.link import LinkLimits, PostgresLink  # noqa: PLC0415 - as above

    store = settings.store
    limits = LinkLimits(store.timeout, store.check_every, store.connections)
    return PostgresLink(settings.postgres_url.get_secret_value(), limits, counts, mode)
