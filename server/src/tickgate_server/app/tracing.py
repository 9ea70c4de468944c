"""Traces, as the settings want them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .. import __version__
from ..observe.spans import Tracer
from ..settings import Settings


@asynccontextmanager
async def tracer(settings: Settings) -> AsyncIterator[Tracer | None]:
    """Give what traces calls for the length of the block; None where nobody wants traces."""
    if not settings.traces.endpoint:
        yield None
        return
    # Without a collector its libraries need not be loaded, which takes a while.
    from ..observe.traces import TracePolicy, tracing  # noqa: PLC0415

    policy = TracePolicy(
        settings.traces.endpoint, settings.traces.share, __version__, settings.environment
    )
    async with tracing(policy) as traces:
        yield traces
