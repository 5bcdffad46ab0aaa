"""Calling the command line as a shell would, in this process: output, errors and exit code.

What belongs here: the caller. What does not: tests.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

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
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        code = ended.value.code
        return Answer(code if isinstance(code, int) else int(code is not None), captured.out, captured.err)

    return call
