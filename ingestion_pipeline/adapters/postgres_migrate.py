"""Bring a database to the newest schema. Run as the ledger's owner, never by a run or a tick."""

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from ingestion_pipeline.adapters.postgres import engine_of
from ingestion_pipeline.errors import ConfigurationError, LedgerUnavailable


def alembic_config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", "ingestion_pipeline:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def migrate(owner_url: str, *, revision: str = "head") -> None:
    """Upgrade the ledger's schema; does nothing when it is current. Concurrent callers wait for each other.

    Args:
        owner_url: SQLAlchemy URL of the role that owns the database.

    Raises:
        LedgerUnavailable: PostgreSQL does not answer.
        ConfigurationError: It is no such URL, or the owner may not do what the migration needs.
    """
    engine = engine_of(owner_url, setting="INGESTION_LEDGER_OWNER_URL")
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('ingestion-pipeline migrations'))"))
            command.upgrade(alembic_config(connection), revision)
    except sa.exc.OperationalError as error:
        raise LedgerUnavailable(
            f"The ledger's database does not answer: {_first_line(error)}.", hint="Is PostgreSQL running?"
        ) from error
    except sa.exc.ProgrammingError as error:
        raise ConfigurationError(
            f"The ledger cannot be migrated: {_first_line(error)}.",
            hint="Run migrations as the owner; it needs CREATEROLE unless roles pipeline and api exist already.",
        ) from error
    finally:
        engine.dispose()


def _first_line(error: sa.exc.DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0].rstrip(".")
