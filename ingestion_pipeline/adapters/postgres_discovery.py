"""Discovery: uploads enter the ledger once, whoever saw them first; objects without a home are kept apart."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import as_json, clean_text, transaction
from ingestion_pipeline.domain.contract import ContractBook
from ingestion_pipeline.domain.job import Cause, Lane, Priority
from ingestion_pipeline.domain.upload import StoredObject, Upload
from ingestion_pipeline.errors import FixUnderWay

MAX_KEY_BYTES = 1024

# Routing of one listing's page, handed over as one JSON document: one round trip for 1,000 objects.
_ROWS = """
    jsonb_to_recordset(CAST(:rows AS jsonb)) AS u(
        job_id uuid, organization text, datasource text, bucket text, object_key text, version_id text, etag text,
        size_bytes bigint, last_modified timestamptz, file_name text, lane text, priority smallint,
        partition_day date, warnings jsonb)
"""

# A version that has a row already is not bound to an announcement too: there is one row per version.
_KNOWN = """
    SELECT FROM ingestion_jobs k
    WHERE k.bucket = u.bucket AND k.object_key = u.object_key AND k.datasource = u.datasource
      AND k.organization = u.organization AND k.version_id = u.version_id AND k.etag = u.etag
      AND k.last_modified = u.last_modified AND k.arrived_at IS NOT NULL
      AND k.cause IN ('discovered', 'uploaded', 'resubmit')
"""

_BIND_AWAITED = sa.text(f"""
UPDATE ingestion_jobs j
SET etag = u.etag, version_id = u.version_id, size_bytes = u.size_bytes, last_modified = u.last_modified,
    arrived_at = :now
FROM {_ROWS}
WHERE j.arrived_at IS NULL AND NOT EXISTS ({_KNOWN}) AND j.job_id = (
    SELECT a.job_id FROM ingestion_jobs a
    WHERE a.arrived_at IS NULL AND a.status = 'pending' AND a.bucket = u.bucket AND a.object_key = u.object_key
      AND a.datasource = u.datasource AND a.organization = u.organization
    ORDER BY a.created_at DESC, a.job_id LIMIT 1)
RETURNING j.job_id
""")

_ENTER = sa.text(f"""
INSERT INTO ingestion_jobs (
    job_id, organization, datasource, bucket, object_key, version_id, etag, size_bytes, last_modified, file_name,
    cause, lane, priority, partition_day, warnings, created_at, arrived_at)
SELECT u.job_id, u.organization, u.datasource, u.bucket, u.object_key, u.version_id, u.etag, u.size_bytes,
       u.last_modified, u.file_name, 'discovered', u.lane, u.priority, u.partition_day, u.warnings, :now, :now
FROM {_ROWS}
WHERE NOT EXISTS ({_KNOWN})
ON CONFLICT DO NOTHING
RETURNING job_id
""")

_UNKNOWN = sa.text(f"SELECT u.object_key FROM {_ROWS} WHERE NOT EXISTS ({_KNOWN})")

_ANNOUNCE = sa.text("""
INSERT INTO ingestion_jobs (
    job_id, organization, datasource, bucket, object_key, size_bytes, file_name, uploaded_by, cause, parent_job_id,
    replaces_job_id, lane, priority, partition_day, warnings, created_at, upload_url)
VALUES (:job_id, :organization, :datasource, :bucket, :object_key, :size_bytes, :file_name, :uploaded_by, :cause,
        CAST(:parent AS uuid), CAST(:replaces AS uuid), 'live', :priority, :partition_day, CAST(:warnings AS jsonb),
        :now, :upload_url)
ON CONFLICT DO NOTHING
RETURNING job_id
""")

_UNMATCHED = sa.text("""
INSERT INTO unmatched_objects AS k (
    bucket, object_key, etag, size_bytes, last_modified, reason, message, routing_version, first_seen_at, looked_at)
SELECT u.bucket, u.object_key, u.etag, u.size_bytes, u.last_modified, u.reason, u.message, :routing_version, :now, :now
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS u(
    bucket text, object_key text, etag text, size_bytes bigint, last_modified timestamptz, reason text, message text)
ON CONFLICT (bucket, object_key) DO UPDATE
SET etag = EXCLUDED.etag, size_bytes = EXCLUDED.size_bytes, last_modified = EXCLUDED.last_modified,
    reason = EXCLUDED.reason, message = EXCLUDED.message, routing_version = EXCLUDED.routing_version,
    looked_at = EXCLUDED.looked_at
WHERE k.routing_version <> EXCLUDED.routing_version OR k.etag <> EXCLUDED.etag
   OR k.last_modified <> EXCLUDED.last_modified
RETURNING object_key
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmatched:
    bucket: str
    stored: StoredObject
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """What `enter` changed: rows made for new uploads, and announced rows whose object arrived."""

    new: tuple[str, ...] = ()
    arrived: tuple[str, ...] = ()


class Discovery:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def organizations(self) -> frozenset[str]:
        with transaction(self._engine) as connection:
            return frozenset(connection.execute(sa.text("SELECT organization FROM organizations")).scalars())

    def add_organization(self, organization: str, *, name: str = "") -> bool:
        """True when it is new."""
        with transaction(self._engine) as connection:
            made = connection.execute(
                sa.text(
                    "INSERT INTO organizations (organization, name) VALUES (:organization, :name) "
                    "ON CONFLICT DO NOTHING RETURNING organization"
                ),
                {"organization": organization, "name": name or organization},
            )
            return made.first() is not None

    def note_datasources(self, datasources: dict[str, tuple[str | None, str | None]], *, now: datetime) -> None:
        """Remember contract version and problem of each datasource; the first time fixes its `first_seen_at`.

        Args:
            datasources: name -> (contract version or None, problem or None).
        """
        if not datasources:
            return
        rows = [{"datasource": name, "version": v, "problem": p} for name, (v, p) in sorted(datasources.items())]
        with transaction(self._engine) as connection:
            connection.execute(
                sa.text("""
INSERT INTO datasources AS d (datasource, first_seen_at, contract_version, problem)
SELECT u.datasource, :now, u.version, u.problem
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS u(datasource text, version text, problem text)
ON CONFLICT (datasource) DO UPDATE SET contract_version = EXCLUDED.contract_version, problem = EXCLUDED.problem
WHERE d.contract_version IS DISTINCT FROM EXCLUDED.contract_version OR d.problem IS DISTINCT FROM EXCLUDED.problem
"""),
                {"rows": as_json(rows), "now": now.replace(microsecond=0)},
            )

    def note_contracts(self, book: ContractBook, *, now: datetime) -> None:
        """Keep what contracts exist and which are broken; a contract's first sight fixes where its history ends."""
        self.note_datasources(
            {
                **{name: (contract.version, None) for name, contract in book.contracts.items()},
                **{name: (None, str(error)) for name, error in book.broken_datasources.items()},
            },
            now=now,
        )

    def first_seen(self) -> dict[str, datetime]:
        with transaction(self._engine) as connection:
            rows = connection.execute(sa.text("SELECT datasource, first_seen_at FROM datasources"))
            return {row.datasource: row.first_seen_at for row in rows}

    def enter(
        self,
        uploads: Sequence[tuple[Upload, Lane]],
        *,
        job_ids: Iterable[UUID],
        now: datetime,
        priority: Priority | None = None,
    ) -> Entered:
        """Make one row per upload that the ledger does not know; bind announced rows whose object arrived.

        Safe to call with the same objects at any time from anywhere: the unique index decides.

        Args:
            job_ids: Fresh random ids, at least one per upload.
            priority: Of all of them, instead of their contracts'.
        """
        if not uploads:
            return Entered()
        rows = _rows(uploads, job_ids, priority)
        parameters = {"rows": as_json(rows), "now": now}
        with transaction(self._engine) as connection:
            arrived = connection.execute(_BIND_AWAITED, parameters).scalars().all()
            new = connection.execute(_ENTER, parameters).scalars().all()
        return Entered(new=tuple(map(str, new)), arrived=tuple(map(str, arrived)))

    def unknown(self, uploads: Sequence[tuple[Upload, Lane]], *, job_ids: Iterable[UUID]) -> set[str]:
        """The keys of those that `enter` would make a row for."""
        rows = _rows(uploads, job_ids, Priority.MEDIUM)
        with transaction(self._engine) as connection:
            return set(connection.execute(_UNKNOWN, {"rows": as_json(rows)}).scalars()) if rows else set()

    def announce(
        self,
        *,
        job_id: str,
        organization: str,
        datasource: str,
        bucket: str,
        object_key: str,
        size_bytes: int,
        uploaded_by: str,
        priority: Priority,
        partition_day: date,
        warnings: Sequence[str] = (),
        upload_url: str,
        now: datetime,
        fixes_job_id: str | None = None,
        replaces_job_id: str | None = None,
    ) -> None:
        """A row for an object that is about to be put; it waits for `enter` to see the object.

        Args:
            fixes_job_id: The job whose rejected rows the object has, corrected.
            replaces_job_id: The job whose rows the object's take the place of.

        Raises:
            FixUnderWay: Another correction of that job's rejected rows has not ended yet.
        """
        with transaction(self._engine) as connection:
            made = connection.execute(
                _ANNOUNCE,
                {
                    "job_id": job_id,
                    "organization": organization,
                    "datasource": datasource,
                    "bucket": bucket,
                    "object_key": object_key,
                    "size_bytes": size_bytes,
                    "file_name": clean_text(object_key.rsplit("/", 1)[-1]),
                    "uploaded_by": uploaded_by,
                    "priority": int(priority),
                    "partition_day": partition_day,
                    "warnings": as_json(list(warnings)),
                    "upload_url": upload_url,
                    "now": now,
                    "cause": (Cause.RESUBMIT if fixes_job_id else Cause.UPLOADED).value,
                    "parent": fixes_job_id,
                    "replaces": replaces_job_id,
                },
            )
            if made.first() is None:
                raise FixUnderWay(
                    f"Another correction of the rejected rows of job {fixes_job_id} has not ended yet.",
                    hint="Wait for its end: which rows are still open is known then.",
                )

    def note_unmatched(self, objects: Sequence[Unmatched], *, routing_version: str, now: datetime) -> list[str]:
        """Keep objects that no contract or organization claims; returns the keys that are new or changed."""
        if not objects:
            return []
        rows = {
            storable_key(item.stored.key): {
                "bucket": item.bucket,
                "object_key": storable_key(item.stored.key),
                "etag": item.stored.etag,
                "size_bytes": item.stored.size_bytes,
                "last_modified": item.stored.last_modified,
                "reason": item.reason,
                "message": item.message,
            }
            for item in objects
        }
        with transaction(self._engine) as connection:
            parameters = {"rows": as_json(list(rows.values())), "routing_version": routing_version, "now": now}
            return list(connection.execute(_UNMATCHED, parameters).scalars())

    def unmatched_to_look_at(self, bucket: str, *, routing_version: str, limit: int) -> list[StoredObject]:
        """Objects last looked at with other contracts or organizations than today's."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                # Two ranges of an index: it cannot be asked for what is different.
                sa.text("""
SELECT object_key, etag, size_bytes, last_modified FROM unmatched_objects
WHERE bucket = :bucket AND routing_version < :routing_version
UNION ALL
SELECT object_key, etag, size_bytes, last_modified FROM unmatched_objects
WHERE bucket = :bucket AND routing_version > :routing_version
LIMIT :limit
"""),
                {"bucket": bucket, "routing_version": routing_version, "limit": limit},
            )
            return [
                StoredObject(
                    key=row.object_key, etag=row.etag, size_bytes=row.size_bytes, last_modified=row.last_modified
                )
                for row in rows
            ]

    def forget_unmatched(self, bucket: str, keys: Sequence[str]) -> None:
        if not keys:
            return
        with transaction(self._engine) as connection:
            connection.execute(
                sa.text("DELETE FROM unmatched_objects WHERE bucket = :bucket AND object_key = ANY(:keys)"),
                {"bucket": bucket, "keys": [storable_key(key) for key in keys]},
            )


def storable_key(key: str) -> str:
    """The key as the ledger's indexes can hold it; S3's own limit is lower, other servers have none."""
    clean = clean_text(key)
    if len(clean.encode()) <= MAX_KEY_BYTES:
        return clean
    digest = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{clean.encode()[:MAX_KEY_BYTES].decode('utf-8', 'ignore')}…{digest}"


def _rows(
    uploads: Sequence[tuple[Upload, Lane]], job_ids: Iterable[UUID], priority: Priority | None
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "job_id": str(job_id),
            "organization": upload.organization,
            "datasource": upload.datasource,
            "bucket": upload.bucket,
            "object_key": storable_key(upload.stored.key),
            "version_id": upload.stored.version_id,
            "etag": upload.stored.etag,
            "size_bytes": upload.stored.size_bytes,
            "last_modified": upload.stored.last_modified,
            "file_name": clean_text(upload.file_name),
            "lane": lane.value,
            "priority": int(Priority.LOW if lane is not Lane.LIVE else chosen),
            "partition_day": upload.partition_day.isoformat(),
            "warnings": list(upload.warnings),
        }
        for (upload, lane), job_id in zip(uploads, job_ids, strict=False)
        for chosen in [upload.priority if priority is None else priority]
    ]
    # In one order, whoever enters: two that enter the same objects at once must not wait for each other.
    rows.sort(key=lambda row: (row["object_key"], row["version_id"], row["etag"]))
    return rows
