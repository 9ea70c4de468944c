"""What the demo shows something with, and how it finds out that something is not as promised."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.request import Request, urlopen

from rich.console import Console, RenderableType
from rich.rule import Rule
from rich.text import Text

import tickgate

from ..embedded import RedisServer
from ..programs import Program

SYMBOLS: Final = ("AAPL", "GOOGL", "MSFT", "TSLA", "AMZN")
"""What the sandbox's synthetic market trades."""

BEGINS_AT: Final = "2026-10-01T15:00:00Z"
"""Market time of the demo, a Thursday at 11:00 New York: the market is open whenever the demo runs."""

PATIENCE: Final = 15.0
"""Seconds within which something must come about that needs a moment."""

Value = TypeVar("Value")


class NotAsPromised(Exception):
    """Something came out otherwise than the demo says; the message tells what."""


class Market:
    """The sandbox, steered: it was started by this program and listens on loopback."""

    def __init__(self, program: Program) -> None:
        self.address = program.address
        self._program = program

    def end(self) -> None:
        """Be there no more."""
        self._program.stop()

    def asked(self, below: str = "/v2/stocks") -> int:
        """Return how many requests *below* a path it has counted; for stocks, if it is not named."""
        endpoints = json.loads(self._send("GET", "counters"))["endpoints"]
        return sum(count for path, count in endpoints.items() if path.startswith(below))

    def pin(self, kind: str, symbol: str, record: dict[str, Any]) -> None:
        """Serve *record* as the latest of *kind*, "quotes" or "trades"."""
        self._send("PUT", f"pins/{kind}/{symbol}", record)

    def fail(self) -> None:
        """Answer every question for stocks with 503 from now on."""
        self._send("POST", "faults", {"kind": "status", "status": 503, "path": "/v2/stocks"})

    def recover(self) -> None:
        """Answer truly again."""
        self._send("DELETE", "faults")

    def run(self, speed: float) -> None:
        """Let market time pass at *speed*, or stand still at 0."""
        self._send("PUT", "clock", {"speed": speed})

    def say(self, message: dict[str, Any]) -> None:
        """Send *message* to whoever follows its symbol."""
        self._send("POST", "stream/messages", [message])

    def hang_up(self) -> None:
        """Cut off every connection to a live feed."""
        self._send("POST", "stream/faults", {"kind": "drop"})

    def followed(self) -> dict[str, Any]:
        """Return what the sandbox has counted of its live feeds."""
        counted: dict[str, Any] = json.loads(self._send("GET", "counters"))["stream"]
        return counted

    def _send(self, method: str, path: str, body: object = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        address = f"http://{self.address}/sandbox/{path}"
        with urlopen(Request(address, data=data, method=method)) as response:
            answer: bytes = response.read()
            return answer


@dataclass(frozen=True)
class Stage:
    """All that the demo shows something with."""

    console: Console
    market: Market
    redis: RedisServer
    gateway: Program
    client: tickgate.SyncClient
    """Of the first gateway."""

    other: tickgate.SyncClient
    """Of the second gateway, which shares Redis and PostgreSQL with the first."""

    def title(self, text: str) -> None:
        """Begin a part."""
        self.console.print()
        self.console.print(Rule(text, align="left"))

    def show(self, *parts: RenderableType) -> None:
        """Print tables."""
        for part in parts:
            self.console.print(part)

    def tell(self, text: str) -> None:
        """Print a sentence as it is."""
        self.console.print(Text(text))


def promise(kept: object, otherwise: str) -> None:
    """Fail the demo, saying what came out *otherwise*, unless the promise was kept."""
    if not kept:
        raise NotAsPromised(otherwise)


def until(look: Callable[[], Value | None], otherwise: str) -> Value:
    """Return what *look* finds, within a moment."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise NotAsPromised(otherwise)


def refused(ask: Callable[[], object], otherwise: str) -> tickgate.DataUnavailableError:
    """Return how *ask* was refused."""
    try:
        ask()
    except tickgate.DataUnavailableError as refusal:
        return refusal
    raise NotAsPromised(otherwise)
