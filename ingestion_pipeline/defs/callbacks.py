"""The callback sensor: sends what is due in the outbox (the ledger), to every endpoint beside the others.

Idempotency: a delivery is leased before it is sent and recorded after. A tick that dies between the two leaves
the lease to run out, and the delivery is sent again with the same `webhook-id`; nothing is lost, and receivers know a
second one by its id. Two ticks at once take different deliveries. There is no cursor.
"""

import random
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime

import dagster as dg
import structlog

from ingestion_pipeline.adapters.callback import CallbackSender
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.defs.batch import now
from ingestion_pipeline.stages.deliver import Sender, Served, serve

SENSOR_NAME = "callbacks"
INTERVAL_SECONDS = 4

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a tick may take.

    A tick goes on while something is due, so that the others do not wait for the next one while an endpoint keeps
    its thread. What failed before is begun early only: it may take its whole timeout.
    """

    budget_seconds: float = 15.0
    failing_seconds: float = 5.0
    threads: int = 8
    failing_threads: int = 4
    deliveries_at_once: int = 25
    look_every_seconds: float = 0.25
    endpoints: int = 500


@dg.sensor(
    name=SENSOR_NAME,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells organizations' endpoints what became of their files.",
)
def callbacks(
    context: dg.SensorEvaluationContext, ledger: dg.ResourceParam[Ledger], callback: dg.ResourceParam[CallbackSender]
) -> dg.SkipReason:
    served = Tick(ledger=ledger, sender=callback).run()
    for note in served.notes[:20]:
        context.log.warning(note)
    summary = f"{served.delivered} delivered, {served.failed} failed, {served.parked} of them parked."
    if served.delivered or served.failed:
        log.info("callbacks", delivered=served.delivered, failed=served.failed, parked=served.parked)
    return dg.SkipReason(summary if served.delivered or served.failed else "Nothing is due.")


@dataclass(slots=True, kw_only=True)
class Tick:
    """One tick: a thread per endpoint that has something due, as long as there is time."""

    ledger: Ledger
    sender: Sender
    limits: Limits = field(default_factory=Limits)
    clock: Callable[[], datetime] = now
    jitter: Callable[[], float] = random.random
    _began: float = field(default_factory=time.monotonic)

    def run(self) -> Served:
        """Serve what is due and what becomes due meanwhile.

        Raises:
            LedgerUnavailable: What was sent and not recorded is sent again.
        """
        total = Served()
        working: dict[Future[Served], str] = {}
        with (
            ThreadPoolExecutor(self.limits.threads, "callback") as healthy,
            ThreadPoolExecutor(self.limits.failing_threads, "callback-failing") as failing,
        ):
            while True:
                due = self.ledger.deliveries.due(
                    besides=set(working.values()), limit=self.limits.endpoints, now=self.clock()
                )
                for endpoint in due:
                    until = self.limits.failing_seconds if endpoint.failing else self.limits.budget_seconds
                    if self._elapsed() < until:
                        pool = failing if endpoint.failing else healthy
                        working[pool.submit(self._serve, endpoint.endpoint_id, until)] = endpoint.endpoint_id
                if not working:
                    return total
                done, _ = wait(working, timeout=self.limits.look_every_seconds, return_when=FIRST_COMPLETED)
                for future in done:
                    del working[future]
                    total.add(future.result())

    def _serve(self, endpoint_id: str, until: float) -> Served:
        return serve(
            endpoint_id,
            outbox=self.ledger.deliveries,
            sender=self.sender,
            clock=self.clock,
            jitter=self.jitter,
            go_on=lambda: self._elapsed() < until,
            most=self.limits.deliveries_at_once,
        )

    def _elapsed(self) -> float:
        return time.monotonic() - self._began
