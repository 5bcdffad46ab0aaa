"""Rejected rows as a workbook: what a person sees, read back by another library."""

import io
import zipfile
from typing import Any

import openpyxl
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingestion_pipeline.errors import NoAcceptedRows
from ingestion_pipeline.stages.quarantine import workbook
from ingestion_pipeline.stages.quarantine.cutting import Columns, rows_of
from ingestion_pipeline.stages.quarantine.workbook import COUNTS_SHEET, ROWS_SHEET, write_workbook
from ingestion_pipeline.stages.validate import ValidationReport, validate
from ingestion_pipeline_tests.extent import examples
from ingestion_pipeline_tests.unit.contracts import KeptRows, contract_of

TIME = "2024-05-01T10:00:00Z"
CONTRACT = contract_of(
    {
        "n": {"type": "integer", "checks": {"in_range": [0, 99]}},
        "word": {"type": "string", "nullable": True, "source": "The Word", "checks": {"str_matches": "^[a-z]*$"}},
    },
    checks=[{"name": "agree", "expr": "length(word) = n", "description": "n is not the length of the word"}],
)
Cells = list[list[Any]]


def made(data: bytes, contract: Any = CONTRACT) -> tuple[openpyxl.Workbook, ValidationReport, int]:
    """The workbook of a file's rejected rows, the report of it, and how many rows were written."""
    sink = KeptRows()
    try:
        report = validate([data], contract=contract, name="things", sink=sink)
    except NoAcceptedRows as error:
        report = error.report  # type: ignore[attr-defined]
    out = io.BytesIO()
    written = write_workbook(
        out,
        rows_of(sink.rejects),
        columns=Columns(report.format, {column.name: column.source for column in contract.columns}),
        rule_counts=report.rule_counts,
        rows_rejected=report.rows_rejected,
        notes=["File things."],
    )
    return openpyxl.load_workbook(out), report, written


def cells(book: openpyxl.Workbook, name: str = ROWS_SHEET) -> Cells:
    return [[cell.value for cell in row] for row in book[name].iter_rows()]


def marked(book: openpyxl.Workbook) -> dict[str, str]:
    """The coloured cells below the titles, by place, each with its note."""
    sheet = book[ROWS_SHEET]
    return {
        cell.coordinate: cell.comment.text if cell.comment else ""
        for row in sheet.iter_rows(min_row=2)
        for cell in row
        if cell.fill.fill_type == "solid"
    }


def test_rows_stand_under_the_files_own_columns_with_the_wrong_cells_marked() -> None:
    data = f'id,The Word,n,at\r\n1,ok,2,{TIME}\r\n2,"No;\nwell",x,{TIME}\r\n3,three,4,{TIME}\r\n4,,,never\r\n'
    book, _, written = made(data.encode())
    assert written == 3
    assert cells(book) == [
        ["line", "what is wrong", "id", "The Word", "n", "at"],
        [3, "n: is not a whole number\nThe Word: must match ^[a-z]*$", "2", "No;\nwell", "x", TIME],
        [5, "The Word, n: n is not the length of the word", "3", "three", "4", TIME],
        [6, "at: is not a date and time\nn: is required and empty", "4", None, "", "never"],
    ]
    assert marked(book) == {
        "D2": "must match ^[a-z]*$",
        "E2": "is not a whole number",
        "D3": "n is not the length of the word",
        "E3": "n is not the length of the word",
        "E4": "is required and empty",
        "F4": "is not a date and time",
    }


def test_the_header_stays_in_sight_and_every_column_can_be_filtered() -> None:
    sheet = made(f"at,n,The Word\n{TIME},x,a\n".encode())[0][ROWS_SHEET]
    assert (sheet.freeze_panes, sheet.auto_filter.ref) == ("C2", "A1:E2")


def test_a_row_that_cannot_be_cut_is_one_marked_cell() -> None:
    book, _, _ = made(f'at;n;The Word\n{TIME};1;a\n{TIME};1\n{TIME};1;"a"b\n'.encode())
    assert [row[:4] for row in cells(book)[1:]] == [
        [3, "2 cells instead of 3", f"{TIME};1", None],
        [4, "text after a closing quote", f'{TIME};1;"a"b', None],
    ]
    assert list(marked(book)) == ["C2", "C3"]


def test_counts_are_of_the_whole_file_and_say_what_is_not_in_the_workbook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_ROWS", 2)
    data = "at,n,The Word\n" + f"{TIME},x,a\n" * 3 + f"{TIME}\n" + f"{TIME},1,a\n"
    book, _, written = made(data.encode())
    assert written == 2
    assert [row[0] for row in cells(book)] == ["line", 2, 3, None, None]
    extent = "The first 2 of 4 rejected rows are in this workbook; 2 are not."
    assert cells(book)[-1][1] == extent
    assert cells(book, COUNTS_SHEET) == [
        ["column", "rule", "rows"],
        ["n", "type", 3],
        ["(the whole row)", "row_shape", 1],
        [None, None, None],
        [extent, None, None],
        ["File things.", None, None],
    ]


def test_long_and_many_cells_are_cut_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "_MAX_CHARACTERS", 50_000)
    book, _, written = made(f"at,n,The Word\n{(f'{TIME},x,' + 'y' * 40_000 + chr(10)) * 9}".encode())
    assert written == 2
    text = cells(book)[1][4]
    assert (len(text), text[-27:]) == (32_767, "y … (cut: 40,000 characters)"[-27:])


@pytest.mark.parametrize("cell", ["=1+1", "@SUM(A1)", "http://x.example", "007", "1e5", "mailto:a@b.c", "{=1}", "-5"])
def test_every_cell_is_text_and_nothing_acts(cell: str) -> None:
    out = io.BytesIO()
    rows = pl.DataFrame(
        {"line": [2], "column": ["n"], "rule": ["type"], "value": [cell], "reason": [cell], "row": [cell]}
    )
    found = {"format": "delimited text", "delimiter": ",", "quote": '"', "header": [cell]}
    write_workbook(out, rows_of([rows]), columns=Columns(found, {}), rule_counts=[], rows_rejected=1, notes=[cell])
    sheet = openpyxl.load_workbook(out)[ROWS_SHEET]
    for place in ("C1", "C2"):
        assert (sheet[place].value, sheet[place].data_type, sheet[place].number_format) == (cell, "s", "@")
        assert sheet[place].hyperlink is None
    with zipfile.ZipFile(out) as archive:
        assert not any(b"<f>" in archive.read(name) for name in archive.namelist())


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1, max_size=30),
        min_size=1,
        max_size=20,
    )
)
@examples(12)
@example(["a\r\nb", "\r\n", "\n\r", "\r"])
def test_any_text_comes_back_from_the_workbook(words: list[str]) -> None:
    quoted = [word.replace('"', '""') for word in words]
    book, _, written = made(("at,n,The Word\n" + "".join(f'{TIME},x,"{word}"\n' for word in quoted)).encode())
    assert written == len(words)
    # XML has no words for some characters; the format of workbooks writes them as _x0001_.
    shown = [openpyxl.utils.escape.unescape(row[4]) for row in cells(book)[1:]]
    assert shown == words


def test_json_stands_under_its_keys_with_later_keys_in_a_column_of_their_own() -> None:
    rows = [
        f'{{"at":"{TIME}","n":1.50,"The Word":null,"o":{{"p":[1.0,"é"]}}}}',
        f'{{"at":"{TIME}","n":"x","The Word":"a\\nb"}}',
        '{"at":',
    ]
    book, report, _ = made("\n".join([*rows, ""]).encode())
    titles = [*report.format["header"], "other keys"]
    assert cells(book)[0][2:] == titles
    by_title = [dict(zip(titles, row[2:], strict=True)) for row in cells(book)[1:]]
    assert (by_title[0]["n"], by_title[0]["The Word"], by_title[0]["o"]) == ("1.50", None, '{"p":[1.0,"é"]}')
    assert by_title[1]["The Word"] == "a\nb"
    assert by_title[2]["at"] == '{"at":'
    assert {place[1] for place in marked(book)} == {"2", "3", "4"}


def test_parquet_stands_under_its_columns() -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"at": [TIME, TIME], "n": [1, 100], "The Word": ["a", None]}).write_parquet(buffer)
    book, _, _ = made(buffer.getvalue())
    assert cells(book)[0][2:] == ["at", "n", "The Word"]
    assert cells(book)[1][2:] == [TIME, "100", None]
    assert list(marked(book)) == ["D2"]
