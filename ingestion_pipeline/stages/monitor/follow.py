"""Wait for a Druid task's end, and judge it by its own figures."""

import contextlib
from typing import Literal

import structlog

from ingestion_pipeline.domain.druid import RunnerState, TaskReport, TaskState, TaskStatus
from ingestion_pipeline.domain.druid_failures import classify_task_failure
from ingestion_pipeline.errors import DruidUnavailable, Duplicated, Unproved
from ingestion_pipeline.stages.monitor.waiting import (
    LAST_POLL_SECONDS,
    LOOK,
    PATIENCE_SECONDS,
    Clock,
    DruidReader,
    OnProgress,
    Progress,
    Sleep,
    Verdict,
    pauses,
)

log = structlog.get_logger()

REPORT_EVERY_SECONDS = 1.0


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
    error = (Duplicated if over else Unproved)(message, hint=LOOK, details=details)
    return Verdict(name="over" if over else "short", error=error, details=details)


def follow_task(
    druid: DruidReader,
    task_id: str,
    *,
    sleep: Sleep,
    clock: Clock,
    progress: OnProgress,
    patience_seconds: float = PATIENCE_SECONDS,
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
    for pause in pauses():
        try:
            status = druid.status(task_id)
        except DruidUnavailable as error:
            if clock() - last_answer > patience_seconds:
                error.details["waited_seconds"] = clock() - last_answer
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


def _report(druid: DruidReader, task_id: str) -> TaskReport | None:
    # Figures to look at: a worker that cannot be asked at the moment must not end the waiting for its task.
    with contextlib.suppress(DruidUnavailable):
        return druid.report(task_id)
    return None
