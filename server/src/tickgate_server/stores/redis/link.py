"""The connection to Redis, and whether it can be had."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import redis.asyncio as aioredis
import structlog
from msgspec import Struct
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ...observe.counters import TierCounts
from ...ports import Clock

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class RedisDown(Exception):
    """Redis cannot be had now; whoever wanted it goes on without."""


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
        """Connect to *url* when first asked; report into *counts*."""
        self._limits = limits
        self._counts = counts
        self._clock = clock
        self._went_down = asyncio.Event()
        # Redis's own defaults try for seconds (redis-py 8: ten attempts); a tier must give up at once.
        self.client: aioredis.Redis = aioredis.Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=limits.timeout,
            socket_connect_timeout=limits.timeout,
            max_connections=limits.connections,
        )
        """For commands inside of `ask`."""

    @property
    def up(self) -> bool:
        """Whether the last command was answered."""
        return self._counts.state == "up"

    async def ask(self, command: Callable[[], Awaitable[T]]) -> T:
        """Return what *command* returns.

        Raises:
            RedisDown: Redis is down, or did not answer in time.
        """
        if not self.up:
            raise RedisDown
        try:
            async with asyncio.timeout(self._limits.timeout):
                return await command()
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._counts.failures += 1
            self._mark("down")
            raise RedisDown from error

    async def run(self) -> None:
        """Bring a Redis that went down back, until cancelled."""
        while True:
            await self._went_down.wait()
            await asyncio.sleep(self._limits.check_every)
            await self.check()

    async def check(self) -> None:
        """Ask Redis whether it is there, and mark it up if it is."""
        try:
            async with asyncio.timeout(self._limits.timeout):
                await self.client.ping()
        except (RedisError, OSError):
            self._mark("down")
        else:
            self._mark("up")

    async def close(self) -> None:
        """Give the connections back."""
        await self.client.aclose()

    def _mark(self, state: str) -> None:
        changed = self._counts.state != state
        if state == "up":
            self._counts.state = "up"
            self._went_down.clear()
        else:
            self._counts.state = "down"
            self._went_down.set()
        if changed:
            self._counts.changed_time = self._clock.wall()
            _log.warning("redis_state", state=state)
