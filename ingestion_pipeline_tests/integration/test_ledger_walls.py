"""Walls between tenants, on the database that the migrations make: roles, policies, grants."""

from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg import sql

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.postgres_arrivals import ArrivalEvent
from ingestion_pipeline.adapters.postgres_migrate import alembic_config, migrate
from ingestion_pipeline.adapters.postgres_tables import metadata
from ingestion_pipeline.domain.callback import Answer
from ingestion_pipeline_tests.callbacks import Outbox
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.ledger import World

WALLED = (
    "organizations",
    "ingestion_jobs",
    "job_events",
    "attempt_jobs",
    "arrival_events",
    "callback_endpoints",
    "callback_deliveries",
    "callback_tries",
)
HIDDEN = ("druid_attempts", "unmatched_objects", "datasources", "dependencies", "callback_secrets", "upkeep")


def dsn(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def call_back(world: World) -> None:
    """An endpoint with a delivery that was tried."""
    outbox = Outbox(world)
    endpoint = outbox.endpoint()
    outbox.tried(endpoint, Answer(status=500))


@pytest.fixture
def mine(postgres: LedgerDatabase) -> Iterator[World]:
    ledger = Ledger(postgres.pipeline_url)
    world = World(postgres, ledger)
    call_back(world)
    world.freeze(world.taken("a.csv"))
    note_late(world)
    yield world
    ledger.close()


@pytest.fixture
def theirs(mine: World) -> World:
    world = World(mine.database, mine.ledger)
    call_back(world)
    world.freeze(world.taken("b.csv"))
    note_late(world)
    return world


@pytest.fixture
def api(postgres: LedgerDatabase) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn(postgres.api_url), autocommit=True) as connection:
        yield connection


def note_late(world: World) -> None:
    event = ArrivalEvent(datasource=world.name, organization=world.name, period="2026-03-01", kind="late", details={})
    world.ledger.arrivals.note(world.name, [event], now=world.now)


def seen(connection: psycopg.Connection, table: str) -> set[str]:
    query = sql.SQL("SELECT DISTINCT organization FROM {}").format(sql.Identifier(table))
    return {row[0] for row in connection.execute(query)}


def test_every_table_is_behind_a_wall(mine: World) -> None:
    rows = mine.rows(
        "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class "
        "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'"
    )
    assert {row["relname"] for row in rows} == {*WALLED, *HIDDEN}
    assert all(row["relrowsecurity"] and row["relforcerowsecurity"] for row in rows)
    with_organization = mine.rows(
        "SELECT table_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND column_name = 'organization'"
    )
    assert {row["table_name"] for row in with_organization} == set(WALLED)


@pytest.mark.parametrize("table", WALLED)
def test_the_api_sees_one_organization_at_a_time_and_none_without_saying_which(
    api: psycopg.Connection, mine: World, theirs: World, table: str
) -> None:
    assert seen(api, table) == set()
    for world in (mine, theirs):
        with api.transaction():
            api.execute("SELECT set_config('ingestion.organization', %s, true)", [world.name])
            assert seen(api, table) == {world.name}
    assert seen(api, table) == set(), "the setting ends with its transaction"


@pytest.mark.parametrize("table", HIDDEN)
def test_the_api_cannot_read_what_is_everybodys(api: psycopg.Connection, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        api.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))


@pytest.mark.parametrize("table", [*WALLED, *HIDDEN])
@pytest.mark.parametrize("statement", ["INSERT INTO {} DEFAULT VALUES", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_the_api_writes_nothing(api: psycopg.Connection, mine: World, table: str, statement: str) -> None:
    api.execute("SELECT set_config('ingestion.organization', %s, false)", [mine.name])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        api.execute(sql.SQL(statement).format(sql.Identifier(table)))  # type: ignore[arg-type]


def test_the_api_cannot_change_a_job(api: psycopg.Connection, mine: World) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        api.execute("UPDATE ingestion_jobs SET priority = 0")


@pytest.mark.parametrize(
    "statement", ["SET ROLE pipeline", "SET ROLE owner", "SET row_security = off; SELECT * FROM ingestion_jobs"]
)
def test_the_api_cannot_become_another(api: psycopg.Connection, mine: World, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        api.execute(statement)  # type: ignore[arg-type]


def test_neither_role_owns_a_table_or_bypasses_its_wall(mine: World) -> None:
    roles = mine.rows(
        "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles "
        "WHERE rolname IN ('pipeline', 'api')"
    )
    assert [set(row.values()) - {"pipeline", "api"} for row in roles] == [{False}, {False}]
    owners = mine.rows("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert owners == [{"tableowner": "owner"}]


@pytest.mark.parametrize("table", [*WALLED, *HIDDEN])
def test_the_walls_bind_the_owner_too(mine: World, table: str) -> None:
    with psycopg.connect(dsn(mine.database.owner_url)) as owner:
        assert owner.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))).fetchall() == []


def test_what_happened_cannot_be_rewritten_by_the_pipeline(mine: World) -> None:
    with (
        psycopg.connect(dsn(mine.database.pipeline_url)) as pipeline,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        pipeline.execute("UPDATE job_events SET to_status = 'failed'")


@pytest.mark.parametrize("table", ["job_events", "attempt_jobs", "druid_attempts", "ingestion_jobs"])
def test_what_is_younger_than_400_days_cannot_be_deleted_by_the_pipeline(mine: World, table: str) -> None:
    with psycopg.connect(dsn(mine.database.pipeline_url), autocommit=True) as pipeline:
        assert pipeline.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table))).rowcount == 0


def test_the_api_cannot_connect_to_dagster_s_database(mine: World) -> None:
    (row,) = mine.rows("SELECT count(*) AS found FROM pg_database WHERE datname = 'dagster'")
    assert row["found"] == 1
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(dsn(mine.database.api_url).rsplit("/", 1)[0] + "/dagster")


def test_the_tables_in_the_code_are_those_that_the_migrations_make(postgres: LedgerDatabase) -> None:
    engine = sa.create_engine(postgres.owner_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_a_schema_that_was_taken_down_can_be_made_again(fresh_database: object) -> None:
    database: LedgerDatabase = fresh_database()  # type: ignore[operator]
    engine = sa.create_engine(database.owner_url)
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
    with engine.connect() as connection:
        assert set(sa.inspect(connection).get_table_names()) == {"alembic_version"}
    engine.dispose()
    migrate(database.owner_url)
    migrate(database.owner_url)
    ledger = Ledger(database.pipeline_url)
    assert World(database, ledger).job()
    ledger.close()
