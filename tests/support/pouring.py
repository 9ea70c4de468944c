"""A market that goes on sending while a test does something else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from .market import Market


@contextmanager
def pouring(
    address: str, records: Callable[[int], list[dict[str, Any]]], every: float = 0.0
) -> Iterator[None]:
    """Let the sandbox at *address* send *records* of 1, 2, 3 … for the length of the block, from a thread.

    Args:
        address: of the sandbox.
        records: makes what is sent at once, by its number.
        every: seconds between; 0 sends as fast as the sandbox takes it.
    """
    stopped = threading.Event()

    def send() -> None:
        market = Market(address)
        for number in count(1):
            if stopped.wait(every):
                break
            market.post("stream/messages", records(number))
        market.close()

    sending = threading.Thread(target=send)
    sending.start()
    try:
        yield
    finally:
        stopped.set()
        sending.join()
