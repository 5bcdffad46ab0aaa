"""The Dagster layer on an ephemeral instance, a ledger of its own and the real bucket server; Druid is a switch.

What belongs here: the pieces that a tick or a run needs, small enough that a test takes a second.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest

from ingestion_pipeline.adapters.contract_directory import ContractDirectory
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.assets import datasource_asset, datasource_job
from ingestion_pipeline.defs.batch import CLAIM_TAG, now
from ingestion_pipeline.defs.dispatcher import Dispatcher
from ingestion_pipeline.defs.sensors import uploads_sensor
from ingestion_pipeline.settings import Settings
from ingestion_pipeline_tests.conftest import LedgerDatabase, S3Access
from ingestion_pipeline_tests.ledger import Ledger, World

CONTRACT = """
datasource: {name}
partition_start: 2020-01-01
time: {{column: at}}
columns:
  at: {{type: datetime}}
  n: {{type: integer}}
"""
GOOD_FILE = b"at,n\n2026-03-01T00:00:00Z,1\n2026-03-01T01:00:00Z,2\n"


@dataclass
class DruidSwitch:
    """As much of Druid as dispatch asks."""

    problem: str | None = None

    def unready(self) -> str | None:
        return self.problem


@dataclass
class Site:
    """One datasource with its contract, its bucket, its Dagster definitions, and a sensor that can be ticked."""

    world: World
    bucket: ObjectStore
    contracts: ContractDirectory
    instance: dg.DagsterInstance
    druid: DruidSwitch = field(default_factory=DruidSwitch)
    settings: Settings = field(default_factory=Settings)
    cursor: str | None = None
    loaded: list[Any] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.world.name

    @property
    def ledger(self) -> Ledger:
        return self.world.ledger

    def contract(self, name: str | None = None, text: str = CONTRACT) -> None:
        (self.contracts.path / f"{name or self.name}.yaml").write_text(text.format(name=name or self.name))

    def put(self, name: str = "a.csv", data: bytes = GOOD_FILE, *, day: date | None = None) -> str:
        """An upload of this site's organization; its key."""
        today = day or datetime.now(UTC).date()
        key = f"uploads/{self.name}/{self.name}/{today}/{uuid4()}/{name}"
        self.bucket.put(key, data)
        return key

    @property
    def resources(self) -> dict[str, Any]:
        return {
            "ledger": self.ledger,
            "bucket": self.bucket,
            "druid": self.druid,
            "contracts": self.contracts,
            "settings": self.settings,
        }

    def definitions(self) -> dg.Definitions:
        """What a code location that is loaded now serves."""
        book = self.contracts.book()
        assets = {name: datasource_asset(contract) for name, contract in book.contracts.items()}
        jobs = [datasource_job(asset, book.contracts[name]) for name, asset in assets.items()]
        return dg.Definitions(
            assets=list(assets.values()),
            jobs=jobs,
            sensors=[uploads_sensor(jobs, {name: found.partition_start for name, found in book.contracts.items()})],
            resources=self.resources,
            executor=dg.in_process_executor,
        )

    def reload(self) -> dg.Definitions:
        self.loaded = [self.definitions()]
        return self.loaded[0]

    @property
    def defs(self) -> dg.Definitions:
        return self.loaded[0] if self.loaded else self.reload()

    def tick(self, **changes: Any) -> Any:
        """One tick as the daemon makes it: what the sensor asks for is checked and the cursor kept."""
        self.settings = self.settings.model_copy(update=changes)
        if changes:
            self.reload()
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            definitions=self.defs,
            resources=self.resources,
            sensor_name="uploads",
        )
        result = self.defs.resolve_sensor_def("uploads").evaluate_tick(context)
        self.cursor = result.cursor
        return result

    def dispatcher(self) -> Dispatcher:
        """What the sensor makes for a tick, for tests that set the clock."""
        return Dispatcher(
            ledger=self.ledger,
            instance=self.instance,
            druid=self.druid,  # type: ignore[arg-type]
            settings=self.settings,
            datasources={self.name: date.min},
        )

    def run_of(self, request: Any, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
        """The run of a request, in a state, without executing anything."""
        run: dg.DagsterRun = self.instance.create_run_for_job(
            self.defs.resolve_job_def(request.job_name), tags={**request.tags, **tags}
        )
        self.instance.handle_new_event(_status_event(run, status))
        return run

    def run_status(self, run: dg.DagsterRun) -> dg.DagsterRunStatus:
        found = self.instance.get_run_by_id(run.run_id)
        assert found is not None
        return found.status

    def row_of(self, key: str) -> dict[str, Any]:
        (row,) = self.world.rows("SELECT * FROM ingestion_jobs WHERE object_key = %s ORDER BY created_at", key)
        return row


def _status_event(run: dg.DagsterRun, status: dg.DagsterRunStatus) -> Any:
    from dagster._core.events import PIPELINE_RUN_STATUS_TO_EVENT_TYPE, DagsterEvent
    from dagster._core.events.log import EventLogEntry

    kind = PIPELINE_RUN_STATUS_TO_EVENT_TYPE[status]
    return EventLogEntry(
        error_info=None,
        level=10,
        user_message="",
        run_id=run.run_id,
        timestamp=datetime.now(UTC).timestamp(),
        job_name=run.job_name,
        dagster_event=DagsterEvent(event_type_value=kind.value, job_name=run.job_name),
    )


def empty(bucket: ObjectStore) -> None:
    """Delete every object, those too whose names obstore cannot spell."""
    while page := bucket.list_page():
        for stored in page:
            bucket._boto.delete_object(Bucket=bucket.bucket, Key=stored.key)


def token_of(request: Any) -> str:
    token: str = request.tags[CLAIM_TAG]
    assert token == request.run_key
    return token


@pytest.fixture(scope="session")
def dagster_ledger(fresh_database: Callable[[], LedgerDatabase]) -> LedgerDatabase:
    """Apart from other tests' ledger: a sweep judges every claim that it finds."""
    return fresh_database()


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def site(dagster_ledger: LedgerDatabase, s3: S3Access, instance: dg.DagsterInstance, tmp_path: Path) -> Iterator[Site]:
    ledger = Ledger(dagster_ledger.pipeline_url)
    world = World(dagster_ledger, ledger)
    bucket = s3.store(bucket=f"{s3.bucket}-defs")
    if not bucket.ensure_bucket():
        empty(bucket)
    made = Site(world, bucket, ContractDirectory(tmp_path), instance)
    made.contract()
    # Its first sight fixes where its history ends: what a test puts is later.
    ledger.discovery.note_contracts(made.contracts.book(), now=now())
    yield made
    # A run that ended before its last op beats on, for the op that would follow.
    for thread in threading.enumerate():
        if thread.name == "heartbeat":
            thread._target.__self__._stop.set()  # type: ignore[attr-defined]
            thread.join()
    ledger.close()


@pytest.fixture
def busy(site: Site) -> Iterator[dg.DagsterInstance]:
    """An instance of the site's own, to be filled with runs."""
    with dg.DagsterInstance.ephemeral() as made:
        site.instance = made
        yield made
