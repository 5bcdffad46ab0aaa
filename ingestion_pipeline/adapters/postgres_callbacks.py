"""Callback endpoints and the log of their deliveries: what people set up, read and ask for again.

What belongs here: endpoints, their secrets, announcements of events that no job has, the log, redelivery. What does
not: sending (`adapters.postgres_deliveries`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import as_json, transaction
from ingestion_pipeline.adapters.postgres_deliveries import park_all, taken
from ingestion_pipeline.domain.callback import Delivery, DeliveryState, EndpointState, Event, require_small

_ENDPOINT = "endpoint_id = CAST(:endpoint AS uuid)"

_ANNOUNCE = sa.text("""
INSERT INTO callback_deliveries (
    endpoint_id, organization, event, event_key, data, state, next_try_at, created_at, finished_at)
SELECT e.endpoint_id, e.organization, :event, :key, CAST(:data AS jsonb),
       CASE e.state WHEN 'enabled' THEN 'pending' ELSE 'parked' END, :now, :now,
       CASE e.state WHEN 'enabled' THEN NULL ELSE CAST(:now AS timestamptz) END
FROM callback_endpoints e
WHERE e.organization = :organization AND e.state <> 'removed' AND :event = ANY (e.events)
  AND (e.datasources IS NULL OR :datasource = ANY (e.datasources))
ON CONFLICT (endpoint_id, event_key) DO NOTHING
""")

_LIST = """
SELECT e.endpoint_id::text AS endpoint_id, e.organization, e.url, e.events, e.datasources, e.state, e.disabled_reason,
       e.failing_since, e.resting_until, e.created_at,
       (SELECT count(*) FROM callback_secrets s
        WHERE s.endpoint_id = e.endpoint_id AND (s.valid_until IS NULL OR s.valid_until > :now)) AS secrets,
       (SELECT count(*) FROM callback_deliveries d
        WHERE d.endpoint_id = e.endpoint_id AND d.state = 'pending') AS pending,
       (SELECT count(*) FROM callback_deliveries d
        WHERE d.endpoint_id = e.endpoint_id AND d.state = 'parked') AS parked
FROM callback_endpoints e
"""

# The newest of each endpoint, then the newest of these: an index has them in order.
_LOG = """
SELECT l.*, t.number, t.started_at, t.duration_ms, t.status, t.body, t.error
FROM callback_endpoints e
CROSS JOIN LATERAL (
    SELECT d.delivery_id::text AS delivery_id, d.endpoint_id::text AS endpoint_id, e.url, d.organization, d.event,
           d.job_id::text AS job_id, d.seq, d.event_key, d.state, d.tries, d.created_at, d.finished_at,
           CASE WHEN d.state = 'pending' THEN d.next_try_at END AS next_try_at
    FROM callback_deliveries d
    WHERE d.endpoint_id = e.endpoint_id {narrowed}
    ORDER BY d.created_at DESC, d.seq DESC LIMIT :limit
) l
LEFT JOIN callback_tries t ON t.delivery_id = CAST(l.delivery_id AS uuid) AND t.number = l.tries
WHERE {conditions}
ORDER BY l.created_at DESC, l.seq DESC, l.delivery_id LIMIT :limit
"""


class Callbacks:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(
        self,
        *,
        endpoint_id: str,
        organization: str,
        url: str,
        events: Sequence[Event],
        datasources: Sequence[str] | None,
        secret: str,
        now: datetime,
    ) -> None:
        """Make an endpoint; it gets the events from now on."""
        with transaction(self._engine) as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO callback_endpoints (endpoint_id, organization, url, events, datasources, created_at) "
                    "VALUES (CAST(:endpoint AS uuid), :organization, :url, :events, :datasources, :now)"
                ),
                {
                    "endpoint": endpoint_id,
                    "organization": organization,
                    "url": url,
                    "events": [event.value for event in events],
                    "datasources": None if datasources is None else list(datasources),
                    "now": now,
                },
            )
            _add_secret(connection, endpoint_id, secret, now=now)

    def endpoints(
        self, *, organization: str | None = None, id_prefix: str = "", removed: bool = False, now: datetime
    ) -> list[dict[str, Any]]:
        """Endpoints, oldest first, with how much waits for each; without secrets."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text(f"""
{_LIST}
WHERE (CAST(:organization AS text) IS NULL OR e.organization = :organization)
  AND starts_with(e.endpoint_id::text, :prefix) AND (:removed OR e.state <> 'removed')
ORDER BY e.created_at, e.endpoint_id
"""),
                {"organization": organization, "prefix": id_prefix, "removed": removed, "now": now},
            )
            return [dict(row) for row in rows.mappings()]

    def enable(self, endpoint_id: str) -> None:
        """Send to it again, from now on; what is parked stays so until it is asked for."""
        self._set_state(endpoint_id, EndpointState.ENABLED, reason=None)

    def disable(self, endpoint_id: str, *, reason: str, now: datetime) -> None:
        """Park what waits for it and what comes."""
        self._set_state(endpoint_id, EndpointState.DISABLED, reason=reason, park_at=now)

    def remove(self, endpoint_id: str, *, now: datetime) -> None:
        """Nothing is made for it any more, and its secrets are gone; the log of its deliveries stays."""
        self._set_state(endpoint_id, EndpointState.REMOVED, reason=None, park_at=now)
        with transaction(self._engine) as connection:
            connection.execute(sa.text(f"DELETE FROM callback_secrets WHERE {_ENDPOINT}"), {"endpoint": endpoint_id})

    def rotate_secret(self, endpoint_id: str, *, secret: str, keep_old: timedelta, now: datetime) -> None:
        """A new secret; deliveries are signed with the old ones, too, for a while."""
        with transaction(self._engine) as connection:
            parameters = {"endpoint": endpoint_id, "now": now, "until": now + keep_old}
            connection.execute(
                sa.text(f"""
UPDATE callback_secrets SET valid_until = least(coalesce(valid_until, :until), :until) WHERE {_ENDPOINT}
"""),
                parameters,
            )
            connection.execute(
                sa.text(f"DELETE FROM callback_secrets WHERE {_ENDPOINT} AND valid_until <= :now"), parameters
            )
            _add_secret(connection, endpoint_id, secret, now=now)

    def announce(
        self, organization: str, event: Event, datasource: str, data: Mapping[str, Any], key: str, *, now: datetime
    ) -> int:
        """Put an event that no job has into the outbox, for each endpoint of the organization that wants it.

        Args:
            data: What is told; `organization` and `datasource` are added to it.
            key: Of the event: the same key again makes no further delivery, whoever says it.

        Returns:
            How many deliveries that made.

        Raises:
            ValueError: The data is too much.
        """
        with transaction(self._engine) as connection:
            return announced(connection, organization, event, datasource=datasource, data=data, key=key, now=now)

    def begin_test(self, endpoint_id: str, *, key: str, now: datetime, lease_seconds: float) -> Delivery:
        """A delivery of the test event to one endpoint, leased by the caller."""
        with transaction(self._engine) as connection:
            delivery_id = connection.execute(
                sa.text(f"""
INSERT INTO callback_deliveries (
    endpoint_id, organization, event, event_key, data, tries, next_try_at, created_at, leased_until)
SELECT endpoint_id, organization, :event, :key,
       jsonb_build_object('organization', organization, 'endpoint_id', endpoint_id), 1, :now, :now, :until
FROM callback_endpoints WHERE {_ENDPOINT}
RETURNING delivery_id
"""),
                {
                    "endpoint": endpoint_id,
                    "event": Event.TEST.value,
                    "key": key,
                    "now": now,
                    "until": now + timedelta(seconds=lease_seconds),
                },
            ).scalar_one()
            return taken(connection, str(delivery_id), now=now)

    def log(
        self,
        *,
        organization: str | None = None,
        endpoint_id: str | None = None,
        job_id: str | None = None,
        state: DeliveryState | None = None,
        id_range: tuple[str, str] | None = None,
        limit: int = 50,
    ) -> list[dict[str, Any]]:
        """Deliveries, newest first, each with its last try.

        Args:
            id_range: The first and the last id that is meant.
        """
        outer, inner = ["true"], [""]
        parameters: dict[str, Any] = {"limit": limit}
        given: tuple[tuple[list[str], str, dict[str, Any]], ...] = (
            (outer, "e.organization = :organization", {"organization": organization}),
            (outer, "e.endpoint_id = CAST(:endpoint AS uuid)", {"endpoint": endpoint_id}),
            (inner, "d.job_id = CAST(:job AS uuid)", {"job": job_id}),
            (inner, "d.state = :state", {"state": state.value if state else None}),
        )
        for conditions, condition, values in given:
            if None not in values.values():
                conditions.append(condition)
                parameters |= values
        if id_range:
            inner.append("d.delivery_id BETWEEN CAST(:first AS uuid) AND CAST(:last AS uuid)")
            parameters |= {"first": id_range[0], "last": id_range[1]}
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text(_LOG.format(narrowed=" AND ".join(inner), conditions=" AND ".join(outer))), parameters
            )
            return [dict(row) for row in rows.mappings()]

    def tries(self, delivery_id: str) -> list[dict[str, Any]]:
        """Every try of a delivery, in order."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text(
                    "SELECT number, started_at, duration_ms, status, body, error FROM callback_tries "
                    "WHERE delivery_id = CAST(:delivery AS uuid) ORDER BY number"
                ),
                {"delivery": delivery_id},
            )
            return [dict(row) for row in rows.mappings()]

    def redeliver(self, endpoint_id: str, *, delivery_id: str | None = None, now: datetime) -> int:
        """Send again what was parked, and at once what waits for its next try; or one delivery, whatever became of it.

        Returns:
            How many deliveries that is.
        """
        chosen = (
            f"state <> 'delivered' AND event <> '{Event.TEST}'"
            if delivery_id is None
            else "delivery_id = CAST(:delivery AS uuid)"
        )
        with transaction(self._engine) as connection:
            connection.execute(
                sa.text(f"UPDATE callback_endpoints SET resting_until = NULL, failing_since = NULL WHERE {_ENDPOINT}"),
                {"endpoint": endpoint_id},
            )
            # A lease stays: who holds it is sending it now.
            return connection.execute(
                sa.text(f"""
UPDATE callback_deliveries SET state = 'pending', next_try_at = :now, failures = 0, finished_at = NULL
WHERE {_ENDPOINT} AND {chosen}
"""),
                {"endpoint": endpoint_id, "delivery": delivery_id, "now": now},
            ).rowcount

    def _set_state(
        self, endpoint_id: str, state: EndpointState, *, reason: str | None, park_at: datetime | None = None
    ) -> None:
        with transaction(self._engine) as connection:
            connection.execute(
                sa.text(f"""
UPDATE callback_endpoints SET state = :state, disabled_reason = :reason, failing_since = NULL, resting_until = NULL
WHERE {_ENDPOINT} AND state <> 'removed'
"""),
                {"endpoint": endpoint_id, "state": state.value, "reason": reason},
            )
            if park_at is not None:
                park_all(connection, endpoint_id, now=park_at)


def _add_secret(connection: sa.Connection, endpoint_id: str, secret: str, *, now: datetime) -> None:
    connection.execute(
        sa.text(
            "INSERT INTO callback_secrets (endpoint_id, secret, made_at) "
            "VALUES (CAST(:endpoint AS uuid), :secret, :now)"
        ),
        {"endpoint": endpoint_id, "secret": secret, "now": now},
    )


def announced(
    connection: sa.Connection,
    organization: str,
    event: Event,
    *,
    datasource: str,
    data: Mapping[str, Any],
    key: str,
    now: datetime,
) -> int:
    """`Callbacks.announce` in the transaction of what is told."""
    told = {"organization": organization, "datasource": datasource, **data}
    require_small(told)
    return connection.execute(
        _ANNOUNCE,
        {
            "organization": organization,
            "event": event.value,
            "datasource": datasource,
            "data": as_json(told),
            "key": key,
            "now": now,
        },
    ).rowcount
