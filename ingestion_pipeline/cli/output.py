"""How the commands show values: numbers, times, tables, JSON.

What belongs here: rendering that several commands share. What does not: deciding what is shown.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestion_pipeline.domain.job import LOADED_OUTCOMES, Status

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
STATUS_STYLES: Mapping[str, str] = {
    Status.PENDING: "yellow",
    Status.PROCESSING: "cyan",
    Status.RETRYING: "yellow",
    Status.COMPLETED: "green",
    Status.FAILED: "red",
    Status.CANCELED: "magenta",
}
# Without a terminal nobody folds lines by eye: a line of a log should stay one line.
_PIPED_WIDTH = 180
_WHOLE = ("job", "when", "age")


def console(*, stderr: bool = False) -> "Console":
    """The terminal, or a wide plain page where output is piped."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=_PIPED_WIDTH)


def json_text(value: Any) -> str:
    """JSON for machines: one line, times in ISO 8601, ids as text."""
    return json.dumps(value, default=_encode, ensure_ascii=False)


def _encode(value: object) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def escaped(text: str) -> str:
    """Text of other people as it may stand on a terminal: brackets are no markup, and no character acts on it."""
    from rich.markup import escape

    return escape("".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text))


def number(value: int | None) -> str:
    """Thousands apart; nothing for nothing."""
    return f"{value:,}" if value else ""


def counted(count: int, noun: str) -> str:
    """`1 row`, `1,200 rows`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def moment(value: datetime | None) -> str:
    """A time to the second, in UTC as everything here."""
    return f"{value:%Y-%m-%d %H:%M:%S} UTC" if value else ""


def age(since: datetime | None, now: datetime) -> str:
    """How long ago, in the largest unit that says something."""
    if since is None:
        return ""
    seconds = max(0, int((now - since).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def size(size_bytes: int) -> str:
    """A size for people, in units of 1000."""
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def table(*columns: str, right: Sequence[str] = ()) -> "Table":
    """A table without a frame; where there is no room, text takes more lines and numbers stay whole.

    Args:
        columns: Titles, in order.
        right: Those that hold numbers.
    """
    from rich.table import Table

    made = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        made.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=name in right or name in _WHOLE,
            overflow="fold",
        )
    return made


def status_text(job: Mapping[str, Any], *, exact: bool = False) -> str:
    """Status, and the outcome where it says more than the numbers beside it; with markup.

    Args:
        exact: The outcome in any case.
    """
    status, outcome = str(job["status"]), job.get("outcome")
    words = f"{status}/{outcome}" if outcome and (exact or outcome not in LOADED_OUTCOMES) else status
    return f"[{STATUS_STYLES.get(status, 'default')}]{words}[/]"


def step_text(job: Mapping[str, Any]) -> str:
    """Where a job stands in its run, while it does."""
    if job["status"] != Status.PROCESSING:
        return ""
    state = (job.get("progress") or {}).get("state")
    return f"{job.get('step') or ''} {state or ''}".strip()


def message(job: Mapping[str, Any]) -> str:
    """Why a job stands where it stands, if there is something to say."""
    return str(job.get("error_message") or job.get("waiting_reason") or "")
