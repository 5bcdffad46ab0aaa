"""Retention: which of the objects that runs wrote may go. Pure.

What belongs here: the decision for one object, from its key, its age and what the ledger says of its job. What does
not: listing and deleting (`stages.retention`), what the ledger says (`adapters.postgres_upkeep`).

A replay reads the upload again, and a file's rows are fixed by sending corrected ones: cleaned objects are needed by
live jobs and open attempts alone, rejected rows until they are corrected.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, Self

from ingestion_pipeline.domain.upload import StoredObject

_KEY = re.compile(r"(cleaned|quarantine)/([^/]+)/([^/]+)/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/(e\d+)/.+")


class Kept(StrEnum):
    """Why an object stays."""

    YOUNG = "young"  # or its job ended not long enough ago
    LIVE = "live"  # its job is not over
    ATTEMPT = "open_attempt"  # Druid may still read it
    REJECTS = "open_rejects"  # rows that nobody has corrected yet
    FOREIGN = "foreign"  # not written by a run of this ledger's organizations


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """How long objects stay after their job's end."""

    cleaned: timedelta
    quarantine: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RunObject:
    """What the key of an object says that a run wrote."""

    kind: Literal["cleaned", "quarantine"]
    organization: str
    job_id: str
    epoch_prefix: str

    @classmethod
    def of(cls, key: str) -> Self | None:
        """None: no run writes such a key."""
        found = _KEY.fullmatch(key)
        if found is None:
            return None
        kind, organization, _, job_id, _ = found.groups()
        return cls(
            kind="cleaned" if kind == "cleaned" else "quarantine",
            organization=organization,
            job_id=job_id,
            epoch_prefix=key[: found.end(5) + 1],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """What the ledger says of an object's job.

    Attributes:
        finished_at: None: it is not over.
        open_attempt: An attempt that holds it has not been judged.
        open_rejects: It has rejected rows, its accepted ones are in Druid, and not all have been corrected.
        quarantine_key: The CSV of its rejected rows; a replaced worker may have left others.
    """

    finished_at: datetime | None
    open_attempt: bool = False
    open_rejects: bool = False
    quarantine_key: str | None = None


def why_kept(
    stored: StoredObject,
    facts: JobFacts | None,
    *,
    organizations: Collection[str],
    ages: Ages,
    now: datetime,
) -> Kept | None:
    """Why an object below `cleaned/` or `quarantine/` stays; None: it may go.

    Args:
        facts: None: the ledger has no such job (any more).
    """
    written = RunObject.of(stored.key)
    # A wrong ledger must not empty the bucket of another: what is nobody's is left alone.
    if written is None or written.organization not in organizations:
        return Kept.FOREIGN
    since = stored.last_modified
    if facts is not None:
        if facts.finished_at is None:
            return Kept.LIVE
        if facts.open_attempt:
            return Kept.ATTEMPT
        if written.kind == "quarantine" and facts.open_rejects and _is_current(written, facts):
            return Kept.REJECTS
        since = max(since, facts.finished_at)
    age = ages.cleaned if written.kind == "cleaned" else ages.quarantine
    return Kept.YOUNG if now - since < age else None


def _is_current(written: RunObject, facts: JobFacts) -> bool:
    return facts.quarantine_key is None or facts.quarantine_key.startswith(written.epoch_prefix)
