"""Corrections: what replaces what, which attempt may rewrite a datasource, outages and cancellations in time.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UPGRADE = """
ALTER TABLE ingestion_jobs
    ADD COLUMN replaces_job_id UUID,
    ADD COLUMN launches INTEGER DEFAULT '0' NOT NULL,
    ADD COLUMN outage_since TIMESTAMP WITH TIME ZONE,
    ADD COLUMN cancel_requested_at TIMESTAMP WITH TIME ZONE,
    ADD CONSTRAINT fk_ingestion_jobs_replaces_job_id FOREIGN KEY(replaces_job_id) REFERENCES ingestion_jobs (job_id);

CREATE INDEX ix_ingestion_jobs_parent ON ingestion_jobs (parent_job_id) WHERE parent_job_id IS NOT NULL;

CREATE INDEX ix_ingestion_jobs_content ON ingestion_jobs (content_hash, datasource, organization) WHERE outcome IN ('loaded', 'loaded_with_rejects');

CREATE UNIQUE INDEX uq_ingestion_jobs_resubmit ON ingestion_jobs (parent_job_id) WHERE cause = 'resubmit' AND status IN ('pending', 'processing', 'retrying');

DROP INDEX uq_ingestion_jobs_upload;

CREATE UNIQUE INDEX uq_ingestion_jobs_upload ON ingestion_jobs (bucket, object_key, datasource, organization, version_id, etag, last_modified) WHERE cause IN ('discovered', 'uploaded', 'resubmit') AND arrived_at IS NOT NULL;

ALTER TABLE druid_attempts
    ADD COLUMN kind TEXT DEFAULT 'append' NOT NULL,
    ADD COLUMN removes JSONB DEFAULT '{}'::jsonb NOT NULL,
    ADD COLUMN rows_before JSONB DEFAULT '{}'::jsonb NOT NULL,
    ADD CONSTRAINT ck_druid_attempts_kind CHECK (kind IN ('append', 'replace'));

CREATE INDEX ix_druid_attempts_open ON druid_attempts (datasource) WHERE state IN ('saved', 'submitted', 'succeeded', 'failed');

CREATE UNIQUE INDEX uq_druid_attempts_replace ON druid_attempts (datasource) WHERE kind = 'replace' AND state IN ('saved', 'submitted', 'succeeded', 'failed');
"""

DOWNGRADE = """
DROP INDEX uq_druid_attempts_replace;
DROP INDEX ix_druid_attempts_open;
ALTER TABLE druid_attempts DROP COLUMN kind, DROP COLUMN removes, DROP COLUMN rows_before;
DROP INDEX uq_ingestion_jobs_resubmit;
DROP INDEX uq_ingestion_jobs_upload;
CREATE UNIQUE INDEX uq_ingestion_jobs_upload ON ingestion_jobs (bucket, object_key, datasource, organization, version_id, etag, last_modified) WHERE cause IN ('discovered', 'uploaded') AND arrived_at IS NOT NULL;
DROP INDEX ix_ingestion_jobs_content;
DROP INDEX ix_ingestion_jobs_parent;
ALTER TABLE ingestion_jobs
    DROP COLUMN replaces_job_id, DROP COLUMN launches, DROP COLUMN outage_since, DROP COLUMN cancel_requested_at;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
