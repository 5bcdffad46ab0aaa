"""`upload --replaces`, `resubmit` and `rejected` into the real ledger and the real bucket."""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest

from ingestion_pipeline.adapters.contracts import load_contracts
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs import bucket_sink
from ingestion_pipeline.defs.bucket_sink import BucketSink
from ingestion_pipeline.domain.job import Cause, Outcome
from ingestion_pipeline.settings import load_settings
from ingestion_pipeline.stages.quarantine import workbook
from ingestion_pipeline.stages.transform import CleanedText
from ingestion_pipeline.stages.validate import rejects, validate
from ingestion_pipeline_tests.conftest import LedgerDatabase, S3Access
from ingestion_pipeline_tests.entrypoints.command_line import Call, caller
from ingestion_pipeline_tests.entrypoints.runs import Runs

DAY = date(2024, 5, 4)
HEADER = "ordered_at,order_id,product,quantity,price,coupon\n"
GOOD = "2024-05-04T08:12:00Z,13,tea,6,3.20,\n"
ZERO = "2024-05-04T10:40:30Z,14,coffee,0,-2.80,\n"  # two rules broken
LONG = '2024-05-04T13:05:10Z,15,"co\nco;a",8,3.00,"MAY ""24"""\n'
CUT = "2024-05-04T17:55:45Z,16,tea\n"
ORDERS = HEADER + GOOD + ZERO + LONG + CUT


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    postgres: LedgerDatabase,
    s3: S3Access,
) -> Call:
    contracts = tmp_path / "contracts"
    contracts.mkdir()
    text = (Path(__file__).parents[2] / "docs" / "tutorial" / "orders.yaml").read_text()
    (contracts / "orders.yaml").write_text(text)
    for name, value in {
        "DATA_DIR": str(tmp_path),
        "CONTRACTS_DIR": str(contracts),
        "LEDGER_URL": postgres.pipeline_url,
        "S3_ENDPOINT_URL": s3.endpoint_url,
        "S3_REGION": s3.region,
        "S3_BUCKET": s3.bucket,
        "S3_ACCESS_KEY_ID": s3.access_key_id,
        "S3_SECRET_ACCESS_KEY": s3.secret_access_key,
        "DAGSTER_URL": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(f"INGESTION_{name}", value)
    return caller(capsys)


@pytest.fixture
def runs(call: Call, postgres: LedgerDatabase, request: pytest.FixtureRequest) -> Iterator[Runs]:
    ledger = Ledger(postgres.pipeline_url)
    name = f"resubmit-{abs(hash(request.node.name)) % 10**9}"
    ledger.discovery.add_organization(name)
    yield Runs(ledger, name, datasource="orders", bucket=load_settings().s3_bucket, day=DAY)
    ledger.close()


def loaded_orders(runs: Runs, text: str = ORDERS) -> str:
    """A file of orders that was really validated; its quarantine lies in the bucket."""
    job_id = runs.enter("orders.csv")
    settings = load_settings()
    contract = load_contracts(settings.contracts_dir).contracts["orders"]
    with ExitStack() as stack:
        base = f"{runs.organization}/orders/{job_id}/e1"
        cleaned = CleanedText(contract, job_id=job_id, organization=runs.organization)
        sink = BucketSink(ObjectStore.from_settings(settings), base, stack, text=cleaned)
        report = validate([text.encode()], contract=contract, name="orders.csv", sink=sink)
    found: dict[str, Any] = report.as_dict()
    counts = {name: found.pop(name) for name in ("rows_accepted", "rows_rejected")}
    for name in ("rows_read", "rows_filtered"):
        del found[name]
    return runs.load(
        job_id,
        accepted=counts["rows_accepted"],
        rejected=counts["rows_rejected"],
        quarantine=sink.quarantine,
        **found,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fixed.csv"
    path.write_text(HEADER + ZERO.replace(",0,-", ",2,"))
    return path


def test_corrected_rows_are_sent_as_a_child_of_the_files_first_job(call: Call, runs: Runs, file: Path) -> None:
    job_id = loaded_orders(runs)
    answer = call("resubmit", job_id[:8], file, "--json")
    assert answer.code == 0, answer.err
    assert f"Open of job {job_id[:8]} (orders.csv): 3 of 3 rejected rows." in answer.err
    (sent,) = answer.json
    assert sent["key"] == f"uploads/{runs.organization}/orders/{DAY}/{sent['job_id']}/fixed.csv"
    made = runs.job(sent["job_id"])
    assert (made.cause, made.parent_job_id, made.partition_day) == (Cause.RESUBMIT, job_id, DAY)
    assert ObjectStore.from_settings(load_settings()).get(sent["key"]) == file.read_bytes()


def test_two_corrections_of_a_file_are_not_sent_at_once(call: Call, runs: Runs, file: Path) -> None:
    job_id = loaded_orders(runs)
    assert call("resubmit", job_id, file).code == 0
    answer = call("resubmit", job_id, file)
    assert (answer.code, "has not ended yet" in answer.err) == (1, True)


def test_what_a_correction_rejected_again_goes_to_the_same_family(call: Call, runs: Runs, file: Path) -> None:
    job_id = loaded_orders(runs)
    fix = runs.fixed(job_id, "fix.csv", accepted=1, rejected=2)
    answer = call("resubmit", fix, file, "--json")
    assert answer.code == 0, answer.err
    assert f"Open of job {job_id[:8]} (orders.csv): 2 of 3 rejected rows." in answer.err
    assert runs.job(answer.json[0]["job_id"]).parent_job_id == job_id


def test_a_file_takes_the_place_of_a_job(call: Call, runs: Runs, file: Path) -> None:
    job_id = loaded_orders(runs)
    fix = runs.fixed(job_id, "fix.csv", accepted=2)
    answer = call("upload", file, "-d", "orders", "--replaces", job_id[:8], "--json")
    assert answer.code == 0, answer.err
    assert f"the 1 row of job {job_id[:8]} (orders.csv) and the 2 rows of job {fix[:8]}" in answer.err
    (sent,) = answer.json
    made = runs.job(sent["job_id"])
    assert (made.cause, made.replaces_job_id, made.organization) == (Cause.UPLOADED, job_id, runs.organization)
    assert made.partition_day == DAY, "the day of the file that it replaces"
    runs.load(made.job_id, accepted=4)
    assert {runs.job(old).outcome for old in (job_id, fix)} == {Outcome.REPLACED}
    assert f"takes the place of job {job_id[:8]}" in call("status", made.job_id).out


def test_the_quarantine_of_a_file_can_be_had(call: Call, runs: Runs, tmp_path: Path) -> None:
    job_id = loaded_orders(runs)
    page = call("rejected", job_id).out.splitlines()
    assert page[0] == "line,column,rule,value,reason,row,neutralised"
    target = tmp_path / "rejected.csv"
    answer = call("rejected", job_id, "-o", target)
    assert (answer.code, answer.out) == (0, "")
    assert target.read_text().splitlines() == page
    assert "3 rejected rows in" in answer.err


def test_rejected_rows_can_be_had_as_the_file_had_them(call: Call, runs: Runs, tmp_path: Path) -> None:
    job_id = loaded_orders(runs)
    target = tmp_path / "fix.csv"
    answer = call("rejected", job_id, "--fixable", "-o", target)
    assert answer.code == 0, answer.err
    assert target.read_text() == HEADER + ZERO + LONG + CUT
    assert f"`ingestion-pipeline resubmit {job_id[:8]} {target}`" in answer.err
    assert call("rejected", job_id, "--fixable").out == target.read_text()


def test_rejected_rows_that_are_fixed_in_part_name_the_correction(call: Call, runs: Runs) -> None:
    job_id = loaded_orders(runs)
    fix = runs.fixed(job_id, "fix.csv", accepted=2, rejected=1)
    assert f"`ingestion-pipeline rejected {fix[:8]} --fixable`" in call("rejected", job_id, "--fixable").err


def test_corrections_are_not_written_over(call: Call, runs: Runs, file: Path) -> None:
    job_id, before = loaded_orders(runs), file.read_bytes()
    answer = call("rejected", job_id, "--fixable", "-o", file)
    assert (answer.code, "exists already" in answer.err) == (1, True)
    assert file.read_bytes() == before


def test_a_file_without_rejected_rows_has_none_to_give(call: Call, runs: Runs) -> None:
    job_id = loaded_orders(runs, HEADER + GOOD)
    answer = call("rejected", job_id)
    assert (answer.code, f"Job {job_id[:8]} has no rejected rows (completed/loaded)." in answer.err) == (1, True)


def test_cells_that_begin_like_formulas_are_neutralised_in_csv_and_exact_in_parquet(
    call: Call, runs: Runs, tmp_path: Path
) -> None:
    job_id = loaded_orders(runs, HEADER + GOOD + GOOD.replace("tea,6", "tea,=1+1"))
    answer = call("rejected", job_id)
    (entry,) = csv.DictReader(io.StringIO(answer.out))
    assert (entry["value"], entry["neutralised"]) == ("'=1+1", "value")
    assert "1 line had cells that begin like a formula" in answer.err
    assert call("rejected", job_id, "-o", tmp_path / "rows.parquet").code == 0
    assert pl.read_parquet(tmp_path / "rows.parquet").select("value", "row").row(0) == (
        "=1+1",
        GOOD.replace("tea,6", "tea,=1+1").strip(),
    )


def test_rejected_rows_of_many_objects_become_one_parquet_file(
    call: Call, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_sink, "_PARQUET_BYTES", 1)
    monkeypatch.setattr(rejects, "MAX_ENTRIES", 1)
    job_id = loaded_orders(runs)
    told = call("rejected", job_id, "--json").json
    assert len(told["parquet"]) == 3
    assert call("rejected", job_id, "-o", tmp_path / "rows.parquet").code == 0
    rows = pl.read_parquet(tmp_path / "rows.parquet")
    assert rows["row"].drop_nulls().to_list() == [text.strip() for text in (ZERO, LONG, CUT)]
    assert call("rejected", job_id, "--fixable").out == HEADER + ZERO + LONG + CUT


def test_rejected_rows_can_be_had_as_a_workbook(call: Call, runs: Runs, tmp_path: Path) -> None:
    job_id = loaded_orders(runs)
    answer = call("rejected", job_id, "-o", tmp_path / "rows.xlsx")
    assert answer.code == 0, answer.err
    assert "3 rejected rows in" in answer.err
    assert f"`ingestion-pipeline rejected {job_id[:8]} --fixable --output FILE`" in answer.err
    book = openpyxl.load_workbook(tmp_path / "rows.xlsx")
    rows = [[cell.value for cell in row] for row in book["Rejected rows"].iter_rows()]
    assert rows[0] == ["line", "what is wrong", *HEADER.strip().split(",")]
    assert [row[0] for row in rows[1:]] == [3, 4, 6]
    assert rows[2][2:] == ["2024-05-04T13:05:10Z", "15", "co\nco;a", "8", "3.00", 'MAY "24"']
    notes = [row[0].value for row in book["Counts"].iter_rows()]
    assert f"File orders.csv, job {job_id}." in notes
    assert any("--fixable" in str(note) for note in notes)


def test_rows_of_json_are_to_be_corrected_in_their_file(call: Call, runs: Runs, tmp_path: Path) -> None:
    names = HEADER.strip().split(",")
    rows = (dict(zip(names, line.strip().split(","), strict=True)) for line in (GOOD, ZERO))
    job_id = loaded_orders(runs, "".join(json.dumps(row) + "\n" for row in rows))
    answer = call("rejected", job_id, "-o", tmp_path / "rows.xlsx")
    assert f"`ingestion-pipeline upload FILE --replaces {job_id[:8]}`" in answer.err
    assert "only rows of delimited text can be corrected by themselves" in call("rejected", job_id, "--fixable").err


def test_a_workbook_that_has_not_all_says_so(
    call: Call, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbook, "MAX_ROWS", 2)
    answer = call("rejected", loaded_orders(runs), "-o", tmp_path / "rows.xlsx")
    assert "The first 2 of 3 rejected rows in" in answer.err


def test_machines_are_told_where_the_rows_are_and_what_is_wrong(call: Call, runs: Runs, tmp_path: Path) -> None:
    job_id = loaded_orders(runs)
    told = call("rejected", job_id, "--json").json
    assert (told["job_id"], told["rows_rejected"], told["rows_open"], told["entries"]) == (job_id, 3, 3, 4)
    assert {"column": "", "rule": "row_shape", "count": 1} in told["rule_counts"]
    assert (told["output"], told["rows_written"]) == (None, None)
    bucket = ObjectStore.from_settings(load_settings())
    for url in (told["csv"], *told["parquet"]):
        assert bucket.head(url.removeprefix(bucket.url(""))) is not None
    for words in ((), ("--fixable",)):
        target = tmp_path / f"rows{len(words)}.csv"
        written = call("rejected", job_id, *words, "-o", target, "--json").json
        assert (written["output"], written["rows_written"]) == (str(target), 3)
        assert target.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-o", "rows.pdf"), "Its suffix may be .csv, .parquet, .xlsx"),
        (("--fixable", "-o", "rows.xlsx"), "--fixable writes lines of text"),
        (("--fixable", "--json"), "Name a file: --output FILE"),
    ],
    ids=["unknown-suffix", "fixable-workbook", "two-outputs"],
)
def test_what_cannot_be_written_is_told_before_anything_is_asked(call: Call, words: tuple[str, ...], says: str) -> None:
    answer = call("rejected", "nothing.csv", *words)
    assert (answer.code, says in answer.err) == (1, True), answer.err


def test_a_quarantine_that_was_deleted_is_one_clear_error(call: Call, runs: Runs, tmp_path: Path) -> None:
    job_id = loaded_orders(runs)
    told = call("rejected", job_id, "--json").json
    bucket = ObjectStore.from_settings(load_settings())
    bucket.delete([url.removeprefix(bucket.url("")) for url in (told["csv"], *told["parquet"])])
    for name, *words in (("new.csv",), ("new.csv", "--fixable"), ("new.xlsx",), ("new.parquet",)):
        answer = call("rejected", job_id, *words, "-o", tmp_path / name)
        assert (answer.code, "are not kept any more" in answer.err) == (1, True), answer.err
        assert list(tmp_path.glob("new.*")) == []
