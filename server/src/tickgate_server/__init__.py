"""tickgate-server: a gRPC market data gateway over Alpaca. Enter it through `tickgate_server.app.gateway`."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"
