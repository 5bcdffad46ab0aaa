"""Corrections in the ledger on real PostgreSQL: whose rows go, who must wait for whom, and what is written when."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.domain.job import Attempt, AttemptKind, AttemptState, Cause, Job, Lane, Outcome, Priority
from ingestion_pipeline.errors import DatasourceBusy, FixUnderWay, Unproved, UnreadableFile
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.ledger import DAY, World, attempt_of, lease_of, save_attempt, spec_of


@pytest.fixture
def world(postgres: LedgerDatabase) -> Iterator[World]:
    ledger = Ledger(postgres.pipeline_url)
    yield World(postgres, ledger)
    ledger.close()


def loaded(world: World, key: str, *, content_hash: str = "") -> Job:
    """A job whose five rows are in Druid."""
    (job,) = world.taken(key)
    attempt = world.freeze([job])
    world.rows(
        "UPDATE ingestion_jobs SET rows_read = 5, rows_accepted = 5, content_hash = %s WHERE job_id = %s RETURNING 1",
        content_hash,
        job.job_id,
    )
    mark(world, attempt, AttemptState.PROVED, job)
    world.complete(job, Outcome.LOADED, rows=5)
    return job


def taken(world: World, job_id: str) -> Job:
    assert world.ledger.queue.claim([job_id], token=f"claim-{job_id}", now=world.now) == [job_id]
    (job,) = world.take(f"claim-{job_id}", f"run-{job_id}")
    return job


def begun(world: World, cause: Cause, job: Job) -> Job:
    """A replay or an undo at work."""
    (job_id,) = world.ledger.corrections.begin(cause, [job.job_id], new_ids=[str(uuid4())], now=world.now)
    return taken(world, job_id)


def replace_attempt(job: Job, *removed: Job) -> Attempt:
    removes = {old.job_id: job.job_id for old in removed}
    return attempt_of([job], kind=AttemptKind.REPLACE, spec={}, removes=removes)


def save(world: World, attempt: Attempt, *jobs: Job) -> Attempt:
    save_attempt(world.ledger, attempt, jobs, now=world.now)
    return attempt


def mark(world: World, attempt: Attempt, state: AttemptState, *jobs: Job) -> None:
    world.ledger.attempts.mark(attempt.attempt_id, state, leases=[lease_of(job) for job in jobs], now=world.now)


def holders(world: World, job: Job) -> set[str]:
    return world.ledger.corrections.holders([job])[job.job_id]


def resubmit(world: World, parent: Job, key: str) -> str:
    job_id = str(uuid4())
    announce(world, job_id, key, fixes_job_id=parent.job_id)
    return job_id


def announce(world: World, job_id: str, key: str, **errand: str) -> None:
    world.ledger.discovery.announce(
        job_id=job_id,
        organization=world.name,
        datasource=world.name,
        bucket=world.name,
        object_key=key,
        size_bytes=10,
        uploaded_by="someone",
        priority=Priority.MEDIUM,
        partition_day=DAY,
        upload_url="",
        now=world.now,
        **errand,
    )


def arrived(world: World, job_id: str, key: str) -> Job:
    world.ledger.discovery.enter([(world.upload(key), Lane.LIVE)], job_ids=[uuid4()], now=world.now)
    return taken(world, job_id)


def test_a_new_version_takes_the_place_of_the_keys_job_and_of_what_fixed_it(world: World) -> None:
    first, _ = loaded(world, "a.csv"), loaded(world, "b.csv")
    fix = arrived(world, resubmit(world, first, "fix.csv"), "fix.csv")
    attempt = save(world, attempt_of([fix]), fix)
    mark(world, attempt, AttemptState.PROVED, fix)
    world.rows("UPDATE ingestion_jobs SET rows_read = 5, rows_accepted = 5 WHERE job_id = %s RETURNING 1", fix.job_id)
    world.complete(fix, Outcome.LOADED, rows=5)

    second = taken(world, world.job("a.csv"))

    assert holders(world, second) == {first.job_id, fix.job_id}


def test_a_proved_replace_ends_the_old_job_as_replaced_and_an_undo_as_undone(world: World) -> None:
    first = loaded(world, "a.csv")
    second = taken(world, world.job("a.csv"))
    attempt = save(world, replace_attempt(second, first), second)
    assert world.row(first.job_id)["outcome"] == "loaded"

    mark(world, attempt, AttemptState.PROVED, second)
    assert world.row(first.job_id)["outcome"] == "replaced"
    assert world.row(first.job_id)["result"]["replaced_by"] == second.job_id
    world.rows(
        "UPDATE ingestion_jobs SET rows_read = 5, rows_accepted = 5 WHERE job_id = %s RETURNING 1", second.job_id
    )
    world.complete(second, Outcome.LOADED, rows=5)

    undo = begun(world, Cause.UNDO, second)
    assert holders(world, undo) == {second.job_id}
    mark(world, save(world, replace_attempt(undo, second), undo), AttemptState.PROVED, undo)
    assert world.row(second.job_id)["outcome"] == "undone"
    assert world.events(second.job_id)[-1][1:] == ("completed", "completed")


def test_a_file_that_ended_unproved_is_replaced_too_and_only_once(world: World) -> None:
    (job,) = world.taken("a.csv")
    world.ledger.work.fail(lease_of(job), Unproved("Rows are missing."), now=world.now)
    replay = begun(world, Cause.REPLAY, job)
    assert holders(world, replay) == {job.job_id}

    mark(world, save(world, replace_attempt(replay, job), replay), AttemptState.PROVED, replay)

    assert (world.row(job.job_id)["status"], world.row(job.job_id)["outcome"]) == ("failed", "unproved")
    assert holders(world, replay) == set()


def test_one_replace_of_a_datasource_at_a_time_and_appends_beside_it(world: World) -> None:
    first, other = loaded(world, "a.csv"), loaded(world, "b.csv")
    undo, again = begun(world, Cause.UNDO, first), begun(world, Cause.UNDO, other)
    open_undo = save(world, replace_attempt(undo, first), undo)

    with pytest.raises(DatasourceBusy, match=open_undo.attempt_id):
        save(world, replace_attempt(again, other), again)
    (appended,) = world.taken("c.csv")
    save(world, attempt_of([appended]), appended)

    mark(world, open_undo, AttemptState.PROVED, undo)
    save(world, replace_attempt(again, other), again)


def test_a_replace_waits_for_an_append_of_the_same_family_and_the_other_way_round(world: World) -> None:
    first = loaded(world, "a.csv")
    fix = arrived(world, resubmit(world, first, "fix.csv"), "fix.csv")
    undo = begun(world, Cause.UNDO, first)
    append = save(world, attempt_of([fix]), fix)
    with pytest.raises(DatasourceBusy):
        save(world, replace_attempt(undo, first), undo)

    mark(world, append, AttemptState.ABSENT, fix)
    save(world, replace_attempt(undo, first), undo)
    with pytest.raises(DatasourceBusy):
        save(world, attempt_of([fix]), fix)


def test_an_append_with_a_column_that_a_replace_does_not_know_waits_for_it(world: World) -> None:
    first = loaded(world, "a.csv")
    undo = begun(world, Cause.UNDO, first)
    attempt = save(world, replace_attempt(undo, first), undo)
    (beside,) = world.taken("beside.csv")
    save(world, attempt_of([beside], spec=spec_of("place", "new")), beside)

    seen: list[str] = []

    def spec(dimensions: list[dict[str, str]]) -> dict[str, object]:
        seen.extend(sorted(dimension["name"] for dimension in dimensions))
        return spec_of("place", "new")

    world.ledger.attempts.plan(
        attempt, leases=[lease_of(undo)], spec=spec, fingerprint=lambda _: "f", intervals=["i"], rows_before={}
    )
    assert seen == ["new", "place"]
    assert beside.job_id in world.ledger.attempts.jobs_beside(attempt)

    (known, unknown) = world.taken("known.csv", "unknown.csv")
    save(world, attempt_of([known], spec=spec_of("new")), known)
    with pytest.raises(DatasourceBusy):
        save(world, attempt_of([unknown], spec=spec_of("newer")), unknown)


def test_appends_of_the_same_time_overtake_a_replace_for_a_while_and_then_wait_for_it(world: World) -> None:
    first = loaded(world, "a.csv")
    undo = begun(world, Cause.UNDO, first)
    attempt = save(world, replace_attempt(undo, first), undo)
    same_day, another_day = (
        "2026-03-01T06:00:00.000Z/2026-03-01T07:00:00.000Z",
        "2026-03-02T00:00:00Z/2026-03-03T00:00:00Z",
    )
    world.ledger.attempts.plan(
        attempt,
        leases=[lease_of(undo)],
        spec=lambda _: spec_of("place"),
        fingerprint=lambda _: "f",
        intervals=["2026-03-01T00:00:00.000Z/2026-03-02T00:00:00.000Z"],
        rows_before={},
    )
    (overtaking, late, apart) = world.taken("overtaking.csv", "late.csv", "apart.csv")
    save(world, attempt_of([overtaking], intervals=(same_day,)), overtaking)

    world.later(61)

    with pytest.raises(DatasourceBusy, match=attempt.attempt_id):
        save(world, attempt_of([late], intervals=(same_day,)), late)
    save(world, attempt_of([apart], intervals=(another_day,)), apart)


def test_what_a_job_was_to_replace_may_not_change_before_its_lease(world: World) -> None:
    first = loaded(world, "a.csv")
    undo = begun(world, Cause.UNDO, first)
    with pytest.raises(DatasourceBusy, match="has changed"):
        save(world, attempt_of([undo], kind=AttemptKind.REPLACE, spec={}, removes={}), undo)

    stale = replace_attempt(undo, first)
    mark(world, save(world, stale, undo), AttemptState.PROVED, undo)
    with pytest.raises(DatasourceBusy, match="has changed"):
        save(world, replace_attempt(undo, first), undo)


def test_a_fix_of_what_was_undone_meanwhile_is_not_appended(world: World) -> None:
    first = loaded(world, "a.csv")
    fix = arrived(world, resubmit(world, first, "fix.csv"), "fix.csv")
    undo = begun(world, Cause.UNDO, first)
    mark(world, save(world, replace_attempt(undo, first), undo), AttemptState.PROVED, undo)
    with pytest.raises(DatasourceBusy, match="has changed"):
        save(world, attempt_of([fix]), fix)


def replacing(world: World, old: Job, key: str) -> str:
    """An upload that was announced to take a job's place."""
    job_id = str(uuid4())
    announce(world, job_id, key, replaces_job_id=old.job_id)
    return job_id


def proved(world: World, job: Job, *removed: Job) -> None:
    """The job takes the others' place, with five rows."""
    attempt = save(world, replace_attempt(job, *removed) if removed else attempt_of([job]), job)
    mark(world, attempt, AttemptState.PROVED, job)
    world.rows("UPDATE ingestion_jobs SET rows_read = 5, rows_accepted = 5 WHERE job_id = %s RETURNING 1", job.job_id)
    world.complete(job, Outcome.LOADED, rows=5)


def test_a_new_version_takes_the_place_of_what_was_uploaded_in_its_predecessors_place(world: World) -> None:
    first = loaded(world, "a.csv")
    replacement = arrived(world, replacing(world, first, "other.csv"), "other.csv")
    proved(world, replacement, first)

    second = taken(world, world.job("a.csv"))

    assert holders(world, second) == {replacement.job_id}


def test_an_undo_takes_out_its_jobs_rows_and_not_those_of_what_came_in_its_place(world: World) -> None:
    first = loaded(world, "a.csv")
    undo = begun(world, Cause.UNDO, first)
    replacement = arrived(world, replacing(world, first, "other.csv"), "other.csv")
    proved(world, replacement, first)
    assert holders(world, undo) == set()


def test_a_version_that_comes_before_a_replacement_was_read_does_its_errand(world: World) -> None:
    first = loaded(world, "a.csv")
    job_id = replacing(world, first, "other.csv")
    world.enter(world.upload("other.csv"))
    second = world.job("other.csv")
    assert world.ledger.queue.supersede([job_id], now=world.now) == 1

    assert holders(world, taken(world, second)) == {first.job_id}


@pytest.mark.parametrize("cause", [Cause.REPLAY, Cause.RETRY])
def test_what_tries_an_older_version_again_gives_way_to_a_newer_one(world: World, cause: Cause) -> None:
    (failed,) = world.taken("a.csv")
    world.ledger.work.fail(lease_of(failed), UnreadableFile("Not today."), now=world.now)
    (again,) = world.ledger.corrections.begin(cause, [failed.job_id], new_ids=[str(uuid4())], now=world.now)
    assert world.ledger.queue.supersede([again], now=world.now) == 0
    newer = world.job("a.csv")

    found = world.ledger.queue.candidates(datasources={world.name: DAY}, now=world.now, per_organization=10)

    assert {candidate.job_id: candidate.superseded for candidate in found} == {again: True, newer: False}
    assert world.ledger.queue.supersede([again], now=world.now) == 1


def test_a_failed_fix_that_is_tried_again_after_its_file_was_replaced_is_not_appended(world: World) -> None:
    first = loaded(world, "a.csv")
    fix = arrived(world, resubmit(world, first, "fix.csv"), "fix.csv")
    world.ledger.work.fail(lease_of(fix), UnreadableFile("Not today."), now=world.now)
    again = begun(world, Cause.RETRY, fix)
    proved(world, taken(world, world.job("a.csv")), first)
    with pytest.raises(DatasourceBusy, match="has changed"):
        save(world, attempt_of([again]), again)


def test_a_job_that_is_being_replaced_is_not_to_be_replaced_replayed_or_undone_beside_it(world: World) -> None:
    first = loaded(world, "a.csv")
    replacement = replacing(world, first, "other.csv")
    # An upload that never comes keeps nobody waiting.
    assert world.ledger.corrections.open_changes([first.job_id]) == {}
    arrived(world, replacement, "other.csv")
    assert world.ledger.corrections.open_changes([first.job_id]) == {first.job_id: replacement}


def test_rejected_rows_are_fixed_by_one_upload_at_a_time_and_it_is_entered_once(world: World) -> None:
    first = loaded(world, "a.csv")
    fix_id = resubmit(world, first, "fix.csv")
    with pytest.raises(FixUnderWay):
        resubmit(world, first, "fix-2.csv")
    upload = world.upload("fix.csv")
    assert world.enter(upload) == []  # bound to the announced row
    assert world.enter(upload) == []
    fix = taken(world, fix_id)
    assert fix.parent_job_id == first.job_id
    world.complete(fix, Outcome.EMPTY)
    resubmit(world, first, "fix-2.csv")


def test_the_same_bytes_under_another_key_are_found_within_the_organization(world: World) -> None:
    first = loaded(world, "a.csv", content_hash="same")
    (twin,) = world.taken("copy.csv")
    found = world.ledger.corrections.same_content(twin, "same")
    assert found is not None
    assert found.job_id == first.job_id
    assert world.ledger.corrections.same_content(twin, "other") is None


def test_a_range_of_days_names_the_files_that_have_rows_in_druid(world: World) -> None:
    first = loaded(world, "a.csv")
    world.taken("unfinished.csv")
    undo = begun(world, Cause.UNDO, loaded(world, "undone.csv"))
    undone = world.ledger.jobs.rows_of([undo.replaces_job_id or ""])
    mark(world, save(world, replace_attempt(undo, *undone), undo), AttemptState.PROVED, undo)

    found = world.ledger.corrections.loaded_between(world.name, DAY, DAY)

    assert [job.job_id for job in found] == [first.job_id]


def test_a_family_is_the_file_and_everything_made_from_it(world: World) -> None:
    first = loaded(world, "a.csv")
    fix_id = resubmit(world, first, "fix.csv")
    family = world.ledger.corrections.family(fix_id)
    assert [job.job_id for job in family] == [first.job_id, fix_id]
    assert world.ledger.corrections.open_changes([first.job_id]) == {}
    (replay,) = world.ledger.corrections.begin(Cause.REPLAY, [first.job_id], new_ids=[str(uuid4())], now=world.now)
    assert world.ledger.corrections.open_changes([first.job_id]) == {first.job_id: replay}
