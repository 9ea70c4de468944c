"""A gateway with TLS as a process: strangers at its door, and its own health check."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tools.programs import environment_without_settings, gateway_program, sandbox_program

from ..support.certificates import Authority

pytestmark = pytest.mark.timeout(120)
"""Each starts programs, which takes a busy machine a while."""

STRANGERS = 5


def knock(address: str) -> None:
    """Connect without a certificate, and once without TLS."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    for _ in range(STRANGERS):
        with (
            suppress(ssl.SSLError, ConnectionError),
            socket.create_connection((host, int(port)), 5) as line,
            context.wrap_socket(line) as connection,
        ):
            connection.recv(1)
    with suppress(ConnectionError), socket.create_connection((host, int(port)), 5) as line:
        line.sendall(b"GET / HTTP/1.1\r\n\r\n")
        line.recv(1)


def test_strangers_write_nothing_into_the_log(tmp_path: Path) -> None:
    """Whoever fails to shake hands leaves no line, and the gateway, which knows its own certificate, is found well."""
    authority = Authority()
    files = authority.issue("gateway").write(tmp_path, "gateway")
    settings = {
        "TICKGATE_TLS__CERTIFICATE": files["certificate"],
        "TICKGATE_TLS__PRIVATE_KEY": files["private_key"],
        "TICKGATE_TLS__CLIENT_AUTHORITIES": authority.write(tmp_path / "authorities.pem"),
    }
    with (
        sandbox_program("--at", "2026-10-01T15:00:00Z") as sandbox,
        gateway_program(sandbox.address, settings) as gateway,
    ):
        knock(gateway.address)
        health = subprocess.run(
            [sys.executable, "-m", "tickgate_server", "health", "--timeout", "30"],
            env=environment_without_settings() | settings | {"TICKGATE_LISTEN": gateway.address},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    events = [json.loads(line)["event"] for line in gateway.lines if line.strip()]

    assert (health.returncode, health.stderr) == (0, "")
    assert "serves" in health.stdout
    assert "serving" in events
    assert "stopped" in events
