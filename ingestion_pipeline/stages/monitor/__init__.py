"""Monitor: wait for a Druid task, judge it, and prove by counting that its rows are there, or are not.

What belongs here: the waiting loops (clock and sleep are arguments, nothing is kept between calls, so any of
them may be left and entered again) and the judgements. What does not: HTTP (`adapters.druid`), which error a
text means (`domain.druid_failures`), the ledger (the op's `progress` writes there).
"""

from ingestion_pipeline.stages.monitor.drift import find_drift
from ingestion_pipeline.stages.monitor.follow import follow_task, judge_task
from ingestion_pipeline.stages.monitor.proof import (
    judge_counts,
    judge_replaced,
    prove_absent,
    prove_counts,
    prove_replaced,
    require_served,
)
from ingestion_pipeline.stages.monitor.waiting import DruidReader, Progress, Verdict

__all__ = [
    "DruidReader",
    "Progress",
    "Verdict",
    "find_drift",
    "follow_task",
    "judge_counts",
    "judge_replaced",
    "judge_task",
    "prove_absent",
    "prove_counts",
    "prove_replaced",
    "require_served",
]
