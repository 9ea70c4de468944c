"""Alpaca's option endpoints as ports: whole chains, whole lists, and one reason or value for each contract."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest

from tickgate_server.errors import (
    NotEntitled,
    UpstreamBroken,
    UpstreamRejected,
    UpstreamUnreadable,
)
from tickgate_server.ingress.gate import Gate, Policy
from tickgate_server.market.answer import Answer
from tickgate_server.market.option import (
    ContractList,
    ContractScope,
    ContractStatus,
    OptionContract,
    OptionPart,
    OptionQuote,
)
from tickgate_server.market.provenance import DataSource, Feed, Provenance, Tier
from tickgate_server.market.time import NANOS
from tickgate_server.market.unavailable import Reason, Unavailable
from tickgate_server.ports import Answers, ChainRead, ErrorEntry, Group, Upstream
from tickgate_server.upstream.alpaca.options import (
    AlpacaChains,
    AlpacaContracts,
    options_endpoint,
)
from tickgate_server.upstream.alpaca.rest import AlpacaLatest

from ...support.fakes import NOW, FakeRequests, HandClock, gate, question
from ...support.options import CALL, PUT, ScriptedRequests, new_york, symbol_of

TIME = '"t":"2026-10-01T15:00:00Z"'
QUOTE = '{"latestQuote":{' + TIME + ',"bp":1.00,"bs":2,"ap":1.05,"as":3}}'
CROSSED = QUOTE.replace("1.00", "2.00")
EMPTY_BOOK = '{"latestQuote":{' + TIME + ',"bp":0,"bs":0,"ap":0,"as":0}}'
SNAPSHOTS, CONTRACTS = "/v1beta1/options/snapshots", "/v2/options/contracts"
DOWN = UpstreamBroken("answered 500")


def page(records: dict[str, str], token: str | None = None) -> bytes:
    """A page of snapshots."""
    inner = ",".join(f"{json.dumps(symbol)}:{record}" for symbol, record in records.items())
    return f'{{"snapshots":{{{inner}}},"next_page_token":{json.dumps(token)}}}'.encode()


def contracts_page(symbols: Sequence[Any], token: str | None = None) -> bytes:
    """A page of contracts of which only symbols are known, or of other entries as they are."""
    entries = [{"symbol": one} if isinstance(one, str) else one for one in symbols]
    return json.dumps({"option_contracts": entries, "next_page_token": token}).encode()


class Desk:
    """A gate, and what it counts and notes."""

    def __init__(self, clock: HandClock) -> None:
        self.refused: dict[str, int] = {}
        self.noted: list[ErrorEntry] = []
        policy = Policy(refuse_crossed=True, future_tolerance=5 * NANOS)
        self.gate = Gate(policy, clock, self.refused, note=self.noted.append)


class Setup:
    """Alpaca's chains and contracts over answers by a script."""

    def __init__(self, *script: Any, at: int = NOW) -> None:
        self.clock = HandClock(at)
        self.requests = ScriptedRequests(self.clock, script)
        self.desk = Desk(self.clock)
        self.chains = AlpacaChains(
            self.requests, DataSource.SANDBOX, self.desk.gate, self.clock
        )  # fmt: skip
        self.contracts = AlpacaContracts(self.requests, DataSource.SANDBOX, self.desk.gate)

    async def read(self, since: int | None = None, feed: Feed = Feed.OPRA) -> ChainRead:
        """Read the chain of AAPL."""
        return await self.chains.read("AAPL", feed, since, 1010.0)

    async def listing(self, scope: ContractScope) -> ContractList:
        """Read a list of contracts that there is."""
        found = await self.contracts.contracts(scope, 1010.0)
        assert isinstance(found, ContractList), found
        return found

    @property
    def params(self) -> list[dict[str, str]]:
        """What each request asked for."""
        return [dict(sent.params) for sent in self.requests.sent]


# ------------------------------------------------------------------------------------------- chains


async def test_a_chain_is_read_to_its_last_page() -> None:
    """Pages are asked for with the token of the page before, and all else alike, until there is none."""
    strikes = [symbol_of(str(strike)) for strike in (240, 245, 250, 255, 260)]
    first, second, third = strikes[:2], strikes[2:4], strikes[4:]
    setup = Setup(
        page(dict.fromkeys(first, QUOTE), "MQ=="),
        page(dict.fromkeys(second, QUOTE), "Mg=="),
        page(dict.fromkeys(third, QUOTE)),
    )
    found = await setup.read()
    assert list(found.quotes) == strikes
    base = {
        "feed": "opra",
        "limit": "1000",
        "expiration_date_gte": "2026-10-01",
        "expiration_date_lte": "2036-10-08",
    }
    assert setup.params == [base, base | {"page_token": "MQ=="}, base | {"page_token": "Mg=="}]
    for sent in setup.requests.sent:
        assert (sent.upstream, sent.group) == (Upstream.DATA, Group.OPTIONS)
        assert (sent.path, sent.deadline) == (f"{SNAPSHOTS}/AAPL", 1010.0)
        assert sent.effort is setup.requests.sent[0].effort


async def test_a_chain_knows_when_it_was_read() -> None:
    """A reading tells when its first page was asked for and when it came, and each contract when its own did."""
    setup = Setup(page({CALL: QUOTE}, "MQ=="), page({PUT: QUOTE}))
    setup.requests.seconds = 2.0
    found = await setup.read()
    assert found.asked_at == NOW
    assert (found.read_at, found.read_time) == (1002.0, NOW + 2 * NANOS)
    assert (found.quotes[CALL].confirmed_at, found.quotes[PUT].confirmed_at) == (1002.0, 1004.0)
    origins = [found.quotes[symbol].value.provenance for symbol in (CALL, PUT)]
    assert origins == [
        Provenance(DataSource.SANDBOX, Feed.OPRA, None, NOW + 2 * NANOS, "up-1"),
        Provenance(DataSource.SANDBOX, Feed.OPRA, None, NOW + 4 * NANOS, "up-2"),
    ]


async def test_what_has_moved_is_asked_for_by_an_instant() -> None:
    """A refresh names the instant from which on moves count, to the nanosecond, on every page."""
    setup = Setup(page({CALL: QUOTE}, "MQ=="), page({PUT: QUOTE}))
    await setup.read(since=NOW - 1, feed=Feed.INDICATIVE)
    assert [params["updated_since"] for params in setup.params] == [
        "2026-10-01T14:59:59.999999999Z"
    ] * 2
    assert {params["feed"] for params in setup.params} == {"indicative"}
    await Setup(page({})).read()


async def test_the_range_of_dates_begins_today_in_new_york() -> None:
    """Expiration dates are always named, from the market's date on, also late in its evening."""
    setup = Setup(page({}), page({}), at=new_york("2026-10-01 23:59"))
    await setup.read()
    setup.clock.advance(60)
    await setup.read()
    assert [params["expiration_date_gte"] for params in setup.params] == [
        "2026-10-01",
        "2026-10-02",
    ]


async def test_contracts_of_a_chain_are_judged_one_by_one() -> None:
    """Values, refusals and empty records stand side by side: of a chain only what is no market value is refused."""
    odd = symbol_of("260")
    partly = QUOTE[:-1] + ',"greeks":{"delta":0.5},"latestTrade":{"p":-1}}'
    setup = Setup(
        page({CALL: QUOTE, PUT: CROSSED, odd: "7", symbol_of("270"): "null",
              symbol_of("280"): partly, "AAPL": QUOTE, symbol_of("290"): EMPTY_BOOK})
    )  # fmt: skip
    found = await setup.read()
    assert list(found.quotes) == [CALL, symbol_of("280")]
    assert set(found.refused) == {PUT, odd, "AAPL", symbol_of("290")}
    assert set(found.quotes[symbol_of("280")].value.missing) == {OptionPart.LATEST_TRADE}
    assert setup.desk.refused == {
        "crossed": 1,
        "wrong_type": 1,
        "malformed_symbol": 1,
        "negative_price": 1,
    }
    assert {entry.request_id for entry in setup.desk.noted} == {"up-1"}


async def test_every_page_tells_until_when_it_is_wanted() -> None:
    """All requests of a reading say when the last who waits for it has gone, as far as that is known."""
    setup = Setup(page({CALL: QUOTE}, "MQ=="), page({}), page({}))
    await setup.chains.read("AAPL", Feed.OPRA, None, 1030.0, 1007.5)
    await setup.read()
    assert [sent.wanted_until for sent in setup.requests.sent] == [1007.5, 1007.5, None]


async def test_pages_that_lead_to_themselves() -> None:
    """A page whose token is the one that led to it is refused, before it spends everybody's budget."""
    setup = Setup(*[page({CALL: QUOTE}, "MQ==")] * 3)
    with pytest.raises(UpstreamUnreadable, match="repeated_page"):
        await setup.read()
    assert len(setup.requests.sent) == 2
    assert setup.desk.refused == {"repeated_page": 1}
    lists = Setup(*[contracts_page([CALL], "MQ==")] * 3)
    with pytest.raises(UpstreamUnreadable, match="repeated_page"):
        await lists.listing(SCOPE)
    assert len(lists.requests.sent) == 2


async def test_an_empty_chain_is_no_failure() -> None:
    """An underlying of which nothing is sent has an empty chain; why that is so is another question."""
    found = await Setup(b'{"snapshots":null,"next_page_token":null}').read()
    assert (dict(found.quotes), set(found.refused)) == ({}, set())


@pytest.mark.parametrize("failure", [DOWN, NotEntitled("OPRA agreement is not signed")])
async def test_a_page_that_fails_fails_the_reading(failure: Exception) -> None:
    """Half a chain is none: whichever page cannot be had, its failure is that of the reading."""
    for number in range(2):
        pages: list[Any] = [page({CALL: QUOTE}, "MQ=="), page({PUT: QUOTE})]
        pages[number] = failure
        with pytest.raises(type(failure)):
            await Setup(*pages).read()


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"snapshots":[]}'])
async def test_a_page_that_cannot_be_read_fails_the_reading(body: bytes) -> None:
    """An answer that is none is noted with the upstream's id, and fails the reading."""
    setup = Setup(page({CALL: QUOTE}, "MQ=="), body)
    with pytest.raises(UpstreamUnreadable):
        await setup.read()
    (noted,) = setup.desk.noted
    assert (noted.request_id, noted.context["subject"]) == ("up-2", "option chain")


async def test_a_peek_at_a_chain_is_cheap() -> None:
    """To see whether a feed answers, one contract is asked for, and a failure is raised."""
    setup = Setup(page({}), DOWN)
    await setup.chains.peek("AAPL", Feed.OPRA, 1010.0)
    (sent,) = setup.requests.sent
    assert (sent.path, sent.params) == (f"{SNAPSHOTS}/AAPL", {"feed": "opra", "limit": "1"})
    assert (sent.upstream, sent.group) == (Upstream.DATA, Group.OPTIONS)
    with pytest.raises(UpstreamBroken):
        await setup.chains.peek("AAPL", Feed.OPRA, 1010.0)


# ---------------------------------------------------------------------------------------- contracts

SCOPE = ContractScope(date(2026, 10, 1), date(2036, 10, 8), underlying="AAPL")


def rejected(said: str) -> UpstreamRejected:
    """A status that says the question was wrong."""
    return UpstreamRejected(f"answered 422: {said}", said=said)


async def test_a_list_is_read_to_its_last_page() -> None:
    """Pages are asked for with the token of the page before, dates and status always named."""
    setup = Setup(contracts_page([PUT], "MQ=="), contracts_page([CALL]))
    found = await setup.listing(SCOPE)
    assert [found.get(symbol) is not None for symbol in (CALL, PUT, symbol_of("1"))] == [
        True, True, False,
    ]  # fmt: skip
    base = {
        "expiration_date_gte": "2026-10-01",
        "expiration_date_lte": "2036-10-08",
        "status": "active",
        "limit": "9999",
        "underlying_symbols": "AAPL",
    }
    assert setup.params == [base, base | {"page_token": "MQ=="}]
    for sent in setup.requests.sent:
        assert (sent.upstream, sent.group, sent.path) == (
            Upstream.TRADING, Group.OPTIONS, CONTRACTS,
        )  # fmt: skip
        assert sent.deadline == 1010.0
        assert sent.effort is setup.requests.sent[0].effort
    assert found.provenance == Provenance(DataSource.SANDBOX, None, None, NOW, "up-2")
    assert (len(found), found.refusals) == (2, 0)


async def test_a_scope_says_what_is_asked_for() -> None:
    """A root, another status and deliverables are asked for where the scope names them, and only there."""
    setup = Setup(contracts_page([]))
    scope = ContractScope(
        date(2026, 1, 1),
        date(2026, 1, 1),
        root="AAPL1",
        status=ContractStatus.INACTIVE,
        deliverables=True,
    )
    assert len(await setup.listing(scope)) == 0
    assert setup.params == [
        {
            "expiration_date_gte": "2026-01-01",
            "expiration_date_lte": "2026-01-01",
            "status": "inactive",
            "limit": "9999",
            "root_symbol": "AAPL1",
            "show_deliverables": "true",
        }
    ]


async def test_entries_are_judged_one_by_one() -> None:
    """Entries that are no contract, or deny what their symbol says, are counted apart, and the others are there."""
    denying = {"symbol": PUT, "strike_price": "251"}
    setup = Setup(
        contracts_page([denying, 7, {}, "AAPL"], "MQ=="), contracts_page([CALL, {"symbol": 7}])
    )
    found = await setup.listing(SCOPE)
    assert (len(found), found.refusals) == (1, 5)
    assert found.get(PUT) is None
    assert PUT in found, "a contract of odd terms is listed all the same"
    why = found.refused[PUT]
    assert (why.reason, why.refusal and why.refusal.rule) == (
        Reason.INVALID_DATA, "contract_mismatch",
    )  # fmt: skip
    assert setup.desk.refused == {
        "contract_mismatch": 1,
        "missing_field": 3,
        "malformed_symbol": 1,
    }
    assert [entry.request_id for entry in setup.desk.noted] == ["up-1"] * 4 + ["up-2"]


async def test_contracts_of_another_underlying_are_refused() -> None:
    """A contract that names another underlying than was asked for is left out, and one that names none is taken."""
    stranger = {"symbol": PUT, "underlying_symbol": "AAP" + "X" * 100}
    mine = {"symbol": CALL, "underlying_symbol": "AAPL"}
    setup = Setup(contracts_page([stranger, mine, symbol_of("260")]))
    found = await setup.listing(SCOPE)
    assert (len(found), found.refusals) == (2, 1)
    assert setup.desk.refused == {"contract_mismatch": 1}
    assert len(setup.desk.noted[0].message) < 200
    by_root = Setup(contracts_page([stranger, mine]))
    scope = ContractScope(date(2026, 10, 1), date(2036, 10, 8), root="AAPL")
    assert len(await by_root.listing(scope)) == 2, "a root is not asked for by its underlying"


async def test_a_number_beyond_all_reason_costs_its_entry() -> None:
    """An entry whose open interest has five thousand digits is left out, and the list is there."""
    setup = Setup(contracts_page([{"symbol": PUT, "open_interest": "1e5000"}, CALL]))
    found = await setup.listing(SCOPE)
    assert (len(found), found.refusals) == (1, 1)


async def test_evidence_of_a_bad_list_does_not_push_out_all_other() -> None:
    """Of a list gone bad every entry is counted, and only some are noted."""
    setup = Setup(contracts_page([{"name": "nobody"}] * 200 + [CALL]))
    assert (await setup.listing(SCOPE)).refusals == 200
    assert setup.desk.refused == {"missing_field": 200}
    assert len(setup.desk.noted) <= 50


async def test_an_unknown_underlying() -> None:
    """An underlying that Alpaca calls invalid does not exist; any other refusal is a failure."""
    setup = Setup(rejected("invalid underlying symbols: AAPL"), rejected("limit must be less"))
    why = await setup.contracts.contracts(SCOPE, 1010.0)
    assert isinstance(why, Unavailable)
    assert why.reason is Reason.SYMBOL_UNKNOWN
    assert why.message == "AAPL: not an underlying that the upstream knows"
    with pytest.raises(UpstreamRejected):
        await setup.contracts.contracts(SCOPE, 1010.0)


async def test_a_page_of_contracts_that_fails_fails_the_list() -> None:
    """Half a list is none, or contracts would seem not to be listed."""
    for bad in (DOWN, rejected("no such token")):
        with pytest.raises(type(bad)):
            await Setup(contracts_page([CALL], "MQ=="), bad).listing(SCOPE)
    setup = Setup(contracts_page([CALL], "MQ=="), b"<html>")
    with pytest.raises(UpstreamUnreadable):
        await setup.listing(SCOPE)
    assert [entry.context["subject"] for entry in setup.desk.noted] == ["option contracts"]


async def test_one_contract_by_its_name() -> None:
    """A single contract is asked for by its name, and one that is not found is None."""
    said = f"option contract {PUT} not found"
    setup = Setup(json.dumps({"symbol": CALL, "open_interest": "7"}).encode(), rejected(said))
    found = await setup.contracts.contract(CALL, 1010.0)
    assert isinstance(found, OptionContract)
    assert (found.symbol, found.open_interest) == (CALL, 7)
    assert await setup.contracts.contract(PUT, 1010.0) is None
    assert [(sent.upstream, sent.path, dict(sent.params)) for sent in setup.requests.sent] == [
        (Upstream.TRADING, f"{CONTRACTS}/{symbol}", {}) for symbol in (CALL, PUT)
    ]


@pytest.mark.parametrize("bad", [DOWN, rejected("bad request"), b"<html>", b"[]"])
async def test_a_contract_that_cannot_be_asked_is_a_failure(bad: Any) -> None:
    """Only the upstream's word that it is not found says that a contract does not exist."""
    with pytest.raises((UpstreamBroken, UpstreamRejected, UpstreamUnreadable)):
        await Setup(bad).contracts.contract(CALL, 1010.0)


async def test_a_contract_of_odd_terms_is_not_one_that_does_not_exist() -> None:
    """When the terms of a contract are refused, that is the answer, and no word that there is none."""
    entry = {"symbol": CALL, "strike_price": "251"}
    found = await Setup(json.dumps(entry).encode()).contracts.contract(CALL, 1010.0)
    assert isinstance(found, Unavailable)
    assert found.reason is Reason.INVALID_DATA


@pytest.mark.parametrize("entry", [{}, {"symbol": PUT}, {"symbol": "AAPL"}])
async def test_an_answer_about_another_contract(entry: dict[str, str]) -> None:
    """What does not say that it is about the contract that was asked is taken for no answer about it."""
    setup = Setup(json.dumps(entry).encode())
    with pytest.raises(UpstreamUnreadable):
        await setup.contracts.contract(CALL, 1010.0)
    assert [noted.request_id for noted in setup.desk.noted] == ["up-1"]


async def test_a_peek_at_contracts_is_cheap() -> None:
    """To see whether there is an answer, one contract is asked for, and a failure is raised."""
    setup = Setup(contracts_page([CALL]), DOWN)
    await setup.contracts.peek("AAPL", 1010.0)
    (sent,) = setup.requests.sent
    assert (sent.upstream, sent.path) == (Upstream.TRADING, CONTRACTS)
    assert sent.params == {"underlying_symbols": "AAPL", "limit": "1"}
    with pytest.raises(UpstreamBroken):
        await setup.contracts.peek("AAPL", 1010.0)


# ---------------------------------------------------------------------------------- single contracts


class Latest:
    """Alpaca's snapshots of single contracts over a fake, with lists of contracts that tests may take away."""

    def __init__(self, **records: str) -> None:
        clock = HandClock()
        self.refusals: dict[str, int] = {}
        self.requests = FakeRequests(clock, records)
        self.listed: set[str] | None = {CALL, PUT}
        self.looked_up: list[tuple[str, ...]] = []
        endpoint = options_endpoint(gate(clock, self.refusals))
        self.requests.wrapper = endpoint.wrapper
        self.latest: AlpacaLatest[OptionQuote] = AlpacaLatest(
            self.requests, DataSource.SANDBOX, endpoint, self.give_list
        )

    async def give_list(self, symbols: Sequence[str], _: float) -> set[str] | None:
        """The list, if there is one."""
        self.looked_up.append(tuple(symbols))
        return self.listed

    async def ask(self, *symbols: str) -> Answers[OptionQuote]:
        """Ask about contracts."""
        return await self.latest.latest(question(*symbols, feed=Feed.OPRA))

    @property
    def asked(self) -> list[list[str]]:
        """The contracts of each request."""
        return [sent.params["symbols"].split(",") for sent in self.requests.sent]


def reason(outcome: Answer[OptionQuote] | Unavailable) -> Reason:
    """Why there is no value."""
    assert isinstance(outcome, Unavailable)
    return outcome.reason


async def test_contracts_travel_in_one_request() -> None:
    """Contracts are asked for together, on their feed, and each value has the answer as its origin."""
    setup = Latest(**{CALL: QUOTE, PUT: QUOTE})
    answers = await setup.ask(PUT, CALL)
    assert list(answers) == [PUT, CALL]
    (sent,) = setup.requests.sent
    assert (sent.upstream, sent.group, sent.path) == (Upstream.DATA, Group.OPTIONS, SNAPSHOTS)
    assert sent.params == {"symbols": f"{PUT},{CALL}", "feed": "opra"}
    answer = answers[CALL]
    assert isinstance(answer, Answer)
    assert (answer.served_from, answer.held.confirmed_at) == (Tier.UPSTREAM, 1000.0)
    assert answer.value.symbol == CALL
    assert answer.value.quote is not None
    assert answer.value.quote.provenance == Provenance(
        DataSource.SANDBOX, Feed.OPRA, NOW, NOW, "up-1"
    )
    assert setup.looked_up == []


@pytest.mark.parametrize(("count", "sizes"), [(100, [100]), (101, [100, 1]), (250, [100, 100, 50])])
async def test_large_batches_are_several_requests(count: int, sizes: list[int]) -> None:
    """More contracts than one request takes travel in several, and every one has its answer."""
    symbols = [symbol_of(str(number + 1)) for number in range(count)]
    setup = Latest(**dict.fromkeys(symbols, QUOTE))
    answers = await setup.ask(*symbols)
    assert [len(asked) for asked in setup.asked] == sizes
    assert [symbol for asked in setup.asked for symbol in asked] == symbols
    assert list(answers) == symbols
    assert all(
        isinstance(answer, Answer) and answer.value.symbol == symbol
        for symbol, answer in answers.items()
    )


async def test_an_unknown_contract_is_told_from_a_silent_one() -> None:
    """What Alpaca leaves out is CONTRACT_UNKNOWN if it is not listed, and NO_DATA if it is or nobody can say."""
    setup = Latest(**{CALL: QUOTE})
    gone = symbol_of("999")
    answers = await setup.ask(CALL, PUT, gone)
    assert isinstance(answers[CALL], Answer)
    assert reason(answers[PUT]) is Reason.NO_DATA
    why = answers[gone]
    assert isinstance(why, Unavailable)
    assert (why.reason, why.passing) == (Reason.CONTRACT_UNKNOWN, False)
    assert why.message == f"{gone}: not in the upstream's list of contracts"
    assert setup.looked_up == [(PUT, gone)]
    setup.listed = None
    why = (await setup.ask(gone))[gone]
    assert isinstance(why, Unavailable)
    assert (why.reason, why.passing) == (Reason.NO_DATA, True)


async def test_an_invalid_contract_is_dropped_and_the_rest_asked_again() -> None:
    """Alpaca fails a request for one contract that it calls invalid; the others get their values all the same."""
    gone = symbol_of("999")
    setup = Latest(**{CALL: QUOTE, PUT: QUOTE})
    setup.requests.malformed = {gone}
    answers = await setup.ask(CALL, gone, PUT)
    assert isinstance(answers[CALL], Answer)
    assert isinstance(answers[PUT], Answer)
    assert reason(answers[gone]) is Reason.CONTRACT_UNKNOWN
    assert setup.asked == [[CALL, gone, PUT], [CALL, PUT]]


async def test_a_batch_that_fails_leaves_the_others_alone() -> None:
    """When one of several requests meets an invalid contract, the contracts of the others are not disturbed."""
    symbols = [symbol_of(str(number + 1)) for number in range(150)]
    setup = Latest(**dict.fromkeys(symbols, QUOTE))
    setup.requests.malformed = {symbols[120]}
    setup.listed = set()
    answers = await setup.ask(*symbols)
    assert reason(answers[symbols[120]]) is Reason.CONTRACT_UNKNOWN
    assert sum(isinstance(answer, Answer) for answer in answers.values()) == 149
    assert sorted(len(asked) for asked in setup.asked) == [49, 50, 100]


async def test_a_bad_record_costs_its_own_contract() -> None:
    """A record that is refused, one that is empty and one about nobody who was asked for harm no neighbour."""
    silent = symbol_of("260")
    setup = Latest(**{CALL: QUOTE, PUT: CROSSED, silent: "null"})
    setup.listed = {silent}
    answers = await setup.ask(PUT, silent, CALL)
    assert isinstance(answers[CALL], Answer)
    assert reason(answers[PUT]) is Reason.INVALID_DATA
    assert reason(answers[silent]) is Reason.NO_DATA
    assert setup.refusals == {"crossed": 1}
    setup.requests.bodies[SNAPSHOTS] = page({symbol_of("1"): QUOTE})
    assert reason((await setup.ask(CALL))[CALL]) is Reason.INVALID_DATA
    assert setup.refusals == {"crossed": 1, "symbol_mismatch": 1}


async def test_a_failure_is_told_for_every_contract() -> None:
    """When the upstream fails, each contract says so."""
    setup = Latest()
    setup.requests.failure = NotEntitled("OPRA agreement is not signed")
    answers = await setup.ask(CALL, PUT)
    assert {reason(why) for why in answers.values()} == {Reason.NOT_ENTITLED}
