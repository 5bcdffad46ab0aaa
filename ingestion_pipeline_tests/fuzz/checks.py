"""What holds for every file, however damaged.

What belongs here: reading one file in several ways and comparing. What does not: making it (`cases`), limits of
time and memory (`worker`).
"""

import csv
import io
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from ingestion_pipeline.errors import PermanentError
from ingestion_pipeline.formats import open_rows
from ingestion_pipeline.stages.canonical import read_as_text
from ingestion_pipeline.stages.validate import validate
from ingestion_pipeline_tests.unit.contracts import KeptRows, contract_of

_CONTRACT = contract_of({"n": {"type": "integer"}, "word": {"type": "string", "nullable": True}})


def check(data: bytes, piece: int, chunk_bytes: int) -> str:
    """Read a file in every way; an outcome for the statistics.

    Raises:
        AssertionError: An invariant does not hold.
        Exception: Any error that is not one of the tree's permanent ones.
    """
    whole = _read(data, len(data) or 1, 8 << 20)
    in_pieces = _read(data, piece, 8 << 20)
    assert _comparable(whole) == _comparable(in_pieces), "the pieces of a file change what it is"
    in_chunks = _read(data, piece, chunk_bytes)
    assert _comparable(whole) == _comparable(in_chunks), "the size of chunks changes what a file is"
    if isinstance(whole, str):
        outcome = "refused"
    else:
        outcome = "read" if whole["rows"] else "no rows"
        _check_lines(whole)
        _check_written(data)
    _check_with_contract(data, piece, chunk_bytes)
    return outcome


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def _read(data: bytes, piece: int, chunk_bytes: int) -> dict[str, Any] | str:
    try:
        reader = open_rows(_pieces(data, piece), contract=None, chunk_bytes=chunk_bytes)
        rows, lines, malformed = [], [], []
        for chunk in reader.chunks():
            rows += chunk.cells.rows()
            lines += chunk.lines.to_list()
            malformed += [(record.line, record.text, record.reason) for record in chunk.malformed]
    except PermanentError as error:
        return str(error)
    facts = reader.facts
    # Of JSON, the header is the keys of its first chunk.
    header = [] if "JSON" in facts.format else facts.header
    return {
        "format": (facts.format, facts.encoding, facts.delimiter, facts.quote, facts.escape, header),
        "rows": rows,
        "lines": lines,
        "malformed": malformed,
        "behind": (facts.footer, facts.further_tables),
        "warnings": sorted(facts.warnings),
    }


def _comparable(found: dict[str, Any] | str) -> dict[str, Any] | str:
    """Without what may differ with the size of chunks: how an error was met."""
    return "refused" if isinstance(found, str) else found


def _check_lines(found: dict[str, Any]) -> None:
    lines, bad = found["lines"], [line for line, _, _ in found["malformed"]]
    for each in (lines, bad):
        assert all(first <= second for first, second in pairwise(each)), "line numbers go back"
    if found["format"][0] == "delimited text":
        assert len({*lines, *bad}) == len(lines) + len(bad), "two records begin on one line"


def _check_written(data: bytes) -> None:
    out = io.BytesIO()
    try:
        report = read_as_text([data], form="csv", out=out)
    except PermanentError:
        return
    assert report.rows_read == report.rows_accepted + report.rows_rejected
    if len(report.columns) > 1:
        csv.field_size_limit(1 << 30)
        rows = list(csv.reader(io.StringIO(out.getvalue().decode(), newline=""), strict=True))
        assert len(rows) == report.rows_accepted + bool(report.format["header"]), "rows written are not those told"
        assert {len(row) for row in rows} <= {len(report.columns)}, "rows of several widths were written"


def _check_with_contract(data: bytes, piece: int, chunk_bytes: int) -> None:
    sink = KeptRows()
    try:
        report = validate(
            _pieces(data, piece), contract=_CONTRACT, name="fuzz", sink=sink, chunk_bytes=max(chunk_bytes, 1000)
        )
    except PermanentError:
        return
    assert report.rows_read == report.rows_accepted + report.rows_rejected + report.rows_filtered
    assert report.rows_accepted == sum(part.height for part in sink.parts)
    # Several elements of a JSON array may stand on one line.
    assert len({line for line, _, _ in sink.broken}) <= report.rows_rejected <= len(sink.broken)
