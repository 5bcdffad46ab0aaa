"""Fixtures of tests that need no server: the command line, and files to give it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ingestion_pipeline_tests.entrypoints.command_line import Call, caller


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(capsys)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Makes a file of some content."""

    def make(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make
