"""What the image promises, as far as it shows without a container engine: lint, and the program shut in as there."""

from __future__ import annotations

import errno
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.deploy.files import ROOT
from tools.embedded.process import Port
from tools.programs import Program, sandbox_program

USER = "10001"
"""Whom the image runs as."""

ISOLATION = """
mount --make-rprivate / && mount -o remount,ro,bind / && mount -o remount,ro,bind /dev/shm && exec "$@"
"""
"""Makes the tree read-only, for the program that follows and nobody else."""

PROBE = """
import sys, tickgate_server
try:
    open("/tmp/written", "w")
except OSError as error:
    print(sys.version.split()[0], error.errno)
"""
"""Prints the interpreter's version, and the error of a try to write."""


def image_environment() -> dict[str, str]:
    """Return the variables that the image sets for the gateway."""
    last = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").rpartition("\nFROM ")[2]
    found: dict[str, str] = {}
    for line in re.findall(r"^ENV (.+)$", last, re.MULTILINE):
        found |= dict(word.split("=", 1) for word in shlex.split(line))
    del found["PATH"]
    return found


def contained(environment: Mapping[str, str]) -> list[str]:
    """Return a command that runs what follows it without any rights, in a file system that it cannot write to.

    It runs as the image's user, and as this one where an interpreter in somebody's home is out of the other's reach.
    Skips the test, saying so, where shutting a program in takes rights that are missing.
    """
    for tool in ("unshare", "setpriv"):
        if shutil.which(tool) is None:
            # Both come with every Linux, and with nothing else.
            pytest.skip(f"no {tool} here to take a program's rights away with")
    shut_in = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        ISOLATION,
        "sh",
        "setpriv",
        "--no-new-privs",
        "--bounding-set=-all",
    ]
    why = ""
    for user in ([f"--reuid={USER}", f"--regid={USER}", "--clear-groups"], []):
        command = [*shut_in, *user]
        tried = ask(*command, sys.executable, "-c", PROBE, environment=environment)
        if not tried.returncode and tried.stdout.split() == [
            sys.version.split()[0],
            str(errno.EROFS),
        ]:
            return command
        why = tried.stderr.strip()[-200:]
    pytest.skip(f"no program can be shut in here: {why}")


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="hadolint's package holds one program, for Linux on x86-64",
)
def test_the_dockerfile_is_clean() -> None:
    """Hadolint finds nothing to say about it."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None, "`make setup` installs it"
    done = subprocess.run(
        [hadolint, "--failure-threshold", "style", ROOT / "Dockerfile"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


def test_health_is_looked_at_as_promised() -> None:
    """Each image looks at its health each 30 seconds, for 10 at most, from 5 on, and gives up at the third failure."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    found = re.findall(r"^HEALTHCHECK (.+?) +CMD (.+)$", text, re.MULTILINE)

    assert len(found) == 2
    for options, command in found:
        assert options.split() == [
            "--interval=30s",
            "--timeout=10s",
            "--start-period=5s",
            "--retries=3",
        ]
        assert "curl" not in command
    assert found[-1][1] == '["tickgate-server", "health"]'


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_gateway_writes_nothing() -> None:
    """With the image's variables, no rights and nothing to write to it serves, says so when asked, and drains."""
    with closing(Port()) as port, sandbox_program() as sandbox:
        environment = image_environment() | {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "TICKGATE_LISTEN": f"127.0.0.1:{port.number}",
            "TICKGATE_HTTP_LISTEN": "127.0.0.1:0",
            "TICKGATE_ALPACA__DATA_URL": f"http://{sandbox.address}",
            "TICKGATE_ALPACA__TRADING_URL": f"http://{sandbox.address}",
            "TICKGATE_ALPACA__STREAM_URL": f"ws://{sandbox.address}",
            "TICKGATE_LOG__FORMAT": "json",
        }
        alone = contained(environment)
        gateway = [sys.executable, "-m", "tickgate_server"]
        process = subprocess.Popen(
            [*alone, *gateway, "serve"],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        running = Program("tickgate-server", process)
        try:
            assert running.address == f"127.0.0.1:{port.number}"
            health = ask(*alone, *gateway, "health", environment=environment)
        finally:
            status = running.stop()
        gone = ask(*alone, *gateway, "health", "--timeout", "0.5", environment=environment)

    assert (health.returncode, health.stdout) == (0, f"{running.address} serves\n")
    assert gone.returncode == 1
    assert status == 0
    assert '"stopped"' in running.lines[-1]
    assert not any("Traceback" in line or "Read-only" in line for line in running.lines)


def ask(*command: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run *command* to its end."""
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
