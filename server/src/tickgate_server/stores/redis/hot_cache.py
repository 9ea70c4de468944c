"""Live values that all replicas hold together."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final, Generic, TypeVar

from msgspec import Struct

from ...market.answer import Held
from ...market.option import OptionQuote
from ...market.provenance import DataSource, Feed
from ...market.quote import Quote
from ...market.snapshot import Snapshot, SnapshotPart
from ...market.time import NANOS
from ...market.trade import Trade
from ...observe.counters import CacheCounts, TierCounts
from ...ports import Clock, Key
from .behind import WriteBehind
from .codec import Codec
from .link import RedisDown, RedisLink

Value = Quote | Trade | Snapshot | OptionQuote
V = TypeVar("V", bound=Value)

_SKEW: Final = 1.0
"""Seconds that the civil clocks of two replicas may differ."""

_BATCH: Final = 200
"""Values written at once: what is encoded for it blocks the event loop for about a millisecond."""

_SWEEP: Final = 1000
"""Keys that Redis looks at for one step of a search."""

# Digits, because Lua compares texts by the server's locale, and digits come in the same order in all of them.
_DIGITS: Final = 20
_STAMP_SIZE: Final = 2 * _DIGITS
_EPOCH: Final = 2**63
_NEVER: Final = b""
"""Before every stamp."""

_KEEP_NEWEST: Final = """
local ttl, since, horizon = ARGV[1], ARGV[2], ARGV[3]
for i, key in ipairs(KEYS) do
  local entry = ARGV[i + 3]
  local held = redis.pcall('GETRANGE', key, 0, 39)
  if type(held) ~= 'string' then held = '' end
  local received = string.sub(held, 21)
  if held < string.sub(entry, 1, 40) or received < since or received > horizon then
    redis.call('SET', key, entry, 'PX', ttl)
  end
end
"""
"""Writes each entry unless a newer one is held. What was received before the market was set back, or in the future, is
not newer, whatever it says."""


class HotCacheLimits(Struct, frozen=True):
    """Bounds of what waits to be written."""

    pending: int = 10_000
    """Values at most; those that come on top are not written, and counted as failures."""

    pause: float = 0.02
    """Seconds between two writes, in which values gather."""


class RedisHotCache(Generic[V]):
    """Values of one kind, from one provider, in Redis.

    An entry is its stamp, event time and then receive time, and behind it the value as `Codec` writes it. What is fresh
    enough is judged by whoever asks; here only what cannot be trusted is left out.
    """

    def __init__(
        self,
        link: RedisLink,
        kind: type[V],
        source: DataSource,
        ttl: Callable[[], float],
        counts: TierCounts,
        clock: Clock,
        limits: HotCacheLimits = HotCacheLimits(),  # noqa: B008 - frozen
        kept: CacheCounts | None = None,
    ) -> None:
        """Hold values of type *kind*.

        Args:
            link: Redis.
            kind: quote, trade or snapshot.
            source: provider of all values that are put.
            ttl: returns the seconds that Redis holds what is written now.
            counts: where values that could not be written are counted. Whole commands are, by the link.
            clock: tells receive times from ages.
            limits: bounds of what waits to be written.
            kept: where what was written and forgotten is counted; *counts* where nobody says.
        """
        self._link = link
        self._ttl = ttl
        self._counts = counts
        self._kept = kept or counts
        self._codec = Codec(kind)
        self._times = ReceiveTimes(clock)
        self._head = f"tg:1:{source.value}:"
        self._tail = f":{kind.__name__.lower()}:"
        self._behind = WriteBehind[Key, Held[V]](
            self._write, batch=_BATCH, pause=limits.pause, capacity=limits.pending
        )
        self._write_newest = link.client.register_script(_KEEP_NEWEST)

    async def get(self, keys: Sequence[Key]) -> Mapping[Key, Held[V]] | None:
        """Return what is held of *keys*, in one round trip, or None when it cannot be had now."""
        if not keys:
            return {}
        names = [self._name(key) for key in keys]
        try:
            with self._counts.reads.timing():
                entries = await self._link.ask(
                    lambda: self._link.client.mget(names), "MGET", len(names)
                )
        except RedisDown:
            return None
        found: dict[Key, Held[V]] = {}
        for key, name, entry in zip(keys, names, entries, strict=True):
            held = self._read(name, entry) if isinstance(entry, bytes) else None
            if held is not None:
                found[key] = held
        return found

    def put(self, values: Mapping[Key, Held[V]]) -> None:
        """Hold *values* soon, where nothing newer is held; never waits and never fails. While Redis is down, do not."""
        if not self._link.up:
            return
        for key, held in values.items():
            waiting = self._behind.waiting.get(key)
            is_newer = waiting is None or _stamp(waiting.value) < _stamp(held.value)
            if is_newer and not self._behind.put(key, held):
                self._counts.failures += 1

    async def drop(
        self, feeds: Collection[Feed] | None, symbols: Collection[str] | None
    ) -> int | None:
        """Forget values; None stands for all.

        Returns:
            How many Redis has forgotten, or None when it could not be asked, or not to the end.
        """
        # Nothing is written between this forgetting and Redis's.
        async with self._behind.writing:
            waiting = self._behind.waiting
            for key in list(waiting):
                if (feeds is None or key[0] in feeds) and (symbols is None or key[1] in symbols):
                    del waiting[key]
            chosen = list(Feed) if feeds is None else feeds
            try:
                if symbols is None:
                    return await self._sweep(chosen)
                return await self._unlink([self._name((f, s)) for f in chosen for s in symbols])
            except RedisDown:
                return None

    def set_back(self) -> None:
        """Trust nothing that was received before now: the market's time has been set back. Does not wait."""
        self._times.set_back()
        self._behind.waiting.clear()

    async def run(self) -> None:
        """Write what is put, until cancelled."""
        await self._behind.run()

    async def flush(self) -> None:
        """Write what was put and is not written yet."""
        await self._behind.flush()

    async def _write(self, batch: Mapping[Key, Held[V]]) -> None:
        entries = self._encode(batch)
        ttl = max(1, round(self._ttl() * 1000))
        bounds = (ttl, self._times.since(), self._times.horizon())
        try:
            with self._counts.writings.timing():
                await self._link.ask(
                    lambda: self._write_newest(
                        keys=list(entries), args=[*bounds, *entries.values()]
                    ),
                    "EVALSHA",
                    len(entries),
                )
        except RedisDown:
            # The link has counted it. A cache need not try again: the next answer brings the next value.
            return
        self._kept.writes += len(entries)

    def _encode(self, batch: Mapping[Key, Held[V]]) -> dict[bytes, bytes]:
        entries: dict[bytes, bytes] = {}
        for key, held in batch.items():
            name = self._name(key)
            try:
                entries[name] = _stamp(held.value) + self._codec.encode(held.value, name)
            except ValueError:
                self._counts.failures += 1
        return entries

    def _read(self, name: bytes, entry: bytes) -> Held[V] | None:
        value = self._codec.decode(entry[_STAMP_SIZE:], name)
        if value is None:
            return None
        confirmed_at = self._times.confirmed_at(receive_time_of(value))
        return None if confirmed_at is None else Held(value, confirmed_at)

    async def _sweep(self, feeds: Collection[Feed]) -> int:
        prefixes = tuple(self._name((feed, "")) for feed in feeds)
        search = partial(self._link.client.scan, match=f"{self._head}*{self._tail}*", count=_SWEEP)
        gone = cursor = 0
        while True:
            cursor, names = await self._link.ask(partial(search, cursor), "SCAN", 0)
            ours = [n for n in names if isinstance(n, bytes) and n.startswith(prefixes)]
            gone += await self._unlink(ours)
            if not cursor:
                return gone

    async def _unlink(self, names: Sequence[bytes]) -> int:
        if not names:
            return 0
        gone: int = await self._link.ask(
            lambda: self._link.client.unlink(*names), "UNLINK", len(names)
        )
        self._kept.invalidations += gone
        return gone

    def _name(self, key: Key) -> bytes:
        feed, symbol = key
        return f"{self._head}{feed}{self._tail}{symbol}".encode()


class ReceiveTimes:
    """Receive times, which are civil time, on the monotonic clock: the only one that ages can be measured by."""

    def __init__(self, clock: Clock) -> None:
        """Trust everything received before now."""
        self._clock = clock
        self._not_before = -math.inf
        self._ahead = self._civil_ahead()

    def confirmed_at(self, receive_time: int) -> float | None:
        """Return when that was, seconds of the monotonic clock, or None where it cannot be trusted."""
        self._notice_jumps()
        age = (self._clock.wall() - receive_time) / NANOS
        if age < -_SKEW:
            return None
        confirmed_at = self._clock.monotonic() - max(0.0, age)
        return confirmed_at if confirmed_at >= self._not_before else None

    def set_back(self) -> None:
        """Trust nothing that was received before now."""
        self._not_before = self._clock.monotonic()

    def since(self) -> bytes:
        """Return the earliest receive time that is trusted, as it stands in a stamp."""
        self._notice_jumps()
        if self._not_before == -math.inf:
            return _NEVER
        return _digits(self._clock.wall() - round(self._since_then() * NANOS))

    def horizon(self) -> bytes:
        """Return the latest receive time that is trusted, as it stands in a stamp."""
        return _digits(self._clock.wall() + round(_SKEW * NANOS))

    def _since_then(self) -> float:
        return self._clock.monotonic() - self._not_before

    def _notice_jumps(self) -> None:
        # After a jump back, what was received before it would look younger than it is.
        ahead = self._civil_ahead()
        if ahead < self._ahead - _SKEW:
            self.set_back()
        self._ahead = ahead

    def _civil_ahead(self) -> float:
        return self._clock.wall() / NANOS - self._clock.monotonic()


def receive_time_of(value: Value) -> int:
    """Return when *value* was received, nanoseconds; of a snapshot, its newest part."""
    if not isinstance(value, Snapshot):
        return value.provenance.receive_time
    parts = (getattr(value, part.value) for part in SnapshotPart)
    return max((part.provenance.receive_time for part in parts if part is not None), default=0)


def _stamp(value: Value) -> bytes:
    event_time = value.event_time
    first = b"0" * _DIGITS if event_time is None else _digits(event_time)
    return first + _digits(receive_time_of(value))


def _digits(instant: int) -> bytes:
    """Return *instant* (nanoseconds) as text that sorts as instants do."""
    return b"%020d" % (instant + _EPOCH)
