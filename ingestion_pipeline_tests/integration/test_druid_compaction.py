"""Automatic compaction is configured as contracts say, on the real Druid; its own defaults are no difference."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.domain.compaction import compaction_change
from ingestion_pipeline.domain.contract import DruidLayout
from ingestion_pipeline_tests.unit.contracts import contract_of


def test_compaction_is_configured_once_changed_and_taken_away(druid_client: Druid) -> None:
    contract = replace(contract_of(), datasource=f"compacted_{uuid4().hex[:8]}", druid=DruidLayout(compaction="auto"))
    assert druid_client.compaction(contract.datasource) is None
    wanted = compaction_change(contract, None)
    assert wanted is not None

    druid_client.set_compaction(wanted)

    present = druid_client.compaction(contract.datasource)
    assert compaction_change(contract, present) is None, "nothing to do a night later"
    later = replace(contract, druid=DruidLayout(compaction="auto", skip_newest=timedelta(days=3)))
    change = compaction_change(later, present)
    assert change is not None
    druid_client.set_compaction(change)
    assert (druid_client.compaction(contract.datasource) or {})["skipOffsetFromLatest"] == "P3D"

    off = replace(contract, druid=DruidLayout())
    assert compaction_change(off, druid_client.compaction(contract.datasource)) == {}
    druid_client.stop_compaction(contract.datasource)
    assert druid_client.compaction(contract.datasource) is None
    druid_client.stop_compaction(contract.datasource)
