"""Batches without Dagster: jobs whose cleaned objects lie in the real bucket, and the loader over real servers.

What belongs here: a run's situation before `submit`. What does not: what is expected of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import polars as pl
import zstandard

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.postgres_tables import metadata
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.attempt_work import AttemptWork
from ingestion_pipeline.defs.attempts import Loader
from ingestion_pipeline.defs.batch import Heart
from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.domain.job import Job, Staged
from ingestion_pipeline.errors import DruidRejected
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.stages.transform import CleanedText
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.ledger import World, lease_of
from ingestion_pipeline_tests.unit.contracts import contract_of

DAY = datetime(2026, 3, 1, tzinfo=UTC)
VALUES = Settings(druid_refresh_seconds=1.5, druid_proof_deadline_seconds=60)


@dataclass
class Batches:
    """One test's datasource: its contract, its corner of the ledger, its runs."""

    world: World
    bucket: ObjectStore
    druid: Druid
    contract: Contract = field(init=False)

    def __post_init__(self) -> None:
        self.contract = contract_of({"place": {"type": "string"}}, datasource=self.world.name)

    def staged(self, *files: Sequence[str], days: int = 1, text: str | None = None) -> list[Job]:
        """Jobs under one claim, each with a row per place; `text` is written instead of the first file's rows."""
        jobs = self.world.taken(*[f"{uuid4().hex}.csv" for _ in files], run_id=f"run-{uuid4().hex}")
        return [
            self.stage(job, places, days=days, text=text if position == 0 else None)
            for position, (job, places) in enumerate(zip(jobs, files, strict=True))
        ]

    def stage(self, job: Job, places: Sequence[str], *, days: int = 1, text: str | None = None) -> Job:
        """What validate and transform leave for a job: a row per place, spread over the days."""
        key = f"cleaned/{job.organization}/{job.datasource}/{job.job_id}/e{job.lease_epoch}/rows.csv.zst"
        times = [DAY + timedelta(days=position % days, seconds=position) for position in range(len(places))]
        lines = [
            f"{int(time.timestamp() * 1000)},{place},{job.job_id},{job.organization}\n"
            for time, place in zip(times, places, strict=True)
        ]
        self.bucket.put(key, zstandard.compress((text or "".join(lines)).encode()))
        staged = Staged(
            contract_version=self.contract.version,
            time_chunks=tuple(sorted({(DAY + timedelta(days=day)).isoformat() for day in range(days)})),
            parts=(key,),
            cleaned_key=key,
        )
        return self._recorded(job, staged, len(places))

    def stage_added(self, job: Job, rows: Sequence[Mapping[str, str | None]]) -> Job:
        """What they leave for a file with columns beyond the contract's; all rows have the same, and lie in one day."""
        key = f"cleaned/{job.organization}/{job.datasource}/{job.job_id}/e{job.lease_epoch}/rows.ndjson.zst"
        added = tuple(name for name in rows[0] if name != "place")
        moments = [DAY + timedelta(seconds=position) for position in range(len(rows))]
        text = CleanedText(self.contract, job_id=job.job_id, organization=job.organization)
        frame = pl.DataFrame({"at": moments, **{name: [row[name] for row in rows] for name in rows[0]}})
        self.bucket.put(key, zstandard.compress(text.ndjson(frame)))
        staged = Staged(
            contract_version=self.contract.version,
            added_columns=added,
            time_chunks=(DAY.isoformat(),),
            cleaned_key=key,
        )
        return self._recorded(job, staged, len(rows))

    def _recorded(self, job: Job, staged: Staged, rows: int) -> Job:
        jobs = metadata.tables["ingestion_jobs"]
        with self.world.ledger.engine.begin() as connection:
            connection.execute(
                jobs.update()
                .where(jobs.c.job_id == job.job_id)
                .values(staged=staged.as_dict(), rows_read=rows, rows_accepted=rows)
            )
        (row,) = self.world.ledger.jobs.rows_of([job.job_id])
        return row

    def work(self, jobs: Sequence[Job], *, kind: type[AttemptWork] = AttemptWork, **changes: Any) -> AttemptWork:
        """What the run of these jobs works with."""
        heart = Heart(self.world.ledger, {job.job_id: lease_of(job) for job in jobs}, 3600)
        values: dict[str, Any] = {
            "ledger": self.world.ledger,
            "bucket": self.bucket,
            "druid": self.druid,
            "values": VALUES,
            "heart": heart,
            "run_id": jobs[0].job_id,
        }
        return kind(**(values | changes))

    def load(self, jobs: Sequence[Job], **changes: Any) -> AttemptWork:
        """Load as `submit` does."""
        work = self.work(jobs, **changes)
        Loader(work).load(jobs, self.contract)
        return work

    def outcomes(self, jobs: Sequence[Job]) -> list[str]:
        return [str(self.world.row(job.job_id)["outcome"]) for job in jobs]

    def counted(self) -> dict[str, int]:
        """Rows by job in Druid."""
        rows = self.druid.query(f'SELECT "__job_id" AS job, COUNT(*) AS n FROM "{self.world.name}" GROUP BY 1')
        return {row["job"]: row["n"] for row in rows}

    def counted_or_none(self) -> dict[str, int]:
        """The same where the datasource may not exist."""
        try:
            return self.counted()
        except DruidRejected as error:
            if "not found" not in str(error):
                raise
            return {}


def batches_of(database: LedgerDatabase, bucket: ObjectStore, druid: Druid) -> Batches:
    return Batches(World(database, Ledger(database.pipeline_url)), bucket, druid)
