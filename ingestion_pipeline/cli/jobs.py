"""Commands about jobs: `jobs`, and `status JOB` (called by `cli.stack`).

What belongs here: finding a job by what a person types, and showing it with what to do next. What does not:
what the ledger says (`adapters.postgres_jobs`).
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestion_pipeline.cli.connections import Connections, connected
from ingestion_pipeline.cli.family import family_json, note, open_rows, origin, rejects, taken_by
from ingestion_pipeline.cli.output import (
    AsJson,
    age,
    console,
    json_text,
    moment,
    number,
    size,
    status_text,
    step_text,
    table,
)
from ingestion_pipeline.domain.contract import DELIMITED_TEXT
from ingestion_pipeline.domain.correction import keeper
from ingestion_pipeline.domain.job import LOADED_OUTCOMES, Cause, Job, Lane, Priority, Status
from ingestion_pipeline.domain.orders import SHORT_ID, short
from ingestion_pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

app = typer.Typer()

_ID_PREFIX = re.compile(r"[0-9a-f]{4}[0-9a-f-]{0,32}")
_SHOWN_ERRORS = 10
_WIDE = 130


@app.command()
def jobs(
    organization: Annotated[str | None, typer.Option("--organization", "-o")] = None,
    datasource: Annotated[str | None, typer.Option("--datasource", "-d")] = None,
    status: Annotated[list[Status] | None, typer.Option("--status", "-s", help="As often as needed.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 30,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first: what became of every file."""
    with connected() as systems:
        rows = systems.ledger.jobs.latest(
            organization=organization, datasource=datasource, status=status or (), limit=limit
        )
        families = _families(systems, rows)
        if as_json:
            typer.echo(json_text([{**job, "rows_open": open_rows(families.get(job["job_id"], ()))} for job in rows]))
            return
        if not rows:
            typer.echo("No such jobs. `ingestion-pipeline upload FILE --datasource NAME` makes one.")
            return
        page = console()
        notes = {job["job_id"]: note(job, families.get(job["job_id"], ())) for job in rows}
        page.print(_jobs_table(rows, notes, datetime.now(UTC), width=page.width))
        if page.width < _WIDE:
            for job_id, text in notes.items():
                if text:
                    page.print(f"{short(job_id)}  {text}", markup=False)
        if len(rows) == limit:
            typer.echo(f"The newest {limit}; --limit shows more.")
        for problem in waiting_for(systems):
            typer.secho(problem, fg=typer.colors.YELLOW, err=True)


def show_job(text: str, *, as_json: bool) -> None:
    """Print everything about one job.

    Args:
        text: Its id, the beginning of it, or the object's key.

    Raises:
        ConfigurationError: No job, or more than one, is meant.
    """
    with connected() as systems:
        job = find_job(systems, text)
        family = systems.ledger.corrections.family(job["job_id"])
        next_step = what_next(job, family, datetime.now(UTC))
        run_url = f"{systems.settings.dagster_url}/runs/{job['run_id']}" if job["run_id"] else None
        if as_json:
            told = {"run_url": run_url, "next_step": next_step, "family": family_json(family)}
            typer.echo(json_text({**job, **told, "rows_open": open_rows(family)}))
            return
        _print_job(job, family, run_url=run_url, next_step=next_step)


def _families(systems: Connections, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Job]]:
    """Of those whose rejected rows may have been corrected."""
    ids = [job["job_id"] for job in rows if job["rows_rejected"] and job["outcome"] in LOADED_OUTCOMES]
    return systems.ledger.corrections.families(ids) if ids else {}


def find_job(systems: Connections, text: str) -> dict[str, Any]:
    """The one job that is meant, every column and its events; a key or a name means its newest version.

    Raises:
        ConfigurationError: None or several; the message lists them.
    """
    job = systems.ledger.jobs.get(find_jobs(systems, text)[0]["job_id"])
    assert job is not None
    return job


def find_jobs(systems: Connections, text: str) -> list[dict[str, Any]]:
    """The job with that id, or all of that key or file name, newest first.

    Args:
        text: An id, the beginning of one, a key, its s3:// URL, or a file's name.

    Raises:
        ConfigurationError: None, or jobs of several keys; the message lists them.
    """
    key = text.removeprefix(f"s3://{systems.settings.s3_bucket}/")
    ledger = systems.ledger.jobs
    found = ledger.latest(id_prefix=text.lower(), limit=6) if _ID_PREFIX.fullmatch(text.lower()) else []
    several = len(found) > 1
    if not found:
        found = ledger.latest(key_contains=key, limit=200)
        found = [job for job in found if key in (job["object_key"], job["file_name"])] or found
        several = len({job["object_key"] for job in found}) > 1
    if not found:
        raise ConfigurationError(
            f"There is no job '{text}'.",
            hint="Give its id (4 characters or more) or its key: `ingestion-pipeline jobs`.",
        )
    if several:
        listed = ", ".join(f"{job['job_id'][:13]} ({job['file_name']})" for job in found[:5])
        more = ", …" if len(found) > 5 else ""
        raise ConfigurationError(f"'{text}' could be {listed}{more}.", hint="Give more characters of the id.")
    return found


def waiting_for(systems: Connections) -> list[str]:
    """What dispatch waits for, with since when; as the ledger has it."""
    return [
        f"{name.capitalize()} is not ready since {moment(since)}: {problem} Files wait until it is."
        for name, (problem, since) in systems.ledger.jobs.dependency_problems().items()
    ]


def what_next(job: Mapping[str, Any], family: Sequence[Job], now: datetime) -> str:
    """The next step in plain words: the system's, or the reader's."""
    status, outcome = Status(job["status"]), job["outcome"]
    if status is Status.PENDING:
        if job["arrived_at"] is None:
            return "Announced; its object has not arrived in the bucket. Put it there, or this job expires."
        if job["lane"] == Lane.HISTORY:
            return (
                "It is older than its contract's live_from and waits for a backfill: `ingestion-pipeline backfill "
                f"--datasource {job['datasource']} --from {job['partition_day']} --to {job['partition_day']}`, or the "
                "asset's page in Dagster."
            )
        return "It waits; a run takes it as soon as the reason is gone." if job["waiting_reason"] else (
            "The sensor launches a run for it with one of its next ticks, every 5 seconds."
        )  # fmt: skip
    if status is Status.PROCESSING:
        return "A run works on it."
    if status is Status.RETRYING:
        at = job["next_try_at"]
        return f"The next run takes it {'now' if at is None or at <= now else 'after ' + moment(at)}."
    me = f"`ingestion-pipeline {{}} {job['job_id'][:SHORT_ID]}"
    if status is Status.COMPLETED:
        by = (job["result"] or {}).get("replaced_by", "")
        return {
            "loaded_with_rejects": _next_of_rejects(job, family),
            "duplicate": f"Nothing: job {(job['result'] or {}).get('duplicate_of', 'before it')} has the same rows.",
            "superseded": "Nothing: a newer version of the key is a job of its own.",
            "replaced": f"Nothing: the rows of job {by} are in their place.",
            "undone": "Nothing." if job["cause"] == Cause.UNDO else f"{me.format('replay')}` loads it again.",
        }.get(outcome, "Nothing: every row was counted in Druid." if outcome == "loaded" else "Nothing.")
    if job["cause"] == Cause.UNDO:
        return f"Try again: `ingestion-pipeline undo {str(job['replaces_job_id'])[:SHORT_ID]}`."
    if job["error_retryable"]:
        return f"Try again: {me.format('replay')}`."
    return "Correct the file and upload it again." if status is Status.FAILED else "Upload it again if it is wanted."


def _next_of_rejects(job: Mapping[str, Any], family: Sequence[Job]) -> str:
    root, id_ = keeper(family), job["job_id"][:SHORT_ID]
    kind = ((job["result"] or {}).get("format") or {}).get("format", DELIMITED_TEXT)
    if not root.holds_rows or kind != DELIMITED_TEXT:
        # A replay or a second try, or no lines to send alone: what it rejected is corrected in the whole file.
        return f"Correct the rejected rows in the file and send it: `ingestion-pipeline upload FILE --replaces {id_}`."
    if not open_rows(family):
        return "Nothing: every rejected row was corrected."
    return (
        f"Correct the rejected rows: `ingestion-pipeline rejected {id_} --fixable --output FILE` writes them; then "
        f"`ingestion-pipeline resubmit {short(root)} FILE`."
    )


def _jobs_table(rows: list[dict[str, Any]], notes: Mapping[str, str], now: datetime, *, width: int) -> "Table":
    from rich.markup import escape

    columns: dict[str, list[str]] = {
        "job": [job["job_id"][:SHORT_ID] for job in rows],
        "file": [escape(job["file_name"]) for job in rows],
        "datasource": [escape(job["datasource"]) for job in rows],
        "organization": [escape(job["organization"]) for job in rows],
        "status": [status_text(job) for job in rows],
        "step": [step_text(job) for job in rows],
        "read": [number(job["rows_read"]) for job in rows],
        "accepted": [number(job["rows_accepted"]) for job in rows],
        "rejected": [number(job["rows_rejected"]) for job in rows],
        "in Druid": [number(job["rows_queryable"]) for job in rows],
        "age": [age(job["created_at"], now) for job in rows],
        "message": [escape(notes[job["job_id"]]) for job in rows],
    }
    # What says nothing, and on a narrow terminal what can be done without, leaves its room to the others.
    for name in ("step", "message"):
        if not any(columns[name]):
            del columns[name]
    if width < _WIDE:
        for name in ("organization", "accepted", "message"):
            columns.pop(name, None)
    made = table(*columns, right=("read", "accepted", "rejected", "in Druid", "age"))
    for cells in zip(*columns.values(), strict=True):
        made.add_row(*cells)
    return made


def _print_job(job: Mapping[str, Any], family: Sequence[Job], *, run_url: str | None, next_step: str) -> None:
    from rich.markup import escape

    page = console()
    result = job["result"] or {}
    page.print(f"[bold]{escape(job['file_name'])}[/]  {status_text(job, exact=True)}")
    facts: list[tuple[str, str]] = [
        ("job", job["job_id"]),
        ("object", f"s3://{job['bucket']}/{job['object_key']}"),
        ("size", f"{size(job['size_bytes'])}{', ' + job['content_type'] if job['content_type'] else ''}"),
        ("datasource", f"{job['datasource']}, partition day {job['partition_day']}"),
        ("organization", job["organization"]),
        ("queued", f"{job['cause']}, lane {job['lane']}, priority {Priority(job['priority']).name.lower()}"),
        ("uploaded by", job["uploaded_by"] or ""),
        ("origin", origin(job)),
        ("step", f"{step_text(job)} {job['progress_percent']} %" if job["status"] == Status.PROCESSING else ""),
        (
            "rows",
            f"{job['rows_read']:,} read, {job['rows_accepted']:,} accepted, {job['rows_rejected']:,} rejected, "
            f"{job['rows_queryable']:,} counted in Druid" if job["rows_read"] or job["started_at"] else "",
        ),
        ("rejected", rejects(family) if job["job_id"] == keeper(family).job_id else ""),
        ("its rows", taken_by(job, family)),
        ("summary", result.get("summary") or ""),
        ("waits", job["waiting_reason"] or ""),
        ("error", f"{job['error_code']}: {job['error_message']}" if job["error_message"] else ""),
        ("hint", result.get("hint") or ""),
        ("quarantine", job["quarantine_url"] or ""),
        ("cleaned", job["result_url"] or ""),
        ("Druid task", result.get("druid_task_id") or job["attempt_id"] or ""),
        ("Dagster run", run_url or ""),
        *(("warning", str(warning)) for warning in job["warnings"]),
        ("next", next_step),
    ]  # fmt: skip
    for name, value in facts:
        if value:
            style = {"error": "[red]", "waits": "[yellow]", "next": "[bold]"}.get(name, "[default]")
            page.print(f"{name:12} {style}{escape(value)}[/]", soft_wrap=True)
    page.print()
    page.print(_events_table(job))
    if job["validation_errors"]:
        page.print()
        print_rejected(job, page, limit=_SHOWN_ERRORS)


def _events_table(job: Mapping[str, Any]) -> "Table":
    made = table("when", "status", "attempt")
    made.add_row(moment(job["created_at"]), "entered", "")
    if job["arrived_at"] and job["arrived_at"] != job["created_at"]:
        made.add_row(moment(job["arrived_at"]), "arrived", "")
    for event in job["events"]:
        if event["from_status"] is None:
            continue  # the row's own creation
        made.add_row(
            moment(event["created_at"]),
            status_text({"status": event["to_status"], "outcome": event["outcome"]}, exact=True),
            str(event["attempt_id"] or ""),
        )
    return made


def print_rejected(job: Mapping[str, Any], page: "Console", *, limit: int) -> None:
    """The first rejected rows: line, column, rule, value, reason."""
    from rich.markup import escape

    errors = job["validation_errors"]
    made = table("line", "column", "rule", "value", "reason", right=("line",))
    for error in errors[:limit]:
        made.add_row(*(escape(str(error.get(name) or "")) for name in ("line", "column", "rule", "value", "reason")))
    page.print(made)
    rest = job["rows_rejected"] - min(limit, len(errors))
    if rest > 0:
        page.print(
            f"… and more: {job['rows_rejected']:,} rows rejected, all in {job['quarantine_url'] or 'quarantine'}"
        )
