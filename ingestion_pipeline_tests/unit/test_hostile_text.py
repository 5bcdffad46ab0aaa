"""Text that means harm, untold: no line, quote, header or preamble takes the rest with it, or memory, or time.

What belongs here: large or adversarial delimited text without a contract. What does not: bombs (`test_compression`),
JSON and Parquet (`test_json`, `test_parquet`).
"""

from collections.abc import Iterator

import pytest

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats import open_rows
from ingestion_pipeline_tests.extent import LONG

HEADER = b"id,name,v,w\n"
ROW = b"1,a,2.5,x\n"
_MEGABYTE = 1 << 20


def repeated(head: bytes, unit: bytes, megabytes: int) -> Iterator[bytes]:
    yield head
    piece = unit * (_MEGABYTE // len(unit))
    for _ in range(megabytes):
        yield piece


def counted(stream: Iterator[bytes], chunk_megabytes: int = 8) -> tuple[int, int]:
    rows = bad = 0
    for chunk in open_rows(stream, contract=None, chunk_bytes=chunk_megabytes * _MEGABYTE).chunks():
        rows += chunk.cells.height
        bad += len(chunk.malformed)
    return rows, bad


@pytest.mark.parametrize("before", [0, 50], ids=["on the first row", "later"])
def test_a_quote_that_never_closes_costs_its_line_alone_in_a_large_file(before):
    # Longer than what is looked at for the dialect (8 MB), and more chunks than are read ahead.
    megabytes = 64 if LONG else 12
    head = HEADER + ROW * before + b'2,"open,3,y\n'
    found = counted(repeated(head, ROW, megabytes), chunk_megabytes=8 if LONG else 1)
    assert found == (before + megabytes * (_MEGABYTE // len(ROW)), 1)


def test_a_quote_that_never_closes_in_every_hundredth_row_costs_those_rows_alone():
    rows, bad = counted(repeated(HEADER, ROW * 99 + b'2,"open,3,y\n', 10))
    assert rows == 99 * bad > 0


def test_rows_of_a_hundred_thousand_columns_are_told_as_too_wide():
    line = b",".join(b"c%d" % n for n in range(100_000)) + b"\n"
    assert counted(iter([line * 3])) == (0, 3)


@pytest.mark.parametrize("unit", [b'",""\n', b"," * 1000 + b"\n", b'"' * 1001 + b"\n", b"a;b,c|d\te\n"], ids=repr)
def test_marks_without_sense_are_all_accounted_for(unit):
    try:
        rows, bad = counted(repeated(b"", unit, 1))
    except UnreadableFile:
        return
    assert rows + bad <= _MEGABYTE // len(unit) * max(1, unit.count(b"\n"))
