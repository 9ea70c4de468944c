"""Records as Alpaca's stream sends them, stamped at the instant at which `running`'s market stands still."""

from __future__ import annotations

from typing import Any

from .running import Stack

AT = "2026-10-01T15:00:00Z"

Record = dict[str, Any]


def a_quote(symbol: str = "AAPL", bid: float = 228.9, ask: float = 228.92, **other: Any) -> Record:
    """A quote."""
    return {"T": "q", "S": symbol, "bx": "V", "bp": bid, "bs": 3, "ax": "Q", "ap": ask, "as": 4,
            "c": ["R"], "z": "C", "t": AT} | other  # fmt: skip


def a_trade(symbol: str = "AAPL", price: float = 228.91, **other: Any) -> Record:
    """A trade."""
    return {"T": "t", "S": symbol, "i": 7, "x": "V", "p": price, "s": 50, "c": ["@", "I"], "z": "C",
            "t": AT} | other  # fmt: skip


def a_bar(symbol: str = "AAPL", kind: str = "b", **other: Any) -> Record:
    """A bar: of a minute, revised ("u"), or of the day so far ("d")."""
    return {"T": kind, "S": symbol, "o": 228.9, "h": 229.1, "l": 228.8, "c": 229, "v": 1200, "n": 12,
            "vw": 228.95, "t": "2026-10-01T14:59:00Z"} | other  # fmt: skip


def a_status(symbol: str = "AAPL", code: str = "H", **other: Any) -> Record:
    """A halt, or what ends it ("T")."""
    return {"T": "s", "S": symbol, "sc": code, "sm": "Trading Halt", "rc": "T12",
            "rm": "News pending", "z": "C", "t": AT} | other  # fmt: skip


def some_bands(symbol: str = "AAPL", **other: Any) -> Record:
    """Price bands."""
    return {"T": "l", "S": symbol, "u": 240.5, "d": 217.25, "i": "B", "z": "C", "t": AT} | other


def a_correction(symbol: str = "AAPL", **other: Any) -> Record:
    """A correction of a trade."""
    return {"T": "c", "S": symbol, "x": "V", "oi": 7, "op": 228.91, "os": 50, "oc": ["@"], "ci": 8,
            "cp": 228.9, "cs": 40, "cc": ["@", "I"], "z": "C", "t": AT} | other  # fmt: skip


def a_cancellation(symbol: str = "AAPL", **other: Any) -> Record:
    """A cancellation of a trade."""
    return {"T": "x", "S": symbol, "i": 8, "x": "V", "p": 228.9, "s": 40, "a": "C", "z": "C",
            "t": AT} | other  # fmt: skip


async def push(stack: Stack, *records: Record, feed: str = "iex") -> None:
    """Send *records* in one frame to the gateway, which has subscribed to them."""
    assert await stack.sandbox.stream.push(records, feed=feed) == 1
