"""Counters as plain integers: counting must cost nothing on a hot path, and whoever exports reads them."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

UpstreamState = Literal["idle", "up", "failing", "unauthenticated"]


class UpstreamCounts(Struct):
    """What became of the requests to one group of upstream endpoints."""

    state: UpstreamState = "idle"
    """Judged by the last answer."""

    requests: int = 0
    failures: int = 0
    in_flight: int = 0
    last_success_time: int | None = None
    """Nanoseconds of the wall clock."""

    last_failure_time: int | None = None
    last_failure_reason: str | None = None
    """Name of a `Reason`."""

    last_latency: float | None = None
    """Seconds."""


class Counters:
    """All counters of one gateway."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.upstreams: dict[tuple[str, str], UpstreamCounts] = {}
        self.refusals: dict[str, int] = {}
        """Upstream records refused, by rule."""

        self.calls_in_flight = 0

    def upstream(self, upstream: str, group: str) -> UpstreamCounts:
        """Return the counters of *group* at *upstream*, which exist from the first time they are asked for."""
        return self.upstreams.setdefault((upstream, group), UpstreamCounts())
