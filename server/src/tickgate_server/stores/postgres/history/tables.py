"""The three tables of values: their columns, and the statements that are made of them."""

# ruff: noqa: S608 - statements are put together from names of ours alone; whatever anybody said is a parameter

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from ....market.columns import BarBlock, QuoteBlock, TradeBlock
from ....market.series import SeriesKind

KEPT: Final = (
    "series",
    "time",
    "ordinal",
    "known_from",
    "known_until",
    "write",
    "receive_time",
)
"""Columns that each table has beside the fields of its values."""

_THEN: Final = (
    "known_until IS NULL AND known_from <= %(as_of)s",
    "known_until IS NOT NULL AND known_until > %(as_of)s AND known_from <= %(as_of)s",
)
"""What held at a moment, in two halves that have an index each."""


class Table:
    """A table of values of one kind."""

    def __init__(
        self,
        kind: SeriesKind,
        block: Any,
        *,
        prices: tuple[str, ...],
        counts: tuple[str, ...],
        texts: tuple[str, ...] = (),
        lists: tuple[str, ...] = (),
        months: int,
    ) -> None:
        """Say which columns of *block* are kept how.

        Args:
            kind: of the values.
            block: what its values are read into.
            prices: columns of decimals.
            counts: columns of whole numbers.
            texts: columns of codes.
            lists: columns of lists of codes.
            months: months of a partition.
        """
        self.kind = kind
        self.block = block
        self.prices = prices
        self.counts = counts
        self.texts = texts
        self.lists = lists
        self.months = months
        self.name = f"history_{kind}"
        self.stage = f"history_stage_{kind}"
        self.fields = prices + counts + texts + lists

    @cached_property
    def copy_in(self) -> str:
        """Takes lines of `KEPT` and the fields."""
        return f"COPY {self.name} ({', '.join(KEPT + self.fields)}) FROM STDIN"

    @cached_property
    def copy_to_stage(self) -> str:
        """Takes the same lines, to be compared with what is held."""
        return f"COPY {self.stage} ({', '.join(KEPT + self.fields)}) FROM STDIN"

    @cached_property
    def make_stage(self) -> str:
        """Of each connection for itself, and empty at the start of each transaction."""
        return (
            f"CREATE TEMP TABLE IF NOT EXISTS {self.stage} (LIKE {self.name}) ON COMMIT DELETE ROWS"
        )

    @cached_property
    def is_held(self) -> str:
        """Whether anything is held: series, start, end."""
        return f"SELECT EXISTS ({self._now('1')})"

    @cached_property
    def count(self) -> str:
        """How many are held: series, start, end."""
        return self._now("count(*)")

    @cached_property
    def count_each(self) -> str:
        """How many are held of each of several stretches: numbers, series, starts and ends, by name."""
        return self._count_each("known_until IS NULL")

    @cached_property
    def count_each_then(self) -> str:
        """How many were held at a moment: the same, and as_of."""
        halves = (self._count_each(condition) for condition in _THEN)
        return f"SELECT n, sum(count)::bigint FROM ({' UNION ALL '.join(halves)}) halves GROUP BY n"

    @cached_property
    def known_later(self) -> str:
        """Instants of values that are known since later than a moment: series, start, end, the moment."""
        return self._now("DISTINCT time") + " AND known_from > %s"

    @cached_property
    def supersede_by_stage(self) -> str:
        """Closes what is held and not on the stage: the moment, series, start, end, instants that are left alone."""
        return f"""
            UPDATE {self.name} held SET known_until = %s
            WHERE series = %s AND time >= %s AND time < %s AND known_until IS NULL
                AND time <> ALL (%s) AND NOT EXISTS (
                    SELECT FROM {self.stage} new
                    WHERE new.time = held.time AND new.ordinal = held.ordinal
                        AND ({_of("new", self.fields)}) IS NOT DISTINCT FROM ({_of("held", self.fields)})
                )
        """

    @cached_property
    def insert_from_stage(self) -> str:
        """Adds what is on the stage and not held: instants that are left alone."""
        columns = KEPT + self.fields
        return f"""
            INSERT INTO {self.name} ({", ".join(columns)})
            SELECT {_of("new", columns)} FROM {self.stage} new
            WHERE time <> ALL (%s) AND NOT EXISTS (
                SELECT FROM {self.name} held
                WHERE held.series = new.series AND held.time = new.time
                    AND held.ordinal = new.ordinal AND held.known_until IS NULL
            )
        """

    @cached_property
    def rows_at(self) -> str:
        """What is held at some instants: series, first, last, the instants."""
        return f"""
            SELECT time, ordinal, known_from, {", ".join(self.fields)} FROM {self.name}
            WHERE series = %s AND time >= %s AND time <= %s AND time = ANY (%s)
                AND known_until IS NULL
            ORDER BY time, ordinal
        """

    @cached_property
    def supersede(self) -> str:
        """Closes single values: series, first and last time, and then times, ordinals and moments as arrays."""
        return f"""
            UPDATE {self.name} held SET known_until = closed.until
            FROM (SELECT %s::integer AS series, %s::bigint AS first, %s::bigint AS last) of,
                unnest(%s::bigint[], %s::integer[], %s::bigint[]) AS closed (time, ordinal, until)
            WHERE held.series = of.series AND held.time BETWEEN of.first AND of.last
                AND held.time = closed.time AND held.ordinal = closed.ordinal
                AND held.known_until IS NULL
        """

    @cached_property
    def forget(self) -> str:
        """Closes all of a stretch: the moment, series, start, end."""
        return f"""
            UPDATE {self.name} SET known_until = greatest(known_from, %s)
            WHERE series = %s AND time >= %s AND time < %s AND known_until IS NULL
        """

    @cached_property
    def cut_covered(self) -> str:
        """Shortens what is covered from before a moment to beyond it: series, before."""
        return f"""
            UPDATE history_covered covered SET start_time = %(before)s, count = (
                SELECT count(*) FROM {self.name} held
                WHERE held.series = covered.series AND held.known_until IS NULL
                    AND time >= %(before)s AND time < covered.end_time
            )
            WHERE series = ANY (%(series)s) AND start_time < %(before)s
        """

    @cached_property
    def delete_now(self) -> str:
        """Deletes the oldest of what holds: series, before and rows, which is about how many, by name."""
        return self._delete("known_until IS NULL")

    @cached_property
    def delete_superseded(self) -> str:
        """The same of what holds no longer."""
        return self._delete("known_until IS NOT NULL")

    def block_of(self, *, newest_first: bool, as_of: bool) -> str:
        """Return the statement for one block, as one row: see `rows_out`.

        Its parameters are named: series, start, end, time and ordinal behind which it begins, rows, and as_of.

        Args:
            newest_first: in which order.
            as_of: whether what was known then is asked for, and not what is now.
        """
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        columns = ("time", "ordinal", "write", "receive_time", *self.fields)
        # Each half is read from an index of its own, in order.
        halves = _THEN if as_of else ("known_until IS NULL",)
        found = " UNION ALL ".join(
            f"(SELECT {', '.join(columns)} FROM {self.name}"
            f" WHERE series = %(series)s AND time >= %(start)s AND time < %(end)s AND {half}"
            f" AND (time, ordinal) {beyond} (%(time)s, %(ordinal)s)"
            f" ORDER BY time {order}, ordinal {order} LIMIT %(rows)s)"
            for half in halves
        )
        arrays = [
            # As text, in which a number is as long as it is exact; one text for all is by far the quickest way.
            *(f"string_agg(coalesce({name}::text, ''), ',') AS {name}" for name in self.prices),
            *(f"array_agg({name}) AS {name}" for name in self.counts + self.texts),
            # Arrays of arrays must be rectangles, which lists of codes are not.
            *(f"array_agg(array_to_json({name})::text) AS {name}" for name in self.lists),
        ]
        return f"""
            SELECT rows, ordinals[rows], times, write,
                CASE WHEN mixed THEN writes END,
                CASE WHEN alone THEN receive_times END,
                {", ".join(self.fields)}
            FROM (
                SELECT count(*) AS rows, array_agg(ordinal) AS ordinals, array_agg(time) AS times,
                    min(write) AS write, array_agg(write) AS writes,
                    array_agg(receive_time) AS receive_times, count(receive_time) > 0 AS alone,
                    min(write) < max(write) OR count(write) BETWEEN 1 AND count(*) - 1 AS mixed,
                    {", ".join(arrays)}
                FROM (
                    SELECT * FROM ({found}) halves
                    ORDER BY time {order}, ordinal {order} LIMIT %(rows)s
                ) part
            ) block
        """

    def _now(self, what: str) -> str:
        return (
            f"SELECT {what} FROM {self.name}"
            " WHERE series = %s AND time >= %s AND time < %s AND known_until IS NULL"
        )

    def _count_each(self, condition: str) -> str:
        return (
            "SELECT asked.n, counted.count FROM"
            " unnest(%(n)s::integer[], %(series)s::integer[], %(starts)s::bigint[], %(ends)s::bigint[])"
            " AS asked (n, series, start_time, end_time), LATERAL ("
            f"SELECT count(*) FROM {self.name} held WHERE held.series = asked.series"
            f" AND time >= asked.start_time AND time < asked.end_time AND {condition}) counted"
        )

    def _delete(self, condition: str) -> str:
        return f"""
            DELETE FROM {self.name} WHERE series = %(series)s AND {condition} AND time <= coalesce((
                SELECT time FROM {self.name}
                WHERE series = %(series)s AND {condition} AND time < %(before)s
                ORDER BY time OFFSET %(rows)s LIMIT 1
            ), %(before)s - 1)
        """


def _of(table: str, columns: tuple[str, ...]) -> str:
    return ", ".join(f"{table}.{column}" for column in columns)


TABLES: Final = {
    SeriesKind.BARS: Table(
        SeriesKind.BARS,
        BarBlock,
        prices=("open", "high", "low", "close", "vwap"),
        counts=("volume", "trade_count"),
        months=12,
    ),
    SeriesKind.TRADES: Table(
        SeriesKind.TRADES,
        TradeBlock,
        prices=("price",),
        counts=("size", "id"),
        texts=("exchange", "tape", "amendment"),
        lists=("conditions",),
        months=1,
    ),
    SeriesKind.QUOTES: Table(
        SeriesKind.QUOTES,
        QuoteBlock,
        prices=("bid_price", "ask_price"),
        counts=("bid_size", "ask_size"),
        texts=("bid_exchange", "ask_exchange", "tape"),
        lists=("conditions",),
        months=1,
    ),
}
