"""Types and rules: cells are read as they are written, and each check means what Pandera means by it."""

import warnings
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.adapters.contracts import load_contracts
from ingestion_pipeline.domain.contract_checks import CHECKS
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.stages.validate.casting import cast_cells
from ingestion_pipeline.stages.validate.pandera_schema import pandera_schema
from ingestion_pipeline.stages.validate.rules import compile_rules, violations_of
from ingestion_pipeline_tests.unit.contracts import contract_of

BAD = object()


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ({"type": "integer"}, "-5", -5),
        ({"type": "integer"}, " 5 ", 5),
        ({"type": "integer"}, "9007199254740993", 9007199254740993),
        ({"type": "integer"}, "5.0", BAD),
        ({"type": "integer"}, "1_000", BAD),
        ({"type": "float"}, "1e3", 1000.0),
        ({"type": "float"}, "1,5", BAD),
        ({"type": "boolean"}, "Yes", True),
        ({"type": "boolean"}, "0", False),
        ({"type": "boolean"}, "2", BAD),
        ({"type": "date"}, "2024-02-29", date(2024, 2, 29)),
        ({"type": "date"}, "2023-02-29", BAD),
        ({"type": "date"}, " 2024-02-29 ", date(2024, 2, 29)),
        ({"type": "date"}, "13-01-05", BAD),  # the year 13 to a parser
        ({"type": "date"}, "-013-01-05", BAD),
        ({"type": "date"}, "0013-01-05", date(13, 1, 5)),
        ({"type": "date", "format": "%y-%m-%d"}, "13-01-05", date(2013, 1, 5)),
        ({"type": "datetime"}, "13-01-05", BAD),
        ({"type": "datetime"}, "13-01-05T10:00:00Z", BAD),
        ({"type": "datetime"}, "13-01-05 10:00:00+02:00", BAD),
        ({"type": "datetime", "timezone": "Europe/Paris"}, "13-01-05 10:00", BAD),
        ({"type": "datetime"}, "1000-01-01T00:00:00+05:00", datetime(999, 12, 31, 19, tzinfo=UTC)),
        ({"type": "datetime", "format": "%y-%m-%d %H:%M"}, "13-01-05 10:00", datetime(2013, 1, 5, 10, tzinfo=UTC)),
        ({"type": "date", "format": "%d/%m/%Y"}, "01/02/2024", date(2024, 2, 1)),
        ({"type": "datetime"}, "2024-05-01T10:00:00Z", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ({"type": "datetime"}, "2024-05-01 10:00:00", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ({"type": "datetime"}, "2024-05-01T10:00:00.123456+05:30", datetime(2024, 5, 1, 4, 30, 0, 123456, UTC)),
        ({"type": "datetime"}, "2024-05-01 10:00:00-02:00", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ({"type": "datetime"}, "2024-05-01", datetime(2024, 5, 1, tzinfo=UTC)),
        ({"type": "datetime"}, "01/05/2024 10:00", BAD),
        ({"type": "datetime", "timezone": "Europe/Paris"}, "2024-05-01 10:00", datetime(2024, 5, 1, 8, tzinfo=UTC)),
        ({"type": "datetime", "timezone": "Europe/Paris"}, "2024-03-31 02:30:00", BAD),  # the clock skips it
        ({"type": "datetime", "timezone": "Europe/Paris"}, "2024-10-27 02:30:00", BAD),  # the clock shows it twice
        ({"type": "datetime", "format": "epoch_ms"}, "1714557600000", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ({"type": "datetime", "format": "epoch_s"}, "1714557600", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ({"type": "datetime", "format": "epoch_s"}, "99999999999999999", BAD),
        ({"type": "datetime", "format": "%d.%m.%Y %H:%M"}, "01.05.2024 10:00", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ({"type": "decimal", "precision": 12, "scale": 2}, "1234567890.12", Decimal("1234567890.12")),
        ({"type": "decimal", "precision": 12, "scale": 2}, "1.500", Decimal("1.50")),
        ({"type": "decimal", "precision": 12, "scale": 2}, "1.005", BAD),  # would be rounded
        ({"type": "decimal", "precision": 4, "scale": 2}, "100", BAD),
        ({"type": "decimal"}, ".", BAD),
        ({"type": "string"}, " kept as it is ", " kept as it is "),
    ],
)
def test_a_cell_is_read_as_its_type_or_told_to_be_wrong(column, text, value):
    contract = contract_of({"x": column})
    # Neighbours that are written otherwise, or not at all, change nothing.
    for others in ([], [None], ["zzz", "2024-05-01T10:00:00Z", "1"]):
        typed, wrong = cast_cells(pl.Series("x", [text, *others], dtype=pl.String), contract.columns[1])
        assert (wrong is not None and wrong[0]) is (value is BAD)
        assert typed[0] == (None if value is BAD else value)


@given(moment=st.datetimes(datetime(1900, 1, 1), datetime(2099, 1, 1), timezones=st.timezones()))
def test_every_iso_datetime_with_an_offset_is_read_exactly(moment):
    text = moment.isoformat()
    if text.count(":") > 3:
        return  # an offset with seconds, before standard time: Python writes it, ISO 8601 does not know it
    typed, wrong = cast_cells(pl.Series([text]), contract_of().columns[0])
    assert wrong is None
    assert typed[0] == moment.astimezone(UTC)


SAMPLES: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "eq": ("integer", [1, 2, None], {"value": 2}),
    "ne": ("string", ["a", "b", None], {"value": "a"}),
    "gt": ("float", [1.0, 1.5, None], {"min_value": 1}),
    "ge": ("integer", [1, 2, None], {"min_value": 2}),
    "lt": ("date", [date(2024, 1, 1), date(2024, 1, 2), None], {"max_value": date(2024, 1, 2)}),
    "le": ("decimal", [Decimal("1.5"), Decimal("1.6"), None], {"max_value": 1.5}),
    "in_range": ("integer", [0, 1, 9, 10, None], {"min_value": 1, "max_value": 9, "include_max": False}),
    "isin": ("string", ["a", "b", None], {"allowed_values": ["a"]}),
    "notin": ("integer", [1, 2, None], {"forbidden_values": [1]}),
    "str_matches": ("string", ["ab", "xab", "", None], {"pattern": "ab?"}),
    "str_contains": ("string", ["ab", "xab", "x", None], {"pattern": "a."}),
    "str_startswith": ("string", ["ab", "b.", None], {"string": "b."}),
    "str_endswith": ("string", ["ab", "b.", None], {"string": "."}),
    "str_length": ("string", ["", "é", "ab", "abc", None], {"min_value": 1, "max_value": 2}),
}


def rejected_by_us(contract, frame: pl.DataFrame) -> set[tuple[str, int]]:
    names = {check.name for column in contract.columns for check in column.checks} | {c.name for c in contract.checks}
    return {
        (violation.name, row)
        for violation in violations_of(compile_rules(contract), frame)
        if violation.name in names
        for row in violation.rows.arg_true().to_list()
    }


def rejected_by_pandera(contract, frame: pl.DataFrame) -> set[tuple[str, int]]:
    from pandera.errors import SchemaErrors

    schema = pandera_schema(contract)
    schema.unique = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pandera's own, about its use of Polars
        try:
            schema.validate(frame, lazy=True)
        except SchemaErrors as errors:
            cases = errors.failure_cases
            return {(check, index) for check, index in cases.select("check", "index").iter_rows() if index is not None}
    return set()


def named(cases: set[tuple[str, int]], contract) -> set[tuple[str, int]]:
    """Pandera prints a check with its arguments; the name is before the bracket."""
    long = {"equal_to": "eq", "not_equal_to": "ne", "greater_than": "gt", "greater_than_or_equal_to": "ge"}
    long |= {"less_than": "lt", "less_than_or_equal_to": "le"}
    return {(long.get(name.partition("(")[0], name.partition("(")[0]), row) for name, row in cases}


def test_the_samples_cover_every_check():
    assert set(SAMPLES) == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_rejects_the_rows_that_pandera_rejects(name):
    kind, values, arguments = SAMPLES[name]
    column: dict[str, Any] = {"type": kind, "nullable": True, "checks": {name: arguments}}
    contract = contract_of({"x": column, "at": {"type": "datetime"}})
    typed = {"at": [datetime(2024, 1, 1, tzinfo=UTC)] * len(values), "x": values}
    frame = pl.DataFrame(typed, schema_overrides=_types(contract)).select(c.name for c in contract.columns)
    ours = rejected_by_us(contract, frame)
    assert ours == named(rejected_by_pandera(contract, frame), contract)
    assert ours
    assert len(ours) < len(values) - 1  # some value passes, and null does


def _types(contract) -> dict[str, Any]:
    from ingestion_pipeline.domain.contract_checks import polars_type

    return {column.name: polars_type(column) for column in contract.columns}


WORD = st.sampled_from(["EWR", "JFK", "LGA", "XXX", "ab", "N14228", "9E", None])
NUMBER = st.none() | st.sampled_from([0, 1, 5, 12, 13, 31, 32, 59, 60, 515, 2013, 2359, 2400, 2401, 9999, 99999, -200])


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(*[NUMBER] * 14, *[WORD] * 4), min_size=1, max_size=6))
def test_the_flights_contract_rejects_the_rows_that_pandera_rejects(rows):
    contract = load_contracts(Settings.model_fields["contracts_dir"].default).contracts["flights"]
    numbers = [c.name for c in contract.columns if c.type == "integer"]
    words = [c.name for c in contract.columns if c.type == "string"]
    schema = _types(contract)
    columns = [*numbers, *words]
    frame = pl.DataFrame(rows, schema={name: schema[name] for name in columns}, orient="row")
    frame = frame.with_columns(time_hour=pl.lit(datetime(2013, 5, 1, tzinfo=UTC)).cast(schema["time_hour"]))
    frame = frame.select(c.name for c in contract.columns)
    ours = {(name, row) for name, row in rejected_by_us(contract, frame)}
    theirs = {case for case in named(rejected_by_pandera(contract, frame), contract) if case[0] != "not_nullable"}
    assert ours == theirs
