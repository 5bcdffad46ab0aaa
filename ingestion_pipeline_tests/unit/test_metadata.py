"""What a run shows on its page: numbers that add up, and no customer's text that acts as Markdown or HTML."""

from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.adapters.postgres_jobs import DayTotals
from ingestion_pipeline.defs.metadata import FILES_SHOWN, RULES_SHOWN, markdown_table, run_metadata
from ingestion_pipeline.domain.job import Cause, Job, Lane, Priority, Status

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TOTALS = DayTotals(
    files=9, completed=7, failed=1, waiting=1, rows_accepted=70, rows_rejected=3, rows_queryable=70
)  # fmt: skip


def job(number: int = 1, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "job_id": f"{number:08d}-0000-0000-0000-000000000000",
        "organization": "acme",
        "datasource": "things",
        "bucket": "b",
        "object_key": f"uploads/{number}.csv",
        "version_id": "",
        "etag": "e",
        "size_bytes": 100,
        "last_modified": NOW,
        "partition_day": date(2026, 3, 1),
        "status": Status.COMPLETED,
        "cause": Cause.DISCOVERED,
        "lane": Lane.LIVE,
        "priority": Priority.MEDIUM,
        "lease_epoch": 1,
        "tries": 1,
        "retry_count": 0,
        "attempt_id": "t1",
        "outcome": "loaded_with_rejects",
        "rows_read": 10,
        "rows_accepted": 8,
        "rows_rejected": 2,
        "rows_queryable": 8,
        "content_hash": "h",
        "created_at": NOW,
    }
    return Job(**(values | changes))


def shown(*jobs: Job, **changes: Any) -> dict[str, Any]:
    given_values: dict[str, Any] = {"totals": TOTALS, "task_ids": ["t1"], "notes": [], "bucket": "b"}
    return run_metadata(jobs, **(given_values | changes))


def test_the_numbers_are_sums_over_the_run_and_the_day_is_the_ledger_s() -> None:
    numbers = shown(job(1), job(2, rows_rejected=0, rows_read=8))
    assert (numbers["rows_read"], numbers["rows_accepted"], numbers["rows_rejected"]) == (18, 16, 2)
    assert numbers["rejected_fraction"] == round(2 / 18, 6)
    assert (numbers["files"], numbers["bytes"], numbers["day_files"]) == (2, 200, 9)
    assert numbers["dagster/row_count"] == 70


def test_a_run_without_jobs_shows_noughts_and_its_notes() -> None:
    numbers = shown(notes=["Nothing waits."], task_ids=[])
    assert (numbers["files"], numbers["rejected_fraction"], numbers["notes"]) == (0, 0.0, "Nothing waits.")
    assert "file_table" not in numbers


def test_rejected_rows_are_linked_and_a_long_batch_is_cut_with_a_word() -> None:
    numbers = shown(*(job(number, rows_rejected=number % 2) for number in range(FILES_SHOWN + 5)))
    assert isinstance(numbers["file_table"], dg.MarkdownMetadataValue)
    assert "and 5 more" in str(numbers["file_table"].value)
    assert "s3://b/quarantine/acme/things/" in str(numbers["quarantine"].value)


def test_rejected_rows_are_counted_by_rule_and_column_over_the_run() -> None:
    first = [{"column": "n", "rule": "type", "count": 2000}, {"column": "", "rule": "row_shape", "count": 3}]
    second = [{"column": "n|m", "rule": "type", "count": 1}, {"column": "", "rule": "row_shape", "count": 4}]
    numbers = shown(job(1, result={"rule_counts": first}), job(2, result={"rule_counts": second}), job(3))
    assert str(numbers["rejected_by_rule"].value).splitlines()[2:] == [
        "| n | type | 2,000 |",
        "| (the whole row) | row&#95;shape | 7 |",
        "| n&#124;m | type | 1 |",
    ]
    many = [{"column": f"c{number}", "rule": "type", "count": 1} for number in range(RULES_SHOWN + 2)]
    assert "and 2 more" in str(shown(job(result={"rule_counts": many}))["rejected_by_rule"].value)
    assert "rejected_by_rule" not in shown(job(result={"rule_counts": []}))


def test_a_preview_is_shown_with_the_schema_that_was_seen() -> None:
    numbers = shown(job(1, result={"preview": {"columns": ["n"], "rows": [[1]]}, "schema": [["n", "Int64"]]}))
    assert "| n |" in str(numbers["preview"].value)
    assert numbers["dagster/column_schema"].columns[0].name == "n"


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b"]), st.text() | st.none() | st.floats()), max_size=4))
@settings(deadline=None)
def test_a_cell_stays_in_its_cell_and_is_never_markup(rows: list[dict[str, Any]]) -> None:
    rows = [{"a": None, **row} for row in rows]
    table = markdown_table(rows)
    lines = table.split("\n") if table else []
    assert len(lines) == (len(rows) + 2 if rows else 0)
    for line in lines[2:]:
        assert line.count("|") == len(rows[0]) + 1
        assert not set(line) & set("<>`*_[]!\\~")


def test_files_that_are_not_loaded_have_the_command_that_tells_why() -> None:
    failed = job(2, status=Status.FAILED, outcome="unreadable", object_key="a/`x`<b>.csv")
    asked = shown(job(1), failed)["why"].value
    assert asked == "- `ingestion-pipeline why 00000002` &#96;x&#96;&lt;b&gt;.csv"
    assert "why" not in shown(job(1))
