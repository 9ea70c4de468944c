"""The past of stocks by the page, quirks included."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.recordings import write_recordings
from tickgate_sandbox import Plan, faults
from tickgate_sandbox.timestamps import parse, render

from .asking import Client, asked, synthetic
from .walking import bar, rest, walk, write_bars, write_text

DAY = date(2024, 3, 13)
AFTER = "2024-03-14T09:00:00-04:00"
"""Everything recorded has happened."""

KINDS = ["bars", "trades", "quotes"]
MINUTE = 60 * 1_000_000_000


def replayed(folder: Path, **changes: Any) -> Any:
    """Return settings of a replay at an instant when all of it has happened."""
    return synthetic(**({"replay": folder, "at": AFTER, "plan": Plan.PLUS} | changes))


def needed(kind: str) -> dict[str, str]:
    """Return what has to be asked of *kind*."""
    return {"timeframe": "1Min"} if kind == "bars" else {}


@pytest.mark.parametrize("kind", ["trades", "quotes"])
async def test_records_leave_as_they_were_recorded(tmp_path: Path, kind: str) -> None:
    """Every trade and quote of a day is served in the text of its line, in order, none twice."""
    recorded = write_recordings(tmp_path, day=DAY)
    async with asked(replayed(tmp_path)) as (_, client):
        walked = await walk(
            client,
            f"/v2/stocks/{kind}",
            symbols="IBM,AAPL",
            start=str(DAY),
            end=str(DAY),
            limit="70",
        )

    assert list(walked.texts) == ["AAPL", "IBM"]
    for symbol, recording in recorded.items():
        assert walked.texts[symbol] == [rest(line) for _, line in getattr(recording, kind)]
    assert set(walked.sizes[:-1]) == {70}


async def test_lines_in_another_order_of_keys(tmp_path: Path) -> None:
    """A line whose keys stand in another order leaves without type and symbol all the same."""
    write_recordings(tmp_path, ["IBM"], day=DAY)
    line = '{"t":"2024-03-13T14:00:00Z","p":1.50,"s":1,"S":"IBM","T":"t","x":"Q"}'
    write_text(tmp_path / "trades" / f"IBM-{DAY}.jsonl.gz", line + "\n")
    async with asked(replayed(tmp_path)) as (_, client):
        walked = await walk(client, "/v2/stocks/IBM/trades", start=str(DAY))

    assert walked.texts["IBM"] == ['{"t":"2024-03-13T14:00:00Z","p":1.50,"s":1,"x":"Q"}']


@pytest.mark.parametrize("kind", KINDS)
async def test_one_symbol(kind: str) -> None:
    """One symbol is answered as a bare list beside the symbol."""
    query = {"start": "2026-11-20T14:50:00Z", "end": "2026-11-20T14:55:00Z", **needed(kind)}
    async with asked(synthetic(plan=Plan.PLUS)) as (_, client):
        one = (await client.get(f"/v2/stocks/AAPL/{kind}", **query)).json
        many = (await client.get(f"/v2/stocks/{kind}", symbols="AAPL", **query)).json

    assert one == {kind: many[kind]["AAPL"], "symbol": "AAPL", "next_page_token": None}
    assert one[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", ["2026-11-15", "2015-01-02", "1990-01-02"])
async def test_nothing_in_the_interval(kind: str, start: str) -> None:
    """Of a weekend, and of days before the first, a list is null and a map is empty."""
    query = {"start": start, "end": start, **needed(kind)}
    async with asked() as (_, client):
        one = await client.get(f"/v2/stocks/AAPL/{kind}", **query)
        many = await client.get(f"/v2/stocks/{kind}", symbols="AAPL,ZZZZ", **query)

    assert (one.status, one.json) == (
        200,
        {kind: None, "symbol": "AAPL", "next_page_token": None},
    )
    assert (many.status, many.json) == (200, {kind: {}, "next_page_token": None})


@pytest.mark.parametrize("kind", KINDS)
async def test_unknown_symbols_are_left_out(kind: str) -> None:
    """A symbol without records is missing from a map, and nothing says why."""
    query = {"start": "2026-11-20T14:50:00Z", **needed(kind)}
    async with asked(synthetic(plan=Plan.PLUS)) as (_, client):
        answer = await client.get(f"/v2/stocks/{kind}", symbols="ZZZZ,MSFT,QUIET", **query)

    assert list(answer.json[kind]) == ["MSFT"]


async def test_end_belongs_to_the_interval(tmp_path: Path) -> None:
    """From 09:30 to 16:00 are 391 minutes: the one that begins at the end is one of them."""
    starts = [f"2024-03-13T{9 + m // 60 + 4:02}:{m % 60:02}:00Z" for m in range(20, 540)]
    write_bars(tmp_path, "IBM-1Min-x", [bar(start, "10") for start in starts])
    async with asked(replayed(tmp_path)) as (_, client):
        walked = await walk(
            client,
            "/v2/stocks/IBM/bars",
            timeframe="1Min",
            start="2024-03-13T09:30:00-04:00",
            end="2024-03-13T16:00:00-04:00",
        )

    texts = walked.texts["IBM"]
    assert len(texts) == 391
    assert json.loads(texts[0])["t"] == "2024-03-13T13:30:00Z"
    assert json.loads(texts[-1])["t"] == "2024-03-13T20:00:00Z"


async def test_nanoseconds_count(tmp_path: Path) -> None:
    """Both ends of an interval are told to the nanosecond."""
    recorded = write_recordings(tmp_path, ["AAPL"], day=DAY)["AAPL"]
    first, last = recorded.quotes[100][0], recorded.quotes[200][0]
    inside = [rest(line) for time, line in recorded.quotes if first <= time <= last]
    within = [rest(line) for time, line in recorded.quotes if first < time < last]
    async with asked(replayed(tmp_path)) as (_, client):
        closed = await walk(client, "/v2/stocks/AAPL/quotes", start=render(first), end=render(last))
        open_ = await walk(
            client, "/v2/stocks/AAPL/quotes", start=render(first + 1), end=render(last - 1)
        )

    assert closed.texts["AAPL"] == inside
    assert open_.texts["AAPL"] == within
    assert len(within) < len(inside)


async def test_dates_mean_whole_days(tmp_path: Path) -> None:
    """A date as the end takes in the evening of its day in New York, and nothing of the next."""
    bars = [bar(at, "10") for at in ("2024-03-12T23:59:00Z", "2024-03-13T08:00:00Z",
                                     "2024-03-13T23:59:00Z", "2024-03-14T08:00:00Z")]  # fmt: skip
    write_bars(tmp_path, "IBM-1Min-x", bars)
    async with asked(replayed(tmp_path)) as (_, client):
        walked = await walk(
            client, "/v2/stocks/IBM/bars", timeframe="1Min", start="2024-03-13", end="2024-03-13"
        )

    assert walked.texts["IBM"] == bars[1:3]


async def test_nothing_of_the_future(tmp_path: Path) -> None:
    """However far an interval goes, nothing is told that has not happened at market time."""
    recorded = write_recordings(tmp_path, ["AAPL"], day=DAY)["AAPL"]
    async with asked(replayed(tmp_path)) as (running, client):
        for index in (0, 17, 150, 399):
            now = recorded.quotes[index][0]
            running.clock.seek(now)
            walked = await walk(
                client,
                "/v2/stocks/AAPL/quotes",
                start="2024-01-01",
                end="2030-01-01",
                limit="10000",
            )
            assert walked.texts["AAPL"] == [
                rest(line) for time, line in recorded.quotes if time <= now
            ]


async def test_defaults() -> None:
    """Without any limits the day so far is answered, a thousand records at a time."""
    async with asked() as (_, client):
        page = (await client.get("/v2/stocks/AAPL/trades", feed="iex")).json

    assert len(page["trades"]) == 1_000
    assert page["trades"][0]["t"] >= "2026-11-20T09:00:00"
    assert page["next_page_token"] is not None


async def test_newest_first() -> None:
    """Sorted downwards each symbol's records come newest first, and symbols stay in order."""
    query = {"symbols": "MSFT,AAPL", "start": "2026-11-19", "timeframe": "1Min"}
    async with asked(synthetic(plan=Plan.PLUS)) as (_, client):
        up = await walk(client, "/v2/stocks/bars", **query, limit="999")
        down = await walk(client, "/v2/stocks/bars", **query, limit="123", sort="desc")

    assert list(down.texts) == ["AAPL", "MSFT"]
    assert down.texts == {symbol: texts[::-1] for symbol, texts in up.texts.items()}


async def test_the_past_is_what_the_stream_sent_and_what_was_the_latest() -> None:
    """Made-up history agrees with the latest values and the stream of the same instant."""
    async with asked(synthetic(plan=Plan.PLUS)) as (running, client):
        now = running.clock.now()
        latest = {
            kind: (await client.get(f"/v2/stocks/AAPL/{kind}s/latest")).json[kind]
            for kind in ("quote", "bar")
        }
        past = {
            kind: json.loads(
                (
                    await walk(
                        client, f"/v2/stocks/AAPL/{kind}s",
                        start="2026-11-20", limit="10000", sort="desc", **needed(f"{kind}s"),
                    )
                ).texts["AAPL"][0]
            )
            for kind in ("quote", "bar")
        }  # fmt: skip
        sent = running.market.due("trades", "AAPL", now - MINUTE, now + 1)
        trades = await walk(client, "/v2/stocks/AAPL/trades", start=render(now - MINUTE))

    assert past == latest
    assert trades.texts["AAPL"] == [rest(record.decode()) for _, record in sent]


async def test_another_walk_of_the_same_seed() -> None:
    """The same seed has the same history, another seed another."""
    query = {"timeframe": "1Day", "start": "2026-09-01"}
    settings = [synthetic(plan=Plan.PLUS, seed=seed) for seed in (1, 1, 2)]
    texts = []
    for one in settings:
        async with asked(one) as (_, client):
            texts.append((await walk(client, "/v2/stocks/TSLA/bars", **query)).texts)

    assert texts[0] == texts[1] != texts[2]


async def test_currency_is_echoed() -> None:
    """A currency other than the dollar stands beside the records."""
    query = {"timeframe": "1Day", "start": "2026-11-16", "end": "2026-11-18"}
    async with asked() as (_, client):
        many = await client.get("/v2/stocks/bars", symbols="AAPL", currency="MXN", **query)
        one = await client.get("/v2/stocks/AAPL/bars", currency="USD", **query)
        bogus = await client.get("/v2/stocks/AAPL/bars", currency="pesos", **query)

    assert list(many.json) == ["bars", "next_page_token", "currency"]
    assert "currency" not in one.json
    assert bogus.status == 400


# --------------------------------------------------------------------------------- what is refused

PARSING = "error parsing '{}' as RFC3339 or 2006-01-02 time"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            {"symbols": ""},
            "Invalid format for parameter symbols: query parameter 'symbols' is required",
        ),
        ({"symbols": "AAPL,YZCDE2,x"}, "invalid symbol: YZCDE2"),
        ({"symbols": "BRK-B"}, "invalid symbol: BRK-B"),
        ({"timeframe": ""}, "query parameter 'timeframe' is required"),
        ({"timeframe": "1Fortnight"}, "invalid timeframe: 1Fortnight"),
        ({"timeframe": "60Min"}, "invalid timeframe: 60Min"),
        ({"timeframe": "24Hour"}, "invalid timeframe: 24Hour"),
        ({"timeframe": "2Day"}, "invalid timeframe: 2Day"),
        ({"timeframe": "5Month"}, "invalid timeframe: 5Month"),
        ({"timeframe": "01Min"}, "invalid timeframe: 01Min"),
        ({"adjustment": "bogus"}, "invalid adjustment: bogus"),
        ({"adjustment": "split,bogus"}, "invalid adjustment: split,bogus"),
        ({"feed": "nyse"}, "invalid feed: nyse"),
        ({"feed": "delayed_sip"}, "invalid feed: delayed_sip"),
        ({"sort": "up"}, "invalid sort: up"),
        ({"start": "noon"}, "Invalid format for parameter start: " + PARSING.format("noon")),
        (
            {"start": "2026-13-01"},
            "Invalid format for parameter start: " + PARSING.format("2026-13-01"),
        ),
        ({"end": "2026-11-18T10:00:00"}, "Invalid format for parameter end: error parsing"),
        ({"end": "2026-11-15"}, "end should not be before start"),
        (
            {"end": "2026-11-16T00:00:00-05:00", "start": "2026-11-16T05:00:00.000000001Z"},
            "end should not be before start",
        ),
        ({"limit": "10001"}, "invalid limit: larger than the allowed maximum of 10000"),
        ({"limit": "0"}, "invalid limit: 0"),
        ({"limit": "-1"}, "invalid limit: -1"),
        ({"page_token": "%"}, "invalid page_token: %"),
        ({"page_token": "eA=="}, "invalid page_token: eA=="),
        ({"asof": "yesterday"}, "invalid asof: yesterday"),
    ],
)
async def test_what_makes_no_sense(query: dict[str, str], message: str) -> None:
    """A question that makes no sense is refused in Alpaca's words."""
    good = {"symbols": "AAPL", "timeframe": "1Day", "start": "2026-11-16", "end": "2026-11-18"}
    async with asked() as (_, client):
        assert (await client.get("/v2/stocks/bars", **good)).status == 200
        answer = await client.get("/v2/stocks/bars", **(good | query))

    assert answer.status == 400
    assert message in answer.message


async def test_one_malformed_symbol_in_a_path() -> None:
    """A malformed symbol is refused where it is the only one as well."""
    async with asked() as (_, client):
        answer = await client.get("/v2/stocks/aapl/trades")

    assert (answer.status, answer.message) == (400, "invalid symbol: aapl")


async def recent(client: Client, **query: str) -> tuple[int, Any]:
    """Return status and message of the answer to a question for the last days."""
    good = {"timeframe": "1Day", "start": "2026-11-18"}
    answer = await client.get("/v2/stocks/AAPL/bars", **(good | query))
    return answer.status, answer.json.get("message")


REFUSED = (403, "subscription does not permit querying recent SIP data")


@pytest.mark.parametrize(
    ("end", "refused"),
    [
        (None, True),
        ("2026-11-20T09:45:00-05:00", False),
        ("2026-11-20T09:45:00.000000001-05:00", True),
        ("2026-12-31", True),
        ("2026-11-20", True),
        ("2026-11-19", False),
    ],
)
async def test_recent_sip_on_the_basic_plan(end: str | None, refused: bool) -> None:
    """The basic plan gets nothing at all of SIP when the end lies in the last 15 minutes or later."""
    ends = {"end": end} if end is not None else {}
    async with asked() as (_, client):
        by_default = await recent(client, **ends)
        sip = await recent(client, feed="sip", **ends)
        iex = await recent(client, feed="iex", **ends)
    async with asked(synthetic(plan=Plan.PLUS)) as (_, client):
        paid = await recent(client, **ends)

    assert by_default == sip == (REFUSED if refused else (200, None))
    assert iex == paid == (200, None)


async def test_the_first_minutes_of_a_day() -> None:
    """Without a start, who may not read the newest minutes gets at least those before them."""
    end = "2026-11-19T23:50:00-05:00"
    async with asked(synthetic(at="2026-11-20T00:05:00-05:00")) as (_, client):
        sip = await client.get("/v2/stocks/AAPL/trades", end=end)
        iex = await client.get("/v2/stocks/AAPL/trades", end=end, feed="iex")

    assert (sip.status, sip.json["trades"]) == (200, None)
    assert (iex.status, iex.message) == (400, "end should not be before start")


async def test_requests_are_counted_by_endpoint() -> None:
    """Each page is a request, counted under the path it was asked at."""
    query = {"timeframe": "1Min", "start": "2026-11-19", "end": "2026-11-19"}
    async with asked() as (running, client):
        await walk(client, "/v2/stocks/bars", symbols="AAPL,MSFT", limit="700", **query)
        await walk(client, "/v2/stocks/AAPL/trades", start="2026-11-14", end="2026-11-15")

    assert running.counters.endpoints == {
        "/v2/stocks/bars": 3,
        "/v2/stocks/{symbol}/trades": 1,
    }
    assert running.counters.symbols == {"AAPL": 4, "MSFT": 3}


# ----------------------------------------------------------------------------- pages that go wrong

BARS = "/v2/stocks/bars"
FORTY = {"symbols": "AAPL,MSFT", "timeframe": "1Min", "start": "2026-11-20T14:40:00Z", "limit": "9"}
"""Forty records on five pages."""


async def pages_until_it_fails(client: Client) -> list[int]:
    """Return the statuses of a walk's pages up to the first that is none of 200."""
    statuses: list[int] = []
    token: dict[str, str] = {}
    while True:
        answer = await client.get(BARS, **FORTY, **token)
        statuses.append(answer.status)
        if answer.status != 200:
            return statuses
        token = {"page_token": answer.json["next_page_token"]}


async def test_a_page_in_the_middle_fails() -> None:
    """A fault can name the page it strikes, of every walk, and the walk goes on when it is over."""
    async with asked(synthetic(plan=Plan.PLUS)) as (running, client):
        whole = await walk(client, BARS, **FORTY)
        running.faults.add(faults.Status(status=503, page=3, path=BARS, times=2))
        first = await pages_until_it_fails(client)
        second = await pages_until_it_fails(client)
        after = await walk(client, BARS, **FORTY)
        latest = await client.get("/v2/stocks/bars/latest", symbols="AAPL")

    assert first == second == [200, 200, 503]
    assert whole.sizes == after.sizes == [9, 9, 9, 9, 4]
    assert latest.status == 200


async def test_only_walks_have_pages() -> None:
    """A fault on a later page strikes nobody who asks for a first one, whatever it is of."""
    async with asked() as (running, client):
        running.faults.add(faults.Reset(page=2))
        clock = await client.get("/v2/clock")
        chain = await client.get("/v1beta1/options/snapshots/AAPL", limit="1")
        more = await client.get(
            "/v1beta1/options/snapshots/AAPL", limit="1", page_token=chain.json["next_page_token"]
        )

    assert [one.status for one in (clock, chain, more)] == [200, 200, 200]


@pytest.mark.parametrize("path", [BARS, "/v2/stocks/AAPL/bars"])
async def test_short_pages(path: str) -> None:
    """Pages may hold less than there is room for although more follows; nothing is lost by it."""
    query = {name: value for name, value in FORTY.items() if path == BARS or name != "symbols"}
    async with asked(synthetic(plan=Plan.PLUS)) as (running, client):
        whole = await walk(client, path, **query)
        running.faults.add(faults.ShortPages(records=2, path=path))
        short = await walk(client, path, **query)

    assert max(short.sizes) == 2
    assert short.texts == whole.texts


@pytest.mark.parametrize("page", [1, 3])
async def test_an_empty_page_with_a_token(page: int) -> None:
    """A page may hold nothing and yet have a token: only a missing token ends a walk."""
    async with asked(synthetic(plan=Plan.PLUS)) as (running, client):
        whole = await walk(client, BARS, **FORTY)
        running.faults.add(faults.EmptyPage(page=page))
        walked = await walk(client, BARS, **FORTY)

    assert walked.sizes == [*whole.sizes[: page - 1], 0, *whole.sizes[page - 1 :]]
    assert walked.texts == whole.texts


async def test_an_empty_page_of_one_symbol() -> None:
    """The list of one symbol is null on an empty page."""
    async with asked(synthetic(plan=Plan.PLUS)) as (running, client):
        running.faults.add(faults.EmptyPage())
        answer = await client.get("/v2/stocks/AAPL/trades", start="2026-11-19")

    assert answer.json["trades"] is None
    assert answer.json["next_page_token"] is not None


async def test_a_walk_without_an_end() -> None:
    """A token may lead to its own page again and again."""
    async with asked(synthetic(plan=Plan.PLUS)) as (running, client):
        running.faults.add(faults.SameToken(page=2))
        first = (await client.get(BARS, **FORTY)).json
        token = first["next_page_token"]
        pages = [(await client.get(BARS, **FORTY, page_token=token)).json for _ in range(3)]

    assert pages[0] == pages[1] == pages[2] != first
    assert pages[0]["next_page_token"] == token


async def test_faults_of_pages_over_http() -> None:
    """The control endpoint arms them like any other fault."""
    async with asked() as (_, client):
        for body in (
            {"kind": "short_pages", "records": 10, "path": BARS},
            {"kind": "empty_page", "page": 2},
            {"kind": "same_token"},
            {"kind": "truncate", "page": 4},
        ):
            made = await client.send("POST", "/sandbox/faults", body=body)
            assert made.status == 201
        wrong = await client.send("POST", "/sandbox/faults", body={"kind": "reset", "page": 0})
        armed = (await client.send("GET", "/sandbox/faults")).json

    assert wrong.status == 400
    assert [one["kind"] for one in armed] == ["short_pages", "empty_page", "same_token", "truncate"]
    assert [one["page"] for one in armed] == [None, 2, None, 4]


async def test_tokens_are_opaque_and_live_long() -> None:
    """A token goes on where its page ended although market time has moved on meanwhile."""
    query = {"timeframe": "1Min", "start": "2026-11-20T14:40:00Z", "limit": "15"}
    async with asked(synthetic(plan=Plan.PLUS)) as (running, client):
        first = (await client.get("/v2/stocks/AAPL/bars", **query)).json
        running.clock.seek(parse("2026-11-20T15:10:00Z"))
        second = (
            await client.get("/v2/stocks/AAPL/bars", **query, page_token=first["next_page_token"])
        ).json

    times = [datetime.fromisoformat(one["t"]) for one in first["bars"] + second["bars"]]
    assert [time.minute for time in times] == [*range(40, 60), *range(10)]
