"""The first rejected rows as a workbook (XLSX), for a person to see what is wrong.

What belongs here: what stands where, and how it is marked. What does not: cutting rows to cells (`cutting`).

Every cell of the file has the type and the format of text: none is ever a formula, a link or a number, also after
somebody edits it. Rows go to the disk one by one. What a spreadsheet cannot hold or open is cut, and said to be.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import xlsxwriter

from ingestion_pipeline.stages.quarantine.cutting import Columns, RejectedRow

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

MAX_ROWS = 50_000
ROWS_SHEET, COUNTS_SHEET = "Rejected rows", "Counts"
LINE, WRONG = "line", "what is wrong"
_FIRST = 2
"""The sheet's column of the file's first one."""

# Files with many or long cells end sooner: spreadsheets hold a workbook in memory.
_MAX_CHARACTERS = 200_000_000
_CELL_COST = 20
_MAX_CELL = 32_767
# A thousand notes open at once; the reasons of all rows are in the second column.
_MAX_NOTES = 1000

_OPTIONS = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_numbers": False,
    "strings_to_urls": False,
}


def write_workbook(
    out: BinaryIO,
    rows: Iterable[RejectedRow],
    *,
    columns: Columns,
    rule_counts: Sequence[Mapping[str, Any]],
    rows_rejected: int,
    notes: Sequence[str],
) -> int:
    """Write a workbook with a sheet of rows and a sheet of counts.

    Args:
        rows: In the file's order; the first `MAX_ROWS` are taken.
        rule_counts: Of the whole file: column, rule, count.
        rows_rejected: Of the whole file.
        notes: What else the reader should know, a line each, below the counts.

    Returns:
        How many rows are in it.
    """
    with xlsxwriter.Workbook(out, _OPTIONS) as book:
        written = _RowsSheet(book, columns).write(rows, rows_rejected)
        _write_counts(book, rule_counts, [_extent(written, rows_rejected), *notes])
    return written


def _extent(written: int, rejected: int) -> str:
    if written >= rejected:
        return f"All {rejected:,} rejected rows of the file are in this workbook."
    return f"The first {written:,} of {rejected:,} rejected rows are in this workbook; {rejected - written:,} are not."


class _RowsSheet:
    """The sheet of rows: line, what is wrong, then the file's own columns with the wrong cells marked."""

    def __init__(self, book: xlsxwriter.Workbook, columns: Columns) -> None:
        self._sheet: Worksheet = book.add_worksheet(ROWS_SHEET)
        self._columns = columns
        text = {"num_format": "@", "valign": "top"}
        self._title: Format = book.add_format({**text, "bold": True, "bg_color": "#DDE3EA", "bottom": 1})
        self._text: Format = book.add_format(text)
        self._wrapped: Format = book.add_format({**text, "text_wrap": True})
        self._wrong: Format = book.add_format({**text, "bg_color": "#FFC7CE", "font_color": "#9C0006"})
        self._line: Format = book.add_format({"valign": "top"})
        self._notes = 0

    def write(self, rows: Iterable[RejectedRow], rejected: int) -> int:
        sheet, titles = self._sheet, [LINE, WRONG, *self._columns.names]
        sheet.freeze_panes(1, _FIRST)
        sheet.set_column(0, 0, 8)
        sheet.set_column(1, 1, 44)
        for position, title in enumerate(titles):
            if position >= _FIRST:
                sheet.set_column(position, position, min(30, max(9, len(title) + 4)))  # room for the filter's button
            self._put(0, position, title, self._title)
        at = characters = 0
        for row in rows:
            if at == MAX_ROWS or characters > _MAX_CHARACTERS:
                break
            at += 1
            characters += self._write_row(at, row)
        sheet.autofilter(0, 0, at, len(titles) - 1)
        sheet.ignore_errors({"number_stored_as_text": f"A1:XFD{at + 1}"})
        if at < rejected:
            self._put(at + 2, 1, _extent(at, rejected), self._wrapped)
        return at

    def _write_row(self, at: int, row: RejectedRow) -> int:
        """Write one row; its size in characters."""
        self._sheet.write_number(at, 0, row.line, self._line)
        reasons = "\n".join(
            f"{self._columns.called(one.column)}: {one.reason}" if one.column else one.reason for one in row.wrong
        )
        self._put(at, 1, reasons, self._wrapped)
        cells = self._columns.cells(row)
        if cells is None:
            # It is no row of the header's cells: where each would belong is not known.
            cells, marks = [row.text], {0: [one.reason for one in row.wrong]}
        else:
            marks = self._columns.marked(row)
        for position, cell in enumerate(cells):
            if position in marks:
                self._put(at, _FIRST + position, cell, self._wrong)
                self._note(at, _FIRST + position, "\n".join(marks[position]))
            elif cell:
                self._put(at, _FIRST + position, cell, self._text)
        return sum(len(cell) + _CELL_COST for cell in cells) + len(reasons)

    def _put(self, row: int, column: int, text: str, style: "Format") -> None:
        if len(text) > _MAX_CELL:
            end = f" … (cut: {len(text):,} characters)"
            text = text[: _MAX_CELL - len(end)] + end
        self._sheet.write_string(row, column, text, style)

    def _note(self, row: int, column: int, text: str) -> None:
        if self._notes < _MAX_NOTES:
            self._notes += 1
            self._sheet.write_comment(row, column, text[:1000], {"author": "ingestion-pipeline"})


def _write_counts(book: xlsxwriter.Workbook, rule_counts: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> None:
    sheet = book.add_worksheet(COUNTS_SHEET)
    title = book.add_format({"num_format": "@", "bold": True, "bg_color": "#DDE3EA", "bottom": 1})
    text, number = book.add_format({"num_format": "@"}), book.add_format({"num_format": "#,##0"})
    sheet.freeze_panes(1, 0)
    sheet.set_column(0, 1, 30)
    sheet.set_column(2, 2, 12)
    for position, name in enumerate(("column", "rule", "rows")):
        sheet.write_string(0, position, name, title)
    for at, count in enumerate(rule_counts, start=1):
        sheet.write_string(at, 0, count["column"] or "(the whole row)", text)
        sheet.write_string(at, 1, count["rule"], text)
        sheet.write_number(at, 2, count["count"], number)
    sheet.autofilter(0, 0, len(rule_counts), 2)
    for at, note in enumerate(notes, start=len(rule_counts) + 2):
        sheet.write_string(at, 0, note, text)
