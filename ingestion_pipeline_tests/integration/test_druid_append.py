"""Appends on the real Druid: presigned objects in, rows proved, texts exact, refusals told."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import zstandard

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.domain.druid import TaskState
from ingestion_pipeline.errors import DruidRejected, Duplicated, Unproved
from ingestion_pipeline.stages.monitor import Progress, judge_task
from ingestion_pipeline.stages.submit import chunk_intervals
from ingestion_pipeline_tests.integration.druid_load import JANUARY, Load, csv, ndjson

pytestmark = pytest.mark.stack

HARD_TEXTS = [
    "line\nbreak",
    "car\rriage\r\nreturn",
    'a "quote", a comma',
    "",
    None,
    "null",
    "日本 é 😀",
    "\u2028 \u00a0 \ufeff",
    "\x01 control \x0b",
    "back\\slash \\n",
    "  blanks  ",
    "\t",
    "a;b|c",
    "NA",
]
CSV_TEXTS = [text for text in HARD_TEXTS if text and not set(text) & set("\r\n")] + [None]


def test_hard_texts_arrive_exactly_by_ndjson(druid_client: Druid, signed_object: Callable[[str, bytes], str]) -> None:
    load = Load(druid_client)
    spec = load.spec(signed_object("ndjson.zst", ndjson(load.rows(HARD_TEXTS))))
    assert druid_client.submit(spec) == "accepted"
    status, report = load.follow(spec)
    assert judge_task(status, report, len(HARD_TEXTS)).name == "clean"
    assert load.prove(len(HARD_TEXTS)) == {load.job: len(HARD_TEXTS)}
    assert load.texts() == HARD_TEXTS


def test_texts_that_csv_can_carry_arrive_exactly_by_csv(
    druid_client: Druid, signed_object: Callable[[str, bytes], str]
) -> None:
    load = Load(druid_client)
    spec = load.spec(signed_object("csv.zst", csv(load.rows(CSV_TEXTS))), "csv")
    druid_client.submit(spec)
    status, report = load.follow(spec)
    assert judge_task(status, report, len(CSV_TEXTS)).name == "clean"
    load.prove(len(CSV_TEXTS))
    assert load.texts() == CSV_TEXTS


def test_a_task_posted_again_loads_nothing_again(
    druid_client: Druid, signed_object: Callable[[str, bytes], str]
) -> None:
    load = Load(druid_client)
    spec = load.spec(signed_object("ndjson.zst", ndjson(load.rows(["a", "b"]))))
    assert [druid_client.submit(spec), druid_client.submit(spec)] == ["accepted", "exists"]
    assert load.follow(spec)[0].state is TaskState.SUCCESS
    assert druid_client.submit(spec) == "exists", "an ended task is known as well"
    load.prove(2)


def test_counts_are_per_job_and_bounded_by_time(
    druid_client: Druid, signed_object: Callable[[str, bytes], str]
) -> None:
    load = Load(druid_client)
    first = load.spec(signed_object("ndjson.zst", ndjson(load.rows(["a", "b"]))))
    other = Load(druid_client, datasource=load.datasource)
    second = other.spec(signed_object("ndjson.zst", ndjson(other.rows(["c"]))))
    for spec in (first, second):  # both open at once: they share the month's lock
        druid_client.submit(spec)
    for spec in (first, second):
        assert load.follow(spec)[0].state is TaskState.SUCCESS
    load.prove(2)
    other.prove(1)
    jobs = [load.job, other.job, "nobody"]
    assert druid_client.count_by_job(load.datasource, jobs, JANUARY[0]) == {load.job: 2, other.job: 1, "nobody": 0}
    assert druid_client.served_by_job(load.datasource, jobs, JANUARY[0]) == {load.job: 2, other.job: 1, "nobody": 0}
    february = chunk_intervals([datetime(2013, 2, 1, tzinfo=UTC)], "month")[0]
    assert sum(druid_client.count_by_job(load.datasource, jobs, february).values()) == 0
    assert not load.absent()
    assert load.absent("nobody"), "other jobs' rows are no rows of this one"


def test_a_datasource_that_was_never_loaded_is_empty(druid_client: Druid) -> None:
    load = Load(druid_client)
    assert druid_client.count_by_job(load.datasource, [load.job], JANUARY[0]) == {load.job: 0}
    assert druid_client.load_status(load.datasource, JANUARY[0], force=True) is None
    assert load.absent()


def test_an_unknown_task_is_told_apart(druid_client: Druid) -> None:
    assert druid_client.status("ing-nobody") is None
    assert druid_client.report("ing-nobody") is None
    druid_client.cancel("ing-nobody")
    status, _ = Load(druid_client).follow({"id": "ing-nobody"})
    assert status.state is TaskState.UNKNOWN


def test_rows_outside_the_intervals_end_as_success_and_are_not_believed(
    druid_client: Druid, signed_object: Callable[[str, bytes], str]
) -> None:
    load = Load(druid_client)
    rows = load.rows(["a", "b"])
    rows[1]["__time"] += 40 * 86_400_000
    spec = load.spec(signed_object("ndjson.zst", ndjson(rows)))
    druid_client.submit(spec)
    status, report = load.follow(spec)
    assert status.state is TaskState.SUCCESS
    verdict = judge_task(status, report, 2)
    assert (verdict.name, type(verdict.error)) == ("short", Unproved)
    with pytest.raises(Unproved):
        load.prove(2, deadline=3.0)


def test_more_rows_than_expected_are_an_alarm(druid_client: Druid, signed_object: Callable[[str, bytes], str]) -> None:
    load = Load(druid_client)
    spec = load.spec(signed_object("ndjson.zst", ndjson(load.rows(["a", "b"]))))
    druid_client.submit(spec)
    load.follow(spec)
    load.prove(2)
    with pytest.raises(Duplicated):
        load.prove(1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(b'{"__time":1357000000000,"text":"a","number":"abc"}\n', "Max parse", id="a text in a number"),
        pytest.param(b'{"__time":"x","text":"a","number":1}\n', "Max parse", id="no time"),
    ],
)
def test_a_row_that_druid_cannot_read_fails_the_task_for_good(
    druid_client: Druid, signed_object: Callable[[str, bytes], str], text: bytes, reason: str
) -> None:
    load = Load(druid_client)
    spec = load.spec(signed_object("ndjson.zst", zstandard.compress(text)))
    druid_client.submit(spec)
    status, report = load.follow(spec)
    verdict = judge_task(status, report, 1)
    assert verdict.name == "failed"
    assert isinstance(verdict.error, DruidRejected)
    assert reason in verdict.error.message
    assert load.absent(), "nothing of a failed task is published"


def test_an_object_that_is_not_zstandard_fails_for_good(
    druid_client: Druid, signed_object: Callable[[str, bytes], str]
) -> None:
    load = Load(druid_client)
    spec = load.spec(signed_object("ndjson.zst", b"plain text\n"))
    druid_client.submit(spec)
    verdict = judge_task(*load.follow(spec), 1)
    assert isinstance(verdict.error, DruidRejected)
    assert "replay" in verdict.error.hint


def test_a_canceled_task_can_be_tried_again(druid_client: Druid) -> None:
    load = Load(druid_client)
    spec = load.spec("http://127.0.0.1:9/a.ndjson.zst?signature=secret")  # Druid asks a closed port for minutes
    druid_client.submit(spec)
    seen: list[Progress] = []
    while not any(progress.state == "RUNNING" for progress in seen[-1:]):
        status = druid_client.status(spec["id"])
        assert status is not None
        seen.append(Progress(step="ingesting", rows=0, seconds=0, state=status.runner.value))
        time.sleep(0.1)
    druid_client.cancel(spec["id"])
    verdict = judge_task(*load.follow(spec), 1)
    assert verdict.error is not None
    assert verdict.error.retryable
    assert "secret" not in json.dumps(verdict.error.as_dict())


def refused_specs() -> list[Any]:
    def source(spec: dict[str, Any]) -> None:
        spec["spec"]["ioConfig"]["inputSource"] = {"type": "s3", "uris": ["s3://a/b.ndjson.zst"]}

    def twice(spec: dict[str, Any]) -> None:
        spec["spec"]["dataSchema"]["dimensionsSpec"]["dimensions"].append({"type": "string", "name": "text"})

    def name(spec: dict[str, Any]) -> None:
        spec["spec"]["dataSchema"]["dataSource"] = "a/b"

    def kind(spec: dict[str, Any]) -> None:
        del spec["type"]

    return [
        pytest.param(source, "type 's3'", id="an extension that is not loaded"),
        pytest.param(twice, "Duplicate column", id="a dimension twice"),
        pytest.param(name, "cannot contain '/'", id="a datasource name"),
        pytest.param(kind, "missing type id", id="no type"),
    ]


@pytest.mark.parametrize(("spoil", "words"), refused_specs())
def test_a_refused_spec_is_permanent_and_in_druids_words(
    druid_client: Druid, spoil: Callable[[dict[str, Any]], None], words: str
) -> None:
    spec = Load(druid_client).spec("http://127.0.0.1:9/a.ndjson.zst")
    spoil(spec)
    with pytest.raises(DruidRejected, match=words):
        druid_client.submit(spec)
    assert druid_client.status(spec["id"]) is None


def test_the_embedded_cluster_is_ready_and_reads_by_presigned_http(druid_client: Druid) -> None:
    assert druid_client.unready() is None
    capabilities = druid_client.capabilities()
    assert (capabilities.version, capabilities.s3, capabilities.parquet) == ("33.0.0", False, False)


def test_a_query_error_is_druids_own(druid_client: Druid) -> None:
    with pytest.raises(DruidRejected, match="nowhere"):
        druid_client.query("SELECT * FROM nowhere")
    with pytest.raises(DruidRejected, match="by zero"):
        druid_client.query("SELECT 1/0")


def test_parameters_keep_their_types(druid_client: Druid) -> None:
    moment = datetime(2013, 1, 1, 12, 30, 0, 250_000, tzinfo=UTC)
    (row,) = druid_client.query(
        "SELECT ? AS s, ? + 1 AS n, ? * 2 AS x, ? AS b, TIME_EXTRACT(?, 'HOUR') AS h, ? AS z",
        ["it's", 41, 0.5, True, moment, None],
    )
    assert row == {"s": "it's", "n": 42, "x": 1.0, "b": True, "h": 12, "z": None}
