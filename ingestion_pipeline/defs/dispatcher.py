"""Dispatch with Dagster: sweep claims whose run went away, then promise waiting jobs to new runs.

What belongs here: reading runs from the instance, and the order of the steps. What does not: which job goes first
or what becomes of a claim (`stages.dispatch`), how the ledger does it (`adapters.postgres_queue`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import dagster as dg
import structlog

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.postgres_queue import fresh_token
from ingestion_pipeline.defs.batch import BACKFILL_TAG, CLAIM_TAG, ORIGIN_TAG, is_stopped
from ingestion_pipeline.defs.submit_op import DRUID_POOL
from ingestion_pipeline.domain.batch import Batch, Claim, Share
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.stages.dispatch import (
    AGING,
    ClaimRun,
    Fate,
    RunState,
    aged_priority,
    judge_claim,
    plan,
    run_state,
)

CANDIDATES_PER_ORGANIZATION = 500
ANNOUNCED_FOR = timedelta(hours=25)
"""A signed upload URL lives 24 hours at most; after that its object will not come."""

LOOK_AGAIN = timedelta(seconds=15)
"""While Druid is away, files that wait for their next try are told this."""

DEFAULT_RUN_SLOTS = 10
_LIVE = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
SHARE_TAG = "ingestion/share"
"""Which share of the run slots a run uses (`domain.batch.Share`); `tag_concurrency_limits` in dagster.yaml name it."""

PRIORITY_TAG = "dagster/priority"
LAUNCHED_WITH_TAG = "ingestion/launched-with-priority"

AGED_A_TICK = 50
"""Runs in Dagster's queue whose priority a tick looks at, the longest waiting ones."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A claim and the run that is to be requested for it."""

    token: str
    batch: Batch

    @property
    def tags(self) -> dict[str, str]:
        return {
            CLAIM_TAG: self.token,
            ORIGIN_TAG: "sensor",
            "ingestion/files": str(len(self.batch.job_ids)),
            "ingestion/job": self.batch.job_ids[0],
            "ingestion/lane": self.batch.lane.value,
            SHARE_TAG: self.batch.share.value,
            PRIORITY_TAG: str(self.batch.launch_priority),
        }


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """One tick's dispatch.

    Attributes:
        datasources: Those whose jobs may run, each with its first partition day in this code location: one request
            for a partition that does not exist would fail the whole tick.
        waiting_because: Why the others' jobs wait, by datasource.
    """

    ledger: Ledger
    instance: dg.DagsterInstance
    druid: Druid
    settings: Settings
    datasources: Mapping[str, date]
    waiting_because: Mapping[str, str] = field(default_factory=dict)

    def tick(self, now: datetime) -> tuple[list[Launch], list[str]]:
        """Sweep, then claim; returns what is to be launched, and sentences on why nothing (more) is."""
        self.sweep(now)
        queue = self.ledger.queue
        for datasource, reason in self.waiting_because.items():
            queue.explain_waiting(reason, datasources=[datasource])
        problem = self.druid.unready()
        since, news = queue.note_dependency("druid", problem, now=now)
        if problem is not None:
            reason = f"Druid unreachable since {since or now:%Y-%m-%d %H:%M:%S} UTC: {problem}"
            queue.explain_waiting(reason, datasources=self.datasources)
            queue.postpone_due(until=now + LOOK_AGAIN, now=now)
            return [], [f"Dispatch waits. {reason}"]
        if news:
            queue.explain_waiting(None, datasources=self.datasources)
        for datasource, first in self.datasources.items():
            reason = f"Its partition day lies before the contract's partition_start, {first}."
            queue.explain_waiting(reason, datasources=[datasource], before=first)
        self._age_queued_runs(now)
        slots = self._free_slots()
        if not any(free > 0 for free in slots.values()):
            return [], ["Enough of its own runs are queued or started; waiting jobs are batched when one ends."]
        candidates = queue.candidates(
            datasources=self.datasources, now=now, per_organization=CANDIDATES_PER_ORGANIZATION
        )
        queue.supersede([candidate.job_id for candidate in candidates if candidate.superseded], now=now)
        batches = plan(
            candidates,
            slots=slots,
            max_files=self.settings.batch_max_files,
            max_bytes=self.settings.batch_max_bytes,
            now=now,
        )
        launches = [launch for batch in batches if (launch := self._claim(batch, now)) is not None]
        return launches, []

    def _claim(self, batch: Batch, now: datetime) -> Launch | None:
        token = fresh_token(uuid4())
        claimed = self.ledger.queue.claim(batch.job_ids, token=token, now=now)
        if not claimed:
            return None
        log.info(
            "claimed",
            claim=token,
            datasource=batch.datasource,
            partition=batch.partition_day.isoformat(),
            jobs=len(claimed),
            lane=batch.lane.value,
        )
        return Launch(token=token, batch=replace(batch, job_ids=tuple(claimed)))

    def sweep(self, now: datetime) -> int:
        """Judge every open claim; returns how many were not left alone."""
        changed = self.ledger.queue.expire_announced(before=now - ANNOUNCED_FOR, now=now)
        turns = self._turns()
        for claim in self.ledger.queue.open_claims():
            judgement = judge_claim(
                claim,
                self._runs_of(claim, turns),
                now=now,
                claim_timeout=timedelta(seconds=self.settings.claim_timeout_seconds),
                heartbeat_limit=timedelta(seconds=self.settings.heartbeat_limit_seconds),
            )
            if judgement.fate is Fate.KEEP:
                continue
            changed += 1
            log.warning("claim_swept", claim=claim.token, fate=judgement.fate.value, reason=judgement.reason)
            if judgement.fate is Fate.FENCE:
                self.ledger.queue.fence(claim.token)
                for run_id in judgement.run_ids:
                    self._fail_run(run_id, judgement.reason)
                continue
            if judgement.fate is Fate.CANCEL:
                self.ledger.queue.cancel(claim.token, reason=judgement.reason, now=now)
            if judgement.fate is Fate.PUT_BACK:
                self.ledger.queue.put_back(claim.token, reason=judgement.reason, now=now)
            self.ledger.queue.release(
                claim.token,
                reason=judgement.reason,
                now=now,
                wait=timedelta(seconds=min(300, 5 * 2 ** min(claim.tries, 6))),
                max_tries=self.settings.max_tries,
            )
        # After the claims of its runs were given back, and before anything is dispatched.
        for backfill_id in self.ledger.backfills.unfinished():
            if is_stopped(self.instance, backfill_id):
                changed += self.ledger.backfills.hold_back(backfill_id)
        return changed + self._end_runs_without_work(now, turns)

    def _turns(self) -> dict[str, datetime | None]:
        """The runs in the line for Druid's pool: when a slot was kept for them, None while they wait for one."""
        line = self.instance.event_log_storage.get_concurrency_info(DRUID_POOL).pending_steps
        return {step.run_id: step.assigned_timestamp for step in line}

    def _end_runs_without_work(self, now: datetime, turns: Mapping[str, datetime | None]) -> int:
        """Fail runs that have long had nothing to do and are not over: their worker died after its last file.

        No claim speaks for them, and each would keep a run slot until the instance's `max_runtime_seconds`. One that
        waits for its turn in Druid's pool is left alone until that has come.
        """
        limit = timedelta(seconds=2 * self.settings.heartbeat_limit_seconds)
        records = self.instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]), limit=100)
        old = {
            record.dagster_run.run_id: datetime.fromtimestamp(record.start_time, UTC)
            for record in records
            if CLAIM_TAG in record.dagster_run.tags and record.start_time
        }
        old = {run_id: started for run_id, started in old.items() if now - started > limit}
        if not old:
            return 0
        ends = self.ledger.queue.work_left(list(old))
        idle = [
            run_id
            for run_id, started in old.items()
            if (end := ends.get(run_id, started))
            and (turn := turns.get(run_id, started))
            and now - max(end, turn) > limit
        ]
        for run_id in idle:
            log.warning("run_without_work", run=run_id)
            self._fail_run(run_id, "It has no unfinished file and has not ended.")
        return len(idle)

    def _fail_run(self, run_id: str, reason: str) -> None:
        """Mark a silent worker's run as failed: its slot is freed, and Dagster retries it under the same claim."""
        run = self.instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            self.instance.report_run_failed(run, f"{reason} Its jobs were taken from it.")

    def _runs_of(self, claim: Claim, turns: Mapping[str, datetime | None]) -> list[ClaimRun]:
        records = self.instance.get_run_records(dg.RunsFilter(tags={CLAIM_TAG: claim.token}), limit=20)
        retried = {record.dagster_run.parent_run_id for record in records}
        retries = self.instance.run_retries_enabled
        return [
            claim_run(
                record,
                retried,
                retries=retries,
                turns=turns,
                # Asked for canceled runs alone, which are few.
                stopped=record.dagster_run.status is dg.DagsterRunStatus.CANCELED
                and is_stopped(self.instance, record.dagster_run.tags.get(BACKFILL_TAG)),
            )
            for record in records
        ]

    def _free_slots(self) -> dict[Share, int]:
        """How many runs may be launched of each share: as many as there are slots, and of live files twice as many.

        Only its own count: a backfill's runs, hundreds perhaps, wait in Dagster's queue and keep none from starting.
        """
        config = self.instance.get_concurrency_config().run_queue_config
        slots = config.max_concurrent_runs if config else DEFAULT_RUN_SLOTS
        slots = slots if slots >= 0 else 100
        return {share: slots * (2 if share is Share.LIVE else 1) - self._runs_of_share(share) for share in Share}

    def _runs_of_share(self, share: Share) -> int:
        mine = {ORIGIN_TAG: "sensor", SHARE_TAG: share.value}
        return self.instance.get_runs_count(dg.RunsFilter(statuses=list(_LIVE), tags=mine))

    def _age_queued_runs(self, now: datetime) -> None:
        """Raise the priority of what waits long in Dagster's queue, backfills too: else urgent files, if they never
        ceased to come, would always be started first."""
        queued = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED], created_before=now - AGING)
        for record in self.instance.get_run_records(queued, limit=AGED_A_TICK, ascending=True):
            run = record.dagster_run
            told = run.tags.get(PRIORITY_TAG, "0")
            first = run.tags.get(LAUNCHED_WITH_TAG, told)
            waited = now - record.create_timestamp.replace(tzinfo=UTC)
            if first.lstrip("-").isdigit() and (aged := str(aged_priority(int(first), waited=waited))) != told:
                self.instance.add_run_tags(run.run_id, {PRIORITY_TAG: aged, LAUNCHED_WITH_TAG: first})


def claim_run(
    record: dg.RunRecord,
    retried: set[str | None],
    *,
    retries: bool,
    turns: Mapping[str, datetime | None],
    stopped: bool = False,
) -> ClaimRun:
    """A run as far as a claim's fate depends on it.

    Args:
        retried: Runs that have been launched again.
        retries: Whether Dagster launches runs of lost workers again.
        turns: Runs in the line for a pool: when their turn came, None while they wait for it.
        stopped: The backfill that it belongs to was stopped, not this run alone.
    """
    run = record.dagster_run
    will_retry = run.tags.get("dagster/will_retry")
    if will_retry is None and retries and run.status is dg.DagsterRunStatus.FAILURE:
        # Dagster writes the tag a moment after the status: a tick in between must not give the jobs to others.
        will_retry = "true"
    since = record.update_timestamp
    since = since if since.tzinfo else since.replace(tzinfo=UTC)
    state = run_state(run.status.value, will_retry=will_retry == "true" and run.run_id not in retried, stopped=stopped)
    if state is RunState.WORKING:
        if record.start_time:
            since = datetime.fromtimestamp(record.start_time, UTC)
        since = max(since, turns.get(run.run_id) or since)
    waits_for_turn = turns.get(run.run_id, since) is None
    return ClaimRun(run_id=run.run_id, state=state, since=since, waits_for_turn=waits_for_turn)
