"""API keys for tests, and what a caller sends of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tickgate_server.identity.api_key import ApiKey, digest_of, new_token
from tickgate_server.identity.consumer import UNLIMITED, Limits, Scope

from .fakes import NOW

SECRET = "a secret that is long enough for tests"
"""What tests hash keys under."""


def made_key(
    name: str = "desk-7",
    scopes: Iterable[Scope] = tuple(Scope),
    *,
    limits: Limits = UNLIMITED,
    created: int = NOW,
    **given: Any,
) -> tuple[ApiKey, str]:
    """Return a key and its token."""
    key_id, token = new_token()
    digest = digest_of(token, SECRET.encode())
    return ApiKey(key_id, name, digest, frozenset(scopes), limits, created, **given), token


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata of whoever calls with *token*."""
    return (("authorization", f"Bearer {token}"),)
