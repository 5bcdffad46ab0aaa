"""The ledger's tables as SQLAlchemy sees them; `alembic check` keeps them equal to the migrations.

Triggers, policies and grants live in the migrations alone: they are not part of a table's shape.
"""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, UUID

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_timestamp = sa.DateTime(timezone=True)
_OPEN_ATTEMPT = "state IN ('saved', 'submitted', 'succeeded', 'failed')"


def _at(name: str, *, now: bool = False) -> "sa.Column[datetime]":
    if now:
        return sa.Column(name, _timestamp, nullable=False, server_default=sa.func.now())
    return sa.Column(name, _timestamp)


def _count(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def _text(name: str, default: str | None = None, *, nullable: bool = False) -> "sa.Column[str]":
    return sa.Column(name, sa.Text, nullable=nullable, server_default=default)


def _json(name: str) -> "sa.Column[object]":
    return sa.Column(name, JSONB, nullable=False, server_default=sa.text("'{}'::jsonb"))


organizations = sa.Table(
    "organizations",
    metadata,
    sa.Column("organization", sa.Text, primary_key=True),
    _text("name"),
    _at("created_at", now=True),
    sa.CheckConstraint("organization ~ '^[a-z0-9][a-z0-9_-]{0,62}$'", name="slug"),
)

datasources = sa.Table(
    "datasources",
    metadata,
    sa.Column("datasource", sa.Text, primary_key=True),
    # Objects older than this wait for a backfill, unless the contract says otherwise.
    _at("first_seen_at", now=True),
    _text("contract_version", nullable=True),
    # Why its files wait: a broken contract, in one sentence.
    _text("problem", nullable=True),
)

dependencies = sa.Table(
    "dependencies",
    metadata,
    # An outside system that dispatch waits for ("druid"), and since when it does not answer.
    sa.Column("name", sa.Text, primary_key=True),
    _text("problem", nullable=True),
    _at("since"),
    _at("checked_at", now=True),
)

ingestion_jobs = sa.Table(
    "ingestion_jobs",
    metadata,
    sa.Column("job_id", UUID(as_uuid=False), primary_key=True),
    sa.Column("organization", sa.Text, sa.ForeignKey("organizations.organization"), nullable=False),
    _text("datasource"),
    # the upload
    _text("bucket"),
    _text("object_key"),
    _text("version_id", ""),
    _text("etag", ""),
    _count("size_bytes"),
    _at("last_modified"),
    _text("file_name"),
    _text("content_type", nullable=True),
    _text("content_hash", nullable=True),
    _text("uploaded_by", nullable=True),
    # where it comes from and how it is queued
    _text("cause"),
    # The job that this one was made from: a failed one tried again, one replayed, one whose rejected rows it fixes.
    sa.Column("parent_job_id", UUID(as_uuid=False), sa.ForeignKey("ingestion_jobs.job_id")),
    # The job whose rows this one takes out, by order: `upload --replaces`, `undo`. A key's older version needs none.
    sa.Column("replaces_job_id", UUID(as_uuid=False), sa.ForeignKey("ingestion_jobs.job_id")),
    _text("lane", "live"),
    # Dagster's backfill that last released it: what has not begun when that is stopped goes back to lane `history`.
    _text("backfill_id", nullable=True),
    sa.Column("priority", sa.SmallInteger, nullable=False, server_default="2"),
    sa.Column("partition_day", sa.Date, nullable=False),
    sa.Column("warnings", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
    # who works on it
    _text("claim_token", nullable=True),
    _at("claimed_at"),
    _text("run_id", nullable=True),
    _text("lease_run_id", nullable=True),
    sa.Column("lease_epoch", sa.Integer, nullable=False, server_default="0"),
    _at("heartbeat_at"),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("retry_count", sa.Integer, nullable=False, server_default="0"),
    _at("next_try_at"),
    # How often it was claimed; spaces out the launches of a run that dies before it takes its jobs.
    sa.Column("launches", sa.Integer, nullable=False, server_default="0"),
    # Since when an outside system keeps it waiting; an outage counts by time, not by tries.
    _at("outage_since"),
    # A person canceled it while Druid worked: no new attempt, its end is what became of the old one.
    _at("cancel_requested_at"),
    _text("waiting_reason", nullable=True),
    _text("attempt_id", nullable=True),
    # where it stands
    _text("status", "pending"),
    _text("outcome", nullable=True),
    _text("step", nullable=True),
    sa.Column("progress_percent", sa.SmallInteger, nullable=False, server_default="0"),
    _json("progress"),
    sa.Column("event_seq", sa.Integer, nullable=False, server_default="0"),
    # what came out
    _count("rows_read"),
    _count("rows_accepted"),
    _count("rows_rejected"),
    _count("rows_filtered"),
    _count("rows_queryable"),
    _text("contract_version", nullable=True),
    _json("result"),
    sa.Column("validation_errors", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
    sa.Column("staged", JSONB),
    _text("error_type", nullable=True),
    _text("error_code", nullable=True),
    _text("error_message", nullable=True),
    sa.Column("error_retryable", sa.Boolean),
    _text("upload_url", nullable=True),
    _text("result_url", nullable=True),
    _text("quarantine_url", nullable=True),
    # afterwards: when its rows were last counted, what became of the uploaded object, and where that lies now
    _at("verified_at"),
    _text("after_load", nullable=True),
    sa.Column("moved_to", JSONB),
    # when
    _at("created_at", now=True),
    _at("arrived_at"),
    _at("started_at"),
    _at("finished_at"),
    _at("updated_at", now=True),
    sa.CheckConstraint(
        "status IN ('pending', 'processing', 'retrying', 'completed', 'failed', 'canceled')", name="status"
    ),
    sa.CheckConstraint(
        "(status IN ('completed', 'failed', 'canceled')) = (outcome IS NOT NULL AND finished_at IS NOT NULL)",
        name="final_has_outcome",
    ),
    sa.CheckConstraint("cause IN ('discovered', 'uploaded', 'retry', 'replay', 'resubmit', 'undo')", name="cause"),
    sa.CheckConstraint("lane IN ('live', 'backfill', 'history')", name="lane"),
    sa.CheckConstraint("priority BETWEEN 0 AND 3", name="priority"),
    sa.CheckConstraint("progress_percent BETWEEN 0 AND 100", name="progress"),
    sa.CheckConstraint(
        "outcome NOT IN ('loaded', 'loaded_with_rejects') OR rows_read = rows_accepted + rows_rejected + rows_filtered",
        name="rows_add_up",
    ),
    sa.CheckConstraint(
        "outcome NOT IN ('loaded', 'loaded_with_rejects') OR rows_queryable = rows_accepted", name="loaded_is_proved"
    ),
    sa.CheckConstraint("after_load IN ('tagged', 'moved', 'deleted', 'left')", name="after_load"),
    # One row per version of an object; replays and retries are further rows of their own cause.
    sa.Index(
        "uq_ingestion_jobs_upload",
        "bucket",
        "object_key",
        "datasource",
        "organization",
        "version_id",
        "etag",
        "last_modified",
        unique=True,
        postgresql_where=sa.text("cause IN ('discovered', 'uploaded', 'resubmit') AND arrived_at IS NOT NULL"),
    ),
    # One open correction of a file's rejected rows: two at once could fix the same row.
    sa.Index(
        "uq_ingestion_jobs_resubmit",
        "parent_job_id",
        unique=True,
        postgresql_where=sa.text("cause = 'resubmit' AND status IN ('pending', 'processing', 'retrying')"),
    ),
    # One claimed job per key: two versions of an object are never worked on at once.
    sa.Index(
        "uq_ingestion_jobs_claimed_key",
        "bucket",
        "object_key",
        "datasource",
        unique=True,
        postgresql_where=sa.text("claim_token IS NOT NULL AND status IN ('pending', 'processing', 'retrying')"),
    ),
    sa.Index(
        "ix_ingestion_jobs_queue",
        "organization",
        "lane",
        "priority",
        "created_at",
        postgresql_where=sa.text(
            "status IN ('pending', 'retrying') AND claim_token IS NULL AND arrived_at IS NOT NULL"
        ),
    ),
    # What dispatch writes on and postpones while something is away, beside a history of any size.
    sa.Index(
        "ix_ingestion_jobs_waiting",
        "status",
        "datasource",
        postgresql_where=sa.text(
            "status IN ('pending', 'retrying') AND claim_token IS NULL AND arrived_at IS NOT NULL AND lane <> 'history'"
        ),
    ),
    sa.Index(
        "ix_ingestion_jobs_backfill",
        "backfill_id",
        "status",
        postgresql_where=sa.text("backfill_id IS NOT NULL"),
    ),
    # Each tick asks which backfills have jobs left, beside any number of old ones.
    sa.Index(
        "ix_ingestion_jobs_open_backfill",
        "backfill_id",
        postgresql_where=sa.text(
            "backfill_id IS NOT NULL AND lane = 'backfill' AND status IN ('pending', 'processing', 'retrying')"
        ),
    ),
    sa.Index(
        "ix_ingestion_jobs_claims",
        "claim_token",
        postgresql_where=sa.text("claim_token IS NOT NULL AND status IN ('pending', 'processing', 'retrying')"),
    ),
    sa.Index("ix_ingestion_jobs_day", "datasource", "partition_day", "status"),
    sa.Index("ix_ingestion_jobs_key", "bucket", "object_key"),
    sa.Index("ix_ingestion_jobs_latest", "organization", "created_at"),
    sa.Index("ix_ingestion_jobs_run", "run_id"),
    # What came, and what ended, in some time.
    sa.Index(
        "ix_ingestion_jobs_came",
        "datasource",
        "last_modified",
        postgresql_where=sa.text("cause IN ('discovered', 'uploaded') AND arrived_at IS NOT NULL"),
    ),
    sa.Index("ix_ingestion_jobs_finished", "finished_at", postgresql_where=sa.text("finished_at IS NOT NULL")),
    sa.Index("ix_ingestion_jobs_parent", "parent_job_id", postgresql_where=sa.text("parent_job_id IS NOT NULL")),
    sa.Index("ix_ingestion_jobs_replaces", "replaces_job_id", postgresql_where=sa.text("replaces_job_id IS NOT NULL")),
    sa.Index(
        "ix_ingestion_jobs_content",
        "content_hash",
        "datasource",
        "organization",
        postgresql_where=sa.text("outcome IN ('loaded', 'loaded_with_rejects')"),
    ),
    # What upkeep goes through, a bounded number a day: rows to be counted again, files to be put away, old rows.
    sa.Index(
        "ix_ingestion_jobs_verified",
        "verified_at",
        postgresql_where=sa.text("outcome IN ('loaded', 'loaded_with_rejects', 'replaced', 'undone')"),
    ),
    sa.Index(
        "ix_ingestion_jobs_after_load",
        "datasource",
        "finished_at",
        postgresql_where=sa.text("outcome IN ('loaded', 'loaded_with_rejects') AND after_load IS NULL"),
    ),
    sa.Index(
        "ix_ingestion_jobs_ended",
        "finished_at",
        "job_id",
        postgresql_where=sa.text("finished_at IS NOT NULL AND outcome NOT IN ('loaded', 'loaded_with_rejects')"),
    ),
    sa.Index(
        "ix_ingestion_jobs_awaited",
        "bucket",
        "object_key",
        postgresql_where=sa.text("arrived_at IS NULL"),
    ),
)

job_events = sa.Table(
    "job_events",
    metadata,
    sa.Column("job_id", UUID(as_uuid=False), sa.ForeignKey("ingestion_jobs.job_id"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    _text("organization"),
    _text("from_status", nullable=True),
    _text("to_status"),
    _text("outcome", nullable=True),
    _text("run_id", nullable=True),
    _text("attempt_id", nullable=True),
    _json("details"),
    _at("created_at", now=True),
    sa.Index("ix_job_events_organization", "organization", "created_at"),
)

druid_attempts = sa.Table(
    "druid_attempts",
    metadata,
    # The task's id in Druid is the attempt's id: [A-Za-z0-9_-], at most 120 characters.
    sa.Column("attempt_id", sa.Text, primary_key=True),
    _text("datasource"),
    _text("kind", "append"),
    _text("state"),
    _text("spec_hash"),
    _json("spec"),
    sa.Column("intervals", JSONB, nullable=False),
    # A replace takes the rows of these jobs out: job id -> the job that does so.
    _json("removes"),
    # Rows per job in its intervals before a replace; the others' must be the same after it.
    _json("rows_before"),
    _count("rows_expected"),
    _count("rows_processed"),
    _text("run_id", nullable=True),
    _text("error_message", nullable=True),
    _at("created_at", now=True),
    _at("submitted_at"),
    _at("finished_at"),
    sa.CheckConstraint("attempt_id ~ '^[A-Za-z0-9_-]{1,120}$'", name="task_id"),
    sa.CheckConstraint(
        "state IN ('saved', 'submitted', 'succeeded', 'proved', 'failed', 'absent', 'unproved')", name="state"
    ),
    sa.CheckConstraint("kind IN ('append', 'replace')", name="kind"),
    sa.Index("ix_druid_attempts_open", "datasource", postgresql_where=sa.text(_OPEN_ATTEMPT)),
    # The lease on a datasource is this row: one open replace at a time, for as long as its task may do anything.
    sa.Index(
        "uq_druid_attempts_replace",
        "datasource",
        unique=True,
        postgresql_where=sa.text(f"kind = 'replace' AND {_OPEN_ATTEMPT}"),
    ),
    sa.Index(
        "ix_druid_attempts_spent",
        "finished_at",
        postgresql_where=sa.text("state IN ('proved', 'absent', 'unproved') AND spec <> '{}'"),
    ),
)

upkeep = sa.Table(
    "upkeep",
    metadata,
    # Where work that is done in pieces goes on; losing it only begins a walk again.
    sa.Column("name", sa.Text, primary_key=True),
    _text("position", ""),
    _at("updated_at", now=True),
)

attempt_jobs = sa.Table(
    "attempt_jobs",
    metadata,
    sa.Column("attempt_id", sa.Text, sa.ForeignKey("druid_attempts.attempt_id"), primary_key=True),
    sa.Column("job_id", UUID(as_uuid=False), sa.ForeignKey("ingestion_jobs.job_id"), primary_key=True),
    _text("organization"),
    _count("rows_expected"),
    _text("cleaned_key"),
    sa.Index("ix_attempt_jobs_job", "job_id"),
)

unmatched_objects = sa.Table(
    "unmatched_objects",
    metadata,
    sa.Column("bucket", sa.Text, primary_key=True),
    sa.Column("object_key", sa.Text, primary_key=True),
    _text("etag", ""),
    _count("size_bytes"),
    _at("last_modified"),
    _text("reason"),
    _text("message"),
    # The contracts and organizations that were known when it was looked at; others mean: look again.
    _text("routing_version"),
    _at("first_seen_at", now=True),
    _at("looked_at", now=True),
    sa.Index("ix_unmatched_objects_routing", "routing_version"),
)

callback_endpoints = sa.Table(
    "callback_endpoints",
    metadata,
    sa.Column("endpoint_id", UUID(as_uuid=False), primary_key=True),
    sa.Column("organization", sa.Text, sa.ForeignKey("organizations.organization"), nullable=False),
    _text("url"),
    sa.Column("events", sa.ARRAY(sa.Text), nullable=False),
    # None: of every datasource.
    sa.Column("datasources", sa.ARRAY(sa.Text)),
    # Never deleted: an event that is being written while its endpoint goes must not fail for it.
    _text("state", "enabled"),
    _text("disabled_reason", nullable=True),
    # Since when no delivery has succeeded; none is begun before `resting_until`.
    _at("failing_since"),
    _at("resting_until"),
    _at("created_at", now=True),
    sa.CheckConstraint("state IN ('enabled', 'disabled', 'removed')", name="state"),
    sa.Index("ix_callback_endpoints_organization", "organization", postgresql_where=sa.text("state <> 'removed'")),
)

callback_secrets = sa.Table(
    "callback_secrets",
    metadata,
    # A table of its own: role `api` may read endpoints.
    sa.Column("endpoint_id", UUID(as_uuid=False), sa.ForeignKey("callback_endpoints.endpoint_id"), primary_key=True),
    sa.Column("secret", sa.Text, primary_key=True),
    _at("made_at", now=True),
    # Of one that was rotated: deliveries are signed with it, too, until then.
    _at("valid_until"),
)

callback_deliveries = sa.Table(
    "callback_deliveries",
    metadata,
    sa.Column("delivery_id", UUID(as_uuid=False), primary_key=True, server_default=sa.text("gen_random_uuid()")),
    sa.Column("endpoint_id", UUID(as_uuid=False), sa.ForeignKey("callback_endpoints.endpoint_id"), nullable=False),
    _text("organization"),
    _text("event"),
    # A job's event, told from the ledger when it is sent; or one of no job, with a key and data of its own.
    sa.Column("job_id", UUID(as_uuid=False)),
    sa.Column("seq", sa.Integer),
    _text("event_key", nullable=True),
    sa.Column("data", JSONB),
    _text("state", "pending"),
    # Every try has a number; failures are counted from the first try or the last redelivery.
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_try_at", _timestamp, nullable=False),
    # Somebody is delivering it; when that time has passed, somebody was.
    _at("leased_until"),
    _at("created_at", now=True),
    _at("finished_at"),
    sa.UniqueConstraint("job_id", "seq", "endpoint_id", name="uq_callback_deliveries_event"),
    sa.UniqueConstraint("endpoint_id", "event_key", name="uq_callback_deliveries_key"),
    sa.ForeignKeyConstraint(["job_id", "seq"], ["job_events.job_id", "job_events.seq"], ondelete="CASCADE"),
    sa.CheckConstraint("state IN ('pending', 'delivered', 'parked')", name="state"),
    sa.CheckConstraint(
        "(job_id IS NULL) = (seq IS NULL) AND (job_id IS NULL) = (event_key IS NOT NULL) "
        "AND (job_id IS NULL) = (data IS NOT NULL)",
        name="job_or_key",
    ),
    sa.CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="finished"),
    sa.Index(
        "ix_callback_deliveries_due",
        "endpoint_id",
        "next_try_at",
        "seq",
        postgresql_where=sa.text("state = 'pending'"),
    ),
    sa.Index(
        "ix_callback_deliveries_parked", "endpoint_id", "created_at", postgresql_where=sa.text("state = 'parked'")
    ),
    sa.Index("ix_callback_deliveries_latest", "endpoint_id", "created_at"),
    sa.Index("ix_callback_deliveries_finished", "finished_at", postgresql_where=sa.text("state <> 'pending'")),
)

callback_tries = sa.Table(
    "callback_tries",
    metadata,
    sa.Column(
        "delivery_id",
        UUID(as_uuid=False),
        sa.ForeignKey("callback_deliveries.delivery_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("number", sa.Integer, primary_key=True),
    _text("organization"),
    sa.Column("started_at", _timestamp, nullable=False),
    sa.Column("duration_ms", sa.Integer, nullable=False),
    # What the receiver answered, and the beginning of it; or why there is no answer.
    sa.Column("status", sa.SmallInteger),
    _text("body", ""),
    _text("error", nullable=True),
)

arrival_events = sa.Table(
    "arrival_events",
    metadata,
    sa.Column("datasource", sa.Text, primary_key=True),
    # Whose files; `*` where the contract names nobody: of all organizations together.
    sa.Column("organization", sa.Text, primary_key=True),
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    _json("details"),
    _at("created_at", now=True),
    # It came, or is no longer looked at.
    _at("ended_at"),
    sa.CheckConstraint("kind IN ('late', 'missing', 'smaller_than_usual')", name="kind"),
    sa.Index("ix_arrival_events_open", "datasource", postgresql_where=sa.text("ended_at IS NULL")),
)
