"""The channels of Alpaca's streams, and the shape that a record has on them."""

from __future__ import annotations

from typing import Final

Pair = tuple[str, str]
"""A channel and a symbol: what can be subscribed to."""

TYPES: Final = {
    "trades": "t",
    "quotes": "q",
    "bars": "b",
    "updatedBars": "u",
    "dailyBars": "d",
    "statuses": "s",
    "lulds": "l",
    "corrections": "c",
    "cancelErrors": "x",
    "imbalances": "i",
}
"""By channel, the value of `T` in its records."""

CHANNELS: Final = {kind: channel for channel, kind in TYPES.items()}
"""By value of `T`, the channel."""

PLAYED: Final = frozenset({"trades", "quotes", "bars", "dailyBars"})
"""Channels of which a market has records; the others have only what a test pushes."""

WITH_TRADES: Final = ("corrections", "cancelErrors")
"""Channels that come with `trades` and cannot be subscribed to."""


def stream_record(channel: str, symbol: str, record: bytes) -> bytes:
    """Return a REST *record* as the stream shows it: type and symbol first, the rest verbatim."""
    return b'{"T":"%s","S":"%s",%s' % (
        TYPES[channel].encode(),
        symbol.encode(),
        record.lstrip().removeprefix(b"{"),
    )
