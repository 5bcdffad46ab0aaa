"""Rejected rows as a file to correct: what validation wrote to quarantine, as the file had it."""

from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.errors import FileError, NoAcceptedRows
from ingestion_pipeline.stages.quarantine.originals import original_lines
from ingestion_pipeline.stages.validate import ValidationReport, validate
from ingestion_pipeline_tests.extent import examples
from ingestion_pipeline_tests.unit.contracts import KeptRows, contract_of

COLUMNS = {"n": {"type": "integer", "checks": {"in_range": [0, 99]}}, "word": {"type": "string", "nullable": True}}
TIME = "2024-05-01T10:00:00Z"


def checked(data: bytes, contract: Contract) -> tuple[ValidationReport, pl.DataFrame]:
    sink = KeptRows()
    try:
        report = validate([data], contract=contract, name="things.csv", sink=sink)
    except NoAcceptedRows as error:
        report = error.report  # type: ignore[attr-defined]
    return report, pl.concat(sink.rejects)


def fixable(data: bytes, contract: Contract, *, rows: int = 1000) -> tuple[bytes, Sequence[str]]:
    """What there is to correct, and the texts of the rejected rows."""
    report, rejects = checked(data, contract)
    lines = original_lines(rejects.iter_slices(rows), report.format, contract.format)
    return b"".join(lines), rejects.unique("line", keep="first", maintain_order=True)["row"].to_list()


@pytest.mark.parametrize(
    ("form", "encoding", "text"),
    [
        ({}, "utf-8", "at,n,word\n{t},x,ok\n{t},1,good\n{t},100,\n"),
        ({}, "utf-8", 'at,n,word\n{t},x,"a ""b"", c\nd"\n{t},1,good\n{t},100,é\n'),
        ({}, "utf-8", "at,n,word\r\n{t},x,ok\r\n{t},1,good\r\n{t},7\r\n"),
        ({}, "utf-8", 'at;n;"wo;rd";word\n{t};x;1;2\n{t};1;1;2\n'),
        ({}, "utf-16", "at\tn\tword\n{t}\tx\té\n{t}\t1\tgood\n"),
        ({"encoding": "cp1252"}, "cp1252", "at,n,word\n{t},x,é\n{t},1,good\n"),
        ({"encoding": "cp1252"}, "utf-8-sig", "at,n,word\n{t},x,ł\n{t},1,good\n"),
        ({"header": False}, "utf-8", "{t},x,ok\n{t},1,good\n"),
        ({"quote": None, "delimiter": ","}, "utf-8", 'at,n,word\n{t},x,a "b\n{t},1,good\n'),
    ],
    ids=["plain", "quoted", "crlf", "columns-left-out", "utf-16", "cp1252", "mark", "no-header", "no-quote"],
)
def test_it_is_read_as_the_file_was(form: dict[str, object], encoding: str, text: str) -> None:
    contract = contract_of(COLUMNS, **({"format": form} if form else {}))
    data, rows = fixable(text.replace("{t}", TIME).encode(encoding), contract)
    again, rejects = checked(data, contract)
    assert (again.rows_read, again.rows_accepted) == (len(rows), 0)
    assert rejects.unique("line", keep="first", maintain_order=True)["row"].to_list() == rows


def test_a_row_that_breaks_several_rules_stands_there_once() -> None:
    data, _ = fixable(f"at,n,word\n,100,ok\n{TIME},1,good\n".encode(), contract_of(COLUMNS))
    assert data == b"at,n,word\n,100,ok\n"


def test_rows_of_many_frames_all_come() -> None:
    bad = [f"{TIME},x,{number}" for number in range(5000)]
    data, _ = fixable("\n".join(["at,n,word", *bad]).encode(), contract_of(COLUMNS), rows=777)
    assert data.decode().splitlines() == ["at,n,word", *bad]


@given(
    words=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=12),
        min_size=1,
        max_size=12,
    )
)
@examples(20)
def test_any_text_comes_back(words: list[str]) -> None:
    quoted = [word.replace('"', '""') for word in words]
    text = "at,n,word\n" + "".join(f'{TIME},x,"{word}"\n' for word in quoted)
    data, rows = fixable(text.encode(), contract_of(COLUMNS))
    assert data.decode() == "at,n,word\n" + "".join(row + "\n" for row in rows)
    assert data.decode() == text


def test_only_rows_of_delimited_text_can_be_corrected_by_themselves() -> None:
    with pytest.raises(FileError, match="only rows of delimited text"):
        list(original_lines([], {"format": "parquet"}, contract_of(COLUMNS).format))


def test_rows_under_a_header_too_long_to_be_kept_are_not_given_under_another() -> None:
    header = ",".join(["at", "n", "word", *(f"{n}{'x' * 1000}" for n in range(50))])
    row = ",".join([TIME, "x", "ok", *["1"] * 50])
    with pytest.raises(FileError, match="header is too long"):
        fixable(f"{header}\n{row}\n".encode(), contract_of(COLUMNS))
