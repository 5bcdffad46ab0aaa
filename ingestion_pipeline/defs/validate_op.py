"""The op `validate`: take the run's jobs, check every row of each, write good rows and quarantine to the bucket."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from ingestion_pipeline.adapters.contract_directory import ContractDirectory
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.batch import Heart, heartbeat, job_log, lease_of, now, require_rows, take, usable
from ingestion_pipeline.defs.bucket_sink import BucketSink
from ingestion_pipeline.defs.failures import all_failed, transient_errors_wait
from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.domain.correction import is_fix, open_rejects
from ingestion_pipeline.domain.job import Cause, Job, Outcome, Staged
from ingestion_pipeline.errors import ContractError, FileError, NotAFix, ObjectSuperseded, ProofFailed
from ingestion_pipeline.settings import Settings

if TYPE_CHECKING:
    from ingestion_pipeline.stages.validate import ValidationProgress, ValidationReport


class IngestConfig(dg.Config):
    """What a run launched by hand may name."""

    keys: list[str] = Field(
        default=[],
        description=(
            "Object keys (or s3:// URLs) to load, all of the run's partition. "
            "Empty: every file of the partition that waits, history included."
        ),
    )


@dg.op(description="Check every row of every file of the batch against the contract.", tags={"kind": "polars"})
def validate(
    context: dg.OpExecutionContext,
    config: IngestConfig,
    ledger: dg.ResourceParam[Ledger],
    bucket: dg.ResourceParam[ObjectStore],
    contracts: dg.ResourceParam[ContractDirectory],
    settings: dg.ResourceParam[Settings],
) -> dict[str, Any]:
    book = contracts.book()
    taken = take(context, keys=config.keys, ledger=ledger, bucket=bucket, book=book, values=settings)
    for note in taken.notes:
        context.log.warning(note)
    ids = [job.job_id for job in taken.jobs]
    if not taken.jobs:
        if config.keys and taken.notes:
            raise dg.Failure("Nothing to load. " + " ".join(taken.notes), allow_retries=False)
        context.add_output_metadata({"files": 0, "notes": " ".join(taken.notes)})
        return {"jobs": [], "go": [], "notes": taken.notes}
    contract = book.contracts.get(taken.jobs[0].datasource)
    go: list[str] = []
    with heartbeat(ledger, taken.jobs, settings.heartbeat_seconds) as heart:
        for position, job in enumerate(taken.jobs):
            if _is_ready(job, contract):
                go.append(job.job_id)
                continue
            with transient_errors_wait(context, ledger, taken.jobs, heart, settings):
                try:
                    if validate_job(job, usable(contract, job.datasource), ledger=ledger, bucket=bucket, heart=heart):
                        go.append(job.job_id)
                        continue
                except ObjectSuperseded as error:
                    context.log.info(f"{job.object_key}: {error}")
                    ledger.work.complete(
                        lease_of(job),
                        Outcome.SUPERSEDED,
                        rows_queryable=0,
                        summary=error.message,
                        details={},
                        now=now(),
                    )
                except (FileError, ContractError, ProofFailed) as error:
                    job_log(context, job).warning("job_failed", code=error.code, error=error.message)
                    context.log.warning(f"{job.object_key}: {error}")
                    ledger.work.fail(lease_of(job), error, now=now())
            heart.release(job.job_id)
            heart.tell(step="validate", files_done=position + 1, files=len(taken.jobs))
    jobs = ledger.jobs.rows_of(ids)
    all_failed(jobs)
    context.add_output_metadata(
        {
            "files": len(jobs),
            "files_failed": sum(job.status == "failed" for job in jobs),
            "rows_read": sum(job.rows_read for job in jobs),
            "rows_accepted": sum(job.rows_accepted for job in jobs),
            "rows_rejected": sum(job.rows_rejected for job in jobs),
            "bytes": sum(job.size_bytes for job in jobs),
        }
    )
    return {"jobs": ids, "go": go, "notes": taken.notes}


def _is_ready(job: Job, contract: Contract | None) -> bool:
    """Validated already, by this run's earlier try or a predecessor; a frozen batch is never validated again."""
    if job.attempt_id is not None or job.cause is Cause.UNDO:
        return True
    return job.staged is not None and contract is not None and job.staged.contract_version == contract.version


def validate_job(job: Job, contract: Contract, *, ledger: Ledger, bucket: ObjectStore, heart: Heart) -> bool:
    """Validate one file and record what was found; True when it has rows to load.

    Raises:
        FileError: The file cannot be loaded; what could be said about its rows is in the ledger.
        ContractError: The contract's module or an expression of it failed on its rows.
        ProofFailed: Other rows were written than accepted.
    """
    from ingestion_pipeline.stages.transform import CleanedText
    from ingestion_pipeline.stages.validate import validate as validate_rows

    # The epoch in the key keeps a replaced worker's late writes away from what Druid reads.
    base = f"{job.organization}/{job.datasource}/{job.job_id}/e{job.lease_epoch}"

    def progress(state: "ValidationProgress") -> None:
        heart.check([job.job_id])
        percent = 1 + int(35 * min(1.0, state.bytes_read / max(1, job.size_bytes)))
        heart.tell(percent, step="validate", file=job.file_name, rows=state.rows_read, bytes=state.bytes_read)

    with ExitStack() as stack:
        text = CleanedText(contract, job_id=job.job_id, organization=job.organization)
        sink = BucketSink(bucket, base, stack, text=text)
        error: FileError | ContractError | None = None
        report: ValidationReport | None
        try:
            report = validate_rows(
                bucket.read(job.object_key, if_match=job.etag or None),
                contract=contract,
                name=job.file_name,
                sink=sink,
                progress=progress,
            )
            sink.finish()
            require_rows(sink.cleaned.rows, report.rows_accepted, job)
        except (FileError, ContractError) as raised:
            error, report = raised, getattr(raised, "report", None)
    heart.check([job.job_id])
    staged = None
    if report is not None:
        if error is None and report.rows_accepted:
            staged = Staged(
                contract_version=contract.version,
                parts=tuple(sink.cleaned.keys),
                added_columns=tuple(report.added_columns),
                time_chunks=tuple(chunk.isoformat() for chunk in report.time_chunks),
                cleaned_bytes=sink.cleaned.size_bytes,
            )
        ledger.work.record_validated(lease_of(job), report=report.as_dict(), staged=staged, quarantine=sink.quarantine)
    going = False
    try:
        if error is not None:
            raise error
        assert report is not None
        going = _go_on(job, report, contract, ledger)
    finally:
        if not going:
            bucket.delete(sink.cleaned.keys)  # nobody will read them
    return going


def _go_on(job: Job, report: "ValidationReport", contract: Contract, ledger: Ledger) -> bool:
    """Whether there is something to load: not when the rows are there already, and not when there are none.

    Raises:
        NotAFix: It was to correct rejected rows, and has more rows than are open.
    """
    if (twin := _already_loaded(job, report.content_hash, contract, ledger)) is not None:
        where = "this key" if twin.object_key == job.object_key else twin.object_key
        ledger.work.complete(
            lease_of(job),
            Outcome.DUPLICATE,
            rows_queryable=0,
            summary=f"The content that job {twin.job_id} has loaded from {where}; nothing was loaded again.",
            details={"duplicate_of": twin.job_id},
            now=now(),
        )
        return False
    _require_fix(job, report, ledger)
    # An older version's rows go, even if nothing takes their place.
    if report.rows_accepted == 0 and not ledger.corrections.holders([job])[job.job_id]:
        ledger.work.complete(
            lease_of(job),
            Outcome.EMPTY,
            rows_queryable=0,
            summary=(
                f"All {report.rows_filtered} rows are of those that the contract's filter leaves out."
                if report.rows_filtered
                else "The file has a header and no rows."
            ),
            details={},
            now=now(),
        )
        return False
    return True


def _already_loaded(job: Job, content_hash: str, contract: Contract, ledger: Ledger) -> Job | None:
    """Another job that has these very bytes in Druid; a replay and an ordered replacement load them on purpose."""
    if job.cause is Cause.REPLAY or job.replaces_job_id is not None:
        return None
    loaded = ledger.jobs.loaded_version(job)
    if loaded is not None and loaded.content_hash == content_hash:
        return loaded
    if contract.duplicates == "skip":
        return ledger.corrections.same_content(job, content_hash)
    return None


def _require_fix(job: Job, report: "ValidationReport", ledger: Ledger) -> None:
    if job.parent_job_id is None or job.cause not in (Cause.RESUBMIT, Cause.RETRY):
        return
    family = ledger.corrections.family(job.job_id)
    if not is_fix(job, family):
        return
    open_rows = open_rejects(family)
    if report.rows_read > open_rows:
        raise NotAFix(
            f"It has {report.rows_read:,} rows, and only {open_rows:,} rejected rows of its file are open.",
            hint="Send the rejected rows alone, corrected; a whole new file belongs to `upload --replaces`.",
            details={"open": open_rows, "parent_job_id": job.parent_job_id},
        )
