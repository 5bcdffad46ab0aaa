"""A batch's way into Druid: what it has to append, to replace and to undo; from any point, as often as it takes.

What belongs here: which attempts a batch needs, and appends. What does not: replaces (`defs.replaces`), what both
share (`defs.attempt_work`).
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING

import structlog

from ingestion_pipeline.defs.attempt_work import MAX_ATTEMPTS, AttemptWork, cleaned_key, intervals_of
from ingestion_pipeline.defs.batch import now
from ingestion_pipeline.defs.failures import Stopped, send_back
from ingestion_pipeline.defs.replaces import Replacer
from ingestion_pipeline.domain.added_columns import TEXT, added_columns, require_fitting, union
from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.domain.correction import Effect, effect_of, origin, related_id
from ingestion_pipeline.domain.job import Attempt, AttemptKind, AttemptState, Job, Outcome, encoding_of
from ingestion_pipeline.errors import (
    ContractChanged,
    DatasourceBusy,
    DruidRejected,
    Duplicated,
    FileError,
    IngestionError,
    LeaseLost,
    TaskFailed,
    TransientError,
    Unproved,
)
from ingestion_pipeline.stages import monitor, submit

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger()


class Loader:
    """Loads batches into Druid for one run."""

    def __init__(self, work: AttemptWork) -> None:
        self._work = work
        self._append = Appender(work)
        self._replace = Replacer(work)

    def load(self, jobs: Sequence[Job], contract: Contract) -> None:
        """Bring a batch's rows into Druid and prove it; files that cannot be loaded end failed.

        Raises:
            TransientError: It cannot go on now; open attempts stay open and are resumed later.
            LeaseLost: Another run has taken over.
        """
        work = self._work
        ids = [job.job_id for job in jobs]
        for attempt in work.ledger.attempts.unfinished_for(ids):
            held = [job for job in jobs if job.job_id in attempt.expected]
            log.info("attempt_resumed", attempt=attempt.attempt_id, state=attempt.state.value, run=work.run_id)
            work.task_ids.append(attempt.attempt_id)
            error = (
                self._replace.resume(attempt, held)
                if attempt.kind is AttemptKind.REPLACE
                else self._append.resume(attempt, held)
            )
            if error is not None and not _can_split(error, held):
                work.fail(held, error)
        waiting = self._waiting(ids)
        work.doubled |= work.ledger.attempts.doubled([job.job_id for job in waiting])
        # Whose rows are there too often is not left so, canceled or not.
        canceled = [job for job in waiting if job.cancel_requested and job.job_id not in work.doubled]
        for job in canceled:
            work.ledger.work.stop(work.heart.leases[job.job_id], Stopped("A person canceled its run."), now=now())
            work.heart.release(job.job_id)
        ready = []
        for job in [job for job in waiting if job not in canceled]:
            if job.checked_under_another(contract):
                # The cleaned object has the columns of the contract that it was written under.
                send_back(work.ledger, work.heart, job, ContractChanged.of(job.datasource))
            else:
                ready.append(job)
        for group, effects in self._groups(self._fitting(ready, contract)):
            self._load_group([job.job_id for job in group], effects, contract)

    def _waiting(self, ids: Sequence[str]) -> list[Job]:
        # A proof of absence has freed the jobs of failed attempts; finished ones are not waiting any more.
        return [
            job
            for job in self._work.ledger.jobs.rows_of(ids)
            if job.job_id in self._work.heart.leases and job.attempt_id is None
        ]

    def _fitting(self, jobs: Sequence[Job], contract: Contract) -> list[Job]:
        """Without the files that add columns which Druid has otherwise; of two that clash, the second is ended.

        It is what the broker knows: a column that another run adds at this moment is met by the next file. Nothing is
        lost then either, since Druid keeps columns apart by their exact names, and types by segment.
        """
        if not any(map(added_columns, jobs)):
            return list(jobs)
        present = self._work.druid.column_types(contract.datasource)
        fitting = []
        for job in jobs:
            own = added_columns(job)
            try:
                require_fitting(own, present)
            except FileError as error:
                self._work.fail([job], error)
                continue
            present |= dict.fromkeys(own, TEXT)
            fitting.append(job)
        return fitting

    def _groups(self, jobs: Sequence[Job]) -> "Iterator[tuple[list[Job], dict[str, Effect]]]":
        """The jobs that one attempt may hold, appends first; those that come too late are ended.

        Of two that take out the same rows, the second has to wait: what it is to take out is decided after the first.
        """
        ledger = self._work.ledger
        effects: dict[str, Effect] = {}
        taken: set[str] = set()
        holders = ledger.corrections.holders(jobs)
        families = ledger.corrections.families([job.job_id for job in jobs if job.parent_job_id is not None])
        origins = {job.job_id: origin(job, families.get(job.job_id, [job])) for job in jobs}
        concerned = set().union(*holders.values(), (related_id(first) or "" for first in origins.values())) - {""}
        known = {job.job_id: job for job in ledger.jobs.rows_of(sorted(concerned))}
        for job in jobs:
            first = origins[job.job_id]
            try:
                effect = effect_of(
                    job,
                    cause=first.cause,
                    related=known.get(related_id(first) or ""),
                    holders=[known[holder] for holder in sorted(holders[job.job_id])],
                )
            except FileError as error:
                self._work.fail([job], error)
                continue
            if effect.pointless is not None:
                self._complete_without_rows(job, Outcome.SUPERSEDED, effect.pointless)
            elif not effect.removes and not cleaned_key(job):
                self._complete_without_rows(job, Outcome.EMPTY, "The file has a header and no rows.")
            elif taken & set(effect.removes):
                busy = DatasourceBusy(
                    "Another file of its batch takes the place of the same rows; this one is looked at after it.",
                    hint="It goes on by itself.",
                )
                send_back(ledger, self._work.heart, job, busy)
            else:
                taken |= set(effect.removes)
                effects[job.job_id] = effect

        def replaces(job: Job) -> bool:
            return bool(effects[job.job_id].removes) or job.job_id in self._work.doubled

        def kind(job: Job) -> tuple[bool, str]:
            return replaces(job), encoding_of(cleaned_key(job)) if cleaned_key(job) else ""

        left = sorted((job for job in jobs if job.job_id in effects), key=kind)
        for (rewrites, _), members in groupby(left, key=kind):
            if not rewrites:
                yield list(members), effects
        replacing = [job for job in left if replaces(job)]
        # What only takes rows out goes along with whatever encoding there is.
        without = [job for job in replacing if kind(job)[1] == ""]
        coded = [list(members) for _, members in groupby([j for j in replacing if j not in without], key=kind)]
        for group in [without + (coded[0] if coded else []), *coded[1:]]:
            if group:
                yield group, effects

    def _complete_without_rows(self, job: Job, outcome: Outcome, why: str) -> None:
        self._work.ledger.work.complete(
            self._work.heart.leases[job.job_id],
            outcome,
            rows_queryable=0,
            summary=why,
            details={},
            now=now(),
        )
        self._work.heart.release(job.job_id)

    def _load_group(self, ids: Sequence[str], effects: dict[str, Effect], contract: Contract) -> None:
        for _ in range(MAX_ATTEMPTS):
            group = [job for job in self._waiting(ids) if job.job_id in set(ids)]
            if not group:
                return
            removes = {old: job.job_id for job in group for old in effects[job.job_id].removes}
            rewrites = removes or any(job.job_id in self._work.doubled for job in group)
            error = self._replace.run(group, removes, contract) if rewrites else self._append.run(group, contract)
            if error is None:
                continue
            if not _can_split(error, group):
                self._work.fail(group, error)
                return
            # One of them is to blame: its siblings complete without it.
            middle = len(group) // 2
            log.warning("batch_split", run=self._work.run_id, jobs=len(group), error=error.message)
            for half in (group[:middle], group[middle:]):
                self._load_group([job.job_id for job in half], effects, contract)
            return
        if rest := self._waiting(ids):
            raise TaskFailed(
                f"{MAX_ATTEMPTS} Druid tasks for these {len(rest)} files failed in a row.",
                hint="They are tried again later; the tasks' messages are in druid_attempts.",
            )


def _can_split(error: IngestionError, jobs: Sequence[Job]) -> bool:
    """Whether the reason may lie in one of the files alone."""
    return len(jobs) > 1 and isinstance(error, DruidRejected | FileError)


class Appender:
    """Appends; each method returns the error that ended an attempt without rows, if trying again cannot help."""

    def __init__(self, work: AttemptWork) -> None:
        self._work = work

    def run(self, jobs: Sequence[Job], contract: Contract) -> IngestionError | None:
        """One new attempt."""
        return self._post_and_follow(self._save(jobs, contract), jobs)

    def _save(self, jobs: Sequence[Job], contract: Contract) -> Attempt:
        from ingestion_pipeline.stages.transform import druid_columns, druid_dimensions

        task_id = self._work.new_task_id(contract.datasource, [job.job_id for job in jobs])
        contract = contract.with_added(union(jobs))
        granularity = contract.druid.segment_granularity
        chunks = {datetime.fromisoformat(chunk) for job in jobs if job.staged for chunk in job.staged.time_chunks}
        intervals = submit.chunk_intervals(sorted(chunks), granularity)
        inputs = self._work.inputs(jobs, druid_columns(contract))
        assert inputs is not None, "transform lets no job through without a cleaned object"
        spec = submit.build_append_spec(
            task_id=task_id,
            datasource=contract.datasource,
            inputs=inputs,
            dimensions=druid_dimensions(contract),
            segment_granularity=granularity,
            intervals=intervals,
        )
        return self._work.save(
            Attempt(
                attempt_id=task_id,
                datasource=contract.datasource,
                state=AttemptState.SAVED,
                spec_hash=submit.spec_fingerprint(spec),
                spec=spec,
                intervals=tuple(str(interval) for interval in intervals),
                expected={job.job_id: job.rows_accepted for job in jobs},
            ),
            jobs,
        )

    def resume(self, attempt: Attempt, jobs: Sequence[Job]) -> IngestionError | None:
        """Go on with an attempt that an earlier run left, wherever it stands."""
        if attempt.state is AttemptState.PROVED:
            # Counted already; the rows of those that were completed then may have been replaced since.
            for job in jobs:
                self._work.complete(job, attempt, attempt.expected[job.job_id])
            return None
        if attempt.state is AttemptState.UNPROVED:
            self._work.fail(jobs, Unproved(f"Druid does not hold what task {attempt.attempt_id} was to load."))
            return None
        if self._work.druid.status(attempt.attempt_id) is not None:
            return self._follow(attempt, jobs)
        # Never accepted, or accepted and its record purged: only counting can tell.
        if not self._is_absent(attempt):
            return self._prove(attempt, jobs)
        if attempt.state is AttemptState.FAILED:
            return self._work.end_without_rows(attempt, jobs, TaskFailed(f"Druid task {attempt.attempt_id} failed."))
        if attempt.state is AttemptState.SUCCEEDED:
            rows = sum(attempt.expected.values())
            error = Unproved(
                f"Druid task {attempt.attempt_id} had loaded {rows} rows, and none is there.",
                hint="Was the datasource dropped, or its segments marked unused?",
            )
            self._work.end_unproved(attempt, jobs, error)
            return None
        if any(job.cancel_requested for job in jobs):
            # Nothing is posted for a person who has canceled it; nor by a worker that comes back late.
            if not self._work.occupy(attempt):
                return self._follow(attempt, jobs)
            return self._work.end_without_rows(attempt, jobs, TaskFailed("It was canceled before Druid had it."))
        return self._post_and_follow(attempt, jobs)

    def _post_and_follow(self, attempt: Attempt, jobs: Sequence[Job]) -> IngestionError | None:
        try:
            self._work.post(attempt, jobs)
        except (TransientError, LeaseLost):
            raise  # whether Druid has it is not known: the attempt stays open
        except IngestionError as error:
            # Refused, or its objects are gone: no task came to be, and none may come to be by another hand.
            if not self._work.occupy(attempt):
                return self._follow(attempt, jobs)
            return self._work.end_without_rows(attempt, jobs, error)
        return self._follow(attempt, jobs)

    def _follow(self, attempt: Attempt, jobs: Sequence[Job]) -> IngestionError | None:
        """Wait for the task's end, judge it, and count."""
        status, report = self._work.follow(attempt)
        verdict = monitor.judge_task(status, report, sum(attempt.expected.values()))
        log.info("task_ended", attempt=attempt.attempt_id, run=self._work.run_id, verdict=verdict.name)
        if verdict.name == "failed":
            assert verdict.error is not None
            self._work.mark(attempt, jobs, AttemptState.FAILED, error=verdict.error)
            if not self._is_absent(attempt):
                return self._prove(attempt, jobs)  # published, and the report was lost
            return self._work.end_without_rows(attempt, jobs, verdict.error)
        if verdict.name in ("short", "over"):
            assert verdict.error is not None
            self._work.end_unproved(attempt, jobs, verdict.error)
            return None
        processed = report.processed if report else None
        self._work.mark(attempt, jobs, AttemptState.SUCCEEDED, rows=processed)
        return self._prove(attempt, jobs)

    def _is_absent(self, attempt: Attempt) -> bool:
        return monitor.prove_absent(
            self._work.druid,
            attempt.datasource,
            list(attempt.expected),
            intervals_of(attempt),
            sleep=self._work.sleep,
            clock=self._work.clock,
            broker_refresh_seconds=self._work.values.druid_refresh_seconds,
            progress=self._work.progress,
        )

    def _prove(self, attempt: Attempt, jobs: Sequence[Job]) -> IngestionError | None:
        """Count until every row is there; complete the jobs, or end them unproved. Never a blind second load."""
        try:
            counted = monitor.prove_counts(
                self._work.druid,
                attempt.datasource,
                attempt.expected,
                intervals_of(attempt),
                deadline_seconds=self._work.values.druid_proof_deadline_seconds,
                sleep=self._work.sleep,
                clock=self._work.clock,
                progress=self._work.progress,
                broker_refresh_seconds=self._work.values.druid_refresh_seconds,
            )
        except TransientError:
            raise
        except Duplicated as error:
            self._work.end_doubled(attempt, jobs, error)
            return None
        except IngestionError as error:
            self._work.end_unproved(attempt, jobs, error)
            return None
        self._work.mark(attempt, jobs, AttemptState.PROVED, rows=sum(counted.values()))
        for job in jobs:
            self._work.complete(job, attempt, counted[job.job_id])
        return None
