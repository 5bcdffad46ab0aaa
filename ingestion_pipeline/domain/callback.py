"""The callback: an outgoing, signed HTTP delivery of an event, and what is said in it.

What belongs here: events, endpoints and deliveries as values, and the body of a delivery. What does not: whether an
address may be called (`domain.callback_address`), signatures (`domain.callback_signature`), when the next try is
(`stages.deliver`).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from ingestion_pipeline.domain.redaction import without_secrets
from ingestion_pipeline.errors import ConfigurationError

# Receivers may rely on it: Standard Webhooks advises bodies of at most 20 kB.
MAX_BODY_BYTES = 20_000
# Of each text in a body that people write or that names things; with all of them this long it is below the limit.
_MAX_TEXT_BYTES = 1024
_MAX_LINK_BYTES = 1200  # scheme, bucket, and a key of 1,024 bytes
_MAX_DATA_BYTES = 16_000


class Event(StrEnum):
    """The `type` of a delivery."""

    CREATED = "job.created"  # entered in the ledger
    PROCESSING = "job.processing"  # a run took it
    RETRYING = "job.retrying"  # given back; tried again later
    COMPLETED = "job.completed"  # `outcome` says how
    FAILED = "job.failed"
    CANCELED = "job.canceled"
    REPLACED = "job.replaced"  # was loaded; another job's rows took the place of its own
    UNDONE = "job.undone"  # was loaded; its rows were taken out
    LATE = "datasource.late"  # a file that the contract expects is late
    MISSING = "datasource.missing"  # ... and is given up
    TEST = "callback.test"  # sent by hand, to one endpoint; cannot be selected


SELECTABLE = tuple(event for event in Event if event is not Event.TEST)
# Without a choice: everything that ends a file's way or changes what was loaded, and what a person should look at.
DEFAULT_EVENTS = tuple(event for event in SELECTABLE if event not in (Event.CREATED, Event.PROCESSING, Event.RETRYING))


def events_named(names: Iterable[str]) -> tuple[Event, ...]:
    """Events by their type or its last word, separated by commas or given apart; `all` means every one.

    Raises:
        ConfigurationError: There is no such event.
    """
    known = {event.value: event for event in SELECTABLE} | {event.value.split(".")[1]: event for event in SELECTABLE}
    words = [word.strip() for name in names for word in name.split(",") if word.strip()]
    if "all" in words:
        return SELECTABLE
    for word in words:
        if word not in known:
            raise ConfigurationError(
                f"There is no event '{word}'.", hint=f"Choose from {', '.join(SELECTABLE)}; or `all`."
            )
    return tuple(event for event in SELECTABLE if event in {known[word] for word in words})


class EndpointState(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"  # its deliveries are parked; by a person, by 410 Gone, or after days without success
    REMOVED = "removed"  # stays for the log of its deliveries


class DeliveryState(StrEnum):
    PENDING = "pending"  # `next_try_at` says when
    DELIVERED = "delivered"  # final, unless a person asks for it again
    PARKED = "parked"  # given up until a person asks for it again


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one endpoint, as somebody who leased it sees it.

    Attributes:
        delivery_id: Also the `webhook-id`: the same at every try.
        number: Of this try, from 1; it is also the proof that the lease is still this one.
        failures: Failed tries since the first, or since a person asked for it again.
        secrets: Those that are valid now, newest first.
        failing_since: Since when no delivery to the endpoint has succeeded.
    """

    delivery_id: str
    endpoint_id: str
    organization: str
    url: str
    event: str
    occurred_at: datetime
    data: Mapping[str, Any]
    number: int
    failures: int
    failing_since: datetime | None
    secrets: Sequence[str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one request.

    Attributes:
        status: None: there was no answer, and `error` says why.
        body: The beginning of the answer's.
        retry_after: The header of that name, as it was sent.
    """

    status: int | None
    body: str = ""
    error: str | None = None
    retry_after: str | None = None
    duration_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a delivery, and of its endpoint, after a try.

    Attributes:
        next_try_at: Of a delivery that stays pending.
        rest_until: No delivery to the endpoint is begun before.
        disable: Why the endpoint is disabled, if it is.
    """

    state: DeliveryState
    next_try_at: datetime | None = None
    rest_until: datetime | None = None
    disable: str | None = None

    @property
    def delivered(self) -> bool:
        return self.state is DeliveryState.DELIVERED


def body_of(delivery: Delivery) -> bytes:
    """The request's body: the same bytes at every try of an event."""
    message = {"type": delivery.event, "timestamp": _moment(delivery.occurred_at), "data": delivery.data}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def require_small(data: Mapping[str, Any]) -> None:
    """Of an announcement's own data: what is too long is its author's mistake.

    Raises:
        ValueError: It is no JSON, or too much of it.
    """
    if len(json.dumps(data, ensure_ascii=False, allow_nan=False).encode()) > _MAX_DATA_BYTES:
        raise ValueError(f"An event's data must be below {_MAX_DATA_BYTES:,} bytes.")


def job_data(job: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a job's event: every key at each event, `null` where there is nothing to say.

    Args:
        job: Columns of `ingestion_jobs`; of those that change only what is settled by the event that tells it.
        event: Columns of `job_events`.
    """
    details: Mapping[str, Any] = event["details"]
    read, accepted, rejected = (int(details.get(f"rows_{name}") or 0) for name in ("read", "accepted", "rejected"))
    return {
        "organization": job["organization"],
        "datasource": job["datasource"],
        "job_id": str(job["job_id"]),
        "seq": event["seq"],
        "status": event["to_status"],
        "outcome": _text(event["outcome"]),
        "cause": job["cause"],
        "file_name": _text(job["file_name"]),
        "partition_day": job["partition_day"].isoformat(),
        "rows_read": read,
        "rows_accepted": accepted,
        "rows_rejected": rejected,
        "rows_queryable": int(details.get("rows_queryable") or 0),
        "error": _error(details),
        "waiting_reason": _text(details.get("waiting_reason")),
        "next_try_at": details.get("next_try_at"),
        "parent_job_id": _id(job["parent_job_id"]),
        "replaces_job_id": _id(job["replaces_job_id"]),
        "replaced_by": _id(job["replaced_by"]) if event["outcome"] in ("replaced", "undone") else None,
        "links": {
            "object": _text(f"s3://{job['bucket']}/{job['object_key']}", _MAX_LINK_BYTES),
            "quarantine": _text(job["quarantine_url"], _MAX_LINK_BYTES)
            if event["to_status"] in ("completed", "failed")
            else None,
        },
    }


def _error(details: Mapping[str, Any]) -> dict[str, Any] | None:
    if not details.get("error_code"):
        return None
    return {"code": _text(details["error_code"]), "message": _text(without_secrets(details.get("error_message") or ""))}


def _text(value: object, limit: int = _MAX_TEXT_BYTES) -> str | None:
    if value is None:
        return None
    # JSON writes a control character in six bytes: a name made of them must not break the limit.
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in str(value))
    encoded = text.encode()
    return text if len(encoded) <= limit else encoded[: limit - 3].decode("utf-8", "ignore") + "…"


def _id(value: object) -> str | None:
    return None if value is None else str(value)


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
