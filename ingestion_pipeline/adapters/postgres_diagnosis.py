"""What the ledger knows of one file that is asked about: its job now, its place in the queue, its last attempt.

What belongs here: reading for `why`, bounded whatever the ledger holds. What does not: the rules of claiming, which are
the queue's (`adapters.postgres_queue`) and are read here in its own words.
"""

from datetime import datetime

import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import transaction
from ingestion_pipeline.adapters.postgres_discovery import storable_key
from ingestion_pipeline.adapters.postgres_jobs import JOB_COLUMNS, job_from_row
from ingestion_pipeline.adapters.postgres_queue import BUSY_VERSION, NEWER_VERSION, SUPERSEDABLE, WHOLE_BATCH
from ingestion_pipeline.domain.diagnosis import AHEAD_LIMIT, AttemptNow, JobNow, QueuePlace
from ingestion_pipeline.domain.job import AttemptKind, AttemptState

_JOB = sa.text(f"""
SELECT {JOB_COLUMNS}, j.arrived_at, j.started_at, j.finished_at, j.claim_token, j.claimed_at, j.run_id, j.lease_run_id,
       j.heartbeat_at, j.next_try_at, j.waiting_reason, j.step, j.progress_percent, j.progress ->> 'state' AS state,
       j.error_code, j.error_retryable
FROM ingestion_jobs j WHERE j.job_id = CAST(:job_id AS uuid)
""")

_PLACE = sa.text(f"""
SELECT CASE WHEN {SUPERSEDABLE} THEN (
           SELECT n.job_id {NEWER_VERSION} ORDER BY n.last_modified DESC LIMIT 1) END AS newer,
       (SELECT l.job_id {BUSY_VERSION} LIMIT 1) AS busy,
       {WHOLE_BATCH} AS whole,
       (SELECT count(*) FROM (
           SELECT FROM ingestion_jobs a
           WHERE a.organization = j.organization AND a.lane = j.lane AND a.status IN ('pending', 'retrying')
             AND a.claim_token IS NULL AND a.arrived_at IS NOT NULL
             AND (a.priority, a.created_at, a.job_id) < (j.priority, j.created_at, j.job_id)
             AND (a.next_try_at IS NULL OR a.next_try_at <= :now)
           LIMIT :limit) AS before) AS ahead
FROM ingestion_jobs j WHERE j.job_id = CAST(:job_id AS uuid)
""")

_ATTEMPT = sa.text("""
SELECT a.attempt_id, a.kind, a.state, a.created_at, a.intervals, a.error_message, m.rows_expected
FROM attempt_jobs m JOIN druid_attempts a USING (attempt_id)
WHERE m.job_id = CAST(:job_id AS uuid)
ORDER BY a.created_at DESC LIMIT 1
""")

_UNMATCHED = sa.text("""
SELECT object_key, first_seen_at FROM unmatched_objects WHERE bucket = :bucket AND object_key = :key
""")

_UNMATCHED_NAME = sa.text("""
SELECT object_key, first_seen_at FROM unmatched_objects
WHERE bucket = :bucket AND right(object_key, length(:ending)) = :ending
ORDER BY first_seen_at DESC LIMIT :limit
""")


class Diagnosis:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def job(self, job_id: str) -> JobNow | None:
        """One job, with who works on it and what it waits for."""
        with transaction(self._engine) as connection:
            row = connection.execute(_JOB, {"job_id": job_id}).first()
        if row is None:
            return None
        return JobNow(
            job=job_from_row(row),
            arrived_at=row.arrived_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            claim_token=row.claim_token,
            claimed_at=row.claimed_at,
            run_id=row.run_id,
            lease_run_id=row.lease_run_id,
            heartbeat_at=row.heartbeat_at,
            next_try_at=row.next_try_at,
            waiting_reason=row.waiting_reason,
            step=row.step,
            percent=row.progress_percent,
            progress_state=row.state,
            error_code=row.error_code,
            error_retryable=bool(row.error_retryable),
        )

    def place(self, job_id: str, *, now: datetime) -> QueuePlace | None:
        """What stands between a waiting job and a claim."""
        with transaction(self._engine) as connection:
            row = connection.execute(_PLACE, {"job_id": job_id, "now": now, "limit": AHEAD_LIMIT}).first()
        if row is None:
            return None
        return QueuePlace(
            newer_job_id=str(row.newer) if row.newer else None,
            busy_job_id=str(row.busy) if row.busy else None,
            batch_is_free=row.whole,
            ahead=row.ahead,
        )

    def attempt(self, job_id: str) -> AttemptNow | None:
        """The last attempt that held the job."""
        with transaction(self._engine) as connection:
            row = connection.execute(_ATTEMPT, {"job_id": job_id}).first()
        if row is None:
            return None
        return AttemptNow(
            attempt_id=row.attempt_id,
            kind=AttemptKind(row.kind),
            state=AttemptState(row.state),
            created_at=row.created_at,
            rows_expected=row.rows_expected,
            intervals=tuple(row.intervals),
            error_message=row.error_message,
        )

    def unmatched(self, bucket: str, key: str, *, limit: int) -> list[tuple[str, datetime]]:
        """Objects that belong nowhere, of this key or, if there is none, of this file name: key and since when."""
        with transaction(self._engine) as connection:
            found = connection.execute(_UNMATCHED, {"bucket": bucket, "key": storable_key(key)}).all()
            if not found and "/" not in key:
                parameters = {"bucket": bucket, "ending": f"/{storable_key(key)}", "limit": limit}
                found = connection.execute(_UNMATCHED_NAME, parameters).all()
        return [(row.object_key, row.first_seen_at) for row in found]
