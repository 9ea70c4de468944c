"""Alpaca's endpoints as ports: one reason or value for each symbol, whatever Alpaca does to the others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from tickgate_server.errors import (
    KeyRefused,
    UpstreamRejected,
    UpstreamUnreachable,
    UpstreamUnreadable,
)
from tickgate_server.ingress.context import Verdict
from tickgate_server.ingress.gate import Gate
from tickgate_server.market.answer import Answer
from tickgate_server.market.asset import CodeKind
from tickgate_server.market.provenance import DataSource, Feed, Tier
from tickgate_server.market.quote import Quote
from tickgate_server.market.snapshot import Snapshot, SnapshotPart
from tickgate_server.market.unavailable import Reason, Unavailable
from tickgate_server.ports import Answers, Group, Upstream
from tickgate_server.upstream.alpaca.options import options_endpoint
from tickgate_server.upstream.alpaca.rest import (
    AlpacaLatest,
    AlpacaReference,
    quotes_endpoint,
    snapshots_endpoint,
    trades_endpoint,
)

from ...support.context import Desk, policy
from ...support.fakes import NOW, FakeRequests, HandClock, gate, question

CONTRACT = "SPY261218C00380000"
TIME = '"t":"2026-10-01T15:00:00Z"'
QUOTE = "{" + TIME + ',"bp":10.00,"bs":2,"ap":10.02,"as":3}'
TRADE = "{" + TIME + ',"p":180.10,"s":5}'
BAR = "{" + TIME + ',"o":1.0,"h":2.50,"l":1,"c":2,"v":10}'


class Setup:
    """Alpaca's latest endpoint over a fake, with a list of assets that tests may take away."""

    def __init__(
        self,
        kind: str = "quote",
        through: Gate | None = None,
        most: int | None = None,
        **records: str,
    ) -> None:
        clock = HandClock()
        self.refusals: dict[str, int] = {}
        guard = through or gate(clock, self.refusals)
        self.requests = FakeRequests(clock, records)
        self.listed: set[str] | None = {"AAPL", "IBM", "MSFT"}
        self.looked_up = 0
        self.looked_up_for: list[list[str]] = []
        endpoints: dict[str, Any] = {
            "quote": quotes_endpoint, "trade": trades_endpoint, "snapshot": snapshots_endpoint,
            "option": options_endpoint,
        }  # fmt: skip
        endpoint = endpoints[kind](guard)
        if most is not None:
            endpoint = replace(endpoint, most=most)
        self.requests.wrapper = endpoint.wrapper
        self.latest: AlpacaLatest[Any] = AlpacaLatest(
            self.requests, DataSource.SANDBOX, endpoint, self.give_list
        )

    async def give_list(self, symbols: Sequence[str], _: float) -> set[str] | None:
        """The list, if there is one."""
        self.looked_up += 1
        self.looked_up_for.append(list(symbols))
        return self.listed

    async def ask(self, *symbols: str) -> Answers[Any]:
        """Ask for the latest of *symbols*."""
        return await self.latest.latest(question(*symbols))


def reason(outcome: Answer[Any] | Unavailable) -> Reason:
    """Why there is no value."""
    assert isinstance(outcome, Unavailable)
    return outcome.reason


async def test_a_value_with_its_origin() -> None:
    """An answer is what was sent, confirmed on receipt, from the upstream, with feed, source and request id."""
    setup = Setup(AAPL=QUOTE)
    answer = (await setup.ask("AAPL"))["AAPL"]
    assert isinstance(answer, Answer)
    assert isinstance(answer.value, Quote)
    assert str(answer.value.bid and answer.value.bid.price) == "10.00"
    assert (answer.served_from, answer.stale, answer.held.confirmed_at) == (
        Tier.UPSTREAM,
        False,
        1000.0,
    )
    origin = answer.value.provenance
    assert (origin.source, origin.feed) == (DataSource.SANDBOX, Feed.IEX)
    assert (origin.event_time, origin.receive_time, origin.upstream_request_id) == (
        NOW,
        NOW,
        "up-1",
    )


async def test_one_request_for_many() -> None:
    """All symbols travel in one request, with feed and deadline, in the order asked."""
    setup = Setup(AAPL=QUOTE, IBM=QUOTE)
    answers = await setup.ask("IBM", "AAPL")
    assert list(answers) == ["IBM", "AAPL"]
    (sent,) = setup.requests.sent
    assert (sent.upstream, sent.group) == (Upstream.DATA, Group.LATEST)
    assert sent.path == "/v2/stocks/quotes/latest"
    assert sent.params == {"symbols": "IBM,AAPL", "feed": "iex"}
    assert sent.deadline == 1010.0


async def test_more_than_an_endpoint_takes_are_several_requests() -> None:
    """Each request has the whole's deadline and as many symbols as the endpoint takes; each symbol has its answer."""
    setup = Setup(most=2, AAPL=QUOTE, IBM=QUOTE, MSFT=QUOTE)
    setup.requests.malformed = {"XX.YY"}
    answers = await setup.ask("IBM", "MSFT", "ZZZZ", "XX.YY", "AAPL")
    assert set(answers) == {"IBM", "MSFT", "ZZZZ", "XX.YY", "AAPL"}
    assert all(isinstance(answers[symbol], Answer) for symbol in ("IBM", "MSFT", "AAPL"))
    assert reason(answers["ZZZZ"]) is reason(answers["XX.YY"]) is Reason.SYMBOL_UNKNOWN
    sent = setup.requests.sent
    assert [one.params["symbols"] for one in sent] == ["IBM,MSFT", "ZZZZ,XX.YY", "AAPL", "ZZZZ"]
    assert {one.deadline for one in sent} == {1010.0}


async def test_as_many_as_an_endpoint_takes_are_one_request() -> None:
    """Stocks are asked for five hundred at a time, and contracts a hundred."""
    setup = Setup()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    many = [one + other for one in letters for other in letters]
    await setup.ask(*many[:500])
    await setup.ask(*many[:501])
    counts = [len(sent.params["symbols"].split(",")) for sent in setup.requests.sent]
    assert counts == [500, 500, 1]
    assert options_endpoint(gate(HandClock())).most == 100


async def test_a_group_and_a_reason_are_the_endpoints_own() -> None:
    """Contracts are asked at the group of options, and one that is not listed is CONTRACT_UNKNOWN."""
    setup = Setup("option")
    setup.listed = {CONTRACT}
    other = CONTRACT.replace("C", "P")
    answers = await setup.ask(CONTRACT, other)
    (sent,) = setup.requests.sent
    assert (sent.upstream, sent.group) == (Upstream.DATA, Group.OPTIONS)
    assert sent.path == "/v1beta1/options/snapshots"
    assert [reason(answers[symbol]) for symbol in (CONTRACT, other)] == [
        Reason.NO_DATA,
        Reason.CONTRACT_UNKNOWN,
    ]
    assert setup.looked_up_for == [[CONTRACT, other]]


async def test_an_unknown_symbol_is_told_from_a_silent_one() -> None:
    """What Alpaca leaves out is unknown if no list has it, and NO_DATA if one has."""
    setup = Setup(AAPL=QUOTE)
    answers = await setup.ask("AAPL", "IBM", "ZZZZ")
    assert isinstance(answers["AAPL"], Answer)
    assert reason(answers["IBM"]) is Reason.NO_DATA
    assert reason(answers["ZZZZ"]) is Reason.SYMBOL_UNKNOWN
    assert setup.looked_up_for == [["IBM", "ZZZZ"]]


async def test_without_a_list_nothing_is_called_unknown() -> None:
    """When the list of assets cannot be had, a missing symbol is NO_DATA."""
    setup = Setup()
    setup.listed = None
    assert reason((await setup.ask("ZZZZ"))["ZZZZ"]) is Reason.NO_DATA


@pytest.mark.parametrize("record", ["null", "{}"])
async def test_a_null_record_is_no_data(record: str) -> None:
    """A symbol whose record is null or empty has no data, and its neighbour has."""
    answers = await Setup(AAPL=record, IBM=QUOTE).ask("AAPL", "IBM")
    assert reason(answers["AAPL"]) is Reason.NO_DATA
    assert isinstance(answers["IBM"], Answer)


async def test_a_malformed_record_costs_its_own_symbol() -> None:
    """Of three records the two that cannot be used are refused by their rules, and counted."""
    crossed = QUOTE.replace("10.00", "11.00")
    setup = Setup(AAPL='{"t":7}', IBM=crossed, MSFT=QUOTE)
    answers = await setup.ask("AAPL", "IBM", "MSFT")
    assert isinstance(answers["MSFT"], Answer)
    rules = [
        why.refusal and why.refusal.rule for why in answers.values() if isinstance(why, Unavailable)
    ]
    assert rules == ["wrong_type", "crossed"]
    assert setup.refusals == {"wrong_type": 1, "crossed": 1}


async def test_an_answer_about_another_symbol() -> None:
    """A symbol that was not asked for is never taken for one that was: INVALID_DATA, and it is counted."""
    setup = Setup()
    setup.requests.bodies["/v2/stocks/quotes/latest"] = f'{{"quotes":{{"APPL":{QUOTE}}}}}'.encode()
    why = (await setup.ask("AAPL"))["AAPL"]
    assert reason(why) is Reason.INVALID_DATA
    assert setup.refusals == {"symbol_mismatch": 1}
    assert setup.looked_up == 0


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"quotes":[]}', b"[" * 9000])
async def test_an_unreadable_answer_is_invalid_data_for_all(body: bytes) -> None:
    """An answer that is none leaves each symbol with INVALID_DATA and the evidence."""
    setup = Setup()
    setup.requests.bodies["/v2/stocks/quotes/latest"] = body
    for why in (await setup.ask("AAPL", "IBM")).values():
        assert reason(why) is Reason.INVALID_DATA
        assert isinstance(why, Unavailable)
        assert why.refusal is not None


async def test_a_malformed_symbol_is_dropped_and_the_rest_asked_again() -> None:
    """Alpaca fails a request for one symbol that it calls invalid; the others get their values all the same."""
    setup = Setup(AAPL=QUOTE, IBM=QUOTE)
    setup.requests.malformed = {"XX.YY"}
    answers = await setup.ask("AAPL", "XX.YY", "IBM")
    assert isinstance(answers["AAPL"], Answer)
    assert isinstance(answers["IBM"], Answer)
    assert reason(answers["XX.YY"]) is Reason.SYMBOL_UNKNOWN
    assert [sent.params["symbols"] for sent in setup.requests.sent] == [
        "AAPL,XX.YY,IBM",
        "AAPL,IBM",
    ]


async def test_a_listed_symbol_that_is_called_malformed_has_no_data() -> None:
    """What the list of assets knows is not unknown because the data API refuses it; the message quotes that."""
    setup = Setup()
    setup.requests.malformed = {"IBM"}
    why = (await setup.ask("IBM"))["IBM"]
    assert reason(why) is Reason.NO_DATA
    assert isinstance(why, Unavailable)
    assert "invalid symbol: IBM" in why.message


async def test_many_malformed_symbols_cost_the_others_nothing() -> None:
    """After eight such symbols only listed ones are asked for: nine requests, and listed symbols get their values."""
    bad = [f"X.{letter}" for letter in "ABCDEFGHIJ"]
    setup = Setup(AAPL=QUOTE)
    setup.requests.malformed = set(bad)
    answers = await setup.ask(*bad, "AAPL")
    assert len(setup.requests.sent) == 9
    assert {reason(answers[symbol]) for symbol in bad} == {Reason.SYMBOL_UNKNOWN}
    assert isinstance(answers["AAPL"], Answer)


async def test_dropping_malformed_symbols_has_an_end() -> None:
    """When also listed symbols are called invalid the rest is given up after nine requests, a reason for each."""
    setup = Setup(AAPL=QUOTE, IBM=QUOTE)
    bad = [f"X.{letter}" for letter in "ABCDEFGHIJ"]
    setup.requests.malformed = {*bad, "IBM"}
    answers = await setup.ask(*bad, "IBM", "AAPL")
    assert len(setup.requests.sent) == 9
    assert set(answers) == {*bad, "IBM", "AAPL"}
    assert reason(answers["AAPL"]) is Reason.UPSTREAM_ERROR


@pytest.mark.parametrize(
    "said", ["invalid limit", "invalid symbol: OTHER", "invalid symbol: AAPL and more"]
)
async def test_other_rejections_are_not_retried(said: str) -> None:
    """A rejection that names none of the asked symbols is an upstream error for all, after one request."""
    setup = Setup(AAPL=QUOTE)
    setup.requests.failure = UpstreamRejected(f"answered 400: {said}", said=said)
    assert reason((await setup.ask("AAPL"))["AAPL"]) is Reason.UPSTREAM_ERROR
    assert len(setup.requests.sent) == 1


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (UpstreamUnreachable("cut off"), Reason.UPSTREAM_ERROR),
        (KeyRefused("wrong key"), Reason.UPSTREAM_UNAUTHENTICATED),
    ],
)
async def test_a_failed_request_is_every_symbols_reason(failure: Any, expected: Reason) -> None:
    """When the request fails, each symbol gets the failure's reason and nothing is raised."""
    setup = Setup()
    setup.requests.failure = failure
    answers = await setup.ask("AAPL", "ZZZZ")
    assert [reason(why) for why in answers.values()] == [expected] * 2
    assert setup.looked_up == 0


async def test_a_failure_after_a_dropped_symbol_keeps_its_reason() -> None:
    """What was found out about a malformed symbol survives the failure of the next request."""
    setup = Setup()

    class OnceMalformed(FakeRequests):
        async def send(self, request: Any) -> Any:
            if self.sent:
                self.failure = UpstreamUnreachable("cut off")
            return await super().send(request)

    requests = OnceMalformed(HandClock())
    requests.malformed = {"X.Y"}
    setup.latest = AlpacaLatest(
        requests, DataSource.SANDBOX, quotes_endpoint(gate(HandClock())), setup.give_list
    )
    answers = await setup.ask("X.Y", "AAPL")
    assert reason(answers["X.Y"]) is Reason.SYMBOL_UNKNOWN
    assert reason(answers["AAPL"]) is Reason.UPSTREAM_ERROR


async def test_trades_are_read() -> None:
    """The trades' endpoint gives trades."""
    setup = Setup("trade", AAPL=TRADE, IBM='{"t":7}')
    answers = await setup.ask("AAPL", "IBM")
    answer = answers["AAPL"]
    assert isinstance(answer, Answer)
    assert str(answer.value.price) == "180.10"
    assert reason(answers["IBM"]) is Reason.INVALID_DATA


def snapshot(**parts: str) -> str:
    """The JSON text of a snapshot."""
    return "{" + ",".join(f'"{key}":{record}' for key, record in parts.items()) + "}"


async def test_a_snapshot_names_each_missing_part() -> None:
    """A part not sent or null is NO_DATA, a refused one INVALID_DATA with its rule, the others are there."""
    record = snapshot(latestTrade=TRADE, latestQuote="null", minuteBar='{"t":1}', dailyBar=BAR)
    answer = (await Setup("snapshot", AAPL=record).ask("AAPL"))["AAPL"]
    assert isinstance(answer, Answer)
    value = answer.value
    assert isinstance(value, Snapshot)
    assert value.latest_trade is not None
    assert value.latest_trade.price == Decimal("180.10")
    assert value.daily_bar is not None
    assert value.event_time == NOW
    assert {part: why.reason for part, why in value.missing.items()} == {
        SnapshotPart.LATEST_QUOTE: Reason.NO_DATA,
        SnapshotPart.MINUTE_BAR: Reason.INVALID_DATA,
        SnapshotPart.PREVIOUS_DAILY_BAR: Reason.NO_DATA,
    }


async def test_a_snapshot_of_bars_alone_has_no_event_time() -> None:
    """Only trade and quote tell when a snapshot happened."""
    answer = (await Setup("snapshot", AAPL=snapshot(dailyBar=BAR)).ask("AAPL"))["AAPL"]
    assert isinstance(answer, Answer)
    assert answer.value.event_time is None


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("null", Reason.NO_DATA),
        ("{}", Reason.NO_DATA),
        ('{"latestTrade":null}', Reason.NO_DATA),
        ('{"latestTrade":{"t":1}}', Reason.INVALID_DATA),
        ("[]", Reason.INVALID_DATA),
    ],
)
async def test_a_snapshot_without_any_part(record: str, expected: Reason) -> None:
    """Without a part there is no snapshot: NO_DATA, or INVALID_DATA if one was refused."""
    assert reason((await Setup("snapshot", AAPL=record).ask("AAPL"))["AAPL"]) is expected


SOUND = {
    "latestTrade": "{" + TIME + ',"p":10.00,"s":5}',
    "latestQuote": "{" + TIME + ',"bp":9.99,"bs":2,"ap":10.01,"as":3}',
    "minuteBar": "{" + TIME + ',"o":10,"h":11,"l":9,"c":10,"v":10,"n":2}',
    "dailyBar": '{"t":"2026-10-01T04:00:00Z","o":10,"h":11,"l":9,"c":10,"v":10,"n":2}',
    "prevDailyBar": '{"t":"2026-09-30T04:00:00Z","o":10,"h":99,"l":9,"c":10,"v":10,"n":2}',
}
"""A snapshot that no rule has anything to say against: what the stock cost the day before is another matter."""

ODD_TRADE = {"latestTrade": "{" + TIME + ',"p":20.00,"s":5}'}


async def test_the_parts_of_a_snapshot_judge_each_other() -> None:
    """In a snapshot the trade is judged by the quote, the bars of the day by the trade, each part by itself flagged."""
    parts = SOUND | ODD_TRADE | {"minuteBar": "{" + TIME + ',"o":1,"h":1,"l":1,"c":1,"v":0,"n":2}'}
    for sent, expected in (
        (SOUND, [(), (), (), (), ()]),
        (parts, [("consistency",), (), ("volume_pattern",), (), ()]),
    ):
        desk = Desk(policy(Verdict.FLAG))
        answer = (await Setup("snapshot", desk.gate, AAPL=snapshot(**sent)).ask("AAPL"))["AAPL"]
        assert isinstance(answer, Answer)
        found = [getattr(answer.value, part.value).rule_flags for part in SnapshotPart]
        assert [tuple(flag.rule for flag in flags) for flags in found] == expected


async def test_a_rule_may_refuse_a_part_of_a_snapshot() -> None:
    """A part that a business rule refuses is missing with RULE_VIOLATION, and the other parts are there."""
    desk = Desk(policy(Verdict.REFUSE))
    record = snapshot(**SOUND | ODD_TRADE)
    answer = (await Setup("snapshot", desk.gate, AAPL=record).ask("AAPL"))["AAPL"]
    assert isinstance(answer, Answer)
    (why,) = answer.value.missing.values()
    assert set(answer.value.missing) == {SnapshotPart.LATEST_TRADE}
    assert (why.reason, why.refusal.rule) == (Reason.RULE_VIOLATION, "consistency")


async def test_a_snapshot_of_refused_parts_has_the_first_ones_reason() -> None:
    """When a business rule refuses all that was sent, that is why there is no snapshot."""
    night = '{"t":"2026-10-02T04:00:00Z","p":1,"s":5}'
    setup = Setup("snapshot", Desk(policy(Verdict.REFUSE)).gate, AAPL=snapshot(latestTrade=night))
    assert reason((await setup.ask("AAPL"))["AAPL"]) is Reason.RULE_VIOLATION


async def test_daily_bars_are_stamped_at_night() -> None:
    """No daily bar is refused for its midnight; a minute bar of that time is."""
    midnight = '{"t":"2026-10-02T04:00:00Z","o":10,"h":11,"l":9,"c":10,"v":10,"n":2}'
    desk = Desk(policy(Verdict.REFUSE, "market_context"))
    bars = dict.fromkeys(("minuteBar", "dailyBar", "prevDailyBar"), midnight)
    answer = (await Setup("snapshot", desk.gate, AAPL=snapshot(**bars)).ask("AAPL"))["AAPL"]
    assert isinstance(answer, Answer)
    refused = {part for part, why in answer.value.missing.items() if why.refusal is not None}
    assert refused == {SnapshotPart.MINUTE_BAR}


async def test_refused_records_are_noted_with_their_answers_id() -> None:
    """Each refused record of an answer is kept under the upstream's id: unreadable, impossible, about somebody else."""
    desk = Desk(policy(Verdict.REFUSE))
    setup = Setup("quote", desk.gate, AAPL='{"t":7}', IBM=QUOTE.replace("10.00", "-1"))
    setup.requests.records["XXXX"] = QUOTE
    await setup.ask("AAPL", "IBM")
    setup.requests.bodies["/v2/stocks/quotes/latest"] = f'{{"quotes":{{"APPL":{QUOTE}}}}}'.encode()
    await setup.ask("MSFT")
    setup.requests.bodies["/v2/stocks/quotes/latest"] = b"<html>"
    await setup.ask("AAPL", "IBM")
    assert [(entry.request_id, entry.context["rule"], entry.context.get("symbol")) for entry in desk.noted] == [
        ("up-1", "wrong_type", "AAPL"),
        ("up-1", "negative_price", "IBM"),
        ("up-2", "symbol_mismatch", "MSFT"),
        ("up-3", "unreadable", None),
    ]  # fmt: skip
    assert desk.noted[-1].context["subject"] == "latest quotes"


# ---------------------------------------------------------------------------- reference data

SOURCES = {Upstream.DATA: DataSource.ALPACA, Upstream.TRADING: DataSource.SANDBOX}


async def test_the_list_of_assets() -> None:
    """All stocks are asked of the trading host, and the list says whose it is."""
    requests = FakeRequests(HandClock())
    requests.bodies["/v2/assets"] = b'[{"symbol":"IBM"},{"symbol":"AAPL"}]'
    found = await AlpacaReference(requests, SOURCES, gate(HandClock())).assets(1010.0)
    assert "IBM" in found
    assert (found.provenance.source, found.provenance.feed) == (DataSource.SANDBOX, None)
    assert found.provenance.upstream_request_id == "up-1"
    assert requests.sent[0].params == {"asset_class": "us_equity"}
    assert requests.sent[0].upstream is Upstream.TRADING


async def test_refused_reference_data_is_noted() -> None:
    """Entries of a list, and answers that cannot be read, are kept with what they were and the upstream's id."""
    desk, requests = Desk(policy()), FakeRequests(HandClock())
    requests.bodies["/v2/assets"] = b'[{"symbol":"IBM"},{"name":"nobody"}]'
    requests.bodies |= dict.fromkeys(("/v2/calendar", "/v2/clock"), b"<html>")
    requests.bodies["/v2/stocks/meta/exchanges"] = b"[]"
    reference = AlpacaReference(requests, SOURCES, desk.gate)
    await reference.assets(1010.0)
    for ask in (
        lambda: reference.calendar(date(2026, 10, 1), date(2026, 11, 1), 1010.0),
        lambda: reference.clock(1010.0),
        lambda: reference.codes(CodeKind.EXCHANGE, "", 1010.0),
    ):
        with pytest.raises(UpstreamUnreadable):
            await ask()
    found = [
        (entry.request_id, entry.context["subject"], entry.context["rule"]) for entry in desk.noted
    ]
    assert found == [
        ("up-1", "assets", "missing_field"),
        ("up-2", "calendar", "unreadable"),
        ("up-3", "clock", "unreadable"),
        ("up-4", "codes", "wrong_type"),
    ]
    assert desk.refused == {"missing_field": 1, "unreadable": 2, "wrong_type": 1}


async def test_the_calendar_is_asked_without_its_end() -> None:
    """Our ranges do not hold their end and Alpaca's do."""
    requests = FakeRequests(HandClock())
    day = {"date": "2026-10-01", "open": "09:30", "close": "16:00"}
    requests.bodies["/v2/calendar"] = json.dumps([day]).encode()
    found = await AlpacaReference(requests, SOURCES, gate(HandClock())).calendar(
        date(2026, 10, 1), date(2026, 11, 1), 1010.0
    )
    assert [one.date for one in found.days] == [date(2026, 10, 1)]
    assert requests.sent[0].params == {"start": "2026-10-01", "end": "2026-10-31"}


async def test_the_clock() -> None:
    """The clock is the trading host's."""
    requests = FakeRequests(HandClock())
    times = dict.fromkeys(("timestamp", "next_open", "next_close"), "2026-10-01T15:00:00Z")
    requests.bodies["/v2/clock"] = json.dumps({"is_open": True, **times}).encode()
    found = await AlpacaReference(requests, SOURCES, gate(HandClock())).clock(1010.0)
    assert (found.market_time, found.is_open) == (NOW, True)
    assert found.provenance.source is DataSource.SANDBOX


@pytest.mark.parametrize(
    ("kind", "tape", "path", "params"),
    [
        (CodeKind.EXCHANGE, "", "/v2/stocks/meta/exchanges", {}),
        (CodeKind.TRADE_CONDITION, "A", "/v2/stocks/meta/conditions/trade", {"tape": "A"}),
        (CodeKind.QUOTE_CONDITION, "C", "/v2/stocks/meta/conditions/quote", {"tape": "C"}),
        (CodeKind.OPTION_EXCHANGE, "", "/v1beta1/options/meta/exchanges", {}),
        (CodeKind.OPTION_TRADE_CONDITION, "", "/v1beta1/options/meta/conditions/trade", {}),
        (CodeKind.OPTION_QUOTE_CONDITION, "", "/v1beta1/options/meta/conditions/quote", {}),
    ],
)
async def test_tables_of_codes(
    kind: CodeKind, tape: str, path: str, params: dict[str, str]
) -> None:
    """Each table has its path at the data host, and a tape where it needs one."""
    requests = FakeRequests(HandClock())
    requests.bodies[path] = b'{"V":"IEX"}'
    table = await AlpacaReference(requests, SOURCES, gate(HandClock())).codes(kind, tape, 1010.0)
    assert table.names == {"V": "IEX"}
    assert table.provenance.source is DataSource.ALPACA
    assert requests.sent[0].params == params


async def test_reference_data_that_cannot_be_read_is_raised() -> None:
    """Reference data that is none is an `UpstreamUnreadable`."""
    requests = FakeRequests(HandClock())
    requests.bodies |= dict.fromkeys(("/v2/assets", "/v2/clock", "/v2/calendar"), b"<html>")
    reference = AlpacaReference(requests, SOURCES, gate(HandClock()))
    for asked in (
        reference.assets(1010.0),
        reference.clock(1010.0),
        reference.calendar(date(2026, 1, 1), date(2027, 1, 1), 1010.0),
    ):
        with pytest.raises(UpstreamUnreadable):
            await asked
