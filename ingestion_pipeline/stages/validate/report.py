"""What validation reports: values for the ledger, the run's metadata and the sink.

What belongs here: the values and their JSON. What does not: finding them out.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import polars as pl

MAX_FIRST_ERRORS = 1000
PREVIEW_ROWS = 5

# One entry per rule that a rejected row breaks, row after row; `row` is null in all but the first of a row.
REJECTED_SCHEMA: dict[str, pl.DataType] = {
    "line": pl.Int64(),
    "column": pl.String(),
    "rule": pl.String(),
    "value": pl.String(),
    "reason": pl.String(),
    "row": pl.String(),
}


class ValidationSink(Protocol):
    """Where rows go while the file is read; both methods are called in file order, from one thread."""

    def accepted(self, frame: pl.DataFrame) -> None:
        """Good rows in the contract's types and order of columns."""
        ...

    def rejected(self, frame: pl.DataFrame) -> None:
        """Rows of `REJECTED_SCHEMA`: the 1-based physical line, what was wrong, and (once) the original text."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationProgress:
    """How far it is; `bytes_read` are bytes as stored (compressed)."""

    rows_read: int
    rows_accepted: int
    rows_rejected: int
    bytes_read: int


@dataclass(slots=True, kw_only=True)
class ValidationReport:
    """What was found in one file.

    Attributes:
        rows_read: Always accepted + rejected + filtered.
        size_bytes: As stored.
        content_hash: SHA-256 (hex) of the stored bytes.
        format: Family, compression, encoding and dialect as they were found.
        rule_counts: `{"column", "rule", "count"}`, most frequent first; a row may break several rules.
        first_errors: The first `MAX_FIRST_ERRORS` of `{"line", "column", "rule", "value", "reason"}`.
        preview: The first accepted rows, every value as text.
        columns: Type of each column, the contract's and those that were added to it.
        time_min: Of the accepted rows' time column.
        time_chunks: Sorted starts (UTC) of the time chunks that hold accepted rows.
        added_columns: Names of those columns that the contract does not have, in the order of the file.
    """

    rows_read: int = 0
    rows_accepted: int = 0
    rows_rejected: int = 0
    rows_filtered: int = 0
    size_bytes: int = 0
    content_hash: str = ""
    format: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    rule_counts: list[dict[str, Any]] = field(default_factory=list)
    first_errors: list[dict[str, Any]] = field(default_factory=list)
    preview: list[dict[str, str | None]] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    added_columns: list[str] = field(default_factory=list)
    time_min: datetime | None = None
    time_max: datetime | None = None
    time_chunks: list[datetime] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_empty(self) -> bool:
        """A header and no rows."""
        return self.rows_read == 0

    @property
    def rejected_fraction(self) -> float:
        return self.rows_rejected / self.rows_read if self.rows_read else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON; `columns` is called `schema` there."""
        return {
            "rows_read": self.rows_read,
            "rows_accepted": self.rows_accepted,
            "rows_rejected": self.rows_rejected,
            "rows_filtered": self.rows_filtered,
            "size_bytes": self.size_bytes,
            "content_hash": self.content_hash,
            "format": self.format,
            "warnings": self.warnings,
            "rule_counts": self.rule_counts,
            "first_errors": self.first_errors,
            "preview": self.preview,
            "schema": self.columns,
            "added_columns": self.added_columns,
            "time_min": self.time_min.isoformat() if self.time_min else None,
            "time_max": self.time_max.isoformat() if self.time_max else None,
            "time_chunks": [start.isoformat() for start in self.time_chunks],
            "seconds": round(self.seconds, 3),
        }
