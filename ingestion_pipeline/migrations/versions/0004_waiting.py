"""Waiting jobs: an index that history, which waits for a person, is not in.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE INDEX ix_ingestion_jobs_waiting ON ingestion_jobs (status, datasource) WHERE status IN ('pending', 'retrying') AND claim_token IS NULL AND arrived_at IS NOT NULL AND lane <> 'history';
"""

DOWNGRADE = """
DROP INDEX ix_ingestion_jobs_waiting;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
