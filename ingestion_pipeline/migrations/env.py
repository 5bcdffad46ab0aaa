"""Alembic's entry: takes a connection from the caller, or the owner's URL from the environment."""

import os

import sqlalchemy as sa
from alembic import context

from ingestion_pipeline.adapters.postgres_tables import metadata


def _run(connection: sa.Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    url = os.environ.get("INGESTION_LEDGER_OWNER_URL")
    if not url:
        raise SystemExit("INGESTION_LEDGER_OWNER_URL is not set: migrations run as the ledger's owner.")
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        _run(connection)
    engine.dispose()
