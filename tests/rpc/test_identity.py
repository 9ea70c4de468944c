"""A gateway that asks for API keys, over the wire: who comes in, what for, and until when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import tickgate
from tickgate.v1 import admin_service_pb2 as admin_pb
from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import history_service_pb2 as history_pb
from tickgate.v1 import quote_service_pb2 as quotes_pb
from tickgate.v1 import status_service_pb2 as status_pb
from tickgate_server.errors import StoreUnusable
from tickgate_server.identity.api_key import new_token
from tickgate_server.identity.consumer import Scope
from tickgate_server.rpc.serving import SERVICES
from tickgate_server.settings import Settings, SettingsError
from tickgate_server.stores.key_file import KeyFile
from tickgate_server.stores.postgres.keys import PostgresKeys
from tools.embedded import postgres_server

from ..support.error_log import link_to
from ..support.following import Follower, following, watching
from ..support.keys import SECRET, StreamsOf, bearer, made_key
from ..support.running import Stack, running, settings_for
from ..support.waiting import until, until_told

QUESTION = quotes_pb.GetQuoteRequest(symbol="AAPL")
NOBODY: tuple[tuple[str, str], ...] = ()
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
LOOKS = 0.1
"""Seconds between looks at the keys: as often as an operator may have it."""

NEEDED: Mapping[str, Scope] = {
    "QuoteService": Scope.READ,
    "OptionService": Scope.READ,
    "ReferenceService": Scope.READ,
    "StatusService": Scope.READ,
    "StreamService": Scope.STREAM,
    "HistoryService": Scope.HISTORY,
    "AdminService": Scope.ADMIN,
}
"""What each service takes, written down a second time."""

METHODS = [method for service in SERVICES for method in service.methods]


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    """Where keys are kept."""
    return KeyFile(tmp_path / "keys.jsonl")


def identity(tmp_path: Path) -> dict[str, Any]:
    """Settings of a gateway that reads those keys."""
    file = str(tmp_path / "keys.jsonl")
    return {
        "identity": {"keys": "file", "file": file, "reload_every": LOOKS},
        "identity_secret": SECRET,
    }


async def token_of(keys: KeyFile, *scopes: Scope, **given: Any) -> tuple[str, str]:
    """Add a key; return its id and its token."""
    key, token = made_key(scopes=scopes or tuple(Scope), **given)
    await keys.add(key)
    return key.id, token


async def asked(stack: Stack, metadata: Any = NOBODY) -> grpc.StatusCode:
    """Ask for a quote; return how that went."""
    try:
        await stack.quotes.GetQuote(QUESTION, metadata=metadata, timeout=5)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def refusal(stack: Stack, metadata: Any = NOBODY) -> grpc.aio.AioRpcError:
    """Ask for a quote, which is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stack.quotes.GetQuote(QUESTION, metadata=metadata, timeout=5)
    return refused.value


async def called(stack: Stack, method: MethodDescriptor, metadata: Any) -> grpc.StatusCode:
    """Call *method* with an empty request, and no longer than until its first answer; return how that went."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    kind = "stream" if method.server_streaming else "unary"
    asks = "stream" if method.client_streaming else "unary"
    call = getattr(stack.channel, f"{asks}_{kind}")(path)
    try:
        if kind == "unary":
            await call(b"", metadata=metadata, timeout=5)
        else:
            begun = call(metadata=metadata, timeout=5) if asks == "stream" else call(
                b"", metadata=metadata, timeout=5
            )  # fmt: skip
            if asks == "stream":
                await begun.done_writing()
            await begun.read()
            begun.cancel()
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


# --------------------------------------------------------------------------------------- who comes in


async def test_every_method_asks_for_a_key(keys: KeyFile, tmp_path: Path) -> None:
    """Without a key no method of the contract answers, not even to say that the request is wrong."""
    await token_of(keys)
    async with running(**identity(tmp_path)) as stack:
        codes = {method.full_name: await called(stack, method, NOBODY) for method in METHODS}

    assert len(codes) >= 35
    assert set(codes.values()) == {UNAUTHENTICATED}


async def test_a_scope_opens_its_services_and_no_other(keys: KeyFile, tmp_path: Path) -> None:
    """With a key of one scope just the methods of its services do something, and all others are denied."""
    tokens = {scope: (await token_of(keys, scope))[1] for scope in Scope}
    async with running(**identity(tmp_path)) as stack:
        for scope, token in tokens.items():
            for method in METHODS:
                code = await called(stack, method, bearer(token))
                denied = code is DENIED
                assert denied == (NEEDED[method.containing_service.name] is not scope), method.name
                assert code is not UNAUTHENTICATED


async def test_health_and_reflection_stay_open(keys: KeyFile, tmp_path: Path) -> None:
    """Whoever watches over the gateway, or looks what it can do, needs no key: neither tells anything of a market."""
    await token_of(keys)
    async with running(**identity(tmp_path)) as stack:
        channel: Any = stack.channel
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        reflecting: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        listing = reflecting.ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        listed = await listing.read()

    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert "tickgate.v1.QuoteService" in {one.name for one in listed.list_services_response.service}


async def test_a_refusal_explains_itself_and_nothing_else(keys: KeyFile, tmp_path: Path) -> None:
    """Missing, malformed and unknown keys are told the same: reason, request id, no retry, nothing of the gateway."""
    await token_of(keys)
    async with running(**identity(tmp_path)) as stack:
        refused = [
            await refusal(stack, metadata)
            for metadata in (NOBODY, bearer("tg_x"), bearer(new_token()[1]))
        ]

    for error in refused:
        trailers = dict(error.trailing_metadata() or ())
        assert error.code() is UNAUTHENTICATED
        assert error.details() == refused[0].details()
        assert "send `authorization: Bearer tg_…`" in str(error.details())
        assert trailers["grpc-retry-pushback-ms"] == "-1"
        assert "x-upstream-remaining" not in trailers
        info = error_details_pb2.ErrorInfo()
        details = status_pb2.Status.FromString(bytes(trailers["grpc-status-details-bin"]))
        assert details.details[0].Unpack(info)
        assert (info.reason, set(info.metadata)) == ("UNAUTHENTICATED", {"request_id"})


async def test_with_keys_an_operator_needs_the_scope_and_no_place(
    keys: KeyFile, tmp_path: Path
) -> None:
    """With keys the gateway's own machine is no password any more: AdminService takes the scope admin."""
    _, reader = await token_of(keys, Scope.READ)
    _, operator = await token_of(keys, Scope.ADMIN)
    async with running(**identity(tmp_path)) as stack:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stack.admin.ListErrors(admin_pb.ListErrorsRequest(), metadata=bearer(reader))
        await stack.admin.ListErrors(admin_pb.ListErrorsRequest(), metadata=bearer(operator))

    assert refused.value.code() is DENIED
    assert "lacks the scope admin" in str(refused.value.details())


# -------------------------------------------------------------------------------- keys come and go


async def test_a_key_comes_and_goes_without_a_restart(keys: KeyFile, tmp_path: Path) -> None:
    """A new key is let in within a look, the old one goes on beside it, and is refused a look after it is revoked."""
    old_id, old = await token_of(keys)
    async with running(**identity(tmp_path)) as stack:
        assert await asked(stack, bearer(old)) is grpc.StatusCode.OK
        _, new = await token_of(keys)
        await until_told(lambda: asked(stack, bearer(new)), lambda code: code is grpc.StatusCode.OK)
        assert await asked(stack, bearer(old)) is grpc.StatusCode.OK

        await keys.revoke(old_id, stack.gateway.clock.wall())
        await until_told(lambda: asked(stack, bearer(old)), lambda code: code is UNAUTHENTICATED)
        error = await refusal(stack, bearer(old))
        assert await asked(stack, bearer(new)) is grpc.StatusCode.OK

    assert error.details() == f"the API key {old_id} has been revoked"


@asynccontextmanager
async def followed(stack: Stack, kind: str, token: str) -> AsyncIterator[Follower]:
    """Follow a symbol with *token*, on either call."""
    follow = watching if kind == "Watch" else following
    async with follow(StreamsOf(stack.streams, token), "AAPL") as follower:
        await follower.until_state("AAPL", "LIVE")
        yield follower


@pytest.mark.parametrize("kind", ["Watch", "Subscribe"])
@pytest.mark.parametrize("end", ["revoked", "expired", "removed"])
async def test_streams_end_with_their_key(
    keys: KeyFile, tmp_path: Path, kind: str, end: str
) -> None:
    """Whoever follows with a key that ends gets a last word that says so, then the status; others follow on."""
    _, others = await token_of(keys, Scope.STREAM)
    async with running(**identity(tmp_path)) as stack:
        now = stack.gateway.clock.wall()
        key_id, token = await token_of(keys, Scope.STREAM, created=now)
        await until(lambda: stack.gateway.counters.keys.keys == 2)
        async with followed(stack, kind, token) as follower, followed(stack, kind, others) as other:
            path = tmp_path / "keys.jsonl"
            lines = path.read_text().splitlines(keepends=True)
            assert key_id in lines[-1]
            if end == "revoked":
                await keys.revoke(key_id, now)
            elif end == "expired":
                # Nobody waits until a key expires: it does so earlier than it was said.
                ended = lines[-1].replace('"expires":null', f'"expires":{now}')
                path.write_text("".join([*lines[:-1], ended]))
            else:
                path.write_text("".join(lines[:-1]))
            await until(lambda: follower.ended)
            assert not other.ended
            assert stack.gateway.counters.streams.streams == 1

    assert follower.error is not None
    assert follower.error.code() is UNAUTHENTICATED
    (last,) = follower.of("closing")
    assert follower.messages[-1].WhichOneof("event") == "closing"
    assert last.reason == reasons.ERROR_REASON_UNAUTHENTICATED
    assert key_id in last.message
    assert {"revoked": "revoked", "expired": "expired at", "removed": "no longer"}[
        end
    ] in last.message
    assert last.message == follower.error.details()


async def test_the_client_is_told_that_its_key_has_ended(keys: KeyFile, tmp_path: Path) -> None:
    """Our client does not come back with a key that has ended: whoever follows gets `Unauthenticated`."""
    key_id, token = await token_of(keys, Scope.STREAM)
    async with (
        running(**identity(tmp_path)) as stack,
        tickgate.connect(stack.target, api_key=token) as client,
        client.follow("AAPL") as following_it,
    ):
        await anext(aiter(following_it))
        await keys.revoke(key_id, stack.gateway.clock.wall())
        with pytest.raises(tickgate.Unauthenticated, match="has been revoked"):
            await asyncio.wait_for(all_of(following_it), 10)


async def all_of(values: AsyncIterable[object]) -> list[object]:
    """Read to the end."""
    return [value async for value in values]


async def to_the_end(call: Any) -> None:
    """Read what is left of a stream."""
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_a_stream_of_history_ends_at_its_next_message(keys: KeyFile, tmp_path: Path) -> None:
    """Whoever reads the past slowly with a key that ends gets what was sent before, and then the status."""
    key_id, token = await token_of(keys, Scope.HISTORY)
    request = history_pb.StreamTradesRequest(symbols=["AAPL", "MSFT", "TSLA"])
    request.start_time.FromJsonString("2026-09-21T13:30:00Z")
    request.end_time.FromJsonString("2026-10-01T00:00:00Z")
    async with running(**identity(tmp_path)) as stack:
        call = stack.history.StreamTrades(request, metadata=bearer(token), timeout=60)
        assert await call.read() is not grpc.aio.EOF
        await keys.revoke(key_id, stack.gateway.clock.wall())
        await until(lambda: stack.gateway.counters.keys.keys == 0)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await to_the_end(call)

    assert ended.value.code() is UNAUTHENTICATED
    assert ended.value.details() == f"the API key {key_id} has been revoked"


# ------------------------------------------------------------------------------ where keys are kept


async def health_of(stack: Stack) -> str:
    """Ask whether the gateway serves."""
    stub: Any = health_pb2_grpc.HealthStub(stack.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


async def test_keys_of_postgres_are_awaited() -> None:
    """A gateway starts without PostgreSQL, not ready and letting nobody in; once it is there its keys are good."""
    key, token = made_key()
    with postgres_server() as server:
        async with link_to(server.url) as link:
            await link.start()
            await PostgresKeys(link).add(key)
        server.kill()
        async with running(
            identity={"keys": "postgres", "reload_every": LOOKS},
            identity_secret=SECRET,
            postgres_url=server.url,
            store={"check_every": 0.05},
        ) as stack:
            refused = [await refusal(stack, one) for one in (NOBODY, bearer(token))]
            unready = stack.gateway.counters.why_unready
            before = await health_of(stack)
            server.start()
            await until_told(
                lambda: asked(stack, bearer(token)),
                lambda code: code is grpc.StatusCode.OK,
                within=30,
            )
            nobody = await asked(stack)
            # What is known stays known.
            server.kill()
            await until(lambda: stack.gateway.counters.keys.store == "down", within=30)
            still = await asked(stack, bearer(token))
            ready = not stack.gateway.counters.why_unready
            after = await health_of(stack)

    assert (before, after) == ("NOT_SERVING", "SERVING")
    assert unready == "the API keys could not be read yet: nobody is let in"
    assert ready
    assert {error.code() for error in refused} == {grpc.StatusCode.UNAVAILABLE}
    assert {error.details() for error in refused} == {
        "the gateway cannot read its API keys yet, and lets nobody in before it has"
    }
    assert (nobody, still) == (UNAUTHENTICATED, grpc.StatusCode.OK)


async def test_a_gateway_needs_its_file_of_keys(tmp_path: Path) -> None:
    """A gateway whose file of keys is missing, or holds something else, does not start, and says which."""
    with pytest.raises(StoreUnusable, match=r"keys\.jsonl cannot be read \(No such file"):
        async with running(**identity(tmp_path)):
            pass
    path = tmp_path / "keys.jsonl"
    path.write_text("\nkeys\n")
    path.chmod(0o600)
    with pytest.raises(StoreUnusable, match=r"keys\.jsonl, line 2"):
        async with running(**identity(tmp_path)):
            pass


# --------------------------------------------------------------------------- what is never opened


SENTENCE = "whoever reaches this port may read everything"
WITHOUT_TLS = "prices and keys may be read on the way"
LIVE: dict[str, Any] = {
    "environment": "live",
    "APCA_API_KEY_ID": "key",
    "APCA_API_SECRET_KEY": "secret",
}
KEYS: dict[str, Any] = {"identity": {"keys": "file", "file": "keys"}, "identity_secret": SECRET}
TLS: dict[str, Any] = {"certificate": "certificate", "private_key": "key"}


@pytest.mark.parametrize(
    "listen", ["0.0.0.0", "[::]", "10.0.0.5", "gateway.example", "[2001:db8::1]"]
)
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "identity.keys"),
        ({"tls": TLS}, "identity.keys"),
        (LIVE | {"tls": TLS}, SENTENCE),
        (LIVE | KEYS, "tls.certificate"),
        (LIVE | {"identity": {"without_keys": SENTENCE}}, WITHOUT_TLS),
    ],
)
def test_nothing_is_opened_by_mistake(listen: str, given: dict[str, Any], named: str) -> None:
    """An address that others can reach takes keys or certificates, and in a live environment TLS, or a sentence."""
    with pytest.raises(
        SettingsError, match=f"{listen.replace('[', '.').replace(']', '.')}:50051"
    ) as refused:
        Settings(listen=f"{listen}:50051", **given).check_serving()

    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("listen", "given"),
    [
        ("0.0.0.0", KEYS),
        ("0.0.0.0", {"tls": TLS | {"client_authorities": "authorities"}}),
        ("0.0.0.0", {"identity": {"without_keys": SENTENCE}}),
        ("0.0.0.0", LIVE | KEYS | {"tls": TLS}),
        ("0.0.0.0", LIVE | KEYS | {"tls": {"without": WITHOUT_TLS}}),
        *((listen, given) for listen in ("127.0.0.1", "127.1.2.3", "[::1]", "localhost") for given in ({}, LIVE)),
    ],
)  # fmt: skip
def test_what_is_said_is_opened(listen: str, given: dict[str, Any]) -> None:
    """Whoever sets up keys or certificates, or says the sentence, may listen anywhere, and anybody may on loopback."""
    Settings(listen=f"{listen}:50051", **given).check_serving()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"identity": {"keys": "file", "file": "keys"}}, "TICKGATE_IDENTITY_SECRET"),
        ({"identity": {"keys": "postgres"}, "identity_secret": SECRET}, "postgres_url"),
    ],
)
def test_keys_take_a_secret_and_a_place(given: dict[str, Any], named: str) -> None:
    """Keys without the secret to hash them under, or in a PostgreSQL that is not named, are refused at the start."""
    with pytest.raises(SettingsError, match=named):
        Settings(**given).check_serving()


async def test_a_gateway_does_not_open_by_mistake() -> None:
    """The gateway itself looks, not only the program: nothing listens when it is refused."""
    with pytest.raises(SettingsError, match="can be reached from other machines"):
        async with running(listen="0.0.0.0:0"):
            pass


@pytest.mark.parametrize("secret", ["", "short", "x" * 31])
def test_a_short_secret_is_none(secret: str) -> None:
    """A secret that could be guessed is refused, without being shown."""
    if not secret:
        assert settings_for("http://127.0.0.1:1", identity_secret="").hashing_secret == b""
        return
    with pytest.raises(ValueError, match="32 characters at least") as refused:
        settings_for("http://127.0.0.1:1", identity_secret=secret)
    assert secret not in str(refused.value)


# ---------------------------------------------------------------------------------- what is written


async def test_logs_name_the_consumer_and_never_the_key(
    keys: KeyFile,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The line of a call, of a refused one too, and the error log name whose key it was; no token stands anywhere."""
    key_id, token = await token_of(keys, name="desk-7")
    unknown = new_token()[1]
    written: list[str] = []
    with caplog.at_level(logging.DEBUG):
        async with running(
            log={"calls": True, "format": "json"}, http_listen="127.0.0.1:0", **identity(tmp_path)
        ) as stack:
            await asked(stack, bearer(token))
            await asked(stack, bearer(unknown))
            await asked(stack, (("authorization", f"Basic {token}"),))
            status = await stack.status.GetStatus(
                status_pb.GetStatusRequest(), metadata=bearer(token)
            )
            port = stack.gateway.http_port
            async with aiohttp.ClientSession() as session:
                metrics = await (await session.get(f"http://127.0.0.1:{port}/metrics")).text()
            _, operator = await token_of(keys, Scope.ADMIN, name="operator")
            await keys.revoke(key_id, stack.gateway.clock.wall())
            await until_told(lambda: asked(stack, bearer(token)), lambda c: c is UNAUTHENTICATED)
            errors = await stack.admin.ListErrors(
                admin_pb.ListErrorsRequest(), metadata=bearer(operator)
            )
            written += [str(status), metrics, str(errors), repr(stack.gateway)]
    out, err = capfd.readouterr()
    written += [out, err, caplog.text]

    calls = [line for line in err.splitlines() if '"QuoteService/GetQuote"' in line]
    assert '"consumer":"desk-7"' in calls[0]
    assert '"consumer":"desk-7"' in calls[-1]
    assert '"consumer":"ipv4:127.0.0.1' in calls[1]
    consumers = [(error.reason, error.context["consumer"]) for error in errors.errors]
    # Strangers fill no log that is kept in a database.
    refused = [who for reason, who in consumers if reason == reasons.ERROR_REASON_UNAUTHENTICATED]
    assert set(refused) == {"desk-7"}
    everything = "\n".join(written)
    for secret in (token, unknown, operator):
        assert secret.rpartition("_")[2] not in everything
    assert SECRET not in everything
