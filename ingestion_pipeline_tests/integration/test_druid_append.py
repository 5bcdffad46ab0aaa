"""Appends on the real Druid: presigned objects in, rows proved, texts exact, refusals told."""

import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import polars as pl
import pytest
import zstandard

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.domain.druid import TaskReport, TaskState, TaskStatus
from ingestion_pipeline.embedded.stack import Stack
from ingestion_pipeline.errors import DruidRejected, Duplicated, Unproved
from ingestion_pipeline.stages.monitor import Progress, follow_task, judge_task, prove_absent, prove_counts
from ingestion_pipeline.stages.submit import InputFiles, build_append_spec, chunk_intervals, task_id
from ingestion_pipeline_tests.conftest import S3Access

pytestmark = pytest.mark.stack

JANUARY = chunk_intervals([datetime(2013, 1, 1, tzinfo=UTC)], "month")
START_MS = 1_357_000_000_000
COLUMNS = ["__time", "text", "number", "__job_id", "__organization"]
DIMENSIONS = [
    {"type": "string", "name": "text"},
    {"type": "long", "name": "number"},
    {"type": "string", "name": "__job_id"},
    {"type": "string", "name": "__organization"},
]
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


@pytest.fixture(scope="module")
def client(druid: Stack) -> Iterator[Druid]:
    variables = druid.environment()
    with Druid(
        coordinator_url=variables["INGESTION_DRUID_COORDINATOR_URL"],
        overlord_url=variables["INGESTION_DRUID_OVERLORD_URL"],
        broker_url=variables["INGESTION_DRUID_BROKER_URL"],
    ) as connected:
        yield connected


@pytest.fixture(scope="module")
def signed(s3: S3Access) -> Callable[[str, bytes], str]:
    """Puts an object and signs a URL for it."""
    store = ObjectStore(
        bucket=s3.bucket,
        endpoint_url=s3.endpoint_url,
        region=s3.region,
        access_key_id=s3.access_key_id,
        secret_access_key=s3.secret_access_key,
    )

    def put(suffix: str, data: bytes) -> str:
        key = f"cleaned/druid-tests/{uuid4()}.{suffix}"
        store.put(key, data)
        return store.presign_get(key, seconds=3600)

    return put


@dataclass
class Load:
    """One attempt of one job into a datasource of its own."""

    client: Druid
    datasource: str = field(default_factory=lambda: f"t_{uuid4().hex[:10]}")
    job: str = field(default_factory=lambda: str(uuid4()))

    def rows(self, texts: list[str | None]) -> list[dict[str, Any]]:
        return [
            {"__time": START_MS + n, "text": text, "number": n, "__job_id": self.job, "__organization": "demo"}
            for n, text in enumerate(texts)
        ]

    def spec(self, url: str, file_format: Any = "ndjson") -> dict[str, Any]:
        return build_append_spec(
            task_id=task_id(datasource=self.datasource, attempt_id=str(uuid4())),
            datasource=self.datasource,
            inputs=InputFiles(kind="http", uris=[url], format=file_format, columns=COLUMNS),
            dimensions=DIMENSIONS,
            segment_granularity="month",
            intervals=JANUARY,
        )

    def follow(self, spec: dict[str, Any]) -> tuple[TaskStatus, TaskReport | None]:
        return follow_task(self.client, spec["id"], sleep=time.sleep, clock=time.monotonic, progress=lambda _: None)

    def prove(self, rows: int, deadline: float = 60.0) -> dict[str, int]:
        return prove_counts(
            self.client,
            self.datasource,
            {self.job: rows},
            JANUARY,
            deadline_seconds=deadline,
            sleep=time.sleep,
            clock=time.monotonic,
            progress=lambda _: None,
        )

    def absent(self, *jobs: str) -> bool:
        return prove_absent(
            self.client,
            self.datasource,
            jobs or [self.job],
            JANUARY,
            sleep=time.sleep,
            clock=time.monotonic,
            broker_refresh_seconds=1.5,
        )

    def texts(self) -> list[str | None]:
        sql = f'SELECT "text" FROM "{self.datasource}" WHERE "__job_id" = ? ORDER BY __time'
        return [row["text"] for row in self.client.query(sql, [self.job])]


def ndjson(rows: list[dict[str, Any]]) -> bytes:
    return zstandard.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def csv(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pl.DataFrame(rows).select(COLUMNS).write_csv(out, include_header=False)
    return zstandard.compress(out.getvalue())


def test_hard_texts_arrive_exactly_by_ndjson(client: Druid, signed: Callable[[str, bytes], str]) -> None:
    load = Load(client)
    spec = load.spec(signed("ndjson.zst", ndjson(load.rows(HARD_TEXTS))))
    assert client.submit(spec) == "accepted"
    status, report = load.follow(spec)
    assert judge_task(status, report, len(HARD_TEXTS)).name == "clean"
    assert load.prove(len(HARD_TEXTS)) == {load.job: len(HARD_TEXTS)}
    assert load.texts() == HARD_TEXTS


def test_texts_that_csv_can_carry_arrive_exactly_by_csv(client: Druid, signed: Callable[[str, bytes], str]) -> None:
    load = Load(client)
    spec = load.spec(signed("csv.zst", csv(load.rows(CSV_TEXTS))), "csv")
    client.submit(spec)
    status, report = load.follow(spec)
    assert judge_task(status, report, len(CSV_TEXTS)).name == "clean"
    load.prove(len(CSV_TEXTS))
    assert load.texts() == CSV_TEXTS


def test_a_task_posted_again_loads_nothing_again(client: Druid, signed: Callable[[str, bytes], str]) -> None:
    load = Load(client)
    spec = load.spec(signed("ndjson.zst", ndjson(load.rows(["a", "b"]))))
    assert [client.submit(spec), client.submit(spec)] == ["accepted", "exists"]
    assert load.follow(spec)[0].state is TaskState.SUCCESS
    assert client.submit(spec) == "exists", "an ended task is known as well"
    load.prove(2)


def test_counts_are_per_job_and_bounded_by_time(client: Druid, signed: Callable[[str, bytes], str]) -> None:
    load = Load(client)
    first = load.spec(signed("ndjson.zst", ndjson(load.rows(["a", "b"]))))
    other = Load(client, datasource=load.datasource)
    second = other.spec(signed("ndjson.zst", ndjson(other.rows(["c"]))))
    for spec in (first, second):  # both open at once: they share the month's lock
        client.submit(spec)
    for spec in (first, second):
        assert load.follow(spec)[0].state is TaskState.SUCCESS
    load.prove(2)
    other.prove(1)
    jobs = [load.job, other.job, "nobody"]
    assert client.count_by_job(load.datasource, jobs, JANUARY[0]) == {load.job: 2, other.job: 1, "nobody": 0}
    assert client.served_by_job(load.datasource, jobs, JANUARY[0]) == {load.job: 2, other.job: 1, "nobody": 0}
    february = chunk_intervals([datetime(2013, 2, 1, tzinfo=UTC)], "month")[0]
    assert sum(client.count_by_job(load.datasource, jobs, february).values()) == 0
    assert not load.absent()
    assert load.absent("nobody"), "other jobs' rows are no rows of this one"


def test_a_datasource_that_was_never_loaded_is_empty(client: Druid) -> None:
    load = Load(client)
    assert client.count_by_job(load.datasource, [load.job], JANUARY[0]) == {load.job: 0}
    assert client.load_status(load.datasource, JANUARY[0], force=True) is None
    assert load.absent()


def test_an_unknown_task_is_told_apart(client: Druid) -> None:
    assert client.status("ing-nobody") is None
    assert client.report("ing-nobody") is None
    client.cancel("ing-nobody")
    status, _ = Load(client).follow({"id": "ing-nobody"})
    assert status.state is TaskState.UNKNOWN


def test_rows_outside_the_intervals_end_as_success_and_are_not_believed(
    client: Druid, signed: Callable[[str, bytes], str]
) -> None:
    load = Load(client)
    rows = load.rows(["a", "b"])
    rows[1]["__time"] += 40 * 86_400_000
    spec = load.spec(signed("ndjson.zst", ndjson(rows)))
    client.submit(spec)
    status, report = load.follow(spec)
    assert status.state is TaskState.SUCCESS
    verdict = judge_task(status, report, 2)
    assert (verdict.name, type(verdict.error)) == ("short", Unproved)
    with pytest.raises(Unproved):
        load.prove(2, deadline=3.0)


def test_more_rows_than_expected_are_an_alarm(client: Druid, signed: Callable[[str, bytes], str]) -> None:
    load = Load(client)
    spec = load.spec(signed("ndjson.zst", ndjson(load.rows(["a", "b"]))))
    client.submit(spec)
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
    client: Druid, signed: Callable[[str, bytes], str], text: bytes, reason: str
) -> None:
    load = Load(client)
    spec = load.spec(signed("ndjson.zst", zstandard.compress(text)))
    client.submit(spec)
    status, report = load.follow(spec)
    verdict = judge_task(status, report, 1)
    assert verdict.name == "failed"
    assert isinstance(verdict.error, DruidRejected)
    assert reason in verdict.error.message
    assert load.absent(), "nothing of a failed task is published"


def test_an_object_that_is_not_zstandard_fails_for_good(client: Druid, signed: Callable[[str, bytes], str]) -> None:
    load = Load(client)
    spec = load.spec(signed("ndjson.zst", b"plain text\n"))
    client.submit(spec)
    verdict = judge_task(*load.follow(spec), 1)
    assert isinstance(verdict.error, DruidRejected)
    assert "replay" in verdict.error.hint


def test_a_canceled_task_can_be_tried_again(client: Druid) -> None:
    load = Load(client)
    spec = load.spec("http://127.0.0.1:9/a.ndjson.zst?signature=secret")  # Druid asks a closed port for minutes
    client.submit(spec)
    seen: list[Progress] = []
    while not any(progress.state == "RUNNING" for progress in seen[-1:]):
        status = client.status(spec["id"])
        assert status is not None
        seen.append(Progress(step="ingesting", rows=0, seconds=0, state=status.runner.value))
        time.sleep(0.1)
    client.cancel(spec["id"])
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
    client: Druid, spoil: Callable[[dict[str, Any]], None], words: str
) -> None:
    spec = Load(client).spec("http://127.0.0.1:9/a.ndjson.zst")
    spoil(spec)
    with pytest.raises(DruidRejected, match=words):
        client.submit(spec)
    assert client.status(spec["id"]) is None


def test_the_embedded_cluster_is_ready_and_reads_by_presigned_http(client: Druid) -> None:
    assert client.unready() is None
    capabilities = client.capabilities()
    assert (capabilities.version, capabilities.s3, capabilities.parquet) == ("33.0.0", False, False)


def test_a_query_error_is_druids_own(client: Druid) -> None:
    with pytest.raises(DruidRejected, match="nowhere"):
        client.query("SELECT * FROM nowhere")
    with pytest.raises(DruidRejected, match="by zero"):
        client.query("SELECT 1/0")


def test_parameters_keep_their_types(client: Druid) -> None:
    moment = datetime(2013, 1, 1, 12, 30, 0, 250_000, tzinfo=UTC)
    (row,) = client.query(
        "SELECT ? AS s, ? + 1 AS n, ? * 2 AS x, ? AS b, TIME_EXTRACT(?, 'HOUR') AS h, ? AS z",
        ["it's", 41, 0.5, True, moment, None],
    )
    assert row == {"s": "it's", "n": 42, "x": 1.0, "b": True, "h": 12, "z": None}
