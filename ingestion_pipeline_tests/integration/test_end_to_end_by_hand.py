"""Loading that a person starts: from the Launchpad with keys, from the partitions page with a backfill."""

import pytest

from ingestion_pipeline_tests.guarantees.system import System, readings

pytestmark = pytest.mark.stack


def test_the_launchpad_loads_the_keys_that_it_is_given(system: System) -> None:
    named, other = (
        system.put(f"exports/by_hand/2024-05-01/{name}.csv", readings(30, place=name)) for name in ("named", "other")
    )
    run = system.ended_run(system.launch("by_hand", "2024-05-01", [named]))
    assert run.status == "SUCCESS", run.errors
    assert run.checks["rows_proved"]
    job = system.finished(named)
    assert (job["outcome"], job["run_id"]) == ("loaded", run.run_id)
    assert system.counted("by_hand") == system.counted("by_hand", job["job_id"]) == 30
    assert all(job["status"] == "pending" for job in system.jobs_of(other))

    again = system.ended_run(system.launch("by_hand", "2024-05-01", [named]))
    assert again.status == "FAILURE"
    assert any("loaded already by job" in message and "replay" in message for message in again.errors), again.errors
    wrong_day = system.ended_run(system.launch("by_hand", "2024-05-02", [other]))
    assert any("belongs to partition 2024-05-01" in message for message in wrong_day.errors), wrong_day.errors
    assert system.counted("by_hand") == 30


def test_a_backfill_loads_the_history_of_its_day_exactly_once(system: System) -> None:
    day, next_day = "2024-05-01", "2024-05-02"
    keys = [system.put(f"exports/archive/{day}/{n}.csv", readings(20, place=f"place {n}")) for n in range(3)]
    later = system.put(f"exports/archive/{next_day}/0.csv", readings(20, day=next_day))
    system.until("four discovered files", lambda: all(system.jobs_of(key) for key in [*keys, later]))
    assert {job["lane"] for key in [*keys, later] for job in system.jobs_of(key)} == {"history"}

    run = system.backfill("archive", day)
    assert run.status == "SUCCESS", run.errors
    jobs = [system.finished(key) for key in keys]
    assert [(job["outcome"], job["run_id"], job["rows_queryable"]) for job in jobs] == [("loaded", run.run_id, 20)] * 3
    assert system.counted("archive") == 60
    assert [job["status"] for job in system.jobs_of(later)] == ["pending"]

    again = system.backfill("archive", day)
    assert again.status == "SUCCESS", again.errors
    assert "nothing to load, nothing loaded twice" in again.metadata["notes"]
    assert system.counted("archive") == 60
