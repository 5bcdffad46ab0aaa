"""Upkeep: when rows were last counted, where a loaded file went, and what may be deleted once it is old.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE ingestion_jobs
    ADD COLUMN verified_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN after_load TEXT,
    ADD COLUMN moved_to JSONB,
    ADD CONSTRAINT ck_ingestion_jobs_after_load CHECK (after_load IN ('tagged', 'moved', 'deleted', 'left'));

-- A loaded job's rows were counted when it ended.
UPDATE ingestion_jobs SET verified_at = finished_at WHERE outcome IN ('loaded', 'loaded_with_rejects', 'replaced', 'undone');

CREATE INDEX ix_ingestion_jobs_verified ON ingestion_jobs (verified_at) WHERE outcome IN ('loaded', 'loaded_with_rejects', 'replaced', 'undone');

CREATE INDEX ix_ingestion_jobs_after_load ON ingestion_jobs (datasource, finished_at) WHERE outcome IN ('loaded', 'loaded_with_rejects') AND after_load IS NULL;

CREATE INDEX ix_ingestion_jobs_ended ON ingestion_jobs (finished_at, job_id) WHERE finished_at IS NOT NULL AND outcome NOT IN ('loaded', 'loaded_with_rejects');

CREATE INDEX ix_druid_attempts_spent ON druid_attempts (finished_at) WHERE state IN ('proved', 'absent', 'unproved') AND spec <> '{}';

CREATE TABLE upkeep (
    name TEXT NOT NULL,
    position TEXT DEFAULT '' NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_upkeep PRIMARY KEY (name)
);
"""

# The database itself keeps what is younger than 400 days, and every job that Druid may have rows of: a wrong setting,
# a wrong clock or a statement made by hand cannot delete it.
WALLS = """
ALTER TABLE upkeep ENABLE ROW LEVEL SECURITY;
ALTER TABLE upkeep FORCE ROW LEVEL SECURITY;
CREATE POLICY pipeline_all ON upkeep TO pipeline USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON upkeep TO pipeline;

GRANT DELETE ON ingestion_jobs, job_events, attempt_jobs, druid_attempts TO pipeline;

CREATE FUNCTION ingestion_job_is_spent(job ingestion_jobs) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT job.status IN ('completed', 'failed', 'canceled') AND job.finished_at < now() - interval '400 days'
        AND job.outcome NOT IN ('loaded', 'loaded_with_rejects')
        AND (job.outcome NOT IN ('unproved', 'duplicated') OR jsonb_exists(job.result, 'replaced_by'))
$$;

CREATE POLICY spent_only ON ingestion_jobs AS RESTRICTIVE FOR DELETE TO pipeline
    USING (ingestion_job_is_spent(ingestion_jobs));
CREATE POLICY spent_only ON attempt_jobs AS RESTRICTIVE FOR DELETE TO pipeline
    USING (EXISTS (SELECT FROM ingestion_jobs j WHERE j.job_id = attempt_jobs.job_id AND ingestion_job_is_spent(j)));
CREATE POLICY old_only ON job_events AS RESTRICTIVE FOR DELETE TO pipeline
    USING (created_at < now() - interval '400 days');
CREATE POLICY old_only ON druid_attempts AS RESTRICTIVE FOR DELETE TO pipeline
    USING (finished_at < now() - interval '400 days' AND state IN ('proved', 'absent', 'unproved'));
"""

DOWNGRADE = """
DROP POLICY spent_only ON ingestion_jobs;
DROP POLICY spent_only ON attempt_jobs;
DROP POLICY old_only ON job_events;
DROP POLICY old_only ON druid_attempts;
DROP FUNCTION ingestion_job_is_spent;
REVOKE DELETE ON ingestion_jobs, job_events, attempt_jobs, druid_attempts FROM pipeline;
DROP TABLE upkeep;
DROP INDEX ix_druid_attempts_spent;
DROP INDEX ix_ingestion_jobs_ended;
DROP INDEX ix_ingestion_jobs_after_load;
DROP INDEX ix_ingestion_jobs_verified;
ALTER TABLE ingestion_jobs DROP COLUMN verified_at, DROP COLUMN after_load, DROP COLUMN moved_to;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(WALLS)


def downgrade() -> None:
    op.execute(DOWNGRADE)
