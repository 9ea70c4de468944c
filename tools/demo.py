"""`make demo`: what tickgate does, in one minute, with the real programs on free ports."""

from __future__ import annotations

import sys
from urllib.request import Request, urlopen

from rich.console import Console, RenderableType
from rich.rule import Rule
from rich.text import Text

import tickgate
from tickgate import View, _tables

from . import hints
from .programs import ProgramFailed, gateway_program, sandbox_program

SYMBOLS = ("AAPL", "GOOGL", "MSFT", "TSLA", "AMZN")
"""What the sandbox's synthetic market trades."""

UNKNOWN, MALFORMED, CROSSED = "ZZZZ", "aapl", "AMZN"

_FROZEN_AT = "2026-10-01T15:00:00Z"
"""Market time of the demo, a Thursday at 11:00 New York: the market is open whenever the demo runs."""


def main() -> int:
    """Run the demo and return 0 when everything was as promised."""
    console = Console()
    if not console.is_terminal:
        # Nobody's window is that narrow; a log or a pipe just has no width of its own.
        console.width = 110
    try:
        with (
            sandbox_program("--at", _FROZEN_AT) as sandbox,
            gateway_program(sandbox.address) as gateway,
            tickgate.connect_sync(gateway.address) as client,
        ):
            _title(console, "a real value with its origin, or the exact reason why there is none")
            _intro(console, sandbox.address, gateway.address)
            _one_by_one(console, client)
            _crossed(console, client, sandbox.address)
            _batch(console, client)
            _snapshot_and_clock(console, client)
            _assets_and_status(console, client)
            _by_hand(console)
    except (ProgramFailed, tickgate.TickgateError) as failure:
        console.print(Text(f"the demo failed: {failure}", style="red"))
        return 1
    return 0


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(Rule(text, align="left"))


def _show(console: Console, *parts: RenderableType) -> None:
    for part in parts:
        console.print(part)


def _intro(console: Console, sandbox: str, gateway: str) -> None:
    console.print(f"sandbox (stands in for Alpaca)  http://{sandbox}", highlight=False)
    console.print(f"gateway                         {gateway}", highlight=False)
    console.print(f"market time                     {_FROZEN_AT}", highlight=False)


def _one_by_one(console: Console, client: tickgate.SyncClient) -> None:
    _title(console, "single quotes: five symbols, an unknown one, a malformed one")
    results = [_quote(client, symbol) for symbol in (*SYMBOLS, UNKNOWN)]
    _show(console, _tables.quotes(results))
    try:
        client.quote(MALFORMED)
    except tickgate.InvalidRequest as refusal:
        console.print(Text(f"\n{MALFORMED}: {refusal}", style="yellow"))
    else:
        msg = f"{MALFORMED} was not refused"
        raise ProgramFailed(msg)


def _quote(client: tickgate.SyncClient, symbol: str) -> tickgate.Quote | tickgate.Unavailable:
    try:
        return client.quote(symbol)
    except tickgate.DataUnavailableError as failure:
        return failure.unavailable


def _crossed(console: Console, client: tickgate.SyncClient, sandbox: str) -> None:
    _title(console, f"a crossed quote of {CROSSED}: refused by name, with the evidence")
    crossed = (
        '{"t":"2026-10-01T14:59:59.5Z","bx":"V","bp":221.07,"bs":3,"ax":"Q","ap":221.05,"as":2}'
    )
    address = f"http://{sandbox}/sandbox/pins/quotes/{CROSSED}"
    # The sandbox was started by this program and listens on loopback.
    with urlopen(Request(address, data=crossed.encode(), method="PUT")):
        pass
    try:
        client.quote(CROSSED, max_age=0)
    except tickgate.InvalidData as failure:
        console.print(_tables.unavailable(failure.unavailable))
    else:
        msg = "a crossed quote was served"
        raise ProgramFailed(msg)


def _batch(console: Console, client: tickgate.SyncClient) -> None:
    _title(console, "a batch: one result a symbol, in the asked order; view FULL")
    symbols = ["MSFT", UNKNOWN, "AAPL", CROSSED]
    _show(console, _tables.quotes(client.quotes(symbols, view=View.FULL, max_age=0)))


def _snapshot_and_clock(console: Console, client: tickgate.SyncClient) -> None:
    _title(console, "a snapshot, and the market's clock")
    _show(console, _tables.snapshots([client.snapshot("TSLA")]), _tables.clock(client.clock()))


def _assets_and_status(console: Console, client: tickgate.SyncClient) -> None:
    _title(console, "what can be asked for, and how the gateway is doing")
    _show(console, _tables.assets(list(client.assets("inc"))), _tables.status(client.status()))


def _by_hand(console: Console) -> None:
    _title(console, "try it yourself: `make run` leaves both up, then in another terminal")
    hints.show(console)


if __name__ == "__main__":
    sys.exit(main())
