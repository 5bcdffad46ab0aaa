"""What came of each period, and the record of what did not: the table `arrival_events`.

What belongs here: counts by period, and events that begin once and end. What does not: when files are expected
(`domain.expectation`), and what is said of what came (`stages.arrivals`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import as_json, transaction
from ingestion_pipeline.adapters.postgres_callbacks import announced
from ingestion_pipeline.domain.callback import Event
from ingestion_pipeline.domain.expectation import EVERYBODY, Came, Period

# What callbacks tell; sizes are for those who run the pipeline.
_TOLD = {"late": Event.LATE, "missing": Event.MISSING}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalEvent:
    """Something late, missing or too small: once for each datasource, period, kind and organization."""

    datasource: str
    organization: str
    period: str
    kind: str
    details: Mapping[str, Any]


class Arrivals:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def came(self, datasource: str, periods: Sequence[Period], organizations: Sequence[str]) -> list[Came]:
        """Counts of each period for which anything came.

        Args:
            datasource: Whose files.
            periods: All with a partition day, by which files count then, or none: by when they came.
            organizations: Each is counted by itself, others not at all; empty: all are counted together.
        """
        if not periods:
            return []
        if periods[0].day is not None:
            belongs = "j.partition_day = p.day AND j.partition_day = ANY(CAST(:days AS date[]))"
        else:
            # Each period's bounds, and those of all, by which the index is read once.
            belongs = (
                "j.last_modified > p.start AND j.last_modified <= p.due AND j.last_modified > :first "
                "AND j.last_modified <= :last"
            )
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text(f"""
SELECT organization, period, count(*) AS files, count(*) FILTER (WHERE came_at <= due) AS on_time,
       sum(size_bytes)::bigint AS size_bytes, CASE WHEN bool_and(is_read) THEN sum(rows_read)::bigint END AS rows
FROM (
    SELECT CASE WHEN :apart THEN j.organization ELSE :everybody END AS organization, p.name AS period, p.due,
           j.object_key, min(j.last_modified) AS came_at, max(j.size_bytes) AS size_bytes,
           max(j.rows_read) AS rows_read, bool_or(j.status = 'completed') AS is_read
    FROM unnest(CAST(:names AS text[]), CAST(:days AS date[]), CAST(:starts AS timestamptz[]),
                CAST(:dues AS timestamptz[])) AS p (name, day, start, due)
    JOIN ingestion_jobs j ON j.datasource = :datasource AND {belongs}
    WHERE j.cause IN ('discovered', 'uploaded') AND j.arrived_at IS NOT NULL AND j.replaces_job_id IS NULL
      AND (NOT :apart OR j.organization = ANY(:organizations))
    GROUP BY 1, 2, 3, 4) AS files
GROUP BY organization, period
"""),
                {
                    "datasource": datasource,
                    "apart": bool(organizations),
                    "everybody": EVERYBODY,
                    "organizations": list(organizations),
                    "names": [period.name for period in periods],
                    "days": [period.day for period in periods],
                    "starts": [period.start for period in periods],
                    "dues": [period.due for period in periods],
                    "first": periods[0].start,
                    "last": periods[-1].due,
                },
            )
            return [Came(**row) for row in rows.mappings()]

    def note(self, datasource: str, events: Sequence[ArrivalEvent], *, now: datetime) -> list[ArrivalEvent]:
        """Record what is wrong now: new events begin, and those that are no longer among them end.

        Returns:
            The new ones. One that comes back, as when a file is counted elsewhere, is open again and not new.
        """
        with transaction(self._engine) as connection:
            new = [event for event in events if _begin(connection, event, now)]
            for event in new:
                _announce(connection, event, now)
            connection.execute(
                sa.text("""
UPDATE arrival_events SET ended_at = :now
WHERE datasource = :datasource AND ended_at IS NULL AND NOT EXISTS (
    SELECT FROM unnest(CAST(:periods AS text[]), CAST(:kinds AS text[]), CAST(:organizations AS text[]))
                AS e (period, kind, organization)
    WHERE e.period = arrival_events.period AND e.kind = arrival_events.kind
      AND e.organization = arrival_events.organization)
"""),
                {
                    "datasource": datasource,
                    "now": now,
                    "periods": [event.period for event in events],
                    "kinds": [event.kind for event in events],
                    "organizations": [event.organization for event in events],
                },
            )
        return new

    def end_others(self, datasources: Sequence[str], *, now: datetime) -> None:
        """End the events of every datasource but these: nothing is expected there any more."""
        with transaction(self._engine) as connection:
            connection.execute(
                sa.text(
                    "UPDATE arrival_events SET ended_at = :now "
                    "WHERE ended_at IS NULL AND NOT datasource = ANY(:datasources)"
                ),
                {"now": now, "datasources": list(datasources)},
            )


def _announce(connection: sa.Connection, event: ArrivalEvent, now: datetime) -> None:
    """Tell the organization's endpoints, in the event's transaction; what all send together is nobody's event."""
    told = _TOLD.get(event.kind)
    if told is None or event.organization == EVERYBODY:
        return
    data = {"period": event.period, **event.details}
    key = f"{event.datasource} {event.period} {event.kind}"
    announced(connection, event.organization, told, datasource=event.datasource, data=data, key=key, now=now)


def _begin(connection: sa.Connection, event: ArrivalEvent, now: datetime) -> bool:
    """Whether the event is new."""
    row = connection.execute(
        sa.text("""
INSERT INTO arrival_events (datasource, organization, period, kind, details, created_at)
VALUES (:datasource, :organization, :period, :kind, CAST(:details AS jsonb), :now)
ON CONFLICT (datasource, organization, period, kind)
DO UPDATE SET ended_at = NULL WHERE arrival_events.ended_at IS NOT NULL
RETURNING created_at = :now AS is_new
"""),
        {
            "datasource": event.datasource,
            "organization": event.organization,
            "period": event.period,
            "kind": event.kind,
            "details": as_json(event.details),
            "now": now,
        },
    ).first()
    return bool(row is not None and row.is_new)
