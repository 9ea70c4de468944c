"""Adjusted prices, which are right until something happens to the company."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from ..errors import StoreDown, UpstreamFailure
from ..market.corporate_action import CorporateActionType
from ..market.expiry import market_date
from ..market.series import Adjustment, SeriesKey
from ..ports import Clock, CorporateActionSource, Covered, HistoryStore
from .slots import midnight

_ABOUT: Final[Mapping[Adjustment, frozenset[CorporateActionType]]] = {
    Adjustment.SPLIT: frozenset(
        {
            CorporateActionType.FORWARD_SPLIT,
            CorporateActionType.REVERSE_SPLIT,
            CorporateActionType.UNIT_SPLIT,
            CorporateActionType.STOCK_DIVIDEND,
        }
    ),
    Adjustment.DIVIDEND: frozenset(
        {
            CorporateActionType.CASH_DIVIDEND,
            CorporateActionType.STOCK_DIVIDEND,
            CorporateActionType.RIGHTS_DISTRIBUTION,
        }
    ),
    Adjustment.SPIN_OFF: frozenset({CorporateActionType.SPIN_OFF}),
}
"""What each adjustment corrects for. Alpaca does not say to which a dividend in shares belongs: to both."""

_DAY: Final = datetime.timedelta(days=1)


class _Known(Struct, frozen=True):
    """What is known of one symbol today."""

    since: datetime.date
    events: tuple[tuple[datetime.date, CorporateActionType], ...]


class Adjustments:
    """Tells which adjusted values are still right.

    Those of today are. Of those of an earlier day it is asked, once for each symbol and day, what has happened since;
    where that cannot be told they count as not held.

    In a replay, whose time somebody may set, nobody knows on which of its days something was received. There it counts
    as of the last day that it is about, the earliest one that it can be of.
    """

    def __init__(
        self,
        actions: CorporateActionSource,
        store: HistoryStore | None,
        clock: Clock,
        *,
        replayed: bool,
    ) -> None:
        """Ask *actions*; let *store* forget what is no longer right; *replayed* says that market time is a replay's."""
        self._actions = actions
        self._store = store
        self._clock = clock
        self._replayed = replayed
        self._today: datetime.date | None = None
        self._known: dict[str, _Known] = {}
        self._asking = asyncio.Lock()

    def of_today(self, receive_time: int) -> bool:
        """Tell whether what was received at *receive_time*, wall clock nanoseconds, is surely of this market day."""
        return not self._replayed and market_date(receive_time) == self._now()

    async def still_right(
        self, held: Mapping[SeriesKey, Sequence[Covered]], deadline: float
    ) -> dict[SeriesKey, list[Covered]]:
        """Return what of *held*, which is all of adjusted series, is still right."""
        today = self._now()
        since: dict[str, datetime.date] = {}
        for key, covered in held.items():
            days = [self._received(one) for one in covered]
            if days and min(days) < today:
                since[key.symbol] = min([*days, since.get(key.symbol, today)])
        if since:
            await self._ask(since, today, deadline)
        return {key: await self._sift(key, covered, today) for key, covered in held.items()}

    async def _sift(
        self, key: SeriesKey, covered: Sequence[Covered], today: datetime.date
    ) -> list[Covered]:
        types = frozenset[CorporateActionType]().union(*(_ABOUT[one] for one in key.adjustments))
        known = self._known.get(key.symbol)
        right, outdated_by = [], None
        for one in covered:
            day = self._received(one)
            if day >= today:
                right.append(one)
            elif known is not None and known.since <= day:
                # Of the day itself nobody knows whether the values came before or after.
                since = [on for on, what in known.events if what in types and on >= day]
                if since:
                    outdated_by = max([*since, outdated_by or min(since)])
                else:
                    right.append(one)
        if outdated_by is not None:
            await self._forget(key.symbol, outdated_by)
        return right

    async def _ask(
        self, since: Mapping[str, datetime.date], today: datetime.date, deadline: float
    ) -> None:
        async with self._asking:
            if self._today != today:
                self._today, self._known = today, {}
            unknown = {
                symbol: day
                for symbol, day in since.items()
                if symbol not in self._known or self._known[symbol].since > day
            }
            if not unknown:
                return
            start = min(unknown.values())
            try:
                found = await self._actions.corporate_actions(
                    sorted(unknown), None, start, today + _DAY, deadline
                )
            except UpstreamFailure:
                # Then nothing is known, and the values are fetched anew, or the caller is told why they cannot be.
                return
            for symbol in unknown:
                events = tuple(
                    (one.day, one.type)
                    for one in found
                    if one.symbol == symbol and one.day is not None
                )
                self._known[symbol] = _Known(start, events)

    async def _forget(self, symbol: str, day: datetime.date) -> None:
        if self._store is None:
            return
        before = self._clock.wall() if self._replayed else midnight(day + _DAY)
        try:
            await self._store.forget_adjusted(symbol, before)
        except StoreDown:
            # It is not read either; the next question finds it again.
            return

    def _now(self) -> datetime.date:
        return market_date(self._clock.market())

    def _received(self, covered: Covered) -> datetime.date:
        """Return the market's day on which *covered* was received, or the earliest that it can have been."""
        if self._replayed:
            return market_date(covered.interval.end - 1)
        return market_date(covered.receive_time)
