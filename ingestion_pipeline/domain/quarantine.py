"""Where a job's rejected rows are kept.

What belongs here: the value that the ledger remembers. What does not: writing the objects (`defs.bucket_sink`), what
is in them (`stages.quarantine`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """The objects of one file's rejected rows; the Parquet ones are the truth, the CSV is for people.

    Attributes:
        csv_url: `s3://…`; cells that a spreadsheet would take for formulas are neutralised in it.
        parquet_keys: In the file's order, every value exact.
        entries: One for each rule that a row breaks.
        neutralised: Entries of the CSV with a cell that was changed.
    """

    csv_url: str
    parquet_keys: tuple[str, ...]
    entries: int
    neutralised: int

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "parquet_keys": list(self.parquet_keys)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Quarantine":
        """Of `as_dict`."""
        return cls(**{**data, "parquet_keys": tuple(data["parquet_keys"])})
