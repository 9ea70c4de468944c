"""StatusService."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from tickgate.v1 import error_reason_pb2
from tickgate.v1 import status_service_pb2 as pb

from ..market.provenance import DataSource, Feed, Tier
from ..market.time import NANOS
from ..observe.counters import Counters, UpstreamCounts
from . import convert
from .calls import Call
from .convert import Moment

_STATES: Final[Mapping[str, pb.UpstreamState.ValueType]] = {
    "idle": pb.UPSTREAM_STATE_IDLE,
    "up": pb.UPSTREAM_STATE_UP,
    "failing": pb.UPSTREAM_STATE_FAILING,
    "unauthenticated": pb.UPSTREAM_STATE_UNAUTHENTICATED,
}


class CountedTier(Protocol):
    """A tier that counts what it did."""

    hits: int
    misses: int

    def __len__(self) -> int:
        """Return the number of values held."""
        ...


class About(Struct, frozen=True):
    """What a gateway is."""

    version: str
    environment: str
    source: DataSource
    default_stock_feed: Feed
    start_time: int
    """Nanoseconds of the wall clock."""


class StatusServicer:
    """Answers StatusService from counters; asks nobody."""

    def __init__(
        self,
        about: About,
        counters: Counters,
        memories: Sequence[CountedTier],
        moment: Callable[[str], Moment],
    ) -> None:
        """Report *counters* and *memories*; *moment* makes the moment of one call's answer."""
        self._about = about
        self._counters = counters
        self._memories = memories
        self._moment = moment

    async def GetStatus(self, _: pb.GetStatusRequest, call: Call) -> bytes:  # noqa: N802
        """Answer with the state of the gateway."""
        moment = self._moment(call.request_id)
        message = pb.GetStatusResponse(
            version=self._about.version,
            environment=self._about.environment,
            source=convert.SOURCES[self._about.source],
            default_stock_feed=convert.FEEDS[self._about.default_stock_feed],
            start_time=convert.timestamp(self._about.start_time),
            serve_time=convert.timestamp(moment.wall),
            market_time=convert.timestamp(moment.market),
            upstreams=[
                _upstream(*key, counts) for key, counts in sorted(self._counters.upstreams.items())
            ],
            tiers=[self._memory()],
            refusals=[
                pb.RefusalCount(rule=rule, count=count)
                for rule, count in sorted(self._counters.refusals.items())
            ],
            calls_in_flight=self._counters.calls_in_flight,
        )
        if moment.session is not None:
            message.market_session = convert.SESSIONS[moment.session]
        return message.SerializeToString()

    def _memory(self) -> pb.TierStatus:
        return pb.TierStatus(
            tier=convert.TIERS[Tier.MEMORY],
            state=pb.TIER_STATE_UP,
            entries=sum(len(memory) for memory in self._memories),
            hits=sum(memory.hits for memory in self._memories),
            misses=sum(memory.misses for memory in self._memories),
        )


def _upstream(upstream: str, group: str, counts: UpstreamCounts) -> pb.UpstreamStatus:
    message = pb.UpstreamStatus(
        upstream=upstream,
        group=group,
        state=_STATES[counts.state],
        requests=counts.requests,
        failures=counts.failures,
        in_flight=counts.in_flight,
    )
    if counts.last_success_time is not None:
        message.last_success_time.CopyFrom(convert.timestamp(counts.last_success_time))
    if counts.last_failure_time is not None:
        message.last_failure_time.CopyFrom(convert.timestamp(counts.last_failure_time))
    if counts.last_failure_reason is not None:
        message.last_failure_reason = error_reason_pb2.ErrorReason.Value(
            f"ERROR_REASON_{counts.last_failure_reason}"
        )
    if counts.last_latency is not None:
        message.last_latency.CopyFrom(convert.duration(int(counts.last_latency * NANOS)))
    return message
