"""A question for each call of the contract, drawn by lot, and what its answer must be beside true values.

The values themselves the oracle looks at, in whatever message they come; here it is only said which answers there must
be: one for each symbol, every row of a range, a watchlist as it was put.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from tickgate.v1 import (
    admin_service_pb2 as admin,
)
from tickgate.v1 import (
    asset_pb2,
    bar_pb2,
    channel_pb2,
    freshness_pb2,
    history_pb2,
    option_pb2,
    provenance_pb2,
    quote_pb2,
)
from tickgate.v1 import (
    history_service_pb2 as history,
)
from tickgate.v1 import (
    option_service_pb2 as options,
)
from tickgate.v1 import (
    quote_service_pb2 as quotes,
)
from tickgate.v1 import (
    reference_service_pb2 as reference,
)
from tickgate.v1 import (
    status_service_pb2 as status,
)
from tickgate.v1 import (
    stream_service_pb2 as streams,
)
from tickgate_sandbox.timestamps import MINUTE, SECOND, parse

from ..support.told import rows_of_chunk
from .contract import Rpc, contract
from .oracle import Asked, Oracle
from .truth import SHARES, SILENT, UNKNOWN, Truth

UPSTREAM: Final = provenance_pb2.TIER_UPSTREAM
_EVERYBODY: Final = (*SHARES, *SHARES, SILENT, UNKNOWN)
_TIERS: Final = ((), (), (), (UPSTREAM,), (provenance_pb2.TIER_MEMORY, provenance_pb2.TIER_REDIS))
_CODES: Final = [value for value in asset_pb2.CodeKind.values() if value]


@dataclass(slots=True)
class Scene:
    """What questions are drawn from."""

    dice: random.Random
    truth: Truth
    oracle: Oracle
    contracts: Sequence[str]
    market_now: Callable[[], int]
    backfills: list[str] = field(default_factory=list)
    put: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Watchlists by name, as they are always put."""

    def symbols(self, most: int = 6) -> list[str]:
        """Return some symbols, none twice."""
        return self.dice.sample(sorted(set(_EVERYBODY)), self.dice.randint(1, most))

    def freshness(self, *, may_be_stale: bool) -> freshness_pb2.Freshness:
        """Return how fresh an answer must be; half of them must come from the upstream."""
        freshness = freshness_pb2.Freshness(
            allow_stale=may_be_stale and self.dice.random() < 0.2,
            allowed_tiers=self.dice.choice(_TIERS),
        )
        if self.dice.random() < 0.5:
            freshness.max_age.CopyFrom(Duration(nanos=self.dice.choice((0, 0, 100_000_000))))
        return freshness

    @property
    def strict(self) -> bool:
        """Whether a missing answer shall be a status."""
        return self.dice.random() < 0.2

    def range(self, length: int) -> dict[str, Any]:
        """Return a range of the past: of the session before, of this morning, or of what was just streamed.

        *length* is in nanoseconds; that of what was just streamed may be less.
        """
        kind = self.dice.randrange(4)
        if kind < 2:
            start = self.truth.session_before().open + self.dice.randrange(16) * 10 * MINUTE
        elif kind == 2:
            start = self.truth.today.open - (3 + self.dice.randrange(4)) * 10 * MINUTE
        else:
            # Young enough to have been recorded live, and old enough to be final, the last minute bar too.
            latest = self.market_now() - 45 * SECOND - (MINUTE if length >= 10 * MINUTE else 0)
            length = length if length >= 10 * MINUTE else 10 * SECOND
            start = latest - length - self.dice.randrange(60) * SECOND
            start -= start % SECOND
        return {"start_time": _stamp(start), "end_time": _stamp(start + length)}


Make = Callable[[Scene], Message]
Check = Callable[[Scene, Any, Sequence[Any], Asked], None]


@dataclass(frozen=True, slots=True)
class Question:
    """How a call is asked and its answer is looked at."""

    rpc: Rpc
    make: Make
    check: Check
    patience: float = 3.0
    """Seconds until the caller gives up."""

    latest: bool = True
    """Whether its values must be the latest."""

    pages: int = 1
    """Pages that are asked for at most."""


# --------------------------------------------------------------------------------- latest values


def _one(request: type[Message], *, view: Any = None, of: str = "share") -> Make:
    def make(scene: Scene) -> Message:
        symbol = scene.dice.choice(scene.contracts if of == "contract" else _EVERYBODY)
        more = {} if view is None else {"view": scene.dice.choice(view)}
        return request(
            symbol=symbol,
            freshness=scene.freshness(may_be_stale=of == "share"),
            strict=scene.strict,
            **more,
        )

    return make


def _many(request: type[Message], *, view: Any = None, of: str = "share") -> Make:
    def make(scene: Scene) -> Message:
        some = scene.dice.sample(scene.contracts, min(len(scene.contracts), 3))
        symbols = some if of == "contract" else scene.symbols()
        more = {} if view is None else {"view": scene.dice.choice(view)}
        return request(
            symbols=symbols,
            freshness=scene.freshness(may_be_stale=of == "share"),
            strict=scene.strict,
            **more,
        )

    return make


_VIEWS: Final = [value for value in quote_pb2.QuoteView.values() if value]
_OPTION_VIEWS: Final = [value for value in option_pb2.OptionView.values() if value]


def _results(scene: Scene, request: Any, answers: Sequence[Any], asked: Asked) -> None:
    """One result for each symbol, in the order in which they were asked for, and each a value or a reason."""
    (answer,) = answers
    single = hasattr(request, "symbol")
    wanted = [request.symbol] if single else list(request.symbols)
    results = [answer.result] if single else list(answer.results)
    if [one.symbol for one in results] != wanted:
        scene.oracle.found.object("a symbol without its one result", f"{asked} {wanted}")
    allowed = set(request.freshness.allowed_tiers) if hasattr(request, "freshness") else set()
    for one in results:
        kind = one.WhichOneof("result")
        if kind is None:
            scene.oracle.found.object("an empty result", f"{asked} {one.symbol}")
        elif kind == "unavailable":
            scene.oracle.false_reason(
                one.symbol, one.unavailable.reason, asked, one.unavailable.message
            )
        elif one.symbol in (SILENT, UNKNOWN) and kind != "asset":
            scene.oracle.found.object("a value of what has none", f"{asked} {one.symbol}")
        else:
            value = getattr(one, kind)
            told = getattr(value, "symbol", one.symbol)
            if told != one.symbol:
                scene.oracle.found.object("another symbol's value", f"{asked} {one.symbol}: {told}")
            tier = value.provenance.served_from if hasattr(value, "provenance") else 0
            if tier and allowed and tier not in allowed:
                scene.oracle.found.object("a value of a tier not allowed", f"{asked} {one}")


def _chain(request: type[Message]) -> Make:
    def make(scene: Scene) -> Message:
        chosen = option_pb2.OptionChainFilter(
            expiry_date=_date_of(scene.dice.choice(scene.contracts)),
            around=option_pb2.AroundTheMoney(strikes=scene.dice.randint(1, 5)),
        )
        if scene.dice.random() < 0.5:
            chosen.ClearField("around")
        return request(
            underlying_symbol=scene.dice.choice(("AAPL", "TSLA")),
            filter=chosen,
            view=scene.dice.choice(_OPTION_VIEWS),
            strict=scene.strict,
        )

    return make


def _chain_told(scene: Scene, request: Any, answers: Sequence[Any], asked: Asked) -> None:
    """As many contracts as are promised, of this underlying and this day, none twice."""
    told: list[str] = []
    total: int | None = None
    for answer in answers:
        kind = answer.WhichOneof("result" if hasattr(answer, "page") else "event")
        if kind == "unavailable":
            scene.oracle.false_reason(
                request.underlying_symbol,
                answer.unavailable.reason,
                asked,
                answer.unavailable.message,
            )
            return
        if kind in ("page", "header"):
            total = (answer.page.header if kind == "page" else answer.header).total_size
        part = answer.page if kind == "page" else answer.chunk if kind == "chunk" else None
        told += [one.symbol for one in part.option_quotes] if part is not None else []
        if kind == "end" and answer.end.count != len(told):
            scene.oracle.found.object("a chain of another length", f"{asked} {answer.end.count}")
    over = asked.rpc.startswith("OptionService.Stream") or not answers[-1].page.next_page_token
    if len(set(told)) != len(told) or (over and len(told) != total):
        scene.oracle.found.object("a chain of another length", f"{asked} {len(told)} of {total}")
    day = request.filter.expiry_date
    expiry = f"{day.year % 100:02}{day.month:02}{day.day:02}"
    if any(one[:-9] != request.underlying_symbol + expiry for one in told):
        scene.oracle.found.object("a contract that was not asked for", f"{asked} {told[:3]}")


def _contracts(scene: Scene) -> Message:
    return options.ListOptionContractsRequest(
        underlying_symbol="AAPL",
        expiry_date=_date_of(scene.dice.choice(scene.contracts)),
        page_size=scene.dice.choice((50, 1000)),
        strict=scene.strict,
    )


def _contracts_told(scene: Scene, request: Any, answers: Sequence[Any], asked: Asked) -> None:
    """Every contract of the day, none twice."""
    told: list[str] = []
    for answer in answers:
        if answer.WhichOneof("result") == "unavailable":
            scene.oracle.false_reason(
                "AAPL", answer.unavailable.reason, asked, answer.unavailable.message
            )
            return
        told += [one.symbol for one in answer.page.contracts]
    if not answers[-1].page.next_page_token and (
        len(set(told)) != len(told) or len(told) != answers[-1].page.total_size
    ):
        scene.oracle.found.object("a list of another length", f"{asked} {len(told)}")


# ------------------------------------------------------------------------------------ the past

_LENGTHS: Final = {"Bars": 30 * MINUTE, "Trades": MINUTE, "Quotes": MINUTE}


def _past(kind: str, verb: str) -> Make:
    request: type[Message] = getattr(history, f"{verb}{kind}Request")

    def make(scene: Scene) -> Message:
        more: dict[str, Any] = {"timeframe": "1Min"} if kind == "Bars" else {}
        if verb == "List":
            more["page_size"] = scene.dice.choice((100, 1000))
        symbols = scene.dice.sample(SHARES, scene.dice.randint(1, 2))
        return request(symbols=symbols, strict=scene.strict, **scene.range(_LENGTHS[kind]), **more)

    return make


def _rows_told(kind: str) -> Check:
    channel = kind.lower()

    def check(scene: Scene, request: Any, answers: Sequence[Any], asked: Asked) -> None:
        """Exactly the rows of the range, or those before the place where it is said to break off."""
        told: dict[str, list[tuple[int, str]]] = {}
        whole: set[str] = set()
        broken: dict[str, Any] = {}
        for answer in answers:
            if hasattr(answer, "results"):
                for one in answer.results:
                    _take_page(scene, one, channel, told, broken, asked)
            else:
                _take_event(scene, answer, kind, told, whole, broken, asked)
        listed = asked.rpc.startswith("HistoryService.List")
        if listed and not answers[-1].next_page_token:
            whole = set(request.symbols) - broken.keys()
            if missing := set(request.symbols) - told.keys() - broken.keys():
                scene.oracle.found.object("a symbol without its result", f"{asked} {missing}")
        for symbol, rows in told.items():
            sent = _sent_rows(scene.truth, kind, symbol, request)
            if rows != sent[: len(rows)] or (symbol in whole and len(rows) != len(sent)):
                what = f"{asked} {symbol}: {len(rows)} of {len(sent)}, {_range(request)}"
                scene.oracle.found.object(
                    "rows that are not those of the range", what + _differ(rows, sent)
                )
            else:
                scene.oracle.found.values["row of history"] += len(rows)
            where = broken.get(symbol)
            if where and len(rows) < len(sent) and where > sent[len(rows)][0]:
                scene.oracle.found.object("a break told too late", f"{asked} {symbol} {where}")

    return check


def _take_page(
    scene: Scene, one: Any, channel: str, told: dict[str, Any], broken: dict[str, Any], asked: Asked
) -> None:
    if one.WhichOneof("result") == "unavailable":
        scene.oracle.false_reason(
            one.symbol, one.unavailable.reason, asked, one.unavailable.message
        )
        broken.setdefault(one.symbol, 0)
        return
    rows = told.setdefault(one.symbol, [])
    rows += [
        (row.provenance.event_time.ToNanoseconds(), _key_of(row))
        for row in getattr(one.page, channel)
    ]
    if one.page.note.HasField("broken"):
        broken[one.symbol] = one.page.note.broken.missing_from_time.ToNanoseconds()


def _take_event(
    scene: Scene, answer: Any, kind: str, told: dict[str, Any], whole: set[str],
    broken: dict[str, Any], asked: Asked,
) -> None:  # fmt: skip
    event = answer.WhichOneof("event")
    if event == "chunk":
        rows = told.setdefault(answer.symbol, [])
        rows += [(row["t"], _key(kind, row)) for row in rows_of_chunk(answer.chunk)]
    elif event == "end":
        whole.add(answer.symbol)
        told.setdefault(answer.symbol, [])
        if answer.end.count != len(told[answer.symbol]):
            scene.oracle.found.object("an end that counts otherwise", f"{asked} {answer.end}")
    elif event == "unavailable":
        why = answer.unavailable
        scene.oracle.false_reason(
            answer.symbol, why.unavailable.reason, asked, why.unavailable.message
        )
        broken[answer.symbol] = why.missing_from_time.ToNanoseconds() if why.count else 0
        if why.count != len(told.get(answer.symbol, ())):
            scene.oracle.found.object("an end that counts otherwise", f"{asked} {why.count}")


def _sent_rows(truth: Truth, kind: str, symbol: str, request: Any) -> list[tuple[int, str]]:
    start, end = request.start_time.ToNanoseconds(), request.end_time.ToNanoseconds()
    if kind == "Bars":
        return [(_begin(record), _key(kind, record)) for record in truth.bars(symbol, start, end)]
    return [
        (at, _key(kind, record)) for at, record in truth.records(kind.lower(), symbol, start, end)
    ]


def _begin(record: Mapping[str, Any]) -> int:
    return parse(record["t"])


_FIELDS: Final = {
    "Bars": ("o", "h", "l", "c", "v", "n", "vw"),
    "Trades": ("p", "s", "x", "i", "c", "z"),
    "Quotes": ("bp", "bs", "bx", "ap", "as", "ax", "c", "z"),
}


def _key(kind: str, row: Mapping[str, Any]) -> str:
    return "|".join(_plain(row.get(name)) for name in _FIELDS[kind])


def _key_of(row: Any) -> str:
    if isinstance(row, bar_pb2.Bar):
        prices = (row.open, row.high, row.low, row.close)
        told: Iterable[Any] = (
            *(Decimal(one.value) for one in prices),
            row.volume,
            row.trade_count,
            Decimal(row.vwap.value),
        )
    elif isinstance(row, quote_pb2.Quote):
        sides = (
            side
            for one in (row.bid, row.ask)
            for side in (Decimal(one.price.value), one.size, one.exchange)
        )
        told = (*sides, tuple(row.conditions), row.tape)
    else:
        told = (
            Decimal(row.price.value),
            row.size,
            row.exchange,
            row.id,
            tuple(row.conditions),
            row.tape,
        )
    return "|".join(map(_plain, told))


def _plain(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return ",".join(value) if isinstance(value, tuple | list) else str(value)


def _differ(rows: Sequence[Any], sent: Sequence[Any]) -> str:
    for number, (row, right) in enumerate(zip(rows, sent, strict=False)):
        if row != right:
            return f"; row {number} is {row} for {right}"
    return f"; {len(rows)} rows for {len(sent)}"


def _range(request: Any) -> str:
    return f"{request.start_time.ToJsonString()}–{request.end_time.ToJsonString()}"


def _price_at(scene: Scene) -> Message:
    span = scene.range(MINUTE)
    return history.GetPriceAtRequest(
        symbol=scene.dice.choice(SHARES),
        time=_stamp(span["end_time"].ToNanoseconds() - scene.dice.randrange(10 * SECOND)),
        tolerance=Duration(seconds=60),
        strict=scene.strict,
    )


def _price_told(scene: Scene, request: Any, answers: Sequence[Any], asked: Asked) -> None:
    """The last trade that set a price at or before the moment, and no other."""
    (answer,) = answers
    if answer.result.WhichOneof("result") != "price":
        scene.oracle.false_reason(request.symbol, answer.result.unavailable.reason, asked)
        return
    moment = request.time.ToNanoseconds()
    sent = scene.truth.records("trades", request.symbol, moment - 60 * SECOND, moment + 1)
    last = max((at for at, record in sent if "I" not in record["c"]), default=None)
    told = answer.result.price.trade.provenance.event_time.ToNanoseconds()
    if told != last:
        scene.oracle.found.object("a price of another moment", f"{asked} {told} for {last}")


def _coverage(scene: Scene) -> Message:
    span = scene.range(MINUTE)
    return history.GetCoverageRequest(
        symbols=scene.dice.sample(SHARES, 2), kind=history_pb2.SERIES_KIND_TRADES, **span
    )


def _coverage_told(scene: Scene, request: Any, answers: Sequence[Any], asked: Asked) -> None:
    """What is said to be held is as much as there was."""
    _results(scene, request, answers, asked)
    for result in answers[0].results:
        for one in result.coverage.intervals:
            start, end = one.start_time.ToNanoseconds(), one.end_time.ToNanoseconds()
            sent = scene.truth.count("trades", result.symbol, start, end)
            if one.HasField("receive_time") and one.count != sent:
                what = f"{asked} {result.symbol} {one.count} of {sent}: {_range(one)}"
                scene.oracle.found.object("a coverage that is not so", what)


def _actions(scene: Scene) -> Message:
    return history.ListCorporateActionsRequest(
        symbols=scene.symbols(3),
        start_date=Date(year=2026, month=1, day=1),
        end_date=Date(year=2026, month=11, day=1 + scene.dice.randrange(19)),
        strict=scene.strict,
    )


# -------------------------------------------------------------------------------- reference data


def _assets(scene: Scene) -> Message:
    return reference.ListAssetsRequest(page_size=scene.dice.choice((3, 100)), strict=scene.strict)


def _sessions(scene: Scene) -> Message:
    start = 1 + scene.dice.randrange(20)
    return reference.ListMarketSessionsRequest(
        start_date=Date(year=2026, month=11, day=start),
        end_date=Date(year=2026, month=11, day=start + scene.dice.randrange(10)),
        strict=scene.strict,
    )


def _codes(scene: Scene) -> Message:
    kind = scene.dice.choice(_CODES)
    stock = kind in (asset_pb2.CODE_KIND_TRADE_CONDITION, asset_pb2.CODE_KIND_QUOTE_CONDITION)
    return reference.ListCodesRequest(kind=kind, tape="C" if stock else "", strict=scene.strict)


def _any(scene: Scene, request: Any, answers: Sequence[Any], asked: Asked) -> None:
    """Nothing beside what the oracle sees."""
    for answer in answers:
        oneofs = answer.DESCRIPTOR.oneofs_by_name
        if "result" in oneofs and answer.WhichOneof("result") is None:
            scene.oracle.found.object("an empty result", str(asked))


# ------------------------------------------------------------------------------------ the gateway


def _watchlist(scene: Scene) -> Message:
    name = scene.dice.choice(("storm-a", "storm-b", "storm-c"))
    symbols = scene.put.setdefault(name, tuple(sorted(scene.dice.sample(SHARES, 2))))
    return admin.PutWatchlistRequest(
        watchlist=admin.Watchlist(name=name, symbols=symbols, record=name == "storm-a")
    )


def _watchlists_told(scene: Scene, request: Any, answers: Sequence[Any], asked: Asked) -> None:
    """A watchlist as it was put."""
    (answer,) = answers
    lists = answer.watchlists if hasattr(answer, "watchlists") else [answer.watchlist]
    for one in lists:
        wanted = scene.put.get(one.name)
        if wanted is not None and tuple(sorted(one.symbols)) != wanted:
            scene.oracle.found.object("another watchlist than was put", f"{asked} {one}")


def _named(request: type[Message]) -> Make:
    return lambda scene: request(name=scene.dice.choice(("storm-b", "storm-c", "storm-d")))


def _backfill(scene: Scene) -> Message:
    return admin.StartBackfillRequest(
        symbols=[scene.dice.choice(SHARES)],
        kind=history_pb2.SERIES_KIND_TRADES,
        **scene.range(MINUTE),
    )


def _backfill_told(scene: Scene, request: Any, answers: Sequence[Any], asked: Asked) -> None:
    """A backfill that is somewhere between its beginning and its end."""
    (answer,) = answers
    for one in answer.backfills if hasattr(answer, "backfills") else [answer.backfill]:
        if one.id and one.id not in scene.backfills:
            scene.backfills.append(one.id)
        if not 0 <= one.progress <= 1 or not one.state:
            scene.oracle.found.object("a backfill that cannot be", f"{asked} {one}")


def _of_backfill(request: type[Message]) -> Make:
    def make(scene: Scene) -> Message:
        return request(id=scene.dice.choice(scene.backfills or ["none"]))

    return make


def _status_told(scene: Scene, request: Any, answers: Sequence[Any], asked: Asked) -> None:
    """A status that says at least who it is."""
    if not answers[0].version or not answers[0].upstreams:
        scene.oracle.found.object("an empty status", str(asked))


# ------------------------------------------------------------------------------------- live streams


def subscription(scene: Scene) -> streams.Subscription:
    """Return what somebody who looks in for a moment follows."""
    if scene.dice.random() < 0.3:
        return streams.Subscription(
            symbols=scene.dice.sample(scene.contracts, 3),
            channels=[channel_pb2.CHANNEL_QUOTES],
            feed=provenance_pb2.FEED_INDICATIVE,
        )
    return streams.Subscription(
        symbols=scene.dice.sample(SHARES, 3),
        channels=[channel_pb2.CHANNEL_QUOTES, channel_pb2.CHANNEL_TRADES],
    )


def _subscribe(scene: Scene) -> Message:
    return streams.SubscribeRequest(subscribe=subscription(scene))


def _watch(scene: Scene) -> Message:
    return streams.WatchRequest(subscription=subscription(scene))


# -------------------------------------------------------------------------------------- all of them


def questions() -> Mapping[str, Question]:
    """Return a question for each call of the contract, by its name.

    Raises:
        AssertionError: the contract has a call that nobody asks, or lacks one that somebody does.
    """
    known: dict[str, tuple[Any, ...]] = {
        "QuoteService.GetQuote": (_one(quotes.GetQuoteRequest, view=_VIEWS), _results),
        "QuoteService.GetQuotes": (_many(quotes.GetQuotesRequest, view=_VIEWS), _results),
        "QuoteService.GetLatestTrade": (_one(quotes.GetLatestTradeRequest), _results),
        "QuoteService.GetLatestTrades": (_many(quotes.GetLatestTradesRequest), _results),
        "QuoteService.GetSnapshot": (_one(quotes.GetSnapshotRequest), _results),
        "QuoteService.GetSnapshots": (_many(quotes.GetSnapshotsRequest), _results),
        "OptionService.GetOptionQuote": (
            _one(options.GetOptionQuoteRequest, view=_OPTION_VIEWS, of="contract"),
            _results,
        ),
        "OptionService.GetOptionQuotes": (
            _many(options.GetOptionQuotesRequest, view=_OPTION_VIEWS, of="contract"),
            _results,
        ),
        "OptionService.GetOptionChain": (
            _chain(options.GetOptionChainRequest),
            _chain_told,
            {"pages": 4},
        ),
        "OptionService.StreamOptionChain": (_chain(options.StreamOptionChainRequest), _chain_told),
        "OptionService.ListOptionContracts": (_contracts, _contracts_told, {"pages": 4}),
        **{
            f"HistoryService.{verb}{kind}": (
                _past(kind, verb),
                _rows_told(kind),
                {"patience": 5.0, "latest": False, "pages": 12 if verb == "List" else 1},
            )
            for kind in _LENGTHS
            for verb in ("List", "Stream")
        },
        "HistoryService.GetPriceAt": (_price_at, _price_told, {"patience": 5.0, "latest": False}),
        "HistoryService.GetCoverage": (_coverage, _coverage_told, {"latest": False}),
        "HistoryService.ListCorporateActions": (_actions, _any),
        "ReferenceService.ListAssets": (_assets, _any, {"pages": 4}),
        "ReferenceService.GetAsset": (
            lambda scene: reference.GetAssetRequest(
                symbol=scene.dice.choice(_EVERYBODY), strict=scene.strict
            ),
            _results,
        ),
        "ReferenceService.GetMarketClock": (
            lambda scene: reference.GetMarketClockRequest(strict=scene.strict),
            _any,
        ),
        "ReferenceService.ListMarketSessions": (_sessions, _any),
        "ReferenceService.ListCodes": (_codes, _any),
        "StatusService.GetStatus": (lambda scene: status.GetStatusRequest(), _status_told),
        "StatusService.GetEntitlements": (lambda scene: status.GetEntitlementsRequest(), _any),
        "StatusService.ListGaps": (lambda scene: status.ListGapsRequest(page_size=20), _any),
        "AdminService.InvalidateCache": (
            lambda scene: admin.InvalidateCacheRequest(symbols=[scene.dice.choice(SHARES)]),
            _any,
        ),
        "AdminService.ListErrors": (lambda scene: admin.ListErrorsRequest(page_size=20), _any),
        "AdminService.PutWatchlist": (_watchlist, _watchlists_told),
        "AdminService.GetWatchlist": (_named(admin.GetWatchlistRequest), _watchlists_told),
        "AdminService.ListWatchlists": (
            lambda scene: admin.ListWatchlistsRequest(),
            _watchlists_told,
        ),
        "AdminService.DeleteWatchlist": (_named(admin.DeleteWatchlistRequest), _any),
        "AdminService.StartBackfill": (_backfill, _backfill_told),
        "AdminService.GetBackfill": (_of_backfill(admin.GetBackfillRequest), _backfill_told),
        "AdminService.ListBackfills": (
            lambda scene: admin.ListBackfillsRequest(page_size=20),
            _backfill_told,
        ),
        "AdminService.CancelBackfill": (_of_backfill(admin.CancelBackfillRequest), _backfill_told),
        "StreamService.Subscribe": (_subscribe, _any),
        "StreamService.Watch": (_watch, _any),
    }
    rpcs = contract()
    assert rpcs.keys() == known.keys(), f"calls without load: {rpcs.keys() ^ known.keys()}"
    return {
        name: Question(
            rpc, known[name][0], known[name][1], **(known[name][2] if known[name][2:] else {})
        )
        for name, rpc in rpcs.items()
    }


def known_symbols(request: Any) -> list[str]:
    """Return the symbols in *request* that exist."""
    named = [getattr(request, "symbol", ""), *getattr(request, "symbols", ())]
    return [one for one in named if one in SHARES or one == SILENT or len(one) > 6]


def _stamp(nanoseconds: int) -> Timestamp:
    message = Timestamp()
    message.FromNanoseconds(nanoseconds)
    return message


def _date_of(contract_symbol: str) -> Date:
    text = contract_symbol[-15:]
    return Date(year=2000 + int(text[:2]), month=int(text[2:4]), day=int(text[4:6]))
