"""Which hosts are Alpaca's."""

from __future__ import annotations

from urllib.parse import urlsplit

from ...market.provenance import DataSource

PRODUCTION_HOSTS: frozenset[str] = frozenset(
    {"data.alpaca.markets", "api.alpaca.markets", "paper-api.alpaca.markets"}
)
"""Hosts whose values are market values. `*.sandbox.alpaca.markets` is Alpaca's own sandbox, hence not among them."""

STREAM_HOST = "stream.data.alpaca.markets"
"""The host of live market values."""

_MADE_UP = "/v2/test"
"""Path of a stream of that host whose values are invented."""


def source_of(url: str) -> DataSource:
    """Return whose values come from *url*: Alpaca's only over TLS from one of its production hosts."""
    parts = urlsplit(url)
    if parts.scheme == "wss":
        genuine = parts.hostname == STREAM_HOST and parts.path.rstrip("/") != _MADE_UP
    else:
        genuine = parts.scheme == "https" and parts.hostname in PRODUCTION_HOSTS
    return DataSource.ALPACA if genuine else DataSource.SANDBOX
