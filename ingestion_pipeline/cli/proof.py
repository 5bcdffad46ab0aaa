"""The demo's proof: what was read, rejected and loaded, against what Druid counts when asked now.

What belongs here: the comparison, file by file, and its picture. What does not: getting there (`cli.demo`).
Nothing of the count is taken from the ledger: every file's rows are counted in Druid by their job.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingestion_pipeline.cli.connections import Connections
from ingestion_pipeline.cli.output import number, table
from ingestion_pipeline.demo_data import DemoFile, planted_errors
from ingestion_pipeline.domain.interval import Interval
from ingestion_pipeline.domain.job import LOADED_OUTCOMES
from ingestion_pipeline.domain.orders import SHORT_ID

if TYPE_CHECKING:
    from rich.console import Console

FLIGHTS_OF_THE_YEAR = 336_776
Finding = tuple[int, str, str]
"""Line, column, rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProof:
    """One file's figures and what is wrong with them (nothing, if it is proved).

    Attributes:
        job_id: The job that loaded the rows; an earlier one's where this file's content was there already.
        expected: Rows that the file was written with.
        counted: Rows of the job in Druid, asked now.
    """

    file: DemoFile
    job_id: str
    outcome: str
    expected: int
    read: int = 0
    accepted: int = 0
    rejected: int = 0
    counted: int = 0
    findings: frozenset[Finding] = frozenset()
    error: str = ""

    @property
    def problems(self) -> list[str]:
        name = self.file.path.name
        if self.error:
            return [f"{name}: {self.error}"]
        found = []
        if self.read != self.expected:
            found.append(f"{name}: {self.read:,} rows were read, the file has {self.expected:,}.")
        if self.read != self.accepted + self.rejected:
            found.append(
                f"{name}: {self.accepted:,} accepted and {self.rejected:,} rejected are not {self.read:,} read."
            )
        if self.accepted != self.counted:
            found.append(f"{name}: {self.accepted:,} rows were accepted, Druid counts {self.counted:,}.")
        if self.file.kind == "planted":
            found += _compared(name, self.findings)
        return found


def prove(files: Sequence[tuple[DemoFile, str | None]], systems: Connections) -> list[FileProof]:
    """Compare each file's figures; asks the ledger for what was read and Druid for what is there.

    Args:
        files: Each with the id of its job, or None where the ledger knows none.
    """
    jobs = [(file, _loaded(job_id, systems)) for file, job_id in files]
    counted: dict[str, int] = {}
    for datasource in sorted({file.datasource for file, _ in jobs}):
        ids = [str(job["job_id"]) for file, job in jobs if job and file.datasource == datasource]
        bounds = systems.contracts.contracts[datasource].time
        counted |= systems.druid.count_by_job(datasource, ids, Interval(bounds.min, bounds.max))
    return [_file_proof(file, job, counted) for file, job in jobs]


def problems(proofs: Sequence[FileProof]) -> list[str]:
    """Everything that was not proved, one sentence each."""
    found = [problem for proof in proofs for problem in proof.problems]
    read = sum(proof.read for proof in proofs if proof.file.kind == "month")
    if read != FLIGHTS_OF_THE_YEAR:
        found.append(f"{read:,} flights were read from the monthly files, the year has {FLIGHTS_OF_THE_YEAR:,}.")
    return found


def print_proof(proofs: Sequence[FileProof], page: "Console") -> None:
    """The table, and how the planted errors were found."""
    from rich.markup import escape

    numbers = ("read", "accepted", "rejected", "in Druid")
    made = table("file", "job", *numbers, "outcome", "proved", right=numbers)
    for proof in proofs:
        made.add_row(
            escape(proof.file.path.name),
            proof.job_id[:SHORT_ID],
            *(number(value) or "0" for value in (proof.read, proof.accepted, proof.rejected, proof.counted)),
            "loaded" if proof.outcome in LOADED_OUTCOMES else proof.outcome,
            "[red]no[/]" if proof.problems else "[green]yes[/]",
        )
    sums = [sum(getattr(proof, name) for proof in proofs) for name in ("read", "accepted", "rejected", "counted")]
    made.add_section()
    made.add_row(f"{len(proofs)} files", "", *(f"{value:,}" for value in sums), "", "", style="bold")
    page.print(made)
    read = sum(proof.read for proof in proofs if proof.file.kind == "month")
    page.print(f"Flights read from the twelve months: {read:,} of {FLIGHTS_OF_THE_YEAR:,}.")
    planted = planted_errors()
    wanted = {(error.line, error.column, error.rule) for error in planted}
    for proof in proofs:
        if proof.file.kind == "planted":
            page.print(
                f"Planted errors found by line, column and rule: {len(wanted & proof.findings)} of {len(wanted)}; "
                f"beside them: {len(proof.findings - wanted)}."
            )


def _loaded(job_id: str | None, systems: Connections) -> dict[str, Any] | None:
    """The job whose rows are in Druid: a duplicate's is the one that loaded the same content."""
    job = systems.ledger.jobs.get(job_id) if job_id else None
    if job is not None and job["outcome"] == "duplicate":
        original = systems.ledger.jobs.get(str(job["result"].get("duplicate_of")))
        return {**original, "outcome": "loaded earlier"} if original else job
    return job


def _file_proof(file: DemoFile, job: Mapping[str, Any] | None, counted: Mapping[str, int]) -> FileProof:
    if job is None:
        return FileProof(file=file, job_id="", outcome="", expected=file.rows, error="no job was made for it.")
    error = ""
    if job["outcome"] not in (*LOADED_OUTCOMES, "loaded earlier"):
        why = job["error_message"] or job["waiting_reason"] or "it is not done."
        error = f"{job['status']}: {why}"
    return FileProof(
        file=file,
        job_id=job["job_id"],
        outcome=job["outcome"] or job["status"],
        expected=file.rows,
        read=job["rows_read"],
        accepted=job["rows_accepted"],
        rejected=job["rows_rejected"],
        counted=counted.get(job["job_id"], 0),
        findings=frozenset((int(e["line"]), e["column"] or "", e["rule"]) for e in job["validation_errors"]),
        error=error,
    )


def _compared(name: str, findings: frozenset[Finding]) -> list[str]:
    wanted = {(error.line, error.column, error.rule) for error in planted_errors()}
    missed = [f"{name}: line {line}, {column or 'the row'}: {rule} was planted and not found."
              for line, column, rule in sorted(wanted - findings)]  # fmt: skip
    beside = [f"{name}: line {line}, {column or 'the row'}: {rule} was found and not planted."
              for line, column, rule in sorted(findings - wanted)]  # fmt: skip
    return missed + beside
