"""The code location of the tests' stack: the pipeline's own definitions over adapters that can be struck.

What belongs here: where faults may strike. What does not: behaviour; nothing differs from
`ingestion_pipeline.definitions` unless a test arms a fault.
"""

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal

import dagster as dg
from pydantic import SecretStr

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.postgres_attempts import Attempts
from ingestion_pipeline.adapters.postgres_jobs import Jobs
from ingestion_pipeline.adapters.postgres_work import Work
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.definitions import build_defs
from ingestion_pipeline.defs import resources
from ingestion_pipeline.domain.job import Attempt, Lease, Outcome
from ingestion_pipeline.settings import Settings
from ingestion_pipeline_tests.guarantees.faults import any_armed, holds, strike


class FaultyObjectStore(ObjectStore):
    def read(self, key: str, *, if_match: str | None = None) -> Iterator[bytes]:
        for chunk in super().read(key, if_match=if_match):
            while holds("hold_reading") and "held" in key:
                time.sleep(0.1)
            yield chunk
            # `exports/<datasource>/...`, or `uploads/<organization>/<datasource>/...`.
            strike("reading", key.split("/")[2 if key.startswith("uploads/") else 1])


class FaultyBucketResource(resources.BucketResource):
    def create_resource(self, context: dg.InitResourceContext) -> ObjectStore:
        values = resources.settings()
        if holds("wrong_secret"):
            values = values.model_copy(update={"s3_secret_access_key": SecretStr("not-the-secret")})
        if holds("absent_bucket"):
            values = values.model_copy(update={"s3_bucket": "no-such-bucket"})
        return FaultyObjectStore.from_settings(values)


class FaultyDruid(Druid):
    def submit(self, spec: Mapping[str, Any]) -> Literal["accepted", "exists"]:
        datasource = spec["spec"]["dataSchema"]["dataSource"]
        strike("before_post", datasource)
        answer = super().submit(spec)
        strike("after_post", datasource)
        return answer

    def unready(self) -> str | None:
        return "A test holds dispatch." if holds("hold_dispatch") else super().unready()


class FaultyDruidResource(resources.DruidResource):
    def connect(self, values: Settings) -> Druid:
        return FaultyDruid(
            coordinator_url=values.druid_coordinator_url,
            overlord_url=values.druid_overlord_url,
            broker_url=values.druid_broker_url,
        )


class FaultyAttempts(Attempts):
    def save(self, attempt: Attempt, **rest: Any) -> None:
        super().save(attempt, **rest)
        strike("after_save", attempt.datasource)

    def plan(self, attempt: Attempt, **rest: Any) -> dict[str, Any]:
        spec = super().plan(attempt, **rest)
        strike("after_plan", attempt.datasource)
        return spec


class FaultyWork(Work):
    def complete(self, lease: Lease, outcome: Outcome, **rest: Any) -> None:
        if any_armed("before_complete"):
            (job,) = Jobs(self._engine).rows_of([lease.job_id])
            strike("before_complete", job.datasource)
        super().complete(lease, outcome, **rest)


class FaultyLedger(Ledger):
    @cached_property
    def attempts(self) -> Attempts:
        return FaultyAttempts(self.engine)

    @cached_property
    def work(self) -> Work:
        return FaultyWork(self.engine)


class FaultyLedgerResource(resources.LedgerResource):
    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[Ledger, None, None]:
        ledger = FaultyLedger(resources.settings().ledger_url.get_secret_value())
        try:
            yield ledger
        finally:
            ledger.close()


defs = build_defs({"bucket": FaultyBucketResource(), "druid": FaultyDruidResource(), "ledger": FaultyLedgerResource()})
