"""Rows that are not as they should be: when that is believed, and what is done about it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion_pipeline.domain.interval import Interval
from ingestion_pipeline.domain.job import Cause, Outcome, Staged, Status
from ingestion_pipeline.domain.orders import Target
from ingestion_pipeline.domain.reconciliation import Drift, Held, Upload, remedy
from ingestion_pipeline.stages.monitor import find_drift
from ingestion_pipeline_tests.unit.test_monitor import Time
from ingestion_pipeline_tests.unit.test_orders import FIX, ROOT, UNDONE, about, job

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = Interval(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
LOAD = [{"type": "loadForever", "tieredReplicants": {"_default_tier": 1}}]


@dataclass
class Druid:
    """Answers by how much time has passed."""

    time: Time
    counts: Callable[[float], Mapping[str, int]]
    loaded: Callable[[float], float | None] = lambda now: 100.0
    rules: list[dict[str, Any]] = field(default_factory=lambda: LOAD)
    queries: int = 0

    def served_by_job(self, datasource: str, job_ids: Sequence[str], interval: Interval) -> dict[str, int]:
        self.queries += 1
        return {job_id: self.counts(self.time.now).get(job_id, 0) for job_id in job_ids}

    def load_status(self, datasource: str, interval: Interval, *, force: bool) -> float | None:
        assert force
        return self.loaded(self.time.now)

    def load_rules(self, datasource: str) -> list[dict[str, Any]]:
        return self.rules


def held(name: str, expected: int = 10, *intervals: Interval) -> Held:
    return Held(job_id=name, datasource="d", expected=expected, intervals=intervals or (DAY,))


def find(druid: Druid, *jobs: Held, expected: Mapping[str, int] | None = None) -> Any:
    return find_drift(
        druid,  # type: ignore[arg-type]
        "d",
        jobs,
        expected_now=lambda ids: expected if expected is not None else {job.job_id: job.expected for job in jobs},
        now=NOW,
        sleep=druid.time.sleep,
        clock=druid.time.clock,
        broker_refresh_seconds=65,
    )


def test_jobs_of_the_same_time_are_counted_by_one_question_and_nothing_else_is_asked_where_all_is_right() -> None:
    druid = Druid(Time(), lambda now: {"a": 10, "b": 10})
    found = find(druid, held("a"), held("b"))
    assert (found.right, found.drifts, druid.queries, druid.time.now) == (["a", "b"], [], 1, 0)


def test_missing_rows_are_believed_after_a_broker_refresh_with_everything_served() -> None:
    druid = Druid(Time(), lambda now: {"a": 4, "b": 10})
    found = find(druid, held("a"), held("b"))
    assert found.right == ["b"]
    assert found.drifts == [Drift(job_id="a", datasource="d", expected=10, counted=4)]
    assert druid.time.now >= 65


def test_too_many_rows_are_a_drift_too_and_so_are_rows_of_an_undone_job() -> None:
    found = find(Druid(Time(), lambda now: {"a": 20, "b": 1}), held("a"), held("b", 0))
    assert [(drift.job_id, drift.is_surplus) for drift in found.drifts] == [("a", True), ("b", True)]


@pytest.mark.parametrize(
    "loaded",
    [lambda now: 40.0, lambda now: 100.0 if now < 65 else 0.0],
    ids=["a historical is down", "one went away meanwhile"],
)
def test_while_not_everything_is_served_jobs_wait(loaded: Callable[[float], float]) -> None:
    found = find(Druid(Time(), lambda now: {}, loaded), held("a"))
    assert (found.waiting, found.drifts, found.right) == (["a"], [], [])
    assert found.why_waiting


def test_rows_that_come_back_are_no_drift() -> None:
    found = find(Druid(Time(), lambda now: {"a": 0 if now < 1 else 10}), held("a"))
    assert (found.right, found.drifts) == (["a"], [])


def test_a_job_that_was_replaced_while_it_was_counted_is_judged_by_what_it_is_now() -> None:
    druid = Druid(Time(), lambda now: {})
    assert find(druid, held("a"), expected={"a": 0}).right == ["a"]
    assert find(druid, held("a"), expected={}).waiting == ["a"]  # an open replace is about it


def test_time_that_druid_is_not_to_serve_is_marked() -> None:
    druid = Druid(Time(), lambda now: {}, lambda now: None, rules=[{"type": "dropForever"}])
    (drift,) = find(druid, held("a")).drifts
    assert drift.unserved


def test_jobs_without_any_interval_have_no_rows_to_find() -> None:
    found = find(Druid(Time(), lambda now: {}), Held(job_id="a", datasource="d", expected=0, intervals=()))
    assert found.right == ["a"]


def drift_of(target: Target, counted: int = 0, **more: Any) -> Drift:
    values: dict[str, Any] = {"job_id": target.job.job_id, "datasource": "d", "expected": 10, "counted": counted}
    return Drift(**(values | more))


LOADED = job("eeee", staged=Staged(contract_version="v1"))


@pytest.mark.parametrize("counted", [0, 4, 20])
def test_a_file_that_is_still_there_is_loaded_again(counted: int) -> None:
    target = about(LOADED)
    found = remedy(drift_of(target, counted), target, upload="there", contract_version="v1")
    assert found.replay
    assert f"{counted} of the 10 rows of job eeee" in found.text


@pytest.mark.parametrize(
    ("target", "upload", "version", "more", "says"),
    [
        (about(LOADED), "gone", "v1", {}, "is not in the bucket any more: send it again with `upload FILE --replaces"),
        (about(LOADED), "changed", "v1", {}, "is another version in the bucket now"),
        (about(LOADED), "there", "v2", {}, "Its contract has changed since it was loaded"),
        (about(LOADED), "there", None, {}, "Its contract is not usable"),
        (about(LOADED), "there", "v1", {"unserved": True}, "outside of what Druid's load rules"),
        (about(LOADED, open_change=job("ffff", cause=Cause.REPLAY)), "there", "v1", {}, "about to change that"),
        (about(ROOT, ROOT, FIX), "there", "v1", {}, "would take out the corrected rows of job bbbb"),
        (about(FIX, ROOT, FIX), "there", "v1", {}, "a correction is not replayed by itself"),
        (about(UNDONE), "there", "v1", {"expected": 0, "counted": 3}, "It was undone and should have none"),
    ],
)
def test_what_a_person_has_to_do_is_said(
    target: Target, upload: Upload, version: str | None, more: dict[str, Any], says: str
) -> None:
    found = remedy(drift_of(target, **more), target, upload=upload, contract_version=version)
    assert not found.replay
    assert says in found.text


def test_a_replay_that_failed_is_not_ordered_again_by_itself() -> None:
    failed = job(
        "ffff",
        cause=Cause.REPLAY,
        parent_job_id=LOADED.job_id,
        status=Status.FAILED,
        outcome="too_many_rejects",
    )
    target = about(LOADED, LOADED, failed)
    found = remedy(drift_of(target), target, upload="there", contract_version="v1")
    assert not found.replay
    assert "`status ffff0000`" in found.text


def test_a_fix_whose_rows_are_gone_does_not_keep_other_outcomes_from_being_told() -> None:
    gone = job("aaaa", outcome=Outcome.REPLACED, result={"replaced_by": LOADED.job_id})
    target = about(gone)
    assert (
        "segments that were marked used"
        in remedy(drift_of(target, 3, expected=0), target, upload="there", contract_version="v1").text
    )
