"""Task ids, specs, fingerprints and time chunks: pure, so by property where one can be named."""

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.domain.interval import Interval, merged
from ingestion_pipeline.errors import CorrectionRefused
from ingestion_pipeline.stages.submit import (
    InputFiles,
    build_append_spec,
    build_replace_spec,
    chunk_intervals,
    redacted,
    rewritten_dimensions,
    spec_fingerprint,
    task_id,
)

JANUARY = Interval(datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 2, 1, tzinfo=UTC))
LINEAGE = [{"type": "string", "name": "__job_id"}, {"type": "string", "name": "__organization"}]
COLUMNS = ["__time", "carrier", "__job_id", "__organization"]


def spec(uris: tuple[str, ...] = ("http://s3/b/1.csv.zst?X-Amz-Signature=secret",), **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "task_id": "ing-flights-1",
        "datasource": "flights",
        "inputs": InputFiles(kind="http", uris=uris, format="csv", columns=COLUMNS),
        "dimensions": [{"type": "string", "name": "carrier"}, *LINEAGE],
        "segment_granularity": "month",
        "intervals": [JANUARY],
    }
    return build_append_spec(**(arguments | changes))


@given(datasource=st.text(max_size=300), attempt=st.text(max_size=300))
def test_every_task_id_is_one_that_druid_runs(datasource: str, attempt: str) -> None:
    made = task_id(datasource=datasource, attempt_id=attempt)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,120}", made)
    assert made == task_id(datasource=datasource, attempt_id=attempt)


@given(st.lists(st.tuples(st.text(alphabet="ab_é/", max_size=130), st.uuids()), min_size=2, unique=True))
def test_two_attempts_never_share_a_task_id(attempts: list[tuple[str, UUID]]) -> None:
    made = {task_id(datasource=datasource, attempt_id=str(attempt)) for datasource, attempt in attempts}
    assert len(made) == len(attempts)


def test_a_plain_task_id_can_be_read() -> None:
    assert task_id(datasource="flights", attempt_id="7f3a") == "ing-flights-7f3a"


def test_an_append_shares_its_time_and_drops_nothing() -> None:
    made = spec()
    assert made["context"] == {"useConcurrentLocks": True}
    assert made["spec"]["ioConfig"]["appendToExisting"] is True
    assert made["spec"]["ioConfig"]["dropExisting"] is False
    assert made["spec"]["tuningConfig"]["maxParseExceptions"] == 0
    assert made["spec"]["tuningConfig"]["logParseExceptions"] is False
    granularity = made["spec"]["dataSchema"]["granularitySpec"]
    assert granularity["rollup"] is False
    assert granularity["intervals"] == ["2013-01-01T00:00:00.000Z/2013-02-01T00:00:00.000Z"]


def test_csv_columns_are_named_in_the_spec_since_the_objects_have_no_header() -> None:
    csv = spec()["spec"]["ioConfig"]["inputFormat"]
    assert (csv["type"], csv["columns"], csv["findColumnsFromHeader"]) == ("csv", COLUMNS, False)
    ndjson = InputFiles(kind="s3", uris=["s3://b/1.ndjson.zst"], format="ndjson", columns=COLUMNS)
    io = spec(inputs=ndjson)["spec"]["ioConfig"]
    assert io["inputFormat"] == {"type": "json"}
    assert io["inputSource"] == {"type": "s3", "uris": ["s3://b/1.ndjson.zst"]}


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("http://s3/b/1.csv.bin", id="unknown codec: Druid would read 0 rows and say SUCCESS"),
        pytest.param("http://s3/b/1?name=1.csv.zst", id="suffix in the query only"),
        pytest.param("http://s3/b/1.ndjson.zst", id="another format"),
    ],
)
def test_an_object_whose_suffix_misleads_druid_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=r"must end in \.csv"):
        spec((uri,))


def test_a_spec_without_objects_time_or_chunks_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one input"):
        spec(())
    with pytest.raises(ValueError, match="__time"):
        InputFiles(kind="http", uris=["http://s3/1.csv"], format="csv", columns=["carrier"])
    with pytest.raises(ValueError, match="time chunks"):
        spec(intervals=[])


def test_dimensions_that_differ_only_in_case_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        spec(dimensions=[{"type": "string", "name": "Carrier"}, {"type": "string", "name": "carrier"}])


QUERIES = st.text(alphabet="abcXYZ019=&%-._~/:+", min_size=1)


@given(first=QUERIES, second=QUERIES)
def test_signing_anew_leaves_the_fingerprint_and_shows_nothing(first: str, second: str) -> None:
    one, two = spec((f"http://s3/b/1.csv.zst?{first}",)), spec((f"http://s3/b/1.csv.zst?{second}",))
    assert spec_fingerprint(one) == spec_fingerprint(two)
    assert redacted(one)["spec"]["ioConfig"]["inputSource"]["uris"] == ["http://s3/b/1.csv.zst"]


def test_another_object_or_column_is_another_fingerprint() -> None:
    assert spec_fingerprint(spec()) != spec_fingerprint(spec(("http://s3/b/2.csv.zst?X-Amz-Signature=secret",)))
    assert spec_fingerprint(spec()) != spec_fingerprint(spec(dimensions=LINEAGE))


def test_neighbouring_chunks_become_one_interval_and_gaps_stay() -> None:
    months = [datetime(2012, 12, 1, tzinfo=UTC), datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 3, 1, tzinfo=UTC)]
    assert [str(interval) for interval in chunk_intervals([*months, months[0]], "month")] == [
        "2012-12-01T00:00:00.000Z/2013-02-01T00:00:00.000Z",
        "2013-03-01T00:00:00.000Z/2013-04-01T00:00:00.000Z",
    ]


@pytest.mark.parametrize(
    ("granularity", "start", "end"),
    [
        ("hour", datetime(2012, 2, 28, 23, tzinfo=UTC), datetime(2012, 2, 29, tzinfo=UTC)),
        ("day", datetime(2012, 2, 29, tzinfo=UTC), datetime(2012, 3, 1, tzinfo=UTC)),
        ("month", datetime(2012, 2, 1, tzinfo=UTC), datetime(2012, 3, 1, tzinfo=UTC)),
        ("month", datetime(2012, 12, 1, tzinfo=UTC), datetime(2013, 1, 1, tzinfo=UTC)),
        ("year", datetime(2012, 1, 1, tzinfo=UTC), datetime(2013, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_chunk_ends_where_the_next_begins(granularity: Any, start: datetime, end: datetime) -> None:
    assert chunk_intervals([start], granularity) == [Interval(start, end)]


@pytest.mark.parametrize(
    "moment", [datetime(2013, 1, 1, 0, 0, 1, tzinfo=UTC), datetime(2013, 1, 2, tzinfo=UTC), datetime(2013, 1, 1)]
)
def test_a_moment_at_which_no_month_starts_is_refused(moment: datetime) -> None:
    with pytest.raises(ValueError, match=r"starts at"):
        chunk_intervals([moment], "month")


MOMENTS = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))
INTERVALS = st.builds(
    lambda start, seconds: Interval(start, start + timedelta(seconds=seconds)), MOMENTS, st.integers(1, 10**9)
)


@given(st.lists(INTERVALS), MOMENTS)
def test_merging_keeps_exactly_the_same_time(intervals: list[Interval], moment: datetime) -> None:
    result = merged(intervals)
    assert any(i.contains(moment) for i in result) == any(i.contains(moment) for i in intervals)
    assert all(one.end < two.start for one, two in pairwise(result))


@given(INTERVALS)
def test_an_interval_reads_its_own_text(interval: Interval) -> None:
    whole = Interval(interval.start.replace(microsecond=0), interval.end.replace(microsecond=0))
    assert Interval.parse(str(whole)) == whole


def test_an_empty_or_naive_interval_cannot_be() -> None:
    with pytest.raises(ValueError, match="after its start"):
        Interval(JANUARY.start, JANUARY.start)
    with pytest.raises(ValueError, match="aware"):
        Interval(datetime(2013, 1, 1), datetime(2013, 2, 1))
    with pytest.raises(ValueError, match="start/end"):
        Interval.parse("2013-01-01T00:00:00Z")


MARCH = Interval(datetime(2013, 3, 1, tzinfo=UTC), datetime(2013, 4, 1, tzinfo=UTC))


def replacing(**changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "task_id": "ing-flights-2",
        "datasource": "flights",
        "inputs": InputFiles(kind="s3", uris=("s3://b/2.csv.zst",), format="csv", columns=COLUMNS),
        "without_jobs": ["new", "old"],
        "dimensions": [{"type": "string", "name": "carrier"}, *LINEAGE],
        "segment_granularity": "month",
        "intervals": [JANUARY],
    }
    return build_replace_spec(**(arguments | changes))


def test_a_replace_drops_what_was_there_and_reads_the_rest_of_it_again() -> None:
    io_config = replacing()["spec"]["ioConfig"]
    assert (io_config["appendToExisting"], io_config["dropExisting"]) == (False, True)
    kept, new = io_config["inputSource"]["delegates"]
    assert (kept["type"], kept["interval"], new["uris"]) == ("druid", str(JANUARY), ["s3://b/2.csv.zst"])
    foreign, others = kept["filter"]["fields"]
    assert foreign == {"type": "null", "column": "__job_id"}
    assert others["field"]["values"] == ["new", "old"]


def test_a_replace_never_has_a_priority_and_shares_its_time_only_where_druid_tells_rows_apart() -> None:
    assert replacing()["context"] == {"useConcurrentLocks": False}
    assert replacing(inputs=None)["context"] == {"useConcurrentLocks": True}


def test_an_undo_reads_only_what_stays() -> None:
    made = replacing(inputs=None)["spec"]
    assert made["ioConfig"]["inputSource"]["type"] == "druid"
    assert "inputFormat" not in made["ioConfig"]
    assert made["tuningConfig"]["maxNumConcurrentSubTasks"] == 1


def test_time_between_the_rewritten_chunks_is_not_read() -> None:
    made = replacing(inputs=None, intervals=[MARCH, JANUARY])["spec"]
    delegates = made["ioConfig"]["inputSource"]["delegates"]
    assert [delegate["interval"] for delegate in delegates] == [str(JANUARY), str(MARCH)]
    assert made["tuningConfig"]["maxNumConcurrentSubTasks"] == 2


def test_a_rewrite_lists_every_column_that_is_there_or_about_to_be() -> None:
    own = [{"type": "string", "name": "carrier"}, {"type": "long", "name": "delay"}]
    present = {
        "carrier": {"STRING"},
        "delay": {"DOUBLE"},
        "gate": {"LONG"},
        "mixed": {"LONG", "STRING"},
        "empty": set[str](),
        "tags": {"ARRAY<STRING>"},
        "extras": {"COMPLEX<json>", "LONG"},
    }
    beside = [{"type": "long", "name": "delay"}, {"type": "double", "name": "soon"}]

    made = {dimension["name"]: dimension for dimension in rewritten_dimensions(own, present, beside)}

    assert {name: dimension["type"] for name, dimension in made.items()} == {
        "carrier": "string",
        "delay": "string",  # long here, double there: text loses nothing
        "gate": "long",
        "mixed": "string",
        "empty": "string",
        "tags": "auto",
        "extras": "json",  # Druid stores a segment's JSON as a plain type when all its values are of that
        "soon": "double",
    }
    assert made["tags"]["castToType"] == "ARRAY<STRING>"
    assert made["carrier"]["multiValueHandling"] == "ARRAY"


def test_a_column_that_cannot_be_written_again_as_it_is_stops_the_rewrite() -> None:
    with pytest.raises(CorrectionRefused, match="sketch"):
        rewritten_dimensions([], {"sketch": {"COMPLEX<thetaSketch>"}})
