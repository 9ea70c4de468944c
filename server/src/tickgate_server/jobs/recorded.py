"""One series as it is recorded live: what waits to be written, and of which time everything is known."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from ..market.bar import Bar
from ..market.columns import BarBlock, Decimals, Origin, TradeBlock, codes, counts, decimals
from ..market.interval import Interval, union
from ..market.live import LiveValue, RecordKind, TradeCancellation, TradeCorrection
from ..market.provenance import Tier
from ..market.series import SeriesKey, SeriesKind
from ..market.time import NANOS
from ..market.trade import Trade

MINUTE: Final = 60 * NANOS
"""Length of the bars that live feeds bring, nanoseconds."""

CANCELED: Final = "canceled"
CORRECTED: Final = "corrected"
INCORRECT: Final = "incorrect"
"""What an amended trade is marked with, in the words of the upstream's own history."""

AMENDMENTS: Final = frozenset({RecordKind.TRADE_CORRECTION, RecordKind.TRADE_CANCELLATION})

Amendment: TypeAlias = TradeCorrection | TradeCancellation
Row: TypeAlias = tuple[RecordKind, LiveValue]


class Batch(Struct, frozen=True):
    """Records that can be written together, oldest first; or one amendment, whose trade is still to be found."""

    taken: int
    """Records that leave the queue with it."""

    bars: tuple[Bar, ...] = ()
    revised: int = 0
    """How many of the bars supersede one that was sent before."""

    trades: tuple[Trade, ...] = ()
    amendment: Amendment | None = None


class Tape:
    """One series, as it is recorded.

    The law: what is claimed to be complete was received and waits to be written, or is written. A stretch begins when
    the upstream confirms the symbol and ends at every gap. Of an open stretch that much is final as the feed has
    reached: some time before the newest of all records that arrived. An open connection on which nothing arrives
    reaches nowhere, for it may be mute.
    """

    __slots__ = (
        "_final",
        "_since",
        "_step",
        "_unnamed",
        "claims",
        "key",
        "leaving",
        "starved",
        "waiting",
    )

    def __init__(self, key: SeriesKey) -> None:
        """Begin with nothing."""
        self.key = key
        self.waiting: deque[Row] = deque()
        self.claims: list[Interval] = []
        """What is complete as soon as everything that waits is written."""

        self.leaving = False
        """Whether it is no longer followed, and gone as soon as nothing waits."""

        self.starved = False
        """Whether a record was dropped since nothing more could wait."""

        self._step = MINUTE if key.kind is SeriesKind.BARS else 1
        self._since: int | None = None
        """Since when everything is received, where that has not been claimed; None while something is missed."""

        self._final = 0
        """End of all that was ever claimed."""

        self._unnamed: list[Trade] = []
        """Trades without an id that were written last."""

    @property
    def open(self) -> bool:
        """Whether everything that happens now is received."""
        return self._since is not None

    def begin(self, earliest: int) -> None:
        """Take notice that everything is received that happens from *earliest* on, nanoseconds of market time."""
        if self._since is None:
            self._since = -(-earliest // self._step) * self._step

    def settle(self, reach: int) -> None:
        """Claim what is final: everything of the open stretch that happened before *reach*."""
        end = reach - reach % self._step
        if self._since is not None and end > self._since:
            self.claims = union([*self.claims, Interval(self._since, end)])
            self._since = end
            self._final = max(self._final, end)

    def cut(self, reach: int) -> None:
        """End the open stretch: something is missed from now on that happened after *reach*."""
        self.settle(reach)
        self._since = None

    def drop(self, value: LiveValue, reach: int) -> bool:
        """Do without *value*, for which there is no room, and end the stretch before it.

        Returns:
            Whether that can be: what belongs to a time that is claimed already must not be missing there.
        """
        event_time = value.provenance.event_time
        if event_time is None or event_time < self._final:
            return False
        self.cut(min(reach, event_time))
        self.starved = True
        return True

    def abandon(self) -> int:
        """Do without all that waits, and claim nothing of it; return how many records that were."""
        lost = len(self.waiting)
        self.waiting.clear()
        self.claims = []
        self._since = None
        self.starved = True
        return lost

    def take_claims(self) -> list[Interval]:
        """Hand over what is complete once everything that waits now is written."""
        taken, self.claims = self.claims, []
        return taken

    def give_back(self, claims: Sequence[Interval]) -> None:
        """Take back *claims* that could not be written."""
        self.claims = union([*claims, *self.claims])

    def batches(self, count: int, most: int) -> Iterator[Batch]:
        """Yield the *count* records that have waited longest in batches of at most *most*.

        Two states of one record are never in one batch: each has been what is known, if only for a moment.
        """
        batch: list[Row] = []
        starts: set[int | None] = set()
        for kind, value in tuple(self.waiting)[:count]:
            if isinstance(value, TradeCorrection | TradeCancellation):
                if batch:
                    yield _batch(batch)
                batch, starts = [], set()
                yield Batch(1, amendment=value)
                continue
            is_twin = isinstance(value, Bar) and value.event_time in starts
            if batch and (is_twin or len(batch) >= most):
                yield _batch(batch)
                batch, starts = [], set()
            batch.append((kind, value))
            starts.add(value.event_time if isinstance(value, Bar) else None)
        if batch:
            yield _batch(batch)

    def told_before(self, batch: Batch) -> list[Trade]:
        """Return trades that were written last and that one of *batch* may look like.

        Two equal trades without an id are two trades. What is held already is not written again, so that the second is
        told from the first only where both are told.
        """
        times = {trade.event_time for trade in batch.trades if trade.id is None}
        return [trade for trade in self._unnamed if trade.event_time in times]

    def written(self, batch: Batch) -> None:
        """Take what *batch* holds out of the queue, of which it is the oldest."""
        for _ in range(batch.taken):
            self.waiting.popleft()
        if batch.trades:
            self._unnamed = [
                *self.told_before(batch),
                *(trade for trade in batch.trades if trade.id is None),
            ]


def _batch(rows: Sequence[Row]) -> Batch:
    bars = sorted((value for _, value in rows if isinstance(value, Bar)), key=_event_time)
    trades = sorted((value for _, value in rows if isinstance(value, Trade)), key=_event_time)
    revised = sum(kind is RecordKind.REVISED_BAR for kind, _ in rows)
    return Batch(len(rows), tuple(bars), revised, tuple(trades))


def _event_time(value: Bar | Trade) -> int:
    assert value.event_time is not None, "a live feed stamps what it brings"
    return value.event_time


def amended(original: Trade, amendment: Amendment) -> list[Trade]:
    """Return what is known of *original* since *amendment*, all of it received when that was.

    It is the same trade, marked; and its correction, where that has an id of its own.
    """
    origin = replace(
        original.provenance,
        receive_time=amendment.provenance.receive_time,
        upstream_request_id=amendment.provenance.upstream_request_id,
    )
    if isinstance(amendment, TradeCancellation):
        return [replace(original, amendment=CANCELED, provenance=origin)]
    corrected = amendment.corrected
    correction = replace(
        original,
        id=original.id if corrected.id is None else corrected.id,
        price=corrected.price,
        size=corrected.size,
        conditions=corrected.conditions,
        amendment=CORRECTED,
        provenance=origin,
    )
    if correction.id == original.id:
        return [correction]
    return [replace(original, amendment=INCORRECT, provenance=origin), correction]


def bar_block(bars: Sequence[Bar]) -> BarBlock:
    """Return *bars*, of which there are some, as columns with the receive time of each."""
    return BarBlock(
        origin=_origin(bars),
        times=_times(bars),
        open=_all(bar.open for bar in bars),
        high=_all(bar.high for bar in bars),
        low=_all(bar.low for bar in bars),
        close=_all(bar.close for bar in bars),
        volume=counts([bar.volume for bar in bars]),
        trade_count=counts([bar.trade_count for bar in bars]),
        vwap=decimals([bar.vwap for bar in bars]),
        receive_times=_receive_times(bars),
    )


def trade_block(trades: Sequence[Trade]) -> TradeBlock:
    """Return *trades*, of which there are some, as columns with the receive time of each."""
    trades = sorted(trades, key=_event_time)
    return TradeBlock(
        origin=_origin(trades),
        times=_times(trades),
        price=_all(trade.price for trade in trades),
        size=counts([trade.size for trade in trades]),
        exchange=codes([trade.exchange for trade in trades]),
        conditions=codes([trade.conditions for trade in trades]),
        id=counts([trade.id for trade in trades]),
        tape=codes([trade.tape for trade in trades]),
        amendment=codes([trade.amendment for trade in trades]),
        receive_times=_receive_times(trades),
    )


def _origin(values: Sequence[Bar] | Sequence[Trade]) -> Origin:
    newest = max((value.provenance for value in values), key=lambda one: one.receive_time)
    return Origin(
        newest.source,
        newest.feed,
        newest.receive_time,
        newest.upstream_request_id,
        Tier.UPSTREAM,
    )


def _times(values: Sequence[Bar] | Sequence[Trade]) -> array[int]:
    return array("q", map(_event_time, values))


def _receive_times(values: Sequence[Bar] | Sequence[Trade]) -> array[int]:
    return array("q", (value.provenance.receive_time for value in values))


def _all(prices: Iterator[Decimal]) -> Decimals:
    column = decimals(list(prices))
    assert column is not None, "there are values, and each has this price"
    return column
