"""Structured logs: one JSON line per event, with its fields."""

import json

import pytest
import structlog

from ingestion_pipeline.logs import configure_logging


def test_an_event_is_one_json_line_with_level_time_and_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()

    structlog.get_logger().bind(job="j1").warning("job_failed", code="unreadable", key="a\nb")

    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    told = json.loads(line)
    assert {"event": "job_failed", "level": "warning", "job": "j1", "code": "unreadable", "key": "a\nb"}.items() <= (
        told.items()
    )
    assert told["timestamp"].endswith("Z")


def test_details_for_developers_stay_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()

    structlog.get_logger().debug("noise")

    assert capsys.readouterr().err == ""


def test_an_exception_becomes_fields_not_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("unexpected")

    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["exception"][0]["exc_value"] == "broken"
