"""What a type checker tells a caller. `make types` checks these; running them costs nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import assert_type

import pandas
import polars

import tickgate


async def both_clients(client: tickgate.Client, twin: tickgate.SyncClient) -> None:
    """The twins differ in waiting and in nothing else."""
    assert_type(await client.quote("AAPL"), tickgate.Quote)
    assert_type(twin.quote("AAPL"), tickgate.Quote)
    assert_type(twin.quotes(["AAPL"]), list[tickgate.Quote | tickgate.Unavailable])
    assert_type(client.assets("apple"), AsyncIterator[tickgate.Asset])
    assert_type(twin.assets("apple"), Iterator[tickgate.Asset])
    assert_type(await client.entitlements(), tickgate.Entitlements)
    assert_type(
        client.errors(reasons=[tickgate.Reason.NO_DATA]), AsyncIterator[tickgate.ErrorRecord]
    )
    assert_type(twin.errors(), Iterator[tickgate.ErrorRecord])
    assert_type(twin.invalidate_cache(["AAPL"]), tickgate.Invalidation)
    assert_type((client.upstream_remaining, twin.upstream_remaining), tuple[int | None, int | None])
    assert_type(client.rate_limit, tickgate.RateLimit | None)
    assert_type(tickgate.connect(["10.0.0.1:1", "10.0.0.2:1"], api_key="tg_…"), tickgate.Client)
    assert_type(tickgate.connect_sync("a:1", tls=tickgate.Tls(ca="firm.pem")), tickgate.SyncClient)
    twin.quote(1)  # type: ignore[arg-type]  # a method's arguments are checked
    twin.trade("AAPL", view=tickgate.View.FULL)  # type: ignore[call-arg]  # so are their names


async def options(client: tickgate.Client, twin: tickgate.SyncClient) -> None:
    """Options are asked for by symbol or by `Occ`, and a chain is one value."""
    contract = tickgate.Occ.parse("SPY220715C00380000")
    assert_type(contract.strike, Decimal)
    assert_type(await client.option_quote(contract), tickgate.OptionQuote)
    assert_type(
        twin.option_quotes(["SPY220715C00380000", contract], feed=tickgate.Feed.OPRA),
        list[tickgate.OptionQuote | tickgate.Unavailable],
    )
    assert_type(await client.chain("SPY", expiry=date(2022, 7, 15)), tickgate.OptionChain)
    chain = twin.chain(
        "SPY",
        expiry=(date(2022, 7, 15), None),
        type=tickgate.OptionType.CALL,
        strikes=(Decimal("0.5"), 400),
        around_percent=5,
        delta=(None, 0.5),
        view=tickgate.OptionView.FULL,
    )
    assert_type(chain.expiries, tuple[date, ...])
    assert_type(chain.at(chain.expiries[0]), tuple[tickgate.OptionPair, ...])
    assert_type(chain.underlying_price, tickgate.Trade | None)
    assert_type(twin.chain_page("SPY", page_token=chain.next_page_token), tickgate.OptionChain)
    assert_type(client.contracts("SPY"), AsyncIterator[tickgate.OptionContract])
    assert_type(twin.contracts("SPY"), Iterator[tickgate.OptionContract])
    assert_type(
        client.follow("SPY220715C00380000", feed=tickgate.Feed.OPRA),
        tickgate.Subscription[tickgate.Quote],
    )
    assert_type(twin.follow(contract).latest(contract), tickgate.Quote | None)
    twin.follow_trades(contract, feed=tickgate.Feed.INDICATIVE)
    twin.follow_bars(contract)  # type: ignore[arg-type]  # option feeds have quotes and trades only
    twin.quote(contract)  # type: ignore[arg-type]  # a stock is no contract
    twin.option_quote("SPY220715C00380000", allow_stale=True)  # type: ignore[call-arg]  # never stale
    twin.option_quote(contract, view=tickgate.View.FULL)  # type: ignore[arg-type]  # stocks' views
    twin.chain("SPY", strikes=(1.5, None))  # type: ignore[arg-type]  # prices are exact


def one_option(option: tickgate.OptionQuote) -> None:
    """Every part of an option quote may be absent."""
    assert_type(option.quote, tickgate.Quote | None)
    assert_type(option.implied_volatility, float | None)
    assert_type(option.expiry_date, date)
    if option.greeks:
        assert_type(option.greeks.delta, float | None)
    if option.open_interest:
        assert_type(option.open_interest.date, date | None)


async def following(client: tickgate.Client, twin: tickgate.SyncClient) -> None:
    """Each way to follow says what it yields, and the twins yield alike."""
    assert_type(client.follow("AAPL"), tickgate.Subscription[tickgate.Quote])
    assert_type(twin.follow("AAPL", "MSFT"), tickgate.SyncSubscription[tickgate.Quote])
    assert_type(
        await anext(client.follow_trades("AAPL")),
        tickgate.Trade | tickgate.TradeCorrection | tickgate.TradeCancellation,
    )
    assert_type(next(twin.follow_bars("AAPL")), tickgate.Bar)
    assert_type(next(twin.follow_daily_bars("AAPL")), tickgate.Bar)
    assert_type(next(twin.follow_trading_statuses("AAPL")), tickgate.TradingStatus)
    assert_type(next(twin.follow_price_bands("AAPL")), tickgate.PriceBands)
    assert_type(twin.gaps(symbol="AAPL"), Iterator[tickgate.Gap])
    async with client.follow("AAPL") as quotes:
        async for quote in quotes:
            assert_type(quote, tickgate.Quote)
        assert_type(quotes.latest("AAPL"), tickgate.Quote | None)
        assert_type(quotes.states, dict[str, tickgate.SymbolStatus])
        async for each in quotes.with_events():
            if isinstance(each, tickgate.Update):
                assert_type(each.value, tickgate.Quote)
            elif isinstance(each, tickgate.SymbolStatus):
                assert_type(each.unavailable, tickgate.Unavailable | None)
            else:
                assert_type(each, tickgate.Disconnected | tickgate.Reconnected)
    twin.follow(["AAPL"])  # type: ignore[arg-type]  # each symbol is an argument of its own
    twin.follow_trades("AAPL", stale_after=5)  # type: ignore[call-arg]  # only quotes turn stale


async def history(client: tickgate.Client, twin: tickgate.SyncClient) -> None:
    """The past is read row by row, chunk by chunk, or all at once, and the twins read alike."""
    start = datetime(2024, 3, 1, tzinfo=UTC)
    bars = client.bars("AAPL", "1Min", start, adjustments=[tickgate.Adjustment.SPLIT])
    assert_type(bars, tickgate.History[tickgate.Bar])
    async for bar in bars:
        assert_type(bar, tickgate.Bar)
    async for chunk in bars.chunks():
        assert_type(chunk, tickgate.Chunk[tickgate.Bar])
    assert_type(await bars, tickgate.Records[tickgate.Bar])
    assert_type(await bars.polars(), polars.DataFrame)
    assert_type(await bars.pandas(exact=True), pandas.DataFrame)
    assert_type(bars.missing, tuple[tickgate.Missing, ...])

    trades = twin.trade_history(["AAPL", "MSFT"], date(2024, 3, 1), "2024-03-02", limit=5)
    assert_type(trades, tickgate.SyncHistory[tickgate.Trade])
    for trade in trades:
        assert_type(trade, tickgate.Trade)
    assert_type(trades.fetch().of("AAPL"), tickgate.Records[tickgate.Trade])
    assert_type(trades.polars(origin=True), polars.DataFrame)
    assert_type(twin.quote_history("AAPL", 0), tickgate.SyncHistory[tickgate.Quote])
    assert_type(client.quote_history("AAPL", 0), tickgate.History[tickgate.Quote])

    contract = tickgate.Occ.parse("SPY220715C00380000")
    twin.bars(contract, "1Day", start, tolerance=5)  # type: ignore[call-arg]  # arguments are checked
    twin.bars("AAPL", "1Day", 1.5)  # type: ignore[arg-type]  # a float is no instant
    twin.quote_history(contract, start)  # type: ignore[arg-type]  # there are none of options
    assert_type(await client.price_at(contract, start, tolerance=60), tickgate.PriceAt)
    assert_type(twin.price_at("AAPL", start).price, Decimal)
    assert_type(
        twin.coverage(["AAPL"], tickgate.SeriesKind.BARS, "1Day"),
        list[tickgate.Coverage | tickgate.Unavailable],
    )
    assert_type(
        client.corporate_actions("AAPL", date(2020, 1, 1), date(2021, 1, 1)),
        AsyncIterator[tickgate.CorporateAction],
    )


async def keeping(client: tickgate.Client, twin: tickgate.SyncClient) -> None:
    """Operators keep watchlists and start backfills."""
    assert_type(await client.put_watchlist("x", ["AAPL"], record=True), tickgate.Watchlist)
    assert_type(twin.watchlists(), list[tickgate.Watchlist])
    twin.delete_watchlist("x")
    started = twin.start_backfill(["AAPL"], date(2024, 1, 1), timeframe="1Min")
    assert_type(started.failures, tuple[tickgate.BackfillFailure, ...])
    assert_type(client.backfills(), AsyncIterator[tickgate.Backfill])
    assert_type((await client.cancel_backfill(started.id)).state, tickgate.BackfillState)
    assert_type((await client.status()).store, tickgate.StoreStatus | None)


def one_result(result: tickgate.Quote | tickgate.Unavailable) -> None:
    """Asking whether there is a value narrows to it, either way."""
    if result.ok:
        assert_type(result, tickgate.Quote)
    else:
        assert_type(result, tickgate.Unavailable)


def many_results(results: list[tickgate.Quote | tickgate.Unavailable]) -> None:
    """A comprehension that keeps what is ok holds values alone."""
    assert_type([result for result in results if result.ok], list[tickgate.Quote])


def one_value(quote: tickgate.Quote) -> None:
    """What may be absent has to be asked for; what is always there has not."""
    assert_type(quote.bid, tickgate.QuoteSide | None)
    assert_type(quote.provenance.receive_time, datetime)
    assert_type(quote.provenance.event_time, datetime | None)
    assert_type(quote.provenance.event_age, timedelta | None)
    if quote.bid:
        assert_type(quote.bid.price, Decimal)


def test_the_promises_above_are_checked() -> None:
    """The functions above are for the type checker; here they only have to exist."""
    promises = (
        *(both_clients, options, one_option, following, history, keeping),
        *(one_result, many_results, one_value),
    )
    assert all(map(callable, promises))
