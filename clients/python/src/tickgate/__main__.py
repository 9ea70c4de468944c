"""`python -m tickgate`, and the script `tickgate`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say what it needs."""
    try:
        from ._cli import main as run  # noqa: PLC0415 - the extra may be missing
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in {"cyclopts", "rich"}:
            raise
        sys.exit("tickgate: the command line needs its extra: pip install 'tickgate[cli]'")
    sys.exit(run())


if __name__ == "__main__":
    main()
