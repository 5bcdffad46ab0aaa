"""The ledger as a state machine: runs, retries, zombies, sweeps and new versions in any order, on real PostgreSQL."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.rows import dict_row

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.domain.job import AttemptState, Job, Lane, Lease, Outcome, Step
from ingestion_pipeline.domain.upload import Upload
from ingestion_pipeline.errors import DruidUnavailable, LeaseLost, UnreadableFile
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.ledger import LIVE_STATUSES, World, attempt_of, lease_of, save_attempt

KEYS = ("a.csv", "b.csv", "c.csv")
pick = st.integers(0, 99)


class LedgerMachine(RuleBasedStateMachine):
    """What the machine believes: every lease that was ever given, and the newest epoch of each job."""

    database: LedgerDatabase
    ledger: Ledger
    superuser: "psycopg.Connection[dict[str, Any]]"

    @initialize()
    def begin(self) -> None:
        self.world = World(self.database, self.ledger, superuser=self.superuser)
        self.uploads: list[Upload] = []
        self.claims: list[str] = []
        self.leases: list[Job] = []  # as they were given; most of them are stale
        self.runs = count(1)
        # Most of what is interesting needs a run: every example begins with one.
        for key in KEYS:
            self.a_version_arrives(key, Lane.LIVE)
        self.dispatch(len(KEYS))
        self.a_run_takes(0, again=False)

    def row(self, job_id: str) -> dict[str, object]:
        return self.world.row(job_id)

    def holds(self, lease: Lease) -> bool:
        row = self.row(lease.job_id)
        return row["lease_epoch"] == lease.epoch and row["status"] == "processing"

    @rule(key=st.sampled_from(KEYS), lane=st.sampled_from([Lane.LIVE, Lane.LIVE, Lane.HISTORY]))
    def a_version_arrives(self, key: str, lane: Lane) -> None:
        upload = self.world.upload(key)
        self.uploads.append(upload)
        assert len(self.world.enter(upload, lane=lane)) == 1

    @rule(which=pick)
    def a_known_version_is_seen_again(self, which: int) -> None:
        assert self.world.enter(self.uploads[which % len(self.uploads)]) == []

    @rule(seconds=st.integers(1, 30))
    def time_passes(self, seconds: int) -> None:
        self.world.later(seconds)

    @rule(amount=st.integers(1, 5))
    def dispatch(self, amount: int) -> None:
        waiting = self.world.candidates()[:amount]
        token = f"{self.world.name}-{next(self.runs)}"
        if self.ledger.queue.claim(waiting, token=token, now=self.world.now):
            self.claims.append(token)

    @rule(files=st.integers(1, 3))
    def backfill(self, files: int) -> None:
        token = f"{self.world.name}-{next(self.runs)}"
        claimed, _ = self.ledger.queue.claim_day(
            datasource=self.world.name,
            days=[self.world.now.date()],
            token=token,
            now=self.world.now,
            max_files=files,
            max_bytes=10**9,
        )
        if claimed:
            self.claims.append(token)

    @rule()
    def older_versions_are_superseded(self) -> None:
        rows = self.world.rows("SELECT job_id::text AS id FROM ingestion_jobs WHERE datasource = %s", self.world.name)
        self.ledger.queue.supersede([row["id"] for row in rows], now=self.world.now)

    @precondition(lambda self: self.claims)
    @rule(which=pick, again=st.booleans())
    def a_run_takes(self, which: int, again: bool) -> None:
        token = self.claims[which % len(self.claims)]
        # A new run of the token, or one that retries whoever holds it.
        holders = [job for job in self.leases if self.row(job.job_id)["claim_token"] == token] if again else []
        ancestors = {str(self.row(job.job_id)["lease_run_id"]) for job in holders}
        self.leases += self.world.take(token, f"run-{next(self.runs)}", *ancestors)

    @precondition(lambda self: self.leases)
    @rule(which=pick, mine=st.booleans())
    def an_op_begins(self, which: int, mine: bool) -> None:
        job = self.leases[which % len(self.leases)]
        run_id = str(self.row(job.job_id)["lease_run_id"]) if mine else "a stranger"
        renewed = self.ledger.work.renew(
            [job.job_id], run_id=run_id, ancestors=(), step=Step.SUBMIT, now=self.world.now
        )
        assert mine or not renewed
        self.leases += renewed
        if renewed:  # whoever held the job until now is a zombie
            with pytest.raises(LeaseLost):
                self.ledger.work.fail(
                    Lease(job_id=job.job_id, epoch=renewed[0].lease_epoch - 1), UnreadableFile("x"), now=self.world.now
                )

    @precondition(lambda self: self.leases)
    @rule(which=pick, how=st.sampled_from(["complete", "fail", "give_back", "beat"]))
    def somebody_writes(self, which: int, how: str) -> None:
        """Anybody who ever had a lease, zombies included."""
        lease = lease_of(self.leases[which % len(self.leases)])
        held, before = self.holds(lease), self.row(lease.job_id)
        work, now = self.ledger.work, self.world.now
        writes: dict[str, Callable[[], object]] = {
            "complete": lambda: work.complete(lease, Outcome.EMPTY, rows_queryable=0, summary="", details={}, now=now),
            "fail": lambda: work.fail(lease, UnreadableFile("x"), now=now),
            "give_back": lambda: work.give_back(lease, DruidUnavailable("x"), next_try_at=now + timedelta(seconds=5)),
        }
        if how == "beat":
            assert (lease.job_id in work.heartbeat([lease], percent=1, progress={}, now=now)) == held
        elif held:
            writes[how]()
        else:
            with pytest.raises(LeaseLost):
                writes[how]()
            assert self.row(lease.job_id) == before, "a stale write changed something"

    @precondition(lambda self: self.leases)
    @rule(which=st.lists(pick, min_size=1, max_size=3))
    def somebody_saves_an_attempt(self, which: list[int]) -> None:
        jobs = list({job.job_id: job for job in (self.leases[n % len(self.leases)] for n in which)}.values())
        if any(self.row(job.job_id)["attempt_id"] for job in jobs):
            return  # a run never does: what has an attempt is resumed
        attempt = attempt_of(jobs)
        if all(self.holds(lease_of(job)) for job in jobs):
            save_attempt(self.ledger, attempt, jobs, now=self.world.now)
        else:
            with pytest.raises(LeaseLost):
                save_attempt(self.ledger, attempt, jobs, now=self.world.now)
            assert self.world.rows("SELECT FROM druid_attempts WHERE attempt_id = %s", attempt.attempt_id) == []

    @precondition(lambda self: self.leases)
    @rule(which=pick, state=st.sampled_from([AttemptState.SUBMITTED, AttemptState.ABSENT]))
    def an_attempt_is_judged(self, which: int, state: AttemptState) -> None:
        job = self.leases[which % len(self.leases)]
        for attempt in self.ledger.attempts.of_job(job.job_id):
            if attempt.state.is_open and self.holds(lease_of(job)):
                self.ledger.attempts.mark(attempt.attempt_id, state, leases=[lease_of(job)], now=self.world.now)

    @precondition(lambda self: self.claims)
    @rule(which=pick, how=st.sampled_from(["fence", "release", "cancel"]))
    def the_sweep_judges(self, which: int, how: str) -> None:
        token, queue, now = self.claims[which % len(self.claims)], self.ledger.queue, self.world.now
        if how == "fence":
            queue.fence(token)
        if how == "cancel":
            queue.cancel(token, reason="x", now=now)
        if how in ("cancel", "release"):
            queue.release(token, reason="x", now=now, wait=timedelta(seconds=5), max_tries=3)
            assert token not in {claim.token for claim in queue.open_claims()}

    @invariant()
    def the_ledger_is_sound(self) -> None:
        if not hasattr(self, "world"):
            return
        rows = self.world.rows("SELECT * FROM ingestion_jobs WHERE datasource = %s", self.world.name)
        live = [row for row in rows if row["status"] in LIVE_STATUSES]
        assert len(rows) == len(self.uploads), "one job per version"
        claimed = Counter(row["object_key"] for row in live if row["claim_token"])
        assert not [key for key, times in claimed.items() if times > 1], "one claimed job per key"
        for row in rows:
            assert (row["status"] in LIVE_STATUSES) == (row["outcome"] is None)
            assert row["status"] != "processing" or row["claim_token"], "somebody answers for a job that is worked on"
            assert row["status"] != "retrying" or row["claim_token"] or row["next_try_at"], "and it comes back"
        frozen = {row["attempt_id"] for row in live if row["attempt_id"]}
        for attempt_id in frozen:
            holders = {row["claim_token"] for row in live if row["attempt_id"] == attempt_id}
            given_back = {row["status"] for row in live if row["attempt_id"] == attempt_id} == {"retrying"}
            assert not given_back or len(holders) == 1, "half a frozen batch was claimed"
        events = self.world.rows(
            "SELECT e.job_id, e.seq, e.to_status, j.status, j.event_seq FROM job_events e "
            "JOIN ingestion_jobs j USING (job_id) WHERE j.datasource = %s ORDER BY e.job_id, e.seq",
            self.world.name,
        )
        last = {event["job_id"]: event for event in events}
        assert all(
            event["seq"] == event["event_seq"] and event["to_status"] == event["status"] for event in last.values()
        )
        assert len(events) == sum(event["event_seq"] for event in last.values()), "no gap and no surplus"


def test_the_ledger_stays_sound_whatever_happens(postgres: LedgerDatabase) -> None:
    ledger = Ledger(postgres.pipeline_url)
    with psycopg.connect(postgres.superuser_dsn, autocommit=True, row_factory=dict_row) as superuser:
        given = {"database": postgres, "ledger": ledger, "superuser": superuser}
        run_state_machine_as_test(
            type("Machine", (LedgerMachine,), given),
            settings=settings(
                max_examples=20,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.explicit, Phase.generate],  # shrinking would take minutes; the steps are told anyway
            ),
        )
    ledger.close()
