"""The sandbox as a program."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tickgate_sandbox import __version__

from .asking import KEYS


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[Process]:
    """Run the program, and see to it that it ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tickgate_sandbox", *arguments, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_serve(tmp_path: Path, stop: signal.Signals) -> None:
    """It says where it listens once it does, answers, and ends cleanly on a signal."""
    ready_file = tmp_path / "ready"
    arguments = ("serve", "--listen", "127.0.0.1:0", "--ready-file", str(ready_file))
    async with program(*arguments) as process:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{url}/v2/clock", headers=KEYS) as answer,
        ):
            status = answer.status
        process.send_signal(stop)

        assert await process.wait() == 0
    assert status == 200
    assert url.startswith("http://127.0.0.1:")
    assert ready_file.read_text() == f"{url}\n"


async def test_every_option(tmp_path: Path) -> None:
    """Every option reaches the sandbox it is meant for."""
    options = (
        "serve --listen 127.0.0.1:0 --symbols AAPL,MSFT --at 2026-11-20T10:00:00-05:00"
        " --speed 0 --step 1 --seed 5 --plan plus --rate-limit 100 --key-id key --secret secret"
        " --connections 0 --auth-timeout 5"
    )
    async with program(*options.split()) as process:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        query = "symbols=AAPL,MSFT,TSLA&feed=sip"
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{url}/v2/stocks/quotes/latest?{query}", headers=KEYS) as answer,
        ):
            quotes = (await answer.json())["quotes"]
            stream = f"{url.replace('http', 'ws')}/v2/sip"
            async with (
                session.ws_connect(stream, headers=KEYS) as one,
                session.ws_connect(stream, headers=KEYS) as other,
            ):
                welcome = [[await socket.receive_json() for _ in "12"] for socket in (one, other)]

    assert sorted(quotes) == ["AAPL", "MSFT"]
    assert quotes["AAPL"]["t"] == "2026-11-20T15:00:00Z"
    assert answer.headers["X-RateLimit-Limit"] == "100"
    assert [last[0]["msg"] for _, last in welcome] == ["authenticated", "authenticated"]


async def test_version() -> None:
    """It tells its version."""
    async with program("--version") as process:
        out, _ = await process.communicate()

    assert out.decode().strip() == __version__


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        ("--speed -1", 2, "tickgate-sandbox: speed lies between 0 and 1,000,000, not -1.0"),
        ("--replay /nowhere", 2, "tickgate-sandbox: there is no folder /nowhere"),
        ("--symbols IBM", 2, "tickgate-sandbox: there are no synthetic prices of IBM"),
    ],
)
async def test_wrong_option(options: str, code: int, sentence: str) -> None:
    """An option that makes no sense ends the program with one sentence."""
    async with program("serve", "--listen", "127.0.0.1:0", *options.split()) as process:
        _, err = await process.communicate()

    assert process.returncode == code
    assert err.decode().startswith(sentence)
    assert err.count(b"\n") == 1


async def test_taken_port() -> None:
    """A port that is taken ends the program with one sentence."""
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with program("serve", "--listen", f"127.0.0.1:{port}") as process:
            _, err = await process.communicate()

    assert process.returncode == 1
    assert err.decode().startswith(f"tickgate-sandbox: cannot listen on 127.0.0.1:{port}")
