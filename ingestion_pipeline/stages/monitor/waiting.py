"""What following a task and proving its rows share: what is asked of Druid, the pauses, progress and verdicts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ingestion_pipeline.domain.druid import TaskReport, TaskStatus
from ingestion_pipeline.domain.interval import Interval
from ingestion_pipeline.errors import IngestionError

# Polling begins fast, since most tasks and their segments take a second or two, and slows down for long ones.
FIRST_POLL_SECONDS = 0.1
LAST_POLL_SECONDS = 2.0
FAST_POLLS = 30
POLL_GROWTH = 1.2
# How long Druid may be away in one piece (a restart takes about 25 s) before the run gives its slot back.
PATIENCE_SECONDS = 60.0

LOOK = "The task's report and the quarantine of its jobs show more; nothing is loaded again by itself."


class DruidReader(Protocol):
    """What waiting asks of Druid; `adapters.druid.Druid` is one."""

    def status(self, task_id: str) -> TaskStatus | None: ...
    def report(self, task_id: str) -> TaskReport | None: ...
    def load_status(self, datasource: str, interval: Interval, *, force: bool) -> float | None: ...
    def count_by_job(self, datasource: str, job_ids: Sequence[str], interval: Interval) -> dict[str, int]: ...
    def served_by_job(self, datasource: str, job_ids: Sequence[str], interval: Interval) -> dict[str, int]: ...
    def rows_by_job(self, datasource: str, intervals: Sequence[Interval]) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where waiting stands; `rows` are Druid's own figures so far.

    `step` is "waiting" (for a worker slot or a lock), "ingesting", "proving" or "clearing" (proving absence).
    """

    step: Literal["waiting", "ingesting", "proving", "clearing"]
    rows: int
    seconds: float
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A judgement: what it is called, the error it means (None when there is nothing to complain of), and numbers."""

    name: Literal["clean", "unknown", "failed", "proved", "short", "over"]
    error: IngestionError | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


Sleep = Callable[[float], None]
Clock = Callable[[], float]
OnProgress = Callable[[Progress], None]


def pauses() -> Iterator[float]:
    pause = FIRST_POLL_SECONDS
    for _ in range(FAST_POLLS):
        yield pause
    while True:
        pause = min(pause * POLL_GROWTH, LAST_POLL_SECONDS)
        yield pause
