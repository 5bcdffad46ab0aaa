"""Upkeep in Dagster: the daily jobs `reconcile` and `retention`, their ops and schedules.

What belongs here: run config, what a run's page shows, and Dagster's own old runs. What does not: the work (package
`upkeep`). Both jobs can be launched by hand at any time, also beside the schedule's run.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import dagster as dg

from ingestion_pipeline.adapters.contract_directory import ContractDirectory
from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.batch import now
from ingestion_pipeline.defs.schedules import sweep_claims
from ingestion_pipeline.domain.compaction import compaction_change
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.upkeep.after_load import put_uploads_away
from ingestion_pipeline.upkeep.reconcile import RowCounter, reconcile_listing
from ingestion_pipeline.upkeep.retention import Retention

MAX_RUNS = 500
_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


class UpkeepConfig(dg.Config):
    """What a run launched by hand may choose."""

    dry_run: bool = False


def teller(context: dg.OpExecutionContext) -> Callable[[str], None]:
    """The run's log, once every five seconds at most."""
    last = datetime.min.replace(tzinfo=UTC)

    def tell(text: str) -> None:
        nonlocal last
        if now() - last > timedelta(seconds=5):
            last = now()
            context.log.info(text)

    return tell


@dg.op(description="List everything that contracts claim, and enter what the ledger does not know.")
def reconcile_uploads(
    context: dg.OpExecutionContext,
    config: UpkeepConfig,
    ledger: dg.ResourceParam[Ledger],
    bucket: dg.ResourceParam[ObjectStore],
    contracts: dg.ResourceParam[ContractDirectory],
) -> None:
    listing = reconcile_listing(
        ledger, bucket, contracts.book(), now=now(), dry_run=config.dry_run, tell=teller(context)
    )
    for key in listing.keys:
        context.log.warning(f"{key}: the uploads sensor had not seen it.")
    context.add_output_metadata(
        {"objects": listing.objects, "uploads_new": listing.new, "uploads_missed": listing.missed}
    )


@dg.op(description="Count jobs' rows in Druid again; files whose rows were lost are loaded again where that is safe.")
def reconcile_rows(
    context: dg.OpExecutionContext,
    config: UpkeepConfig,
    ledger: dg.ResourceParam[Ledger],
    bucket: dg.ResourceParam[ObjectStore],
    druid: dg.ResourceParam[Druid],
    contracts: dg.ResourceParam[ContractDirectory],
    settings: dg.ResourceParam[Settings],
) -> None:
    counted = RowCounter(
        ledger=ledger,
        bucket=bucket,
        druid=druid,
        book=contracts.book(),
        settings=settings,
        now=now(),
        tell=teller(context),
        dry_run=config.dry_run,
    ).run()
    for drift in counted.drifts:
        context.log.warning(drift.text)
    for datasource, why in counted.why_waiting.items():
        context.log.warning(f"{datasource}: not judged now. {why}")
    context.add_output_metadata(
        {
            "jobs_counted": counted.jobs,
            "jobs_right": counted.right,
            "jobs_waiting": counted.waiting,
            "jobs_drifted": len(counted.drifts),
            "jobs_repaired": counted.repaired,
            "drifts": dg.MetadataValue.json([asdict(drift) for drift in counted.drifts[:100]]),
        }
    )


@dg.op(description="Configure Druid's automatic compaction as contracts say.")
def configure_compaction(
    context: dg.OpExecutionContext,
    config: UpkeepConfig,
    druid: dg.ResourceParam[Druid],
    contracts: dg.ResourceParam[ContractDirectory],
) -> None:
    changed = []
    for contract in contracts.book().contracts.values():
        change = compaction_change(contract, druid.compaction(contract.datasource))
        if change is None:
            continue
        changed.append(contract.datasource)
        if config.dry_run:
            continue
        if change:
            druid.set_compaction(change)
        else:
            druid.stop_compaction(contract.datasource)
    context.add_output_metadata({"changed": ", ".join(changed) or "none"})


@dg.op(description="Delete old objects of runs, unfinished uploads, old events, and jobs that nothing needs.")
def remove_what_is_old(
    context: dg.OpExecutionContext,
    config: UpkeepConfig,
    ledger: dg.ResourceParam[Ledger],
    bucket: dg.ResourceParam[ObjectStore],
    settings: dg.ResourceParam[Settings],
) -> None:
    done = Retention(
        ledger=ledger,
        bucket=bucket,
        settings=settings,
        now=now(),
        tell=context.log.info,
        dry_run=config.dry_run,
    ).run()
    context.add_output_metadata(
        {
            **{f"{name} deleted": removed.objects for name, removed in done.objects.items()},
            "bytes deleted": sum(removed.size_bytes for removed in done.objects.values()),
            "unfinished uploads aborted": done.unfinished_uploads,
            "events deleted": done.events,
            "deliveries forgotten": done.deliveries,
            "attempts stripped": done.attempts,
            "jobs deleted": done.jobs.deleted,
            "old jobs kept": done.jobs.needed + done.jobs.in_bucket,
        }
    )


@dg.op(description="Tag, move or delete uploads that are loaded, as their contracts say.")
def put_away(
    context: dg.OpExecutionContext,
    config: UpkeepConfig,
    ledger: dg.ResourceParam[Ledger],
    bucket: dg.ResourceParam[ObjectStore],
    contracts: dg.ResourceParam[ContractDirectory],
) -> None:
    done = put_uploads_away(ledger, bucket, contracts.book(), now=now(), tell=context.log.info, dry_run=config.dry_run)
    context.add_output_metadata({f"uploads {what}": count for what, count in done.items()} or {"uploads": 0})


@dg.op(description="Delete Dagster's old runs, except those that show which partitions are materialized.")
def forget_runs(
    context: dg.OpExecutionContext,
    config: UpkeepConfig,
    ledger: dg.ResourceParam[Ledger],
    settings: dg.ResourceParam[Settings],
) -> None:
    deleted, kept = delete_old_runs(context.instance, ledger, settings, now=now(), dry_run=config.dry_run)
    context.add_output_metadata({"runs deleted": deleted, "old runs kept": kept})


def delete_old_runs(
    instance: dg.DagsterInstance, ledger: Ledger, settings: Settings, *, now: datetime, dry_run: bool
) -> tuple[int, int]:
    """Delete a piece of the old runs; returns how many went and how many stay.

    With a run its events go: the last materialization of a partition stays, or its day would look as if nobody had
    ever loaded it.
    """
    walk = "retention runs"
    position = ledger.upkeep.position(walk)
    records = instance.get_run_records(
        dg.RunsFilter(
            statuses=_FINISHED,
            created_before=now - timedelta(days=settings.retention_runs_days),
            created_after=datetime.fromisoformat(position) if position else None,
        ),
        limit=MAX_RUNS,
        ascending=True,
    )
    ids = [record.dagster_run.run_id for record in records]
    needed = ledger.upkeep.runs_at_work(ids)
    needed |= {run_id for run_id in ids if run_id not in needed and _shows_a_partition(instance, run_id)}
    if not dry_run:
        for run_id in ids:
            if run_id not in needed:
                instance.delete_run(run_id)
        last = records[-1].create_timestamp if len(records) == MAX_RUNS else None
        aware = last.replace(tzinfo=last.tzinfo or UTC) if last else None
        ledger.upkeep.note_position(walk, aware.isoformat() if aware else "", now=now)
    return len(ids) - len(needed), len(needed)


def _shows_a_partition(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether the latest materialization of an asset's partition is this run's."""
    events = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION, limit=1000)
    for record in events.records:
        materialization = record.asset_materialization
        if materialization is None:
            continue
        latest = instance.fetch_materializations(
            dg.AssetRecordsFilter(
                asset_key=materialization.asset_key,
                asset_partitions=[materialization.partition] if materialization.partition else None,
            ),
            limit=1,
        )
        if latest.records and latest.records[0].run_id == run_id:
            return True
    return False


@dg.job(description="Bucket against ledger, claims against runs, ledger against Druid; what is missing is mended.")
def reconcile() -> None:
    reconcile_uploads()
    sweep_claims()
    reconcile_rows()
    configure_compaction()


@dg.job(description="Take away what is old and what no live job, replay or open quarantine needs.")
def retention() -> None:
    put_away()
    remove_what_is_old()
    forget_runs()


JOBS = (reconcile, retention)


def daily_schedules(settings: Settings) -> Sequence[dg.ScheduleDefinition]:
    """The schedules of the daily jobs, in UTC."""
    return [
        dg.ScheduleDefinition(
            name=f"{job.name}_schedule",
            job=job,
            cron_schedule=cron,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=job.description,
        )
        for job, cron in ((reconcile, settings.reconcile_cron), (retention, settings.retention_cron))
    ]
