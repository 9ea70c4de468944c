"""Steers the sandbox that stands behind the gateway, by its control endpoint."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from itertools import islice, product
from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from .processes import BrokenMeasurement

MARKET_TIME: Final = "2026-10-01T15:00:00Z"
"""The sandbox's market stands still at 11:00 in New York on a Thursday: open, and no quote ages."""

LISTED: Final = tuple(
    f"B{''.join(letters)}" for letters in islice(product(string.ascii_uppercase, repeat=3), 1000)
)
"""1,000 made-up symbols whose quotes are pinned."""

SYMBOLS: Final = LISTED[:200]
"""As many of them as one question may name."""

_PATIENCE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What the sandbox has been asked for."""

    requests: int
    """Requests for latest quotes."""

    symbols: int
    """Symbols that they named."""

    def since(self, before: Asked) -> Asked:
        """Return what was asked after *before*."""
        return Asked(self.requests - before.requests, self.symbols - before.symbols)


class Sandbox:
    """A sandbox that listens."""

    def __init__(self, port: int) -> None:
        """Steer the sandbox that listens on *port*."""
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def pin_quotes(self) -> None:
        """Serve a quote for each of `LISTED`."""
        with closing(self._connect()) as connection:
            self._pin_quotes(connection)

    def _pin_quotes(self, connection: HTTPConnection) -> None:
        for number, symbol in enumerate(LISTED):
            record = {
                "t": f"2026-10-01T14:59:58.{number:03d}456789Z",
                "bx": "V",
                "bp": (1000 + number) / 100,
                "bs": 200,
                "ax": "Q",
                "ap": (1025 + number) / 100,
                "as": 300,
                "c": ["R"],
                "z": "C",
            }
            _exchange(connection, "PUT", f"pins/quotes/{symbol}", record)

    def list_assets(self, symbols: Sequence[str]) -> None:
        """List *symbols* as assets."""
        with closing(self._connect()) as connection:
            for symbol in symbols:
                record = {
                    "id": str(uuid5(NAMESPACE_OID, symbol)),
                    "class": "us_equity",
                    "exchange": "NASDAQ",
                    "symbol": symbol,
                    "name": symbol,
                    "status": "active",
                    "tradable": True,
                    "attributes": [],
                }
                _exchange(connection, "PUT", f"pins/assets/{symbol}", record)

    def market_time(self) -> str:
        """Return the market's time, as RFC 3339."""
        return str(self._send("GET", "clock")["market_time"])

    def requests(self) -> int:
        """Return how often it was asked for latest quotes."""
        return self.asked().requests

    def asked(self) -> Asked:
        """Return what it was asked for."""
        counters = self._send("GET", "counters")
        endpoints: Mapping[str, int] = counters["endpoints"]
        symbols: Mapping[str, int] = counters["symbols"]
        requests = sum(asked for path, asked in endpoints.items() if "quotes/latest" in path)
        return Asked(requests, sum(symbols.values()))

    def chain_requests(self) -> int:
        """Return how many pages of option chains it was asked for."""
        return self.asked_for(["/v1beta1/options/snapshots/{underlying}"])

    def asked_for(self, paths: Iterable[str]) -> int:
        """Return how often it was asked for any of *paths*."""
        endpoints: Mapping[str, int] = self._send("GET", "counters")["endpoints"]
        return sum(endpoints.get(path, 0) for path in paths)

    def delay(self, seconds: float, path: str = "/v2/stocks") -> None:
        """Answer questions about stocks, or those below another *path*, so much later."""
        self._send("POST", "faults", {"kind": "latency", "path": path, "seconds": seconds})

    def fail(self, times: int | None = None) -> None:
        """Answer so many questions about stocks with a 503; None is all of them."""
        fault = {"kind": "status", "path": "/v2/stocks", "status": 503, "times": times}
        self._send("POST", "faults", fault)

    def be_well(self) -> None:
        """Answer at once and truly again."""
        self._send("DELETE", "faults")

    def _connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)

    def _send(self, method: str, path: str, body: object = None) -> Any:
        with closing(self._connect()) as connection:
            return _exchange(connection, method, path, body)


def _exchange(connection: HTTPConnection, method: str, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body)
    connection.request(method, f"/sandbox/{path}", data)
    answer = connection.getresponse()
    said = answer.read()
    if answer.status >= HTTPStatus.BAD_REQUEST:
        msg = f"the sandbox refused {method} {path}: {said.decode(errors='replace')}"
        raise BrokenMeasurement(msg)
    return json.loads(said) if said else None
