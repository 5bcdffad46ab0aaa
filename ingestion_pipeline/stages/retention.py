"""Retention at work: go through the objects that runs wrote, page by page, and delete what may go.

What belongs here: walking, counting, the order of asking and deleting. What does not: what may go
(`domain.retention`), the bucket and the ledger (arguments). A walk is cut into pieces: each says where it stopped.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from ingestion_pipeline.domain.retention import Ages, JobFacts, Kept, RunObject, why_kept
from ingestion_pipeline.domain.upload import StoredObject

PAGE = 1000
Facts = Callable[[Sequence[str]], Mapping[str, JobFacts]]


class Store(Protocol):
    def list_page(self, prefix: str = "", *, after: str = "") -> list[StoredObject]: ...
    def delete(self, keys: list[str]) -> None: ...


@dataclass(slots=True, kw_only=True)
class Removed:
    """What a walk did.

    Attributes:
        kept: Objects that stay, by reason.
        position: The last key that was looked at; "" when the walk came to its end.
    """

    objects: int = 0
    size_bytes: int = 0
    kept: dict[Kept, int] = field(default_factory=dict)
    position: str = ""

    def keep(self, reason: Kept, count: int = 1) -> None:
        if count:
            self.kept[reason] = self.kept.get(reason, 0) + count


def remove_run_objects(
    store: Store,
    prefix: str,
    *,
    after: str,
    max_pages: int,
    facts: Facts,
    organizations: Collection[str],
    ages: Ages,
    now: datetime,
    dry_run: bool,
) -> Removed:
    """Delete what may go below `cleaned/` or `quarantine/`.

    Args:
        after: Where an earlier walk stopped.
        facts: What the ledger knows of these jobs; ids that it does not know are left out.
        dry_run: Only count.
    """

    def choose(page: Sequence[StoredObject], removed: Removed) -> Iterable[StoredObject]:
        # Young ones are told by the listing alone: most of a page need no question to the ledger.
        ids = {
            written.job_id
            for stored in page
            if now - stored.last_modified >= min(ages.cleaned, ages.quarantine)
            and (written := RunObject.of(stored.key)) is not None
        }
        known = facts(sorted(ids)) if ids else {}
        for stored in page:
            written = RunObject.of(stored.key)
            of_job = known.get(written.job_id) if written is not None else None
            kept = why_kept(stored, of_job, organizations=organizations, ages=ages, now=now)
            if kept is None:
                yield stored
            else:
                removed.keep(kept)

    return _walk(store, prefix, choose, after=after, max_pages=max_pages, dry_run=dry_run)


def remove_by_age(
    store: Store, prefix: str, *, after: str, max_pages: int, age: timedelta, now: datetime, dry_run: bool
) -> Removed:
    """Delete what is older than `age`, whatever it is: for what ops handed to each other (`dagster/`)."""

    def choose(page: Sequence[StoredObject], removed: Removed) -> Iterable[StoredObject]:
        old = [stored for stored in page if now - stored.last_modified >= age]
        removed.keep(Kept.YOUNG, len(page) - len(old))
        return old

    return _walk(store, prefix, choose, after=after, max_pages=max_pages, dry_run=dry_run)


def _walk(
    store: Store,
    prefix: str,
    choose: Callable[[Sequence[StoredObject], Removed], Iterable[StoredObject]],
    *,
    after: str,
    max_pages: int,
    dry_run: bool,
) -> Removed:
    removed = Removed(position=after)
    for _ in range(max_pages):
        page = store.list_page(prefix, after=removed.position)
        going = list(choose(page, removed))
        if not dry_run:
            store.delete([stored.key for stored in going])
        removed.objects += len(going)
        removed.size_bytes += sum(stored.size_bytes for stored in going)
        removed.position = page[-1].key if len(page) == PAGE else ""
        if not removed.position:
            break
    return removed
