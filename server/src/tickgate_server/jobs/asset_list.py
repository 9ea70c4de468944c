"""The job that keeps the list of assets at hand."""

from __future__ import annotations

import asyncio

import structlog

from ..errors import UpstreamFailure
from ..market.asset import AssetList
from ..ports import Clock, ReferenceSource

_log = structlog.get_logger(__name__)


class AssetKeeper:
    """Asks for the list of assets, at once and whenever it has grown old.

    A caller who needs the list waits for it only briefly, and a load that nobody waits for is called back: somebody
    with patience has to ask.
    """

    def __init__(
        self,
        reference: ReferenceSource,
        clock: Clock,
        *,
        every: float,
        retry_after: float,
        patience: float,
    ) -> None:
        """Set the times, in seconds.

        Args:
            reference: keeps what it has loaded for *every* seconds, and longer while it cannot be loaded anew.
            clock: measures the patience.
            every: when the list has grown old.
            retry_after: until the next attempt when it could not be had.
            patience: how long one attempt may take.
        """
        self._reference = reference
        self._clock = clock
        self._every = every
        self._retry_after = retry_after
        self._patience = patience
        self._seen: AssetList | None = None

    async def try_load(self, patience: float) -> bool:
        """Ask for the list within *patience* seconds and tell whether a new one came; a failure is only logged."""
        try:
            found = await self._reference.assets(self._clock.monotonic() + patience)
        except UpstreamFailure as failure:
            _log.warning("assets_unavailable", reason=failure.reason.name, message=failure.message)
            return False
        except Exception:  # noqa: BLE001 - a fault of ours must not take down what can still answer
            _log.exception("assets_failed")
            return False
        # The old list is served on while a new one cannot be had.
        is_new = found is not self._seen
        self._seen = found
        return is_new

    async def run(self) -> None:
        """Keep asking until cancelled, the first time after one pause."""
        pause = self._retry_after if self._seen is None else self._every
        while True:
            await asyncio.sleep(pause)
            pause = self._every if await self.try_load(self._patience) else self._retry_after
