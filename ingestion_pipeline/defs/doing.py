"""The asset `how_is_ingestion_doing`: a look at everything every few minutes, as numbers that Dagster plots.

What belongs here: the asset and the sensor that reports it. What does not: what is counted and said (`domain.figures`).
No run is launched for it: a look is one question to the ledger, a run a process.

Idempotency: each tick is a look of its own; one that is lost is a point that the plots lack.
"""

from typing import Any

import dagster as dg

from ingestion_pipeline.adapters.contract_directory import ContractDirectory
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.defs.batch import now
from ingestion_pipeline.defs.metadata import markdown_table
from ingestion_pipeline.domain.figures import Figures

ASSET = "how_is_ingestion_doing"
INTERVAL_SECONDS = 300

asset = dg.AssetSpec(
    ASSET,
    group_name="operations",
    kinds={"postgres"},
    description="What waits and since when, what is worked on, what ended within the last hour and day, what failed, "
    "and what a person should look at. Reported every five minutes by the sensor `doing`; the plots are on this page. "
    "`ingestion-pipeline doing` says the same at any moment.",
)


@dg.sensor(
    name="doing",
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=f"Reports the asset {ASSET}.",
)
def sensor(
    context: dg.SensorEvaluationContext,
    ledger: dg.ResourceParam[Ledger],
    contracts: dg.ResourceParam[ContractDirectory],
) -> dg.SensorResult:
    broken = contracts.book().broken_datasources
    figures = ledger.figures.now(now(), disabled={name: str(error) for name, error in broken.items()})
    return dg.SensorResult(
        asset_events=[dg.AssetMaterialization(ASSET, description=headline(figures), metadata=doing_metadata(figures))],
        skip_reason=headline(figures),
    )


def headline(figures: Figures) -> str:
    problems = len(figures.problems)
    return f"{problems} thing{'' if problems == 1 else 's'} to look at." if problems else "All is well."


def doing_metadata(figures: Figures) -> dict[str, Any]:
    """The numbers, and what is to be said of them."""
    waiting = [
        {
            "lane": group.lane.value,
            "priority": group.priority.name.lower(),
            "files": f"{group.files:,}",
            "MB": f"{group.size_bytes / 1e6:,.1f}",
            "the oldest arrived": f"{group.oldest:%Y-%m-%d %H:%M:%S} UTC",
        }
        for group in figures.waiting
    ]
    parts = [
        "\n".join(f"- {problem}" for problem in figures.problems) or "All is well.",
        markdown_table(waiting) or "Nothing waits.",
    ]
    return {"summary": dg.MetadataValue.md("\n\n".join(parts)), **figures.numbers}
