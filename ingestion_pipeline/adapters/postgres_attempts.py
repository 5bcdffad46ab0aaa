"""Attempts: what was sent to Druid, saved before it is sent, and what became of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import as_json, clean_text, transaction
from ingestion_pipeline.domain.job import Attempt, AttemptState, Lease
from ingestion_pipeline.errors import LeaseLost

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
        """
        with transaction(self._engine) as connection:
            _hold(connection, leases)
            connection.execute(
                sa.text("""
INSERT INTO druid_attempts (
    attempt_id, datasource, state, spec_hash, spec, intervals, rows_expected, run_id, created_at)
VALUES (:id, :datasource, 'saved', :spec_hash, CAST(:spec AS jsonb), CAST(:intervals AS jsonb), :rows, :run_id, :now)
"""),
                {
                    "id": attempt.attempt_id,
                    "datasource": attempt.datasource,
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
SELECT a.attempt_id, a.datasource, a.state, a.spec_hash, a.spec, a.intervals,
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
    ) -> None:
        """Record what became of an attempt, as long as the batch is this run's.

        An attempt whose rows are shown to be absent frees its jobs for a new one.

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
            if state is AttemptState.ABSENT:
                connection.execute(
                    sa.text(
                        "UPDATE ingestion_jobs SET attempt_id = NULL WHERE attempt_id = :id "
                        "AND job_id IN (SELECT job_id FROM attempt_jobs WHERE attempt_id = :id)"
                    ),
                    {"id": attempt_id},
                )

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
    )
