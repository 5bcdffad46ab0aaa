"""Automatic compaction of a datasource: what Druid is told, and when it has to be told. Pure.

What belongs here: the configuration. What does not: sending it (`adapters.druid`). Why Druid's own compaction may run
beside appends and replaces: docs/decisions/0018-automatic-compaction.md.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from ingestion_pipeline.domain.contract import Contract

_MARK = {"configuredBy": "ingestion-pipeline"}


def compaction_change(contract: Contract, present: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What to send: a configuration, {} to take ours away, None to leave it as it is.

    Args:
        present: What Druid has, its own defaults among it.
    """
    if contract.druid.compaction == "off":
        # What somebody else configured is theirs.
        ours = present is not None and _MARK.items() <= (present.get("taskContext") or {}).items()
        return {} if ours else None
    wanted = {
        "dataSource": contract.datasource,
        "skipOffsetFromLatest": _period(contract.druid.skip_newest),
        # Without it a compaction and an append of the same time wait for each other.
        "taskContext": {"useConcurrentLocks": True, **_MARK},
    }
    same = present is not None and all(present.get(key) == value for key, value in wanted.items())
    return None if same else wanted


def _period(span: timedelta) -> str:
    return f"P{span.days}D" if not span.seconds else f"PT{span.days * 24 + span.seconds // 3600}H"
