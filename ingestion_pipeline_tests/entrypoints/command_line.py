"""Calling the command line as a shell would, in this process: output, errors and exit code.

What belongs here: the caller. What does not: tests.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from ingestion_pipeline.cli.main import main


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Answer]


def caller(capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls `ingestion-pipeline` with the given words."""

    def call(*words: object) -> Answer:
        capsys.readouterr()
        logging = structlog.get_config()
        try:
            with pytest.raises(SystemExit) as ended:
                main([str(word) for word in words])
        finally:
            structlog.configure(**logging)  # to the standard error of this test, which ends with it
        captured = capsys.readouterr()
        code = ended.value.code
        return Answer(code if isinstance(code, int) else int(code is not None), captured.out, captured.err)

    return call
