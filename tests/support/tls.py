"""TLS in front of a real server that was built without it, as the embedded ones are."""

from __future__ import annotations

import atexit
import select
import shutil
import socket
import socketserver
import ssl
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tools.embedded.process import HOST, home

_CHUNK = 65536

_PATIENCE = 20.0
"""Seconds that a client may take over a step."""

_MAY_WE_ENCRYPT = struct.pack("!ii", 8, 80877103)
"""The message by which a client of PostgreSQL asks for TLS on a connection that began without."""

_CONFIG = """
[req]
prompt = no
distinguished_name = name
x509_extensions = extensions
[name]
CN = localhost
[extensions]
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature, keyCertSign
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
subjectAltName = DNS:localhost, IP:127.0.0.1
"""


@dataclass(frozen=True, slots=True)
class TlsFront:
    """Where a server can be reached by TLS."""

    port: int
    """On 127.0.0.1; the certificate is good for that and for localhost."""

    authority: Path
    """PEM file of whom to trust for that certificate."""


@contextmanager
def tls_front(target_port: int, *, postgres: bool = False) -> Iterator[TlsFront]:
    """Take TLS connections for *target_port* as long as the block lasts, in threads of its own.

    Skips the test, saying so, on a machine that cannot make a certificate.

    Args:
        target_port: port of the loopback where the server speaks without TLS.
        postgres: let clients ask for TLS first, as PostgreSQL's do.
    """
    folder = certificate_of_this_process()
    certificate = folder / "certificate.pem"
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, folder / "key.pem")
    with _Front(target_port, context, postgres=postgres) as front:
        thread = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield TlsFront(front.server_address[1], certificate)
        finally:
            front.shutdown()
            thread.join()
            front.disconnect()


class _Front(socketserver.ThreadingTCPServer):
    """Listens for clients, and gives each connection a thread."""

    def __init__(self, target_port: int, context: ssl.SSLContext, *, postgres: bool) -> None:
        super().__init__((HOST, 0), _Connection)
        self.target_port = target_port
        self.context = context
        self.postgres = postgres
        self.targets: set[socket.socket] = set()

    def disconnect(self) -> None:
        """Have every connection end, by ending its other half."""
        for target in tuple(self.targets):
            with suppress(OSError):
                target.shutdown(socket.SHUT_RDWR)


class _Connection(socketserver.BaseRequestHandler):
    """One client's connection, decrypted for the server."""

    server: _Front
    request: socket.socket

    def handle(self) -> None:
        """Pass bytes on until one side ends."""
        with suppress(OSError), socket.create_connection((HOST, self.server.target_port)) as target:
            self.server.targets.add(target)
            try:
                self.request.settimeout(_PATIENCE)
                if self.server.postgres:
                    self._agree()
                with self.server.context.wrap_socket(self.request, server_side=True) as client:
                    _relay(client, target)
            finally:
                self.server.targets.discard(target)

    def _agree(self) -> None:
        if self.request.recv(len(_MAY_WE_ENCRYPT), socket.MSG_WAITALL) != _MAY_WE_ENCRYPT:
            raise ConnectionRefusedError
        self.request.sendall(b"S")


def _relay(client: ssl.SSLSocket, target: socket.socket) -> None:
    """Pass bytes both ways until one side ends."""
    while True:
        # What is decrypted already waits where no select can see it.
        ready = [client] if client.pending() else select.select([client, target], [], [])[0]
        for source in ready:
            data = source.recv(_CHUNK)
            if not data:
                return
            (target if source is client else client).sendall(data)


@cache
def certificate_of_this_process() -> Path:
    """Return a folder with certificate.pem and key.pem for localhost, made for this process and removed with it."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl here to make a certificate with")
    folder = Path(tempfile.mkdtemp(prefix="certificate-", dir=home()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "config").write_text(_CONFIG)
    subprocess.run(
        [program, "req", "-x509", "-config", "config", "-days", "2", "-nodes", "-newkey", "ec",
         "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", "key.pem", "-out", "certificate.pem"],
        cwd=folder,
        check=True,
        capture_output=True,
    )  # fmt: skip
    return folder
