"""PostgreSQL of the embedded stack: walls between roles."""

import psycopg
import pytest

from ingestion_pipeline_tests.conftest import LedgerDatabase


def test_every_role_reaches_the_migrated_database(postgres: LedgerDatabase) -> None:
    for url in (postgres.owner_url, postgres.pipeline_url, postgres.api_url):
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            row = connection.execute(
                "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
            assert row == (False, False)


def test_api_cannot_connect_to_dagsters_database(postgres: LedgerDatabase) -> None:
    url = postgres.api_url.replace("+psycopg", "").rsplit("/", 1)[0] + "/dagster"
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(url)
