"""Attempts: what was sent to Druid, saved before it is sent, and what became of it.

An open attempt is also a lease on its datasource, kept as a row because a task runs on when its client is gone:
one replace at a time, appends beside it unless they touch the same family of jobs or carry columns that the
replace does not know.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import as_json, clean_text, transaction
from ingestion_pipeline.adapters.postgres_corrections import HOLDERS
from ingestion_pipeline.domain.interval import Interval
from ingestion_pipeline.domain.job import Attempt, AttemptKind, AttemptState, Lease
from ingestion_pipeline.errors import DatasourceBusy, LeaseLost

# Locks the leased rows until the transaction ends: an epoch raised meanwhile waits, one raised before shows.
_HOLD = sa.text("""
SELECT j.job_id
FROM ingestion_jobs j
JOIN unnest(CAST(:ids AS uuid[]), CAST(:epochs AS int[])) AS u(job_id, epoch)
  ON j.job_id = u.job_id AND j.lease_epoch = u.epoch
WHERE j.status = 'processing'
ORDER BY j.job_id
FOR UPDATE OF j
""")

APPENDS_OVERTAKE_FOR = timedelta(seconds=60)
"""A replace waits in Druid for the open appends of its time; for so long, new ones may still go before it."""

_OPEN = "state IN ('saved', 'submitted', 'succeeded', 'failed')"


def _family(members: str) -> str:
    """A CTE `line`: each member and its ancestors. A job's ancestors are what it corrects, and an append of fixed
    rows must not pass a replace of the file that they belong to."""
    return f"""
WITH RECURSIVE line AS (
    SELECT j.job_id AS member, j.job_id, j.parent_job_id FROM ingestion_jobs j WHERE j.job_id IN ({members})
    UNION
    SELECT l.member, p.job_id, p.parent_job_id FROM line l JOIN ingestion_jobs p ON p.job_id = l.parent_job_id)
"""


_BESIDE_APPEND = sa.text(f"""
{_family("SELECT unnest(CAST(:jobs AS uuid[]))")}
SELECT a.attempt_id
FROM druid_attempts a
WHERE a.datasource = :datasource AND a.kind = 'replace' AND a.{_OPEN}
  AND (EXISTS (SELECT FROM line WHERE jsonb_exists(a.removes, line.job_id::text))
       OR (a.spec <> '{{}}'::jsonb AND EXISTS (
           SELECT FROM unnest(CAST(:columns AS text[])) AS mine(name)
           WHERE NOT EXISTS (
               SELECT FROM jsonb_array_elements(a.spec #> '{{spec,dataSchema,dimensionsSpec,dimensions}}') AS d
               WHERE d ->> 'name' = mine.name))))
LIMIT 1
""")

_OPEN_APPENDS = f"""
    SELECT m.job_id FROM druid_attempts o JOIN attempt_jobs m USING (attempt_id)
    WHERE o.datasource = :datasource AND o.kind = 'append' AND o.{_OPEN}
"""
_BESIDE_REPLACE = sa.text(f"""
{_family(_OPEN_APPENDS)}
SELECT attempt_id FROM druid_attempts WHERE datasource = :datasource AND kind = 'replace' AND {_OPEN}
UNION ALL
SELECT m.attempt_id FROM line JOIN attempt_jobs m ON m.job_id = line.member JOIN druid_attempts a USING (attempt_id)
WHERE a.{_OPEN} AND line.job_id = ANY(CAST(:removes AS uuid[]))
LIMIT 1
""")

# What a job was made from must not have been taken out between the decision and this moment; one that tries a failed
# job again is about what that one was about (`domain.correction.origin`).
_OUT_OF_DATE = sa.text("""
WITH RECURSIVE line AS (
    SELECT m.job_id, m.cause, m.parent_job_id, m.replaces_job_id
    FROM ingestion_jobs m WHERE m.job_id = ANY(CAST(:jobs AS uuid[]))
    UNION
    SELECT p.job_id, p.cause, p.parent_job_id, p.replaces_job_id
    FROM line l JOIN ingestion_jobs p ON p.job_id = l.parent_job_id
    WHERE l.cause IN ('retry', 'replay') AND p.status IN ('failed', 'canceled')
      AND p.outcome NOT IN ('unproved', 'duplicated'))
SELECT FROM line m JOIN ingestion_jobs p ON p.job_id = coalesce(m.replaces_job_id, m.parent_job_id)
WHERE (p.outcome = 'replaced' OR (p.outcome = 'undone' AND m.cause = 'resubmit')) AND m.cause <> 'undo'
LIMIT 1
""")

_REMOVED = sa.text("""
UPDATE ingestion_jobs j
SET outcome = CASE WHEN j.status <> 'completed' THEN j.outcome WHEN k.cause = 'undo' THEN 'undone' ELSE 'replaced' END,
    result = j.result || jsonb_build_object('replaced_by', k.job_id)
FROM druid_attempts a, LATERAL jsonb_each_text(a.removes) AS r(job_id, by_job), ingestion_jobs k
WHERE a.attempt_id = :id AND j.job_id = CAST(r.job_id AS uuid) AND k.job_id = CAST(r.by_job AS uuid)
  AND (j.outcome IN ('loaded', 'loaded_with_rejects')
       OR (j.outcome IN ('unproved', 'duplicated') AND NOT jsonb_exists(j.result, 'replaced_by')))
""")


class Attempts:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def save(
        self,
        attempt: Attempt,
        *,
        leases: Sequence[Lease],
        cleaned_keys: Mapping[str, str],
        organizations: Mapping[str, str],
        run_id: str,
        now: datetime,
    ) -> None:
        """Freeze a batch: the attempt and its jobs, before anything is sent to Druid.

        Raises:
            LeaseLost: A job of the batch is no longer this run's; nothing was saved.
            DatasourceBusy: An open attempt must end first; nothing was saved.
        """
        with transaction(self._engine) as connection:
            _hold(connection, leases)
            _take_turns(connection, attempt.datasource)
            _require_no_conflict(connection, attempt, now)
            connection.execute(
                sa.text("""
INSERT INTO druid_attempts (
    attempt_id, datasource, kind, state, spec_hash, spec, intervals, removes, rows_expected, run_id, created_at)
VALUES (:id, :datasource, :kind, 'saved', :spec_hash, CAST(:spec AS jsonb), CAST(:intervals AS jsonb),
        CAST(:removes AS jsonb), :rows, :run_id, :now)
"""),
                {
                    "id": attempt.attempt_id,
                    "datasource": attempt.datasource,
                    "kind": attempt.kind.value,
                    "removes": as_json(attempt.removes),
                    "spec_hash": attempt.spec_hash,
                    "spec": as_json(attempt.spec),
                    "intervals": as_json(list(attempt.intervals)),
                    "rows": sum(attempt.expected.values()),
                    "run_id": run_id,
                    "now": now,
                },
            )
            connection.execute(
                sa.text(
                    "INSERT INTO attempt_jobs (attempt_id, job_id, organization, rows_expected, cleaned_key) "
                    "VALUES (:id, :job_id, :organization, :rows, :key)"
                ),
                [
                    {
                        "id": attempt.attempt_id,
                        "job_id": job_id,
                        "organization": organizations[job_id],
                        "rows": rows,
                        "key": cleaned_keys[job_id],
                    }
                    for job_id, rows in attempt.expected.items()
                ],
            )
            connection.execute(
                sa.text("UPDATE ingestion_jobs SET attempt_id = :id WHERE job_id = ANY(CAST(:ids AS uuid[]))"),
                {"id": attempt.attempt_id, "ids": list(attempt.expected)},
            )

    def plan(
        self,
        attempt: Attempt,
        *,
        leases: Sequence[Lease],
        spec: Callable[[list[dict[str, Any]]], dict[str, Any]],
        fingerprint: Callable[[dict[str, Any]], str],
        intervals: Sequence[str],
        rows_before: Mapping[str, int],
    ) -> dict[str, Any]:
        """Decide what a replace does, inside its lease; returns the spec.

        Args:
            spec: Makes the spec, given the dimensions of every append that was open since the lease was taken: their
                rows may lie in the rewritten time chunks before anybody can see their columns there.

        Raises:
            LeaseLost: The batch is no longer this run's.
        """
        with transaction(self._engine) as connection:
            _hold(connection, leases)
            _take_turns(connection, attempt.datasource)
            beside = connection.execute(
                sa.text(f"""
SELECT DISTINCT d.dimension
FROM druid_attempts a
CROSS JOIN LATERAL jsonb_array_elements(a.spec #> '{{spec,dataSchema,dimensionsSpec,dimensions}}') AS d(dimension)
WHERE a.datasource = :datasource AND a.kind = 'append'
  AND (a.{_OPEN} OR a.finished_at >= (SELECT created_at FROM druid_attempts WHERE attempt_id = :id))
"""),
                {"datasource": attempt.datasource, "id": attempt.attempt_id},
            ).scalars()
            planned = spec(list(beside))
            connection.execute(
                sa.text("""
UPDATE druid_attempts
SET spec = CAST(:spec AS jsonb), spec_hash = :hash, intervals = CAST(:intervals AS jsonb),
    rows_before = CAST(:before AS jsonb)
WHERE attempt_id = :id
"""),
                {
                    "id": attempt.attempt_id,
                    "spec": as_json(planned),
                    "hash": fingerprint(planned),
                    "intervals": as_json(list(intervals)),
                    "before": as_json(rows_before),
                },
            )
            return planned

    def jobs_beside(self, attempt: Attempt) -> set[str]:
        """Jobs whose appends were open at any moment since the attempt was saved: their rows may still arrive."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text(f"""
SELECT m.job_id FROM druid_attempts a JOIN attempt_jobs m USING (attempt_id)
WHERE a.datasource = :datasource AND a.kind = 'append'
  AND (a.{_OPEN} OR a.finished_at >= (SELECT created_at FROM druid_attempts WHERE attempt_id = :id))
"""),
                {"datasource": attempt.datasource, "id": attempt.attempt_id},
            )
            return {str(job_id) for job_id in rows.scalars()}

    def intervals_of(self, job_ids: Sequence[str]) -> list[str]:
        """The intervals of every attempt that held one of the jobs: its rows lie nowhere else."""
        with transaction(self._engine) as connection:
            return list(
                connection.execute(
                    sa.text("""
SELECT DISTINCT i.interval
FROM attempt_jobs m JOIN druid_attempts a USING (attempt_id)
CROSS JOIN LATERAL jsonb_array_elements_text(a.intervals) AS i(interval)
WHERE m.job_id = ANY(CAST(:ids AS uuid[]))
"""),
                    {"ids": list(job_ids)},
                ).scalars()
            )

    def unfinished_for(self, job_ids: Sequence[str]) -> list[Attempt]:
        """The attempts that unfinished jobs are frozen in, oldest first, whatever their state.

        A judged attempt is among them when its run died between judging it and ending its jobs.
        """
        return self._among(
            """
            SELECT attempt_id FROM ingestion_jobs
            WHERE job_id = ANY(CAST(:ids AS uuid[])) AND attempt_id IS NOT NULL
              AND status IN ('pending', 'processing', 'retrying')
            """,
            job_ids,
        )

    def of_job(self, job_id: str) -> list[Attempt]:
        """Every attempt that ever held the job, oldest first."""
        return self._among("SELECT attempt_id FROM attempt_jobs WHERE job_id = ANY(CAST(:ids AS uuid[]))", [job_id])

    def _among(self, attempt_ids: str, job_ids: Sequence[str]) -> list[Attempt]:
        """The attempts that a query over `:ids` names."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text(f"""
SELECT a.attempt_id, a.datasource, a.kind, a.state, a.spec_hash, a.spec, a.intervals, a.removes, a.rows_before,
       jsonb_object_agg(m.job_id, m.rows_expected) AS expected
FROM druid_attempts a JOIN attempt_jobs m USING (attempt_id)
WHERE a.attempt_id IN ({attempt_ids})
GROUP BY a.attempt_id
ORDER BY a.created_at
"""),
                {"ids": list(job_ids)},
            )
            return [_attempt(row) for row in rows]

    def mark(
        self,
        attempt_id: str,
        state: AttemptState,
        *,
        leases: Sequence[Lease],
        now: datetime,
        rows_processed: int | None = None,
        error_message: str | None = None,
        frees: bool = False,
    ) -> None:
        """Record what became of an attempt, as long as the batch is this run's.

        An attempt whose rows are shown to be absent frees its jobs for a new one, and so does one that `frees` (see
        `doubled`). A replace that is proved ends the jobs whose rows it took out as replaced or undone, in the same
        transaction.

        Raises:
            LeaseLost: The batch is no longer this run's.
        """
        with transaction(self._engine) as connection:
            _hold(connection, leases)
            connection.execute(
                sa.text("""
UPDATE druid_attempts
SET state = :state, error_message = coalesce(:error, error_message),
    rows_processed = coalesce(:rows, rows_processed),
    submitted_at = CASE WHEN :state = 'submitted' THEN coalesce(submitted_at, :now) ELSE submitted_at END,
    finished_at = CASE WHEN :final THEN :now ELSE finished_at END
WHERE attempt_id = :id
"""),
                {
                    "id": attempt_id,
                    "state": state.value,
                    "error": clean_text(error_message) if error_message else None,
                    "rows": rows_processed,
                    "now": now,
                    "final": not state.is_open,
                },
            )
            # Druid did something about them: whatever outage there was is over.
            connection.execute(
                sa.text(
                    "UPDATE ingestion_jobs SET outage_since = NULL "
                    "WHERE job_id = ANY(CAST(:ids AS uuid[])) AND outage_since IS NOT NULL"
                ),
                {"ids": [lease.job_id for lease in leases]},
            )
            if state is AttemptState.PROVED:
                connection.execute(_REMOVED, {"id": attempt_id})
            if frees or state is AttemptState.ABSENT:
                connection.execute(
                    sa.text(
                        "UPDATE ingestion_jobs SET attempt_id = NULL WHERE attempt_id = :id "
                        "AND job_id IN (SELECT job_id FROM attempt_jobs WHERE attempt_id = :id)"
                    ),
                    {"id": attempt_id},
                )

    def doubled(self, job_ids: Sequence[str]) -> set[str]:
        """Of jobs that are free for a new attempt, those of which Druid may hold more rows than it should.

        An unproved attempt frees its jobs for one purpose alone: that their rows are written anew.
        """
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text("""
SELECT DISTINCT m.job_id FROM attempt_jobs m JOIN druid_attempts a USING (attempt_id)
WHERE m.job_id = ANY(CAST(:ids AS uuid[])) AND a.state = 'unproved'
"""),
                {"ids": list(job_ids)},
            )
            return {str(job_id) for job_id in rows.scalars()}

    def count_of_job(self, job_ids: Sequence[str]) -> int:
        """How many attempts these jobs have been in; numbers the next one."""
        with transaction(self._engine) as connection:
            return int(
                connection.execute(
                    sa.text(
                        "SELECT count(DISTINCT attempt_id) FROM attempt_jobs WHERE job_id = ANY(CAST(:ids AS uuid[]))"
                    ),
                    {"ids": list(job_ids)},
                ).scalar_one()
            )


def _take_turns(connection: sa.Connection, datasource: str) -> None:
    """Whoever opens or plans an attempt of a datasource sees what the others have decided."""
    connection.execute(
        sa.text("SELECT pg_advisory_xact_lock(hashtext('ingestion-pipeline attempts'), hashtext(:name))"),
        {"name": datasource},
    )


def _overtaken(connection: sa.Connection, attempt: Attempt, now: datetime) -> str | None:
    """An open replace of the same time that has waited too long already, perhaps for one append after the other."""
    replaces = connection.execute(
        sa.text(f"""
SELECT attempt_id, intervals FROM druid_attempts
WHERE datasource = :datasource AND kind = 'replace' AND {_OPEN} AND created_at < :before
"""),
        {"datasource": attempt.datasource, "before": now - APPENDS_OVERTAKE_FOR},
    )
    mine = [Interval.parse(text) for text in attempt.intervals]
    for row in replaces:
        theirs = [Interval.parse(text) for text in row.intervals]
        if any(a.start < b.end and b.start < a.end for a in mine for b in theirs):
            return str(row.attempt_id)
    return None


def _require_no_conflict(connection: sa.Connection, attempt: Attempt, now: datetime) -> None:
    if attempt.kind is AttemptKind.APPEND:
        dimensions = attempt.spec["spec"]["dataSchema"]["dimensionsSpec"]["dimensions"]
        names = [dimension["name"] for dimension in dimensions]
        other = connection.execute(
            _BESIDE_APPEND, {"datasource": attempt.datasource, "jobs": list(attempt.expected), "columns": names}
        ).scalar() or _overtaken(connection, attempt, now)
    else:
        other = connection.execute(
            _BESIDE_REPLACE, {"datasource": attempt.datasource, "removes": list(attempt.removes)}
        ).scalar()
    jobs = list(attempt.expected)
    holders = {str(row.job_id) for row in connection.execute(HOLDERS, {"ids": jobs})}
    if holders != set(attempt.removes) or connection.execute(_OUT_OF_DATE, {"jobs": jobs}).first() is not None:
        raise DatasourceBusy(
            "What these files take the place of has changed while they were prepared.",
            hint="It is decided again by itself.",
        )
    if other is not None:
        raise DatasourceBusy(
            f"Another change of {attempt.datasource} is on its way into Druid ({other}); this one waits for its end.",
            hint="It goes on by itself.",
            details={"attempt_id": other},
        )


def _hold(connection: sa.Connection, leases: Sequence[Lease]) -> None:
    held = connection.execute(
        _HOLD, {"ids": [lease.job_id for lease in leases], "epochs": [lease.epoch for lease in leases]}
    ).all()
    if len(held) != len(leases):
        raise LeaseLost(
            f"{len(leases) - len(held)} of the batch's {len(leases)} jobs are no longer this run's.",
            hint="Another run took them over; nothing was written.",
        )


def _attempt(row: sa.Row[tuple[object, ...]]) -> Attempt:
    return Attempt(
        attempt_id=row.attempt_id,
        datasource=row.datasource,
        state=AttemptState(row.state),
        spec_hash=row.spec_hash,
        spec=row.spec,
        intervals=tuple(row.intervals),
        expected={str(job_id): int(rows) for job_id, rows in row.expected.items()},
        kind=AttemptKind(row.kind),
        removes=row.removes,
        rows_before=row.rows_before,
    )
