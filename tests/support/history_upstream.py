"""Alpaca's endpoints of the past as seen over `Requests`, cut into pages as Alpaca cuts them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from tickgate_server.errors import UpstreamFailure, UpstreamRejected
from tickgate_server.market.time import parse_rfc3339
from tickgate_server.ports import Reply, Request

from .fakes import NOW, HandClock

Stamped = tuple[int, str]
"""Instant of a record, and its JSON text."""


class PagedRequests:
    """An upstream that holds series: symbol after symbol in alphabetical order, `limit` records on a page.

    As Alpaca does, it takes the end of a range as part of it, fails a request with an invalid symbol as a whole, and
    leaves out what it has nothing of.
    """

    def __init__(self, clock: HandClock, series: Mapping[str, Sequence[Stamped]]) -> None:
        """Answer with *series*, each oldest first."""
        self._clock = clock
        self.series = {symbol: list(records) for symbol, records in series.items()}
        self.invalid: set[str] = set()
        self.failure: UpstreamFailure | None = None
        self.shortened: Callable[[int], int] = lambda limit: limit
        """Turns the records that were asked for into those that a page gets; with 0 it is empty and has a token."""

        self.sent: list[Request] = []

    async def send(self, request: Request) -> Reply:
        """Answer one page."""
        self.sent.append(request)
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        body = self._page(request.path.rpartition("/")[2], request.params)
        return Reply(body, f"up-{len(self.sent)}", NOW + len(self.sent), self._clock.monotonic())

    def _page(self, kind: str, params: Mapping[str, str]) -> bytes:
        symbols = params["symbols"].split(",")
        for symbol in symbols:
            if symbol in self.invalid:
                said = f"invalid symbol: {symbol}"
                raise UpstreamRejected(f"answered 400: {said}", said=said)
        start, end = parse_rfc3339(params["start"]), parse_rfc3339(params["end"])
        rows = [
            (symbol, text)
            for symbol in sorted(symbols)
            for time, text in self._sorted(symbol, params["sort"])
            if start <= time <= end
        ]
        # Its place is its number, so a page that came twice would have the same.
        _, _, first = params.get("page_token", "t-0").partition("-")
        taken = int(first) + self.shortened(int(params["limit"]))
        found: dict[str, list[str]] = {}
        for symbol, text in islice(rows, int(first), taken):
            found.setdefault(symbol, []).append(text)
        series = ",".join(f'"{symbol}":[{",".join(texts)}]' for symbol, texts in found.items())
        # A page that would be empty gets a token of its own.
        again = len(self.sent) if taken == int(first) else 0
        token = f"{again or 't'}-{taken}" if taken < len(rows) else None
        return f'{{"{kind}":{{{series}}},"next_page_token":{json.dumps(token)}}}'.encode()

    def _sorted(self, symbol: str, sort: str) -> Sequence[Stamped]:
        records = self.series.get(symbol, [])
        return records[::-1] if sort == "desc" else records
