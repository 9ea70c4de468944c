"""Steers the sandbox that stands behind the gateway, by its control endpoint."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any, Final

from .processes import BrokenMeasurement

MARKET_TIME: Final = "2026-10-01T15:00:00Z"
"""The sandbox's market stands still at 11:00 in New York on a Thursday: open, and no quote ages."""

SYMBOLS: Final = tuple(
    f"B{first}{second}" for first in "ABCDEFGH" for second in string.ascii_uppercase[:25]
)
"""200 made-up symbols whose quotes are pinned."""

_PATIENCE: Final = 5.0


class Sandbox:
    """A sandbox that listens."""

    def __init__(self, port: int) -> None:
        """Steer the sandbox that listens on *port*."""
        self._port = port
        self.url = f"http://127.0.0.1:{port}"

    def pin_quotes(self) -> None:
        """Serve a quote for each of `SYMBOLS`."""
        for number, symbol in enumerate(SYMBOLS):
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
            self._send("PUT", f"pins/quotes/{symbol}", record)

    def requests(self) -> int:
        """Return how often it was asked for latest quotes."""
        endpoints: Mapping[str, int] = self._send("GET", "counters")["endpoints"]
        return sum(asked for path, asked in endpoints.items() if "quotes/latest" in path)

    def delay(self, seconds: float) -> None:
        """Answer questions about stocks so much later."""
        self._send("POST", "faults", {"kind": "latency", "path": "/v2/stocks", "seconds": seconds})

    def be_quick(self) -> None:
        """Answer at once again."""
        self._send("DELETE", "faults")

    def _send(self, method: str, path: str, body: object = None) -> Any:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, f"/sandbox/{path}", data)
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        if answer.status >= HTTPStatus.BAD_REQUEST:
            msg = f"the sandbox refused {method} {path}: {said.decode(errors='replace')}"
            raise BrokenMeasurement(msg)
        return json.loads(said) if said else None
