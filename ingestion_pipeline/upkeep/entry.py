"""Entering pages of a listing into the ledger: what the uploads sensor and reconciliation share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import uuid4

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.postgres_discovery import Unmatched
from ingestion_pipeline.domain.contract import ContractBook
from ingestion_pipeline.domain.upload import StoredObject
from ingestion_pipeline.stages.discover import Found, routing_version, sort_page


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One look at the bucket: the contracts and organizations that its objects are sorted by."""

    ledger: Ledger
    bucket: str
    book: ContractBook
    organizations: frozenset[str]
    first_seen: Mapping[str, datetime]
    routing_version: str
    now: datetime

    @classmethod
    def open(cls, ledger: Ledger, bucket: str, book: ContractBook, *, now: datetime) -> Self:
        """Read what the ledger knows; contracts that are new to it are noted."""
        ledger.discovery.note_contracts(book, now=now)
        organizations = ledger.discovery.organizations()
        return cls(
            ledger=ledger,
            bucket=bucket,
            book=book,
            organizations=organizations,
            first_seen=ledger.discovery.first_seen(),
            routing_version=routing_version(book, organizations),
            now=now,
        )

    def enter(self, page: Sequence[StoredObject], found: Found) -> list[StoredObject]:
        """Enter what is new and add to what was found; returns the objects that got a job."""
        sorted_page = sort_page(
            page,
            bucket=self.bucket,
            book=self.book,
            organizations=self.organizations,
            first_seen=self.first_seen,
            now=self.now,
        )
        ids = [uuid4() for _ in sorted_page.uploads]
        entered = self.ledger.discovery.enter(sorted_page.uploads, job_ids=ids, now=self.now)
        found.new += len(entered.new)
        found.arrived += len(entered.arrived)
        if entered.new:
            found.warnings += [
                f"{upload.stored.key}: {warning}" for upload, _ in sorted_page.uploads for warning in upload.warnings
            ]
        reasons = {stored.key: reason.message for stored, reason in sorted_page.unmatched}
        new = self.ledger.discovery.note_unmatched(
            [
                Unmatched(bucket=self.bucket, stored=stored, reason=reason.reason, message=reason.message)
                for stored, reason in sorted_page.unmatched
            ],
            routing_version=self.routing_version,
            now=self.now,
        )
        found.unmatched += [(key, reasons.get(key, "")) for key in new]
        fresh = set(entered.new)
        return [
            upload.stored for (upload, _), job_id in zip(sorted_page.uploads, ids, strict=True) if str(job_id) in fresh
        ]

    def missing(self, page: Sequence[StoredObject]) -> list[StoredObject]:
        """The objects that `enter` would make a job for."""
        uploads = sort_page(
            page,
            bucket=self.bucket,
            book=self.book,
            organizations=self.organizations,
            first_seen=self.first_seen,
            now=self.now,
        ).uploads
        keys = self.ledger.discovery.unknown(uploads, job_ids=[uuid4() for _ in uploads])
        return [upload.stored for upload, _ in uploads if upload.stored.key in keys]
