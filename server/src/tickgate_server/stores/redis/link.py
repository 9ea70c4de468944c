"""The connection to Redis, and whether it can be had."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

import redis.asyncio as aioredis
import structlog
from msgspec import Struct
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import RedisError, ResponseError

from ...errors import StoreUnusable
from ...observe.counters import TierCounts, TierState
from ...observe.spans import span
from ...ports import Clock
from .address import CLUSTER, client_for

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_LATE: Final = 0.05
"""Seconds. When a timeout comes later than that, the event loop was busy, and Redis may have answered long ago."""


class RedisDown(Exception):
    """Redis cannot be had now, or refused the command; whoever wanted it goes on without."""


class _TooBusy(TimeoutError):
    """The event loop did not get round to the answer in time."""


class LinkLimits(Struct, frozen=True):
    """Bounds of the link; times in seconds."""

    timeout: float
    """For one command, connecting included."""

    check_every: float
    """Between tries to reach a Redis that is down."""

    connections: int


class RedisLink:
    """One Redis. After one failure it is left out until it answers again, so that nobody waits for it twice."""

    def __init__(self, url: str, limits: LinkLimits, counts: TierCounts, clock: Clock) -> None:
        """Connect to *url* when first asked; report into *counts*.

        Raises:
            StoreUnusable: *url* is no address of a Redis that can be used.
        """
        self._limits = limits
        self._counts = counts
        self._clock = clock
        self._doubt = asyncio.Event()
        """Set while it is down, and when a caller has left without an answer."""

        # A burst waits for a connection here, where that is not taken for a Redis that does not answer.
        self._places = asyncio.Semaphore(limits.connections)
        self._waiting: set[asyncio.Timeout] = set()
        self._told: set[type[Exception]] = set()
        # One more than there are places: for looking whether it is back.
        self.client: aioredis.Redis = client_for(url, limits.timeout, limits.connections + 1)
        """For commands inside of `ask`. It bounds nothing by itself but the time to connect."""

    @property
    def up(self) -> bool:
        """Whether the last command was answered."""
        return self._counts.state == "up"

    async def ask(
        self, command: Callable[[], Awaitable[T]], name: str = "command", keys: int = 1
    ) -> T:
        """Return what *command* returns.

        Args:
            command: asks Redis.
            name: what it asks, as Redis calls that.
            keys: how many keys it is about.

        Raises:
            RedisDown: Redis is down, did not answer in time, or refused the command.
        """
        with span(name, "client", database="redis", operation=name, keys=keys):
            return await self._ask(command)

    async def _ask(self, command: Callable[[], Awaitable[T]]) -> T:
        async with self._places:
            if not self.up:
                raise RedisDown
            try:
                return await self._in_time(command)
            except (RedisError, OSError) as error:  # TimeoutError is an OSError
                self._counts.failures += 1
                if isinstance(error, ResponseError | _TooBusy):
                    # It did answer, or may have, and others may have more luck: a full Redis can still be read.
                    self._tell(error)
                else:
                    self._mark_down(error)
                raise RedisDown from error

    async def run(self) -> None:
        """Bring a Redis that went down back, and look after one that is in doubt, until cancelled."""
        while True:
            await self._doubt.wait()
            await asyncio.sleep(self._limits.check_every)
            await self.check()

    async def check(self) -> None:
        """Look whether Redis is there, and mark it up if it is."""
        try:
            await self.validate()
        except StoreUnusable as error:
            self._tell(error)

    async def validate(self) -> None:
        """Look whether Redis is there and of a kind that can be used. One that is not there is merely down.

        Raises:
            StoreUnusable: it is a cluster.
        """
        try:
            is_cluster = await self._look()
        except (RedisError, OSError) as error:
            self._mark_down(error)
            return
        if is_cluster:
            unusable = StoreUnusable(CLUSTER)
            self._mark_down(unusable)
            raise unusable
        self._mark_up()

    async def close(self) -> None:
        """Give the connections back."""
        pool = self.client.connection_pool
        with suppress(RedisError, OSError), _broken_is_lost():
            await self.client.aclose()
        if isinstance(pool, SentinelConnectionPool):
            with suppress(RedisError, OSError):
                await pool.sentinel_manager.aclose()

    async def _in_time(self, command: Callable[[], Awaitable[T]]) -> T:
        due = asyncio.get_running_loop().time() + self._limits.timeout
        try:
            async with asyncio.timeout_at(due) as patience:
                self._waiting.add(patience)
                try:
                    with _broken_is_lost():
                        return await command()
                finally:
                    self._waiting.discard(patience)
        except TimeoutError as error:
            if asyncio.get_running_loop().time() > due + _LATE:
                raise _TooBusy from error
            raise
        except asyncio.CancelledError:
            # Were all callers in such a hurry, nobody would ever learn that it hangs.
            self._doubt.set()
            raise

    async def _look(self) -> bool:
        """Return whether it is a cluster."""
        # What died or hangs must not be handed out again; and only a new connection finds a Sentinel's new Redis.
        with suppress(RedisError, OSError), _broken_is_lost():
            await self.client.connection_pool.disconnect(inuse_connections=False)
        async with asyncio.timeout(self._limits.timeout):
            try:
                with _broken_is_lost():
                    info = await self.client.info("cluster")
            except ResponseError:
                # A user without the right to ask has been answered all the same.
                return False
        return bool(info.get("cluster_enabled"))

    def _mark_up(self) -> None:
        self._doubt.clear()
        self._told.clear()
        self._change("up")

    def _mark_down(self, why: Exception) -> None:
        self._doubt.set()
        self._change("down", why=type(why).__name__)
        # Whoever else waits has waited long enough.
        now = asyncio.get_running_loop().time()
        for patience in self._waiting:
            if not patience.expired():
                patience.reschedule(now)

    def _change(self, state: TierState, **known: str) -> None:
        if self._counts.state != state:
            self._counts.state = state
            self._counts.changed_time = self._clock.wall()
            _log.warning("redis_state", state=state, **known)

    def _tell(self, error: Exception) -> None:
        # Once, not with every call, until it has been away and back.
        if type(error) not in self._told:
            self._told.add(type(error))
            _log.warning("redis_refused", why=type(error).__name__, said=str(error))


@contextmanager
def _broken_is_lost() -> Iterator[None]:
    """Let who writes to a connection that has just broken see a lost connection on every event loop.

    asyncio's own loop takes the bytes and lets the next read fail. uvloop raises a bare RuntimeError, which redis-py
    passes on, and which nobody would take for an outage.
    """
    try:
        yield
    except RuntimeError as error:
        if type(error) is RuntimeError and "handler is closed" in str(error):
            raise ConnectionResetError(str(error)) from error
        raise
