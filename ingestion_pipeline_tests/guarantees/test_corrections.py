"""Corrections, replays, undos and fixes of rejected rows on the running system: exactly that file's rows change."""

import hashlib
import json
from typing import Any
from uuid import uuid4

import pytest

from ingestion_pipeline.domain.job import Cause
from ingestion_pipeline_tests.guarantees.system import System, now, put_again, readings

pytestmark = pytest.mark.stack

DAY = "2024-05-01"


def rows_by_job(system: System, datasource: str) -> dict[str, str]:
    """A hash of every job's full rows; equal hashes mean that no cell of a row has changed."""
    try:
        found = system.sql(f'SELECT * FROM "{datasource}"')
    except AssertionError as error:
        # What has no row left is no table, as soon as the broker has looked again.
        if f"Object '{datasource}' not found" not in str(error):
            raise
        return {}
    rows: dict[str, list[str]] = {}
    for row in found:
        rows.setdefault(str(row["__job_id"]), []).append(json.dumps(row, sort_keys=True))
    return {job: hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest() for job, texts in rows.items()}


def change(system: System, cause: Cause, job: dict[str, Any]) -> dict[str, Any]:
    """Order a replay or an undo; the new job once it is over."""
    (job_id,) = system.ledger.corrections.begin(cause, [job["job_id"]], new_ids=[str(uuid4())], now=now())
    return system.finished_job(job_id)


def load(system: System, name: str, text: str, *, datasource: str = "corrected") -> dict[str, Any]:
    return put_again(system, f"exports/{datasource}/{DAY}/{name}.csv", text)


def outcome(job: dict[str, Any]) -> tuple[str, str]:
    return job["status"], job["outcome"]


def test_a_new_version_of_a_key_replaces_the_old_ones_rows_and_no_others(system: System) -> None:
    first = load(system, "one", readings(40))
    other = load(system, "two", readings(30, place="attic"))
    before = rows_by_job(system, "corrected")

    changed = load(system, "one", readings(60, place="cellar"))

    assert outcome(changed) == ("completed", "loaded")
    assert outcome(system.job(first["job_id"])) == ("completed", "replaced")
    after = rows_by_job(system, "corrected")
    assert after.keys() == {changed["job_id"], other["job_id"]}
    assert after[other["job_id"]] == before[other["job_id"]]
    assert system.counted("corrected", changed["job_id"]) == 60
    assert changed["result"]["replaced"] == [first["job_id"]]
    (attempt,) = system.attempts_of(changed["job_id"])
    assert (attempt["kind"], attempt["state"]) == ("replace", "proved")

    # Back to the first content: the old rows again, as those of a new job.
    back = load(system, "one", readings(40))
    assert outcome(back) == ("completed", "loaded")
    assert system.counted("corrected") == 70


def test_a_replay_loads_the_same_file_again_in_place_of_itself(system: System) -> None:
    first = load(system, "replayed", readings(25, place="hall"))
    before = rows_by_job(system, "corrected")

    again = change(system, Cause.REPLAY, first)

    assert outcome(again) == ("completed", "loaded")
    after = rows_by_job(system, "corrected")
    assert {job: text for job, text in after.items() if job != again["job_id"]} == {
        job: text for job, text in before.items() if job != first["job_id"]
    }
    assert system.counted("corrected", again["job_id"]) == 25
    assert outcome(system.job(first["job_id"])) == ("completed", "replaced")


def test_an_undo_takes_out_one_files_rows_and_the_file_can_be_loaded_again(system: System) -> None:
    first = load(system, "undone", readings(20, place="porch"))
    before = rows_by_job(system, "corrected")

    undo = change(system, Cause.UNDO, first)

    assert outcome(undo) == ("completed", "undone")
    assert outcome(system.job(first["job_id"])) == ("completed", "undone")
    assert rows_by_job(system, "corrected") == {job: text for job, text in before.items() if job != first["job_id"]}

    pointless = change(system, Cause.UNDO, first)
    assert outcome(pointless) == ("completed", "superseded")

    again = change(system, Cause.REPLAY, first)
    assert outcome(again) == ("completed", "loaded")
    assert system.counted("corrected", again["job_id"]) == 20


def test_the_only_file_of_a_datasource_can_be_undone_and_others_loaded_afterwards(system: System) -> None:
    only = load(system, "only", readings(10), datasource="alone")
    assert outcome(change(system, Cause.UNDO, only)) == ("completed", "undone")
    assert rows_by_job(system, "alone") == {}

    after = load(system, "after", readings(12), datasource="alone")
    assert outcome(after) == ("completed", "loaded")
    assert system.counted("alone") == 12


def test_a_new_version_without_rows_takes_the_old_ones_rows_out(system: System) -> None:
    first = load(system, "emptied", readings(15, place="loft"))
    empty = load(system, "emptied", "at,place,value\n")
    assert outcome(empty) == ("completed", "empty")
    assert system.counted("corrected", first["job_id"]) == 0
    assert outcome(system.job(first["job_id"])) == ("completed", "replaced")


def test_a_version_that_cannot_be_loaded_leaves_the_old_rows_where_they_are(system: System) -> None:
    first = load(system, "kept", readings(15, place="yard"))
    bad = load(system, "kept", readings(5, bad=5))
    assert outcome(bad) == ("failed", "no_accepted_rows")
    assert outcome(system.job(first["job_id"])) == ("completed", "loaded")
    assert system.counted("corrected", first["job_id"]) == 15
