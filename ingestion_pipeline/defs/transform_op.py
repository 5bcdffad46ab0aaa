"""The op `transform`: one object of each file, all of the encoding that the batch's Druid task reads.

What belongs here: which encoding that is. What does not: how rows are written (`stages.transform`); validation has
written them, once, in the encoding that suits their file, and mostly that is the batch's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion_pipeline.adapters.contract_directory import ContractDirectory
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.batch import Heart, RunIdentity, heartbeat, lease_of, now, require_rows, usable
from ingestion_pipeline.defs.failures import send_back, transient_errors_wait
from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.domain.job import Job, Staged, Step, encoding_of
from ingestion_pipeline.errors import ContractChanged, ContractError, FileError, LeaseLost, ProofFailed
from ingestion_pipeline.settings import Settings

if TYPE_CHECKING:
    from ingestion_pipeline.stages.transform import Encoding


@dg.op(description="One object of good rows per file, in the encoding that the batch shares.", tags={"kind": "s3"})
def transform(
    context: dg.OpExecutionContext,
    batch: dict[str, Any],
    ledger: dg.ResourceParam[Ledger],
    bucket: dg.ResourceParam[ObjectStore],
    contracts: dg.ResourceParam[ContractDirectory],
    settings: dg.ResourceParam[Settings],
) -> dict[str, Any]:
    if not batch["go"]:
        return batch
    me = RunIdentity.of(context)
    jobs = ledger.work.renew(batch["go"], run_id=me.run_id, ancestors=me.ancestors, step=Step.TRANSFORM, now=now())
    if not jobs:
        raise dg.Failure("Another run has taken over the jobs of this one.", allow_retries=False)
    # An undo brings no rows, and nor does a new version without any.
    open_jobs = [job for job in jobs if job.attempt_id is None and job.staged is not None]
    encoding = common_encoding(open_jobs)
    go = [job.job_id for job in jobs if job not in open_jobs]
    written = 0
    with heartbeat(ledger, jobs, settings.heartbeat_seconds) as heart:
        contract = contracts.book().contracts.get(jobs[0].datasource)
        for job in open_jobs:
            with transient_errors_wait(context, ledger, jobs, heart, settings):
                try:
                    usable_contract = usable(contract, job.datasource)
                    if job.checked_under_another(usable_contract):
                        raise ContractChanged.of(job.datasource)
                    written += transform_job(job, usable_contract, encoding, ledger=ledger, bucket=bucket, heart=heart)
                    go.append(job.job_id)
                except ContractChanged as error:
                    context.log.warning(f"{job.object_key}: {error}")
                    send_back(ledger, heart, job, error)
                except LeaseLost:
                    context.log.warning(f"{job.object_key}: another run has taken it over.")
                    heart.release(job.job_id)
                except (FileError, ContractError, ProofFailed) as error:
                    context.log.warning(f"{job.object_key}: {error}")
                    ledger.work.fail(lease_of(job), error, now=now())
                    heart.release(job.job_id)
    context.add_output_metadata({"files": len(go), "encoding": encoding, "cleaned_bytes": written})
    return {**batch, "go": go}


def common_encoding(jobs: Sequence[Job]) -> "Encoding":
    """CSV loads faster; NDJSON carries what CSV cannot. One Druid task reads one format."""
    return "csv" if all(job.staged is not None and job.staged.is_csv for job in jobs) else "ndjson"


def transform_job(
    job: Job,
    contract: Contract,
    encoding: "Encoding",
    *,
    ledger: Ledger,
    bucket: ObjectStore,
    heart: Heart,
) -> int:
    """Make one file's parts one object of this encoding; returns its size in bytes."""
    staged = job.staged
    assert staged is not None
    if staged.cleaned_key is not None and encoding_of(staged.cleaned_key) == encoding:
        return staged.cleaned_bytes
    heart.tell(45, step="transform", file=job.file_name)
    if len(staged.parts) == 1 and encoding_of(staged.parts[0]) == encoding:
        cleaned = replace(staged, cleaned_key=staged.parts[0])
    else:
        key = f"cleaned/{job.organization}/{job.datasource}/{job.job_id}/e{job.lease_epoch}/rows.ndjson.zst"
        cleaned = _as_ndjson(job, staged, key, contract, bucket, heart)
    heart.check([job.job_id])
    assert cleaned.cleaned_key is not None
    ledger.work.record_cleaned(lease_of(job), staged=cleaned, result_url=bucket.url(cleaned.cleaned_key))
    bucket.delete([part for part in staged.parts if part != cleaned.cleaned_key])
    return cleaned.cleaned_bytes


def _as_ndjson(job: Job, staged: Staged, key: str, contract: Contract, bucket: ObjectStore, heart: Heart) -> Staged:
    from ingestion_pipeline.stages.transform import CleanedObject

    with bucket.writer(key) as out:
        cleaned = CleanedObject(out)
        for text in _lines(bucket, staged.parts, contract):
            heart.check([job.job_id])
            cleaned.write(text)
        cleaned.close()
        # Raised inside the block: an object with the wrong rows must not come to be.
        require_rows(cleaned.rows, job.rows_accepted, job)
    return replace(staged, parts=(key,), cleaned_key=key, cleaned_bytes=cleaned.size_bytes)


def _lines(bucket: ObjectStore, parts: Sequence[str], contract: Contract) -> Iterator[bytes]:
    from ingestion_pipeline.stages.transform import ndjson_of

    for part in parts:
        yield from ndjson_of(bucket.read(part), encoding_of(part), contract)
