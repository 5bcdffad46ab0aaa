"""Where a job stands that a run works on, and whether that run is alive."""

from ingestion_pipeline.domain.diagnosis import DagsterNow, DruidNow, Facts, JobNow, NoAnswer
from ingestion_pipeline.domain.druid import RunnerState, TaskState
from ingestion_pipeline.domain.job import AttemptState
from ingestion_pipeline.domain.orders import short
from ingestion_pipeline.stages.diagnose.answer import (
    START_DRUID,
    Answer,
    needs_a_person,
    on_its_way,
    rows,
    seconds_since,
    sentence,
)
from ingestion_pipeline.stages.diagnose.sensor import sensor_problem

_WAIT = "Wait: the run goes on by itself."


def working(facts: Facts, now_: JobNow) -> Answer:
    """A job in a run."""
    return _lost(facts, now_) or _turn(facts) or _in_druid(facts, now_) or _at_work(now_)


def _lost(facts: Facts, now_: JobNow) -> Answer | None:
    """Whether its run is dead, by what the sweep would find, or else by its silence alone."""
    run, limit = short(now_.run_id or "unknown"), facts.patience.heartbeat_limit_seconds
    silent = None if now_.heartbeat_at is None else seconds_since(now_.heartbeat_at, facts.now)
    fate = facts.sweep.fate if facts.sweep is not None else None
    is_silent = silent is not None and silent > limit
    if fate == "keep":
        return _launched_again(facts) if is_silent else None
    if fate is None and not is_silent:
        return None
    if fate == "cancel":
        return on_its_way(
            "run_canceled",
            f"Its run {run} was canceled by a person.",
            "The sensor's next tick ends it as canceled, or has another run find out what Druid holds of it.",
        )
    silence = "" if silent is None else f" Its last sign of life came {silent} s ago; the limit is {limit:.0f} s."
    reason = sentence(facts.sweep.reason) if facts.sweep is not None else "Its worker is silent."
    told = f"Its run {run} is dead: {reason[0].lower()}{reason[1:]}{silence}"
    sensor = sensor_problem(facts.dagster, facts.now)
    if sensor is not None:
        return needs_a_person("run_dead", f"{told} {sensor.told}", sensor.next_step)
    return on_its_way(
        "run_dead",
        told,
        "Nothing: the sensor's next tick takes the file from that run, and another goes on where it was. The old one "
        "can write nothing any more.",
    )


def _launched_again(facts: Facts) -> Answer | None:
    """The sweep has taken the file from a silent run already; the run in its place has not taken it yet."""
    runs = facts.dagster.runs if isinstance(facts.dagster, DagsterNow) else ()
    if not runs or runs[0].status in ("STARTED", "CANCELING"):
        return None
    run = runs[0]
    then = (
        "Dagster is about to launch it again"
        if run.will_retry
        else f"the run in its place, {short(run.run_id)}, is {run.status.lower()}"
    )
    return on_its_way(
        "run_dead",
        f"The run that worked on it is dead, and the file was taken from it; {then}.",
        "Nothing: another run goes on where it was. The old one can write nothing any more.",
    )


def _turn(facts: Facts) -> Answer | None:
    dagster = facts.dagster
    waits = isinstance(dagster, DagsterNow) and any(run.waits_for_turn for run in dagster.runs)
    return pool_full(dagster) if waits and isinstance(dagster, DagsterNow) else None


def pool_full(dagster: DagsterNow) -> Answer:
    """Its run waits in the line for Druid's pool."""
    slots = "all slots" if dagster.pool_slots is None else f"all {dagster.pool_slots} slots"
    return on_its_way(
        "pool_full",
        f"Its run waits for its turn at Druid behind a limit: other runs have taken {slots} of the pool druid.",
        "Wait: it goes on when the Druid task of one of them is done. The limit is that of Dagster's pool "
        "(default_limit in dagster.yaml) and should stay below Druid's task slots.",
    )


def _in_druid(facts: Facts, now_: JobNow) -> Answer | None:
    """What became of what was sent to Druid."""
    attempt, druid = facts.attempt, facts.druid
    if now_.job.attempt_id is None or attempt is None or druid is None:
        return None
    if isinstance(druid, NoAnswer) or (druid.problem is not None and not druid.task_asked):
        return needs_a_person(
            "druid_down",
            f"Its rows were sent to Druid, which does not answer now: {sentence(druid.problem or '')}",
            f"{START_DRUID} What was sent is resumed then, never sent twice.",
        )
    task = druid.task
    if task is None:
        if attempt.state is AttemptState.SAVED or not druid.task_asked:
            return on_its_way("task_not_sent", "Its run is about to send its rows to Druid.", _WAIT)
        return on_its_way(
            "task_unknown",
            f"Druid does not know the task {attempt.attempt_id} (any more).",
            "Wait: its run counts what is there before it does anything else.",
        )
    if task.state is TaskState.FAILED:
        return on_its_way(
            "task_failed",
            f"Its Druid task {task.task_id} failed: {sentence(task.error or 'Druid gives no reason')}",
            "Wait: its run shows first that none of its rows is there, and then tries again or ends it as failed.",
        )
    if task.state is TaskState.SUCCESS:
        return _counting(druid, attempt.rows_expected)
    return {
        RunnerState.PENDING: on_its_way(
            "task_waits_for_slot",
            f"Its Druid task {task.task_id} waits for a worker slot: Druid's task slots are taken.",
            "Wait until another task ends; more slots are Druid's druid.worker.capacity.",
        ),
        RunnerState.WAITING: on_its_way(
            "task_waits_for_lock",
            f"Its Druid task {task.task_id} waits for a lock: another task writes to the same time.",
            "Wait until the other task ends: Druid's console shows it.",
        ),
    }.get(task.runner) or on_its_way("task_running", f"Its Druid task {task.task_id} is taking its rows in.", _WAIT)


def _counting(druid: DruidNow, expected: int) -> Answer:
    counted = "" if druid.counted is None else f" It counts {druid.counted:,} of {rows(expected)} now."
    if druid.loaded_percent is not None and druid.loaded_percent < 100:
        return on_its_way(
            "segments_loading",
            f"Druid has taken its rows in, and its historicals load the segments: {druid.loaded_percent:.0f} % of its "
            f"time is served.{counted}",
            "Wait: its run counts until every row is there. If it stays, see that the historicals run and have room on "
            "their disks: `ingestion-pipeline status`.",
        )
    return on_its_way("counting", f"Druid has taken its rows in, and its run is counting them.{counted}", _WAIT)


def _at_work(now_: JobNow) -> Answer:
    step = f": {now_.step}, {now_.percent} %" if now_.step else ""
    return on_its_way("at_work", f"Run {short(now_.run_id or 'unknown')} works on it{step}.", "A run works on it.")
