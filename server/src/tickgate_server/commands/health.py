"""Whether a gateway serves, for those who start and restart it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from ..errors import OrderError
from ..rpc.health import Identity, ask_health
from ..settings import Settings, SettingsError
from .common import ConfigFile, settings_of

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - to ask there, not to listen
"""Who listens on every address is asked on that of the machine itself."""


def health(
    config: ConfigFile = None,
    *,
    target: str | None = None,
    service: str = "",
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    timeout: Annotated[float, Parameter(validator=Number(gt=0, lte=3600))] = 5.0,
) -> int:
    """Ask a gateway whether it serves: 0 if it does, 1 if not. It is what the container's health check runs.

    Parameters
    ----------
    target
        Host and port; by default where the settings listen, as seen from this machine.
    service
        One service, such as tickgate.v1.StreamService; the whole gateway by default.
    ca
        PEM file of the authority that a gateway with TLS is checked against.
    certificate
        PEM file of a certificate, for a gateway that asks its callers for one.
    key
        PEM file of that certificate's private key.
    timeout
        Seconds to wait for the answer.
    """
    try:
        target, identity = health_target(lambda: settings_of(config), target, ca, certificate, key)
    except (OrderError, SettingsError) as error:
        # Whoever runs health checks knows no other status than 0 and 1.
        print(f"tickgate-server: it cannot be asked\n{error}", file=sys.stderr)
        return 1
    health = asyncio.run(ask_health(target, service, identity, timeout))
    print(health.said, file=sys.stdout if health.serves else sys.stderr)
    return 0 if health.serves else 1


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
