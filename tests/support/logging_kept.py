"""Logging that a test may configure as it likes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Leave the process's logging, at the end of the block, as it was found."""
    root, ours = logging.getLogger(), logging.getLogger("tickgate_server")
    handlers, configured = root.handlers[:], structlog.get_config()
    levels = {logger: logger.level for logger in (root, ours)}
    configure = structlog.configure
    with pytest.MonkeyPatch.context() as patch:
        # A logger that has kept how it was configured keeps it for ever, and hides its events from later tests.
        patch.setattr(
            structlog,
            "configure",
            lambda **given: configure(**given | {"cache_logger_on_first_use": False}),
        )
        yield
    root.handlers = handlers
    for logger, level in levels.items():
        logger.setLevel(level)
    structlog.configure(**configured)
