"""What dispatch asks in every tick, and `why` of one file, of a ledger with years of finished jobs and history.

What belongs here: the work that the database has with a question, in blocks. What does not: time, which a busy
machine makes long, and the answers.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.domain.expectation import Period
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.ledger import DAY, START, World

MANY = 30_000
"""Of each: finished jobs, history, unmatched objects. Each of their tables has hundreds of blocks."""

FEW_BLOCKS = 60
JOB = "00000000-0000-4000-8000-000000000001"
DATASOURCES = [f"d{number}" for number in range(10)]

_FILL = f"""
SET session_replication_role = replica;  -- without an event for each
INSERT INTO ingestion_jobs (
    job_id, organization, datasource, bucket, object_key, etag, size_bytes, last_modified, file_name, cause, lane,
    priority, partition_day, arrived_at, run_id, status, outcome, finished_at, backfill_id)
SELECT gen_random_uuid(), 'big', 'd' || n % 10, 'b', kind || n, 'e', 1, now(), 'f', 'discovered',
       CASE kind WHEN 'history' THEN 'history' ELSE 'live' END, 2, date '{DAY}' + n % 300, now(), 'r' || n / 30,
       CASE kind WHEN 'history' THEN 'pending' ELSE 'completed' END, CASE kind WHEN 'finished' THEN 'empty' END,
       CASE kind WHEN 'finished' THEN now() END, CASE kind WHEN 'finished' THEN 'bf' || n % 10 END
FROM generate_series(1, {MANY}) AS n, unnest(ARRAY['history', 'finished']) AS kind;
UPDATE ingestion_jobs SET job_id = '{JOB}' WHERE object_key = 'finished7';
INSERT INTO unmatched_objects (
    bucket, object_key, etag, size_bytes, last_modified, reason, message, routing_version, first_seen_at, looked_at)
SELECT 'b', 'k' || n, 'e', 1, now(), 'r', 'm', 'now', now(), now() FROM generate_series(1, {MANY}) AS n;
ANALYZE;
"""

DATED = [
    Period(name=f"{day}", start=START, due=START, missing=START, day=day) for day in (DAY, DAY + timedelta(days=1))
]
UNDATED = [
    Period(name=f"{hour}", start=START + hour, due=START + hour + timedelta(hours=1), missing=START, day=None)
    for hour in (timedelta(), timedelta(hours=1))
]

QUESTIONS: dict[str, Callable[[Ledger], Any]] = {
    "what waits": lambda ledger: ledger.queue.candidates(
        datasources=dict.fromkeys(DATASOURCES, date.min), now=START, per_organization=500
    ),
    "what is claimed": lambda ledger: ledger.queue.open_claims(),
    "what never came": lambda ledger: ledger.queue.expire_announced(before=START, now=START),
    "who waits for Druid": lambda ledger: ledger.queue.explain_waiting("Druid is away.", datasources=DATASOURCES),
    "who waits for nothing": lambda ledger: ledger.queue.explain_waiting(None, datasources=DATASOURCES),
    "who is before the first day": lambda ledger: ledger.queue.explain_waiting(
        "Too early.", datasources=DATASOURCES[:1], before=DAY
    ),
    "who is due": lambda ledger: ledger.queue.postpone_due(until=START + timedelta(minutes=1), now=START),
    "which backfills have work": lambda ledger: ledger.backfills.unfinished(),
    "what a stopped backfill holds back": lambda ledger: ledger.backfills.hold_back("bf1"),
    "whether Druid was there": lambda ledger: ledger.queue.note_dependency("druid", None, now=START),
    "whether runs have work": lambda ledger: ledger.queue.work_left(["r1"]),
    "what waits and what ended": lambda ledger: ledger.figures.now(datetime.now(UTC) + timedelta(days=2)),
    "what came for two days": lambda ledger: ledger.arrivals.came("d5", DATED, organizations=[]),
    "what came in two hours": lambda ledger: ledger.arrivals.came("d0", UNDATED, organizations=["big"]),
    "what is late": lambda ledger: ledger.arrivals.note("d0", [], now=START),
    "whether a key has a job": lambda ledger: ledger.jobs.latest(bucket="b", object_key="finished7", limit=200),
    "what became of a job": lambda ledger: ledger.diagnosis.job(JOB),
    "what holds a job": lambda ledger: ledger.diagnosis.place(JOB, now=START),
    "what was sent to Druid for a job": lambda ledger: ledger.diagnosis.attempt(JOB),
    "whether a key belongs nowhere": lambda ledger: ledger.diagnosis.unmatched("b", "a/k7", limit=6),
    "which unmatched objects to look at": lambda ledger: ledger.discovery.unmatched_to_look_at(
        "b", routing_version="now", limit=1000
    ),
}


@pytest.fixture(scope="module")
def big(fresh_database: Callable[[], LedgerDatabase]) -> Iterator[Ledger]:
    database = fresh_database()
    ledger = Ledger(database.pipeline_url)
    World(database, ledger, name="big")
    with psycopg.connect(database.superuser_dsn) as connection:
        connection.execute(_FILL)
    yield ledger
    ledger.close()


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS.keys())
def test_a_question_reads_few_blocks_of_a_big_ledger(big: Ledger, ask: Callable[[Ledger], Any]) -> None:
    blocks: list[int] = []

    def measure(_connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
        ((explained,),) = cursor.fetchall()
        plan = explained[0]["Plan"]
        blocks.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    sa.event.listen(big.engine, "before_cursor_execute", measure)
    try:
        ask(big)
    finally:
        sa.event.remove(big.engine, "before_cursor_execute", measure)
    assert blocks
    assert max(blocks) <= FEW_BLOCKS
