"""Who is believed to be a gateway, and who the caller is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from ._rules import refused

if TYPE_CHECKING:
    from ._gateways import Target

KEY = re.compile(r"[!-~]+")
"""What a key may be made of: gRPC sends nothing else, and its complaint would show the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How a connection is encrypted, and who is believed at its other end.

    Each part is PEM: a path, or the bytes themselves. Files are read when the client is made.
    """

    ca: str | Path | bytes | None = None
    """Whose word counts about who is a gateway. Left out, that of the authorities that gRPC brings along."""
    certificate: str | Path | bytes | None = None
    """The caller's own certificate, for a gateway that asks for one. With `key`."""
    key: str | Path | bytes | None = field(default=None, repr=False)
    """Private key of `certificate`."""
    server_name: str | None = None
    """Name that the gateway's certificate must be good for, where it is not the one in the target. Several addresses
    need it: one name on all their certificates."""


def credentials_of(tls: bool | Tls) -> grpc.ChannelCredentials | None:  # noqa: FBT001 - as `connect` takes it
    """What gRPC takes for *tls*; None for a connection in plain text.

    Raises:
        InvalidRequest: a file cannot be read or holds no PEM, or a certificate lacks its key.
    """
    if tls is False:
        return None
    parts = Tls() if tls is True else tls
    if (parts.certificate is None) is not (parts.key is None):
        raise refused("tls", "certificate and key belong together: give both or none")
    return grpc.ssl_channel_credentials(
        root_certificates=_pem("ca", parts.ca),
        private_key=_pem("key", parts.key),
        certificate_chain=_pem("certificate", parts.certificate),
    )


def _pem(name: str, given: str | Path | bytes | None) -> bytes | None:
    if given is None:
        return None
    if isinstance(given, bytes):
        content, where = given, "the bytes"
    else:
        where = str(given)
        try:
            content = Path(given).read_bytes()
        except OSError as error:
            raise refused(name, f"{where} cannot be read: {error.strerror}") from None
    if b"-----BEGIN " not in content:
        # gRPC would take it, and every call would fail without saying why.
        raise refused(name, f"no PEM in {where}")
    return content


def name_options(target: Target, tls: bool | Tls, address: str) -> list[tuple[str, Any]]:  # noqa: FBT001
    """Options of a channel to *address* that say by which name its gateway goes."""
    if isinstance(tls, Tls) and tls.server_name:
        return [("grpc.ssl_target_name_override", tls.server_name)]
    if target.name and address != target.spelled:
        # An address that a name stands for is believed by that name.
        host, port = target.name
        return [("grpc.default_authority", f"{host}:{port}")]
    return []


def check_names(target: Target, tls: bool | Tls) -> None:  # noqa: FBT001 - as `connect` takes it
    """Refuse several addresses that no certificate can be good for.

    Raises:
        InvalidRequest: they are, and no name was given.
    """
    named = isinstance(tls, Tls) and tls.server_name
    if tls and not named and len(target.addresses) > 1:
        rule = "for several addresses, server_name says which name stands on all their certificates"
        raise refused("tls", rule)


def key_metadata(
    api_key: str | None, target: Target, *, encrypted: bool, insecure_key: bool
) -> tuple[tuple[str, str], ...]:
    """What tells the gateway who calls.

    Raises:
        InvalidRequest: the key cannot be sent, or could be read on its way.
    """
    if api_key is None:
        return ()
    if not KEY.fullmatch(api_key):
        raise refused("api_key", "a key has no spaces, line ends or letters beyond ASCII in it")
    if not (encrypted or target.is_local or insecure_key):
        rule = (
            "whoever is on the way could read it: use TLS (tls=True), or say insecure_key=True if something else"
            " protects the connection"
        )
        raise refused("api_key", rule)
    return (("authorization", f"Bearer {api_key}"),)
