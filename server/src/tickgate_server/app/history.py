"""The way of a question about the past: through what is held of it to the upstream."""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import date
from typing import Final

from ..errors import UpstreamFailure
from ..guards.remembered_actions import RememberedActions
from ..history.point_in_time import PointInTime
from ..history.reader import HistoryReader
from ..ingress.gate import Gate
from ..ingress.sparing import SparingNotes
from ..jobs.market_clock import MarketClock
from ..market.expiry import market_date
from ..market.occ import is_occ_symbol, parse_occ
from ..observe.counters import Counters
from ..ports import Upstream
from ..rpc.history_requests import HistoryRules
from ..settings import Settings
from ..upstream.alpaca.corporate_actions import AlpacaCorporateActions
from ..upstream.alpaca.history import AlpacaHistory
from . import policies
from .questions import Questions
from .stores import Stores
from .wire import Wire

_KEEP_ACTIONS: Final = 300.0
"""Seconds that corporate actions are kept: long enough to read an answer page by page, and they change once a day."""


class History:
    """Everything that answers questions about the past."""

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        clock: MarketClock,
        stores: Stores,
        wire: Wire,
        questions: Questions,
    ) -> None:
        """Put the cache and the store before the upstream, where there are any."""
        self._settings = settings
        self._clock = clock
        self._questions = questions
        source = wire.sources[Upstream.DATA]
        # Business rules are about values of now. A page of the past can break one rule ten thousand times.
        notes = SparingNotes(stores.errors.note, clock)
        gate = Gate(
            *(policies.gate(settings), clock, counters.refusals),
            note=notes,
            parsing=counters.parsing,
        )
        actions = AlpacaCorporateActions(wire.requests, source, gate)
        reference = settings.reference
        self.actions = RememberedActions(
            actions,
            clock,
            ttl=_KEEP_ACTIONS,
            retry_after=reference.retry_after,
            cap=reference.patience,
        )
        self.pages = AlpacaHistory(wire.requests, source, gate, clock)
        self.reader = HistoryReader(
            pages=self.pages,
            store=stores.history,
            cache=stores.history_cache(source, settings.history.keep_cached),
            actions=actions,
            policy=policies.history(settings),
            clock=clock,
            listed=self._listed,
        )
        self.prices = PointInTime(self.reader, clock)
        self.rules = HistoryRules(settings.alpaca.stock_feed, self._first_day)

    def _first_day(self, of_options: bool) -> date:  # noqa: FBT001 - a fact that is asked for, not a switch
        """Return the first day of which the upstream has anything; a sandbox says it itself."""
        settings = self._settings
        configured = settings.options_first_day if of_options else settings.first_day
        told = None if self._clock.reading is None else self._clock.reading.first_day
        return configured if told is None else max(configured, told)

    async def _listed(self, symbols: Sequence[str], deadline: float) -> Container[str] | None:
        """Return what tells which of *symbols* exist, or have existed; None where that cannot be told."""
        if is_occ_symbol(symbols[0]):
            return await self._contracts(symbols, deadline)
        try:
            return await self._questions.reference.assets(deadline)
        except UpstreamFailure:
            return None

    async def _contracts(self, symbols: Sequence[str], deadline: float) -> Container[str] | None:
        today = market_date(self._clock.market())
        # Of those that have expired nobody has a list.
        gone = frozenset(one for one in symbols if parse_occ(one).expiry < today)
        alive = [one for one in symbols if one not in gone]
        if not alive:
            return gone
        listed = await self._questions.listed_contracts(alive, deadline)
        return None if listed is None else gone.union(one for one in alive if one in listed)
