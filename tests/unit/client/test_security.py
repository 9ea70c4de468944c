"""Who calls, and who answers: API keys and TLS, and that a key goes nowhere where it could be read."""

from __future__ import annotations

import asyncio
import logging
import socket
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo

import tickgate
from tests.support.certificates import Authority, Issued
from tickgate import _channel as channels
from tickgate import _cli as cli
from tickgate import _terminal as terminal
from tickgate.v1 import error_reason_pb2
from tickgate.v1 import stream_service_pb2 as pb

from . import messages
from .cases import CASES
from .serving import served, served_with, status
from .streams import Peer, message, quote, streaming, updates
from .test_follow import both, records

KEY = "tg_ab12cd34_0123456789abcdef0123456789ABCDEF"
QUOTE_REPLY = CASES[0].reply
CLOCK_REPLY = next(case.reply for case in CASES if case.descriptor.name == "GetMarketClock")
AUTHORITY, STRANGER = Authority(), Authority("somebody else")


@asynccontextmanager
async def asked(
    credentials: grpc.ServerCredentials | None = None,
) -> AsyncIterator[tuple[str, list[Any]]]:
    """Run a gateway that tells a quote and the time; give its address, and a list of who has called."""
    callers: list[Any] = []

    async def answer(request: Any, context: Any) -> Any:
        callers.append(dict(context.invocation_metadata()).get("authorization"))
        return QUOTE_REPLY

    async def tell(request: Any, context: Any) -> Any:
        await answer(request, context)
        return CLOCK_REPLY

    async with served_with(credentials, GetQuote=answer, GetMarketClock=tell) as target:
        yield target, callers


def server(shown: Issued, *, asks: bool = False) -> grpc.ServerCredentials:
    """What a gateway shows; if it *asks*, callers show a certificate too."""
    pair = (shown.key, shown.certificate)
    return grpc.ssl_server_credentials([pair], AUTHORITY.certificate if asks else None, asks)


async def quoted(target: Any, **options: Any) -> None:
    """Ask for a quote with both clients."""
    async with tickgate.connect(target, **options) as client:
        assert await client.quote("AAPL", timeout=20) == messages.QUOTE_READ

    def ask() -> None:
        with tickgate.connect_sync(target, **options) as client:
            assert client.quote("AAPL", timeout=20) == messages.QUOTE_READ

    await asyncio.to_thread(ask)


# ------------------------------------------------------------------------------------------- key


async def test_the_key_is_sent_with_every_call() -> None:
    """A key says who calls, as `authorization: Bearer …`; on this machine TLS is not asked for."""
    async with asked() as (target, callers):
        await quoted(target, api_key=KEY)
        await quoted(target.replace("127.0.0.1", "localhost"), api_key=KEY)
        await quoted(target)
    assert callers == [f"Bearer {KEY}"] * 4 + [None] * 2


@both
async def test_the_key_is_shown_to_whoever_streams(follow: Any, monkeypatch: Any) -> None:
    """What is followed is asked for with the key as well."""
    seen: list[Any] = []

    async def script(peer: Peer) -> None:
        seen.append(dict(peer.context.invocation_metadata() or ()).get("authorization"))
        await peer.context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")

    for connect in ("connect", "connect_sync"):
        plain = getattr(tickgate, connect)
        monkeypatch.setattr(
            tickgate, connect, lambda target, plain=plain: plain(target, api_key=KEY)
        )
    async with streaming(script) as target:
        with pytest.raises(tickgate.GatewayError):
            await follow(target, records(1), "follow", "AAPL")
    assert seen == [f"Bearer {KEY}"]


@pytest.mark.parametrize(
    "target",
    ["10.0.0.1:1", "gateway:50051", "127.0.0.1:1,10.0.0.1:1", "dns:///localhost.example.com:1"],
)
@pytest.mark.parametrize("connect", [tickgate.connect, tickgate.connect_sync])
async def test_a_key_is_not_sent_where_it_can_be_read(connect: Any, target: str) -> None:
    """Without TLS to another machine a key is refused, unless somebody says in words that it is meant so."""
    with pytest.raises(tickgate.InvalidRequest, match="insecure_key=True") as refused:
        connect(target, api_key=KEY)
    assert KEY not in "".join(traceback.format_exception(refused.value))
    client = connect(target, api_key=KEY, insecure_key=True)
    await client.close() if connect is tickgate.connect else client.close()


@pytest.mark.parametrize("target", ["10.0.0.1:1", "gateway:50051"])
async def test_with_tls_a_key_goes_anywhere(target: str) -> None:
    """TLS, ours or gRPC's own credentials, is protection enough."""
    for way in ({"tls": True}, {"credentials": grpc.ssl_channel_credentials()}):
        await tickgate.connect(target, api_key=KEY, **way).close()


@pytest.mark.parametrize("key", ["", "two words", f"{KEY}\n", "schlüssel", "\x00"])
@pytest.mark.parametrize("connect", [tickgate.connect, tickgate.connect_sync])
async def test_what_can_be_no_key_is_refused_unseen(connect: Any, key: str) -> None:
    """A key that gRPC could not send is refused at once, and the complaint does not show it."""
    with pytest.raises(tickgate.InvalidRequest) as refused:
        connect("127.0.0.1:1", api_key=key)
    assert not key or key not in str(refused.value)


async def test_who_calls_is_said_once() -> None:
    """A key and an authorization of one's own contradict each other."""
    with pytest.raises(tickgate.InvalidRequest, match="authorization"):
        tickgate.connect(api_key=KEY, metadata={"Authorization": "Bearer another"})
    await tickgate.connect(api_key=KEY, metadata={"x-team": "quants"}).close()


async def test_a_key_is_in_no_repr_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is printed, raised or logged, the key is not in it."""
    caplog.set_level(logging.DEBUG)
    way = channels.way_to(
        "127.0.0.1:1", tls=False, credentials=None, api_key=KEY, insecure_key=False, options=()
    )
    options = terminal.Options(api_key=KEY, key=Path("secret.pem"))
    tls = tickgate.Tls(certificate=b"shown", key=b"hidden")
    async with tickgate.connect("127.0.0.1:1", api_key=KEY) as client:
        with pytest.raises(tickgate.GatewayUnreachable) as caught:
            await client.quote("AAPL")
        quotes = client.follow("AAPL")
        with pytest.raises(tickgate.GatewayUnreachable) as lost:
            await quotes.__aenter__()
        shown = [repr(each) for each in (client, way, options, tls, quotes)]
    told = [*traceback.format_exception(caught.value), *traceback.format_exception(lost.value)]
    everything = "".join([*shown, *told, caplog.text])
    assert KEY not in everything
    assert "secret.pem" not in everything
    assert "hidden" not in everything


# ------------------------------------------------------------------------------------------ TLS


@pytest.mark.parametrize("as_file", [True, False])
async def test_a_gateway_with_a_certificate_is_believed(tmp_path: Path, as_file: bool) -> None:
    """Whose authority the caller believes, by file or by bytes, is asked over TLS by both clients."""
    ca: Any = AUTHORITY.write(tmp_path / "ca.pem") if as_file else AUTHORITY.certificate
    async with asked(server(AUTHORITY.issue("gateway"))) as (target, callers):
        await quoted(target, tls=tickgate.Tls(ca=ca), api_key=KEY)
        await quoted(target.replace("127.0.0.1", "localhost"), tls=tickgate.Tls(ca=ca))
    assert callers[0] == f"Bearer {KEY}"


async def test_a_stranger_is_not_believed() -> None:
    """A certificate of somebody else's, a wrong name, and no TLS at all are no gateway: nothing is sent."""
    trusting = tickgate.Tls(ca=AUTHORITY.certificate)
    named = tickgate.Tls(ca=AUTHORITY.certificate, server_name="elsewhere")
    async with (
        asked(server(STRANGER.issue("gateway"))) as (strange, unbelieved),
        asked(server(AUTHORITY.issue("gateway"))) as (good, misnamed),
        asked() as (plain, unencrypted),
    ):
        for target, tls in ((strange, trusting), (strange, True), (good, named), (plain, trusting)):
            async with tickgate.connect(target, tls=tls, api_key=KEY) as client:
                with pytest.raises(tickgate.GatewayUnreachable):
                    await client.quote("AAPL", timeout=20)
    assert unbelieved == misnamed == unencrypted == []


async def test_a_caller_may_show_a_certificate(tmp_path: Path) -> None:
    """A gateway that asks for certificates gets the caller's, and nobody comes in without."""
    mine = AUTHORITY.issue("quant")
    files = mine.write(tmp_path, "quant")
    shown = tickgate.Tls(
        ca=AUTHORITY.certificate, certificate=files["certificate"], key=Path(files["private_key"])
    )
    async with asked(server(AUTHORITY.issue("gateway"), asks=True)) as (target, callers):
        await quoted(target, tls=shown)
        async with tickgate.connect(target, tls=tickgate.Tls(ca=AUTHORITY.certificate)) as client:
            with pytest.raises(tickgate.GatewayUnreachable):
                await client.quote("AAPL", timeout=20)
    assert len(callers) == 2


async def test_several_gateways_share_a_name() -> None:
    """Several addresses are believed by the one name that stands on all their certificates."""
    tls = tickgate.Tls(ca=AUTHORITY.certificate, server_name="localhost")
    async with (
        asked(server(AUTHORITY.issue("one"))) as (one, first),
        asked(server(AUTHORITY.issue("other"))) as (other, second),
        tickgate.connect([one, other], tls=tls) as client,
        asyncio.timeout(20),
    ):
        while not (first and second):
            await client.quote("AAPL", timeout=20)
    for connect in (tickgate.connect, tickgate.connect_sync):
        with pytest.raises(tickgate.InvalidRequest, match="server_name"):
            connect([one, other], tls=tickgate.Tls(ca=AUTHORITY.certificate))


async def test_addresses_of_a_name_are_believed_by_the_name(monkeypatch: Any) -> None:
    """A name that stands for two addresses is followed at both, each with the certificate of the name."""
    shown = server(
        AUTHORITY.issue("gateway")
    )  # for localhost and 127.0.0.1, not for the addresses below
    tried: list[str] = []

    async def elsewhere(peer: Peer) -> None:
        tried.append("first")
        info = ErrorInfo(domain="tickgate", reason="NOT_FEED_HOLDER")
        refusal = status(grpc.StatusCode.UNAVAILABLE, "elsewhere", info)
        await peer.context.abort(refusal.code, refusal.details, refusal.trailing_metadata)

    async def here(peer: Peer) -> None:
        tried.append("second")
        await peer.begin()
        await peer.send(updates, quote("AAPL", 1))
        await peer.gone()

    async with streaming(elsewhere, elsewhere, credentials=shown, at="127.0.0.2:0") as one:
        port = int(one.rpartition(":")[2])
        async with streaming(here, here, credentials=shown, at=f"127.0.0.3:{port}"):
            sockets = [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
                for host in ("127.0.0.2", "127.0.0.3")
            ]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: sockets)
            tls = tickgate.Tls(ca=AUTHORITY.certificate)
            async with (
                tickgate.connect(f"localhost:{port}", tls=tls) as client,
                client.follow("AAPL", timeout=20) as quotes,
            ):
                assert (await anext(quotes)).symbol == "AAPL"

            def follow() -> str:
                with (
                    tickgate.connect_sync(f"dns:///localhost:{port}", tls=tls) as client,
                    client.follow("AAPL", timeout=20) as quotes,
                ):
                    return next(quotes).symbol

            assert await asyncio.to_thread(follow) == "AAPL"
    assert tried == ["first", "second"] * 2


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"certificate": b"-----BEGIN "}, "belong together"),
        ({"key": b"-----BEGIN "}, "belong together"),
        ({"ca": b"no certificate"}, "no PEM in the bytes"),
        ({"ca": "nowhere.pem"}, "nowhere.pem cannot be read: No such file"),
        ({"certificate": b"-----BEGIN ", "key": b"my secret"}, "no PEM in the bytes"),
    ],
)
@pytest.mark.parametrize("connect", [tickgate.connect, tickgate.connect_sync])
def test_what_is_no_certificate_is_said_at_once(connect: Any, given: Any, rule: str) -> None:
    """Files that are missing, and what is no PEM, are refused when the client is made, not by every call."""
    with pytest.raises(tickgate.InvalidRequest, match=rule) as refused:
        connect(tls=tickgate.Tls(**given))
    assert "my secret" not in "".join(traceback.format_exception(refused.value))


def test_tls_is_said_once() -> None:
    """TLS of ours and credentials of gRPC's own contradict each other."""
    with pytest.raises(tickgate.InvalidRequest, match="give one"):
        tickgate.connect_sync(tls=True, credentials=grpc.ssl_channel_credentials())


# --------------------------------------------------------------------------------------- refusals


async def failing(
    reason: str, code: grpc.StatusCode, *details: Any, **metadata: str
) -> tickgate.TickgateError:
    """What a call raises that a gateway refuses so."""

    async def answer(request: Any, context: Any) -> Any:
        info = ErrorInfo(domain="tickgate", reason=reason, metadata=metadata)
        refusal = status(code, "said so", info, *details)
        await context.abort(refusal.code, refusal.details, refusal.trailing_metadata)

    async with served(GetQuote=answer) as target, tickgate.connect(target) as client:
        with pytest.raises(tickgate.TickgateError) as caught:
            await client.quote("AAPL")
    return caught.value


async def test_who_is_not_known_is_told() -> None:
    """A missing or invalid key is an error of its own, which no second attempt mends."""
    error = await failing("UNAUTHENTICATED", grpc.StatusCode.UNAUTHENTICATED)
    assert type(error) is tickgate.Unauthenticated


async def test_a_limit_says_when_to_come_again() -> None:
    """A limit of the gateway's own is a RateLimited, with the delay where waiting helps."""
    code, delay = grpc.StatusCode.RESOURCE_EXHAUSTED, RetryInfo(retry_delay=Duration(seconds=2))
    error = await failing("LIMIT_EXCEEDED", code, delay, category="RATE_LIMITED")
    assert type(error) is tickgate.LimitExceeded
    assert isinstance(error, tickgate.RateLimited)
    assert error.retry_delay == timedelta(seconds=2)
    too_many = await failing("LIMIT_EXCEEDED", code, category="RATE_LIMITED")
    assert isinstance(too_many, tickgate.LimitExceeded)
    assert too_many.retry_delay is None


@both
@pytest.mark.parametrize("reason", ["UNAUTHENTICATED", "PERMISSION_DENIED"])
async def test_a_key_that_ends_ends_what_is_followed(follow: Any, reason: str) -> None:
    """Where a stream ends because its key was revoked or has expired, nobody connects again."""
    streams: list[Peer] = []

    async def revoked(peer: Peer) -> None:
        streams.append(peer)
        await peer.begin()
        closing = pb.StreamClosing(
            reason=error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"), message="revoked"
        )
        await peer.send(message, closing=closing, epoch="")
        await peer.gone()

    kind = tickgate.Unauthenticated if reason == "UNAUTHENTICATED" else tickgate.NotPermitted
    async with streaming(revoked, revoked) as target:
        with pytest.raises(kind, match="revoked"):
            await follow(target, records(1), "follow", "AAPL")
    assert len(streams) == 1


async def test_what_a_caller_may_is_known() -> None:
    """The newest answer says how many calls a second are allowed, how many are left, and when all will be."""
    said = iter(
        [
            "limit=2, remaining=1, reset=0.500",
            "limit=0.5,remaining=0,  reset=2, policy",
            "",
            "limit=x, remaining=1, reset=1",
            "limit=2, remaining=1, reset=inf",
            "limit=2, remaining=1",
        ]
    )

    async def answer(request: Any, context: Any) -> Any:
        limit = next(said)
        context.set_trailing_metadata((("ratelimit", limit),) if limit else ())
        return QUOTE_REPLY

    async with served(GetQuote=answer) as target, tickgate.connect(target) as client:
        known = [client.rate_limit]
        for _ in range(6):
            await client.quote("AAPL")
            known.append(client.rate_limit)
    first = tickgate.RateLimit(limit=2, remaining=1, reset_ns=500_000_000)
    second = tickgate.RateLimit(limit=0.5, remaining=0, reset_ns=2_000_000_000)
    assert known == [None, first, *[second] * 5]
    assert second.reset == timedelta(seconds=2)


# ---------------------------------------------------------------------------------- command line


async def ran(*tokens: str) -> int:
    """Run one command beside the gateway that answers it."""
    return await asyncio.to_thread(cli.main, list(tokens))


async def test_the_key_may_stand_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """TICKGATE_API_KEY, a file and an option say who calls; two of them are refused."""
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    async with asked() as (target, callers):
        assert await ran("clock", "--target", target, "--api-key", KEY) == cli.COMPLETE
        command = ("clock", "--address", target)
        assert await ran(*command, "--api-key-file", str(file)) == cli.COMPLETE
        monkeypatch.setenv("TICKGATE_API_KEY", KEY)
        assert await ran(*command) == cli.COMPLETE
        monkeypatch.setenv("TICKGATE_API_KEY_FILE", str(file))
        assert await ran(*command) == cli.WRONG_USAGE
        monkeypatch.delenv("TICKGATE_API_KEY")
        assert await ran(*command) == cli.COMPLETE
        monkeypatch.setenv("TICKGATE_API_KEY_FILE", str(tmp_path / "nowhere"))
        assert await ran(*command) == cli.WRONG_USAGE
    assert callers == [f"Bearer {KEY}"] * 4
    said = capsys.readouterr()
    assert "nowhere cannot be read" in said.err.replace("\n", " ")
    assert KEY not in said.out + said.err


async def test_no_key_is_shown_in_the_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The help names the variable, never its value."""
    monkeypatch.setenv("TICKGATE_API_KEY", KEY)
    await ran("quote", "--help")
    said = capsys.readouterr().out
    assert "TICKGATE_API_KEY" in said
    assert KEY not in said


async def test_the_command_line_speaks_tls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--ca`, `--certificate`, `--key` and `--server-name` are what the client takes, `--tls` alone the usual trust."""
    ca = AUTHORITY.write(tmp_path / "ca.pem")
    mine = AUTHORITY.issue("quant").write(tmp_path, "quant")
    shown = ("--certificate", mine["certificate"], "--key", mine["private_key"])
    async with asked(server(AUTHORITY.issue("gateway"), asks=True)) as (target, callers):
        command = ("clock", "--target", target, "--timeout", "20")
        assert await ran(*command, "--ca", ca, *shown) == cli.COMPLETE
        named = ("--server-name", "localhost")
        assert await ran(*command, "--ca", ca, *shown, *named) == cli.COMPLETE
        assert await ran(*command, "--tls") == cli.NO_GATEWAY
        assert await ran(*command, "--ca", "nowhere.pem") == cli.WRONG_USAGE
    assert len(callers) == 2


async def test_the_command_line_sends_no_key_where_it_can_be_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """To another machine a key goes over TLS, or with `--insecure-key`."""
    command = ("status", "--target", "10.255.255.1:1", "--api-key", KEY, "--timeout", "0.1")
    assert await ran(*command) == cli.WRONG_USAGE
    assert await ran(*command, "--insecure-key") == cli.NO_GATEWAY
    said = capsys.readouterr()
    assert KEY not in said.out + said.err
