"""The judge: knows what the sandbox held, and looks at every answer, however it came.

It knows the contract's messages and the made-up market, and nothing of the gateway: what it finds wrong is wrong by the
words of the protos.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tickgate.v1 import (
    asset_pb2,
    bar_pb2,
    error_reason_pb2,
    history_pb2,
    market_session_pb2,
    option_pb2,
    provenance_pb2,
    quote_pb2,
    trade_pb2,
    unavailable_pb2,
)
from tickgate_sandbox.assets import built_in_assets
from tickgate_sandbox.timestamps import MINUTE, SECOND, new_york, new_york_date

from .truth import SHARES, SILENT, Record, Truth, _decode

LATEST_SLACK: Final = 14 * SECOND
"""Nanoseconds by which a value may have been superseded when it was received: a request may hang, and a socket be mute,
for as long before anybody can know."""

CLOCKS: Final = 3 * SECOND
"""Nanoseconds by which two readings of time may differ on a busy machine."""

AGE_ERROR: Final = 12 * SECOND
"""Nanoseconds by which an age may be off: the gateway counts market time on from the last reading that it could get."""

_FALSE: Final = frozenset(
    {"SYMBOL_UNKNOWN", "CONTRACT_UNKNOWN", "CONTRACT_EXPIRED", "INVALID_REQUEST", "UNSPECIFIED"}
)
"""Reasons that can never be true of what is listed and was asked for rightly."""

_OUR_CODES: Final = frozenset(
    {
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.ALREADY_EXISTS,
    }
)
"""Statuses that no call of the storm is promised: each is a defect."""

LATE_WRITE: Final = "Internal error from Core"
"""What grpc.aio says of a call whose deadline passes while the caller writes on it."""

_FEEDS: Final = {False: provenance_pb2.FEED_IEX, True: provenance_pb2.FEED_INDICATIVE}
_KEPT: Final = 8
"""Violations of one kind that are told in full; the others are counted."""


@dataclass(slots=True)
class Verdicts:
    """What was found."""

    values: Counter[str] = field(default_factory=Counter)
    """Values that were compared with the truth, by kind."""

    reasons: Counter[str] = field(default_factory=Counter)
    """Why there was none."""

    violations: Counter[str] = field(default_factory=Counter)
    """By kind."""

    told: list[str] = field(default_factory=list)
    """The first few of each kind."""

    say: Callable[[str], None] | None = None
    """Told of each of these at once, so that nothing is lost where the storm itself breaks down."""

    def object(self, kind: str, what: str) -> None:
        """Find *kind* of wrong with *what*."""
        self.violations[kind] += 1
        if self.violations[kind] <= _KEPT:
            self.told.append(f"{datetime.now(UTC):%H:%M:%S} {kind}: {what}")
            if self.say is not None:
                self.say(f"  ! {self.told[-1][:1000]}")


@dataclass(slots=True)
class Asked:
    """What the judge has to know of a call."""

    rpc: str
    during: str = ""
    """The fault."""

    latest: bool = True
    """Whether values must be the latest of their time; of the past they need not."""

    streamed: bool = False
    """Whether it is a message of a live stream, whose values leave ages to the reader."""


class Oracle:
    """Looks at answers."""

    def __init__(self, truth: Truth, market_of: Callable[[int], int], began: int) -> None:
        """Judge by *truth*.

        Args:
            truth: the market.
            market_of: turns a wall clock reading into market time, both in nanoseconds.
            began: wall clock reading before which no gateway ran.
        """
        self.truth = truth
        self.found = Verdicts()
        self.began = began
        self.doubtful_until = 0
        """Wall clock reading up to which an upstream answer may have said that there is nothing: a fault made it so."""

        self._market_of = market_of
        self._assets = {asset["symbol"]: asset for asset in map(_decode, built_in_assets())}
        self._judges: Mapping[type[Message], Callable[[Any, Asked], None]] = {
            quote_pb2.Quote: self._quote,
            trade_pb2.Trade: self._trade,
            bar_pb2.Bar: self._bar,
            option_pb2.OptionQuote: self._option,
            option_pb2.OptionContract: self._contract,
            asset_pb2.Asset: self._asset,
            market_session_pb2.MarketClock: self._clock,
            market_session_pb2.TradingDay: self._trading_day,
            history_pb2.CorporateAction: self._action,
            unavailable_pb2.DataUnavailable: self._unavailable,
            provenance_pb2.Provenance: self._provenance,
        }

    def judge(self, message: Message, asked: Asked) -> None:
        """Look at everything in *message*, however deep."""
        for part in _parts(message):
            look = self._judges.get(type(part))
            if look is not None:
                look(part, asked)

    def refused(self, error: grpc.aio.AioRpcError, asked: Asked, *, cut: bool) -> str:
        """Look at the status of a failed call, and return the reason in a word.

        Args:
            error: the status.
            asked: the call.
            cut: whether the way to the gateway, or its process, was struck, so that a status may be nobody's word.
        """
        info, found = _error_info(error)
        if info is not None:
            if info.domain != "tickgate" or not info.metadata.get("request_id"):
                self.found.object("a status that does not explain itself", f"{asked} {error}")
            if error.code() in _OUR_CODES:
                self.found.object(
                    f"status {error.code().name}", f"{asked} {info} {error.details()}"
                )
            self.found.reasons[info.reason] += 1
            return info.reason
        if found is not None:
            self.found.object("a status without ErrorInfo", f"{asked} {found}")
        name = error.code().name
        # The last is what the caller's own library says where a deadline passes while it writes.
        late = name in ("DEADLINE_EXCEEDED", "CANCELLED") or error.details() == LATE_WRITE
        garbled = name in ("INTERNAL", "UNKNOWN") and _is_transport(error.details() or "")
        if not late and not (cut and (name == "UNAVAILABLE" or garbled)):
            self.found.object(f"status {name} out of nowhere", f"{asked} {error.details()}")
        label = f"({name.lower()})"
        self.found.reasons[label] += 1
        return label

    # ----------------------------------------------------------------------------------- values

    def _quote(self, quote: quote_pb2.Quote, asked: Asked) -> None:
        time_ = quote.provenance.event_time.ToNanoseconds()
        record = self.truth.at("quotes", quote.symbol, time_)
        if record is None:
            self._invented("quote", quote, asked)
            return
        self.found.values["option quote" if len(quote.symbol) > 6 else "quote"] += 1
        for name, place, there in (
            ("bid", "b", quote.HasField("bid")),
            ("ask", "a", quote.HasField("ask")),
        ):
            sent = _side(record, place)
            side: Any = getattr(quote, name)
            told = (Decimal(side.price.value), side.size, side.exchange) if there else None
            if told != sent:
                self._altered("quote", name, told, sent, quote, asked)
        self._codes(quote, record, "quote", asked)
        self._derived(quote, asked)
        self._is_latest("quotes", quote.symbol, quote.provenance, asked)

    def _derived(self, quote: quote_pb2.Quote, asked: Asked) -> None:
        if not quote.HasField("derived"):
            return
        bid, ask = Decimal(quote.bid.price.value), Decimal(quote.ask.price.value)
        told = Decimal(quote.derived.spread.value), Decimal(quote.derived.mid.value)
        if told != (ask - bid, (ask + bid) / 2):
            self._altered("quote", "derived", told, (bid, ask), quote, asked)

    def _trade(self, trade: trade_pb2.Trade, asked: Asked) -> None:
        time_ = trade.provenance.event_time.ToNanoseconds()
        record = self.truth.at("trades", trade.symbol, time_)
        if record is None:
            self._invented("trade", trade, asked)
            return
        self.found.values["trade"] += 1
        told = (
            Decimal(trade.price.value),
            trade.size,
            trade.exchange,
            trade.id if trade.HasField("id") else None,
        )
        sent = (record["p"], record["s"], record["x"], record.get("i"))
        if told != sent:
            self._altered("trade", "fields", told, sent, trade, asked)
        self._codes(trade, record, "trade", asked)
        if len(trade.symbol) <= 6:
            self._is_latest("trades", trade.symbol, trade.provenance, asked)

    def _bar(self, bar: bar_pb2.Bar, asked: Asked) -> None:
        begin = bar.start_time.ToNanoseconds()
        day = new_york_date(begin)
        told = _bar_values(bar)
        if begin == new_york(day):
            sent = self._daily(bar.symbol, bar, asked)
        else:
            found = self.truth.minute_bar(bar.symbol, begin)
            sent = None if found is None else _sent_bar(found)
        if sent is None:
            self._invented("bar", bar, asked)
            return
        self.found.values["bar"] += 1
        if told != sent:
            self._altered("bar", "fields", told, sent, bar, asked)

    def _daily(self, symbol: str, bar: bar_pb2.Bar, asked: Asked) -> Any:
        """Return what the daily bar of so much volume was, if there was one at the time."""
        day = new_york_date(bar.start_time.ToNanoseconds())
        if day != self.truth.today.day:
            found = self.truth.daily_bars(symbol, day, 0, self.truth.market.start)
            return _sent_bar(found[-1]) if found else None
        received = self._market_of(bar.provenance.receive_time.ToNanoseconds())
        for minute in range((received - LATEST_SLACK) // MINUTE, (received + CLOCKS) // MINUTE + 1):
            states = self._daily_states(symbol, minute)
            if bar.volume in states:
                return states[bar.volume]
        return None

    @lru_cache(maxsize=1_000)  # noqa: B019 - there is one judge for a whole storm
    def _daily_states(self, symbol: str, minute: int) -> Mapping[int, Any]:
        """Return what today's bar of *symbol* went through in the *minute* since the epoch, by its volume."""
        found = self.truth.daily_bars(
            symbol, self.truth.today.day, minute * MINUTE, (minute + 1) * MINUTE - 1
        )
        return {record["v"]: _sent_bar(record) for record in found}

    def _option(self, option: option_pb2.OptionQuote, asked: Asked) -> None:
        terms = _terms(option.symbol)
        told = (
            option.root_symbol,
            (option.expiry_date.year, option.expiry_date.month, option.expiry_date.day),
            option.type,
            Decimal(option.strike_price.value),
        )
        if told != terms:
            self._altered("option", "terms", told, terms, option, asked)
        for name in ("quote", "latest_trade"):
            part: Any = getattr(option, name)
            if part.symbol not in ("", option.symbol):
                self._altered("option", name, part.symbol, option.symbol, option, asked)
        if option.HasField("greeks") or option.HasField("implied_volatility"):
            self._model(option, asked)
        for name in ("minute_bar", "daily_bar", "previous_daily_bar"):
            if option.HasField(name):  # type: ignore[arg-type]
                self._option_bar(option.symbol, getattr(option, name), name, asked)
        if option.HasField("open_interest"):
            self._interest(option.symbol, option.open_interest, asked)

    def _model(self, option: option_pb2.OptionQuote, asked: Asked) -> None:
        told = {
            **{descriptor.name: value for descriptor, value in option.greeks.ListFields()},
            **({"iv": option.implied_volatility} if option.HasField("implied_volatility") else {}),
        }
        received = self._market_of(option.model_provenance.receive_time.ToNanoseconds())
        due = self.truth.records(
            "quotes", option.symbol, received - LATEST_SLACK - 5 * SECOND, received + CLOCKS
        )
        for at, _ in reversed(due):
            model = self.truth.model(option.symbol, at)
            sent = dict(model.get("greeks", {}))
            if "impliedVolatility" in model:
                sent["iv"] = model["impliedVolatility"]
            if sent == told:
                self.found.values["greeks"] += 1
                return
        self._invented("greeks", option, asked)

    def _option_bar(self, symbol: str, bar: option_pb2.OptionBar, name: str, asked: Asked) -> None:
        states = self._option_bars(symbol)
        if _bar_values(bar) not in states:
            self._invented(f"option {name}", bar, asked)
            return
        self.found.values["option bar"] += 1

    @lru_cache(maxsize=5_000)  # noqa: B019 - there is one judge for a whole storm
    def _option_bars(self, symbol: str) -> frozenset[Any]:
        """Return every bar that *symbol* has had, of a minute or of a day, up to the end of today."""
        options = self.truth.options
        found: set[Any] = set()
        for session in options._trading_days(symbol, self.truth.today.extended_close):
            day = options._drawn(symbol, session)
            times = [trade.time for trade in day.trades(0, session.extended_close)]
            found.update(
                _sent_bar(_decode(bar[1]))
                for time_ in [*times, session.extended_close]
                if (bar := day.bars.daily_bar(time_)) is not None
            )
            found.update(
                _sent_bar(_decode(text))
                for _, text in day.bars.minute_bars(0, session.extended_close)
            )
        return frozenset(found)

    def _contract(self, contract: option_pb2.OptionContract, asked: Asked) -> None:
        terms = _terms(contract.symbol)
        told = (
            contract.root_symbol,
            (contract.expiry_date.year, contract.expiry_date.month, contract.expiry_date.day),
            contract.type,
            Decimal(contract.strike_price.value),
        )
        if told != terms:
            self._altered("contract", "terms", told, terms, contract, asked)
        self.found.values["contract"] += 1
        known = self._known(contract.symbol)
        if contract.HasField("open_interest"):
            self._interest(contract.symbol, contract.open_interest, asked)
        elif "open_interest" in known:
            self._altered("contract", "open interest", None, known, contract, asked)
        close = contract.close_price.value if contract.HasField("close_price") else None
        if close != known.get("close_price"):
            self._altered("contract", "close", close, known.get("close_price"), contract, asked)

    def _interest(self, symbol: str, interest: option_pb2.OpenInterest, asked: Asked) -> None:
        known = self._known(symbol)
        date = interest.date
        told = str(interest.contracts), f"{date.year:04}-{date.month:02}-{date.day:02}"
        sent = known.get("open_interest"), known.get("open_interest_date")
        if told != sent:
            self._altered("open interest", symbol, told, sent, interest, asked)
        self.found.values["open interest"] += 1

    @lru_cache(maxsize=10_000)  # noqa: B019 - there is one judge for a whole storm
    def _known(self, symbol: str) -> Mapping[str, Any]:
        start = self.truth.market.start
        return self.truth.options._known(symbol, start, self.truth.today.day)

    def _asset(self, asset: asset_pb2.Asset, asked: Asked) -> None:
        sent = self._assets.get(asset.symbol)
        told = asset.symbol, asset.name, asset.id, asset.exchange, asset.asset_class
        if sent is None:
            self._invented("asset", asset, asked)
        elif told != tuple(sent[key] for key in ("symbol", "name", "id", "exchange", "class")):
            self._altered("asset", "fields", told, sent, asset, asked)
        self.found.values["asset"] += 1

    def _clock(self, clock: market_session_pb2.MarketClock, asked: Asked) -> None:
        now = self._market_of(time.time_ns())
        if abs(clock.market_time.ToNanoseconds() - now) > AGE_ERROR:
            self._altered("clock", "market time", clock.market_time, now, clock, asked)
        today = self.truth.today
        following = self.truth.calendar.after(today.day)
        told = clock.next_close_time.ToNanoseconds(), clock.next_open_time.ToNanoseconds()
        if told != (today.close, following.open):
            self._altered("clock", "edges", told, (today.close, following.open), clock, asked)
        self.found.values["clock"] += 1

    def _trading_day(self, day: market_session_pb2.TradingDay, asked: Asked) -> None:
        date = datetime(day.date.year, day.date.month, day.date.day, tzinfo=UTC).date()
        session = self.truth.calendar.on_or_before(date)
        told = (
            day.pre_market_open_time.ToNanoseconds(),
            day.open_time.ToNanoseconds(),
            day.close_time.ToNanoseconds(),
            day.after_hours_close_time.ToNanoseconds(),
        )
        sent = session.extended_open, session.open, session.close, session.extended_close
        if session.day != date or told != sent:
            self._altered("trading day", str(date), told, sent, day, asked)
        self.found.values["trading day"] += 1

    def _action(self, action: history_pb2.CorporateAction, asked: Asked) -> None:
        # Nothing ever happens to the made-up companies.
        self._invented("corporate action", action, asked)

    # ------------------------------------------------------------------------ origin and reasons

    def _provenance(self, origin: provenance_pb2.Provenance, asked: Asked) -> None:
        now = time.time_ns()
        if origin.source != provenance_pb2.DATA_SOURCE_SANDBOX:
            self.found.object("a value of another source", f"{asked} {_text(origin)}")
        received = origin.receive_time.ToNanoseconds()
        if origin.HasField("receive_time") and not self.began - CLOCKS <= received <= now + CLOCKS:
            self.found.object("a receive time that cannot be", f"{asked} {_text(origin)}")
        if origin.HasField("serve_time"):
            served = origin.serve_time.ToNanoseconds()
            if not received - CLOCKS <= served <= now + CLOCKS:
                self.found.object("a serve time that cannot be", f"{asked} {_text(origin)}")
        if origin.HasField("event_age") and asked.latest:
            age = (
                self._market_of(origin.serve_time.ToNanoseconds())
                - origin.event_time.ToNanoseconds()
            )
            if abs(age - origin.event_age.ToNanoseconds()) > AGE_ERROR:
                self.found.object(
                    "an age that is not so", f"{asked} {age / SECOND} {_text(origin)}"
                )

    def _is_latest(
        self, channel: str, symbol: str, origin: provenance_pb2.Provenance, asked: Asked
    ) -> None:
        """Find out whether a value was the newest when it was received, as far as anybody could know."""
        if origin.feed != _FEEDS[len(symbol) > 6] and origin.HasField("feed"):
            self.found.object("a value of another feed", f"{asked} {symbol} {_text(origin)}")
        if not asked.latest:
            return
        received = self._market_of(origin.receive_time.ToNanoseconds())
        event = origin.event_time.ToNanoseconds()
        if event > received + CLOCKS:
            self.found.object("a value of the future", f"{asked} {symbol} {_text(origin)}")
        following = self.truth.next_after(channel, symbol, event)
        if following is not None and following < received - LATEST_SLACK:
            late = (received - following) / SECOND
            what = f"{asked} {symbol} superseded {late:.1f} s before: {_text(origin)}"
            self.found.object("a value that was not the latest", what)

    def _unavailable(self, why: unavailable_pb2.DataUnavailable, asked: Asked) -> None:
        name = error_reason_pb2.ErrorReason.Name(why.reason).removeprefix("ERROR_REASON_")
        self.found.reasons[name] += 1
        if not why.message or not why.request_id or not why.HasField("time"):
            self.found.object("a reason that does not explain itself", f"{asked} {_text(why)}")

    def false_reason(self, symbol: str, reason: Any, asked: Asked, message: str = "") -> None:
        """Object where *reason* cannot be true of *symbol*, which was asked for rightly."""
        name = error_reason_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
        known = symbol in SHARES or symbol == SILENT or len(symbol) > 6
        if known and name in _FALSE:
            self.found.object("a reason that is not so", f"{asked} {symbol}: {name} {message}")
        if (
            known
            and symbol != SILENT
            and name == "NO_DATA"
            and time.time_ns() > self.doubtful_until
        ):
            self.found.object("a reason that is not so", f"{asked} {symbol}: {name} {message}")

    # ---------------------------------------------------------------------------------- objecting

    def _codes(self, value: Any, record: Record, kind: str, asked: Asked) -> None:
        sent = record.get("c", ())
        # Of options the upstream sends one code, a text; a blank is one as well.
        codes = (sent,) if isinstance(sent, str) else tuple(sent)
        if tuple(value.conditions) != codes or value.tape != record.get("z", ""):
            told = tuple(value.conditions), value.tape
            self._altered(kind, "codes", told, (codes, record.get("z")), value, asked)

    def _invented(self, kind: str, value: Message, asked: Asked) -> None:
        self.found.object(f"an invented {kind}", f"{asked} {_text(value)}")

    def _altered(
        self, kind: str, what: str, told: Any, sent: Any, value: Message, asked: Asked
    ) -> None:
        self.found.object(
            f"an altered {kind}", f"{asked} {what}: {told} for {sent}, {_text(value)}"
        )


def _parts(message: Message) -> Iterator[Message]:
    """Yield *message* and every message in it, but for what google's own hold."""
    yield message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None or descriptor.message_type.file.package != "tickgate.v1":
            continue
        if isinstance(value, Message):
            yield from _parts(value)
        else:
            for one in value:
                yield from _parts(one)


def _side(record: Record, place: str) -> tuple[Decimal, int, str] | None:
    price = record[f"{place}p"]
    return (Decimal(price), record[f"{place}s"], record[f"{place}x"]) if price else None


def _bar_values(bar: Any) -> Any:
    prices = (bar.open, bar.high, bar.low, bar.close)
    vwap = Decimal(bar.vwap.value) if bar.HasField("vwap") else None
    return *(Decimal(one.value) for one in prices), bar.volume, bar.trade_count, vwap


def _sent_bar(record: Record) -> Any:
    prices = (Decimal(record[key]) for key in "ohlc")
    vwap = Decimal(record["vw"]) if "vw" in record else None
    return *prices, record["v"], record["n"], vwap


def _terms(symbol: str) -> tuple[str, tuple[int, int, int], int, Decimal]:
    """Return root, expiry, type and strike of an OCC symbol, read here and nowhere else."""
    root, rest = symbol[:-15], symbol[-15:]
    kind = option_pb2.OPTION_TYPE_CALL if rest[6] == "C" else option_pb2.OPTION_TYPE_PUT
    expiry = 2000 + int(rest[:2]), int(rest[2:4]), int(rest[4:6])
    return root, expiry, kind, Decimal(rest[7:]) / 1000


def _error_info(
    error: grpc.aio.AioRpcError,
) -> tuple[error_details_pb2.ErrorInfo | None, status_pb2.Status | None]:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(
                value if isinstance(value, bytes) else value.encode("latin-1")
            )
            for detail in status.details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info, status
            return None, status
    return None, None


def _is_transport(details: str) -> bool:
    """Return whether a status is gRPC's own word for a broken connection."""
    words = (
        "RST_STREAM",
        "Stream removed",
        "connection",
        "Connection",
        "Broken",
        "closed",
        "GOAWAY",
        "ransport",
    )
    return any(word in details for word in words)


def _text(message: Message) -> str:
    return " ".join(str(message).split())[:600]
