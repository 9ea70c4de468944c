"""Whether a gateway serves, asked over `grpc.health.v1`: what a container's health check runs, without curl."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import grpc
from grpc_health.v1 import health_pb2
from msgspec import Struct

_CHECK: Final = "/grpc.health.v1.Health/Check"
_PAUSE: Final = 0.1
"""Seconds between tries to connect."""

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING


class Identity(Struct, frozen=True):
    """How to reach a gateway that speaks TLS, and what to show it."""

    authorities: Path
    """PEM file of whom to trust: an authority, or the gateway's own certificate."""

    pair: tuple[Path, Path] | None = None
    """PEM files of a certificate and its private key, for a gateway that asks for one."""

    own: bool = False
    """Whether `authorities` is the gateway's own certificate: then no other one is taken, whatever name it bears."""


class Health(Struct, frozen=True):
    """What came of the question."""

    serves: bool
    said: str
    """In a sentence."""


async def ask_health(
    target: str, service: str = "", identity: Identity | None = None, patience: float = 5.0
) -> Health:
    """Ask the gateway at *target* whether it serves.

    Args:
        target: host and port.
        service: full name of one service, such as `tickgate.v1.StreamService`; the whole gateway if empty.
        identity: for a gateway with TLS.
        patience: seconds that connecting may take, and the answer as well.
    """
    of = f"{service} at {target}" if service else target
    try:
        async with _channel(target, identity, patience) as channel:
            answer = await channel.unary_unary(
                _CHECK,
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )(
                health_pb2.HealthCheckRequest(service=service),
                timeout=patience,
                # One that is just starting is waited for.
                wait_for_ready=True,
            )
    except grpc.aio.AioRpcError as error:
        return Health(serves=False, said=f"{of}: {_explained(error, service)}")
    except OSError as error:
        return Health(serves=False, said=f"{of}: {error}")
    if answer.status == _SERVING:
        return Health(serves=True, said=f"{of} serves")
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return Health(serves=False, said=f"{of} does not serve: it says {name}")


def _channel(target: str, identity: Identity | None, patience: float) -> grpc.aio.Channel:
    if identity is None:
        return grpc.aio.insecure_channel(target)
    key, certificate = None, None
    if identity.pair is not None:
        certificate, key = (path.read_bytes() for path in identity.pair)
    options: Sequence[tuple[str, str]] = ()
    if identity.own:
        options = (("grpc.ssl_target_name_override", _name_in_own(target, identity, patience)),)
    credentials = grpc.ssl_channel_credentials(
        identity.authorities.read_bytes(), private_key=key, certificate_chain=certificate
    )
    return grpc.aio.secure_channel(target, credentials, options=options)


def _name_in_own(target: str, identity: Identity, patience: float) -> str:
    """Return a name that the gateway's own certificate bears, which is rarely the one it is asked by from beside it."""
    context = ssl.create_default_context(cafile=identity.authorities)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["h2"])
    if identity.pair is not None:
        context.load_cert_chain(*identity.pair)
    host, _, port = target.rpartition(":")
    address = (host.strip("[]"), int(port))
    with (
        _connected(address, patience) as connection,
        context.wrap_socket(connection) as shaken,
    ):
        told = shaken.getpeercert() or {}
    for kind, name in cast("tuple[tuple[str, str], ...]", told.get("subjectAltName", ())):
        if kind in ("DNS", "IP Address"):
            # A wildcard stands for any one label.
            return name.replace("*", "gateway", 1)
    msg = "the certificate bears no name"
    raise OSError(msg)


def _connected(address: tuple[str, int], patience: float) -> socket.socket:
    """Connect to a gateway that may be just starting."""
    until = time.monotonic() + patience
    while True:
        try:
            return socket.create_connection(address, patience)
        except ConnectionRefusedError:
            if time.monotonic() >= until:
                raise
            # A port that nobody listens on yet gives no sign; this program has nothing else to do meanwhile.
            time.sleep(_PAUSE)


def _explained(error: grpc.aio.AioRpcError, service: str) -> str:
    match error.code():
        case grpc.StatusCode.DEADLINE_EXCEEDED | grpc.StatusCode.UNAVAILABLE:
            return "nobody answers there, or not in time"
        case grpc.StatusCode.NOT_FOUND:
            return f"it has no service {service}"
        case grpc.StatusCode.UNIMPLEMENTED:
            return "what answers there is no gateway"
        case code:
            return f"the question failed with {code.name}"
