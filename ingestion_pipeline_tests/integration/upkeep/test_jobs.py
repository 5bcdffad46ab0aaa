"""The daily jobs as Dagster runs them: every op works, and the run says what it found."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg

from ingestion_pipeline.defs.upkeep import JOBS
from ingestion_pipeline.domain.contract import AfterLoad, ContractBook, DruidLayout
from ingestion_pipeline.settings import Settings
from ingestion_pipeline_tests.integration.upkeep.conftest import Site
from ingestion_pipeline_tests.integration.upkeep.test_reconcile import Druid


@dataclass
class Contracts:
    found: ContractBook

    def book(self) -> ContractBook:
        return self.found


class CompactingDruid(Druid):
    told: Any = None

    def compaction(self, datasource: str) -> Any:
        return self.told

    def set_compaction(self, configuration: Any) -> None:
        self.told = configuration


def run(site: Site, name: str, druid: Druid, settings: Settings) -> dict[str, Any]:
    """Run a job in this process; what each op says, as its page shows it."""
    after = AfterLoad(action="tag", minimum_age=timedelta(0))
    book = site.book(after_load=after, druid=DruidLayout(compaction="auto"))
    resources = {
        "ledger": site.ledger,
        "bucket": site.bucket,
        "druid": druid,
        "contracts": Contracts(book),
        "settings": settings,
    }
    job = dg.Definitions(jobs=list(JOBS), resources=resources).resolve_job_def(name)
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance)
        assert result.success
    said: dict[str, Any] = {}
    for event in result.all_events:
        if event.is_successful_output:
            metadata = event.step_output_data.metadata
            said |= {label: value.value for label, value in metadata.items()}
    return said


def test_reconcile_says_what_it_found_and_did(site: Site) -> None:
    lost = site.ended("loaded", "exports/lost.csv")
    site.bucket.put("exports/new.csv", b"x")
    druid = CompactingDruid()

    said = run(site, "reconcile", druid, Settings(reconcile_after_days=0, druid_refresh_seconds=0))

    assert (said["uploads_new"], said["uploads_missed"]) == (1, 0), "it came this minute: the sensor has not missed it"
    assert (said["jobs_counted"], said["jobs_drifted"], said["jobs_repaired"]) == (1, 1, 1)
    assert said["drifts"][0]["job_id"] == lost.job_id
    assert said["changed"] == site.world.name
    assert druid.told["taskContext"]["useConcurrentLocks"] is True


def test_retention_says_what_went(site: Site) -> None:
    site.ended("loaded", "exports/a.csv")
    said = run(site, "retention", CompactingDruid(), Settings())
    assert said["uploads tagged"] == 1
    assert (said["cleaned deleted"], said["jobs deleted"], said["runs deleted"]) == (0, 0, 0)
