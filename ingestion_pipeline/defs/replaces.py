"""Replaces at work: corrections, replays and undos rewrite the time chunks that hold the old or the new rows.

The attempt's row is taken first: it is the lease on the datasource, and everything is decided inside it (which chunks,
which columns, how many rows each other job has there). Doing it again changes nothing, since the new rows are left
out of what is read as well as the old ones; so after any doubt it is done again.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from ingestion_pipeline.defs.attempt_work import AttemptWork, intervals_of
from ingestion_pipeline.domain.added_columns import union
from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.domain.druid import TaskState
from ingestion_pipeline.domain.interval import Interval, hull, merged
from ingestion_pipeline.domain.job import Attempt, AttemptKind, AttemptState, Job
from ingestion_pipeline.errors import (
    DruidUnavailable,
    IngestionError,
    LeaseLost,
    ProofFailed,
    TaskFailed,
    TransientError,
    Unproved,
)
from ingestion_pipeline.stages import monitor, submit

log = structlog.get_logger()


class Replacer:
    """Each method returns the error that ended an attempt without a change, if trying again cannot help."""

    def __init__(self, work: AttemptWork) -> None:
        self._work = work
        self._compactions: set[str] = set()

    def run(self, jobs: Sequence[Job], removes: Mapping[str, str], contract: Contract) -> IngestionError | None:
        """One new attempt.

        Args:
            removes: Jobs whose rows go, each with the job of `jobs` that takes them out.

        Raises:
            DatasourceBusy: Another change of the datasource must end first.
        """
        attempt = Attempt(
            attempt_id=self._work.new_task_id(contract.datasource, [job.job_id for job in jobs]),
            datasource=contract.datasource,
            kind=AttemptKind.REPLACE,
            state=AttemptState.SAVED,
            spec_hash="",
            spec={},
            intervals=(),
            expected={job.job_id: job.rows_accepted for job in jobs},
            removes=dict(removes),
        )
        self._work.save(attempt, jobs)
        planned = self._plan_or_release(attempt, jobs, contract)
        if isinstance(planned, IngestionError):
            return planned
        if not planned.intervals:
            self._end_without_task(planned, jobs)
            return None
        return self._post_and_follow(planned, jobs)

    def resume(self, attempt: Attempt, jobs: Sequence[Job]) -> IngestionError | None:
        """Go on with an attempt that an earlier run left, wherever it stands."""
        if attempt.state is AttemptState.PROVED:
            # Counted already; other files' rows may have been replaced since.
            for job in jobs:
                self._work.complete(job, attempt, attempt.expected[job.job_id])
            return None
        if attempt.state is AttemptState.UNPROVED:
            self._work.fail(jobs, Unproved(f"Druid does not hold what task {attempt.attempt_id} was to leave there."))
            return None
        if not attempt.spec:
            # What was not planned was not posted. It is begun anew: what it was to do may have changed.
            unplanned = TaskFailed(f"The run that was to plan {attempt.attempt_id} ended before it had.")
            return self._work.end_without_rows(attempt, jobs, unplanned)
        if self._work.druid.status(attempt.attempt_id) is not None:
            return self._follow(attempt, jobs)
        if attempt.state is AttemptState.SUCCEEDED:
            return self._prove(attempt, jobs)
        if attempt.state is AttemptState.FAILED:
            return self._work.end_without_rows(attempt, jobs, TaskFailed(f"Druid task {attempt.attempt_id} failed."))
        if any(job.cancel_requested for job in jobs):
            if not self._work.occupy(attempt):
                return self._follow(attempt, jobs)
            return self._work.end_without_rows(attempt, jobs, TaskFailed("It was canceled before Druid had it."))
        return self._post_and_follow(attempt, jobs)

    def _plan_or_release(self, attempt: Attempt, jobs: Sequence[Job], contract: Contract) -> Attempt | IngestionError:
        """The planned attempt, or why there can be none; the lease of one that is not planned is given back."""
        try:
            return self._plan(attempt, jobs, contract)
        except LeaseLost:
            raise
        except IngestionError as error:
            # Nothing was posted. Held on to, it would keep every other change of the datasource waiting.
            self._work.end_without_rows(attempt, jobs, error)
            if isinstance(error, TransientError):
                raise
            return error

    def _post_and_follow(self, attempt: Attempt, jobs: Sequence[Job]) -> IngestionError | None:
        try:
            self._compactions = self._work.druid.running_compactions(attempt.datasource)
            self._work.post(attempt, jobs)
        except (TransientError, LeaseLost):
            raise  # whether Druid has it is not known: the attempt stays open
        except IngestionError as error:
            if not self._work.occupy(attempt):
                return self._follow(attempt, jobs)
            return self._work.end_without_rows(attempt, jobs, error)
        return self._follow(attempt, jobs)

    def _end_without_task(self, attempt: Attempt, jobs: Sequence[Job]) -> None:
        """Nothing of the old rows is there any more, and nothing is to come: an earlier attempt has done it."""
        self._work.mark(attempt, jobs, AttemptState.PROVED, rows=0)
        for job in jobs:
            self._work.complete(job, attempt, 0)

    def _plan(self, attempt: Attempt, jobs: Sequence[Job], contract: Contract) -> Attempt:
        """Find the chunks of the old and the new rows, their columns, and what the others have there."""
        from ingestion_pipeline.stages.transform import druid_columns, druid_dimensions

        contract = contract.with_added(union(jobs))
        work, granularity = self._work, contract.druid.segment_granularity
        gone = [*attempt.removes, *attempt.expected]
        chunks = {datetime.fromisoformat(chunk) for job in jobs if job.staged for chunk in job.staged.time_chunks}
        bounds = [Interval.parse(text) for text in work.ledger.attempts.intervals_of(gone)]
        if bounds:
            self._require_served(attempt.datasource, merged(bounds))
            chunks |= set(work.druid.chunks_of_jobs(attempt.datasource, gone, hull(bounds), granularity))
        intervals = submit.chunk_intervals(sorted(chunks), granularity) if chunks else []
        before: dict[str, int] = {}
        present: dict[str, frozenset[str]] = {}
        if intervals:
            self._require_served(attempt.datasource, intervals)
            before = work.druid.rows_by_job(attempt.datasource, merged(intervals))
            present = work.druid.columns(attempt.datasource, intervals)
        moving = set(gone) | work.ledger.attempts.jobs_beside(attempt)

        def spec(beside: list[dict[str, Any]]) -> dict[str, Any]:
            return (
                submit.build_replace_spec(
                    task_id=attempt.attempt_id,
                    datasource=attempt.datasource,
                    inputs=work.inputs(jobs, druid_columns(contract)),
                    without_jobs=gone,
                    dimensions=submit.rewritten_dimensions(druid_dimensions(contract), present, beside),
                    segment_granularity=granularity,
                    intervals=intervals,
                )
                if intervals
                else {}
            )

        rows_before = {job: rows for job, rows in before.items() if job not in moving}
        texts = tuple(str(interval) for interval in intervals)
        planned = work.ledger.attempts.plan(
            attempt,
            leases=work.leases(jobs),
            spec=spec,
            fingerprint=submit.spec_fingerprint,
            intervals=texts,
            rows_before=rows_before,
        )
        log.info(
            "replace_planned",
            attempt=attempt.attempt_id,
            run=work.run_id,
            intervals=list(texts),
            rows=sum(before.values()),
        )
        return replace(attempt, spec=planned, intervals=texts, rows_before=rows_before)

    def _require_served(self, datasource: str, intervals: Sequence[Interval]) -> None:
        monitor.require_served(
            self._work.druid,
            datasource,
            intervals,
            sleep=self._work.sleep,
            clock=self._work.clock,
            progress=self._work.progress,
            broker_refresh_seconds=self._work.values.druid_refresh_seconds,
        )

    def _follow(self, attempt: Attempt, jobs: Sequence[Job]) -> IngestionError | None:
        status, report = self._work.follow(attempt)
        self._stop_evicted_compactions(attempt.datasource)
        log.info("task_ended", attempt=attempt.attempt_id, run=self._work.run_id, verdict=status.state.value)
        if status.state is TaskState.FAILED:
            # How many rows it was to take in is not known: others may have appended meanwhile.
            error = monitor.judge_task(status, report, 0).error or TaskFailed(f"Task {attempt.attempt_id} failed.")
            self._work.mark(attempt, jobs, AttemptState.FAILED, error=error)
            if self._is_done(attempt):
                return self._prove(attempt, jobs)  # published, and the report was lost
            return self._work.end_without_rows(attempt, jobs, error)
        damaged = report.unparseable + report.processed_with_error if report else 0
        self._work.mark(attempt, jobs, AttemptState.SUCCEEDED, rows=report.processed if report else None)
        if damaged:
            self._work.end_unproved(
                attempt,
                jobs,
                Unproved(
                    f"Druid task {attempt.attempt_id} could not read {damaged} of the rows that it wrote again.",
                    hint="Look at its report in Druid; `undo` and `replay` bring the file's rows into a known state.",
                ),
            )
            return None
        return self._prove(attempt, jobs)

    def _is_done(self, attempt: Attempt) -> bool:
        intervals = intervals_of(attempt)
        self._require_served(attempt.datasource, intervals)
        counted = self._work.druid.rows_by_job(attempt.datasource, merged(intervals))
        return self._judge(attempt, counted).name == "proved"

    @staticmethod
    def _judge(attempt: Attempt, counted: Mapping[str, int]) -> monitor.Verdict:
        return monitor.judge_replaced(attempt.expected, list(attempt.removes), attempt.rows_before, counted)

    def _prove(self, attempt: Attempt, jobs: Sequence[Job]) -> IngestionError | None:
        try:
            monitor.prove_replaced(
                self._work.druid,
                attempt.datasource,
                lambda counted: self._judge(attempt, counted),
                intervals_of(attempt),
                deadline_seconds=self._work.values.druid_proof_deadline_seconds,
                sleep=self._work.sleep,
                clock=self._work.clock,
                progress=self._work.progress,
                broker_refresh_seconds=self._work.values.druid_refresh_seconds,
            )
        except ProofFailed as error:
            wrong = set(error.details.get("jobs", {}))
            if wrong <= {*attempt.expected, *attempt.removes}:
                # Only its own rows are wrong, and writing them again is safe.
                again = TaskFailed(f"The rows of task {attempt.attempt_id} are not as they should be: {error.message}")
                return self._work.end_without_rows(attempt, jobs, again)
            self._work.end_unproved(attempt, jobs, error)
            return None
        self._work.mark(attempt, jobs, AttemptState.PROVED)
        for job in jobs:
            self._work.complete(job, attempt, attempt.expected[job.job_id])
        return None

    def _stop_evicted_compactions(self, datasource: str) -> None:
        """A compaction that a replace has put aside may hang in its worker slot for ever; Druid starts another."""
        # Nothing hangs on it: the next replace looks again.
        with suppress(DruidUnavailable):
            for task_id in self._compactions & self._work.druid.running_compactions(datasource):
                log.warning("compaction_stopped", datasource=datasource, task_id=task_id, run=self._work.run_id)
                self._work.druid.cancel(task_id)
