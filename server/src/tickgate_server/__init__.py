"""tickgate-server: a gRPC market data gateway over Alpaca. Enter it through `tickgate_server.app.gateway`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

__version__: Final = version("tickgate-server")
