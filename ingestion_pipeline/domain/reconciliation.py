"""Reconciliation: what to do about a job whose rows in Druid are not those that the ledger says. Pure.

What belongs here: the decision, and what people are told. What does not: counting (`stages.monitor.drift`), entering
replays (`upkeep.reconcile`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ingestion_pipeline.domain.correction import fixes
from ingestion_pipeline.domain.interval import Interval
from ingestion_pipeline.domain.job import LOADED_OUTCOMES, Cause, Job, Status
from ingestion_pipeline.domain.orders import Target, require_replayable, short
from ingestion_pipeline.errors import CorrectionRefused

RECONCILER = "reconciliation"
"""Who ordered a replay, where people are named otherwise."""

MARK = "Reconciliation"
"""What its warnings begin with."""

Upload = Literal["there", "changed", "gone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A job whose rows are to be counted: how many there are to be, and where."""

    job_id: str
    datasource: str
    expected: int
    intervals: tuple[Interval, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A job of which Druid has other rows than it should, by two counts with everything served between them.

    Attributes:
        unserved: Some of its time is outside of what Druid's load rules have served: a wish, not a loss.
    """

    job_id: str
    datasource: str
    expected: int
    counted: int
    unserved: bool = False

    @property
    def is_surplus(self) -> bool:
        return self.counted > self.expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """What is done about a drift.

    Attributes:
        replay: Load the file again; otherwise a person is told.
        text: One or two sentences for the job, the run and the terminal.
    """

    replay: bool
    text: str


def remedy(drift: Drift, target: Target, *, upload: Upload, contract_version: str | None) -> Remedy:
    """Whether the file can be loaded again without a person: then that replaces exactly the job's rows.

    Args:
        target: The job and what is around it, as for any order.
        upload: Whether the bucket still has the very version that was loaded.
        contract_version: The datasource's present one; None: no usable contract.
    """
    job = target.job
    found = f"Druid has {drift.counted:,} of the {drift.expected:,} rows of job {short(job)} ({job.file_name})"

    def tell(why: str) -> Remedy:
        return Remedy(replay=False, text=f"{found}. {why}")

    if job.outcome not in LOADED_OUTCOMES:
        return tell(
            f"It was {job.outcome} and should have none: look in Druid for segments that were marked used by hand."
        )
    if drift.unserved and not drift.is_surplus:
        return tell("Its time is outside of what Druid's load rules have served: nothing is lost, nothing is done.")
    if target.open_change is not None:
        return tell(f"Job {short(target.open_change)} is about to change that.")
    if failed := _failed_repair(job, target.family):
        return tell(
            f"Loading it again has failed already (job {short(failed)}): see `status {short(failed)}`, then `replay`."
        )
    try:
        require_replayable(target)
    except CorrectionRefused as error:
        return tell(f"{error.message} {error.hint}".strip())
    if corrected := fixes(target.family):
        return tell(
            f"Loading it again would take out the corrected rows of job {short(corrected[-1])} too: "
            f"`replay {short(job)}`, then correct what it rejects again."
        )
    if upload != "there":
        state = "is not in the bucket any more" if upload == "gone" else "is another version in the bucket now"
        return tell(f"Its file {state}: send it again with `upload FILE --replaces {short(job)}`.")
    if contract_version is None or (job.staged is not None and job.staged.contract_version != contract_version):
        state = "is not usable" if contract_version is None else "has changed since it was loaded"
        return tell(f"Its contract {state}: check that, then `replay {short(job)}` loads it again.")
    return Remedy(replay=True, text=f"{found}; it is loaded again")


def unmended(job_id: str, warnings: Sequence[str]) -> bool:
    """Whether a loaded job's rows were found to differ, by its warnings; not one that was loaded to mend that."""
    return any(text.startswith(MARK) and f"by job {short(job_id)}" not in text for text in warnings)


def _failed_repair(job: Job, family: Sequence[Job]) -> Job | None:
    return next(
        (
            other
            for other in family
            if other.parent_job_id == job.job_id and other.cause is Cause.REPLAY and other.status is Status.FAILED
        ),
        None,
    )
