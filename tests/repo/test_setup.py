"""What `make setup` makes of the machine that it runs on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("told", [True, False], ids=["pip was told", "pip was not told"])
def test_uv_trusts_whom_pip_trusts(tmp_path: Path, told: bool) -> None:
    """An authority that the system or pip's settings name, such as a company's proxy, counts for uv too."""
    calls, authority = tmp_path / "calls", tmp_path / "authority.pem"
    uv = tmp_path / "venv/bin/uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(f'#!/bin/sh\necho "$UV_SYSTEM_CERTS $*" >>{calls}\n')
    uv.chmod(0o755)
    uv.with_name("python").symlink_to(sys.executable)
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PIP_CERT", "UV_SYSTEM_CERTS"}
    }
    # The system's list is a file of the test's, since not every machine has one.
    authority.touch()
    environment |= {"PIP_CONFIG_FILE": os.devnull, "SSL_CERT_FILE": str(authority)}
    if told:
        environment["PIP_CERT"] = str(authority)

    subprocess.run(
        ["tools/setup.sh", "workspace", str(uv.parents[1])], cwd=ROOT, env=environment, check=True
    )

    for call in calls.read_text().splitlines():
        assert call.startswith("true pip install ")
        assert (f"--cert {authority}" in call) is told
