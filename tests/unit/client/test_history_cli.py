"""The past on the command line: both ends of a series, what is missing, and lines for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tickgate import _cli as cli
from tickgate.v1 import admin_service_pb2, history_pb2, history_service_pb2, provenance_pb2

from . import history_messages as own
from . import messages
from .cases import CASES
from .serving import served_by_threads

Capture = pytest.CaptureFixture[str]
START = ("--start", "2024-03-01")


def run(*tokens: str) -> int:
    """Run one command."""
    return cli.main(list(tokens))


@pytest.fixture
def address() -> Iterator[str]:
    """A gateway that gives every question the answer of its case."""

    def answering(reply: Any) -> Any:
        return lambda request, context: reply

    answers = {case.descriptor.name: answering(case.reply) for case in CASES}
    with served_by_threads(**answers) as target:
        yield target


def asked(*tokens: str, script: list[Any], method: str = "StreamBars") -> tuple[list[Any], int]:
    """Run a command before a gateway that plays a script; return what was asked and the exit code."""
    requests: list[Any] = []

    def answer(request: Any, context: Any) -> Any:
        requests.append(request)
        return script

    with served_by_threads(**{method: answer}) as target:
        code = run(*tokens, "--address", target)
    return requests, code


def words(text: str) -> list[str]:
    """Each line of a table, with one blank between its words."""
    return [" ".join(line.split()) for line in text.splitlines()]


BARS = [
    history_service_pb2.StreamBarsResponse(symbol="SPY", chunk=own.BARS),
    own.bars_end("SPY", 3, refused_count=2),
]


def test_bars_are_a_table(capsys: Capture) -> None:
    """Each bar is a row with its source and tier, and what is left out stands beneath."""
    requests, code = asked("bars", "SPY", *START, script=BARS)
    assert code == cli.COMPLETE
    shown = capsys.readouterr()
    assert words(shown.out)[2:] == [
        "SPY 2024-03-01 14:30:00 UTC 498.33 499.00 498.00 498.50 1,200 – 498.5012345 alpaca SIP store",
        "SPY 2024-03-01 14:31:00 UTC 498.50 498.50 497.00 497.25 0 – – alpaca SIP store",
        "SPY 2024-03-01 14:33:00 UTC 498.00 498.25 497.99 498.01 – – 0.0000498 alpaca SIP store",
    ]
    assert "SPY: 2 records are no market values and were left out." in shown.err
    assert requests == [
        history_service_pb2.StreamBarsRequest(
            symbols=["SPY"],
            timeframe="1Day",
            start_time=messages.at(1_709_269_200 * messages.SECOND),
        )
    ]


def test_each_option_is_sent(capsys: Capture) -> None:
    """Timeframe, range, feed, adjustments, order, limit, knowledge and clamp reach the gateway."""
    options = (
        "--timeframe 1Min --start 2024-03-01T14:30:00Z --end 2024-03-02T00:00:00Z --feed sip --adjust split"
        " --adjust dividend --sort newest-first --limit 3 --as-of 2024-03-03T00:00:00Z --clamp"
    )
    requests, _ = asked("bars", "SPY", *options.split(), script=BARS)
    assert requests == [
        history_service_pb2.StreamBarsRequest(
            symbols=["SPY"],
            timeframe="1Min",
            start_time=messages.at(1_709_303_400 * messages.SECOND),
            end_time=messages.at(1_709_337_600 * messages.SECOND),
            feed=provenance_pb2.FEED_SIP,
            adjustments=[history_pb2.ADJUSTMENT_SPLIT, history_pb2.ADJUSTMENT_DIVIDEND],
            sort=history_pb2.SORT_NEWEST_FIRST,
            limit=3,
            as_of_time=messages.at(1_709_424_000 * messages.SECOND),
            clamp_to_entitlement=True,
        )
    ]
    assert capsys.readouterr().out


@pytest.mark.parametrize("count", [1, 20, 21, 40, 41, 60, 95])
def test_a_long_series_shows_both_ends(capsys: Capture, count: int) -> None:
    """The first twenty and the last twenty rows are shown, each once, and how many stand between them."""
    sizes = [7] * (count // 7) + ([count % 7] if count % 7 else [])
    firsts = [sum(sizes[:place]) for place in range(len(sizes))]
    script = [own.some_bars("SPY", first, size) for first, size in zip(firsts, sizes, strict=True)]
    _, code = asked("bars", "SPY", *START, script=[*script, own.bars_end("SPY", count)])
    assert code == cli.COMPLETE
    rows = words(capsys.readouterr().out)[2:]
    between = [row for row in rows if row.startswith("…")]
    assert between == ([f"… {count - 40} more"] if count > 40 else [])
    minutes = [int(row.split()[8].replace(",", "")) for row in rows if row.startswith("SPY")]
    expected = range(count)
    assert minutes == [*expected[:20], *expected[20:][-20:]]


def test_what_is_missing_stands_beneath(capsys: Capture) -> None:
    """Rows that came are shown, with from where the rest is missing and why, and the exit code says so."""
    script = [own.some_bars("SPY", 0, 2), own.no_bars("SPY", 2), own.no_bars("ZZZZ", 0, "NO_DATA")]
    _, code = asked("bars", "SPY", "ZZZZ", *START, script=script)
    assert code == cli.INCOMPLETE
    shown = capsys.readouterr()
    assert len(words(shown.out)) == 4
    said = " ".join(shown.err.split())
    assert "SPY: 2 came; missing is all from 1970-01-01 00:02:00 UTC on. SPY: not now." in said
    assert "ZZZZ: not now. Request r-1." in said


def test_a_range_that_was_cut_says_so(capsys: Capture) -> None:
    """Where the account may not read up to the end, the end of what was answered is said."""
    end = own.bars_end("SPY", 1, clamped_end_time=messages.at(messages.NOON))
    asked("bars", "SPY", *START, script=[own.some_bars("SPY", 0, 1), end])
    assert "may read up to 2026-03-06 15:30:00 UTC only" in capsys.readouterr().err


def test_json_is_all_of_it(capsys: Capture) -> None:
    """A program gets every row, with prices as text and times to the nanosecond, also of a series that breaks off."""
    trades = [
        history_service_pb2.StreamTradesResponse(symbol="SPY", chunk=own.TRADES),
        history_service_pb2.StreamTradesResponse(
            symbol="SPY",
            unavailable=history_pb2.SeriesUnavailable(unavailable=messages.UNAVAILABLE, count=2),
        ),
    ]
    _, code = asked("trade-history", "SPY", *START, "--json", script=trades, method="StreamTrades")
    assert code == cli.INCOMPLETE
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["price"] == "0.1234567890123456789012345"
    assert first["id"] == 2**64 - 1
    assert first["provenance"]["event_time"] == "2026-03-06T15:30:00.123456689Z"
    assert second["amendment"] == "canceled"


@pytest.mark.parametrize(
    ("command", "method", "event", "shown"),
    [
        (
            "trade-history",
            "StreamTrades",
            history_service_pb2.StreamTradesResponse(symbol="SPY", chunk=own.TRADES),
            "SPY 2026-03-06T15:30:00.123456690Z 182.05 7 – – canceled alpaca SIP store",
        ),
        (
            "quote-history",
            "StreamQuotes",
            history_service_pb2.StreamQuotesResponse(symbol="SPY", chunk=own.QUOTES),
            "SPY 2026-03-06T15:30:00.123456684Z – – – 182.11 4 – alpaca SIP store",
        ),
    ],
)
def test_trades_and_quotes_are_tables(
    capsys: Capture, command: str, method: str, event: Any, shown: str
) -> None:
    """Trades and quotes are rows with every nanosecond of their time."""
    end = type(event)(symbol="SPY", end=history_pb2.SeriesEnd(count=2))
    _, code = asked(command, "SPY", *START, script=[event, end], method=method)
    assert code == cli.COMPLETE
    assert words(capsys.readouterr().out)[-1] == shown


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (
            "price-at AAPL 2026-03-06T15:30:00Z --tolerance 1h",
            "AAPL 182.0725 0 V 2026-03-06T15:30:00.123456789Z 1.0 s alpaca IEX memory",
        ),
        (
            "actions AAPL --start 2020-08-01 --end 2020-09-01",
            "AAPL 2020-08-31 forward split 1 : 4 – – 2020-08-24 2020-08-28",
        ),
        ("actions AAPL", "AAPL – cash dividend – 0.24 – – –"),
        (
            "watchlist list",
            "default AAPL, MSFT yes 1Day, 1Min 366 2026-03-06 15:30:00 UTC 2026-03-06 15:30:00 UTC",
        ),
        ("watchlist show default", "default AAPL, MSFT yes"),
        (
            "watchlist put default AAPL MSFT --record --refresh 1Day --days 30",
            "default AAPL, MSFT yes",
        ),
        ("watchlist delete default", "default is deleted"),
        ("backfill start AAPL --start 2024-03-01 --timeframe 1Min", "b-2 running trades"),
        ("backfill show b-1", "b-1 done bars 1Min SIP"),
        ("backfill list", "100 % 2 of 2 98,000 1"),
        ("backfill cancel b-2", "b-1, ZZZZ: ZZZZ: 400 s old, 300 s asked for."),
    ],
)
def test_each_command_prints_a_table(
    address: str, capsys: Capture, command: str, shown: str
) -> None:
    """A command asks its question and prints what a person wants to know."""
    assert run(*command.split(), "--address", address) == cli.COMPLETE
    assert any(shown in line for line in words(capsys.readouterr().out))


def test_coverage_is_a_row_for_each_stretch(address: str, capsys: Capture) -> None:
    """What is held, what is not, and what cannot be told are told apart."""
    code = run(*"coverage AAPL ZZZZ MSFT --timeframe 1Min".split(), "--address", address)
    assert code == cli.INCOMPLETE
    rows = words(capsys.readouterr().out)
    assert rows[2].startswith("AAPL 2026-03-06 15:30:00 UTC 2026-03-06 15:31:00 UTC 390")
    assert rows[3] == "ZZZZ too stale"
    assert rows[4] == "MSFT – – 0 –"


def test_only_bars_have_a_timeframe(capsys: Capture) -> None:
    """Bars are daily ones when nothing is said; of trades no timeframe is sent."""
    backfill = admin_service_pb2.StartBackfillResponse(backfill=own.RUNNING)
    sent = []
    for kind in ("bars", "trades"):
        words_ = ("backfill", "start", "SPY", *START, "--kind", kind)
        requests, _ = asked(*words_, script=backfill, method="StartBackfill")  # type: ignore[arg-type]  # one message
        sent.append((requests[0].kind, requests[0].timeframe))
    assert sent == [
        (history_pb2.SERIES_KIND_BARS, "1Day"),
        (history_pb2.SERIES_KIND_TRADES, ""),
    ]
    assert "b-2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("bars SPY --start yesterday", "start_time: a time as text is a day or has a zone"),
        ("bars SPY --start 2024-03-01T15:30:00", "such as 2024-03-01T15:30:00Z"),
        ("bars SPY", "--start"),
        ("bars --start 2024-03-01", "symbols: at least one symbol is asked for"),
        ("bars --start 2024-03-01 --json", "symbols: at least one symbol is asked for"),
        ("bars --start 2024-03-01 --plot", "symbols: at least one symbol is asked for"),
        ("trade-history --start 2024-03-01", "symbols: at least one symbol is asked for"),
        ("quote-history --start 2024-03-01", "symbols: at least one symbol is asked for"),
        ("bars SPY --start 2024-03-01 --limit -1", "--limit"),
        ("bars SPY --start 2024-03-01 --adjust everything", "--adjust"),
        ("bars SPY AAPL --start 2024-03-01 --png x.png", "png: a picture is of one symbol"),
        ("bars SPY --start 2024-03-01 --png no-such/x.png", "png: there is no folder no-such"),
        (
            "bars SPY --start 2024-03-01 --out x.txt",
            "out: a file ends in .parquet or .csv, not in .txt",
        ),
        ("bars SPY --start 2024-03-01 --out no-such/x.csv", "out: there is no folder no-such"),
        *(
            (f"bars SPY --start 2024-03-01 {other} --out x.txt", "out: a file ends in .parquet or")
            for other in ("--plot", "--png x.png", "--plot --png x.png", "--json", "--exact")
        ),
        (
            "bars SPY --start 2024-03-01 --png x.txt",
            "png: a file ends in .png, .svg or .pdf, not in .txt",
        ),
        ("bars SPY --start 2024-03-01 --plot --png x", "or .pdf, not in nothing"),
        ("bars SPY --start 2024-03-01 --plot --json", "json: rows are printed, or written and"),
        ("bars SPY --start 2024-03-01 --exact", "exact: it says how a file is written: give --out"),
        ("quote-history SPY --start 2024-03-01 --exact", "exact: it says how a file is written"),
        ("trade-history SPY --start 2024-03-01 --out x", "out: a file ends in .parquet or .csv"),
        ("price-at SPY noon", "time: a time as text"),
        ("watchlist put x SPY --days 4000", "--days"),
    ],
)
def test_wrong_usage_is_one_sentence(capsys: Capture, command: str, said: str) -> None:
    """What cannot be asked is refused before anything is asked, and the exit code is that of wrong usage."""
    assert run(*command.split(), "--address", "127.0.0.1:1") == cli.WRONG_USAGE
    assert said in " ".join(capsys.readouterr().err.split())


def test_status_tells_of_store_and_recording(address: str, capsys: Capture) -> None:
    """What the store has written and what failed, and what is recorded live."""
    run("status", "--address", address)
    rows = words(capsys.readouterr().out)
    assert (
        "Store up, 98,000 rows written, 4 read, 5.0 MB, 3 writes failed: no space left on device"
        in rows
    )
    assert (
        "Recording running, 5 symbols, 1,000 trades, 60 bars, 7 revisions, 9 dropped,"
        " last 2026-03-06 15:30:00 UTC, 0.5 s late" in rows
    )
