"""Find jobs whose rows in Druid are not those that they were proved to have: dropped, or there too often."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from ingestion_pipeline.domain.interval import Interval, hull, merged
from ingestion_pipeline.domain.load_rules import is_served
from ingestion_pipeline.domain.reconciliation import Drift, Held
from ingestion_pipeline.errors import DruidUnavailable
from ingestion_pipeline.stages.monitor.proof import loaded_percent, require_served
from ingestion_pipeline.stages.monitor.waiting import Clock, DruidReader, OnProgress, Sleep

ExpectedNow = Callable[[Sequence[str]], Mapping[str, int]]


class RuledDruid(DruidReader, Protocol):
    def load_rules(self, datasource: str) -> list[dict[str, Any]]: ...


@dataclass(slots=True, kw_only=True)
class Found:
    """What counting one datasource's jobs gave.

    Attributes:
        right: Jobs with the rows that they should have.
        waiting: Jobs of which that cannot be said now, and why.
    """

    right: list[str] = field(default_factory=list)
    drifts: list[Drift] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    why_waiting: str = ""


def find_drift(
    druid: RuledDruid,
    datasource: str,
    held: Sequence[Held],
    *,
    expected_now: ExpectedNow,
    now: datetime,
    sleep: Sleep,
    clock: Clock,
    broker_refresh_seconds: float,
    progress: OnProgress = lambda _: None,
) -> Found:
    """Count the jobs' rows; those that differ are believed only after a second count while everything is served.

    A historical that is down, segments that are still loading, and a replace that has published and is not proved yet
    all look like a loss: they make a job wait for the next time.

    Args:
        held: Jobs of this datasource.
        expected_now: What the ledger says by now; jobs whose rows are on the move are left out.
    """
    found = Found()
    counted = _counts(druid, datasource, held)
    suspects = [job for job in held if counted[job.job_id] != job.expected]
    found.right = [job.job_id for job in held if counted[job.job_id] == job.expected]
    if not suspects:
        return found
    try:
        confirmed, expected = _confirmed(
            druid,
            datasource,
            suspects,
            expected_now,
            sleep=sleep,
            clock=clock,
            broker_refresh_seconds=broker_refresh_seconds,
            progress=progress,
        )
    except DruidUnavailable as error:
        found.waiting, found.why_waiting = [job.job_id for job in suspects], error.message
        return found
    rules = druid.load_rules(datasource)
    for job in suspects:
        if job.job_id not in expected:
            found.waiting.append(job.job_id)
            found.why_waiting = found.why_waiting or "Their rows are being replaced at the moment."
        elif confirmed[job.job_id] == expected[job.job_id]:
            found.right.append(job.job_id)
        else:
            found.drifts.append(
                Drift(
                    job_id=job.job_id,
                    datasource=datasource,
                    expected=expected[job.job_id],
                    counted=confirmed[job.job_id],
                    unserved=not all(is_served(interval, rules, now) for interval in job.intervals),
                )
            )
    return found


def _confirmed(
    druid: DruidReader,
    datasource: str,
    suspects: Sequence[Held],
    expected_now: ExpectedNow,
    *,
    sleep: Sleep,
    clock: Clock,
    broker_refresh_seconds: float,
    progress: OnProgress,
) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Rows counted while everything is served, and rows expected by now.

    Raises:
        DruidUnavailable: Not everything is served.
    """
    within = merged(interval for job in suspects for interval in job.intervals)
    require_served(
        druid,
        datasource,
        within,
        sleep=sleep,
        clock=clock,
        progress=progress,
        broker_refresh_seconds=broker_refresh_seconds,
    )
    counted = _counts(druid, datasource, suspects)
    expected = expected_now([job.job_id for job in suspects])
    # A broker that has just lost its historical counts 0 before the coordinator knows.
    if loaded_percent(druid, datasource, within) < 100.0:
        raise DruidUnavailable(f"Segments of {datasource} went away while its rows were counted.")
    return counted, expected


def _counts(druid: DruidReader, datasource: str, held: Sequence[Held]) -> dict[str, int]:
    """Rows per job: one question for those whose rows lie in the same time, so that each reads little."""
    counts = {job.job_id: 0 for job in held}
    groups: dict[Interval, list[str]] = defaultdict(list)
    for job in held:
        if job.intervals:
            groups[hull(job.intervals)].append(job.job_id)
    for within, job_ids in groups.items():
        counts |= druid.served_by_job(datasource, job_ids, within)
    return counts
