"""Waiting, judging and proving, with a clock that only moves when somebody sleeps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.domain.druid import RunnerState, TaskReport, TaskState, TaskStatus
from ingestion_pipeline.domain.interval import Interval
from ingestion_pipeline.errors import DruidRejected, DruidUnavailable, Duplicated, LeaseLost, TaskFailed, Unproved
from ingestion_pipeline.stages.monitor import (
    Progress,
    follow_task,
    judge_counts,
    judge_task,
    prove_absent,
    prove_counts,
)

JANUARY = Interval(datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 2, 1, tzinfo=UTC))
MARCH = Interval(datetime(2013, 3, 1, tzinfo=UTC), datetime(2013, 4, 1, tzinfo=UTC))
AWAY = DruidUnavailable("Druid is away.")


@dataclass
class Time:
    """Seconds that pass only by sleeping."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


@dataclass
class ScriptedDruid:
    """Answers from functions of the time; an exception among the answers is raised."""

    time: Time
    state: Callable[[float], Any] = lambda now: None
    counts: Callable[[float], Any] = lambda now: {}
    loaded: Callable[[float], Any] = lambda now: 100.0
    live: Callable[[float], Any] = lambda now: None
    asked: list[str] = field(default_factory=list)
    within: list[Interval] = field(default_factory=list)

    def _answer(self, name: str, script: Callable[[float], Any]) -> Any:
        self.asked.append(name)
        answer = script(self.time.now)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def status(self, task_id: str) -> TaskStatus | None:
        return self._answer("status", self.state)

    def report(self, task_id: str) -> TaskReport | None:
        return self._answer("report", self.live)

    def load_status(self, datasource: str, interval: Interval, *, force: bool) -> float | None:
        assert force, "an unforced answer may be about the state before the task"
        self.within.append(interval)
        return self._answer("load_status", self.loaded)

    def count_by_job(self, datasource: str, job_ids: Sequence[str], interval: Interval) -> dict[str, int]:
        self.within.append(interval)
        return self._answer("count", self.counts)

    def served_by_job(self, datasource: str, job_ids: Sequence[str], interval: Interval) -> dict[str, int]:
        return self._answer("served", self.counts)


def task(state: TaskState, runner: RunnerState = RunnerState.RUNNING, error: str | None = None) -> TaskStatus:
    return TaskStatus(task_id="ing-1", state=state, runner=runner, error=error)


RUNNING, SUCCESS = task(TaskState.RUNNING), task(TaskState.SUCCESS)


def follow(druid: ScriptedDruid, seen: list[Progress] | None = None) -> tuple[TaskStatus, TaskReport | None]:
    seen = seen if seen is not None else []
    return follow_task(druid, "ing-1", sleep=druid.time.sleep, clock=druid.time.clock, progress=seen.append)


def prove(druid: ScriptedDruid, expected: dict[str, int], deadline: float = 60.0) -> dict[str, int]:
    return prove_counts(
        druid,
        "flights",
        expected,
        [JANUARY, MARCH],
        deadline_seconds=deadline,
        sleep=druid.time.sleep,
        clock=druid.time.clock,
        progress=lambda _: None,
    )


def absent(druid: ScriptedDruid) -> bool:
    return prove_absent(
        druid,
        "flights",
        ["a", "b"],
        [JANUARY, MARCH],
        sleep=druid.time.sleep,
        clock=druid.time.clock,
        broker_refresh_seconds=5.0,
    )


def test_the_end_of_a_short_task_is_seen_within_a_tenth_of_a_second() -> None:
    druid = ScriptedDruid(Time(), state=lambda now: SUCCESS if now >= 1.0 else RUNNING)
    follow(druid)
    assert druid.time.now <= 1.11


def test_a_long_task_is_asked_seldom() -> None:
    druid = ScriptedDruid(Time(), state=lambda now: SUCCESS if now >= 3600 else RUNNING)
    follow(druid)
    assert max(druid.time.slept) == 2.0
    assert druid.asked.count("status") < 2000


def test_rows_are_reported_live_while_a_task_runs() -> None:
    druid = ScriptedDruid(
        Time(),
        state=lambda now: SUCCESS if now >= 10 else RUNNING,
        live=lambda now: TaskReport(processed=int(now) * 100),
    )
    seen: list[Progress] = []
    _, report = follow(druid, seen)
    rows = [progress.rows for progress in seen]
    assert rows == sorted(rows)
    assert 0 < rows[-1] < 1000
    assert report == TaskReport(processed=1000)
    assert {progress.step for progress in seen} == {"ingesting"}


def test_a_task_without_slot_or_lock_is_shown_as_waiting() -> None:
    script = [task(TaskState.RUNNING, RunnerState.PENDING), task(TaskState.RUNNING, RunnerState.WAITING), SUCCESS]
    druid = ScriptedDruid(Time(), state=lambda now: script.pop(0))
    seen: list[Progress] = []
    follow(druid, seen)
    assert [(progress.step, progress.state) for progress in seen] == [("waiting", "PENDING"), ("waiting", "WAITING")]
    assert druid.asked.count("report") == 1, "a task that does not run has no live figures"


def test_an_overlord_that_restarts_is_waited_for() -> None:
    druid = ScriptedDruid(Time(), state=lambda now: AWAY if 1 < now < 40 else SUCCESS if now > 45 else RUNNING)
    assert follow(druid)[0] == SUCCESS


def test_an_overlord_that_stays_away_ends_the_waiting_as_transient() -> None:
    druid = ScriptedDruid(Time(), state=lambda now: AWAY if now > 1 else RUNNING)
    with pytest.raises(DruidUnavailable) as error:
        follow(druid)
    assert 60 < druid.time.now < 65
    assert error.value.details["waited_seconds"] > 60


def test_a_task_that_druid_does_not_know_comes_back_at_once() -> None:
    status, report = follow(ScriptedDruid(Time()))
    assert (status.state, report) == (TaskState.UNKNOWN, None)
    assert judge_task(status, report, 5).name == "unknown"


def test_a_lost_report_leaves_the_judgement_to_counting() -> None:
    status, report = follow(ScriptedDruid(Time(), state=lambda now: SUCCESS, live=lambda now: AWAY))
    assert report is None
    assert judge_task(status, report, 5).name == "unknown"


def test_what_progress_raises_ends_the_waiting() -> None:
    druid = ScriptedDruid(Time(), state=lambda now: RUNNING)

    def lost(_: Progress) -> None:
        raise LeaseLost("Another run took over.")

    with pytest.raises(LeaseLost):
        follow_task(druid, "ing-1", sleep=druid.time.sleep, clock=druid.time.clock, progress=lost)


@pytest.mark.parametrize(
    ("report", "verdict", "error"),
    [
        pytest.param(TaskReport(processed=100), "clean", None, id="exactly the expected rows"),
        pytest.param(TaskReport(processed=0), "short", Unproved, id="codec by a wrong suffix: SUCCESS with 0 rows"),
        pytest.param(TaskReport(processed=99, thrown_away=1), "short", Unproved, id="a row outside the intervals"),
        pytest.param(TaskReport(processed=99, unparseable=1), "short", Unproved, id="a row that was dropped"),
        pytest.param(TaskReport(processed=100, processed_with_error=1), "short", Unproved, id="a value made null"),
        pytest.param(TaskReport(processed=101), "over", Duplicated, id="a row too many"),
        pytest.param(None, "unknown", None, id="no report"),
    ],
)
def test_success_is_believed_only_with_the_right_figures(report: Any, verdict: str, error: Any) -> None:
    judged = judge_task(SUCCESS, report, 100)
    assert judged.name == verdict
    assert type(judged.error) is (error or type(None))


@pytest.mark.parametrize(
    ("text", "error"),
    [("Max parse exceptions[0] exceeded", DruidRejected), ("This task disappeared on the worker", TaskFailed)],
)
def test_a_failed_task_carries_the_error_that_decides_on_another_try(text: str, error: Any) -> None:
    judged = judge_task(task(TaskState.FAILED, error=text), None, 100)
    assert judged.name == "failed"
    assert type(judged.error) is error


COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 5), min_size=1)


@given(COUNTS, COUNTS)
def test_counts_are_proved_only_if_every_job_has_exactly_its_rows(
    expected: dict[str, int], counted: dict[str, int]
) -> None:
    verdict = judge_counts(expected, counted)
    assert (verdict.name == "proved") == all(counted.get(job, 0) == rows for job, rows in expected.items())
    assert (verdict.name == "over") == any(counted.get(job, 0) > rows for job, rows in expected.items())


def test_rows_that_are_there_are_proved_without_a_pause_or_a_forced_refresh() -> None:
    druid = ScriptedDruid(Time(), counts=lambda now: {"a": 5})
    assert prove(druid, {"a": 5}) == {"a": 5}
    assert (druid.asked, druid.time.now) == (["count"], 0.0)
    assert druid.within == [Interval(JANUARY.start, MARCH.end)]


def test_rows_that_arrive_late_are_proved_and_the_metadata_is_refreshed_once() -> None:
    druid = ScriptedDruid(Time(), counts=lambda now: {"a": 5} if now >= 1.5 else {"a": 0})
    assert prove(druid, {"a": 5}) == {"a": 5}
    assert druid.time.now < 1.65
    assert druid.asked.count("load_status") == 2, "once for each of the two intervals"


def test_a_batch_is_proved_only_when_every_job_is() -> None:
    druid = ScriptedDruid(Time(), counts=lambda now: {"a": 5, "b": 3} if now >= 2 else {"a": 5, "b": 2})
    assert prove(druid, {"a": 5, "b": 3}) == {"a": 5, "b": 3}


@pytest.mark.parametrize(("loaded", "hint"), [(40.0, "40 %"), (100.0, "serves every segment"), (None, "serves every")])
def test_rows_missing_at_the_deadline_say_whether_segments_were_loading(loaded: float | None, hint: str) -> None:
    druid = ScriptedDruid(Time(), counts=lambda now: {"a": 4}, loaded=lambda now: loaded)
    with pytest.raises(Unproved) as caught:
        prove(druid, {"a": 5}, deadline=30.0)
    assert hint in caught.value.hint
    assert caught.value.details["jobs"] == {"a": {"expected": 5, "counted": 4}}
    assert 30.0 <= druid.time.now < 32.5


def test_too_many_rows_are_an_alarm_once_a_second_count_agrees() -> None:
    druid = ScriptedDruid(Time(), counts=lambda now: {"a": 10})
    with pytest.raises(Duplicated) as caught:
        prove(druid, {"a": 5})
    assert druid.asked.count("count") == 2
    assert caught.value.details["jobs"] == {"a": {"expected": 5, "counted": 10}}


def test_rows_counted_twice_for_a_moment_are_no_alarm() -> None:
    druid = ScriptedDruid(Time(), counts=lambda now: {"a": 10} if now < 1 else {"a": 5})
    assert prove(druid, {"a": 5}) == {"a": 5}


def test_druid_away_while_proving_is_waited_for_until_the_deadline() -> None:
    druid = ScriptedDruid(Time(), counts=lambda now: AWAY if now < 20 else {"a": 5})
    assert prove(druid, {"a": 5}) == {"a": 5}
    with pytest.raises(DruidUnavailable):
        prove(ScriptedDruid(Time(), counts=lambda now: AWAY), {"a": 5})


def test_absence_is_proved_by_a_count_after_all_segments_were_served() -> None:
    druid = ScriptedDruid(Time(), counts=lambda now: {"a": 0, "b": 0})
    assert absent(druid)
    assert druid.asked == ["served", "load_status", "load_status"] * 2
    assert druid.time.now == 5.0


def test_a_count_of_nothing_while_a_historical_is_lost_is_no_proof() -> None:
    # Until second 3 the coordinator believes in the historical that the broker has lost; it is back at 20.
    druid = ScriptedDruid(
        Time(),
        counts=lambda now: {"a": 7} if now >= 20 else {},
        loaded=lambda now: 100.0 if now < 3 or now >= 19 else 0.0,
    )
    assert not absent(druid)


def test_a_datasource_without_segments_holds_no_rows() -> None:
    assert absent(ScriptedDruid(Time(), counts=lambda now: {}, loaded=lambda now: None))


def test_rows_that_are_served_disprove_absence_at_once() -> None:
    druid = ScriptedDruid(Time(), counts=lambda now: {"a": 0, "b": 1})
    assert not absent(druid)
    assert druid.asked == ["served"]


def test_rows_that_appear_within_a_broker_refresh_disprove_absence() -> None:
    assert not absent(ScriptedDruid(Time(), counts=lambda now: {"a": 7} if now >= 3 else {"a": 0}))


def test_absence_waits_for_segments_that_are_loading() -> None:
    druid = ScriptedDruid(Time(), counts=lambda now: {"a": 7} if now >= 10 else {}, loaded=lambda now: now * 10)
    assert not absent(druid)


def test_absence_that_cannot_be_proved_is_transient() -> None:
    with pytest.raises(DruidUnavailable, match="50 %"):
        absent(ScriptedDruid(Time(), counts=lambda now: {}, loaded=lambda now: 50.0))
    with pytest.raises(DruidUnavailable):
        absent(ScriptedDruid(Time(), counts=lambda now: AWAY))
