"""The side port, where the settings want one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .. import __version__
from ..market.time import format_rfc3339
from ..observe.counters import Counters
from ..observe.metrics import Metrics
from ..settings import Settings
from ..web.side_port import About, Page, pages, side_port


@asynccontextmanager
async def open_side_port(
    settings: Settings, counters: Counters, metrics: Metrics, start_time: int
) -> AsyncIterator[int | None]:
    """Tell over HTTP how it goes for the length of the block; give the port, None where the settings want none.

    Args:
        settings: where, and what is told of them.
        counters: tell whether the gateway is ready.
        metrics: the numbers.
        start_time: nanoseconds of the wall clock.

    Raises:
        OSError: the address cannot be listened on.
    """
    if settings.http_listen == "off":
        yield None
        return
    about = About(__version__, settings.environment, format_rfc3339(start_time))

    async def numbers(accept: str) -> Page:
        return Page(*await metrics.exposition(accept))

    answers = pages(about, lambda: counters.why_unready, numbers)
    async with side_port(settings.http_listen, answers) as port:
        yield port
