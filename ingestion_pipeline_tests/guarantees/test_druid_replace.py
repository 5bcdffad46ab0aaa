"""Replaces on the real Druid: the jobs meant are gone or new, every other row stays what it was, in every type."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.domain.druid import TaskState
from ingestion_pipeline.embedded.druid import WORKER_CAPACITY
from ingestion_pipeline.embedded.stack import Stack
from ingestion_pipeline.errors import CorrectionRefused
from ingestion_pipeline.stages.submit import rewritten_dimensions
from ingestion_pipeline_tests.guarantees.druid_table import YEARS, Holder, Rows, Table, rows_of, used_slots, wait_until
from ingestion_pipeline_tests.integration.druid_load import DIMENSIONS, Load

pytestmark = pytest.mark.stack

NewTable = Callable[..., Table]
FEBRUARY = 32  # the day of January that is 1 February
FOREIGN = [{"type": "string", "name": "text"}, {"type": "long", "name": "number"}]


def without(checksums: dict[str, str], *jobs: str) -> dict[str, str]:
    return {job: checksum for job, checksum in checksums.items() if job not in jobs}


@pytest.mark.parametrize("file_format", ["ndjson", "csv"])
def test_a_correction_leaves_every_other_row_of_the_day_as_it_was(new_table: NewTable, file_format: str) -> None:
    table = new_table()
    table.append(rows_of("a", 30), rows_of("b", 20), rows_of("c", 10, hour=23))
    table.append(rows_of(None, 5), dimensions=FOREIGN)
    before = table.checksums()
    new = [{**row, "text": "new"} for row in rows_of("a2", 12)]
    table.replace(["a"], new, file_format=file_format)
    table.prove({"a2": 12, "b": 20, "c": 10, "": 5})
    after = table.checksums()
    assert without(after, "a2") == without(before, "a")
    assert [row["number"] for row in sorted(table.rows(), key=lambda row: row["__time"]) if row.get("text") == "new"]


def test_the_same_replace_again_changes_nothing(new_table: NewTable) -> None:
    table = new_table()
    table.append(rows_of("a", 30), rows_of("b", 20))
    spec = table.replace_spec(["a"], rows_of("a2", 12))
    table.run(spec)
    table.prove({"a2": 12, "b": 20})
    once = table.checksums()
    table.run({**spec, "id": table.new_task_id()})
    table.prove({"a2": 12, "b": 20})
    assert table.checksums() == once


def test_an_undone_job_of_several_is_gone_and_the_others_are_as_they_were(new_table: NewTable) -> None:
    table = new_table()
    table.append(rows_of("a", 30), rows_of("b", 20))
    before = table.checksums()
    report = table.replace(["a"])
    table.prove({"b": 20})
    assert table.checksums() == without(before, "a")
    # What the source's filter leaves out is not even read: nothing tells a removed row from one never there.
    assert (report.processed, report.thrown_away, report.unparseable, report.processed_with_error) == (20, 0, 0, 0)


def test_a_day_whose_only_job_is_undone_is_empty_and_takes_rows_again(new_table: NewTable) -> None:
    table = new_table()
    table.append(rows_of("a", 30), rows_of("other day", 3, day=2))
    report = table.replace(["a"])
    table.prove({"other day": 3})
    assert report.processed == 0
    assert set(table.types()) == {"text", "number", "__job_id", "__organization"}
    table.append(rows_of("b", 20))
    table.prove({"b": 20, "other day": 3})


def test_a_datasource_that_an_undo_has_emptied_has_no_columns_and_takes_rows_again(new_table: NewTable) -> None:
    table = new_table()
    table.append(rows_of("a", 30))
    table.replace(["a"])
    table.prove({})
    assert table.types() == {}
    assert table.client.chunks_of_jobs(table.datasource, ["a"], YEARS, "day") == []
    table.append(rows_of("b", 20))
    table.prove({"b": 20})


@pytest.mark.parametrize("new", [[], rows_of("a2", 12, day=1) + rows_of("a2", 7, day=20)], ids=["undo", "correction"])
def test_chunks_that_lie_apart_are_rewritten_by_one_task(new_table: NewTable, new: Rows) -> None:
    table = new_table()
    table.append(
        rows_of("a", 30) + rows_of("a", 11, day=3) + rows_of("a", 5, day=FEBRUARY),
        rows_of("b", 20) + rows_of("b", 4, day=2) + rows_of("b", 6, day=FEBRUARY),
    )
    before = table.checksums()
    report = table.replace(["a"], new)
    table.prove({"b": 30} | ({"a2": 19} if new else {}))
    assert without(table.checksums(), "a2") == without(before, "a")
    assert (report.processed, report.thrown_away) == (26 + len(new), 0), "day 2 is not read"


def test_a_replace_of_one_day_leaves_the_rest_of_a_coarser_segment(new_table: NewTable) -> None:
    table = new_table()
    table.append(rows_of(None, 5) + rows_of(None, 6, day=2), dimensions=FOREIGN, granularity="month")
    table.append(rows_of("a", 30) + rows_of("a", 4, day=2), rows_of("b", 20) + rows_of("b", 10, day=3))
    before = table.checksums()
    table.replace(["a"])
    table.prove({"": 11, "b": 30})
    assert table.checksums() == without(before, "a")


def test_a_replace_of_a_day_covers_its_finer_segments(new_table: NewTable) -> None:
    table = new_table()
    table.append(rows_of(None, 5) + rows_of(None, 6, hour=20), dimensions=FOREIGN, granularity="hour")
    table.append(rows_of("a", 30, hour=9) + rows_of("a", 4, hour=20))
    before = table.checksums()
    table.replace(["a"], rows_of("a2", 8, hour=2))
    table.prove({"": 11, "a2": 8})
    assert table.checksums()[""] == before[""]


# What a foreign column holds: its dimension, Druid's name of its type, and values that a careless copy would change.
FOREIGN_TYPES: dict[str, tuple[dict[str, Any], str, list[Any]]] = {
    "long": ({"type": "long"}, "LONG", [2**63 - 1, -(2**63), 9_007_199_254_740_993, 0, None]),
    "double": ({"type": "double"}, "DOUBLE", [-0.0, 5e-324, 1.7976931348623157e308, 1 / 3, None]),
    "no number": ({"type": "double"}, "DOUBLE", ["NaN", "Infinity", "-Infinity", None, 1.5]),
    "float": ({"type": "float"}, "FLOAT", [0.1, -0.0, 3.4e38, None, 16_777_216]),
    "other text": ({"type": "string"}, "STRING", ["", None, "null", " \t\n\"'\\", "日本 😀 \u2028"]),
    "values in order": (
        {"type": "string", "multiValueHandling": "ARRAY"},
        "STRING",
        [["b", "a", "b"], ["z", "", "y"], [], ["one"], None],
    ),
    "values sorted": ({"type": "string"}, "STRING", [["b", "a", "b"], ["", "x"], None, "one", []]),
    "texts": (
        {"type": "auto", "castToType": "ARRAY<STRING>"},
        "ARRAY<STRING>",
        [["b", "a", None, ""], [], [None], None, ["one"]],
    ),
    "longs": (
        {"type": "auto", "castToType": "ARRAY<LONG>"},
        "ARRAY<LONG>",
        [[3, 1, None, 2**62 + 1], [], [None], None, [1]],
    ),
    "doubles": ({"type": "auto", "castToType": "ARRAY<DOUBLE>"}, "ARRAY<DOUBLE>", [[0.5, -0.0], [], [None], None, [1]]),
    "json": (
        {"type": "json"},
        "COMPLEX<json>",
        [{"a": {"b.c": [1, None, "x"]}, "d e": 1.5}, [], {}, "text", None],
    ),
    "auto long": ({"type": "auto"}, "LONG", [1, 2**53 + 1, -5, None, 0]),
    "auto text": ({"type": "auto"}, "STRING", ["a", "", None, "1", "b"]),
    "never a value": ({"type": "json"}, "", [None] * 5),
}


def foreign_rows() -> tuple[Rows, list[dict[str, Any]]]:
    rows = [
        {**row, **{name: values[n] for name, (_, _, values) in FOREIGN_TYPES.items()}}
        for n, row in enumerate(rows_of(None, 5))
    ]
    return rows, [*FOREIGN, *({"name": name, **dimension} for name, (dimension, _, _) in FOREIGN_TYPES.items())]


def test_foreign_columns_of_every_type_keep_type_and_value_through_replaces_and_compaction(
    new_table: NewTable,
) -> None:
    table = new_table()
    rows, dimensions = foreign_rows()
    table.append(rows, dimensions=dimensions)
    table.append(rows_of("a", 30), rows_of("b", 20))
    before, types = table.checksums(), table.types()
    assert {name: types.get(name) for name in FOREIGN_TYPES} == {
        name: druid_type for name, (_, druid_type, _) in FOREIGN_TYPES.items()
    }
    table.replace(["a"], rows_of("a2", 12))
    table.prove({"": 5, "a2": 12, "b": 20})
    assert without(table.checksums(), "a2") == without(before, "a")
    assert table.types() == types

    table.run(table.compact_spec())
    table.served()
    assert without(table.checksums(), "a2") == without(before, "a")
    table.replace(["a2"], rows_of("a3", 7))
    table.prove({"": 5, "a3": 7, "b": 20})
    assert without(table.checksums(), "a3") == without(before, "a")
    table.replace(["a3", "b"])
    table.prove({"": 5})
    assert table.checksums() == {"": before[""]}
    assert {name: table.types()[name] for name in FOREIGN_TYPES} == {name: types[name] for name in FOREIGN_TYPES}


def test_a_column_whose_type_differs_becomes_text_and_keeps_its_values(new_table: NewTable) -> None:
    table = new_table()
    foreign = [
        {**row, "number": f"{n} pieces", "share": 0.5 + n, "size": 2**53 + 1 + n}
        for n, row in enumerate(rows_of(None, 3))
    ]
    table.append(
        foreign,
        dimensions=[
            {"type": "string", "name": "text"},
            {"type": "string", "name": "number"},  # the contract says long
            {"type": "double", "name": "share"},
            {"type": "long", "name": "size"},
        ],
    )
    other = [{**row, "share": 7, "size": 0.25} for row in rows_of(None, 2, hour=10)]
    table.append(
        other,
        dimensions=[*FOREIGN, {"type": "long", "name": "share"}, {"type": "double", "name": "size"}],
    )
    table.append(rows_of("a", 4), rows_of("b", 4))
    types = table.types()
    assert {name: types[name] for name in ("number", "share", "size", "text")} == {
        "number": "LONG|STRING",
        "share": "DOUBLE|LONG",
        "size": "DOUBLE|LONG",
        "text": "STRING",
    }
    wait_until(lambda: table.sql_types()["share"] == "DOUBLE")
    table.replace(["a"])
    table.prove({"": 5, "b": 4})
    found = [row for row in table.rows() if "__job_id" not in row]
    assert sorted(row["number"] for row in found) == sorted(
        [*(row["number"] for row in foreign), *(str(row["number"]) for row in other)]
    )
    assert sorted(row["share"] for row in found) == ["0.5", "1.5", "2.5", "7", "7"]
    assert sorted(row["size"] for row in found) == [
        "0.25",
        "0.25",
        *(str(2**53 + 1 + n) for n in range(3)),
    ]
    assert {row["number"] for row in table.rows() if row.get("__job_id") == "b"} == {
        str(row["number"]) for row in rows_of("b", 4)
    }
    assert {table.types()[name] for name in ("number", "share", "size")} == {"STRING"}
    wait_until(lambda: table.sql_types()["share"] == "VARCHAR")  # the price: SQL read longs and doubles as DOUBLE


def test_json_that_some_segments_hold_as_a_plain_type_stays_json(new_table: NewTable) -> None:
    table = new_table()
    columns = [*FOREIGN, {"type": "json", "name": "any"}]
    values = [[1, 2**53 + 1], ["b", "a"], [[3, 1], []], [{"k": [1, None]}, None], [None, None], [0.5, -0.0]]
    loads = [
        [{**row, "any": value} for row, value in zip(rows_of(None, 2, hour=hour), pair, strict=True)]
        for hour, pair in enumerate(values)
    ]
    table.append(*loads, rows_of("a", 4), dimensions=[*DIMENSIONS, columns[-1]])
    before = table.checksums()
    assert table.types()["any"] == "ARRAY<LONG>|COMPLEX<json>|DOUBLE|LONG|STRING"
    wait_until(lambda: table.sql_types()["any"] == "COMPLEX<json>")
    table.replace(["a"])
    table.prove({"": 12})
    assert table.checksums() == without(before, "a")
    assert table.types()["any"] == "COMPLEX<json>"
    wait_until(lambda: table.sql_types()["any"] == "COMPLEX<json>")


def test_a_type_that_differs_from_the_contracts_in_every_segment_is_told(new_table: NewTable) -> None:
    table = new_table()
    texts = [{**row, "number": "five"} for row in rows_of(None, 3)]
    table.append(texts, dimensions=[{"type": "string", "name": "text"}, {"type": "string", "name": "number"}])
    assert table.types() == {"text": "STRING", "number": "STRING"}
    present = table.client.columns(table.datasource, [YEARS])
    assert rewritten_dimensions(DIMENSIONS, present)[1] == {
        "type": "string",
        "name": "number",
        "multiValueHandling": "ARRAY",
    }


def test_a_day_with_a_sketch_is_refused(new_table: NewTable) -> None:
    table = new_table()
    spec = table.append_spec(rows_of(None, 3), dimensions=[{"type": "long", "name": "number"}])
    spec["spec"]["dataSchema"]["metricsSpec"] = [
        {"type": "hyperUnique", "name": "visitors", "fieldName": "text"},
        {"type": "longSum", "name": "total", "fieldName": "number"},
    ]
    table.run(spec)
    table.wait_for({"": 3})
    assert table.types() == {"number": "LONG", "visitors": "COMPLEX<hyperUnique>", "total": "LONG"}
    with pytest.raises(CorrectionRefused, match="visitors"):
        rewritten_dimensions(DIMENSIONS, table.client.columns(table.datasource, [YEARS]))


def test_foreign_sums_stay_the_sums_that_they_are(new_table: NewTable) -> None:
    table = new_table()
    spec = table.append_spec([*rows_of(None, 3), *rows_of(None, 3)], dimensions=FOREIGN)
    spec["spec"]["dataSchema"]["granularitySpec"]["rollup"] = True
    spec["spec"]["dataSchema"]["metricsSpec"] = [{"type": "count", "name": "count"}]
    table.run(spec)
    table.wait_for({"": 3})
    table.append(rows_of("a", 4))
    before = table.checksums()
    table.replace(["a"])
    table.prove({"": 3})
    assert table.checksums() == without(before, "a")
    assert {row["count"] for row in table.rows()} == {2}


def test_rows_with_an_empty_job_or_none_are_counted_together_and_kept(new_table: NewTable) -> None:
    table = new_table()
    table.append(rows_of(None, 5), dimensions=FOREIGN)
    table.append(rows_of("", 3), rows_of("a", 4))
    assert table.counts() == {"": 8, "a": 4}
    table.replace(["a"])
    table.prove({"": 8})


def test_the_chunks_of_jobs_are_found_in_every_granularity(new_table: NewTable) -> None:
    table = new_table()
    table.append(
        rows_of("a", 2, day=1, hour=9) + rows_of("a", 2, day=1, hour=11) + rows_of("a", 2, day=FEBRUARY),
        rows_of("b", 2, day=3) + rows_of("b", 2, day=366),
    )

    def chunks(jobs: list[str], granularity: str) -> list[datetime]:
        return table.client.chunks_of_jobs(table.datasource, jobs, YEARS, granularity)

    day, february = datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 2, 1, tzinfo=UTC)
    assert chunks(["a"], "hour") == [day.replace(hour=9), day.replace(hour=11), february.replace(hour=9)]
    assert chunks(["a"], "day") == [day, february]
    assert chunks(["a", "b"], "month") == [day, february, datetime(2014, 1, 1, tzinfo=UTC)]
    assert chunks(["b"], "year") == [day, datetime(2014, 1, 1, tzinfo=UTC)]
    assert chunks(["nobody"], "day") == []
    assert table.client.chunks_of_jobs("t_nowhere", ["a"], YEARS, "day") == []
    assert table.client.rows_by_job("t_nowhere", [YEARS]) == {}
    assert table.client.columns("t_nowhere", [YEARS]) == {}


def test_an_id_that_is_occupied_takes_no_other_task(druid_client: Druid) -> None:
    load = Load(druid_client)
    spec = load.spec("http://127.0.0.1:9/a.ndjson.zst")
    began = time.monotonic()
    assert druid_client.occupy(spec["id"]) == "accepted"
    assert druid_client.submit(spec) == "exists", "while it runs"
    assert druid_client.occupy(spec["id"]) == "exists"
    status, _ = load.follow(spec)
    assert status.state is TaskState.SUCCESS
    assert status.duration_ms is not None
    assert status.duration_ms < 1000, "it holds a worker slot"
    assert time.monotonic() - began < 10
    assert druid_client.submit(spec) == "exists", "after its end"
    assert druid_client.report(spec["id"]) is None


def test_an_id_whose_task_was_accepted_cannot_be_occupied(druid: Stack, druid_client: Druid, holder: Holder) -> None:
    load = Load(druid_client)
    held = holder.hold(rows_of("a", 1))
    spec = load.spec(held.url)
    druid_client.submit(spec)
    assert druid_client.occupy(spec["id"]) == "exists"
    druid_client.cancel(spec["id"])
    load.follow(spec)
    assert druid_client.occupy(spec["id"]) == "exists"
    # A canceled task that reads gives its slot back when its read ends (from a closed port: after minutes).
    held.released.set()
    urls = {"overlord": druid.environment()["INGESTION_DRUID_OVERLORD_URL"]}
    wait_until(lambda: used_slots(urls) == 0)


def test_running_compactions_are_listed_until_they_end(new_table: NewTable) -> None:
    table, other = new_table(), new_table()
    table.append(rows_of("a", 2000), rows_of("b", 2000))
    assert table.client.running_compactions(table.datasource) == set()
    for number in range(WORKER_CAPACITY):  # every slot, so that the compaction cannot be over before it is looked for
        table.client.submit({"type": "noop", "id": f"noop-{number}-{uuid4().hex[:8]}", "runTime": 5000})
    spec = table.compact_spec()
    assert table.client.submit(spec) == "accepted"
    wait_until(lambda: table.client.running_compactions(table.datasource) == {spec["id"]})
    assert table.client.running_compactions(other.datasource) == set()
    table.succeed(spec)
    wait_until(lambda: table.client.running_compactions(table.datasource) == set())


def test_a_column_that_no_segment_and_no_contract_names_vanishes(new_table: NewTable) -> None:
    # Why the columns of the chunks are read first: left out of the dimensions, they are dropped without a word.
    table = new_table()
    table.append(
        [{**row, "extra": str(uuid4())} for row in rows_of(None, 3)],
        dimensions=[*FOREIGN, {"type": "string", "name": "extra"}],
    )
    table.append(rows_of("a", 4))
    spec = table.replace_spec(["a"])
    dimensions = spec["spec"]["dataSchema"]["dimensionsSpec"]["dimensions"]
    dimensions[:] = [dimension for dimension in dimensions if dimension["name"] != "extra"]
    table.run(spec)
    table.prove({"": 3})
    assert "extra" not in table.types()
