"""Callbacks: endpoints, their secrets, and the outbox that a job's events are put into.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE callback_endpoints (
    endpoint_id UUID NOT NULL,
    organization TEXT NOT NULL,
    url TEXT NOT NULL,
    events TEXT[] NOT NULL,
    datasources TEXT[],
    state TEXT DEFAULT 'enabled' NOT NULL,
    disabled_reason TEXT,
    failing_since TIMESTAMP WITH TIME ZONE,
    resting_until TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_callback_endpoints PRIMARY KEY (endpoint_id),
    CONSTRAINT ck_callback_endpoints_state CHECK (state IN ('enabled', 'disabled', 'removed')),
    CONSTRAINT fk_callback_endpoints_organization FOREIGN KEY(organization) REFERENCES organizations (organization)
);

CREATE INDEX ix_callback_endpoints_organization ON callback_endpoints (organization) WHERE state <> 'removed';

CREATE TABLE callback_secrets (
    endpoint_id UUID NOT NULL,
    secret TEXT NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    valid_until TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_callback_secrets PRIMARY KEY (endpoint_id, secret),
    CONSTRAINT fk_callback_secrets_endpoint_id FOREIGN KEY(endpoint_id) REFERENCES callback_endpoints (endpoint_id)
);

CREATE TABLE callback_deliveries (
    delivery_id UUID DEFAULT gen_random_uuid() NOT NULL,
    endpoint_id UUID NOT NULL,
    organization TEXT NOT NULL,
    event TEXT NOT NULL,
    job_id UUID,
    seq INTEGER,
    event_key TEXT,
    data JSONB,
    state TEXT DEFAULT 'pending' NOT NULL,
    tries INTEGER DEFAULT '0' NOT NULL,
    failures INTEGER DEFAULT '0' NOT NULL,
    next_try_at TIMESTAMP WITH TIME ZONE NOT NULL,
    leased_until TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_callback_deliveries PRIMARY KEY (delivery_id),
    CONSTRAINT uq_callback_deliveries_event UNIQUE (job_id, seq, endpoint_id),
    CONSTRAINT uq_callback_deliveries_key UNIQUE (endpoint_id, event_key),
    CONSTRAINT ck_callback_deliveries_state CHECK (state IN ('pending', 'delivered', 'parked')),
    CONSTRAINT ck_callback_deliveries_job_or_key CHECK ((job_id IS NULL) = (seq IS NULL) AND (job_id IS NULL) = (event_key IS NOT NULL) AND (job_id IS NULL) = (data IS NOT NULL)),
    CONSTRAINT ck_callback_deliveries_finished CHECK ((state = 'pending') = (finished_at IS NULL)),
    CONSTRAINT fk_callback_deliveries_endpoint_id FOREIGN KEY(endpoint_id) REFERENCES callback_endpoints (endpoint_id),
    CONSTRAINT fk_callback_deliveries_job_id_seq FOREIGN KEY(job_id, seq) REFERENCES job_events (job_id, seq) ON DELETE CASCADE
);

CREATE INDEX ix_callback_deliveries_due ON callback_deliveries (endpoint_id, next_try_at, seq) WHERE state = 'pending';

CREATE INDEX ix_callback_deliveries_parked ON callback_deliveries (endpoint_id, created_at) WHERE state = 'parked';

CREATE INDEX ix_callback_deliveries_latest ON callback_deliveries (endpoint_id, created_at);

CREATE INDEX ix_callback_deliveries_finished ON callback_deliveries (finished_at) WHERE state <> 'pending';

CREATE TABLE callback_tries (
    delivery_id UUID NOT NULL,
    number INTEGER NOT NULL,
    organization TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    duration_ms INTEGER NOT NULL,
    status SMALLINT,
    body TEXT DEFAULT '' NOT NULL,
    error TEXT,
    CONSTRAINT pk_callback_tries PRIMARY KEY (delivery_id, number),
    CONSTRAINT fk_callback_tries_delivery_id FOREIGN KEY(delivery_id) REFERENCES callback_deliveries (delivery_id) ON DELETE CASCADE
);
"""

# Whoever writes an event fills the outbox, in the same transaction. Where nobody listens this is one look into an
# index. A disabled endpoint's deliveries are made too, as parked: enabling it again can send them.
# Behind an event of the job that waits to be tried again, there is nothing to look at before that one's time.
TRIGGER = """
CREATE FUNCTION callback_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    event_name text := 'job.' || CASE
        WHEN NEW.from_status IS NULL THEN 'created'
        WHEN NEW.from_status = NEW.to_status THEN NEW.outcome
        ELSE NEW.to_status END;
BEGIN
    INSERT INTO callback_deliveries (
        endpoint_id, organization, event, job_id, seq, state, next_try_at, created_at, finished_at)
    SELECT e.endpoint_id, NEW.organization, event_name, NEW.job_id, NEW.seq,
           CASE e.state WHEN 'enabled' THEN 'pending' ELSE 'parked' END,
           greatest(NEW.created_at, (
               SELECT max(d.next_try_at) FROM callback_deliveries d
               WHERE d.job_id = NEW.job_id AND d.endpoint_id = e.endpoint_id AND d.state = 'pending')),
           NEW.created_at,
           CASE e.state WHEN 'enabled' THEN NULL ELSE NEW.created_at END
    FROM callback_endpoints e
    WHERE e.organization = NEW.organization AND e.state <> 'removed' AND event_name = ANY (e.events)
      AND (e.datasources IS NULL OR EXISTS (
          SELECT FROM ingestion_jobs j WHERE j.job_id = NEW.job_id AND j.datasource = ANY (e.datasources)));
    RETURN NULL;
END $$;

CREATE TRIGGER outbox AFTER INSERT ON job_events FOR EACH ROW EXECUTE FUNCTION callback_outbox();
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE ON callback_endpoints TO pipeline;
GRANT SELECT, INSERT, UPDATE, DELETE ON callback_deliveries, callback_secrets TO pipeline;
GRANT SELECT, INSERT ON callback_tries TO pipeline;
GRANT SELECT ON callback_endpoints, callback_deliveries, callback_tries TO api;
"""

WALLED = ("callback_endpoints", "callback_deliveries", "callback_tries")


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(TRIGGER)
    op.execute(GRANTS)
    for table in (*WALLED, "callback_secrets"):
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
    op.execute("DROP TRIGGER outbox ON job_events")
    op.execute("DROP FUNCTION callback_outbox")
    for table in ("callback_tries", "callback_deliveries", "callback_secrets", "callback_endpoints"):
        op.execute(f"DROP TABLE {table}")
