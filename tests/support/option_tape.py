"""Recorded option chains, and what a gateway must make of each record: no more and no less."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.decimal_pb2 import Decimal as Price

from tickgate.v1 import option_pb2 as pb
from tickgate.v1 import quote_pb2, trade_pb2

from .recordings import REAL_RECORDINGS
from .tape import nanoseconds

Fields = Mapping[str, Any]
"""One record; numbers are the text that stands in the file."""

_NEW_YORK = ZoneInfo("America/New_York")
_SECOND = 1_000_000_000
_LATE = frozenset({"SPY"})
"""Recorded underlyings whose options trade until 16:15."""

_GREEKS = ("delta", "gamma", "theta", "vega", "rho")
_BARS = {"minute_bar": "minuteBar", "daily_bar": "dailyBar", "previous_daily_bar": "prevDailyBar"}


def chain_files() -> list[Path]:
    """Return every recorded chain."""
    folder = REAL_RECORDINGS / "options"
    files = [*folder.glob("*.json.gz"), *folder.glob("series/*.json.gz")]
    return sorted(path for path in files if ".contracts." not in path.name)


@dataclass(frozen=True)
class ChainTape:
    """A recorded chain, read when it is first looked at."""

    path: Path

    @cached_property
    def snapshots(self) -> Mapping[str, Fields]:
        """What was recorded, by OCC symbol."""
        snapshots: Mapping[str, Fields] = _read(self.path)["snapshots"]
        return snapshots

    @cached_property
    def contracts(self) -> Mapping[str, Fields]:
        """What the list of contracts said, by OCC symbol; nothing where none was recorded."""
        twin = self.path.with_name(self.path.name.replace(".json.gz", ".contracts.json.gz"))
        listed = _read(twin)["option_contracts"] if twin.exists() else []
        return {one["symbol"]: one for one in listed}

    @property
    def underlying(self) -> str:
        """Symbol of the underlying."""
        return self.path.name.partition("-")[0]

    @property
    def day(self) -> date:
        """Day of the recording, in New York."""
        return date.fromisoformat(self.path.name.partition("-")[2][:10])

    @property
    def instant(self) -> int:
        """When it was recorded, nanoseconds: as its name says, else its newest stamp of the day, else the close."""
        stamp = self.path.name.partition("-")[2].removesuffix(".json.gz")
        if "T" in stamp:
            moment = datetime.strptime(stamp, "%Y-%m-%dT%H%M%S").replace(tzinfo=_NEW_YORK)
            return int(moment.timestamp()) * _SECOND
        on_the_day = [at for at in self._stamps() if _new_york(at).date() == self.day]
        return max(on_the_day, default=_at(self.day, time(16)))

    def _stamps(self) -> Iterable[int]:
        for snapshot in self.snapshots.values():
            for part in ("latestQuote", "latestTrade"):
                if "t" in snapshot.get(part, {}):
                    yield nanoseconds(snapshot[part]["t"])

    def last_moment(self, symbol: str) -> int:
        """Return when *symbol* trades for the last time, by the plain rule: nothing recorded expires on a half day."""
        expiry = date.fromisoformat("20" + symbol[-15:-9])
        while expiry.weekday() > 4:
            expiry -= timedelta(days=1)
        return _at(expiry, time(16, 15) if self.underlying in _LATE else time(16))


def _read(path: Path) -> Any:
    with gzip.open(path, "rt") as file:
        return json.load(file, parse_float=str, parse_int=str)


def _at(day: date, hour: time) -> int:
    return int(datetime.combine(day, hour, _NEW_YORK).timestamp()) * _SECOND


def _new_york(instant: int) -> datetime:
    return datetime.fromtimestamp(instant // _SECOND, UTC).astimezone(_NEW_YORK)


def compare(served: pb.OptionQuote, recorded: Fields, contract: Fields, instant: int) -> None:
    """Check that *served* in the full view holds exactly what was *recorded*, and of its *contract*, at *instant*."""
    refused = {part.part for part in served.missing_parts}
    _compare_quote(served, recorded.get("latestQuote"), refused)
    _compare_trade(served, recorded.get("latestTrade"), refused)
    _compare_model(served, recorded)
    for name, key in _BARS.items():
        _compare_bar(served, name, recorded.get(key))
    _compare_day_volume(served, recorded.get("dailyBar"), instant)
    _compare_open_interest(served, contract)


def _compare_quote(
    served: pb.OptionQuote, recorded: Fields | None, refused: set[pb.OptionPart.ValueType]
) -> None:
    bid, ask = (_side(recorded, key) for key in ("bp", "ap"))
    crossed = bid is not None and ask is not None and bid > ask
    assert (pb.OPTION_PART_QUOTE in refused) == (
        crossed or (recorded is not None and bid is None and ask is None)
    )
    assert served.HasField("quote") == (not crossed and (bid is not None or ask is not None))
    if not served.HasField("quote") or recorded is None:
        return
    quote = served.quote
    for side, price, size, venue in (("bid", "bp", "bs", "bx"), ("ask", "ap", "as", "ax")):
        message: quote_pb2.QuoteSide = getattr(quote, side)
        assert quote.HasField("bid" if side == "bid" else "ask") == bool(_side(recorded, price))
        if _side(recorded, price):
            _compare_price(message.price, recorded[price])
            assert _optional(message, "size") == _number(recorded, size)
            assert _optional(message, "exchange") == recorded.get(venue)
    assert list(quote.conditions) == ([recorded["c"]] if "c" in recorded else [])
    assert not quote.HasField("tape")
    _compare_stamp(quote.provenance, recorded)


def _compare_trade(
    served: pb.OptionQuote, recorded: Fields | None, refused: set[pb.OptionPart.ValueType]
) -> None:
    assert pb.OPTION_PART_LATEST_TRADE not in refused
    assert served.HasField("latest_trade") == (recorded is not None)
    if recorded is None:
        return
    trade: trade_pb2.Trade = served.latest_trade
    _compare_price(trade.price, recorded["p"])
    assert _optional(trade, "size") == _number(recorded, "s")
    assert _optional(trade, "exchange") == recorded.get("x")
    assert list(trade.conditions) == ([recorded["c"]] if "c" in recorded else [])
    assert not trade.HasField("id")
    assert not trade.HasField("tape")
    _compare_stamp(trade.provenance, recorded)


def _compare_model(served: pb.OptionQuote, recorded: Fields) -> None:
    greeks = recorded.get("greeks")
    assert served.HasField("greeks") == (greeks is not None)
    for name in _GREEKS:
        sent = None if greeks is None else greeks.get(name)
        assert _optional(served.greeks, name) == (None if sent is None else float(sent))
    sent = recorded.get("impliedVolatility")
    assert _optional(served, "implied_volatility") == (None if sent is None else float(sent))
    assert served.HasField("model_provenance") == (greeks is not None or sent is not None)


def _compare_bar(served: pb.OptionQuote, name: str, recorded: Fields | None) -> None:
    bar: pb.OptionBar = getattr(served, name)
    assert (name in {field.name for field, _ in served.ListFields()}) == (recorded is not None)
    if recorded is None:
        return
    for field_, key in (("open", "o"), ("high", "h"), ("low", "l"), ("close", "c"), ("vwap", "vw")):
        present = field_ in {field.name for field, _ in bar.ListFields()}
        assert present == (key in recorded)
        if present:
            _compare_price(getattr(bar, field_), recorded[key])
    assert _optional(bar, "volume") == _number(recorded, "v")
    assert _optional(bar, "trade_count") == _number(recorded, "n")
    assert bar.HasField("start_time") == ("t" in recorded)
    if "t" in recorded:
        assert bar.start_time.ToNanoseconds() == nanoseconds(recorded["t"])


def _compare_day_volume(served: pb.OptionQuote, bar: Fields | None, instant: int) -> None:
    today = (
        bar is not None
        and "t" in bar
        and _new_york(nanoseconds(bar["t"])).date() == _new_york(instant).date()
    )
    expected = _number(bar, "v") if bar is not None and today else None
    assert _optional(served, "day_volume") == expected


def _compare_open_interest(served: pb.OptionQuote, contract: Fields) -> None:
    recorded = contract.get("open_interest")
    assert served.HasField("open_interest") == (recorded is not None)
    if recorded is None:
        return
    assert served.open_interest.contracts == int(recorded)
    sent = contract.get("open_interest_date")
    assert served.open_interest.HasField("date") == (sent is not None)
    if sent is not None:
        day = served.open_interest.date
        assert date(day.year, day.month, day.day) == date.fromisoformat(sent)


def _compare_price(message: Price, recorded: str) -> None:
    assert message.value == format(Decimal(recorded), "f")


def _compare_stamp(provenance: Any, recorded: Fields) -> None:
    assert provenance.HasField("event_time") == ("t" in recorded)
    if "t" in recorded:
        stamp: Timestamp = provenance.event_time
        assert stamp.ToNanoseconds() == nanoseconds(recorded["t"])


def _side(recorded: Fields | None, key: str) -> Decimal | None:
    if recorded is None or key not in recorded:
        return None
    return Decimal(recorded[key]) or None


def _number(recorded: Fields, key: str) -> int | None:
    return int(recorded[key]) if key in recorded else None


def _optional(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None
