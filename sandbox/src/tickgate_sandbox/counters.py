"""What clients have asked of the sandbox."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .stream.counters import StreamCounters


@dataclass(slots=True)
class Counters:
    """Requests since the start or the last `clear`; control requests are not counted.

    A request is counted when it arrives, its status when it is answered. So a request that
    hangs or is reset stands in every count but `statuses`.
    """

    requests: int = 0
    """All of them, refused and failed ones included."""
    endpoints: Counter[str] = field(default_factory=Counter)
    """By path template, `/v2/stocks/{symbol}/quotes/latest` for one; others as `unknown`."""
    symbols: Counter[str] = field(default_factory=Counter)
    """By symbol asked for, once for each request that named it."""
    statuses: Counter[int] = field(default_factory=Counter)
    """By HTTP status of the answer."""
    stream: StreamCounters = field(default_factory=StreamCounters)
    """What happened on the stream; its handshakes are no requests."""

    def arrived(self, endpoint: str, symbols: set[str]) -> None:
        """Count a request for *symbols* at *endpoint*."""
        self.requests += 1
        self.endpoints[endpoint] += 1
        self.symbols.update(symbols)

    def clear(self) -> None:
        """Start again from zero."""
        self.requests = 0
        self.endpoints.clear()
        self.symbols.clear()
        self.statuses.clear()
        self.stream.clear()

    def as_json(self) -> dict[str, Any]:
        """Return the counts as the control endpoint shows them."""
        return {
            "requests": self.requests,
            "endpoints": dict(self.endpoints),
            "symbols": dict(self.symbols),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "stream": self.stream.as_json(),
        }
