"""After the load: tag, move or delete an upload whose rows are proved to be in Druid.

What belongs here: the order of looking, promising and doing, which makes every step safe to repeat. What does not:
which jobs are due (`adapters.postgres_upkeep`), the requests (`adapters.s3_upkeep`).

An object is touched only while it is the very version that was loaded. Where it goes is in the ledger before it goes,
so that a replay finds it, or says why it cannot; and it does not go while a job of its key is at work.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from ingestion_pipeline.domain.contract import AfterLoad
from ingestion_pipeline.domain.job import Job
from ingestion_pipeline.domain.upload import Source, StoredObject
from ingestion_pipeline.errors import FileError

MAX_KEY_BYTES = 1024
Done = Literal["tagged", "moved", "deleted", "left"]


class Heads(Protocol):
    def head(self, key: str) -> StoredObject | None: ...


class Keeping(Protocol):
    def tag(self, stored: StoredObject, tags: Mapping[str, str]) -> bool: ...
    def copy(self, stored: StoredObject, to: str) -> StoredObject | None: ...
    def delete(self, stored: StoredObject) -> bool: ...


class Promises(Protocol):
    def source_of(self, job: Job) -> Source: ...
    def promise(self, job: Job, goes_to: StoredObject | None) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PutAway:
    """Puts uploads of one bucket away."""

    bucket: Heads
    keeping: Keeping
    ledger: Promises

    def put_away(self, job: Job, after: AfterLoad) -> Done | None:
        """Do to a job's upload what its contract says.

        Returns:
            What was done; "left" where it is not the version that was loaded any more, or cannot be touched. None: not
            now, because a job of its key is at work or it changed meanwhile.
        """
        try:
            stored = self.bucket.head(job.object_key)
        except FileError:
            return "left"
        if stored is None or (stored.etag, stored.last_modified) != (job.etag, job.last_modified):
            return self._gone_already(job)
        if after.action == "tag":
            tags = {"ingestion-status": "loaded", "ingestion-job": job.job_id}
            return "tagged" if self.keeping.tag(stored, tags) else "left"
        if after.action == "delete":
            return self._go(job, stored, None)
        return self._move(job, stored, f"{after.to}{job.job_id}/{job.object_key}")

    def _move(self, job: Job, stored: StoredObject, to: str) -> Done | None:
        if len(to.encode()) > MAX_KEY_BYTES:
            return "left"
        copied = self.keeping.copy(stored, to)
        return None if copied is None else self._go(job, stored, copied)

    def _go(self, job: Job, stored: StoredObject, goes_to: StoredObject | None) -> Done | None:
        if not self.ledger.promise(job, goes_to):
            return None
        # A newer version that came this moment stays: it is another job's.
        self.keeping.delete(stored)
        return "moved" if goes_to else "deleted"

    def _gone_already(self, job: Job) -> Done:
        """By an earlier run that died before it could say so, with another job of the same version, or by others."""
        source = self.ledger.source_of(job)
        if source.deleted:
            return "deleted"
        return "moved" if source.key != job.object_key else "left"
