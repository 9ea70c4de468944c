"""What a sandbox can be told, and how it refuses what makes no sense."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from .calendar import FIRST_DAY, LAST_DAY, ExchangeCalendar
from .clock import check_speed
from .timestamps import parse

SHORTEST_STEP = 0.1
"""Seconds; a shorter one would make a day of synthetic prices slow to draw."""


class SettingsError(ValueError):
    """A setting makes no sense; the message says which and why."""


class Plan(StrEnum):
    """Alpaca's data plans. A plan decides which feeds may be asked for."""

    BASIC = "basic"
    """Free: IEX in real time, all exchanges only 15 minutes late."""
    PLUS = "plus"
    """Algo Trader Plus: every feed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """How a sandbox behaves. Wrong values are refused when it is made."""

    listen: str = "127.0.0.1:50080"
    """Address as `host:port`; port 0 takes a free one."""
    replay: Path | None = None
    """Folder of recordings; unset, the market is synthetic."""
    symbols: tuple[str, ...] = ()
    """The symbols to offer; none means all there are. Named recordings are read at the start."""
    at: str | None = None
    """Market time at the start, RFC 3339. Unset, a replay starts at 10:00 New York of its
    newest day, and a synthetic market now."""
    shift_to_now: bool = False
    """Move the recordings so that the instant of `at` is now."""
    speed: float = 1.0
    """Market seconds per real second; 0 freezes market time."""
    max_records: int | None = None
    """Read at most this many lines of each file of quotes or trades."""
    step: float = 3.0
    """Seconds of market time between two synthetic updates of a symbol."""
    seed: int = 0
    """Another seed gives another synthetic market."""
    plan: Plan = Plan.BASIC
    """The data plan that the account is on."""
    rate_limit: int | None = None
    """Requests a minute, for the data and the trading API each; unset, no limit."""
    connections: int = 1
    """Stream connections to each feed; 0 sets no limit."""
    auth_timeout: float = 10.0
    """Seconds that a stream connection has to authenticate."""
    key_id: str | None = None
    """The only key that is accepted; unset, any is."""
    secret: str | None = field(default=None, repr=False)
    """The secret of `key_id`."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SettingsError: one of them makes no sense.
        """
        self.address  # noqa: B018  (raises when it is none)
        self.start  # noqa: B018
        try:
            check_speed(self.speed)
        except ValueError as error:
            raise SettingsError(str(error)) from error
        if not math.isfinite(self.step) or self.step < SHORTEST_STEP:
            raise SettingsError(f"step is {SHORTEST_STEP} seconds or more, not {self.step}")
        if self.max_records is not None and self.max_records < 1:
            raise SettingsError(f"max_records is 1 or more, not {self.max_records}")
        if self.rate_limit is not None and self.rate_limit < 1:
            raise SettingsError(f"rate_limit is 1 or more a minute, not {self.rate_limit}")
        if self.connections < 0:
            raise SettingsError(f"connections is 0 or more a feed, not {self.connections}")
        if not math.isfinite(self.auth_timeout) or self.auth_timeout <= 0:
            raise SettingsError(f"auth_timeout is more than 0 seconds, not {self.auth_timeout}")
        if (self.key_id is None) != (self.secret is None):
            raise SettingsError("key_id and secret are given together or not at all")
        if self.shift_to_now and self.replay is None:
            raise SettingsError("shift_to_now moves recordings: name their folder with replay")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on.

        Raises:
            SettingsError: `listen` is not `host:port`.
        """
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise SettingsError(f"listen is host:port such as 127.0.0.1:0, not {self.listen!r}")
        return host.strip("[]"), int(port)

    @property
    def start(self) -> int | None:
        """The instant of `at` in nanoseconds since the epoch, or None when unset.

        Raises:
            SettingsError: `at` is no RFC 3339 time, or outside the calendar's years.
        """
        if self.at is None:
            return None
        try:
            instant = parse(self.at)
        except ValueError as error:
            raise SettingsError(f"at: {error}") from error
        if not ExchangeCalendar().covers(instant):
            raise SettingsError(f"at lies between {FIRST_DAY} and {LAST_DAY}, not at {self.at}")
        return instant
