"""`make run`: sandbox and gateway on their default ports, up until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading

from rich.console import Console
from rich.text import Text

from . import hints
from .programs import ProgramFailed, gateway_program, sandbox_program


def main() -> int:
    """Start both programs, say how to talk to them, and wait."""
    console = Console()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with (
            sandbox_program(listen="127.0.0.1:50080") as sandbox,
            gateway_program(sandbox.address, listen=hints.GATEWAY) as gateway,
        ):
            console.print(f"sandbox  http://{sandbox.address}", highlight=False)
            console.print(f"gateway  {gateway.address}", highlight=False)
            console.print("\nin another terminal")
            hints.show(console)
            console.print("\nCtrl-C stops both.")
            stop.wait()
    except ProgramFailed as failure:
        console.print(Text(f"{failure}", style="red"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
