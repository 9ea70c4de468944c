"""What the account may read: learned from every answer, asked where nothing is known."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import pytest

from tickgate_server.errors import (
    BudgetExhausted,
    CircuitOpen,
    KeyRefused,
    NotEntitled,
    RateLimited,
    UpstreamBroken,
    UpstreamFailure,
    UpstreamRejected,
    UpstreamTimeout,
)
from tickgate_server.guards.entitled import AskedEntitlements, EntitledRequests, Entitlements
from tickgate_server.guards.prioritised import PrioritisedRequests
from tickgate_server.market.answer import Question
from tickgate_server.market.entitlement import Entitlement, Standing
from tickgate_server.market.provenance import OPTION_FEEDS, DataSource, Feed
from tickgate_server.ports import Group, Priority, Request, Upstream
from tickgate_server.upstream.alpaca.options import AlpacaChains
from tickgate_server.upstream.alpaca.rest import AlpacaLatest, quotes_endpoint

from ...support.entitled import SAID, PlanRequests
from ...support.fakes import NOW, HandClock, gate, settle


@dataclass
class Account:
    """A gateway's knowledge of an account whose plan covers IEX alone, unless a test changes that."""

    clock: HandClock = field(default_factory=HandClock)

    def __post_init__(self) -> None:
        self.plan = PlanRequests(self.clock)
        self.known = Entitlements(self.clock, keep_denied=60.0)
        self.requests = EntitledRequests(self.plan, self.known)

        async def listed(_: object, __: float) -> None:
            return None

        lowly = PrioritisedRequests(self.requests, Priority.BACKFILL)
        through, sandbox = gate(self.clock), DataSource.SANDBOX
        quotes = AlpacaLatest(lowly, sandbox, quotes_endpoint(through), listed)
        chains = AlpacaChains(lowly, sandbox, through, self.clock)

        async def ask(feed: Feed, deadline: float) -> None:
            if feed in OPTION_FEEDS:
                with contextlib.suppress(UpstreamFailure):
                    await chains.peek("AAPL", feed, deadline)
            else:
                await quotes.latest(Question(("AAPL",), feed, deadline))

        self.asked = AskedEntitlements(self.known, ask, self.clock, cap=5.0)

    async def send(self, feed: str, group: Group = Group.LATEST) -> None:
        """Ask for something on a feed; a failure is the asker's own affair."""
        request = Request(
            Upstream.DATA, group, "/v2/stocks/quotes/latest", {"feed": feed}, deadline=1010.0
        )
        with contextlib.suppress(UpstreamFailure):
            await self.requests.send(request)

    async def learn(self, patience: float = 10.0) -> dict[Feed, Entitlement]:
        """Return what the port says of each feed."""
        entries = await self.asked.entitlements(self.clock.monotonic() + patience)
        assert [entry.feed for entry in entries] == list(Feed)
        return {entry.feed: entry for entry in entries}


async def test_an_answer_grants_its_feed() -> None:
    """A feed that the upstream has answered on may be read, and it is known since when."""
    account = Account()
    assert account.known.of(Feed.IEX) == Entitlement(Feed.IEX, Standing.UNKNOWN)
    await account.send("iex")
    assert account.known.of(Feed.IEX) == Entitlement(Feed.IEX, Standing.GRANTED, NOW)
    assert account.known.refusal(Feed.IEX) is None


async def test_a_refusal_denies_its_feed_for_a_while() -> None:
    """A denied feed is refused in the upstream's words, with the time it was refused and the time it is asked again."""
    account = Account()
    await account.send("sip")
    account.clock.advance(59.9)
    refusal = account.known.refusal(Feed.SIP)

    assert account.known.of(Feed.SIP) == Entitlement(Feed.SIP, Standing.DENIED, NOW, SAID)
    assert refusal is not None
    assert refusal.message == (
        f"the account may not read feed sip: {SAID}"
        " (refused at 2026-10-01T15:00:00Z, asked again from 2026-10-01T15:01:00Z)"
    )
    assert refusal.retry_delay is None
    account.clock.advance(0.1)
    assert account.known.refusal(Feed.SIP) is None
    assert account.known.of(Feed.SIP).standing is Standing.DENIED


async def test_what_is_known_is_corrected_by_every_answer() -> None:
    """A plan that is bought or given up shows with the next answer."""
    account = Account()
    await account.send("sip")
    account.plan.covered = {Feed.SIP}
    account.clock.advance(60)
    await account.send("sip")
    assert account.known.of(Feed.SIP).standing is Standing.GRANTED
    assert account.known.refusal(Feed.SIP) is None
    await account.send("iex")
    assert account.known.of(Feed.IEX).standing is Standing.DENIED


@pytest.mark.parametrize(
    "failure",
    [
        NotEntitled("answered 403", said="account is restricted"),
        UpstreamRejected("answered 400", said="invalid symbol: X"),
        UpstreamBroken("answered 500"),
        UpstreamTimeout("late"),
        RateLimited("answered 429"),
        KeyRefused("answered 401"),
        CircuitOpen("left alone"),
        BudgetExhausted("spent"),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_other_failures_tell_nothing(failure: UpstreamFailure) -> None:
    """What is not about the feed neither grants nor denies it, and reaches the asker as it is."""
    account = Account()
    account.plan.outages[Feed.IEX] = failure
    request = Request(Upstream.DATA, Group.LATEST, "/v2/x", {"feed": "iex"}, deadline=1010.0)
    with pytest.raises(type(failure)) as raised:
        await account.requests.send(request)
    assert raised.value is failure
    assert account.known.of(Feed.IEX).standing is Standing.UNKNOWN


async def test_only_market_data_of_a_feed_as_it_is_now_tells() -> None:
    """Other endpoints have other rules: their answers say nothing of a feed that they name."""
    account = Account()
    account.plan.covered = set(Feed)
    await account.send("sip", Group.REFERENCE)
    await account.send("opra", Group.REFERENCE)
    assert all(account.known.of(feed).standing is Standing.UNKNOWN for feed in Feed)


async def test_what_options_are_answered_tells_of_their_feed() -> None:
    """An answer about options grants the option feed that was asked, and says nothing of any other feed."""
    account = Account()
    account.plan.covered = {Feed.INDICATIVE}
    await account.send("indicative", Group.OPTIONS)
    assert account.known.of(Feed.INDICATIVE) == Entitlement(Feed.INDICATIVE, Standing.GRANTED, NOW)
    others = set(Feed) - {Feed.INDICATIVE}
    assert {account.known.of(feed).standing for feed in others} == {Standing.UNKNOWN}


async def test_who_may_not_read_opra_is_told_what_he_may() -> None:
    """The refusal of OPRA names the feed that needs no agreement; that of another feed has none to name."""
    account = Account()
    account.plan.covered = set()
    for feed in (Feed.OPRA, Feed.INDICATIVE):
        await account.send(feed.value, Group.OPTIONS)
    refusals = [account.known.refusal(feed) for feed in (Feed.OPRA, Feed.INDICATIVE)]
    said = [refusal.message for refusal in refusals if refusal is not None]
    assert said[0].startswith(
        f"the account may not read feed opra: {SAID}; feed indicative is open to every account ("
    )
    assert said[1].startswith(f"the account may not read feed indicative: {SAID} (")
    assert account.known.of(Feed.OPRA).said == SAID


async def test_what_nobody_has_asked_yet_is_asked() -> None:
    """Every feed has its entry; those that nothing is known of are asked, by the least urgent class."""
    account = Account()
    await account.send("iex")
    entries = await account.learn()

    assert {feed for feed in entries if entries[feed].standing is Standing.GRANTED} == {Feed.IEX}
    assert {entries[feed].said for feed in set(Feed) - {Feed.IEX}} == {SAID}
    assert sorted(account.plan.feeds_asked) == sorted(Feed)
    asked = account.plan.sent[1:]
    assert {request.priority for request in asked} == {Priority.BACKFILL}
    stocks = [request for request in asked if request.group is Group.LATEST]
    assert {request.params["symbols"] for request in stocks} == {"AAPL"}
    options = [request for request in asked if request.group is Group.OPTIONS]
    assert {Feed(request.params["feed"]) for request in options} == OPTION_FEEDS
    assert {request.path.rpartition("/")[2] for request in options} == {"AAPL"}
    assert len(stocks) + len(options) == len(asked)


async def test_simultaneous_askers_share_the_questions() -> None:
    """However many want to know at once, each feed is asked once, and all feeds are asked at the same time."""
    account = Account()
    account.plan.silent = set(Feed)
    askers = [asyncio.create_task(account.learn()) for _ in range(20)]
    await settle(lambda: len(account.plan.sent) == len(Feed))
    account.plan.open.set()
    answers = await asyncio.gather(*askers)

    assert all(answer == answers[0] for answer in answers)
    assert len(account.plan.sent) == len(Feed)


async def test_what_was_learned_long_ago_is_asked_anew() -> None:
    """For an hour nothing is asked twice; after that it is, and what is learned then counts."""
    account = Account()
    await account.learn()
    account.clock.advance(3600)
    await account.learn()
    asked_within_the_hour = len(account.plan.sent)
    account.plan.covered = {Feed.SIP}
    account.clock.advance(1)
    entries = await account.learn()

    assert asked_within_the_hour == len(Feed)
    assert entries[Feed.SIP].standing is Standing.GRANTED
    assert entries[Feed.IEX].standing is Standing.DENIED


async def test_what_cannot_be_asked_stays_as_it_was() -> None:
    """A feed that is not answered keeps its old entry, or stays unknown, and is not asked again for a moment."""
    account = Account()
    await account.learn()
    learned = account.known.of(Feed.IEX)
    account.clock.advance(3601)
    account.plan.outages = dict.fromkeys(Feed, UpstreamBroken("answered 500"))
    entries = await account.learn()
    account.clock.advance(4.9)
    await account.learn()
    asked_meanwhile = len(account.plan.sent)
    account.clock.advance(0.1)
    await account.learn()

    assert entries[Feed.IEX] == learned
    assert asked_meanwhile == 2 * len(Feed)
    assert len(account.plan.sent) == 3 * len(Feed)


async def test_a_silent_feed_stays_unknown() -> None:
    """At the deadline the feeds that answered are known, the silent one is not, and the next caller asks it again."""
    account = Account()
    account.plan.silent = {Feed.SIP}
    entries = await account.learn(patience=0.05)
    account.plan.silent.clear()
    later = await account.learn()

    assert entries[Feed.IEX].standing is Standing.GRANTED
    assert entries[Feed.SIP] == Entitlement(Feed.SIP, Standing.UNKNOWN)
    assert later[Feed.SIP].standing is Standing.DENIED
    assert account.plan.feeds_asked.count(Feed.IEX) == 1
