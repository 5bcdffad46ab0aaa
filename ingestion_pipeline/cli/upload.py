"""Command `upload`: local files into the bucket and the ledger, and, if wanted, until they are proved.

What belongs here: the checks that spare a person a useless upload, the order of announcing, putting and
binding, and what is shown. What does not: where keys belong (`domain.routing`), waiting (`cli.watch`).
A file is announced in the ledger before its object exists: no upload can be lost between the two, and one
whose bytes never came expires.
"""

import difflib
import getpass
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from ingestion_pipeline.cli.connections import Connections, connected
from ingestion_pipeline.cli.dagster_health import sensor_problem
from ingestion_pipeline.cli.jobs import print_rejected, waiting_for
from ingestion_pipeline.cli.output import SHORT_ID, console, json_text, message, status_text
from ingestion_pipeline.cli.watch import Watched, watch
from ingestion_pipeline.domain.contract_patterns import UPLOADS_PREFIX
from ingestion_pipeline.domain.job import Lane, Priority, Status
from ingestion_pipeline.domain.routing import NoRoute, route
from ingestion_pipeline.domain.upload import Upload
from ingestion_pipeline.errors import ConfigurationError, ContractError, FileError, S3Unavailable

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer()

EXIT_FAILED, EXIT_TIMEOUT = 1, 3
_SHOWN_ERRORS = 5
_PRIORITIES = {priority.name.lower(): priority for priority in Priority}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An upload of ours: its job and where its object lies."""

    file: str
    job_id: str
    organization: str
    datasource: str
    key: str
    partition_day: date
    size_bytes: int
    put_at: datetime
    warnings: tuple[str, ...] = ()


@app.command()
def upload(
    files: Annotated[list[Path], typer.Argument(help="CSV, JSON lines, ...; compressed or not.", show_default=False)],
    *,
    datasource: Annotated[str, typer.Option("--datasource", "-d", help="Whose contract they have to meet.")],
    organization: Annotated[
        str | None, typer.Option("--organization", "-o", help="Whose files they are; may be left out if there is one.")
    ] = None,
    day: Annotated[
        datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="Partition day; default: today in UTC.")
    ] = None,
    priority: Annotated[str, typer.Option(help="urgent, high, medium or low.")] = "medium",
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Until every file is done.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds that --wait waits.")] = 900.0,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Upload files. With --wait: exit code 0 all done, 1 one failed, 3 not done in time."""
    if priority not in _PRIORITIES:
        raise typer.BadParameter(f"'{priority}' is none of {', '.join(_PRIORITIES)}.", param_hint="--priority")
    for path in files:
        _require_readable(path)
    page = console(stderr=as_json)
    with connected() as systems:
        tenant = _organization(organization, systems.ledger.discovery.organizations())
        _require_usable(datasource, systems)
        # Before anything is announced: some servers make an absent bucket at the first PUT.
        systems.bucket.check()
        today = datetime.now(UTC).date()
        sent = _send_all(
            files,
            systems,
            organization=tenant,
            datasource=datasource,
            day=day.date() if day else today,
            priority=_PRIORITIES[priority],
            page=page,
        )
        if not wait:
            if as_json:
                typer.echo(json_text([asdict(one) for one in sent]))
            else:
                page.print(f"`ingestion-pipeline status {sent[0].job_id[:SHORT_ID]}` tells how far it is.")
            return
        state = watch(
            lambda: watched(sent, systems),
            console=page,
            timeout_seconds=timeout,
            notices=lambda: hindrances(systems),
        )
        code = _show_end(state, systems, page)
        if as_json:
            typer.echo(json_text([{**asdict(one), "job": w.job} for one, w in zip(sent, state, strict=True)]))
    raise typer.Exit(code)


def watched(sent: Sequence[Sent], systems: Connections) -> list[Watched]:
    """The present state of uploads."""
    rows = systems.ledger.jobs.latest(job_ids=[one.job_id for one in sent], limit=len(sent))
    by_id = {row["job_id"]: row for row in rows}
    return [Watched(name=one.file, put_at=one.put_at, job=by_id.get(one.job_id)) for one in sent]


def hindrances(systems: Connections) -> list[str]:
    """What holds every file up at the moment, with since when."""
    sensor = sensor_problem(systems.settings.dagster_url, now=datetime.now(UTC))
    return [*waiting_for(systems), *([sensor] if sensor else [])]


def _send_all(
    files: Sequence[Path],
    systems: Connections,
    *,
    organization: str,
    datasource: str,
    day: date,
    priority: Priority,
    page: "Console",
) -> list[Sent]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=page, transient=True, disable=not page.is_terminal) as bars:
        total = sum(path.stat().st_size for path in files)
        bar = bars.add_task("", total=total)
        sent = []
        for path in files:
            bars.update(bar, description=path.name)
            sent.append(
                _send(
                    path,
                    systems,
                    organization=organization,
                    datasource=datasource,
                    day=day,
                    priority=priority,
                    progress=lambda count: bars.advance(bar, count),
                )
            )
            # At once: if the next one cannot be sent, what was sent is known.
            _tell(sent[-1], systems, page)
    return sent


def _tell(one: Sent, systems: Connections, page: "Console") -> None:
    where = systems.bucket.url(one.key)
    page.print(f"{one.file}  job {one.job_id[:SHORT_ID]}  {where}", markup=False, soft_wrap=True)
    for warning in one.warnings:
        page.print(f"  {warning}", style="yellow", markup=False, soft_wrap=True)


def _send(
    path: Path,
    systems: Connections,
    *,
    organization: str,
    datasource: str,
    day: date,
    priority: Priority,
    progress: Any,
) -> Sent:
    """Announce, put, bind."""
    discovery, bucket = systems.ledger.discovery, systems.bucket
    job_id, now = str(uuid4()), datetime.now(UTC)
    key = f"{UPLOADS_PREFIX}{organization}/{datasource}/{day.isoformat()}/{job_id}/{path.name}"
    decision = route(
        systems.contracts, key=key, last_modified=now, organizations={organization}, today=now.date()
    )  # fmt: skip
    if isinstance(decision, NoRoute):
        raise ConfigurationError(decision.message, hint="Choose another --date or file name.")
    discovery.announce(
        job_id=job_id,
        organization=organization,
        datasource=datasource,
        bucket=bucket.bucket,
        object_key=key,
        size_bytes=path.stat().st_size,
        uploaded_by=_user(),
        priority=priority,
        partition_day=decision.partition_day,
        warnings=decision.warnings,
        upload_url=bucket.url(key),
        now=now,
    )
    bucket.put_file(key, path, sent=progress)
    put_at = datetime.now(UTC)
    stored = bucket.head(key)
    if stored is None:
        raise S3Unavailable(f"{bucket.url(key)} was put and is not there.", hint="Upload it again.")
    arrived = Upload(
        organization=organization,
        datasource=datasource,
        bucket=bucket.bucket,
        stored=stored,
        partition_day=decision.partition_day,
        warnings=decision.warnings,
    )
    # The sensor may have seen the object first: then this changes nothing.
    discovery.enter([(arrived, Lane.LIVE)], job_ids=[uuid4()], now=put_at, priority=priority)
    return Sent(
        file=path.name,
        job_id=job_id,
        organization=organization,
        datasource=datasource,
        key=key,
        partition_day=decision.partition_day,
        size_bytes=stored.size_bytes,
        put_at=put_at,
        warnings=decision.warnings,
    )


def _show_end(state: Sequence[Watched], systems: Connections, page: "Console") -> int:
    """What went wrong, file by file; the exit code."""
    code = 0
    for one in state:
        if one.job is None or not one.is_final:
            continue
        if one.job["status"] != Status.COMPLETED:
            code = EXIT_FAILED
        if one.job["status"] == Status.COMPLETED and not one.job["rows_rejected"]:
            continue
        job: dict[str, Any] = systems.ledger.jobs.get(one.job["job_id"]) or one.job
        page.print(
            f"\n{status_text(job, exact=True)}  [bold]{_escaped(one.name)}[/]  {_escaped(message(job))}", soft_wrap=True
        )
        hint = (job.get("result") or {}).get("hint")
        if hint:
            page.print(f"  {hint}", markup=False, soft_wrap=True)
        if job.get("validation_errors"):
            print_rejected(job, page, limit=_SHOWN_ERRORS)
    late = [one for one in state if not one.is_final]
    if late:
        page.print(f"\nNot done in time: {', '.join(one.name for one in late)}.", style="yellow", markup=False)
        for sentence in hindrances(systems):
            page.print(f"  {sentence}", style="yellow", markup=False, soft_wrap=True)
    return code or (EXIT_TIMEOUT if late else 0)


def _require_readable(path: Path) -> None:
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise FileError(f"{path} {what}.", hint="Name files; a shell pattern like exports/*.csv names many.")
    if not os.access(path, os.R_OK):
        raise FileError(f"{path} cannot be read.", hint="Check its permissions.")
    if not path.name.isprintable():
        raise FileError(f"{path.name!r} has characters that keys should not have.", hint="Rename the file.")


def _organization(given: str | None, known: frozenset[str]) -> str:
    if given is None and len(known) == 1:
        return next(iter(known))
    add = "`ingestion-pipeline organizations add NAME` adds one."
    if not known:
        raise ConfigurationError("There is no organization yet.", hint=add)
    if given is None:
        raise ConfigurationError("Whose files are these?", hint=f"Add --organization: {_listed(known)}.")
    if given not in known:
        raise ConfigurationError(
            f"There is no organization '{given}'.", hint=f"{_meant(given, known)}There are: {_listed(known)}. {add}"
        )
    return given


def _require_usable(datasource: str, systems: Connections) -> None:
    book = systems.contracts
    if datasource in book.contracts:
        return
    broken = book.broken_datasources.get(datasource)
    if broken is not None:
        hint = f"{broken.hint} `ingestion-pipeline contract check` lists every mistake.".lstrip()
        raise ContractError(broken.message, hint=hint, details=broken.details)
    known = book.contracts.keys() | book.broken_datasources.keys()
    raise ConfigurationError(
        f"There is no datasource '{datasource}'.",
        hint=f"{_meant(datasource, known)}There are: {_listed(known) or 'none'}. "
        f"A datasource is a contract in {systems.settings.contracts_dir}.",
    )


def _meant(given: str, known: "frozenset[str] | set[str]") -> str:
    close = difflib.get_close_matches(given, known, n=1)
    return f"Did you mean '{close[0]}'? " if close else ""


def _listed(names: "frozenset[str] | set[str]") -> str:
    listed = sorted(names)
    return ", ".join(listed[:20]) + (", …" if len(listed) > 20 else "")


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this uid, as in many containers
        return f"uid {os.getuid()}"
