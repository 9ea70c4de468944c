"""What the demo shows of the past: fetched once, kept, recorded, lived again."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from rich.text import Text

import tickgate
from tickgate import SeriesKind, Sort, Tier, _history_tables, _tables

from ..programs import gateway_program, program, sandbox_program
from .stage import BEGINS_AT, PATIENCE, Stage, promise, refused, until

_MONTH: Final = ("2026-09-01", "2026-10-01")
_WIDER: Final = ("2026-08-24", "2026-10-01")
"""A range that overlaps the month."""

_BELOW: Final = "/v2/stocks/bars"

_RECORDED_FOR: Final = 4
"""Seconds for which a session is recorded."""

_QUICKLY: Final = ("--at", BEGINS_AT, "--speed", "30", "--step", "1")
"""How a market runs of which there is much to record in them."""


def daily_bars(stage: Stage) -> None:
    """A few bars as rows."""
    stage.title("the past: daily bars, each with its origin; the running day is not final yet")
    asked = stage.market.asked(_BELOW)
    bars = list(stage.client.bars("AAPL", "1Day", "2026-09-21"))
    stage.show(_history_tables.bars(bars, (), 0))
    requests = stage.market.asked(_BELOW) - asked
    stage.tell(f"\nupstream requests: {requests}")
    promise(len(bars) == 9, f"{len(bars)} bars came of nine days")
    promise(requests == 1, f"nine bars cost {requests} requests")


def minute_bars(stage: Stage) -> None:
    """Many bars as columns, from wherever they are held."""
    stage.title("a month of minute bars, as columns: from the upstream, the store, and Redis")
    table = _tables.frame("From", "Bars", "Chunks", "Took", "Upstream requests")
    values = []
    for tier in (Tier.UPSTREAM, Tier.STORE, Tier.REDIS):
        asked, started = stage.market.asked(_BELOW), time.perf_counter()
        # Left alone the gateway takes the nearest tier that holds it, and at first none does.
        allowed = None if tier is Tier.UPSTREAM else [tier]
        records = stage.client.bars("AAPL", "1Min", *_MONTH, allowed_tiers=allowed).fetch()
        took = time.perf_counter() - started
        requests = stage.market.asked(_BELOW) - asked
        tiers = {chunk.provenance.served_from for chunk in records.chunks}
        promise(tiers == {tier}, f"minute bars came from {tiers}")
        table.add_row(
            *(str(tier), f"{len(records):,}", str(len(records.chunks))),
            *(f"{took * 1000:,.0f} ms", str(requests)),
        )
        values.append([(bar.start_time_ns, bar.open, bar.close, bar.volume) for bar in records])
        if tier is Tier.UPSTREAM:
            _until_held(stage, *_MONTH)
        else:
            promise(requests == 0, f"what is held cost {requests} requests")
    promise(values[0] == values[1] == values[2], "the tiers do not tell the same")
    stage.show(table)
    stage.tell("\nall three tell the same, to the last digit")


def only_what_is_missing(stage: Stage) -> None:
    """An overlapping range, and what is covered then."""
    stage.title("a range that overlaps what is held: only the missing part is fetched")
    asked = stage.market.asked(_BELOW)
    before = stage.client.coverage(["AAPL"], SeriesKind.BARS, "1Min")
    records = stage.client.bars("AAPL", "1Min", *_WIDER).fetch()
    requests = stage.market.asked(_BELOW) - asked
    fetched = sum(
        len(chunk) for chunk in records.chunks if chunk.provenance.served_from is Tier.UPSTREAM
    )
    _until_held(stage, _WIDER[0], _MONTH[0])
    stage.show(_history_tables.coverage(before))
    stage.tell(
        f"then {len(records):,} bars were read: {fetched:,} of them fetched, by {requests} request"
    )
    stage.show(_history_tables.coverage(stage.client.coverage(["AAPL"], SeriesKind.BARS, "1Min")))
    promise(requests == 1, f"a week of minute bars cost {requests} requests")
    promise(0 < fetched < len(records) / 3, f"{fetched} of {len(records)} bars were fetched")

    then = before[0].intervals[0].receive_time - timedelta(seconds=1) if before[0].ok else None
    refusal = refused(
        lambda: list(stage.client.bars("AAPL", "1Min", *_MONTH, as_of=then)),
        "what was not known then was told",
    )
    stage.tell("\nand a second before the first of them came, nothing was known:")
    stage.show(_tables.unavailable(refusal.unavailable))


def price_at(stage: Stage) -> None:
    """Prices of moments."""
    stage.title("what it traded at, at a moment: never later, and none is made up")
    client = stage.client
    stage.show(_history_tables.price_at(client.price_at("AAPL", "2026-09-30T18:00:00Z")))
    sunday = "2026-09-27T16:00:00Z"
    refusal = refused(lambda: client.price_at("AAPL", sunday), "a price was found on a Sunday")
    promise(isinstance(refusal, tickgate.NoData), f"refused for {refusal.reason}")
    stage.show(Text(), _tables.unavailable(refusal.unavailable), Text())
    friday = client.price_at("AAPL", sunday, tolerance=timedelta(days=3))
    promise(friday.age > timedelta(days=1), "the price of a Sunday is younger than a day")
    stage.show(_history_tables.price_at(friday))


def backfill(stage: Stage) -> None:
    """History that is fetched into the store."""
    stage.title(
        "a backfill: started at one gateway, carried out by the other; a failure costs only itself"
    )
    symbols = ["MSFT", "TSLA", "ZZZZ"]
    started = stage.other.start_backfill(
        symbols, "2026-07-01", "2026-10-01", kind=SeriesKind.BARS, timeframe="1Day"
    )

    def done() -> tickgate.Backfill | None:
        now = stage.client.backfill(started.id)
        return now if now.end_time is not None else None

    ended = until(done, "a backfill did not end")
    stage.show(_history_tables.backfills([ended]))
    promise(len(ended.failures) == 1, f"{len(ended.failures)} of {symbols} failed")
    asked = stage.market.asked(_BELOW)
    bars = list(stage.client.bars(symbols[:2], "1Day", "2026-07-01", "2026-10-01"))
    requests = stage.market.asked(_BELOW) - asked
    promise(requests == 0, f"what was filled in cost {requests} requests")
    stage.tell(f"\nread afterwards: {len(bars)} bars, upstream requests: {requests}")


def watchlist(stage: Stage) -> None:
    """Symbols that are recorded as they move."""
    stage.title("a watchlist: its trades and bars are recorded as they arrive")
    stage.client.put_watchlist("demo", ["MSFT", "GOOGL"], record=True, refresh_timeframes=["1Day"])
    stage.market.run(20)

    def recorded() -> tickgate.IngestionStatus | None:
        now = stage.client.status().ingestion
        return now if now is not None and now.trades > 20 and now.bars > 0 else None

    now = until(recorded, "nothing was recorded")
    covered = until(lambda: _live_coverage(stage), "nothing that was recorded is covered")
    stage.market.run(0)
    stage.show(_history_tables.watchlists(stage.client.watchlists()))
    stage.tell(
        f"\n{now.state}: {now.symbols} symbols, {now.trades} trades, {now.bars} bars, {now.dropped} dropped,"
        f" heartbeat {_tables.moment(now.heartbeat_time)}"
    )
    stage.tell("covered as far as the feed has proved that nothing is missing:")
    stage.show(_history_tables.coverage(covered))
    asked = stage.market.asked("/v2/stocks/trades")
    stretch = covered[0].intervals[-1]
    trades = list(stage.client.trade_history("MSFT", stretch.start_time_ns, stretch.end_time_ns))
    promise(
        stage.market.asked("/v2/stocks/trades") == asked, "trades that were recorded were fetched"
    )
    stage.show(_history_tables.trades(trades[:3], trades[-1:], len(trades) - 4))
    stage.client.delete_watchlist("demo")


def _live_coverage(stage: Stage) -> Sequence[tickgate.Coverage] | None:
    found = stage.client.coverage(["MSFT"], SeriesKind.TRADES)
    covered = [one for one in found if isinstance(one, tickgate.Coverage) and one.intervals]
    return covered if covered and covered[0].intervals[-1].count > 4 else None


def session(stage: Stage) -> None:
    """A session that is recorded, and lived again."""
    stage.title("a session recorded, and lived again by another sandbox and another gateway")
    folder = Path(tempfile.mkdtemp(prefix="tickgate-session-"))
    try:
        stage.tell(_record(folder))
        with ExitStack() as parts:
            again = parts.enter_context(
                sandbox_program("--replay", str(folder), "--at", "2026-10-01T16:00:00Z")
            )
            gateway = parts.enter_context(gateway_program(again.address))
            client = parts.enter_context(tickgate.connect_sync(gateway.address))
            trades = list(client.trade_history("AAPL", "2026-10-01"))
            promise(trades, "a session that was recorded has no trades")
            stage.show(_history_tables.trades(trades[:2], trades[-1:], len(trades) - 3))
            stage.tell("\ncorporate actions that a replay of AAPL knows:")
            stage.show(
                _history_tables.actions(
                    client.corporate_actions(["AAPL"], date(2014, 1, 1), date(2027, 1, 1))
                )
            )
    finally:
        shutil.rmtree(folder)


def _record(folder: Path) -> str:
    """Record a session of a sandbox of its own, whose feed nobody else holds; return what was said of it."""
    command = ["-m", "tickgate_server", "record", "AAPL", "MSFT", "--out", str(folder)]
    with sandbox_program(*_QUICKLY) as market:
        settings = {
            "TICKGATE_ALPACA__DATA_URL": f"http://{market.address}",
            "TICKGATE_ALPACA__TRADING_URL": f"http://{market.address}",
            "TICKGATE_ALPACA__STREAM_URL": f"ws://{market.address}",
        }
        arguments = [*command, "--for", f"{_RECORDED_FOR}s"]
        with program("tickgate-server record", arguments, settings) as recording:
            status = recording.process.wait(PATIENCE + _RECORDED_FOR)
    said = "".join(recording.lines).strip()
    promise(status == 0, f"a session could not be recorded: {said}")
    return said


def without_the_upstream(stage: Stage) -> None:
    """What is held, and what is not, when nobody can be asked."""
    stage.title("the upstream is gone: what is held is answered in full, what is not says why")
    stage.market.end()
    held = stage.client.bars("AAPL", "1Min", *_WIDER).fetch()
    tiers = sorted({str(chunk.provenance.served_from) for chunk in held.chunks})
    promise(held.whole, "what is held was not told in full")
    stage.tell(
        f"{' to '.join(_WIDER)}: all of {len(held):,} minute bars, from {', '.join(tiers)}\n"
    )

    some = stage.client.bars("AAPL", "1Min", "2026-09-30", "2026-10-01T14:00:00Z", partial=True)
    rows = list(some)
    promise(rows and some.missing, "what is not held was told")
    stage.show(_history_tables.bars(rows[:2], rows[-1:], len(rows) - 3))
    stage.show(*_history_tables.notes(some.missing, some.ends))


def _until_held(stage: Stage, start: str, end: str) -> None:
    """Wait for what has been read to be written, the oldest first: that goes on at its own pace."""

    def newest() -> list[tickgate.Bar]:
        held = stage.client.bars(
            "AAPL",
            "1Min",
            start,
            end,
            sort=Sort.NEWEST_FIRST,
            limit=1,
            allowed_tiers=[Tier.STORE],
            partial=True,
        )
        return list(held)

    until(newest, "what was fetched is not held")
