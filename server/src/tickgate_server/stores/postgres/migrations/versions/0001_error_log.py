"""The log of refusals and failures."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table and its indexes."""
    op.execute(
        """
        CREATE TABLE error_log (
            id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            request_id  text NOT NULL,
            reason      text NOT NULL,
            message     text NOT NULL,
            context     jsonb NOT NULL,
            time        timestamptz NOT NULL,
            nanos       smallint NOT NULL CHECK (nanos BETWEEN 0 AND 999)
        )
        """
    )
    op.execute("COMMENT ON TABLE error_log IS 'Refusals and failures, newest last'")
    op.execute("COMMENT ON COLUMN error_log.time IS 'When it happened, to the microsecond'")
    op.execute("COMMENT ON COLUMN error_log.nanos IS 'Nanoseconds beyond that microsecond'")
    op.execute("CREATE INDEX error_log_time ON error_log (time)")
    # Pages go by falling id, so the index has it too.
    op.execute("CREATE INDEX error_log_reason ON error_log (reason, id)")
    op.execute("CREATE INDEX error_log_request_id ON error_log (request_id, id)")
