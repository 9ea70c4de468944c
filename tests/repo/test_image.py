"""The container image, as far as it can be known without building it."""

import os
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from tickgate_server.settings import load
from tools.programs import environment_without_settings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture(autouse=True)
def _only_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of the gateway's image, and no others."""
    for variable in os.environ.keys() - environment_without_settings().keys():
        monkeypatch.delenv(variable)
    gateway = DOCKERFILE.replace("\\\n", " ").rpartition("\nFROM ")[2]
    for line in re.findall(r"^ENV (.+)$", gateway, re.MULTILINE):
        for variable, value in re.findall(r"(TICKGATE_\w+)=(\S+)", line):
            monkeypatch.setenv(variable, value)


def test_the_image_sets_what_the_gateway_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of the Dockerfile are settings, and the ports they listen on are the ones exposed."""
    monkeypatch.setenv(
        "TICKGATE_IDENTITY__WITHOUT_KEYS", "whoever reaches this port may read everything"
    )
    exposed = re.findall(r"^EXPOSE (\d+) (\d+)$", DOCKERFILE, re.MULTILINE)
    published = re.findall(r"-p 127\.0\.0\.1:\d+:(\d+)", DOCKERFILE)
    settings = load(None)

    # Inside a container the loopback address reaches nobody.
    ports = [listen.removeprefix("0.0.0.0:") for listen in (settings.listen, settings.http_listen)]
    assert [tuple(ports)] == exposed
    assert published == ports[:1]


def test_the_line_that_runs_it_gives_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The `docker run` in the Dockerfile names settings that the gateway takes, and all that it needs."""
    (line,) = re.findall(r"^#\s+(docker run (?:.*\\\n#\s+)*.*)$", DOCKERFILE, re.MULTILINE)
    words = shlex.split(re.sub(r"\\\n#\s+", " ", line))
    given = [word for flag, word in pairwise(words) if flag == "-e"]
    for variable in given:
        name, _, value = variable.partition("=")
        # Docker hands on what its caller's environment holds of a name without a value.
        monkeypatch.setenv(name, value or "from-outside")
    settings = load(None)

    assert settings.environment == "paper"
    assert settings.keys == ("from-outside", "from-outside")
    assert {"--read-only", "--cap-drop"} <= set(words)


def test_only_numbers_say_who_runs_it() -> None:
    """Each image that is run says by a number whom it runs as, which an orchestrator can tell from root."""
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    run = [stage for stage in stages if re.search(r"^ENTRYPOINT", stage, re.MULTILINE)]

    assert len(run) == 2
    assert all("\nUSER 10001:10001\n" in stage for stage in run)


def test_what_is_copied_gets_through() -> None:
    """Whatever the Dockerfile copies from here, .dockerignore lets in."""
    let_in = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.MULTILINE)

    assert copied
    for path in copied:
        assert path in let_in
        assert (ROOT / path).exists()
