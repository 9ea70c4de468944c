"""How both clients reach the gateway: what is retried, and what every call is sent with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Trailers = Iterable[tuple[str, str | bytes]]
    """What ends a call, in the form of either gRPC API."""

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 5.0

SERVICE_CONFIG: dict[str, Any] = {
    "methodConfig": [
        {
            "name": [
                {"service": "tickgate.v1.QuoteService"},
                {"service": "tickgate.v1.OptionService"},
                {"service": "tickgate.v1.ReferenceService"},
                {"service": "tickgate.v1.StatusService"},
                {"service": "tickgate.v1.AdminService"},
                {"service": "tickgate.v1.HistoryService"},
            ],
            # An unreachable gateway is reported at once, not when the deadline has passed. A call
            # still waits for a connection that is being made.
            "waitForReady": False,
            # A chain that is streamed is tried again only while nothing of it has come.
            #
            # UNAVAILABLE alone: no connection, or a gateway that is stopping while another replica
            # answers. Where the gateway knows better it sends `grpc-retry-pushback-ms`: a delay
            # instead of the backoff, or a negative number, which stops gRPC from trying again.
            #
            # RESOURCE_EXHAUSTED is left out on purpose. gRPC cannot be told to retry a status only
            # on a pushback: listed, it would also retry a proxy's rate limit, 50 ms later, against
            # the very limit. And it sits out a pushback beyond the deadline, so that the caller
            # would get DEADLINE_EXCEEDED instead of the delay. `RateLimited.retry_delay` says it.
            "retryPolicy": {
                "maxAttempts": 2,
                "initialBackoff": "0.05s",  # gRPC spreads it by 20 % either way
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        },
        {
            # A stream is never retried by gRPC, which could not know what was read of it: the
            # client connects again by itself, and resumes.
            "name": [
                {"service": "tickgate.v1.StreamService"},
                {"service": "tickgate.v1.HistoryService", "method": "StreamBars"},
                {"service": "tickgate.v1.HistoryService", "method": "StreamTrades"},
                {"service": "tickgate.v1.HistoryService", "method": "StreamQuotes"},
            ],
            "waitForReady": False,
        },
    ],
    # Each failure takes a token and each success gives back a tenth; below half there are no
    # retries. So a gateway in trouble sees at most a tenth more calls because of them.
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}

OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)
"""Option of a channel that shares no connection with others of the same target."""


def channel_options(extra: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Options of a channel; *extra* come last, so that they win."""
    return [("grpc.service_config", json.dumps(SERVICE_CONFIG)), *extra]


def common_metadata(metadata: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Metadata as gRPC takes it; keys in lower case, which it insists on."""
    return tuple((key.lower(), value) for key, value in (metadata or {}).items())


def upstream_remaining(trailers: Trailers | None) -> int | None:
    """What the gateway says is left of its budget for market data, None where it says nothing."""
    for key, value in trailers or ():
        if key == "x-upstream-remaining":
            # Whatever stands in between may have changed it, and no call fails for that.
            text = str(value)
            return int(text) if text.isdecimal() else None
    return None


def retry_pushback(trailers: Trailers | None) -> float | None:
    """Seconds after which the gateway wants to be asked again; negative for never, None unsaid."""
    for key, value in trailers or ():
        if key == "grpc-retry-pushback-ms":
            # gRPC takes what is no number for a no (gRFC A6).
            return int(value) / 1000 if str(value).isdecimal() else -1.0
    return None
