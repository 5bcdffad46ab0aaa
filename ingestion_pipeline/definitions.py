"""The code location. `build_defs` assembles; importing this module is what Dagster does."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from ingestion_pipeline.defs import arrivals, assets, callbacks, doing, resources, schedules, sensors, upkeep
from ingestion_pipeline.logs import configure_logging


def build_defs(overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Every asset, job, sensor, schedule and resource of the pipeline.

    Args:
        overrides: Resources to use instead of the real ones, by name.
    """
    configure_logging()
    book = resources.contract_directory().book()
    datasource_assets = {name: assets.datasource_asset(contract) for name, contract in book.contracts.items()}
    jobs = [assets.datasource_job(datasource_assets[name], contract) for name, contract in book.contracts.items()]
    return dg.Definitions(
        assets=[
            *datasource_assets.values(),
            *(assets.disabled_asset(error) for error in book.broken_datasources.values()),
            doing.asset,
        ],
        jobs=[*jobs, schedules.sweep, *upkeep.JOBS],
        sensors=[
            sensors.uploads_sensor(jobs, {name: contract.partition_start for name, contract in book.contracts.items()}),
            callbacks.callbacks,
            arrivals.arrivals_sensor(
                [name for name, contract in book.contracts.items() if contract.expect is not None]
            ),
            doing.sensor,
        ],
        schedules=[schedules.sweep_schedule, *upkeep.daily_schedules(resources.settings())],
        resources={
            "settings": resources.SettingsResource(),
            "ledger": resources.LedgerResource(),
            "bucket": resources.BucketResource(),
            "druid": resources.DruidResource(),
            "callback": resources.CallbackResource(),
            "contracts": resources.ContractsResource(),
            "io_manager": resources.op_outputs(),
            **(overrides or {}),
        },
        # Backfills from an asset's page run outside the asset's job: the executor must be everyone's.
        executor=dg.in_process_executor,
    )


defs = build_defs()
