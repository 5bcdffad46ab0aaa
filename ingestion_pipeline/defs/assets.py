"""One asset per contract: a graph over the shared ops, with daily partitions and checks.

What belongs here: assembling ops into assets and jobs. What does not: what the ops do. The ops are defined
once: two definitions of one name would not load together.
"""

from typing import Any

import dagster as dg

from ingestion_pipeline.defs.arrivals import ARRIVAL_CHECKS
from ingestion_pipeline.defs.descriptions import description_of
from ingestion_pipeline.defs.report_op import CHECKS, report
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


def datasource_asset(contract: Contract) -> dg.AssetsDefinition:
    """The asset of one datasource: `validate -> transform -> submit -> report`, one partition per day."""
    name = contract.datasource
    checks = {**CHECKS, **(ARRIVAL_CHECKS if contract.expect is not None else {})}

    @dg.graph_asset(
        name=name,
        description=description_of(contract),
        group_name=GROUP,
        kinds={"druid", "polars", "s3"},
        owners=list(contract.owners),
        tags=dict(contract.tags),
        partitions_def=day_partitions(contract),
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=contract.backfill.days_per_run),
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
        check_specs=[dg.AssetCheckSpec(check, asset=name, description=text) for check, text in checks.items()],
    )
    def asset() -> dict[str, Any]:
        outputs = report(submit(transform(validate())))
        return {"result": outputs.result, **{f"{name}_{check}": getattr(outputs, check) for check in checks}}

    return asset.map_asset_specs(lambda spec: spec.replace_attributes(freshness_policy=freshness(contract)))


def freshness(contract: Contract) -> dg.FreshnessPolicy | None:
    """Fresh is what was loaded between the last two due moments, or since: Dagster's own word beside the checks."""
    expectation = contract.expect
    if expectation is None:
        return None
    return dg.FreshnessPolicy.cron(
        expectation.cron, lower_bound_delta=expectation.shortest(), timezone=expectation.zone
    )


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
