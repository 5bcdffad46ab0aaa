"""Frames around lines, and headers that come again: what is taken off, what is told of it, and what stays."""

import pytest

from ingestion_pipeline.domain.contract import FileFormat
from ingestion_pipeline.formats import open_rows
from ingestion_pipeline.formats.base import FormatFacts
from ingestion_pipeline.formats.delimited import DelimitedReader
from ingestion_pipeline_tests.unit.contracts import contract_of

MYSQL = (
    b"+----+------+\n| id | name |\n+----+------+\n|  1 | Ann  |\n|  2 | Bob  |\n|  3 | Cy   |\n+----+------+\n"
    b"3 rows in set (0.00 sec)\n"
)
SQLCMD = b"id  name     city\n--- -------- ----\n  1 Ann Lee  Rome\n  2          Bonn\n  3 \xc3\x84nne     Oslo\n"
IN_QUOTES = b'"id,name"\r\n"1,""Lee, Ann"""\r\n"2,Bob"\r\n"3,Cy"\r\n'
PAGES = b"id,name\n1,Ann\n2,Bob\n\x0cid,name\n3,Cy\nid,name\n"


def told(data: bytes, *, piece: int = 1 << 20) -> tuple[list[str], list[tuple[int, tuple[str | None, ...]]], list[str]]:
    """Header, rows with their lines, warnings."""
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    reader = open_rows(pieces, contract=None, chunk_bytes=piece)
    rows = [pair for chunk in reader.chunks() for pair in zip(chunk.lines.to_list(), chunk.cells.rows(), strict=True)]
    return reader.facts.header, rows, reader.facts.warnings


@pytest.mark.parametrize("data", [MYSQL, SQLCMD, IN_QUOTES, PAGES], ids=["mysql", "sqlcmd", "in quotes", "pages"])
def test_pieces_of_any_size_are_understood_alike(data):
    whole = told(data)
    assert [told(data, piece=size) for size in (1, 2, 3, 7, 20)] == [whole] * 5


def test_rows_between_bars_keep_the_lines_of_the_file_and_it_is_told():
    header, rows, warnings = told(MYSQL)
    assert (header, rows) == (["id", "name"], [(4, ("1", "Ann")), (5, ("2", "Bob")), (6, ("3", "Cy"))])
    assert warnings[0] == "The table is drawn with bars and lines; the outer bars and the lines were left out."


def test_columns_under_a_ruled_line_are_cut_where_it_says_by_letters_and_not_by_bytes():
    header, rows, warnings = told(SQLCMD)
    assert header == ["id", "name", "city"]
    assert rows == [(3, ("1", "Ann Lee", "Rome")), (4, ("2", None, "Bonn")), (5, ("3", "Änne", "Oslo"))]
    assert warnings[0].startswith("Columns stand at fixed places under a ruled line")


def test_rows_in_quotes_are_read_as_what_stands_in_them():
    header, rows, warnings = told(IN_QUOTES)
    assert (header, rows) == (["id", "name"], [(2, ("1", "Lee, Ann")), (3, ("2", "Bob")), (4, ("3", "Cy"))])
    assert warnings[0] == "Each line stands in quotes as a whole; they were taken off."


def test_a_header_that_comes_again_is_no_row_and_is_counted():
    header, rows, warnings = told(PAGES)
    assert (header, rows) == (["id", "name"], [(2, ("1", "Ann")), (3, ("2", "Bob")), (5, ("3", "Cy"))])
    assert warnings == ["The header comes again on 2 lines, which were left out."]


@pytest.mark.parametrize(
    "data",
    [
        b'"place"\n"Lisbon, PT, Europe"\n"Rome, IT, Europe"\n"Bonn, DE, Europe"\n',
        b'"Smith, John"\n"Doe, Jane"\n"Roe, Richard"\n',
    ],
    ids=["with a name", "without"],
)
def test_words_with_commas_in_quotes_are_one_column(data):
    header, rows, _ = told(data)
    assert [",".join(header), *(row for _, (row,) in rows)][-3:] == [
        line.strip('"') for line in data.decode().splitlines()[-3:]
    ]


def test_a_table_of_words_that_is_like_its_header_somewhere_keeps_that_row():
    _, rows, _ = told(b"first,last\nAnn,Lee\nfirst,last\nBob,Ray\n")
    assert [row for _, row in rows] == [("Ann", "Lee"), ("first", "last"), ("Bob", "Ray")]


def test_who_tells_the_delimiter_gets_every_record_as_it_stands():
    facts = FormatFacts(format="")
    options = FileFormat(header=None, delimiter=",")
    reader = DelimitedReader([PAGES], options=options, names=None, facts=facts, chunk_bytes=100)
    assert sum(chunk.cells.height for chunk in reader.chunks()) == 5


def test_a_contract_reads_what_a_console_printed():
    rule = b"+------------+------+\n"
    printed = rule + b"| at         | name |\n" + rule + b"| 2024-01-02 | Ann  |\n| 2024-01-03 | Bob  |\n" + rule
    reader = open_rows([printed], contract=contract_of({"name": {"type": "string"}}), chunk_bytes=50)
    rows = [row for chunk in reader.chunks() for row in chunk.cells.select("at", "name").rows()]
    assert rows == [("2024-01-02", "Ann"), ("2024-01-03", "Bob")]


BLANKS = b" " * 200_000


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"a|b\n|" + BLANKS + b"x\n1|2\n1|2\n", 3),
        (b"| a | b |\n|---|---|\n|" + BLANKS + b"x\n| 3 | 4 |\n", 1),
        (b"a   b\n--- ---\n1   2\n3   4\n" + BLANKS + b"x\n", 3),
        ("ä,b\n1,2\n".encode("cp1252") + b"x" * 60_000 + b"\n", 1),
        (b"a,b,c\n1,2,3\n" + b"x" * 3_000_000 + b"\n", 1),
    ],
    ids=["blanks behind a bar", "blanks in a frame", "blanks under a ruled line", "letters in cp1252", "letters"],
)
def test_a_long_run_is_looked_at_once(data, rows):
    """Not for every place in it: that would take minutes or hours."""
    assert sum(chunk.cells.height for chunk in open_rows([data], contract=None, chunk_bytes=1 << 20).chunks()) == rows
