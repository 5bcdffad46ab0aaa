"""Which of our errors an answer of Druid means: the one table, for calls and for failed tasks.

What belongs here: the pure decision, by status code and text. What does not: calling Druid, or deciding
what happens next (how often and when to try again). The texts are those of Druid 25 to 33, recorded.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from ingestion_pipeline.domain.druid import failure_reason
from ingestion_pipeline.errors import ConfigurationError, DruidRejected, DruidUnavailable, IngestionError, TaskFailed


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    error: type[IngestionError]
    hint: str


def _rule(pattern: str, error: type[IngestionError], hint: str) -> _Rule:
    return _Rule(re.compile(pattern, re.IGNORECASE), error, hint)


# A 500 of the overlord is transient (its metadata store is away, it is starting) except for these.
_PERMANENT_500 = re.compile(r"JsonParseException|JsonMappingException|MismatchedInput|truncation error|too long", re.I)
# A 500 for a query that a lost server caused; any other is about the query itself ("/ by zero").
_LOST_SERVER = re.compile(r"channel|connection|disconnected|reset|refused", re.I)
_ALREADY_EXISTS = re.compile(r"already exists", re.I)
_UNKNOWN_TABLE = re.compile(r"Object '[^']*' not found|Column '[^']*' not found in any table", re.I)

# A failed task, first match wins. What no rule names is taken as transient: tries are limited, and a new
# attempt starts only after the old one was proved absent, so a wrong guess costs time, never rows.
_TASK_RULES = (
    _rule(
        r"Max parse exceptions",
        DruidRejected,
        "Rows that passed validation were refused by Druid's parser: compare the contract's types with the "
        "datasource's columns, then replay the files.",
    ),
    _rule(
        r"Unknown frame descriptor|Not in GZIP format",
        DruidRejected,
        "The cleaned object is not what its suffix says: replay the file.",
    ),
    _rule(
        r"could not resolve (type id|subtype)|known type ids|Cannot construct instance|Unrecognized field",
        DruidRejected,
        "The task needs a Druid extension that the workers do not load, or another Druid version.",
    ),
    _rule(
        r"Access key cannot be null|SignatureDoesNotMatch|InvalidAccessKeyId|AccessDenied|Status Code: 403",
        ConfigurationError,
        "Druid's own S3 credentials cannot read the bucket: correct them in the cluster's configuration.",
    ),
    _rule(
        r"response code:? ?\[?40[13]\b|HTTP 40[13]\b|\b40[13] Forbidden",
        TaskFailed,
        "The presigned URL had expired or was refused; the next attempt signs a new one.",
    ),
    _rule(
        # Of a URL: Java says the same of every local file that it cannot open, whatever the reason.
        r"FileNotFoundException: \w+://|NoSuchKey|Status Code: 404|response code:? ?\[?404\b",
        DruidRejected,
        "The cleaned object is gone from the bucket: replay the file.",
    ),
    _rule(
        r"OutOfMemory|No space left|Too many open files",
        TaskFailed,
        "The Druid worker ran out of memory, disk or open files: give it more.",
    ),
    _rule(
        r"trying to read uri",
        TaskFailed,
        "Druid's workers could not reach the bucket's address (setting s3_druid_endpoint_url).",
    ),
    _rule(r"locks? |revoked", TaskFailed, "Another task held the same time; the next attempt waits its turn."),
    _rule(r"disappeared on the worker|Canceled|cancell?ed|shut ?down", TaskFailed, "The worker was lost or stopped."),
)


def already_exists(status_code: int, body: str) -> bool:
    """Whether a refused POST says that the task id is known, in either of its two shapes."""
    answer = _json(body)
    if answer.get("errorCode") == "entryAlreadyExists":
        return True
    return status_code == 400 and bool(_ALREADY_EXISTS.search(str(answer.get("error", ""))))


def unknown_table(error: IngestionError) -> bool:
    """Whether a refused SQL query says that the datasource, or its lineage column, is not there (yet)."""
    return isinstance(error, DruidRejected) and bool(_UNKNOWN_TABLE.search(str(error.details.get("answer", ""))))


def unanswerable_query(error: IngestionError) -> bool:
    """Whether a query's 500 is about the query itself, so that asking again gives the same answer."""
    answer = str(error.details.get("answer", ""))
    return error.details.get("status_code") == 500 and not _LOST_SERVER.search(answer)


def classify_response(doing: str, status_code: int, body: str) -> IngestionError:
    """The error that a refused call means.

    Args:
        doing: What was asked of which service, for the message: "submit task ing-1 to http://…".
        status_code: HTTP status, 300 or above.
        body: The answer's text: JSON in one of two shapes, plain text or HTML.

    Returns:
        ConfigurationError (401, 403, or a URL that is not Druid's), DruidRejected (other 4xx; a 500 for a body
        that Druid cannot read), else DruidUnavailable. `details` has status_code and Druid's own words in `answer`.
    """
    answer = answer_text(body)
    details = {"status_code": status_code, "answer": answer}
    message = f"Druid refused to {doing}: {status_code} {answer}".rstrip()
    if status_code in (401, 403):
        return ConfigurationError(message, hint="Check Druid's user name and password.", details=details)
    if status_code in (404, 405) or 300 <= status_code < 400:
        return ConfigurationError(message, hint="Check Druid's URLs: this one does not serve it.", details=details)
    if status_code in (408, 425, 429):
        return DruidUnavailable(message, hint="Druid is busy; it is tried again.", details=details)
    if status_code < 500 or (status_code == 500 and _PERMANENT_500.search(body)):
        return DruidRejected(message, hint="Trying again will not help: the request must change.", details=details)
    return DruidUnavailable(
        f"Druid could not {doing} now: {status_code} {answer}".rstrip(),
        hint="It is tried again; `status` shows Druid's services.",
        details=details,
    )


def classify_task_failure(task_id: str, error: str | None) -> IngestionError:
    """The error that a FAILED task means: DruidRejected or ConfigurationError (permanent), else TaskFailed."""
    text = failure_reason(error) or "no reason given"
    details = {"task_id": task_id, "answer": text}
    message = f"Druid task {task_id} failed: {text}"
    for rule in _TASK_RULES:
        if rule.pattern.search(text):
            return rule.error(message, hint=rule.hint, details=details)
    return TaskFailed(message, hint="It is tried again with a new task.", details=details)


def answer_text(body: str) -> str:
    """Druid's own words in an answer: the message of either JSON shape, an HTML page's title, or the first line."""
    answer = _json(body)
    for key in ("errorMessage", "errorMsg", "error"):
        if isinstance(answer.get(key), str):
            return first_line(answer[key])
    title = re.search(r"<title>(.*?)</title>", body, re.IGNORECASE | re.DOTALL)
    return first_line(title.group(1) if title else body)


def first_line(text: str) -> str:
    """The first line, without URL query strings and cut to a readable length (Druid sends cut stack traces)."""
    return failure_reason(next(iter(text.strip().splitlines()), "")) or ""


def _json(body: str) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
