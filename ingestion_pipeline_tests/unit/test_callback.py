"""Callbacks as values: events by name, the body, signatures, and what an answer means."""

import base64
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from ingestion_pipeline.domain.callback import (
    DEFAULT_EVENTS,
    MAX_BODY_BYTES,
    SELECTABLE,
    Answer,
    Delivery,
    DeliveryState,
    Event,
    body_of,
    events_named,
    job_data,
    require_small,
)
from ingestion_pipeline.domain.callback_signature import secret_of, signed_headers
from ingestion_pipeline.errors import ConfigurationError
from ingestion_pipeline.stages.deliver import (
    DELAYS_SECONDS,
    GIVE_UP_AFTER,
    JITTER,
    MAX_RETRY_AFTER_SECONDS,
    REST_SECONDS,
    judge,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET, OTHER = secret_of(bytes(range(32))), secret_of(bytes(range(1, 33)))
DAY_SECONDS = 86_400


def delivery(**changes: Any) -> Delivery:
    values: dict[str, Any] = {
        "delivery_id": "0d5dff3c-9b53-4f7e-8a3e-2f6f6fd0c0aa",
        "endpoint_id": "5a3f6f8e-0000-4000-8000-000000000000",
        "organization": "acme",
        "url": "https://hooks.example/",
        "event": Event.COMPLETED.value,
        "occurred_at": NOW,
        "data": {"job_id": "1"},
        "number": 1,
        "failures": 0,
        "failing_since": None,
        "secrets": (SECRET,),
    }
    return Delivery(**(values | changes))


def test_events_are_chosen_by_type_or_last_word_and_come_in_one_order() -> None:
    assert events_named(["failed,job.completed", " late "]) == (Event.COMPLETED, Event.FAILED, Event.LATE)
    assert events_named(["all"]) == SELECTABLE
    assert Event.TEST not in SELECTABLE
    assert set(SELECTABLE) - set(DEFAULT_EVENTS) == {Event.CREATED, Event.PROCESSING, Event.RETRYING}


@pytest.mark.parametrize("name", ["finished", "callback.test", "job."])
def test_an_event_that_is_none_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"job\.completed"):
        events_named([name])


JOB: dict[str, Any] = {
    "organization": "acme", "datasource": "flights", "job_id": "1a", "cause": "discovered",
    "file_name": "a.csv", "partition_day": date(2026, 3, 1), "parent_job_id": None, "replaces_job_id": None,
    "replaced_by": "2b", "bucket": "ingestion", "object_key": "uploads/acme/flights/a.csv",
    "quarantine_url": "s3://ingestion/quarantine/1a.csv",
}  # fmt: skip
EVENT: dict[str, Any] = {
    "seq": 3,
    "to_status": "completed",
    "outcome": "loaded_with_rejects",
    "details": {"rows_read": 10, "rows_accepted": 9, "rows_rejected": 1, "rows_queryable": 9, "lease_epoch": 4},
}


def test_what_is_told_of_a_job_has_the_same_keys_in_the_same_order_at_every_event() -> None:
    told = job_data(JOB, EVENT)
    assert (told["status"], told["outcome"], told["rows_accepted"], told["rows_rejected"]) == (
        "completed",
        "loaded_with_rejects",
        9,
        1,
    )
    assert told["links"] == {
        "object": "s3://ingestion/uploads/acme/flights/a.csv",
        "quarantine": "s3://ingestion/quarantine/1a.csv",
    }
    assert told["replaced_by"] is None, "it was replaced later than this event"
    created = job_data(JOB, {"seq": 1, "to_status": "pending", "outcome": None, "details": {}})
    assert list(created) == list(told)
    assert created["links"]["quarantine"] is None, "what became of it later is not told before"


def test_an_error_is_told_without_the_secrets_of_its_urls() -> None:
    message = "GET http://me:hush@s3/x?X-Amz-Signature=hush failed"
    told = job_data(JOB, EVENT | {"to_status": "failed", "details": {"error_code": "x", "error_message": message}})
    assert told["error"] == {"code": "x", "message": "GET http://s3/x failed"}


@given(st.text(max_size=50), st.text(max_size=50), st.sampled_from(["\x00", "\u2028", "𝄞", '"', "\\", "é"]))
def test_a_body_is_bounded_and_json_whatever_names_and_messages_are(name: str, message: str, letter: str) -> None:
    name = name.encode("utf-8", "replace").decode() + letter * 2000
    message = message.encode("utf-8", "replace").decode() + letter * 9000
    job = JOB | {"file_name": name, "object_key": name, "quarantine_url": name}
    details = {"error_code": name, "error_message": message, "waiting_reason": message, "next_try_at": None}
    body = body_of(delivery(data=job_data(job, EVENT | {"outcome": name, "to_status": "failed", "details": details})))
    assert len(body) <= MAX_BODY_BYTES
    told = json.loads(body)
    assert list(told) == ["type", "timestamp", "data"]
    assert told["timestamp"] == "2026-03-01T12:00:00Z"


def test_data_of_an_announcement_that_is_too_long_is_its_authors_mistake() -> None:
    require_small({"expected_at": "2026-03-01"})
    with pytest.raises(ValueError, match="below"):
        require_small({"note": "x" * 20_000})


def signed(body: bytes, *, secrets: tuple[str, ...] = (SECRET,), age: timedelta = timedelta()) -> dict[str, str]:
    return signed_headers(secrets=secrets, webhook_id="d-1", now=datetime.now(UTC) - age, body=body)


@given(st.binary(min_size=24, max_size=64), st.text())
def test_any_body_verifies_with_the_public_library_under_any_secret(key: bytes, text: str) -> None:
    body = json.dumps({"text": text}).encode()
    assert Webhook(secret_of(key)).verify(body, signed(body, secrets=(secret_of(key),))) == {"text": text}


def test_while_a_secret_is_rotated_both_verify() -> None:
    headers = signed(b"{}", secrets=(OTHER, SECRET))
    for secret in (SECRET, OTHER):
        assert Webhook(secret).verify(b"{}", headers) == {}


@pytest.mark.parametrize("case", ["changed body", "changed id", "old timestamp", "wrong secret", "moved timestamp"])
def test_what_was_not_sent_by_us_now_does_not_verify(case: str) -> None:
    body, secret, headers = b'{"rows":1}', SECRET, signed(b'{"rows":1}')
    match case:
        case "changed body":
            body = b'{"rows":2}'
        case "changed id":
            headers["webhook-id"] = "d-2"
        case "old timestamp":
            headers = signed(body, age=timedelta(minutes=6))
        case "moved timestamp":
            headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) + 1)
        case _:
            secret = OTHER
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_a_secret_is_written_as_receivers_expect_it_and_is_not_short() -> None:
    assert SECRET.startswith("whsec_")
    assert base64.b64decode(SECRET.removeprefix("whsec_")) == bytes(range(32))
    with pytest.raises(ValueError, match="24 to 64"):
        secret_of(b"short")


def test_a_delivery_does_not_show_its_secrets() -> None:
    assert SECRET not in repr(delivery())


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_every_2xx_is_a_delivery(status: int) -> None:
    assert judge(delivery(), Answer(status=status), now=NOW, jitter=0.5).delivered


def test_an_answer_that_did_not_end_is_no_delivery_whatever_its_status() -> None:
    assert not judge(delivery(), Answer(status=200, error="no whole answer within 10 s"), now=NOW, jitter=0.5).delivered


@given(st.floats(0, 1), st.sampled_from([None, 100, 301, 400, 404, 500, 503, 599]))
def test_failures_are_tried_again_with_growing_delays_over_about_a_day_and_then_parked(
    jitter: float, status: int | None
) -> None:
    at, waited, answer = NOW, [], Answer(status=status, error=None if status else "no answer")
    for failures in range(len(DELAYS_SECONDS)):
        verdict = judge(delivery(failures=failures), answer, now=at, jitter=jitter)
        assert verdict.state is DeliveryState.PENDING
        assert verdict.next_try_at is not None
        waited.append((verdict.next_try_at - at).total_seconds())
        at = verdict.next_try_at
    assert waited == sorted(waited)
    assert all(abs(wait - delay) <= delay * JITTER + 1e-3 for wait, delay in zip(waited, DELAYS_SECONDS, strict=True))
    assert 0.9 * DAY_SECONDS <= sum(waited) <= 1.25 * DAY_SECONDS
    last = judge(delivery(failures=len(DELAYS_SECONDS)), answer, now=at, jitter=jitter)
    assert (last.state, last.next_try_at, last.disable) == (DeliveryState.PARKED, None, None)


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [
        (429, "3600", 3600),
        (503, " 120 ", 120),
        (503, "Sun, 01 Mar 2026 12:10:00 GMT", 600),
        (429, "1", 5),
        (503, "Sun, 01 Mar 2026 11:00:00 GMT", 5),
        (503, "999999999999999999999", MAX_RETRY_AFTER_SECONDS),
        (503, "Fri, 01 Mar 9999 12:10:00 GMT", MAX_RETRY_AFTER_SECONDS),
        (500, "3600", 5),
        (429, "-5", 5),
        (429, "²", 5),
        (429, "soon", 5),
        (429, None, 5),
    ],
)
def test_a_receiver_may_say_when_to_come_back_within_bounds_and_never_sooner_than_planned(
    status: int, header: str | None, seconds: int
) -> None:
    verdict = judge(delivery(), Answer(status=status, retry_after=header), now=NOW, jitter=0.5)
    assert verdict.next_try_at == NOW + timedelta(seconds=seconds)
    if status in (429, 503):
        assert verdict.rest_until == NOW + timedelta(seconds=seconds), "its other deliveries wait, too"


@given(st.text(max_size=60))
def test_any_retry_after_is_survived(text: str) -> None:
    verdict = judge(delivery(), Answer(status=503, retry_after=text), now=NOW, jitter=0)
    assert verdict.next_try_at is not None
    assert NOW < verdict.next_try_at <= NOW + timedelta(seconds=MAX_RETRY_AFTER_SECONDS)


@pytest.mark.parametrize(("failing", "rest"), [(0, 5), (30, 30), (3600, 60)])
def test_an_endpoint_that_does_not_answer_is_left_alone_for_a_little(failing: int, rest: int) -> None:
    assert REST_SECONDS == (5, 60)
    since = NOW - timedelta(seconds=failing)
    verdict = judge(delivery(failing_since=since), Answer(status=None, error="refused"), now=NOW, jitter=0)
    assert verdict.rest_until == NOW + timedelta(seconds=rest)


def test_an_endpoint_that_answers_wrongly_goes_on_with_its_other_deliveries() -> None:
    assert judge(delivery(), Answer(status=400), now=NOW, jitter=0).rest_until is None


def test_gone_disables_the_endpoint_and_so_do_days_without_any_success() -> None:
    gone = judge(delivery(), Answer(status=410), now=NOW, jitter=0)
    assert (gone.state, gone.disable) == (DeliveryState.PARKED, "It answered 410 Gone.")
    since = NOW - GIVE_UP_AFTER - timedelta(seconds=1)
    silent = judge(delivery(failing_since=since), Answer(status=None, error="x"), now=NOW, jitter=0)
    assert silent.state is DeliveryState.PARKED
    assert "2026-02-24" in (silent.disable or "")
