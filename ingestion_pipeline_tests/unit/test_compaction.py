"""What Druid is told about compaction: only what differs, and never over somebody else's head."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ingestion_pipeline.domain.compaction import compaction_change
from ingestion_pipeline.domain.contract import Contract, DruidLayout
from ingestion_pipeline_tests.unit.contracts import contract_of

OURS = {
    "dataSource": "flights",
    "skipOffsetFromLatest": "P1D",
    "taskContext": {"useConcurrentLocks": True, "configuredBy": "ingestion-pipeline"},
}
THEIRS = {"dataSource": "flights", "skipOffsetFromLatest": "P1D", "taskContext": None}


def contract(**layout: Any) -> Contract:
    return replace(contract_of(), datasource="flights", druid=DruidLayout(**layout))


@pytest.mark.parametrize(
    ("layout", "present", "change"),
    [
        ({}, None, None),
        ({}, THEIRS, None),
        ({}, OURS, {}),
        ({"compaction": "auto"}, None, OURS),
        ({"compaction": "auto"}, OURS | {"taskPriority": 25, "maxRowsPerSegment": None}, None),
        ({"compaction": "auto"}, THEIRS, OURS),
        ({"compaction": "auto", "skip_newest": timedelta(hours=36)}, OURS, OURS | {"skipOffsetFromLatest": "PT36H"}),
    ],
    ids=["off", "off: theirs stays", "off: ours goes", "new", "as it is", "theirs is changed", "another offset"],
)
def test_druid_is_told_what_differs(layout: dict[str, Any], present: Any, change: Any) -> None:
    assert compaction_change(contract(**layout), present) == change
