"""What surrounds the tests' stack: its contracts, its faults, shorter patience with silent workers.

What belongs here: the options of the session's `Stack`. What does not: using it (`system`).
"""

from importlib import resources
from pathlib import Path
from typing import Any

from benchmarks import fairness
from ingestion_pipeline_tests.guarantees.faults import DIRECTORY_VARIABLE
from ingestion_pipeline_tests.guarantees.suite.surroundings import contract_texts

ORGANIZATION = "acme"

READINGS = (
    "readings",
    "batches",
    "twins",
    "corrected",
    "dropped",
    "alone",
    "stopped_by_hand",
    "killed_together",
    "by_hand",
    "archive",
    "patient",
    "fragile",
    "binary",
    "explained",
    "explained_task",
    "killed_reading",
    "killed_before_post",
    "killed_after_post",
    "stopped_reading",
    "stopped_before_post",
)
"""Datasources of one shape, so that no test's rows, runs or faults meet another's."""

HISTORY = ("archive", "by_hand")
"""Those whose objects are all history: they wait for a person."""

_READINGS = """\
datasource: {name}
description: Readings of thermometers.
partition_start: 2024-01-01
{live_from}files:
  - pattern: exports/{name}/{{date}}/*
    organization: acme
time: {{column: at, min: 2024-01-01T00:00:00Z, max: 2025-01-01T00:00:00Z}}
{reject}columns:
  at: {{type: datetime}}
  place: {{type: string}}
  value: {{type: float, checks: {{in_range: [0, 100]}}}}
"""

_TEXTS = """\
datasource: texts
description: What people write.
partition_start: 2024-01-01
files:
  - pattern: exports/texts/{date}/*
    organization: acme
time: {column: at, min: 2024-01-01T00:00:00Z, max: 2025-01-01T00:00:00Z}
columns:
  at: {type: datetime}
  id: {type: integer}
  words: {type: string, nullable: true}
"""


def readings_contract(name: str) -> str:
    """The contract's text."""
    return _READINGS.format(
        name=name,
        live_from="live_from: 2100-01-01T00:00:00Z\n" if name in HISTORY else "",
        reject="reject: {max_fraction: 0.5}\n" if name == "explained" else "",
    )


def stack_options(directory: Path) -> dict[str, Any]:
    """Keyword arguments for the session's `Stack`; contracts and faults live under `directory`."""
    contracts, faults = directory / "contracts", directory / "faults"
    contracts.mkdir(exist_ok=True)
    faults.mkdir(exist_ok=True)
    package = resources.files("ingestion_pipeline") / "contracts"
    texts = {name: (package / f"{name}.yaml").read_text() for name in ("flights", "weather")}
    texts |= {name: readings_contract(name) for name in READINGS} | {"texts": _TEXTS} | contract_texts()
    texts |= fairness.contracts(days_per_run=2)
    for name, text in texts.items():
        (contracts / f"{name}.yaml").write_text(text)
    return {
        "module": "ingestion_pipeline_tests.guarantees.faulty_definitions",
        "contracts_dir": contracts,
        "extra_environment": {
            DIRECTORY_VARIABLE: str(faults),
            "INGESTION_HEARTBEAT_SECONDS": "1",
            # Long enough for a process that waits for its turn on a busy machine.
            "INGESTION_HEARTBEAT_LIMIT_SECONDS": "15",
        },
    }
