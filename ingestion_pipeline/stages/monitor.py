"""Monitor: wait for a Druid task, judge it, and prove by counting that its rows are there, or are not.

What belongs here: the waiting loops (clock and sleep are arguments, nothing is kept between calls, so any of
them may be left and entered again) and the judgements. What does not: HTTP (`adapters.druid`), which error a
text means (`domain.druid_failures`), the ledger (the op's `progress` writes there).
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import structlog

from ingestion_pipeline.domain.druid import RunnerState, TaskReport, TaskState, TaskStatus
from ingestion_pipeline.domain.druid_failures import classify_task_failure
from ingestion_pipeline.domain.interval import Interval, hull, merged
from ingestion_pipeline.errors import DruidUnavailable, Duplicated, IngestionError, ProofFailed, Unproved

log = structlog.get_logger()

# Polling begins fast, since most tasks and their segments take a second or two, and slows down for long ones.
FIRST_POLL_SECONDS = 0.1
LAST_POLL_SECONDS = 2.0
FAST_POLLS = 30
POLL_GROWTH = 1.2
REPORT_EVERY_SECONDS = 1.0


class DruidReader(Protocol):
    """What waiting asks of Druid; `adapters.druid.Druid` is one."""

    def status(self, task_id: str) -> TaskStatus | None: ...
    def report(self, task_id: str) -> TaskReport | None: ...
    def load_status(self, datasource: str, interval: Interval, *, force: bool) -> float | None: ...
    def count_by_job(self, datasource: str, job_ids: Sequence[str], interval: Interval) -> dict[str, int]: ...
    def served_by_job(self, datasource: str, job_ids: Sequence[str], interval: Interval) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where waiting stands; `rows` are Druid's own figures so far.

    `step` is "waiting" (for a worker slot or a lock), "ingesting", "proving" or "clearing" (proving absence).
    """

    step: Literal["waiting", "ingesting", "proving", "clearing"]
    rows: int
    seconds: float
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A judgement: what it is called, the error it means (None when there is nothing to complain of), and numbers."""

    name: Literal["clean", "unknown", "failed", "proved", "short", "over"]
    error: IngestionError | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


Sleep = Callable[[float], None]
Clock = Callable[[], float]
OnProgress = Callable[[Progress], None]


def judge_task(status: TaskStatus, report: TaskReport | None, expected_rows: int) -> Verdict:
    """Judge an ended task by its own figures; SUCCESS alone is not believed.

    Returns:
        "clean" (took in exactly the expected rows), "failed" (FAILED; the error says whether it can heal),
        "short" or "over" (SUCCESS with other figures), "unknown" (no status or no report: only counting can tell).
    """
    if status.state is TaskState.FAILED:
        reason = (report.error if report else None) or status.error
        return Verdict(name="failed", error=classify_task_failure(status.task_id, reason))
    if status.state is not TaskState.SUCCESS or report is None:
        return Verdict(name="unknown", details={"state": status.state.value})
    details = {
        "task_id": status.task_id,
        "expected": expected_rows,
        "processed": report.processed,
        "processed_with_error": report.processed_with_error,
        "unparseable": report.unparseable,
        "thrown_away": report.thrown_away,
    }
    # Rows processed with an error are stored with a null instead of their value: they are damaged, not there.
    damaged = report.processed_with_error + report.unparseable + report.thrown_away
    if report.processed == expected_rows and not damaged:
        return Verdict(name="clean", details=details)
    message = (
        f"Druid task {status.task_id} ended as SUCCESS but took in {report.processed} rows instead of {expected_rows} "
        f"({report.unparseable} unparseable, {report.processed_with_error} damaged, {report.thrown_away} outside)."
    )
    over = report.processed > expected_rows
    error = (Duplicated if over else Unproved)(message, hint=_LOOK, details=details)
    return Verdict(name="over" if over else "short", error=error, details=details)


def judge_counts(expected: Mapping[str, int], counted: Mapping[str, int]) -> Verdict:
    """Compare rows per job: "over" if any job has too many, else "short" if any has too few, else "proved"."""
    wrong = {
        job: {"expected": rows, "counted": counted.get(job, 0)}
        for job, rows in expected.items()
        if counted.get(job, 0) != rows
    }
    if not wrong:
        return Verdict(name="proved")
    over = any(entry["counted"] > entry["expected"] for entry in wrong.values())
    return Verdict(name="over" if over else "short", details={"jobs": wrong})


def follow_task(
    druid: DruidReader,
    task_id: str,
    *,
    sleep: Sleep,
    clock: Clock,
    progress: OnProgress,
    patience_seconds: float = 90.0,
) -> tuple[TaskStatus, TaskReport | None]:
    """Wait until the task has ended.

    Args:
        druid: Where to ask.
        task_id: Of a submitted task.
        sleep: Waits for seconds.
        clock: Monotonic seconds.
        progress: Called at every poll; what it raises ends the waiting, never the task.
        patience_seconds: How long the overlord may be away in one piece (a restart takes about 25 s).

    Returns:
        The last status and the final report (None when Druid lost it). A task that the overlord does not know
        comes back at once as `TaskState.UNKNOWN`: whoever holds the attempt counts before doing anything else.

    Raises:
        DruidUnavailable: The overlord was away for longer than that; come back later, the task runs on.
    """
    began = last_answer = clock()
    reported = began
    rows = 0
    for pause in _pauses():
        try:
            status = druid.status(task_id)
        except DruidUnavailable:
            if clock() - last_answer > patience_seconds:
                raise
            log.warning("druid_overlord_away", task_id=task_id, seconds=round(clock() - last_answer, 1))
            progress(Progress(step="waiting", rows=rows, seconds=clock() - began, state="overlord away"))
            sleep(LAST_POLL_SECONDS)
            continue
        last_answer = clock()
        if status is None:
            return TaskStatus(task_id=task_id, state=TaskState.UNKNOWN, runner=RunnerState.NONE), None
        if status.state.is_terminal:
            return status, _report(druid, task_id)
        running = status.runner is RunnerState.RUNNING
        if running and last_answer - reported >= REPORT_EVERY_SECONDS:
            live = _report(druid, task_id)
            rows, reported = (live.processed if live else rows), clock()
        step: Literal["ingesting", "waiting"] = "ingesting" if running else "waiting"
        progress(Progress(step=step, rows=rows, seconds=clock() - began, state=status.runner.value))
        sleep(pause)
    raise AssertionError("the pauses never end")


def prove_counts(
    druid: DruidReader,
    datasource: str,
    expected: Mapping[str, int],
    intervals: Sequence[Interval],
    *,
    deadline_seconds: float,
    sleep: Sleep,
    clock: Clock,
    progress: OnProgress,
    broker_refresh_seconds: float = 2.0,
) -> dict[str, int]:
    """Count the rows of each job until all are there: the proof that a load has happened.

    Fewer rows than expected mean "not yet" until the deadline; more are confirmed once, a broker refresh later.

    Args:
        druid: Where to ask.
        datasource: Druid datasource.
        expected: Rows per job.
        intervals: The attempt's time chunks.
        deadline_seconds: From this call on.
        sleep: Waits for seconds.
        clock: Monotonic seconds.
        progress: Called at every count.
        broker_refresh_seconds: After how long a broker has surely seen a change.

    Returns:
        Rows per job, equal to `expected`.

    Raises:
        Unproved: Rows are missing at the deadline; the hint says whether segments were still loading.
        Duplicated: A job has more rows than expected.
        DruidUnavailable: Druid did not answer at the deadline.
    """
    began = clock()
    within = hull(intervals)
    nudged = False
    for pause in _pauses():
        late = clock() - began >= deadline_seconds
        verdict = None
        try:
            counted = druid.count_by_job(datasource, list(expected), within)
            verdict = judge_counts(expected, counted)
            if verdict.name == "proved":
                return counted
            if verdict.name == "over":
                sleep(broker_refresh_seconds)
                counted = druid.count_by_job(datasource, list(expected), within)
                verdict = judge_counts(expected, counted)
                if verdict.name == "over":
                    raise _duplicated(datasource, verdict)
                if verdict.name == "proved":
                    return counted
            rows = sum(counted.values())
            progress(Progress(step="proving", rows=rows, seconds=clock() - began, state=verdict.name))
            if not nudged:
                # The coordinator learns of new segments by a poll that may be a minute away: have it poll now, once.
                _loaded(druid, datasource, intervals)
                nudged = True
        except DruidUnavailable:
            if late:
                raise
            progress(Progress(step="proving", rows=0, seconds=clock() - began, state="Druid away"))
            sleep(LAST_POLL_SECONDS)
            continue
        if late:
            raise _unproved(datasource, verdict, _loaded(druid, datasource, intervals), deadline_seconds)
        sleep(min(pause, max(0.0, deadline_seconds - (clock() - began))))
    raise AssertionError("the pauses never end")


def prove_absent(
    druid: DruidReader,
    datasource: str,
    job_ids: Sequence[str],
    intervals: Sequence[Interval],
    *,
    sleep: Sleep,
    clock: Clock,
    broker_refresh_seconds: float,
    deadline_seconds: float = 60.0,
    progress: OnProgress = lambda _: None,
) -> bool:
    """Whether none of the jobs has a row in Druid, by proof: all segments served, a broker refresh later, count 0.

    The segments are asked about again after the count: a broker that has just lost its historical counts 0, and
    says that the datasource does not exist, before the coordinator has noticed.

    Call it only when every attempt that holds the jobs is terminal: an open one may still publish.

    Returns:
        True when no row is there; False when rows are.

    Raises:
        DruidUnavailable: It cannot be proved now (Druid away, or segments not served); wait, post nothing.
    """
    began = clock()
    within = hull(intervals)
    loaded = 0.0
    for pause in _pauses():
        served_before = loaded >= 100.0
        if any(druid.served_by_job(datasource, job_ids, within).values()):
            return False
        loaded = _loaded(druid, datasource, intervals)
        if loaded >= 100.0 and served_before:
            return True
        if loaded >= 100.0:
            sleep(broker_refresh_seconds)
            continue
        if clock() - began >= deadline_seconds:
            raise DruidUnavailable(
                f"Only {loaded:.0f} % of the segments of {datasource} are served, so it cannot be proved that "
                f"{len(job_ids)} jobs have no rows there.",
                hint="It is tried again when Druid's historicals are back.",
                details={"loaded_percent": loaded},
            )
        progress(Progress(step="clearing", rows=0, seconds=clock() - began, state=f"{loaded:.0f} % loaded"))
        sleep(max(pause, 1.0))  # a forced refresh reads the metadata store: not ten times a second
    raise AssertionError("the pauses never end")


_LOOK = "The task's report and the quarantine of its jobs show more; nothing is loaded again by itself."


def _pauses() -> Iterator[float]:
    pause = FIRST_POLL_SECONDS
    for _ in range(FAST_POLLS):
        yield pause
    while True:
        pause = min(pause * POLL_GROWTH, LAST_POLL_SECONDS)
        yield pause


def _report(druid: DruidReader, task_id: str) -> TaskReport | None:
    # Figures to look at: a worker that cannot be asked at the moment must not end the waiting for its task.
    with contextlib.suppress(DruidUnavailable):
        return druid.report(task_id)
    return None


def _loaded(druid: DruidReader, datasource: str, intervals: Sequence[Interval]) -> float:
    """The least percentage over the intervals; one without any used segment has nothing left to load."""
    shares = (druid.load_status(datasource, interval, force=True) for interval in merged(intervals))
    return min((share for share in shares if share is not None), default=100.0)


def _unproved(datasource: str, verdict: Verdict, loaded: float, seconds: float) -> ProofFailed:
    jobs = verdict.details["jobs"]
    missing = sum(entry["expected"] - entry["counted"] for entry in jobs.values())
    return Unproved(
        f"{missing} rows of {len(jobs)} jobs could not be counted in {datasource} within {seconds:.0f} s.",
        hint=(
            f"Druid has loaded {loaded:.0f} % of the segments: look at its coordinator and historicals."
            if loaded < 100.0
            else "Druid serves every segment, so the rows are not there: compare the task's report."
        ),
        details={**verdict.details, "loaded_percent": loaded},
    )


def _duplicated(datasource: str, verdict: Verdict) -> ProofFailed:
    jobs = verdict.details["jobs"]
    return Duplicated(
        f"{datasource} holds more rows than were loaded for {len(jobs)} of the jobs.",
        hint=_LOOK,
        details=verdict.details,
    )
