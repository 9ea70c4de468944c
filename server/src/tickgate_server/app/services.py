"""What answers each service of the contract."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from .. import __version__
from ..access.meters import Meters
from ..guards.caches import AllCaches
from ..jobs.market_clock import MarketClock
from ..market.provenance import Tier
from ..market.value_kind import ValueKind
from ..observe.counters import Counters
from ..ports import Upstream
from ..rpc.admin import AdminServicer, Keeping
from ..rpc.convert import Moment
from ..rpc.gateway_status import About, StatusServicer
from ..rpc.history import HistoryServicer
from ..rpc.options import OptionServicer, OptionSources
from ..rpc.quotes import QuoteServicer
from ..rpc.reference import ReferenceServicer
from ..rpc.served import Served
from ..rpc.streams import StreamServicer
from ..settings import Settings
from . import policies
from .history import History
from .jobs import Ingestion
from .live import Live
from .questions import Questions
from .stores import Stores
from .wire import Wire

Servicers: TypeAlias = tuple[
    QuoteServicer,
    OptionServicer,
    ReferenceServicer,
    StatusServicer,
    AdminServicer,
    StreamServicer,
    HistoryServicer,
]


class Parts(Struct, frozen=True):
    """What services are made of."""

    settings: Settings
    start_time: int
    """When the gateway began to start, nanoseconds of the wall clock."""

    counters: Counters
    clock: MarketClock
    stores: Stores
    wire: Wire
    questions: Questions
    history: History
    live: Live
    ingestion: Ingestion
    meters: Meters

    def moment(self, request_id: str) -> Moment:
        """Return the moment of one answer."""
        clock = self.clock
        market = clock.market()
        session = clock.session_at(market)
        return Moment(request_id, clock.wall(), clock.monotonic(), market, session)


def servicers(parts: Parts) -> Servicers:
    """Return what answers each service, in the order in which `Serving` takes them."""
    served = Served(parts.counters)
    questions, moment = parts.questions, parts.moment
    return (
        QuoteServicer(
            questions.quotes,
            questions.trades,
            questions.snapshots,
            parts.settings.alpaca.stock_feed,
            moment,
            served,
        ),
        _options(parts, served),
        ReferenceServicer(questions.reference, questions.keeper, moment),
        _status(parts),
        _admin(parts),
        StreamServicer(
            parts.live.streams,
            policies.stream_defaults(parts.settings),
            parts.live.last_record,
            moment,
        ),
        HistoryServicer(
            parts.history.reader,
            parts.history.prices,
            parts.history.actions,
            parts.history.rules,
            moment,
            questions.assets,
            parts.meters,
            parts.counters,
        ),
    )


def _options(parts: Parts, served: Served) -> OptionServicer:
    questions, alpaca = parts.questions, parts.settings.alpaca
    return OptionServicer(
        OptionSources(
            questions.options,
            questions.chains,
            questions.contracts,
            questions.trades,
            questions.expiries.get,
        ),
        alpaca.option_feed,
        alpaca.stock_feed,
        parts.moment,
        served,
    )


def _status(parts: Parts) -> StatusServicer:
    settings, tiers = parts.settings, parts.questions.tiers
    about = About(
        version=__version__,
        environment=settings.environment,
        source=parts.wire.sources[Upstream.DATA],
        default_stock_feed=settings.alpaca.stock_feed,
        default_option_feed=settings.alpaca.option_feed,
        plan=settings.alpaca.plan,
        start_time=parts.start_time,
    )
    return StatusServicer(
        about,
        parts.counters,
        {
            Tier.BOOK: lambda: len(tiers[ValueKind.QUOTE].book),
            Tier.MEMORY: lambda: sum(len(each.memory) for each in tiers.values()),
        },
        parts.wire.budget.remaining,
        parts.questions.entitlements,
        parts.live.gaps,
        parts.moment,
    )


def _admin(parts: Parts) -> AdminServicer:
    return AdminServicer(
        AllCaches(parts.questions.tiers, parts.questions.forget_chains),
        parts.stores.errors,
        parts.start_time,
        parts.moment,
        Keeping(parts.ingestion.watchlists, parts.ingestion.backfills, parts.history.rules),
    )
