"""What is in force."""

from __future__ import annotations

import json

from .common import ConfigFile, settings_of


def show_config(config: ConfigFile = None) -> int:
    """Print the effective settings, without secrets, as JSON."""
    print(json.dumps(settings_of(config).shown(), indent=2))
    return 0
