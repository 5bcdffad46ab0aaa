"""One performance of a schedule on a running stack: send, strike, lift, wait, judge.

What belongs here: the order of things and the deadlines. What does not: starting the stack (`__main__`, fixtures),
showing the outcome (`report`).
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import requests
from psycopg.rows import dict_row

from ingestion_pipeline.embedded import postgres
from ingestion_pipeline_tests.guarantees.suite import checks
from ingestion_pipeline_tests.guarantees.suite.keeper import Keeper, Restart
from ingestion_pipeline_tests.guarantees.suite.model import Model
from ingestion_pipeline_tests.guarantees.suite.schedule import Action, Schedule
from ingestion_pipeline_tests.guarantees.suite.sender import AWAY, Sender
from ingestion_pipeline_tests.guarantees.suite.strikes import Hit, Striker
from ingestion_pipeline_tests.guarantees.suite.surroundings import DATASOURCES, ORGANIZATIONS
from ingestion_pipeline_tests.guarantees.system import FINAL, System

_LIVE_RUNS = """{ runsOrError(filter: {statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING]}) {
  ... on Runs { results { runId status } } } }"""
SETTLE_SECONDS = 4.0
# After the last job: how long a run may take to say that it is over; one whose worker died before it began is given up
# after `start_timeout_seconds` of dagster.yaml.
RUNS_SECONDS = 300.0
_TELL_SECONDS = 30.0

Say = Callable[[str], None]


@dataclass(slots=True)
class Outcome:
    """What came of a performance.

    Attributes:
        play_seconds: Until the last deed was done and the last strike dealt.
        settle_seconds: From there until every job was final.
        undone: Actions whose moment never came.
        runs_left: Dagster runs that are not over though every job is: each holds a slot that a new file needs.
        completed_at: Seconds of the play at which jobs completed, sorted.
    """

    schedule: Schedule
    hits: list[Hit]
    restarts: list[Restart]
    start_failures: list[str]
    suite_errors: list[str]
    rows: dict[str, checks.RowsVerdict]
    jobs: checks.JobsVerdict
    undone: list[Action]
    runs_left: list[str]
    not_ready: list[str]
    puts_lost_by_s3: list[str]
    rows_lost_by_s3: int
    play_seconds: float
    settle_seconds: float
    completed_at: list[float] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return (
            all(not (v.duplicated or v.wrong) for v in self.rows.values())
            and self.lost == 0
            and self.jobs.is_clean
            and not (self.undone or self.runs_left or self.not_ready or self.suite_errors)
        )

    @property
    def lost(self) -> int:
        """Rows lost by the pipeline: those of objects that the S3 server lost are counted apart."""
        return sum(verdict.lost for verdict in self.rows.values()) - self.rows_lost_by_s3

    def next_completed_after(self, moment: float) -> float | None:
        """Seconds from a moment of the play until the next job completed."""
        return next((at - moment for at in self.completed_at if at > moment), None)


def get_ready(system: System) -> None:
    """Make the organizations, and wait until every contract has been seen: from then on files are live."""
    for organization in ORGANIZATIONS:
        system.ledger.discovery.add_organization(organization)
    system.until(
        "a tick that sees every contract", lambda: set(DATASOURCES) <= set(system.ledger.discovery.first_seen())
    )
    # Times of objects are whole seconds, and an object of the second of the first sight would be history.
    time.sleep(1.5)


def perform(system: System, schedule: Schedule, *, deadline_seconds: float, say: Say) -> Outcome:
    """Play a schedule and judge what came of it.

    Args:
        system: A running stack, ready (`get_ready`).
        deadline_seconds: From the end of the play on, for everything to become final by itself.
    """
    began, began_at = time.monotonic(), datetime.now(UTC)

    def clock() -> float:
        return time.monotonic() - began

    model = Model.of(schedule.items)
    keeper = Keeper(system.stack, clock)
    striker = Striker(keeper, system.faults, schedule.strikes, clock)
    sender = Sender(system, schedule, model, clock)
    keeper.start()
    sender.start()
    striker.start()
    try:
        _wait_for_the_end(sender, striker, clock, schedule.seconds, deadline_seconds, say)
        striker.lift()
        play_seconds = clock()
        say(f"{play_seconds:6.0f} s  everything is lifted; waiting until every job is final")
        not_ready = keeper.everything_runs(300)
        settled = _wait_for_jobs(system, sender, clock, deadline_seconds, say)
    finally:
        striker.lift()
        sender.stop()
        keeper.stop()
    runs_left = _runs_left(system)
    say(f"{clock():6.0f} s  judging")
    rows, counted = _judge_rows(system, model)
    jobs, gone = _judge_jobs(system, sender, counted)
    return Outcome(
        schedule=schedule,
        hits=striker.hits,
        restarts=keeper.restarts,
        start_failures=keeper.failures,
        suite_errors=striker.errors + ([f"sender: {sender.error!r}"] if sender.error else []),
        rows=rows,
        jobs=jobs,
        undone=sender.undone(),
        runs_left=runs_left,
        not_ready=not_ready,
        puts_lost_by_s3=sender.lost_by_s3,
        rows_lost_by_s3=sum(row.split(".")[0] in gone for verdict in rows.values() for row in verdict.lost_ids),
        play_seconds=play_seconds,
        settle_seconds=settled - play_seconds,
        completed_at=_completed(system, began_at),
    )


def _wait_for_the_end(
    sender: Sender, striker: Striker, clock: Callable[[], float], seconds: float, patience: float, say: Say
) -> None:
    told = 0.0
    while not (striker.is_done() and (sender.is_done() or clock() > seconds + patience)):
        if sender.is_done() and sender.error is not None:
            return
        if clock() - told > _TELL_SECONDS:
            told = clock()
            dealt = sum(hit.at is not None for hit in striker.hits)
            say(f"{told:6.0f} s  {len(sender.done)} deeds done, {dealt} of {len(striker.hits)} strikes have hit")
        time.sleep(0.5)
        if striker.is_done() and clock() > seconds and not sender.is_done() and not striker.lifted:
            # What is left waits for jobs to end, and those may wait for what is stopped or armed.
            striker.lift()


def _wait_for_jobs(system: System, sender: Sender, clock: Callable[[], float], patience: float, say: Say) -> float:
    """Until every version has its job and every job is final, or patience ends; returns that second."""
    deadline, told = clock() + patience, clock()
    while clock() < deadline:
        try:
            waiting = [track for track in sender.tracks if not _is_final(sender, track)]
        except AWAY:
            waiting = sender.tracks
        if not waiting and sender.is_done():
            break
        if clock() - told > _TELL_SECONDS:
            told = clock()
            say(f"{told:6.0f} s  {len(waiting)} files are not final")
        time.sleep(1)
    return clock()


def _is_final(sender: Sender, track: Any) -> bool:
    if not track.keys:
        return track.action is None
    jobs = sender.jobs(track)
    return all(job["status"] in FINAL for job in jobs) and any(sender.is_newest(track, job) for job in jobs)


def _runs_left(system: System) -> list[str]:
    deadline = time.monotonic() + RUNS_SECONDS
    while True:
        try:
            runs = system.graphql(_LIVE_RUNS)["runsOrError"]["results"]
            left = [f"{run['runId']} {run['status']}" for run in runs]
        except requests.RequestException:
            left = ["Dagster's webserver does not answer"]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(2)


def _judge_rows(system: System, model: Model) -> tuple[dict[str, checks.RowsVerdict], Counter[str]]:
    """A verdict per datasource, and the rows of each job."""
    rows: dict[str, checks.RowsVerdict] = {}
    counted: Counter[str] = Counter()
    for datasource in DATASOURCES:
        found = checks.read_everything(
            system.settings.druid_broker_url, datasource, settle_seconds=SETTLE_SECONDS, patience_seconds=120
        )
        counted.update(one.job_id for one in found)
        rows[datasource] = checks.compare(model.expected(datasource), (one.row for one in found))
    return rows, counted


def _judge_jobs(system: System, sender: Sender, counted: Counter[str]) -> tuple[checks.JobsVerdict, set[str]]:
    """The verdict, and the items that cannot be there because the S3 server lost their objects."""
    is_missing = {key: system.bucket.head(key) is None for track in sender.tracks for key in track.keys}
    verdict = checks.judge_jobs(
        _rows(system, "SELECT * FROM ingestion_jobs WHERE datasource = ANY(%s) ORDER BY created_at", list(DATASOURCES)),
        counted=counted,
        fails_with={mark: content.fails_with for track in sender.tracks for mark, content in track.contents.items()},
        is_missing=is_missing,
    )
    gone = {f"{track.model.item.number:04}" for track in sender.tracks if any(is_missing[key] for key in track.keys)}
    return verdict, gone if verdict.lost_by_s3 else set()


def _completed(system: System, began_at: datetime) -> list[float]:
    found = _rows(
        system,
        "SELECT finished_at FROM ingestion_jobs WHERE datasource = ANY(%s) AND status = 'completed' "
        "AND finished_at >= %s ORDER BY finished_at",
        list(DATASOURCES),
        began_at - timedelta(seconds=1),
    )
    return [(row["finished_at"] - began_at).total_seconds() for row in found]


def _rows(system: System, sql: str, *values: Any) -> list[dict[str, Any]]:
    """The superuser's view, over a new connection: an old one may have died with the server."""
    url = postgres.url(system.stack.site, "postgres", driver="postgresql")
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(sql, values).fetchall()
