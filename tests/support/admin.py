"""The gRPC face of a gateway over doubles that behave: no upstream, no stores, no wiring of `app`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import grpc

from tickgate.v1 import admin_service_pb2_grpc as admin
from tickgate.v1 import history_service_pb2_grpc as history
from tickgate.v1 import option_service_pb2_grpc as options
from tickgate.v1 import quote_service_pb2_grpc as quotes
from tickgate.v1 import reference_service_pb2_grpc as reference
from tickgate.v1 import status_service_pb2_grpc as status
from tickgate.v1 import stream_service_pb2_grpc as streams
from tickgate_server.access.door import OpenDoor
from tickgate_server.access.meters import Meters
from tickgate_server.access.pressure import Pressure
from tickgate_server.errors import UpstreamUnreachable
from tickgate_server.fanout.mailbox import Closing
from tickgate_server.fanout.streams import StreamPolicy
from tickgate_server.market.chain import Chain
from tickgate_server.market.entitlement import Entitlement
from tickgate_server.market.expiry import Expiries
from tickgate_server.market.option import (
    ContractList,
    ContractScope,
    OptionContract,
    OptionQuote,
)
from tickgate_server.market.provenance import DataSource, Feed, Tier
from tickgate_server.market.quote import Quote
from tickgate_server.market.session import MarketNow, MarketSession
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason, Unavailable
from tickgate_server.market.value_kind import ValueKind
from tickgate_server.observe.counters import Counters
from tickgate_server.ports import (
    ChainQuestion,
    Dropped,
    ErrorEntry,
    ErrorPlace,
    ErrorQuery,
    ErrorRecord,
    HistorySource,
)
from tickgate_server.rpc.admin import AdminServicer, Keeping
from tickgate_server.rpc.call import Call
from tickgate_server.rpc.calls import Calls
from tickgate_server.rpc.convert import Moment
from tickgate_server.rpc.gateway_status import About, StatusServicer
from tickgate_server.rpc.history import HistoryServicer
from tickgate_server.rpc.history_requests import HistoryRules
from tickgate_server.rpc.options import OptionServicer, OptionSources
from tickgate_server.rpc.quotes import QuoteServicer
from tickgate_server.rpc.reference import ReferenceServicer
from tickgate_server.rpc.serving import Serving
from tickgate_server.rpc.streams import StreamDefaults, StreamServicer

from .fakes import NOW, FakeLatest, FakeReference, HandClock, unavailable
from .hand_feeds import HandFeeds
from .history_source import FakeActions, FakeBackfills, FakeHistory, FakePrices
from .history_store import MemoryWatchlists

ABOUT = About("1.2.3", "sandbox", DataSource.SANDBOX, Feed.IEX, Feed.INDICATIVE, "basic", NOW)

STREAMS = StreamPolicy(
    enabled=True,
    streams=10,
    symbols=50,
    subscriptions=5,
    all_symbols=False,
    default_feed=Feed.IEX,
)

STOCKS_DAY, OPTIONS_DAY = date(2016, 1, 4), date(2024, 2, 1)
"""First days of which there is a past."""

FAREWELL = Closing(Reason.SHUTTING_DOWN, "the gateway is stopping", 1.0)


class FakeCaches:
    """Caches that hold a value of each kind for each feed and symbol they are given."""

    def __init__(self, feeds: Iterable[Feed] = (), symbols: Iterable[str] = ()) -> None:
        symbols = tuple(symbols)
        self.held = {
            (feed, symbol, kind) for feed in feeds for symbol in symbols for kind in ValueKind
        }
        self.redis: bool = True
        """Whether there is a shared cache and it can be had; it holds the same."""

    async def drop(
        self,
        feeds: Collection[Feed] | None,
        symbols: Collection[str] | None,
        kinds: Collection[ValueKind] | None,
    ) -> Dropped:
        """Forget what passes every filter."""
        gone = {
            one
            for one in self.held
            if all(
                wanted is None or part in wanted
                for part, wanted in zip(one, (feeds, symbols, kinds), strict=True)
            )
        }
        self.held -= gone
        return Dropped(len(gone), len(gone) if self.redis else None)


class FakeErrorLog:
    """A log that keeps everything, in the place that is there."""

    def __init__(self) -> None:
        self.entries: list[ErrorEntry] = []
        self.place = ErrorPlace.RING
        self.asked: list[ErrorQuery] = []

    def note(self, entry: ErrorEntry) -> None:
        """Keep *entry*."""
        self.entries.append(entry)

    async def search(
        self, query: ErrorQuery, place: ErrorPlace | None
    ) -> tuple[ErrorPlace, Sequence[ErrorRecord]]:
        """Return what *query* selects, newest first."""
        self.asked.append(query)
        if place not in (None, self.place):
            assert place is not None
            return place, []
        found = [
            ErrorRecord(number, entry)
            for number, entry in reversed(list(enumerate(self.entries, 1)))
            if (not query.reasons or entry.reason in query.reasons)
            and query.request_id in ("", entry.request_id)
            and (query.start is None or query.start <= entry.time)
            and (query.end is None or entry.time < query.end)
            and (query.before_id is None or number < query.before_id)
        ]
        return self.place, found[: query.limit]


class FakeEntitlements:
    """Knows what it is told, and remembers until when it was given."""

    def __init__(self, *known: Entitlement) -> None:
        self.known = known
        self.deadlines: list[float] = []

    async def entitlements(self, deadline: float) -> Sequence[Entitlement]:
        """Return what is known."""
        self.deadlines.append(deadline)
        return self.known


class FakeChains:
    """Chains that a test sets, by underlying; of any other there is no data."""

    def __init__(self) -> None:
        self.chains: dict[str, Chain | Unavailable] = {}
        self.asked: list[ChainQuestion] = []

    async def chain(self, question: ChainQuestion) -> tuple[Chain, Tier] | Unavailable:
        """Return what is there."""
        self.asked.append(question)
        chain = self.chains.get(question.underlying, unavailable(Reason.NO_DATA))
        return chain if isinstance(chain, Unavailable) else (chain, Tier.UPSTREAM)


class FakeContracts:
    """Lists of contracts that a test sets, by underlying or root; of any other nothing is known."""

    def __init__(self) -> None:
        self.lists: dict[str, ContractList] = {}
        self.asked: list[ContractScope] = []

    async def contracts(self, scope: ContractScope, deadline: float) -> ContractList | Unavailable:
        """Return what is there."""
        self.asked.append(scope)
        found = self.lists.get(scope.underlying or scope.root)
        return unavailable(Reason.SYMBOL_UNKNOWN) if found is None else found

    async def contract(self, symbol: str, deadline: float) -> OptionContract | None:
        """Return the contract out of the lists."""
        found = (contracts.get(symbol) for contracts in self.lists.values())
        return next((contract for contract in found if contract is not None), None)


class OpenMarket:
    """A market that is open, and whose time cannot be had."""

    def session(self) -> MarketSession | None:
        """Return the session."""
        return MarketSession.OPEN

    async def now(self, deadline: float) -> MarketNow:
        """Fail as where the upstream's clock was never read."""
        raise UpstreamUnreachable("the clock cannot be read")


@dataclass
class Parts:
    """What the face of a gateway stands on; change any of it before or while it is served."""

    clock: HandClock = field(default_factory=HandClock)
    counters: Counters = field(default_factory=Counters)
    caches: FakeCaches = field(default_factory=FakeCaches)
    errors: FakeErrorLog = field(default_factory=FakeErrorLog)
    entitlements: FakeEntitlements = field(default_factory=FakeEntitlements)
    reference: FakeReference = field(default_factory=FakeReference)
    chains: FakeChains = field(default_factory=FakeChains)
    contracts: FakeContracts = field(default_factory=FakeContracts)
    history: FakeHistory = field(default_factory=FakeHistory)
    actions: FakeActions = field(default_factory=FakeActions)
    watchlists: MemoryWatchlists = field(default_factory=MemoryWatchlists)
    default_feed: Feed = Feed.IEX
    """Of the past."""

    listed: Collection[str] | None = None
    """Stocks that the upstream lists; None while that cannot be told."""

    policy: StreamPolicy = STREAMS
    symbol_limit: int | None = None
    last_records: dict[Feed, int] = field(default_factory=dict)
    """When a record last arrived, by feed."""

    remaining: int = 190
    calls_at_once: int = 0
    """Calls under way that it answers; 0 is no limit."""

    finished: list[Call] = field(default_factory=list)
    """Calls that have ended."""

    def __post_init__(self) -> None:
        """Add sources of values, which need the clock, and the streams, which need those."""
        self.quotes: FakeLatest[Quote] = FakeLatest(self.clock)
        self.trades: FakeLatest[Trade] = FakeLatest(self.clock)
        self.options: FakeLatest[OptionQuote] = FakeLatest(self.clock)
        self.prices = FakePrices(self.clock)
        self.meters = Meters(self.clock.monotonic)
        self.backfills = FakeBackfills(self.clock)
        self.live = HandFeeds(
            self.clock, self.counters, self.quotes, self.trades, self.policy, self.symbol_limit
        )

    def moment(self, request_id: str) -> Moment:
        """Return the moment of an answer."""
        clock = self.clock
        return Moment(
            request_id, clock.wall(), clock.monotonic(), clock.market(), MarketSession.OPEN
        )

    def calls(self) -> Calls:
        """Return what wraps methods."""
        return Calls(
            self.clock,
            self.counters,
            lambda call, _: self.finished.append(call),
            self.errors.note,
            lambda: self.remaining,
            OpenDoor(),
            self.meters,
            Pressure(self.calls_at_once, 0, self.counters),
        )

    def admin(self) -> AdminServicer:
        """Return the servicer of operators."""
        keeping = Keeping(self.watchlists, self.backfills, self.rules())
        return AdminServicer(self.caches, self.errors, ABOUT.start_time, self.moment, keeping)

    def rules(self) -> HistoryRules:
        """Return what requests about the past are judged by."""
        return HistoryRules(self.default_feed, lambda option: OPTIONS_DAY if option else STOCKS_DAY)

    def history_servicer(self, source: HistorySource | None = None) -> HistoryServicer:
        """Return the servicer of the past, which is *source*'s where one is given."""
        return HistoryServicer(
            source or self.history,
            self.prices,
            self.actions,
            self.rules(),
            self.moment,
            self._assets,
            self.meters,
            self.counters,
        )

    async def _assets(self, deadline: float) -> Collection[str] | None:
        return self.listed

    def status(self) -> StatusServicer:
        """Return the servicer of status."""
        return StatusServicer(
            ABOUT,
            self.counters,
            {},
            lambda _: self.remaining,
            self.entitlements,
            self.live.gaps,
            self.moment,
        )

    def stream_servicer(self) -> StreamServicer:
        """Return the servicer of streams."""
        defaults = StreamDefaults(Feed.IEX, stale_after=60.0, unread_age=0.25, queue=100)
        return StreamServicer(self.live.streams, defaults, self._last_record, self.moment)

    def _last_record(self, feeds: Collection[Feed]) -> int | None:
        return max(
            (self.last_records[one] for one in feeds if one in self.last_records), default=None
        )

    def quote_servicer(self) -> QuoteServicer:
        """Return the servicer of quotes."""
        snapshots: FakeLatest[Any] = FakeLatest(self.clock)
        return QuoteServicer(self.quotes, self.trades, snapshots, Feed.IEX, self.moment)

    def option_servicer(self) -> OptionServicer:
        """Return the servicer of options, which takes every day for a usual one."""

        async def expiries(_: float) -> Expiries:
            return Expiries(lambda _: None, ())

        sources = OptionSources(self.options, self.chains, self.contracts, self.trades, expiries)
        return OptionServicer(sources, Feed.INDICATIVE, Feed.IEX, self.moment)


@dataclass(frozen=True, slots=True)
class Face:
    """A served gateway's stubs."""

    port: int
    quotes: quotes.QuoteServiceAsyncStub
    options: options.OptionServiceAsyncStub
    reference: reference.ReferenceServiceAsyncStub
    status: status.StatusServiceAsyncStub
    admin: admin.AdminServiceAsyncStub
    history: history.HistoryServiceAsyncStub
    streams: streams.StreamServiceAsyncStub


@asynccontextmanager
async def served(parts: Parts, address: str = "127.0.0.1:0") -> AsyncIterator[Face]:
    """Serve *parts* at *address* for the length of a block."""
    serving = Serving(
        parts.calls(),
        parts.quote_servicer(),
        parts.option_servicer(),
        ReferenceServicer(parts.reference, OpenMarket(), parts.moment),
        parts.status(),
        parts.admin(),
        parts.stream_servicer(),
        parts.history_servicer(),
    )
    port = serving.bind(address)
    target = address if address.startswith("unix:") else f"127.0.0.1:{port}"
    await serving.start()
    await serving.open()
    try:
        async with grpc.aio.insecure_channel(target) as channel:
            yield Face(
                port,
                quotes.QuoteServiceStub(channel),
                options.OptionServiceStub(channel),
                reference.ReferenceServiceStub(channel),
                status.StatusServiceStub(channel),
                admin.AdminServiceStub(channel),
                history.HistoryServiceStub(channel),
                streams.StreamServiceStub(channel),
            )
    finally:
        parts.live.streams.close(FAREWELL)
        await serving.drain(0, parts.live.streams.drain)
        await parts.live.stop()


class FakeContext:
    """What gRPC hands to a handler, as far as `Calls` looks at it: for callers that no test can be."""

    def __init__(
        self,
        peer: str = "ipv4:127.0.0.1:40000",
        metadata: Sequence[tuple[str, str]] = (),
        time_left: float | None = 5.0,
    ) -> None:
        self._peer = peer
        self._metadata = metadata
        self._time_left = time_left
        self.code: grpc.StatusCode | None = None
        self.message = ""
        self.trailers: dict[str, Any] = {}
        self.initial_metadata_sent = False
        self.written: list[bytes] = []
        self.gone_after: int | None = None
        """Messages after which the caller is gone, which gRPC learns by failing to write to him."""

    def peer(self) -> str:
        """Return who calls."""
        return self._peer

    def time_remaining(self) -> float | None:
        """Return the seconds that the caller waits."""
        return self._time_left

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        """Return the caller's metadata."""
        return self._metadata

    def set_trailing_metadata(self, trailers: Sequence[tuple[str, Any]]) -> None:
        """Take the trailers of a success."""
        self.trailers = dict(trailers)

    async def write(self, message: bytes) -> None:
        """Send one message of a stream."""
        if len(self.written) == self.gone_after:
            msg = "Failed execute_batch"
            raise grpc.aio.InternalError(msg)
        self.written.append(message)

    async def send_initial_metadata(self, _: object) -> None:
        """Take what must never be sent."""
        self.initial_metadata_sent = True

    async def abort(
        self, code: grpc.StatusCode, details: str, trailers: Sequence[tuple[str, Any]]
    ) -> None:
        """End the call, as gRPC does."""
        self.code, self.message, self.trailers = code, details, dict(trailers)
        raise grpc.aio.AbortError
