"""Where the suite plays: its organizations and its contracts, which differ in how Druid cuts their time."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ingestion_pipeline_tests.guarantees.faults import DIRECTORY_VARIABLE

ORGANIZATIONS = ("north", "south", "west")


@dataclass(frozen=True, slots=True, kw_only=True)
class Datasource:
    """One datasource of the suite.

    Attributes:
        texts: Whether its files have cells that CSV cannot carry to Druid; without them its batches go as CSV.
    """

    name: str
    granularity: Literal["hour", "day", "month"]
    texts: bool


DATASOURCES: Mapping[str, Datasource] = {
    source.name: source
    for source in (
        Datasource(name="kept_by_hour", granularity="hour", texts=True),
        Datasource(name="kept_by_day", granularity="day", texts=True),
        Datasource(name="kept_by_month", granularity="month", texts=False),
    )
}

CONTRACT = """\
datasource: {name}
description: What the guarantee suite sends.
partition_start: 2024-01-01
files:
  - pattern: exports/{name}/{{organization}}/{{date}}/*
time: {{column: at, min: 2024-01-01T00:00:00Z, max: 2025-01-01T00:00:00Z}}
columns:
  at: {{type: datetime}}
  id: {{type: string}}
  place: {{type: string, nullable: true}}
  words: {{type: string, nullable: true}}
  reading: {{type: float, checks: {{in_range: [0, 100]}}}}
  tally: {{type: integer, nullable: true}}
  flag: {{type: boolean, nullable: true}}
  amount: {{type: decimal, precision: 12, scale: 2, nullable: true}}
druid: {{segment_granularity: {granularity}}}
"""


def contract_texts() -> dict[str, str]:
    """The contracts' texts by datasource."""
    return {name: CONTRACT.format(name=name, granularity=source.granularity) for name, source in DATASOURCES.items()}


def stack_options(directory: Path) -> dict[str, Any]:
    """Keyword arguments for a `Stack` of the suite's own; contracts and faults live under `directory`."""
    contracts, faults = directory / "contracts", directory / "faults"
    contracts.mkdir(parents=True, exist_ok=True)
    faults.mkdir(exist_ok=True)
    for name, text in contract_texts().items():
        (contracts / f"{name}.yaml").write_text(text, encoding="utf-8")
    return {
        "module": "ingestion_pipeline_tests.guarantees.faulty_definitions",
        "contracts_dir": contracts,
        "extra_environment": {
            DIRECTORY_VARIABLE: str(faults),
            "INGESTION_HEARTBEAT_SECONDS": "2",
            # A stopped worker is to be given up within the run, and one that waits for the processor is not.
            "INGESTION_HEARTBEAT_LIMIT_SECONDS": "25",
        },
    }
