"""What the demo shows of the present: quotes, options, outages, live streams."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

from rich.text import Text

import tickgate
from tickgate import OptionView, Reason, Tier, TierState, View, _option_tables, _tables

from .stage import SYMBOLS, NotAsPromised, Stage, promise, refused, until

UNKNOWN, MALFORMED, CROSSED = "ZZZZ", "aapl", "AMZN"


def one_by_one(stage: Stage) -> None:
    """Single questions, good and bad."""
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
        raise NotAsPromised(f"{MALFORMED} was not refused")


def crossed(stage: Stage) -> None:
    """A record that is no value."""
    stage.title(f"a crossed quote of {CROSSED}: refused by name, with the evidence")
    stage.market.pin("quotes", CROSSED, _quote_record(bid=221.07, ask=221.05))
    refusal = refused(lambda: stage.client.quote(CROSSED, max_age=0), "a crossed quote was served")
    promise(isinstance(refusal, tickgate.InvalidData), "a crossed quote was no invalid data")
    stage.show(_tables.unavailable(refusal.unavailable))


def batch(stage: Stage) -> None:
    """Many at once."""
    stage.title("a batch: one result a symbol, in the asked order; view FULL")
    symbols = ["MSFT", UNKNOWN, "AAPL", CROSSED]
    stage.show(_tables.quotes(stage.client.quotes(symbols, view=View.FULL, max_age=0)))


def snapshot_and_clock(stage: Stage) -> None:
    """Everything about one symbol, and the market."""
    stage.title("a snapshot, and the market's clock")
    stage.show(
        _tables.snapshots([stage.client.snapshot("TSLA")]), _tables.clock(stage.client.clock())
    )


def options(stage: Stage) -> None:
    """A chain and its contracts."""
    stage.title("options: a chain around the money, one contract, and those that are none")
    client, market = stage.client, stage.market
    asked = market.asked("/v1beta1/options")
    whole = client.chain("AAPL")
    chain = client.chain("AAPL", expiry=whole.expiries[1], around=4)
    promise(
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


def replicas(stage: Stage) -> None:
    """What two gateways share."""
    stage.title("two gateways, one Redis: what one has asked, the other answers")
    asked = stage.market.asked()
    one = stage.client.quote("GOOGL", max_age=0)
    other = until(lambda: _shared(stage, "GOOGL"), "Redis did not answer")
    requests = stage.market.asked() - asked
    promise(requests == 1, f"two answers cost {requests} upstream requests")
    stage.show(_tables.quotes([one, other]))
    stage.tell(f"\nupstream requests for both: {requests}")


def _shared(stage: Stage, symbol: str) -> tickgate.Quote | None:
    """What Redis holds, which is written to while the answer is already on its way to its caller."""
    try:
        return stage.other.quote(symbol, allowed_tiers=[Tier.REDIS])
    except tickgate.NotHeld:
        return None


def crowd(stage: Stage) -> None:
    """Many callers at once."""
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
    promise(requests <= 4, f"200 questions cost {requests} upstream requests")
    stage.tell(
        f"{len(answers)} answers in {took * 1000:.0f} ms; upstream requests that the sandbox counted: {requests}"
    )


def budget(stage: Stage) -> None:
    """What may be asked."""
    stage.title("what the gateways may ask, and what is left of it")
    known = stage.client.entitlements()
    budgets = stage.client.status().budgets
    promise(all(each.shared for each in budgets), "the budget is not shared")
    left = stage.client.upstream_remaining
    promise(left is not None, "no answer said what is left of the budget")
    stage.show(_tables.entitlements(known), _tables.budgets(budgets))
    stage.tell(f"\nthe trailer x-upstream-remaining of the latest answer: {left}")


def outage(stage: Stage) -> None:
    """Alpaca fails and recovers."""
    stage.title(
        "Alpaca fails: retries, an open circuit, a stale value for who allows one, recovery"
    )
    client, market = stage.client, stage.market
    client.quote("AAPL", max_age=0)
    market.fail()

    asked = market.asked()
    failed = refused(lambda: client.quote("AAPL", max_age=0), "a failing upstream gave a value")
    stage.tell(f"one question, {market.asked() - asked} requests: {failed.message}")
    opened = until(lambda: _circuit_open(client), "the circuit did not open")
    stage.tell(f"{Reason.CIRCUIT_OPEN}: {opened.message}")

    _refusals(stage)
    stale = client.quote("AAPL", max_age=0, allow_stale=True)
    promise(stale.provenance.stale, "a value from before the outage was not marked stale")
    stage.tell("\nwith allow_stale, marked:")
    stage.show(_tables.quotes([stale]))

    market.recover()
    ended = time.monotonic()
    fresh = until(lambda: _fresh(client), "the circuit did not close again")
    stage.tell(f"\nanswered again {time.monotonic() - ended:.1f} s after the outage:")
    stage.show(_tables.quotes([fresh]), _tables.upstreams(client.status().upstreams))


def _circuit_open(client: tickgate.SyncClient) -> tickgate.CircuitOpen | None:
    failure = refused(lambda: client.quote("MSFT", max_age=0), "a failing upstream gave a value")
    return failure if isinstance(failure, tickgate.CircuitOpen) else None


def _fresh(client: tickgate.SyncClient) -> tickgate.Quote | None:
    try:
        return client.quote("AAPL", max_age=0)
    except tickgate.UpstreamUnavailable:
        return None


def _refusals(stage: Stage) -> None:
    """Measure refusals by the gateway's own log, where no client's time is in them."""
    asked, ids = stage.market.asked(), [f"demo-refusal-{number}" for number in range(100)]
    for each in ids:
        ask = partial(stage.client.quote, "MSFT", max_age=0, request_id=each)
        refusal = refused(ask, "an open circuit let a question pass")
        promise(isinstance(refusal, tickgate.CircuitOpen), f"refused for {refusal.reason}")
    requests = stage.market.asked() - asked
    promise(requests == 0, f"an open circuit cost {requests} upstream requests")

    def logged() -> list[float] | None:
        lines = [json.loads(line) for line in list(stage.gateway.lines) if "demo-refusal-" in line]
        return [line["response_time_ms"] for line in lines] if len(lines) == len(ids) else None

    took = statistics.median(until(logged, "refusals left no line in the log"))
    promise(took < 1, f"a refusal took {took:.2f} ms")
    stage.tell(
        f"{len(ids)} more questions: refused in {took:.2f} ms each (median, by the gateway's log), "
        f"{requests} upstream requests"
    )


def redis_gone(stage: Stage) -> None:
    """Redis is killed and comes back."""
    stage.title("Redis is killed: reads go on")
    stage.redis.kill()
    quote = stage.client.quote("MSFT", max_age=0)
    down = until(lambda: _redis_tier(stage, TierState.DOWN), "Redis was not reported down")
    stage.show(_tables.quotes([quote]), _tables.tiers([down]))
    stage.redis.start()
    up = until(lambda: _redis_tier(stage, TierState.UP), "Redis was not taken in again")
    stage.tell("started again:")
    stage.show(_tables.tiers([up]))


def _redis_tier(stage: Stage, state: TierState) -> tickgate.TierStatus | None:
    tier = stage.client.status().tier(Tier.REDIS)
    return tier if tier.state is state else None


def rules(stage: Stage) -> None:
    """What is odd."""
    stage.title("business rules: an odd price is flagged, a trade of the night is refused")
    price = stage.client.trade("TSLA", max_age=0).price / 10
    record = _quote_record(bid=_cents(price), ask=_cents(price + Decimal("0.02")))
    stage.market.pin("quotes", "TSLA", record)
    odd = stage.client.quote("TSLA", max_age=0)
    promise(
        [flag.rule for flag in odd.rule_flags] == ["price_range"], "an odd price was not flagged"
    )
    stage.show(_tables.quotes([odd]))

    night = {"t": "2026-10-01T06:30:00Z", "x": "V", "p": 182.1, "s": 100, "c": ["@"], "z": "C"}
    stage.market.pin("trades", "AAPL", night)
    refusal = refused(
        lambda: stage.client.trade("AAPL", max_age=0), "a trade of the night was served"
    )
    promise(isinstance(refusal, tickgate.RuleViolation), f"refused for {refusal.reason}")
    stage.show(Text(), _tables.unavailable(refusal.unavailable))


def _cents(price: Decimal) -> float:
    return float(round(price, 2))


def _quote_record(*, bid: float, ask: float) -> dict[str, Any]:
    sides = {"bx": "V", "bp": bid, "bs": 300, "ax": "Q", "ap": ask, "as": 200}
    return {"t": "2026-10-01T14:59:59.5Z", **sides, "c": ["R"], "z": "C"}


def error_log(stage: Stage) -> None:
    """What was refused."""
    stage.title("the log of refusals and failures, read by the other gateway out of PostgreSQL")
    reasons = [Reason.RULE_VIOLATION, Reason.INVALID_DATA, Reason.UPSTREAM_ERROR]

    def written() -> list[tickgate.ErrorRecord] | None:
        newest = list(islice(stage.other.errors(reasons=reasons, page_size=8), 8))
        return newest if {each.reason for each in newest} >= set(reasons[:1]) else None

    records = until(written, "a refusal did not reach the log")
    places = {each.place for each in records}
    promise(places == {tickgate.ErrorLogPlace.POSTGRES}, f"the log was read from {places}")
    stage.show(_tables.errors(records))


def invalidate(stage: Stage) -> None:
    """An operator drops values."""
    stage.title("an operator empties the cache of one symbol")
    stage.client.quote("MSFT", max_age=0)
    until(lambda: _shared(stage, "MSFT"), "Redis does not hold what was asked")
    before = stage.client.quote("MSFT")
    dropped = stage.client.invalidate_cache(["MSFT"])
    after = stage.client.quote("MSFT")
    tiers = [quote.provenance.served_from for quote in (before, after)]
    promise(tiers == [Tier.MEMORY, Tier.UPSTREAM], f"answers came from {tiers}")
    promise(dropped.redis_entries == 1, f"Redis dropped {dropped.redis_entries} entries")
    stage.show(_tables.quotes([before]), _tables.invalidation(dropped), _tables.quotes([after]))


def live(stage: Stage) -> None:
    """What moves."""
    stage.title("live: a snapshot, then every change; twenty followers, one upstream subscription")
    stage.market.run(20)
    with ExitStack() as parts:
        others = [parts.enter_context(stage.client.follow("MSFT", "GOOGL")) for _ in range(19)]
        quotes = parts.enter_context(stage.client.follow("MSFT", "GOOGL", UNKNOWN))
        events = quotes.with_events()
        for event in _until_live(events):
            stage.show(_tables.event(event))
        asked = stage.market.followed()["subscribes"]["quotes"]
        promise(asked == {"MSFT": 1, "GOOGL": 1}, f"the upstream was asked for {asked}")
        stage.tell(f"\n{len(others) + 1} followers; upstream subscriptions: {asked}")
        tier = stage.client.quote("MSFT").provenance.served_from
        promise(tier is Tier.BOOK, f"a live quote was served from {tier}")
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


def _live_refusal(stage: Stage, events: Iterator[_Event]) -> None:
    stage.title("live: a crossed quote is refused by name, and says so")
    crossed = _quote_record(bid=400.2, ask=400.1) | {"T": "q", "S": "MSFT"}
    stage.market.say(crossed)
    invalid = _next_status(events, tickgate.SymbolState.INVALID)
    promise(invalid.refusals, "a crossed quote was not counted")
    stage.show(_tables.event(invalid))


def _live_gap(stage: Stage, events: Iterator[_Event]) -> None:
    stage.title("live: Alpaca hangs up; the gap is told, what stands behind it is asked for")
    stage.market.hang_up()
    gap = _next_status(events, tickgate.SymbolState.GAP)
    promise(gap.gaps, "a lost connection was no gap")
    back = _next_status(events, tickgate.SymbolState.LIVE, gaps=True)
    stage.show(_tables.event(gap), _tables.event(back))

    def repaired() -> list[tickgate.Gap] | None:
        gaps = list(stage.client.gaps())
        return gaps if gaps[0].repair is tickgate.GapRepair.CURRENT else None

    stage.show(_tables.gaps(until(repaired, "quotes were not asked for again")))


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


def assets_and_status(stage: Stage) -> None:
    """What there is, and how the gateway is."""
    stage.title("what can be asked for, and how the gateway is doing")
    stage.show(
        _tables.assets(list(stage.client.assets("inc"))), _tables.status(stage.client.status())
    )
