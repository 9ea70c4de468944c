"""The gate for option contracts: a record of many parts, each of which is let in or refused by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from ..market.occ import Occ, parse_occ
from ..market.option import Greeks, OptionBar, OptionContract, OptionPart, OptionQuote
from ..market.unavailable import Refusal, Unavailable
from . import rules
from .gate import Gate, provenance_of
from .records import UNDATED, RawContract, RawOption, RawOptionBar, Receipt

R = TypeVar("R")
V = TypeVar("V")

_ORDERED: Final = frozenset({"open", "high", "low", "close"})
"""Prices whose order can be judged where all of them were sent."""

_SHOWN: Final = 30
"""Characters of a symbol that is none that are shown."""


class OptionGate:
    """Lets contracts in. A part that a rule refuses costs no other part; what was not sent is simply not there."""

    def __init__(self, gate: Gate) -> None:
        """Judge quotes and trades by *gate*, which counts and notes every refusal."""
        self._gate = gate

    def admit(self, raw: RawOption, receipt: Receipt) -> OptionQuote | Unavailable | None:
        """Return the option quote, why it is none, or None when nothing was sent."""
        symbol = raw.symbol
        refusal = rules.check_occ_symbol(symbol)
        if refusal is not None:
            return self._gate.refuse(refusal, "option quote", symbol[:_SHOWN], receipt)
        missing: dict[OptionPart, Unavailable] = {}

        def part(
            which: OptionPart,
            sent: R | Refusal | None,
            judge: Callable[[R, str, Receipt], V | Unavailable],
        ) -> V | None:
            if sent is None:
                return None
            value = (
                self._refuse(which, sent, symbol, receipt)
                if isinstance(sent, Refusal)
                else judge(sent, symbol, receipt)
            )
            if isinstance(value, Unavailable):
                missing[which] = value
                return None
            return value

        quote = OptionQuote(
            symbol=symbol,
            quote=part(OptionPart.QUOTE, raw.quote, self._gate.quote),
            latest_trade=part(OptionPart.LATEST_TRADE, raw.latest_trade, self._gate.trade),
            greeks=part(OptionPart.GREEKS, raw.greeks, self._greeks),
            implied_volatility=part(
                OptionPart.IMPLIED_VOLATILITY, raw.implied_volatility, self._volatility
            ),
            minute_bar=part(OptionPart.MINUTE_BAR, raw.minute_bar, self._bar),
            daily_bar=part(OptionPart.DAILY_BAR, raw.daily_bar, self._bar),
            previous_daily_bar=part(
                OptionPart.PREVIOUS_DAILY_BAR, raw.previous_daily_bar, self._bar
            ),
            provenance=provenance_of(receipt, UNDATED),
            missing=missing,
        )
        if _holds_something(quote):
            return quote
        # What a rule refused says more than what is merely empty.
        refused = [why for why in missing.values() if why.refusal is not None]
        return next(iter((*refused, *missing.values())), None)

    def contract(
        self, raw: RawContract, request_id: str, underlying: str = ""
    ) -> OptionContract | Unavailable:
        """Return the terms of a contract, or why they are none. What the symbol says they must not deny.

        Args:
            raw: what was sent.
            request_id: the upstream's id of the answer.
            underlying: whose contracts were asked for; empty when the question did not say.
        """
        refusal = rules.check_occ_symbol(raw.symbol) or _check_terms(
            raw, parse_occ(raw.symbol), underlying
        )
        if refusal is not None:
            return self._gate.refuse_terms(refusal, raw.symbol[:_SHOWN], request_id)
        occ = parse_occ(raw.symbol)
        return OptionContract(
            symbol=raw.symbol,
            occ=occ,
            id=raw.id,
            name=raw.name,
            underlying=raw.underlying or occ.underlying,
            style=raw.style,
            multiplier=raw.multiplier,
            size=raw.size,
            status=raw.status,
            tradable=raw.tradable,
            open_interest=raw.open_interest,
            open_interest_date=raw.open_interest_date,
            # Zero is how an upstream may write that there was no trade.
            close_price=raw.close_price or None,
            close_price_date=raw.close_price_date,
            deliverables=raw.deliverables,
        )

    def _refuse(
        self, which: OptionPart, refusal: Refusal, symbol: str, receipt: Receipt
    ) -> Unavailable:
        return self._gate.refuse(refusal, which.value.replace("_", " "), symbol, receipt)

    def _greeks(self, sent: Greeks, symbol: str, receipt: Receipt) -> Greeks | Unavailable:
        for name in Greeks.__struct_fields__:
            number: float | None = getattr(sent, name)
            if number is None:
                continue
            refusal = rules.check_finite(name, number)
            if refusal is not None:
                return self._refuse(OptionPart.GREEKS, refusal, symbol, receipt)
        return sent

    def _volatility(self, sent: float, symbol: str, receipt: Receipt) -> float | Unavailable:
        refusal = rules.check_finite("implied volatility", sent) or rules.check_volatility(sent)
        if refusal is None:
            return sent
        return self._refuse(OptionPart.IMPLIED_VOLATILITY, refusal, symbol, receipt)

    def _bar(self, sent: RawOptionBar, symbol: str, receipt: Receipt) -> OptionBar | Unavailable:
        refusal = self._check_bar(sent)
        if refusal is not None:
            return self._gate.refuse(refusal, "bar", symbol, receipt)
        return OptionBar(
            open=sent.open,
            high=sent.high,
            low=sent.low,
            close=sent.close,
            volume=sent.volume,
            trade_count=sent.trade_count,
            vwap=sent.vwap,
            provenance=provenance_of(receipt, sent.event_time),
        )

    def _check_bar(self, sent: RawOptionBar) -> Refusal | None:
        time = sent.event_time
        prices = {
            name: price
            for name in ("open", "high", "low", "close", "vwap")
            if (price := getattr(sent, name)) is not None
        }
        refusal = self._gate.check_time(time)
        for name, price in prices.items():
            refusal = refusal or rules.check_price(name, price, time)
        refusal = (
            refusal
            or rules.check_count("volume", sent.volume, time)
            or rules.check_count("trade count", sent.trade_count, time)
        )
        if refusal is not None or len(prices.keys() & _ORDERED) < len(_ORDERED):
            return refusal
        return rules.check_bar_order(
            prices["low"], prices["open"], prices["close"], prices["high"], time
        )


def _check_terms(raw: RawContract, occ: Occ, underlying: str) -> Refusal | None:
    said = {
        "expiration_date": (raw.expiry, occ.expiry),
        "strike_price": (raw.strike, occ.strike),
        "type": (raw.type, occ.type),
        "root_symbol": (raw.root, occ.root),
    }
    for name, (seen, symbol) in said.items():
        if seen is not None and (refusal := rules.check_terms(name, seen, symbol)):
            return refusal
    if underlying and raw.underlying and raw.underlying != underlying:
        evidence = f"underlying_symbol {raw.underlying[:_SHOWN]}, asked {underlying}"
        return Refusal("contract_mismatch", evidence)
    for name, price in (("close price", raw.close_price or None), ("multiplier", raw.multiplier)):
        if price is not None and (refusal := rules.check_price(name, price, UNDATED)):
            return refusal
    return rules.check_count("open interest", raw.open_interest, UNDATED)


def _holds_something(quote: OptionQuote) -> bool:
    return any(
        part is not None
        for part in (
            quote.quote,
            quote.latest_trade,
            quote.greeks,
            quote.implied_volatility,
            quote.minute_bar,
            quote.daily_bar,
            quote.previous_daily_bar,
        )
    )
