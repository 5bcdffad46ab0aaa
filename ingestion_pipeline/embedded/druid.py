"""Apache Druid of the embedded stack."""

from collections.abc import Callable

from ingestion_pipeline.embedded.service import Service
from ingestion_pipeline.embedded.site import Site


def services(site: Site) -> list[Service]:
    return []


def fetch_jars(progress: Callable[[int, int], None]) -> float:
    return 0.0
