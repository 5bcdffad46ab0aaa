"""How ingestion is doing: the numbers that are plotted, and what a person is told to look at."""

from datetime import UTC, datetime, timedelta

from ingestion_pipeline.domain.figures import COUNTED, Ended, Figures, Waiting
from ingestion_pipeline.domain.job import Lane, Priority

NOON = datetime(2026, 3, 18, 12, tzinfo=UTC)


def waiting(lane: Lane, priority: Priority, files: int, minutes: int) -> Waiting:
    return Waiting(
        lane=lane, priority=priority, files=files, size_bytes=1000 * files, oldest=NOON - timedelta(minutes=minutes)
    )


def test_an_idle_system_has_noughts_under_the_same_names_as_a_busy_one_and_no_problems() -> None:
    busy = Figures(moment=NOON, waiting=(waiting(Lane.LIVE, Priority.HIGH, 3, 5),))
    idle = Figures(moment=NOON)
    assert list(idle.numbers) == list(busy.numbers)
    assert set(idle.numbers.values()) == {0}
    assert idle.problems == []


def test_what_waits_is_told_by_lane_and_priority_with_the_oldest_of_all() -> None:
    figures = Figures(
        moment=NOON,
        waiting=(waiting(Lane.LIVE, Priority.URGENT, 2, 1), waiting(Lane.BACKFILL, Priority.LOW, 500, 90)),
    )
    numbers = figures.numbers
    assert (numbers["waiting_files"], numbers["waiting_live_urgent"], numbers["waiting_backfill_low"]) == (502, 2, 500)
    assert numbers["oldest_waiting_seconds"] == 90 * 60
    assert numbers["waiting_bytes"] == 502_000


def test_each_thing_to_look_at_is_one_sentence() -> None:
    figures = Figures(
        moment=NOON,
        last_hour=Ended(files=4, failed=1),
        unmatched=COUNTED + 1,
        parked=2,
        arrivals={"late": 2, "missing": 1},
        dependencies={"druid": ("No connection.", NOON)},
        disabled={"orders": "orders.yaml:3: no."},
    )
    assert figures.problems == [
        "Druid is not ready since 2026-03-18 12:00 UTC: No connection. Files wait until it is.",
        "Datasource orders is disabled: orders.yaml:3: no.",
        "1 file failed within the last hour: `ingestion-pipeline jobs --status failed`.",
        "Expected files: 2 late, 1 missing. `ingestion-pipeline arrivals` shows which.",
        "More than 1,000 objects without a contract or an organization.",
        "2 callbacks parked: `ingestion-pipeline callbacks list` shows whose, `callbacks redeliver` sends them.",
    ]
    assert figures.numbers["failed_fraction_last_hour"] == 0.25
