"""What tests of callbacks share: endpoints and deliveries in the ledger, and a receiver in a process of its own.

What belongs here: making, sending and reading. What does not: what is expected of them.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from ingestion_pipeline.adapters.callback import CallbackSender, Resolve
from ingestion_pipeline.domain.callback import SELECTABLE, Answer, Delivery, DeliveryState, Event, Verdict
from ingestion_pipeline.domain.callback_address import AllowList
from ingestion_pipeline.domain.callback_signature import secret_of
from ingestion_pipeline.stages.deliver import LEASE_SECONDS, judge
from ingestion_pipeline_tests.ledger import World

SECRET = secret_of(b"a secret that everybody may know")
LOOPBACK = AllowList.parse("127.0.0.1")
RECEIVER = Path(__file__).with_name("callback_receiver.py")


@dataclass
class Outbox:
    """One world's outbox, with a clock that is ahead of the database's, so that what was written is due."""

    world: World
    now: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(minutes=1))

    def later(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now

    def endpoint(
        self,
        url: str = "https://hooks.example/",
        *,
        events: Sequence[Event] = SELECTABLE,
        datasources: Sequence[str] | None = None,
        secret: str = SECRET,
    ) -> str:
        endpoint_id = str(uuid4())
        self.world.ledger.callbacks.add(
            endpoint_id=endpoint_id,
            organization=self.world.name,
            url=url,
            events=events,
            datasources=datasources,
            secret=secret,
            now=self.now,
        )
        return endpoint_id

    def take(self, endpoint_id: str) -> Delivery | None:
        return self.world.ledger.deliveries.take(endpoint_id, now=self.now, lease_seconds=LEASE_SECONDS)

    def taken(self, endpoint_id: str) -> Delivery:
        delivery = self.take(endpoint_id)
        assert delivery is not None
        return delivery

    def record(self, delivery: Delivery, answer: Answer) -> Verdict:
        verdict = judge(delivery, answer, now=self.now, jitter=0.5)
        self.world.ledger.deliveries.record(delivery, answer, verdict, started_at=self.now, now=self.now)
        return verdict

    def tried(self, endpoint_id: str, answer: Answer) -> Delivery:
        """A job's first event, sent once."""
        self.world.job(f"{uuid4().hex}.csv")
        delivery = self.taken(endpoint_id)
        self.record(delivery, answer)
        return delivery

    def due(self) -> set[str]:
        return {found.endpoint_id for found in self.world.ledger.deliveries.due(limit=1000, now=self.now)}

    def log(self, **narrowed: Any) -> list[dict[str, Any]]:
        """Oldest first."""
        found = self.world.ledger.callbacks.log(organization=self.world.name, limit=1000, **narrowed)
        return found[::-1]

    def states(self, **narrowed: Any) -> list[tuple[str, str]]:
        return [(row["event"].split(".")[1], row["state"]) for row in self.log(**narrowed)]

    def endpoint_row(self, endpoint_id: str) -> dict[str, Any]:
        (row,) = self.world.ledger.callbacks.endpoints(id_prefix=endpoint_id, removed=True, now=self.now)
        return row

    def waits(self) -> bool:
        return any(row["state"] == DeliveryState.PENDING for row in self.log())


def sender(
    *, allowed: AllowList = LOOPBACK, timeout_seconds: float = 2.0, resolve: Resolve | None = None
) -> CallbackSender:
    return CallbackSender(allowed=allowed, timeout_seconds=timeout_seconds, resolve=resolve)


@dataclass
class Receiver:
    """A receiver in a process of its own, which writes down every request before it answers."""

    port: int
    written: Path
    process: "subprocess.Popen[str]"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def requests(self, path: str | None = None) -> list[dict[str, Any]]:
        """What came, in order: `path`, `headers`, `body`, `at`."""
        lines = self.written.read_text().splitlines() if self.written.exists() else []
        return [found for found in map(json.loads, lines) if path in (None, found["path"])]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def receiver(directory: Path, *, port: int = 0) -> Iterator[Receiver]:
    """A receiver that is ready; see `callback_receiver` for what its paths do."""
    written = directory / "received.jsonl"
    process = subprocess.Popen(
        [sys.executable, str(RECEIVER), str(port), str(written)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    made = Receiver(int(process.stdout.readline()), written, process)
    try:
        yield made
    finally:
        made.kill()


def until(what: str, look: Any, *, seconds: float = 30.0) -> Any:
    """The first true answer of `look`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not seen within {seconds:g} s: {what}")
