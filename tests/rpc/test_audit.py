"""The audit log and the log of calls of a whole gateway: who had which data, when, how much and from where."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from tickgate.v1 import admin_service_pb2 as admin
from tickgate.v1 import history_service_pb2 as history
from tickgate.v1 import option_service_pb2 as options
from tickgate.v1 import quote_service_pb2 as quotes
from tickgate.v1 import reference_service_pb2 as reference
from tickgate_sandbox import faults
from tickgate_server.app.logs import event_log
from tickgate_server.market.time import parse_rfc3339
from tickgate_server.stores.key_file import KeyFile

from ..support.following import following, watching
from ..support.keys import SECRET, bearer, made_key
from ..support.logging_kept import logging_as_before
from ..support.otlp import collecting
from ..support.running import Stack, running, settings_for
from ..support.stores import postgres_url, redis_url

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
START, END = "2026-09-30T14:30:00Z", "2026-09-30T14:40:00Z"


def stamp(text: str) -> Timestamp:
    """A moment."""
    return Timestamp(seconds=parse_rfc3339(text) // 10**9)


def audited(path: Path) -> dict[str, Any]:
    """Settings of a gateway whose audit log is at *path*."""
    return {"audit": {"file": str(path)}}


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of the log at *path*."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def of(path: Path, request_id: str) -> list[dict[str, Any]]:
    """The lines about one call, without when it was, which is a time."""
    found = [line for line in read(path) if line["request_id"] == request_id]
    for line in found:
        assert RFC3339.fullmatch(line.pop("timestamp"))
    return found


def named(request_id: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call that is called so."""
    return (("x-request-id", request_id),)


async def test_a_call_is_one_line(tmp_path: Path) -> None:
    """Who asked for what, how many values it got, and from which tiers: one line for each call, answered or refused."""
    path = tmp_path / "audit.log"
    async with running(**audited(path)) as stack:
        one = quotes.GetQuoteRequest(symbol="AAPL")
        await stack.quotes.GetQuote(one, metadata=named("cold"))
        several = quotes.GetQuotesRequest(symbols=["AAPL", "MSFT", "NOTONE"])
        await stack.quotes.GetQuotes(several, metadata=named("several"))
        with pytest.raises(grpc.aio.AioRpcError):
            await stack.quotes.GetQuote(
                quotes.GetQuoteRequest(symbol="NOTONE", strict=True), metadata=named("strict")
            )
        with pytest.raises(grpc.aio.AioRpcError):
            await stack.quotes.GetQuote(
                quotes.GetQuoteRequest(symbol="no!"), metadata=named("wrong")
            )
    (cold,) = of(path, "cold")
    assert cold.pop("peer").startswith("ipv4:127.0.0.1:")
    assert cold == {
        "event": "call",
        "request_id": "cold",
        "endpoint": "QuoteService/GetQuote",
        "code": "OK",
        "symbols_asked": 1,
        "values_given": 1,
        "symbols": ["AAPL"],
        "feed": "iex",
        "tiers": {"upstream": 1},
    }
    (some,) = of(path, "several")
    assert (some["symbols_asked"], some["values_given"]) == (3, 2)
    assert some["tiers"] == {"memory": 1, "upstream": 1}
    assert (some["code"], some["reason"]) == ("OK", "SYMBOL_UNKNOWN")
    (strict,) = of(path, "strict")
    assert (strict["code"], strict["reason"]) == ("NOT_FOUND", "SYMBOL_UNKNOWN")
    assert (strict["symbols"], strict["values_given"]) == (["NOTONE"], 0)
    (wrong,) = of(path, "wrong")
    assert (wrong["code"], wrong["reason"]) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


async def test_twenty_symbols_are_named_and_all_are_counted(tmp_path: Path) -> None:
    """A line about many symbols names the first twenty and counts the rest."""
    path = tmp_path / "audit.log"
    symbols = [f"A{chr(65 + number)}" for number in range(26)]
    async with running(**audited(path)) as stack:
        await stack.quotes.GetQuotes(
            quotes.GetQuotesRequest(symbols=symbols), metadata=named("many")
        )
    (line,) = of(path, "many")
    assert (line["symbols"], line["symbols_asked"]) == (symbols[:20], 26)


async def test_the_past_is_told_with_its_range_and_its_rows(tmp_path: Path) -> None:
    """A question about the past says the range, and counts rows where the log of calls counts symbols."""
    path = tmp_path / "audit.log"
    asked: dict[str, Any] = {
        "symbols": ["AAPL"],
        "timeframe": "1Min",
        "start_time": stamp(START),
        "end_time": stamp(END),
    }
    async with running(**audited(path)) as stack:
        page = await stack.history.ListBars(
            history.ListBarsRequest(**asked, page_size=4), metadata=named("page")
        )
        call = stack.history.StreamBars(history.StreamBarsRequest(**asked), metadata=named("all"))
        chunks = [message.chunk async for message in call if message.HasField("chunk")]
    assert len(page.results[0].page.bars) == 4
    (listed,) = of(path, "page")
    assert (listed["start"], listed["end"]) == (START, END)
    assert (listed["values_given"], listed["tiers"]) == (4, {"upstream": 4})
    begun, ended = of(path, "all")
    assert (begun["event"], ended["event"]) == ("stream_begun", "stream_ended")
    assert (ended["start"], ended["end"], ended["symbols"]) == (START, END, ["AAPL"])
    assert ended["values_given"] == sum(ended["tiers"].values())
    assert ended["values_given"] == sum(chunk.count for chunk in chunks) == 10


async def test_a_stream_is_told_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    """A stream has a line with what it follows when it has begun, and one with how much it brought when it ends."""
    path = tmp_path / "audit.log"
    async with running(**audited(path)) as stack:
        async with watching(stack, "AAPL", "MSFT") as follower:
            await follower.until_updates(1, "AAPL")
        async with following(stack, "AAPL") as other:
            await other.until_updates(1, "AAPL")
    for endpoint, symbols in (("Watch", ["AAPL", "MSFT"]), ("Subscribe", ["AAPL"])):
        lines = [line for line in read(path) if line["endpoint"] == f"StreamService/{endpoint}"]
        assert [line["event"] for line in lines] == ["stream_begun", "stream_ended"]
        assert [line["symbols"] for line in lines] == [symbols, symbols]
        assert [line["feed"] for line in lines] == ["iex", "iex"]
        assert lines[-1]["values_given"] >= 1
        assert lines[0]["request_id"] == lines[1]["request_id"]


async def test_every_service_says_what_it_is_about(tmp_path: Path) -> None:
    """Options, reference data and what operators do are told with their symbols, too."""
    path = tmp_path / "audit.log"
    async with running(**audited(path)) as stack:
        await stack.options.GetOptionChain(
            options.GetOptionChainRequest(underlying_symbol="AAPL", page_size=3),
            metadata=named("chain"),
        )
        await stack.reference.GetAsset(
            reference.GetAssetRequest(symbol="AAPL"), metadata=named("asset")
        )
        await stack.admin.InvalidateCache(
            admin.InvalidateCacheRequest(symbols=["AAPL"]), metadata=named("drop")
        )
    (chain,), (asset,), (drop,) = (of(path, name) for name in ("chain", "asset", "drop"))
    assert (chain["symbols"], chain["values_given"]) == (["AAPL"], 3)
    assert (chain["feed"], chain["tiers"]) == ("indicative", {"upstream": 3})
    assert (asset["symbols"], asset["values_given"]) == (["AAPL"], 1)
    assert (drop["endpoint"], drop["symbols"]) == ("AdminService/InvalidateCache", ["AAPL"])


async def test_who_is_the_key(tmp_path: Path) -> None:
    """With keys the line names the consumer and the key's id; who is turned away at the door is told by the address."""
    path, file = tmp_path / "audit.log", tmp_path / "keys.jsonl"
    key, token = made_key("desk-7")
    await KeyFile(file).add(key)
    identity: dict[str, Any] = {
        "identity": {"keys": "file", "file": str(file)},
        "identity_secret": SECRET,
    }
    async with running(**audited(path), **identity) as stack:
        question = quotes.GetQuoteRequest(symbol="AAPL")
        await stack.quotes.GetQuote(question, metadata=(*bearer(token), *named("known")))
        for who, shown in (("nobody", ()), ("forger", bearer(token[:-4] + "AAAA"))):
            with pytest.raises(grpc.aio.AioRpcError):
                await stack.quotes.GetQuote(question, metadata=(*shown, *named(who)))
    (known,) = of(path, "known")
    assert (known["consumer"], known["key_id"]) == ("desk-7", key.id)
    for who in ("nobody", "forger"):
        (line,) = of(path, who)
        assert (line["code"], line["reason"]) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        assert "consumer" not in line
        assert line["peer"].startswith("ipv4:127.0.0.1:")
        assert (line["symbols_asked"], line["values_given"]) == (0, 0)
    assert token not in path.read_text()


async def test_an_audit_log_that_cannot_be_keeps_the_gateway_from_starting(tmp_path: Path) -> None:
    """Nobody has data that the operator wanted to see written down, and is not."""
    with pytest.raises(OSError, match=r"audit\.file: .*nowhere.*its folder does not exist"):
        async with running(**audited(tmp_path / "nowhere" / "audit.log")):
            pass


async def test_two_gateways_of_one_process_share_a_file(tmp_path: Path) -> None:
    """What gateways of one process write to one file is all there, whichever of them ends first."""
    path = tmp_path / "audit.log"
    async with running(**audited(path)) as stack:
        async with running(**audited(path)) as other:
            await ask(other, "other")
        await ask(stack, "one")
    assert len(of(path, "other")) == len(of(path, "one")) == 1


async def ask(stack: Stack, request_id: str) -> None:
    """Ask for a quote."""
    await stack.quotes.GetQuote(quotes.GetQuoteRequest(symbol="AAPL"), metadata=named(request_id))


# ------------------------------------------------------------------------------- log of calls


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    """Leave the process's logging as it was found."""
    with logging_as_before():
        yield


@pytest.mark.usefixtures("_logging_as_before")
async def test_calls_and_events_stand_in_one_file(tmp_path: Path) -> None:
    """With a log file calls and events are lines of it, by the names that operators know."""
    path = tmp_path / "gateway.log"
    log = {"file": str(path), "calls": True}
    with event_log(settings_for("http://127.0.0.1:1", log=log)):
        structlog.get_logger("tickgate_server.test").info("before")
        async with running(log=log) as stack:
            await ask(stack, "mine")
            await ask(stack, "again")
        structlog.get_logger("tickgate_server.test").info("after")
    events = [line.get("event") for line in read(path)]
    assert events.index("before") < events.index("after")
    first, again = (
        [line for line in read(path) if line.get("request_id") == name]
        for name in ("mine", "again")
    )
    (line,) = first
    assert line.pop("consumer").startswith("ipv4:127.0.0.1:")
    assert RFC3339.fullmatch(line.pop("timestamp"))
    assert 0 < line.pop("response_time_ms") < 10_000
    assert line == {
        "request_id": "mine",
        "endpoint": "QuoteService/GetQuote",
        "code": "OK",
        "values_asked": 1,
        "values_given": 1,
        "data_source": "sandbox",
        "cache_hit": False,
        "real_data_available": True,
    }
    assert again[0]["cache_hit"]


@pytest.mark.usefixtures("_logging_as_before")
async def test_no_secret_stands_in_any_log(tmp_path: Path) -> None:
    """Through an outage, refusals and wrong keys no log, audit log or trace holds a key, a token or a password."""
    log, audit, file = tmp_path / "gateway.log", tmp_path / "audit.log", tmp_path / "keys.jsonl"
    key, token = made_key("desk-7")
    await KeyFile(file).add(key)
    forged = token[:-4] + "AAAA"
    secrets = {"key_id": "PKVERYSECRETKEYID", "secret_key": "very-secret-alpaca-value"}
    with redis_url() as redis, postgres_url() as postgres:
        given: dict[str, Any] = {
            "log": {"file": str(log), "calls": True, "level": "debug"},
            "identity": {"keys": "file", "file": str(file)},
            "identity_secret": SECRET,
            "APCA_API_KEY_ID": secrets["key_id"],
            "APCA_API_SECRET_KEY": secrets["secret_key"],
            "redis_url": redis.replace("://", "://default:redis-password@"),
            "postgres_url": postgres,
            **audited(audit),
        }
        with event_log(settings_for("http://127.0.0.1:1", **given)):
            async with (
                collecting() as collector,
                running(**given, traces={"endpoint": collector.endpoint, "share": 1.0}) as stack,
            ):
                for fault in (
                    faults.Status(status=500),
                    faults.Html401(),
                    faults.Status(status=403, body={"message": f"forbidden {secrets['key_id']}"}),
                    faults.Reset(),
                    faults.Garbage(),
                ):
                    fault.path = "/v2/stocks"
                    stack.sandbox.faults.add(fault)
                    for shown in (token, forged, "Bearer", "x" * 50):
                        with suppress(grpc.aio.AioRpcError):
                            await stack.quotes.GetQuote(
                                quotes.GetQuoteRequest(symbol="AAPL"), metadata=bearer(shown)
                            )
                    stack.sandbox.faults.clear()
    written = {one.name: one.read_bytes() for one in (log, audit)}
    written["traces"] = b"".join(collector.raw)
    assert all(written.values())
    for secret in (*secrets.values(), token, forged, SECRET, "redis-password", key.digest):
        for name, content in written.items():
            assert secret.encode() not in content, name
