"""The way of a question: what answers it, through tiers and guards, and what the gateway asks by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..book import Book, LiveQuotes
from ..errors import UpstreamFailure
from ..guards.cached import CachedLatest, Tiers
from ..guards.coalesced import CoalescedLatest
from ..guards.entitled import AskedEntitlements
from ..guards.forewarned import ForewarnedLatest
from ..guards.graded import GradedQuotes
from ..guards.memory import MemoryTier
from ..guards.prioritised import PrioritisedRequests
from ..guards.remembered import RememberedReference
from ..guards.shared import SharedTier
from ..ingress.context import Context
from ..ingress.gate import Gate, Policy
from ..ingress.sparing import SparingNotes
from ..jobs.market_clock import MarketClock, MarketClockKeeper
from ..jobs.probe import Probe, clock_inquiry, codes_inquiry, quote_inquiry
from ..market.asset import AssetList
from ..market.provenance import Feed, Tier
from ..market.quote import Quote
from ..market.snapshot import Snapshot
from ..market.trade import Trade
from ..market.value_kind import ValueKind
from ..observe.counters import Counters
from ..ports import (
    EntitlementSource,
    ErrorEntry,
    LatestSource,
    LiveTier,
    Priority,
    QuoteSource,
    ReferenceSource,
    Requests,
    SnapshotSource,
    TradeSource,
    Upstream,
)
from ..settings import Settings
from ..upstream.alpaca.rest import (
    AlpacaLatest,
    AlpacaReference,
    Endpoint,
    quotes_endpoint,
    snapshots_endpoint,
    trades_endpoint,
)
from . import policies
from .stores import Job, Stores
from .wire import Wire

V = TypeVar("V", Quote, Trade, Snapshot)

_LIST_PATIENCE = 0.1
"""Seconds that a symbol without a value waits for the list of assets, if a job has not loaded it yet: the others of its
batch wait with it."""

_BELIEVE = 0.25
"""Seconds for which Redis is believed to hold nothing newer than it just did."""


class Questions:
    """Everything that answers questions, of callers and of the gateway itself."""

    quotes: QuoteSource
    trades: TradeSource
    snapshots: SnapshotSource
    reference: ReferenceSource
    keeper: MarketClockKeeper
    entitlements: EntitlementSource
    tiers: Mapping[ValueKind, Tiers[Any]]
    repairs: QuoteSource
    """The upstream itself, for what the gateway asks to mend its own picture."""

    jobs: Sequence[Job]

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        clock: MarketClock,
        stores: Stores,
        wire: Wire,
    ) -> None:
        """Stack the guards of each kind of question."""
        self._settings = settings
        self._counters = counters
        self._clock = clock
        self._stores = stores
        self._wire = wire
        self.books: dict[Feed, Book] = {}
        """What live feeds have brought, by feed; one is added when somebody first follows it."""

        self._context = Context(policies.context(settings), clock.span_at, counters.rule_flags)
        self._gate = self._build_gate(policies.gate(settings), stores.errors.note)
        self.live_gate = self._build_gate(
            policies.live_gate(settings), SparingNotes(stores.errors.note, clock)
        )
        """Judges what live feeds bring."""

        self._build_reference()
        self._build_latest()
        self._build_own()
        clock.when_set_back(self._forget_the_future)

    def _build_gate(self, policy: Policy, note: Callable[[ErrorEntry], None]) -> Gate:
        refusals = self._counters.refusals
        return Gate(policy, self._clock, refusals, context=self._context, note=note)

    def _build_reference(self) -> None:
        reference = self._settings.reference
        alpaca = AlpacaReference(self._wire.requests, self._wire.sources, self._gate)
        self.reference = RememberedReference(
            alpaca,
            self._clock,
            ttl=reference.keep,
            retry_after=reference.retry_after,
            cap=reference.patience,
        )
        self.keeper = MarketClockKeeper(
            self._clock,
            alpaca,
            self.reference,
            interval=policies.clock_interval(self._settings),
            patience=reference.patience,
        )

    def _build_latest(self) -> None:
        if not self._settings.stream.enabled:
            self._counters.tier(Tier.BOOK).state = "off"
        gate = self._gate
        quote_tiers = self._tiers_of(ValueKind.QUOTE, Quote, LiveQuotes(self.books))
        trade_tiers = self._tiers_of(ValueKind.TRADE, Trade, {})
        snapshot_tiers = self._tiers_of(ValueKind.SNAPSHOT, Snapshot, {})
        self.quotes = GradedQuotes(
            self._latest(quotes_endpoint(gate), quote_tiers), self._clock, self.keeper.session
        )
        self.trades = self._latest(trades_endpoint(gate), trade_tiers)
        self.snapshots = self._latest(snapshots_endpoint(gate), snapshot_tiers, bounds_events=False)
        self.tiers = {
            ValueKind.QUOTE: quote_tiers,
            ValueKind.TRADE: trade_tiers,
            ValueKind.SNAPSHOT: snapshot_tiers,
        }

    def _tiers_of(self, kind: ValueKind, type_: type[V], book: LiveTier[V]) -> Tiers[V]:
        capacity = self._settings.memory.capacity
        memory = MemoryTier[V](capacity)
        cache = self._stores.hot_cache(
            type_,
            self._wire.sources[Upstream.DATA],
            policies.time_to_live(self._settings, kind, self.keeper.session),
        )
        shared = (
            None
            if cache is None
            else SharedTier(
                cache,
                self._counters.tier(Tier.REDIS),
                self._clock,
                believe=_BELIEVE,
                capacity=capacity,
            )
        )
        counters = self._counters
        return Tiers(
            book, memory, counters.tier(Tier.MEMORY), shared, book_counts=counters.tier(Tier.BOOK)
        )

    def _latest(
        self, endpoint: Endpoint[V], tiers: Tiers[V], *, bounds_events: bool = True
    ) -> LatestSource[V]:
        settings = self._settings
        coalesced = CoalescedLatest(
            self._asking(endpoint, self._wire.requests),
            settings.alpaca.shared_call_cap,
            self._clock,
            policies.boarding(settings),
        )
        return CachedLatest(
            ForewarnedLatest(coalesced, self._wire.latest_refusal),
            tiers,
            policies.freshness(settings, bounds_events=bounds_events),
            self._clock,
            self.keeper.session,
        )

    def _asking(self, endpoint: Endpoint[V], requests: Requests) -> AlpacaLatest[V]:
        return AlpacaLatest(requests, self._wire.sources[Upstream.DATA], endpoint, self.listed)

    async def listed(self, deadline: float) -> AssetList | None:
        """Return the list of assets, or None where it cannot be had within a moment."""
        patience = self._clock.monotonic() + _LIST_PATIENCE
        try:
            return await self.reference.assets(min(deadline, patience))
        except UpstreamFailure:
            return None

    def _build_own(self) -> None:
        """Build what asks for the gateway itself: from the least urgent class, and not through what remembers."""
        settings, clock, symbol = self._settings, self._clock, self._settings.probe.symbol
        requests = PrioritisedRequests(self._wire.requests, Priority.BACKFILL)
        quotes = self._asking(quotes_endpoint(self._gate), requests)
        self.repairs = self._asking(
            quotes_endpoint(self._gate), PrioritisedRequests(self._wire.requests, Priority.REPAIR)
        )
        alpaca = AlpacaReference(requests, self._wire.sources, self._gate)
        cap = settings.alpaca.shared_call_cap
        self.entitlements = AskedEntitlements(self._wire.entitlements, quotes, symbol, clock, cap)
        inquiries = (
            quote_inquiry(quotes, settings.alpaca.stock_feed, symbol, clock, self.keeper.session),
            codes_inquiry(alpaca),
            clock_inquiry(alpaca),
        )
        probe = Probe(
            inquiries, self._counters.upstream, clock, idle=settings.probe.idle, patience=cap
        )
        self.jobs = (probe.run,)

    def _forget_the_future(self) -> None:
        """Forget what is held when the clock of a replay is set back."""
        self._context.clear()
        for tiers in self.tiers.values():
            tiers.memory.clear()
        self._stores.set_back()
