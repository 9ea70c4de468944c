"""Links to real servers, with limits that suit a test, and what tests put between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from tickgate_server.observe.counters import TierCounts
from tickgate_server.ports import Clock
from tickgate_server.stores.redis.link import LinkLimits, RedisLink
from tools.embedded.process import Place
from tools.embedded.redis import RedisServer

from .fakes import HandClock

PATIENT = LinkLimits(timeout=20.0, check_every=0.01, connections=20)
"""No busy machine takes as long, so that a test which waits for it has found a fault."""

HASTY = LinkLimits(timeout=0.05, check_every=0.01, connections=20)
"""For servers that do not answer."""


@asynccontextmanager
async def link_to(
    url: str,
    limits: LinkLimits = PATIENT,
    counts: TierCounts | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[RedisLink]:
    """Lend a link to *url*, which is closed afterwards."""
    link = RedisLink(url, limits, counts or TierCounts(), clock or HandClock())
    try:
        yield link
    finally:
        await link.close()


@asynccontextmanager
async def kept_up(link: RedisLink) -> AsyncIterator[None]:
    """Let the job of *link* run during the block."""
    job = asyncio.create_task(link.run())
    try:
        yield
    finally:
        job.cancel()
        with suppress(asyncio.CancelledError):
            await job


class SentinelServer(RedisServer):
    """Watches a Redis that it calls "prices", and puts a replica in its place when it is gone."""

    def __init__(self, place: Place, watched: RedisServer) -> None:
        """Watch *watched*, which it takes for gone after a fifth of a second."""
        super().__init__(place)
        self._watched = watched

    def _command(self) -> Sequence[str | Path]:
        program, *_ = super()._command()
        file = self.folder / "sentinel.conf"
        file.write_text(
            f"""
            bind 127.0.0.1
            port {self.port}
            dir {self.folder}
            sentinel monitor prices 127.0.0.1 {self._watched.port} 1
            sentinel down-after-milliseconds prices 200
            """
        )
        return [program, file, "--sentinel"]


@contextmanager
def sentinel_server(watched: RedisServer) -> Iterator[SentinelServer]:
    """Run a Sentinel that watches *watched* for as long as the block does."""
    with Place("sentinel") as place:
        server = SentinelServer(place, watched)
        server.start()
        try:
            yield server
        finally:
            server.kill()
