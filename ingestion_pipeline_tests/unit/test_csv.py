"""Delimited text: whatever a CSV writer writes is read back, and damage costs one record."""

import csv
import gzip
import threading
import time

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats import delimited, line_shapes, open_rows
from ingestion_pipeline.formats import text as text_module
from ingestion_pipeline.formats.ahead import ahead
from ingestion_pipeline.formats.records import Dialect, split_block
from ingestion_pipeline_tests.unit.contracts import contract_of, in_pieces

CELL = st.text(alphabet=st.sampled_from('ab1é,;" \n\r'), max_size=6)
ABC = contract_of({name: {"type": "string", "nullable": True} for name in "bc"}, format={"delimiter": ","})


def read(data: bytes, *, piece: int = 7, chunk_bytes: int = 32, contract=ABC):
    """Rows (with their lines), malformed records and original texts."""
    reader = open_rows(in_pieces(data, piece), contract=contract, chunk_bytes=chunk_bytes)
    rows, malformed, originals = [], [], []
    for chunk in reader.chunks():
        cells = chunk.cells.select(c.name for c in contract.columns if c.name in chunk.cells.columns)
        rows += [(line, *row) for line, row in zip(chunk.lines.to_list(), cells.rows(), strict=True)]
        malformed += [(record.line, record.text) for record in chunk.malformed]
        originals += chunk.original(pl.int_range(cells.height, dtype=pl.UInt32, eager=True)).to_list()
    return rows, malformed, originals, reader.facts


def written(rows, *, line_end="\n", quote_all=False, final=True) -> tuple[bytes, list[int], list[str]]:
    """The file as RFC 4180 has it, the first physical line of each row, and each row's text.

    `final`: the last record has a line's end too.
    """
    file, lines, texts = "at,b,c" + line_end, [], []
    for row in rows:
        texts.append(",".join(quoted(cell) if quote_all or set(cell) & set('",\r\n') else cell for cell in row))
        lines.append(file.count("\n") + 1)
        file += texts[-1] + line_end
    return (file if final else file.removesuffix(line_end)).encode(), lines, texts


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=12),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quote_all=st.booleans(),
    final=st.booleans(),
    piece=st.integers(1, 40),
    chunk_bytes=st.integers(1, 200),
)
@example(rows=[("", "", "")], line_end="\n", quote_all=False, final=True, piece=1, chunk_bytes=1)
@example(rows=[("", "", "a\nb")], line_end="\n", quote_all=False, final=False, piece=40, chunk_bytes=200)
@example(rows=[("", "", "a\r\nb")], line_end="\r\n", quote_all=True, final=False, piece=40, chunk_bytes=200)
def test_what_a_csv_writer_writes_is_read_back_with_lines_and_texts(
    rows, line_end, quote_all, final, piece, chunk_bytes
):
    data, lines, texts = written(rows, line_end=line_end, quote_all=quote_all, final=final)
    found, malformed, originals, _ = read(data, piece=piece, chunk_bytes=chunk_bytes)
    empty = "" if quote_all else None  # an empty cell without quotes is null
    assert found == [(line, *(cell or empty for cell in row)) for line, row in zip(lines, rows, strict=True)]
    assert malformed == []
    assert originals == texts


@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=8),
    bad=st.sampled_from(["x,y", "1,2,3,4", '1,"2"3,4', '1,"open,4', ",", '"a" ,b,c']),
    at=st.integers(0, 8),
    chunk_bytes=st.integers(1, 200),
)
def test_a_bad_record_is_told_alone_and_its_neighbours_are_read(rows, bad, at, chunk_bytes):
    # Every good cell is quoted and not empty, so an open quote meets a closing one only where it breaks the form.
    rows = [tuple(f"v{cell}v".replace('"', "'") for cell in row) for row in rows]
    at = min(at, len(rows))
    before, _, _ = written(rows[:at], quote_all=True)
    after, after_lines, _ = written(rows[at:], quote_all=True)
    data = before + bad.encode() + b"\n" + after.removeprefix(b"at,b,c\n")
    found, malformed, _, _ = read(data, chunk_bytes=chunk_bytes)
    bad_line = before.count(b"\n") + 1
    assert malformed == [(bad_line, bad)]
    assert [row[1:] for row in found] == rows
    assert [row[0] for row in found][at:] == [line - 1 + bad_line for line in after_lines]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        pytest.param('1,5" pipe,x\n', [("1", '5" pipe', "x")], id="a quote inside a plain cell is literal"),
        pytest.param('1,5" pipe,""\n', [("1", '5" pipe', "")], id="and leaves an empty text an empty text"),
        pytest.param("1,,\n", [("1", None, None)], id="an empty cell is null"),
        pytest.param('1,"",x\n', [("1", "", "x")], id="a quoted empty cell is an empty text"),
        pytest.param('1,"a\nb",x\n2,y,z\n', [("1", "a\nb", "x"), ("2", "y", "z")], id="a line break in a cell"),
        pytest.param("1,\xa0 é 漢\U0001f600,x\n", [("1", "\xa0 é 漢\U0001f600", "x")], id="non-ASCII"),
        pytest.param("1,2,3", [("1", "2", "3")], id="no line end at the end"),
        pytest.param("1,2,3\r", [("1", "2", "3")], id="half a line end at the end"),
        pytest.param("\n1,2,3\n\n\r\n4,5,6\n\n", [("1", "2", "3"), ("4", "5", "6")], id="blank lines are no rows"),
    ],
)
def test_cells_are_read_as_people_mean_them(text, cells):
    rows, malformed, _, _ = read(("at,b,c\n" + text).encode())
    assert [row[1:] for row in rows] == cells
    assert malformed == []


@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=12),
    final=st.booleans(),
    chunk_bytes=st.integers(1, 200),
)
def test_a_file_with_lone_cr_line_ends_is_read_like_one_with_line_feeds(rows, final, chunk_bytes):
    rows = [tuple(cell.replace("\n", "\r") for cell in row) for row in rows]
    data, _, texts = written(rows, line_end="\r", final=final)
    found, malformed, originals, _ = read(data, chunk_bytes=chunk_bytes)
    as_lines = [text.replace("\r", "\n") for text in texts]
    assert [row[1:] for row in found] == [tuple(cell.replace("\r", "\n") or None for cell in row) for row in rows]
    assert [row[0] for row in found] == [2 + sum(t.count("\n") + 1 for t in as_lines[:n]) for n in range(len(rows))]
    assert malformed == []
    assert originals == as_lines


def test_skipped_blank_lines_are_told_and_lines_stay_physical():
    rows, _, _, facts = read(b"\n\nat,b,c\n\n1,2,3\n\n4,5,6\n")
    assert [row[0] for row in rows] == [5, 7]
    assert facts.warnings == ["2 blank lines were skipped."]


def test_an_open_quote_that_is_never_closed_costs_one_line():
    lines = ['1,"open,3', *(f"{n},b,c" for n in range(2, 60))]
    rows, malformed, _, _ = read(("at,b,c\n" + "\n".join(lines)).encode(), chunk_bytes=50)
    assert malformed == [(2, '1,"open,3')]
    assert [row[1] for row in rows] == [str(n) for n in range(2, 60)]


@given(
    data=st.text(alphabet=st.sampled_from('aaaa,,,"\n\r'), min_size=1, max_size=200),
    width=st.integers(2, 4),
    quote=st.sampled_from([None, '"']),
)
def test_odd_lines_are_the_same_by_counting_and_by_matching(data, width, quote):
    dialect = Dialect(",", quote)
    counted = line_shapes.counted(data, dialect, width)
    assert counted is None or counted == line_shapes.matched(data, dialect, width)


def test_few_lines_with_quotes_are_told_by_counting():
    data = "a,b\n" * 20 + '"a","b"\n' + "a,b\n" * 20 + '"a,b\n'
    assert line_shapes.counted(data, Dialect(",", '"'), 2) == line_shapes.matched(data, Dialect(",", '"'), 2)
    assert line_shapes.counted(data, Dialect(",", '"'), 2).odd == [41]


@given(data=st.text(alphabet=st.sampled_from('a,"\n\r'), max_size=60), width=st.integers(1, 4))
def test_every_line_of_any_text_is_accounted_for(data, width):
    block = split_block(data, Dialect(",", '"'), width, final=True)
    assert block.consumed == len(data)
    good = block.original(pl.int_range(len(block.lines), dtype=pl.UInt32, eager=True)).to_list()
    line_counts = [text.count("\n") + 1 for text in (*good, *(record.text for record in block.malformed))]
    assert sum(line_counts) + len(block.blank_lines) == data.count("\n") + (not data.endswith("\n"))


@given(
    header=st.sampled_from([["at", "b", "c"], ["at", "b", "c", "x"], ["at", "b", "c", "x", "y"]]).flatmap(
        st.permutations
    ),
    rows=st.lists(st.lists(st.sampled_from(["", "1", "22", " 3"]), min_size=1, max_size=7), max_size=12),
    quoted_row=st.sampled_from([[], ['"q"'], ['"q"', "", "1"]]),
    chunk_bytes=st.integers(1, 200),
    final=st.booleans(),
)
@example(
    header=["at", "x", "b", "c"], rows=[["1"] * 4, ["1"] * 5], quoted_row=[], chunk_bytes=99, final=True
)  # a long row
@example(
    header=["at", "b", "c", "x"], rows=[["1"] * n for n in (4, 3, 5)], quoted_row=[], chunk_bytes=99, final=True
)  # a short and a long row
def test_rows_of_any_number_of_cells_are_read_or_told_as_a_slow_reader_says(
    header, rows, quoted_row, chunk_bytes, final
):
    lines = [",".join(cells) for cells in (header, *rows, *([quoted_row] if quoted_row else []))]
    found, malformed, _, _ = read(("\n".join(lines) + "\n" * final).encode(), chunk_bytes=chunk_bytes)
    expected_rows, expected_malformed = [], []
    for number, (text, cells) in enumerate(zip(lines[1:], csv.reader(lines[1:]), strict=True), 2):
        if len(cells) == len(header):
            by_name = dict(zip(header, cells, strict=True))
            expected_rows.append((number, *(by_name[name] or None for name in ("at", "b", "c"))))
        elif text:  # a blank line is no record
            expected_malformed.append((number, text))
    assert found == expected_rows
    assert malformed == expected_malformed


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_by_the_contracts_columns(delimiter):
    contract = contract_of({"b": {"type": "string"}, "c": {"type": "string"}})
    rows, _, _, facts = read(
        delimiter.join(("at", "b", "c\n1", "x,y;z", "3\n")).replace("x,y;z", "q").encode(), contract=contract
    )
    assert facts.delimiter == delimiter
    assert rows == [(2, "1", "q", "3")]


def test_columns_come_in_any_order_and_unknown_ones_are_left_out_with_a_warning():
    rows, _, _, facts = read(b"extra,c,at,b\nx,3,1,2\n")
    assert rows == [(2, "1", "2", "3")]
    assert facts.warnings == ["Columns that the contract does not name were left out: extra."]


@pytest.mark.parametrize("delimiter", [None, ","], ids=["found", "given"])
@pytest.mark.parametrize("quote", ["", '"'], ids=["plain", "quoted"])
def test_a_header_of_more_columns_than_any_table_has_is_refused_at_once(delimiter, quote):
    contract = contract_of(format={"delimiter": delimiter} if delimiter else {})
    data = ",".join([f"{quote}at{quote}"] * 2_000_000).encode() + b"\n1,2,3\n"
    started = time.process_time()
    with pytest.raises(UnreadableFile, match="more than 10,000 columns") as error:
        read(data, piece=1 << 20, chunk_bytes=8 << 20, contract=contract)
    assert time.process_time() - started < 5
    assert "one long line" in error.value.hint


def test_a_header_that_repeats_one_name_thousands_of_times_is_refused_in_no_time():
    started = time.process_time()
    with pytest.raises(UnreadableFile, match="more than once"):
        read(b",".join([b"at"] * 10_000) + b"\n", piece=1 << 20, chunk_bytes=8 << 20)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("cell", ["1", '"1"', '"1""\n"'], ids=["plain", "quoted", "with line breaks"])
def test_as_many_columns_as_are_allowed_are_read(cell):
    header = ",".join(["at", "b", "c", *(f"x{n}" for n in range(9_997))])
    lines = [header, ",".join([cell] * 10_000), "1,2,3", ",".join(["1"] * 10_000)]
    rows, malformed, _, _ = read("\n".join(lines).encode(), piece=1 << 20, chunk_bytes=8 << 20)
    value = next(csv.reader([cell]))[0]
    assert [row[1:] for row in rows] == [(value,) * 3, ("1",) * 3]
    assert [text for _, text in malformed] == ["1,2,3"]


def test_a_record_of_a_million_cells_is_told_without_cutting_it():
    long = '"1"' + ",1" * 1_000_000
    rows, malformed, _, _ = read(f"at,b,c\n1,2,3\n{long}\n4,5,6\n".encode(), piece=1 << 20, chunk_bytes=8 << 20)
    assert [row[1] for row in rows] == ["1", "4"]
    assert malformed == [(3, long)]


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("at,b,c\n1,é,漢\n".encode("utf-8-sig"), None),
        ("at,b,c\n1,é,漢\n".encode("utf-16"), None),
        ("at,b,c\n1,é,ß\n".encode("cp1252"), "cp1252"),
        ("at,b,c\n1,é,ß\n".encode("cp1252"), None),
        ("at,b,c\n1,é,ß\n".encode("utf-16-le"), None),
        ("at,b,c\n1,é,ß\n".encode("utf-16-be"), None),
    ],
    ids=["byte order mark", "utf-16", "by contract", "told by its letters", "utf-16-le unmarked", "utf-16-be unmarked"],
)
def test_encodings_are_read(data, encoding):
    contract = contract_of(
        {name: {"type": "string"} for name in "bc"}, format={"encoding": encoding} if encoding else {}
    )
    rows, _, _, _ = read(data, contract=contract)
    assert rows[0][1:3] == ("1", "é")


def test_letters_that_first_come_late_tell_the_encoding_and_the_report_says_so():
    data = b"at,b,c\n" + b"1,x,y\n" * 50_000 + "1,Müller,Straße\n".encode("cp1252")
    rows, malformed, _, facts = read(data, piece=1000, chunk_bytes=10_000)
    assert (len(rows), rows[-1], malformed) == (50_001, (50_002, "1", "Müller", "Straße"), [])
    assert facts.encoding == "cp1252"
    assert "cp1252" in facts.warnings[-1]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"", "0 bytes", id="zero bytes"),
        pytest.param(b"\n\n", "blank", id="blank"),
        pytest.param("at,bé,c\n".encode() + b"1,\xff,3\n", "utf-8", id="not UTF-8 after UTF-8"),
        pytest.param(b"at,b,c\n" + "1,é,3\n".encode() * 50 + b"1,\xff,3\n", "line 52", id="not UTF-8 later on"),
        pytest.param(b"at,b,c\n1,\x00,3\n", "zero bytes", id="zero bytes inside"),
        pytest.param(b"PK\x03\x04rest", "ZIP", id="zip"),
        pytest.param(b"PAR1\x15\x04\x15", "Parquet", id="parquet"),
        pytest.param(b"b,c\n1,2\n", "'at'", id="required column missing"),
        pytest.param(b"at,b,b\n", "more than once", id="column twice"),
        pytest.param(b'"at,b,c\n1,2,3\n', "header", id="header with an open quote"),
        pytest.param(gzip.compress(b""), "gzip of 0 bytes", id="gzip of nothing"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(data, says):
    with pytest.raises(UnreadableFile) as error:
        read(data)
    assert says in error.value.message
    assert error.value.hint


def test_read_ahead_keeps_order_raises_in_place_and_ends_with_its_consumer():
    closed = threading.Event()

    def items():
        try:
            yield from range(5)
            raise ValueError("late")
        finally:
            closed.set()

    stream = ahead(items())
    assert [next(stream) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="late"):
        next(stream)
    assert closed.wait(5)
    closed.clear()
    stream = ahead(items())
    assert next(stream) == 0
    stream.close()
    assert closed.wait(5)


def test_a_chunk_has_no_more_rows_than_memory_has_room_for_however_short_they_are(monkeypatch):
    monkeypatch.setattr(delimited, "_CHUNK_LINES", 1000)
    monkeypatch.setattr(text_module, "_SLICE_BYTES", 1024)
    reader = open_rows([b"at,b,c\n" + b"1\n" * 5000], contract=ABC, chunk_bytes=8 << 20)
    sizes = [len(chunk.lines) + len(chunk.malformed) for chunk in reader.chunks()]
    assert sum(sizes) == 5000
    assert max(sizes) <= 1000 + 1024 // 2


@pytest.mark.parametrize("chunk_bytes", [1, 12, 1000])
@pytest.mark.parametrize("cell", ["\ufeffx", "\ufeff", "\ufeff\ufeff"])
def test_a_byte_order_mark_inside_a_file_belongs_to_its_cell(cell, chunk_bytes):
    reader = open_rows([f"a\n{cell}\n{cell}\n{cell}\n".encode()], contract=None, chunk_bytes=chunk_bytes)
    rows = [row for chunk in reader.chunks() for row in chunk.cells.rows()]
    assert [row for row in rows if row != ("a",)] == [(cell,)] * 3


@pytest.mark.parametrize("chunk_bytes", [1, 20, 1000])
def test_bytes_that_are_no_text_behind_the_table_are_told_as_such(chunk_bytes):
    text = "a,b\n1,é\n3,ü\n1,é\n3,ü\n\n".encode() + b"Source: the \xff office of \xff things\n"
    reader = open_rows([text], contract=None, chunk_bytes=chunk_bytes)
    assert sum(chunk.cells.height for chunk in reader.chunks()) == 4
    assert reader.facts.footer == ["Source: the \ufffd office of \ufffd things"]


@pytest.mark.parametrize("contract", [None, ABC], ids=["without a contract", "with one"])
def test_the_mark_for_a_letter_that_was_lost_is_a_letter_of_utf_8(contract):
    reader = open_rows(["at,b,c\n1,2,\ufffd\n".encode()], contract=contract, chunk_bytes=1000)
    assert [chunk.cells["c"].to_list() for chunk in reader.chunks()] == [["\ufffd"]]
    assert reader.facts.encoding == "utf-8"


@pytest.mark.parametrize("chunk_bytes", [1, 20, 1000])
def test_blank_lines_at_the_end_are_counted_alike_wherever_a_chunk_ends(chunk_bytes):
    reader = open_rows([b"a,b,c\n1,2,3\n4,5\r\n\r\n\r\n\r"], contract=None, chunk_bytes=chunk_bytes)
    list(reader.chunks())
    assert "3 blank lines were skipped." in reader.facts.warnings


def test_a_header_of_thousands_of_one_name_is_read_in_no_time():
    header = ",".join(["x"] * 10_000)
    reader = open_rows([f"{header}\n{header.replace('x', '1')}\n".encode()], contract=None, chunk_bytes=1 << 20)
    (chunk,) = reader.chunks()
    assert chunk.cells.columns[-1] == "x_10000"
