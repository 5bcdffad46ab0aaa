"""A run that Dagster will launch again keeps its claim, also in the moment before Dagster has said so."""

from datetime import UTC, datetime

import dagster as dg
import pytest

from ingestion_pipeline.defs.dispatcher import claim_run
from ingestion_pipeline.stages.dispatch import RunState


@pytest.mark.parametrize(
    ("will_retry", "launched_again", "retries", "state"),
    [
        pytest.param("true", False, True, RunState.WILL_RETRY, id="promised"),
        pytest.param(None, False, True, RunState.WILL_RETRY, id="not said yet"),
        pytest.param(None, False, False, RunState.ENDED, id="Dagster retries nothing"),
        pytest.param("false", False, True, RunState.ENDED, id="refused"),
        pytest.param("true", True, True, RunState.ENDED, id="launched again"),
        pytest.param(None, True, True, RunState.ENDED, id="launched again, not said yet"),
    ],
)
def test_a_failed_run_counts_as_ended_only_once_nobody_retries_it(
    will_retry: str | None, launched_again: bool, retries: bool, state: RunState
) -> None:
    tags = {} if will_retry is None else {"dagster/will_retry": will_retry}
    run = dg.DagsterRun(job_name="ingest_things", run_id="a-run", status=dg.DagsterRunStatus.FAILURE, tags=tags)
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    record = dg.RunRecord(storage_id=1, dagster_run=run, create_timestamp=moment, update_timestamp=moment)
    retried: set[str | None] = {"a-run"} if launched_again else set()
    assert claim_run(record, retried, retries=retries, turns={}).state is state
