"""Dagster of the embedded stack."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ingestion_pipeline.embedded import postgres, s3
from ingestion_pipeline.embedded.service import LOOPBACK, Service
from ingestion_pipeline.embedded.site import Site

DEFAULT_MODULE = "ingestion_pipeline.definitions"


@dataclass(frozen=True, kw_only=True)
class Options:
    module: str = DEFAULT_MODULE
    contracts_dir: Path | None = None
    extra_environment: Mapping[str, str] = field(default_factory=dict)


def services(site: Site, options: Options) -> list[Service]:
    return []


def environment(site: Site, options: Options) -> dict[str, str]:
    ports = site.ports
    variables = {
        "INGESTION_DATA_DIR": str(site.root),
        "INGESTION_LEDGER_URL": postgres.url(site, "pipeline"),
        "INGESTION_LEDGER_OWNER_URL": postgres.url(site, "owner"),
        "INGESTION_S3_BUCKET": s3.BUCKET,
        "INGESTION_S3_ENDPOINT_URL": s3.endpoint(site),
        "INGESTION_S3_REGION": s3.REGION,
        "INGESTION_S3_ACCESS_KEY_ID": site.credentials.s3_access_key_id,
        "INGESTION_S3_SECRET_ACCESS_KEY": site.credentials.s3_secret_access_key,
        "INGESTION_DRUID_COORDINATOR_URL": f"http://{LOOPBACK}:{ports['druid-coordinator']}",
        "INGESTION_DRUID_OVERLORD_URL": f"http://{LOOPBACK}:{ports['druid-coordinator']}",
        "INGESTION_DRUID_BROKER_URL": f"http://{LOOPBACK}:{ports['druid-broker']}",
        "INGESTION_DAGSTER_URL": f"http://{LOOPBACK}:{ports['dagster']}",
        "DAGSTER_HOME": str(site.root / "dagster"),
    }
    return variables
