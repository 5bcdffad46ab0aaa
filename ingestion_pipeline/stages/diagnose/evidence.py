"""What an answer rests on: each system's part in the file's way, in order, and whether all is well there."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ingestion_pipeline.domain.diagnosis import (
    Absent,
    AttemptNow,
    ContractNow,
    DagsterNow,
    Facts,
    NoAnswer,
    RunNow,
)
from ingestion_pipeline.domain.druid import TaskState
from ingestion_pipeline.domain.job import LOADED_OUTCOMES, AttemptState, Priority, Status
from ingestion_pipeline.domain.orders import short
from ingestion_pipeline.domain.routing import NoRoute, Route
from ingestion_pipeline.stages.diagnose.answer import ago, at, rows, seconds_since
from ingestion_pipeline.stages.diagnose.sensor import sensor_problem


class Mark(StrEnum):
    GOOD = "good"
    OPEN = "open"  # under way, or not come to yet
    BAD = "bad"
    UNKNOWN = "unknown"  # could not be asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One system's part; `about` is one of a fixed set of words."""

    about: str
    mark: Mark
    told: str


def evidence(facts: Facts) -> list[Evidence]:
    """The file's way: object, contract, ledger, sensor, queue, run, rows, attempt, task, segments, count."""
    return [
        Evidence(about=about, mark=mark, told=told)
        for part in (_bucket, _contract, _ledger, _dagster, _queue, _run, _rows, _druid)
        for about, mark, told in part(facts)
    ]


Entries = Iterator[tuple[str, Mark, str]]


def _bucket(facts: Facts) -> Entries:
    stored, job = facts.stored, facts.job
    if isinstance(stored, NoAnswer):
        yield "object", Mark.UNKNOWN, f"the bucket could not be asked: {stored.problem}"
    elif isinstance(stored, Absent):
        kept = job is not None and job.job.outcome in LOADED_OUTCOMES
        yield "object", Mark.OPEN if kept else Mark.BAD, f"s3://{facts.bucket}/{facts.key} is not there"
    elif stored is not None:
        version = ""
        if job is not None and stored.etag != job.job.etag and job.arrived_at is not None:
            version = "; another version than this job's"
        yield (
            "object",
            Mark.OPEN if version else Mark.GOOD,
            f"s3://{facts.bucket}/{facts.key}, {stored.size_bytes:,} bytes, put {at(stored.last_modified)}{version}",
        )


def _contract(facts: Facts) -> Entries:
    contract, route = facts.contract, facts.route
    for answer in (contract, route):
        if isinstance(answer, NoAnswer):
            yield "contract", Mark.UNKNOWN, answer.problem
            return
    if facts.job is not None and isinstance(contract, ContractNow):
        datasource = facts.job.job.datasource
        if contract.problem or not contract.exists:
            yield "contract", Mark.BAD, f"{datasource}: {contract.problem or 'there is no contract any more'}"
        else:
            yield "contract", Mark.GOOD, f"{datasource}, organization {facts.job.job.organization}"
    elif isinstance(route, NoRoute):
        yield "contract", Mark.BAD, route.message
    elif isinstance(route, Route):
        yield "contract", Mark.GOOD, f"{route.datasource}, organization {route.organization}, day {route.partition_day}"


def _ledger(facts: Facts) -> Entries:
    if facts.ledger is not None:
        yield "ledger", Mark.UNKNOWN, facts.ledger.problem
        return
    if facts.job is None:
        noted = f"; noted among what belongs nowhere since {at(facts.known_since)}" if facts.known_since else ""
        yield "ledger", Mark.BAD if facts.known_since else Mark.OPEN, f"no job{noted}"
        return
    job = facts.job.job
    ended = f", {at(facts.job.finished_at)}" if facts.job.finished_at else ""
    mark = {Status.COMPLETED: Mark.GOOD, Status.FAILED: Mark.BAD, Status.CANCELED: Mark.BAD}.get(job.status, Mark.OPEN)
    yield (
        "ledger",
        mark,
        f"job {short(job)} of {at(job.created_at)}, {job.cause}, lane {job.lane}, priority "
        f"{Priority(job.priority).name.lower()}: {job.status}{f'/{job.outcome}' if job.outcome else ''}{ended}",
    )


def _dagster(facts: Facts) -> Entries:
    dagster = facts.dagster
    over = facts.job is not None and facts.job.job.status.is_final and not facts.newer_object
    if dagster is None or over:
        return
    problem = sensor_problem(dagster, facts.now)
    if isinstance(dagster, NoAnswer):
        yield "sensor", Mark.UNKNOWN, dagster.problem
    elif problem is not None:
        yield "sensor", Mark.BAD, problem.told
    elif dagster.last_tick is None:
        yield "sensor", Mark.OPEN, "runs, and has not ticked yet"
    else:
        yield (
            "sensor",
            Mark.GOOD,
            f"runs; its last tick, {ago(dagster.last_tick.at, facts.now)}: {dagster.last_tick.told}",
        )


def _queue(facts: Facts) -> Entries:
    now_ = facts.job
    if now_ is None or now_.job.status not in (Status.PENDING, Status.RETRYING) or now_.claim_token:
        return
    parts = []
    if facts.place is not None:
        parts.append(f"{facts.place.ahead:,} files of its organization before it")
    if isinstance(facts.dagster, DagsterNow) and facts.dagster.run_slots is not None:
        parts.append(f"{facts.dagster.from_sensor} of {2 * facts.dagster.run_slots} runs launched")
    if now_.next_try_at is not None:
        parts.append(f"next try after {at(now_.next_try_at)}")
    if now_.waiting_reason:
        parts.append(f"noted: {now_.waiting_reason}")
    if parts:
        yield "queue", Mark.OPEN, "; ".join(parts)


def _run(facts: Facts) -> Entries:
    now_ = facts.job
    if now_ is None:
        return
    runs = facts.dagster.runs if isinstance(facts.dagster, DagsterNow) else ()
    run_id = now_.lease_run_id or (runs[0].run_id if runs else now_.run_id)
    if run_id is None:
        return
    run = next((run for run in runs if run.run_id == run_id), None)
    told = [f"{short(run_id)}{_status(run, facts.now)}"]
    bad = facts.sweep is not None and facts.sweep.fate != "keep"
    if now_.job.status is Status.PROCESSING:
        limit = facts.patience.heartbeat_limit_seconds
        bad = bad or (now_.heartbeat_at is not None and seconds_since(now_.heartbeat_at, facts.now) > limit)
        if now_.step:
            told.append(f"step {now_.step} {now_.percent} %{f', {now_.progress_state}' if now_.progress_state else ''}")
        if now_.heartbeat_at is not None:
            told.append(f"last heard of {seconds_since(now_.heartbeat_at, facts.now)} s ago")
    if now_.job.tries > 1:
        told.append(f"try {now_.job.tries}")
    over = now_.job.status.is_final
    yield "run", Mark.BAD if bad else Mark.GOOD if over else Mark.OPEN, "; ".join(told)


def _status(run: RunNow | None, now: datetime) -> str:
    return "" if run is None else f" {run.status} for {seconds_since(run.since, now)} s"


def _rows(facts: Facts) -> Entries:
    if facts.job is None or not facts.job.job.rows_read:
        return
    job = facts.job.job
    told = f"{job.rows_read:,} read, {job.rows_accepted:,} accepted, {job.rows_rejected:,} rejected"
    yield "rows", Mark.BAD if not job.rows_accepted else Mark.GOOD, told


def _druid(facts: Facts) -> Entries:
    attempt, druid = facts.attempt, facts.druid
    if attempt is not None:
        yield "attempt", _attempt_mark(attempt), _attempt_told(attempt)
    if isinstance(druid, NoAnswer):
        yield "Druid", Mark.UNKNOWN, druid.problem
        return
    if druid is None:
        return
    if druid.problem is not None:
        yield "Druid", Mark.BAD, druid.problem
    if druid.task_asked and facts.job is not None and not facts.job.job.status.is_final:
        task = druid.task
        if task is None:
            yield "task", Mark.OPEN, "not known to Druid"
        else:
            mark = {TaskState.SUCCESS: Mark.GOOD, TaskState.FAILED: Mark.BAD}.get(task.state, Mark.OPEN)
            runner = f", {task.runner}" if task.state is TaskState.RUNNING else ""
            yield "task", mark, f"{task.state}{runner}{f': {task.error}' if task.error else ''}"
    if druid.loaded_percent is not None:
        served = druid.loaded_percent >= 100
        told = f"{druid.loaded_percent:.0f} % of its time is served"
        yield "segments", Mark.GOOD if served else Mark.OPEN, told
    if druid.counted is not None and attempt is not None:
        same = druid.counted == attempt.rows_expected
        over = facts.job is not None and facts.job.job.status.is_final
        told = f"{druid.counted:,} of {rows(attempt.rows_expected)} counted now"
        yield "count", Mark.GOOD if same else Mark.BAD if over else Mark.OPEN, told


def _attempt_mark(attempt: AttemptNow) -> Mark:
    if attempt.state is AttemptState.PROVED:
        return Mark.GOOD
    return Mark.BAD if attempt.state in (AttemptState.FAILED, AttemptState.UNPROVED, AttemptState.ABSENT) else Mark.OPEN


def _attempt_told(attempt: AttemptNow) -> str:
    error = f": {attempt.error_message}" if attempt.error_message else ""
    return (
        f"{attempt.attempt_id}, {attempt.kind} of {rows(attempt.rows_expected)}, {at(attempt.created_at)}: "
        f"{attempt.state}{error}"
    )
