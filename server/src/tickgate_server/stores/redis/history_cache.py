"""Final history that all replicas hold together for a while."""

from __future__ import annotations

import asyncio
import sys
from array import array
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from ...market.columns import (
    BarBlock,
    Block,
    Codes,
    Column,
    Counts,
    Decimals,
    Origin,
    QuoteBlock,
    TradeBlock,
)
from ...market.interval import Interval
from ...market.provenance import DataSource, Tier
from ...market.series import SeriesKey, SeriesKind
from ...observe.counters import CacheCounts, TierCounts
from .behind import WriteBehind
from .codec import Codec
from .link import RedisDown, RedisLink

_Place: TypeAlias = tuple[SeriesKey, Interval]

_BLOCKS: Final[dict[SeriesKind, Any]] = {
    SeriesKind.BARS: BarBlock,
    SeriesKind.TRADES: TradeBlock,
    SeriesKind.QUOTES: QuoteBlock,
}
_BATCH: Final = 16
"""Slots that are read or written at once: of a day of minute bars each, half a megabyte."""


class HistoryCacheLimits(Struct, frozen=True):
    """Bounds of what is held."""

    ttl: float = 3600.0
    """Seconds for which a slot is held."""

    largest: int = 1_000_000
    """Bytes of a slot at most; larger ones are not held."""

    pending: int = 256
    """Slots that wait to be written at most; those that come on top are not written."""

    pause: float = 0.02
    """Seconds between two writes, in which slots gather."""


class RedisHistoryCache:
    """A `HistoryCache` in Redis, of the history of one provider.

    A slot is all of its values, as `Codec` writes them. While Redis is down nothing is held, and nobody waits for it.
    """

    def __init__(
        self,
        link: RedisLink,
        source: DataSource,
        counts: TierCounts,
        limits: HistoryCacheLimits = HistoryCacheLimits(),  # noqa: B008 - frozen
        kept: CacheCounts | None = None,
    ) -> None:
        """Hold slots over *link*.

        Args:
            link: Redis.
            source: provider of all values that are put.
            counts: where slots are counted that could not be written.
            limits: bounds.
            kept: where slots are counted that were there, were not, or were written; *counts* where nobody says.
        """
        self._link = link
        self._source = source
        self._counts = counts
        self._kept = kept or counts
        self._limits = limits
        self._codec = Codec(tuple[_Slab, ...])
        self._behind = WriteBehind[_Place, Sequence[Block]](
            self._write, batch=_BATCH, pause=limits.pause, capacity=limits.pending
        )

    async def get(
        self, key: SeriesKey, slots: Sequence[Interval]
    ) -> Mapping[Interval, Sequence[Block]]:
        """Return what is held of *slots*; those that cannot be had are left out."""
        found: dict[Interval, Sequence[Block]] = {}
        try:
            for first in range(0, len(slots), _BATCH):
                some = slots[first : first + _BATCH]
                names = [self._name(key, slot) for slot in some]
                with self._counts.reads.timing():
                    entries = await self._link.ask(
                        lambda: self._link.client.mget(names),  # noqa: B023 - is awaited here
                        "MGET",
                        len(names),
                    )
                for slot, name, entry in zip(some, names, entries, strict=True):
                    blocks = self._read(key, name, entry)
                    if blocks is not None:
                        found[slot] = blocks
        except RedisDown:
            # What was read before it went is as good as ever.
            pass
        self._kept.hits += len(found)
        self._kept.misses += len(slots) - len(found)
        return found

    def put(self, key: SeriesKey, slot: Interval, blocks: Sequence[Block]) -> None:
        """Hold soon that *blocks* are all there is in *slot*. Never waits, never fails; not while Redis is down."""
        if self._link.up and not self._behind.put((key, slot), blocks):
            self._counts.failures += 1

    async def run(self) -> None:
        """Write what is put, until cancelled."""
        await self._behind.run()

    async def flush(self) -> None:
        """Write what was put and is not written yet."""
        await self._behind.flush()

    async def _write(self, batch: Mapping[_Place, Sequence[Block]]) -> None:
        entries: dict[bytes, bytes] = {}
        for (key, slot), blocks in batch.items():
            name = self._name(key, slot)
            try:
                entry = self._codec.encode(tuple(map(_slab, blocks)), name)
            except ValueError:
                self._counts.failures += 1
                continue
            if len(entry) <= self._limits.largest:
                entries[name] = entry
            # A slot may be a megabyte: others get the event loop before the next.
            await asyncio.sleep(0)
        if not entries:
            return
        ttl = max(1, round(self._limits.ttl * 1000))

        async def send() -> None:
            async with self._link.client.pipeline(transaction=False) as pipeline:
                for name, entry in entries.items():
                    pipeline.set(name, entry, px=ttl)
                await pipeline.execute()

        try:
            with self._counts.writings.timing():
                await self._link.ask(send, "SET", len(entries))
        except RedisDown:
            # The link has counted it. Whoever reads these slots next puts them again.
            return
        self._kept.writes += len(entries)

    def _read(self, key: SeriesKey, name: bytes, entry: object) -> Sequence[Block] | None:
        if not isinstance(entry, bytes):
            return None
        slabs = self._codec.decode(entry, name)
        if slabs is None:
            return None
        try:
            return [_block(key.kind, slab) for slab in slabs]
        except TypeError:
            # Of a gateway that knows other fields.
            return None

    def _name(self, key: SeriesKey, slot: Interval) -> bytes:
        """Return the name of *slot*; a key that differs in any field has another one."""
        fields = (
            key.symbol,
            "" if key.timeframe is None else str(key.timeframe),
            ",".join(sorted(key.adjustments)),
            "" if key.symbol_date is None else key.symbol_date.isoformat(),
            "exact" if key.exact_symbol else "",
            str(slot.start),
            str(slot.end),
        )
        feed = "" if key.feed is None else key.feed.value
        head = ("tg:1", self._source.value, feed, f"history-{key.kind}")
        return ":".join((*head, *fields)).encode()


class _Decimals(Struct, frozen=True, tag="d"):
    exponent: int
    values: bytes
    unset: tuple[int, ...]
    wide: tuple[Decimal | None, ...] | None


class _Counts(Struct, frozen=True, tag="n"):
    values: bytes
    unset: tuple[int, ...]


class _Codes(Struct, frozen=True, tag="c"):
    known: tuple[str | tuple[str, ...], ...]
    places: bytes


class _Slab(Struct, frozen=True):
    """A block with arrays of 8 bytes a number, or 4 for places, the least of them first."""

    origin: Origin
    times: bytes
    received: bytes | None
    columns: dict[str, _Decimals | _Counts | _Codes | None]


def _slab(block: Block) -> _Slab:
    received = block.receive_times
    return _Slab(
        block.origin,
        _bytes(block.times),
        None if received is None else _bytes(received),
        {name: _packed(column) for name, column in block.columns.items()},
    )


def _block(kind: SeriesKind, slab: _Slab) -> Block:
    block: Block = _BLOCKS[kind](
        origin=replace(slab.origin, served_from=Tier.REDIS),
        times=_array("q", slab.times),
        receive_times=None if slab.received is None else _array("q", slab.received),
        **{name: _unpacked(column) for name, column in slab.columns.items()},
    )
    return block


def _packed(column: Column | None) -> _Decimals | _Counts | _Codes | None:
    match column:
        case None:
            return None
        case Decimals():
            return _Decimals(column.exponent, _bytes(column.values), column.unset, column.wide)
        case Counts():
            return _Counts(_bytes(column.values), column.unset)
        case Codes():
            return _Codes(column.known, _bytes(column.places))


def _unpacked(column: _Decimals | _Counts | _Codes | None) -> Column | None:
    match column:
        case None:
            return None
        case _Decimals():
            return Decimals(column.exponent, _array("q", column.values), column.unset, column.wide)
        case _Counts():
            return Counts(_array("q", column.values), column.unset)
        case _Codes():
            return Codes(column.known, _array("I", column.places))


def _bytes(values: array[int]) -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def _array(code: Literal["q", "I"], data: bytes) -> array[int]:
    values = array(code, data)
    if sys.byteorder == "big":
        values.byteswap()
    return values
