"""How late the event loop is, as the gateway tells it."""

from __future__ import annotations

import asyncio
import time

from tickgate_server.jobs.loop_lag import LoopLag
from tickgate_server.observe.counters import Counters

from ...support.waiting import until

HELD_UP = 0.3
"""Seconds for which the loop gives nobody a turn."""


async def test_a_loop_that_was_held_up_is_late() -> None:
    """What holds up the loop shows in the counters as the seconds by which others came too late."""
    counters = Counters()
    watching = asyncio.create_task(LoopLag(counters).run())
    await asyncio.sleep(0)
    time.sleep(HELD_UP)  # noqa: ASYNC251 - to hold it up is the point
    await until(lambda: counters.loop_lag > 0)
    watching.cancel()

    # It would have been asked for a turn after a tenth of a second.
    assert counters.loop_lag >= HELD_UP - 0.1 - 0.01
