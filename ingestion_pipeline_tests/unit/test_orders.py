"""What may be ordered about a job, and why not: the refusals that need no ledger."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from ingestion_pipeline.domain.job import Cause, Job, Lane, Outcome, Priority, Status
from ingestion_pipeline.domain.orders import (
    Target,
    fixes,
    is_fix,
    require_replaceable,
    require_replayable,
    require_resubmittable,
    require_undoable,
)
from ingestion_pipeline.errors import CorrectionRefused

MOMENT = datetime(2026, 3, 1, tzinfo=UTC)


def job(name: str, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "job_id": f"{name:0<8}-0000-4000-8000-000000000000", "organization": "acme", "datasource": "flights",
        "bucket": "b", "object_key": f"uploads/{name}.csv", "version_id": "", "etag": "e", "size_bytes": 1,
        "last_modified": MOMENT, "partition_day": date(2026, 3, 1), "status": Status.COMPLETED,
        "cause": Cause.UPLOADED, "lane": Lane.LIVE, "priority": Priority.MEDIUM, "lease_epoch": 1, "tries": 1,
        "retry_count": 0, "attempt_id": None, "outcome": Outcome.LOADED, "rows_read": 10, "rows_accepted": 10,
        "rows_rejected": 0, "rows_queryable": 10, "content_hash": None, "created_at": MOMENT,
    }  # fmt: skip
    return Job(**(values | changes))


ROOT = job("aaaa", outcome=Outcome.LOADED_WITH_REJECTS, rows_rejected=5)
FIX = job("bbbb", cause=Cause.RESUBMIT, parent_job_id=ROOT.job_id, rows_accepted=2)
UNDO = job("cccc", cause=Cause.UNDO, parent_job_id=ROOT.job_id, replaces_job_id=ROOT.job_id, outcome=Outcome.UNDONE)
NEW = job("dddd", replaces_job_id=ROOT.job_id)
REPLACED = job("aaaa", outcome=Outcome.REPLACED, result={"replaced_by": NEW.job_id})
UNDONE = job("aaaa", outcome=Outcome.UNDONE, result={"replaced_by": UNDO.job_id})
UNPROVED = {"status": Status.FAILED, "outcome": "unproved"}


def about(one: Job, *family: Job, **more: Any) -> Target:
    return Target(job=one, family=family or (one,), **more)


def test_a_correction_tried_again_and_again_is_still_one() -> None:
    first = job("1", cause=Cause.RESUBMIT, parent_job_id=ROOT.job_id, status=Status.FAILED, outcome="not_a_fix")
    second = job("2", cause=Cause.RETRY, parent_job_id=first.job_id, status=Status.FAILED, outcome="s3_unavailable")
    third = job("3", cause=Cause.RETRY, parent_job_id=second.job_id)
    again = job("4", cause=Cause.RETRY, parent_job_id=ROOT.job_id)
    family = (ROOT, first, second, third, again)
    assert [is_fix(member, family) for member in family] == [False, True, True, True, False]
    assert fixes(family) == [third]


@pytest.mark.parametrize(
    "target",
    [
        about(ROOT, ROOT, FIX),
        about(job("a", status=Status.FAILED, outcome="unreadable")),
        about(job("a", status=Status.CANCELED, outcome=Outcome.STOPPED)),
        about(UNDONE, successor=UNDO),
        about(job("a", **UNPROVED)),
        about(job("a", **UNPROVED, result={"replaced_by": UNDO.job_id}), successor=UNDO),
        about(job("a", replaces_job_id="x", status=Status.FAILED, outcome="unreadable")),
        about(NEW, predecessor_taken_by=NEW),
    ],
)
def test_what_ended_may_be_replayed(target: Target) -> None:
    require_replayable(target)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (about(UNDO), "Replay aaaa0000, which it undid."),
        (about(job("a", status=Status.RETRYING, outcome=None)), "still at work (retrying)"),
        (about(FIX, ROOT, FIX), "`resubmit aaaa0000 FILE`"),
        (about(REPLACED, successor=NEW), "`ingestion-pipeline replay dddd0000`"),
        (about(job("a", **UNPROVED, result={"replaced_by": NEW.job_id}), successor=NEW), "replaced by job dddd0000"),
        (about(job("a", outcome=Outcome.DUPLICATE, result={"duplicate_of": ROOT.job_id})), "Replay aaaa0000."),
        (about(job("a", outcome=Outcome.SUPERSEDED)), "newest job of its key"),
        (about(job("a", status=Status.CANCELED, outcome=Outcome.EXPIRED)), "never came"),
        (
            about(
                job("a", replaces_job_id=ROOT.job_id, status=Status.FAILED, outcome="unreadable"),
                predecessor_taken_by=NEW,
            ),
            "was to replace job aaaa0000, which job dddd0000 has replaced meanwhile",
        ),
        (about(ROOT, open_change=job("ffff", cause=Cause.REPLAY)), "A replay of job aaaa0000 has not ended yet"),
    ],
)
def test_a_replay_that_cannot_be_right_is_refused(target: Target, told: str) -> None:
    with pytest.raises(CorrectionRefused) as raised:
        require_replayable(target)
    assert told in str(raised.value)


def test_rows_that_may_be_in_druid_can_be_undone() -> None:
    for one in (ROOT, job("a", **UNPROVED), job("a", status=Status.FAILED, outcome="duplicated")):
        require_undoable(about(one))
    require_undoable(about(FIX, ROOT, FIX))


@pytest.mark.parametrize("outcome", [Outcome.EMPTY, Outcome.DUPLICATE, Outcome.SUPERSEDED])
def test_what_was_never_loaded_cannot_be_undone(outcome: Outcome) -> None:
    with pytest.raises(CorrectionRefused, match=f"ended as completed/{outcome}"):
        require_undoable(about(job("a", outcome=outcome)))


def test_what_failed_may_be_replaced_though_it_has_no_rows() -> None:
    failed = job("a", status=Status.FAILED, outcome="unreadable")
    require_replaceable(about(failed), organization="acme", datasource="flights")


def test_an_undone_job_names_who_has_the_rows_now() -> None:
    again = job("eeee", cause=Cause.REPLAY, parent_job_id=UNDONE.job_id)
    with pytest.raises(CorrectionRefused, match="--replaces eeee0000"):
        require_replaceable(about(UNDONE, UNDONE, again, successor=UNDO), organization="acme", datasource="flights")


def test_open_rows_are_counted_over_the_family() -> None:
    assert require_resubmittable(about(ROOT, ROOT, FIX)) == 3


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (about(job("a")), "no rejected rows"),
        (about(job("a", status=Status.PROCESSING, outcome=None)), "still at work"),
        (about(job("a", status=Status.FAILED, outcome="too_many_rejects", rows_rejected=9)), "Correct the whole file"),
        (about(REPLACED, successor=NEW), "it ended as replaced by job dddd0000"),
        (about(ROOT, ROOT, job("b", cause=Cause.RESUBMIT, parent_job_id=ROOT.job_id, rows_accepted=5)), "All 5 rej"),
    ],
)
def test_nothing_is_resubmitted_that_cannot_be_added(target: Target, told: str) -> None:
    with pytest.raises(CorrectionRefused) as raised:
        require_resubmittable(target)
    assert told in str(raised.value)
