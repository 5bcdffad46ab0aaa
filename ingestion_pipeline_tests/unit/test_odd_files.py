"""Odd files that nobody described: header and rows are those that a careful person would see."""

import pytest

from ingestion_pipeline.formats import open_rows
from ingestion_pipeline.formats.base import FormatFacts
from ingestion_pipeline_tests.unit.odd_exports import EXPORTS
from ingestion_pipeline_tests.unit.odd_files import DELIMITERS, ENCODINGS, FILES, ROWS


def understood(data: bytes) -> tuple[FormatFacts, list[list[str]], list[tuple[int, str]]]:
    reader = open_rows([data], contract=None, chunk_bytes=1 << 20)
    rows, bad = [], []
    for chunk in reader.chunks():
        rows += [[cell or "" for cell in row] for row in chunk.cells.rows()]
        bad += [(record.line, record.reason) for record in chunk.malformed]
    return reader.facts, rows, bad


@pytest.mark.parametrize("name", [*FILES, *EXPORTS])
def test_header_and_rows_are_those_that_a_person_sees(name):
    data, header, expected = (FILES | EXPORTS)[name]
    facts, rows, _ = understood(data if isinstance(data, bytes) else data.encode())
    assert "|".join(facts.header) == header
    assert ["|".join(row) for row in rows] == expected


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_a_table_is_read_whatever_delimits_it(delimiter):
    facts, rows, _ = understood("".join(delimiter.join(row) + "\n" for row in ROWS).encode())
    assert [facts.header, *rows] == ROWS
    assert facts.delimiter == delimiter


@pytest.mark.parametrize(("encoding", "text"), ENCODINGS)
def test_letters_are_read_as_they_were_meant(encoding, text):
    data = f"id|text\n1|{text}\n2|x\n".encode(encoding)
    _, rows, _ = understood(data)
    assert rows[0] == ["1", text]


def test_one_byte_that_is_no_text_costs_its_record_alone():
    data = 'id,name\n1,Zoë\n2,B\udcffb\n3,"Noël\nis\udcfe"\n4,Söhne\n'.encode(errors="surrogateescape")
    facts, rows, bad = understood(data)
    assert (facts.encoding, rows) == ("utf-8", [["1", "Zoë"], ["4", "Söhne"]])
    assert bad == [
        (3, "a byte cannot be read in the file's encoding"),
        (4, "a byte cannot be read in the file's encoding"),
    ]


def test_zero_bytes_in_a_text_are_left_out_and_told():
    facts, rows, _ = understood(b"id,name\0\n1,a\0nn\n2,bob\n" + b"\0" * 100)
    assert (facts.header, rows) == (["id", "name"], [["1", "ann"], ["2", "bob"]])
    assert facts.warnings[-1] == "102 zero bytes were left out."


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_told_by_its_line_ends_too(encoding):
    facts, rows, _ = understood("Имя\tСумма\r\nИван\t10\r\nОльга\t20\r\n".encode(encoding))
    assert (facts.header, rows) == (["Имя", "Сумма"], [["Иван", "10"], ["Ольга", "20"]])


def test_the_encoding_is_the_same_in_whatever_pieces_the_file_comes():
    data = "id,name\n1,Dvořák\n2,Plzeň\n3,Žižek\n".encode("cp1250")
    for size in range(1, len(data)):
        reader = open_rows(
            [data[at : at + size] for at in range(0, len(data), size)], contract=None, chunk_bytes=1 << 20
        )
        assert next(row for chunk in reader.chunks() for row in chunk.cells.rows()) == ("1", "Dvořák")


@pytest.mark.parametrize("chunk_bytes", [1, 500, 100_000])
@pytest.mark.parametrize("count", [1, 100, 101, 150])
def test_a_footer_has_an_end_wherever_a_chunk_has_one(count, chunk_bytes):
    text = "a,b,c\n" + "1,2,3\n" * 60 + "The office says so.\n" * count
    reader = open_rows([text.encode()], contract=None, chunk_bytes=chunk_bytes)
    bad = sum(len(chunk.malformed) for chunk in reader.chunks())
    footer = reader.facts.warnings[-1] if reader.facts.warnings else ""
    assert (bad, footer.split(" ")[0]) == ((0, str(count)) if count <= 100 else (count, ""))


def test_of_one_column_quotes_are_letters_where_they_cannot_be_read():
    facts, rows, bad = understood(b'text\n"one" of them\n"two", and more\nthree\n')
    assert (facts.header, bad) == (["text"], [])
    assert rows == [['"one" of them'], ['"two", and more'], ["three"]]


def test_words_of_one_column_stay_whole():
    text = "text\nIt was a dark night.\nShe said nothing at all.\nThen, suddenly, it rained.\n"
    facts, rows, bad = understood(text.encode())
    assert ([facts.header, *rows], bad) == ([[line] for line in text.splitlines()], [])
