"""Backfills in the ledger: what history waits, what one has released, and holding that back when it is stopped.

What belongs here: questions about many days or a whole backfill. What does not: what one run claims
(`adapters.postgres_queue`), Dagster's side (`adapters.dagster_backfills`).
"""

from datetime import date, datetime

import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import transaction
from ingestion_pipeline.adapters.postgres_queue import HAS_NEWER_VERSION, WAITING
from ingestion_pipeline.domain.backfill import BackfillFiles, DayFiles, PastRun

_DAYS = sa.text(f"""
SELECT day, count(*) AS files,
       count(*) FILTER (WHERE history) AS history,
       CAST(coalesce(sum(size_bytes) FILTER (WHERE history), 0) AS bigint) AS history_bytes,
       count(*) FILTER (WHERE loaded) AS loaded,
       count(*) FILTER (WHERE failed) AS failed,
       count(*) FILTER (WHERE open AND lane <> 'history') AS under_way
FROM (
    SELECT j.partition_day AS day, j.size_bytes, j.lane,
           j.status IN ('pending', 'processing', 'retrying') AS open,
           j.outcome IN ('loaded', 'loaded_with_rejects') AS loaded,
           j.status = 'failed' AND NOT EXISTS (
               SELECT FROM ingestion_jobs r WHERE r.parent_job_id = j.job_id AND r.cause IN ('retry', 'replay')
           ) AS failed,
           j.lane = 'history' AND {WAITING} AND NOT ({HAS_NEWER_VERSION}) AS history
    FROM ingestion_jobs j
    WHERE j.datasource = :datasource AND j.partition_day BETWEEN :first AND :last
) d
GROUP BY day
ORDER BY day
""")

# Of the newest days, which an index finds: those runs had today's contract and machine.
_PAST_RUNS = sa.text("""
SELECT count(*) AS files, extract(epoch FROM max(finished_at) - min(claimed_at)) AS seconds
FROM (
    SELECT run_id, claimed_at, finished_at FROM ingestion_jobs
    WHERE datasource = :datasource AND status = 'completed'
    ORDER BY partition_day DESC
    LIMIT :files
) j
WHERE run_id IS NOT NULL AND claimed_at IS NOT NULL
GROUP BY run_id
ORDER BY max(finished_at) DESC
LIMIT :runs
""")

_FILES = sa.text("""
SELECT count(*) FILTER (WHERE outcome IN ('loaded', 'loaded_with_rejects')) AS loaded,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status IN ('completed', 'canceled')
           AND outcome NOT IN ('loaded', 'loaded_with_rejects')) AS other,
       count(*) FILTER (WHERE status IN ('pending', 'processing', 'retrying') AND lane <> 'history') AS open,
       coalesce(sum(rows_queryable), 0) AS rows_queryable
FROM ingestion_jobs WHERE backfill_id = :backfill_id
""")


class Backfills:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def days(self, datasource: str, *, first: date, last: date, now: datetime) -> list[DayFiles]:
        """The partition days that have files, both ends included."""
        with transaction(self._engine) as connection:
            rows = connection.execute(_DAYS, {"datasource": datasource, "first": first, "last": last, "now": now})
            return [DayFiles(**row) for row in rows.mappings()]

    def past_runs(self, datasource: str, *, runs: int = 20, files: int = 1000) -> list[PastRun]:
        """The latest runs among those that loaded the newest partition days.

        Args:
            runs: At most so many.
            files: Looked at.
        """
        with transaction(self._engine) as connection:
            rows = connection.execute(_PAST_RUNS, {"datasource": datasource, "runs": runs, "files": files})
            return [PastRun(files=row.files, seconds=float(row.seconds)) for row in rows]

    def files(self, backfill_id: str) -> BackfillFiles:
        """What became of the files that one of Dagster's backfills has released."""
        with transaction(self._engine) as connection:
            row = connection.execute(_FILES, {"backfill_id": backfill_id}).one()
            return BackfillFiles(**{name: int(value) for name, value in row._mapping.items()})

    def unfinished(self) -> list[str]:
        """Dagster's backfills of which jobs of lane `backfill` have not ended."""
        with transaction(self._engine) as connection:
            return list(
                connection.execute(
                    sa.text("""
SELECT DISTINCT backfill_id FROM ingestion_jobs
WHERE backfill_id IS NOT NULL AND lane = 'backfill' AND status IN ('pending', 'processing', 'retrying')
LIMIT 100
""")
                ).scalars()
            )

    def hold_back(self, backfill_id: str) -> int:
        """Let a stopped backfill's jobs wait for the next one, except those at work or on their way into Druid.

        A run that was promised some and has not taken them finds its claim stale.

        Returns:
            How many wait.
        """
        with transaction(self._engine) as connection:
            return connection.execute(
                sa.text("""
UPDATE ingestion_jobs
SET lane = 'history', claim_token = NULL, lease_epoch = lease_epoch + 1, waiting_reason = NULL
WHERE backfill_id = :backfill_id AND lane = 'backfill' AND status IN ('pending', 'retrying') AND attempt_id IS NULL
"""),
                {"backfill_id": backfill_id},
            ).rowcount
