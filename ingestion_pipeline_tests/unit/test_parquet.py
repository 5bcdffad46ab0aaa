"""Parquet: every type of a file is read back by the contract's types, and what is damaged is refused."""

import io
import random
import signal
import tempfile
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats import open_rows
from ingestion_pipeline.formats.parquet_process import DamagedParquet, ParquetProcess
from ingestion_pipeline.stages.validate import validate
from ingestion_pipeline_tests.extent import examples
from ingestion_pipeline_tests.unit.contracts import KeptRows, contract_of, in_pieces
from ingestion_pipeline_tests.unit.test_csv import read

AT = datetime(2024, 5, 1, 10)


def parquet(frame: pl.DataFrame, **options) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file, **options)
    return file.getvalue()


def through_contract(columns: list[tuple[list, pl.DataType, dict]]) -> KeptRows:
    """What becomes of one file with these columns, `v0` and so on, filled up with nulls to one length."""
    height = max(len(values) for values, _, _ in columns)
    frame = {"at": [AT] * height}
    contract = {}
    for number, (values, dtype, keys) in enumerate(columns):
        frame[f"v{number}"] = pl.Series([*values, *[None] * (height - len(values))], dtype=dtype)
        contract[f"v{number}"] = {"nullable": True, **keys}
    sink = KeptRows()
    data = parquet(pl.DataFrame(frame))
    validate(in_pieces(data, 1000), contract=contract_of(contract), name="x", sink=sink)
    return sink


MOMENT = datetime(2024, 7, 1, 12, 30, 15, 123456)
PARIS = pl.Series([MOMENT]).dt.replace_time_zone("Europe/Paris")


ACCEPTED = [
    ([2**63 - 1, -(2**63), None], pl.Int64, {"type": "integer"}, [2**63 - 1, -(2**63), None]),
    ([0, 255], pl.UInt8, {"type": "integer"}, [0, 255]),
    ([2**53, -7.0, None], pl.Float64, {"type": "integer"}, [2**53, -7, None]),
    ([0.1, 1e-7, 1.7976931348623157e308, 5e-324, -0.0], pl.Float64, {"type": "float"}, None),
    ([0.5, 16777216.0], pl.Float32, {"type": "float"}, [0.5, 16777216.0]),
    ([3], pl.Int32, {"type": "float"}, [3.0]),
    ([Decimal("-0.05"), Decimal("1.10")], pl.Decimal(10, 2), {"type": "decimal", "scale": 2}, None),
    ([Decimal(10**37), None], pl.Decimal(38, 0), {"type": "decimal", "scale": 0}, None),
    ([True, False, None], pl.Boolean, {"type": "boolean"}, None),
    ([date(2024, 2, 29), None], pl.Date, {"type": "date"}, None),
    ([date(2024, 2, 29)], pl.Date, {"type": "date", "format": "%d/%m/%Y"}, None),
    ([date(2024, 2, 29)], pl.Date, {"type": "datetime"}, [datetime(2024, 2, 29, tzinfo=UTC)]),
    ([datetime(2024, 2, 29)], pl.Datetime("ns"), {"type": "date"}, [date(2024, 2, 29)]),
    ([MOMENT], pl.Datetime("us"), {"type": "datetime"}, [MOMENT.replace(tzinfo=UTC)]),
    ([MOMENT], pl.Datetime("ns"), {"type": "datetime"}, [MOMENT.replace(tzinfo=UTC)]),
    (
        [MOMENT],
        pl.Datetime("us"),
        {"type": "datetime", "timezone": "Europe/Paris"},
        [(MOMENT - timedelta(hours=2)).replace(tzinfo=UTC)],
    ),
    (PARIS, PARIS.dtype, {"type": "datetime"}, [(MOMENT - timedelta(hours=2)).replace(tzinfo=UTC)]),
    (
        PARIS,
        PARIS.dtype,
        {"type": "datetime", "format": "epoch_s"},
        [(MOMENT - timedelta(hours=2)).replace(tzinfo=UTC)],
    ),
    (["", "a,\n\0é", None, "null"], pl.String, {"type": "string"}, None),
    (["x", "y", "x"], pl.Categorical, {"type": "string"}, ["x", "y", "x"]),
    (["é".encode(), None], pl.Binary, {"type": "string"}, ["é", None]),
    ([time(1, 2, 3, 4)], pl.Time, {"type": "string"}, ["01:02:03.000004"]),
    ([[1, None], [], None], pl.List(pl.Int64), {"type": "string"}, ["[1,null]", "[]", None]),
    (
        [{"a": 'x"', "b": [0.5]}, None],
        pl.Struct({"a": pl.String, "b": pl.List(pl.Float64)}),
        {"type": "string"},
        ['{"a":"x\\"","b":[0.5]}', None],
    ),
    (
        [{"a": {"b": 7}}, None],
        pl.Struct({"a": pl.Struct({"b": pl.Int8})}),
        {"type": "integer", "source": "v24.a.b"},
        [7, None],
    ),
    ([None, None], pl.Null, {"type": "integer"}, [None, None]),
    ([7], pl.Int64, {"type": "string"}, ["7"]),
]


@pytest.fixture(scope="module")
def accepted() -> pl.DataFrame:
    sink = through_contract([(values, dtype, keys) for values, dtype, keys, _ in ACCEPTED])
    assert sink.rejects == []
    return sink.rows


@pytest.mark.parametrize("number", range(len(ACCEPTED)), ids=lambda n: f"{ACCEPTED[n][1]} as {ACCEPTED[n][2]['type']}")
def test_every_type_comes_back_through_the_contracts(number, accepted):
    values, _, _, expected = ACCEPTED[number]
    found = accepted[f"v{number}"].to_list()
    assert found[: len(values)] == (list(values) if expected is None else expected)
    assert found[len(values) :] == [None] * (len(found) - len(values))


MISFITS = [
    ([1.5], pl.Float64, {"type": "integer"}, "type"),
    ([1e300], pl.Float64, {"type": "integer"}, "type"),
    ([2**63], pl.UInt64, {"type": "integer"}, "type"),
    ([float("nan")], pl.Float64, {"type": "float"}, "finite"),
    ([float("inf")], pl.Float64, {"type": "float"}, "finite"),
    ([Decimal("0.001")], pl.Decimal(10, 3), {"type": "decimal", "scale": 2}, "type"),
    ([MOMENT], pl.Datetime("us"), {"type": "date"}, "type"),
    ([2], pl.Int64, {"type": "boolean"}, "type"),
]


def test_a_value_that_does_not_fit_is_rejected_not_changed():
    sink = through_contract([([*values, None], dtype, keys) for values, dtype, keys, _ in MISFITS])
    assert sorted(sink.broken) == [(1, f"v{n}", rule) for n, (_, _, _, rule) in enumerate(MISFITS)]
    assert sink.rows.height == 1  # the nulls


@pytest.mark.parametrize(
    ("values", "dtype", "keys", "says"),
    [
        ([b"\xff"], pl.Binary, {"type": "string"}, "not UTF-8"),
        ([[b"x"]], pl.List(pl.Binary), {"type": "string"}, "no JSON"),
        ([MOMENT], pl.Datetime("us"), {"type": "date", "format": "%d/%m/%Y"}, "format"),
        ([MOMENT], pl.Datetime("us"), {"type": "datetime", "timezone": "Europe/Paris", "format": "epoch_s"}, "zone"),
    ],
)
def test_a_column_that_has_no_faithful_text_is_refused_by_name(values, dtype, keys, says):
    with pytest.raises(UnreadableFile, match=f"'v0'.*{says}"):
        through_contract([(values, dtype, keys)])


ROW = st.fixed_dictionaries(
    {
        "at": st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
        "b": st.none() | st.text(max_size=5),
        "c": st.none() | st.integers(-(2**63), 2**63 - 1),
    }
)


@given(rows=st.lists(ROW, max_size=40), group=st.integers(1, 50), chunk_bytes=st.integers(1, 500))
@examples(8)
def test_rows_come_in_order_with_their_numbers_however_the_file_is_cut(rows, group, chunk_bytes):
    schema = {"at": pl.Datetime("us"), "b": pl.String, "c": pl.Int64}
    data = parquet(pl.DataFrame(rows, schema=schema), row_group_size=group)
    contract = contract_of({"c": {"type": "integer"}, "b": {"type": "string"}})
    found, malformed, originals, facts = read(data, piece=999, chunk_bytes=chunk_bytes, contract=contract)
    assert [(line, c, b) for line, _, c, b in found] == [
        (number, None if row["c"] is None else str(row["c"]), row["b"]) for number, row in enumerate(rows, 1)
    ]
    moments = [None if at is None else datetime.fromisoformat(at) for _, at, _, _ in found]
    assert moments == [row["at"] for row in rows]
    assert [
        pl.Series([text]).str.json_decode(pl.Struct({"b": pl.String, "c": pl.Int64})).item() for text in originals
    ] == [{"b": row["b"], "c": row["c"]} for row in rows]
    assert (malformed, facts.format) == ([], "Parquet")
    assert any("numbers of rows" in warning for warning in facts.warnings)


SMALL = parquet(pl.DataFrame({"at": [AT] * 500, "b": [f"x{n}" for n in range(500)], "c": list(range(500))}))
BC = contract_of({"b": {"type": "string"}, "c": {"type": "integer"}})


def left_open() -> set[str]:
    """The temporary files of readers that this process has open; none has a name on the disk."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return {str(target) for link in links if "#" in (target := link.readlink()).name}


def test_a_file_that_is_cut_off_anywhere_is_refused():
    for length in [*range(4, len(SMALL), 97), len(SMALL) - 1]:
        with pytest.raises(UnreadableFile) as error:
            read(SMALL[:length], piece=5000, contract=BC)
        assert "Parquet" in error.value.message or "PAR1" in error.value.message or "lacks" in error.value.message


def test_damage_gives_all_rows_or_an_error_and_no_file_stays():
    before, chance = left_open(), random.Random(7)
    for _ in range(15):
        data = bytearray(SMALL)
        for _ in range(3):
            data[chance.randrange(4, len(data) - 4)] ^= chance.randrange(1, 256)
        try:
            rows, _, _, _ = read(bytes(data), piece=5000, chunk_bytes=8 << 20, contract=BC)
        except UnreadableFile:
            continue
        assert len(rows) == 500
    assert left_open() == before


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PARE" + SMALL[4:], "encrypted"),
        (SMALL[:-4] + b"PARE", "encrypted"),
        (SMALL[:-4] + b"PAR2", "cut off or is damaged"),
        (parquet(pl.DataFrame({"b": ["x"]})), "lacks the required columns 'at', 'c'; it has b"),
    ],
    ids=["encrypted", "encrypted at its end", "another end", "columns missing"],
)
def test_what_cannot_be_read_is_one_clear_error(data, says):
    before = left_open()
    with pytest.raises(UnreadableFile, match=says) as error:
        read(data, piece=5000, contract=BC)
    assert error.value.hint
    assert left_open() == before


def test_the_file_on_disk_ends_with_a_reader_that_is_not_read_to_its_end():
    before = left_open()
    reader = open_rows([SMALL], contract=BC, chunk_bytes=100)
    chunks = reader.chunks()
    next(chunks)
    assert len(left_open() - before) == 1
    chunks.close()
    assert left_open() == before


def test_a_text_may_begin_with_the_letters_of_parquet():
    rows, _, _, facts = read(b"PAR1,at,b,c\n0,1,2,3\n", contract=BC)
    assert (rows[0][1:], facts.format) == (("1", "2", "3"), "delimited text")


@pytest.mark.parametrize(
    ("how", "error"),
    [(signal.SIGABRT, DamagedParquet), (signal.SIGSEGV, DamagedParquet), (signal.SIGKILL, ChildProcessError)],
)
def test_a_decoder_that_crashes_means_a_bad_file_and_one_that_is_killed_does_not(how, error):
    with tempfile.TemporaryFile() as file:
        file.write(SMALL)
        file.flush()
        with ParquetProcess(file) as process:
            process._process.send_signal(how)
            process._process.wait()
            with pytest.raises(error):
                list(process.rows([("b", ["b"])], 1000))
