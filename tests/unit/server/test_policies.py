"""What the settings say of streams, in the words of the parts that are told it."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tickgate_server.app import policies
from tickgate_server.fanout.interest import InterestPolicy
from tickgate_server.fanout.streams import StreamPolicy
from tickgate_server.market.provenance import Feed
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
    assert policies.interest(settings(plan, symbol_limit=given, linger=2)) == InterestPolicy(
        symbol_limit=limit, linger=2.0
    )


def test_a_feed_is_held_as_http_is() -> None:
    """A live feed names itself and waits for a connection as the settings of HTTP say."""
    given: Any = {"alpaca": {"http": {"user_agent": "me/1", "connect": 3}}}
    policy = policies.live_feed(Settings(**given))
    assert (policy.user_agent, policy.connect) == ("me/1", 3.0)
