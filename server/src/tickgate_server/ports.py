"""What the gateway needs from outside, and how each of it can fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import date
from enum import Enum
from typing import Any, Protocol, TypeAlias, TypeVar

from msgspec import Struct, field

from .identity.api_key import ApiKey
from .market.answer import Answer, Held, Question
from .market.asset import AssetList, CodeKind, CodeTable
from .market.backfill import Backfill
from .market.chain import Chain
from .market.columns import Block
from .market.corporate_action import CorporateAction, CorporateActionType
from .market.entitlement import Entitlement
from .market.interval import Interval
from .market.live import Channel, FeedState, GapCause, LiveValue, RecordKind, UpdateKind
from .market.option import ContractList, ContractScope, OptionContract, OptionQuote
from .market.provenance import Feed, Tier
from .market.quote import Quote
from .market.series import HistoryQuestion, SeriesKey, SeriesPosition
from .market.session import Calendar, ClockReading, MarketNow, MarketSession
from .market.snapshot import Snapshot
from .market.trade import Trade
from .market.unavailable import Unavailable
from .market.value_kind import ValueKind
from .market.watchlist import Watchlist

V = TypeVar("V")

Answers: TypeAlias = Mapping[str, Answer[V] | Unavailable]
"""One entry for each asked symbol."""


class LatestSource(Protocol[V]):
    """Answers what the latest value of each symbol is."""

    async def latest(self, question: Question) -> Answers[V]:
        """Return an answer for every symbol of *question*, before its deadline.

        Never raises for lack of data: what goes wrong for a symbol is that symbol's `Unavailable`.
        """
        ...


QuoteSource: TypeAlias = LatestSource[Quote]
TradeSource: TypeAlias = LatestSource[Trade]
SnapshotSource: TypeAlias = LatestSource[Snapshot]
OptionSource: TypeAlias = LatestSource[OptionQuote]


class ChainQuestion(Struct, frozen=True):
    """What one caller wants to know: the chain of an underlying on one feed."""

    underlying: str
    feed: Feed
    max_age: int | None
    """Nanoseconds since the upstream last confirmed it; None means the gateway's default."""

    deadline: float
    """When the caller stops waiting, seconds of the monotonic clock."""


class ChainSource(Protocol):
    """Knows the option chains."""

    async def chain(self, question: ChainQuestion) -> tuple[Chain, Tier] | Unavailable:
        """Return the chain and where it came from, or why there is none."""
        ...


class ChainRead(Struct, frozen=True):
    """What an upstream sent of a chain."""

    quotes: Mapping[str, Held[OptionQuote]]
    refused: Collection[str]
    """Symbols of contracts of which nothing is a market value."""

    asked_at: int
    """When the first page was asked for, nanoseconds of the market's time."""

    read_at: float
    """When the first page came, seconds of the monotonic clock: nothing of it is older."""

    read_time: int
    """The same moment, nanoseconds of the wall clock."""


class ChainPages(Protocol):
    """Reads option chains page by page."""

    async def read(
        self,
        underlying: str,
        feed: Feed,
        since: int | None,
        deadline: float,
        wanted_until: float | None = None,
    ) -> ChainRead:
        """Return all contracts of *underlying*, or those whose quote or trade has moved *since* (nanoseconds).

        Args:
            underlying: whose chain.
            feed: on which feed.
            since: None reads the whole chain.
            deadline: when it is of no more use, seconds of the monotonic clock.
            wanted_until: when the last who waits for it has gone, as far as is known; None is *deadline*.

        Raises:
            UpstreamFailure: a page could not be had.
        """
        ...


class ContractSource(Protocol):
    """Knows the terms of option contracts."""

    async def contracts(self, scope: ContractScope, deadline: float) -> ContractList | Unavailable:
        """Return the contracts of *scope*, or that the underlying does not exist.

        Raises:
            UpstreamFailure: they could not be had.
        """
        ...

    async def contract(self, symbol: str, deadline: float) -> OptionContract | Unavailable | None:
        """Return the contract *symbol*, why its terms cannot be told, or None when there is none.

        Raises:
            UpstreamFailure: it could not be asked.
        """
        ...


class ReferenceSource(Protocol):
    """Knows assets, sessions and codes. Every method raises `UpstreamFailure` when it cannot answer."""

    async def assets(self, deadline: float) -> AssetList:
        """Return every stock the upstream lists."""
        ...

    async def calendar(self, start: date, end: date, deadline: float) -> Calendar:
        """Return the trading days from *start* up to and without *end*."""
        ...

    async def codes(self, kind: CodeKind, tape: str, deadline: float) -> CodeTable:
        """Return a table of codes; *tape* is empty for exchanges."""
        ...


class EntitlementSource(Protocol):
    """Knows what the account may read."""

    async def entitlements(self, deadline: float) -> Sequence[Entitlement]:
        """Return one entry for each feed; a feed of which nothing was learned lately is asked, before *deadline*.

        Never raises for lack of an answer: what cannot be asked stays as it was, `Standing.UNKNOWN` at first.
        """
        ...


class MarketTimes(Protocol):
    """Knows what time it is for the market."""

    def session(self) -> MarketSession | None:
        """Return the session now, or None when it is not known. Never waits."""
        ...

    async def now(self, deadline: float) -> MarketNow:
        """Return the market's time.

        Raises:
            UpstreamFailure: the upstream's clock has never been read, and cannot be.
        """
        ...


class ClockSource(Protocol):
    """Reads the upstream's clock."""

    async def clock(self, deadline: float) -> ClockReading:
        """Return what the clock says.

        Raises:
            UpstreamFailure: it could not be read.
        """
        ...


class Upstream(Enum):
    """An upstream that is asked over HTTP; each has its own host and its own limits."""

    DATA = "alpaca.data"
    TRADING = "alpaca.trading"


class Group(Enum):
    """Endpoints of one upstream that fail together."""

    LATEST = "latest"
    OPTIONS = "options"
    HISTORY = "history"
    REFERENCE = "reference"


class Priority(Enum):
    """How urgent a request is, most urgent first. The value is its name in settings and status."""

    INTERACTIVE = "interactive"
    """Somebody waits for it."""

    REPAIR = "repair"
    HISTORY = "history"
    BACKFILL = "backfill"


class Effort(Struct):
    """What one question has cost so far, over all of its requests and attempts."""

    retries: int = 0
    on_wire: float = 0.0
    """Seconds for which the upstream was waited for. Waiting for a place or for budget is not among them."""


class Request(Struct, frozen=True):
    """One HTTP request to an upstream."""

    upstream: Upstream
    group: Group
    path: str
    params: Mapping[str, str]
    deadline: float
    """When its answer is of no more use, seconds of the monotonic clock."""

    priority: Priority = Priority.INTERACTIVE
    cost: int = 1
    """Requests that the upstream counts for it."""

    effort: Effort = field(default_factory=Effort)
    """Shared by all requests of one question."""

    wanted_until: float | None = None
    """When the last who waits for it has gone, as far as is known; None is `deadline`."""

    @property
    def worth_waiting_until(self) -> float:
        """When waiting for anything but the answer itself, such as budget, is in vain."""
        return self.deadline if self.wanted_until is None else min(self.deadline, self.wanted_until)


class Quota(Struct, frozen=True, gc=False):
    """What an upstream says of its own limit in an answer."""

    limit: int
    """Requests a minute."""

    remaining: int
    """Requests that it would admit now."""


class Reply(Struct, frozen=True):
    """A successful answer to a request."""

    body: bytes
    request_id: str
    """The upstream's own id of the answer; empty when it sent none."""

    receive_time: int
    """When the answer was complete, nanoseconds of the wall clock."""

    received_at: float
    """The same moment in seconds of the monotonic clock."""

    quota: Quota | None = None
    """None when it sent none."""


class Requests(Protocol):
    """Sends requests to an upstream, one HTTP request for each call."""

    async def send(self, request: Request) -> Reply:
        """Return the answer.

        Raises:
            UpstreamFailure: there was none that can be used; the subclass says why.
        """
        ...


class Budget(Protocol):
    """Counts requests before an upstream does."""

    async def spend(
        self,
        upstream: Upstream,
        priority: Priority,
        cost: int,
        deadline: float,
        consumers: Collection[str] = (),
    ) -> int:
        """Take *cost* requests out of the budget, waiting for them where they come in time.

        While less than half of it is left, a consumer who has had an equal share leaves the rest to the others.

        Args:
            upstream: whose budget it is.
            priority: class of the request.
            cost: requests.
            deadline: when they are of no more use, seconds of the monotonic clock.
            consumers: names of those for whom it is; the first pays, if he has not had his share. More may come while
                it waits. None, or an empty name among them, is the gateway's own work, which has its classes.

        Returns:
            What remains.

        Raises:
            BudgetExhausted: they would not come before *deadline*. At once, not then.
        """
        ...

    async def correct(self, upstream: Upstream, remaining: int, hold: float = 0.0) -> None:
        """Lower the budget to *remaining*, which the upstream itself has named; it is never raised.

        Args:
            upstream: whose budget it is.
            remaining: requests that the upstream would admit now.
            hold: seconds for which it wants none at all.
        """
        ...

    def learn(self, upstream: Upstream, limit: int) -> None:
        """Keep within *limit*, the requests a minute that the upstream says it admits. Never waits."""
        ...

    def remaining(self, upstream: Upstream) -> int:
        """Return how many requests would be admitted now, as far as this process knows; 0 in a pause. Never waits."""
        ...


Key: TypeAlias = tuple[Feed, str]
"""Feed and symbol of a held value."""


class HotCache(Protocol[V]):
    """Values of one kind that all replicas hold together."""

    async def get(self, keys: Sequence[Key]) -> Mapping[Key, Held[V]] | None:
        """Return what is held of *keys*, or None when it cannot be had now."""
        ...

    def put(self, values: Mapping[Key, Held[V]]) -> None:
        """Hold *values* soon. Never waits and never fails; what is newer already is not replaced."""
        ...

    async def drop(
        self, feeds: Collection[Feed] | None, symbols: Collection[str] | None
    ) -> int | None:
        """Forget values; None stands for all.

        Returns:
            How many were forgotten, or None when they cannot be had now.
        """
        ...


class Dropped(Struct, frozen=True, gc=False):
    """How many entries were forgotten."""

    memory: int
    """By this process, remembered lacks of data among them."""

    shared: int | None
    """By the cache that all replicas share; None when there is none, or it cannot be had now."""


class Caches(Protocol):
    """Everything that holds values so that the upstream need not be asked."""

    async def drop(
        self,
        feeds: Collection[Feed] | None,
        symbols: Collection[str] | None,
        kinds: Collection[ValueKind] | None,
    ) -> Dropped:
        """Forget values; None stands for all."""
        ...


class ErrorEntry(Struct, frozen=True):
    """A refusal or a failure, as it is kept."""

    time: int
    """Nanoseconds of the wall clock."""

    request_id: str
    """The call's; for a refused record the upstream's id of the answer that held it; empty without any."""

    reason: str
    """Name of an `ErrorReason` of the contract, without its prefix."""

    message: str
    context: Mapping[str, Any]
    """What else is known, as JSON can write it. Never a secret."""


class ErrorRecord(Struct, frozen=True):
    """An entry and the number that it was given."""

    id: int
    entry: ErrorEntry


class ErrorQuery(Struct, frozen=True):
    """Which records are asked for, newest first."""

    reasons: frozenset[str] = frozenset()
    """Empty lets all pass."""

    request_id: str = ""
    """Empty lets all pass."""

    start: int | None = None
    """Earliest time, nanoseconds, belongs to the range."""

    end: int | None = None
    """Latest time, nanoseconds, does not belong to the range."""

    before_id: int | None = None
    """Only records with a lower number: where the page before ended."""

    limit: int = 50


class ErrorPlace(Enum):
    """Where records were read."""

    RING = "ring"
    POSTGRES = "postgres"


class ErrorLog(Protocol):
    """Keeps refusals and failures."""

    def note(self, entry: ErrorEntry) -> None:
        """Keep *entry* soon. Never waits and never fails: what comes too fast is dropped and counted."""
        ...

    async def search(
        self, query: ErrorQuery, place: ErrorPlace | None
    ) -> tuple[ErrorPlace, Sequence[ErrorRecord]]:
        """Return the records that *query* selects, and where they were read.

        Args:
            query: the selection.
            place: where to read; None takes the best there is. A place that is gone is read nowhere else: no records.
        """
        ...


class Walk(Struct, frozen=True):
    """A range of some series of one shape, to be read from the upstream page by page."""

    key: SeriesKey
    """Of the first symbol; the others are alike."""

    symbols: tuple[str, ...]
    interval: Interval
    newest_first: bool
    page: int
    """Records of a page at most, 1 to 10,000."""

    priority: Priority
    patience: float
    """Seconds that one page may take, with all its attempts."""

    wanted_until: Callable[[], float] | None = None
    """Tells when the last who waits for it has gone, as far as is known now, seconds of the monotonic clock; None is as
    long as a page may take."""


class SeriesPart(Struct, frozen=True):
    """What one page of a walk makes known of one symbol."""

    symbol: str
    blocks: Sequence[Block]
    """Its values in the order of the walk, a block for each answer that brought some: several only for an instant at
    which a page ended. None where there are none that are market values."""

    interval: Interval
    """Of this all is known now: the blocks hold everything that the upstream has in it, but for what was refused. The
    parts of a symbol follow each other without a hole, in the order of the walk, and the last one reaches the end of
    the walk's range (its start, with newest first)."""

    refused: int = 0
    """Records of the interval that are no market values."""

    refusal: Unavailable | None = None
    """Why the first of them is none."""


class HistoryPages(Protocol):
    """Reads the past from the upstream."""

    def walk(self, walk: Walk) -> AsyncIterator[Sequence[SeriesPart]]:
        """Yield what each page makes known, symbol after symbol. One of which there is nothing has a part, too.

        Symbols come in alphabetical order, whatever their order in the walk. Trades and quotes of the instant at which
        a page ends may go on in the next, which therefore tells that instant, in a part of its own: a page may bring
        two parts of a symbol, and none. The first failure ends the walk, and what was yielded stands.

        Raises:
            UpstreamRejected: the upstream calls the question wrong. Where it names one symbol of the walk that it does
                not take, that is the failure's `symbol`, and the others are to be asked for without it.
            NotEntitled: the account may not read the range, and `said` tells why.
            UpstreamFailure: the next page could not be had.
        """
        ...


class CorporateActionSource(Protocol):
    """Knows what happened to companies."""

    async def corporate_actions(
        self,
        symbols: Sequence[str],
        types: Collection[CorporateActionType] | None,
        start: date,
        end: date,
        deadline: float,
    ) -> Sequence[CorporateAction]:
        """Return what happened from *start* up to and without *end*, by day and symbol; None stands for all types.

        Raises:
            UpstreamFailure: it could not be asked.
        """
        ...


class Covered(Struct, frozen=True):
    """An interval of a series of which the store holds everything that the upstream had."""

    interval: Interval
    receive_time: int
    """When it was received, nanoseconds of the wall clock."""

    count: int
    """Values held in it; 0 where nobody asked for counts."""

    refused: int = 0
    """Records of it that were no market values."""


class HistoryStore(Protocol):
    """Holds the past. Every method raises `StoreDown` when it cannot be had."""

    @property
    def up(self) -> bool:
        """Whether it can be asked, as far as is known. Never waits."""
        ...

    async def coverage(
        self,
        keys: Sequence[SeriesKey],
        interval: Interval,
        as_of: int | None = None,
        *,
        counted: bool = True,
    ) -> Mapping[SeriesKey, Sequence[Covered]]:
        """Return what is held of each of *keys* within *interval*, in order; with *as_of* what was held then.

        Who needs no counts says so: of an interval that is only partly asked for they are counted row by row.
        """
        ...

    def read(
        self,
        key: SeriesKey,
        interval: Interval,
        *,
        newest_first: bool = False,
        as_of: int | None = None,
        rows: int = 10_000,
    ) -> AsyncIterator[Block]:
        """Yield the values held of *interval*, in blocks of at most *rows*, each of one origin or with receive times.

        Held in a server-side cursor: whoever stops reading closes the iterator. What is written meanwhile is not seen.
        """
        ...

    async def write(
        self, key: SeriesKey, interval: Interval, blocks: Sequence[Block], refused: int = 0
    ) -> None:
        """Hold that *blocks*, oldest first, are all there is in *interval*, in one transaction.

        What was held of the interval and is no longer so is superseded, and still known to who asks `as_of` a moment
        before. What is held already, equal in every field, is not written again.
        """
        ...

    async def record(
        self, key: SeriesKey, blocks: Sequence[Block], covered: Sequence[Interval]
    ) -> None:
        """Add values that arrived live, oldest first, in one transaction, and hold that *covered* is complete.

        A value that is held already, equal in every field, is not written again. A bar supersedes the one of the same
        start; a trade with an id supersedes the one with the same id, exchange and time.
        """
        ...

    async def forget_adjusted(self, symbol: str, before: int) -> int:
        """Forget all adjusted series of *symbol* that were received before *before*; return how many intervals.

        Their values are wrong since something happened to the company. `as_of` a moment before still finds them.
        """
        ...

    async def retire(self, before: Mapping[str, int]) -> int:
        """Drop values older than the instants given by kind of series, coverage first; return how many rows."""
        ...


class HistoryCache(Protocol):
    """Final history that all replicas hold together for a while, by series and stretch. Nothing here raises."""

    async def get(
        self, key: SeriesKey, slots: Sequence[Interval]
    ) -> Mapping[Interval, Sequence[Block]]:
        """Return what is held of *slots*: all there is in each, oldest first. Those that cannot be had are left out."""
        ...

    def put(self, key: SeriesKey, slot: Interval, blocks: Sequence[Block]) -> None:
        """Hold soon that *blocks* are all there is in *slot*. Never waits and never fails."""
        ...


class SeriesChunk(Struct, frozen=True):
    """Some values of one symbol."""

    symbol: str
    block: Block
    position: SeriesPosition
    """Behind the last of them."""


class SeriesBroken(Struct, frozen=True):
    """A symbol's values cannot be had, or no more of them."""

    symbol: str
    why: Unavailable
    position: SeriesPosition
    """Where another try goes on."""

    missing: Interval
    """What was not told."""

    count: int


class SeriesDone(Struct, frozen=True):
    """All of a symbol's values have been told."""

    symbol: str
    count: int
    refused: int
    clamped_end: int | None = None
    """End of what was told, where the account may read no further."""


SeriesEvent: TypeAlias = SeriesChunk | SeriesBroken | SeriesDone


class HistorySource(Protocol):
    """Knows the past."""

    def read(
        self,
        question: HistoryQuestion,
        *,
        rows: int,
        after: SeriesPosition | None = None,
        deadline: float | None = None,
        priority: Priority = Priority.HISTORY,
    ) -> AsyncIterator[SeriesEvent]:
        """Yield the answer, symbol after symbol: chunks, then done; or broken, alone or behind chunks.

        A range in which nothing happened is broken for NO_DATA. It goes at the pace of who reads, and whoever stops
        reading closes the iterator.

        Args:
            question: what is asked.
            rows: values of a chunk at most.
            after: where an earlier answer ended.
            deadline: when the answer is of no more use, seconds of the monotonic clock; None as long as it gets on.
            priority: in whose name the upstream is asked.
        """
        ...

    async def coverage(
        self, keys: Sequence[SeriesKey], interval: Interval, as_of: int | None
    ) -> Mapping[SeriesKey, Sequence[Covered]] | Unavailable:
        """Return what the store holds, or why that cannot be told."""
        ...


class PriceAtSource(Protocol):
    """Knows what a symbol traded at."""

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
        """Return the last trade of *key* that set a price, at *time* or at most *tolerance* before; nanoseconds."""
        ...


class Watchlists(Protocol):
    """Keeps watchlists. Every method raises `StoreDown` when they cannot be had."""

    async def put(self, watchlist: Watchlist) -> None:
        """Keep *watchlist*, in place of the one of the same name."""
        ...

    async def get(self, name: str) -> Watchlist | None:
        """Return the watchlist *name*, or None."""
        ...

    async def everything(self) -> Sequence[Watchlist]:
        """Return all watchlists, by name."""
        ...

    async def delete(self, name: str) -> bool:
        """Delete the watchlist *name*; tell whether there was one."""
        ...

    async def refreshed(self, name: str, time: int) -> None:
        """Note that a refresh of *name* ended at *time*, nanoseconds of the wall clock."""
        ...


class BackfillLog(Protocol):
    """Keeps how far backfills are. Every method raises `StoreDown` when that cannot be had."""

    async def put(self, backfill: Backfill) -> None:
        """Keep *backfill* as it stands."""
        ...

    async def get(self, backfill_id: str) -> Backfill | None:
        """Return the backfill *backfill_id*, or None."""
        ...

    async def newest(self, before: tuple[int, str] | None, limit: int) -> Sequence[Backfill]:
        """Return at most *limit* backfills, newest first; *before* is start time and id of the one before the first."""
        ...

    async def running(self) -> Sequence[Backfill]:
        """Return the backfills that have not ended, oldest first."""
        ...


class Backfills(Protocol):
    """Fetches history into the store."""

    async def start(self, key: SeriesKey, symbols: Sequence[str], interval: Interval) -> Backfill:
        """Begin, and return it as it stands.

        Raises:
            StoreDown: it cannot be kept.
        """
        ...

    async def get(self, backfill_id: str) -> Backfill:
        """Return the backfill *backfill_id*.

        Raises:
            NotFound: there is none.
            StoreDown: it cannot be told.
        """
        ...

    async def newest(self, before: tuple[int, str] | None, limit: int) -> Sequence[Backfill]:
        """Return at most *limit* backfills, newest first, as `BackfillLog` does.

        Raises:
            StoreDown: it cannot be told.
        """
        ...

    async def cancel(self, backfill_id: str) -> Backfill:
        """Stop the backfill *backfill_id*, and return it.

        Raises:
            NotFound: there is none.
            StoreDown: it cannot be told.
        """
        ...


class LiveTier(Protocol[V]):
    """Values that are live at this moment."""

    def get(self, key: Key, /) -> Held[V] | Unavailable | None:
        """Return the live value, why there is none although it is live (the last record was refused), or None."""
        ...

    def __contains__(self, key: object, /) -> bool:
        """Tell whether *key* is live."""
        ...

    def __len__(self) -> int:
        """Return how many values are live."""
        ...


class LiveFeed(Protocol):
    """Keeps an upstream's live feed at what somebody follows.

    Nothing here waits or fails: what becomes of a symbol is told to the `FeedListener`.
    """

    def follow(self, channel: Channel, symbols: Collection[str]) -> None:
        """Want *symbols* on *channel* from now on, across every reconnection."""
        ...

    def unfollow(self, channel: Channel, symbols: Collection[str]) -> None:
        """No longer want *symbols* on *channel*."""
        ...

    def reconnect(self, cause: GapCause, message: str) -> None:
        """Give the connection up and make a new one: somebody knows that it is mute."""
        ...


class FeedListener(Protocol):
    """Is told what happens on one live feed, always from the serving loop."""

    def accept(self, kind: RecordKind, symbol: str, value: LiveValue) -> None:
        """Take a valid record. The hot path: called for each."""
        ...

    def refuse(self, kind: RecordKind, symbol: str, why: Unavailable) -> None:
        """Take notice of a record that is no value."""
        ...

    def settle(self) -> None:
        """Take notice that all records that had arrived have been handed over: followers may be told."""
        ...

    def confirmed(self, channel: Channel, symbols: Collection[str]) -> None:
        """Take notice that the upstream sends *symbols* from now on; also again after each reconnection."""
        ...

    def rejected(self, channel: Channel, symbols: Collection[str], why: Unavailable) -> None:
        """Take notice that *symbols* cannot be had; the feed no longer wants them."""
        ...

    def missed(
        self, cause: GapCause, since: int, message: str, *, records: int | None = None
    ) -> None:
        """Take notice that records were missed while the connection stands, and that it goes on.

        Args:
            cause: why.
            since: when the last record before arrived, nanoseconds of the wall clock.
            message: the cause in one sentence.
            records: how many, where they were counted.
        """
        ...

    def lost(self, cause: GapCause, since: int, message: str) -> None:
        """Take notice that the connection is gone: nothing arrives until symbols are confirmed again."""
        ...

    def changed(self, state: FeedState, message: str) -> None:
        """Take notice of the connection's state, and why it is in it."""
        ...


class Encode(Protocol):
    """Makes bytes of updates, of which this house knows nothing."""

    def body(self, kind: RecordKind, value: LiveValue, sequence: int, tier: Tier) -> bytes:
        """Return what all followers get alike: the value, its number and the tier that serves it.

        Called once for a record, when it is first sent.
        """
        ...

    def framed(self, body: bytes, kind: UpdateKind, conflated: int) -> bytes:
        """Return one update of a message: *body*, and what differs from follower to follower."""
        ...


class KeyStore(Protocol):
    """Keeps API keys.

    Every method raises `StoreDown` when it cannot be had now, and `StoreUnusable` when what is there are no keys.
    """

    async def everything(self) -> Sequence[ApiKey]:
        """Return all keys, oldest first, those that have expired or were revoked among them."""
        ...

    async def add(self, key: ApiKey) -> None:
        """Keep a new key."""
        ...

    async def revoke(self, key_id: str, time: int) -> ApiKey | None:
        """Revoke a key as of *time*, nanoseconds of the wall clock, and return it; None when there is none.

        One that was revoked before stays so as of then.
        """
        ...


class Clock(Protocol):
    """The three clocks of the gateway."""

    def monotonic(self) -> float:
        """Return seconds that never jump: for deadlines, timers and the age of what is held."""
        ...

    def wall(self) -> int:
        """Return nanoseconds of civil time: for receive and serve times."""
        ...

    def market(self) -> int:
        """Return nanoseconds of the market's time: civil time, or the recording's in a replay."""
        ...
