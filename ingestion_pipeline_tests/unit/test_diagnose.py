"""Why a file is not loaded: for every state that a file can be in, the true cause, its standing and a next step."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from ingestion_pipeline.cli import dagster_health
from ingestion_pipeline.defs import sensors
from ingestion_pipeline.defs.assets import job_name
from ingestion_pipeline.defs.failures import Stopped
from ingestion_pipeline.defs.submit_op import DRUID_POOL
from ingestion_pipeline.domain.contract_patterns import FilePattern
from ingestion_pipeline.domain.diagnosis import (
    Absent,
    AttemptNow,
    ContractNow,
    DagsterNow,
    DruidNow,
    Facts,
    JobNow,
    NoAnswer,
    QueuePlace,
    RunNow,
    Sweep,
    Tick,
)
from ingestion_pipeline.domain.druid import RunnerState, TaskState, TaskStatus
from ingestion_pipeline.domain.job import AttemptKind, AttemptState, Cause, Job, Lane, Outcome, Priority, Status
from ingestion_pipeline.domain.routing import NoRoute, NoRouteReason, Route
from ingestion_pipeline.domain.upload import StoredObject
from ingestion_pipeline.errors import DagsterUnavailable, IngestionError
from ingestion_pipeline.stages.diagnose import Standing, commands_in, diagnose, evidence, sensor
from ingestion_pipeline.stages.diagnose.ended import FAILURE_STEPS
from ingestion_pipeline.stages.diagnose.unentered import NO_ROUTE_STEPS
from ingestion_pipeline.stages.diagnose.waiting import RETRY_CAUSES
from ingestion_pipeline.stages.diagnose.waiting import job_name as diagnosed_job_name

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = "exports/sales/2026-03-01/a.csv"
RUN = "aaaaaaaa-0000-0000-0000-000000000000"
STORED = StoredObject(key=KEY, etag="e1", size_bytes=1234, last_modified=NOW - timedelta(minutes=3))
SENSOR = DagsterNow(
    daemon_healthy=True,
    beat_at=NOW,
    sensor="RUNNING",
    last_tick=Tick(at=NOW - timedelta(seconds=3), failed=False, told="2 LIST calls, nothing new."),
    job_names=frozenset({"ingest_sales"}),
    run_slots=4,
)
ROUTE = Route(
    datasource="sales", organization="acme", partition_day=date(2026, 3, 1), pattern=FilePattern.for_uploads("sales")
)
ATTEMPT = AttemptNow(
    attempt_id="ing-sales-1",
    kind=AttemptKind.APPEND,
    state=AttemptState.SUBMITTED,
    created_at=NOW - timedelta(seconds=20),
    rows_expected=100,
)
FINE, ON_ITS_WAY, PERSON = Standing.FINE, Standing.ON_ITS_WAY, Standing.NEEDS_A_PERSON


def a_job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "job_id": "12345678-0000-0000-0000-000000000000",
        "organization": "acme",
        "datasource": "sales",
        "bucket": "b",
        "object_key": KEY,
        "version_id": "",
        "etag": "e1",
        "size_bytes": 1234,
        "last_modified": STORED.last_modified,
        "partition_day": date(2026, 3, 1),
        "status": Status.PENDING,
        "cause": Cause.DISCOVERED,
        "lane": Lane.LIVE,
        "priority": Priority.MEDIUM,
        "lease_epoch": 1,
        "tries": 1,
        "retry_count": 0,
        "attempt_id": None,
        "outcome": None,
        "rows_read": 0,
        "rows_accepted": 0,
        "rows_rejected": 0,
        "rows_queryable": 0,
        "content_hash": None,
        "created_at": NOW - timedelta(minutes=2),
    }
    return Job(**(values | changes))


def waiting(*, now: dict[str, Any] | None = None, facts: dict[str, Any] | None = None, **job: Any) -> Facts:
    """A job that waits where all is well; what a test names is not."""
    known: dict[str, Any] = {"arrived_at": NOW - timedelta(minutes=2)} | (now or {})
    values: dict[str, Any] = {
        "stored": STORED,
        "contract": ContractNow(first_day=date(2020, 1, 1)),
        "place": QueuePlace(),
        "dagster": SENSOR,
        "druid": DruidNow(),
        "job": JobNow(job=a_job(**job), **known),
    }
    return Facts(asked=KEY, key=KEY, bucket="b", now=NOW, **(values | (facts or {})))


def claimed(*, runs: tuple[RunNow, ...] = (), sweep: str = "keep", reason: str = "", **dagster: Any) -> Facts:
    facts = {
        "dagster": replace(SENSOR, runs=runs, **dagster),
        "sweep": Sweep(fate=sweep, reason=reason),
    }
    return waiting(now={"claim_token": "c", "claimed_at": NOW - timedelta(seconds=5)}, facts=facts)


def working(
    *, silent: int = 2, sweep: str | None = "keep", facts: dict[str, Any] | None = None, attempt: bool = False
) -> Facts:
    now = {
        "claim_token": "c",
        "claimed_at": NOW - timedelta(minutes=1),
        "lease_run_id": RUN,
        "run_id": RUN,
        "heartbeat_at": NOW - timedelta(seconds=silent),
        "step": "submit" if attempt else "validate",
        "percent": 70 if attempt else 10,
    }
    given: dict[str, Any] = {
        "dagster": replace(SENSOR, runs=(run("STARTED"),)),
        "sweep": None if sweep is None else Sweep(fate=sweep, reason="Its worker has not been heard of for 75 s."),
    }
    job: dict[str, Any] = {"attempt_id": "ing-sales-1", "rows_read": 100, "rows_accepted": 100} if attempt else {}
    if attempt:
        given["attempt"] = ATTEMPT
    return waiting(now=now, facts=given | (facts or {}), status=Status.PROCESSING, **job)


def in_druid(state: TaskState, runner: RunnerState = RunnerState.NONE, **druid: Any) -> Facts:
    task = TaskStatus(task_id="ing-sales-1", state=state, runner=runner, error=druid.pop("error", None))
    return working(attempt=True, facts={"druid": DruidNow(task_asked=True, task=task, **druid)})


def ended(outcome: str, *, status: Status = Status.COMPLETED, facts: dict[str, Any] | None = None, **job: Any) -> Facts:
    final = a_job(status=status, outcome=outcome, **job)
    values: dict[str, Any] = {
        "stored": STORED,
        "family": (final,),
        "attempt": replace(ATTEMPT, state=AttemptState.PROVED),
        "job": JobNow(job=final, arrived_at=NOW, finished_at=NOW, run_id=RUN),
    }
    return Facts(asked=KEY, key=KEY, bucket="b", now=NOW, **(values | (facts or {})))


def loaded(counted: int | None = 100, percent: float | None = 100.0, **changes: Any) -> Facts:
    given = {"druid": DruidNow(counted=counted, loaded_percent=percent)} | changes.pop("facts", {})
    return ended("loaded", rows_read=100, rows_accepted=100, rows_queryable=100, facts=given, **changes)


def run(status: str, **changes: Any) -> RunNow:
    return RunNow(run_id=RUN, status=status, since=NOW - timedelta(seconds=4), **changes)


def unentered(**facts: Any) -> Facts:
    values: dict[str, Any] = {"stored": STORED, "route": ROUTE, "dagster": SENSOR}
    return Facts(asked=KEY, key=facts.pop("key", KEY), bucket="b", now=NOW, **(values | facts))


AWAY = NoAnswer(problem="It does not answer.", hint="Start it.")
FAILED_TICK = Tick(at=NOW, failed=True, told="The S3 server refuses these credentials for bucket b.")
LATER = NOW + timedelta(seconds=40)

# What is asked about, the cause that is told, its standing, and words that the answer has.
CASES: list[tuple[str, Facts, Standing, str]] = [
    # no job
    ("no_such_object", unentered(stored=Absent()), PERSON, "no object s3://b/exports/sales/2026-03-01/a.csv"),
    ("no_such_object", unentered(stored=Absent(), key="a.csv"), PERSON, "ask with the whole key"),
    ("own_object", unentered(key="cleaned/acme/x.csv", stored=Absent()), PERSON, "Put the file under another key"),
    ("bucket_unknown", unentered(stored=AWAY), PERSON, "It does not answer. Start it."),
    ("ledger_unavailable", unentered(ledger=AWAY), PERSON, "not known without it. Start it."),
    ("contracts_unknown", unentered(route=AWAY), PERSON, "where it belongs is not known"),
    ("sensor_stopped", unentered(dagster=replace(SENSOR, sensor="STOPPED")), PERSON, "Start it on its page"),
    ("sensor_absent", unentered(dagster=replace(SENSOR, sensor=None)), PERSON, "code location is not loaded"),
    ("sensor_failing", unentered(dagster=replace(SENSOR, last_tick=FAILED_TICK)), PERSON, "refuses these credentials"),
    ("daemon_down", unentered(dagster=replace(SENSOR, daemon_healthy=False)), PERSON, "`ingestion-pipeline up`"),
    ("dagster_unknown", unentered(dagster=AWAY), PERSON, "Whether the sensor runs is not known"),
    ("not_noticed_yet", unentered(), ON_ITS_WAY, "3 minutes ago"),
    ("not_noticed_yet", unentered(known_since=NOW), ON_ITS_WAY, "have changed since"),
    ("not_noticed_yet", replace(loaded(), newer_object=True, route=ROUTE), ON_ITS_WAY, "This version of it"),
    # waiting
    ("awaits_object", waiting(now={"arrived_at": None}, facts={"stored": Absent()}), PERSON, "has not arrived"),
    ("not_noticed_yet", waiting(now={"arrived_at": None}), ON_ITS_WAY, "has not noticed"),
    (
        "contract_broken",
        waiting(facts={"contract": ContractNow(problem="sales.yaml:3: x: no.")}),
        PERSON,
        "sales.yaml:3",
    ),
    ("contract_gone", waiting(facts={"contract": ContractNow(exists=False)}), PERSON, "INGESTION_CONTRACTS_DIR"),
    ("contract_new", waiting(facts={"dagster": replace(SENSOR, job_names=frozenset())}), PERSON, "code server"),
    (
        "before_first_partition",
        waiting(facts={"contract": ContractNow(first_day=date(2027, 1, 1))}),
        PERSON,
        "partition_start",
    ),
    (
        "history_lane",
        waiting(lane=Lane.HISTORY),
        PERSON,
        "backfill --datasource sales --from 2026-03-01 --to 2026-03-01",
    ),
    ("sensor_stopped", waiting(facts={"dagster": replace(SENSOR, sensor="STOPPED")}), PERSON, "no run is launched"),
    ("druid_down", waiting(facts={"druid": DruidNow(problem="No worker.")}), PERSON, "No worker."),
    ("druid_down", waiting(facts={"druid": AWAY}), PERSON, "`ingestion-pipeline status`"),
    ("druid_down", waiting(facts={"dispatch_problem": ("No.", NOW)}), PERSON, "since 2026-03-01 12:00:00 UTC"),
    (
        "task_failed",
        waiting(
            status=Status.RETRYING,
            tries=2,
            now={
                "next_try_at": LATER,
                "error_code": "task_failed",
                "waiting_reason": "Druid task x failed: OutOfMemory",
            },
        ),
        ON_ITS_WAY,
        "OutOfMemory. It has been tried 2 of 3 times.",
    ),
    (
        "retry_later",
        waiting(status=Status.RETRYING, now={"next_try_at": LATER}),
        ON_ITS_WAY,
        "after 2026-03-01 12:00:40",
    ),
    (
        "run_died_early",
        waiting(now={"next_try_at": LATER, "waiting_reason": "Its run x ended."}),
        ON_ITS_WAY,
        "Its run x",
    ),
    ("newer_version", waiting(facts={"place": QueuePlace(newer_job_id="99999999-")}), ON_ITS_WAY, "why 99999999`"),
    ("key_in_flight", waiting(facts={"place": QueuePlace(busy_job_id="99999999-")}), ON_ITS_WAY, "why 99999999`"),
    (
        "batch_in_flight",
        waiting(attempt_id="t1", facts={"place": QueuePlace(batch_is_free=False)}),
        ON_ITS_WAY,
        "go on together",
    ),
    (
        "behind_limit",
        waiting(facts={"dagster": replace(SENSOR, from_sensor=8), "place": QueuePlace(ahead=12)}),
        ON_ITS_WAY,
        "8 of the sensor's runs are queued or at work, and no more than 8 (twice the run slots) are launched at a "
        "time. 12 files of acme go before it in lane live, priority medium",
    ),
    ("waits", waiting(now={"waiting_reason": "Something else."}), ON_ITS_WAY, "Something else."),
    ("dagster_unknown", waiting(facts={"dagster": AWAY}), PERSON, "It does not answer."),
    ("next_tick", waiting(), ON_ITS_WAY, "No file of acme goes before it"),
    ("next_tick", waiting(status=Status.RETRYING, facts={"dagster": None}), ON_ITS_WAY, "now"),
    # promised to a run
    ("run_requested", claimed(), ON_ITS_WAY, "5 s ago"),
    ("run_queued", claimed(runs=(run("QUEUED"),), working=4), ON_ITS_WAY, "4 of 4 run slots are taken"),
    ("run_queued", claimed(runs=(run("QUEUED"),)), ON_ITS_WAY, "limit on a tag"),
    ("run_starting", claimed(runs=(run("STARTING"),)), ON_ITS_WAY, "starting for 4 s"),
    ("pool_full", claimed(runs=(run("STARTED", waits_for_turn=True),), pool_slots=2), ON_ITS_WAY, "all 2 slots"),
    ("claim_without_run", claimed(sweep="release", reason="No run was launched."), ON_ITS_WAY, "No run was launched."),
    ("daemon_down", claimed(daemon_healthy=False), PERSON, "no run is launched"),
    ("sensor_stopped", claimed(sweep="release", sensor="STOPPED"), PERSON, "Start it on its page"),
    ("run_queued", claimed(runs=(run("QUEUED"),), sensor="STOPPED"), ON_ITS_WAY, "waits in Dagster's queue"),
    ("claimed", waiting(now={"claim_token": "c"}, facts={"dagster": None}), ON_ITS_WAY, "promised to a run"),
    # in a run
    ("at_work", working(), ON_ITS_WAY, "validate, 10 %"),
    ("run_dead", working(silent=75, sweep="fence"), ON_ITS_WAY, "75 s ago; the limit is 60 s"),
    ("run_dead", working(silent=75, sweep=None), ON_ITS_WAY, "next tick takes the file from that run"),
    (
        "run_dead",
        working(silent=75, sweep="fence", facts={"dagster": replace(SENSOR, sensor="STOPPED")}),
        PERSON,
        "Start it on its page",
    ),
    (
        "run_dead",
        working(silent=75, facts={"dagster": replace(SENSOR, runs=(run("FAILURE", will_retry=True),))}),
        ON_ITS_WAY,
        "about to launch it again",
    ),
    (
        "run_dead",
        working(silent=75, facts={"dagster": replace(SENSOR, runs=(run("QUEUED"),))}),
        ON_ITS_WAY,
        "the run in its place, aaaaaaaa, is queued",
    ),
    ("run_canceled", working(sweep="cancel"), ON_ITS_WAY, "canceled by a person"),
    (
        "pool_full",
        working(facts={"dagster": replace(SENSOR, runs=(run("STARTED", waits_for_turn=True),))}),
        ON_ITS_WAY,
        "all slots of the pool druid",
    ),
    ("druid_down", working(attempt=True, facts={"druid": AWAY}), PERSON, "never sent twice"),
    ("task_not_sent", working(attempt=True), ON_ITS_WAY, "about to send"),
    ("task_unknown", working(attempt=True, facts={"druid": DruidNow(task_asked=True)}), ON_ITS_WAY, "does not know"),
    ("task_failed", in_druid(TaskState.FAILED, error="Max parse exceptions"), ON_ITS_WAY, "Max parse exceptions."),
    ("task_waits_for_slot", in_druid(TaskState.RUNNING, RunnerState.PENDING), ON_ITS_WAY, "worker slot"),
    ("task_waits_for_lock", in_druid(TaskState.RUNNING, RunnerState.WAITING), ON_ITS_WAY, "waits for a lock"),
    ("task_running", in_druid(TaskState.RUNNING, RunnerState.RUNNING), ON_ITS_WAY, "taking its rows in"),
    ("segments_loading", in_druid(TaskState.SUCCESS, loaded_percent=40.0, counted=40), ON_ITS_WAY, "40 % of its time"),
    ("counting", in_druid(TaskState.SUCCESS, loaded_percent=100.0, counted=40), ON_ITS_WAY, "40 of 100 rows"),
    # ended
    ("loaded", loaded(), FINE, "100 rows in Druid, counted when it was loaded and again now."),
    ("loaded", loaded(facts={"druid": None}), FINE, "Nothing: every row was counted"),
    ("segments_loading", loaded(counted=40, percent=40.0), ON_ITS_WAY, "only 40 % of the segments"),
    ("count_short", loaded(counted=40), PERSON, "which counts 40 now"),
    ("count_short", loaded(counted=0, percent=None), PERSON, "replay 12345678`"),
    ("count_over", loaded(counted=101), PERSON, "replay 12345678`"),
    ("druid_down", loaded(facts={"druid": AWAY}), PERSON, "cannot be asked now"),
    ("being_changed", loaded(facts={"open_change": "99999999-"}), ON_ITS_WAY, "why 99999999`"),
    (
        "loaded_with_rejects",
        ended("loaded_with_rejects", rows_read=10, rows_accepted=8, rows_rejected=2),
        FINE,
        "rejected 12345678 --fixable",
    ),
    ("empty", ended("empty"), FINE, "no rows"),
    ("duplicate", ended("duplicate", result={"duplicate_of": "99999999"}), FINE, "job 99999999"),
    ("superseded", ended("superseded"), FINE, "newer version"),
    ("replaced", ended("replaced", result={"replaced_by": "99999999"}), FINE, "job 99999999 are in their place"),
    ("undone", ended("undone", result={"replaced_by": "99999999"}), FINE, "`ingestion-pipeline replay 12345678`"),
    ("undone", ended("undone", cause=Cause.UNDO, replaces_job_id="99999999"), FINE, "out of Druid"),
    ("expired", ended("expired", status=Status.CANCELED), PERSON, "Upload it again"),
    ("stopped", ended("stopped", status=Status.CANCELED), PERSON, "replay 12345678`"),
    (
        "unproved",
        ended("unproved", status=Status.FAILED, rows_accepted=100, facts={"druid": DruidNow(counted=90)}),
        PERSON,
        "Druid counts 90 of 100 rows now.",
    ),
    (
        "unproved",
        ended("unproved", status=Status.FAILED, result={"replaced_by": "99999999-0"}),
        FINE,
        "job 99999999 has replaced",
    ),
    (
        "druid_rejected",
        ended("druid_rejected", status=Status.FAILED, cause=Cause.UNDO, replaces_job_id="99999999-0"),
        PERSON,
        "undo 99999999`",
    ),
    ("a_new_code", ended("a_new_code", status=Status.FAILED, error_message="No"), PERSON, "(a_new_code): No."),
]


@pytest.mark.parametrize(
    ("cause", "facts", "standing", "told"), CASES, ids=[f"{number}-{case[0]}" for number, case in enumerate(CASES)]
)
def test_the_cause_is_told_with_its_next_step(cause: str, facts: Facts, standing: Standing, told: str) -> None:
    answer = diagnose(facts)
    assert (answer.cause, answer.standing) == (cause, standing), answer
    assert told in f"{answer.told} {answer.next_step}"
    assert answer.next_step
    for text in (answer.told, answer.next_step, *(part.told for part in evidence(facts))):
        assert text.strip() == text
        assert "  " not in text
        assert "None" not in text


def test_every_cause_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/when-a-file-is-not-loaded.md").read_text()
    causes = {cause for cause, *_ in CASES} | {*get_args(NoRouteReason), *RETRY_CAUSES} - {
        "transient",
        "contract_changed",
    }
    assert {cause for cause in causes - {"a_new_code"} if f"`{cause}`" not in page} == set()


def test_every_reason_of_routing_has_a_step() -> None:
    assert set(NO_ROUTE_STEPS) == set(get_args(NoRouteReason))


@pytest.mark.parametrize("reason", get_args(NoRouteReason))
def test_an_object_that_belongs_nowhere_is_told_why(reason: NoRouteReason) -> None:
    answer = diagnose(unentered(route=NoRoute(reason=reason, message="It belongs nowhere.")))
    assert (answer.cause, answer.told, answer.standing) == (reason, "It belongs nowhere.", PERSON)


def test_every_code_of_an_error_has_a_step() -> None:
    assert {*(error.code for error in all_errors()), Stopped.code, "worker_lost"} == set(FAILURE_STEPS)


@pytest.mark.parametrize("code", sorted(FAILURE_STEPS))
def test_a_failed_job_has_its_error_and_a_next_step(code: str) -> None:
    answer = diagnose(ended(code, status=Status.FAILED, error_message="It went wrong."))
    assert (answer.cause, answer.standing) == (code, PERSON)
    assert "It went wrong." in answer.told
    assert "{" not in answer.next_step


def test_every_outcome_has_an_answer() -> None:
    told = {diagnose(ended(outcome, rows_accepted=1)).told for outcome in Outcome}
    assert len(told) >= len(Outcome) - 1  # with and without rejects are told alike


def test_every_transient_error_is_a_cause_of_a_wait() -> None:
    transient = {error.code for error in all_errors() if error.retryable} - {"fix_under_way"}
    assert transient == set(RETRY_CAUSES)


def all_errors(root: type[IngestionError] = IngestionError) -> Iterator[type[IngestionError]]:
    """Those that a job can meet: only commands ask Dagster."""
    if root is not DagsterUnavailable:
        yield root
    for child in root.__subclasses__():
        yield from all_errors(child)


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("lane", list(Lane))
@pytest.mark.parametrize("cause", list(Cause))
def test_the_ledger_alone_gives_a_next_step_for_every_job(status: Status, lane: Lane, cause: Cause) -> None:
    outcomes = [None] if not status.is_final else ["loaded"] if status is Status.COMPLETED else ["stopped"]
    for outcome in outcomes:
        job = a_job(status=status, lane=lane, cause=cause, outcome=outcome, replaces_job_id="99999999", rows_accepted=1)
        facts = Facts(asked="", now=NOW, job=JobNow(job=job, arrived_at=NOW), family=(job,))
        assert diagnose(facts).next_step


def test_commands_are_ready_to_be_typed() -> None:
    assert diagnose(loaded(counted=40)).commands == ("ingestion-pipeline replay 12345678",)
    assert commands_in("`pip` and `ingestion-pipeline up`.") == ("ingestion-pipeline up",)


def test_the_evidence_is_the_file_s_way_in_order() -> None:
    parts = evidence(in_druid(TaskState.SUCCESS, loaded_percent=40.0, counted=40))
    assert [(part.about, part.mark.value) for part in parts] == [
        ("object", "good"),
        ("contract", "good"),
        ("ledger", "open"),
        ("sensor", "good"),
        ("run", "open"),
        ("rows", "good"),
        ("attempt", "open"),
        ("task", "good"),
        ("segments", "open"),
        ("count", "open"),
    ]


def test_what_could_not_be_asked_is_said_so() -> None:
    facts = waiting(facts={"stored": AWAY, "dagster": AWAY, "druid": AWAY, "contract": AWAY})
    marks = {part.about: part.mark.value for part in evidence(facts)}
    assert {about for about, mark in marks.items() if mark == "unknown"} == {"object", "contract", "sensor", "Druid"}


def test_the_names_of_dagster_s_things_are_those_of_the_definitions() -> None:
    assert diagnosed_job_name("sales") == job_name("sales")
    assert {sensor.SENSOR_NAME, dagster_health.SENSOR_NAME} == {sensors.SENSOR_NAME}
    assert dagster_health.DRUID_POOL == DRUID_POOL
