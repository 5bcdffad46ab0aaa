"""What a contract says about a file of this machine: good rows to a writer, the first bad ones kept with their text.

What belongs here: the sink of a dry run, and its report. What does not: judging (`stages.validate`), showing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion_pipeline.cli.local_files import pieces, told
from ingestion_pipeline.domain.contract import ISO_UTC, Contract
from ingestion_pipeline.errors import FileError

if TYPE_CHECKING:
    import polars as pl

    from ingestion_pipeline.stages.validate import ValidationReport

_KEPT_ROWS = 1000
_KEPT_CHARACTERS = 10_000


class DryRun:
    """The rows of one file; see `ValidationSink`.

    Args:
        write: Gets the accepted rows, readable: moments and decimals as text unless `typed`. None: nobody wants them.

    Attributes:
        rejected_rows: The first rejected rows: `line`, `text`, `reason` (all of them in words) and `errors` of each
            (`column`, `rule`, `value`, `reason`).
    """

    def __init__(self, write: Callable[["pl.DataFrame"], None] | None = None, *, typed: bool = False) -> None:
        self._write, self._typed = write, typed
        self.rejected_rows: list[dict[str, Any]] = []

    def accepted(self, frame: "pl.DataFrame") -> None:
        if self._write is not None:
            self._write(frame if self._typed else _readable(frame))

    def rejected(self, frame: "pl.DataFrame") -> None:
        rows = self.rejected_rows
        for entry in frame.iter_rows(named=True):
            error = {name: entry[name] for name in ("column", "rule", "value", "reason")}
            words = f"{entry['column']}: {entry['reason']}" if entry["column"] else entry["reason"]
            if entry["row"] is None:  # another rule that the same row breaks
                rows[-1]["errors"].append(error)
                rows[-1]["reason"] += f"; {words}"
            elif len(rows) == _KEPT_ROWS:
                return
            else:
                text = entry["row"][:_KEPT_CHARACTERS]
                rows.append({"line": entry["line"], "text": text, "reason": words, "errors": [error]})


def judge(source: Path, contract: Contract, sink: DryRun) -> dict[str, Any]:
    """Check every row of a file.

    Returns:
        `outcome` (read, partly read, rejected), what was found, the first rejected rows; if it is rejected, the
        `error`, and what was found until then.
    """
    from ingestion_pipeline.stages.validate import validate

    error: FileError | OSError | None = None
    report: ValidationReport | None = None
    try:
        report = validate(pieces(source), contract=contract, name=source.name, sink=sink)
    except (FileError, OSError) as raised:
        error, report = raised, getattr(raised, "report", None)
    found: dict[str, Any] = {"file": str(source), "datasource": contract.datasource, "outcome": "rejected"}
    if report is not None:
        found |= report.as_dict() | {"columns": list(report.columns), "rejected": sink.rejected_rows}
        del found["first_errors"]  # they are among the rejected rows
    if error is not None:
        return found | {"error": told(error)}
    return found | {"outcome": "partly read" if found["rows_rejected"] else "read"}


def _readable(frame: "pl.DataFrame") -> "pl.DataFrame":
    import polars as pl
    import polars.selectors as cs

    return frame.with_columns(cs.datetime().dt.strftime(ISO_UTC), cs.decimal().cast(pl.String))


def typed_frame_without_rows(contract: Contract) -> "pl.DataFrame":
    """The columns of a file that has no row."""
    import polars as pl

    from ingestion_pipeline.domain.contract_checks import polars_type

    return pl.DataFrame(schema={column.name: polars_type(column) for column in contract.columns})
