"""nginx of deploy/nginx.conf, the real one, between real callers and real gateways."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from tests.deploy.files import DEPLOY
from tests.support.debian import debian_program
from tests.support.running import running, second_gateway
from tests.support.tls import certificate_of_this_process
from tickgate.v1 import admin_service_pb2 as admin_pb
from tickgate.v1 import admin_service_pb2_grpc as admin
from tickgate.v1 import quote_service_pb2 as quotes_pb
from tickgate.v1 import quote_service_pb2_grpc as quotes
from tickgate.v1 import stream_service_pb2 as streams_pb
from tickgate.v1 import stream_service_pb2_grpc as streams
from tools.embedded.process import Port

PATIENCE = 20.0
"""Seconds that nginx may take to listen, or to end."""

QUESTION = quotes_pb.GetQuoteRequest(symbol="AAPL")
NOBODY = "127.0.0.1:1"
"""Where nothing listens."""


def configure(folder: Path, port: int, gateways: Sequence[str]) -> Sequence[str | Path]:
    """Write nginx.conf into *folder*, other addresses in it, and return the command that runs it there."""
    text = (DEPLOY / "nginx.conf").read_text()
    for name in ("tls", "logs", "temp"):
        (folder / name).mkdir()
    certificate = certificate_of_this_process()
    shutil.copyfile(certificate / "certificate.pem", folder / "tls/tls.crt")
    shutil.copyfile(certificate / "key.pem", folder / "tls/tls.key")
    # Folders that a distribution's nginx has elsewhere, where they may be missing.
    temporary = "".join(
        f"{kind}_temp_path temp/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    for number, gateway in enumerate(gateways, 1):
        text = text.replace(f"gateway-{number}:50051", gateway)
    text = text.replace("listen 443", f"listen 127.0.0.1:{port}")
    text = text.replace("http {\n", f"http {{\n{temporary}", 1)
    assert "gateway-" not in re.sub("#.*", "", text)
    (folder / "nginx.conf").write_text(text)
    return (
        debian_program("nginx"),
        "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "logs/error.log",
    )  # fmt: skip


@asynccontextmanager
async def nginx(folder: Path, *gateways: str) -> AsyncIterator[grpc.aio.Channel]:
    """Run nginx before *gateways*, and give a channel to it, by TLS."""
    port = Port()
    process = await asyncio.create_subprocess_exec(
        *configure(folder, port.number, gateways), "-g", "daemon off;", stderr=subprocess.DEVNULL
    )
    authority = (certificate_of_this_process() / "certificate.pem").read_bytes()
    credentials = grpc.ssl_channel_credentials(authority)
    try:
        async with grpc.aio.secure_channel(f"localhost:{port.number}", credentials) as channel:
            async with asyncio.timeout(PATIENCE):
                await channel.channel_ready()
            yield channel
    finally:
        process.terminate()
        async with asyncio.timeout(PATIENCE):
            await process.wait()
        port.close()


async def failure(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    """Return the status that *call* fails with."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    """`nginx -t` finds no fault."""
    command = configure(tmp_path, 50443, (NOBODY, NOBODY))
    done = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    # The first where nobody is root, the second since nginx 1.25, whose new spelling older ones do not know.
    expected = ('the "user" directive', 'the "listen ... http2" directive is deprecated')
    warnings = [line for line in done.stderr.splitlines() if "[warn]" in line]
    assert [line for line in warnings if not any(words in line for words in expected)] == []


async def test_questions_and_streams_pass(tmp_path: Path) -> None:
    """Through nginx and TLS a question is answered with its trailers, and a stream brings updates."""
    async with running() as stack, nginx(tmp_path, stack.target, stack.target) as channel:
        call = quotes.QuoteServiceStub(channel).GetQuote(QUESTION)
        answer = await call
        trailers = dict(await call.trailing_metadata())
        watch = streams.StreamServiceStub(channel).Watch(
            streams_pb.WatchRequest(subscription=streams_pb.Subscription(symbols=["AAPL"]))
        )
        async with asyncio.timeout(PATIENCE):
            async for message in watch:
                if message.WhichOneof("event") == "updates":
                    break
        watch.cancel()

    assert answer.result.quote.symbol == "AAPL"
    assert trailers["x-request-id"]
    assert message.updates.updates[0].quote.symbol == "AAPL"


async def test_a_gateway_that_is_gone_is_left_out(tmp_path: Path) -> None:
    """With one of two gateways gone, every question is answered, and asked of the upstream once."""
    async with running() as stack, nginx(tmp_path, NOBODY, stack.target) as channel:
        stub = quotes.QuoteServiceStub(channel)
        answers = [await stub.GetQuote(QUESTION) for _ in range(20)]
        watch = streams.StreamServiceStub(channel).Watch(
            streams_pb.WatchRequest(subscription=streams_pb.Subscription(symbols=["AAPL"]))
        )
        async with asyncio.timeout(PATIENCE):
            assert await watch.read() is not grpc.aio.EOF
        watch.cancel()

        assert all(answer.result.quote.symbol == "AAPL" for answer in answers)
        assert stack.asked("/v2/stocks/quotes") <= 1


async def test_two_gateways_share_the_questions(tmp_path: Path) -> None:
    """Of two gateways that are up, each answers some of the questions."""
    async with (
        running() as first,
        second_gateway(first) as second,
        nginx(tmp_path, first.target, second.target) as channel,
    ):
        stub = quotes.QuoteServiceStub(channel)
        await asyncio.gather(*(stub.GetQuote(QUESTION) for _ in range(40)))

        answered = [
            stack.gateway.counters.rpcs["QuoteService/GetQuote"].codes["OK"]
            for stack in (first, second)
        ]

    assert sum(answered) == 40
    assert min(answered) > 0


async def test_no_gateway_is_unavailable(tmp_path: Path) -> None:
    """With no gateway to be reached, callers get UNAVAILABLE and a sentence, not an error page."""
    async with nginx(tmp_path, NOBODY, NOBODY) as channel:
        error = await failure(quotes.QuoteServiceStub(channel).GetQuote(QUESTION))

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.details() == "no gateway can be reached"


async def test_operators_calls_stay_at_home(tmp_path: Path) -> None:
    """AdminService, which trusts the gateway's own machine, is refused to whoever comes through nginx."""
    async with running() as stack, nginx(tmp_path, stack.target, stack.target) as channel:
        call = admin.AdminServiceStub(channel).InvalidateCache(admin_pb.InvalidateCacheRequest())
        error = await failure(call)
        nowhere = channel.unary_unary("/nowhere.Service/Method", bytes, bytes)
        unknown = await failure(nowhere(b""))

    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert unknown.code() is grpc.StatusCode.UNIMPLEMENTED
