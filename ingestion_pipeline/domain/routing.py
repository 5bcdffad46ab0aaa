"""From a key to the datasource, the organization and the partition day that it belongs to; no I/O.

What belongs here: the decision for one object, and which prefixes a listing has to look at. What does
not: listing, and what happens to objects that belong nowhere (the ledger keeps them).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from ingestion_pipeline.domain.contract import Contract, ContractBook
from ingestion_pipeline.domain.contract_patterns import UPLOADS_PREFIX, FilePattern, KeyMatch

NoRouteReason = Literal["folder_marker", "no_contract", "unknown_organization", "contract_broken", "no_partition_day"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where an object belongs.

    Attributes:
        job_id: The id that the key carries (uploads announced before their object existed), else None.
        warnings: What was odd and how it was decided, for the ledger.
    """

    datasource: str
    organization: str
    partition_day: date
    pattern: FilePattern
    job_id: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRoute:
    """Why an object belongs nowhere; it is looked at again when contracts or organizations change."""

    reason: NoRouteReason
    message: str


def route(
    book: ContractBook,
    *,
    key: str,
    last_modified: datetime,
    organizations: Collection[str],
    today: date | None = None,
) -> Route | NoRoute:
    """Decide where an object belongs.

    Args:
        last_modified: Aware; its UTC day is the partition day where the key has no usable date.
        organizations: The slugs that exist; a path segment does not create a tenant.
        today: The UTC day of the caller's clock, the last resort for a partition day; None: last_modified's.
    """
    if key.endswith("/"):
        return NoRoute(reason="folder_marker", message=f"'{key}' is a folder marker.")
    claim = _claim(book, key)
    if claim is None:
        broken = _broken_datasource(book, key)
        if broken is not None:
            error = book.broken_datasources[broken]
            return NoRoute(
                reason="contract_broken", message=f"The contract of '{broken}' is not usable: {error.message}"
            )
        return NoRoute(reason="no_contract", message=f"No contract claims '{key}'.")
    contract, pattern, match = claim
    organization = match.organization
    if organization is None or organization not in organizations:
        return NoRoute(
            reason="unknown_organization",
            message=f"'{key}' belongs to the organization '{organization}', which does not exist.",
        )
    day, warnings = _partition_day(contract, match, last_modified, today)
    if day is None:
        return NoRoute(reason="no_partition_day", message=f"'{key}': {warnings[0]}")
    return Route(
        datasource=contract.datasource,
        organization=organization,
        partition_day=day,
        pattern=pattern,
        job_id=match.job_id,
        warnings=warnings,
    )


def hot_prefixes(book: ContractBook, organizations: Collection[str], today: date) -> list[str]:
    """Prefixes of today's and yesterday's keys, for every pattern that has a date; sorted, none inside another."""
    prefixes = {
        prefix
        for contract in book.contracts.values()
        for pattern in contract.files
        for organization in organizations
        for day in (today, today - timedelta(days=1))
        if (prefix := pattern.hot_prefix(organization=organization, day=day)) is not None
    }
    return _outermost(prefixes)


def sweep_prefixes(book: ContractBook) -> list[str]:
    """The smallest set of prefixes under which every claimed key lies; sorted.

    The built-in uploads prefix is swept whole, so that uploads to unknown datasources are noticed too.
    """
    return _outermost(
        {UPLOADS_PREFIX} | {pattern.static_prefix for c in book.contracts.values() for pattern in c.files}
    )


def _outermost(prefixes: set[str]) -> list[str]:
    result: list[str] = []
    for prefix in sorted(prefixes):
        if not result or not prefix.startswith(result[-1]):
            result.append(prefix)
    return result


def _claim(book: ContractBook, key: str) -> tuple[Contract, FilePattern, KeyMatch] | None:
    """The pattern that claims the key; well-formed dates first, since only those are proved not to overlap."""
    for lenient in (False, True):
        for contract in book.contracts.values():
            for pattern in contract.files:
                if key.startswith(pattern.static_prefix) and (match := pattern.match(key, lenient=lenient)):
                    return contract, pattern, match
    return None


def _broken_datasource(book: ContractBook, key: str) -> str | None:
    for datasource in book.broken_datasources:
        if FilePattern.for_uploads(datasource).match(key, lenient=True):
            return datasource
    return None


def _partition_day(
    contract: Contract, match: KeyMatch, last_modified: datetime, today: date | None
) -> tuple[date | None, tuple[str, ...]]:
    """The partition day and the warnings; never a day that Dagster does not have a partition for."""
    first = contract.partition_start
    modified = last_modified.astimezone(UTC).date()
    now = today or modified
    if match.day is not None and first <= match.day <= now + timedelta(days=1):
        return match.day, ()
    warnings: tuple[str, ...] = ()
    if match.day_text is not None:
        why = "is not a date"
        if match.day is not None:
            why = f"is before the first partition {first}" if match.day < first else "lies in the future"
        warnings = (f"The key's date '{match.day_text}' {why}; the day of the upload, {modified}, is used.",)
    if first <= modified <= now + timedelta(days=1):
        return modified, warnings
    outside = f"The day of the upload, {modified}, lies outside the partitions, which begin at {first}"
    if today is not None and today >= first:
        return today, (f"{outside}; today, {today}, is used.",)
    return None, (f"{outside}.",)
