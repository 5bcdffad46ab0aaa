"""Settings, read once at the edge of a process and passed on as values.

What belongs here: names, defaults and units of what an operator may set. What does not: connections,
or anything that decides. Every setting is an environment variable with the prefix ``INGESTION_``; the
embedded stack writes the same names to ``<data directory>/stack.env``, which is read when it exists, so
that the command line works beside a running stack without any set-up.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingestion_pipeline.errors import ConfigurationError

DATA_DIR_VARIABLE = "INGESTION_DATA_DIR"
DEFAULT_DATA_DIR = Path(".ingestion")


def data_dir() -> Path:
    """The embedded stack's data directory (absolute)."""
    return Path(os.environ.get(DATA_DIR_VARIABLE) or DEFAULT_DATA_DIR).absolute()


class Settings(BaseSettings):
    """All settings; see ``docs/reference/settings.md`` for the table that people read."""

    # A variable that is set to nothing is not set: files of variables name what they leave out (`.env.example`).
    model_config = SettingsConfigDict(env_prefix="INGESTION_", env_ignore_empty=True, extra="ignore", frozen=True)

    # The ledger
    ledger_url: SecretStr = SecretStr("postgresql+psycopg://pipeline@127.0.0.1:5432/ingestion")
    ledger_owner_url: SecretStr | None = None

    # The bucket
    s3_bucket: str = "ingestion"
    s3_endpoint_url: str | None = None
    s3_region: str = "us-east-1"
    s3_access_key_id: SecretStr | None = None
    s3_secret_access_key: SecretStr | None = None
    # What Druid reaches the bucket by, when that differs (another network).
    s3_druid_endpoint_url: str | None = None

    # Druid (all three may be the router)
    druid_coordinator_url: str = "http://127.0.0.1:8081"
    druid_overlord_url: str = "http://127.0.0.1:8081"
    druid_broker_url: str = "http://127.0.0.1:8082"
    druid_username: str | None = None
    druid_password: SecretStr | None = None
    # Rows must be countable this long after a task's success, or the job ends unproved.
    druid_proof_deadline_seconds: float = 900.0
    # How long the broker may take to see new segments (druid.sql.planner.metadataRefreshPeriod, and a little more).
    druid_refresh_seconds: float = 65.0
    presigned_url_seconds: int = 6 * 3600

    # Contracts
    contracts_dir: Path = Path(__file__).parent / "contracts"

    # Detection and dispatch
    tick_budget_seconds: float = 20.0
    sweep_pages_per_tick: int = 8
    hot_prefixes_per_tick: int = 16
    batch_max_files: int = 100
    batch_max_bytes: int = 256 * 1024 * 1024
    claim_timeout_seconds: float = 90.0
    heartbeat_seconds: float = 5.0
    heartbeat_limit_seconds: float = 60.0
    max_tries: int = 3
    # How long S3 or Druid may be away before files that wait for it end failed (they can be tried again).
    outage_limit_seconds: float = 6 * 3600.0

    # Callbacks: hosts and networks that may be called although they are not public, separated by commas
    callback_allowed: str | None = None
    # For a request to a receiver, from resolving its name to the end of its answer.
    callback_timeout_seconds: float = 10.0

    # Reconciliation: once a day, by Dagster's schedule (UTC)
    reconcile_cron: str = "17 3 * * *"
    # A job's rows are counted again when the last count is so old, at most so many jobs in one run.
    reconcile_after_days: float = Field(7.0, ge=0)
    reconcile_max_jobs: int = Field(10_000, ge=1)
    # Files of one datasource that one run loads again; more are no accident, and a person decides. 0: none.
    reconcile_max_repairs: int = Field(100, ge=0)

    # Retention: once a day; counted from a job's end
    retention_cron: str = "47 4 * * *"
    retention_cleaned_days: float = Field(7.0, ge=1)
    retention_quarantine_days: float = Field(90.0, ge=1)
    # The database refuses to delete what is younger than 400 days.
    retention_jobs_days: float = Field(400.0, ge=400)
    retention_runs_days: float = Field(90.0, ge=1)
    # Callbacks that were delivered or given up, with the log of their tries.
    retention_deliveries_days: float = Field(90.0, ge=1)

    # Op outputs: in the bucket, or (one machine only) in DAGSTER_HOME
    op_outputs: Literal["s3", "local"] = "s3"

    # Where the UI is, for links in the ledger and the terminal
    dagster_url: str = "http://127.0.0.1:3000"


def load_settings() -> Settings:
    """Environment first, then ``stack.env`` of the data directory, then the defaults.

    Raises:
        ConfigurationError: A variable cannot be read as its type; the message names it.
    """
    stack_env = data_dir() / "stack.env"
    try:
        return Settings(_env_file=stack_env if stack_env.is_file() else None)
    except ValidationError as error:
        # The message of pydantic repeats the value, which may be a secret.
        names = ", ".join(f"INGESTION_{str(entry['loc'][0]).upper()}" for entry in error.errors())
        raise ConfigurationError(f"Settings cannot be read: {names}.", hint="Check these variables.") from None
