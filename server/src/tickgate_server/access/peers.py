"""Where a call comes from."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import unquote

_LOCAL_SCHEMES: Final = ("unix", "unix-abstract")
"""Sockets that only this machine can reach."""

_ADDRESS: Final = re.compile(r"\[(?P<v6>[^\[\]]+)\](:\d+)?|(?P<v4>[\d.]+)(:\d+)?", re.ASCII)
"""An address as gRPC writes it, once its escapes are undone: [::1]:5000, 127.0.0.1:5000."""


@lru_cache(maxsize=64)
def is_loopback(peer: str) -> bool:
    """Tell whether *peer*, as gRPC names it, is on this machine. What cannot be read is not."""
    scheme, _, rest = peer.partition(":")
    if scheme in _LOCAL_SCHEMES:
        return True
    match = _ADDRESS.fullmatch(unquote(rest)) if scheme in ("ipv4", "ipv6") else None
    if match is None:
        return False
    try:
        address = ip_address(match["v6"] or match["v4"])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        # An IPv4 caller of a socket that listens on both.
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
