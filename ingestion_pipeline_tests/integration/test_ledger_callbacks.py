"""The outbox on a real PostgreSQL: what a job's events put into it, who may take it, in what order, what is kept."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.postgres_arrivals import ArrivalEvent
from ingestion_pipeline.domain.callback import Answer, DeliveryState, Event
from ingestion_pipeline.domain.callback_signature import secret_of
from ingestion_pipeline.domain.job import Outcome
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.stages.deliver import DELAYS_SECONDS, GIVE_UP_AFTER, LEASE_SECONDS
from ingestion_pipeline_tests.callbacks import SECRET, Outbox
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.ledger import World, lease_of

OK, BROKEN, AWAY = Answer(status=200, body="ok"), Answer(status=500, body="no"), Answer(status=None, error="refused")


@pytest.fixture
def ledger(postgres: LedgerDatabase) -> Iterator[Ledger]:
    made = Ledger(postgres.pipeline_url)
    yield made
    made.close()


@pytest.fixture
def outbox(postgres: LedgerDatabase, ledger: Ledger) -> Outbox:
    return Outbox(World(postgres, ledger))


@pytest.fixture
def other(postgres: LedgerDatabase, ledger: Ledger) -> Outbox:
    return Outbox(World(postgres, ledger))


# what is put into it


def test_each_event_of_a_job_becomes_one_delivery_per_endpoint_in_order(outbox: Outbox) -> None:
    first, second = outbox.endpoint(), outbox.endpoint()
    (job,) = outbox.world.taken("a.csv")
    outbox.world.ledger.work.give_back(lease_of(job), UnreadableFile("away"), next_try_at=outbox.world.now)
    for endpoint in (first, second):
        assert outbox.states(endpoint_id=endpoint) == [
            ("created", "pending"),
            ("processing", "pending"),
            ("retrying", "pending"),
        ]


@pytest.mark.parametrize("how", ["completed", "failed", "canceled"])
def test_every_end_of_a_job_is_told(outbox: Outbox, how: str) -> None:
    endpoint = outbox.endpoint(events=[Event.COMPLETED, Event.FAILED, Event.CANCELED])
    (job,) = outbox.world.taken("a.csv")
    match how:
        case "completed":
            outbox.world.complete(job, Outcome.EMPTY)
        case "failed":
            outbox.world.ledger.work.fail(lease_of(job), UnreadableFile("It is no text."), now=outbox.world.now)
        case _:
            outbox.world.ledger.work.stop(lease_of(job), UnreadableFile("Stopped."), now=outbox.world.now)
    told = outbox.taken(endpoint)
    assert (told.event, told.data["status"], told.data["job_id"]) == (f"job.{how}", how, job.job_id)
    assert told.data["error"] == (
        {"failed": {"code": "unreadable", "message": "It is no text."}, "canceled": {"code": "unreadable",
         "message": "Stopped."}}.get(how)
    )  # fmt: skip
    assert told.data["outcome"] == {"completed": "empty", "failed": "unreadable", "canceled": "stopped"}[how]


@pytest.mark.parametrize("outcome", ["replaced", "undone"])
def test_what_becomes_of_loaded_rows_later_is_an_event_of_its_own(outbox: Outbox, outcome: str) -> None:
    (job,) = outbox.world.taken("a.csv")
    outbox.world.complete(job)
    endpoint = outbox.endpoint()
    with outbox.world.ledger.engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE ingestion_jobs SET outcome = :outcome, result = result || jsonb_build_object('replaced_by', "
                "job_id) WHERE job_id = CAST(:job AS uuid)"
            ),
            {"outcome": outcome, "job": job.job_id},
        )
    told = outbox.taken(endpoint)
    assert (told.event, told.data["outcome"], told.data["replaced_by"]) == (f"job.{outcome}", outcome, job.job_id)


def test_an_endpoint_gets_the_events_and_datasources_that_it_chose_and_no_other_organizations(
    outbox: Outbox, other: Outbox
) -> None:
    chosen = outbox.endpoint(events=[Event.CREATED])
    elsewhere = outbox.endpoint(datasources=["another"])
    theirs = other.endpoint()
    outbox.world.taken("a.csv")
    assert outbox.states(endpoint_id=chosen) == [("created", "pending")]
    assert outbox.states(endpoint_id=elsewhere) == other.log(endpoint_id=theirs) == []
    outbox.world.job("b.csv", datasource="another")
    assert outbox.states(endpoint_id=elsewhere) == [("created", "pending")]


def test_a_transition_that_is_rolled_back_tells_nobody(outbox: Outbox) -> None:
    outbox.endpoint()
    job_id = outbox.world.job()
    before = outbox.states()
    with psycopg.connect(outbox.world.database.superuser_dsn) as connection:
        connection.execute("UPDATE ingestion_jobs SET status = 'processing' WHERE job_id = %s", [job_id])
        made = connection.execute("SELECT count(*) FROM callback_deliveries WHERE job_id = %s", [job_id]).fetchone()
        assert made == (2,)
        connection.rollback()
    assert outbox.states() == before == [("created", "pending")]


def test_where_nobody_listens_an_event_costs_one_look_into_an_index(outbox: Outbox, other: Outbox) -> None:
    other.endpoint()
    outbox.world.job()
    assert outbox.log() == []
    with outbox.world.ledger.engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = connection.execute(
            sa.text(
                "EXPLAIN SELECT 1 FROM callback_endpoints e WHERE e.organization = 'x' AND e.state <> 'removed' "
                "AND 'job.created' = ANY (e.events)"
            )
        )
        assert "ix_callback_endpoints_organization" in "\n".join(plan.scalars())


def test_an_event_that_no_job_has_is_told_once_per_key_to_those_who_want_it(outbox: Outbox, other: Outbox) -> None:
    wants, other_events, other_data = (
        outbox.endpoint(),
        outbox.endpoint(events=[Event.FAILED]),
        outbox.endpoint(datasources=["else"]),
    )
    other.endpoint()

    def say(key: str) -> int:
        return outbox.world.ledger.callbacks.announce(
            outbox.world.name, Event.LATE, "flights", {"expected_at": "2026-03-01T06:00:00Z"}, key, now=outbox.now
        )

    assert [say("late flights 1"), say("late flights 1"), say("late flights 2")] == [1, 0, 1]
    told = outbox.taken(wants)
    assert (told.event, told.data) == (
        "datasource.late",
        {"organization": outbox.world.name, "datasource": "flights", "expected_at": "2026-03-01T06:00:00Z"},
    )
    assert outbox.log(endpoint_id=other_events) == outbox.log(endpoint_id=other_data) == other.log() == []
    outbox.record(told, AWAY)
    assert outbox.take(wants) is None, "the endpoint rests"
    outbox.later(5)
    assert outbox.taken(wants), "without a job there is no order"


# taking it


def test_the_next_event_of_a_job_waits_for_the_earlier_ones_and_other_jobs_do_not(outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    outbox.world.taken("a.csv")
    outbox.world.job("b.csv")
    first, second = outbox.taken(endpoint), outbox.taken(endpoint)
    assert {first.data["seq"], second.data["seq"]} == {1}
    assert first.data["job_id"] != second.data["job_id"]
    assert outbox.take(endpoint) is None, "the job's second event waits while its first is under way"
    assert endpoint not in outbox.due()
    outbox.record(first, OK)
    outbox.record(second, OK)
    third = outbox.taken(endpoint)
    assert (third.event, third.data["seq"]) == ("job.processing", 2)


def test_the_order_holds_through_failures_and_what_is_parked_blocks_nothing(outbox: Outbox) -> None:
    figures = outbox.world.ledger.figures
    parked_before = figures.now(outbox.now).parked
    endpoint = outbox.endpoint()
    outbox.world.taken("a.csv")
    for _ in DELAYS_SECONDS:
        delivery = outbox.taken(endpoint)
        assert delivery.event == "job.created"
        verdict = outbox.record(delivery, BROKEN)
        assert outbox.take(endpoint) is None
        assert verdict.next_try_at is not None
        outbox.now = verdict.next_try_at
    last = outbox.taken(endpoint)
    assert outbox.record(last, BROKEN).state is DeliveryState.PARKED
    assert last.number == len(DELAYS_SECONDS) + 1
    assert {last.delivery_id} == {row["delivery_id"] for row in outbox.log(state=DeliveryState.PARKED)}
    assert figures.now(outbox.now).parked == parked_before + 1
    assert outbox.taken(endpoint).event == "job.processing"
    tries = outbox.world.ledger.callbacks.tries(last.delivery_id)
    assert [each["number"] for each in tries] == list(range(1, last.number + 1))


def test_an_event_behind_one_that_waits_is_looked_at_when_that_one_is(outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    token, (job_id,) = outbox.world.claimed("a.csv")
    verdict = outbox.record(outbox.taken(endpoint), BROKEN)
    outbox.world.take(token)
    waiting = outbox.world.rows(
        "SELECT next_try_at FROM callback_deliveries WHERE job_id = %s AND state = 'pending' ORDER BY seq", job_id
    )
    assert [row["next_try_at"] for row in waiting] == [verdict.next_try_at] * 2


def test_two_takers_never_take_the_same_and_take_everything(outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    for number in range(40):
        outbox.world.job(f"{number}.csv")

    def take_all() -> list[str]:
        taken = []
        while delivery := outbox.take(endpoint):
            taken.append(delivery.delivery_id)
        return taken

    with ThreadPoolExecutor(4) as pool:
        found = [delivery for future in [pool.submit(take_all) for _ in range(4)] for delivery in future.result()]
    assert len(found) == len(set(found)) == 40


def test_a_row_that_another_taker_holds_is_passed_over(outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    held, free = outbox.world.job("a.csv"), outbox.world.job("b.csv")
    with psycopg.connect(outbox.world.database.superuser_dsn) as holder:
        holder.execute("SELECT FROM callback_deliveries WHERE job_id = %s FOR UPDATE", [held])
        assert outbox.taken(endpoint).data["job_id"] == free
        assert outbox.take(endpoint) is None


def test_a_lease_runs_out_and_the_delivery_is_taken_again_with_its_id(outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    outbox.world.job()
    lost = outbox.taken(endpoint)
    assert outbox.take(endpoint) is None
    outbox.later(LEASE_SECONDS)
    found = outbox.taken(endpoint)
    assert (found.delivery_id, found.number, found.failures) == (lost.delivery_id, 2, 0)
    outbox.record(lost, BROKEN)
    assert outbox.states() == [("created", "pending")], "a failure of a lease that ran out changes nothing"
    assert outbox.take(endpoint) is None, "it is the second taker's"
    outbox.record(found, OK)
    assert outbox.states() == [("created", "delivered")]


def test_what_a_receiver_has_taken_was_taken_whoever_holds_the_lease_by_now(outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    outbox.world.job()
    slow = outbox.taken(endpoint)
    outbox.later(LEASE_SECONDS)
    second = outbox.taken(endpoint)
    outbox.record(slow, OK)
    outbox.record(second, BROKEN)
    assert outbox.states() == [("created", "delivered")]


def test_an_endpoint_that_works_is_served_before_one_that_fails(outbox: Outbox, other: Outbox) -> None:
    failing, working = outbox.endpoint(), other.endpoint()
    outbox.tried(failing, AWAY)
    outbox.later(60)
    other.world.job()
    found = outbox.world.ledger.deliveries.due(limit=1000, now=outbox.now)
    mine = [(each.endpoint_id, each.failing) for each in found if each.endpoint_id in (failing, working)]
    assert mine == [(working, False), (failing, True)]
    besides = outbox.world.ledger.deliveries.due(besides=[working], limit=1000, now=outbox.now)
    assert working not in {each.endpoint_id for each in besides}


def test_a_success_ends_a_failing_time(outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    outbox.tried(endpoint, AWAY)
    assert outbox.endpoint_row(endpoint)["failing_since"] == outbox.now
    assert outbox.due() & {endpoint} == set()
    outbox.later(5)
    outbox.record(outbox.taken(endpoint), OK)
    row = outbox.endpoint_row(endpoint)
    assert (row["failing_since"], row["resting_until"]) == (None, None)


def test_taking_needs_no_look_at_what_was_delivered_or_waits(outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    with psycopg.connect(outbox.world.database.superuser_dsn, autocommit=True) as superuser:
        superuser.execute(
            "INSERT INTO callback_deliveries (endpoint_id, organization, event, event_key, data, state, next_try_at, "
            "finished_at) SELECT %s, %s, 'datasource.late', n::text, '{}', "
            "CASE WHEN n %% 2 = 0 THEN 'delivered' ELSE 'pending' END, now() + interval '1 day', "
            "CASE WHEN n %% 2 = 0 THEN now() END FROM generate_series(1, 5000) n",
            [endpoint, outbox.world.name],
        )
        superuser.execute("ANALYZE callback_deliveries")
    outbox.world.job()
    with outbox.world.ledger.engine.begin() as connection:
        from ingestion_pipeline.adapters.postgres_deliveries import _TAKE

        plan = "\n".join(
            connection.execute(
                sa.text(f"EXPLAIN (ANALYZE, BUFFERS) {_TAKE.text}"),
                {"endpoint": endpoint, "now": outbox.now, "until": outbox.now},
            ).scalars()
        )
    assert "Seq Scan on callback_deliveries" not in plan
    assert re.search(r"ix_callback_deliveries_due.*actual time=\S+ rows=1[. ]", plan), plan


# disabling, redelivery, secrets, keeping


def test_gone_disables_the_endpoint_and_parks_what_waits_and_what_comes(outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    outbox.world.taken("a.csv")
    outbox.record(outbox.taken(endpoint), Answer(status=410))
    outbox.world.job("b.csv")
    assert outbox.states() == [("created", "parked"), ("processing", "parked"), ("created", "parked")]
    row = outbox.endpoint_row(endpoint)
    assert (row["state"], row["disabled_reason"]) == ("disabled", "It answered 410 Gone.")
    assert (outbox.take(endpoint), outbox.due() & {endpoint}) == (None, set())

    outbox.world.ledger.callbacks.enable(endpoint)
    assert outbox.take(endpoint) is None, "what is parked waits for a person"
    assert outbox.world.ledger.callbacks.redeliver(endpoint, now=outbox.now) == 3
    sent = []
    while delivery := outbox.take(endpoint):
        outbox.record(delivery, OK)
        sent.append((delivery.data["job_id"], delivery.data["seq"]))
    assert len(sent) == 3
    assert [seq for job, seq in sent if job == sent[0][0]] == [1, 2]


def test_an_endpoint_without_success_for_days_is_disabled(outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    outbox.tried(endpoint, AWAY)
    outbox.later(GIVE_UP_AFTER.total_seconds() + 1)
    outbox.record(outbox.taken(endpoint), AWAY)
    row = outbox.endpoint_row(endpoint)
    assert row["state"] == "disabled"
    assert row["disabled_reason"].startswith("No delivery has succeeded since")


def test_a_delivery_can_be_asked_for_again_whatever_became_of_it(outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    delivered = outbox.tried(endpoint, OK)
    assert outbox.world.ledger.callbacks.redeliver(endpoint, delivery_id=delivered.delivery_id, now=outbox.now) == 1
    again = outbox.taken(endpoint)
    assert (again.delivery_id, again.number, again.failures) == (delivered.delivery_id, 2, 0)
    assert again.data == delivered.data
    assert outbox.world.ledger.callbacks.redeliver(endpoint, now=outbox.now) == 1
    assert outbox.take(endpoint) is None, "it is under way: a lease is not taken away"


def test_what_waits_for_its_next_try_is_sent_at_once_when_it_is_asked_for(outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    waiting = outbox.tried(endpoint, AWAY)
    assert outbox.take(endpoint) is None
    outbox.world.ledger.callbacks.redeliver(endpoint, now=outbox.now)
    assert outbox.taken(endpoint).delivery_id == waiting.delivery_id


def test_a_removed_endpoint_gets_nothing_and_its_log_stays(outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    outbox.world.job("a.csv")
    outbox.world.ledger.callbacks.remove(endpoint, now=outbox.now)
    outbox.world.job("b.csv")
    assert outbox.states() == [("created", "parked")]
    assert outbox.world.rows("SELECT FROM callback_secrets WHERE endpoint_id = %s", endpoint) == []
    listed = outbox.world.ledger.callbacks.endpoints(organization=outbox.world.name, now=outbox.now)
    assert listed == []
    outbox.world.ledger.callbacks.enable(endpoint)
    assert outbox.endpoint_row(endpoint)["state"] == "removed"


def test_an_event_that_is_written_while_its_endpoint_is_removed_does_not_fail_for_it(outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    job_id = outbox.world.job()
    with psycopg.connect(outbox.world.database.superuser_dsn) as slow:
        slow.execute("UPDATE ingestion_jobs SET status = 'processing' WHERE job_id = %s", [job_id])
        outbox.world.ledger.callbacks.remove(endpoint, now=outbox.now)
        slow.commit()
    assert outbox.world.row(job_id)["status"] == "processing"


def test_a_rotated_secret_is_valid_beside_the_new_one_for_a_while(outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    new, newest = secret_of(b"n" * 32), secret_of(b"o" * 32)
    rotate = outbox.world.ledger.callbacks.rotate_secret
    rotate(endpoint, secret=new, keep_old=timedelta(hours=24), now=outbox.later(1))
    outbox.world.job()
    assert outbox.taken(endpoint).secrets == (new, SECRET)
    rotate(endpoint, secret=newest, keep_old=timedelta(hours=1), now=outbox.later(1))
    outbox.later(LEASE_SECONDS)
    assert outbox.taken(endpoint).secrets[0] == newest
    outbox.later(3601)
    assert outbox.taken(endpoint).secrets == (newest,)
    rotate(endpoint, secret=SECRET, keep_old=timedelta(), now=outbox.later(1))
    assert outbox.world.rows("SELECT secret FROM callback_secrets WHERE endpoint_id = %s", endpoint) == [
        {"secret": SECRET}
    ]


def test_role_api_sees_its_own_endpoints_and_deliveries_and_no_secret(outbox: Outbox, other: Outbox) -> None:
    for each in (outbox, other):
        each.tried(each.endpoint(), OK)
    with psycopg.connect(outbox.world.database.api_url.replace("+psycopg", "")) as api:
        api.execute("SELECT set_config('ingestion.organization', %s, false)", [outbox.world.name])
        for table in ("callback_endpoints", "callback_deliveries", "callback_tries"):
            rows: list[Any] = api.execute(f"SELECT * FROM {table}").fetchall()  # type: ignore[arg-type]
            assert len(rows) == 1
            assert outbox.world.name in rows[0]
            assert "whsec" not in str(rows)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            api.execute("SELECT secret FROM callback_secrets")


def test_old_deliveries_are_forgotten_in_pieces_and_what_waits_is_not(outbox: Outbox) -> None:
    long_ago = outbox.now = datetime(2001, 1, 1, tzinfo=UTC)  # nothing of another test is as old
    endpoint = outbox.endpoint()
    for number in range(4):
        outbox.world.ledger.callbacks.announce(
            outbox.world.name, Event.LATE, "flights", {}, f"late {number}", now=outbox.now
        )
    tried = [outbox.taken(endpoint) for _ in range(4)]
    for delivery, answer in zip(tried, [OK, OK, OK, BROKEN], strict=True):
        outbox.record(delivery, answer)
    forget = outbox.world.ledger.deliveries.forget_deliveries
    assert [forget(long_ago, 2), *(forget(outbox.later(1), 2) for _ in range(3))] == [0, 2, 1, 0]
    assert outbox.states() == [("late", "pending")]
    left = outbox.world.rows("SELECT delivery_id::text FROM callback_tries WHERE organization = %s", outbox.world.name)
    assert left == [{"delivery_id": tried[3].delivery_id}]


def test_a_test_delivery_is_leased_by_who_made_it_and_is_not_sent_again_with_the_parked(outbox: Outbox) -> None:
    endpoint = outbox.endpoint()
    begun = outbox.world.ledger.callbacks.begin_test(
        endpoint, key="test-1", now=outbox.now, lease_seconds=LEASE_SECONDS
    )
    assert (begun.event, begun.data["endpoint_id"], begun.secrets) == ("callback.test", endpoint, (SECRET,))
    assert outbox.take(endpoint) is None
    outbox.record(begun, Answer(status=410))
    outbox.world.ledger.callbacks.enable(endpoint)
    assert outbox.world.ledger.callbacks.redeliver(endpoint, now=outbox.now) == 0


def test_what_is_late_is_told_once_to_its_organization_and_what_all_send_together_to_nobody(outbox: Outbox) -> None:
    world = outbox.world
    endpoint = outbox.endpoint()
    late = ArrivalEvent(
        datasource=world.name, organization=world.name, period="2026-03-01", kind="late", details={"files": 0}
    )
    together = replace(late, organization="*")
    for _ in range(2):
        world.ledger.arrivals.note(world.name, [late, together], now=outbox.now)
    delivery = outbox.taken(endpoint)
    assert delivery.event == "datasource.late"
    assert delivery.data == {
        "organization": world.name,
        "datasource": world.name,
        "period": "2026-03-01",
        "files": 0,
    }
    assert outbox.take(endpoint) is None
