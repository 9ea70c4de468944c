"""Carries the .proto files into the wheel and the sdist.

In a checkout they stand at the root of the repository, where every language finds them. An sdist
knows nothing outside its own folder, so it takes a copy along and a wheel built from it reads that.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Protos(BuildHookInterface):
    """Adds `protos/tickgate` to whatever is being built."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Find the protos and name their place in the archive."""
        if version == "editable":
            return  # a checkout has them already, one folder up
        home = Path(self.root)
        carried, checkout = home / "protos" / "tickgate", home.parents[1] / "protos" / "tickgate"
        source = carried if carried.is_dir() else checkout
        if not source.is_dir():
            message = (
                f"no .proto files at {carried} or {checkout}; build from a checkout or an sdist"
            )
            raise FileNotFoundError(message)
        inside = "protos/tickgate" if self.target_name == "sdist" else "tickgate/protos/tickgate"
        build_data["force_include"][str(source)] = inside
