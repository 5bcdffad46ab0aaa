"""Putting the bucket in order: uploads in parts that nobody finished, and loaded objects that are put away.

What belongs here: requests that only upkeep makes, each bound to one version of an object where S3 lets it be. What
does not: when they are made (`stages.after_load`, `upkeep.retention`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.adapters.s3_errors import boto_errors, translated
from ingestion_pipeline.domain.upload import StoredObject

_CHANGED = frozenset({"PreconditionFailed", "412", "NoSuchKey", "404"})
_MAX_TAGS = 10


class _Changed(Exception):
    """The object is not the version that was meant."""


class BucketUpkeep:
    """One bucket, as upkeep sees it."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._bucket = store.bucket

    def abort_unfinished(self, prefix: str, *, before: datetime, limit: int, dry_run: bool = False) -> int:
        """Abort uploads in parts below a prefix that began before a moment; returns how many there were."""
        with self._errors(prefix) as client:
            answer = client.list_multipart_uploads(Bucket=self._bucket, Prefix=prefix, MaxUploads=limit)
            old = [item for item in answer.get("Uploads", []) if item["Initiated"].astimezone(UTC) < before]
            for item in old if not dry_run else ():
                client.abort_multipart_upload(Bucket=self._bucket, Key=item["Key"], UploadId=item["UploadId"])
        return len(old)

    def tag(self, stored: StoredObject, tags: Mapping[str, str]) -> bool:
        """Add tags to an object beside those it has; False where it has too many already."""
        with self._errors(stored.key) as client:
            present = client.get_object_tagging(Bucket=self._bucket, Key=stored.key)["TagSet"]
            wanted = {item["Key"]: item["Value"] for item in present} | dict(tags)
            if len(wanted) > _MAX_TAGS:
                return False
            tag_set = [{"Key": name, "Value": value} for name, value in wanted.items()]
            client.put_object_tagging(Bucket=self._bucket, Key=stored.key, Tagging={"TagSet": tag_set})
        return True

    def copy(self, stored: StoredObject, to: str) -> StoredObject | None:
        """Copy this version of an object to another key; None: it is another version by now, or gone."""
        source = {"Bucket": self._bucket, "Key": stored.key}
        only = {"CopySourceIfMatch": f'"{stored.etag}"'}
        with suppress(_Changed), self._errors(stored.key) as client:
            client.copy(source, self._bucket, to, ExtraArgs=only)
            return self._store.head(to)
        return None

    def delete(self, stored: StoredObject) -> bool:
        """Delete this version of an object; False: it is another version by now, or gone.

        A server without conditional deletes deletes what is there; its caller has just looked.
        """
        with suppress(_Changed), self._errors(stored.key) as client:
            client.delete_object(Bucket=self._bucket, Key=stored.key, IfMatch=f'"{stored.etag}"')
            return True
        return False

    @contextmanager
    def _errors(self, key: str) -> Iterator[Any]:
        from botocore.exceptions import ClientError

        with boto_errors(self._bucket):
            try:
                yield self._store.client
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in _CHANGED:
                    raise _Changed from error
                raise translated(RuntimeError(str(error)), self._bucket, key) from error
