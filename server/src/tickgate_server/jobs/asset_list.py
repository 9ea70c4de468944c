"""The job that keeps the list of assets at hand."""

from __future__ import annotations

import asyncio

from ..errors import UpstreamFailure
from ..ports import Clock, ReferenceSource


async def keep_assets(
    reference: ReferenceSource, clock: Clock, *, every: float, retry_after: float, patience: float
) -> None:
    """Ask for the list of assets, at once and whenever it has grown old, until cancelled.

    A caller who needs the list waits for it only briefly, and a load that nobody waits for is called back: somebody
    with patience has to ask.

    Args:
        reference: keeps what it has loaded for *every* seconds.
        clock: measures the patience.
        every: seconds after which the list has grown old.
        retry_after: seconds until the next attempt when it cannot be had.
        patience: seconds that one attempt may take.
    """
    while True:
        try:
            await reference.assets(clock.monotonic() + patience)
        except UpstreamFailure:
            await asyncio.sleep(retry_after)
        else:
            await asyncio.sleep(every)
