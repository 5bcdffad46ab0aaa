"""Asking every system about one file, each for a few seconds at most: the facts that `why` answers from.

What belongs here: which question goes to which system, and that a system that does not answer is a fact. What does not:
what the facts mean (`stages.diagnose`).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from ingestion_pipeline.adapters.postgres import clean_text
from ingestion_pipeline.cli.connections import Connections
from ingestion_pipeline.cli.dagster_health import ask_dagster
from ingestion_pipeline.cli.jobs import matching_jobs
from ingestion_pipeline.domain.batch import Claim
from ingestion_pipeline.domain.diagnosis import (
    Absent,
    AttemptNow,
    ContractNow,
    DagsterNow,
    DruidNow,
    Facts,
    JobNow,
    NoAnswer,
    Patience,
    RunNow,
    Sweep,
)
from ingestion_pipeline.domain.druid import TaskState
from ingestion_pipeline.domain.interval import Interval, hull
from ingestion_pipeline.domain.job import LOADED_OUTCOMES, UNCERTAIN_OUTCOMES, Job, Status
from ingestion_pipeline.domain.routing import NoRoute, Route, route
from ingestion_pipeline.domain.upload import StoredObject
from ingestion_pipeline.errors import ConfigurationError, IngestionError, LedgerUnavailable
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.stages.dispatch import ClaimRun, RunState, judge_claim, run_state

Answered = TypeVar("Answered")
PATIENCE_SECONDS = 4.0
"""For one answer of the bucket or of Druid."""


def gather(systems: Connections, text: str, *, now: datetime) -> Facts:
    """What every system says of a file.

    Args:
        systems: Made with `PATIENCE_SECONDS`.
        text: A key, a file's name, an s3:// URL, a job's id or the beginning of one.

    Raises:
        ConfigurationError: Several files are meant, or one in another bucket.
    """
    facts = _asked(systems, text, now)
    try:
        facts, by_id = _of_ledger(systems, facts)
    except LedgerUnavailable as error:
        facts, by_id = replace(facts, ledger=_no_answer(error)), False
    job = facts.job
    # Each of these may have to be waited for: none for the others.
    with ThreadPoolExecutor(max_workers=3) as pool:
        stored = pool.submit(_guarded, lambda: systems.bucket.head(facts.key) or Absent())
        dagster = pool.submit(_dagster, systems.settings, job, by_id=by_id)
        druid = pool.submit(_guarded, lambda: _druid(systems, job, facts.attempt))
    facts = replace(facts, stored=stored.result(), dagster=dagster.result(), druid=druid.result())
    facts = replace(facts, newer_object=not by_id and _is_newer(facts.stored, job))
    if job is None or facts.newer_object:
        return replace(facts, route=_route(systems, facts))
    if job.job.status.is_final:
        return facts
    return replace(facts, contract=_contract(systems, job.job), sweep=_sweep(systems.settings, facts, job))


def _asked(systems: Connections, text: str, now: datetime) -> Facts:
    settings = systems.settings
    asked = clean_text(text.strip())
    key = asked.removeprefix(f"s3://{settings.s3_bucket}/")
    if key.startswith("s3://"):
        raise ConfigurationError(
            f"'{asked}' is not in bucket {settings.s3_bucket}, the only one that is looked at.",
            hint="Put the file there, or check INGESTION_S3_BUCKET.",
        )
    return Facts(
        asked=asked,
        now=now,
        bucket=settings.s3_bucket,
        key=key,
        patience=Patience(
            heartbeat_limit_seconds=settings.heartbeat_limit_seconds,
            claim_timeout_seconds=settings.claim_timeout_seconds,
            max_tries=settings.max_tries,
        ),
    )


def _of_ledger(systems: Connections, facts: Facts) -> tuple[Facts, bool]:
    """The facts with what the ledger knows, and whether a job was named by its id."""
    ledger = systems.ledger
    found = matching_jobs(systems, facts.asked, whole_key=True)
    if not found:
        unmatched = ledger.diagnosis.unmatched(facts.bucket, facts.key, limit=6)
        if len(unmatched) > 1:
            raise ConfigurationError(
                f"'{facts.asked}' could be {', '.join(key for key, _ in unmatched[:5])}.", hint="Give the whole key."
            )
        if unmatched:
            facts = replace(facts, key=unmatched[0][0], known_since=unmatched[0][1])
        return facts, False
    job_id = found[0]["job_id"]
    now_ = ledger.diagnosis.job(job_id)
    assert now_ is not None
    waits = now_.job.status in (Status.PENDING, Status.RETRYING)
    problem = ledger.jobs.dependency_problems().get("druid")
    known = replace(
        facts,
        key=now_.job.object_key,
        bucket=now_.job.bucket,
        job=now_,
        family=ledger.corrections.family(job_id),
        open_change=ledger.corrections.open_changes([job_id]).get(job_id),
        place=ledger.diagnosis.place(job_id, now=facts.now) if waits else None,
        attempt=ledger.diagnosis.attempt(job_id),
        dispatch_problem=problem,
    )
    return known, job_id.startswith(facts.asked.lower())


def _guarded(ask: Callable[[], Answered]) -> Answered | NoAnswer:
    try:
        return ask()
    except IngestionError as error:
        return _no_answer(error)


def _no_answer(error: IngestionError) -> NoAnswer:
    return NoAnswer(problem=error.message, hint=error.hint)


def _is_newer(stored: StoredObject | Absent | NoAnswer | None, job: JobNow | None) -> bool:
    """Whether the bucket has a later version of the key than its newest job."""
    if job is None or job.arrived_at is None or not isinstance(stored, StoredObject):
        return False
    return stored.etag != job.job.etag and stored.last_modified >= job.job.last_modified


def _dagster(settings: Settings, now_: JobNow | None, *, by_id: bool) -> DagsterNow | NoAnswer | None:
    if now_ is None or now_.job.status.is_final:
        # Of a key there may be a newer version, which the sensor has yet to notice.
        return None if by_id else ask_dagster(settings.dagster_url)
    return ask_dagster(settings.dagster_url, token=now_.claim_token, run_id=now_.lease_run_id, about_runs=True)


def _druid(systems: Connections, now_: JobNow | None, attempt: AttemptNow | None) -> DruidNow | None:
    if now_ is None:
        return None
    druid, job = systems.druid, now_.job
    if job.status.is_final:
        if job.outcome not in LOADED_OUTCOMES | UNCERTAIN_OUTCOMES or attempt is None:
            return None
        return DruidNow(**_rows(systems, job, attempt))
    problem = druid.unready()
    if problem is not None or job.attempt_id is None or attempt is None:
        return DruidNow(problem=problem)
    task = druid.status(attempt.attempt_id)
    done = task is not None and task.state is TaskState.SUCCESS
    return DruidNow(task_asked=True, task=task, **(_rows(systems, job, attempt) if done else {}))


def _rows(systems: Connections, job: Job, attempt: AttemptNow) -> dict[str, Any]:
    """How much of its time is served, and its rows, counted now."""
    within = hull([Interval.parse(text) for text in attempt.intervals]) if attempt.intervals else None
    if within is None:
        return {}
    counted = systems.druid.count_by_job(job.datasource, [job.job_id], within)[job.job_id]
    return {"counted": counted, "loaded_percent": systems.druid.load_status(job.datasource, within, force=True)}


def _route(systems: Connections, facts: Facts) -> Route | NoRoute | NoAnswer | None:
    stored = facts.stored
    if not isinstance(stored, StoredObject) or facts.ledger is not None:
        return None
    return _guarded(
        lambda: route(
            systems.contracts,
            key=facts.key,
            last_modified=stored.last_modified,
            organizations=systems.ledger.discovery.organizations(),
            today=facts.now.date(),
        )
    )


def _contract(systems: Connections, job: Job) -> ContractNow | NoAnswer:
    book = _guarded(lambda: systems.contracts)
    if isinstance(book, NoAnswer):
        return book
    contract, broken = book.contracts.get(job.datasource), book.broken_datasources.get(job.datasource)
    return ContractNow(
        problem=broken.message if broken else None,
        exists=contract is not None or broken is not None,
        first_day=contract.partition_start if contract else None,
    )


def _sweep(settings: Settings, facts: Facts, now_: JobNow) -> Sweep | None:
    """What the next sweep will do about the job's claim, by the very rule that it will use."""
    if now_.claim_token is None or now_.claimed_at is None or not isinstance(facts.dagster, DagsterNow):
        return None
    claim = Claim(
        token=now_.claim_token,
        claimed_at=now_.claimed_at,
        heartbeat_at=now_.heartbeat_at,
        jobs=1,
        lease_runs=(now_.lease_run_id,) if now_.lease_run_id else (),
        tries=now_.job.tries,
    )
    judgement = judge_claim(
        claim,
        [_claim_run(run) for run in facts.dagster.runs],
        now=facts.now,
        claim_timeout=timedelta(seconds=settings.claim_timeout_seconds),
        heartbeat_limit=timedelta(seconds=settings.heartbeat_limit_seconds),
    )
    return Sweep(fate=judgement.fate.value, reason=judgement.reason)


def _claim_run(run: RunNow) -> ClaimRun:
    state = run_state(run.status, will_retry=run.will_retry)
    since = max(run.since, run.turn_came_at or run.since) if state is RunState.WORKING else run.since
    return ClaimRun(run_id=run.run_id, state=state, since=since, waits_for_turn=run.waits_for_turn)
