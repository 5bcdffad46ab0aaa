"""The uploads sensor: discover (S3 -> ledger) and dispatch (ledger -> run requests).

Idempotency: what is entered, claimed and launched is decided in the ledger. A tick that dies anywhere leaves
uploads unentered (the next sweep sees them), or claims without a run (released after a while): nothing is lost,
and a run key is a claim's token, so that no claim is launched twice. A body that outlives its tick holds the
dispatcher's lock, and the next tick does nothing. The cursor is an optimisation.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import structlog

from ingestion_pipeline.adapters.contract_directory import ContractDirectory
from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.defs.assets import job_name
from ingestion_pipeline.defs.batch import now
from ingestion_pipeline.defs.dispatcher import Dispatcher
from ingestion_pipeline.domain.contract import ContractBook
from ingestion_pipeline.domain.upload import StoredObject
from ingestion_pipeline.errors import FileError
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.stages.discover import Cursor, Found, Limits, discover
from ingestion_pipeline.upkeep.entry import Entry

SENSOR_NAME = "uploads"
# The daemon looks at sensors every five seconds; an interval of five, a moment late, would skip every other look.
INTERVAL_SECONDS = 4
# Of each tick, for objects that nobody wanted when they were found and that somebody may want now.
LOOK_AGAIN_SECONDS = 2.0

log = structlog.get_logger()


def uploads_sensor(jobs: Sequence[Any], first_days: Mapping[str, date]) -> dg.SensorDefinition:
    """The sensor over all datasources.

    Args:
        jobs: The datasources' jobs.
        first_days: The first partition day of each datasource that this code location has loaded; a newer contract
            needs a restarted code server.
    """
    datasources = frozenset(first_days)

    @dg.sensor(
        name=SENSOR_NAME,
        jobs=jobs,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Enters new uploads into the ledger and launches runs for those that wait.",
    )
    def uploads(
        context: dg.SensorEvaluationContext,
        ledger: dg.ResourceParam[Ledger],
        bucket: dg.ResourceParam[ObjectStore],
        druid: dg.ResourceParam[Druid],
        contracts: dg.ResourceParam[ContractDirectory],
        settings: dg.ResourceParam[Settings],
    ) -> dg.SensorResult:
        began = time.monotonic()

        def in_budget() -> bool:
            return time.monotonic() - began < settings.tick_budget_seconds

        with ledger.queue.only_dispatcher() as mine:
            if not mine:
                return dg.SensorResult(skip_reason="The last tick is still at work; this one leaves it alone.")
            book = contracts.book()
            notes = list(_contract_notes(book, datasources))
            for note in notes:
                context.log.warning(note)
            cursor, found = discover_tick(
                context.cursor, ledger=ledger, bucket=bucket, book=book, settings=settings, in_budget=in_budget
            )
            for warning in [*found.warnings[:20], *(f"{key}: {why}" for key, why in found.unmatched[:20])]:
                context.log.warning(warning)
            dispatcher = Dispatcher(
                ledger=ledger,
                instance=context.instance,
                druid=druid,
                settings=settings,
                datasources={name: first_days[name] for name in sorted(datasources & set(book.contracts))},
                waiting_because=_waiting_because(book, datasources),
            )
            launched, why_not = dispatcher.tick(now())
        summary = (
            f"{found.list_calls} LIST calls, {found.objects} objects, {found.new} new, {found.arrived} arrived, "
            f"{len(found.unmatched)} unmatched."
        )
        log.info(
            "tick",
            list_calls=found.list_calls,
            objects=found.objects,
            new=found.new,
            unmatched=len(found.unmatched),
            launched=len(launched),
            seconds=round(time.monotonic() - began, 3),
        )
        context.log.info(f"{summary} {len(launched)} runs requested.")
        if not launched:
            return dg.SensorResult(skip_reason=" ".join([summary, *why_not, *notes]), cursor=cursor)
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    run_key=claim.token,
                    job_name=job_name(claim.batch.datasource),
                    partition_key=claim.batch.partition_day.isoformat(),
                    tags=claim.tags,
                )
                for claim in launched
            ],
            cursor=cursor,
        )

    return uploads


def discover_tick(
    cursor: str | None,
    *,
    ledger: Ledger,
    bucket: ObjectStore,
    book: ContractBook,
    settings: Settings,
    in_budget: Callable[[], bool],
) -> tuple[str, Found]:
    """Look at the bucket once and enter what is new; returns the next cursor and what was seen.

    Raises:
        ConfigurationError, S3Unavailable, LedgerUnavailable: The tick fails with that sentence and is repeated.
    """
    moment = now()
    entry = Entry.open(ledger, bucket.bucket, book, now=moment)
    position, found = discover(
        bucket,
        cursor=Cursor.from_text(cursor),
        book=book,
        organizations=entry.organizations,
        limits=Limits(cold_pages=settings.sweep_pages_per_tick, hot_pages=settings.hot_prefixes_per_tick),
        now=moment,
        in_budget=in_budget,
        enter=entry.enter,
    )
    # The sweep comes to them too: this is the short way, and new objects do not wait for it.
    until = time.monotonic() + LOOK_AGAIN_SECONDS
    again = ledger.discovery.unmatched_to_look_at(bucket.bucket, routing_version=entry.routing_version, limit=1000)
    # One that was deleted meanwhile would be entered for nothing: only those still there are looked at.
    asked = [(item, _now_there(bucket, item)) for item in again if time.monotonic() < until and in_budget()]
    second = Found()
    entry.enter([stored for _, stored in asked if stored is not None], second)
    still = {key for key, _ in second.unmatched}
    ledger.discovery.forget_unmatched(bucket.bucket, [item.key for item, _ in asked if item.key not in still])
    found.new += second.new
    return position.to_text(), found


def _now_there(bucket: ObjectStore, item: StoredObject) -> StoredObject | None:
    """The object as it is now; as it was listed, when its name cannot be asked for: its run will say so."""
    try:
        return bucket.head(item.key)
    except FileError:
        return item


def _contract_notes(book: ContractBook, datasources: frozenset[str]) -> Iterator[str]:
    for error in book.broken:
        yield f"Datasource {error.details.get('datasource')} is disabled: {error}"
    for name in sorted(set(book.contracts) - datasources):
        yield f"Datasource {name} has a new contract: restart the code server to load its files."


def _waiting_because(book: ContractBook, datasources: frozenset[str]) -> dict[str, str]:
    reasons = {name: f"The contract is not usable: {error}" for name, error in book.broken_datasources.items()}
    for name in set(book.contracts) - datasources:
        reasons[name] = "The contract is new: the code server must be restarted to see it."
    for name in datasources - set(book.contracts) - set(reasons):
        reasons[name] = "The contract's file is gone."
    return reasons
