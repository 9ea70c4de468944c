"""The way of a question: what answers it, through tiers and guards, and what the gateway asks by itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from ..book import Book, LiveQuotes
from ..errors import UpstreamFailure
from ..guards.boarding import Boarding
from ..guards.cached import CachedLatest, Tiers
from ..guards.chains import SharedChains
from ..guards.coalesced import CoalescedLatest
from ..guards.contracts import RememberedContracts
from ..guards.entitled import AskedEntitlements
from ..guards.expiry import KnownExpiries, UnexpiredOptions
from ..guards.forewarned import ForewarnedLatest
from ..guards.graded import GradedQuotes
from ..guards.memory import MemoryTier
from ..guards.parts import OptionParts
from ..guards.prioritised import PrioritisedRequests
from ..guards.remembered import RememberedReference
from ..guards.shared import SharedTier
from ..ingress.context import Context
from ..ingress.gate import Gate, Policy
from ..ingress.sparing import ALL_TOGETHER, SparingNotes
from ..jobs.market_clock import MarketClock, MarketClockKeeper
from ..jobs.probe import Probe, clock_inquiry, codes_inquiry, peek_inquiry, quote_inquiry
from ..market.answer import Question
from ..market.asset import AssetList
from ..market.live import Channel
from ..market.option import OptionPart, OptionQuote
from ..market.provenance import HISTORY_FEEDS, OPTION_FEEDS, Feed, Tier
from ..market.quote import Quote
from ..market.snapshot import Snapshot
from ..market.trade import Trade
from ..market.value_kind import ValueKind
from ..observe.counters import Counters
from ..ports import (
    EntitlementSource,
    ErrorEntry,
    Group,
    LatestSource,
    LiveTier,
    OptionSource,
    Priority,
    QuoteSource,
    ReferenceSource,
    Requests,
    SnapshotSource,
    TradeSource,
    Upstream,
)
from ..settings import Settings
from ..upstream.alpaca.history import AlpacaHistory
from ..upstream.alpaca.options import AlpacaChains, AlpacaContracts, options_endpoint
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

V = TypeVar("V", Quote, Trade, Snapshot, OptionQuote)

_LIST_PATIENCE = 0.1
"""Seconds that a symbol without a value waits for the list of assets, if a job has not loaded it yet: the others of its
batch wait with it."""

_CONTRACTS_PATIENCE = 1.5
"""Seconds that a contract without a value waits for the word whether it is listed: the others of its batch wait with
it."""

_MOST_ALIKE = 20
"""Refusals of parts of contracts by one rule that are kept as evidence in a minute."""

_BELIEVE = 0.25
"""Seconds for which Redis is believed to hold nothing newer than it just did."""


def option_quotes(source: OptionSource) -> QuoteSource:
    """Return what tells the quotes of contracts out of all that *source* knows of them."""
    return OptionParts(source, OptionPart.QUOTE, lambda option: option.quote)


def _feed_of_history(feed: Feed) -> Feed:
    """Return a feed that has a past: *feed*, or else the one that all of it belongs to."""
    return feed if feed in HISTORY_FEEDS else Feed.SIP


class Questions:
    """Everything that answers questions, of callers and of the gateway itself."""

    quotes: QuoteSource
    trades: TradeSource
    snapshots: SnapshotSource
    options: OptionSource
    chains: SharedChains
    contracts: RememberedContracts
    reference: ReferenceSource
    keeper: MarketClockKeeper
    entitlements: EntitlementSource
    tiers: Mapping[ValueKind, Tiers[Any]]
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
        self._gate = self._build_gate(policies.gate(settings), stores.errors.note, self._context)
        # The business rules are about stocks: an option may trade once a week, and at half of its last price.
        notes = SparingNotes(stores.errors.note, clock, ALL_TOGETHER, _MOST_ALIKE)
        self._option_gate = self._build_gate(policies.gate(settings), notes, None)
        sparing = SparingNotes(stores.errors.note, clock)
        live = policies.live_gate(settings)
        self._live_gate = self._build_gate(live, sparing, self._context)
        self._live_option_gate = self._build_gate(live, sparing, None)

        self._build_reference()
        self._build_latest()
        self._build_options()
        self._build_own()
        clock.when_set_back(self._forget_the_future)

    def forget_chains(
        self, feeds: Collection[Feed] | None, underlyings: Collection[str] | None
    ) -> int:
        """Forget chains and lists of contracts, None standing for all; return how many."""
        # A list of contracts is of no feed: who wants a feed's chains anew does not mean it.
        chosen = None if underlyings is None else frozenset(underlyings)
        lists = self.contracts.forget(chosen) if feeds is None else 0
        return self.chains.forget(feeds, underlyings) + lists

    def repairs(self, feed: Feed) -> QuoteSource:
        """Return the upstream itself, for what the gateway asks to mend its own picture of *feed*."""
        return self._option_repairs if feed in OPTION_FEEDS else self._repairs

    def snapshots_of(self, feed: Feed) -> Mapping[Channel, LatestSource[Any]]:
        """Return what tells somebody who begins to follow *feed* where a symbol stands, by channel."""
        if feed in OPTION_FEEDS:
            trades = OptionParts(
                self.options, OptionPart.LATEST_TRADE, lambda option: option.latest_trade
            )
            return {Channel.QUOTES: option_quotes(self.options), Channel.TRADES: trades}
        return {Channel.QUOTES: self.quotes, Channel.TRADES: self.trades}

    def live_gate(self, feed: Feed) -> Gate:
        """Return what judges the records that live *feed* brings."""
        return self._live_option_gate if feed in OPTION_FEEDS else self._live_gate

    def _build_gate(
        self, policy: Policy, note: Callable[[ErrorEntry], None], context: Context | None
    ) -> Gate:
        counters = self._counters
        return Gate(
            *(policy, self._clock, counters.refusals),
            context=context,
            note=note,
            parsing=counters.parsing,
        )

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
        gate, boarding = self._gate, policies.boarding(self._settings)
        quote_tiers = self._tiers_of(ValueKind.QUOTE, Quote, LiveQuotes(self.books))
        trade_tiers = self._tiers_of(ValueKind.TRADE, Trade, {})
        snapshot_tiers = self._tiers_of(ValueKind.SNAPSHOT, Snapshot, {})
        self.quotes = GradedQuotes(
            self._latest(self._asking(quotes_endpoint(gate)), quote_tiers, boarding),
            self._clock,
            self._clock.session,
        )
        self.trades = self._latest(self._asking(trades_endpoint(gate)), trade_tiers, boarding)
        self.snapshots = self._latest(
            self._asking(snapshots_endpoint(gate)), snapshot_tiers, boarding, bounds_events=False
        )
        self.tiers = {
            ValueKind.QUOTE: quote_tiers,
            ValueKind.TRADE: trade_tiers,
            ValueKind.SNAPSHOT: snapshot_tiers,
        }

    def _build_options(self) -> None:
        settings, wire, clock = self._settings, self._wire, self._clock
        data, gate = wire.sources[Upstream.DATA], self._option_gate
        self.contracts = RememberedContracts(
            AlpacaContracts(wire.requests, wire.sources[Upstream.TRADING], gate),
            clock,
            ttl=settings.options.keep_contracts,
            keep_single=settings.memory.keep_unknown,
            retry_after=settings.reference.retry_after,
            cap=settings.options.patience,
            capacity=settings.options.contracts,
        )
        self.expiries = expiries = KnownExpiries(
            clock.last_day, self.assets, settings.options.late_close, clock
        )
        tiers = self._tiers_of(ValueKind.OPTION_QUOTE, OptionQuote, {})
        latest = self._latest(
            self._asking_options(wire.requests),
            tiers,
            policies.option_boarding(settings),
            bounds_events=False,
        )
        self.options = UnexpiredOptions(latest, expiries)
        self.chains = SharedChains(
            AlpacaChains(wire.requests, data, gate, clock),
            self.contracts,
            expiries,
            wire.latest_refusal,
            policies.chains(settings),
            clock,
            self._counters.chains,
        )
        self.tiers = {**self.tiers, ValueKind.OPTION_QUOTE: tiers}

    def _tiers_of(self, kind: ValueKind, type_: type[V], book: LiveTier[V]) -> Tiers[V]:
        counters, capacity = self._counters, self._settings.memory.capacity
        counts = {tier: counters.cache(tier, kind) for tier in (Tier.MEMORY, Tier.REDIS)}
        # Of other kinds no book holds anything.
        live = counters.cache(Tier.BOOK, kind) if kind is ValueKind.QUOTE else None
        memory = MemoryTier[V](capacity, counts[Tier.MEMORY])
        cache = self._stores.hot_cache(
            type_,
            self._wire.sources[Upstream.DATA],
            policies.time_to_live(self._settings, kind, self.keeper.session),
            counts[Tier.REDIS],
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
                kept=counts[Tier.REDIS],
            )
        )
        # GetStatus tells of these even where nothing has happened in them.
        for tier in (Tier.BOOK, Tier.MEMORY):
            counters.tier(tier)
        return Tiers(book, memory, counts[Tier.MEMORY], shared, book_counts=live)

    def _latest(
        self,
        source: LatestSource[V],
        tiers: Tiers[V],
        boarding: Boarding,
        *,
        bounds_events: bool = True,
    ) -> LatestSource[V]:
        settings = self._settings
        coalesced = CoalescedLatest(source, settings.alpaca.shared_call_cap, self._clock, boarding)
        return CachedLatest(
            ForewarnedLatest(coalesced, self._wire.latest_refusal),
            tiers,
            policies.freshness(settings, bounds_events=bounds_events),
            self._clock,
            self._clock.session,
        )

    def _asking(self, endpoint: Endpoint[V], requests: Requests | None = None) -> AlpacaLatest[V]:
        return AlpacaLatest(
            requests or self._wire.requests,
            self._wire.sources[Upstream.DATA],
            endpoint,
            self._listed,
        )

    def _asking_options(self, requests: Requests) -> AlpacaLatest[OptionQuote]:
        source = self._wire.sources[Upstream.DATA]
        return AlpacaLatest(
            requests, source, options_endpoint(self._option_gate), self.listed_contracts
        )

    async def listed_contracts(
        self, symbols: Sequence[str], deadline: float
    ) -> Container[str] | None:
        """Return what tells which of *symbols* are listed, or None where that cannot be told in a moment."""
        now = self._clock.monotonic()
        # Half of the callers' time: the values of others are there already, and must not be late.
        patience = min(_CONTRACTS_PATIENCE, max(0.0, deadline - now) / 2)
        return await self.contracts.listed(symbols, now + patience)

    async def _listed(self, _symbols: Sequence[str], deadline: float) -> AssetList | None:
        return await self.assets(deadline)

    async def assets(self, deadline: float) -> AssetList | None:
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
        repairing = PrioritisedRequests(self._wire.requests, Priority.REPAIR)
        self._repairs = self._asking(quotes_endpoint(self._gate), repairing)
        self._option_repairs = option_quotes(self._asking_options(repairing))
        alpaca = AlpacaReference(requests, self._wire.sources, self._gate)
        cap = settings.alpaca.shared_call_cap
        data, trading = (self._wire.sources[one] for one in (Upstream.DATA, Upstream.TRADING))
        chains = AlpacaChains(requests, data, self._option_gate, clock)
        contracts = AlpacaContracts(requests, trading, self._option_gate)
        past = AlpacaHistory(requests, data, self._gate, clock)

        async def ask(feed: Feed, deadline: float) -> None:
            # The answer itself is of no interest: its request teaches what is to be known.
            if feed in OPTION_FEEDS:
                with suppress(UpstreamFailure):
                    await chains.peek(symbol, feed, deadline)
            else:
                await quotes.latest(Question((symbol,), feed, deadline))

        self.entitlements = AskedEntitlements(self._wire.entitlements, ask, clock, cap)
        inquiries = (
            quote_inquiry(quotes, settings.alpaca.stock_feed, symbol, clock, self.keeper.session),
            codes_inquiry(alpaca),
            peek_inquiry(
                Upstream.DATA,
                Group.OPTIONS,
                partial(chains.peek, symbol, settings.alpaca.option_feed),
            ),
            peek_inquiry(
                Upstream.DATA,
                Group.HISTORY,
                partial(past.peek, symbol, _feed_of_history(settings.alpaca.stock_feed)),
            ),
            clock_inquiry(alpaca),
            peek_inquiry(Upstream.TRADING, Group.OPTIONS, partial(contracts.peek, symbol)),
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
        self.forget_chains(None, None)
        self._stores.set_back()
