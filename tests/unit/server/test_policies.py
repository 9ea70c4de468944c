"""What the settings say of streams, in the words of the parts that are told it."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tickgate_server.app import policies
from tickgate_server.fanout.interest import InterestPolicy
from tickgate_server.fanout.streams import StreamPolicy
from tickgate_server.guards.boarding import Boarding
from tickgate_server.guards.chains import ChainPolicy
from tickgate_server.market.live import Channel
from tickgate_server.market.provenance import OPTION_FEEDS, Feed
from tickgate_server.rpc.streams import StreamDefaults
from tickgate_server.settings import Settings


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have settings of their own."""
    for variable in list(os.environ):
        if variable.upper().startswith(("TICKGATE_", "APCA_")):
            monkeypatch.delenv(variable)


def settings(plan: str = "basic", **stream: Any) -> Settings:
    """Settings of a plan, with some of streams."""
    given: Any = {"alpaca": {"plan": plan, "stock_feed": Feed.SIP}, "stream": stream}
    return Settings(**given)


def test_limits_on_streams_are_the_operators() -> None:
    """How many may follow how much is what the settings say."""
    changed = settings(
        enabled=False, streams=3, symbols=4, subscriptions=5, all_symbols=True, queue=6
    )
    assert policies.streams(changed) == StreamPolicy(
        enabled=False,
        streams=3,
        symbols=4,
        subscriptions=5,
        all_symbols=True,
        default_feed=Feed.SIP,
    )


def test_a_subscription_gets_what_it_does_not_say() -> None:
    """Feed, staleness, unread age and queue of a subscription are the settings' where it is silent."""
    changed = settings(stale_after=7, max_unread_age=0.5, queue=8)
    assert policies.stream_defaults(changed) == StreamDefaults(Feed.SIP, 7.0, 0.5, 8)


@pytest.mark.parametrize(
    ("plan", "given", "limit"),
    [("basic", 0, 30), ("plus", 0, None), ("basic", 5, 5), ("plus", 9, 9)],
)
def test_symbols_are_limited_by_the_plan_unless_said(
    plan: str, given: int, limit: int | None
) -> None:
    """The plan's limit on followed symbols holds where the settings name none of their own."""
    changed = settings(plan, symbol_limit=given, option_limit=7, linger=2)
    assert policies.interest(changed, Feed.IEX) == InterestPolicy(symbol_limit=limit, linger=2.0)


@pytest.mark.parametrize("feed", sorted(OPTION_FEEDS))
@pytest.mark.parametrize(
    ("plan", "given", "limit"),
    [("basic", 0, 200), ("plus", 0, 1000), ("basic", 5, 5), ("plus", 9000, 9000)],
)
def test_contracts_have_a_limit_of_their_own(plan: str, given: int, limit: int, feed: Feed) -> None:
    """On an option feed the plan limits contracts on quotes alone, unless the settings name another number."""
    changed = settings(plan, symbol_limit=7, option_limit=given, linger=2)
    assert policies.interest(changed, feed) == InterestPolicy(
        limit, 2.0, counted=frozenset({Channel.QUOTES})
    )


@pytest.mark.parametrize(("most", "of_contracts"), [(200, 100), (100, 100), (7, 7)])
def test_contracts_travel_a_hundred_together_at_most(most: int, of_contracts: int) -> None:
    """Single questions about contracts wait for each other as others do, but for what one request about them holds."""
    given: Any = {"alpaca": {"batching": {"window": 0.25, "longest_wait": 0.5, "most": most}}}
    changed = Settings(**given)
    assert policies.boarding(changed) == Boarding(0.25, 0.5, most)
    assert policies.option_boarding(changed) == Boarding(0.25, 0.5, of_contracts)


def test_chains_are_kept_as_the_settings_say() -> None:
    """How long chains are good for, how often they are read and how many are held is the operator's."""
    given: Any = {
        "options": {"max_age": 1, "load_every": 2, "patience": 3, "contracts": 4},
        "memory": {"keep_unknown": 5},
    }
    assert policies.chains(Settings(**given)) == ChainPolicy(
        max_age=1.0, load_every=2.0, cap=3.0, keep_unknown=5.0, capacity=4
    )


def test_a_feed_is_held_as_http_is() -> None:
    """A live feed names itself and waits for a connection as the settings of HTTP say."""
    given: Any = {"alpaca": {"http": {"user_agent": "me/1", "connect": 3}}}
    policy = policies.live_feed(Settings(**given))
    assert (policy.user_agent, policy.connect) == ("me/1", 3.0)
