"""What is counted, told: calls where they end, levels where they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from .. import __version__
from ..fanout.gaps import Gaps
from ..jobs.market_clock import MarketClock
from ..market.provenance import LIVE_FEEDS, Feed, Tier
from ..market.session import MarketSession
from ..market.value_kind import ValueKind
from ..observe.counters import Counters
from ..observe.metrics import Levels, Metrics
from ..ports import Group, Upstream
from ..rpc.call import Call
from ..rpc.counting import NO_FEED, OTHER, Counting
from ..rpc.serving import SERVICES
from ..settings import Settings
from .live import Live
from .questions import Questions
from .stores import Stores
from .wire import Wire

_GROUPS: Final = (
    *((Upstream.DATA, group) for group in Group),
    *((Upstream.TRADING, group) for group in (Group.REFERENCE, Group.OPTIONS)),
)
"""Endpoints that the gateway asks."""

_LIMITS: Final = (
    *("calls", "memory", "calls_per_second", "symbols_per_batch"),
    *("streams", "symbols_per_stream", "history_points_per_day"),
)
"""Limits that something may be refused for."""

_OF_NO_FEED: Final = ("ListOptionContracts", "ListCorporateActions")
"""Methods beside those of ReferenceService whose values belong to no feed."""

_NO_VALUES: Final = ("StatusService", "AdminService", "StreamService")
"""Services that are not asked for values; what followers get is counted as deliveries."""

_ASKED: Final = {
    "QuoteService": (Tier.MEMORY, Tier.REDIS, Tier.UPSTREAM),
    "OptionService": (Tier.MEMORY, Tier.REDIS, Tier.UPSTREAM),
    "HistoryService": (Tier.REDIS, Tier.STORE, Tier.UPSTREAM),
}
"""Tiers that answer the methods of a service."""


class Telemetry:
    """The metrics of one gateway, and who they are read from."""

    def __init__(
        self, settings: Settings, counters: Counters, clock: MarketClock, *, serves: bool = True
    ) -> None:
        """Tell *counters*, of the gateway that *settings* describe, or of a program that *serves* nobody."""
        services = SERVICES if serves else ()
        stock_feed, option_feed = settings.alpaca.stock_feed, settings.alpaca.option_feed
        asked = [
            (f"{service.name}/{method.name}", _feed_of(method.name, service.name, settings))
            for service in services
            if service.name not in _NO_VALUES
            for method in service.methods
        ]
        self._levels = Levels(
            __version__,
            rpcs=[
                f"{service.name}/{method.name}"
                for service in services
                for method in service.methods
            ],
            asked=asked,
            given=[(rpc, feed, tier) for rpc, feed in asked for tier in _tiers_of(rpc, feed)],
            groups=[(upstream.value, group.value) for upstream, group in _GROUPS],
            limits=_LIMITS,
            feeds=(stock_feed.value, option_feed.value),
            live_feeds=[
                feed.value
                for feed in (stock_feed, option_feed)
                if settings.stream.enabled and feed in LIVE_FEEDS
            ],
            wall=clock.wall,
        )
        self.metrics = Metrics(counters, self._levels)
        self._counting = Counting(counters)

    def counted(self, tell: Callable[[Call, float], None]) -> Callable[[Call, float], None]:
        """Return what counts each finished call, and then goes on to *tell* of it."""

        def count(call: Call, seconds: float) -> None:
            self._counting.count(call, seconds)
            tell(call, seconds)

        return count

    def read(self, stores: Stores, wire: Wire, questions: Questions, live: Live) -> None:
        """Read levels from these parts from now on."""
        levels = self._levels
        levels.remaining = lambda upstream: wire.budget.remaining(Upstream(upstream))
        levels.pools = stores.pools
        levels.held = lambda: _held(questions)
        levels.open_gaps = lambda: _open(live.gaps)
        levels.market_open = lambda: _is_open(questions.keeper.session())


def _feed_of(method: str, service: str, settings: Settings) -> str:
    if service == "ReferenceService" or method in _OF_NO_FEED:
        return NO_FEED
    alpaca = settings.alpaca
    feed: Feed = alpaca.option_feed if service == "OptionService" else alpaca.stock_feed
    return feed.value


def _tiers_of(rpc: str, feed: str) -> tuple[str, ...]:
    if feed == NO_FEED:
        return (OTHER,)
    service, method = rpc.split("/")
    tiers = tuple(tier.value for tier in _ASKED[service])
    # Only quotes are followed as they are asked for.
    return (Tier.BOOK.value, *tiers) if method in ("GetQuote", "GetQuotes") else tiers


def _held(questions: Questions) -> Mapping[tuple[str, str], int]:
    tiers = questions.tiers
    held = {(Tier.MEMORY.value, kind.value): len(one.memory) for kind, one in tiers.items()}
    book = len(tiers[ValueKind.QUOTE].book)
    return held | {(Tier.BOOK.value, ValueKind.QUOTE.value): book}


def _open(gaps: Gaps) -> Mapping[str, int]:
    return Counter(gap.feed.value for gap in gaps.newest_first() if gap.end is None)


def _is_open(session: MarketSession | None) -> bool | None:
    return None if session is None else session is MarketSession.OPEN
