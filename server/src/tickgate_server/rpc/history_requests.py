"""The rules of requests about the past, each with the field it is about and the sentence the caller gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from google.protobuf import timestamp_pb2
from msgspec import Struct
from msgspec.structs import replace

from tickgate.v1 import admin_service_pb2, history_pb2, provenance_pb2
from tickgate.v1 import history_service_pb2 as pb

from ..market.corporate_action import CorporateActionType
from ..market.interval import Interval
from ..market.occ import is_occ_symbol
from ..market.provenance import HISTORY_FEEDS, Feed, Tier
from ..market.series import Adjustment, HistoryQuestion, SeriesKey, SeriesKind, SeriesPosition
from ..market.symbol import STOCK_SYMBOL_RULE, is_stock_symbol
from ..market.time import NANOS, format_rfc3339
from ..market.timeframe import TIMEFRAME_RULE, Timeframe, parse_timeframe
from .convert import Moment
from .convert_history import ACTION_TYPES, ADJUSTMENTS, KINDS
from .paging import SeriesPlace
from .requests import (
    ANY_SYMBOL_RULE,
    END_RULE,
    FEED_OF,
    FIRST_DAY,
    LAST_DAY,
    TIER_OF,
    Reader,
    enum_name,
)

MOST_SERIES: Final = 100
"""Symbols in one question about the past, which the upstream takes at once."""

MOST_VALUES: Final = 10_000_000
"""Values of each symbol that `limit` may name."""

MOST_INTERVALS: Final = 100_000
LONGEST_LISTED: Final = 31
"""Intervals of bars, and days of trades and quotes, that are answered in pages of rows."""

DEFAULT_TOLERANCE: Final = 3600 * NANOS
LONGEST_TOLERANCE: Final = 31 * 24 * 3600
"""Nanoseconds that a price may be earlier than the moment it is asked for, and seconds that it may at most."""

LONGEST_ACTIONS: Final = 36_600
LAST_ACTION: Final = date(2099, 12, 31)
"""Days of a range of corporate actions, and the last day of one."""

_MIXED: Final = "the symbols of a request are all of stocks, or all OCC symbols"
_NO_OPTION_QUOTES: Final = "the upstream has no quotes of options of the past"
_DAY: Final = 24 * 3600 * NANOS
_NEW_YORK: Final = ZoneInfo("America/New_York")
_HISTORY_TIERS: Final = frozenset({Tier.REDIS, Tier.STORE, Tier.UPSTREAM})
_TIER_OF: Final[Mapping[int, Tier]] = {
    number: tier for number, tier in TIER_OF.items() if tier in _HISTORY_TIERS
}
_KIND_OF: Final[Mapping[int, SeriesKind]] = {number: kind for kind, number in KINDS.items()}
_ADJUSTMENT_OF: Final[Mapping[int, Adjustment]] = {
    number: adjustment for adjustment, number in ADJUSTMENTS.items()
}
_ACTION_TYPE_OF: Final[Mapping[int, CorporateActionType]] = {
    number: type_ for type_, number in ACTION_TYPES.items()
}

ListRequest: TypeAlias = pb.ListBarsRequest | pb.ListTradesRequest | pb.ListQuotesRequest
StreamRequest: TypeAlias = pb.StreamBarsRequest | pb.StreamTradesRequest | pb.StreamQuotesRequest
Shaped: TypeAlias = pb.GetCoverageRequest | admin_service_pb2.StartBackfillRequest
"""Requests that name a kind of series instead of being of one."""


class HistoryRules(Struct, frozen=True):
    """What requests about the past are judged by, beside the contract."""

    default_feed: Feed
    """Of stocks."""

    first_day: Callable[[bool], date]
    """Tells the first day of which the upstream has anything, of options or else of stocks. Asked for every request."""


class _Query(Struct, frozen=True):
    """What a token belongs to: all that a request says but where in the answer it is."""

    columns: bool
    question: HistoryQuestion
    end: int | None


class Asked(Struct, frozen=True):
    """A question about the past, read and found in order, and where its answer goes on."""

    question: HistoryQuestion
    query: Struct
    """What tokens of the answer belong to."""

    after: SeriesPosition | None
    strict: bool

    def place(self, position: SeriesPosition) -> SeriesPlace:
        """Return *position* as a token holds it."""
        return SeriesPlace(
            self.question.interval.end,
            self.question.symbols.index(position.symbol),
            position.time,
            position.taken,
            position.count,
            position.done,
        )


class PriceWanted(Struct, frozen=True):
    """A question for a price at a moment, read and found in order."""

    key: SeriesKey
    time: int
    tolerance: int
    as_of: int | None
    allowed_tiers: frozenset[Tier] | None


class ShapeWanted(Struct, frozen=True):
    """Some series of one shape and a range, read and found in order."""

    key: SeriesKey
    symbols: tuple[str, ...]
    interval: Interval


class ActionsWanted(Struct, frozen=True):
    """A question for corporate actions, read and found in order."""

    symbols: tuple[str, ...]
    types: frozenset[CorporateActionType] | None
    start: date
    end: date


class SeriesReader(Reader):
    """Reads one request about the past. Call `done` before using what was read."""

    def __init__(self, rules: HistoryRules, moment: Moment, path: str = "") -> None:
        """Judge by *rules* what is asked at *moment*."""
        super().__init__(path)
        self.rules = rules
        self.moment = moment

    # ------------------------------------------------------------------------------- whole requests

    def listed(self, kind: SeriesKind, request: ListRequest) -> Asked:
        """Read a request for a page of rows, all but the size of the page."""
        asked = self._asked(kind, request, request.page_token, "page_token", columns=False)
        if not (self.refused("start_time") or self.refused("end_time")):
            self._bound(asked.question.key, asked.question.interval)
        return asked

    def streamed(self, kind: SeriesKind, request: StreamRequest) -> Asked:
        """Read a request for columns."""
        return self._asked(kind, request, request.cursor, "cursor", columns=True)

    def price_wanted(self, request: pb.GetPriceAtRequest) -> PriceWanted:
        """Read a request for a price at a moment, all but `strict`."""
        symbol = self.any_symbol(request.symbol)
        option = is_occ_symbol(symbol)
        return PriceWanted(
            key=SeriesKey(
                kind=SeriesKind.TRADES,
                symbol=symbol,
                feed=self._feed(request.feed if request.HasField("feed") else None, option=option),
            ),
            time=self._moment_wanted(
                request.time if request.HasField("time") else None, option=option
            ),
            tolerance=(
                self._tolerance(request) if request.HasField("tolerance") else DEFAULT_TOLERANCE
            ),
            as_of=self._as_of(request.as_of_time if request.HasField("as_of_time") else None),
            allowed_tiers=self._history_tiers(request.allowed_tiers),
        )

    def coverage_wanted(self, request: pb.GetCoverageRequest) -> tuple[ShapeWanted, int | None]:
        """Read a request for coverage, and as of when it is asked."""
        key, symbols = self.shape(request, MOST_SERIES)
        start, end = self.bounds(request)
        now = self.moment.market
        if start is not None and start >= now:
            self._refuse_future("start_time")
        interval = Interval(start or 0, now if end is None else end)
        as_of = self._as_of(request.as_of_time if request.HasField("as_of_time") else None)
        return ShapeWanted(key, symbols, interval), as_of

    def actions_wanted(self, request: pb.ListCorporateActionsRequest) -> ActionsWanted:
        """Read a request for corporate actions, all but the page."""
        start = self.day(
            "start_date",
            request.start_date if request.HasField("start_date") else None,
            LAST_ACTION,
        )
        end = self.day(
            "end_date", request.end_date if request.HasField("end_date") else None, LAST_ACTION
        )
        if start is not None and end is not None:
            if end <= start:
                self.refuse("end_date", END_RULE)
            elif (end - start).days > LONGEST_ACTIONS:
                self.refuse("end_date", f"a range holds at most {LONGEST_ACTIONS} days")
        return ActionsWanted(
            symbols=self.symbols(request.symbols, MOST_SERIES),
            types=self.members(
                "types",
                request.types,
                _ACTION_TYPE_OF,
                history_pb2.CorporateActionType,
                "corporate action type",
            ),
            start=start or FIRST_DAY,
            end=end or FIRST_DAY,
        )

    # ---------------------------------------------------------------------------------- questions

    def _asked(
        self,
        kind: SeriesKind,
        request: ListRequest | StreamRequest,
        token: str,
        token_field: str,
        *,
        columns: bool,
    ) -> Asked:
        symbols = self._series(request.symbols, kind, MOST_SERIES)
        option = _of_options(symbols, kind)
        key = self._key(kind, symbols, request, option=option)
        start, end = self.bounds(request)
        question = HistoryQuestion(
            key=key,
            symbols=symbols,
            # Where the request leaves the end open, all pages of an answer have that of the first.
            interval=Interval(start or 0, 0 if end is None else end),
            newest_first=self._newest_first(request.sort),
            limit=self._limit(request.limit),
            as_of=self._as_of(request.as_of_time if request.HasField("as_of_time") else None),
            allowed_tiers=self._history_tiers(request.allowed_tiers),
            clamp=request.clamp_to_entitlement,
        )
        query = _Query(columns, question, end)
        place = self.page_token(token, query, SeriesPlace, token_field)
        if place is not None and not _is_within(place, question, end):
            self.refuse(token_field, f"not a {token_field.replace('_', ' ')} of this method")
            place = None
        chosen_end = end if place is None else place.end
        interval = self.interval(start, chosen_end, option=option)
        return Asked(
            question=replace(question, interval=interval),
            query=query,
            after=None if place is None else _position(place, symbols),
            strict=request.strict,
        )

    def shape(self, request: Shaped, most: int) -> tuple[SeriesKey, tuple[str, ...]]:
        """Read which series are meant, and of which symbols: *most* at most."""
        kind = _KIND_OF.get(request.kind)
        if kind is None:
            known = ", ".join(f"SERIES_KIND_{kind.name}" for kind in SeriesKind)
            name = enum_name(history_pb2.SeriesKind, request.kind)
            self.refuse("kind", f"{name} is not one of {known}")
        symbols = self._series(request.symbols, kind or SeriesKind.TRADES, most)
        option = _of_options(symbols, kind or SeriesKind.TRADES)
        timed = kind is SeriesKind.BARS
        if kind is not None and not timed:
            for field in ("timeframe", "adjustments"):
                if getattr(request, field):
                    self.refuse(field, f"{kind.value} have none: leave it out")
        key = SeriesKey(
            kind=kind or SeriesKind.TRADES,
            symbol=symbols[0] if symbols else "",
            feed=self._feed(request.feed if request.HasField("feed") else None, option=option),
            timeframe=self.timeframe("timeframe", request.timeframe) if timed else None,
            adjustments=(
                self._adjustments(request.adjustments, option=option) if timed else frozenset()
            ),
        )
        return key, symbols

    def _key(
        self,
        kind: SeriesKind,
        symbols: tuple[str, ...],
        request: ListRequest | StreamRequest,
        *,
        option: bool,
    ) -> SeriesKey:
        timeframe, adjustments = None, frozenset[Adjustment]()
        if isinstance(request, pb.ListBarsRequest | pb.StreamBarsRequest):
            timeframe = self.timeframe("timeframe", request.timeframe)
            adjustments = self._adjustments(request.adjustments, option=option)
        symbol_date = request.symbol_date if request.HasField("symbol_date") else None
        if option:
            for field, given in (
                ("symbol_date", symbol_date is not None),
                ("exact_symbols", request.exact_symbols),
            ):
                if given:
                    self.refuse(field, "OCC symbols are never given to others: leave it out")
        elif symbol_date is not None and request.exact_symbols:
            self.refuse(
                "symbol_date", "symbols that are taken literally are of no day: leave it out"
            )
        return SeriesKey(
            kind=kind,
            symbol=symbols[0] if symbols else "",
            feed=self._feed(request.feed if request.HasField("feed") else None, option=option),
            timeframe=timeframe,
            adjustments=adjustments,
            symbol_date=(
                None if symbol_date is None else self.day("symbol_date", symbol_date, LAST_DAY)
            ),
            exact_symbol=request.exact_symbols,
        )

    # ------------------------------------------------------------------------------------- fields

    def _series(self, texts: Sequence[str], kind: SeriesKind, most: int) -> tuple[str, ...]:
        """Read `symbols`: all of stocks or all of options."""
        symbols = tuple(texts)
        if not 1 <= len(symbols) <= most:
            self.refuse("symbols", f"a request names 1 to {most} symbols, not {len(symbols)}")
            return symbols[:1]
        option = _of_options(symbols, kind)
        for index, symbol in enumerate(symbols):
            rule = _broken_rule(symbol, kind, option=option)
            if rule is not None:
                self.refuse(f"symbols[{index}]", rule)
        self.refuse_duplicates(symbols)
        return symbols

    def timeframe(self, field: str, text: str) -> Timeframe | None:
        """Read *field*; None when it is no timeframe."""
        timeframe = parse_timeframe(text)
        if timeframe is None:
            self.refuse(field, TIMEFRAME_RULE)
        return timeframe

    def _feed(
        self,
        number: int | None,
        *,
        option: bool,
    ) -> Feed | None:
        if option:
            if number is not None:
                rule = "the upstream keeps no feeds of options apart in the past: leave it out with OCC symbols"
                self.refuse("feed", rule)
            return None
        feed = self.rules.default_feed if number is None else FEED_OF.get(number)
        if feed in HISTORY_FEEDS:
            return feed
        known = ", ".join(sorted(f"FEED_{feed.name}" for feed in HISTORY_FEEDS))
        name = (
            f"the default feed {self.rules.default_feed.value}"
            if number is None
            else enum_name(provenance_pb2.Feed, number)
        )
        self.refuse("feed", f"{name} has no past at the upstream; {known} have one")
        return None

    def _adjustments(
        self,
        numbers: Sequence[int],
        *,
        option: bool,
    ) -> frozenset[Adjustment]:
        if option and numbers:
            self.refuse("adjustments", "prices of options are not adjusted: leave it out")
            return frozenset()
        adjustment = history_pb2.Adjustment
        found = self.members("adjustments", numbers, _ADJUSTMENT_OF, adjustment, "adjustment")
        return found or frozenset()

    def _newest_first(self, number: int) -> bool:
        known = (
            history_pb2.SORT_UNSPECIFIED,
            history_pb2.SORT_OLDEST_FIRST,
            history_pb2.SORT_NEWEST_FIRST,
        )
        if number not in known:
            self.refuse("sort", f"{number} is not one of SORT_OLDEST_FIRST, SORT_NEWEST_FIRST")
        return number == history_pb2.SORT_NEWEST_FIRST

    def _limit(self, limit: int) -> int:
        if limit > MOST_VALUES:
            self.refuse("limit", f"0 to {MOST_VALUES} values of each symbol, not {limit}")
        return limit

    def _history_tiers(self, numbers: Sequence[int]) -> frozenset[Tier] | None:
        tier = provenance_pb2.Tier
        return self.members("allowed_tiers", numbers, _TIER_OF, tier, "history tier")

    def _as_of(self, message: timestamp_pb2.Timestamp | None) -> int | None:
        if message is None:
            return None
        instant = self.instant("as_of_time", message)
        if instant is not None and instant > self.moment.wall:
            now = format_rfc3339(self.moment.wall)
            self.refuse("as_of_time", f"what will be known is not known: by our clock it is {now}")
        return instant

    def _tolerance(self, request: pb.GetPriceAtRequest) -> int:
        tolerance = request.tolerance
        length = tolerance.seconds * NANOS + tolerance.nanos
        if not 0 <= tolerance.nanos < NANOS or not 0 <= length <= LONGEST_TOLERANCE * NANOS:
            self.refuse("tolerance", f"a tolerance is 0 to {LONGEST_TOLERANCE} seconds")
        return length

    # -------------------------------------------------------------------------------------- times

    def bounds(
        self, request: ListRequest | StreamRequest | Shaped
    ) -> tuple[int | None, int | None]:
        """Read `start_time` and `end_time` in nanoseconds; None where one was left out, or is wrong."""
        return self.instants(
            request.start_time if request.HasField("start_time") else None,
            request.end_time if request.HasField("end_time") else None,
        )

    def interval(
        self,
        start: int | None,
        end: int | None,
        *,
        option: bool,
    ) -> Interval:
        """Return the range as it is answered, up to now where *end* is left open; part of it is in the past."""
        now = self.moment.market
        last = now if end is None else end
        if start is None:
            if not self.refused("start_time"):
                self.refuse("start_time", "a range has a start")
            return Interval(0, last)
        if start >= now:
            self._refuse_future("start_time")
        elif start < last <= self._first(option=option):
            self._refuse_before("end_time", option=option)
        return Interval(start, last)

    def _moment_wanted(
        self,
        message: timestamp_pb2.Timestamp | None,
        *,
        option: bool,
    ) -> int:
        if message is None:
            self.refuse("time", "a price is of some moment: name it")
            return 0
        instant = self.instant("time", message)
        if instant is None:
            return 0
        if instant > self.moment.market:
            self._refuse_future("time")
        elif instant < self._first(option=option):
            self._refuse_before("time", option=option)
        return instant

    def _bound(self, key: SeriesKey, interval: Interval) -> None:
        """Note a range that is larger than pages of rows are meant for."""
        length = interval.end - interval.start
        if key.kind is SeriesKind.BARS:
            if key.timeframe is not None and length > MOST_INTERVALS * key.timeframe.shortest:
                rule = f"a range of rows holds at most {MOST_INTERVALS} intervals of {key.timeframe}: use StreamBars"
                self.refuse("end_time", rule)
        elif length > LONGEST_LISTED * _DAY:
            rule = f"a range of rows holds at most {LONGEST_LISTED} days: use Stream{key.kind.value.capitalize()}"
            self.refuse("end_time", rule)

    def _first(self, *, option: bool) -> int:
        day = self.rules.first_day(option)
        return int(datetime(day.year, day.month, day.day, tzinfo=_NEW_YORK).timestamp()) * NANOS

    def _refuse_future(self, field: str) -> None:
        now = format_rfc3339(self.moment.market)
        self.refuse(field, f"this is not yet the past: for the market it is {now}")

    def _refuse_before(self, field: str, *, option: bool) -> None:
        day = self.rules.first_day(option)
        self.refuse(field, f"there is nothing before {day}, the upstream's first day")


def _of_options(symbols: Sequence[str], kind: SeriesKind) -> bool:
    """Tell whether *symbols* are taken to be of options, by the first of them."""
    return kind is not SeriesKind.QUOTES and bool(symbols) and is_occ_symbol(symbols[0])


def _broken_rule(symbol: str, kind: SeriesKind, *, option: bool) -> str | None:
    """Return the rule that *symbol* breaks among others, which are of options or of stocks."""
    if is_occ_symbol(symbol):
        if kind is SeriesKind.QUOTES:
            return _NO_OPTION_QUOTES
        return None if option else _MIXED
    if not is_stock_symbol(symbol):
        return STOCK_SYMBOL_RULE if kind is SeriesKind.QUOTES else ANY_SYMBOL_RULE
    return _MIXED if option else None


def _is_within(place: SeriesPlace, question: HistoryQuestion, end: int | None) -> bool:
    """Tell whether *place* can be one of an answer to *question*: a token may be forged."""
    start = question.interval.start
    return (
        place.symbol < len(question.symbols)
        and place.end > start
        and end in (None, place.end)
        and (place.time is None or start <= place.time < place.end)
        and (place.time is None) == (place.taken == 0)
        and place.taken <= place.count
    )


def _position(place: SeriesPlace, symbols: Sequence[str]) -> SeriesPosition:
    return SeriesPosition(symbols[place.symbol], place.time, place.taken, place.count, place.done)
