"""The way of a file through validation, chunk by chunk.

What belongs here: the order of things and the counting. What does not: reading (`formats`), typing,
rules, uniqueness; each has its module.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl
import polars.selectors as cs

from ingestion_pipeline.domain.contract import ISO_UTC, Contract
from ingestion_pipeline.domain.contract_checks import polars_type
from ingestion_pipeline.errors import FileError, NoAcceptedRows, TooManyRejects, UnreadableFile
from ingestion_pipeline.formats import open_rows
from ingestion_pipeline.formats.ahead import ahead
from ingestion_pipeline.formats.base import FormatFacts, RowChunk
from ingestion_pipeline.stages.validate.contract_module import ContractModule
from ingestion_pipeline.stages.validate.derived import with_derived, without_filtered
from ingestion_pipeline.stages.validate.rejects import rejected_rows
from ingestion_pipeline.stages.validate.report import (
    MAX_FIRST_ERRORS,
    PREVIEW_ROWS,
    ValidationProgress,
    ValidationReport,
    ValidationSink,
)
from ingestion_pipeline.stages.validate.rules import (
    Violation,
    any_of,
    compile_rules,
    time_expression,
    type_cells,
    violations_of,
)

if TYPE_CHECKING:
    from ingestion_pipeline.stages.validate.uniqueness import UniqueKeys

_DRAIN_BYTES = 64 * 1024 * 1024
_TRUNCATION = {"hour": "1h", "day": "1d", "month": "1mo", "year": "1y"}
_SHOWN_CHARACTERS = 500


def validate(
    chunks: Iterable[bytes],
    *,
    contract: Contract,
    name: str,
    sink: ValidationSink,
    progress: Callable[[ValidationProgress], None] = lambda _: None,
    chunk_bytes: int = 2 << 20,
) -> ValidationReport:
    """Check every row of a file.

    A file with a header and no rows is no error: its report is empty.

    Args:
        chunks: The stored bytes, in pieces of any size; read once.
        name: The file's name, for messages.
        progress: Called after each chunk.
        chunk_bytes: Plain text per chunk. Memory grows by some twenty times of it; smaller ones take longer.

    Raises:
        UnreadableFile: It cannot be read to its end. Rows before the damage may be in the sink already.
        NoAcceptedRows: Rows, but no good one. Everything is in the sink.
        TooManyRejects: More than the contract's `reject` allows. Everything is in the sink.
            All three have the report so far as `report`.
        ContractError: The contract's module or an expression of it failed.
    """
    return _Validation(chunks, contract, name, sink, progress).run(chunk_bytes)


class _Validation:
    def __init__(
        self,
        chunks: Iterable[bytes],
        contract: Contract,
        name: str,
        sink: ValidationSink,
        progress: Callable[[ValidationProgress], None],
    ) -> None:
        self._name, self._sink, self._progress = name, sink, progress
        self._stored = iter(chunks)
        self._hash = hashlib.sha256()
        self._rule_counts: Counter[tuple[str, str]] = Counter()
        self._time_chunks: set[datetime] = set()
        self._facts: FormatFacts | None = None
        self.report = ValidationReport()
        self._use(contract)

    def _use(self, contract: Contract) -> None:
        """Check rows against a contract."""
        self._contract = contract
        self._rules = compile_rules(contract)
        self._read_columns = [column for column in contract.columns if column.expr is None]
        self._module = ContractModule(contract) if contract.module is not None else None
        self._derived = bool(contract.derived_columns)
        self.report.columns = {column.name: str(polars_type(column)) for column in contract.columns}

    def run(self, chunk_bytes: int) -> ValidationReport:
        started = time.monotonic()
        try:
            self._read(chunk_bytes)
        except UnreadableFile as error:
            self._drain()
            error.message = f"'{self._name}': {error.message}"
            error.details.setdefault("content_hash", self.report.content_hash)
            _with_report(error, self.report)
            raise
        finally:
            self._finish(time.monotonic() - started)
        self._judge()
        return self.report

    def _read(self, chunk_bytes: int) -> None:
        reader = open_rows(self._hashed(), contract=self._contract, chunk_bytes=chunk_bytes)
        self._facts = reader.facts
        if reader.facts.added:
            self.report.added_columns = reader.facts.added
            self._use(self._contract.with_added(reader.facts.added))
        with _unique_keys(self._contract) as keys:
            # Three at work: one reads, one checks, one (the sink's) writes.
            for chunk in ahead(reader.chunks()):
                self._check(chunk, keys)
                self._progress(
                    ValidationProgress(
                        rows_read=self.report.rows_read,
                        rows_accepted=self.report.rows_accepted,
                        rows_rejected=self.report.rows_rejected,
                        bytes_read=self.report.size_bytes,
                    )
                )

    def _hashed(self) -> Iterator[bytes]:
        for piece in self._stored:
            self._hash.update(piece)
            self.report.size_bytes += len(piece)
            yield piece
        self.report.content_hash = self._hash.hexdigest()

    def _drain(self) -> None:
        """The hash of a file that cannot be read, if its rest is small enough to be worth it."""
        rest = 0
        for piece in self._hashed():
            rest += len(piece)
            if rest > _DRAIN_BYTES:
                return

    def _check(self, chunk: RowChunk, keys: "UniqueKeys | None") -> None:
        read_rows = chunk.cells.height + len(chunk.malformed)
        typed, violations = type_cells(chunk.cells, self._read_columns)
        if self._derived:
            chunk, typed, violations = with_derived(chunk, typed, violations, self._contract)
        if self._contract.filter is not None:
            chunk, typed, violations = without_filtered(chunk, typed, violations, self._contract.filter)
        violations += violations_of(self._rules, typed)
        if self._module is not None:
            violations += self._module.violations(typed, any_of(violations))
        if keys is not None and (repeats := self._repeats(typed, chunk.lines, any_of(violations), keys)):
            violations.append(repeats)
        rejected = any_of(violations)
        accepted = typed if rejected is None else typed.filter(~rejected)
        bad = typed.height - accepted.height + len(chunk.malformed)
        self.report.rows_read += read_rows
        self.report.rows_filtered += read_rows - typed.height - len(chunk.malformed)
        self.report.rows_rejected += bad
        for entries in rejected_rows(chunk, violations) if bad else ():
            self._reject(entries)
        if self._module is not None and accepted.height:
            height = accepted.height
            accepted = self._module.transformed(accepted, self._rules)
            self.report.rows_filtered += height - accepted.height
        if accepted.height:
            self._accept(accepted)

    def _repeats(
        self, typed: pl.DataFrame, lines: pl.Series, rejected: pl.Series | None, keys: "UniqueKeys"
    ) -> Violation | None:
        """Rows that repeat the key of an earlier good row: a rejected row is not loaded, so it claims no key."""
        first = keys.add(typed.select(self._contract.unique), lines, rejected)
        if first.null_count() == len(first):
            return None
        reasons = pl.select(pl.format("repeats line {}", first)).to_series()
        return Violation("unique", self._contract.unique, "repeats an earlier line", first.is_not_null(), reasons)

    def _accept(self, rows: pl.DataFrame) -> None:
        report = self.report
        if len(report.preview) < PREVIEW_ROWS:
            head = rows.head(PREVIEW_ROWS - len(report.preview)).with_columns(
                cs.datetime().dt.strftime(ISO_UTC), _shown((~cs.datetime()).cast(pl.String))
            )
            report.preview.extend(head.to_dicts())
        unit = _TRUNCATION[self._contract.druid.segment_granularity]
        moments = rows.select(moment=time_expression(self._contract)).to_series()
        self._time_chunks.update(moments.unique().dt.truncate(unit).unique().to_list())
        low, high = moments.min(), moments.max()
        assert isinstance(low, datetime)
        assert isinstance(high, datetime)
        report.time_min = min(report.time_min or low, low)
        report.time_max = max(report.time_max or high, high)
        self._sink.accepted(rows)
        report.rows_accepted += rows.height

    def _reject(self, found: pl.DataFrame) -> None:
        for column, rule, count in found.group_by("column", "rule").len().iter_rows():
            self._rule_counts[column, rule] += count
        room = MAX_FIRST_ERRORS - len(self.report.first_errors)
        if room > 0:
            shown = found.head(room).select("line", "column", "rule", _shown(pl.col("value")), "reason")
            self.report.first_errors.extend(shown.to_dicts())
        self._sink.rejected(found)

    def _finish(self, seconds: float) -> None:
        report = self.report
        report.seconds = seconds
        if self._facts is not None:
            report.format, report.warnings = self._facts.as_dict(), self._facts.warnings
        report.time_chunks = sorted(self._time_chunks)
        report.rule_counts = [
            {"column": column, "rule": rule, "count": count}
            for (column, rule), count in sorted(self._rule_counts.items(), key=lambda item: (-item[1], item[0]))
        ]

    def _judge(self) -> None:
        report, policy = self.report, self._contract.reject
        assert report.rows_read == report.rows_accepted + report.rows_rejected + report.rows_filtered
        details = {"rows_read": report.rows_read, "rows_rejected": report.rows_rejected}
        if report.rows_rejected and not report.rows_accepted:
            others = f", the other {report.rows_filtered} filtered" if report.rows_filtered else ""
            which = report.rows_rejected if others else f"all {report.rows_rejected}"
            raise _with_report(
                NoAcceptedRows(
                    f"'{self._name}': {which} rows were rejected{others}{self._worst_rule()}.",
                    hint="Correct the rows, or the contract if it asks for too much.",
                    details=details,
                ),
                report,
            )
        if policy.policy == "reject_file" and report.rows_rejected:
            raise _with_report(
                TooManyRejects(
                    f"'{self._name}': {report.rows_rejected} of {report.rows_read} rows were rejected, "
                    f"and the contract takes a file whole or not at all{self._worst_rule()}.",
                    hint="Correct the rows and send the file again; reject.policy: quarantine would load the others.",
                    details=details,
                ),
                report,
            )
        over_rows = policy.max_rows is not None and report.rows_rejected > policy.max_rows
        over_fraction = policy.max_fraction is not None and report.rejected_fraction > policy.max_fraction
        if over_rows or over_fraction:
            allowed = f"{policy.max_rows} rows" if over_rows else f"a fraction of {policy.max_fraction}"
            raise _with_report(
                TooManyRejects(
                    f"'{self._name}': {report.rows_rejected} of {report.rows_read} rows were rejected, "
                    f"the contract allows {allowed}{self._worst_rule()}.",
                    hint="Correct the rows, or raise reject in the contract.",
                    details=details,
                ),
                report,
            )

    def _worst_rule(self) -> str:
        if not self.report.rule_counts:
            return ""
        worst = self.report.rule_counts[0]
        where = f" of {worst['column']}" if worst["column"] else ""
        return f", most by the rule {worst['rule']}{where}"


def _unique_keys(contract: Contract) -> AbstractContextManager["UniqueKeys | None"]:
    if not contract.unique:
        return nullcontext()
    from ingestion_pipeline.stages.validate.uniqueness import UniqueKeys  # numpy, for those who need it

    return UniqueKeys()


def _shown(text: pl.Expr) -> pl.Expr:
    """Text of the file as the ledger may hold it: not too long, and PostgreSQL's JSON has no zero character."""
    return text.str.slice(0, _SHOWN_CHARACTERS).str.replace_all("\0", "\ufffd", literal=True)


def _with_report(error: FileError, report: ValidationReport) -> FileError:
    error.report = report  # type: ignore[attr-defined]
    return error
