"""The way of a request to the upstream, through every guard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from msgspec import Struct

from ..errors import UpstreamFailure
from ..guards.breaker import BreakerRequests, Breakers, Circuit, RecheckedRequests
from ..guards.budgeted import BudgetedRequests
from ..guards.bulkhead import BulkheadRequests
from ..guards.counted import CountedRequests
from ..guards.entitled import EntitledRequests, Entitlements
from ..guards.retried import RetriedRequests
from ..market.provenance import OPTION_FEEDS, DataSource, Feed
from ..observe.counters import Counters
from ..ports import Clock, Group, Requests, Upstream
from ..settings import Settings
from ..stores.budget.budget import AccountBudget
from ..stores.budget.shared import SharedBuckets, account_name
from ..upstream.alpaca.hosts import source_of
from ..upstream.alpaca.http import HttpRequests, http_session
from . import policies
from .stores import Stores


class Wire(Struct, frozen=True):
    """What sends requests, and what is known of the upstream from those that were sent."""

    requests: Requests
    sources: Mapping[Upstream, DataSource]
    budget: AccountBudget
    entitlements: Entitlements
    latest: Circuit
    """Before the endpoints of latest values of stocks."""

    options: Circuit
    """Before the endpoints of market data about options."""

    def latest_refusal(self, feed: Feed) -> UpstreamFailure | None:
        """Return how a question for a latest value on *feed* is bound to fail now; None where it should be asked."""
        circuit = self.options if feed in OPTION_FEEDS else self.latest
        return circuit.refusal() or self.entitlements.refusal(feed)


@asynccontextmanager
async def open_wire(
    settings: Settings, counters: Counters, clock: Clock, stores: Stores
) -> AsyncIterator[Wire]:
    """Open the pool of connections and stack the guards on it, for the length of the block."""
    urls = {Upstream.DATA: settings.data_url, Upstream.TRADING: settings.trading_url}
    breakers = Breakers(policies.breaker(settings), clock, counters.upstream)
    entitlements = Entitlements(clock, settings.alpaca.keep_denied)
    budget = AccountBudget(
        policies.budget(settings),
        counters,
        clock,
        None
        if stores.redis is None
        else SharedBuckets(stores.redis, account_name(settings.keys[0])),
    )
    async with http_session(policies.http_limits(settings), *settings.keys) as session:
        requests: Requests = HttpRequests(session, urls, clock)
        requests = CountedRequests(requests, counters.upstream, clock)
        requests = RecheckedRequests(requests, breakers)
        requests = BulkheadRequests(requests, settings.alpaca.places, counters.upstream, clock)
        requests = BudgetedRequests(requests, budget)
        requests = RetriedRequests(
            requests, policies.retries(settings), clock, counters.upstream, breakers.closed
        )
        requests = BreakerRequests(requests, breakers)
        requests = EntitledRequests(requests, entitlements)
        sources = {upstream: source_of(url) for upstream, url in urls.items()}
        latest = breakers.circuit(Upstream.DATA, Group.LATEST)
        options = breakers.circuit(Upstream.DATA, Group.OPTIONS)
        yield Wire(requests, sources, budget, entitlements, latest, options)
