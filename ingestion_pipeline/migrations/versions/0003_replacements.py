"""Replacements: finding what was uploaded in a job's place without reading the whole ledger.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE INDEX ix_ingestion_jobs_replaces ON ingestion_jobs (replaces_job_id) WHERE replaces_job_id IS NOT NULL"
    )


def downgrade() -> None:
    op.execute("DROP INDEX ix_ingestion_jobs_replaces")
