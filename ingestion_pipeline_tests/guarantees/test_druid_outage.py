"""What the adapter and the waiting make of Druid services that are killed: nothing lost, nothing believed too soon."""

import threading
import time
from collections.abc import Callable

import pytest

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.domain.druid import TaskState
from ingestion_pipeline.embedded.stack import Stack
from ingestion_pipeline.errors import DruidUnavailable
from ingestion_pipeline.stages.monitor import prove_absent
from ingestion_pipeline_tests.integration.druid_load import JANUARY, Load, ndjson

pytestmark = pytest.mark.stack

COORDINATOR, HISTORICAL = "druid-coordinator", "druid-historical"


def test_absence_is_not_believed_while_a_historical_is_dead(
    druid: Stack, druid_client: Druid, signed_object: Callable[[str, bytes], str]
) -> None:
    load = Load(druid_client)
    spec = load.spec(signed_object("ndjson.zst", ndjson(load.rows(["a", "b"]))))
    druid_client.submit(spec)
    load.follow(spec)
    load.prove(2)
    druid.kill(HISTORICAL)
    try:
        ended = time.monotonic() + 45
        while time.monotonic() < ended:  # from the kill until every server has noticed it, and after
            try:
                assert not prove_absent(
                    druid_client,
                    load.datasource,
                    [load.job],
                    JANUARY,
                    sleep=time.sleep,
                    clock=time.monotonic,
                    broker_refresh_seconds=1.5,
                    deadline_seconds=1.0,
                ), "two loaded rows were taken for absent"
            except DruidUnavailable as error:
                if "loaded_percent" in error.details:
                    break  # the coordinator has noticed
            time.sleep(0.2)
        else:
            pytest.fail("the coordinator never noticed its dead historical")
        assert druid_client.count_by_job(load.datasource, [load.job], JANUARY[0]) == {load.job: 0}, (
            "a count alone would say that nothing was loaded"
        )
    finally:
        druid.up(only=[HISTORICAL])
    load.prove(2)


def test_a_task_outlives_its_overlord_and_is_followed_to_its_end(
    druid: Stack, druid_client: Druid, signed_object: Callable[[str, bytes], str]
) -> None:
    load = Load(druid_client)
    spec = load.spec(signed_object("ndjson.zst", ndjson(load.rows([str(n) for n in range(200_000)]))))
    druid_client.submit(spec)
    druid.kill(COORDINATOR)
    with pytest.raises(DruidUnavailable):
        druid_client.status(spec["id"])
    assert druid_client.unready() is not None
    restart = threading.Thread(target=druid.up, kwargs={"only": [COORDINATOR]})
    restart.start()
    try:
        status, _ = load.follow(spec)
    finally:
        restart.join()
    assert status.state is TaskState.SUCCESS
    assert druid_client.submit(spec) == "exists"
    load.prove(200_000)
