"""Arrivals: what was late, missing or too small; indexes by which arrivals and ends of a time are found.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE arrival_events (
    datasource TEXT NOT NULL,
    organization TEXT NOT NULL,
    period TEXT NOT NULL,
    kind TEXT NOT NULL,
    details JSONB DEFAULT '{}'::jsonb NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_arrival_events PRIMARY KEY (datasource, organization, period, kind),
    CONSTRAINT ck_arrival_events_kind CHECK (kind IN ('late', 'missing', 'smaller_than_usual'))
);

CREATE INDEX ix_arrival_events_open ON arrival_events (datasource) WHERE ended_at IS NULL;

CREATE INDEX ix_ingestion_jobs_came ON ingestion_jobs (datasource, last_modified) WHERE cause IN ('discovered', 'uploaded') AND arrived_at IS NOT NULL;

CREATE INDEX ix_ingestion_jobs_finished ON ingestion_jobs (finished_at) WHERE finished_at IS NOT NULL;

GRANT SELECT, INSERT, UPDATE ON arrival_events TO pipeline;
GRANT SELECT ON arrival_events TO api;

ALTER TABLE arrival_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE arrival_events FORCE ROW LEVEL SECURITY;
CREATE POLICY pipeline_all ON arrival_events TO pipeline USING (true) WITH CHECK (true);
CREATE POLICY api_own ON arrival_events TO api
    USING (organization = current_setting('ingestion.organization', true))
    WITH CHECK (organization = current_setting('ingestion.organization', true));
"""

DOWNGRADE = """
DROP INDEX ix_ingestion_jobs_finished;
DROP INDEX ix_ingestion_jobs_came;
DROP TABLE arrival_events;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
