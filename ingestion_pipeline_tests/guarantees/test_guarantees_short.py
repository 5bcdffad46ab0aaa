"""The guarantee suite in short, with every run of the tests: two dozen files, four blows, every row compared."""

import pytest

from ingestion_pipeline_tests.guarantees.suite import play, report, schedule
from ingestion_pipeline_tests.guarantees.system import System

pytestmark = pytest.mark.stack

SEED = 819


@pytest.mark.timeout(1200)
def test_nothing_is_lost_or_doubled_while_servers_and_workers_are_killed(system: System) -> None:
    """On the session's stack: its servers are started again before the next test."""
    plan = schedule.make(
        seed=SEED,
        files=24,
        kills=4,
        seconds=60,
        services=("postgres", "druid-indexer", "druid-historical", "code-server", "dagster-daemon"),
        longest_seconds=20,
        full_restarts=False,
        largest_rows=60,
    )
    play.get_ready(system)
    try:
        outcome = play.perform(system, plan, deadline_seconds=600, say=print)
    finally:
        system.stack.up()
    print("\n".join(report.lines(outcome)))
    assert outcome.is_clean, report.as_json(outcome)["violations"]
