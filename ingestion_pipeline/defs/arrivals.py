"""Expected files on Dagster's pages: the checks `late`, `missing`, `smaller_than_usual`, and the sensor that looks.

What belongs here: asking, telling Dagster, recording events. What does not: the judgement (`stages.arrivals`).
The checks belong to the datasource's asset: a run says them with its others, so that they are green as soon as the file
is loaded. What no run could say, that there was nothing to run, the sensor reports between runs.

Idempotency: a look changes nothing twice. Events begin once in the ledger; a check is reported again when what it says
has changed since the cursor, and a tick that dies in between reports it the next time.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import dagster as dg
import structlog

from ingestion_pipeline.adapters.contract_directory import ContractDirectory
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.postgres_arrivals import ArrivalEvent
from ingestion_pipeline.defs.batch import now
from ingestion_pipeline.defs.metadata import markdown_table
from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.domain.expectation import EVERYBODY
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.stages.arrivals import Kind, State, Verdict, look

ARRIVAL_CHECKS: Mapping[str, str] = {
    # Plain text: Dagster sends the names over the wire, and no enum of ours.
    Kind.LATE.value: "Nothing is late: every expected file was there when it was due.",
    Kind.MISSING.value: "Nothing is missing: what was late has come.",
    Kind.SMALLER_THAN_USUAL.value: "No period brought much less than usual.",
}
SEVERITIES = {
    Kind.LATE: dg.AssetCheckSeverity.WARN,
    Kind.MISSING: dg.AssetCheckSeverity.ERROR,
    Kind.SMALLER_THAN_USUAL: dg.AssetCheckSeverity.WARN,
}
INTERVAL_SECONDS = 120
PERIODS_SHOWN = 30

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check says, for a run's result and for a report without a run alike."""

    passed: bool
    severity: dg.AssetCheckSeverity
    description: str
    metadata: Mapping[str, Any]


def check_result(kind: str, contract: Contract, verdicts: Sequence[Verdict], *, dagster_url: str) -> CheckResult:
    """One of `ARRIVAL_CHECKS`, as the verdicts say."""
    if contract.expect is None:
        return CheckResult(
            passed=True, severity=SEVERITIES[Kind(kind)], description="Nothing is expected.", metadata={}
        )
    found = [verdict for verdict in verdicts if kind in verdict.findings]
    names = ", ".join(_name(verdict) for verdict in found[:5]) + (", …" if len(found) > 5 else "")
    metadata: dict[str, Any] = {
        "expected": contract.expect.sentence,
        "periods": len(found),
        "table": dg.MetadataValue.md(markdown_table([_row(verdict) for verdict in verdicts[::-1][:PERIODS_SHOWN]])),
        "days": dg.MetadataValue.url(f"{dagster_url}/assets/{contract.datasource}?view=partitions"),
    }
    if found:
        metadata["what_now"] = _WHAT_NOW[Kind(kind)].format(datasource=contract.datasource)
    return CheckResult(
        passed=not found,
        severity=SEVERITIES[Kind(kind)],
        description=f"{_FOUND[Kind(kind)]}: {names}." if found else ARRIVAL_CHECKS[kind],
        metadata=metadata,
    )


def arrivals_sensor(datasources: Sequence[str]) -> dg.SensorDefinition:
    """The sensor over the datasources whose assets have the checks: those that expected files when they were loaded."""

    @dg.sensor(
        name="arrivals",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks whether the files came that contracts expect; says late, missing and smaller than usual.",
    )
    def arrivals(
        context: dg.SensorEvaluationContext,
        ledger: dg.ResourceParam[Ledger],
        contracts: dg.ResourceParam[ContractDirectory],
        settings: dg.ResourceParam[Settings],
    ) -> dg.SensorResult:
        moment = now()
        book = contracts.book().contracts
        expecting = [book[name] for name in datasources if name in book and book[name].expect is not None]
        ledger.arrivals.end_others([contract.datasource for contract in expecting], now=moment)
        if not expecting:
            return dg.SensorResult(skip_reason="No contract expects files (`expect`).", cursor="{}")
        told: dict[str, str] = json.loads(context.cursor or "{}")
        seen: dict[str, str] = {}
        reports: list[dg.AssetCheckEvaluation] = []
        first_seen = ledger.discovery.first_seen()
        for contract in expecting:
            name = contract.datasource
            verdicts = look(contract, ledger.arrivals.came, since=first_seen.get(name), moment=moment)
            record(ledger, name, verdicts, moment=moment)
            seen[name] = _fingerprint(contract, verdicts)
            if seen[name] != told.get(name):
                reports.extend(_evaluations(contract, verdicts, dagster_url=settings.dagster_url))
        return dg.SensorResult(
            asset_events=reports,
            cursor=json.dumps(seen),
            skip_reason=f"Datasources that expect files: {len(expecting)}; checks with news: {len(reports)}.",
        )

    return arrivals


def record(ledger: Ledger, datasource: str, verdicts: Sequence[Verdict], *, moment: datetime) -> None:
    """Keep what is wrong as events, and tell the log of new ones."""
    events = [
        ArrivalEvent(
            datasource=datasource,
            organization=verdict.organization,
            period=verdict.period.name,
            kind=kind,
            details=_details(verdict),
        )
        for verdict in verdicts
        for kind in verdict.findings
    ]
    for event in ledger.arrivals.note(datasource, events, now=moment):
        log.warning(
            "arrival", kind=event.kind, datasource=datasource, organization=event.organization, period=event.period
        )


_FOUND = {Kind.LATE: "Late", Kind.MISSING: "Missing", Kind.SMALLER_THAN_USUAL: "Smaller than usual"}
_WHAT_NOW = {
    Kind.LATE: "Nothing yet, it may still come. If it was sent: `ingestion-pipeline jobs --datasource {datasource}`.",
    Kind.MISSING: "Ask the sender. If it was sent, its key may match no pattern of the contract: "
    "`ingestion-pipeline contract show {datasource}`. The check turns green when the file comes.",
    Kind.SMALLER_THAN_USUAL: "Ask the sender whether the file is whole; a whole one under the same key replaces it.",
}
_STATES = {
    State.EXPECTED: "not due yet",
    State.ON_TIME: "on time",
    State.CAME_LATE: "came late",
    State.LATE: "late",
    State.MISSING: "missing",
}


def _evaluations(contract: Contract, verdicts: Sequence[Verdict], *, dagster_url: str) -> list[dg.AssetCheckEvaluation]:
    results = {kind: check_result(kind, contract, verdicts, dagster_url=dagster_url) for kind in ARRIVAL_CHECKS}
    return [
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(contract.datasource),
            check_name=kind,
            passed=result.passed,
            severity=result.severity,
            description=result.description,
            metadata=result.metadata,
        )
        for kind, result in results.items()
    ]


def _fingerprint(contract: Contract, verdicts: Sequence[Verdict]) -> str:
    """Of what the checks say: other findings, or another period that is due."""
    said = [str(contract.expect), *(f"{_name(v)} {v.state} {v.smaller}" for v in verdicts)]
    return sha256("\n".join(said).encode()).hexdigest()[:16]


def _name(verdict: Verdict) -> str:
    whose = "" if verdict.organization == EVERYBODY else f" of {verdict.organization}"
    smaller = verdict.smaller
    much = f" ({smaller.value:,} {smaller.measure}, usually {smaller.usual:,})" if smaller else ""
    return f"{verdict.period.name}{whose}{much}"


def _row(verdict: Verdict) -> dict[str, Any]:
    smaller = f", smaller than usual ({verdict.smaller.usual:,} {verdict.smaller.measure})" if verdict.smaller else ""
    return {
        "period": verdict.period.name,
        "organization": "" if verdict.organization == EVERYBODY else verdict.organization,
        "due": f"{verdict.period.due:%Y-%m-%d %H:%M} UTC",
        "state": _STATES[verdict.state] + smaller,
        "files": verdict.came.files,
        "rows": "" if verdict.came.rows is None else f"{verdict.came.rows:,}",
        "bytes": f"{verdict.came.size_bytes:,}",
    }


def _details(verdict: Verdict) -> dict[str, Any]:
    return {
        "due": verdict.period.due.isoformat(),
        "missing": verdict.period.missing.isoformat(),
        "files": verdict.came.files,
        "rows": verdict.came.rows,
        "size_bytes": verdict.came.size_bytes,
        **({"measure": verdict.smaller.measure, "usual": verdict.smaller.usual} if verdict.smaller else {}),
    }
