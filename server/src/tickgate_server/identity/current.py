"""For whom something is done."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from .consumer import ANYBODY, Consumer

CALLER: Final[ContextVar[Consumer]] = ContextVar("caller", default=ANYBODY)
"""The consumer whose call is being answered; `ANYBODY` also for what the gateway does by itself.

A task has the context of whoever began it: what several callers share is charged to the first who asked.
"""
