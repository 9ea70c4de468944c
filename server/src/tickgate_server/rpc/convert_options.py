"""Options to messages, as `convert` does it for stocks. What was not sent stays unset."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Final

from google.type import date_pb2
from msgspec import Struct

from tickgate.v1 import option_pb2 as pb
from tickgate.v1 import provenance_pb2

from ..market.answer import Answer
from ..market.chain import Chain, Selection
from ..market.expiry import Expiries, market_date
from ..market.occ import Occ, OptionType, parse_occ
from ..market.option import (
    ContractList,
    ContractStatus,
    Deliverable,
    Greeks,
    OptionBar,
    OptionContract,
    OptionPart,
    OptionQuote,
    OptionStyle,
)
from ..market.provenance import Provenance, Tier
from ..market.time import NANOS
from ..market.unavailable import Reason, Unavailable
from . import convert
from .convert import Moment, numbers, price, set_present, timestamp

TYPES: Final = numbers(OptionType, pb.OptionType, "OPTION_TYPE_")
PARTS: Final = numbers(OptionPart, pb.OptionPart, "OPTION_PART_")
STYLES: Final = numbers(OptionStyle, pb.OptionStyle, "OPTION_STYLE_")
STATUSES: Final = numbers(ContractStatus, pb.OptionContractStatus, "OPTION_CONTRACT_STATUS_")

Serve = Callable[[provenance_pb2.Provenance], None]
"""Adds to a provenance what depends on who serves it, and when."""


class Terms(Struct, frozen=True):
    """What is known of the terms of a contract."""

    contract: OptionContract
    provenance: Provenance
    """Of the list that it stands in."""

    last_trading: int | None = None
    """Last moment at which it trades, nanoseconds; None where the calendar does not reach."""


class TermsBook(Struct, frozen=True):
    """The terms of the contracts of a list."""

    listed: ContractList
    expiries: Expiries

    def terms(self, value: OptionContract) -> Terms:
        """Return all that is known of the contract *value* of the list."""
        return Terms(value, self.listed.provenance, self.expiries.known_moment(value.occ))

    def find(self, symbol: str) -> Terms | Unavailable:
        """Return the terms of the contract *symbol*, or why there are none."""
        value = self.listed.get(symbol)
        return self.terms(value) if value is not None else self._unlisted(symbol)

    def why_missing(self, symbol: str) -> Unavailable | None:
        """Return why there are no terms of the contract *symbol*; None where there are."""
        return None if self.listed.get(symbol) is not None else self._unlisted(symbol)

    def _unlisted(self, symbol: str) -> Unavailable:
        return self.listed.refused.get(symbol) or Unavailable(
            reason=Reason.NO_DATA, message=f"{symbol}: not in the upstream's list of contracts"
        )


def identity(symbol: str, occ: Occ, underlying: str) -> pb.OptionQuote:
    """Return an option quote of which only the contract is said."""
    return pb.OptionQuote(
        symbol=symbol,
        underlying_symbol=underlying,
        root_symbol=occ.root,
        expiry_date=_date(occ.expiry),
        type=TYPES[occ.type],
        strike_price=price(occ.strike),
    )


def option_quote(
    answer: Answer[OptionQuote],
    moment: Moment,
    terms: Terms | Unavailable | None,
    *,
    full: bool,
) -> pb.OptionQuote:
    """Return a whole option quote as it is served at *moment*; *terms* belong to the full view."""
    value = answer.value
    occ = parse_occ(value.symbol)
    known = terms.contract.underlying if isinstance(terms, Terms) else occ.underlying
    message = identity(value.symbol, occ, known)

    def serve(origin: provenance_pb2.Provenance) -> None:
        origin.served_from = convert.TIERS[answer.served_from]
        origin.serve_time.CopyFrom(timestamp(moment.wall))
        age = moment.monotonic - answer.held.confirmed_at
        convert.set_duration(origin.receive_age, int(age * NANOS))
        if origin.HasField("event_time"):
            stamp = origin.event_time.seconds * NANOS + origin.event_time.nanos
            convert.set_duration(origin.event_age, moment.market - stamp)

    if value.quote is not None:
        message.quote.CopyFrom(convert.quote(value.quote))
        serve(message.quote.provenance)
    if value.latest_trade is not None:
        message.latest_trade.CopyFrom(convert.trade(value.latest_trade))
        serve(message.latest_trade.provenance)
    add_model(message, value)
    if message.HasField("model_provenance"):
        serve(message.model_provenance)
    set_present(message, day_volume=day_volume(value, market_date(moment.market)))
    if full:
        add_bars(message, value, serve)
        _add_terms(message, terms, moment)
    message.missing_parts.extend(missing_parts(value, moment))
    if moment.session is not None:
        message.market_session = convert.SESSIONS[moment.session]
    return message


def add_model(message: pb.OptionQuote, value: OptionQuote) -> None:
    """Add greeks and implied volatility, each as it was sent."""
    if value.greeks is not None:
        message.greeks.CopyFrom(_greeks(value.greeks))
    if value.implied_volatility is not None:
        message.implied_volatility = value.implied_volatility
    if value.greeks is not None or value.implied_volatility is not None:
        message.model_provenance.CopyFrom(convert.provenance(value.provenance))


def day_volume(value: OptionQuote, today: datetime.date) -> int | None:
    """Return the volume of the daily bar if that is *today*'s."""
    bar = value.daily_bar
    if bar is None or bar.provenance.event_time is None:
        return None
    return bar.volume if market_date(bar.provenance.event_time) == today else None


def add_bars(message: pb.OptionQuote, value: OptionQuote, serve: Serve | None = None) -> None:
    """Add the bars that were sent."""
    for field in ("minute_bar", "daily_bar", "previous_daily_bar"):
        bar: OptionBar | None = getattr(value, field)
        if bar is None:
            continue
        target: pb.OptionBar = getattr(message, field)
        target.CopyFrom(_bar(bar))
        if serve is not None:
            serve(target.provenance)


def missing_parts(value: OptionQuote, moment: Moment) -> list[pb.MissingOptionPart]:
    """Return why parts that were sent are unset."""
    return [missing_part(part, why, moment) for part, why in value.missing.items()]


def contract(terms: Terms, moment: Moment | None = None) -> pb.OptionContract:
    """Return the terms of a contract, as they are served at *moment*; None leaves to the whole answer when that was."""
    value = terms.contract
    message = pb.OptionContract(
        symbol=value.symbol,
        id=value.id,
        name=value.name,
        underlying_symbol=value.underlying,
        root_symbol=value.occ.root,
        expiry_date=_date(value.occ.expiry),
        last_trading_time=None if terms.last_trading is None else timestamp(terms.last_trading),
        type=TYPES[value.occ.type],
        strike_price=price(value.occ.strike),
        multiplier=None if value.multiplier is None else price(value.multiplier),
        size=None if value.size is None else price(value.size),
        open_interest=open_interest(terms, moment),
        close_price=None if value.close_price is None else price(value.close_price),
        close_price_date=_date(value.close_price_date),
        deliverables=[_deliverable(one) for one in value.deliverables],
    )
    set_present(
        message,
        style=None if value.style is None else STYLES[value.style],
        status=None if value.status is None else STATUSES[value.status],
        tradable=value.tradable,
    )
    return message


def open_interest(terms: Terms, moment: Moment | None = None) -> pb.OpenInterest | None:
    """Return the open interest with its own date, as for `contract`; None where the upstream has none."""
    value, origin = terms.contract, terms.provenance
    if value.open_interest is None:
        return None
    return pb.OpenInterest(
        contracts=value.open_interest,
        date=_date(value.open_interest_date),
        provenance=(
            convert.provenance(origin)
            if moment is None
            else convert.served_provenance(origin, moment)
        ),
    )


def chain_header(
    chain: Chain, selection: Selection, served_from: Tier, moment: Moment
) -> pb.OptionChainHeader:
    """Return what a chain's answer holds, without what only some questions ask for."""
    missing = selection.missing
    message = pb.OptionChainHeader(
        underlying_symbol=chain.underlying,
        feed=convert.FEEDS[chain.feed],
        total_size=len(selection.entries),
        chain_size=len(chain.entries),
        missing=pb.OptionChainGaps(
            quotes=missing.quotes,
            latest_trades=missing.latest_trades,
            greeks=missing.greeks,
            implied_volatilities=missing.implied_volatilities,
        ),
        without_delta=selection.without_delta,
        expired=chain.expired,
        refused=chain.refused,
        load_time=timestamp(chain.load_time),
        confirm_time=timestamp(chain.confirm_time),
        serve_time=timestamp(moment.wall),
        market_time=timestamp(moment.market),
        served_from=convert.TIERS[served_from],
    )
    if moment.session is not None:
        message.market_session = convert.SESSIONS[moment.session]
    return message


def _add_terms(message: pb.OptionQuote, terms: Terms | Unavailable | None, moment: Moment) -> None:
    if isinstance(terms, Terms):
        message.contract.CopyFrom(contract(terms, moment))
        interest = open_interest(terms, moment)
        if interest is not None:
            message.open_interest.CopyFrom(interest)
    elif terms is not None:
        message.missing_parts.append(missing_part(OptionPart.CONTRACT, terms, moment))


def missing_part(part: OptionPart, why: Unavailable, moment: Moment) -> pb.MissingOptionPart:
    """Return why *part* is unset, as it is told to one caller."""
    return pb.MissingOptionPart(part=PARTS[part], unavailable=convert.unavailable(why, moment))


def _greeks(value: Greeks) -> pb.OptionGreeks:
    message = pb.OptionGreeks()
    set_present(
        message,
        delta=value.delta,
        gamma=value.gamma,
        theta=value.theta,
        vega=value.vega,
        rho=value.rho,
    )
    return message


def _bar(value: OptionBar) -> pb.OptionBar:
    start = value.provenance.event_time
    message = pb.OptionBar(
        start_time=None if start is None else timestamp(start),
        open=None if value.open is None else price(value.open),
        high=None if value.high is None else price(value.high),
        low=None if value.low is None else price(value.low),
        close=None if value.close is None else price(value.close),
        vwap=None if value.vwap is None else price(value.vwap),
        provenance=convert.provenance(value.provenance),
    )
    set_present(message, volume=value.volume, trade_count=value.trade_count)
    return message


def _deliverable(value: Deliverable) -> pb.OptionDeliverable:
    share = value.allocation_percentage
    message = pb.OptionDeliverable(
        type=value.type,
        symbol=value.symbol,
        amount=None if value.amount is None else price(value.amount),
        allocation_percentage=None if share is None else price(share),
        settlement_type=value.settlement_type,
        settlement_method=value.settlement_method,
    )
    set_present(message, delayed_settlement=value.delayed_settlement)
    return message


def _date(day: datetime.date | None) -> date_pb2.Date | None:
    return None if day is None else convert.civil_date(day)
