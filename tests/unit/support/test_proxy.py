"""The fault proxy does to real connections what it says."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.proxy import FaultProxy, fault_proxy


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """Run a server that sends back what it gets, and lend its port."""
    writers = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


class Client:
    """One end of a connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, data: bytes) -> bytes:
        """Send *data* and return as much of what comes back."""
        self.writer.write(data)
        return await self.reader.readexactly(len(data))


@asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator[Client]:
    """Connect to *proxy*, and have the connection passed on."""
    before = proxy.accepted
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        await proxy.until(lambda proxy: proxy.accepted > before)
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def spoilt_echo() -> AsyncIterator[FaultProxy]:
    """Run an echo and a proxy in front of it."""
    async with echo() as port, fault_proxy(port) as proxy:
        yield proxy


async def test_bytes_pass_and_are_counted() -> None:
    """Without a fault, bytes pass both ways, ends included, and each is counted."""
    async with spoilt_echo() as proxy, connected(proxy) as client:
        echoed = await client.ask(b"x" * 200_000)
        client.writer.write_eof()
        end = await client.reader.read()
        client.writer.close()
        await proxy.until(lambda proxy: proxy.open == 0)

    assert (len(echoed), end) == (200_000, b"")
    assert (proxy.accepted, proxy.asked, proxy.answered) == (1, 200_000, 200_000)


async def test_answers_are_late() -> None:
    """With a delay, an answer comes that much later, on connections old and new, until it is mended."""
    async with spoilt_echo() as proxy, connected(proxy) as old, connected(proxy) as new:
        await old.ask(b"warm")
        proxy.delay(0.1, jitter=0.05)
        late = []
        for client in (old, new):
            asked = time.monotonic()
            await client.ask(b"?")
            late.append(time.monotonic() - asked)
        proxy.delay(3600)
        proxy.mend()
        await old.ask(b"?")

    assert min(late) >= 0.1


async def test_answers_are_slow() -> None:
    """With a throttle, answers take as long as their bytes do, and lose none."""
    async with spoilt_echo() as proxy, connected(proxy) as client:
        proxy.throttle(10_000)
        asked = time.monotonic()
        await client.ask(bytes(2_000))
        took = time.monotonic() - asked

    assert took >= 0.2


async def test_an_answer_is_cut() -> None:
    """A connection that is cut brings exactly as many more bytes and then its end."""
    async with spoilt_echo() as proxy, connected(proxy) as old:
        await old.ask(b"before")
        proxy.cut_after(10)
        async with connected(proxy) as new:
            got = []
            for client in (old, new):
                client.writer.write(b"longer than that")
                got.append(await client.reader.read())

    assert got == [b"longer tha"] * 2


async def test_connections_are_reset() -> None:
    """A reset breaks connections there are and those that come, until it is mended."""
    async with spoilt_echo() as proxy, connected(proxy) as old:
        await old.ask(b"before")
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await old.reader.read()
        async with connected(proxy) as new:
            with pytest.raises(ConnectionResetError):
                await new.reader.read()
        proxy.mend()
        async with connected(proxy) as later:
            assert await later.ask(b"after") == b"after"


async def test_connections_are_half_closed() -> None:
    """On a half-closed connection no answer comes and requests are still taken."""
    async with spoilt_echo() as proxy, connected(proxy) as old:
        await old.ask(b"before")
        proxy.half_close()
        async with connected(proxy) as new:
            ends = [await client.reader.read() for client in (old, new)]
            new.writer.write(b"heard?")
            await proxy.until(lambda proxy: proxy.asked == len(b"before" + b"heard?"))

    assert ends == [b"", b""]


async def test_a_black_hole_swallows() -> None:
    """A black hole takes connections and requests and never answers; mended, it carries what comes next."""
    async with spoilt_echo() as proxy, connected(proxy) as old:
        await old.ask(b"before")
        proxy.blackhole()
        async with connected(proxy) as new:
            for client in (old, new):
                client.writer.write(b"lost")
            await proxy.until(lambda proxy: proxy.asked == len(b"before" + b"lost" * 2))
            answered = proxy.answered
            proxy.mend()
            echoed = [await client.ask(b"after") for client in (old, new)]

    assert answered == len(b"before")
    assert echoed == [b"after"] * 2


async def test_a_black_hole_hides_an_end() -> None:
    """In a black hole even the end of a connection is not heard of before it is mended."""
    async with spoilt_echo() as proxy, connected(proxy) as client:
        await client.ask(b"before")
        proxy.blackhole()
        client.writer.write_eof()
        reading = asyncio.create_task(client.reader.read())
        async with connected(proxy) as other:
            other.writer.write(b"later than the end")
            await proxy.until(lambda proxy: proxy.asked > len(b"before"))
        still = not reading.done()
        proxy.mend()

        assert (still, await reading) == (True, b"")


async def test_connections_are_refused() -> None:
    """While it refuses, nobody listens on its port, which is the same one afterwards."""
    async with spoilt_echo() as proxy, connected(proxy) as old:
        await old.ask(b"before")
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            await old.reader.read()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.mend()
        async with connected(proxy) as new:
            assert await new.ask(b"after") == b"after"


async def test_a_target_that_is_down_resets() -> None:
    """Where nobody listens behind the proxy, its clients are reset."""
    async with spoilt_echo() as closed:
        closed.refuse()
        async with fault_proxy(closed.port) as proxy, connected(proxy) as client:
            with pytest.raises(ConnectionResetError):
                await client.reader.read()


async def test_no_task_is_left() -> None:
    """With the block, its connections end, black holes and delayed answers too."""
    before = asyncio.all_tasks()
    async with spoilt_echo() as proxy, connected(proxy) as late, connected(proxy) as lost:
        proxy.delay(3600)
        late.writer.write(b"?")
        await proxy.until(lambda proxy: proxy.asked == 1)
        proxy.blackhole()
        lost.writer.write(b"?")
        await proxy.until(lambda proxy: proxy.asked == 2)
    left = [task for task in asyncio.all_tasks() - before if "_Connection" in repr(task.get_coro())]

    assert not left
