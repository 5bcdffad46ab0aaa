"""Why a job waits: what holds it, from its object and its contract to its place in the queue and its run's.

What belongs here: jobs that no run works on. What does not: jobs in a run (`stages.diagnose.working`).
"""

from collections.abc import Mapping

from ingestion_pipeline.domain.diagnosis import (
    AHEAD_LIMIT,
    Absent,
    ContractNow,
    DagsterNow,
    DruidNow,
    Facts,
    JobNow,
    NoAnswer,
    RunNow,
)
from ingestion_pipeline.domain.job import Lane, Priority, Status
from ingestion_pipeline.domain.orders import short
from ingestion_pipeline.stages.diagnose.answer import (
    START_DRUID,
    Answer,
    ago,
    at,
    command,
    needs_a_person,
    on_its_way,
    seconds_since,
    sentence,
)
from ingestion_pipeline.stages.diagnose.sensor import sensor_problem
from ingestion_pipeline.stages.diagnose.working import pool_full

QUEUED, STARTING = ("QUEUED", "MANAGED"), ("NOT_STARTED", "STARTING")

RETRY_CAUSES: Mapping[str, str] = {
    "s3_unavailable": "the bucket did not answer",
    "druid_unavailable": "Druid did not answer",
    "ledger_unavailable": "the ledger did not answer",
    "datasource_busy": "another change of the datasource is on its way into Druid",
    "contract_changed": "its contract was changed after it was checked",
    "task_failed": "its Druid task failed",
    "stopped": "a person canceled its run, and what Druid holds of it is to be found out",
    "transient": "something failed that may pass",
}
"""What a job waits for between two tries, by the code of the error that its last run gave it back with."""


def waiting(facts: Facts, now_: JobNow) -> Answer:
    """A job that no run works on; the first reason that would hold it if all others were gone."""
    job = now_.job
    if now_.arrived_at is None:
        return _announced(facts)
    if now_.claim_token is not None:
        return _claimed(facts, now_)
    held = _held_by_contract(facts, now_)
    if held is not None:
        return held
    if job.lane is Lane.HISTORY:
        return needs_a_person(
            "history_lane",
            "Its object is older than its contract's live_from, so it belongs to history and waits for a backfill.",
            f"Load its day: `ingestion-pipeline backfill --datasource {job.datasource} --from {job.partition_day} "
            f"--to {job.partition_day}`, or in Dagster the partition of that day on the page of the asset.",
        )
    sensor = sensor_problem(facts.dagster, facts.now)
    if sensor is not None and sensor.cause != "dagster_unknown":
        return sensor
    return (
        _held_by_druid(facts)
        or _held_by_time(facts, now_)
        or _held_in_queue(facts, now_)
        or sensor
        or _next(facts, now_)
    )


def _announced(facts: Facts) -> Answer:
    if facts.stored is not None and not isinstance(facts.stored, Absent | NoAnswer):
        return sensor_problem(facts.dagster, facts.now) or on_its_way(
            "not_noticed_yet",
            "It was announced, its object is in the bucket, and the sensor has not noticed that yet.",
            "Wait for the sensor's next tick, every 5 seconds.",
        )
    return needs_a_person(
        "awaits_object",
        "It was announced, and its object has not arrived in the bucket.",
        "Put it there; if it has not arrived a day after it was announced, this job expires.",
    )


def _claimed(facts: Facts, now_: JobNow) -> Answer:
    """Promised to a run that has not taken it."""
    dagster = facts.dagster
    sensor = sensor_problem(dagster, facts.now)
    is_swept = facts.sweep is not None and facts.sweep.fate != "keep"
    # A run that is launched goes on without the sensor; to be launched, or to be given back, takes more.
    if sensor is not None and (is_swept or sensor.cause == "daemon_down"):
        return sensor
    if facts.sweep is not None and is_swept:
        return on_its_way(
            "claim_without_run",
            f"It was promised to a run that will not work on it: {sentence(facts.sweep.reason)}",
            "The sensor's next tick gives it back, and another run takes it after a short wait.",
        )
    if not isinstance(dagster, DagsterNow):
        return on_its_way("claimed", "It is promised to a run.", "The run takes it as soon as it has started.")
    run = dagster.runs[0] if dagster.runs else None
    if run is None:
        since = now_.claimed_at or facts.now
        return on_its_way(
            "run_requested",
            f"It was promised to a run {seconds_since(since, facts.now)} s ago, which Dagster is about to make.",
            f"Wait; without a run after {facts.patience.claim_timeout_seconds:.0f} s it is promised to another.",
        )
    if run.status in QUEUED:
        return _queued(dagster, run)
    if run.waits_for_turn:
        return pool_full(dagster)
    return on_its_way(
        "run_starting",
        f"Its run {short(run.run_id)} has been {run.status.lower()} for {seconds_since(run.since, facts.now)} s and "
        "has not taken it yet.",
        "Wait: a run needs some seconds to start.",
    )


def _queued(dagster: DagsterNow, run: RunNow) -> Answer:
    slots = dagster.run_slots
    full = slots is not None and dagster.working >= slots
    why = (
        f"{dagster.working} of {slots} run slots are taken"
        if full
        else "no run slot was free a moment ago, or a limit on a tag holds it (backfills may not take all of them)"
    )
    return on_its_way(
        "run_queued",
        f"Its run {short(run.run_id)} waits in Dagster's queue behind a limit: {why}.",
        "Wait: it starts when a run ends. The limit is max_concurrent_runs in dagster.yaml.",
    )


def _held_by_contract(facts: Facts, now_: JobNow) -> Answer | None:
    job, contract = now_.job, facts.contract
    if isinstance(contract, ContractNow):
        if contract.problem is not None:
            return needs_a_person(
                "contract_broken",
                f"Its datasource {job.datasource} is disabled, because its contract cannot be used: "
                f"{sentence(contract.problem)}",
                "`ingestion-pipeline contract check` shows the mistake with file and line; its files go on once it is "
                "mended.",
            )
        if not contract.exists:
            return needs_a_person(
                "contract_gone",
                f"There is no contract of its datasource {job.datasource} any more among those of this command.",
                "Put the contract back, and its files go on by themselves; or, if the code server reads another "
                "directory, set INGESTION_CONTRACTS_DIR here to the same.",
            )
        if contract.first_day is not None and job.partition_day < contract.first_day:
            return needs_a_person(
                "before_first_partition",
                f"Its partition day {job.partition_day} lies before its contract's partition_start, "
                f"{contract.first_day}: no run can be asked for it.",
                "Give the contract an earlier partition_start and restart the code server.",
            )
    dagster = facts.dagster
    if (
        isinstance(dagster, DagsterNow)
        and dagster.sensor is not None
        and job_name(job.datasource) not in dagster.job_names
    ):
        return needs_a_person(
            "contract_new",
            f"The contract of {job.datasource} is new: Dagster has not loaded an asset for it yet.",
            "Restart the code server: `ingestion-pipeline down` and `ingestion-pipeline up`, or your deployment's way.",
        )
    return None


def _held_by_druid(facts: Facts) -> Answer | None:
    druid = facts.druid
    problem = druid.problem if isinstance(druid, DruidNow | NoAnswer) else None
    since = ""
    if facts.dispatch_problem is not None:
        noted, moment = facts.dispatch_problem
        # Asked from here it may answer: what counts for its files is what dispatch gets.
        problem, since = problem or noted, f" since {at(moment)}"
    if problem is None:
        return None
    return needs_a_person(
        "druid_down",
        f"Druid is not ready{since}, and nothing is launched until it is: {sentence(problem)}",
        f"{START_DRUID} The file goes on by itself then.",
    )


def _held_by_time(facts: Facts, now_: JobNow) -> Answer | None:
    job, next_try = now_.job, now_.next_try_at
    if next_try is None or next_try <= facts.now:
        return None
    if job.status is Status.PENDING:
        return on_its_way(
            "run_died_early",
            f"Its runs ended before they took it: {sentence(now_.waiting_reason or 'no reason was written down')}",
            f"The next run is launched after {at(next_try)}. If it stays so, the runs' pages in Dagster say why they "
            "end.",
        )
    code = now_.error_code or "worker_lost"
    what = RETRY_CAUSES.get(code, "its last run did not end well")
    reason = now_.waiting_reason or job.error_message
    told = f"It waits for its next try, for {what}{f': {reason}' if reason else ''}"
    tried = f" It has been tried {job.tries} of {facts.patience.max_tries} times." if job.tries else ""
    cause = code if code in RETRY_CAUSES else "retry_later"
    return on_its_way(
        cause,
        f"{sentence(told)}{tried}",
        f"The next run takes it after {at(next_try)}.",
    )


def _held_in_queue(facts: Facts, now_: JobNow) -> Answer | None:
    place, dagster = facts.place, facts.dagster
    if place is not None and place.newer_job_id is not None:
        return on_its_way(
            "newer_version",
            f"A newer version of its key has arrived, job {short(place.newer_job_id)}: this one is not read any more.",
            f"Ask about the newer one: {command('why', place.newer_job_id)}.",
        )
    if place is not None and place.busy_job_id is not None:
        return on_its_way(
            "key_in_flight",
            f"Another version of its key is being loaded, job {short(place.busy_job_id)}: two versions are never "
            "worked on at once.",
            f"Wait for the end of that one: {command('why', place.busy_job_id)}.",
        )
    if place is not None and not place.batch_is_free:
        return on_its_way(
            "batch_in_flight",
            f"It is frozen in the attempt {now_.job.attempt_id}, whose files go on together, and one of them is not "
            "free.",
            "Wait: they go on together when the last of them is free.",
        )
    if (
        isinstance(dagster, DagsterNow)
        and dagster.run_slots is not None
        and dagster.from_sensor >= 2 * dagster.run_slots
    ):
        return on_its_way(
            "behind_limit",
            f"It waits behind a limit: {dagster.from_sensor} of the sensor's runs are queued or at work, and no more "
            f"than {2 * dagster.run_slots} (twice the run slots) are launched at a time.{_line(facts, now_)}",
            "Wait: when a run ends, the sensor's next tick puts up to a batch of waiting files into a new one. The "
            "limit is max_concurrent_runs in dagster.yaml.",
        )
    return None


def _next(facts: Facts, now_: JobNow) -> Answer:
    """Nothing known holds it: what dispatch wrote on it, or its turn is next."""
    if now_.waiting_reason and now_.job.status is Status.PENDING:
        return on_its_way(
            "waits", f"It waits: {sentence(now_.waiting_reason)}", "A run takes it as soon as the reason is gone."
        )
    if facts.dagster is None and now_.job.status is Status.RETRYING:
        return on_its_way("next_tick", "It waits for its next try, which is due.", "The next run takes it now.")
    return on_its_way(
        "next_tick",
        f"It waits in the queue, and nothing holds it.{_line(facts, now_)}",
        "The sensor launches a run for it with one of its next ticks, every 5 seconds.",
    )


def _line(facts: Facts, now_: JobNow) -> str:
    if facts.place is None:
        return ""
    job, ahead = now_.job, facts.place.ahead
    before = {0: "No file", 1: "1 file", AHEAD_LIMIT: f"{AHEAD_LIMIT:,} files or more"}.get(ahead, f"{ahead:,} files")
    priority = Priority(job.priority).name.lower()
    return (
        f" {before} of {job.organization} {'goes' if ahead < 2 else 'go'} before it in lane {job.lane}, priority "
        f"{priority}; it came {ago(job.created_at, facts.now)}."
    )


def job_name(datasource: str) -> str:
    """What Dagster calls the job of a datasource (`defs.assets.job_name`; a test holds the two together)."""
    return f"ingest_{datasource}"
