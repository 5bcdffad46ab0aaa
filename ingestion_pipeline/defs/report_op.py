"""The op `report`: what the run did, on its asset: the materialisation's metadata and the asset's checks.

It is the last op so that what checks read is this run's own: Dagster keeps an asset's value by partition, and two
runs of one partition day may end at the same time.
"""

from collections import Counter
from collections.abc import Generator
from typing import Any

import dagster as dg

from ingestion_pipeline.adapters.contract_directory import ContractDirectory
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.arrivals import ARRIVAL_CHECKS, check_result
from ingestion_pipeline.defs.batch import datasource_of, now, partition_days
from ingestion_pipeline.defs.metadata import rule_counts, rules_table, run_metadata, why_commands
from ingestion_pipeline.domain.job import Outcome, Status
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.stages.arrivals import look

CHECKS = {
    "rejected_fraction": "Few rows were rejected.",
    "files_loaded": "No file of the run failed.",
    "rows_proved": "Every accepted row was counted in Druid.",
}

ALLOWED_REJECTED_FRACTION = 0.01
"""Above this the check warns, where the contract names no limit of its own."""


@dg.op(
    out={
        "result": dg.Out(dg.Nothing),
        **{name: dg.Out(dg.Nothing) for name in CHECKS},
        # Of datasources that expect files.
        **{name: dg.Out(dg.Nothing, is_required=False) for name in ARRIVAL_CHECKS},
    },
    description="Record what was loaded, and check it: rejected rows, failed files, expected = counted.",
    tags={"kind": "dagster"},
)
def report(
    context: dg.OpExecutionContext,
    batch: dict[str, Any],
    ledger: dg.ResourceParam[Ledger],
    bucket: dg.ResourceParam[ObjectStore],
    contracts: dg.ResourceParam[ContractDirectory],
    settings: dg.ResourceParam[Settings],
) -> Generator[dg.Output[Any] | dg.AssetCheckResult, None, None]:
    datasource = datasource_of(context)
    jobs = ledger.jobs.rows_of(batch["jobs"])
    days = set(partition_days(context))
    for day in sorted(days | {job.partition_day for job in jobs}):
        metadata = run_metadata(
            [job for job in jobs if job.partition_day == day],
            totals=ledger.jobs.day_totals(datasource, [day]),
            task_ids=batch["task_ids"],
            notes=batch["notes"],
            bucket=bucket.bucket,
        )
        if day in days:
            asset = dg.AssetExecutionContext(op_execution_context=context)
            asset.add_asset_metadata(metadata, asset_key=datasource, partition_key=day.isoformat())
        else:
            # A batch that a run of several days left behind goes on whole in a run of one.
            context.log_event(dg.AssetMaterialization(datasource, partition=day.isoformat(), metadata=metadata))
    yield dg.Output(None, output_name="result")
    contract = contracts.book().contracts.get(datasource)
    limit = contract.reject.max_fraction if contract is not None else None
    allowed = ALLOWED_REJECTED_FRACTION if limit is None else limit
    read, rejected = sum(job.rows_read for job in jobs), sum(job.rows_rejected for job in jobs)
    fraction = rejected / read if read else 0.0
    counts = rule_counts(jobs)
    by_rule = {"rejected_by_rule": rules_table(counts)} if counts else {}
    yield dg.AssetCheckResult(
        check_name="rejected_fraction",
        passed=fraction <= allowed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{rejected:,} of {read:,} rows were rejected{_most(counts)}.",
        metadata={"rejected_fraction": round(fraction, 6), "allowed_fraction": allowed, **by_rule},
    )
    unloaded = [job for job in jobs if job.status is Status.FAILED]
    failed = [f"{job.file_name}: {job.error_message}" for job in unloaded]
    asked = why_commands(unloaded)
    yield dg.AssetCheckResult(
        check_name="files_loaded",
        passed=not failed,
        description=f"{len(failed)} of {len(jobs)} files failed.",
        metadata={"failed": dg.MetadataValue.json(failed[:100]), **({"why": asked} if asked else {})},
    )
    # One that was canceled, or came too late to replay anything, was not to load its rows; one that was sent back has
    # yet to.
    loading = [
        job
        for job in jobs
        if job.job_id in set(batch["go"])
        and job.status.is_final
        and job.status is not Status.CANCELED
        and job.outcome != Outcome.SUPERSEDED
    ]
    expected = sum(job.rows_accepted for job in loading)
    queryable = sum(job.rows_queryable for job in loading)
    yield dg.AssetCheckResult(
        check_name="rows_proved",
        passed=expected == queryable,
        description=f"{expected:,} rows were to be loaded and {queryable:,} were counted in Druid.",
        metadata={"rows_expected": expected, "rows_queryable": queryable},
    )
    # Those that its asset had when the code location was loaded, whatever the contract has become.
    arrival_checks = {key.name for key in context.selected_asset_check_keys if key.name in ARRIVAL_CHECKS}
    if arrival_checks and contract is not None:
        since = ledger.discovery.first_seen().get(datasource)
        verdicts = look(contract, ledger.arrivals.came, since=since, moment=now())
        for check in sorted(arrival_checks):
            result = check_result(check, contract, verdicts, dagster_url=settings.dagster_url)
            yield dg.AssetCheckResult(
                check_name=check,
                passed=result.passed,
                severity=result.severity,
                description=result.description,
                metadata=result.metadata,
            )


def _most(counts: Counter[tuple[str, str]]) -> str:
    if not counts:
        return ""
    ((column, rule), _), *_ = counts.most_common(1)
    return f", most by the rule {rule}{f' of {column}' if column else ''}"
