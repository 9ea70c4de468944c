"""The rules of requests, each with the field it is about and the sentence the caller gets.

A `Reader` collects every broken rule of one request before it is refused, so that a caller corrects them all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final, TypeVar

from google.protobuf import duration_pb2, timestamp_pb2
from google.type import date_pb2
from msgspec import Struct

from tickgate.v1 import (
    admin_service_pb2,
    asset_pb2,
    channel_pb2,
    error_reason_pb2,
    freshness_pb2,
    provenance_pb2,
    quote_pb2,
)

from ..errors import InvalidRequest
from ..fanout import tokens
from ..market.answer import Freshness
from ..market.asset import AssetStatus, CodeKind
from ..market.live import Channel
from ..market.occ import OCC_SYMBOL_RULE, is_occ_symbol
from ..market.provenance import LIVE_FEEDS, OPTION_FEEDS, STOCK_FEEDS, Feed, Tier
from ..market.symbol import STOCK_SYMBOL_RULE, is_stock_symbol
from ..market.time import NANOS
from ..market.value_kind import ValueKind
from . import convert
from .paging import P, decode_token
from .status import reason_names

MOST_SYMBOLS: Final = 200
"""Symbols in a batch."""

LONGEST_DURATION: Final = 3660 * 24 * 3600
"""Seconds of the longest duration that a request may name: ten years."""

LONGEST_RANGE: Final = 3660
"""Days between the two dates of a range at most."""

FIRST_DAY: Final = date(1970, 1, 1)
LAST_DAY: Final = date(2029, 12, 31)
"""First and last day of Alpaca's calendar."""

LAST_INSTANT: Final = 2**63 - 1
"""Nanoseconds since 1970 that 64 bits can count, in the year 2262."""

MOST_FOLLOWED: Final = 10_000
"""Symbols in one request of a stream."""

LONGEST_ID: Final = 64
"""Characters of a subscription's id, and of a symbol that is worth an answer."""

LARGEST_PAGE: Final = 1000
DEFAULT_PAGE: Final = 100
LONGEST_REQUEST_ID: Final = 128
REQUEST_ID_RULE: Final = f"a request id is 1 to {LONGEST_REQUEST_ID} printable ASCII characters"
"""The rule in the words a caller gets."""

ANY_SYMBOL_RULE: Final = f"{STOCK_SYMBOL_RULE}; {OCC_SYMBOL_RULE}"
"""The rule in the words a caller gets."""

END_RULE: Final = "the end is after the start: a range does not hold its end"
_LONGEST_QUERY: Final = 100
_LONGEST_WORD: Final = 40
"""Characters of a filter that names an exchange or an attribute."""

_DEFAULT_FRESHNESS: Final = Freshness()
FEED_OF: Final[Mapping[int, Feed]] = {number: feed for feed, number in convert.FEEDS.items()}
TIER_OF: Final[Mapping[int, Tier]] = {number: tier for tier, number in convert.TIERS.items()}
_STATUS_OF: Final[Mapping[int, AssetStatus]] = {
    number: status for status, number in convert.ASSET_STATUSES.items()
}
_CODE_KIND_OF: Final[Mapping[int, CodeKind]] = {
    number: kind for kind, number in convert.CODE_KINDS.items()
}
_VALUE_KIND_OF: Final[Mapping[int, ValueKind]] = {
    number: kind
    for kind, number in convert.numbers(
        ValueKind, admin_service_pb2.ValueKind, "VALUE_KIND_"
    ).items()
}
_CHANNEL_OF: Final[Mapping[int, Channel]] = {
    number: channel for channel, number in convert.CHANNELS.items()
}
_REASON_OF: Final = reason_names()
_BY_TAPE: Final = frozenset({CodeKind.TRADE_CONDITION, CodeKind.QUOTE_CONDITION})
"""Tables that differ from tape to tape."""

_OPTION_CHANNELS: Final = frozenset({Channel.QUOTES, Channel.TRADES})
"""What option feeds have."""

T = TypeVar("T")


class Reader:
    """Reads one request's fields into our words. Call `done` before using what was read."""

    def __init__(self, path: str = "") -> None:
        """Start without a broken rule; *path* leads to the message that is read, where it is inside another."""
        self._path = path
        self._violations: list[tuple[str, str]] = []

    def done(self) -> None:
        """Raise `InvalidRequest` if any rule was broken."""
        if self._violations:
            raise InvalidRequest(self._violations)

    def refuse(self, field: str, rule: str) -> None:
        """Note that *field* breaks *rule*."""
        self._violations.append((f"{self._path}.{field}" if self._path else field, rule))

    def refused(self, field: str) -> bool:
        """Tell whether *field* has been found to break a rule."""
        return any(name == field for name, _ in self._violations)

    def symbol(self, text: str) -> str:
        """Read `symbol` of a stock."""
        return self.stock("symbol", text)

    def stock(self, field: str, text: str) -> str:
        """Read *field*, which names a stock."""
        if not is_stock_symbol(text):
            self.refuse(field, STOCK_SYMBOL_RULE)
        return text

    def any_symbol(self, text: str) -> str:
        """Read `symbol` of a stock or of an option contract."""
        if not _is_any_symbol(text):
            self.refuse("symbol", ANY_SYMBOL_RULE)
        return text

    def symbols(self, texts: Sequence[str], most: int = MOST_SYMBOLS) -> tuple[str, ...]:
        """Read `symbols` of stocks."""
        return self._symbols(texts, is_stock_symbol, STOCK_SYMBOL_RULE, most)

    def _symbols(
        self,
        texts: Sequence[str],
        is_one: Callable[[str], bool],
        rule: str,
        most: int = MOST_SYMBOLS,
    ) -> tuple[str, ...]:
        symbols = tuple(texts)
        if not 1 <= len(symbols) <= most:
            self.refuse("symbols", f"a batch holds 1 to {most} symbols, not {len(symbols)}")
            return symbols
        for index, symbol in enumerate(symbols):
            if not is_one(symbol):
                self.refuse(f"symbols[{index}]", rule)
        self.refuse_duplicates(symbols)
        return symbols

    def refuse_duplicates(self, symbols: tuple[str, ...]) -> None:
        """Note each of `symbols` that stands there twice."""
        if len(set(symbols)) == len(symbols):
            return
        seen: set[str] = set()
        for index, symbol in enumerate(symbols):
            if symbol in seen:
                self.refuse(f"symbols[{index}]", "a request names each symbol once")
            seen.add(symbol)

    def some_symbols(self, texts: Sequence[str]) -> frozenset[str] | None:
        """Read `symbols` of stocks and option contracts where none means all, which is None."""
        if not texts:
            return None
        return frozenset(self._symbols(texts, _is_any_symbol, ANY_SYMBOL_RULE))

    def some_feed(self, number: int | None) -> Feed | None:
        """Read `feed` where none means all, which is None."""
        if number is None:
            return None
        feed = FEED_OF.get(number)
        if feed is None:
            known = ", ".join(f"FEED_{feed.name}" for feed in Feed)
            self.refuse("feed", f"{enum_name(provenance_pb2.Feed, number)} is not one of {known}")
        return feed

    def stock_feed(self, number: int | None, default: Feed) -> Feed:
        """Read `feed`; *number* is None when it was left out."""
        if number is None:
            return default
        feed = FEED_OF.get(number)
        if feed in STOCK_FEEDS:
            return feed
        known = ", ".join(sorted(f"FEED_{feed.name}" for feed in STOCK_FEEDS))
        self.refuse("feed", f"{enum_name(provenance_pb2.Feed, number)} is not one of {known}")
        return default

    # --------------------------------------------------------------------------- subscriptions

    def subscription_id(self, text: str, field: str = "id") -> str:
        """Read `id`, or another *field* that names a subscription."""
        if len(text) > LONGEST_ID or not (text.isascii() and text.isprintable()):
            self.refuse(field, f"up to {LONGEST_ID} printable ASCII characters")
        return text

    def channels(self, numbers: Sequence[int], feed: Feed) -> tuple[Channel, ...]:
        """Read `channels` of *feed*, in the order of the contract; none means quotes."""
        enum = channel_pb2.Channel
        chosen = self.members("channels", numbers, _CHANNEL_OF, enum, "channel")
        if chosen is None:
            return (Channel.QUOTES,)
        if feed in OPTION_FEEDS and not chosen <= _OPTION_CHANNELS:
            rule = f"FEED_{feed.name} has CHANNEL_QUOTES and CHANNEL_TRADES only: poll the chain for the rest"
            self.refuse("channels", rule)
        return tuple(channel for channel in Channel if channel in chosen)

    def live_feed(self, number: int | None, default: Feed) -> Feed:
        """Read `feed` of a subscription; *number* is None when it was left out."""
        feed = default if number is None else FEED_OF.get(number)
        if feed in LIVE_FEEDS:
            return feed
        known = ", ".join(sorted(f"FEED_{feed.name}" for feed in LIVE_FEEDS))
        name = "the default feed" if number is None else enum_name(provenance_pb2.Feed, number)
        self.refuse("feed", f"{name} cannot be followed; {known} can")
        return default

    def followed(self, texts: Sequence[str], *, needed: bool) -> tuple[str, ...]:
        """Read `symbols` of a stream, as far as an answer could name each; which can be followed is judged later."""
        symbols = tuple(texts)
        if needed and not symbols:
            self.refuse("symbols", "at least one")
        if len(symbols) > MOST_FOLLOWED:
            self.refuse("symbols", f"{MOST_FOLLOWED} at most in one request, not {len(symbols)}")
            return ()
        for index, symbol in enumerate(symbols):
            if not 1 <= len(symbol) <= LONGEST_ID:
                self.refuse(f"symbols[{index}]", f"a symbol is 1 to {LONGEST_ID} characters")
        self.refuse_duplicates(symbols)
        return symbols

    def seconds(
        self, field: str, message: duration_pb2.Duration | None, least: float, most: float
    ) -> float | None:
        """Read a duration from *least* to *most* seconds; None when it was left out, or is none of them."""
        if message is None:
            return None
        length = message.seconds + message.nanos / NANOS
        if not 0 <= message.nanos < NANOS or not least <= length <= most:
            self.refuse(field, f"{least:g} to {most:g} seconds")
            return None
        return length

    def resume_token(self, text: str) -> tokens.Token | None:
        """Read `resume_token`; None when it was left out."""
        if not text:
            return None
        try:
            return tokens.decode(text)
        except ValueError as error:
            self.refuse("resume_token", str(error))
            return None

    def view(self, number: int | None) -> quote_pb2.QuoteView.ValueType:
        """Read `view`; *number* is None when it was left out."""
        if number is None:
            return quote_pb2.QUOTE_VIEW_BASIC
        if number in (
            quote_pb2.QUOTE_VIEW_BASIC,
            quote_pb2.QUOTE_VIEW_DERIVED,
            quote_pb2.QUOTE_VIEW_FULL,
        ):
            return quote_pb2.QuoteView.ValueType(number)
        name = enum_name(quote_pb2.QuoteView, number)
        self.refuse(
            "view", f"{name} is not one of QUOTE_VIEW_BASIC, QUOTE_VIEW_DERIVED, QUOTE_VIEW_FULL"
        )
        return quote_pb2.QUOTE_VIEW_BASIC

    def min_quality(self, score: int) -> int:
        """Read `min_quality`."""
        if score > 100:
            self.refuse("min_quality", f"a quality score is 0 to 100, not {score}")
        return score

    def freshness(self, message: freshness_pb2.Freshness | None) -> Freshness:
        """Read `freshness`; None when it was left out."""
        if message is None:
            return _DEFAULT_FRESHNESS
        return Freshness(
            max_age=(
                self.duration("freshness.max_age", message.max_age)
                if message.HasField("max_age")
                else None
            ),
            max_event_age=(
                self.duration("freshness.max_event_age", message.max_event_age)
                if message.HasField("max_event_age")
                else None
            ),
            allowed_tiers=self._tiers(message.allowed_tiers),
            allow_stale=message.allow_stale,
        )

    def duration(self, field: str, message: duration_pb2.Duration) -> int:
        """Read *field* in nanoseconds: 0 to ten years."""
        length = message.seconds * NANOS + message.nanos
        well_formed = 0 <= message.nanos < NANOS and message.seconds >= 0
        if not well_formed or length > LONGEST_DURATION * NANOS:
            self.refuse(field, f"a duration is 0 to {LONGEST_DURATION} seconds")
        return length

    def _tiers(self, numbers: Sequence[int]) -> frozenset[Tier] | None:
        field = "freshness.allowed_tiers"
        return self.members(field, numbers, TIER_OF, provenance_pb2.Tier, "tier")

    def kinds(self, numbers: Sequence[int]) -> frozenset[ValueKind] | None:
        """Read `kinds`; none means all, which is None."""
        kind = admin_service_pb2.ValueKind
        return self.members("kinds", numbers, _VALUE_KIND_OF, kind, "value kind")

    def reasons(self, numbers: Sequence[int]) -> frozenset[str]:
        """Read `reasons`: their names, without the contract's prefix."""
        reason = error_reason_pb2.ErrorReason
        return self.members("reasons", numbers, _REASON_OF, reason, "reason") or frozenset()

    def members(
        self, field: str, numbers: Sequence[int], known: Mapping[int, T], enum: Any, noun: str
    ) -> frozenset[T] | None:
        """Read a list of members of *enum*, none twice; an empty one is None."""
        if len(numbers) > len(known):
            # Judged first: whoever names a hundred thousand shall not make us look at each.
            self.refuse(field, f"there are {len(known)} {noun}s, each named once")
            return None
        for index, number in enumerate(numbers):
            if number not in known:
                self.refuse(f"{field}[{index}]", f"{enum_name(enum, number)} is not {_a(noun)}")
            elif number in numbers[:index]:
                self.refuse(f"{field}[{index}]", f"{_a(noun)} is named once")
        return frozenset(known[number] for number in numbers if number in known) or None

    def asset_status(self, number: int | None) -> AssetStatus | None:
        """Read `status`; *number* is None when it was left out."""
        if number is None:
            return None
        status = _STATUS_OF.get(number)
        if status is None:
            name = enum_name(asset_pb2.AssetStatus, number)
            self.refuse(
                "status", f"{name} is not one of ASSET_STATUS_ACTIVE, ASSET_STATUS_INACTIVE"
            )
        return status

    def words(self, query: str) -> tuple[str, ...]:
        """Read `query`."""
        self._text("query", query, _LONGEST_QUERY)
        return tuple(query.upper().split())

    def filter(self, field: str, text: str) -> str:
        """Read `exchange` or `attribute`."""
        self._text(field, text, _LONGEST_WORD)
        return text

    def _text(self, field: str, text: str, longest: int) -> None:
        if len(text) > longest or not text.isprintable():
            self.refuse(field, f"at most {longest} printable characters")

    def request_id(self, text: str) -> str:
        """Read `request_id`, which may be left out."""
        if len(text) > LONGEST_REQUEST_ID or not (text.isascii() and text.isprintable()):
            self.refuse("request_id", REQUEST_ID_RULE)
        return text

    def page_size(
        self, size: int, *, default: int = DEFAULT_PAGE, largest: int = LARGEST_PAGE
    ) -> int:
        """Read `page_size`: reduced to the *largest*, the *default* for 0."""
        if size < 0:
            self.refuse("page_size", "a page size is not negative")
        return min(size or default, largest)

    def page_token(
        self, token: str, query: Struct, kind: type[P], field: str = "page_token"
    ) -> P | None:
        """Read *field*: the position of *kind* that it stands for in what *query* finds, None without one."""
        if not token:
            return None
        try:
            return decode_token(token, query, kind, field.replace("_", " "))
        except ValueError as error:
            self.refuse(field, str(error))
            return None

    def codes(self, kind: int, tape: str) -> tuple[CodeKind, str]:
        """Read `kind` and `tape`."""
        found = _CODE_KIND_OF.get(kind)
        if found is None:
            known = ", ".join(f"CODE_KIND_{kind.name}" for kind in CodeKind)
            self.refuse("kind", f"{enum_name(asset_pb2.CodeKind, kind)} is not one of {known}")
        elif found not in _BY_TAPE and tape:
            self.refuse("tape", "these codes are the same on every tape: leave it out")
        elif found in _BY_TAPE and tape not in ("A", "B", "C"):
            self.refuse("tape", "condition codes are of one tape: A, B or C")
        return found or CodeKind.EXCHANGE, tape

    def days(self, start: date_pb2.Date | None, end: date_pb2.Date | None) -> tuple[date, date]:
        """Read `start_date` and `end_date`; None when one was left out."""
        first = self.day("start_date", start, LAST_DAY)
        # The end is not in the range: the day after the last one ends a range that holds it.
        last = self.day("end_date", end, LAST_DAY + timedelta(days=1))
        if first is None or last is None:
            return FIRST_DAY, FIRST_DAY
        if last <= first:
            self.refuse("end_date", END_RULE)
        elif (last - first).days > LONGEST_RANGE:
            self.refuse("end_date", f"a range holds at most {LONGEST_RANGE} days")
        return first, last

    def day(self, field: str, message: date_pb2.Date | None, latest: date) -> date | None:
        """Read *field*, a day up to *latest*; None when it is none."""
        rule = f"a whole date from {FIRST_DAY} to {latest} is required"
        try:
            day = None if message is None else date(message.year, message.month, message.day)
        except (ValueError, OverflowError):
            day = None
        if day is None or not FIRST_DAY <= day <= latest:
            self.refuse(field, rule)
            return None
        return day

    def instants(
        self, start: timestamp_pb2.Timestamp | None, end: timestamp_pb2.Timestamp | None
    ) -> tuple[int | None, int | None]:
        """Read `start_time` and `end_time` in nanoseconds; None where one was left out."""
        first = None if start is None else self.instant("start_time", start)
        last = None if end is None else self.instant("end_time", end)
        if first is not None and last is not None and last <= first:
            self.refuse("end_time", END_RULE)
        return first, last

    def instant(self, field: str, message: timestamp_pb2.Timestamp) -> int | None:
        """Read *field* in nanoseconds; None when it is no instant."""
        instant = message.seconds * NANOS + message.nanos
        if not 0 <= message.nanos < NANOS or not 0 <= instant <= LAST_INSTANT:
            self.refuse(field, "an instant is in the years 1970 to 2261, to the nanosecond")
            return None
        return instant


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _is_any_symbol(text: str) -> bool:
    return is_stock_symbol(text) or is_occ_symbol(text)


def enum_name(enum: Any, number: int) -> str:
    """Return the contract's name of *number*, or the number itself where it has none."""
    # Every generated enum has a descriptor; the stubs give the wrapper no common type.
    names: Mapping[int, str] = {value.number: value.name for value in enum.DESCRIPTOR.values}
    return names.get(number, str(number))
