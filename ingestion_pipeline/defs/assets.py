"""One asset per contract: a graph over the three shared ops, with daily partitions and three checks.

What belongs here: assembling ops into assets and jobs. What does not: what the ops do. The ops are defined
once: two definitions of one name would not load together.
"""

from typing import Any

import dagster as dg

from ingestion_pipeline.defs.submit_op import submit
from ingestion_pipeline.defs.transform_op import transform
from ingestion_pipeline.defs.validate_op import validate
from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.errors import ContractError

GROUP = "druid"


def job_name(datasource: str) -> str:
    return f"ingest_{datasource}"


def day_partitions(contract: Contract) -> dg.DailyPartitionsDefinition:
    """From the contract's first day to tomorrow: a file of today, anywhere on earth, has a partition."""
    return dg.DailyPartitionsDefinition(start_date=contract.partition_start.isoformat(), end_offset=2)


@dg.op(description="Warn when too many rows were rejected.")
def check_rejected_fraction(batch: dict[str, Any]) -> dg.AssetCheckResult:
    read, rejected, allowed = batch["rows_read"], batch["rows_rejected"], batch["allowed_fraction"]
    fraction = rejected / read if read else 0.0
    return dg.AssetCheckResult(
        passed=fraction <= allowed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{rejected:,} of {read:,} rows were rejected.",
        metadata={"rejected_fraction": round(fraction, 6), "allowed_fraction": allowed},
    )


@dg.op(description="Fail when a file of the batch could not be loaded.")
def check_files_loaded(batch: dict[str, Any]) -> dg.AssetCheckResult:
    failed = batch["failed"]
    return dg.AssetCheckResult(
        passed=not failed,
        description=f"{len(failed)} of {batch['files']} files failed.",
        metadata={"failed": dg.MetadataValue.json(failed)},
    )


@dg.op(description="Fail unless every accepted row was counted in Druid.")
def check_rows_proved(batch: dict[str, Any]) -> dg.AssetCheckResult:
    expected, queryable = batch["rows_expected"], batch["rows_queryable"]
    return dg.AssetCheckResult(
        passed=expected == queryable,
        description=f"{expected:,} rows were to be loaded and {queryable:,} were counted in Druid.",
        metadata={"rows_expected": expected, "rows_queryable": queryable},
    )


def datasource_asset(contract: Contract) -> dg.AssetsDefinition:
    """The asset of one datasource: `validate -> transform -> submit`, one partition per day."""
    name = contract.datasource

    @dg.graph_asset(
        name=name,
        description=contract.description or f"Files loaded into Druid datasource `{name}`.",
        group_name=GROUP,
        kinds={"druid", "polars", "s3"},
        owners=list(contract.owners),
        tags=dict(contract.tags),
        partitions_def=day_partitions(contract),
        # Each day a run of its own: a run's batch is of one partition day.
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
        metadata={
            "contract": str(contract.path.name if contract.path else name),
            "contract_version": contract.version,
            "files": dg.MetadataValue.json([pattern.pattern for pattern in contract.files]),
            "segment_granularity": contract.druid.segment_granularity,
            "dagster/column_schema": dg.TableSchema(
                columns=[
                    dg.TableColumn(name=column.name, type=column.type, description=column.description or None)
                    for column in contract.columns
                ]
            ),
        },
        check_specs=[
            dg.AssetCheckSpec("rejected_fraction", asset=name, description="Few rows were rejected."),
            dg.AssetCheckSpec("files_loaded", asset=name, description="No file of the run failed."),
            dg.AssetCheckSpec("rows_proved", asset=name, description="Expected rows = rows counted in Druid."),
        ],
    )
    def asset() -> dict[str, Any]:
        batch = submit(transform(validate()))
        return {
            "result": batch,
            f"{name}_rejected_fraction": check_rejected_fraction(batch),
            f"{name}_files_loaded": check_files_loaded(batch),
            f"{name}_rows_proved": check_rows_proved(batch),
        }

    return asset


def datasource_job(asset: dg.AssetsDefinition, contract: Contract) -> Any:
    """The job that the sensor launches and the Launchpad shows."""
    return dg.define_asset_job(
        job_name(contract.datasource),
        selection=dg.AssetSelection.assets(asset),
        description=f"Load files of one partition day into {contract.datasource}. Leave `keys` empty to load all "
        "that wait; name keys to load those.",
        tags={"ingestion/datasource": contract.datasource},
    )


def disabled_asset(error: ContractError) -> dg.AssetSpec:
    """A place in the catalog for a datasource whose contract is broken, saying why."""
    details = error.details
    return dg.AssetSpec(
        str(details["datasource"]),
        description=f"**Disabled:** {error.message} {error.hint}",
        group_name="disabled",
        metadata={"file": str(details["file"]), "line": int(details["line"]), "key": str(details["key"])},
    )
