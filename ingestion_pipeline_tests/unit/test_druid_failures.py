"""What Druid's answers mean: tables of real bodies (Druid 33.0.0; `druid_tasks.json` has whole ones of tasks)."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.domain.druid import RunnerState, TaskReport, TaskState, TaskStatus, failure_reason
from ingestion_pipeline.domain.druid_failures import already_exists, classify_response, classify_task_failure
from ingestion_pipeline.domain.redaction import redacted_json, without_secrets
from ingestion_pipeline.errors import ConfigurationError, DruidRejected, DruidUnavailable, TaskFailed, Unproved
from ingestion_pipeline.stages.monitor import judge_task

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("druid_tasks.json").read_text())

NOT_JSON = (
    "<html>\n<head>\n<title>Error 500 javax.servlet.ServletException: com.fasterxml.jackson.core.JsonParseException: "
    "Unrecognized token &apos;not&apos;\n at [Source: (HttpInputOverHTTP)]</title>\n</head></html>"
)
DOWN_503 = "<html><head><title>Error 503 Service Unavailable</title></head><body></body></html>"
NO_METADATA = (
    '{"error":"druidException","errorCode":"metadata","persona":"DEVELOPER","category":"RUNTIME_FAILURE",'
    '"errorMessage":"Encountered metadata exception for task [ing-1]","context":{}}'
)
NO_EXTENSION = (
    '{"error":"Please make sure to load all the necessary extensions and jars with type \'s3\' on '
    "'druid/coordinator' service. Could not resolve type id 's3' as a subtype of "
    '`org.apache.druid.data.input.InputSource` known type ids = [combining, druid, generator, http, inline]"}'
)
BAD_NAME = (
    '{"error":"Cannot construct instance of `org.apache.druid.segment.indexing.DataSchema`, problem: Invalid value '
    "for field [dataSource]: Value [a/b] cannot contain '/'.\"}"
)


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        pytest.param(500, NOT_JSON, DruidRejected, "JsonParseException", id="a 500 that no waiting heals"),
        pytest.param(500, NO_METADATA, DruidUnavailable, "metadata exception", id="metadata store away"),
        pytest.param(503, DOWN_503, DruidUnavailable, "503 Service Unavailable", id="starting, as HTML"),
        pytest.param(502, "", DruidUnavailable, "502", id="a proxy's empty 502"),
        pytest.param(429, '{"error":"too many"}', DruidUnavailable, "too many", id="busy"),
        pytest.param(400, NO_EXTENSION, DruidRejected, "type id 's3'", id="extension not loaded, first shape"),
        pytest.param(400, BAD_NAME, DruidRejected, "cannot contain '/'", id="unusable name"),
        pytest.param(
            400,
            '{"error":"druidException","errorCode":"invalidInput","errorMessage":"Object \'x\' not found"}',
            DruidRejected,
            "Object 'x' not found",
            id="second shape",
        ),
        pytest.param(401, "", ConfigurationError, "401", id="no credentials"),
        pytest.param(403, '{"error":"Unauthorized"}', ConfigurationError, "Unauthorized", id="not allowed"),
        pytest.param(404, DOWN_503, ConfigurationError, "404", id="not Druid's URL"),
    ],
)
def test_a_refused_call_is_permanent_or_transient(status: int, body: str, error: Any, words: str) -> None:
    made = classify_response("take task ing-1", status, body)
    assert type(made) is error
    assert words in made.message
    assert "take task ing-1" in made.message
    assert made.hint


@pytest.mark.parametrize(
    ("status", "body", "known"),
    [
        (400, '{"error":"druidException","errorCode":"entryAlreadyExists","errorMessage":"Task [a] exists"}', True),
        (400, '{"error":"Task[a] already exists!"}', True),
        (400, '{"error":"druidException","errorCode":"invalidInput","errorMessage":"Task [a] is bad"}', False),
        (500, NO_METADATA, False),
        (400, "not json", False),
    ],
)
def test_only_a_known_id_passes_for_one(status: int, body: str, known: bool) -> None:
    assert already_exists(status, body) is known


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("text_in_a_number_column", DruidRejected, "Max parse exceptions[0] exceeded"),
        ("time_that_is_none", DruidRejected, "Max parse exceptions[0] exceeded"),
        ("object_that_is_not_zstandard", DruidRejected, "Unknown frame descriptor"),
        ("row_outside_the_intervals", Unproved, "1 outside"),
        ("canceled_by_a_user", TaskFailed, "Shutdown request from user"),
        ("bucket_not_reachable", TaskFailed, "Connection refused"),
        ("object_missing", DruidRejected, "FileNotFoundException"),
        ("signature_refused", TaskFailed, "403"),
    ],
)
def test_recorded_tasks_are_judged(name: str, error: Any, words: str) -> None:
    status = TaskStatus.from_json(f"ing-{name}", RECORDED[name]["status"])
    report = TaskReport.from_json(RECORDED[name]["report"] or {})
    assert status is not None
    judged = judge_task(status, report, 1).error
    assert type(judged) is error
    assert words in judged.message
    shown = json.dumps(judged.as_dict())
    assert "AKIDEXAMPLE" not in shown
    assert "f00dface" not in shown
    assert "\\tat " not in shown, "a stack trace is nothing for people"


def test_every_recorded_task_is_judged() -> None:
    assert len(RECORDED) == 8


def test_a_signature_that_druids_cut_tore_from_its_url_is_not_kept() -> None:
    cut = RECORDED["signature_refused"]["status"]["status"]["errorMsg"]
    assert "characters omitted...e=2" in cut, "the recorded message must show the cut"
    assert "f00dface" not in without_secrets(cut)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("This task disappeared on the worker where it was assigned. See overlord logs for more details.", TaskFailed),
        ("Failed to get locks for intervals[[2013-01-01T00:00:00.000Z/2013-02-01T00:00:00.000Z]]", TaskFailed),
        ("java.lang.ISE: Segments not covered by locks, revoked=true", TaskFailed),
        ("java.lang.OutOfMemoryError: Java heap space", TaskFailed),
        ("java.io.IOException: No space left on device", TaskFailed),
        ("java.io.FileNotFoundException: /tmp/druid/task/ing-1/x.smoosh (No space left on device)", TaskFailed),
        ("java.io.FileNotFoundException: /tmp/druid/task/ing-1/x.smoosh (Too many open files)", TaskFailed),
        ("java.io.FileNotFoundException: /tmp/druid/task/ing-1/x.smoosh (Permission denied)", TaskFailed),
        ("java.io.FileNotFoundException: /tmp/druid/task/ing-1/x.smoosh (No such file or directory)", TaskFailed),
        (
            "RuntimeException: trying to read uri: http://h/k Caused by: FileNotFoundException: http://h/k",
            DruidRejected,
        ),
        ("java.io.FileNotFoundException: s3a://bucket/k", DruidRejected),
        ("Access key cannot be null.", ConfigurationError),
        ("AmazonS3Exception: The request signature ... (Status Code: 403; Error Code: SignatureDoesNotMatch)", None),
        (
            "AmazonS3Exception: The specified key does not exist. (Status Code: 404; Error Code: NoSuchKey)",
            DruidRejected,
        ),
        ("something that nobody has seen yet", TaskFailed),
        ("", TaskFailed),
        (None, TaskFailed),
    ],
)
def test_a_failed_tasks_text_decides_on_another_try(text: str | None, error: Any) -> None:
    assert type(classify_task_failure("ing-1", text)) is (error or ConfigurationError)


def test_a_worker_that_cannot_open_files_is_not_taken_for_a_bucket_out_of_reach() -> None:
    text = "Error occurred while trying to read uri: http://h/k\nCaused by: SocketException: Too many open files"
    assert "worker ran out of" in classify_task_failure("ing-1", text).hint


FINISHED = {"processed": 7, "processedBytes": 70, "processedWithError": 1, "thrownAway": 2, "unparseable": 3}
LIVE = {name: float(value) for name, value in FINISHED.items()}


@pytest.mark.parametrize(
    "row_stats",
    [
        pytest.param({"buildSegments": FINISHED, "determinePartitions": {"processed": 99}}, id="sequential, ended"),
        pytest.param({"totals": {"buildSegments": FINISHED}}, id="parallel, ended"),
        pytest.param({"movingAverages": {"buildSegments": {}}, "totals": {"buildSegments": LIVE}}, id="running"),
    ],
)
def test_every_shape_of_a_report_gives_the_same_figures(row_stats: Any) -> None:
    body = {"ingestionStatsAndErrors": {"payload": {"rowStats": row_stats, "segmentsPublished": 4, "errorMsg": None}}}
    assert TaskReport.from_json(body) == TaskReport(
        processed=7,
        processed_with_error=1,
        unparseable=3,
        thrown_away=2,
        processed_bytes=70,
        segments_published=4,
    )


@pytest.mark.parametrize("body", [{}, {"ingestionStatsAndErrors": None}, {"ingestionStatsAndErrors": {"payload": {}}}])
def test_a_report_without_figures_is_none(body: Any) -> None:
    assert TaskReport.from_json(body) is None


def test_a_status_is_read_with_its_runner_and_duration() -> None:
    body = {"status": {"statusCode": "RUNNING", "runnerStatusCode": "PENDING", "duration": -1, "errorMsg": None}}
    assert TaskStatus.from_json("a", body) == TaskStatus(
        task_id="a", state=TaskState.RUNNING, runner=RunnerState.PENDING
    )
    assert TaskStatus.from_json("a", {"status": None}) is None


@given(st.text(), st.text(alphabet=st.characters(exclude_characters=" \t\r\n\"'<>(){}[]", categories=["L", "N", "P"])))
def test_no_query_string_survives_in_any_text(before: str, query: str) -> None:
    kept = without_secrets(f"{before} http://user:pass@host/b/k.csv.zst?{query}qzqz next")
    assert "qzqz" not in kept
    assert "user:pass" not in kept
    assert kept.endswith("http://host/b/k.csv.zst next")


def test_redacting_json_keeps_everything_else() -> None:
    value = {"a?b": ["http://h/k?s=1", 1, None, True, {"c": "x"}]}
    assert redacted_json(value) == {"a?b": ["http://h/k", 1, None, True, {"c": "x"}]}


@given(st.text(max_size=5000))
def test_a_reason_is_one_short_line(message: str) -> None:
    reason = failure_reason(message)
    assert reason is None or (len(reason) <= 600 and len(reason.splitlines()) <= 1)
