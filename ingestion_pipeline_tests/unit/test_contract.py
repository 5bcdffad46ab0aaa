"""Contracts: what is written is what is meant, and a mistake is told with its file, line and key."""

import re
import textwrap
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml

from ingestion_pipeline.adapters.contracts import load_contract, load_contracts
from ingestion_pipeline.domain.contract import AfterLoad, Contract
from ingestion_pipeline.domain.contract_checks import CHECKS, check_expression, polars_type
from ingestion_pipeline.domain.contract_document import ContractDocument, known_keys
from ingestion_pipeline.errors import ConfigurationError, ContractError
from ingestion_pipeline.settings import Settings
from ingestion_pipeline_tests.unit.contracts import contract_of, problems_of

GOOD = """\
datasource: {name}
partition_start: 2020-01-01
files:
  - {{pattern: "{pattern}", organization: demo}}
time: {{column: at}}
columns:
  at: {{type: datetime}}
  n: {{type: integer, checks: {{in_range: [1, 9]}}}}
"""


def write(directory: Path, name: str, *, pattern: str = "", text: str | None = None) -> Path:
    path = directory / f"{name}.yaml"
    path.write_text(text if text is not None else GOOD.format(name=name, pattern=pattern or f"exports/{name}/*.csv"))
    return path


def test_the_shipped_contracts_are_right_and_rich_enough():
    book = load_contracts(Settings.model_fields["contracts_dir"].default)
    assert book.broken == ()
    flights = book.contracts["flights"]
    assert len(flights.columns) == 19
    assert sum(len(column.checks) for column in flights.columns) >= 12
    assert len(flights.checks) == 2
    assert flights.unique == ("time_hour", "carrier", "flight")
    assert flights.druid.segment_granularity == "month"
    assert len(book.contracts["weather"].columns) == 15


def test_the_version_changes_with_the_bytes_of_the_file(tmp_path):
    first = load_contract(write(tmp_path, "things"))
    again = load_contract(write(tmp_path, "things"))
    changed = load_contract(write(tmp_path, "things", text=GOOD.format(name="things", pattern="e/*") + "# more\n"))
    assert first.version == again.version != changed.version
    assert len(first.version) == 12


def test_every_contract_claims_its_uploads_and_bounds_its_time():
    contract = contract_of()
    assert contract.files[0].pattern == "uploads/{organization}/things/{date}/{job_id}/{name}"
    assert (contract.time.min.year, contract.time.max.year) == (1900, 2100)


def test_a_broken_contract_disables_itself_alone(tmp_path):
    write(tmp_path, "good")
    write(tmp_path, "bad", text=GOOD.format(name="bad", pattern="e/*").replace("columns:", "colums:"))
    book = load_contracts(tmp_path)
    assert list(book.contracts) == ["good"]
    (error,) = book.broken
    assert error.details["datasource"] == "bad"
    assert [(p["line"], p["key"]) for p in error.details["problems"]] == [(1, "columns"), (6, "colums")]
    assert "Did you mean 'columns'?" in error.details["problems"][1]["hint"]


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "says"),
    [
        ("type: integer", "type: integr", 8, "columns.n.type", "integer"),
        ("in_range: [1, 9]", "in_rage: [1, 9]", 8, "columns.n.checks.in_rage", "in_range"),
        ("in_range: [1, 9]", 'in_range: ["1", "9"]', 8, "columns.n.checks.in_range", "integer"),
        ("{column: at}", "{column: att}", 5, "time.column", "'at'"),
        ("partition_start: 2020-01-01\n", "", 1, "partition_start", "missing"),
        ("2020-01-01", "yesterday", 2, "partition_start", "date"),
        ("  n:", "  __n:", 8, "columns.__n", "__"),
        ("  n:", "  at:", 8, "columns.at", "twice"),
        ("exports/*.csv", "*.csv", 4, "files.0.pattern", "segment"),
        ("exports/*.csv", "cleaned/*.csv", 4, "files.0.pattern", "cleaned/"),
        ("exports/*.csv", "dagster/*.csv", 4, "files.0.pattern", "dagster/"),
        ("exports/*.csv", "exports/{day}.csv", 4, "files.0.pattern", "{day}"),
        ("datasource: things", "datasource: others", 1, "datasource", "name"),
        ("columns:", "columns: [", 8, "", "YAML"),
        ("2020-01-01", "2024-02-30", 2, "partition_start", "day is out of range"),
        ("2020-01-01", "!!timestamp soon", 2, "partition_start", "'soon'"),
        ("2020-01-01\n", "2020-01-01\nowners: [Jane Doe]\n", 3, "owners.0", "team:sales"),
        ("2020-01-01\n", "2020-01-01\ntags: {domain: web shop}\n", 3, "tags", "'web shop' is no tag"),
        ("2020-01-01\n", "2020-01-01\nexpect: {every: dya}\n", 3, "expect.every", "day"),
        ("2020-01-01\n", "2020-01-01\nlive_from: 0001-01-01T00:00:00+01:00\n", 3, "live_from", "years 1 to 9999"),
        ("in_range: [1, 9]", "in_range: [1, !!int '']", 8, "columns.n.checks.in_range.1", "no int"),
        ("type: integer", "type: integer, nullable: !!bool maybe", 8, "columns.n.nullable", "'maybe'"),
        ("  n:", "  2024-02-30:", 8, "columns.2024-02-30", "day is out of range"),
        ("type: datetime", "type: datetime, timezone: America", 7, "columns.at.timezone", "no time zone"),
        ("type: datetime", 'type: datetime, timezone: "a\\0b"', 7, "columns.at.timezone", "no time zone"),
        ("type: datetime", 'type: datetime, description: "\\uD800"', 7, "columns.at.description", "no str"),
        ("type: datetime", 'type: datetime, format: "%H:%M"', 7, "columns.at.format", "%Y-%m-%d %H:%M:%S"),
        ("in_range: [1, 9]", "ge: 99999999999999999999", 8, "columns.n.checks.ge", "64 bits"),
        ("column: at}", f"column: {'[' * 2000}", 5, "", "nested"),
    ],
)
def test_a_mistake_is_told_with_line_key_and_hint(tmp_path, old, new, line, key, says):
    text = GOOD.format(name="things", pattern="exports/*.csv")
    assert old in text
    with pytest.raises(ContractError) as error:
        load_contract(write(tmp_path, "things", text=text.replace(old, new, 1)))
    assert (error.value.details["line"], error.value.details["key"]) == (line, key)
    assert says in str(error.value)
    assert str(tmp_path / "things.yaml") in error.value.message


# A chain of aliases is as deep as it is long, though nothing in the file is nested deeply.
CHAIN = "tags:\n  n0: &n0 [x]\n" + "".join(f"  n{i}: &n{i} [*n{i - 1}]\n" for i in range(1, 2000))
LAUGHS = "tags:\n  n0: &n0 [x]\n" + "".join(f"  n{i}: &n{i} [{', '.join([f'*n{i - 1}'] * 9)}]\n" for i in range(1, 12))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n- b\n",
        "\x00",
        "a: &a [*a]\n",
        "? [1]\n: 2\n",
        "<<: 2024-02-30\n",
        "a: =\n",
        CHAIN,
        LAUGHS,
        f"tags: {{a: 0x{'f' * 9999}}}",
    ],
    ids=["empty", "list", "control", "itself", "key", "merge", "value", "chain", "laughs", "digits"],
)
def test_a_file_that_is_no_contract_at_all_is_an_error_not_a_crash(tmp_path, text):
    with pytest.raises(ContractError):
        load_contract(write(tmp_path, "things", text=text))


def test_a_file_that_is_not_utf8_is_an_error(tmp_path):
    (tmp_path / "things.yaml").write_bytes(b"\xff\xfe\x00")
    (error,) = load_contracts(tmp_path).broken
    assert "UTF-8" in error.message


def test_contracts_that_claim_the_same_keys_are_both_broken_and_name_each_other(tmp_path):
    write(tmp_path, "first", pattern="exports/dt={date}/*.csv")
    write(tmp_path, "second", pattern="exports/dt=2024-*/sales.csv")
    write(tmp_path, "third", pattern="exports/other/*.csv")
    book = load_contracts(tmp_path)
    assert list(book.contracts) == ["third"]
    assert {e.details["datasource"]: e.details["line"] for e in book.broken} == {"first": 4, "second": 4}
    assert "'second'" in book.broken[0].message
    assert "'first'" in book.broken[1].message


def test_a_missing_directory_says_which_setting_names_it(tmp_path):
    with pytest.raises(ConfigurationError, match="INGESTION_CONTRACTS_DIR"):
        load_contracts(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("expr", "says"),
    [
        ("n > > 1", "SQL"),
        ("missing > 1", "'missing'"),
        ("word || 'x'", "not a condition"),
        ("word > 5", "cannot be computed"),
        ("1 = 1", "no column"),
    ],
)
def test_a_cross_column_check_is_proved_computable_when_it_is_loaded(expr, says):
    assert says in problems_of(checks=[{"name": "rule", "expr": expr}])["checks.0.expr"]


@pytest.mark.parametrize(
    ("column", "key", "says"),
    [
        ({"type": "string", "checks": {"isin": [False]}}, "checks.isin", "quotes"),
        ({"type": "string", "checks": {"str_matches": "(?=a)"}}, "checks.str_matches", "look-around"),
        ({"type": "integer", "checks": {"str_matches": "a"}}, "checks.str_matches", "text"),
        ({"type": "string", "checks": {"str_length": {}}}, "checks.str_length", "min_value"),
        ({"type": "string", "checks": {"str_length": {"minimum": 1}}}, "checks.str_length.minimum", "min_value"),
        ({"type": "float", "checks": {"in_range": 5}}, "checks.in_range", "min_value and max_value"),
        ({"type": "datetime", "timezone": "Europe/Pariss"}, "timezone", "time zone"),
        ({"type": "decimal", "precision": 4, "scale": 9}, "scale", "4"),
        ({"type": "integer", "format": "%Y"}, "format", "dates"),
        ({"type": "integer", "checks": {"ge": 2**63}}, "checks.ge", "9223372036854775807"),
        ({"type": "integer", "checks": {"isin": [1, -(2**63) - 1]}}, "checks.isin", "-9223372036854775808"),
        (
            {"type": "string", "checks": {"str_length": {"max_value": 10**40}}},
            "checks.str_length",
            "9223372036854775807",
        ),
        ({"type": "float", "checks": {"le": 10**400}}, "checks.le", "float"),
        ({"type": "float", "checks": {"le": float("nan")}}, "checks.le", "float"),
        ({"type": "decimal", "checks": {"ge": float("inf")}}, "checks.ge", "decimal"),
        ({"type": "decimal", "checks": {"ge": "nan"}}, "checks.ge", "decimal"),
        ({"type": "decimal", "precision": 4, "scale": 2, "checks": {"ge": 100}}, "checks.ge", "2 digits before"),
        ({"type": "decimal", "precision": 4, "scale": 2, "checks": {"isin": [1, 1.234]}}, "checks.isin", "2 after"),
        ({"type": "decimal", "checks": {"ge": "1e-999999999"}}, "checks.ge", "9 after"),
        ({"type": "decimal", "checks": {"ge": "1e999999999"}}, "checks.ge", "29 digits before"),
        ({"type": "datetime", "timezone": "posixrules"}, "timezone", "Europe/Paris"),
        ({"type": "datetime", "timezone": "localtime"}, "timezone", "Europe/Paris"),
        ({"type": "datetime", "timezone": "+01:00"}, "timezone", "Europe/Paris"),
        ({"type": "datetime", "timezone": ""}, "timezone", "Europe/Paris"),
        ({"type": "datetime", "timezone": "europe/paris"}, "timezone", "'Europe/Paris'"),
        ({"type": "date", "format": "abc"}, "format", "%Y-%m-%d"),
        ({"type": "date", "format": ""}, "format", "%Y-%m-%d"),
        ({"type": "date", "format": "%Q"}, "format", "%Y-%m-%d"),
        ({"type": "date", "format": "%d.%m."}, "format", "%Y-%m-%d"),
        ({"type": "date", "format": "%s"}, "format", "%Y-%m-%d"),
        ({"type": "datetime", "format": "abc"}, "format", "%Y-%m-%d %H:%M:%S"),
        ({"type": "datetime", "format": "%Q"}, "format", "%Y-%m-%d %H:%M:%S"),
        ({"type": "datetime", "format": "%H:%M"}, "format", "%Y-%m-%d %H:%M:%S"),
        ({"type": "datetime", "format": "%H:%M%z"}, "format", "%Y-%m-%d %H:%M:%S"),
        ({"type": "datetime", "format": "%Y-%m-%d %H"}, "format", "hour and minute"),
        ({"type": "datetime", "format": "%Y-%m-%d %I:%M"}, "format", "meridiem"),
        ({"type": "datetime", "format": "%Y-%m-%dT%H:%M:%S.%f"}, "format", "%.f"),
        ({"type": "datetime", "format": "%+"}, "format", "%:z"),
    ],
)
def test_a_mistake_in_a_column_is_told(column, key, says):
    problems = problems_of(columns={"at": {"type": "datetime"}, "x": column})
    assert list(problems) == [f"columns.x.{key}"]
    assert says in problems[f"columns.x.{key}"]


@pytest.mark.parametrize(
    "column",
    [
        {"type": "date", "format": "%d/%m/%y"},
        {"type": "date", "format": "%e %B %Y, %A"},
        {"type": "date", "format": "%Y-%j"},
        {"type": "date", "format": "%Y-%m"},
        {"type": "date", "format": "%Y-%m-%d %H:%M:%S"},
        {"type": "datetime", "format": "%Y%m%d"},
        {"type": "datetime", "format": "%m/%d/%Y %I:%M %p"},
        {"type": "datetime", "format": "%d.%m.%Y %H:%M:%S%.f", "timezone": "Europe/Paris"},
        {"type": "datetime", "format": "%Y-%m-%dT%H:%M:%S,%3f%z"},
        {"type": "datetime", "format": "%Y-%m-%dT%H:%M:%S%:z"},
        {"type": "datetime", "format": "%Y-%m-%dT%H:%M:%S%#z"},
        {"type": "datetime", "format": "%Y-%m-%d %H:%M %Z"},
        {"type": "datetime", "format": "%s"},
        {"type": "datetime", "format": "epoch_ms"},
        {"type": "datetime", "timezone": "Etc/GMT+1"},
        {"type": "integer", "checks": {"in_range": [-(2**63), 2**63 - 1]}},
        {"type": "decimal", "precision": 4, "scale": 2, "checks": {"isin": [99.99, "-1.5000", 0, "0e50"]}},
        {"type": "float", "checks": {"le": float("inf")}},
    ],
    ids=str,
)
def test_what_can_be_read_and_computed_is_accepted_and_computes(column):
    x = contract_of({"x": column}).columns[1]
    row = pl.DataFrame({"x": [None]}, schema={"x": polars_type(x)})
    assert row.select(check_expression(check, x) for check in x.checks).width == len(x.checks)


def test_panderas_long_names_and_all_argument_styles_mean_the_same():
    def check(**checks) -> Contract:
        return contract_of({"n": {"type": "integer", "checks": checks}})

    ranges = [
        check(in_range=[1, 9]),
        check(in_range={"min_value": 1, "max_value": 9}),
        check(between={"min_value": 1, "max_value": 9}),
    ]
    assert len({repr(contract.columns[1].checks) for contract in ranges}) == 1
    assert check(ge=1).columns == check(greater_than_or_equal_to={"min_value": 1}).columns


DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["reference/contract.md", "how-to/add-a-datasource.md"])
def test_contracts_shown_in_the_documentation_are_right(page, tmp_path):
    text = textwrap.dedent(re.findall(r"```yaml\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)[0])
    name = re.findall(r"^ *datasource: (\w+)", text, re.MULTILINE)[0]
    assert load_contract(write(tmp_path, name, text=text)).datasource == name


def test_expectations_shown_in_the_documentation_are_right():
    shown = re.findall(
        r"expect: \{.*?\}(?=`|$)", (DOCS / "how-to/expect-files.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(shown) >= 6
    for text in shown:
        contract_of(**yaml.safe_load(text))


def test_the_reference_has_every_key_check_and_rule():
    text = (DOCS / "reference/contract.md").read_text(encoding="utf-8")
    words = set(re.findall(r"`([a-z_]+)`", text))
    assert set(ContractDocument.model_fields) - words == set()
    assert set(CHECKS) - words == set()
    for part in ("columns", "format", "time", "reject", "druid", "expect", "after_load"):
        assert set(known_keys([part])) - words - {"column", "min", "max", "keep"} == set()


def test_what_becomes_of_a_loaded_upload_is_the_contracts_to_say() -> None:
    assert contract_of().after_load == AfterLoad(action="keep", minimum_age=timedelta(days=1), to="loaded/")
    moved = contract_of(after_load={"action": "move", "minimum_age": "36h", "to": "loaded/old/"}).after_load
    assert moved == AfterLoad(action="move", minimum_age=timedelta(hours=36), to="loaded/old/")


@pytest.mark.parametrize(
    ("after_load", "key"),
    [
        ({"action": "shred"}, "after_load.action"),
        ({"action": "delete", "minimum_age": "a while"}, "after_load.minimum_age"),
        ({"action": "delete", "minimum_age": "1.5d"}, "after_load.minimum_age"),
        ({"action": "move", "to": "archive/"}, "after_load.to"),
        ({"action": "move", "to": "loaded/old"}, "after_load.to"),
        ({"action": "delete", "to": "loaded/old/"}, "after_load.to"),
    ],
)
def test_mistakes_about_loaded_uploads_are_told(after_load: dict[str, str], key: str) -> None:
    assert set(problems_of(after_load=after_load)) == {key}
