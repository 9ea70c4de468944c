"""Settings that make no sense are refused with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tickgate_sandbox import SandboxSettings, SettingsError


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"listen": "50080"}, "host:port"),
        ({"listen": "127.0.0.1:http"}, "host:port"),
        ({"listen": "127.0.0.1:65536"}, "host:port"),
        ({"at": "noon"}, "at: 'noon' is not a time"),
        ({"at": "1815-06-18T11:30:00Z"}, "between 1970-01-01 and 2029-12-31"),
        ({"at": "0001-01-01T00:00:00Z"}, "between 1970-01-01 and 2029-12-31"),
        ({"speed": -1.0}, "speed lies between 0 and 1,000,000, not -1.0"),
        ({"speed": 1e308}, "speed lies between"),
        ({"speed": float("nan")}, "speed lies between"),
        ({"step": 0.01}, "step is 0.1 seconds or more"),
        ({"max_records": 0}, "max_records is 1 or more"),
        ({"rate_limit": 0}, "rate_limit is 1 or more"),
        ({"connections": -1}, "connections is 0 or more a feed"),
        ({"auth_timeout": 0.0}, "auth_timeout is more than 0 seconds, not 0.0"),
        ({"auth_timeout": float("inf")}, "auth_timeout is more than 0 seconds, not inf"),
        ({"key_id": "k"}, "together or not at all"),
        ({"shift_to_now": True}, "name their folder with replay"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_setting(wrong: dict[str, Any], sentence: str) -> None:
    """The sentence names the setting and what it should be."""
    with pytest.raises(SettingsError, match=sentence):
        SandboxSettings(**wrong)


def test_ipv6() -> None:
    """An IPv6 address stands in brackets."""
    assert SandboxSettings(listen="[::1]:0").address == ("::1", 0)


def test_secret_is_not_shown() -> None:
    """The secret does not show in a log of the settings."""
    settings = SandboxSettings(key_id="k", secret="hush", replay=Path())

    assert "hush" not in repr(settings)
