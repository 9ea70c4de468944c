"""Run the demo."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from rich.console import Console
from rich.text import Text

import tickgate

from .. import hints
from ..embedded import ServerFailed, postgres_server, redis_server
from ..programs import ProgramFailed, gateway_program, sandbox_program
from . import callers, now, past
from .stage import BEGINS_AT, Market, NotAsPromised, Stage


def main() -> int:
    """Run the demo and return 0 when everything was as promised."""
    console = Console()
    if not console.is_terminal:
        # Nobody's window is that narrow; a log or a pipe just has no width of its own.
        console.width = 130
    try:
        with ExitStack() as parts:
            stage = _set_up(console, parts)
            for show in _PARTS:
                show(stage)
    except (ProgramFailed, ServerFailed, tickgate.TickgateError, NotAsPromised) as failure:
        console.print(Text(f"the demo failed: {failure}", style="red"))
        return 1
    return 0


def _set_up(console: Console, parts: ExitStack) -> Stage:
    sandbox = parts.enter_context(sandbox_program("--at", BEGINS_AT))
    redis = parts.enter_context(redis_server())
    postgres = parts.enter_context(postgres_server())
    one, other = (
        parts.enter_context(
            gateway_program(
                sandbox.address,
                # Requests are counted, and nobody is to ask but who is seen to.
                {"TICKGATE_PROBE__IDLE": "0", "TICKGATE_INGESTION__ENABLED": ingests},
                redis_url=redis.url,
                postgres_url=postgres.url,
            )
        )
        # One account has one connection to a feed: of two replicas one records.
        for ingests in ("true", "false")
    )
    stage = Stage(
        console,
        Market(sandbox),
        redis,
        one,
        parts.enter_context(tickgate.connect_sync(one.address)),
        parts.enter_context(tickgate.connect_sync(other.address)),
    )
    stage.title("a real value with its origin, or the exact reason why there is none")
    stage.tell(f"sandbox (stands in for Alpaca)  http://{sandbox.address}")
    stage.tell(f"gateways                        {one.address} and {other.address}")
    stage.tell(f"what they share                 Redis on port {redis.port}")
    stage.tell(f"                                PostgreSQL on port {postgres.port}")
    stage.tell(f"market time                     {BEGINS_AT}")
    return stage


def _by_hand(stage: Stage) -> None:
    stage.title("try it yourself: `make run` leaves all of it up, then in another terminal")
    hints.show(stage.console)


_PARTS: Final[tuple[Callable[[Stage], None], ...]] = (
    now.one_by_one,
    now.crossed,
    now.batch,
    now.snapshot_and_clock,
    now.options,
    now.replicas,
    now.crowd,
    now.budget,
    now.outage,
    now.redis_gone,
    now.rules,
    now.error_log,
    now.invalidate,
    now.live,
    past.daily_bars,
    past.minute_bars,
    past.only_what_is_missing,
    past.price_at,
    past.backfill,
    past.watchlist,
    past.session,
    now.assets_and_status,
    callers.api_keys,
    past.without_the_upstream,
    _by_hand,
)


if __name__ == "__main__":
    sys.exit(main())
