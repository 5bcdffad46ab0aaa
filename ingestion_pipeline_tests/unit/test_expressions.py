"""Derived columns and the filter: computed as Polars' SQL says, judged as other columns are, and never beyond a row."""

from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

from ingestion_pipeline.errors import ContractError, NoAcceptedRows
from ingestion_pipeline.stages.transform import druid_dimensions
from ingestion_pipeline.stages.validate import validate
from ingestion_pipeline.stages.validate.pandera_schema import pandera_schema
from ingestion_pipeline_tests.unit.contracts import KeptRows, contract_of, problems_of

PRICED = {
    "total": {"type": "decimal", "precision": 12, "scale": 2, "expr": "price * quantity", "checks": {"le": 100}},
    "price": {"type": "decimal", "precision": 10, "scale": 2, "nullable": True},
    "quantity": {"type": "integer"},
}


def load(text: str, chunk_bytes: int = 8 << 20, **keys):
    sink = KeptRows()
    contract = contract_of(**{"columns": PRICED, **keys})
    report = validate([text.encode()], contract=contract, name="f", sink=sink, chunk_bytes=chunk_bytes)
    assert report.rows_read == report.rows_accepted + report.rows_rejected + report.rows_filtered
    assert report.rows_accepted == sum(part.height for part in sink.parts)
    return report, sink


def test_a_derived_column_is_computed_checked_and_stored_like_others():
    report, sink = load("at,price,quantity\n2024-05-01,1.50,3\n2024-05-01,60.00,2\n")
    assert sink.rows.columns == ["at", "total", "price", "quantity"]
    assert sink.rows["total"].to_list() == [Decimal("4.50")]
    (rejected,) = sink.rejects
    assert rejected.select("line", "column", "rule").row(0) == (3, "total", "le")
    assert Decimal(rejected["value"][0]) == 120
    assert report.columns["total"] == "Decimal(precision=12, scale=2)"
    assert {"type": "string", "name": "total"} in druid_dimensions(contract_of(PRICED))
    pandera_schema(contract_of(PRICED)).validate(sink.rows.lazy()).collect()


def test_a_null_follows_nullable_unless_the_cell_that_it_comes_of_is_told_already():
    data = "at,price,quantity\n2024-05-01,,3\n2024-05-01,1,x\n2024-05-01,1,1\n"
    _, sink = load(data)
    assert sink.broken == [(2, "total", "not_null"), (3, "quantity", "type")]
    _, sink = load(data, columns=PRICED | {"total": PRICED["total"] | {"nullable": True}})
    assert sink.rows["total"].to_list() == [None, Decimal(1)]


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ({"type": "integer", "expr": "SUBSTR(word, 1, 2)"}, "12ab", 12),
        ({"type": "integer", "expr": "SUBSTR(word, 1, 2)"}, "1x", "type"),
        ({"type": "integer", "expr": "TRY_CAST(word AS DOUBLE)"}, "2.0", 2),
        ({"type": "integer", "expr": "TRY_CAST(word AS DOUBLE)"}, "2.5", "type"),
        ({"type": "float", "expr": "1.0 / (TRY_CAST(word AS DOUBLE) - 5)"}, "5", "finite"),
        ({"type": "boolean", "expr": "word LIKE 'a%'"}, "abc", True),
        ({"type": "string", "expr": "UPPER(word) || '!'"}, "abc", "ABC!"),
        ({"type": "decimal", "scale": 2, "expr": "TRY_CAST(word AS DOUBLE) * 1.0"}, "1.006", Decimal("1.01")),
        ({"type": "decimal", "precision": 3, "scale": 2, "expr": "TRY_CAST(word AS DOUBLE)"}, "10", "type"),
        ({"type": "datetime", "timezone": "Europe/Paris", "expr": "word || ' 12:00'"}, "2024-07-01", "10:00"),
    ],
)
def test_what_is_computed_is_typed_or_the_row_is_rejected(column, cell, value):
    columns = {"word": {"type": "string"}, "x": column, "n": {"type": "integer", "expr": "LENGTH(word)"}}
    _, sink = load(f"at,word\n2024-05-01,{cell}\n2024-05-01,1\n", columns=columns)
    if isinstance(value, str) and value in {"type", "finite"}:
        assert (2, "x", value) in sink.broken
        return
    found = sink.rows["x"][0]
    assert (found.strftime("%H:%M") if isinstance(found, datetime) else found) == value


def test_a_derived_column_may_read_one_before_it_and_be_the_time():
    contract_keys = {
        "columns": {
            "day": {"type": "date"},
            "hour": {"type": "string"},
            "text": {"type": "string", "expr": "CAST(day AS STRING) || 'T' || hour"},
            "moment": {"type": "datetime", "expr": "text"},
        },
        "time": {"column": "moment"},
    }
    report, _ = load("at,day,hour\n2024-05-01,2024-06-01,10:30\n", **contract_keys)
    assert report.time_min == datetime(2024, 6, 1, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize("chunk_bytes", [8 << 20, 40])
def test_filtered_rows_are_counted_and_neither_judged_nor_claim_a_key(chunk_bytes):
    report, sink = load(
        "at,n,status\n2024-05-01,1,test\n2024-05-01,1,live\nbad,x,test\n2024-05-01,x,live\n2024-05-01,2,\ncut\n",
        chunk_bytes,
        columns={"n": {"type": "integer"}, "status": {"type": "string", "nullable": True}},
        filter="status <> 'test'",
        unique=["n"],
    )
    assert (report.rows_read, report.rows_accepted, report.rows_rejected, report.rows_filtered) == (6, 2, 2, 2)
    assert sink.rows["n"].to_list() == [1, 2]
    assert sink.broken == [(5, "n", "type"), (7, "", "row_shape")]
    assert sink.rejects[0]["row"][0] == "2024-05-01,x,live"


def test_a_file_whose_rows_are_all_filtered_is_no_failure_but_one_without_a_good_row_is():
    keys = {"columns": {"n": {"type": "integer"}}, "filter": "n > 5"}
    report, _ = load("at,n\n2024-05-01,1\n2024-05-01,2\n", **keys)
    assert (report.rows_filtered, report.rows_accepted) == (2, 0)
    with pytest.raises(NoAcceptedRows, match="1 rows were rejected, the other 1 filtered"):
        load("at,n\n2024-05-01,1\n2024-05-01,x\n", **keys)


def test_an_expression_that_fails_on_a_value_names_itself_and_what_to_do():
    columns = {"word": {"type": "string"}, "x": {"type": "integer", "expr": "CAST(word AS INT)"}}
    with pytest.raises(ContractError, match=r"columns\.x\.expr cannot be computed") as error:
        load("at,word\n2024-05-01,abc\n", columns=columns)
    assert "TRY_CAST" in error.value.hint


HOSTILE = [
    "n IN (SELECT a FROM read_csv('/etc/passwd'))",
    "n = (select 1)",
    "EXISTS (SELECT * FROM read_parquet('x'))",
    "SUM(n) > n",
    "n > AVG(n)",
    "COUNT(*) > n",
    "n > FIRST(n)",
    "ROW_NUMBER() OVER (ORDER BY n) > 1",
    "LAG(n) OVER (ORDER BY n) > n",
    "MEDIAN(n) > n",
    "CORR(n, n) > n",
    "QUANTILE_DISC(n, 0.5) > n",
    "STRING_AGG(word) = word",
    "COLUMNS('.*') > 1",
    "LPAD(word, 1000000000) = word",
    "RPAD(word, 1000000000) = word",
    "UNNEST(n) > 1",
    "COUNT(DISTINCT n) > n",
    "n > n + " + " + ".join(["1"] * 2000),
    "read_csv('/etc/passwd') = word",
]


@pytest.mark.parametrize("expr", HOSTILE, ids=lambda expr: expr[:40])
def test_what_looks_beyond_its_row_or_reads_anything_else_is_a_mistake(expr):
    columns = {"at": {"type": "datetime"}, "n": {"type": "integer"}, "word": {"type": "string"}}
    assert list(problems_of(filter=expr)) == ["filter"]
    assert list(problems_of(checks=[{"name": "rule", "expr": expr}])) == ["checks.0.expr"]
    assert list(problems_of(columns=columns | {"x": {"type": "boolean", "expr": expr}})) == ["columns.x.expr"]


@pytest.mark.parametrize(
    "expr",
    [
        "n % 2 = 0 AND NOT word LIKE 'a_%'",
        "CASE WHEN n > 1 THEN LENGTH(word) ELSE n END BETWEEN 1 AND 9",
        "COALESCE(n, 0) IN (1, 2) OR word IN ('a', 'b')",
        "EXTRACT(year FROM at) = 2024 AND DATE_PART('month', at) > 1",
        "ROUND(SQRT(ABS(n)), 2) > POW(n, 2) / 3",
        "UPPER(TRIM(word)) || '-' || CAST(n AS STRING) = REPLACE(word, 'a', 'b')",
        "REGEXP_LIKE(word, '^a') AND STARTS_WITH(word, 'a') AND word ILIKE '%b%'",
        "SPLIT_PART(word, '-', 1) = LEFT(word, 2) AND RIGHT(word, 1) <> ''",
        "GREATEST(n, 1) > LEAST(n, 2) AND n IS NOT NULL AND word IS DISTINCT FROM 'x'",
        "CAST(at AS DATE) > DATE '2024-01-01' AND at + INTERVAL '1 day' > at",
    ],
)
def test_expressions_of_one_row_are_accepted_and_give_the_same_for_each_row_alone(expr):
    assert problems_of(filter=expr) == {}
    rows = pl.DataFrame(
        {
            "at": [datetime(2024, month, 1, tzinfo=UTC) for month in (1, 2, 3)],
            "n": [1, None, 7],
            "word": ["a-b", "ab", None],
        }
    )
    whole = rows.select(x=pl.sql_expr(expr))["x"]
    assert whole.to_list() == [rows[i].select(x=pl.sql_expr(expr))["x"].item() for i in range(3)]


@pytest.mark.parametrize(
    ("column", "key", "says"),
    [
        ({"type": "integer", "expr": "m + 1"}, "expr", "no column 'm'"),
        ({"type": "integer", "expr": "later + 1"}, "expr", "no column 'later'"),
        ({"type": "integer", "expr": "n + "}, "expr", "not an SQL expression"),
        ({"type": "integer", "expr": "word * 2"}, "expr", "cannot be computed"),
        ({"type": "date", "expr": "n + 1"}, "expr", "cannot become date"),
        ({"type": "string", "expr": "n + 1"}, "expr", "Use CAST"),
        ({"type": "integer", "expr": "1 + 1"}, "expr", "no column"),
        ({"type": "integer", "expr": "n + 1", "source": "x"}, "source", "not read from the file"),
        ({"type": "integer", "expr": "n + 1", "aliases": ["y"]}, "aliases", "not read from the file"),
    ],
)
def test_a_mistake_is_told_with_its_key(column, key, says):
    columns = {"at": {"type": "datetime"}, "n": {"type": "integer"}, "word": {"type": "string"}, "x": column}
    problems = problems_of(columns=columns | {"later": {"type": "integer", "expr": "n + 1"}})
    assert list(problems) == [f"columns.x.{key}"]
    assert says in problems[f"columns.x.{key}"]


@pytest.mark.parametrize(("expr", "says"), [("n + 1", "not a condition"), ("wrd = 'x'", "'word'")])
def test_a_filter_is_a_condition_over_known_columns(expr, says):
    assert says in problems_of(filter=expr)["filter"]
