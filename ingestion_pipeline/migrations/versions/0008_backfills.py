"""Backfills: which of Dagster's released a job, so that stopping one holds its jobs back.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

UPGRADE = """
ALTER TABLE ingestion_jobs ADD COLUMN backfill_id TEXT;

CREATE INDEX ix_ingestion_jobs_backfill ON ingestion_jobs (backfill_id, status) WHERE backfill_id IS NOT NULL;

CREATE INDEX ix_ingestion_jobs_open_backfill ON ingestion_jobs (backfill_id) WHERE backfill_id IS NOT NULL AND lane = 'backfill' AND status IN ('pending', 'processing', 'retrying');
"""

DOWNGRADE = """
DROP INDEX ix_ingestion_jobs_open_backfill;
DROP INDEX ix_ingestion_jobs_backfill;
ALTER TABLE ingestion_jobs DROP COLUMN backfill_id;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
