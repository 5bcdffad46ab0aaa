"""A batch: the jobs that one Dagster run handles; and what waits to be put into one."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from ingestion_pipeline.domain.job import Lane, Priority


class Share(StrEnum):
    """Of the run slots, the part that a batch may use: none of the three can take those of another.

    `dagster.yaml` limits flood and backfill by these names; what is left is for live files.
    """

    LIVE = "live"  # files of organizations of which few wait
    FLOOD = "flood"  # live files of an organization of which many wait
    BACKFILL = "backfill"  # lane `backfill`


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A job that could run now.

    Attributes:
        attempt_id: Its open attempt: the whole frozen batch runs again together, or none of it.
        superseded: A newer version of its key has arrived.
    """

    job_id: str
    organization: str
    datasource: str
    partition_day: date
    priority: Priority
    lane: Lane
    size_bytes: int
    created_at: datetime
    tries: int
    attempt_id: str | None
    object_key: str
    superseded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A promise of jobs to a run, still open.

    Attributes:
        lease_runs: The runs that hold leases under it (none: no op has begun).
    """

    token: str
    claimed_at: datetime
    heartbeat_at: datetime | None
    jobs: int
    lease_runs: tuple[str, ...]
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One run to launch: one datasource, one partition day, one priority; organizations may be mixed.

    Files of an organization that floods the queue have batches of their own, so that nobody's file waits for theirs.

    Attributes:
        launch_priority: In Dagster's queue; the highest number goes first.
    """

    datasource: str
    partition_day: date
    priority: Priority
    lane: Lane
    share: Share
    job_ids: tuple[str, ...]
    launch_priority: int
