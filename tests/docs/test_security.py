"""docs/security.md works as it stands: one walk through keys and certificates, typed from top to bottom."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_documents import ADDRESS, OPEN, settings_of
from tools.programs import environment_without_settings, sandbox_program

PAGE = Path(__file__).parents[2] / "docs/security.md"
NEXT = "--- the next block ---"

BEFORE = "set -eu\ntrap 'kill $! 2> /dev/null; wait' EXIT\n"
"""Whoever types sees what fails: a script must stop there, and the gateway with it."""


def free_port() -> int:
    """A port that nobody has, for a gateway that is started twice on the same."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_page_works_as_it_stands(tmp_path: Path) -> None:
    """Every command of the page, in its order, does what the page says, and shows no key but where it is made."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    port = free_port()
    script = BEFORE + f'echo "{NEXT}"\n'.join(blocks)
    script = script.replace(ADDRESS, f"127.0.0.1:{port}").replace(":50051", f":{port}")
    with sandbox_program("--at", OPEN) as sandbox:
        environment = environment_without_settings() | settings_of(sandbox.address)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment
            | {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "TICKGATE_LISTEN": f"127.0.0.1:{port}",
                "TICKGATE_HTTP_LISTEN": "off",
                "TICKGATE_LOG__FORMAT": "json",
                "COLUMNS": "120",
            },
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    made, _, serving, asked, replaced, renewed, mutual = done.stdout.split(NEXT)
    assert "desk-7" in made
    assert "serves" in serving
    assert asked.count("AAPL") >= 2
    assert '"price"' in asked
    assert ("is revoked" in replaced, " valid " in replaced, " revoked " in replaced) == (
        True,
        True,
        True,
    )
    assert not renewed.strip()
    assert "serves" in mutual
    assert "AAPL" in mutual
    assert '"consumer":"desk-7"' in done.stderr
    key = (tmp_path / "desk-7.key").read_text().strip()
    secret = (tmp_path / "identity-secret").read_text().strip()
    for hidden in (key.rpartition("_")[2], secret):
        assert hidden not in done.stdout + done.stderr
        assert hidden not in (tmp_path / "keys.jsonl").read_text()
