"""What a symbol traded at, at a moment of the past."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ..market.answer import Answer, Held
from ..market.columns import Block, TradeBlock
from ..market.history_rows import trades
from ..market.interval import Interval
from ..market.provenance import Tier
from ..market.sale_conditions import sets_price
from ..market.series import HistoryQuestion, SeriesKey, SeriesPosition
from ..market.time import NANOS, format_rfc3339
from ..market.trade import Trade
from ..market.unavailable import Reason, Unavailable
from ..ports import (
    Clock,
    HistorySource,
    Priority,
    SeriesBroken,
    SeriesChunk,
    SeriesDone,
    SeriesEvent,
)
from .reasons import what
from .waiting import closing

_FIRST_STEP: Final = 50
"""Trades that are looked at first: the last one almost always sets a price."""

_STEP_GROWTH: Final = 10
_MOST_STEP: Final = 10_000


class PointInTime:
    """A `PriceAtSource` over the trades of the past, which it reads backwards and no further than it has to."""

    def __init__(self, history: HistorySource, clock: Clock) -> None:
        """Look for trades in *history*."""
        self._history = history
        self._clock = clock

    async def price_at(
        self,
        key: SeriesKey,
        time: int,
        tolerance: int,
        *,
        deadline: float,
        as_of: int | None = None,
        allowed_tiers: frozenset[Tier] | None = None,
    ) -> Answer[Trade] | Unavailable:
        """Return the last trade that set a price, as `PriceAtSource` says."""
        search = _Search(key, Interval(time - tolerance, time + 1), self._clock)
        step = _FIRST_STEP
        while True:
            question = HistoryQuestion(
                key=key,
                symbols=(key.symbol,),
                interval=search.interval,
                newest_first=True,
                limit=search.looked_at + step,
                as_of=as_of,
                allowed_tiers=allowed_tiers,
            )
            events = self._history.read(
                question,
                rows=step,
                after=search.position,
                deadline=deadline,
                priority=Priority.INTERACTIVE,
            )
            async with closing(events) as told:
                async for event in told:
                    answer = search.consider(event, step)
                    if answer is not None:
                        return answer
            step = min(step * _STEP_GROWTH, _MOST_STEP)


class _Search:
    """What has been looked at so far."""

    def __init__(self, key: SeriesKey, interval: Interval, clock: Clock) -> None:
        self.interval = interval
        self.position: SeriesPosition | None = None
        self.looked_at = 0
        self._key = key
        self._clock = clock
        self._passed_over: int | None = None
        """When the newest trade happened that sets no price."""

    def consider(self, event: SeriesEvent, step: int) -> Answer[Trade] | Unavailable | None:
        """Return the answer that *event* gives, or None where the search goes on."""
        match event:
            case SeriesChunk():
                self.position, self.looked_at = event.position, event.position.count
                return self._find(event.block)
            case SeriesDone():
                # As many as were wanted: there may be more.
                return None if event.count == step else self._nothing(None)
            case SeriesBroken():
                if event.why.reason is Reason.NO_DATA and event.position.done:
                    return self._nothing(event.why)
                return replace(event.why, last_event_time=self._passed_over)

    def _find(self, block: Block) -> Answer[Trade] | None:
        assert isinstance(block, TradeBlock), "trades were asked for"
        for trade in trades(block, self._key.symbol):
            if sets_price(trade):
                return Answer(Held(trade, self._confirmed_at(trade)), block.origin.served_from)
            if self._passed_over is None:
                self._passed_over = trade.event_time
        return None

    def _nothing(self, why: Unavailable | None) -> Unavailable:
        """Return that nothing traded, and what was looked at; *why* is what the history says, where it says so."""
        start, end = self.interval.start, self.interval.end - 1
        message = (
            f"{what(self._key)} at or before {format_rfc3339(end)}: none that sets a price since"
            f" {format_rfc3339(start)}"
        )
        if self.looked_at:
            message += f", {self.looked_at} that set none were passed over"
        known = Unavailable(reason=Reason.NO_DATA, message=message) if why is None else why
        return replace(known, message=message, last_event_time=self._passed_over)

    def _confirmed_at(self, trade: Trade) -> float:
        age = max(0, self._clock.wall() - trade.provenance.receive_time)
        return self._clock.monotonic() - age / NANOS
