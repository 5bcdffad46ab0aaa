"""The op `submit`: load the batch into Druid and prove it."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from ingestion_pipeline.adapters.contract_directory import ContractDirectory
from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.attempt_work import AttemptWork
from ingestion_pipeline.defs.attempts import Loader
from ingestion_pipeline.defs.batch import RunIdentity, datasource_of, heartbeat, now, usable
from ingestion_pipeline.defs.failures import all_failed, transient_errors_wait
from ingestion_pipeline.domain.job import Status, Step
from ingestion_pipeline.settings import Settings

DRUID_POOL = "druid"


@dg.op(
    description="Bring the rows into Druid in one task, wait until they are queryable, and count them.",
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
            transient_errors_wait(context, ledger, jobs, heart, settings, on_cancel=lambda ids: _cancel(druid, ids)),
        ):
            contract = usable(contracts.book().contracts.get(datasource), datasource)
            work = AttemptWork(
                ledger=ledger, bucket=bucket, druid=druid, values=settings, heart=heart, run_id=context.run_id
            )
            task_ids = work.task_ids
            Loader(work).load(jobs, contract)
    finished = ledger.jobs.rows_of(batch["jobs"])
    all_failed(finished)
    context.add_output_metadata(
        {
            "druid_task_ids": ", ".join(task_ids) or "none",
            "rows_queryable": sum(job.rows_queryable for job in finished),
            "files_failed": sum(job.status is Status.FAILED for job in finished),
        }
    )
    return {**batch, "task_ids": task_ids}


def _cancel(druid: Druid, task_ids: Sequence[str]) -> None:
    """Stop the tasks; what became of them is found out by the next run."""
    for task_id in task_ids:
        druid.cancel(task_id)
