"""Longer bars out of shorter ones: hours out of minutes, weeks and months out of days."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from itertools import groupby

import msgspec

from ..bars import in_plain_digits
from ..market import Due
from ..timestamps import render


class BarFields(msgspec.Struct, gc=False):
    """A bar in Alpaca's words; old recordings lack `n` and `vw`."""

    t: str
    o: Decimal
    h: Decimal
    l: Decimal  # noqa: E741  (the key on the wire)
    c: Decimal
    v: int
    n: int | msgspec.UnsetType = msgspec.UNSET
    vw: Decimal | msgspec.UnsetType = msgspec.UNSET


_BARS = msgspec.json.Decoder(list[BarFields])
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def read_bars(records: Iterable[bytes]) -> list[BarFields]:
    """Return the fields of bars."""
    return _BARS.decode(b"[" + b",".join(records) + b"]")


def combine(bars: Sequence[Due], start_of: Callable[[int], int]) -> list[Due]:
    """Return the bars that *bars* add up to, oldest first.

    Args:
        bars: Start and text, oldest first.
        start_of: Gives the start of the longer interval that an instant lies in.
    """
    fields = read_bars(record for _, record in bars)
    starts = [start_of(start) for start, _ in bars]
    pairs = zip(starts, fields, strict=True)
    return [
        (start, add_up(start, [bar for _, bar in group]))
        for start, group in groupby(pairs, lambda pair: pair[0])
    ]


def add_up(
    start: int, bars: Sequence[BarFields], priced: Sequence[BarFields] | None = None
) -> bytes:
    """Return the bar that begins at *start* and in which *bars* are added up.

    The number of trades and the average price are left out where one of *bars* lacks them: a
    part of them would be a wrong number.

    Args:
        start: When the interval begins.
        bars: The bars in it, one at least; they make volume, trades and average price.
        priced: Those of them that make the prices; None means all of them.
    """
    priced = bars if priced is None else priced
    return _ENCODER.encode(
        BarFields(
            t=render(start),
            o=priced[0].o,
            h=max(bar.h for bar in priced),
            l=min(bar.l for bar in priced),
            c=priced[-1].c,
            v=sum(bar.v for bar in bars),
            n=_count(bars),
            vw=_average(bars),
        )
    )


def _count(bars: Sequence[BarFields]) -> int | msgspec.UnsetType:
    counts = [bar.n for bar in bars if bar.n is not msgspec.UNSET]
    return sum(counts) if len(counts) == len(bars) else msgspec.UNSET


def _average(bars: Sequence[BarFields]) -> Decimal | msgspec.UnsetType:
    weighed = [(bar.vw, bar.v) for bar in bars if bar.vw is not msgspec.UNSET]
    volume = sum(shares for _, shares in weighed)
    if len(weighed) < len(bars) or not volume:
        return msgspec.UNSET
    return in_plain_digits(sum(price * shares for price, shares in weighed) / Decimal(volume))
