"""What is known of a file when somebody asks why it is not loaded, system by system. Values only.

What belongs here: one small value for each outside system that is asked, as it answered now. What does not: asking
(`cli.facts`), the answer that follows (`stages.diagnose`). A system that cannot be asked is a fact too
(:class:`NoAnswer`), never a guess; where None stands, it was not asked, for there was nothing to ask it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from ingestion_pipeline.domain.druid import TaskStatus
from ingestion_pipeline.domain.job import AttemptKind, AttemptState, Job
from ingestion_pipeline.domain.routing import NoRoute, Route
from ingestion_pipeline.domain.upload import StoredObject

AHEAD_LIMIT = 1_000
"""Files before one in the queue are counted so far and no further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """A system that could not be asked, and why: one sentence."""

    problem: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """The bucket answered: there is no such object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobNow:
    """A job as the ledger has it: what a run needs of it, and what only somebody who looks at it needs.

    Attributes:
        waiting_reason: What dispatch or its last run wrote down.
        lease_run_id: The run that holds it; None when an op has yet to take it.
    """

    job: Job
    arrived_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    claim_token: str | None = None
    claimed_at: datetime | None = None
    run_id: str | None = None
    lease_run_id: str | None = None
    heartbeat_at: datetime | None = None
    next_try_at: datetime | None = None
    waiting_reason: str | None = None
    step: str | None = None
    percent: int = 0
    progress_state: str | None = None
    error_code: str | None = None
    error_retryable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePlace:
    """What stands between a waiting job and a run, by the rules of claiming.

    Attributes:
        newer_job_id: A job of a newer version of its key: this one ends as superseded.
        busy_job_id: Another version of its key that a run works on, or that is on its way into Druid.
        batch_is_free: Whether every file of the attempt that it is frozen in can be claimed with it.
        ahead: Files of its organization and lane that go before it, counted up to `AHEAD_LIMIT`.
    """

    newer_job_id: str | None = None
    busy_job_id: str | None = None
    batch_is_free: bool = True
    ahead: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptNow:
    """The last attempt to get the job's rows into Druid; its id is the task's id."""

    attempt_id: str
    kind: AttemptKind
    state: AttemptState
    created_at: datetime
    rows_expected: int
    intervals: tuple[str, ...] = ()
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractNow:
    """The contract of the job's datasource, as its files are at this moment.

    Attributes:
        problem: Why it cannot be used; None if it can.
        exists: False: there is no file of it any more.
        first_day: The first day for which runs can be asked.
    """

    problem: str | None = None
    exists: bool = True
    first_day: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One look of the sensor: when, and what it said of itself."""

    at: datetime
    failed: bool
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNow:
    """A Dagster run that carries the job's claim.

    Attributes:
        since: When it reached its status (aware).
        will_retry: It failed, and Dagster says that it will launch it again.
        is_retried: It has been launched again.
        waits_for_turn: Its next op waits for a slot of Druid's pool.
    """

    run_id: str
    status: str
    since: datetime
    will_retry: bool = False
    is_retried: bool = False
    waits_for_turn: bool = False
    turn_came_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DagsterNow:
    """What Dagster says of its daemon, the sensor, its queue and the runs of the job's claim.

    Attributes:
        beat_at: The daemon's last heartbeat.
        sensor: Its state ("RUNNING", "STOPPED"); None: the code location has none, or is not loaded.
        job_names: Names of the jobs that the code location has loaded.
        run_slots: How many runs may work at once; None: as many as are launched.
        working: Runs that hold such a slot now.
        from_sensor: The sensor's own runs, queued or at work.
        pool_slots: Of the pool that runs take turns in for Druid.
    """

    daemon_healthy: bool
    beat_at: datetime | None = None
    sensor: str | None = None
    last_tick: Tick | None = None
    job_names: frozenset[str] = frozenset()
    run_slots: int | None = None
    working: int = 0
    from_sensor: int = 0
    pool_slots: int | None = None
    runs: tuple[RunNow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What the next sweep will do about the job's claim: `keep`, `fence`, `release` or `cancel`, and why."""

    fate: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DruidNow:
    """What Druid says.

    Attributes:
        problem: Why dispatch would not launch anything now; None: it is ready.
        task_asked: Whether it was asked for the attempt's task; `task` is None then if it does not know it.
        loaded_percent: How much of the rows' time is served; None: no segment is there.
        counted: Rows of the job, uncached, asked now; None: could not be counted.
    """

    problem: str | None = None
    task_asked: bool = False
    task: TaskStatus | None = None
    loaded_percent: float | None = None
    counted: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the system itself waits before it acts, in seconds, and how often it tries."""

    heartbeat_limit_seconds: float = 60.0
    claim_timeout_seconds: float = 90.0
    max_tries: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that is known of a file, or of what somebody took for one.

    Attributes:
        asked: What was typed.
        key: The object's key, as far as it is known.
        known_since: When the ledger noted the object among those that belong nowhere.
        ledger: Why the ledger could not be asked; then there is no job here, whether or not there is one.
        newer_object: The object is a newer version than the job's, and no job is about it yet.
        open_change: An unfinished replay, undo or replacement that is about the job.
        dispatch_problem: What dispatch has written down that it waits for, with since when.
        family: The file's first job and all made from it.
    """

    asked: str
    now: datetime
    bucket: str = ""
    key: str = ""
    ledger: NoAnswer | None = None
    stored: StoredObject | Absent | NoAnswer | None = None
    route: Route | NoRoute | NoAnswer | None = None
    known_since: datetime | None = None
    newer_object: bool = False
    job: JobNow | None = None
    family: Sequence[Job] = ()
    open_change: str | None = None
    contract: ContractNow | NoAnswer | None = None
    dispatch_problem: tuple[str, datetime] | None = None
    place: QueuePlace | None = None
    attempt: AttemptNow | None = None
    dagster: DagsterNow | NoAnswer | None = None
    sweep: Sweep | None = None
    druid: DruidNow | NoAnswer | None = None
    patience: Patience = field(default_factory=Patience)
