"""API keys for tests, and what a caller sends of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tickgate.v1 import stream_service_pb2 as pb
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


class StreamsOf:
    """The calls of a stub of StreamService, made with a token."""

    def __init__(self, stub: Any, token: str) -> None:
        self._stub = stub
        self._metadata = bearer(token)

    def Subscribe(self) -> Any:  # noqa: N802
        """Begin a stream."""
        return self._stub.Subscribe(metadata=self._metadata)

    def Watch(self, request: pb.WatchRequest) -> Any:  # noqa: N802
        """Watch what *request* says."""
        return self._stub.Watch(request, metadata=self._metadata)
