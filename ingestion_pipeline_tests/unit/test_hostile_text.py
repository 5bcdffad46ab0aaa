"""Text that means harm, untold: no line, quote, header or preamble takes the rest with it, or memory, or time.

What belongs here: large or adversarial delimited text without a contract. What does not: bombs (`test_compression`),
JSON and Parquet (`test_json`, `test_parquet`).
"""

from collections.abc import Iterator

import pytest

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats import open_rows
from ingestion_pipeline_tests.extent import LONG
from ingestion_pipeline_tests.unit.contracts import contract_of

HEADER = b"id,name,v,w\n"
ROW = b"1,a,2.5,x\n"
CONTRACT = contract_of({"at": {"type": "datetime", "source": "id"}, "name": {"type": "string"}})
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


@pytest.mark.parametrize("chunk_bytes", [1 << 16, 1 << 22], ids=["small chunks", "large chunks"])
@pytest.mark.parametrize("ends", [True, False], ids=["in the middle", "without an end"])
@pytest.mark.parametrize("contract", [None, CONTRACT], ids=["untold", "by contract"])
def test_a_line_of_many_megabytes_costs_itself_alone_and_is_not_held(contract, ends, chunk_bytes):
    before, after = 1000, 2000 if ends else 0

    def stream() -> Iterator[bytes]:
        yield HEADER + ROW * before
        for _ in range(20):
            yield b"x" * _MEGABYTE
        if ends:
            yield b"\n" + ROW * after

    chunks = list(open_rows(stream(), contract=contract, chunk_bytes=chunk_bytes).chunks())
    (bad,) = [record for chunk in chunks for record in chunk.malformed]
    assert bad.line == before + 2
    assert bad.reason.startswith(f"the line has {20 * _MEGABYTE:,} bytes")
    assert len(bad.text) <= 64 * 1024
    lines = [line for chunk in chunks for line in chunk.lines]
    assert lines == [*range(2, before + 2), *range(before + 3, before + 3 + after)]


def test_a_quote_left_open_before_such_a_line_is_not_closed_behind_it():
    stream = [HEADER, ROW, b'2,"open,3,y\n', ROW, b'x"' * 3 * _MEGABYTE, b"\n", ROW]
    chunks = list(open_rows(stream, contract=CONTRACT, chunk_bytes=1 << 16).chunks())
    assert [record.line for chunk in chunks for record in chunk.malformed] == [3, 5]
    assert [line for chunk in chunks for line in chunk.lines] == [2, 4, 6]
