"""The ledger: organizations, jobs, events, attempts, unmatched objects; roles and walls between tenants."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE datasources (
    datasource TEXT NOT NULL,
    first_seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    contract_version TEXT,
    problem TEXT,
    CONSTRAINT pk_datasources PRIMARY KEY (datasource)
);

CREATE TABLE dependencies (
    name TEXT NOT NULL,
    problem TEXT,
    since TIMESTAMP WITH TIME ZONE,
    checked_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_dependencies PRIMARY KEY (name)
);

CREATE TABLE druid_attempts (
    attempt_id TEXT NOT NULL,
    datasource TEXT NOT NULL,
    state TEXT NOT NULL,
    spec_hash TEXT NOT NULL,
    spec JSONB DEFAULT '{}'::jsonb NOT NULL,
    intervals JSONB NOT NULL,
    rows_expected BIGINT DEFAULT '0' NOT NULL,
    rows_processed BIGINT DEFAULT '0' NOT NULL,
    run_id TEXT,
    error_message TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    submitted_at TIMESTAMP WITH TIME ZONE,
    finished_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_druid_attempts PRIMARY KEY (attempt_id),
    CONSTRAINT ck_druid_attempts_task_id CHECK (attempt_id ~ '^[A-Za-z0-9_-]{1,120}$'),
    CONSTRAINT ck_druid_attempts_state CHECK (state IN ('saved', 'submitted', 'succeeded', 'proved', 'failed', 'absent', 'unproved'))
);

CREATE TABLE organizations (
    organization TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_organizations PRIMARY KEY (organization),
    CONSTRAINT ck_organizations_slug CHECK (organization ~ '^[a-z0-9][a-z0-9_-]{0,62}$')
);

CREATE TABLE unmatched_objects (
    bucket TEXT NOT NULL,
    object_key TEXT NOT NULL,
    etag TEXT DEFAULT '' NOT NULL,
    size_bytes BIGINT DEFAULT '0' NOT NULL,
    last_modified TIMESTAMP WITH TIME ZONE,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    routing_version TEXT NOT NULL,
    first_seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    looked_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_unmatched_objects PRIMARY KEY (bucket, object_key)
);

CREATE INDEX ix_unmatched_objects_routing ON unmatched_objects (routing_version);

CREATE TABLE ingestion_jobs (
    job_id UUID NOT NULL,
    organization TEXT NOT NULL,
    datasource TEXT NOT NULL,
    bucket TEXT NOT NULL,
    object_key TEXT NOT NULL,
    version_id TEXT DEFAULT '' NOT NULL,
    etag TEXT DEFAULT '' NOT NULL,
    size_bytes BIGINT DEFAULT '0' NOT NULL,
    last_modified TIMESTAMP WITH TIME ZONE,
    file_name TEXT NOT NULL,
    content_type TEXT,
    content_hash TEXT,
    uploaded_by TEXT,
    cause TEXT NOT NULL,
    parent_job_id UUID,
    lane TEXT DEFAULT 'live' NOT NULL,
    priority SMALLINT DEFAULT '2' NOT NULL,
    partition_day DATE NOT NULL,
    warnings JSONB DEFAULT '[]'::jsonb NOT NULL,
    claim_token TEXT,
    claimed_at TIMESTAMP WITH TIME ZONE,
    run_id TEXT,
    lease_run_id TEXT,
    lease_epoch INTEGER DEFAULT '0' NOT NULL,
    heartbeat_at TIMESTAMP WITH TIME ZONE,
    tries INTEGER DEFAULT '0' NOT NULL,
    retry_count INTEGER DEFAULT '0' NOT NULL,
    next_try_at TIMESTAMP WITH TIME ZONE,
    waiting_reason TEXT,
    attempt_id TEXT,
    status TEXT DEFAULT 'pending' NOT NULL,
    outcome TEXT,
    step TEXT,
    progress_percent SMALLINT DEFAULT '0' NOT NULL,
    progress JSONB DEFAULT '{}'::jsonb NOT NULL,
    event_seq INTEGER DEFAULT '0' NOT NULL,
    rows_read BIGINT DEFAULT '0' NOT NULL,
    rows_accepted BIGINT DEFAULT '0' NOT NULL,
    rows_rejected BIGINT DEFAULT '0' NOT NULL,
    rows_filtered BIGINT DEFAULT '0' NOT NULL,
    rows_queryable BIGINT DEFAULT '0' NOT NULL,
    contract_version TEXT,
    result JSONB DEFAULT '{}'::jsonb NOT NULL,
    validation_errors JSONB DEFAULT '[]'::jsonb NOT NULL,
    staged JSONB,
    error_type TEXT,
    error_code TEXT,
    error_message TEXT,
    error_retryable BOOLEAN,
    upload_url TEXT,
    result_url TEXT,
    quarantine_url TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE,
    started_at TIMESTAMP WITH TIME ZONE,
    finished_at TIMESTAMP WITH TIME ZONE,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_ingestion_jobs PRIMARY KEY (job_id),
    CONSTRAINT ck_ingestion_jobs_status CHECK (status IN ('pending', 'processing', 'retrying', 'completed', 'failed', 'canceled')),
    CONSTRAINT ck_ingestion_jobs_final_has_outcome CHECK ((status IN ('completed', 'failed', 'canceled')) = (outcome IS NOT NULL AND finished_at IS NOT NULL)),
    CONSTRAINT ck_ingestion_jobs_cause CHECK (cause IN ('discovered', 'uploaded', 'retry', 'replay', 'resubmit', 'undo')),
    CONSTRAINT ck_ingestion_jobs_lane CHECK (lane IN ('live', 'backfill', 'history')),
    CONSTRAINT ck_ingestion_jobs_priority CHECK (priority BETWEEN 0 AND 3),
    CONSTRAINT ck_ingestion_jobs_progress CHECK (progress_percent BETWEEN 0 AND 100),
    CONSTRAINT ck_ingestion_jobs_rows_add_up CHECK (outcome NOT IN ('loaded', 'loaded_with_rejects') OR rows_read = rows_accepted + rows_rejected + rows_filtered),
    CONSTRAINT ck_ingestion_jobs_loaded_is_proved CHECK (outcome NOT IN ('loaded', 'loaded_with_rejects') OR rows_queryable = rows_accepted),
    CONSTRAINT fk_ingestion_jobs_organization FOREIGN KEY(organization) REFERENCES organizations (organization),
    CONSTRAINT fk_ingestion_jobs_parent_job_id FOREIGN KEY(parent_job_id) REFERENCES ingestion_jobs (job_id)
);

CREATE INDEX ix_ingestion_jobs_awaited ON ingestion_jobs (bucket, object_key) WHERE arrived_at IS NULL;

CREATE INDEX ix_ingestion_jobs_claims ON ingestion_jobs (claim_token) WHERE claim_token IS NOT NULL AND status IN ('pending', 'processing', 'retrying');

CREATE INDEX ix_ingestion_jobs_day ON ingestion_jobs (datasource, partition_day, status);

CREATE INDEX ix_ingestion_jobs_key ON ingestion_jobs (bucket, object_key);

CREATE INDEX ix_ingestion_jobs_latest ON ingestion_jobs (organization, created_at);

CREATE INDEX ix_ingestion_jobs_queue ON ingestion_jobs (organization, lane, priority, created_at) WHERE status IN ('pending', 'retrying') AND claim_token IS NULL AND arrived_at IS NOT NULL;

CREATE INDEX ix_ingestion_jobs_run ON ingestion_jobs (run_id);

CREATE UNIQUE INDEX uq_ingestion_jobs_claimed_key ON ingestion_jobs (bucket, object_key, datasource) WHERE claim_token IS NOT NULL AND status IN ('pending', 'processing', 'retrying');

CREATE UNIQUE INDEX uq_ingestion_jobs_upload ON ingestion_jobs (bucket, object_key, datasource, organization, version_id, etag, last_modified) WHERE cause IN ('discovered', 'uploaded') AND arrived_at IS NOT NULL;

CREATE TABLE attempt_jobs (
    attempt_id TEXT NOT NULL,
    job_id UUID NOT NULL,
    organization TEXT NOT NULL,
    rows_expected BIGINT DEFAULT '0' NOT NULL,
    cleaned_key TEXT NOT NULL,
    CONSTRAINT pk_attempt_jobs PRIMARY KEY (attempt_id, job_id),
    CONSTRAINT fk_attempt_jobs_attempt_id FOREIGN KEY(attempt_id) REFERENCES druid_attempts (attempt_id),
    CONSTRAINT fk_attempt_jobs_job_id FOREIGN KEY(job_id) REFERENCES ingestion_jobs (job_id)
);

CREATE INDEX ix_attempt_jobs_job ON attempt_jobs (job_id);

CREATE TABLE job_events (
    job_id UUID NOT NULL,
    seq INTEGER NOT NULL,
    organization TEXT NOT NULL,
    from_status TEXT,
    to_status TEXT NOT NULL,
    outcome TEXT,
    run_id TEXT,
    attempt_id TEXT,
    details JSONB DEFAULT '{}'::jsonb NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_job_events PRIMARY KEY (job_id, seq),
    CONSTRAINT fk_job_events_job_id FOREIGN KEY(job_id) REFERENCES ingestion_jobs (job_id)
);

CREATE INDEX ix_job_events_organization ON job_events (organization, created_at);
"""

# Statuses change along the allowed transitions only, and each change leaves an event in the same
# transaction, whoever makes it: the rules hold for a hand-made UPDATE too.
TRIGGERS = """
CREATE FUNCTION ingestion_jobs_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    IF TG_OP = 'INSERT' THEN
        NEW.event_seq := 1;
        RETURN NEW;
    END IF;
    IF NEW.status IS DISTINCT FROM OLD.status THEN
        IF NOT (CASE OLD.status
                WHEN 'pending' THEN NEW.status IN ('processing', 'completed', 'failed', 'canceled')
                WHEN 'processing' THEN NEW.status IN ('retrying', 'completed', 'failed', 'canceled')
                WHEN 'retrying' THEN NEW.status IN ('processing', 'completed', 'failed', 'canceled')
                ELSE false END) THEN
            RAISE EXCEPTION 'job % may not go from % to %', OLD.job_id, OLD.status, NEW.status
                USING ERRCODE = 'check_violation';
        END IF;
        NEW.event_seq := OLD.event_seq + 1;
    ELSIF NEW.outcome IS DISTINCT FROM OLD.outcome THEN
        IF NOT (OLD.status = 'completed' AND OLD.outcome IN ('loaded', 'loaded_with_rejects')
                AND NEW.outcome IN ('replaced', 'undone')) THEN
            RAISE EXCEPTION 'job % may not change its outcome from % to %', OLD.job_id, OLD.outcome, NEW.outcome
                USING ERRCODE = 'check_violation';
        END IF;
        NEW.event_seq := OLD.event_seq + 1;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON ingestion_jobs
    FOR EACH ROW EXECUTE FUNCTION ingestion_jobs_guard();

CREATE FUNCTION ingestion_jobs_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_events (job_id, seq, organization, from_status, to_status, outcome, run_id, attempt_id, details)
    VALUES (NEW.job_id, NEW.event_seq, NEW.organization,
            CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END, NEW.status, NEW.outcome, NEW.run_id, NEW.attempt_id,
            jsonb_strip_nulls(jsonb_build_object(
                'rows_read', NEW.rows_read, 'rows_accepted', NEW.rows_accepted, 'rows_rejected', NEW.rows_rejected,
                'rows_queryable', NEW.rows_queryable, 'error_code', NEW.error_code,
                'error_message', NEW.error_message, 'waiting_reason', NEW.waiting_reason,
                'next_try_at', NEW.next_try_at, 'lease_epoch', NEW.lease_epoch)));
    RETURN NULL;
END $$;

CREATE TRIGGER event_on_insert AFTER INSERT ON ingestion_jobs
    FOR EACH ROW EXECUTE FUNCTION ingestion_jobs_event();
CREATE TRIGGER event_on_change AFTER UPDATE ON ingestion_jobs
    FOR EACH ROW WHEN (OLD.event_seq IS DISTINCT FROM NEW.event_seq) EXECUTE FUNCTION ingestion_jobs_event();
"""

# `pipeline` runs ticks and runs and serves all tenants; `api` answers for one, named by the setting
# `ingestion.organization` of its transaction. Neither owns a table, so forced policies bind both.
ROLES = """
DO $$
DECLARE role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['pipeline', 'api'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS', role_name);
        END IF;
    END LOOP;
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO pipeline, api;
GRANT SELECT, INSERT ON organizations TO pipeline;
GRANT SELECT, INSERT, UPDATE ON ingestion_jobs, druid_attempts, datasources, dependencies TO pipeline;
GRANT SELECT, INSERT ON job_events, attempt_jobs TO pipeline;
GRANT SELECT, INSERT, UPDATE, DELETE ON unmatched_objects TO pipeline;
GRANT SELECT ON organizations, ingestion_jobs, job_events, attempt_jobs TO api;
"""

WALLED = ("organizations", "ingestion_jobs", "job_events", "attempt_jobs")
PIPELINE_ONLY = ("druid_attempts", "unmatched_objects", "datasources", "dependencies")


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(TRIGGERS)
    op.execute(ROLES)
    for table in (*WALLED, *PIPELINE_ONLY):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY pipeline_all ON {table} TO pipeline USING (true) WITH CHECK (true)")
    for table in WALLED:
        op.execute(
            f"CREATE POLICY api_own ON {table} TO api "
            "USING (organization = current_setting('ingestion.organization', true)) "
            "WITH CHECK (organization = current_setting('ingestion.organization', true))"
        )


def downgrade() -> None:
    # Roles stay: other databases of the cluster may use them.
    for table in ("unmatched_objects", "attempt_jobs", "druid_attempts", "job_events", "ingestion_jobs"):
        op.execute(f"DROP TABLE {table}")
    for table in ("organizations", "datasources", "dependencies"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION ingestion_jobs_guard")
    op.execute("DROP FUNCTION ingestion_jobs_event")
