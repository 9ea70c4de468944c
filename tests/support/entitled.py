"""An upstream whose plan covers some feeds and not others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from tickgate_server.errors import NotEntitled, UpstreamFailure
from tickgate_server.market.provenance import Feed
from tickgate_server.ports import Reply, Request

from .fakes import NOW, HandClock

SAID = "subscription does not permit querying recent data"


class PlanRequests:
    """Alpaca's data API as seen over `Requests`: holds a quote of AAPL on each feed that the plan covers."""

    def __init__(self, clock: HandClock, covered: Iterable[Feed] = (Feed.IEX,)) -> None:
        self._clock = clock
        self.covered = set(covered)
        self.outages: dict[Feed, UpstreamFailure] = {}
        """Feeds that cannot be asked now, and why."""

        self.sent: list[Request] = []
        self.open = asyncio.Event()
        """What is asked on a silent feed waits until it is set."""

        self.silent: set[Feed] = set()

    @property
    def feeds_asked(self) -> list[Feed]:
        """The feed of each request."""
        return [Feed(request.params["feed"]) for request in self.sent]

    async def send(self, request: Request) -> Reply:
        """Answer one request."""
        self.sent.append(request)
        feed = Feed(request.params["feed"])
        if feed in self.silent:
            await self.open.wait()
        if feed in self.outages:
            raise self.outages[feed]
        if feed not in self.covered:
            raise NotEntitled(f"answered 403: {SAID}", said=SAID, about_feed=True)
        body = (
            b'{"quotes":{"AAPL":{"t":"2026-10-01T15:00:00Z","bp":10.00,"bs":1,"ap":10.02,"as":1}}}'
        )
        return Reply(body, "up", NOW, self._clock.monotonic())
