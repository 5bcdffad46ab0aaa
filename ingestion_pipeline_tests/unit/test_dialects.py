"""Dialects: told, every table comes back; untold, every table without a rival delimiter; no text is too odd."""

import re
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.domain.contract import FileFormat
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats import open_rows
from ingestion_pipeline.formats.base import FormatFacts
from ingestion_pipeline.formats.delimited import DelimitedReader
from ingestion_pipeline.formats.dialects import DELIMITERS
from ingestion_pipeline_tests.unit.contracts import contract_of

ANY = st.text(alphabet=st.sampled_from("ab1é,;|' \"\\\n\r\t"), max_size=6)
PLAIN = st.text(alphabet="abcdefgh123456789.", min_size=1, max_size=8)


def read_told(data: bytes, options: FileFormat, chunk_bytes: int):
    facts = FormatFacts(format="")
    reader = DelimitedReader([data], options=options, names=None, facts=facts, chunk_bytes=chunk_bytes)
    return [row for chunk in reader.chunks() for row in chunk.cells.rows()], facts


def written(rows, delimiter, quote, escape) -> bytes:
    def cell(text: str) -> str:
        if escape:
            return quote + text.replace(escape, escape * 2).replace(quote, escape + quote) + quote
        return quote + text.replace(quote, quote * 2) + quote

    return "".join(delimiter.join(map(cell, row)) + "\n" for row in rows).encode()


@given(
    rows=st.lists(st.tuples(ANY, ANY, ANY), min_size=1, max_size=8),
    delimiter=st.sampled_from([",", ";", "\t", "|", ":", " ", ", ", "~", "¦", "::"]),
    quote=st.sampled_from(["\"", "'"]),
    escape=st.sampled_from([None, "\\"]),
    chunk_bytes=st.integers(1, 200),
)  # fmt: skip
def test_told_the_dialect_any_table_comes_back_cell_for_cell(rows, delimiter, quote, escape, chunk_bytes):
    options = FileFormat(delimiter=delimiter, quote=quote, escape=escape, header=False)
    found, _ = read_told(written(rows, delimiter, quote, escape), options, chunk_bytes)
    assert found == rows


@given(
    width=st.integers(3, 8),
    data=st.data(),
    delimiter=st.sampled_from([d for d in DELIMITERS if d not in ".:"]),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_untold_any_table_without_a_rival_delimiter_comes_back(width, data, delimiter, line_end):
    rows = data.draw(st.lists(st.tuples(*[PLAIN] * width), min_size=5, max_size=12))
    text = "".join(delimiter.join(row) + line_end for row in rows)
    reader = open_rows([text.encode()], contract=None, chunk_bytes=1 << 20)
    found = [tuple(reader.facts.header)] if reader.facts.header_rows == 1 else []
    found += [row for chunk in reader.chunks() for row in chunk.cells.rows()]
    if reader.facts.header_rows > 1:
        found = rows[: reader.facts.header_rows] + found
    assert reader.facts.delimiter == delimiter
    # A header that comes again is left out, and told: nothing else is, and no other row.
    is_told = any("The header comes again" in warning for warning in reader.facts.warnings)
    before = reader.facts.header_rows
    assert found == [*rows[:before], *(row for row in rows[before:] if not (is_told and row == rows[0]))]


def test_two_delimiters_that_fit_as_well_are_told():
    text = "".join(f"{n},{n};{n},{n}\n" for n in range(10, 20))
    facts = open_rows([text.encode()], contract=None, chunk_bytes=1 << 20).facts
    assert {facts.delimiter, facts.rival} == {",", ";"} or facts.confidence < 0.6


@given(
    data=st.binary(max_size=300) | st.text(alphabet=st.sampled_from("a1,;'\"\n\r\t |:\\"), max_size=200).map(str.encode)
)
def test_no_bytes_are_too_odd(data):
    rows = 0
    with suppress(UnreadableFile):
        reader = open_rows([data], contract=None, chunk_bytes=64)
        rows = sum(chunk.cells.height for chunk in reader.chunks())
    assert rows <= len(re.split(rb"\r|\n", data))


BEHIND = {
    "a further table": ("\n\nx,y\n1,2\n3,4\n", [], [{"line": 10, "columns": 2, "lines": 3}]),
    "a further table as wide": ("\nd,e,f\n7,8,9\n", [], [{"line": 9, "columns": 3, "lines": 2}]),
    "a titled further table": ("\nOther figures\nd,e,f\n7,8,9\n", ["Other figures"], []),
    "prose": ("Source: the office\nAll without warranty", ["Source: the office", "All without warranty"], []),
    "prose after a blank line": ("\nSource: the office\n", ["Source: the office"], []),
    "prose, then a row": ("Source: the office\n7,8,9\n", [], []),
    "a blank line, then rows": ("\n7,8,9\n\n7,8,9\n", [], []),
    "a short row": ("7,8\n", [], []),
    "the same header again": ("\na,b,c\n7,8,9\n", [], []),
    "a short row after a blank line": ("\n7,8\n", [], []),
}


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("chunk_bytes", [*range(1, 45), 1000])
def test_the_table_ends_where_it_ends_wherever_a_chunk_does(behind, chunk_bytes):
    text, footer, tables = BEHIND[behind]
    reader = open_rows(
        [b"a,b,c\n1,2,3\n4,5,6\n1,2,3\n4,5,6\n1,2,3\n4,5,6\n" + text.encode()], contract=None, chunk_bytes=chunk_bytes
    )
    rows = [row for chunk in reader.chunks() for row in chunk.cells.rows()]
    assert reader.facts.footer == footer
    if tables or not footer:
        assert reader.facts.further_tables == tables
    rows = [row for row in rows if row != ("a", "b", "c")]
    assert rows == [
        *[("1", "2", "3"), ("4", "5", "6")] * 3,
        *[("7", "8", "9")] * (0 if tables or footer else text.count("7,8,9")),
    ]


@pytest.mark.parametrize("chunk_bytes", [5, 20, 1000])
def test_with_a_contract_what_is_behind_a_blank_line_is_rows_good_or_rejected(chunk_bytes):
    contract = contract_of({"b": {"type": "integer"}, "c": {"type": "integer"}})
    text = "at,b,c\n1,2,3\n\nat,b,c\n4,5,6\n\nx,y\n7,8\n9,0\n\n1,2,3\n\nSource: the office\n"
    reader = open_rows([text.encode()], contract=contract, chunk_bytes=chunk_bytes)
    lines, bad = [], []
    for chunk in reader.chunks():
        lines += chunk.lines.to_list()
        bad += [record.line for record in chunk.malformed]
    assert (lines, bad) == ([2, 4, 5, 11], [7, 8, 9])
    assert (reader.facts.footer, reader.facts.further_tables) == (["Source: the office"], [])


def test_by_a_contract_a_last_row_that_was_cut_off_after_a_word_is_a_bad_row():
    contract = contract_of({"b": {"type": "integer"}, "c": {"type": "integer"}})
    reader = open_rows([b"b,c,at\n1,2,3\n4,5,6\nseve"], contract=contract, chunk_bytes=1000)
    assert [record.text for chunk in reader.chunks() for record in chunk.malformed] == ["seve"]
    assert reader.facts.footer == []


@pytest.mark.parametrize("chunk_bytes", range(1, 60))
def test_line_numbers_are_those_of_the_file_wherever_a_chunk_ends(chunk_bytes):
    text = 'About\n\na;b\n1;"x\ny"\n\n2;z\n3\n4;"\n\n"\n5;v\n'
    reader = open_rows([text.encode()], contract=None, chunk_bytes=chunk_bytes)
    rows, bad = [], []
    for chunk in reader.chunks():
        rows += zip(chunk.lines.to_list(), chunk.cells.get_column("a").to_list(), strict=True)
        bad += [(record.line, record.text) for record in chunk.malformed]
    assert (rows, bad) == ([(4, "1"), (7, "2"), (9, "4"), (12, "5")], [(8, "3")])


@pytest.mark.parametrize(
    "unit",
    [
        b"x",
        b"1",
        b"_",
        b'"',
        b"'",
        b",",
        b"a:",
        b"1:",
        b" ",
        b"\\",
        b"\\,",
        b'",',
        b"a\r",
        b"\n",
        b"a\n",
        b"a,b\n\n",
        b".",
        b"9 ",
        b"-1",
        b"a@",
        b"://",
        b'"\n',
        b"1,1\n,",
        b"\xff",
        b"\xc3\xa4;",
    ],
)
def test_no_repetition_takes_more_than_seconds(unit):
    data = unit * (1_000_000 // len(unit))
    started = time.process_time()
    with suppress(UnreadableFile):
        reader = open_rows([data], contract=None, chunk_bytes=1 << 20)
        for _ in reader.chunks():
            pass
    assert time.process_time() - started < 30


@pytest.mark.parametrize(
    "cells",
    [
        ["https://a.example/x1", "https://b.example/x2", "https://c.example/x3"],
        ["10:00", "11:30", "12:45"],
        ["2024-01-01T10:00:00Z", "2024-01-02T11:30:00Z", "2024-01-03T12:45:00Z"],
    ],
    ids=["addresses", "times", "moments"],
)
def test_colons_of_times_and_addresses_delimit_nothing(cells):
    reader = open_rows(["\n".join(["value", *cells]).encode()], contract=None, chunk_bytes=1 << 20)
    assert [row for chunk in reader.chunks() for row in chunk.cells.rows()] == [(cell,) for cell in cells]
