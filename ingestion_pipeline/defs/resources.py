"""Resources: shells that read the settings and yield plain adapters.

What belongs here: opening and closing. What does not: what the adapters do. The shells have no fields, so
no secret can appear in run config or on a Dagster page; settings come from the environment, once a process.
"""

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

import dagster as dg

from ingestion_pipeline.adapters.callback import CallbackSender
from ingestion_pipeline.adapters.contract_directory import ContractDirectory
from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.settings import Settings, load_settings


@cache
def settings() -> Settings:
    """This process's settings."""
    return load_settings()


class SettingsResource(dg.ConfigurableResource[Settings]):
    """The settings, for ops and sensors that need a limit or a URL."""

    def create_resource(self, context: dg.InitResourceContext) -> Settings:
        return settings()


class LedgerResource(dg.ConfigurableResource[Ledger]):
    """The ledger, as role `pipeline`."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[Ledger, None, None]:
        ledger = Ledger(settings().ledger_url.get_secret_value())
        try:
            yield ledger
        finally:
            ledger.close()


class BucketResource(dg.ConfigurableResource[ObjectStore]):
    """The bucket that uploads arrive in."""

    def create_resource(self, context: dg.InitResourceContext) -> ObjectStore:
        return ObjectStore.from_settings(settings())


class DruidResource(dg.ConfigurableResource[Druid]):
    """The Druid cluster."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[Druid, None, None]:
        with self.connect(settings()) as druid:
            yield druid

    def connect(self, values: Settings) -> Druid:
        return Druid(
            coordinator_url=values.druid_coordinator_url,
            overlord_url=values.druid_overlord_url,
            broker_url=values.druid_broker_url,
            username=values.druid_username,
            password=values.druid_password.get_secret_value() if values.druid_password else None,
        )


class CallbackResource(dg.ConfigurableResource[CallbackSender]):
    """Requests to receivers of callbacks."""

    def create_resource(self, context: dg.InitResourceContext) -> CallbackSender:
        return CallbackSender.from_settings(settings())


class ContractsResource(dg.ConfigurableResource[ContractDirectory]):
    """The contracts' directory."""

    def create_resource(self, context: dg.InitResourceContext) -> ContractDirectory:
        return contract_directory()


@cache
def contract_directory() -> ContractDirectory:
    return ContractDirectory(settings().contracts_dir)


def op_outputs() -> Any:
    """Where ops leave their small outputs: in the bucket, so that a retry on another machine can go on.

    The embedded stack is one machine and keeps them in DAGSTER_HOME, which saves each run the import of boto3.
    """
    values = settings()
    if values.op_outputs == "local":
        return dg.FilesystemIOManager()
    from dagster_aws.s3 import S3PickleIOManager, S3Resource

    return S3PickleIOManager(
        s3_resource=S3Resource(
            endpoint_url=values.s3_endpoint_url,
            region_name=values.s3_region,
            # By name, so that no secret is part of the definitions.
            aws_access_key_id=dg.EnvVar("INGESTION_S3_ACCESS_KEY_ID") if values.s3_access_key_id else None,
            aws_secret_access_key=dg.EnvVar("INGESTION_S3_SECRET_ACCESS_KEY") if values.s3_secret_access_key else None,
        ),
        s3_bucket=values.s3_bucket,
        s3_prefix="dagster",
    )
