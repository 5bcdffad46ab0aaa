"""Attempts at work: save, post, follow, prove; from any point, as often as it takes.

The order is the guarantee. An attempt is saved before Druid hears of it; its task id never changes, so a second
POST of it is answered "exists"; what Druid says about the task is checked by counting; and a job enters a new
attempt only when the rows of the old one are shown to be absent.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.batch import Heart, now
from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.domain.druid import TaskState
from ingestion_pipeline.domain.interval import Interval
from ingestion_pipeline.domain.job import Attempt, AttemptState, Job, Lease, Outcome
from ingestion_pipeline.errors import IngestionError, LeaseLost, ObjectMissing, TaskFailed, TransientError, Unproved
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.stages import monitor, submit

MAX_ATTEMPTS = 3
"""New attempts of a batch whose tasks fail for reasons that can heal."""

log = structlog.get_logger()


@dataclass(slots=True)
class Loader:
    """Loads batches into Druid for one run.

    Attributes:
        proved: Rows counted in Druid by job id, of the jobs that were completed here.
        task_ids: Tasks that were followed, in order.
    """

    ledger: Ledger
    bucket: ObjectStore
    druid: Druid
    values: Settings
    heart: Heart
    run_id: str
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    proved: dict[str, int] = field(default_factory=dict)
    task_ids: list[str] = field(default_factory=list)

    def load(self, jobs: Sequence[Job], contract: Contract) -> None:
        """Bring a batch's rows into Druid and prove it; files that cannot be loaded end failed.

        Raises:
            TransientError: It cannot go on now; open attempts stay open and are resumed later.
            LeaseLost: Another run has taken over.
        """
        for attempt in self.ledger.attempts.unfinished_for([job.job_id for job in jobs]):
            held = [job for job in jobs if job.job_id in attempt.expected]
            log.info("attempt_resumed", attempt=attempt.attempt_id, state=attempt.state.value, run=self.run_id)
            self.task_ids.append(attempt.attempt_id)
            self._resume(attempt, held)
        # A proof of absence has freed the jobs of failed attempts; finished ones are not waiting any more.
        for encoding in ("csv", "ndjson"):
            for _ in range(MAX_ATTEMPTS):
                waiting = [
                    job
                    for job in self.ledger.jobs.rows_of([job.job_id for job in jobs])
                    if job.job_id in self.heart.leases
                    and job.attempt_id is None
                    and job.staged is not None
                    and job.staged.encoding == encoding
                ]
                if not waiting:
                    break
                attempt = self._save(waiting, contract, encoding)
                self.task_ids.append(attempt.attempt_id)
                self._post_and_follow(attempt, waiting)
        self._give_up_on_the_rest(jobs)

    def _give_up_on_the_rest(self, jobs: Sequence[Job]) -> None:
        rest = [job for job in self.ledger.jobs.rows_of([j.job_id for j in jobs]) if job.job_id in self.heart.leases]
        if rest:
            raise TaskFailed(
                f"{MAX_ATTEMPTS} Druid tasks for these {len(rest)} files failed in a row.",
                hint="They are tried again later; the tasks' messages are in druid_attempts.",
            )

    def _save(self, jobs: Sequence[Job], contract: Contract, encoding: str) -> Attempt:
        """Freeze the batch under a task id that says which jobs and which try."""
        from ingestion_pipeline.stages.transform import druid_columns, druid_dimensions

        ids = sorted(job.job_id for job in jobs)
        number = self.ledger.attempts.count_of_job(ids) + 1
        mark = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:20]
        task_id = submit.task_id(datasource=contract.datasource, attempt_id=f"{mark}-a{number}")
        keys = {job.job_id: job.staged.cleaned_key or "" for job in jobs if job.staged is not None}
        granularity = contract.druid.segment_granularity
        chunks = {datetime.fromisoformat(chunk) for job in jobs if job.staged for chunk in job.staged.time_chunks}
        intervals = submit.chunk_intervals(sorted(chunks), granularity)
        spec = submit.build_append_spec(
            task_id=task_id,
            datasource=contract.datasource,
            # What is stored names objects, never signed URLs; `_posted` turns it into what the cluster can read.
            inputs=submit.InputFiles(
                kind="s3",
                uris=[self.bucket.url(keys[job.job_id]) for job in jobs],
                format="csv" if encoding == "csv" else "ndjson",
                columns=druid_columns(contract),
            ),
            dimensions=druid_dimensions(contract),
            segment_granularity=granularity,
            intervals=intervals,
        )
        attempt = Attempt(
            attempt_id=task_id,
            datasource=contract.datasource,
            state=AttemptState.SAVED,
            spec_hash=submit.spec_fingerprint(spec),
            spec=spec,
            intervals=tuple(str(interval) for interval in intervals),
            expected={job.job_id: job.rows_accepted for job in jobs},
        )
        self.ledger.attempts.save(
            attempt,
            leases=self._leases(jobs),
            cleaned_keys=keys,
            organizations={job.job_id: job.organization for job in jobs},
            run_id=self.run_id,
            now=now(),
        )
        return attempt

    def _resume(self, attempt: Attempt, jobs: Sequence[Job]) -> None:
        """Go on with an attempt that an earlier run left, wherever it stands."""
        if attempt.state is AttemptState.PROVED:
            self._prove(attempt, jobs)
        elif attempt.state is AttemptState.UNPROVED:
            self._fail(jobs, Unproved(f"Druid does not hold what task {attempt.attempt_id} was to load."))
        elif self.druid.status(attempt.attempt_id) is not None:
            self._follow(attempt, jobs)
        # Never accepted, or accepted and its record purged: only counting can tell.
        elif not self._is_absent(attempt):
            self._prove(attempt, jobs)
        elif attempt.state is AttemptState.FAILED:
            self._end_badly(attempt, jobs, TaskFailed(f"Druid task {attempt.attempt_id} failed."))
        elif attempt.state is AttemptState.SUCCEEDED:
            error = Unproved(
                f"Druid task {attempt.attempt_id} had loaded {sum(attempt.expected.values())} rows, and none is there.",
                hint="Was the datasource dropped, or its segments marked unused?",
            )
            self._mark(attempt, jobs, AttemptState.UNPROVED, error=error)
            self._fail(jobs, error)
        else:
            self._post_and_follow(attempt, jobs)

    def _post_and_follow(self, attempt: Attempt, jobs: Sequence[Job]) -> None:
        try:
            self._post(attempt, jobs)
        except (TransientError, LeaseLost):
            raise  # whether Druid has it is not known: the attempt stays open
        except IngestionError as error:
            # Refused, or its objects are gone: no task came to be.
            self._end_badly(attempt, jobs, error)
            return
        self._follow(attempt, jobs)

    def _follow(self, attempt: Attempt, jobs: Sequence[Job]) -> None:
        """Wait for the task's end, judge it, and count."""
        status, report = monitor.follow_task(
            self.druid, attempt.attempt_id, sleep=self.sleep, clock=self.clock, progress=self._progress
        )
        if status.state is TaskState.UNKNOWN:
            raise TaskFailed(f"Druid has forgotten task {attempt.attempt_id}; its rows are counted next.")
        verdict = monitor.judge_task(status, report, sum(attempt.expected.values()))
        log.info("task_ended", attempt=attempt.attempt_id, run=self.run_id, verdict=verdict.name)
        if verdict.name == "failed":
            self._mark(attempt, jobs, AttemptState.FAILED, error=verdict.error)
            if not self._is_absent(attempt):
                self._prove(attempt, jobs)  # published, and the report was lost
                return
            self._end_badly(attempt, jobs, verdict.error or TaskFailed(f"Task {attempt.attempt_id} failed."))
            return
        if verdict.name in ("short", "over"):
            assert verdict.error is not None
            self._mark(attempt, jobs, AttemptState.UNPROVED, error=verdict.error)
            self._fail(jobs, verdict.error)
            return
        processed = report.processed if report else None
        self._mark(attempt, jobs, AttemptState.SUCCEEDED, rows=processed)
        self._prove(attempt, jobs)

    def _post(self, attempt: Attempt, jobs: Sequence[Job]) -> None:
        uris: Sequence[str] = attempt.spec["spec"]["ioConfig"]["inputSource"]["uris"]
        for uri in uris:
            # Druid would retry a dead URL for four minutes, in a worker slot.
            if self.bucket.head(self._key(uri)) is None:
                raise ObjectMissing(
                    f"The cleaned object {uri} is gone, so Druid cannot read it.",
                    hint="Launch the asset again with the upload's key.",
                )
        answer = self.druid.submit(self._posted(attempt.spec))
        log.info("attempt_posted", attempt=attempt.attempt_id, run=self.run_id, answer=answer)
        self._mark(attempt, jobs, AttemptState.SUBMITTED)

    def _posted(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """The spec as this cluster can read it: its own S3 credentials, or signed URLs (a secret, never kept)."""
        io_config = spec["spec"]["ioConfig"]
        source = io_config["inputSource"]
        if not self.druid.capabilities().s3:
            seconds = self.values.presigned_url_seconds
            signed = [self.bucket.presign_get(self._key(uri), seconds=seconds) for uri in source["uris"]]
            source = {"type": "http", "uris": signed}
        return {**spec, "spec": {**spec["spec"], "ioConfig": {**io_config, "inputSource": source}}}

    def _key(self, uri: str) -> str:
        return uri.removeprefix(self.bucket.url(""))

    def _is_absent(self, attempt: Attempt) -> bool:
        return monitor.prove_absent(
            self.druid,
            attempt.datasource,
            list(attempt.expected),
            self._intervals(attempt),
            sleep=self.sleep,
            clock=self.clock,
            broker_refresh_seconds=self.values.druid_refresh_seconds,
            progress=self._progress,
        )

    def _prove(self, attempt: Attempt, jobs: Sequence[Job]) -> None:
        """Count until every row is there; complete the jobs, or end them unproved. Never a blind second load."""
        try:
            counted = monitor.prove_counts(
                self.druid,
                attempt.datasource,
                attempt.expected,
                self._intervals(attempt),
                deadline_seconds=self.values.druid_proof_deadline_seconds,
                sleep=self.sleep,
                clock=self.clock,
                progress=self._progress,
                broker_refresh_seconds=self.values.druid_refresh_seconds,
            )
        except TransientError:
            raise
        except IngestionError as error:
            log.warning("attempt_unproved", attempt=attempt.attempt_id, run=self.run_id, error=error.message)
            self._mark(attempt, jobs, AttemptState.UNPROVED, error=error)
            self._fail(jobs, error)
            return
        self._mark(attempt, jobs, AttemptState.PROVED, rows=sum(counted.values()))
        for job in jobs:
            self._complete(job, attempt, counted[job.job_id])

    def _complete(self, job: Job, attempt: Attempt, rows: int) -> None:
        rejected = f", {job.rows_rejected:,} rejected" if job.rows_rejected else ""
        self.ledger.work.complete(
            self.heart.leases[job.job_id],
            Outcome.LOADED_WITH_REJECTS if job.rows_rejected else Outcome.LOADED,
            rows_queryable=rows,
            summary=f"{job.rows_read:,} rows read{rejected}, {rows:,} loaded and counted in Druid.",
            details={"druid_task_id": attempt.attempt_id},
            now=now(),
        )
        self.heart.release(job.job_id)
        self.proved[job.job_id] = rows

    def _end_badly(self, attempt: Attempt, jobs: Sequence[Job], error: IngestionError) -> None:
        """The attempt left no row: its jobs are free for a new one, or fail if trying again cannot help."""
        self._mark(attempt, jobs, AttemptState.ABSENT, error=error)
        if not isinstance(error, TransientError):
            self._fail(jobs, error)

    def _fail(self, jobs: Sequence[Job], error: IngestionError) -> None:
        for job in jobs:
            self.ledger.work.fail(self.heart.leases[job.job_id], error, now=now())
            self.heart.release(job.job_id)

    def _mark(
        self,
        attempt: Attempt,
        jobs: Sequence[Job],
        state: AttemptState,
        *,
        rows: int | None = None,
        error: IngestionError | None = None,
    ) -> None:
        self.ledger.attempts.mark(
            attempt.attempt_id,
            state,
            leases=self._leases(jobs),
            now=now(),
            rows_processed=rows,
            error_message=error.message if error else None,
        )

    def _leases(self, jobs: Sequence[Job]) -> list[Lease]:
        self.heart.check(job.job_id for job in jobs)
        return [self.heart.leases[job.job_id] for job in jobs]

    def _progress(self, state: monitor.Progress) -> None:
        self.heart.check()
        percent = {"waiting": 62, "ingesting": 75, "proving": 90}.get(state.step, 62)
        self.heart.tell(percent, step="submit", state=state.step, druid=state.state, rows=state.rows)

    @staticmethod
    def _intervals(attempt: Attempt) -> list[Interval]:
        return [Interval.parse(text) for text in attempt.intervals]
