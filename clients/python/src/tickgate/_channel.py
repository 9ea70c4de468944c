"""How both clients reach the gateway: what is retried, and what every call is sent with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._gateways import Target, understood
from ._models import RateLimit
from ._rules import refused
from ._security import Tls, check_names, credentials_of, key_metadata, name_options
from ._time import nanoseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import grpc

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

BALANCED = SERVICE_CONFIG | {
    # Each call goes to the next gateway; so does the second attempt of one that has met a stopping gateway.
    "loadBalancingConfig": [{"round_robin": {}}],
    # The whole gateway's health, which it has until it stops, whatever becomes of one of its services. gRPC watches it
    # on each connection and sends nothing to who is NOT_SERVING. Who has no health service is taken for healthy.
    "healthCheckConfig": {"serviceName": ""},
    # When one ends without a word, all that was under way there is asked of the others at once, five hundred calls at
    # most. After that the same holds as for one gateway: a tenth more calls.
    "retryThrottling": {"maxTokens": 1000, "tokenRatio": 0.1},
}
"""What is said of a target that may be several gateways."""

_CONNECTING = (
    # A gateway that comes back is met within two seconds. By itself gRPC waits up to two minutes, and another may
    # stop meanwhile because this one is there again.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A name is looked up again when one of its gateways has gone; by itself gRPC does so every 30 s at most.
    ("grpc.dns_min_time_between_resolutions_ms", 2000),
    # A gateway that says nothing any more, because it hangs or its machine has vanished, is left alone twenty seconds
    # later at most. By itself gRPC takes a minute or more, and each call that is sent there waits for its deadline. The
    # gateway lets a client ping every ten seconds. The last one is for pings of gRPC's own, which keepalive waits for.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
)

_ALONE = (
    # A channel that shares no connection with others of the same target.
    ("grpc.use_local_subchannel_pool", 1),
)

_IN_TURN = (
    # Milliseconds that making a connection may take where there are others to turn to; 20 s elsewhere.
    ("grpc.min_reconnect_backoff_ms", 3000),
)


@dataclass(frozen=True, slots=True)
class Way:
    """How a gateway is reached, and as whom."""

    target: Target
    credentials: grpc.ChannelCredentials | None
    """None for plain text."""
    identity: tuple[tuple[str, str], ...]
    """Metadata that tells who calls."""
    _tls: bool | Tls
    _options: tuple[tuple[str, Any], ...]

    def __repr__(self) -> str:
        # The identity is a secret.
        return f"Way({self.target!r})"

    def options(self) -> list[tuple[str, Any]]:
        """Options of the channel to all gateways; the caller's own come last, so that they win."""
        config = BALANCED if self.target.balanced else SERVICE_CONFIG
        return self._channel(self.target.spelled, config)

    def options_alone(self, address: str, *, has_others: bool) -> list[tuple[str, Any]]:
        """Options of a channel to the gateway at *address*."""
        more = _ALONE + _IN_TURN if has_others else _ALONE
        return [*more, *self._channel(address, SERVICE_CONFIG)]

    def _channel(self, address: str, config: dict[str, Any]) -> list[tuple[str, Any]]:
        return [
            ("grpc.service_config", json.dumps(config)),
            *_CONNECTING,
            *name_options(self.target, self._tls, address),
            *self._options,
        ]


def way_to(
    target: str | Iterable[str],
    *,
    tls: bool | Tls,
    credentials: grpc.ChannelCredentials | None,
    api_key: str | None,
    insecure_key: bool,
    options: Sequence[tuple[str, Any]],
) -> Way:
    """How to reach *target*.

    Raises:
        InvalidRequest: it cannot be, or a key would be sent where it can be read.
    """
    place = understood(target)
    if tls and credentials is not None:
        raise refused("tls", "tls and credentials say the same: give one of them")
    check_names(place, tls)
    credentials = credentials or credentials_of(tls)
    encrypted = credentials is not None
    identity = key_metadata(api_key, place, encrypted=encrypted, insecure_key=insecure_key)
    return Way(place, credentials, identity, tls, tuple(options))


def common_metadata(metadata: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Metadata as gRPC takes it; keys in lower case, which it insists on."""
    return tuple((key.lower(), value) for key, value in (metadata or {}).items())


def sent_with(
    metadata: Mapping[str, str] | None, identity: tuple[tuple[str, str], ...]
) -> dict[str, str]:
    """What every call is sent with.

    Raises:
        InvalidRequest: both say who calls.
    """
    given = dict(common_metadata(metadata))
    if identity and "authorization" in given:
        raise refused("api_key", "metadata holds an authorization as well: give one of them")
    return given | dict(identity)


def upstream_remaining(trailers: Trailers | None) -> int | None:
    """What the gateway says is left of its budget for market data, None where it says nothing."""
    for key, value in trailers or ():
        if key == "x-upstream-remaining":
            # Whatever stands in between may have changed it, and no call fails for that.
            text = str(value)
            return int(text) if text.isdecimal() else None
    return None


def rate_limit(trailers: Trailers | None) -> RateLimit | None:
    """What the gateway says is left to this caller, None where it says nothing."""
    text = next((str(value) for key, value in trailers or () if key == "ratelimit"), "")
    # Such as "limit=100, remaining=57, reset=0.430".
    said = dict(part.strip().partition("=")[::2] for part in text.split(","))
    try:
        return RateLimit(
            limit=float(said["limit"]),
            remaining=int(said["remaining"]),
            reset_ns=nanoseconds(float(said["reset"])),
        )
    except (KeyError, ValueError, OverflowError):
        # Whatever stands in between may have changed it, and no call fails for that.
        return None


def retry_pushback(trailers: Trailers | None) -> float | None:
    """Seconds after which the gateway wants to be asked again; negative for never, None unsaid."""
    for key, value in trailers or ():
        if key == "grpc-retry-pushback-ms":
            # gRPC takes what is no number for a no (gRFC A6).
            return int(value) / 1000 if str(value).isdecimal() else -1.0
    return None
