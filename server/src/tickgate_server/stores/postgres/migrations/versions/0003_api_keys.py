"""API keys."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    op.execute(
        """
        CREATE TABLE api_keys (
            id       text PRIMARY KEY,
            name     text NOT NULL,
            digest   text NOT NULL UNIQUE,
            scopes   text[] NOT NULL CHECK (cardinality(scopes) > 0),
            limits   jsonb NOT NULL,
            created  bigint NOT NULL,
            expires  bigint,
            revoked  bigint
        )
        """
    )
    op.execute("COMMENT ON TABLE api_keys IS 'Who may call, and how much; tokens are not kept'")
    op.execute(
        "COMMENT ON COLUMN api_keys.digest IS"
        " 'HMAC-SHA256 of the token under the secret of the gateways, in hex'"
    )
    op.execute(
        "COMMENT ON COLUMN api_keys.created IS"
        " 'Nanoseconds since 1970, as expires (null never) and revoked are'"
    )
