"""Dagster of the embedded stack: definitions of any module are served, broken ones stop the start."""

from pathlib import Path

import pytest

from ingestion_pipeline.embedded import dagster_services
from ingestion_pipeline.embedded.stack import DAGSTER, Stack
from ingestion_pipeline.errors import StackError

GOOD = """
import os
import dagster as dg

@dg.op
def say():
    return os.environ["SAMPLE"]

@dg.job
def sample():
    say()

defs = dg.Definitions(jobs=[sample], executor=dg.in_process_executor)
"""

_JOBS = """{ repositoryOrError(repositorySelector: {
  repositoryName: "__repository__", repositoryLocationName: "ingestion_pipeline"}) {
  ... on Repository { jobs { name } } } }"""


def test_another_module_is_served_and_a_broken_one_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "sample_definitions.py").write_text(GOOD)
    (tmp_path / "broken_definitions.py").write_text("raise RuntimeError('a telling message')\n")
    extra = {"PYTHONPATH": str(tmp_path), "SAMPLE": "given"}
    root = tmp_path / "stack"
    with pytest.raises(StackError, match="code-server ended while it started") as caught:
        Stack(root, use_free_ports=True, module="broken_definitions", extra_environment=extra).up(only=DAGSTER)
    assert "a telling message" in caught.value.message

    stack = Stack(root, use_free_ports=True, module="sample_definitions", extra_environment=extra)
    assert [status.service for status in stack.status() if status.pid] == []
    try:
        stack.up(only=DAGSTER)
        answer = dagster_services.graphql(stack.site.ports["dagster"], _JOBS)
        assert answer is not None
        assert "sample" in [job["name"] for job in answer["repositoryOrError"]["jobs"]]
        assert {status.state for status in stack.status() if status.service in DAGSTER} == {"ready"}
    finally:
        stack.down()
