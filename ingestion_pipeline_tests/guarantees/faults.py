"""Faults that a test arms and one process of the pipeline suffers, once, at a named point.

What belongs here: arming (in the test) and striking (in the pipeline's process). What does not: where the
points are (`faulty_definitions`). A fault is a file in a directory that both sides know: it disarms itself by a
rename, so that the process that takes the place of a killed one passes the same point unharmed.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DIRECTORY_VARIABLE = "PIPELINE_FAULTS_DIR"

Point = Literal["reading", "after_save", "after_plan", "before_post", "after_post", "before_complete"]
Signal = Literal["SIGKILL", "SIGSTOP"]
Condition = Literal["hold_dispatch", "hold_reading", "wrong_secret", "absent_bucket"]


@dataclass(frozen=True, slots=True)
class Faults:
    """The test's side."""

    directory: Path

    def arm(self, point: Point, datasource: str, number: Signal) -> None:
        """The next process that passes the point with this datasource gets the signal, from itself."""
        (self.directory / f"{point}.{datasource}").write_text(number)

    def is_armed(self, point: Point, datasource: str) -> bool:
        """Whether a fault still waits there for its process."""
        return (self.directory / f"{point}.{datasource}").exists()

    def disarm(self, point: Point, datasource: str) -> bool:
        """Take a fault back; False if it has struck (or was never armed)."""
        there = self.is_armed(point, datasource)
        (self.directory / f"{point}.{datasource}").unlink(missing_ok=True)
        return there

    def struck(self, point: Point, datasource: str) -> int | None:
        """The process that was struck there; None as long as none was."""
        found = sorted(self.directory.glob(f"{point}.{datasource}.*"))
        return int(found[-1].suffix[1:]) if found else None

    def begin(self, condition: Condition) -> None:
        """A state of the surroundings, until `end`."""
        (self.directory / condition).touch()

    def end(self, condition: Condition) -> None:
        (self.directory / condition).unlink(missing_ok=True)


def strike(point: Point, datasource: str) -> None:
    """The pipeline's side: send oneself the signal that is armed here, if one is."""
    armed = Path(os.environ[DIRECTORY_VARIABLE]) / f"{point}.{datasource}"
    try:
        number = armed.read_text()
        armed.rename(f"{armed}.{os.getpid()}")
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.Signals[number])


def any_armed(point: Point) -> bool:
    """Whether a fault is armed there for any datasource: asked where finding out the datasource costs a query."""
    return any(Path(os.environ[DIRECTORY_VARIABLE]).glob(f"{point}.*[!0-9]"))


def holds(condition: Condition) -> bool:
    return (Path(os.environ[DIRECTORY_VARIABLE]) / condition).exists()
