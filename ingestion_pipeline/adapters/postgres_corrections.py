"""Corrections in the ledger: whose rows a job takes out, and the rows that replay, undo and resubmit begin with."""

from collections.abc import Sequence
from datetime import date, datetime

import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import transaction
from ingestion_pipeline.adapters.postgres_jobs import JOB_COLUMNS, job_from_row
from ingestion_pipeline.domain.job import Cause, Job, Lane, Priority

HOLDS_ROWS = """
    (j.outcome IN ('loaded', 'loaded_with_rejects')
     OR (j.outcome IN ('unproved', 'duplicated') AND NOT jsonb_exists(j.result, 'replaced_by')))
"""

# Jobs with rows, among the base and everything made from it; and, for all but an undo, what was uploaded in its place:
# an undo is about this job's rows, a new version about the file.
_HOLDERS_OF_BASE = f"""
, family AS (
    SELECT by_job, job_id, undoes FROM base
    UNION
    SELECT f.by_job, c.job_id, f.undoes
    FROM family f JOIN ingestion_jobs c
      ON (c.parent_job_id = f.job_id OR (c.replaces_job_id = f.job_id AND NOT f.undoes)) AND c.cause <> 'undo'
)
SELECT f.by_job, f.job_id
FROM family f JOIN ingestion_jobs j ON j.job_id = f.job_id
WHERE {HOLDS_ROWS}
"""
# What is ordered (`upload --replaces`, `undo`), or a version of the key, or what such a version was ordered to replace
# before a newer one came.
HOLDERS = sa.text(f"""
WITH RECURSIVE base AS (
    SELECT m.job_id AS by_job, m.replaces_job_id AS job_id, m.cause = 'undo' AS undoes
    FROM ingestion_jobs m
    WHERE m.job_id = ANY(CAST(:ids AS uuid[])) AND m.replaces_job_id IS NOT NULL
    UNION
    SELECT m.job_id, v.job_id, false
    FROM ingestion_jobs m
    JOIN ingestion_jobs j ON j.bucket = m.bucket AND j.object_key = m.object_key AND j.datasource = m.datasource
        AND j.organization = m.organization AND j.job_id <> m.job_id AND j.cause <> 'undo'
    CROSS JOIN LATERAL (
        VALUES (j.job_id), (CASE WHEN j.outcome = 'superseded' THEN j.replaces_job_id END)) AS v(job_id)
    WHERE m.job_id = ANY(CAST(:ids AS uuid[])) AND m.cause <> 'undo' AND v.job_id IS NOT NULL
) {_HOLDERS_OF_BASE} AND f.by_job <> f.job_id
""")

# The same for orders that are not entered yet: an undo is about the job itself, a replay about all of its key.
_HOLDERS_IF = {
    Cause.UNDO: sa.text(f"""
WITH RECURSIVE base AS (
    SELECT m.job_id AS by_job, m.job_id, true AS undoes FROM ingestion_jobs m WHERE m.job_id = ANY(CAST(:ids AS uuid[]))
) {_HOLDERS_OF_BASE}
"""),
    Cause.REPLAY: sa.text(f"""
WITH RECURSIVE base AS (
    SELECT m.job_id AS by_job, j.job_id, false AS undoes
    FROM ingestion_jobs m
    JOIN ingestion_jobs j ON j.bucket = m.bucket AND j.object_key = m.object_key AND j.datasource = m.datasource
        AND j.organization = m.organization AND j.cause <> 'undo'
    WHERE m.job_id = ANY(CAST(:ids AS uuid[]))
    UNION
    SELECT m.job_id, m.replaces_job_id, false
    FROM ingestion_jobs m
    WHERE m.job_id = ANY(CAST(:ids AS uuid[])) AND m.replaces_job_id IS NOT NULL
) {_HOLDERS_OF_BASE}
"""),
}

_NEW = """
INSERT INTO ingestion_jobs (
    job_id, organization, datasource, bucket, object_key, version_id, etag, size_bytes, last_modified, file_name,
    content_type, uploaded_by, cause, parent_job_id, replaces_job_id, lane, priority, partition_day, warnings,
    upload_url, created_at, arrived_at)
SELECT u.new_id, organization, datasource, bucket, object_key, version_id, etag, size_bytes, last_modified, file_name,
       content_type, :user, :cause, j.job_id,
       -- What was to replace another job's rows, and has not, is to do so when it is loaded again.
       CASE WHEN :cause = 'undo' THEN j.job_id ELSE (
           SELECT r.job_id FROM ingestion_jobs r
           WHERE r.job_id = j.replaces_job_id AND NOT jsonb_exists(r.result, 'replaced_by')) END,
       :lane, :priority, partition_day, warnings, upload_url, :now, :now
FROM ingestion_jobs j
JOIN unnest(CAST(:ids AS uuid[]), CAST(:new_ids AS uuid[])) AS u(job_id, new_id) USING (job_id)
"""


class Corrections:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def holders(self, jobs: Sequence[Job]) -> dict[str, set[str]]:
        """Per job: the jobs with rows in Druid whose place it takes, families included."""
        found: dict[str, set[str]] = {job.job_id: set() for job in jobs}
        with transaction(self._engine) as connection:
            for row in connection.execute(HOLDERS, {"ids": list(found)}):
                found[str(row.by_job)].add(str(row.job_id))
        return found

    def would_remove(self, cause: Cause, job_ids: Sequence[str]) -> dict[str, set[str]]:
        """Per job: those whose rows would go if this were ordered about it now; itself and families included."""
        found: dict[str, set[str]] = {job_id: set() for job_id in job_ids}
        with transaction(self._engine) as connection:
            for row in connection.execute(_HOLDERS_IF[cause], {"ids": list(found)}):
                found[str(row.by_job)].add(str(row.job_id))
        return found

    def same_content(self, job: Job, content_hash: str) -> Job | None:
        """A job of the organization that has loaded these very bytes from another key of the datasource."""
        with transaction(self._engine) as connection:
            row = connection.execute(
                sa.text(f"""
SELECT {JOB_COLUMNS} FROM ingestion_jobs j
WHERE j.content_hash = :hash AND j.datasource = :datasource AND j.organization = :organization
  AND j.outcome IN ('loaded', 'loaded_with_rejects') AND (j.bucket, j.object_key) <> (:bucket, :key)
ORDER BY j.created_at LIMIT 1
"""),
                {
                    "hash": content_hash,
                    "datasource": job.datasource,
                    "organization": job.organization,
                    "bucket": job.bucket,
                    "key": job.object_key,
                },
            ).first()
            return job_from_row(row) if row else None

    def begin(
        self,
        cause: Cause,
        jobs: Sequence[str],
        *,
        new_ids: Sequence[str],
        now: datetime,
        user: str | None = None,
        lane: Lane = Lane.LIVE,
        priority: Priority = Priority.MEDIUM,
    ) -> list[str]:
        """New rows that replay, undo or try again these jobs' uploads; the old ones stay as they ended.

        Args:
            new_ids: One fresh id per job, in order.
        """
        with transaction(self._engine) as connection:
            made = connection.execute(
                sa.text(f"{_NEW} RETURNING job_id"),
                {
                    "cause": cause.value,
                    "ids": list(jobs),
                    "new_ids": list(new_ids),
                    "now": now,
                    "user": user,
                    "lane": lane.value,
                    "priority": int(priority),
                },
            )
            return [str(job_id) for job_id in made.scalars()]

    def open_changes(self, job_ids: Sequence[str]) -> dict[str, str]:
        """Of these jobs, those that an unfinished replay, undo or replacement is already about: job -> that job."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text("""
SELECT a.job_id AS about, j.job_id
FROM ingestion_jobs j
CROSS JOIN LATERAL (
    VALUES (j.replaces_job_id), (CASE WHEN j.cause IN ('replay', 'undo') THEN j.parent_job_id END)) AS a(job_id)
WHERE j.status IN ('pending', 'processing', 'retrying') AND j.arrived_at IS NOT NULL
  AND (j.replaces_job_id = ANY(CAST(:ids AS uuid[])) OR j.parent_job_id = ANY(CAST(:ids AS uuid[])))
  AND a.job_id = ANY(CAST(:ids AS uuid[]))
"""),
                {"ids": list(job_ids)},
            )
            return {str(row.about): str(row.job_id) for row in rows}

    def loaded_between(
        self, datasource: str, first: date, last: date, *, organization: str | None = None, limit: int = 100_000
    ) -> list[Job]:
        """Jobs with rows in Druid of these partition days, oldest first; what `replay --from --to` is about."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text(f"""
SELECT {JOB_COLUMNS} FROM ingestion_jobs j
WHERE j.datasource = :datasource AND j.partition_day BETWEEN :first AND :last AND {HOLDS_ROWS}
  AND j.cause NOT IN ('undo', 'resubmit') AND (CAST(:organization AS text) IS NULL OR j.organization = :organization)
ORDER BY j.created_at, j.job_id LIMIT :limit
"""),
                {
                    "datasource": datasource,
                    "first": first,
                    "last": last,
                    "organization": organization,
                    "limit": limit,
                },
            )
            return [job_from_row(row) for row in rows]

    def family(self, job_id: str) -> list[Job]:
        """The file's job (the first of the line) and every job made from it, oldest first."""
        return self.families([job_id])[job_id]

    def families(self, job_ids: Sequence[str]) -> dict[str, list[Job]]:
        """The family of each of these jobs, as `family` gives it."""
        found: dict[str, list[Job]] = {job_id: [] for job_id in job_ids}
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text(f"""
WITH RECURSIVE up AS (
    SELECT job_id AS member, job_id, parent_job_id FROM ingestion_jobs WHERE job_id = ANY(CAST(:ids AS uuid[]))
    UNION
    SELECT up.member, p.job_id, p.parent_job_id FROM up JOIN ingestion_jobs p ON p.job_id = up.parent_job_id
), down AS (
    SELECT member, job_id FROM up WHERE parent_job_id IS NULL
    UNION
    SELECT down.member, c.job_id FROM down JOIN ingestion_jobs c ON c.parent_job_id = down.job_id
)
SELECT down.member, {JOB_COLUMNS} FROM ingestion_jobs j JOIN down USING (job_id)
ORDER BY j.parent_job_id IS NOT NULL, j.created_at, j.job_id
"""),
                {"ids": list(job_ids)},
            )
            for row in rows:
                found[str(row.member)].append(job_from_row(row))
        return found
