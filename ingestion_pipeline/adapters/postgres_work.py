"""A run's side of the ledger: taking leases, and writes that stop when the lease is gone.

Every write names the epoch it was leased under (`WHERE lease_epoch = :mine`). A worker that was
paused, orphaned or replaced therefore changes nothing, whatever it still believes.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import as_json, clean_text, transaction
from ingestion_pipeline.adapters.postgres_jobs import JOB_COLUMNS, job_from_row
from ingestion_pipeline.domain.job import Job, Lease, Outcome, Staged, Status, Step
from ingestion_pipeline.domain.quarantine import Quarantine
from ingestion_pipeline.errors import IngestionError, LeaseLost

# A run may take what nobody holds, what it holds itself, and what the run that it retries held.
_TAKE = sa.text(f"""
UPDATE ingestion_jobs j
SET status = 'processing', lease_epoch = j.lease_epoch + 1, lease_run_id = :run_id, run_id = :run_id,
    heartbeat_at = :now, started_at = coalesce(j.started_at, :now), next_try_at = NULL, waiting_reason = NULL,
    tries = j.tries + CASE WHEN j.status = 'processing' THEN 0 ELSE 1 END,
    step = coalesce(j.step, 'validate'), progress_percent = greatest(j.progress_percent, 1)
WHERE j.claim_token = :token AND j.status IN ('pending', 'processing', 'retrying')
  AND (j.lease_run_id IS NULL OR j.lease_run_id = ANY(:mine))
RETURNING {JOB_COLUMNS}
""")

# A retry may also begin at a later op, after its predecessor was fenced; the fenced run itself may not go on.
_RENEW = sa.text(f"""
UPDATE ingestion_jobs j
SET lease_epoch = j.lease_epoch + 1, lease_run_id = :run_id, run_id = :run_id, heartbeat_at = :now, step = :step
WHERE j.job_id = ANY(CAST(:job_ids AS uuid[])) AND j.status = 'processing'
  AND (j.lease_run_id = ANY(:mine) OR (j.lease_run_id IS NULL AND j.run_id = ANY(:ancestors)))
RETURNING {JOB_COLUMNS}
""")

_MINE = "job_id = CAST(:job_id AS uuid) AND lease_epoch = :epoch AND status = 'processing'"


class Work:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def take(self, *, token: str, run_id: str, ancestors: Sequence[str], now: datetime) -> list[Job]:
        """Lease every job of a claim that is really this run's; [] for a stale token.

        Args:
            ancestors: Runs that this one retries (parent, root).
        """
        with transaction(self._engine) as connection:
            rows = connection.execute(
                _TAKE, {"token": token, "run_id": run_id, "mine": [run_id, *ancestors], "now": now}
            )
            return sorted((job_from_row(row) for row in rows), key=lambda job: (job.created_at, job.job_id))

    def renew(
        self, job_ids: Sequence[str], *, run_id: str, ancestors: Sequence[str], step: Step, now: datetime
    ) -> list[Job]:
        """Lease again, under a new epoch, at the start of a later op; jobs held by another run are left out."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                _RENEW,
                {
                    "job_ids": list(job_ids),
                    "run_id": run_id,
                    "mine": [run_id, *ancestors],
                    "ancestors": list(ancestors),
                    "step": step.value,
                    "now": now,
                },
            )
            return sorted((job_from_row(row) for row in rows), key=lambda job: (job.created_at, job.job_id))

    def heartbeat(
        self, leases: Sequence[Lease], *, percent: int | None, progress: Mapping[str, Any], now: datetime
    ) -> set[str]:
        """Say that the run lives; returns the job ids whose lease still holds."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text("""
UPDATE ingestion_jobs j
SET heartbeat_at = :now, progress = CAST(:progress AS jsonb),
    progress_percent = greatest(j.progress_percent, coalesce(CAST(:percent AS smallint), 0))
FROM unnest(CAST(:ids AS uuid[]), CAST(:epochs AS int[])) AS u(job_id, epoch)
WHERE j.job_id = u.job_id AND j.lease_epoch = u.epoch AND j.status = 'processing'
RETURNING j.job_id
"""),
                {
                    "now": now,
                    "percent": percent,
                    "progress": as_json(progress),
                    "ids": [lease.job_id for lease in leases],
                    "epochs": [lease.epoch for lease in leases],
                },
            )
            return {str(job_id) for job_id in rows.scalars()}

    def record_validated(
        self, lease: Lease, *, report: Mapping[str, Any], staged: Staged | None, quarantine: Quarantine | None
    ) -> None:
        """Keep what validate found: counts, hash, errors, preview, and where the accepted and the rejected rows are.

        Args:
            report: `ValidationReport.as_dict()`.
        """
        kept = ("rule_counts", "format", "warnings", "time_min", "time_max", "added_columns")
        preview: list[Mapping[str, Any]] = report.get("preview") or []
        result = {key: report.get(key) for key in kept} | {
            "quarantine": quarantine.as_dict() if quarantine else None,
            # JSONB forgets the order of keys, and a table's columns have one.
            "schema": [[name, dtype] for name, dtype in (report.get("schema") or {}).items()],
            "preview": {
                "columns": list(preview[0]) if preview else [],
                "rows": [list(row.values()) for row in preview],
            },
        }
        self._write(
            lease,
            """
            rows_read = :rows_read, rows_accepted = :rows_accepted, rows_rejected = :rows_rejected,
            rows_filtered = :rows_filtered, content_hash = :content_hash,
            validation_errors = CAST(:errors AS jsonb), result = j.result || CAST(:result AS jsonb),
            staged = CAST(:staged AS jsonb), quarantine_url = :quarantine_url, contract_version = :contract_version,
            progress_percent = greatest(j.progress_percent, 40), outage_since = NULL
            """,
            {
                "rows_read": report["rows_read"],
                "rows_accepted": report["rows_accepted"],
                "rows_rejected": report["rows_rejected"],
                "rows_filtered": report["rows_filtered"],
                "content_hash": report.get("content_hash"),
                "errors": as_json(report.get("first_errors") or []),
                "result": as_json(result),
                "staged": as_json(staged.as_dict()) if staged else None,
                "contract_version": staged.contract_version if staged else None,
                "quarantine_url": quarantine.csv_url if quarantine else None,
            },
        )

    def record_cleaned(self, lease: Lease, *, staged: Staged, result_url: str) -> None:
        self._write(
            lease,
            "staged = CAST(:staged AS jsonb), result_url = :url, progress_percent = greatest(j.progress_percent, 60)",
            {"staged": as_json(staged.as_dict()), "url": result_url},
        )

    def complete(
        self,
        lease: Lease,
        outcome: Outcome,
        *,
        rows_queryable: int,
        summary: str,
        details: Mapping[str, Any],
        now: datetime,
    ) -> None:
        self._write(
            lease,
            """
            status = 'completed', outcome = :outcome, rows_queryable = :rows_queryable, finished_at = :now,
            progress_percent = 100, lease_run_id = NULL, next_try_at = NULL,
            error_type = NULL, error_code = NULL, error_message = NULL, error_retryable = NULL,
            result = j.result || CAST(:result AS jsonb) || jsonb_build_object(
                'processing_seconds', round(extract(epoch FROM (CAST(:now AS timestamptz) - j.started_at))::numeric, 3))
            """,
            {
                "outcome": outcome.value,
                "rows_queryable": rows_queryable,
                "now": now,
                "result": as_json({**details, "summary": summary}),
            },
        )

    def fail(self, lease: Lease, error: IngestionError, *, now: datetime) -> None:
        """End a job as failed; the outcome is the error's code."""
        self._end_badly(lease, Status.FAILED, error.code, error, now=now)

    def stop(self, lease: Lease, error: IngestionError, *, now: datetime) -> None:
        """End a job as canceled, because a person stopped its run."""
        self._end_badly(lease, Status.CANCELED, Outcome.STOPPED.value, error, now=now)

    def _end_badly(self, lease: Lease, status: Status, outcome: str, error: IngestionError, *, now: datetime) -> None:
        self._write(
            lease,
            """
            status = :status, outcome = :outcome, finished_at = :now, lease_run_id = NULL, next_try_at = NULL,
            error_type = :error_type, error_code = :error_code, error_message = :error_message,
            error_retryable = :error_retryable,
            result = j.result || jsonb_build_object('hint', CAST(:hint AS text), 'details', CAST(:details AS jsonb))
            """,
            {"status": status.value, "outcome": outcome, "now": now, **_error_fields(error)},
        )

    def request_cancel(self, lease: Lease, *, now: datetime) -> None:
        """Remember that a person canceled a job whose rows may be in Druid: no new attempt, only an answer."""
        self._write(lease, "cancel_requested_at = coalesce(j.cancel_requested_at, :now)", {"now": now})

    def give_back(
        self,
        lease: Lease,
        error: IngestionError,
        *,
        next_try_at: datetime,
        outage_since: datetime | None = None,
        counts: bool = False,
    ) -> None:
        """Free the job for a later run: it waits as `retrying` until `next_try_at`.

        Args:
            counts: The file may be to blame: this was one of its tries.
            outage_since: That an outside system does not answer is the reason, and since when it has been.
        """
        self._write(
            lease,
            """
            status = 'retrying', retry_count = j.retry_count + 1,
            tries = greatest(j.tries - CASE WHEN :counts THEN 0 ELSE 1 END, 0),
            next_try_at = :next_try_at, outage_since = :outage_since,
            waiting_reason = CAST(:error_message AS text), lease_run_id = NULL, claim_token = NULL,
            lease_epoch = j.lease_epoch + 1, error_type = :error_type, error_code = :error_code,
            error_message = :error_message, error_retryable = :error_retryable,
            result = j.result || jsonb_build_object('hint', CAST(:hint AS text), 'details', CAST(:details AS jsonb))
            """,
            {
                "next_try_at": next_try_at,
                "outage_since": outage_since,
                "counts": counts,
                **_error_fields(error),
            },
        )

    def _write(self, lease: Lease, assignments: str, parameters: Mapping[str, Any]) -> None:
        with transaction(self._engine) as connection:
            result = connection.execute(
                sa.text(f"UPDATE ingestion_jobs j SET {assignments} WHERE {_MINE}"),
                {"job_id": lease.job_id, "epoch": lease.epoch, **parameters},
            )
            if result.rowcount == 0:
                raise LeaseLost(
                    f"Job {lease.job_id} is no longer this run's (epoch {lease.epoch}).",
                    hint="Another run took it over or it ended; nothing was written.",
                )


def _error_fields(error: IngestionError) -> dict[str, Any]:
    return {
        "error_type": type(error).__name__,
        "error_code": error.code,
        "error_message": clean_text(error.message),
        "error_retryable": error.retryable,
        "hint": clean_text(error.hint),
        "details": as_json(error.details),
    }
