"""What runs by itself, for the length of a block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any, TypeAlias

Start: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]
"""Starts a job, which is cancelled when the block ends."""


@asynccontextmanager
async def running_jobs() -> AsyncIterator[Start]:
    """Run jobs for as long as the block does. One that fails ends the block."""
    async with asyncio.TaskGroup() as tasks:
        jobs: set[asyncio.Task[None]] = set()

        def start(job: Coroutine[Any, Any, None]) -> None:
            # Some begin when somebody calls; what they do from then on is not done for him.
            task = tasks.create_task(job, context=Context())
            jobs.add(task)
            # Some are over in a moment, and there are ever more of them.
            task.add_done_callback(jobs.discard)

        try:
            yield start
        finally:
            for job in tuple(jobs):
                job.cancel()
