"""Watching jobs: when it ends, what is told, and how values look."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from ingestion_pipeline.cli.output import age, number, size
from ingestion_pipeline.cli.watch import Watched, watch

PUT = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def job(status: str, **more: Any) -> dict[str, Any]:
    return {
        "job_id": "0b9a1c2d-0000-4000-8000-000000000000",
        "status": status,
        "outcome": "loaded" if status == "completed" else None,
        "step": "submit",
        "progress": {"state": "ingesting", "rows": 400},
        "rows_read": 400 if status == "completed" else 0,
        "rows_rejected": 25 if status == "completed" else 0,
        "rows_queryable": 375 if status == "completed" else 0,
        "waiting_reason": None,
        "error_message": None,
        "finished_at": PUT + timedelta(seconds=7.5) if status == "completed" else None,
        **more,
    }


class Script:
    """States one after the other; time passes only where the watcher sleeps."""

    def __init__(self, *states: list[dict[str, Any] | None]) -> None:
        self.states, self.reads, self.now, self.name = states, 0, 0.0, "file-{}.csv"

    def read(self) -> list[Watched]:
        state = self.states[min(self.reads, len(self.states) - 1)]
        self.reads += 1
        return [Watched(name=self.name.format(number), put_at=PUT, job=entry) for number, entry in enumerate(state)]

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def watch(self, *, terminal: bool = False, notices: list[str] | None = None) -> tuple[list[Watched], str]:
        page = io.StringIO()
        console = Console(file=page, force_terminal=terminal, width=120, color_system=None)
        state = watch(
            self.read,
            console=console,
            timeout_seconds=60,
            notices=lambda: notices or [],
            clock=lambda: self.now,
            sleep=self.sleep,
        )
        return state, page.getvalue()


def test_it_ends_as_soon_as_every_file_has_a_final_status() -> None:
    script = Script([None, None], [job("pending"), job("completed")], [job("failed"), job("completed")])
    state, _ = script.watch()
    assert [watched.is_final for watched in state] == [True, True]
    assert script.reads == 3


def test_it_ends_when_the_time_is_over_and_says_what_is_not_done() -> None:
    script = Script([job("completed"), job("processing")])
    state, _ = script.watch()
    assert [watched.is_final for watched in state] == [True, False]
    assert 60 <= script.now < 61


def test_piped_output_has_one_line_per_change_and_no_more() -> None:
    waiting = job("pending", waiting_reason="Druid unreachable since 12:00")
    script = Script([job("pending")], [waiting], [job("pending")], [job("processing")] * 1, [job("completed")])
    _, page = script.watch()
    assert [line.split()[3:] for line in page.strip().splitlines()] == [
        ["pending"],
        ["processing", "submit", "ingesting"],
        ["completed", "400", "rows,", "25", "rejected"],
    ]


def test_files_of_one_name_are_told_apart_when_piped() -> None:
    script = Script(*[[job("pending"), job("processing")]] * 9, [job("completed"), job("completed")])
    script.name = "x.csv"
    _, page = script.watch()
    assert len(page.strip().splitlines()) == 4


def test_a_hindrance_is_told_once_while_it_lasts() -> None:
    script = Script(*[[job("pending")]] * 60, [job("completed")])
    _, page = script.watch(notices=["Druid is not ready since 12:00."])
    assert page.count("Druid is not ready since 12:00.") == 1


def test_a_failure_is_told_with_its_reason() -> None:
    script = Script([job("failed", outcome="unreadable", error_message="Not gzip [really].")])
    _, page = script.watch()
    assert "failed/unreadable" in page
    assert "Not gzip [really]." in page


def test_a_terminal_keeps_the_last_table() -> None:
    _, page = Script([job("pending")], [job("completed")]).watch(terminal=True)
    last = page.splitlines()[-1]
    assert last.split() == ["file-0.csv", "0b9a1c2d", "completed", "400", "25", "375", "7.5"]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (200_000, "2 d"), (-5, "0 s")]
)
def test_ages_are_told_in_the_largest_unit(seconds: int, shown: str) -> None:
    assert age(PUT, PUT + timedelta(seconds=seconds)) == shown


def test_numbers_and_sizes_read_easily() -> None:
    assert [number(1_234_567), number(0), number(None)] == ["1,234,567", "", ""]
    assert [size(999), size(1_000), size(31_400_000), size(2_000_000_000_000)] == [
        "999 B",
        "1.0 kB",
        "31.4 MB",
        "2000.0 GB",
    ]
