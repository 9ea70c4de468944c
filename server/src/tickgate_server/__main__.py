"""`tickgate-server`: serve, and what an operator does beside that."""

from __future__ import annotations

import sys
from typing import Final

from cyclopts import App

from . import __version__
from .errors import OrderError
from .settings import SettingsError

cli = App(
    name="tickgate-server",
    help="A gRPC market data gateway over Alpaca.",
    version=f"tickgate-server {__version__}",
)

_COMMANDS: Final = (
    ("serving:serve", "serve", "Serve until SIGTERM or SIGINT, then drain."),
    ("serving:ingest", "ingest", "Record, refresh and backfill history apart from serving."),
    ("serving:migrate", "migrate", "Bring the schema of PostgreSQL up to date."),
    ("history:backfill", "backfill", "Fetch history into the store."),
    ("history:record", "record", "Record a session as it comes, for the sandbox to live again."),
    ("keys:keys", "keys", "Make, list and revoke API keys, while gateways run."),
    ("config:show_config", "config", "Print the effective settings, without secrets."),
    ("health:health", "health", "Ask a gateway whether it serves."),
)
"""Place, name and purpose of each command. A module is imported when one of its commands is called."""

for _place, _name, _purpose in _COMMANDS:
    cli.command(f"{__package__}.commands.{_place}", name=_name, help=_purpose)


def main() -> None:
    """Run the command line."""
    try:
        sys.exit(cli())
    except OrderError as error:
        print(f"tickgate-server: {error}", file=sys.stderr)
        sys.exit(2)
    except SettingsError as error:
        print(f"tickgate-server: the settings cannot be used\n{error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
