"""A drafted contract takes every row that it was drafted from, whatever the files are, and is the same each time."""

import csv
import gzip
import io
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.adapters.contracts import load_contract
from ingestion_pipeline.demo_data import DemoFile, write_demo_files
from ingestion_pipeline.errors import ConfigurationError, UnreadableFile
from ingestion_pipeline_tests.extent import examples
from ingestion_pipeline_tests.unit.drafts import (
    TUTORIAL,
    contract_in,
    draft_of,
    keys_in,
    sample,
    validated,
)

CONTRACTS = Path(__file__).parents[2] / "ingestion_pipeline" / "contracts"

WORDS = st.sampled_from(["NA", "N/A", "null", "-", "None", "nan", "", "yes", "no", "T", "F", "1e5", "007", "x"])
DAYS = st.dates(date(1900, 1, 1), date(2099, 12, 31))
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2099, 12, 31))
CELLS = {
    "integers": st.integers(-(2**65), 2**65).map(str),
    "small integers": st.integers(0, 12).map(str),
    "floats": st.floats().map(repr),
    "money": st.decimals(0, 10**9, places=2).map(str),
    "long decimals": st.decimals(0, 10**20, places=6).map(str),
    "ISO dates": DAYS.map(str),
    "dates": st.sampled_from(["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y%m%d", "%d-%b-%Y", "%B %d, %Y"]).flatmap(
        lambda form: DAYS.map(lambda day: day.strftime(form))
    ),
    "moments": st.sampled_from(["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S.%f", "%d/%m/%Y %H:%M", "%s"]).flatmap(
        lambda form: MOMENTS.map(lambda moment: moment.strftime(form))
    ),
    "text": st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8),
    "words": WORDS,
}
HEADERS = st.one_of(
    st.sampled_from(["id", "Order No", "month", "humidity", "is_new", "price", "zip", "order_date", "qty", "ts"]),
    st.from_regex(r"[A-Za-z][A-Za-z0-9 ._-]{0,11}", fullmatch=True),
)


@st.composite
def columns(draw: st.DrawFn, rows: int) -> list[str]:
    kind = CELLS[draw(st.sampled_from(sorted(CELLS)))]
    impure = draw(st.booleans())
    cells = st.one_of(kind, kind, kind, WORDS) if impure else kind
    return draw(st.lists(cells, min_size=rows, max_size=rows))


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    rows = draw(st.integers(3, 30))
    headers = draw(
        st.lists(HEADERS, min_size=1, max_size=4, unique_by=str.strip).filter(lambda h: all(map(str.strip, h)))
    )
    start = draw(st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)))
    times = [f"{start + timedelta(hours=i):%Y-%m-%dT%H:%M:%SZ}" for i in range(rows)]
    return ["event at", *headers], [times, *(draw(columns(rows)) for _ in headers)]


def text_of(headers: list[str], cells: list[list[str]], delimiter: str = ",") -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator="\n").writerows([headers, *zip(*cells, strict=True)])
    return buffer.getvalue().encode()


@examples(20)
@given(tables(), st.sampled_from([",", ";", "\t", "|"]))
def test_every_row_that_is_a_row_is_taken_by_its_own_contract(table, delimiter):
    data = text_of(*table, delimiter)
    try:
        draft = draft_of(data)
    except UnreadableFile:
        return  # a table that its neighbours' delimiters cut otherwise; it says so
    if draft.time_column is None or "which will be rejected" in draft.text:
        return
    report, _ = validated(contract_in(draft), data)
    assert report.rows_rejected == draft.seen[0].malformed, f"{report.first_errors}\n{draft.text}\n{data.decode()}"
    assert report.rows_accepted == draft.seen[0].rows
    assert draft_of(data).text == draft.text


@pytest.fixture(scope="module")
def demo_files(tmp_path_factory: pytest.TempPathFactory) -> list[DemoFile]:
    return write_demo_files(tmp_path_factory.mktemp("demo"))


def test_flights_get_the_types_and_nulls_that_a_person_gave_them(demo_files):
    paths = [file.path for file in demo_files if file.kind == "month"][:1]
    draft = draft_of(*(sample(path.read_bytes(), path.name) for path in paths), datasource="flights")
    inferred, written = contract_in(draft), load_contract(CONTRACTS / "flights.yaml")
    assert types_of(inferred) == types_of(written)
    assert inferred.time.column == written.time.column
    assert inferred.format == written.format
    assert inferred.druid == written.druid
    assert inferred.partition_start == written.partition_start
    for path in paths:
        report, _ = validated(inferred, path.read_bytes())
        assert (report.rows_rejected, report.rows_accepted > 20_000) == (0, True)


def test_weather_gets_the_types_the_nulls_and_the_key_that_a_person_gave_it(demo_files):
    [path] = [file.path for file in demo_files if file.kind == "weather"]
    inferred, written = contract_in(draft_of(path.read_bytes())), load_contract(CONTRACTS / "weather.yaml")
    assert types_of(inferred) == types_of(written)
    assert (inferred.unique, inferred.druid) == (written.unique, written.druid)
    report, _ = validated(inferred, path.read_bytes())
    assert report.rows_rejected == 0


def test_orders_get_the_contract_of_the_tutorial_but_for_exact_prices():
    paths = sorted((TUTORIAL / "orders").glob("*.csv"))
    draft = draft_of(*(sample(path.read_bytes(), path.name) for path in paths), datasource="orders")
    inferred, written = contract_in(draft), load_contract(TUTORIAL / "orders.yaml")
    different = {name for name, type_ in types_of(inferred).items() if type_ != types_of(written)[name]}
    assert different == {"price"}  # decimal: a person is asked whether it is to be summed in Druid
    assert inferred.unique == written.unique
    for path in paths:
        assert validated(inferred, path.read_bytes())[0].rows_rejected == 0


def test_charter_flights_get_the_types_of_flights():
    data = (TUTORIAL / "charter-flights.csv").read_bytes()
    inferred = contract_in(draft_of(data))
    written = {name: type_ for name, (type_, _) in types_of(load_contract(CONTRACTS / "flights.yaml")).items()}
    assert {column.name: column.type for column in inferred.columns} == written
    assert validated(inferred, data)[0].rows_rejected == 0


def types_of(contract):
    return {column.name: (column.type, column.nullable) for column in contract.columns}


def test_names_become_snake_case_and_keep_their_source():
    draft = draft_of("Order No.,orderedAt,2020,Straße,order_no\n1,2024-01-01T00:00:00Z,5,x,7\n")
    contract = contract_in(draft)
    assert {column.name: column.source for column in contract.columns} == {
        "order_no": "Order No.",
        "ordered_at": "orderedAt",
        "n_2020": "2020",
        "strasse": "Straße",
        "order_no_2": "order_no",
    }


def test_names_of_the_system_are_not_taken():
    contract = contract_in(draft_of("__time,__x\n2024-01-01T00:00:00Z,5\n"))
    assert [(c.name, c.source) for c in contract.columns] == [("time", "__time"), ("x", "__x")]


def test_columns_without_a_name_of_their_own_are_left_out_and_told():
    data = ",at,n,n\n0,2024-01-01T00:00:00Z,5,6\n1,2024-01-01T00:00:01Z,7,8\n"
    draft = draft_of(data)
    contract = contract_in(draft)
    assert [column.name for column in contract.columns] == ["at"]
    assert "not read, since a contract cannot name what has no name or stands there twice: '', 'n'" in draft.text
    assert validated(contract, data.encode())[0].rows_rejected == 0


def test_a_file_without_a_header_gets_names_that_a_person_has_to_change():
    data = "".join(f"2024-01-01T00:00:0{i}Z,{i},{i}.5\n" for i in range(9))
    draft = draft_of(data)
    contract = contract_in(draft)
    assert [(c.name, c.type) for c in contract.columns] == [
        ("column_1", "datetime"),
        ("column_2", "integer"),
        ("column_3", "float"),
    ]
    assert any("there is no header" in remark for remark in draft.remarks)
    assert validated(contract, data.encode())[0].rows_accepted == 9


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("at~n~word\n" + "2024-01-01T00:00:00Z~1~x\n" * 5, {"delimiter": "~"}),
        ("at,word,n\n" + "2024-01-01T00:00:00Z,'a, b',1\n" * 5, {"quote": "'"}),
        ("at;word;n\n" + "2024-01-01T00:00:00Z;x;1\n" * 5, {}),
        (("at;word;n\n" + "2024-01-01T00:00:00Z;Käse für 5;1\n" * 5).encode("cp1252"), {"encoding": "cp1252"}),
        (("at;word;n\n" + "2024-01-01T00:00:00Z;Käse für 5;1\n" * 5).encode("utf-16"), {}),
    ],
    ids=["a rare delimiter", "a rare quote", "a usual delimiter", "an encoding", "a byte order mark"],
)
def test_only_what_is_not_found_out_is_said_of_the_format(data, expected):
    raw = data if isinstance(data, bytes) else data.encode()
    draft = draft_of(raw)
    contract = contract_in(draft)
    assert {key: getattr(contract.format, key) for key in expected} == expected
    assert ("format:" in draft.text) == bool(expected)
    assert validated(contract, raw)[0].rows_accepted == 5


def test_json_is_inferred_as_text_is():
    rows = [{"at": f"2024-01-0{i}T00:00:00Z", "n": i, "who": {"name": "x"}, "ok": True} for i in range(1, 6)]
    rows.append({"at": "2024-01-06T00:00:00Z", "n": None, "who": None, "more": 1.5})
    for data in ("\n".join(map(json.dumps, rows)), json.dumps(rows)):
        draft = draft_of(data)
        contract = contract_in(draft)
        assert {c.name: (c.type, c.required, c.nullable) for c in contract.columns} == {
            "at": ("datetime", True, False),
            "n": ("integer", False, True),
            "who": ("string", False, True),
            "ok": ("boolean", False, True),
            "more": ("float", False, True),
        }
        assert validated(contract, data.encode())[0].rows_accepted == 6


def test_parquet_keeps_its_types():
    frame = pl.DataFrame(
        {
            "at": [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2)],
            "day": [date(2024, 1, 1), None],
            "n": [1, 2],
            "x": [1.5, None],
            "ok": [True, False],
            "code": ["007", "1"],
        }
    )
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    contract = contract_in(draft_of(buffer.getvalue()))
    assert {c.name: c.type for c in contract.columns} == {
        "at": "datetime",
        "day": "date",
        "n": "integer",
        "x": "float",
        "ok": "boolean",
        "code": "string",
    }
    assert validated(contract, buffer.getvalue())[0].rows_accepted == 2


def test_a_compressed_sample_is_a_sample():
    draft = draft_of(gzip.compress(b"at,n\n2024-01-01T00:00:00Z,1\n2024-01-01T00:00:01Z,2\n"))
    assert keys_in(draft, "n") == {"type": "integer"}


def test_no_more_rows_are_looked_at_than_asked_for():
    draft = draft_of(sample("at,n\n" + "2024-01-01T00:00:00Z,1\n" * 10 + "2024-01-01T00:00:00Z,x\n", rows=10))
    assert keys_in(draft, "n") == {"type": "integer"}
    assert (draft.seen[0].rows, draft.seen[0].whole) == (10, False)


def test_a_note_that_stands_under_one_name_does_not_break_the_yaml():
    draft = draft_of('at,"a: b # c","x\ny"\n2024-01-01T00:00:00Z,1,2\n2024-01-01T00:00:01Z,1,2\n')
    assert [column.source for column in contract_in(draft).columns] == ["at", "a: b # c", "x\ny"]


@pytest.mark.parametrize(
    ("samples", "error", "says"),
    [
        (["at,n\n"], UnreadableFile, "has no rows"),
        (
            ["at~n~m\n" + "2024-01-01T00:00:00Z~1~2\n" * 5, "at^n^m\n" + "2024-01-01T00:00:00Z^1^2\n" * 5],
            ConfigurationError,
            "in different ways",
        ),
        ([""], UnreadableFile, "empty"),
    ],
    ids=["no rows", "two dialects", "nothing"],
)
def test_samples_that_cannot_tell_are_refused_with_the_reason(samples, error, says):
    with pytest.raises(error, match=says) as raised:
        draft_of(*samples)
    assert raised.value.hint


def test_names_that_differ_in_case_only_are_read_by_their_exact_names():
    data = "at,N,n\n" + "2024-01-01T00:00:00Z,1,x\n" * 5
    contract = contract_in(draft_of(data))
    assert contract.format.case == "exact"
    assert [(c.name, c.source, c.type) for c in contract.columns[1:]] == [("n", "N", "integer"), ("n_2", "n", "string")]
    assert validated(contract, data.encode())[0].rows_accepted == 5
