"""Discover: from listings of the bucket to uploads in the ledger, bounded per tick.

What belongs here: which LIST requests a tick makes, and what happens to each object on a page. What does
not: how a listing or the ledger works (both are arguments), when ticks happen.

The ledger decides what is new, so any object may be seen any number of times, by any lane, in any order. The
cursor only says where to go on looking:

- the cold lane walks the whole bucket in key order, a bounded number of pages per tick, and starts again at
  the end. Nothing can hide from it: not an object that was finished late, not two of one second, not a name
  that sorts before others. A small bucket is walked whole in every tick.
- the hot lane, when the bucket is larger than that, looks at today's and yesterday's prefixes and behind the
  last key of patterns without a date, so that fresh uploads are seen in the next tick whatever lies beside them.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol, Self

from ingestion_pipeline.domain.contract import Contract, ContractBook
from ingestion_pipeline.domain.contract_patterns import OWN_PREFIXES
from ingestion_pipeline.domain.job import Lane, Priority
from ingestion_pipeline.domain.routing import NoRoute, hot_prefixes, route
from ingestion_pipeline.domain.upload import StoredObject, Upload

PAGE = 1000
# The last code point: "after everything that starts so".
_END = "\U0010ffff"


class Lister(Protocol):
    bucket: str

    def list_page(self, prefix: str = "", *, after: str = "") -> list[StoredObject]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where the next tick goes on; kept by Dagster as a small JSON text. Losing it loses nothing.

    Attributes:
        cold_after: The cold lane's last key; "" at the beginning of a walk.
        walked_whole: The last tick walked the whole bucket: the hot lane has nothing to add.
        hot_index: The hot prefix to go on with, when there are more than fit into a tick.
        hot_after: The last key seen under that prefix.
        tails: Last key by prefix, of patterns without a date.
    """

    cold_after: str = ""
    walked_whole: bool = False
    hot_index: int = 0
    hot_after: str = ""
    tails: Mapping[str, str] = field(default_factory=dict)

    def to_text(self) -> str:
        return json.dumps(
            {
                "cold_after": self.cold_after,
                "walked_whole": self.walked_whole,
                "hot_index": self.hot_index,
                "hot_after": self.hot_after,
                "tails": dict(self.tails),
            }
        )

    @classmethod
    def from_text(cls, text: str | None) -> Self:
        """A cursor that cannot be read starts over: it is an optimisation."""
        try:
            data = json.loads(text or "{}")
            cursor = cls(
                cold_after=str(data.get("cold_after", "")),
                walked_whole=bool(data.get("walked_whole", False)),
                hot_index=max(0, int(data.get("hot_index", 0))),
                hot_after=str(data.get("hot_after", "")),
                tails={str(key): str(value) for key, value in dict(data.get("tails", {})).items()},
            )
            # Keys go into URLs: a text that UTF-8 cannot carry would end every tick.
            "".join([cursor.cold_after, cursor.hot_after, *cursor.tails.values()]).encode()
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            return cls()
        return cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one tick may cost."""

    cold_pages: int
    hot_pages: int


@dataclass(slots=True, kw_only=True)
class Found:
    """What one tick saw."""

    list_calls: int = 0
    objects: int = 0
    new: int = 0
    arrived: int = 0
    unmatched: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """A page's objects by where they belong."""

    uploads: Sequence[tuple[Upload, Lane]]
    unmatched: Sequence[tuple[StoredObject, NoRoute]]


def sort_page(
    page: Iterable[StoredObject],
    *,
    bucket: str,
    book: ContractBook,
    organizations: frozenset[str],
    first_seen: Mapping[str, datetime],
    now: datetime,
) -> Sorted:
    """Route each object; folder markers and what runs wrote are left out."""
    uploads: list[tuple[Upload, Lane]] = []
    unmatched: list[tuple[StoredObject, NoRoute]] = []
    for stored in page:
        if stored.key.endswith("/") or stored.key.startswith(OWN_PREFIXES):
            continue
        decision = route(
            book,
            key=stored.key,
            last_modified=stored.last_modified,
            organizations=organizations,
            today=now.date(),
        )
        if isinstance(decision, NoRoute):
            unmatched.append((stored, decision))
            continue
        contract = book.contracts[decision.datasource]
        upload = Upload(
            organization=decision.organization,
            datasource=decision.datasource,
            bucket=bucket,
            stored=stored,
            partition_day=decision.partition_day,
            warnings=decision.warnings,
            priority=Priority[contract.priority.upper()],
        )
        uploads.append((upload, lane_of(contract, stored, first_seen)))
    return Sorted(uploads=uploads, unmatched=unmatched)


def lane_of(contract: Contract, stored: StoredObject, first_seen: Mapping[str, datetime]) -> Lane:
    """Objects older than the contract's `live_from` (default: when it was first seen) are history."""
    live_from = contract.live_from or first_seen.get(contract.datasource)
    if live_from is None or stored.last_modified >= live_from:
        return Lane.LIVE
    return Lane.BACKFILL if contract.history == "auto" else Lane.HISTORY


def discover(
    lister: Lister,
    *,
    cursor: Cursor,
    book: ContractBook,
    organizations: frozenset[str],
    limits: Limits,
    now: datetime,
    in_budget: Callable[[], bool],
    enter: Callable[[Sequence[StoredObject], Found], object],
) -> tuple[Cursor, Found]:
    """One tick of both lanes.

    Args:
        in_budget: Whether there is time for another page.
        enter: Enters a page into the ledger and adds to what was found.

    Returns:
        The next cursor, and what was seen.
    """
    found = Found()

    def look(prefix: str, after: str) -> list[StoredObject]:
        page = lister.list_page(prefix, after=after)
        found.list_calls += 1
        found.objects += len(page)
        enter(page, found)
        return page

    if not cursor.walked_whole:
        cursor = _hot_lane(cursor, look, book=book, organizations=organizations, limits=limits, now=now, go=in_budget)
    return _cold_lane(cursor, look, limits=limits, go=in_budget), found


Look = Callable[[str, str], list[StoredObject]]


def _hot_lane(
    cursor: Cursor,
    look: Look,
    *,
    book: ContractBook,
    organizations: frozenset[str],
    limits: Limits,
    now: datetime,
    go: Callable[[], bool],
) -> Cursor:
    pages = 0
    tails = dict(cursor.tails)
    for prefix in _undated_prefixes(book):
        if pages >= limits.hot_pages // 2 or not go():
            break
        page = look(prefix, tails.get(prefix, ""))
        pages += 1
        if page:
            tails[prefix] = page[-1].key
    prefixes = hot_prefixes(book, organizations, now.date())
    index, after = (cursor.hot_index, cursor.hot_after) if cursor.hot_index < len(prefixes) else (0, "")
    started = index
    while prefixes and pages < limits.hot_pages and go():
        page = look(prefixes[index], after)
        pages += 1
        if len(page) < PAGE:
            index, after = (index + 1) % len(prefixes), ""
            if index == started:
                break
        else:
            after = page[-1].key
    return replace(cursor, hot_index=index, hot_after=after, tails=tails)


def _cold_lane(cursor: Cursor, look: Look, *, limits: Limits, go: Callable[[], bool]) -> Cursor:
    after, from_start = cursor.cold_after, cursor.cold_after == ""
    for _ in range(limits.cold_pages):
        if not go():
            break
        page = look("", after)
        if len(page) < PAGE:
            return replace(cursor, cold_after="", walked_whole=from_start)
        after = _behind_own(page[-1].key)
    return replace(cursor, cold_after=after, walked_whole=False)


def _undated_prefixes(book: ContractBook) -> list[str]:
    return sorted(
        {
            pattern.static_prefix
            for contract in book.contracts.values()
            for pattern in contract.files
            if not pattern.has_date
        }
    )


def claimed_pages(lister: Lister, book: ContractBook) -> Iterator[list[StoredObject]]:
    """Every page of what the contracts claim, prefix after prefix: a full listing, for reconciliation."""
    prefixes = sorted({pattern.static_prefix for contract in book.contracts.values() for pattern in contract.files})
    last = None
    for prefix in prefixes:
        if last is not None and prefix.startswith(last):
            continue  # listed with what it begins with
        last, after = prefix, ""
        while page := lister.list_page(prefix, after=after):
            yield page
            if len(page) < PAGE:
                break
            after = _behind_own(page[-1].key)


def _behind_own(key: str) -> str:
    """The key to go on after: behind everything that runs wrote, once a listing has come to it."""
    for own in OWN_PREFIXES:
        if key.startswith(own):
            return own + _END
    return key


def routing_version(book: ContractBook, organizations: Iterable[str]) -> str:
    """Changes whenever an object that had no home may have one now."""
    parts: list[Any] = [
        sorted((name, contract.version) for name, contract in book.contracts.items()),
        sorted(str(error) for error in book.broken),
        sorted(organizations),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
