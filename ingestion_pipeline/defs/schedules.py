"""Schedules: the sweep's safety net, for when the uploads sensor is stopped or cannot tick.

Idempotency: sweeping judges claims by the ledger and by Dagster's runs; doing it twice changes nothing more.
"""

import dagster as dg

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.defs.batch import now
from ingestion_pipeline.defs.dispatcher import Dispatcher
from ingestion_pipeline.settings import Settings

SWEEP_CRON = "*/10 * * * *"


@dg.op(description="Give back the jobs of runs that died; end announced uploads that never came.")
def sweep_claims(
    context: dg.OpExecutionContext,
    ledger: dg.ResourceParam[Ledger],
    druid: dg.ResourceParam[Druid],
    settings: dg.ResourceParam[Settings],
) -> None:
    with ledger.queue.only_dispatcher() as mine:
        if not mine:
            context.log.info("The uploads sensor is sweeping right now.")
            return
        dispatcher = Dispatcher(
            ledger=ledger, instance=context.instance, druid=druid, settings=settings, datasources={}
        )
        changed = dispatcher.sweep(now())
    context.add_output_metadata({"claims_swept": changed})


@dg.job(description="What the uploads sensor does first in every tick; run it by hand when the sensor is stopped.")
def sweep() -> None:
    sweep_claims()


@dg.schedule(
    job=sweep,
    cron_schedule=SWEEP_CRON,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="The sweep's safety net: runs only when a claim has been silent for longer than the sensor allows.",
)
def sweep_schedule(
    context: dg.ScheduleEvaluationContext, ledger: dg.ResourceParam[Ledger], settings: dg.ResourceParam[Settings]
) -> dg.RunRequest | dg.SkipReason:
    limit = 2 * max(settings.claim_timeout_seconds, settings.heartbeat_limit_seconds)
    moment = now()
    silent = [
        claim
        for claim in ledger.queue.open_claims()
        if (moment - max(claim.claimed_at, claim.heartbeat_at or claim.claimed_at)).total_seconds() > limit
    ]
    if not silent:
        return dg.SkipReason("Every claim is alive: nothing to sweep.")
    return dg.RunRequest(run_key=None)
