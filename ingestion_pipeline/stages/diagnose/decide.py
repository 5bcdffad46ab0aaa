"""Which of the answers it is: by whether there is a job, and by the job's status."""

from ingestion_pipeline.domain.diagnosis import Facts
from ingestion_pipeline.domain.job import Status
from ingestion_pipeline.stages.diagnose.answer import Answer
from ingestion_pipeline.stages.diagnose.ended import ended
from ingestion_pipeline.stages.diagnose.unentered import without_job
from ingestion_pipeline.stages.diagnose.waiting import waiting
from ingestion_pipeline.stages.diagnose.working import working


def diagnose(facts: Facts) -> Answer:
    """Why the file is not loaded, or that it is.

    Where a system was not asked, the answer is what the others say; `status` asks the ledger alone.
    """
    if facts.job is None or facts.newer_object:
        return without_job(facts)
    if facts.job.job.status.is_final:
        return ended(facts, facts.job.job)
    if facts.job.job.status is Status.PROCESSING:
        return working(facts, facts.job)
    return waiting(facts, facts.job)
