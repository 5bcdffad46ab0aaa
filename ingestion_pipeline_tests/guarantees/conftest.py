"""Datasources of their own on the real Druid, for tests of what a replace may change.

What belongs here: fixtures of this package. What does not: starting the stack (`ingestion_pipeline_tests.conftest`).
"""

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.embedded.stack import Stack
from ingestion_pipeline_tests.guarantees import druid_table
from ingestion_pipeline_tests.guarantees.druid_table import Holder, Table


@pytest.fixture
def new_table(druid: Stack, druid_client: Druid, signed_object: Callable[[str, bytes], str]) -> Callable[..., Table]:
    """Makes a datasource of its own for each call."""
    variables = druid.environment()
    urls = {name: variables[f"INGESTION_DRUID_{name.upper()}_URL"] for name in ("coordinator", "overlord", "broker")}
    return partial(Table, druid_client, urls, signed_object)


@pytest.fixture
def holder() -> Iterator[Holder]:
    """Serves objects that Druid can open and not read to their end before they are released."""
    with druid_table.holder() as server:
        yield server
