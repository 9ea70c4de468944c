"""The container image, as far as it can be known without building it."""

import os
import re
from pathlib import Path

import pytest

from tickgate_server.settings import load
from tools.programs import environment_without_settings

ROOT = Path(__file__).resolve().parents[2]


def test_the_image_sets_what_the_gateway_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of the Dockerfile are settings, and the port they listen on is the one exposed."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    for variable in os.environ.keys() - environment_without_settings().keys():
        monkeypatch.delenv(variable)
    for line in re.findall(r"^ENV (.+)$", text, re.MULTILINE):
        for variable, value in re.findall(r"(TICKGATE_\w+)=(\S+)", line):
            monkeypatch.setenv(variable, value)
    exposed = re.findall(r"^EXPOSE (.+)$", text, re.MULTILINE)
    published = re.findall(r"-p \d+:(\d+)", text)

    host, _, port = load(None).listen.rpartition(":")

    # Inside a container the loopback address reaches nobody.
    assert host == "0.0.0.0"
    assert [port] == exposed == published
