"""Where a health check finds the gateway that the settings describe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..rpc.health import Identity
from ..settings import Settings
from .programs import OrderError

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - to ask there, not to listen
"""Who listens on every address is asked on that of the machine itself."""


def health_target(
    settings: Callable[[], Settings],
    target: str | None,
    authority: Path | None,
    certificate: Path | None,
    key: Path | None,
) -> tuple[str, Identity | None]:
    """Return host and port to ask, and how; *settings* are read only where *target* leaves it to them.

    Raises:
        OrderError: the arguments do not fit together.
    """
    if (certificate is None) != (key is None):
        msg = "--certificate and --key: both or none"
        raise OrderError(msg)
    pair = None if certificate is None or key is None else (certificate, key)
    if target is not None:
        if authority is None and pair is not None:
            msg = "--certificate: needs --ca as well, or nothing is encrypted"
            raise OrderError(msg)
        return target, None if authority is None else Identity(authority, pair)
    chosen = settings()
    host, _, port = chosen.listen.rpartition(":")
    target = f"{_EVERYWHERE.get(host, host)}:{port}"
    if authority is not None:
        return target, Identity(authority, pair)
    tls = chosen.tls
    if not tls.certificate:
        return target, None
    own = (Path(tls.certificate), Path(tls.private_key))
    # Where callers must show a certificate, the gateway's own does if one of their authorities has signed it.
    shown = pair or (own if tls.client_authorities else None)
    return target, Identity(own[0], shown, own=True)
