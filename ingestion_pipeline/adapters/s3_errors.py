"""Errors of the S3 libraries as errors of the tree: what each means, decided once, and nothing secret in them.

What belongs here: object_store's, botocore's and those of a listing. What does not: asking the server (`adapters.s3`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from obstore import exceptions as obstore_errors

from ingestion_pipeline.domain.redaction import without_secrets
from ingestion_pipeline.errors import (
    ConfigurationError,
    IngestionError,
    ObjectDenied,
    ObjectMissing,
    ObjectSuperseded,
    S3Unavailable,
    UnreadableFile,
)

REFUSED = (obstore_errors.PermissionDeniedError, obstore_errors.UnauthenticatedError)


def url_of(bucket: str, key: str) -> str:
    """Where an object is, for people: no host, no signature."""
    return f"s3://{bucket}/{key}"


def translated(error: Exception, bucket: str, key: str) -> IngestionError:
    """What an error of object_store, or of a listing, means."""
    text = str(error)
    if isinstance(error, obstore_errors.PreconditionError):
        return ObjectSuperseded(
            f"{url_of(bucket, key)} was replaced by another version before it was read.",
            hint="The newer version is a job of its own.",
        )
    if isinstance(error, ValueError) or "invalid path" in text or "Error parsing Path" in text:
        return UnreadableFile(
            f"The key {key!r} has characters that cannot be read back.", hint="Upload the file under another name."
        )
    if "NoSuchBucket" in text:
        return ConfigurationError(
            f"Bucket {bucket} does not exist.",
            hint="Check INGESTION_S3_BUCKET and INGESTION_S3_ENDPOINT_URL, or make the bucket.",
        )
    if isinstance(error, obstore_errors.NotFoundError | FileNotFoundError):
        return ObjectMissing(
            f"{url_of(bucket, key)} does not exist (any more).", hint="Upload it again if it is still wanted."
        )
    if "credential provider" in text:
        return S3Unavailable(
            f"The credentials for bucket {bucket} cannot be renewed.",
            hint="It is tried again by itself; if this stays, look at the role or profile of the process.",
        )
    if isinstance(error, REFUSED) or any(
        code in text for code in ("SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied")
    ):
        return ConfigurationError(
            f"The S3 server refuses these credentials for bucket {bucket}.",
            hint="Check INGESTION_S3_ACCESS_KEY_ID and INGESTION_S3_SECRET_ACCESS_KEY.",
        )
    return S3Unavailable(
        f"The S3 server does not answer for {url_of(bucket, key)}: {_reason(text)}.",
        hint="It is tried again by itself; check INGESTION_S3_ENDPOINT_URL if this stays.",
    )


def denied(error: Exception, bucket: str, key: str) -> ObjectDenied:
    """For one object that is refused though its bucket answers."""
    if "InvalidObjectState" in str(error):
        return ObjectDenied(
            f"{url_of(bucket, key)} is in an archive and cannot be read.",
            hint="Restore it from the archive, then launch its key by hand.",
        )
    return ObjectDenied(
        f"{url_of(bucket, key)} may not be read with credentials that may list its bucket.",
        hint="Mend its owner or the bucket's policy, then launch its key by hand.",
    )


@contextmanager
def boto_errors(bucket: str) -> Iterator[None]:
    """Errors of botocore's own: no credentials, a profile that does not exist, a server that does not answer."""
    from botocore import exceptions as botocore_errors

    try:
        yield
    except botocore_errors.NoCredentialsError as error:
        raise ConfigurationError(
            f"There are no credentials for bucket {bucket}.",
            hint="Set INGESTION_S3_ACCESS_KEY_ID and INGESTION_S3_SECRET_ACCESS_KEY, or give the process a role.",
        ) from error
    except (
        botocore_errors.HTTPClientError,
        botocore_errors.ConnectionError,
        botocore_errors.CredentialRetrievalError,
        botocore_errors.MetadataRetrievalError,
    ) as error:
        raise S3Unavailable(f"The S3 server does not answer: {type(error).__name__}.") from error
    except (botocore_errors.BotoCoreError, ValueError) as error:
        # The text may repeat an address with user and password.
        raise ConfigurationError(
            f"Bucket {bucket} cannot be reached with these settings: {type(error).__name__}.",
            hint="Check the variables INGESTION_S3_* and AWS_*.",
        ) from without_signature(error)


def _reason(text: str) -> str:
    """The telling part of an object_store error, without URLs (they may be signed)."""
    for known in ("Connection refused", "timed out", "dns error", "error sending request", "503", "500"):
        if known in text:
            return known
    return text.split("http", 1)[0].strip().splitlines()[0][:120] if text.strip() else "unknown error"


def without_signature(error: Exception) -> OSError:
    """The cause as it may be logged and stored: the text of requests' errors has the whole signed URL."""
    return OSError(f"{type(error).__name__}: {without_secrets(str(error))}")
