"""The bucket: list, read one version, write, sign. No routing, no ledger.

obstore (object_store from Rust) reads, writes and signs. Listing goes through a LIST URL that botocore
signs and the standard XML parser reads: obstore refuses a whole page for one key with a line break and
drops the slash of folder markers, and boto3's own parser takes several times as long
(docs/decisions/0001-listing.md). Foreign errors become ours at once (`adapters.s3_errors`).
"""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import unquote_plus, urlsplit
from xml.etree import ElementTree

import obstore
from obstore import exceptions as obstore_errors
from obstore.store import S3Store

from ingestion_pipeline.adapters.s3_errors import REFUSED, boto_errors, denied, translated, url_of, without_signature
from ingestion_pipeline.domain.upload import StoredObject
from ingestion_pipeline.errors import ConfigurationError, ObjectMissing
from ingestion_pipeline.settings import Settings

if TYPE_CHECKING:
    import requests
    from obstore import GetOptions

READ_CHUNK_BYTES = 4 * 1024 * 1024
READ_RANGE_BYTES = 8 * 1024 * 1024
_PUT_PIECE_BYTES = 1024 * 1024
_PUT_PARTS_FROM_BYTES = 8 * 1024 * 1024
# Shorter than the ten minutes that botocore at least leaves on credentials of a role.
_CREDENTIALS_FOR = timedelta(minutes=8)
_ADDRESS = re.compile(r"https?://[^\s/?#]+(/\S*)?", re.IGNORECASE)


class ObjectStore:
    """One bucket.

    Args:
        endpoint_url: None for AWS.
        druid_endpoint_url: What Druid reaches the bucket by, when that differs; only signed URLs use it.
        request_seconds: How long one request may take, its body included.
    """

    def __init__(
        self,
        *,
        bucket: str,
        endpoint_url: str | None,
        region: str,
        access_key_id: str | None,
        secret_access_key: str | None,
        druid_endpoint_url: str | None = None,
        request_seconds: float = 120,
    ) -> None:
        self.bucket = bucket
        self._endpoint_url, self._region = endpoint_url, region
        self._access_key_id, self._secret_access_key = access_key_id, secret_access_key
        self._druid_endpoint_url, self._request_seconds = druid_endpoint_url, request_seconds
        self.list_calls = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> "ObjectStore":
        return cls(
            bucket=settings.s3_bucket,
            endpoint_url=settings.s3_endpoint_url,
            region=settings.s3_region,
            access_key_id=settings.s3_access_key_id.get_secret_value() if settings.s3_access_key_id else None,
            secret_access_key=(
                settings.s3_secret_access_key.get_secret_value() if settings.s3_secret_access_key else None
            ),
            druid_endpoint_url=settings.s3_druid_endpoint_url,
        )

    @cached_property
    def _store(self) -> S3Store:
        return self._connect(self._endpoint_url, "INGESTION_S3_ENDPOINT_URL")

    @cached_property
    def _signer(self) -> S3Store:
        if not self._druid_endpoint_url:
            return self._store
        return self._connect(self._druid_endpoint_url, "INGESTION_S3_DRUID_ENDPOINT_URL")

    def _connect(self, endpoint_url: str | None, setting: str) -> S3Store:
        config: dict[str, Any] = {"region": self._region}
        if endpoint_url:
            _require_address(endpoint_url, setting)
            config |= {"endpoint": endpoint_url, "virtual_hosted_style_request": False}
        if self._access_key_id:
            self._require_both_keys()
            config |= {"access_key_id": self._access_key_id, "secret_access_key": self._secret_access_key}
        else:
            config["credential_provider"] = self._found_credentials()
        return S3Store(
            self.bucket,
            client_options={"allow_http": True, "connect_timeout": "5s", "timeout": f"{self._request_seconds}s"},
            # Waits of minutes belong to the ledger (a job waits, its run does not); these cover hiccups.
            retry_config={
                "max_retries": 3,
                "retry_timeout": timedelta(seconds=15),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=2),
                    "base": 2,
                },
            },
            **config,
        )

    def url(self, key: str) -> str:
        """Where an object is, for people: no host, no signature."""
        return url_of(self.bucket, key)

    def list_page(self, prefix: str = "", *, after: str = "") -> list[StoredObject]:
        """Up to 1,000 objects in key order after `after`: one LIST request, folder markers included."""
        import requests

        self.list_calls += 1
        with boto_errors(self.bucket):
            url = self._boto.generate_presigned_url(
                "list_objects_v2",
                # Keys come URL-encoded: XML cannot carry control characters.
                Params={"Bucket": self.bucket, "Prefix": prefix, "StartAfter": after, "EncodingType": "url"},
                ExpiresIn=60,
            )
        try:
            answer = self._http.get(url, timeout=(5, 30))
        except requests.RequestException as error:
            raise translated(error, self.bucket, prefix) from without_signature(error)
        if answer.status_code != 200:
            raise translated(RuntimeError(f"{answer.status_code} {answer.text[:2000]}"), self.bucket, prefix)
        return parse_listing(answer.content)

    @cached_property
    def _http(self) -> "requests.Session":
        import requests

        return requests.Session()

    @cached_property
    def _session(self) -> Any:
        # Where no keys are set, this session finds credentials for both libraries: object_store knows no profiles.
        import boto3

        return boto3.Session()

    def _found_credentials(self) -> Callable[[], dict[str, Any]]:
        """For object_store, which asks again before they expire; botocore renews them earlier by itself."""
        from botocore.exceptions import NoCredentialsError

        with boto_errors(self.bucket):
            credentials = self._session.get_credentials()
            if credentials is None:
                raise NoCredentialsError

        def present() -> dict[str, Any]:
            keys = credentials.get_frozen_credentials()
            return {
                "access_key_id": keys.access_key,
                "secret_access_key": keys.secret_key,
                "token": keys.token,
                "expires_at": datetime.now(UTC) + _CREDENTIALS_FOR,
            }

        return present

    @cached_property
    def _boto(self) -> Any:
        from botocore.config import Config

        if self._endpoint_url:
            _require_address(self._endpoint_url, "INGESTION_S3_ENDPOINT_URL")
        self._require_both_keys()
        return self._session.client(
            "s3",
            endpoint_url=self._endpoint_url,
            region_name=self._region,
            aws_access_key_id=self._access_key_id,
            aws_secret_access_key=self._secret_access_key,
            config=Config(
                signature_version="s3v4",
                connect_timeout=5,
                s3={"addressing_style": "path" if self._endpoint_url else "auto"},
            ),
        )

    def head(self, key: str) -> StoredObject | None:
        """None when there is no such object."""
        try:
            with self._reading(key):
                return _stored(obstore.head(self._store, key))
        except ObjectMissing:
            return None

    def read(self, key: str, *, if_match: str | None = None, range_bytes: int = READ_RANGE_BYTES) -> Iterator[bytes]:
        """The object's bytes in chunks of about 4 MiB, all of one version.

        A range is in memory before any of it is handed out: a request's time is the server's alone, and a reader
        that stops to think (validation does) may take hours over an object.

        Args:
            if_match: Only this version; by default the one that is there when the first bytes are read.
            range_bytes: How much one request asks for; an object that is not larger is one request.

        Raises:
            ObjectMissing: It was deleted.
            ObjectDenied: It may not be read, or not before it was restored from an archive.
            ObjectSuperseded: It is another version now.
        """
        version = f'"{if_match}"' if if_match else None
        position, size = 0, 1
        while position < size:
            with self._reading(key):
                answer = self._get_range(key, position, range_bytes, version)
                data = memoryview(answer.bytes())
            version, size = version or answer.meta["e_tag"], answer.meta["size"]
            for start in range(0, len(data), READ_CHUNK_BYTES):
                yield bytes(data[start : start + READ_CHUNK_BYTES])
            position += range_bytes

    def _get_range(self, key: str, start: int, length: int, version: str | None) -> "obstore.GetResult":
        options: GetOptions = {"if_match": version} if version else {}
        try:
            return obstore.get(self._store, key, options={**options, "range": (start, start + length)})
        except obstore_errors.GenericError as error:
            if start or "status code: 416" not in str(error):
                raise
            # An empty object has no first byte, and so no range.
            return obstore.get(self._store, key, options=options)

    def get(self, key: str) -> bytes:
        """A whole small object."""
        with self._reading(key):
            return bytes(obstore.get(self._store, key).bytes())

    def put(self, key: str, data: bytes) -> None:
        with self._errors(key):
            obstore.put(self._store, key, data)

    def put_file(self, key: str, path: Path, *, sent: Callable[[int], None] = lambda _: None) -> None:
        """A local file, in parts when it is large.

        Args:
            sent: Called with the number of bytes of every piece, from another thread perhaps.
        """

        def pieces(file: BinaryIO) -> Iterator[bytes]:
            while piece := file.read(_PUT_PIECE_BYTES):
                sent(len(piece))
                yield piece

        with self._errors(key), path.open("rb") as file:
            in_parts = path.stat().st_size > _PUT_PARTS_FROM_BYTES
            obstore.put(self._store, key, pieces(file), use_multipart=in_parts)

    @contextmanager
    def writer(self, key: str) -> Iterator[BinaryIO]:
        """A streaming upload: the object appears when the block ends well, and not at all when it raises."""
        with self._errors(key):
            # Parts on their way are in memory: where the server is slow, as many as are allowed (12 by default).
            target: Any = obstore.open_writer(self._store, key, buffer_size=8 * 1024 * 1024, max_concurrency=1)
        # The writer's own context manager would finish the upload on an error too: half an object.
        yield cast(BinaryIO, _Upload(target, lambda: self._errors(key)))
        with self._errors(key):
            target.close()

    def delete(self, keys: list[str]) -> None:
        if keys:
            with self._errors(keys[0]):
                obstore.delete(self._store, keys)

    def presign_get(self, key: str, *, seconds: int) -> str:
        """A URL that reads this one object until it expires. A secret: never stored, never logged."""
        with self._errors(key):
            return obstore.sign(self._signer, "GET", key, timedelta(seconds=seconds))

    def check(self) -> None:
        """Raise unless the bucket answers with these credentials."""
        self.list_page(after="\U0010ffff")

    def ensure_bucket(self) -> bool:
        """Make the bucket when it is absent; True when it was made."""
        from botocore.exceptions import ClientError

        try:
            with boto_errors(self.bucket):
                if any(bucket.get("Name") == self.bucket for bucket in self._boto.list_buckets().get("Buckets", [])):
                    return False
                self._boto.create_bucket(Bucket=self.bucket)
        except ClientError as error:
            reason = error.response.get("Error", {}).get("Message") or "refused"
            raise ConfigurationError(f"Bucket {self.bucket} cannot be made: {reason}.") from error
        return True

    def _require_both_keys(self) -> None:
        if bool(self._access_key_id) != bool(self._secret_access_key):
            raise ConfigurationError(
                "Of the two keys for S3 one is missing.",
                hint="Set both INGESTION_S3_ACCESS_KEY_ID and INGESTION_S3_SECRET_ACCESS_KEY, or neither.",
            )

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except (obstore_errors.BaseError, OSError, ValueError) as error:
            raise translated(error, self.bucket, key) from error

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        """As `_errors`; of a refused or absent object the bucket is asked: it may be the settings, not this object."""
        with self._errors(key):
            try:
                yield
            except (obstore_errors.NotFoundError, FileNotFoundError):
                self.check()
                raise
            except REFUSED as error:
                self.check()
                raise denied(error, self.bucket, key) from error


class _Upload(io.RawIOBase):
    """What is written goes on to an upload, whose parts are sent meanwhile: an outage then is an error of the tree."""

    def __init__(self, target: Any, errors: Callable[[], AbstractContextManager[None]]) -> None:
        self._target, self._errors = target, errors

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with self._errors():
            self._target.write(data)
        return len(data)


def _require_address(url: str, setting: str) -> None:
    """Both libraries fail on what is no address in ways of their own, one of them by a panic."""
    try:
        valid = _ADDRESS.fullmatch(url) is not None and urlsplit(url).port != 0
    except ValueError:
        valid = False
    if not valid:
        # The value is not repeated: it may have a user and a password in it.
        raise ConfigurationError(
            f"{setting} is not the address of a server.", hint="Write http://HOST:PORT or https://HOST."
        )


def parse_listing(document: bytes) -> list[StoredObject]:
    """The objects of a ListObjectsV2 answer with `encoding-type=url`."""
    root = ElementTree.fromstring(document)  # noqa: S314 - the operator's own S3 server, by a signed request
    space = root.tag[: root.tag.index("}") + 1] if root.tag.startswith("{") else ""
    return [
        StoredObject(
            key=unquote_plus(item.findtext(f"{space}Key", "")),
            etag=item.findtext(f"{space}ETag", "").strip('"'),
            size_bytes=int(item.findtext(f"{space}Size", "0")),
            last_modified=datetime.fromisoformat(item.findtext(f"{space}LastModified", "")).replace(microsecond=0),
        )
        for item in root.iter(f"{space}Contents")
    ]


def _stored(item: Any) -> StoredObject:
    modified: datetime = item["last_modified"]
    return StoredObject(
        key=item["path"],
        etag=(item.get("e_tag") or "").strip('"'),
        size_bytes=item["size"],
        # HEAD answers in whole seconds and LIST in milliseconds: one version must have one time. HEAD knows version
        # ids and LIST does not: one version must have one identity, so they are left out.
        last_modified=modified.astimezone(UTC).replace(microsecond=0),
    )
