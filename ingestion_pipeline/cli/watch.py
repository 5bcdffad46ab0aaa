"""Watching jobs until they are done: a live table on a terminal, a line per change where output is piped.

What belongs here: the loop and what it shows. What does not: which jobs are watched (the caller reads them),
what is made of the end. Why jobs wait though nothing is wrong with them (a dependency, the sensor) is asked
of the caller too, and shown with its since-when.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingestion_pipeline.cli.output import message, number, status_text, step_text, table
from ingestion_pipeline.domain.job import Status
from ingestion_pipeline.domain.orders import SHORT_ID

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

POLL_SECONDS = 0.5
# Not in every poll: it may ask a server that does not answer.
NOTICE_SECONDS = 5.0
_WIDE = 110


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A file on its way.

    Attributes:
        name: What people call it.
        put_at: When its bytes were in the bucket; the seconds shown run from here.
        job: Its row as `Jobs.latest` gives it; None while the ledger does not know it.
    """

    name: str
    put_at: datetime
    job: dict[str, Any] | None

    @property
    def is_final(self) -> bool:
        return self.job is not None and Status(self.job["status"]).is_final

    def seconds(self, now: datetime) -> float:
        """From put to the end, or to now."""
        finished = self.job["finished_at"] if self.job else None
        return max(0.0, ((finished or now) - self.put_at).total_seconds())


def watch(
    read: Callable[[], Sequence[Watched]],
    *,
    console: "Console",
    timeout_seconds: float,
    notices: Callable[[], Sequence[str]] = list,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Watched]:
    """Show the files until each has a final status or the time is over.

    Args:
        read: The present state, always the same files in the same order.
        notices: Sentences about what holds everything up, if anything does.

    Returns:
        The last state; some of it not final when the time was over.
    """
    from rich.live import Live

    deadline, ask_at = clock() + timeout_seconds, clock() + NOTICE_SECONDS
    told: Sequence[str] = ()
    shown: dict[int, str] = {}
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            state = list(read())
            done = all(watched.is_final for watched in state)
            if not done and clock() >= ask_at:
                before, told = told, list(notices())
                if not console.is_terminal:
                    for sentence in told:
                        if sentence not in before:
                            console.print(sentence, style="yellow")
                ask_at = clock() + NOTICE_SECONDS
            if console.is_terminal:
                live.update(_picture(state, told, console.width), refresh=True)
            else:
                _lines(state, shown, console)
            if done or clock() >= deadline:
                break
            sleep(POLL_SECONDS)
    if console.is_terminal:
        console.print(files_table(state, datetime.now(UTC), width=console.width))
    return state


def files_table(state: Sequence[Watched], now: datetime, *, width: int) -> "RenderableType":
    """The files as a table: what is known of each now.

    Args:
        state: The files.
        now: Aware; the seconds of those that are not done run until then.
        width: Of the terminal, in columns; a narrow one goes without the jobs' ids.
    """
    numbers = ("rows", "rejected", "in Druid", "seconds")
    ids = ("job",) if width >= _WIDE else ()
    made = table("file", *ids, "status", "step", *numbers, right=numbers)
    for watched in state:
        job = watched.job
        if job is None:
            cells = ["", "[dim]in the bucket[/]", "", "", "", ""]
        else:
            cells = [
                str(job["job_id"])[:SHORT_ID],
                status_text(job),
                step_text(job),
                number(_rows(job)),
                number(job["rows_rejected"]),
                number(job["rows_queryable"]),
            ]
        made.add_row(_plain(watched.name), *cells[0 if ids else 1 :], f"{watched.seconds(now):.1f}")
    return made


def _picture(state: Sequence[Watched], notices: Sequence[str], width: int) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    waiting = {message(watched.job) for watched in state if watched.job and not watched.is_final}
    below = [*notices, *sorted(waiting - {""})][:3]
    return Group(
        files_table(state, datetime.now(UTC), width=width), *(Text(sentence, style="yellow") for sentence in below)
    )


def _lines(state: Sequence[Watched], shown: dict[int, str], console: "Console") -> None:
    now = datetime.now(UTC)
    # By position: two files may have one name.
    for position, watched in enumerate(state):
        if watched.job is None:
            continue
        where = f"{status_text(watched.job)} {step_text(watched.job)}".strip()
        if shown.get(position) == where:
            continue
        shown[position] = where
        rows = ""
        if watched.is_final:
            rows = f"  {_rows(watched.job) or 0:,} rows, {watched.job['rows_rejected']:,} rejected"
        # What holds up all files is told once, as a notice.
        why = _plain(message(watched.job)) if watched.job["status"] != Status.PENDING else ""
        line = f"{watched.seconds(now):6.1f} s  {_plain(watched.name):28}  {where}{rows}  {why}"
        console.print(line.rstrip(), soft_wrap=True)


def _rows(job: dict[str, Any]) -> int | None:
    read: int = job["rows_read"]
    return read or (job.get("progress") or {}).get("rows")


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
