"""Live values as the records that Alpaca sends: a line of JSON each, exact to the digit and the nanosecond.

A side without an order is what Alpaca makes of it, a price of zero; what was not sent is not written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from ....market.bar import Bar
from ....market.quote import Quote, QuoteSide
from ....market.time import format_rfc3339
from ....market.trade import Trade

_NO_EXCHANGE: Final = '" "'
_NO_SIDE: Final = ("0", "0")


def quote_line(quote: Quote) -> str:
    """Return *quote* as a record of the stream."""
    bid, ask = _side(quote.bid), _side(quote.ask)
    return _object(
        T='"q"', S=_text(quote.symbol),
        bx=bid[0], bp=bid[1], bs=bid[2],
        ax=ask[0], ap=ask[1], **{"as": ask[2]},
        c=_texts(quote.conditions), t=_time(quote.event_time), z=_text(quote.tape),
    )  # fmt: skip


def trade_line(trade: Trade) -> str:
    """Return *trade* as a record of the stream."""
    return _object(
        T='"t"', S=_text(trade.symbol), i=_count(trade.id), x=_text(trade.exchange),
        p=_price(trade.price), s=_count(trade.size),
        c=_texts(trade.conditions), t=_time(trade.event_time), z=_text(trade.tape),
    )  # fmt: skip


def bar_text(bar: Bar) -> str:
    """Return *bar* as it stands in an answer, which does not name its symbol."""
    return _object(
        t=_time(bar.event_time), o=_price(bar.open), h=_price(bar.high), l=_price(bar.low),
        c=_price(bar.close), v=_count(bar.volume), n=_count(bar.trade_count),
        vw=None if bar.vwap is None else _price(bar.vwap),
    )  # fmt: skip


def _side(side: QuoteSide | None) -> tuple[str | None, str, str | None]:
    if side is None:
        return (_NO_EXCHANGE, *_NO_SIDE)
    return _text(side.exchange), _price(side.price), _count(side.size)


def _price(price: Decimal) -> str:
    # Without zeros that say nothing, as a double is written: 498.30 came as 498.3.
    text = f"{price:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _count(number: int | None) -> str | None:
    return None if number is None else str(number)


def _time(instant: int | None) -> str | None:
    return None if instant is None else f'"{format_rfc3339(instant)}"'


def _text(text: str | None) -> str | None:
    return None if text is None else json.dumps(text)


def _texts(texts: tuple[str, ...]) -> str | None:
    return json.dumps(texts, separators=(",", ":")) if texts else None


def _object(**fields: str | None) -> str:
    given: Mapping[str, str] = {name: value for name, value in fields.items() if value is not None}
    return "{" + ",".join(f'"{name}":{value}' for name, value in given.items()) + "}"
