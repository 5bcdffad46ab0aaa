"""The op `submit`: load the batch into Druid and prove it."""

from typing import Any

import dagster as dg

from ingestion_pipeline.adapters.contract_directory import ContractDirectory
from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.attempts import Loader
from ingestion_pipeline.defs.batch import RunIdentity, datasource_of, heartbeat, now, usable
from ingestion_pipeline.defs.failures import all_failed, transient_errors_wait
from ingestion_pipeline.domain.job import Status, Step
from ingestion_pipeline.settings import Settings

DRUID_POOL = "druid"


@dg.op(
    description="Append the rows to Druid in one task, wait until they are queryable, and count them.",
    tags={"kind": "druid"},
    pool=DRUID_POOL,
)
def submit(
    context: dg.OpExecutionContext,
    batch: dict[str, Any],
    ledger: dg.ResourceParam[Ledger],
    bucket: dg.ResourceParam[ObjectStore],
    druid: dg.ResourceParam[Druid],
    contracts: dg.ResourceParam[ContractDirectory],
    settings: dg.ResourceParam[Settings],
) -> dict[str, Any]:
    datasource = datasource_of(context)
    task_ids: list[str] = []
    if batch["go"]:
        me = RunIdentity.of(context)
        jobs = ledger.work.renew(batch["go"], run_id=me.run_id, ancestors=me.ancestors, step=Step.SUBMIT, now=now())
        if not jobs:
            raise dg.Failure("Another run has taken over the jobs of this one.", allow_retries=False)
        with (
            heartbeat(ledger, jobs, settings.heartbeat_seconds) as heart,
            transient_errors_wait(context, ledger, jobs, heart, settings),
        ):
            contract = usable(contracts.book().contracts.get(datasource), datasource)
            loader = Loader(
                ledger=ledger, bucket=bucket, druid=druid, values=settings, heart=heart, run_id=context.run_id
            )
            loader.load(jobs, contract)
            task_ids = loader.task_ids
    finished = ledger.jobs.rows_of(batch["jobs"])
    parts = [part for job in finished if job.status.is_final and job.staged for part in job.staged.parts]
    bucket.delete(parts)
    all_failed(finished)
    context.add_output_metadata(
        {
            "druid_task_ids": ", ".join(task_ids) or "none",
            "rows_queryable": sum(job.rows_queryable for job in finished),
            "files_failed": sum(job.status is Status.FAILED for job in finished),
        }
    )
    return {**batch, "task_ids": task_ids}
