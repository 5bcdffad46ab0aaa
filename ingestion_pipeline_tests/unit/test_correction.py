"""What a job does to the rows of others: decided from the ledger's rows alone."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from ingestion_pipeline.domain.correction import effect_of, keeper, open_rejects, origin, related_id
from ingestion_pipeline.domain.job import Cause, Job, Lane, Outcome, Priority, Status
from ingestion_pipeline.errors import FamilyChanged

MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
JOB = Job(
    job_id="job",
    organization="acme",
    datasource="flights",
    bucket="bucket",
    object_key="exports/file.csv",
    version_id="",
    etag="1",
    size_bytes=1,
    last_modified=MOMENT,
    partition_day=date(2026, 1, 2),
    status=Status.PROCESSING,
    cause=Cause.DISCOVERED,
    lane=Lane.LIVE,
    priority=Priority.MEDIUM,
    lease_epoch=1,
    tries=1,
    retry_count=0,
    attempt_id=None,
    outcome=None,
    rows_read=10,
    rows_accepted=8,
    rows_rejected=2,
    rows_queryable=0,
    content_hash="hash",
    created_at=MOMENT,
)


def old(outcome: str, **changes: Any) -> Job:
    return replace(JOB, job_id="old", status=Status.COMPLETED, outcome=outcome, **changes)


FIX = old(Outcome.LOADED, object_key="uploads/fix.csv", cause=Cause.RESUBMIT, parent_job_id="old")
FIX = replace(FIX, job_id="fix")
REPLACED = old(Outcome.REPLACED, result={"replaced_by": "newer"})
UNDONE = old(Outcome.UNDONE, result={"replaced_by": "undo"})


def test_a_first_version_is_appended() -> None:
    assert effect_of(JOB, related=None, holders=[]).removes == ()


def test_a_new_version_takes_the_older_ones_and_their_corrections_out() -> None:
    assert effect_of(JOB, related=None, holders=[old(Outcome.LOADED), FIX]).removes == ("fix", "old")


def test_an_undo_of_a_job_without_rows_has_nothing_to_do_and_says_who_took_them() -> None:
    undo = replace(JOB, cause=Cause.UNDO, replaces_job_id="old", parent_job_id="old")

    assert effect_of(undo, related=old(Outcome.LOADED), holders=[old(Outcome.LOADED)]).removes == ("old",)
    effect = effect_of(undo, related=REPLACED, holders=[])

    assert effect.removes == ()
    assert "by job newer" in (effect.pointless or "")


def test_a_replay_of_what_was_replaced_meanwhile_loads_nothing() -> None:
    effect = effect_of(replace(JOB, cause=Cause.REPLAY, parent_job_id="old"), related=REPLACED, holders=[])
    assert "out of date" in (effect.pointless or "")


def test_a_replay_of_what_was_undone_loads_it_again() -> None:
    effect = effect_of(replace(JOB, cause=Cause.REPLAY, parent_job_id="old"), related=UNDONE, holders=[])
    assert effect.pointless is None
    assert effect.removes == ()


@pytest.mark.parametrize("parent", [REPLACED, UNDONE], ids=lambda job: job.outcome)
def test_a_correction_of_rejected_rows_fails_when_its_file_is_gone(parent: Job) -> None:
    with pytest.raises(FamilyChanged, match="no rows in Druid any more"):
        effect_of(replace(JOB, cause=Cause.RESUBMIT, parent_job_id="old"), related=parent, holders=[])


def test_an_ordered_replacement_of_what_was_replaced_meanwhile_fails() -> None:
    with pytest.raises(FamilyChanged, match="was replaced meanwhile: job old was replaced by job newer"):
        effect_of(replace(JOB, cause=Cause.UPLOADED, replaces_job_id="old"), related=REPLACED, holders=[])


LATER = MOMENT + timedelta(seconds=5)


@pytest.mark.parametrize("cause", [Cause.DISCOVERED, Cause.RETRY, Cause.REPLAY])
def test_what_comes_after_a_newer_version_of_its_key_was_loaded_loads_nothing(cause: Cause) -> None:
    newer = old(Outcome.LOADED, etag="2", last_modified=LATER)
    effect = effect_of(replace(JOB, cause=cause, created_at=LATER), related=None, holders=[newer])
    assert (effect.removes, "newer version of its key" in (effect.pointless or "")) == ((), True)


def test_of_two_versions_of_one_second_a_replay_of_the_first_does_not_take_the_place_of_the_second() -> None:
    second = old(Outcome.LOADED, etag="2", created_at=LATER)
    replay = replace(JOB, cause=Cause.REPLAY, created_at=LATER + timedelta(seconds=5))
    assert effect_of(replay, related=None, holders=[second]).pointless is not None
    later = replace(JOB, etag="3", created_at=LATER + timedelta(seconds=5))
    assert effect_of(later, related=None, holders=[second]).removes == ("old",)


@pytest.mark.parametrize("changes", [{"etag": "1"}, {"object_key": "uploads/other.csv"}], ids=["same", "ordered"])
def test_a_replay_of_the_loaded_version_and_an_ordered_replacement_take_its_place(changes: dict[str, Any]) -> None:
    holder = old(Outcome.LOADED, last_modified=LATER, **{"etag": "2", **changes})
    assert effect_of(replace(JOB, cause=Cause.REPLAY), related=None, holders=[holder]).removes == ("old",)


def test_what_tries_a_failed_job_again_is_about_what_that_one_was_about() -> None:
    root = old(Outcome.REPLACED, result={"replaced_by": "newer"})
    failed = {"status": Status.FAILED, "outcome": "s3_unavailable"}
    fix = replace(JOB, job_id="fix", cause=Cause.RESUBMIT, parent_job_id="old", **failed)
    again = replace(JOB, job_id="again", cause=Cause.RETRY, parent_job_id="fix", **failed)
    replay = replace(JOB, job_id="replay", cause=Cause.REPLAY, parent_job_id="again")

    first = origin(replay, [root, fix, again, replay])

    assert (first.job_id, related_id(first)) == ("fix", "old")
    with pytest.raises(FamilyChanged, match="no rows in Druid any more"):
        effect_of(replay, cause=first.cause, related=root, holders=[])


def test_a_replay_of_what_was_loaded_is_its_own_errand() -> None:
    replay = replace(JOB, job_id="replay", cause=Cause.REPLAY, parent_job_id="old")
    again = replace(JOB, job_id="again", cause=Cause.RETRY, parent_job_id="replay")
    failed = replace(replay, status=Status.FAILED, outcome="task_failed")

    assert origin(replay, [old(Outcome.UNDONE), replay]) is replay
    assert origin(again, [REPLACED, failed, again]) is failed
    assert "out of date" in (effect_of(again, cause=Cause.REPLAY, related=REPLACED, holders=[]).pointless or "")


def test_a_failure_after_which_rows_may_be_there_counts_as_holding_rows_until_something_took_its_place() -> None:
    assert replace(JOB, status=Status.FAILED, outcome="unproved").holds_rows
    assert not replace(JOB, status=Status.FAILED, outcome="unproved", result={"replaced_by": "x"}).holds_rows
    assert not replace(JOB, status=Status.FAILED, outcome="unreadable").holds_rows


def test_open_rejects_are_those_that_no_loaded_correction_has_brought_in() -> None:
    root = old(Outcome.LOADED_WITH_REJECTS, rows_rejected=5)
    fix = replace(root, job_id="fix", cause=Cause.RESUBMIT, parent_job_id="old", rows_accepted=2, rows_rejected=1)
    failed = replace(fix, job_id="failed", status=Status.FAILED, outcome="unreadable")
    again = replace(fix, job_id="again", cause=Cause.RETRY, parent_job_id="failed", rows_accepted=1)
    undo = replace(fix, job_id="undo", cause=Cause.UNDO, outcome=Outcome.UNDONE, rows_accepted=0)

    assert open_rejects([root]) == 5
    assert open_rejects([root, fix, failed, undo]) == 3
    assert open_rejects([root, fix, failed, again]) == 2
    assert open_rejects([root, replace(fix, outcome=Outcome.UNDONE)]) == 5


def test_after_a_replay_the_open_rejects_are_those_of_the_job_that_has_the_files_rows_now() -> None:
    root = old(Outcome.REPLACED, rows_rejected=5)
    replay = replace(JOB, job_id="replay", cause=Cause.REPLAY, outcome=Outcome.LOADED_WITH_REJECTS, rows_rejected=3)
    fix = replace(replay, job_id="fix", cause=Cause.RESUBMIT, parent_job_id="replay", rows_accepted=1)
    again = replace(fix, job_id="again", cause=Cause.RETRY, parent_job_id="tried")
    tried = replace(fix, job_id="tried", cause=Cause.RETRY, parent_job_id="failed", outcome="unreadable")
    failed = replace(fix, job_id="failed", outcome="unreadable")

    assert keeper([root, replay, fix]).job_id == "replay"
    assert open_rejects([root, replay, fix]) == 2
    assert open_rejects([root, replay, failed, tried, again]) == 2
