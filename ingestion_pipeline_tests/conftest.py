"""Fixtures that start the real stack, once a session and only as far as a test asks for it.

What belongs here: the one `Stack` of the session and the views of it (`postgres`, `s3`, `stack`, `system`). What
does not: data and helpers of single test packages. All fixtures share one stack on free ports in a temporary
directory: asking for `postgres` starts PostgreSQL alone (seconds), asking for `stack` later adds the rest
to the same servers.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import settings as hypothesis_settings

from ingestion_pipeline.embedded import postgres as embedded_postgres
from ingestion_pipeline.embedded.stack import DRUID, Stack
from ingestion_pipeline_tests.extent import LONG
from ingestion_pipeline_tests.guarantees.surroundings import stack_options

if TYPE_CHECKING:
    from ingestion_pipeline.adapters.druid import Druid
    from ingestion_pipeline.adapters.s3 import ObjectStore
    from ingestion_pipeline_tests.guarantees.system import System

# Property tests judge answers, not a busy machine's speed. Continuous integration tries the same examples every time,
# so that a change is judged by what it changes; everybody else's runs look for new ones.
hypothesis_settings.register_profile("search", deadline=None, max_examples=50)
hypothesis_settings.register_profile("repeat", deadline=None, max_examples=50, derandomize=True)
hypothesis_settings.register_profile("long", deadline=None, max_examples=1000)
hypothesis_settings.load_profile("long" if LONG else "repeat" if os.environ.get("CI") else "search")


@dataclass(frozen=True)
class LedgerDatabase:
    """A migrated database on the real PostgreSQL; URLs are SQLAlchemy's, with passwords."""

    name: str
    owner_url: str
    pipeline_url: str
    api_url: str
    superuser_dsn: str
    """For psycopg, not SQLAlchemy: the superuser's view, past row-level security."""


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The session's stack, with nothing started yet."""
    root = tmp_path_factory.mktemp("stack")
    stack = Stack(root, use_free_ports=True, **stack_options(tmp_path_factory.mktemp("surroundings")))
    yield stack
    stack.down()


@pytest.fixture(scope="session")
def fresh_database(embedded: Stack) -> Callable[[], LedgerDatabase]:
    """Makes a new, empty, migrated database at every call."""
    from ingestion_pipeline.adapters.postgres_migrate import migrate

    embedded.up(only=["postgres"])
    site, numbers = embedded.site, count(1)

    def make() -> LedgerDatabase:
        name = f"ledger_{next(numbers)}"
        embedded_postgres.make_database(site, name)
        database = LedgerDatabase(
            name=name,
            owner_url=embedded_postgres.url(site, "owner", name),
            pipeline_url=embedded_postgres.url(site, "pipeline", name),
            api_url=embedded_postgres.url(site, "api", name),
            superuser_dsn=embedded_postgres.url(site, "postgres", name, driver="postgresql"),
        )
        migrate(database.owner_url)
        return database

    return make


@pytest.fixture(scope="session")
def postgres(fresh_database: Callable[[], LedgerDatabase]) -> LedgerDatabase:
    """One migrated database for the session; tests keep apart by organization or datasource names."""
    return fresh_database()


@dataclass(frozen=True)
class S3Access:
    """The real SeaweedFS with its bucket."""

    endpoint_url: str
    region: str
    bucket: str
    access_key_id: str
    secret_access_key: str

    def store(self, **overrides: Any) -> "ObjectStore":
        """The pipeline's own view of the bucket."""
        from ingestion_pipeline.adapters.s3 import ObjectStore

        return ObjectStore(**(asdict(self) | overrides))


@pytest.fixture(scope="session")
def s3(embedded: Stack) -> S3Access:
    """A real S3 server with an existing bucket."""
    embedded.up(only=["s3"])
    variables = embedded.environment()
    return S3Access(
        endpoint_url=variables["INGESTION_S3_ENDPOINT_URL"],
        region=variables["INGESTION_S3_REGION"],
        bucket=variables["INGESTION_S3_BUCKET"],
        access_key_id=variables["INGESTION_S3_ACCESS_KEY_ID"],
        secret_access_key=variables["INGESTION_S3_SECRET_ACCESS_KEY"],
    )


@pytest.fixture(scope="session")
def druid(embedded: Stack) -> Stack:
    """The session's stack with Druid running."""
    embedded.up(only=DRUID)
    return embedded


@pytest.fixture(scope="session")
def druid_client(druid: Stack) -> Iterator["Druid"]:
    from ingestion_pipeline.adapters.druid import Druid

    variables = druid.environment()
    with Druid(
        coordinator_url=variables["INGESTION_DRUID_COORDINATOR_URL"],
        overlord_url=variables["INGESTION_DRUID_OVERLORD_URL"],
        broker_url=variables["INGESTION_DRUID_BROKER_URL"],
    ) as connected:
        yield connected


@pytest.fixture(scope="session")
def signed_object(s3: S3Access) -> Callable[[str, bytes], str]:
    """Puts an object and signs a URL for it."""
    store = s3.store()

    def put(suffix: str, data: bytes) -> str:
        key = f"cleaned/druid-tests/{uuid4()}.{suffix}"
        store.put(key, data)
        return store.presign_get(key, seconds=3600)

    return put


@pytest.fixture(scope="session")
def stack(embedded: Stack) -> Stack:
    """The session's stack, everything running."""
    embedded.up()
    return embedded


@pytest.fixture(scope="session")
def system(stack: Stack) -> Iterator["System"]:
    """The running stack with an organization and every contract seen: ready for files."""
    from ingestion_pipeline_tests.guarantees.system import System

    system = System(stack)
    system.get_ready()
    yield system
    system.close()
