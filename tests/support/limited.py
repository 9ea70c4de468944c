"""A gateway that knows its callers by keys, each with limits of its own."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from tickgate_server.identity.consumer import Limits
from tickgate_server.stores.key_file import KeyFile

from .keys import SECRET, bearer, made_key
from .running import FROZEN, Stack, running

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class KeyedStreams:
    """StreamService, called with a key."""

    stub: Any
    metadata: Metadata

    def Subscribe(self) -> Any:  # noqa: N802
        """Follow."""
        return self.stub.Subscribe(metadata=self.metadata)

    def Watch(self, request: Any) -> Any:  # noqa: N802
        """Watch."""
        return self.stub.Watch(request, metadata=self.metadata)


@dataclass(frozen=True, slots=True)
class Limited:
    """A gateway, and what each of its consumers calls it with."""

    stack: Stack
    tokens: Mapping[str, str]

    def as_(self, name: str) -> Metadata:
        """Return the metadata of the consumer *name*."""
        return bearer(self.tokens[name])

    def streams_as(self, name: str) -> KeyedStreams:
        """Return StreamService as the consumer *name* calls it."""
        return KeyedStreams(self.stack.streams, self.as_(name))

    @property
    def refusals(self) -> Mapping[str, int]:
        """How often each limit has refused something."""
        return self.stack.gateway.counters.limit_refusals


@asynccontextmanager
async def limited(
    consumers: Mapping[str, Limits], market: Any = FROZEN, **changed: Any
) -> AsyncIterator[Limited]:
    """Run a gateway for *consumers*, with *changed* settings."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys"
        file, tokens = KeyFile(path), {}
        for name, limits in consumers.items():
            key, tokens[name] = made_key(name, limits=limits)
            await file.add(key)
        identity = {"keys": "file", "file": str(path)}
        async with running(market, identity=identity, identity_secret=SECRET, **changed) as stack:
            yield Limited(stack, tokens)


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a call failed, with all that it said."""

    error: grpc.aio.AioRpcError
    info: error_details_pb2.ErrorInfo
    delay: float | None
    """Seconds of `RetryInfo`; None without one."""

    quota: str
    """Subject of the `QuotaFailure`; empty without one."""

    trailers: Mapping[str, Any]


def refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """Take *error* apart."""
    trailers: dict[str, Any] = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    quota = error_details_pb2.QuotaFailure()
    delay = None
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(quota)
        if detail.Unpack(retry):
            delay = retry.retry_delay.ToNanoseconds() / 1e9
    subject = quota.violations[0].subject if quota.violations else ""
    return Refusal(error, info, delay, subject, trailers)


async def refused(call: Any) -> Refusal:
    """Return how *call*, unary or a stream, fails."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return refusal(error)
    msg = "it was answered"
    raise AssertionError(msg)
