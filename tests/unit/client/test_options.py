"""Options: what is unset is None, a chain is whole or not there, and both clients say so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo

import tickgate
from tickgate import _convert as convert
from tickgate import _questions as questions
from tickgate.v1 import option_pb2, quote_pb2
from tickgate.v1 import option_service_pb2 as options_pb2

from . import option_messages as own
from .messages import NOON, UNAVAILABLE, at, unavailable_read
from .serving import served_by_threads, status

Answer = Callable[..., Any]
CHAIN = own.streamed(own.HEADER, own.CALL, own.PUT)


async def asynchronously(answer: Answer, method: str, *args: Any, **kwargs: Any) -> Any:
    """Ask a gateway with the asynchronous client."""
    with served_by_threads(**answers(answer)) as target:
        async with tickgate.connect(target) as gateway:
            return await getattr(gateway, method)(*args, **kwargs)


async def synchronously(answer: Answer, method: str, *args: Any, **kwargs: Any) -> Any:
    """Ask a gateway with the synchronous client."""
    with (
        served_by_threads(**answers(answer)) as target,
        tickgate.connect_sync(target) as gateway,
    ):
        return getattr(gateway, method)(*args, **kwargs)


def answers(answer: Answer) -> dict[str, Answer]:
    """The same answer to each question with one value."""
    return dict.fromkeys(["GetOptionQuote", "GetOptionChain", "StreamOptionChain"], answer)


both = pytest.mark.parametrize("ask", [asynchronously, synchronously])

NO_CHAIN: list[Message] = [options_pb2.StreamOptionChainResponse(unavailable=UNAVAILABLE)]
UNAVAILABLE_REPLIES = [
    (
        "option_quote",
        own.SYMBOL,
        options_pb2.GetOptionQuoteResponse(
            result=option_pb2.OptionQuoteResult(symbol=own.SYMBOL, unavailable=UNAVAILABLE)
        ),
    ),
    ("chain", "SPY", NO_CHAIN),
    ("chain_page", "SPY", options_pb2.GetOptionChainResponse(unavailable=UNAVAILABLE)),
]


@both
@pytest.mark.parametrize(("method", "asked", "reply"), UNAVAILABLE_REPLIES)
async def test_what_is_not_there_is_raised(ask: Any, method: str, asked: str, reply: Any) -> None:
    """An option quote, a chain or a page that cannot be had raises the reason, with all that was said."""
    with pytest.raises(tickgate.TooStale) as caught:
        await ask(lambda request, context: reply, method, asked)
    assert caught.value.unavailable == unavailable_read(asked)


@both
@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("CONTRACT_UNKNOWN", tickgate.UnknownContract),
        ("CONTRACT_EXPIRED", tickgate.ExpiredContract),
        ("NOT_ENTITLED", tickgate.NotEntitled),
    ],
)
@pytest.mark.parametrize(("method", "asked"), [("option_quote", own.OCC), ("chain", "SPY")])
async def test_a_failed_call_is_raised_as_its_reason(
    ask: Any, method: str, asked: Any, reason: str, error: type[tickgate.DataUnavailableError]
) -> None:
    """A status with a reason, as a strict question gets it, is the same class, about the same symbol."""

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        info = ErrorInfo(domain="tickgate", reason=reason)
        context.abort_with_status(status(grpc.StatusCode.NOT_FOUND, "no", info))

    with pytest.raises(error) as caught:
        await ask(answer, method, asked)
    assert caught.value.symbol == str(asked)


@both
async def test_a_chain_that_is_cut_off_is_never_handed_on(ask: Any) -> None:
    """A stream that fails in the middle raises its failure, and is not asked for once more."""
    attempts = []

    def answer(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        attempts.append(request)
        yield from CHAIN[:2]
        context.abort(grpc.StatusCode.UNAVAILABLE, "cut")

    with pytest.raises(tickgate.GatewayUnreachable, match="cut"):
        await ask(answer, "chain", "SPY")
    assert len(attempts) == 1


@both
async def test_a_chain_that_has_not_begun_is_asked_for_once_more(ask: Any) -> None:
    """A gateway that is stopping before it says anything is met with a second attempt, like for any question."""
    attempts = []

    def answer(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        attempts.append(request)
        if len(attempts) == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")
        yield from CHAIN

    assert await ask(answer, "chain", "SPY") == own.CHAIN_READ
    assert len(attempts) == 2


async def test_reading_a_chain_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the asynchronous client reads the contracts of a long chain, the event loop goes on."""
    loop, went_on = asyncio.get_running_loop(), threading.Event()
    read = convert.option_chain

    def slow(*args: Any) -> tickgate.OptionChain:
        loop.call_soon_threadsafe(went_on.set)
        assert went_on.wait(10)
        return read(*args)

    monkeypatch.setattr(convert, "option_chain", slow)
    chain = await asynchronously(lambda request, context: CHAIN, "chain", "SPY")
    assert chain == own.CHAIN_READ


def counted(**counts: int) -> list[Message]:
    """A chain of two contracts that says other numbers."""
    header, *between, _ = own.streamed(own.HEADER, own.CALL, own.PUT)
    assert isinstance(header, options_pb2.StreamOptionChainResponse)
    header.header.total_size = counts.get("announced", 2)
    end = options_pb2.OptionChainEnd(count=counts.get("sent", 2))
    return [header, *between, options_pb2.StreamOptionChainResponse(end=end)]


@both
@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (counted(announced=3), "not complete: 3 announced, 2 sent, 2 received"),
        (counted(sent=1), "not complete: 2 announced, 1 sent, 2 received"),
        ([CHAIN[0], CHAIN[1], CHAIN[3]], "not complete: 2 announced, 2 sent, 1 received"),
        (CHAIN[:-1], "a chain is header, chunks and end, not header, chunk"),
        (CHAIN[1:], "not chunk, end"),
        ([CHAIN[0], *CHAIN], "not header, chunk, end"),
        ([*CHAIN, CHAIN[-1]], "not header, chunk, end"),
        ([*CHAIN[:2], *NO_CHAIN], "not header, chunk, unavailable"),
        ([options_pb2.StreamOptionChainResponse()], "not None"),
        ([], "not nothing"),
    ],
)
async def test_a_chain_that_does_not_add_up_is_refused(
    ask: Any, parts: list[Message], said: str
) -> None:
    """Header, contracts and end agree on their number, or it is a fault of the gateway that names the call."""
    with pytest.raises(tickgate.GatewayError, match="breaks the contract") as caught:
        await ask(lambda request, context: parts, "chain", "SPY", request_id="mine")
    assert said in str(caught.value)
    assert caught.value.request_id == "mine"


@both
async def test_what_is_left_of_the_budget_is_known_after_a_chain(ask: Any) -> None:
    """The trailer of a chain is read like that of any answer, a failed one's too."""
    seen = []

    class Spy(tickgate.Client):
        def _note(self, trailers: Any) -> None:
            super()._note(trailers)
            seen.append(self.upstream_remaining)

    class SyncSpy(tickgate.SyncClient):
        def _note(self, trailers: Any) -> None:
            super()._note(trailers)
            seen.append(self.upstream_remaining)

    def answer(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.set_trailing_metadata((("x-upstream-remaining", "17"),))
        yield from CHAIN[:-1]
        if request.underlying_symbol == "SPY":
            yield CHAIN[-1]
        else:
            context.abort(grpc.StatusCode.INTERNAL, "it broke")

    with served_by_threads(StreamOptionChain=answer) as target:
        if ask is asynchronously:
            async with Spy(grpc.aio.insecure_channel(target)) as gateway:
                await gateway.chain("SPY")
                with pytest.raises(tickgate.GatewayError):
                    await gateway.chain("QQQ")
        else:
            with SyncSpy(grpc.insecure_channel(target)) as twin:
                twin.chain("SPY")
                with pytest.raises(tickgate.GatewayError):
                    twin.chain("QQQ")
    assert seen == [17, 17]


# --------------------------------------------------------------------------------------- filters


def sent(**filters: Any) -> option_pb2.OptionChainFilter:
    """The filter that `chain` sends."""
    request = questions.chain("SPY", **filters).request
    assert isinstance(request, options_pb2.StreamOptionChainRequest)
    assert questions.chain_page("SPY", **filters).request.filter == request.filter  # type: ignore[attr-defined]
    return request.filter


def test_what_is_left_out_is_not_sent() -> None:
    """Without an argument there is no filter, no feed, no view and no age: the gateway's defaults."""
    assert questions.chain("SPY").request == options_pb2.StreamOptionChainRequest(
        underlying_symbol="SPY"
    )
    assert questions.option_quote(own.SYMBOL).request == options_pb2.GetOptionQuoteRequest(
        symbol=own.SYMBOL
    )
    assert questions.contracts("SPY").request == options_pb2.ListOptionContractsRequest(
        underlying_symbol="SPY"
    )


def test_an_expiry_is_a_date_or_a_range() -> None:
    """One date is that date; of a range either end may be open."""
    day, later = date(2022, 7, 15), date(2022, 8, 20)
    assert sent(expiry=day) == option_pb2.OptionChainFilter(expiry_date=own.FRIDAY)
    assert sent(expiry=(day, None)) == option_pb2.OptionChainFilter(start_expiry_date=own.FRIDAY)
    assert sent(expiry=(None, later)) == option_pb2.OptionChainFilter(
        end_expiry_date=convert.date(later)
    )
    assert sent(expiry=(None, None)) == option_pb2.OptionChainFilter()


def test_strikes_may_be_open_and_are_exact() -> None:
    """Either bound may be left open, zero is a bound, and a number is sent in plain digits."""
    low = sent(strikes=(0, None))
    assert low.min_strike_price.value == "0"
    assert not low.HasField("max_strike_price")
    assert sent(strikes=(None, Decimal("1E+3"))).max_strike_price.value == "1000"
    assert sent(strikes=(None, Decimal("0.125"))).max_strike_price.value == "0.125"


def test_a_width_is_of_strikes_or_of_percent() -> None:
    """Strikes around the price are counted, or measured in percent."""
    assert sent(around=3).around == option_pb2.AroundTheMoney(strikes=3)
    assert sent(around_percent=Decimal("2.5")).around.percent.value == "2.5"


def test_a_band_of_delta_may_be_open() -> None:
    """Either end of the band may be left out; zero is an end like any other."""
    assert sent(delta=(None, 0.0)).delta == option_pb2.DeltaBand(max=0.0)
    assert sent(delta=(-0.5, None)).delta == option_pb2.DeltaBand(min=-0.5)


@pytest.mark.parametrize(
    ("arguments", "field", "rule"),
    [
        ({"around": 3, "around_percent": 5}, "filter.around", "not both"),
        ({"around": 0}, "filter.around.strikes", "1 to 1,000 strikes, not 0"),
        ({"around": -1}, "filter.around.strikes", "1 to 1,000 strikes, not -1"),
        ({"around": 1001}, "filter.around.strikes", "1 to 1,000 strikes, not 1001"),
        ({"updated_since": datetime(2022, 7, 15)}, "filter.updated_since", "time zone"),  # noqa: DTZ001
        ({"max_age": -1}, "max_age", "a duration is"),
    ],
)
@pytest.mark.parametrize("question", [questions.chain, questions.chain_page])
def test_a_filter_that_cannot_be_sent_is_refused_at_once(
    question: Any, arguments: dict[str, Any], field: str, rule: str
) -> None:
    """What has no place in a request is refused before anything is asked, with the gateway's field."""
    with pytest.raises(tickgate.InvalidRequest, match=rule) as caught:
        question("SPY", **arguments)
    assert [each.field for each in caught.value.violations] == [field]


def test_a_contract_is_named_in_either_way() -> None:
    """An `Occ` is sent as its symbol wherever a symbol is taken."""
    for symbol in (own.SYMBOL, own.OCC):
        assert questions.option_quote(symbol).symbol == own.SYMBOL
        assert questions.option_quotes([symbol]).request.symbols == [own.SYMBOL]  # type: ignore[attr-defined]
        assert questions.invalidate_cache([symbol]).request.symbols == [own.SYMBOL]  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------- values


def test_a_bare_header_is_a_chain_too() -> None:
    """What a header leaves out is None: no price, no session, no time of loading, no reason."""
    chain = convert.option_chain(own.BARE_HEADER, (), None)
    assert chain.underlying_price is None
    assert chain.market_session is None
    assert chain.load_time is None
    assert chain.contracts_unavailable is None
    assert chain.expiries == ()


def test_what_a_chain_says_once_stands_with_each_contract() -> None:
    """Tier, serving, ages and session come from the header, but never over what a contract says itself."""
    quote = own.in_chain(own.SYMBOL, "380", quote=own.QUOTE)
    chain = convert.option_chain(own.HEADER, [quote], None)
    (option,) = chain.option_quotes
    assert option.quote == own.QUOTE_READ
    assert option.market_session is tickgate.MarketSession.OPEN


def test_what_came_after_the_refresh_is_younger() -> None:
    """A quote that was received after the chain was confirmed is as old as its receipt."""
    call = option_pb2.OptionQuote()
    call.CopyFrom(own.CALL)
    call.quote.provenance.receive_time.CopyFrom(at(NOON - 5))
    (option,) = convert.option_chain(own.HEADER, [call], None).option_quotes
    assert option.quote is not None
    assert option.quote.provenance.receive_age_ns == 5


@pytest.mark.parametrize("number", [0, 99])
def test_words_of_tomorrow_are_unrecognized(number: int) -> None:
    """A number that only a newer gateway can send fails neither a quote, nor terms, nor a chain."""
    option = option_pb2.OptionQuote()
    option.CopyFrom(own.OPTION)
    option.type = option.contract.type = number  # type: ignore[assignment]  # what is tested
    option.contract.style = option.contract.status = number  # type: ignore[assignment]
    option.missing_parts[0].part = number  # type: ignore[assignment]
    read = convert.option_quote(option)
    assert read.type is tickgate.OptionType.UNRECOGNIZED
    assert read.contract is not None
    assert read.contract.style is tickgate.OptionStyle.UNRECOGNIZED
    assert read.contract.status is tickgate.OptionContractStatus.UNRECOGNIZED
    assert read.missing_parts[0].part is tickgate.OptionPart.UNRECOGNIZED
    chain = convert.option_chain(own.HEADER, [option], None)
    (pair,) = chain.at(date(2022, 7, 15))
    assert (pair.call, pair.put) == (None, None)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"expiry_date": None}, "OptionQuote.expiry_date is unset"),
        ({"strike_price": None}, "OptionQuote.strike_price is unset"),
        ({"quote": quote_pb2.Quote(symbol="X")}, "Quote.provenance is unset"),
    ],
)
def test_what_the_contract_rules_out_is_refused(broken: dict[str, Any], said: str) -> None:
    """An option quote without what the contract always sets is never handed on with something made up."""
    option = option_pb2.OptionQuote()
    option.CopyFrom(own.OPTION)
    for field, value in broken.items():
        option.ClearField(field)  # type: ignore[arg-type]  # one of its fields
        if value is not None:
            getattr(option, field).CopyFrom(value)
    with pytest.raises(convert.BrokenContract, match=said):
        convert.option_quote(option)


def listed(symbol: str) -> tickgate.OptionQuote:
    """A contract of a chain of which nothing but its name matters."""
    occ = tickgate.Occ.parse(symbol)
    return replace(
        own.BARE_OPTION_READ,
        symbol=symbol,
        root_symbol=occ.root,
        expiry_date=occ.expiry,
        type=occ.type,
        strike_price=occ.strike,
    )


def test_a_chain_is_read_as_a_desk_reads_it() -> None:
    """Dates in order; at each, calls and puts side by side by strike, adjusted series apart."""
    symbols = [
        "SPY220715C00099500",
        "SPY220715C00380000",
        "SPY1220715C00380000",
        "SPY220715P00380000",
        "SPY220819P00380000",
    ]
    chain = replace(own.CHAIN_READ, option_quotes=tuple(map(listed, symbols)))
    assert chain.expiries == (date(2022, 7, 15), date(2022, 8, 19))
    rows = [
        (each.strike_price, each.root_symbol, each.call and each.call.symbol, each.put and each.put.symbol)
        for each in chain.at(date(2022, 7, 15))
    ]  # fmt: skip
    assert rows == [
        (Decimal("99.5"), "SPY", "SPY220715C00099500", None),
        (Decimal(380), "SPY", "SPY220715C00380000", "SPY220715P00380000"),
        (Decimal(380), "SPY1", "SPY1220715C00380000", None),
    ]
    assert chain.at(date(2022, 7, 16)) == ()


def test_a_chain_stands_in_the_order_of_its_symbols() -> None:
    """The order in which a gateway promises a chain is the order of `Occ`."""
    names = [tickgate.Occ.parse(each.symbol) for each in own.CHAIN_READ.option_quotes]
    assert all(one < other for one, other in pairwise(names))


def test_options_are_values_too() -> None:
    """Option quotes and chains are hashable, compare by content, and an option quote is ok."""
    assert len({own.OPTION_READ, replace(own.OPTION_READ), own.BARE_OPTION_READ}) == 2
    assert len({own.CHAIN_READ, replace(own.CHAIN_READ)}) == 1
    assert own.OPTION_READ.ok


def test_zero_and_absent_differ() -> None:
    """A volatility, a greek or a volume of zero was sent; what was not is None."""
    assert convert.option_quote(own.BARE_OPTION).implied_volatility == 0.0
    read = convert.option_quote(own.OPTION)
    assert read.greeks is not None
    assert (read.greeks.gamma, read.greeks.rho) == (0.0, None)
    assert read.daily_bar is not None
    assert read.daily_bar.volume == 0
    assert read.minute_bar is not None
    assert read.minute_bar.volume is None
