"""Views of the session's stack for integration tests: a Druid client, and objects that Druid can read.

What belongs here: fixtures of this package. What does not: starting the stack (`ingestion_pipeline_tests.conftest`).
"""

from collections.abc import Callable, Iterator
from functools import partial
from uuid import uuid4

import pytest

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.embedded.stack import Stack
from ingestion_pipeline_tests.conftest import S3Access
from ingestion_pipeline_tests.integration.druid_table import Table


@pytest.fixture(scope="session")
def druid_client(druid: Stack) -> Iterator[Druid]:
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
    store = ObjectStore(
        bucket=s3.bucket,
        endpoint_url=s3.endpoint_url,
        region=s3.region,
        access_key_id=s3.access_key_id,
        secret_access_key=s3.secret_access_key,
    )

    def put(suffix: str, data: bytes) -> str:
        key = f"cleaned/druid-tests/{uuid4()}.{suffix}"
        store.put(key, data)
        return store.presign_get(key, seconds=3600)

    return put


@pytest.fixture
def new_table(druid: Stack, druid_client: Druid, signed_object: Callable[[str, bytes], str]) -> Callable[..., Table]:
    """Makes a datasource of its own for each call."""
    variables = druid.environment()
    urls = {name: variables[f"INGESTION_DRUID_{name.upper()}_URL"] for name in ("coordinator", "overlord", "broker")}
    return partial(Table, druid_client, urls, signed_object)
