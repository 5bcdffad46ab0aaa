"""Signatures of callbacks, as Standard Webhooks has them (https://www.standardwebhooks.com).

What belongs here: secrets as text, and headers made from them. What does not: where secrets are kept.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

SECRET_PREFIX = "whsec_"  # noqa: S105 - the beginning of every secret
SECRET_BYTES = 32


def secret_of(random_bytes: bytes) -> str:
    """A secret as people hand it on.

    Args:
        random_bytes: From a source for secrets; 24 to 64 of them.
    """
    if not 24 <= len(random_bytes) <= 64:
        raise ValueError("A secret has 24 to 64 bytes.")
    return SECRET_PREFIX + base64.b64encode(random_bytes).decode()


def signed_headers(*, secrets: Sequence[str], webhook_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """The three headers by which a receiver knows who sent a body and when.

    Args:
        secrets: All that are valid now: a receiver that knows any of them can verify.
    """
    timestamp = str(int(now.timestamp()))
    content = f"{webhook_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_signature(secret, content) for secret in secrets),
    }


def _signature(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
