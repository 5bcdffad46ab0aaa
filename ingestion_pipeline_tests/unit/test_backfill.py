"""What a backfill would take, from what the ledger knows: days, runs, time."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.domain.backfill import (
    Backfill,
    BackfillStatus,
    DayFiles,
    PastRun,
    days_to_launch,
    duration,
    runs_needed,
)

FIRST = date(2026, 3, 1)


def day(number: int, history: int = 1, **changes: Any) -> DayFiles:
    values = {"files": history, "history": history, "history_bytes": 10 * history}
    rest = {"loaded": 0, "failed": 0, "under_way": 0}
    return DayFiles(day=FIRST + timedelta(days=number), **(values | rest | changes))


def running(first: int, last: int) -> Backfill:
    return Backfill(
        backfill_id="b",
        datasource="things",
        status=BackfillStatus.REQUESTED,
        started_at=datetime(2026, 3, 1, tzinfo=UTC),
        ended_at=None,
        ranges=((FIRST + timedelta(days=first), FIRST + timedelta(days=last)),),
        days=last - first + 1,
        days_done=0,
        days_failed=0,
        days_in_progress=0,
    )


def test_days_without_waiting_files_and_days_of_a_running_backfill_are_not_launched() -> None:
    days = [day(0), day(1, history=0, loaded=5), day(2), day(3), day(4)]
    assert days_to_launch(days, []) == [FIRST + timedelta(days=n) for n in (0, 2, 3, 4)]
    assert days_to_launch(days, [running(2, 3)]) == [FIRST, FIRST + timedelta(days=4)]
    assert days_to_launch(days, [running(0, 9)]) == []


@pytest.mark.parametrize(
    ("days", "per_run", "runs"),
    [
        ([], 1, 0),
        ([day(0, history=0)], 1, 0),
        ([day(n) for n in range(10)], 1, 10),
        ([day(n) for n in range(10)], 7, 2),
        ([day(n) for n in (0, 1, 3, 4)], 7, 2),
        ([day(0, history=101)], 1, 2),
        ([day(0, history=60), day(1, history=60)], 7, 2),
        ([day(0, history_bytes=2500)], 1, 3),
    ],
    ids=["none", "all loaded", "a run a day", "seven days", "a gap", "above the cap", "together above", "large"],
)
def test_runs_are_counted_as_they_will_be_launched(days: list[DayFiles], per_run: int, runs: int) -> None:
    assert runs_needed(days, days_per_run=per_run, max_files=100, max_bytes=1000) == runs


def test_without_a_past_run_no_time_is_told() -> None:
    assert duration(runs=3, files=10, past=[]) is None


@given(st.lists(st.builds(PastRun, files=st.integers(1, 100), seconds=st.floats(0.1, 1000)), min_size=1, max_size=20))
def test_the_time_lies_between_what_runs_and_what_files_took(past: list[PastRun]) -> None:
    told = duration(runs=4, files=40, past=past)
    assert told is not None
    assert 0 < told.shortest <= told.longest
    assert told.runs == len(past)
