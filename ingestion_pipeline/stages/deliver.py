"""Deliver: one endpoint's due callbacks, in order; what an answer means, and when the next try is.

What belongs here: the judgement, pure, and the loop over what is given as arguments. What does not: taking and
recording (`adapters.postgres_deliveries`), the request (`adapters.callback`), which endpoints (`defs.callbacks`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Protocol

from ingestion_pipeline.domain.callback import Answer, Delivery, DeliveryState, Verdict, body_of
from ingestion_pipeline.domain.callback_signature import signed_headers

# After the first failure, the second, ...: eleven tries within a little more than a day.
DELAYS_SECONDS = (5, 30, 120, 600, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 10 * 3600)
# Each is up to this much longer or shorter, so that what failed together does not come back together.
JITTER = 0.1
MAX_RETRY_AFTER_SECONDS = 6 * 3600
# An endpoint that does not answer is left alone for as long as it has failed, within these.
REST_SECONDS = (5, 60)
# One without any success for so long is disabled.
GIVE_UP_AFTER = timedelta(days=5)
# A taker that is silent for longer is dead, and its delivery is anybody's again.
LEASE_SECONDS = 60

_BUSY = frozenset({429, 502, 503, 504})
_SAYS_WHEN = frozenset({429, 503})


class Outbox(Protocol):
    """As much of the ledger as a delivery needs."""

    def take(self, endpoint_id: str, *, now: datetime, lease_seconds: float) -> Delivery | None: ...

    def record(
        self, delivery: Delivery, answer: Answer, verdict: Verdict, *, started_at: datetime, now: datetime
    ) -> None: ...


class Sender(Protocol):
    """As much of HTTP as a delivery needs."""

    def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Answer: ...


@dataclass(slots=True)
class Served:
    """What was done for endpoints."""

    delivered: int = 0
    failed: int = 0
    parked: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, other: "Served") -> None:
        self.delivered += other.delivered
        self.failed += other.failed
        self.parked += other.parked
        self.notes += other.notes


def serve(
    endpoint_id: str,
    *,
    outbox: Outbox,
    sender: Sender,
    clock: Callable[[], datetime],
    jitter: Callable[[], float],
    go_on: Callable[[], bool],
    most: int,
) -> Served:
    """Send an endpoint's due deliveries one after the other, until one shows that it had better wait.

    Args:
        jitter: Random numbers between 0 and 1.
        go_on: Whether another may be begun.
        most: Deliveries at once; others have their turn then.
    """
    served = Served()
    for _ in range(most):
        delivery = outbox.take(endpoint_id, now=clock(), lease_seconds=LEASE_SECONDS) if go_on() else None
        if delivery is None:
            break
        answer, verdict = send(delivery, outbox=outbox, sender=sender, clock=clock, jitter=jitter)
        served.delivered += verdict.delivered
        served.failed += not verdict.delivered
        served.parked += verdict.state is DeliveryState.PARKED
        if not verdict.delivered:
            what = answer.error or f"answered {answer.status}"
            served.notes.append(f"{delivery.organization}, {delivery.event} {delivery.delivery_id}: {what}.")
        if verdict.rest_until or verdict.disable:
            break
    return served


def send(
    delivery: Delivery,
    *,
    outbox: Outbox,
    sender: Sender,
    clock: Callable[[], datetime],
    jitter: Callable[[], float],
    once: bool = False,
) -> tuple[Answer, Verdict]:
    """Send a delivery that is leased and record what came of it.

    Args:
        once: It is parked if it fails, and its endpoint's standing does not change.
    """
    started_at = clock()
    body = body_of(delivery)
    headers = signed_headers(secrets=delivery.secrets, webhook_id=delivery.delivery_id, now=started_at, body=body)
    answer = sender.post(delivery.url, headers=headers, body=body)
    now = clock()
    verdict = judge(delivery, answer, now=now, jitter=jitter())
    if once and not verdict.delivered:
        verdict = Verdict(state=DeliveryState.PARKED)
    outbox.record(delivery, answer, verdict, started_at=started_at, now=now)
    return answer, verdict


def judge(delivery: Delivery, answer: Answer, *, now: datetime, jitter: float) -> Verdict:
    """What an answer, or none, means for a delivery and its endpoint.

    Args:
        jitter: Between 0 and 1.
    """
    whole = answer.status is not None and answer.error is None
    if whole and 200 <= (answer.status or 0) < 300:
        return Verdict(state=DeliveryState.DELIVERED)
    if whole and answer.status == 410:
        return Verdict(state=DeliveryState.PARKED, disable="It answered 410 Gone.")
    failing = now - (delivery.failing_since or now)
    if failing > GIVE_UP_AFTER:
        since = f"{delivery.failing_since:%Y-%m-%d %H:%M} UTC"
        return Verdict(state=DeliveryState.PARKED, disable=f"No delivery has succeeded since {since}.")
    wanted = _retry_after(answer, now)
    rest_until = None
    if not whole or answer.status in _BUSY:
        shortest, longest = REST_SECONDS
        rest_until = now + max(timedelta(seconds=min(max(failing.total_seconds(), shortest), longest)), wanted)
    if delivery.failures >= len(DELAYS_SECONDS):
        return Verdict(state=DeliveryState.PARKED, rest_until=rest_until)
    delay = DELAYS_SECONDS[delivery.failures] * (1 - JITTER + 2 * JITTER * jitter)
    return Verdict(
        state=DeliveryState.PENDING, next_try_at=now + max(timedelta(seconds=delay), wanted), rest_until=rest_until
    )


def _retry_after(answer: Answer, now: datetime) -> timedelta:
    """How long a receiver asks to be left alone: seconds or a date, within bounds; 0 if it does not say."""
    if answer.status not in _SAYS_WHEN or not answer.retry_after:
        return timedelta()
    text = answer.retry_after.strip()
    try:
        if text.isascii() and text.isdigit():
            seconds = float(text[:9])
        else:
            date = parsedate_to_datetime(text)
            seconds = (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return timedelta()  # a receiver's text, which may be anything
    return timedelta(seconds=min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS))
