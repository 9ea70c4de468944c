"""What alembic runs to migrate: it is handed a connection that holds the lock already."""

from alembic import context

from tickgate_server.stores.postgres.migrate import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
