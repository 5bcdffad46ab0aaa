"""A small form of `benchmarks/fairness.py` beside the session's stack: what is promised but for the times.

History is launched in a real browser while live files come, started again, stopped in the middle and started again;
another organization floods the system. Everything is loaded exactly once.
"""

import random

import pytest

from benchmarks.common import Bench
from benchmarks.fairness import CROWD, Play
from ingestion_pipeline_tests.guarantees.system import System

pytestmark = pytest.mark.stack


def test_history_live_files_and_a_flood_are_all_loaded_exactly_once(system: System) -> None:
    bench = Bench(system.stack)
    bench.ledger.discovery.add_organization(CROWD)
    try:
        play = Play(bench=bench, files=24, days=6, live=1, flood=30, moments=random.Random(1))
        seen = play.all()
    finally:
        bench.close()
    assert seen["exact"], "every day green, every day's rows exact"
    assert seen["nothing_again"], "the same backfill again loads nothing and says so"
    assert seen["floods_loaded"], "every file of the flood is loaded"
    assert seen["resumed"], "stopped in the middle and started again"
