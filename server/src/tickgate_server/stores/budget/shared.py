"""Buckets that replicas spend from together."""

from __future__ import annotations

import hashlib
import math
from datetime import timedelta
from typing import Any, Final

import redis.asyncio as aioredis
from msgspec import Struct
from throttled.asyncio import Quota, Rate, RedisStore, RedisStoreBackend
from throttled.asyncio.rate_limiter import GCRARateLimiter

from ..redis.link import RedisLink

_PREFIX: Final = "tg:1:budget"

_ROUNDING: Final = 1e-6
"""Requests by which a level may be off after its way through a time and back."""

_TRIES: Final = 4
"""Times that a bucket is lowered anew because others spent in between, which lowers it as well."""


def account_name(key_id: str) -> str:
    """Return a name for the account of *key_id* that does not tell the key: gateways of one account share a budget."""
    return hashlib.sha256(key_id.encode()).hexdigest()[:12]


class Size(Struct, frozen=True):
    """How much a bucket holds."""

    limit: int
    """Requests."""

    seconds: int
    """In which as many come back."""


class Look(Struct, frozen=True):
    """What a bucket said."""

    taken: bool
    """Whether requests were taken out."""

    level: float
    """Requests that are left."""


class SharedBuckets:
    """Buckets in Redis, by throttled-py's GCRA: each question is one script there, so no two replicas take the same.

    Redis keeps nothing of a bucket but when it will be full, by Redis's own clock. So a class that must leave something
    asks the same bucket as if it were smaller by that much.
    """

    def __init__(self, link: RedisLink, account: str) -> None:
        """Share over *link* with the gateways of the same *account*, a name that tells no secret."""
        self._link = link
        self._account = account
        self._store = _store_over(link.client)
        self._limiters: dict[tuple[Size, int], GCRARateLimiter] = {}

    @property
    def up(self) -> bool:
        """Whether Redis answered last time."""
        return self._link.up

    async def take(self, name: str, size: Size, floor: int, cost: int) -> Look:
        """Take *cost* requests out of bucket *name*, if at least *floor* remain.

        Raises:
            RedisDown: Redis cannot be had; whether they were taken is not known.
        """
        limiter = self._limiter(size, floor)
        result = await self._link.ask(lambda: limiter.limit(self._key(name), cost), "EVALSHA")
        return Look(not result.limited, _level(size, result.state.reset_after))

    async def level(self, name: str, size: Size) -> float:
        """Return what is left in bucket *name*.

        Raises:
            RedisDown: Redis cannot be had.
        """
        # Taking nothing, unlike throttled's peek, needs a Redis that can be written: one that cannot is of no use here.
        return (await self.take(name, size, 0, 0)).level

    async def lower(self, name: str, size: Size, level: float) -> Look:
        """Take out of bucket *name* what is above *level*.

        Raises:
            RedisDown: Redis cannot be had.
        """
        look = Look(taken=False, level=await self.level(name, size))
        for _ in range(_TRIES):
            above = math.ceil(look.level - level - _ROUNDING)
            surplus = min(above, math.floor(look.level + _ROUNDING))
            if look.taken or surplus <= 0:
                break
            look = await self.take(name, size, 0, surplus)
        return look

    async def forget(self, name: str) -> None:
        """Let bucket *name* be full.

        Raises:
            RedisDown: Redis cannot be had.
        """
        key = f"{_PREFIX}:{GCRARateLimiter.KEY_SCHEMA_VERSION}:gcra:{self._key(name)}"
        await self._link.ask(lambda: self._link.client.delete(key), "DEL")

    def _key(self, name: str) -> str:
        return f"{self._account}:{name}"

    def _limiter(self, size: Size, floor: int) -> GCRARateLimiter:
        limiter = self._limiters.get((size, floor))
        if limiter is None:
            rate = Rate(period=timedelta(seconds=size.seconds), limit=size.limit)
            quota = Quota(rate, burst=size.limit - floor)
            limiter = GCRARateLimiter(quota, self._store, key_prefix=_PREFIX)
            self._limiters[size, floor] = limiter
        return limiter


def _level(size: Size, reset_after: float) -> float:
    return size.limit - reset_after * size.limit / size.seconds


def _store_over(client: aioredis.Redis) -> RedisStore:
    """Return throttled's store over a client that is there already, instead of one of its own."""

    class Backend(RedisStoreBackend):
        # Redis's errors pass as they are: the link knows them, throttled's word for them it does not.
        base_exceptions = ()

        def get_client(self) -> Any:
            return client

    class Store(RedisStore):
        _BACKEND_CLASS = Backend

    return Store()
