"""An upload: one version of one object in the bucket. No routing, no ledger state."""

from dataclasses import dataclass
from datetime import date, datetime

from ingestion_pipeline.domain.job import Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """What a listing or a HEAD says about an object.

    Attributes:
        etag: Opaque version tag without quotes; never taken for a hash of the content.
        version_id: The bucket's version id where a lister knows it (LIST does not), else "".
    """

    key: str
    etag: str
    size_bytes: int
    last_modified: datetime
    version_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A stored object that a contract claims, for one organization and one partition day.

    Attributes:
        priority: Its contract's; in another lane than live it is low.
    """

    organization: str
    datasource: str
    bucket: str
    stored: StoredObject
    partition_day: date
    warnings: tuple[str, ...] = ()
    priority: Priority = Priority.MEDIUM

    @property
    def file_name(self) -> str:
        return self.stored.key.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a job's upload is to be read: its own key, unless it was put away after it was loaded.

    Attributes:
        etag: Of the object there; "" where it is not known.
        deleted: It was deleted then; there is nothing to be read.
    """

    key: str
    etag: str
    deleted: bool = False
