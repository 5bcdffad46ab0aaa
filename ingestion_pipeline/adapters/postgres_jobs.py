"""What people and programs read from the ledger: jobs, their events, a day's totals."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import transaction
from ingestion_pipeline.domain.job import Cause, Job, Lane, Priority, Staged, Status

JOB_COLUMNS = """
    j.job_id, j.organization, j.datasource, j.bucket, j.object_key, j.version_id, j.etag, j.size_bytes,
    j.last_modified, j.partition_day, j.status, j.cause, j.lane, j.priority, j.lease_epoch, j.tries, j.retry_count,
    j.attempt_id, j.outcome, j.rows_read, j.rows_accepted, j.rows_rejected, j.rows_filtered, j.rows_queryable,
    j.content_hash, j.created_at, j.parent_job_id, j.replaces_job_id, j.outage_since, j.cancel_requested_at, j.staged,
    j.result, j.error_message, j.warnings
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayTotals:
    """A partition day in the ledger, whatever runs made it."""

    files: int
    completed: int
    failed: int
    waiting: int
    rows_accepted: int
    rows_rejected: int
    rows_queryable: int


class Jobs:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def get(self, job_id: str) -> dict[str, Any] | None:
        """Every column of one job, and its events; None when there is no such job.

        Args:
            job_id: The id, or an unambiguous beginning of it (4 characters or more).
        """
        with transaction(self._engine) as connection:
            rows = (
                connection.execute(
                    sa.text(
                        "SELECT * FROM ingestion_jobs WHERE job_id::text LIKE :prefix LIMIT 2"
                        if len(job_id) < 36
                        else "SELECT * FROM ingestion_jobs WHERE job_id::text = :exact"
                    ),
                    {"prefix": job_id.replace("%", "").replace("_", "") + "%"}
                    if len(job_id) < 36
                    else {"exact": job_id},
                )
                .mappings()
                .all()
            )
            if len(rows) != 1:
                return None
            job = dict(rows[0])
            job["job_id"] = str(job["job_id"])
            events = connection.execute(
                sa.text(
                    "SELECT seq, from_status, to_status, outcome, run_id, attempt_id, details, created_at "
                    "FROM job_events WHERE job_id = CAST(:id AS uuid) ORDER BY seq"
                ),
                {"id": job["job_id"]},
            )
            job["events"] = [dict(event) for event in events.mappings()]
            return job

    def latest(
        self,
        *,
        organization: str | None = None,
        datasource: str | None = None,
        status: Sequence[str] = (),
        bucket: str | None = None,
        object_key: str | None = None,
        key_contains: str | None = None,
        since: datetime | None = None,
        job_ids: Sequence[str] | None = None,
        id_prefix: str | None = None,
        limit: int = 50,
    ) -> list[dict[str, Any]]:
        """Jobs, newest first, with what a table shows; every condition narrows."""
        conditions, parameters = ["true"], {"limit": limit}
        given: dict[str, tuple[str, Any]] = {
            "organization": ("organization = :organization", organization),
            "datasource": ("datasource = :datasource", datasource),
            "status": ("status = ANY(:status)", list(status) or None),
            "bucket": ("bucket = :bucket", bucket),
            "object_key": ("object_key = :object_key", object_key),
            "key": ("position(:key in object_key) > 0", key_contains),
            "since": ("created_at >= :since", since),
            "job_ids": ("job_id = ANY(CAST(:job_ids AS uuid[]))", None if job_ids is None else list(job_ids)),
            "id_prefix": ("starts_with(job_id::text, :id_prefix)", id_prefix),
        }
        for name, (condition, value) in given.items():
            if value is not None:
                conditions.append(condition)
                parameters[name] = value
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text(f"""
SELECT job_id::text AS job_id, organization, datasource, object_key, file_name, size_bytes, status, outcome, step,
       progress_percent, progress, rows_read, rows_accepted, rows_rejected, rows_filtered, rows_queryable, lane,
       priority, partition_day, tries, retry_count, next_try_at, waiting_reason, error_code, error_message,
       error_retryable, cause, parent_job_id::text AS parent_job_id, replaces_job_id::text AS replaces_job_id,
       result ->> 'replaced_by' AS replaced_by,
       run_id, attempt_id, created_at, arrived_at, started_at, finished_at, updated_at
FROM ingestion_jobs WHERE {" AND ".join(conditions)}
ORDER BY created_at DESC, job_id LIMIT :limit
"""),
                parameters,
            )
            return [dict(row) for row in rows.mappings()]

    def newest_of_keys(self, bucket: str, keys: Sequence[str], *, datasource: str) -> dict[str, Job]:
        """The newest job of each key that is about loading it, in any status."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text(f"""
SELECT DISTINCT ON (j.object_key) {JOB_COLUMNS}
FROM ingestion_jobs j
WHERE j.bucket = :bucket AND j.object_key = ANY(:keys) AND j.datasource = :datasource AND j.cause <> 'undo'
ORDER BY j.object_key, j.last_modified DESC NULLS LAST, j.created_at DESC
"""),
                {"bucket": bucket, "keys": list(keys), "datasource": datasource},
            )
            return {row.object_key: job_from_row(row) for row in rows}

    def loaded_version(self, job: Job) -> Job | None:
        """The newest job that loaded another version of this job's key, for the same organization."""
        with transaction(self._engine) as connection:
            row = connection.execute(
                sa.text(f"""
SELECT {JOB_COLUMNS} FROM ingestion_jobs j
WHERE j.bucket = :bucket AND j.object_key = :key AND j.datasource = :datasource
  AND j.organization = :organization AND j.job_id <> CAST(:job_id AS uuid)
  AND j.status = 'completed' AND j.outcome IN ('loaded', 'loaded_with_rejects')
ORDER BY j.last_modified DESC, j.created_at DESC LIMIT 1
"""),
                {
                    "bucket": job.bucket,
                    "key": job.object_key,
                    "datasource": job.datasource,
                    "organization": job.organization,
                    "job_id": job.job_id,
                },
            ).first()
            return job_from_row(row) if row else None

    def retry_of(self, job: Job, *, job_id: str, now: datetime) -> None:
        """A new row that tries a failed upload again; the failed one stays as it ended."""
        with transaction(self._engine) as connection:
            connection.execute(
                sa.text("""
INSERT INTO ingestion_jobs (
    job_id, organization, datasource, bucket, object_key, version_id, etag, size_bytes, last_modified, file_name,
    uploaded_by, cause, parent_job_id, replaces_job_id, lane, priority, partition_day, warnings, created_at, arrived_at)
SELECT CAST(:job_id AS uuid), organization, datasource, bucket, object_key, version_id, etag, size_bytes,
       last_modified, file_name, uploaded_by, 'retry', job_id, replaces_job_id, 'live', priority, partition_day,
       warnings, :now, :now
FROM ingestion_jobs WHERE job_id = CAST(:parent AS uuid)
"""),
                {"job_id": job_id, "parent": job.job_id, "now": now},
            )

    def rows_of(self, job_ids: Sequence[str]) -> list[Job]:
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text(
                    f"SELECT {JOB_COLUMNS} FROM ingestion_jobs j "
                    "WHERE j.job_id = ANY(CAST(:ids AS uuid[])) ORDER BY j.created_at, j.job_id"
                ),
                {"ids": list(job_ids)},
            )
            return [job_from_row(row) for row in rows]

    def day_totals(self, datasource: str, days: Sequence[date]) -> DayTotals:
        """What the ledger holds for these partition days."""
        with transaction(self._engine) as connection:
            row = connection.execute(
                sa.text("""
SELECT count(*) AS files,
       count(*) FILTER (WHERE status = 'completed') AS completed,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status IN ('pending', 'processing', 'retrying')) AS waiting,
       coalesce(sum(rows_accepted) FILTER (WHERE outcome IN ('loaded', 'loaded_with_rejects')), 0) AS rows_accepted,
       coalesce(sum(rows_rejected), 0) AS rows_rejected,
       coalesce(sum(rows_queryable), 0) AS rows_queryable
FROM ingestion_jobs WHERE datasource = :datasource AND partition_day = ANY(:days)
"""),
                {"datasource": datasource, "days": list(days)},
            ).one()
            return DayTotals(**{name: int(value) for name, value in row._mapping.items()})

    def dependency_problems(self) -> dict[str, tuple[str, datetime]]:
        """Outside systems that dispatch waits for: name -> (what is wrong, since when)."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text("SELECT name, problem, since FROM dependencies WHERE problem IS NOT NULL")
            )
            return {row.name: (row.problem, row.since) for row in rows}


def job_from_row(row: Any) -> Job:
    """A `Job` from a row that selected JOB_COLUMNS."""
    return Job(
        job_id=str(row.job_id),
        organization=row.organization,
        datasource=row.datasource,
        bucket=row.bucket,
        object_key=row.object_key,
        version_id=row.version_id,
        etag=row.etag,
        size_bytes=row.size_bytes,
        last_modified=row.last_modified,
        partition_day=row.partition_day,
        status=Status(row.status),
        cause=Cause(row.cause),
        lane=Lane(row.lane),
        priority=Priority(row.priority),
        lease_epoch=row.lease_epoch,
        tries=row.tries,
        retry_count=row.retry_count,
        attempt_id=row.attempt_id,
        outcome=row.outcome,
        rows_read=row.rows_read,
        rows_accepted=row.rows_accepted,
        rows_rejected=row.rows_rejected,
        rows_filtered=row.rows_filtered,
        rows_queryable=row.rows_queryable,
        content_hash=row.content_hash,
        created_at=row.created_at,
        parent_job_id=str(row.parent_job_id) if row.parent_job_id else None,
        replaces_job_id=str(row.replaces_job_id) if row.replaces_job_id else None,
        outage_since=row.outage_since,
        cancel_requested=row.cancel_requested_at is not None,
        staged=Staged.from_dict(row.staged) if row.staged else None,
        result=row.result or {},
        error_message=row.error_message,
        warnings=tuple(row.warnings or ()),
    )
