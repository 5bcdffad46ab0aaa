"""What must not be kept is cut out of text here: query strings and user names of URLs, signatures.

What belongs here: pure functions over text and JSON. What does not: deciding what is logged. A presigned
URL's query string is a credential for one object until it expires, and Druid repeats the URL in task
payloads, reports and error messages.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

# A URL in free text ends at white space, a quote or a bracket; its query begins at the first "?".
_QUERY = re.compile(r"""(\b[a-z][a-z0-9+.-]*://[^\s?"'<>\[\](){}]*)\?[^\s"'<>\[\](){}]*""", re.IGNORECASE)
# Druid cuts long messages in their middle: a signature may stand there without the URL that it belongs to.
_SIGNATURE = re.compile(
    r"""([A-Za-z0-9-]*(?:Signature|Credential|Security-Token|AccessKeyId)=)[^\s"'<>&]*""", re.IGNORECASE
)
_USER = re.compile(r"""(\b[a-z][a-z0-9+.-]*://)[^\s/?#@"'<>]+@""", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """The text with the query string and the user part of every URL in it, and stray signatures, removed."""
    return _SIGNATURE.sub(r"\1…", _USER.sub(r"\1", _QUERY.sub(r"\1", text)))


def redacted_json(value: Any) -> Any:
    """A JSON value with :func:`without_secrets` applied to every string in it (keys stay)."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {key: redacted_json(entry) for key, entry in value.items()}
    if isinstance(value, Sequence):
        return [redacted_json(entry) for entry in value]
    return value
