"""What `make demo` and `make run` tell somebody to type, who is in the repository's folder."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.text import Text

GATEWAY: Final = "127.0.0.1:50051"
"""Where the gateway of `make run` listens, and the client asks when it is told nothing."""

PATH_LINE: Final = 'export PATH="$PWD/.venv/bin:$PATH"'
"""Makes the names of the programs mean the ones that `make setup` installed."""

_SERVICE: Final = "tickgate.v1.QuoteService"
_OPTIONS: Final = "tickgate.v1.OptionService"
_STREAMS: Final = "tickgate.v1.StreamService"
_HISTORY: Final = "tickgate.v1.HistoryService"

QUESTIONS: Final = (
    f"grpcurl -plaintext {GATEWAY} list",
    f"grpcurl -plaintext {GATEWAY} describe {_SERVICE}",
    f'grpcurl -plaintext -d \'{{"symbol":"AAPL"}}\' {GATEWAY} {_SERVICE}/GetQuote',
    f'grpcurl -plaintext -max-time 5 -d \'{{"subscription":{{"symbols":["AAPL"]}}}}\' {GATEWAY} {_STREAMS}/Watch',
    f'grpcurl -plaintext -d \'{{"underlying_symbol":"AAPL","page_size":3}}\' {GATEWAY} {_OPTIONS}/GetOptionChain',
    f'grpcurl -plaintext -d \'{{"symbol":"AAPL","time":"2026-09-30T18:00:00Z"}}\' {GATEWAY} {_HISTORY}/GetPriceAt',
    f"grpcurl -plaintext {GATEWAY} tickgate.v1.StatusService/GetEntitlements",
    f"grpcurl -plaintext -d '{{\"page_size\":5}}' {GATEWAY} tickgate.v1.AdminService/ListErrors",
    "tickgate watch AAPL MSFT --for 10",
    "tickgate quote AAPL MSFT ZZZZ --view full",
    "tickgate chain AAPL --around 3",
    "tickgate bars AAPL --timeframe 1Day --start 2026-06-01 --plot",
    "tickgate coverage AAPL --timeframe 1Day",
    "tickgate status",
    "tickgate errors --since 15m",
)
"""Lines that a gateway which runs there answers."""


def show(console: Console) -> None:
    """Print what to type, each line whole, so that it can be copied."""
    for line in (PATH_LINE, *QUESTIONS):
        console.print(Text(f"  {line}"), soft_wrap=True)
