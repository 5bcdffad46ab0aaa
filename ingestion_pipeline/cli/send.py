"""Sending local files: the checks that spare a person a useless upload; announce, put, bind.

What belongs here: what `upload` and `resubmit` share. What does not: their options, waiting (`cli.follow`), where keys
belong (`domain.routing`). A file is announced in the ledger before its object exists: no upload can be lost between
the two, and one whose bytes never came expires.
"""

import difflib
import getpass
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import typer

from ingestion_pipeline.cli.connections import Connections
from ingestion_pipeline.cli.follow import Followed
from ingestion_pipeline.domain.contract_patterns import UPLOADS_PREFIX
from ingestion_pipeline.domain.job import Lane, Priority
from ingestion_pipeline.domain.orders import SHORT_ID
from ingestion_pipeline.domain.routing import NoRoute, route
from ingestion_pipeline.domain.upload import Upload
from ingestion_pipeline.errors import ConfigurationError, ContractError, FileError, S3Unavailable

if TYPE_CHECKING:
    from rich.console import Console

_PRIORITIES = {priority.name.lower(): priority for priority in Priority}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What is said of files that are sent together.

    Attributes:
        fixes_job_id: The job whose rejected rows they have, corrected.
        replaces_job_id: The job whose rows' place theirs take.
    """

    organization: str
    datasource: str
    day: date
    priority: Priority
    fixes_job_id: str | None = None
    replaces_job_id: str | None = None


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

    def followed(self) -> Followed:
        return Followed(name=self.file, job_id=self.job_id, since=self.put_at)


def send_all(files: Sequence[Path], systems: Connections, parcel: Parcel, *, page: "Console") -> list[Sent]:
    """Send files one after the other, telling of each as soon as it is sent."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    # Before anything is announced: some servers make an absent bucket at the first PUT.
    systems.bucket.check()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=page, transient=True, disable=not page.is_terminal) as bars:
        total = sum(path.stat().st_size for path in files)
        bar = bars.add_task("", total=total)
        sent = []
        for path in files:
            bars.update(bar, description=path.name)
            sent.append(_send(path, systems, parcel, progress=lambda count: bars.advance(bar, count)))
            # At once: if the next one cannot be sent, what was sent is known.
            _tell(sent[-1], systems, page)
    return sent


def _tell(one: Sent, systems: Connections, page: "Console") -> None:
    where = systems.bucket.url(one.key)
    page.print(f"{one.file}  job {one.job_id[:SHORT_ID]}  {where}", markup=False, soft_wrap=True)
    for warning in one.warnings:
        page.print(f"  {warning}", style="yellow", markup=False, soft_wrap=True)


def _send(path: Path, systems: Connections, parcel: Parcel, *, progress: Callable[[int], None]) -> Sent:
    """Announce, put, bind."""
    discovery, bucket = systems.ledger.discovery, systems.bucket
    organization, datasource = parcel.organization, parcel.datasource
    job_id, now = str(uuid4()), datetime.now(UTC)
    key = f"{UPLOADS_PREFIX}{organization}/{datasource}/{parcel.day.isoformat()}/{job_id}/{path.name}"
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
        uploaded_by=user_name(),
        priority=parcel.priority,
        partition_day=decision.partition_day,
        warnings=decision.warnings,
        upload_url=bucket.url(key),
        now=now,
        fixes_job_id=parcel.fixes_job_id,
        replaces_job_id=parcel.replaces_job_id,
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
    discovery.enter([(arrived, Lane.LIVE)], job_ids=[uuid4()], now=put_at, priority=parcel.priority)
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


def priority_named(name: str) -> Priority:
    """The priority that people call so.

    Raises:
        typer.BadParameter: None is.
    """
    if name not in _PRIORITIES:
        raise typer.BadParameter(f"'{name}' is none of {', '.join(_PRIORITIES)}.", param_hint="--priority")
    return _PRIORITIES[name]


def require_readable(path: Path) -> None:
    """Raise unless it is a file that can be sent."""
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise FileError(f"{path} {what}.", hint="Name files; a shell pattern like exports/*.csv names many.")
    if not os.access(path, os.R_OK):
        raise FileError(f"{path} cannot be read.", hint="Check its permissions.")
    if not path.name.isprintable():
        raise FileError(f"{path.name!r} has characters that keys should not have.", hint="Rename the file.")


def known_organization(given: str | None, known: frozenset[str]) -> str:
    """The organization that is meant: the given one, or the only one."""
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


def require_usable(datasource: str, systems: Connections) -> None:
    """Raise unless the datasource has a contract that works."""
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


def user_name() -> str:
    """Who types, for the ledger."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this uid, as in many containers
        return f"uid {os.getuid()}"


def _meant(given: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1)
    return f"Did you mean '{close[0]}'? " if close else ""


def _listed(names: Collection[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:20]) + (", …" if len(listed) > 20 else "")
