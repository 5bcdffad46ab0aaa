"""How ingestion is doing, counted in the ledger; each count reads what waits or what ended lately, not history."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import transaction
from ingestion_pipeline.domain.figures import COUNTED, Ended, Figures, Waiting
from ingestion_pipeline.domain.job import Lane, Priority

# In the words of the partial indexes, by which PostgreSQL finds the rows.
_UNCLAIMED = "status IN ('pending', 'retrying') AND claim_token IS NULL AND arrived_at IS NOT NULL"
_CLAIMED = "claim_token IS NOT NULL AND status IN ('pending', 'processing', 'retrying')"


class FiguresOfLedger:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def now(self, moment: datetime, *, disabled: Mapping[str, str] | None = None) -> Figures:
        """Everything at this moment.

        Args:
            disabled: Datasources with a broken contract, and what is wrong, which the ledger does not judge.
        """
        with transaction(self._engine) as connection:
            in_work, runs = connection.execute(
                sa.text(f"SELECT count(*), count(DISTINCT claim_token) FROM ingestion_jobs WHERE {_CLAIMED}")
            ).one()
            return Figures(
                moment=moment,
                waiting=_waiting(connection),
                history=_counted(connection, f"ingestion_jobs WHERE {_UNCLAIMED} AND lane = 'history'"),
                in_work=in_work,
                runs=runs,
                last_hour=_ended(connection, since=moment - timedelta(hours=1)),
                last_day=_ended(connection, since=moment - timedelta(days=1)),
                unmatched=_counted(connection, "unmatched_objects"),
                parked=_counted(
                    connection,
                    "callback_deliveries d JOIN callback_endpoints e USING (endpoint_id) "
                    "WHERE d.state = 'parked' AND e.state = 'enabled'",
                ),
                arrivals=_by_name(connection, "SELECT kind AS name, count(*) AS value FROM arrival_events "
                                              "WHERE ended_at IS NULL GROUP BY kind"),
                dependencies={
                    row.name: (row.problem, row.since)
                    for row in connection.execute(
                        sa.text("SELECT name, problem, since FROM dependencies WHERE problem IS NOT NULL")
                    )
                },
                disabled=dict(disabled or {}),
            )  # fmt: skip


def _waiting(connection: sa.Connection) -> tuple[Waiting, ...]:
    rows = connection.execute(
        sa.text(f"""
SELECT lane, priority, count(*) AS files, sum(size_bytes)::bigint AS size_bytes, min(arrived_at) AS oldest
FROM ingestion_jobs WHERE {_UNCLAIMED} AND lane <> 'history'
GROUP BY lane, priority ORDER BY lane DESC, priority
""")
    )
    return tuple(
        Waiting(
            lane=Lane(row.lane),
            priority=Priority(row.priority),
            files=row.files,
            size_bytes=row.size_bytes,
            oldest=row.oldest,
        )
        for row in rows
    )


def _ended(connection: sa.Connection, *, since: datetime) -> Ended:
    row = connection.execute(
        sa.text("""
SELECT count(*) AS files, count(*) FILTER (WHERE status = 'failed') AS failed,
       coalesce(sum(rows_queryable), 0)::bigint AS rows, coalesce(sum(size_bytes), 0)::bigint AS size_bytes
FROM ingestion_jobs WHERE finished_at IS NOT NULL AND finished_at > :since AND status <> 'canceled'
"""),
        {"since": since},
    ).one()
    return Ended(**row._mapping)


def _counted(connection: sa.Connection, rows: str) -> int:
    """How many rows there are, no further than it is told."""
    found: int = connection.execute(
        sa.text(f"SELECT count(*) FROM (SELECT FROM {rows} LIMIT {COUNTED + 1}) AS counted")
    ).scalar_one()
    return found


def _by_name(connection: sa.Connection, query: str) -> dict[str, int]:
    return {row.name: row.value for row in connection.execute(sa.text(query))}
