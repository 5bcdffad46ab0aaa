"""The spec of a replace: which lock it takes, and as what it writes the columns that it finds."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion_pipeline.errors import CorrectionRefused
from ingestion_pipeline.stages.submit import InputFiles, build_replace_spec, chunk_intervals, rewritten_dimensions

OWN = [{"type": "long", "name": "number"}]
NEW = InputFiles(kind="s3", uris=["s3://b/a.csv.zst"], format="csv", columns=["__time", "number"])


def replace_spec(inputs: InputFiles | None, days: list[int]) -> dict[str, Any]:
    return build_replace_spec(
        task_id="ing-a",
        datasource="a",
        inputs=inputs,
        without_jobs=["old", "new"],
        dimensions=OWN,
        segment_granularity="day",
        intervals=chunk_intervals([datetime(2013, 1, day, tzinfo=UTC) for day in days], "day"),
    )


@pytest.mark.parametrize(
    ("inputs", "days", "source", "concurrent"),
    [
        pytest.param(None, [1, 2], "druid", True, id="undo of neighbouring days"),
        pytest.param(None, [1, 5], "combining", False, id="undo of days apart"),
        pytest.param(NEW, [1], "combining", False, id="correction"),
    ],
)
def test_appends_go_on_beside_one_source_and_wait_for_combined_ones(
    inputs: InputFiles | None, days: list[int], source: str, concurrent: bool
) -> None:
    spec = replace_spec(inputs, days)
    io_config = spec["spec"]["ioConfig"]
    assert io_config["inputSource"]["type"] == source
    assert (io_config["appendToExisting"], io_config["dropExisting"]) == (False, True)
    assert spec["context"] == {"useConcurrentLocks": concurrent}
    assert spec["spec"]["tuningConfig"]["maxNumConcurrentSubTasks"] == (1 if concurrent else 2)


@pytest.mark.parametrize(
    ("present", "written"),
    [
        pytest.param([], {"type": "string", "multiValueHandling": "ARRAY"}, id="no value anywhere"),
        pytest.param(["FLOAT"], {"type": "float"}, id="float"),
        pytest.param(["ARRAY<LONG>"], {"type": "auto", "castToType": "ARRAY<LONG>"}, id="array"),
        pytest.param(["COMPLEX<json>"], {"type": "json"}, id="json"),
        pytest.param(["COMPLEX<json>", "LONG", "ARRAY<STRING>"], {"type": "json"}, id="json, plain in some segments"),
        pytest.param(["LONG", "DOUBLE"], {"type": "string", "multiValueHandling": "ARRAY"}, id="numbers that differ"),
    ],
)
def test_a_foreign_column_is_written_as_what_it_is(present: list[str], written: dict[str, Any]) -> None:
    assert rewritten_dimensions(OWN, {"x": present})[1] == {"name": "x", **written}


@pytest.mark.parametrize(
    "present",
    [
        ["COMPLEX<hyperUnique>"],
        ["ARRAY<STRING>", "STRING"],
        ["COMPLEX<json>", "FLOAT"],
        ["COMPLEX<json>", "COMPLEX<x>"],
    ],
    ids="-".join,
)
def test_what_cannot_be_written_again_as_it_is_is_refused(present: list[str]) -> None:
    with pytest.raises(CorrectionRefused):
        rewritten_dimensions(OWN, {"x": present})


def test_a_column_of_the_contract_keeps_its_type_where_no_segment_has_a_value() -> None:
    assert rewritten_dimensions(OWN, {"number": []}) == OWN
