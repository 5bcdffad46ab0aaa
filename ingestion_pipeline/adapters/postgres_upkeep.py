"""Upkeep in the ledger: what retention may take away, which jobs are to be counted again, where walks go on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import as_json, transaction
from ingestion_pipeline.adapters.postgres_corrections import HOLDS_ROWS
from ingestion_pipeline.adapters.postgres_jobs import JOB_COLUMNS, job_from_row
from ingestion_pipeline.domain.interval import Interval
from ingestion_pipeline.domain.job import LOADED_OUTCOMES, Job
from ingestion_pipeline.domain.reconciliation import Held
from ingestion_pipeline.domain.upload import Source, StoredObject

_OPEN = "state IN ('saved', 'submitted', 'succeeded', 'failed')"

# A bounded piece of the walk over ended jobs; of it, those that nothing refers to and that refer to no rows in Druid:
# the ledger must go on telling whose place a job took, and what was corrected.
_SPENT = sa.text(f"""
WITH piece AS (
    SELECT job_id, finished_at FROM ingestion_jobs
    WHERE finished_at < :before AND outcome NOT IN ('loaded', 'loaded_with_rejects')
      AND (finished_at, job_id) > (CAST(:at AS timestamptz), CAST(:id AS uuid))
    ORDER BY finished_at, job_id LIMIT :limit
)
SELECT {JOB_COLUMNS}, piece.finished_at,
       NOT {HOLDS_ROWS}
       AND NOT EXISTS (SELECT FROM ingestion_jobs c WHERE c.parent_job_id = j.job_id)
       AND NOT EXISTS (SELECT FROM ingestion_jobs c WHERE c.replaces_job_id = j.job_id)
       AND NOT EXISTS (
           SELECT FROM ingestion_jobs j2 WHERE j2.job_id IN (j.parent_job_id, j.replaces_job_id)
             AND j2.outcome IN ('loaded', 'loaded_with_rejects', 'unproved', 'duplicated'))
       AND NOT EXISTS (SELECT FROM job_events e WHERE e.job_id = j.job_id AND e.created_at >= :before)
       AND NOT EXISTS (SELECT FROM attempt_jobs m JOIN druid_attempts a USING (attempt_id)
                       WHERE m.job_id = j.job_id AND (a.{_OPEN} OR a.finished_at >= :before)) AS spent
FROM piece JOIN ingestion_jobs j USING (job_id)
ORDER BY piece.finished_at, piece.job_id
""")

_TO_COUNT = sa.text("""
WITH piece AS (
    SELECT job_id FROM ingestion_jobs
    WHERE outcome IN ('loaded', 'loaded_with_rejects', 'replaced', 'undone') AND verified_at < :before
      AND (CAST(:datasource AS text) IS NULL OR datasource = :datasource)
    ORDER BY verified_at LIMIT :limit
)
SELECT j.job_id, j.datasource, j.outcome, j.rows_queryable,
       coalesce(array_agg(DISTINCT i.interval) FILTER (WHERE i.interval IS NOT NULL), '{}') AS intervals
FROM piece JOIN ingestion_jobs j USING (job_id)
LEFT JOIN attempt_jobs m USING (job_id) LEFT JOIN druid_attempts a ON a.attempt_id = m.attempt_id
LEFT JOIN LATERAL jsonb_array_elements_text(a.intervals) AS i(interval) ON true
GROUP BY j.job_id
""")

_OTHER_WARNINGS = """coalesce(
    (SELECT jsonb_agg(w) FROM jsonb_array_elements(warnings) AS w
     WHERE NOT starts_with(w #>> '{}', CAST(:mark AS text))), '[]')"""
_DELETE_EVENTS = """, deleted AS (
    DELETE FROM job_events e USING old WHERE e.job_id = old.job_id AND e.seq = old.seq
)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OldJobs:
    """A piece of the walk over ended jobs.

    Attributes:
        spent: Those that nothing in the ledger needs any more.
        position: Where the next piece begins; "" at the end.
    """

    seen: int
    spent: Sequence[Job]
    position: str


class Upkeep:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    # Walks that are done in pieces

    def position(self, name: str) -> str:
        """Where the walk of that name goes on; "" at its beginning."""
        with transaction(self._engine) as connection:
            found = connection.execute(sa.text("SELECT position FROM upkeep WHERE name = :name"), {"name": name})
            return str(found.scalar_one_or_none() or "")

    def note_position(self, name: str, position: str, *, now: datetime) -> None:
        with transaction(self._engine) as connection:
            connection.execute(
                sa.text("""
INSERT INTO upkeep (name, position, updated_at) VALUES (:name, :position, :now)
ON CONFLICT (name) DO UPDATE SET position = EXCLUDED.position, updated_at = EXCLUDED.updated_at
"""),
                {"name": name, "position": position, "now": now},
            )

    # Retention

    def endings(self, job_ids: Sequence[str]) -> dict[str, tuple[datetime | None, bool, str | None]]:
        """Of the jobs that exist: when they ended, whether an attempt that holds them is open, their quarantine."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text(f"""
SELECT j.job_id, j.finished_at, j.quarantine_url,
       EXISTS (SELECT FROM attempt_jobs m JOIN druid_attempts a USING (attempt_id)
               WHERE m.job_id = j.job_id AND a.{_OPEN}) AS is_open
FROM ingestion_jobs j WHERE j.job_id = ANY(CAST(:ids AS uuid[]))
"""),
                {"ids": list(job_ids)},
            )
            return {str(row.job_id): (row.finished_at, row.is_open, row.quarantine_url) for row in rows}

    def old_jobs(self, *, before: datetime, after: str, limit: int) -> OldJobs:
        """The next jobs that ended before a moment and have no rows in Druid, at most `limit`, oldest first.

        Args:
            after: The `position` of an earlier call.
        """
        at, _, job_id = after.partition(" ")
        with transaction(self._engine) as connection:
            rows = connection.execute(
                _SPENT,
                {
                    "before": before,
                    "at": at or "-infinity",
                    "id": job_id or "00000000-0000-0000-0000-000000000000",
                    "limit": limit,
                },
            ).all()
        return OldJobs(
            seen=len(rows),
            spent=[job_from_row(row) for row in rows if row.spent],
            position=f"{rows[-1].finished_at.isoformat()} {rows[-1].job_id}" if len(rows) == limit else "",
        )

    def delete_jobs(self, job_ids: Sequence[str]) -> int:
        """Delete jobs with their events and attempts; the database refuses those that are not old or not spent.

        One that an order was made about meanwhile stays; an order that comes later than this finds no job.
        """
        mine = "job_id = ANY(CAST(:ids AS uuid[]))"
        with transaction(self._engine) as connection:
            free = connection.execute(
                sa.text(f"SELECT job_id FROM ingestion_jobs WHERE {mine} ORDER BY job_id FOR UPDATE"),
                {"ids": list(job_ids)},
            ).scalars()
            referred = connection.execute(
                sa.text("""
SELECT unnest(ARRAY[parent_job_id, replaces_job_id]) FROM ingestion_jobs
WHERE parent_job_id = ANY(CAST(:ids AS uuid[])) OR replaces_job_id = ANY(CAST(:ids AS uuid[]))
"""),
                {"ids": list(job_ids)},
            ).scalars()
            parameters = {"ids": sorted(set(map(str, free)) - set(map(str, referred)))}
            attempts = connection.execute(
                sa.text(f"DELETE FROM attempt_jobs WHERE {mine} RETURNING attempt_id"), parameters
            ).scalars()
            attempt_ids = sorted(set(attempts))
            connection.execute(sa.text(f"DELETE FROM job_events WHERE {mine}"), parameters)
            deleted = connection.execute(sa.text(f"DELETE FROM ingestion_jobs WHERE {mine}"), parameters).rowcount
            connection.execute(
                sa.text("""
DELETE FROM druid_attempts a WHERE a.attempt_id = ANY(:attempts)
  AND NOT EXISTS (SELECT FROM attempt_jobs m WHERE m.attempt_id = a.attempt_id)
"""),
                {"attempts": attempt_ids},
            )
            return deleted

    def delete_events(
        self, organization: str, *, before: datetime, after: str, limit: int, dry_run: bool = False
    ) -> tuple[int, str]:
        """Delete old events of jobs that ended long ago; the jobs themselves stay.

        Args:
            after: The position of an earlier call; `limit` events are looked at from there on.

        Returns:
            How many went, and the position where the next call goes on; "" at the end.
        """
        with transaction(self._engine) as connection:
            row = connection.execute(
                sa.text(f"""
WITH piece AS (
    SELECT job_id, seq, created_at FROM job_events
    WHERE organization = :organization AND created_at < :before AND created_at >= CAST(:at AS timestamptz)
    ORDER BY created_at LIMIT :limit
), old AS (
    SELECT p.job_id, p.seq FROM piece p JOIN ingestion_jobs j USING (job_id) WHERE j.finished_at < :before
){"" if dry_run else _DELETE_EVENTS}
SELECT (SELECT count(*) FROM piece) AS seen, (SELECT max(created_at) FROM piece) AS last,
       (SELECT count(*) FROM old) AS gone
"""),
                {"organization": organization, "before": before, "at": after or "-infinity", "limit": limit},
            ).one()
        return row.gone, row.last.isoformat() if row.seen == limit else ""

    def strip_attempts(self, *, before: datetime, limit: int, dry_run: bool = False) -> int:
        """Empty the specs of attempts that were judged long ago; where their rows lie is kept."""
        old = """
SELECT attempt_id FROM druid_attempts
WHERE state IN ('proved', 'absent', 'unproved') AND spec <> '{}' AND finished_at < :before
ORDER BY finished_at LIMIT :limit
"""
        parameters = {"before": before, "limit": limit}
        with transaction(self._engine) as connection:
            if dry_run:
                return int(connection.execute(sa.text(f"SELECT count(*) FROM ({old}) AS o"), parameters).scalar_one())
            return connection.execute(
                sa.text(f"UPDATE druid_attempts SET spec = '{{}}', rows_before = '{{}}' WHERE attempt_id IN ({old})"),
                parameters,
            ).rowcount

    def runs_at_work(self, run_ids: Sequence[str]) -> set[str]:
        """Of these runs, those that a job names which is not over."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text(
                    "SELECT DISTINCT run_id FROM ingestion_jobs WHERE run_id = ANY(:ids) "
                    "AND status IN ('pending', 'processing', 'retrying')"
                ),
                {"ids": list(run_ids)},
            )
            return set(rows.scalars())

    # Reconciliation

    def to_count(self, *, before: datetime, limit: int, datasource: str | None = None) -> list[Held]:
        """Jobs whose rows were last counted before a moment, the longest ago first."""
        with transaction(self._engine) as connection:
            return [
                Held(
                    job_id=str(row.job_id),
                    datasource=row.datasource,
                    expected=row.rows_queryable if row.outcome in LOADED_OUTCOMES else 0,
                    intervals=tuple(sorted(Interval.parse(text) for text in row.intervals)),
                )
                for row in connection.execute(_TO_COUNT, {"before": before, "limit": limit, "datasource": datasource})
            ]

    def counted(self, job_ids: Sequence[str], *, now: datetime, clears: str | None = None) -> None:
        """Remember when these jobs' rows were counted.

        Args:
            clears: They are right: warnings that begin so are out of date.
        """
        with transaction(self._engine) as connection:
            connection.execute(
                sa.text(f"""
UPDATE ingestion_jobs SET verified_at = :now,
    warnings = CASE WHEN CAST(:mark AS text) IS NULL THEN warnings ELSE {_OTHER_WARNINGS} END
WHERE job_id = ANY(CAST(:ids AS uuid[]))
"""),
                {"ids": list(job_ids), "now": now, "mark": clears},
            )

    def expected_now(self, job_ids: Sequence[str]) -> Mapping[str, int]:
        """Rows that each is to have; those that an open replace is about are left out: their rows are on the move."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text(f"""
SELECT j.job_id, j.outcome, j.rows_queryable FROM ingestion_jobs j
WHERE j.job_id = ANY(CAST(:ids AS uuid[])) AND NOT EXISTS (
    SELECT FROM druid_attempts a
    WHERE a.datasource = j.datasource AND a.kind = 'replace' AND a.{_OPEN} AND jsonb_exists(a.removes, j.job_id::text))
"""),
                {"ids": list(job_ids)},
            )
            return {str(row.job_id): row.rows_queryable if row.outcome in LOADED_OUTCOMES else 0 for row in rows}

    def note_warning(self, job_id: str, *, mark: str, text: str) -> None:
        """Write a warning on a job, in place of an earlier one that begins with the same mark."""
        with transaction(self._engine) as connection:
            connection.execute(
                sa.text(f"""
UPDATE ingestion_jobs SET warnings = CAST(:new AS jsonb) || {_OTHER_WARNINGS} WHERE job_id = CAST(:id AS uuid)
"""),
                {"id": job_id, "mark": mark, "new": as_json([text])},
            )

    # After the load

    def to_put_away(self, datasource: str, bucket: str, *, before: datetime, limit: int) -> list[Job]:
        """Loaded jobs that ended before a moment and whose uploads nobody has seen to, oldest first."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text(f"""
SELECT {JOB_COLUMNS} FROM ingestion_jobs j
WHERE j.datasource = :datasource AND j.outcome IN ('loaded', 'loaded_with_rejects') AND j.after_load IS NULL
  AND j.finished_at < :before AND j.bucket = :bucket
ORDER BY j.finished_at, j.job_id LIMIT :limit
"""),
                {"datasource": datasource, "bucket": bucket, "before": before, "limit": limit},
            )
            return [job_from_row(row) for row in rows]

    def source_of(self, job: Job) -> Source:
        """Where the version that a job is about can be read, whichever job's end has moved it."""
        with transaction(self._engine) as connection:
            moved = connection.execute(
                sa.text("""
SELECT moved_to FROM ingestion_jobs
WHERE bucket = :bucket AND object_key = :key AND etag = :etag AND last_modified = :modified AND moved_to IS NOT NULL
ORDER BY finished_at DESC LIMIT 1
"""),
                {"bucket": job.bucket, "key": job.object_key, "etag": job.etag, "modified": job.last_modified},
            ).scalar_one_or_none()
        if moved is None:
            return Source(key=job.object_key, etag=job.etag)
        key = moved["key"]
        return Source(key=key or job.object_key, etag=moved["etag"], deleted=key is None)

    def promise(self, job: Job, goes_to: StoredObject | None) -> bool:
        """Write where a job's upload will be (None: nowhere), before it goes; False while a job of its key is at work.

        Orders about the job wait for this, and what begins later reads the upload where it is then.
        """
        to = {"key": goes_to.key if goes_to else None, "etag": goes_to.etag if goes_to else ""}
        with transaction(self._engine) as connection:
            mine = {"id": job.job_id, "bucket": job.bucket, "key": job.object_key}
            connection.execute(sa.text("SELECT FROM ingestion_jobs WHERE job_id = CAST(:id AS uuid) FOR UPDATE"), mine)
            return (
                connection.execute(
                    sa.text("""
UPDATE ingestion_jobs j SET moved_to = CAST(:to AS jsonb)
WHERE j.job_id = CAST(:id AS uuid) AND j.outcome IN ('loaded', 'loaded_with_rejects') AND j.after_load IS NULL
  AND NOT EXISTS (SELECT FROM ingestion_jobs o WHERE o.bucket = :bucket AND o.object_key = :key
                  AND o.status IN ('pending', 'processing', 'retrying'))
"""),
                    {**mine, "to": as_json(to)},
                ).rowcount
                == 1
            )

    def put_away(self, job: Job, done: str) -> None:
        """Record what was done with a job's upload; it remembers where that is, also if another job moved it."""
        source = self.source_of(job)
        to = {"key": None if source.deleted else source.key, "etag": source.etag}
        with transaction(self._engine) as connection:
            connection.execute(
                sa.text("""
UPDATE ingestion_jobs
SET after_load = :done, moved_to = CASE WHEN :done IN ('moved', 'deleted') THEN CAST(:to AS jsonb) END
WHERE job_id = CAST(:id AS uuid)
"""),
                {"id": job.job_id, "done": done, "to": as_json(to)},
            )
