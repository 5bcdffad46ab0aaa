"""Text that means harm, untold: no line, quote, header or preamble takes the rest with it, or memory, or time.

What belongs here: large or adversarial delimited text without a contract. What does not: bombs (`test_compression`),
JSON and Parquet (`test_json`, `test_parquet`).
"""

from collections.abc import Iterator

import pytest

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats import open_rows

HEADER = b"id,name,v,w\n"
ROW = b"1,a,2.5,x\n"
_MEGABYTE = 1 << 20


def repeated(head: bytes, unit: bytes, megabytes: int) -> Iterator[bytes]:
    yield head
    piece = unit * (_MEGABYTE // len(unit))
    for _ in range(megabytes):
        yield piece


def counted(stream: Iterator[bytes]) -> tuple[int, int]:
    rows = bad = 0
    for chunk in open_rows(stream, contract=None, chunk_bytes=8 * _MEGABYTE).chunks():
        rows += chunk.cells.height
        bad += len(chunk.malformed)
    return rows, bad


@pytest.mark.parametrize("before", [0, 50], ids=["on the first row", "later"])
def test_a_quote_that_never_closes_costs_its_line_alone_in_a_large_file(before):
    head = HEADER + ROW * before + b'2,"open,3,y\n'
    assert counted(repeated(head, ROW, 64)) == (before + 64 * (_MEGABYTE // len(ROW)), 1)


def test_a_quote_that_never_closes_in_every_hundredth_row_costs_those_rows_alone():
    rows, bad = counted(repeated(HEADER, ROW * 99 + b'2,"open,3,y\n', 10))
    assert rows == 99 * bad > 0


@pytest.mark.parametrize("start", [b"1,", b'1,"'], ids=["cell", "cell in quotes"])
def test_a_line_of_a_gigabyte_is_refused_when_it_is_longer_than_lines_are(start):
    taken = 0

    def stream() -> Iterator[bytes]:
        nonlocal taken
        for piece in repeated(HEADER + ROW * 10 + start, b"x", 1024):
            taken += len(piece)
            yield piece

    with pytest.raises(UnreadableFile, match="longer than 64 MiB"):
        counted(stream())
    assert taken < 100 * _MEGABYTE


def test_a_hundred_thousand_columns_are_refused_or_one_column():
    line = b",".join(b"c%d" % n for n in range(100_000)) + b"\n"
    with pytest.raises(UnreadableFile):
        counted(iter([line * 3]))


@pytest.mark.parametrize(
    "unit",
    [
        b'"a"b"c"\n',
        b'",""\n',
        b"," * 1000 + b"\n",
        b'"' * 1001 + b"\n",
        b"a;b,c|d\te\n",
        b"a b  c   d\n",
        b"\n",
        b"a\x01\n",
    ],
    ids=repr,
)
def test_marks_without_sense_are_all_accounted_for(unit):
    try:
        rows, bad = counted(repeated(b"", unit, 1))
    except UnreadableFile:
        return
    assert rows + bad <= _MEGABYTE // len(unit) * max(1, unit.count(b"\n"))
