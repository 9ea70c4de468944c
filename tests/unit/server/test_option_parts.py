"""Single parts of option quotes as a source of their own."""

from __future__ import annotations

from tickgate_server.guards.parts import OptionParts
from tickgate_server.market.answer import Answer, Held
from tickgate_server.market.option import OptionPart, OptionQuote
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.quote import Quote
from tickgate_server.market.trade import Trade
from tickgate_server.market.unavailable import Reason, Refusal, Unavailable

from ...support.fakes import FakeLatest, HandClock, question, unavailable
from ...support.options import CALL, PUT, option, option_trade, quoted, symbol_of, whole_option

CROSSED = unavailable(Reason.INVALID_DATA, refusal=Refusal("crossed", "bid 2 above ask 1"))
GONE = symbol_of("999")


class Setup:
    """Quotes and trades of contracts, picked out of what a fake knows of them."""

    def __init__(self, *values: OptionQuote) -> None:
        self.clock = HandClock()
        held = {value.symbol: value for value in values}
        self.source: FakeLatest[OptionQuote] = FakeLatest(self.clock, held)
        self.quotes: OptionParts[Quote] = OptionParts(
            self.source, OptionPart.QUOTE, lambda value: value.quote
        )
        self.trades: OptionParts[Trade] = OptionParts(
            self.source, OptionPart.LATEST_TRADE, lambda value: value.latest_trade
        )


async def test_a_part_is_the_one_that_was_sent() -> None:
    """A part is answered as it is, confirmed when the whole was, from the tier that served the whole."""
    value = whole_option()
    setup = Setup(value)
    setup.clock.advance(7)
    asked = question(CALL, feed=Feed.OPRA)
    quotes, trades = await setup.quotes.latest(asked), await setup.trades.latest(asked)
    assert quotes == {CALL: Answer(Held(value.quote, 1007.0), Tier.UPSTREAM)}
    assert trades == {CALL: Answer(Held(value.latest_trade, 1007.0), Tier.UPSTREAM)}
    assert setup.source.asked == [asked, asked]


async def test_each_contract_has_its_own_outcome() -> None:
    """A part that was sent, one that was refused, one that was not and a contract that is none stand side by side."""
    refused = option(PUT, latest_trade=option_trade(PUT), missing={OptionPart.QUOTE: CROSSED})
    silent = option(symbol_of("260"), latest_trade=option_trade(symbol_of("260")))
    setup = Setup(quoted(CALL), refused, silent)
    setup.source.reasons[GONE] = unavailable(Reason.CONTRACT_EXPIRED)
    answers = await setup.quotes.latest(question(PUT, GONE, CALL, silent.symbol))
    assert set(answers) == {PUT, GONE, CALL, silent.symbol}
    assert isinstance(answers[CALL], Answer)
    assert answers[PUT] is CROSSED
    assert answers[GONE] is setup.source.reasons[GONE]
    why = answers[silent.symbol]
    assert isinstance(why, Unavailable)
    assert (why.reason, why.message) == (Reason.NO_DATA, f"{silent.symbol}: quote not sent")


async def test_a_part_that_was_not_sent_is_named() -> None:
    """The reason names the part in plain words, and is not that of another part."""
    setup = Setup(option(CALL, quote=quoted().quote, missing={OptionPart.GREEKS: CROSSED}))
    why = (await setup.trades.latest(question(CALL)))[CALL]
    assert isinstance(why, Unavailable)
    assert (why.reason, why.message) == (Reason.NO_DATA, f"{CALL}: latest trade not sent")
