"""The queue: which jobs wait, who promised them to a run, and what became of promises.

Dispatch is one at a time (a lock that lives as long as its transaction); `take()` for hand-made runs
claims under the same rules, so two claims of one key cannot exist, and the unique index says so too.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import transaction
from ingestion_pipeline.domain.batch import Candidate, Claim
from ingestion_pipeline.domain.job import Lane, Priority

_DISPATCH_LOCK = "ingestion-pipeline dispatch"

# In the queue: arrived, unclaimed, due, of a datasource whose contract works, and its key free: no other version
# claimed or, with an attempt still open, on its way into Druid. A job with an attempt is never superseded.
WAITING = """
    j.status IN ('pending', 'retrying') AND j.claim_token IS NULL AND j.arrived_at IS NOT NULL
    AND (j.next_try_at IS NULL OR j.next_try_at <= :now)
"""
BUSY_VERSION = """
    FROM ingestion_jobs l
    WHERE l.bucket = j.bucket AND l.object_key = j.object_key AND l.datasource = j.datasource
      AND l.job_id <> j.job_id AND l.status IN ('pending', 'processing', 'retrying')
      AND (l.claim_token IS NOT NULL OR (l.attempt_id IS NOT NULL AND j.attempt_id IS NULL))
"""
_KEY_FREE = f"NOT EXISTS (SELECT {BUSY_VERSION})"
# A frozen batch goes on whole or not at all: once its attempt is judged, nobody comes back for a job left out.
WHOLE_BATCH = """
    (j.attempt_id IS NULL OR NOT EXISTS (
        SELECT FROM attempt_jobs m JOIN ingestion_jobs s USING (job_id)
        WHERE m.attempt_id = j.attempt_id AND s.attempt_id = j.attempt_id
          AND s.status IN ('pending', 'processing', 'retrying')
          AND (s.status = 'processing' OR s.claim_token IS NOT NULL OR s.next_try_at > :now OR EXISTS (
              SELECT FROM ingestion_jobs l
              WHERE l.bucket = s.bucket AND l.object_key = s.object_key AND l.datasource = s.datasource
                AND l.claim_token IS NOT NULL AND l.status IN ('pending', 'processing', 'retrying')))))
"""
NEWER_VERSION = """
    FROM ingestion_jobs n
    WHERE n.bucket = j.bucket AND n.object_key = j.object_key AND n.datasource = j.datasource
      AND n.organization = j.organization AND n.arrived_at IS NOT NULL
      AND n.cause IN ('discovered', 'uploaded', 'resubmit')
      -- What tries a version again is younger than the version (and S3 tells times in whole seconds).
      AND CASE WHEN j.cause IN ('retry', 'replay') THEN n.last_modified >= j.last_modified AND n.etag <> j.etag
          ELSE (n.last_modified, n.created_at, n.job_id) > (j.last_modified, j.created_at, j.job_id) END
"""
SUPERSEDABLE = "j.cause IN ('discovered', 'uploaded', 'retry', 'replay') AND j.attempt_id IS NULL"
HAS_NEWER_VERSION = f"EXISTS (SELECT {NEWER_VERSION}) AND {SUPERSEDABLE}"
_FIELDS = """
    j.job_id, j.organization, j.datasource, j.partition_day, j.priority, j.lane, j.size_bytes, j.created_at,
    j.tries, j.attempt_id, j.bucket, j.object_key
"""

_CANDIDATES = sa.text(f"""
SELECT c.*
FROM organizations o
CROSS JOIN unnest(ARRAY['live', 'backfill']) AS l(lane)
CROSS JOIN generate_series(0, 3) AS p(priority)
CROSS JOIN LATERAL (
    SELECT {_FIELDS}, {HAS_NEWER_VERSION} AS superseded
    FROM ingestion_jobs j
    WHERE j.organization = o.organization AND j.lane = l.lane AND j.priority = p.priority
      AND {WAITING} AND {_KEY_FREE}
      AND j.partition_day >= (
          SELECT d.first_day
          FROM unnest(CAST(:datasources AS text[]), CAST(:first_days AS date[])) AS d(datasource, first_day)
          WHERE d.datasource = j.datasource)
    ORDER BY j.created_at, j.job_id
    LIMIT :per_organization
) c
""")

_CLAIM = sa.text(f"""
UPDATE ingestion_jobs j
SET claim_token = :token, claimed_at = :now, launches = j.launches + 1, waiting_reason = NULL,
    lease_run_id = NULL, heartbeat_at = NULL,
    lane = CASE j.lane WHEN 'history' THEN 'backfill' ELSE j.lane END
WHERE j.job_id = ANY(CAST(:job_ids AS uuid[])) AND {WAITING} AND {_KEY_FREE} AND {WHOLE_BATCH}
RETURNING j.job_id
""")

_FROZEN_WITH = sa.text("""
SELECT s.job_id
FROM ingestion_jobs j
JOIN attempt_jobs m ON m.attempt_id = j.attempt_id
JOIN ingestion_jobs s ON s.job_id = m.job_id AND s.attempt_id = j.attempt_id
WHERE j.job_id = ANY(CAST(:job_ids AS uuid[])) AND s.status IN ('pending', 'retrying')
""")

_SUPERSEDE = sa.text(f"""
UPDATE ingestion_jobs j
SET status = 'completed', outcome = 'superseded', finished_at = :now, claim_token = NULL,
    result = j.result || jsonb_build_object('summary', 'a newer version of the object arrived before this one was read')
WHERE j.job_id = ANY(CAST(:job_ids AS uuid[])) AND {WAITING} AND {HAS_NEWER_VERSION}
RETURNING j.job_id
""")

_OPEN_CLAIMS = sa.text("""
SELECT claim_token, min(claimed_at) AS claimed_at, max(heartbeat_at) AS heartbeat_at, count(*) AS jobs,
       array_agg(DISTINCT lease_run_id) FILTER (WHERE lease_run_id IS NOT NULL) AS lease_runs,
       max(tries) AS tries
FROM ingestion_jobs
WHERE claim_token IS NOT NULL AND status IN ('pending', 'processing', 'retrying')
GROUP BY claim_token
ORDER BY min(claimed_at)
LIMIT 500
""")


class Queue:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @contextmanager
    def only_dispatcher(self) -> Iterator[bool]:
        """True for one caller at a time; the lock ends with the block, or with its process."""
        with transaction(self._engine) as connection:
            yield bool(
                connection.execute(
                    sa.text("SELECT pg_try_advisory_xact_lock(hashtext(:name))"), {"name": _DISPATCH_LOCK}
                ).scalar_one()
            )

    def candidates(self, *, datasources: Mapping[str, date], now: datetime, per_organization: int) -> list[Candidate]:
        """The heads of every organization's queue, per lane and priority, oldest first.

        Bounded by organizations, not by the backlog: each head is one index range.

        Args:
            datasources: Those whose jobs may run, each with its first partition day: a run cannot be asked for an
                earlier one.
        """
        with transaction(self._engine) as connection:
            rows = connection.execute(
                _CANDIDATES,
                {
                    "datasources": list(datasources.keys()),
                    "first_days": list(datasources.values()),
                    "now": now,
                    "per_organization": per_organization,
                },
            )
            return [
                Candidate(
                    job_id=str(row.job_id),
                    organization=row.organization,
                    datasource=row.datasource,
                    partition_day=row.partition_day,
                    priority=Priority(row.priority),
                    lane=Lane(row.lane),
                    size_bytes=row.size_bytes,
                    created_at=row.created_at,
                    tries=row.tries,
                    attempt_id=row.attempt_id,
                    object_key=row.object_key,
                    superseded=row.superseded,
                )
                for row in rows
            ]

    def supersede(self, job_ids: Sequence[str], *, now: datetime) -> int:
        """End older versions whose newer one has arrived; returns how many."""
        if not job_ids:
            return 0
        with transaction(self._engine) as connection:
            return len(connection.execute(_SUPERSEDE, {"job_ids": list(job_ids), "now": now}).all())

    def claim(self, job_ids: Sequence[str], *, token: str, now: datetime) -> list[str]:
        """Promise jobs to the run that will name `token`; returns those that were free.

        A job of a frozen batch brings the batch's other unfinished jobs along, or is not free.
        """
        with transaction(self._engine) as connection:
            _lock_claims(connection)
            return _claim(connection, job_ids, token=token, now=now)

    def claim_day(
        self,
        *,
        datasource: str,
        days: Sequence[date],
        token: str,
        now: datetime,
        max_files: int,
        max_bytes: int,
        backfill_id: str | None = None,
    ) -> tuple[list[str], int]:
        """Promise a backfill's run the waiting jobs of its partition days, history included, day by day, oldest first.

        What exceeds the caps is released to dispatch (lane `backfill`).

        Args:
            backfill_id: Dagster's backfill that the run belongs to: the jobs remember it, so that they can be held
                back when it is stopped.

        Returns:
            The claimed job ids, and how many more jobs were released to dispatch.
        """
        with transaction(self._engine) as connection:
            _lock_claims(connection)
            rows = connection.execute(
                sa.text(f"""
SELECT {_FIELDS}, sum(j.size_bytes) OVER (ORDER BY j.partition_day, j.created_at, j.job_id) AS bytes_so_far,
       row_number() OVER (ORDER BY j.partition_day, j.created_at, j.job_id) AS position,
       row_number() OVER (
           PARTITION BY j.bucket, j.object_key ORDER BY j.last_modified DESC, j.created_at DESC) AS newest
FROM ingestion_jobs j
WHERE j.datasource = :datasource AND j.partition_day = ANY(:days) AND {WAITING} AND {_KEY_FREE}
  AND NOT ({HAS_NEWER_VERSION})
ORDER BY j.partition_day, j.created_at, j.job_id
"""),
                {"datasource": datasource, "days": list(days), "now": now},
            ).all()
            waiting = [row for row in rows if row.newest == 1]
            mine = [
                str(row.job_id)
                for row in waiting
                if row.position <= max_files and (row.position == 1 or row.bytes_so_far <= max_bytes)
            ]
            rest = [str(row.job_id) for row in waiting if str(row.job_id) not in set(mine) and row.lane == "history"]
            claimed = _claim(connection, mine, token=token, now=now)
            connection.execute(
                sa.text("""
UPDATE ingestion_jobs
SET backfill_id = :backfill_id, lane = CASE lane WHEN 'history' THEN 'backfill' ELSE lane END
WHERE job_id = ANY(CAST(:ids AS uuid[]))
"""),
                {"ids": [*claimed, *rest], "backfill_id": backfill_id},
            )
            return claimed, len(rest)

    def put_back(self, token: str, *, reason: str, now: datetime) -> int:
        """Free a claim's jobs because their backfill was stopped, which is no try of the files; they are due at once.

        One with an open attempt stays in the claim, to be released: its rows may be in Druid, and the next run finds
        out.
        """
        with transaction(self._engine) as connection:
            return connection.execute(
                sa.text("""
UPDATE ingestion_jobs
SET status = CASE status WHEN 'processing' THEN 'retrying' ELSE status END,
    tries = greatest(tries - CASE status WHEN 'processing' THEN 1 ELSE 0 END, 0),
    claim_token = NULL, lease_epoch = lease_epoch + 1, lease_run_id = NULL, waiting_reason = :reason,
    next_try_at = :now
WHERE claim_token = :token AND status IN ('pending', 'processing', 'retrying') AND attempt_id IS NULL
"""),
                {"token": token, "reason": reason, "now": now},
            ).rowcount

    def open_claims(self) -> list[Claim]:
        with transaction(self._engine) as connection:
            return [
                Claim(
                    token=row.claim_token,
                    claimed_at=row.claimed_at,
                    heartbeat_at=row.heartbeat_at,
                    jobs=row.jobs,
                    lease_runs=tuple(row.lease_runs or ()),
                    tries=row.tries,
                )
                for row in connection.execute(_OPEN_CLAIMS)
            ]

    def work_left(self, run_ids: Sequence[str]) -> dict[str, datetime | None]:
        """Of these runs that ever took a job: when their last one ended; None while one has not."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text("""
SELECT run_id, CASE WHEN bool_and(finished_at IS NOT NULL) THEN max(finished_at) END AS ended
FROM ingestion_jobs WHERE run_id = ANY(:run_ids) GROUP BY run_id
"""),
                {"run_ids": list(run_ids)},
            )
            return {row.run_id: row.ended for row in rows}

    def fence(self, token: str) -> int:
        """Take the leases of a claim away from whoever holds them: its writes stop from here on."""
        with transaction(self._engine) as connection:
            result = connection.execute(
                sa.text(
                    "UPDATE ingestion_jobs SET lease_epoch = lease_epoch + 1, lease_run_id = NULL "
                    "WHERE claim_token = :token AND status IN ('pending', 'processing', 'retrying')"
                ),
                {"token": token},
            )
            return result.rowcount

    def release(self, token: str, *, reason: str, now: datetime, wait: timedelta, max_tries: int) -> tuple[int, int]:
        """Give a dead claim's jobs back to the queue; those that have used up their tries end failed.

        A job with an open attempt is given back however often it was tried: its rows may be in Druid, and
        only its frozen attempt can tell.

        Returns:
            Jobs given back, jobs failed.
        """
        parameters = {
            "token": token,
            "reason": reason,
            "now": now,
            "next_try_at": now + wait,
            "max_tries": max_tries,
        }
        with transaction(self._engine) as connection:
            failed = connection.execute(
                sa.text("""
UPDATE ingestion_jobs
SET status = 'failed', outcome = 'worker_lost', finished_at = :now, lease_epoch = lease_epoch + 1,
    lease_run_id = NULL, claim_token = NULL, error_type = 'WorkerLost', error_code = 'worker_lost',
    error_retryable = true,
    error_message = 'The run that worked on it ended without a result ' || tries || ' times. Last: ' || :reason
WHERE claim_token = :token AND status IN ('processing', 'retrying') AND tries >= :max_tries AND attempt_id IS NULL
"""),
                parameters,
            ).rowcount
            back = connection.execute(
                sa.text("""
UPDATE ingestion_jobs
SET status = CASE status WHEN 'processing' THEN 'retrying' ELSE status END,
    retry_count = retry_count + CASE status WHEN 'processing' THEN 1 ELSE 0 END,
    claim_token = NULL, lease_epoch = lease_epoch + 1, lease_run_id = NULL, waiting_reason = :reason,
    -- Runs that end before they take their jobs are launched less and less often.
    next_try_at = CASE WHEN status = 'processing' THEN CAST(:next_try_at AS timestamptz)
        ELSE CAST(:now AS timestamptz) + least(300, 2 * power(2, least(launches, 10)) - 4) * interval '1 second' END
WHERE claim_token = :token AND status IN ('pending', 'processing', 'retrying')
"""),
                parameters,
            ).rowcount
            return back, failed

    def cancel(self, token: str, *, reason: str, now: datetime) -> int:
        """End a claim's jobs as canceled; of those with an open attempt the next run finds out what Druid holds."""
        with transaction(self._engine) as connection:
            connection.execute(
                sa.text("""
UPDATE ingestion_jobs SET cancel_requested_at = coalesce(cancel_requested_at, :now)
WHERE claim_token = :token AND status IN ('pending', 'processing', 'retrying') AND attempt_id IS NOT NULL
"""),
                {"token": token, "now": now},
            )
            return connection.execute(
                sa.text("""
UPDATE ingestion_jobs
SET status = 'canceled', outcome = 'stopped', finished_at = :now, lease_epoch = lease_epoch + 1,
    lease_run_id = NULL, error_type = 'Stopped', error_code = 'stopped', error_message = :reason,
    error_retryable = true
WHERE claim_token = :token AND status IN ('pending', 'processing', 'retrying') AND attempt_id IS NULL
"""),
                {"token": token, "reason": reason, "now": now},
            ).rowcount

    def note_dependency(self, name: str, problem: str | None, *, now: datetime) -> tuple[datetime | None, bool]:
        """Remember whether an outside system answers.

        Returns:
            Since when it does not (None: it does), and whether that is news.
        """
        with transaction(self._engine) as connection:
            before = connection.execute(
                sa.text("SELECT since FROM dependencies WHERE name = :name FOR UPDATE"), {"name": name}
            ).scalar_one_or_none()
            since = None if problem is None else before or now
            connection.execute(
                sa.text("""
INSERT INTO dependencies (name, problem, since, checked_at) VALUES (:name, :problem, :since, :now)
ON CONFLICT (name) DO UPDATE
SET problem = EXCLUDED.problem, since = EXCLUDED.since, checked_at = EXCLUDED.checked_at
"""),
                {"name": name, "problem": problem, "since": since, "now": now},
            )
            return since, (before is None) != (since is None)

    def explain_waiting(self, reason: str | None, *, datasources: Collection[str], before: date | None = None) -> int:
        """Write on these datasources' waiting jobs why they wait (None: nothing holds them), 5,000 at most a call.

        Args:
            before: Only on those of earlier partition days.
        """
        with transaction(self._engine) as connection:
            return connection.execute(
                sa.text("""
UPDATE ingestion_jobs SET waiting_reason = :reason
WHERE job_id IN (
    SELECT job_id FROM ingestion_jobs
    WHERE status = 'pending' AND claim_token IS NULL AND arrived_at IS NOT NULL AND lane <> 'history'
      AND datasource = ANY(:datasources) AND waiting_reason IS DISTINCT FROM :reason
      AND partition_day < coalesce(CAST(:before AS date), 'infinity')
    LIMIT 5000)
"""),
                {"reason": reason, "datasources": list(datasources), "before": before},
            ).rowcount

    def postpone_due(self, *, until: datetime, now: datetime) -> int:
        """Give jobs whose next try is due, and cannot be made now, a time that is still to come."""
        with transaction(self._engine) as connection:
            return connection.execute(
                sa.text("""
UPDATE ingestion_jobs SET next_try_at = :until
WHERE status = 'retrying' AND claim_token IS NULL AND arrived_at IS NOT NULL AND lane <> 'history'
  AND next_try_at <= :now
"""),
                {"until": until, "now": now},
            ).rowcount

    def expire_announced(self, *, before: datetime, now: datetime) -> int:
        """End announced uploads whose object never came."""
        with transaction(self._engine) as connection:
            return connection.execute(
                sa.text("""
UPDATE ingestion_jobs SET status = 'canceled', outcome = 'expired', finished_at = :now,
    error_message = 'The upload was announced, and its object never arrived.'
WHERE arrived_at IS NULL AND status = 'pending' AND created_at < :before
"""),
                {"before": before, "now": now},
            ).rowcount


def _lock_claims(connection: sa.Connection) -> None:
    """Claimers take turns: the check that a key is free and the claim are one step."""
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('ingestion-pipeline claims'))"))


def _claim(connection: sa.Connection, job_ids: Sequence[str], *, token: str, now: datetime) -> list[str]:
    frozen = connection.execute(_FROZEN_WITH, {"job_ids": list(job_ids)}).scalars()
    together = sorted({*job_ids, *map(str, frozen)})
    claimed = connection.execute(_CLAIM, {"job_ids": together, "token": token, "now": now})
    return [str(job_id) for job_id in claimed.scalars()]


def fresh_token(random_id: UUID) -> str:
    """A claim's token; also the run key, so it must never repeat."""
    return f"claim-{random_id.hex}"
