"""How `callbacks …` shows endpoints and deliveries.

What belongs here: tables and lines. What does not: what is shown (`cli.callbacks`). What receivers answered is
stored without control characters, and shown as text, not as markup.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ingestion_pipeline.cli.output import console, moment, table
from ingestion_pipeline.domain.callback import SELECTABLE
from ingestion_pipeline.domain.orders import SHORT_ID

if TYPE_CHECKING:
    from rich.table import Table

_STATE_STYLES = {
    "enabled": "green", "disabled": "red", "removed": "dim", "delivered": "green", "pending": "yellow", "parked": "red"
}  # fmt: skip


def endpoints_table(found: Sequence[dict[str, Any]]) -> "Table":
    from rich.markup import escape

    made = table("endpoint", "organization", "url", "events", "state", "pending", "parked", right=("pending", "parked"))
    for each in found:
        why = each["disabled_reason"] or (each["failing_since"] and f"failing since {moment(each['failing_since'])}")
        short_events = ["all"] if len(each["events"]) == len(SELECTABLE) else [e.split(".")[1] for e in each["events"]]
        only = f" of {', '.join(each['datasources'])}" if each["datasources"] else ""
        made.add_row(
            each["endpoint_id"][:SHORT_ID],
            each["organization"],
            escape(each["url"]),
            escape(", ".join(short_events) + only),
            f"[{_STATE_STYLES[each['state']]}]{each['state']}[/]{': ' + escape(why) if why else ''}",
            f"{each['pending']:,}",
            f"{each['parked']:,}",
        )
    return made


def log_table(rows: Sequence[dict[str, Any]]) -> "Table":
    from rich.markup import escape

    made = table("when", "delivery", "endpoint", "event", "job", "state", "tries", "last answer", right=("tries",))
    for row in rows:
        made.add_row(
            moment(row["created_at"]),
            row["delivery_id"][:SHORT_ID],
            row["endpoint_id"][:SHORT_ID],
            row["event"],
            (row["job_id"] or "")[:SHORT_ID],
            f"[{_STATE_STYLES[row['state']]}]{row['state']}[/]",
            str(row["tries"]),
            escape(_answer(row)),
        )
    return made


def print_delivery(row: dict[str, Any]) -> None:
    from rich.markup import escape

    page = console()
    facts = (
        ("delivery", row["delivery_id"]),
        ("event", row["event"]),
        ("job", row["job_id"] or ""),
        ("organization", row["organization"]),
        ("endpoint", f"{row['endpoint_id']}  {row['url']}"),
        ("happened", moment(row["created_at"])),
        ("state", f"{row['state']} {moment(row['finished_at'])}".rstrip()),
        ("next try", moment(row["next_try_at"])),
    )
    for name, value in facts:
        if value:
            page.print(f"{name:12} {escape(value)}", soft_wrap=True)
    made = table("when", "try", "ms", "answer", "body", right=("try", "ms"))
    for each in row["all_tries"]:
        cells = (moment(each["started_at"]), str(each["number"]), str(each["duration_ms"]), _answer(each))
        made.add_row(*(escape(cell) for cell in (*cells, each["body"])))
    page.print()
    page.print(made)


def _answer(row: dict[str, Any]) -> str:
    """Status and error of a try, as far as there are."""
    return ": ".join(str(part) for part in (row["status"], row["error"]) if part)
