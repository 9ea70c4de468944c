"""The store of history, watchlists, and how far backfills are. docs/history.md draws it."""

from alembic import op

revision = "0002"
down_revision = "0001"

# What every table of values has. Fixed widths stand first, so that rows need no padding.
_KEPT = """
    series       integer NOT NULL,
    ordinal      integer NOT NULL,
    time         bigint NOT NULL,
    known_from   bigint NOT NULL,
    known_until  bigint,
    write        bigint,
    receive_time bigint
"""

_VALUES = {
    "history_bars": """
        volume       bigint,
        trade_count  bigint,
        open         numeric NOT NULL,
        high         numeric NOT NULL,
        low          numeric NOT NULL,
        close        numeric NOT NULL,
        vwap         numeric
    """,
    "history_trades": """
        size         bigint,
        id           bigint,
        price        numeric NOT NULL,
        exchange     text,
        tape         text,
        amendment    text,
        conditions   text[]
    """,
    "history_quotes": """
        bid_size     bigint,
        ask_size     bigint,
        bid_price    numeric,
        ask_price    numeric,
        bid_exchange text,
        ask_exchange text,
        tape         text,
        conditions   text[]
    """,
}


def upgrade() -> None:
    """Make the tables. Partitions of the three that are divided by time are made when they are needed."""
    _series()
    _coverage()
    for name, fields in _VALUES.items():
        _values(name, fields)
    _jobs()


def _series() -> None:
    op.execute(
        """
        CREATE TABLE history_series (
            id           integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            source       text NOT NULL,
            kind         text NOT NULL,
            symbol       text NOT NULL,
            feed         text NOT NULL,
            timeframe    text NOT NULL,
            adjustments  text NOT NULL,
            symbol_date  text NOT NULL,
            exact_symbol boolean NOT NULL,
            UNIQUE (symbol, kind, feed, timeframe, adjustments, symbol_date, exact_symbol, source)
        )
        """
    )
    op.execute(
        "COMMENT ON TABLE history_series IS"
        " 'What a series is; texts that do not apply are empty. Whoever changes a series locks its row'"
    )
    op.execute(
        """
        CREATE TABLE history_writes (
            id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            series       integer NOT NULL REFERENCES history_series,
            receive_time bigint NOT NULL,
            request_id   text NOT NULL,
            last_time    bigint NOT NULL
        )
        """
    )
    op.execute(
        "COMMENT ON TABLE history_writes IS"
        " 'Answers of the upstream that values came with; last_time is the time of the latest of them'"
    )
    op.execute("CREATE INDEX history_writes_series ON history_writes (series, last_time)")


def _coverage() -> None:
    op.execute(
        """
        CREATE TABLE history_covered (
            series       integer NOT NULL REFERENCES history_series,
            start_time   bigint NOT NULL,
            end_time     bigint NOT NULL CHECK (start_time < end_time),
            receive_time bigint NOT NULL,
            known_from   bigint NOT NULL,
            count        bigint NOT NULL CHECK (count >= 0),
            refused      bigint NOT NULL,
            live         boolean NOT NULL,
            PRIMARY KEY (series, start_time)
        )
        """
    )
    op.execute(
        "COMMENT ON TABLE history_covered IS"
        " 'Stretches of which all is held that the upstream had; those of a series never overlap'"
    )
    op.execute(
        """
        CREATE TABLE history_coverage_log (
            series       integer NOT NULL REFERENCES history_series,
            start_time   bigint NOT NULL,
            end_time     bigint NOT NULL CHECK (start_time < end_time),
            receive_time bigint NOT NULL,
            known_from   bigint NOT NULL,
            known_until  bigint,
            refused      bigint NOT NULL
        )
        """
    )
    op.execute(
        "COMMENT ON TABLE history_coverage_log IS"
        " 'Every stretch that was ever covered, and from when until when that was known'"
    )
    op.execute(
        "CREATE INDEX history_coverage_log_series ON history_coverage_log (series, start_time)"
    )


def _values(name: str, fields: str) -> None:
    op.execute(
        f"""
        CREATE TABLE {name} (
            {_KEPT},
            {fields},
            CHECK ((write IS NULL) <> (receive_time IS NULL))
        ) PARTITION BY RANGE (time)
        """
    )
    # Nothing that holds now is there twice, and a range of a series is one scan of this index.
    op.execute(
        f"CREATE UNIQUE INDEX {name}_now ON {name} (series, time, ordinal)"
        " WHERE known_until IS NULL"
    )
    op.execute(
        f"CREATE INDEX {name}_superseded ON {name} (series, time, ordinal)"
        " WHERE known_until IS NOT NULL"
    )
    for column, meaning in (
        ("time", "Nanoseconds since 1970 UTC: the start of a bar, the stamp of a trade or quote"),
        ("ordinal", "Place among the values of one time, counted from 0"),
        ("known_from", "When it became known, nanoseconds of the wall clock"),
        ("known_until", "When another took its place; NULL while it holds"),
        ("write", "The answer that it came with; NULL where it arrived by itself"),
        ("receive_time", "When it arrived, where it did so by itself"),
    ):
        op.execute(f"COMMENT ON COLUMN {name}.{column} IS '{meaning}'")


def _jobs() -> None:
    op.execute(
        """
        CREATE TABLE watchlists (
            name               text PRIMARY KEY,
            symbols            text[] NOT NULL,
            record             boolean NOT NULL,
            refresh_timeframes text[] NOT NULL,
            refresh_days       integer NOT NULL,
            update_time        bigint NOT NULL,
            refresh_time       bigint
        )
        """
    )
    op.execute(
        "COMMENT ON TABLE watchlists IS 'Symbols whose history is kept without being asked for'"
    )
    op.execute(
        """
        CREATE TABLE backfills (
            id           text COLLATE "C" PRIMARY KEY,
            kind         text NOT NULL,
            feed         text NOT NULL,
            timeframe    text NOT NULL,
            adjustments  text NOT NULL,
            symbol_date  text NOT NULL,
            exact_symbol boolean NOT NULL,
            symbols      text[] NOT NULL,
            range_start  bigint NOT NULL,
            range_end    bigint NOT NULL,
            state        text NOT NULL,
            start_time   bigint NOT NULL,
            end_time     bigint,
            symbols_done integer NOT NULL,
            fetched      bigint NOT NULL,
            progress     double precision NOT NULL,
            failures     jsonb NOT NULL
        )
        """
    )
    op.execute("COMMENT ON TABLE backfills IS 'History that was asked to be fetched, and how far'")
    op.execute("CREATE INDEX backfills_start_time ON backfills (start_time, id)")
