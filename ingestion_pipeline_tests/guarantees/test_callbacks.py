"""Callbacks to a real receiver that is killed, hangs, drips, redirects or lies, from senders that are killed.

Every test is a few ticks of the sensor over a real ledger; their clock is an argument, so that nobody waits a day.
"""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from ingestion_pipeline.adapters.callback import CallbackSender
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.defs.callbacks import Limits, Tick, callbacks
from ingestion_pipeline.domain.callback import DeliveryState
from ingestion_pipeline.domain.callback_address import AllowList
from ingestion_pipeline.domain.callback_signature import secret_of
from ingestion_pipeline.stages.deliver import Served
from ingestion_pipeline_tests.callbacks import SECRET, Outbox, Receiver, receiver, sender, until
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.ledger import World

QUICK = Limits(budget_seconds=6.0, failing_seconds=4.0, look_every_seconds=0.05)


@pytest.fixture(scope="module")
def database(fresh_database: Any) -> LedgerDatabase:
    """Apart from other tests' ledger: a tick sends whatever is due."""
    made: LedgerDatabase = fresh_database()
    return made


@pytest.fixture
def outbox(database: LedgerDatabase) -> Iterator[Outbox]:
    ledger = Ledger(database.pipeline_url)
    made = Outbox(World(database, ledger))
    yield made
    for row in ledger.callbacks.endpoints(now=made.now):
        ledger.callbacks.remove(row["endpoint_id"], now=made.now)
    ledger.close()


@pytest.fixture
def other(outbox: Outbox) -> Outbox:
    return Outbox(World(outbox.world.database, outbox.world.ledger))


@pytest.fixture
def to(tmp_path: Path) -> Iterator[Receiver]:
    with receiver(tmp_path) as made:
        yield made


def tick(outbox: Outbox, sending: CallbackSender | None = None, limits: Limits = QUICK) -> Served:
    """One tick, at the outbox's time (the time in signatures is what a receiver compares: see `signed_now`)."""
    return Tick(
        ledger=outbox.world.ledger, sender=sending or sender(), limits=limits, clock=lambda: outbox.now,
        jitter=lambda: 0.5,
    ).run()  # fmt: skip


def told(to: Receiver, path: str | None = None) -> list[tuple[str, int]]:
    """What came, in order: the job and the number of its event."""
    bodies = [json.loads(each["body"])["data"] for each in to.requests(path)]
    return [(body["job_id"], body["seq"]) for body in bodies]


def ids(to: Receiver, path: str | None = None) -> list[str]:
    return [each["headers"]["webhook-id"] for each in to.requests(path)]


def last(outbox: Outbox) -> dict[str, Any]:
    return outbox.log()[-1]


def test_what_comes_is_signed_so_that_the_public_library_verifies_it_and_nothing_else(
    outbox: Outbox, to: Receiver
) -> None:
    outbox.endpoint(f"{to.url}/ok")
    outbox.world.job()
    outbox.now = datetime.now(UTC) + timedelta(seconds=5)
    assert tick(outbox).delivered == 1
    (request,) = to.requests()
    body, headers = request["body"].encode(), request["headers"]
    message = Webhook(SECRET).verify(body, headers)
    assert (message["type"], message["data"]["organization"]) == ("job.created", outbox.world.name)
    assert headers["Content-Type"] == "application/json"
    old = headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 600)}
    for secret, wrong_body, wrong_headers in (
        (SECRET, body.replace(b"job.created", b"job.deleted"), headers),
        (SECRET, body, old),
        (secret_of(b"w" * 32), body, headers),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(wrong_body, wrong_headers)


def test_after_500s_a_delivery_comes_again_with_its_id_and_the_next_event_after_it(
    outbox: Outbox, to: Receiver
) -> None:
    outbox.endpoint(f"{to.url}/fails/2")
    (job,) = outbox.world.taken("a.csv")
    for seconds in (0, 10, 40):
        outbox.later(seconds)
        tick(outbox)
    assert told(to) == [(job.job_id, 1)] * 3 + [(job.job_id, 2)]
    assert len(set(ids(to)[:3])) == 1
    first = outbox.log()[0]
    tries = outbox.world.ledger.callbacks.tries(first["delivery_id"])
    assert [each["status"] for each in tries] == [500, 500, 200]
    assert tries[0]["body"] == "\ufffd[31mred\ufffd[0m [b]not markup[/b]", "no escape reaches a terminal"
    assert [state for _, state in outbox.states()] == ["delivered", "delivered"]


def test_a_receiver_that_is_killed_gets_everything_in_order_when_it_is_back(outbox: Outbox, tmp_path: Path) -> None:
    with receiver(tmp_path) as first:
        outbox.endpoint(f"{first.url}/ok")
        jobs = [outbox.world.taken(f"{name}.csv")[0].job_id for name in "abc"]
        first.kill()
        served = tick(outbox)
        assert (served.delivered, served.failed) == (0, 1), "one look shows that nobody is there"
        assert last(outbox)["state"] == "pending"
        refused = outbox.log()[0]
        assert (refused["status"], refused["error"]) == (None, "Connection refused")
        with receiver(tmp_path, port=first.port) as second:
            outbox.later(6)
            tick(outbox)
            assert sorted(told(second)) == sorted((job, seq) for job in jobs for seq in (1, 2))
            for job in jobs:
                assert [seq for about, seq in told(second) if about == job] == [1, 2]


def test_a_receiver_that_dies_before_it_answers_gets_the_delivery_again(outbox: Outbox, tmp_path: Path) -> None:
    with receiver(tmp_path) as first:
        outbox.endpoint(f"{first.url}/dies")
        outbox.world.job()
        tick(outbox)
        assert last(outbox)["error"] == "it closed the connection without an answer"
        with receiver(tmp_path, port=first.port) as second:
            outbox.later(6)
            tick(outbox)
            assert len(ids(second)) == 2
            assert len(set(ids(second))) == 1


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("hangs", None, "no answer within 1 s"),
        ("drips/head", None, "no answer within 1 s"),
        ("drips/body", 200, "no whole answer within 1 s"),
        ("closes", None, "it closed the connection without an answer"),
        ("nonsense", None, "its answer is not HTTP, or ends too early"),
        ("redirect", 302, "it redirects to http://169.254.169.254/latest/meta-data; redirects are not followed"),
        ("status/404", 404, None),
    ],
)
def test_what_a_receiver_did_wrong_stands_in_the_log_and_is_tried_again(
    outbox: Outbox, to: Receiver, path: str, status: int | None, error: str | None
) -> None:
    outbox.endpoint(f"{to.url}/{path}")
    outbox.world.job()
    tick(outbox, sender(timeout_seconds=1.0))
    row = last(outbox)
    assert (row["state"], row["status"], row["error"]) == ("pending", status, error)
    assert row["duration_ms"] < 5000
    outbox.later(10)
    tick(outbox, sender(timeout_seconds=1.0))
    assert len(ids(to)) == 2
    assert len(set(ids(to))) == 1


def test_a_redirect_is_followed_to_nowhere(outbox: Outbox, to: Receiver) -> None:
    asked: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return [host]

    outbox.endpoint(f"{to.url}/redirect")
    outbox.world.job()
    tick(outbox, sender(resolve=resolve))
    assert asked == ["127.0.0.1"]


def test_an_answer_without_end_is_read_to_a_limit(outbox: Outbox, to: Receiver) -> None:
    outbox.endpoint(f"{to.url}/floods")
    outbox.world.job()
    assert tick(outbox).delivered == 1
    assert len(last(outbox)["body"]) == 1001


def test_a_receiver_that_answers_twice_is_taken_at_its_first_word(outbox: Outbox, to: Receiver) -> None:
    outbox.endpoint(f"{to.url}/twice")
    outbox.world.taken("a.csv")
    assert tick(outbox).delivered == 2
    assert [row["body"] for row in outbox.log()] == ["first", "first"]


def test_a_busy_receiver_is_left_alone_as_long_as_it_asks(outbox: Outbox, to: Receiver) -> None:
    outbox.endpoint(f"{to.url}/busy/600")
    outbox.world.job("a.csv")
    outbox.world.job("b.csv")
    tick(outbox)
    outbox.later(590)
    tick(outbox)
    assert len(ids(to)) == 1, "its other deliveries wait, too"
    outbox.later(10)
    tick(outbox)
    assert len(ids(to)) == 2


def test_a_name_that_moves_to_a_private_address_is_refused_from_then_on(outbox: Outbox, to: Receiver) -> None:
    outbox.endpoint(f"http://hooks.example:{to.port}/ok")
    addresses = ["127.0.0.1"]
    sending = sender(resolve=lambda _host, _port: addresses)
    outbox.world.job("a.csv")
    tick(outbox, sending)
    assert to.requests()[0]["headers"]["Host"] == f"hooks.example:{to.port}"

    outbox.world.job("b.csv")
    for moved in (["169.254.169.254"], ["127.0.0.1", "10.0.0.1"], ["127.0.0.1"]):
        addresses[:] = moved
        tick(outbox, sending)
        outbox.later(60)
    assert len(to.requests()) == 2
    tries = outbox.world.ledger.callbacks.tries(outbox.log()[1]["delivery_id"])
    assert [each["error"] for each in tries] == [
        "hooks.example has the address 169.254.169.254, which is link-local: refused",
        "hooks.example has the address 10.0.0.1, which is private: refused",
        None,
    ]


def test_without_an_allowance_this_machine_is_not_called(outbox: Outbox, to: Receiver) -> None:
    for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "0"):
        outbox.endpoint(f"http://{host}:{to.port}/ok")
    outbox.world.job()
    served = tick(outbox, sender(allowed=AllowList()))
    assert (served.delivered, served.failed) == (0, 5)
    assert all(str(row["error"]).endswith("refused") for row in outbox.log())
    assert to.requests() == []


def test_while_one_endpoint_hangs_and_one_fails_another_organization_is_told_at_once(
    outbox: Outbox, other: Outbox, to: Receiver
) -> None:
    outbox.endpoint(f"{to.url}/hangs")
    outbox.endpoint(f"{to.url}/status/500")
    other.endpoint(f"{to.url}/ok")
    for number in range(30):
        outbox.world.job(f"{number}.csv")
    early = other.world.job("early.csv")
    done = threading.Event()

    def whole_tick() -> None:
        tick(outbox, sender(timeout_seconds=5.0))
        done.set()

    ticking = threading.Thread(target=whole_tick)
    ticking.start()
    try:
        until("the hanging request", lambda: to.requests("/hangs"))
        until("the other organization's first", lambda: told(to, "/ok") == [(early, 1)])
        late = other.world.job("late.csv")  # in the middle of the tick
        until("the other organization's second", lambda: told(to, "/ok") == [(early, 1), (late, 1)])
        assert not done.is_set(), "the first endpoint hangs all the while"
    finally:
        ticking.join()
    assert len(to.requests("/hangs")) == 1, "one look shows that it hangs"
    assert len(to.requests("/status/500")) > 1, "an endpoint that answers goes on with its other deliveries"
    assert [row["state"] for row in other.log()] == ["delivered"] * 2


def test_many_endpoints_that_hang_do_not_take_every_thread(outbox: Outbox, other: Outbox, to: Receiver) -> None:
    for _ in range(12):
        outbox.endpoint(f"{to.url}/hangs")
    outbox.world.job()
    tick(outbox, sender(timeout_seconds=0.5), Limits(threads=12, look_every_seconds=0.05))
    assert len(to.requests("/hangs")) == 12
    other.endpoint(f"{to.url}/ok")
    outbox.later(60)
    other.now = outbox.now
    job = other.world.job()
    tick(outbox, sender(timeout_seconds=0.5), QUICK)
    at = {each["path"]: each["at"] for each in to.requests()}
    assert told(to, "/ok") == [(job, 1)]
    after = [each for each in to.requests("/hangs")[12:] if each["at"] > at["/ok"]]
    assert after, "those that fail have a few threads of their own, and waited for each other there"


def test_the_sensor_says_what_it_did_and_yields_no_run(outbox: Outbox, to: Receiver) -> None:
    def sensor_tick() -> str:
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(
                instance=instance, resources={"ledger": outbox.world.ledger, "callback": sender()}
            )
            said = callbacks(context)
        assert isinstance(said, dg.SkipReason)
        return said.skip_message or ""

    # The sensor's clock is the real one, which the database's may be a little ahead of.
    until("an empty outbox", lambda: sensor_tick() == "Nothing is due.")
    outbox.endpoint(f"{to.url}/ok")
    outbox.endpoint(f"{to.url}/status/500")
    outbox.world.job()
    said = until("a tick with something due", lambda: (told_ := sensor_tick()) != "Nothing is due." and told_)
    assert said == "1 delivered, 1 failed, 0 of them parked."
    assert [row["state"] for row in outbox.log()].count("delivered") == 1


SENDER = """
import sys, time
from datetime import UTC, datetime, timedelta
from ingestion_pipeline.adapters.callback import CallbackSender
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.defs.callbacks import Tick
from ingestion_pipeline.domain.callback_address import AllowList

class Stalls(CallbackSender):
    def post(self, *args, **kwargs):
        answer = super().post(*args, **kwargs)
        print("sent", answer.status, flush=True)
        time.sleep(3600)
        return answer

clock = lambda: datetime.now(UTC) + timedelta(minutes=1)
sender = Stalls(allowed=AllowList.parse("127.0.0.1"), timeout_seconds=30)
Tick(ledger=Ledger(sys.argv[1]), sender=sender, clock=clock).run()
"""


def test_a_daemon_that_is_killed_between_sending_and_recording_sends_again_with_the_same_id(
    outbox: Outbox, to: Receiver
) -> None:
    outbox.endpoint(f"{to.url}/ok")
    (job,) = outbox.world.taken("a.csv")
    process = subprocess.Popen(
        [sys.executable, "-c", SENDER, outbox.world.database.pipeline_url], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "sent 200\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    assert tick(outbox).delivered == 0, "its lease holds for a while, and so does the order"
    (row,) = outbox.world.rows(
        "SELECT max(leased_until) AS until FROM callback_deliveries WHERE job_id = %s", job.job_id
    )
    outbox.now = row["until"]
    assert tick(outbox).delivered == 2
    assert told(to) == [(job.job_id, 1), (job.job_id, 1), (job.job_id, 2)]
    assert ids(to)[0] == ids(to)[1] != ids(to)[2]
    assert [(row["state"], row["tries"]) for row in outbox.log()] == [("delivered", 2), ("delivered", 1)]
    assert not outbox.waits()
    assert outbox.log(state=DeliveryState.PARKED) == []
