"""The op `transform`: from accepted rows to the object that Druid reads, with the lineage of each row."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from ingestion_pipeline.adapters.contract_directory import ContractDirectory
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.batch import Heart, RunIdentity, heartbeat, lease_of, now, usable
from ingestion_pipeline.defs.failures import send_back, transient_errors_wait
from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.domain.job import Job, Staged, Step
from ingestion_pipeline.errors import ContractChanged, ContractError, FileError, LeaseLost, ProofFailed
from ingestion_pipeline.settings import Settings

if TYPE_CHECKING:
    import polars as pl


@dg.op(description="Write the good rows as Druid reads them, each with its job and organization.", tags={"kind": "s3"})
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


def common_encoding(jobs: Sequence[Job]) -> Literal["csv", "ndjson"]:
    """CSV loads faster; NDJSON carries what CSV cannot. One Druid task reads one format."""
    return "csv" if all(job.staged is not None and job.staged.csv_safe for job in jobs) else "ndjson"


def transform_job(
    job: Job,
    contract: Contract,
    encoding: Literal["csv", "ndjson"],
    *,
    ledger: Ledger,
    bucket: ObjectStore,
    heart: Heart,
) -> int:
    """Write one file's cleaned object; returns its size in bytes."""
    from ingestion_pipeline.stages.transform import transform as transform_rows

    staged = job.staged
    assert staged is not None
    if staged.cleaned_key is not None and staged.encoding == encoding:
        return staged.cleaned_bytes
    # Druid picks the codec by the suffix.
    key = f"cleaned/{job.organization}/{job.datasource}/{job.job_id}/e{job.lease_epoch}/rows.{encoding}.zst"
    heart.tell(45, step="transform", file=job.file_name)
    with bucket.writer(key) as out:
        report = transform_rows(
            _parts(bucket, staged, heart, job.job_id),
            contract=contract.with_added(staged.added_columns),
            job_id=job.job_id,
            organization=job.organization,
            encoding=encoding,
            out=out,
        )
        if report.rows != job.rows_accepted:
            # Raised inside the block: an object with the wrong rows must not come to be.
            raise ProofFailed(
                f"{job.file_name}: {report.rows} rows were written and {job.rows_accepted} accepted.",
                hint="This is a defect of the pipeline, not of the file: please report it.",
            )
    heart.check([job.job_id])
    ledger.work.record_cleaned(
        lease_of(job),
        staged=replace(staged, cleaned_key=key, cleaned_bytes=report.size_bytes, encoding=encoding),
        result_url=bucket.url(key),
    )
    return report.size_bytes


def _parts(bucket: ObjectStore, staged: Staged, heart: Heart, job_id: str) -> Iterator["pl.DataFrame"]:
    import polars as pl

    for key in staged.parts:
        heart.check([job_id])
        yield pl.read_ipc(BytesIO(bucket.get(key)))
