"""Whatever happens, in whatever order: the accounts of every follower balance, and in the end all see the same."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from tickgate.v1 import stream_service_pb2 as pb
from tickgate_sandbox import stream_faults as faults
from tickgate_server.app import policies
from tickgate_server.upstream.alpaca.stream.policy import FeedPolicy

from ..support.ledger import ENOUGH, QUOTES, TRADES, Follower, following
from ..support.running import Stack, running
from ..support.ticker import NOW, begun, left, repaired, shown
from ..support.waiting import until, until_told

SYMBOLS = ("AAPL", "AMZN", "MSFT")
BOTH = (QUOTES, TRADES)
STEPS = 150
PACES = (0.0, 0.0, 0.001, 0.02, 0.1)

SUDDEN = (
    faults.Drop(),
    faults.Drop(reset=True),
    faults.Close(),
    faults.CutFrame(),
    faults.Garbage(),
    faults.Garbage(),
    faults.Error(code=407, close=True),
    faults.Error(code=500),
)
QUEUE = 50
"""Trades that wait for a follower at most."""

ARMED = (
    faults.Handshake(status=503, times=1),
    faults.Refuse(code=500, times=1, close=True),
    faults.Refuse(code=500, on="subscribe", times=1),
    faults.PartialAck(count=1, times=1),
    faults.HoldSlot(seconds=0.2, times=1),
    faults.SlowAuth(seconds=0.1, times=1),
)


class Scene:
    """A market that sends what the dice say, and followers who come and go."""

    def __init__(self, stack: Stack, parts: AsyncExitStack, seed: int) -> None:
        self.stack = stack
        self.dice = random.Random(seed)
        self.followers: list[Follower] = []
        self.everybody: list[Follower] = []
        self.bids = dict.fromkeys(SYMBOLS, 0)
        self._parts = parts
        self._lives: dict[Follower, AsyncExitStack] = {}

    async def act(self) -> None:
        """Let one thing happen."""
        actions: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.send, 20),
            (self.strike, 1),
            (self.arm, 1),
            (self.come, 2),
            (self.go, 1),
            (self.ask, 1),
        ]
        (action,) = self.dice.choices([do for do, _ in actions], [weight for _, weight in actions])
        await action()

    async def send(self) -> None:
        """Send some quotes, some of them crossed, and some trades; mostly when somebody is there to hear it."""
        if self.dice.random() < 0.9:
            await until(self._is_heard, within=ENOUGH)
        records: list[dict[str, Any]] = []
        for _ in range(self.dice.randint(1, 60)):
            symbol = self.dice.choice(SYMBOLS)
            if self.dice.random() < 0.3:
                records.append(trade(symbol))
            else:
                self.bids[symbol] += 1
                crossed = self.dice.random() < 0.1
                records.append(quote(symbol, self.bids[symbol], crossed=crossed))
        await self.stack.sandbox.stream.push(records)

    def _is_heard(self) -> bool:
        wanted = {(channel, symbol) for channel in ("quotes", "trades") for symbol in SYMBOLS}
        return wanted <= self.stack.sandbox.counters.stream.subscribed("iex")

    async def strike(self) -> None:
        """Let something befall the connection, if there is one."""
        await self.stack.sandbox.stream.strike(self.dice.choice(SUDDEN))

    async def arm(self) -> None:
        """Let something be in the way next time."""
        self.stack.sandbox.stream.faults.add(self.dice.choice(ARMED))

    async def come(self) -> None:
        """Let somebody begin to follow."""
        life = await self._parts.enter_async_context(AsyncExitStack())
        follower = await life.enter_async_context(
            following(
                self.stack.channel,
                *SYMBOLS,
                channels=BOTH,
                every=self.dice.choice(PACES),
                min_update_interval=self.dice.choice((0.0, 0.0, 0.05)),
            )
        )
        self.followers.append(follower)
        self.everybody.append(follower)
        self._lives[follower] = life

    async def go(self) -> None:
        """Let somebody leave, unless he is the last."""
        if len(self.followers) > 1:
            follower = self.followers.pop(self.dice.randrange(len(self.followers)))
            await self._lives.pop(follower).aclose()

    async def ask(self) -> None:
        """Let somebody add what he follows already, and ask how everything stands."""
        follower = self.dice.choice(self.followers)
        await follower.say(add=pb.AddSymbols(symbols=[self.dice.choice(SYMBOLS)]))
        await follower.say(query=pb.Query())

    async def end(self) -> None:
        """Let nothing happen any more but a crowd of trades and a last quote of each symbol, until all have it."""
        self.stack.sandbox.stream.faults.clear()
        await until_told(self._overrun, bool, within=ENOUGH)
        await until_told(self._say_last, bool, within=ENOUGH)
        for follower in self.followers:
            await follower.balance()

    async def _overrun(self) -> bool:
        """Send more trades at once than a queue holds; return whether somebody has missed some."""
        await until(self._is_heard, within=ENOUGH)
        await self.stack.sandbox.stream.push([trade(SYMBOLS[0])] * (4 * QUEUE))
        await until(lambda: self._has_lost() or not self._is_heard(), within=ENOUGH)
        return self._has_lost()

    def _has_lost(self) -> bool:
        return self.stack.gateway.counters.streams.lost > 0

    async def _say_last(self) -> bool:
        """Send a last quote of each symbol; return whether all have it: the connection may be at its end."""
        await until(self._is_heard, within=ENOUGH)
        for symbol in SYMBOLS:
            self.bids[symbol] += 1
        await self.stack.sandbox.stream.push([quote(one, self.bids[one]) for one in SYMBOLS])
        await until(lambda: self._all_have_last() or not self._is_heard(), within=ENOUGH)
        return self._all_have_last()

    def _all_have_last(self) -> bool:
        return all(map(self._has_last, self.followers))

    def _has_last(self, follower: Follower) -> bool:
        return all(
            (update := follower.of(symbol).last) is not None
            and update.quote.bid.price.value == str(self.bids[symbol])
            for symbol in SYMBOLS
        )


def quote(symbol: str, bid: int, *, crossed: bool = False) -> dict[str, Any]:
    """Return a quote."""
    ask = bid - 1 if crossed else bid + 1
    return {"T": "q", "S": symbol, "bx": "V", "bp": bid, "bs": 3, "ax": "Q", "ap": max(ask, 1),
            "as": 2, "c": ["R"], "z": "C", "t": NOW}  # fmt: skip


def trade(symbol: str) -> dict[str, Any]:
    """Return a trade."""
    return {"T": "t", "S": symbol, "i": 1, "x": "V", "p": 120.5, "s": 10, "c": ["@"], "z": "C",
            "t": NOW}  # fmt: skip


MORE = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 24)]


@pytest.mark.parametrize("seed", [1, 2, 3, *MORE])
async def test_accounts_balance_whatever_happens(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults, comings and goings at random: of each number everybody knows what became of it, and nothing is left."""
    usual = policies.live_feed

    def quick(settings: Any) -> FeedPolicy:
        # Dozens of connections are lost: nobody wants to wait longer each time.
        return msgspec.structs.replace(
            usual(settings), pause=0.01, pause_most=0.05, slot_pause_most=0.1
        )

    monkeypatch.setattr(policies, "live_feed", quick)
    async with running(stream={"linger": 0.1, "queue": QUEUE}) as stack:
        before = await begun(stack)
        async with AsyncExitStack() as parts:
            scene = Scene(stack, parts, seed)
            await scene.come()
            for _ in range(STEPS):
                await scene.act()
            await scene.end()
            numbers = {
                key: {follower.accounts[key].number for follower in scene.followers}
                for key in scene.followers[0].accounts
            }
            assert all(len(seen) == 1 for seen in numbers.values()), numbers
            accounts = [one for each in scene.everybody for one in each.accounts.values()]
            for fate in ("delivered", "conflated", "lost", "gaps"):
                assert any(getattr(account, fate) for account in accounts), fate
            assert any(account.refused for account in accounts)
            (feed,) = (await shown(stack)).feeds
            await repaired(stack, feed.gaps)
        await until(lambda: not stack.sandbox.counters.stream.subscribed("iex"), within=ENOUGH)
        await left(stack, before)
