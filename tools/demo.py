"""`make demo`: what tickgate does, in one minute, with the real programs on free ports."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any, Final, TypeAlias, TypeVar
from urllib.request import Request, urlopen

from rich.console import Console, RenderableType
from rich.rule import Rule
from rich.text import Text

import tickgate
from tickgate import OptionView, Reason, Tier, TierState, View, _option_tables, _tables

from . import hints
from .embedded import RedisServer, ServerFailed, postgres_server, redis_server
from .programs import Program, ProgramFailed, gateway_program, sandbox_program

SYMBOLS: Final = ("AAPL", "GOOGL", "MSFT", "TSLA", "AMZN")
"""What the sandbox's synthetic market trades."""

UNKNOWN, MALFORMED, CROSSED = "ZZZZ", "aapl", "AMZN"

_FROZEN_AT: Final = "2026-10-01T15:00:00Z"
"""Market time of the demo, a Thursday at 11:00 New York: the market is open whenever the demo runs."""

_PATIENCE: Final = 15.0
"""Seconds within which something must come about that needs a moment."""

Value = TypeVar("Value")


class _NotAsPromised(Exception):
    """Something came out otherwise than the demo says; the message tells what."""


class _Market:
    """The sandbox, steered: it was started by this program and listens on loopback."""

    def __init__(self, address: str) -> None:
        self.address = address

    def asked(self, below: str = "/v2/stocks") -> int:
        """Return how many requests *below* a path it has counted; for stocks, if it is not named."""
        endpoints = json.loads(self._send("GET", "counters"))["endpoints"]
        return sum(count for path, count in endpoints.items() if path.startswith(below))

    def pin(self, kind: str, symbol: str, record: dict[str, Any]) -> None:
        """Serve *record* as the latest of *kind*, "quotes" or "trades"."""
        self._send("PUT", f"pins/{kind}/{symbol}", record)

    def fail(self) -> None:
        """Answer every question for stocks with 503 from now on."""
        self._send("POST", "faults", {"kind": "status", "status": 503, "path": "/v2/stocks"})

    def recover(self) -> None:
        """Answer truly again."""
        self._send("DELETE", "faults")

    def run(self, speed: float) -> None:
        """Let market time pass at *speed*, or stand still at 0."""
        self._send("PUT", "clock", {"speed": speed})

    def say(self, message: dict[str, Any]) -> None:
        """Send *message* to whoever follows its symbol."""
        self._send("POST", "stream/messages", [message])

    def hang_up(self) -> None:
        """Cut off every connection to a live feed."""
        self._send("POST", "stream/faults", {"kind": "drop"})

    def followed(self) -> dict[str, Any]:
        """Return what the sandbox has counted of its live feeds."""
        counted: dict[str, Any] = json.loads(self._send("GET", "counters"))["stream"]
        return counted

    def _send(self, method: str, path: str, body: object = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        address = f"http://{self.address}/sandbox/{path}"
        with urlopen(Request(address, data=data, method=method)) as response:
            answer: bytes = response.read()
            return answer


@dataclass(frozen=True)
class _Stage:
    """All that the demo shows something with."""

    console: Console
    market: _Market
    redis: RedisServer
    gateway: Program
    client: tickgate.SyncClient
    """Of the first gateway."""

    other: tickgate.SyncClient
    """Of the second gateway, which shares Redis and PostgreSQL with the first."""

    def title(self, text: str) -> None:
        """Begin a part."""
        self.console.print()
        self.console.print(Rule(text, align="left"))

    def show(self, *parts: RenderableType) -> None:
        """Print tables."""
        for part in parts:
            self.console.print(part)

    def tell(self, text: str) -> None:
        """Print a sentence as it is."""
        self.console.print(Text(text))


def main() -> int:
    """Run the demo and return 0 when everything was as promised."""
    console = Console()
    if not console.is_terminal:
        # Nobody's window is that narrow; a log or a pipe just has no width of its own.
        console.width = 130
    try:
        with ExitStack() as parts:
            stage = _set_up(console, parts)
            for show in _PARTS:
                show(stage)
    except (ProgramFailed, ServerFailed, tickgate.TickgateError, _NotAsPromised) as failure:
        console.print(Text(f"the demo failed: {failure}", style="red"))
        return 1
    return 0


def _set_up(console: Console, parts: ExitStack) -> _Stage:
    sandbox = parts.enter_context(sandbox_program("--at", _FROZEN_AT))
    redis = parts.enter_context(redis_server())
    postgres = parts.enter_context(postgres_server())
    one, other = (
        parts.enter_context(
            gateway_program(sandbox.address, redis_url=redis.url, postgres_url=postgres.url)
        )
        for _ in range(2)
    )
    stage = _Stage(
        console,
        _Market(sandbox.address),
        redis,
        one,
        parts.enter_context(tickgate.connect_sync(one.address)),
        parts.enter_context(tickgate.connect_sync(other.address)),
    )
    stage.title("a real value with its origin, or the exact reason why there is none")
    stage.tell(f"sandbox (stands in for Alpaca)  http://{sandbox.address}")
    stage.tell(f"gateways                        {one.address} and {other.address}")
    stage.tell(f"what they share                 Redis on port {redis.port}")
    stage.tell(f"                                PostgreSQL on port {postgres.port}")
    stage.tell(f"market time                     {_FROZEN_AT}")
    return stage


def _promise(kept: object, otherwise: str) -> None:
    """Fail the demo, saying what came out *otherwise*, unless the promise was kept."""
    if not kept:
        raise _NotAsPromised(otherwise)


def _until(look: Callable[[], Value | None], otherwise: str) -> Value:
    """Return what *look* finds, within a moment."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise _NotAsPromised(otherwise)


def _refused(ask: Callable[[], object], otherwise: str) -> tickgate.DataUnavailableError:
    """Return how *ask* was refused."""
    try:
        ask()
    except tickgate.DataUnavailableError as refusal:
        return refusal
    raise _NotAsPromised(otherwise)


# ------------------------------------------------------------------------------------- the parts


def _one_by_one(stage: _Stage) -> None:
    stage.title("single quotes: five symbols, an unknown one, a malformed one")

    def quote(symbol: str) -> tickgate.Quote | tickgate.Unavailable:
        try:
            return stage.client.quote(symbol)
        except tickgate.DataUnavailableError as failure:
            return failure.unavailable

    stage.show(_tables.quotes([quote(symbol) for symbol in (*SYMBOLS, UNKNOWN)]))
    try:
        stage.client.quote(MALFORMED)
    except tickgate.InvalidRequest as refusal:
        stage.show(Text(f"\n{MALFORMED}: {refusal}", style="yellow"))
    else:
        raise _NotAsPromised(f"{MALFORMED} was not refused")


def _crossed(stage: _Stage) -> None:
    stage.title(f"a crossed quote of {CROSSED}: refused by name, with the evidence")
    stage.market.pin("quotes", CROSSED, _quote_record(bid=221.07, ask=221.05))
    refusal = _refused(lambda: stage.client.quote(CROSSED, max_age=0), "a crossed quote was served")
    _promise(isinstance(refusal, tickgate.InvalidData), "a crossed quote was no invalid data")
    stage.show(_tables.unavailable(refusal.unavailable))


def _batch(stage: _Stage) -> None:
    stage.title("a batch: one result a symbol, in the asked order; view FULL")
    symbols = ["MSFT", UNKNOWN, "AAPL", CROSSED]
    stage.show(_tables.quotes(stage.client.quotes(symbols, view=View.FULL, max_age=0)))


def _snapshot_and_clock(stage: _Stage) -> None:
    stage.title("a snapshot, and the market's clock")
    stage.show(
        _tables.snapshots([stage.client.snapshot("TSLA")]), _tables.clock(stage.client.clock())
    )


def _options(stage: _Stage) -> None:
    stage.title("options: a chain around the money, one contract, and those that are none")
    client, market = stage.client, stage.market
    asked = market.asked("/v1beta1/options")
    whole = client.chain("AAPL")
    chain = client.chain("AAPL", expiry=whole.expiries[1], around=4)
    _promise(
        market.asked("/v1beta1/options") == asked + 1, "a second look at a chain cost a request"
    )
    stage.show(_option_tables.chain(chain, full=False))
    expiring = client.chain("AAPL", expiry=whole.expiries[0])
    stage.tell(
        f"\nof the {len(whole.option_quotes)} contracts the upstream sent {whole.missing.greeks} without greeks:"
        f" they stay unset, also in all {expiring.missing.greeks} of {whole.expiries[0]}"
    )
    contract = chain.option_quotes[0].symbol
    occ = tickgate.Occ.parse(contract)
    unlisted = tickgate.Occ(
        root=occ.root, expiry=occ.expiry, type=occ.type, strike=occ.strike + Decimal("0.5")
    )
    expired = tickgate.Occ(
        root=occ.root, expiry=date(2026, 9, 25), type=occ.type, strike=occ.strike
    )
    answers = client.option_quotes([contract, unlisted, expired], view=OptionView.FULL)
    stage.show(_option_tables.option_quotes(answers))


def _replicas(stage: _Stage) -> None:
    stage.title("two gateways, one Redis: what one has asked, the other answers")
    asked = stage.market.asked()
    one = stage.client.quote("GOOGL", max_age=0)
    other = _until(lambda: _shared(stage, "GOOGL"), "Redis did not answer")
    requests = stage.market.asked() - asked
    _promise(requests == 1, f"two answers cost {requests} upstream requests")
    stage.show(_tables.quotes([one, other]))
    stage.tell(f"\nupstream requests for both: {requests}")


def _shared(stage: _Stage, symbol: str) -> tickgate.Quote | None:
    """What Redis holds, which is written to while the answer is already on its way to its caller."""
    try:
        return stage.other.quote(symbol, allowed_tiers=[Tier.REDIS])
    except tickgate.NoData:
        return None


def _crowd(stage: _Stage) -> None:
    stage.title("200 single questions at once, with nothing remembered")
    stage.client.invalidate_cache()
    asked = stage.market.asked()
    symbols = [symbol for symbol in SYMBOLS if symbol != CROSSED] * 50

    async def ask() -> list[tickgate.Quote]:
        async with tickgate.connect(stage.gateway.address) as gateway:
            return await asyncio.gather(*map(gateway.quote, symbols))

    started = time.perf_counter()
    answers = asyncio.run(ask())
    took = time.perf_counter() - started
    requests = stage.market.asked() - asked
    _promise(requests <= 4, f"200 questions cost {requests} upstream requests")
    stage.tell(
        f"{len(answers)} answers in {took * 1000:.0f} ms; upstream requests that the sandbox counted: {requests}"
    )


def _budget(stage: _Stage) -> None:
    stage.title("what the gateways may ask, and what is left of it")
    known = stage.client.entitlements()
    budgets = stage.client.status().budgets
    _promise(all(each.shared for each in budgets), "the budget is not shared")
    left = stage.client.upstream_remaining
    _promise(left is not None, "no answer said what is left of the budget")
    stage.show(_tables.entitlements(known), _tables.budgets(budgets))
    stage.tell(f"\nthe trailer x-upstream-remaining of the latest answer: {left}")


def _outage(stage: _Stage) -> None:
    stage.title(
        "Alpaca fails: retries, an open circuit, a stale value for who allows one, recovery"
    )
    client, market = stage.client, stage.market
    client.quote("AAPL", max_age=0)
    market.fail()

    asked = market.asked()
    failed = _refused(lambda: client.quote("AAPL", max_age=0), "a failing upstream gave a value")
    stage.tell(f"one question, {market.asked() - asked} requests: {failed.message}")
    opened = _until(lambda: _circuit_open(client), "the circuit did not open")
    stage.tell(f"{Reason.CIRCUIT_OPEN}: {opened.message}")

    _refusals(stage)
    stale = client.quote("AAPL", max_age=0, allow_stale=True)
    _promise(stale.provenance.stale, "a value from before the outage was not marked stale")
    stage.tell("\nwith allow_stale, marked:")
    stage.show(_tables.quotes([stale]))

    market.recover()
    ended = time.monotonic()
    fresh = _until(lambda: _fresh(client), "the circuit did not close again")
    stage.tell(f"\nanswered again {time.monotonic() - ended:.1f} s after the outage:")
    stage.show(_tables.quotes([fresh]), _tables.upstreams(client.status().upstreams))


def _circuit_open(client: tickgate.SyncClient) -> tickgate.CircuitOpen | None:
    failure = _refused(lambda: client.quote("MSFT", max_age=0), "a failing upstream gave a value")
    return failure if isinstance(failure, tickgate.CircuitOpen) else None


def _fresh(client: tickgate.SyncClient) -> tickgate.Quote | None:
    try:
        return client.quote("AAPL", max_age=0)
    except tickgate.UpstreamUnavailable:
        return None


def _refusals(stage: _Stage) -> None:
    """Measure refusals by the gateway's own log, where no client's time is in them."""
    asked, ids = stage.market.asked(), [f"demo-refusal-{number}" for number in range(100)]
    for each in ids:
        ask = partial(stage.client.quote, "MSFT", max_age=0, request_id=each)
        refusal = _refused(ask, "an open circuit let a question pass")
        _promise(isinstance(refusal, tickgate.CircuitOpen), f"refused for {refusal.reason}")
    requests = stage.market.asked() - asked
    _promise(requests == 0, f"an open circuit cost {requests} upstream requests")

    def logged() -> list[float] | None:
        lines = [json.loads(line) for line in list(stage.gateway.lines) if "demo-refusal-" in line]
        return [line["response_time_ms"] for line in lines] if len(lines) == len(ids) else None

    took = statistics.median(_until(logged, "refusals left no line in the log"))
    _promise(took < 1, f"a refusal took {took:.2f} ms")
    stage.tell(
        f"{len(ids)} more questions: refused in {took:.2f} ms each (median, by the gateway's log), "
        f"{requests} upstream requests"
    )


def _redis_gone(stage: _Stage) -> None:
    stage.title("Redis is killed: reads go on")
    stage.redis.kill()
    quote = stage.client.quote("MSFT", max_age=0)
    down = _until(lambda: _redis_tier(stage, TierState.DOWN), "Redis was not reported down")
    stage.show(_tables.quotes([quote]), _tables.tiers([down]))
    stage.redis.start()
    up = _until(lambda: _redis_tier(stage, TierState.UP), "Redis was not taken in again")
    stage.tell("started again:")
    stage.show(_tables.tiers([up]))


def _redis_tier(stage: _Stage, state: TierState) -> tickgate.TierStatus | None:
    tier = stage.client.status().tier(Tier.REDIS)
    return tier if tier.state is state else None


def _rules(stage: _Stage) -> None:
    stage.title("business rules: an odd price is flagged, a trade of the night is refused")
    price = stage.client.trade("TSLA", max_age=0).price / 10
    record = _quote_record(bid=_cents(price), ask=_cents(price + Decimal("0.02")))
    stage.market.pin("quotes", "TSLA", record)
    odd = stage.client.quote("TSLA", max_age=0)
    _promise(
        [flag.rule for flag in odd.rule_flags] == ["price_range"], "an odd price was not flagged"
    )
    stage.show(_tables.quotes([odd]))

    night = {"t": "2026-10-01T06:30:00Z", "x": "V", "p": 182.1, "s": 100, "c": ["@"], "z": "C"}
    stage.market.pin("trades", "AAPL", night)
    refusal = _refused(
        lambda: stage.client.trade("AAPL", max_age=0), "a trade of the night was served"
    )
    _promise(isinstance(refusal, tickgate.RuleViolation), f"refused for {refusal.reason}")
    stage.show(Text(), _tables.unavailable(refusal.unavailable))


def _cents(price: Decimal) -> float:
    return float(round(price, 2))


def _quote_record(*, bid: float, ask: float) -> dict[str, Any]:
    sides = {"bx": "V", "bp": bid, "bs": 300, "ax": "Q", "ap": ask, "as": 200}
    return {"t": "2026-10-01T14:59:59.5Z", **sides, "c": ["R"], "z": "C"}


def _error_log(stage: _Stage) -> None:
    stage.title("the log of refusals and failures, read by the other gateway out of PostgreSQL")
    reasons = [Reason.RULE_VIOLATION, Reason.INVALID_DATA, Reason.UPSTREAM_ERROR]

    def written() -> list[tickgate.ErrorRecord] | None:
        newest = list(islice(stage.other.errors(reasons=reasons, page_size=8), 8))
        return newest if {each.reason for each in newest} >= set(reasons[:1]) else None

    records = _until(written, "a refusal did not reach the log")
    places = {each.place for each in records}
    _promise(places == {tickgate.ErrorLogPlace.POSTGRES}, f"the log was read from {places}")
    stage.show(_tables.errors(records))


def _invalidate(stage: _Stage) -> None:
    stage.title("an operator empties the cache of one symbol")
    stage.client.quote("MSFT", max_age=0)
    _until(lambda: _shared(stage, "MSFT"), "Redis does not hold what was asked")
    before = stage.client.quote("MSFT")
    dropped = stage.client.invalidate_cache(["MSFT"])
    after = stage.client.quote("MSFT")
    tiers = [quote.provenance.served_from for quote in (before, after)]
    _promise(tiers == [Tier.MEMORY, Tier.UPSTREAM], f"answers came from {tiers}")
    _promise(dropped.redis_entries == 1, f"Redis dropped {dropped.redis_entries} entries")
    stage.show(_tables.quotes([before]), _tables.invalidation(dropped), _tables.quotes([after]))


def _live(stage: _Stage) -> None:
    stage.title("live: a snapshot, then every change; twenty followers, one upstream subscription")
    stage.market.run(20)
    with ExitStack() as parts:
        others = [parts.enter_context(stage.client.follow("MSFT", "GOOGL")) for _ in range(19)]
        quotes = parts.enter_context(stage.client.follow("MSFT", "GOOGL", UNKNOWN))
        events = quotes.with_events()
        for event in _until_live(events):
            stage.show(_tables.event(event))
        asked = stage.market.followed()["subscribes"]["quotes"]
        _promise(asked == {"MSFT": 1, "GOOGL": 1}, f"the upstream was asked for {asked}")
        stage.tell(f"\n{len(others) + 1} followers; upstream subscriptions: {asked}")
        tier = stage.client.quote("MSFT").provenance.served_from
        _promise(tier is Tier.BOOK, f"a live quote was served from {tier}")
        stage.tell(f"GetQuote of MSFT is answered from: {tier}")
        _live_refusal(stage, events)
        _live_gap(stage, events)
    stage.market.run(0)


_Event: TypeAlias = (
    tickgate.Update[tickgate.Quote]
    | tickgate.SymbolStatus
    | tickgate.Disconnected
    | tickgate.Reconnected
)


def _live_refusal(stage: _Stage, events: Iterator[_Event]) -> None:
    stage.title("live: a crossed quote is refused by name, and says so")
    crossed = _quote_record(bid=400.2, ask=400.1) | {"T": "q", "S": "MSFT"}
    stage.market.say(crossed)
    invalid = _next_status(events, tickgate.SymbolState.INVALID)
    _promise(invalid.refusals, "a crossed quote was not counted")
    stage.show(_tables.event(invalid))


def _live_gap(stage: _Stage, events: Iterator[_Event]) -> None:
    stage.title("live: Alpaca hangs up; the gap is told, what stands behind it is asked for")
    stage.market.hang_up()
    gap = _next_status(events, tickgate.SymbolState.GAP)
    _promise(gap.gaps, "a lost connection was no gap")
    back = _next_status(events, tickgate.SymbolState.LIVE, gaps=True)
    stage.show(_tables.event(gap), _tables.event(back))

    def repaired() -> list[tickgate.Gap] | None:
        gaps = list(stage.client.gaps())
        return gaps if gaps[0].repair is tickgate.GapRepair.CURRENT else None

    stage.show(_tables.gaps(_until(repaired, "quotes were not asked for again")))


def _until_live(events: Iterator[_Event]) -> Iterator[_Event]:
    """Pass on what happens up to the third live quote."""
    live = 0
    while live < 3:
        event = next(events)
        live += isinstance(event, tickgate.Update) and event.kind is tickgate.UpdateKind.LIVE
        yield event


def _next_status(
    events: Iterator[_Event], state: tickgate.SymbolState, *, gaps: bool = False
) -> tickgate.SymbolStatus:
    statuses = (each for each in events if isinstance(each, tickgate.SymbolStatus))
    return next(each for each in statuses if each.state is state and bool(each.gaps) >= gaps)


def _assets_and_status(stage: _Stage) -> None:
    stage.title("what can be asked for, and how the gateway is doing")
    stage.show(
        _tables.assets(list(stage.client.assets("inc"))), _tables.status(stage.client.status())
    )


def _by_hand(stage: _Stage) -> None:
    stage.title("try it yourself: `make run` leaves all of it up, then in another terminal")
    hints.show(stage.console)


_PARTS: Final[tuple[Callable[[_Stage], None], ...]] = (
    _one_by_one,
    _crossed,
    _batch,
    _snapshot_and_clock,
    _options,
    _replicas,
    _crowd,
    _budget,
    _outage,
    _redis_gone,
    _rules,
    _error_log,
    _invalidate,
    _live,
    _assets_and_status,
    _by_hand,
)


if __name__ == "__main__":
    sys.exit(main())
