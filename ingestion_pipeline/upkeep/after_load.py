"""Putting loaded uploads away, as their contracts say; a bounded number a run.

What belongs here: which contracts and jobs, and what is counted. What does not: one upload (`stages.after_load`).

Idempotency: a job is done once it says what was done; until then each step may be repeated.
"""

from collections import Counter
from collections.abc import Callable
from datetime import datetime

import structlog

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.adapters.s3_upkeep import BucketUpkeep
from ingestion_pipeline.domain.contract import ContractBook
from ingestion_pipeline.stages.after_load import PutAway

MAX_UPLOADS = 5_000

log = structlog.get_logger()


def put_uploads_away(
    ledger: Ledger,
    bucket: ObjectStore,
    book: ContractBook,
    *,
    now: datetime,
    tell: Callable[[str], None],
    dry_run: bool = False,
) -> Counter[str]:
    """Tag, move or delete the uploads that are due; returns how many by what was done.

    Args:
        dry_run: Only count those that are due, as "due".
    """
    done: Counter[str] = Counter()
    putting = PutAway(bucket=bucket, keeping=BucketUpkeep(bucket), ledger=ledger.upkeep)
    for contract in book.contracts.values():
        after = contract.after_load
        if after.action == "keep":
            continue
        due = ledger.upkeep.to_put_away(
            contract.datasource,
            bucket.bucket,
            before=now - after.minimum_age,
            limit=max(0, MAX_UPLOADS - done.total()),
        )
        for job in due:
            if dry_run:
                done["due"] += 1
                continue
            what = putting.put_away(job, after)
            if what is not None:
                ledger.upkeep.put_away(job, what)
                log.info("upload_put_away", job=job.job_id, datasource=job.datasource, done=what)
            done[what or "waiting"] += 1
        tell(f"{contract.datasource}: {len(due):,} uploads, action {after.action}")
    return done
