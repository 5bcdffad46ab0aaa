"""The outbox's way out: what is due to which endpoint, leasing it, and what came of each try.

What belongs here: what the sensor does with deliveries, and forgetting old ones. What does not: endpoints and what
people ask (`adapters.postgres_callbacks`). Deliveries of jobs' events are made by a trigger of the migrations.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import clean_text, transaction
from ingestion_pipeline.domain.callback import Answer, Delivery, DeliveryState, Verdict, job_data

# An event of a job waits for the job's earlier ones to be delivered or given up.
_READY = """
    d.state = 'pending' AND d.next_try_at <= :now AND (d.leased_until IS NULL OR d.leased_until <= :now)
    AND NOT EXISTS (
        SELECT FROM callback_deliveries p
        WHERE p.job_id = d.job_id AND p.endpoint_id = d.endpoint_id AND p.seq < d.seq AND p.state = 'pending')
"""

_OPEN = "e.state = 'enabled' AND (e.resting_until IS NULL OR e.resting_until <= :now)"

_DUE = sa.text(f"""
SELECT e.endpoint_id, e.failing_since IS NOT NULL AS failing
FROM callback_endpoints e
WHERE {_OPEN} AND e.endpoint_id <> ALL (CAST(:besides AS uuid[]))
  AND EXISTS (SELECT FROM callback_deliveries d WHERE d.endpoint_id = e.endpoint_id AND {_READY})
ORDER BY failing, e.resting_until NULLS FIRST, e.endpoint_id LIMIT :limit
""")

_TAKE = sa.text(f"""
UPDATE callback_deliveries t SET leased_until = :until, tries = t.tries + 1
WHERE t.delivery_id = (
    SELECT d.delivery_id FROM callback_deliveries d
    WHERE d.endpoint_id = CAST(:endpoint AS uuid) AND {_READY}
      AND EXISTS (SELECT FROM callback_endpoints e WHERE e.endpoint_id = d.endpoint_id AND {_OPEN})
    ORDER BY d.next_try_at, d.seq LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING t.delivery_id
""")

_TAKEN = sa.text("""
SELECT d.delivery_id, d.endpoint_id, d.organization, d.event, d.created_at, d.data, d.tries, d.failures,
       e.url, e.failing_since,
       ARRAY(SELECT s.secret FROM callback_secrets s
             WHERE s.endpoint_id = d.endpoint_id AND (s.valid_until IS NULL OR s.valid_until > :now)
             ORDER BY s.made_at DESC, s.secret) AS secrets,
       v.seq, v.to_status, v.outcome, v.details,
       j.job_id, j.datasource, j.cause, j.file_name, j.partition_day, j.parent_job_id, j.replaces_job_id,
       j.bucket, j.object_key, j.quarantine_url, j.result ->> 'replaced_by' AS replaced_by
FROM callback_deliveries d
JOIN callback_endpoints e USING (endpoint_id)
LEFT JOIN job_events v ON v.job_id = d.job_id AND v.seq = d.seq
LEFT JOIN ingestion_jobs j ON j.job_id = d.job_id
WHERE d.delivery_id = CAST(:delivery AS uuid)
""")

_LOG_TRY = sa.text("""
INSERT INTO callback_tries (delivery_id, number, organization, started_at, duration_ms, status, body, error)
SELECT d.delivery_id, :number, d.organization, :started_at, :duration_ms, :status, :body, :error
FROM callback_deliveries d WHERE d.delivery_id = CAST(:delivery AS uuid)
""")

# A success counts whoever holds the lease by now; a failure only while it is still this try's.
_RECORD = sa.text("""
UPDATE callback_deliveries
SET state = :state, leased_until = NULL, next_try_at = coalesce(:next_try_at, next_try_at),
    failures = CASE WHEN :delivered THEN failures ELSE failures + 1 END,
    finished_at = CASE WHEN :state = 'pending' THEN NULL ELSE CAST(:now AS timestamptz) END
WHERE delivery_id = CAST(:delivery AS uuid)
  AND CASE WHEN :delivered THEN state <> 'delivered' ELSE state = 'pending' AND tries = :number END
RETURNING job_id, seq, endpoint_id
""")

# What is behind it is looked at when it is tried again, or at once when it is done; the order does not depend on it.
_BEHIND = sa.text("""
UPDATE callback_deliveries SET next_try_at = coalesce(:next_try_at, least(next_try_at, :now))
WHERE job_id = :job_id AND endpoint_id = :endpoint_id AND seq > :seq AND state = 'pending'
""")

_FORGET = sa.text("""
DELETE FROM callback_deliveries WHERE delivery_id IN (
    SELECT delivery_id FROM callback_deliveries
    WHERE state <> 'pending' AND finished_at < :before ORDER BY finished_at LIMIT :limit)
""")


@dataclass(frozen=True, slots=True)
class DueEndpoint:
    """An endpoint with something to send; `failing`: its last delivery did not succeed."""

    endpoint_id: str
    failing: bool


class Deliveries:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def due(self, *, besides: Collection[str] = (), limit: int, now: datetime) -> list[DueEndpoint]:
        """Endpoints with deliveries that can be sent now: those that work first, then by how long they rested.

        One look into an index per endpoint, whatever waits for it.
        """
        with transaction(self._engine) as connection:
            rows = connection.execute(_DUE, {"now": now, "besides": list(besides), "limit": limit})
            return [DueEndpoint(str(row.endpoint_id), row.failing) for row in rows]

    def take(self, endpoint_id: str, *, now: datetime, lease_seconds: float) -> Delivery | None:
        """Lease the endpoint's first delivery that can be sent now; None if there is none."""
        with transaction(self._engine) as connection:
            delivery_id = connection.execute(
                _TAKE, {"endpoint": endpoint_id, "now": now, "until": now + timedelta(seconds=lease_seconds)}
            ).scalar()
            return None if delivery_id is None else taken(connection, str(delivery_id), now=now)

    def record(
        self, delivery: Delivery, answer: Answer, verdict: Verdict, *, started_at: datetime, now: datetime
    ) -> None:
        """Keep a try in the log, and what it means for the delivery, for those behind it, and for the endpoint."""
        with transaction(self._engine) as connection:
            # The endpoint's row before its deliveries', as everywhere.
            _note_standing(connection, delivery.endpoint_id, verdict, now=now)
            connection.execute(
                _LOG_TRY,
                {
                    "delivery": delivery.delivery_id,
                    "number": delivery.number,
                    "started_at": started_at,
                    "duration_ms": round(answer.duration_seconds * 1000),
                    "status": answer.status,
                    "body": clean_text(answer.body),
                    "error": clean_text(answer.error) if answer.error else None,
                },
            )
            parameters: dict[str, Any] = {"next_try_at": verdict.next_try_at, "now": now}
            recorded = connection.execute(
                _RECORD,
                {
                    **parameters,
                    "delivery": delivery.delivery_id,
                    "number": delivery.number,
                    "state": verdict.state.value,
                    "delivered": verdict.delivered,
                },
            ).first()
            if recorded is not None and recorded.job_id is not None:
                connection.execute(_BEHIND, {**parameters, **recorded._mapping})
            if verdict.disable:
                park_all(connection, delivery.endpoint_id, now=now)

    def forget_deliveries(self, before: datetime, limit: int) -> int:
        """Delete up to `limit` deliveries, with their tries, that were delivered or parked before a moment.

        Returns:
            How many; fewer than `limit`: no more are left.
        """
        with transaction(self._engine) as connection:
            return connection.execute(_FORGET, {"before": before, "limit": limit}).rowcount


def taken(connection: sa.Connection, delivery_id: str, *, now: datetime) -> Delivery:
    """A leased delivery with everything that sending it needs."""
    row = dict(connection.execute(_TAKEN, {"delivery": delivery_id, "now": now}).mappings().one())
    return Delivery(
        delivery_id=delivery_id,
        endpoint_id=str(row["endpoint_id"]),
        organization=row["organization"],
        url=row["url"],
        event=row["event"],
        occurred_at=row["created_at"],
        data=row["data"] if row["job_id"] is None else job_data(row, row),
        number=row["tries"],
        failures=row["failures"],
        failing_since=row["failing_since"],
        secrets=tuple(row["secrets"]),
    )


def park_all(connection: sa.Connection, endpoint_id: str, *, now: datetime) -> None:
    """Give up, until a person asks for it again, what waits for an endpoint."""
    connection.execute(
        sa.text(
            "UPDATE callback_deliveries SET state = :parked, finished_at = :now, leased_until = NULL "
            "WHERE endpoint_id = CAST(:endpoint AS uuid) AND state = 'pending'"
        ),
        {"endpoint": endpoint_id, "parked": DeliveryState.PARKED.value, "now": now},
    )


def _note_standing(connection: sa.Connection, endpoint_id: str, verdict: Verdict, *, now: datetime) -> None:
    """Since when an endpoint fails and until when it is left alone; nothing is written where all is well."""
    if verdict.delivered:
        statement = (
            "UPDATE callback_endpoints SET failing_since = NULL, resting_until = NULL "
            "WHERE endpoint_id = CAST(:endpoint AS uuid) AND failing_since IS NOT NULL"
        )
    else:
        statement = """
UPDATE callback_endpoints
SET failing_since = coalesce(failing_since, :now), resting_until = coalesce(:rest_until, resting_until),
    state = CASE WHEN CAST(:reason AS text) IS NULL OR state = 'removed' THEN state ELSE 'disabled' END,
    disabled_reason = coalesce(:reason, disabled_reason)
WHERE endpoint_id = CAST(:endpoint AS uuid)
"""
    connection.execute(
        sa.text(statement),
        {"endpoint": endpoint_id, "now": now, "rest_until": verdict.rest_until, "reason": verdict.disable},
    )
