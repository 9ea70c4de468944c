"""TLS before servers that have none themselves."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path


@asynccontextmanager
async def tls_before(
    port: int, folder: Path, *, on_request: bytes = b"", assent: bytes = b""
) -> AsyncIterator[tuple[int, Path]]:
    """Listen with TLS for the server on *port*, with a certificate made in *folder* that nobody has signed.

    Args:
        port: where the server is.
        folder: for certificate and key.
        on_request: what a client says before it begins with TLS; empty lets it begin at once.
        assent: the answer to that.

    Yields:
        Where it listens, and the certificate.
    """
    certificate, key = _certificate(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if await reader.readexactly(len(on_request)) == on_request:
                writer.write(assent)
                await writer.start_tls(context)
                inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], certificate


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of 127.0.0.1 and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    name = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", key, "-out", certificate)
    command = ["openssl", "req", "-x509", "-days", "2", *kind, *name, *files]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
