"""The Python module beside a contract: its checks reject rows, its transform changes them, its mistakes are told."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ingestion_pipeline.adapters.contracts import load_contract, load_contracts
from ingestion_pipeline.cli.contract import app
from ingestion_pipeline.errors import ContractError
from ingestion_pipeline.stages.validate import validate
from ingestion_pipeline_tests.unit.contracts import KeptRows, problems_of

YAML = """\
datasource: things
partition_start: 2020-01-01
time: {column: at}
module: things.py
unique: [n]
columns:
  at: {type: datetime}
  n: {type: integer, checks: {ge: 0}}
  word: {type: string, nullable: true}
"""
MODEL = """\
import pandera.polars as pa
import polars as pl

class Things(pa.DataFrameModel):
    n: int
    word: str = pa.Field(nullable=True, str_startswith="a")

    @pa.check("n")
    def even(cls, data) -> pl.LazyFrame:
        "must be even"
        return data.lazyframe.select(pl.col(data.key) % 2 == 0)

    @pa.dataframe_check
    def shorter(cls, data) -> pl.LazyFrame:
        return data.lazyframe.select(pl.col("word").str.len_chars() < pl.col("n"))
"""
TRANSFORM = """\
import polars as pl

def transform(rows):
    return rows.filter(pl.col("n") != 4).with_columns(pl.col("word").str.to_uppercase())
"""
HEADER = "at,n,word\n"


def contract(directory: Path, source: str, yaml: str = YAML):
    (directory / "things.py").write_text(source)
    (directory / "things.yaml").write_text(yaml)
    return load_contract(directory / "things.yaml")


def load(directory: Path, source: str, text: str, chunk_bytes: int = 8 << 20):
    sink = KeptRows()
    report = validate(
        [text.encode()], contract=contract(directory, source), name="f", sink=sink, chunk_bytes=chunk_bytes
    )
    assert report.rows_read == report.rows_accepted + report.rows_rejected + report.rows_filtered
    assert report.rows_accepted == sum(part.height for part in sink.parts)
    return report, sink


@pytest.mark.parametrize("chunk_bytes", [8 << 20, 30])
def test_rows_that_a_models_checks_refuse_are_rejected_with_the_checks_name(tmp_path, chunk_bytes):
    rows = ["2024-05-01,3,a", "2024-05-01,x,b", "2024-05-01,4,b", "2024-05-01,4,a", "2024-05-01,2,abc", "2024-05-01,6,"]
    report, sink = load(tmp_path, MODEL, HEADER + "\n".join(rows) + "\n", chunk_bytes)
    assert sink.broken == [
        (2, "n", "even"),
        (3, "n", "type"),
        (4, "word", "str_startswith"),
        (6, "", "shorter"),
    ]
    assert sink.rows["n"].to_list() == [4, 6]  # the rejected 4 claims no key
    assert sink.rejects[0].select("value", "reason", "row").row(0) == ("3", "must be even", "2024-05-01,3,a")
    assert {"column": "n", "rule": "even", "count": 1} in report.rule_counts


def test_a_transform_changes_accepted_rows_and_those_that_it_leaves_out_are_filtered(tmp_path):
    report, sink = load(tmp_path, TRANSFORM, HEADER + "2024-05-01,1,a\n2024-05-02,4,b\n2024-05-01,-1,c\n")
    assert sink.rows.select("n", "word").rows() == [(1, "A")]
    assert (report.rows_read, report.rows_accepted, report.rows_rejected, report.rows_filtered) == (3, 1, 1, 1)
    assert [chunk.isoformat() for chunk in report.time_chunks] == ["2024-05-01T00:00:00+00:00"]
    assert report.preview[0]["word"] == "A"


def test_the_version_is_of_both_files_and_reading_the_contract_runs_nothing(tmp_path):
    ran = tmp_path / "ran"
    source = f"open({str(ran)!r}, 'w').close()\n" + TRANSFORM
    first = contract(tmp_path, source).version
    again = load_contracts(tmp_path).contracts["things"].version
    assert not ran.exists()
    changed = contract(tmp_path, source + "\n").version
    assert first == again != changed
    assert contract(tmp_path, source, YAML.replace("module: things.py\n", "")).module is None


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("x = 1\n\nraise ValueError('no')\n", 3, "it fails: ValueError: no"),
        ("import polars as pl\n", 1, "neither a DataFrameModel with a check nor a function transform"),
        ("def transform(rows):\n    x = 1\n    return rows.nothing()\n", 3, "transform fails: AttributeError"),
        ("def transform(rows):\n    return None\n", 1, "transform fails: AttributeError"),
        (TRANSFORM.replace('"n"', '"m"'), 1, "transform fails: ColumnNotFoundError"),
        ("def transform(rows):\n    return rows.drop('word')\n", 1, "leaves out the column 'word'"),
        ("def transform(rows):\n    return rows.with_row_index()\n", 1, "adds the column 'index'"),
        ("def transform(rows):\n    return rows.cast({'n': str})\n", 1, "makes 'n' String; the contract has Int64"),
        (MODEL.replace("    n: int", "    m: int").replace('"n"', '"m"'), 1, "'m', which the contract does not name"),
        (MODEL.replace("    n: int", "    n: str"), 1, "'n' as String; the contract has Int64"),
        (MODEL.replace("    n: int", "    n: int = pa.Field(unique=True)"), 1, "unique"),
        (MODEL.replace("% 2 == 0", ".sum() > 0"), 1, "the check even gives 1 answers for 0 rows"),
        (MODEL.replace('pl.col("word")', 'pl.col("wrd")'), 1, "the check shorter fails: ColumnNotFoundError"),
        (MODEL + "\nclass Others(Things):\n    pass\n", 1, "several models: Things, Others"),
    ],
)
def test_a_module_that_cannot_be_used_is_told_with_its_line_and_ends_a_validation(tmp_path, source, line, says):
    good = contract(tmp_path, source)
    with pytest.raises(ContractError) as error:
        validate([f"{HEADER}2024-05-01,2,a\n".encode()], contract=good, name="f", sink=KeptRows())
    assert says in error.value.message
    assert error.value.message.startswith("things.py:")
    assert not error.value.retryable
    result = CliRunner().invoke(app, ["check", str(tmp_path), "--json"])
    (problem,) = json.loads(result.output)["problems"]
    assert (result.exit_code, Path(problem["file"]).name, problem["key"]) == (1, "things.py", "module")
    assert says in problem["message"]
    assert problem["line"] == line or line == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("pl.lit(None, pl.Int64).alias('n')", "makes 'n' null"),
        ("pl.col('n') - 5", "break the rule ge of n"),
        ("pl.col('at') + pl.duration(days=40000)", "break the rule time_range of at"),
    ],
)
def test_what_a_transform_makes_keeps_the_contract_or_the_file_fails(tmp_path, change, says):
    source = f"import polars as pl\ndef transform(rows):\n    return rows.with_columns({change})\n"
    with pytest.raises(ContractError, match=says):
        load(tmp_path, source, f"{HEADER}2024-05-01,2,a\n")


def test_a_transform_may_not_add_rows(tmp_path):
    source = "import polars as pl\ndef transform(rows):\n    return pl.concat([rows, rows])\n"
    with pytest.raises(ContractError, match="makes 2 rows of 1"):
        load(tmp_path, source, f"{HEADER}2024-05-01,2,a\n")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = (\n", "things.py:1"),
        ("x = 1\ndef f(:\n", "things.py:2"),
        ("x = '\0'\n", "null bytes"),
        (None, "cannot be read"),
    ],
)
def test_a_module_that_is_no_python_disables_its_datasource_alone(tmp_path, source, says):
    (tmp_path / "things.yaml").write_text(YAML)
    (tmp_path / "others.yaml").write_text(YAML.replace("things", "others").replace("module: others.py\n", ""))
    if source is not None:
        (tmp_path / "things.py").write_text(source)
    book = load_contracts(tmp_path)
    assert list(book.contracts) == ["others"]
    (problem,) = book.broken[0].details["problems"]
    assert (problem["line"], problem["key"]) == (4, "module")
    assert says in problem["message"]


@pytest.mark.parametrize("name", ["../things.py", "things", "/etc/things.py", f"a{os.sep}b.py", 3])
def test_a_module_is_a_file_beside_the_contract(name):
    assert list(problems_of(module=name)) == ["module"]
