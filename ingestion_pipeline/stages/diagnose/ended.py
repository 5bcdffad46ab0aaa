"""Why a job ended as it did, whether its rows are still there, and what to do about it.

What belongs here: one entry for every outcome and every code of an error (a test holds the two against the trees). What
does not: jobs that have not ended.
"""

from collections.abc import Mapping, Sequence

from ingestion_pipeline.domain.contract import DELIMITED_TEXT
from ingestion_pipeline.domain.correction import keeper, open_rejects
from ingestion_pipeline.domain.diagnosis import DruidNow, Facts, NoAnswer
from ingestion_pipeline.domain.job import LOADED_OUTCOMES, UNCERTAIN_OUTCOMES, Cause, Job, Outcome, Status
from ingestion_pipeline.domain.orders import SHORT_ID, short
from ingestion_pipeline.domain.reconciliation import unmended
from ingestion_pipeline.stages.diagnose.answer import (
    START_DRUID,
    Answer,
    command,
    fine,
    needs_a_person,
    on_its_way,
    rows,
    sentence,
)

_AGAIN = "Try again: {replay}."
_MEND_AND_REPLAY = "Correct what the error names; then {replay}."
_CORRECT_THE_FILE = "Correct the file and upload it again."
_REJECTED = (
    "Look at the rejected rows: {rejected}. Correct the file and upload it again, or mend the contract and {replay}."
)
_UNCERTAIN = (
    "Druid may hold rows of it, so nothing is tried by itself: {replay} loads the file in place of whatever is there, "
    "{undo} takes that out."
)

FAILURE_STEPS: Mapping[str, str] = {
    "unreadable": _CORRECT_THE_FILE,
    "file": _CORRECT_THE_FILE,
    "object_missing": "Put it into the bucket again if it is still wanted; under the same key, the new object is a job "
    "of its own.",
    "object_denied": "Mend its owner or the bucket's policy, or restore it from its archive; then {replay}.",
    "no_accepted_rows": _REJECTED,
    "too_many_rejects": _REJECTED,
    "family_changed": "See what has its rows now, and decide again: {about}.",
    "fix_under_way": "Wait for the end of the other correction, then resubmit what is still open.",
    "not_a_fix": "Send only the rows that are open: {about} tells how many.",
    "contract_invalid": "`ingestion-pipeline contract check` shows the mistake; once it is mended, {replay}.",
    "druid_rejected": "Druid's words tell what it will not have, often a permission or an extension; mend that, then "
    "{replay}.",
    "configuration": _MEND_AND_REPLAY,
    "stack": _MEND_AND_REPLAY,
    "permanent": _MEND_AND_REPLAY,
    "correction_refused": "Nothing was changed. Rewrite those days with a task of your own, or move that column to "
    "another datasource.",
    "unproved": f"Do Druid's historicals run, and have they room? {_UNCERTAIN}",
    "duplicated": _UNCERTAIN,
    "proof_failed": _UNCERTAIN,
    "internal": "`ingestion-pipeline logs code-server` has the traceback; please report it. Then {replay}.",
    "superseded": "Nothing: a newer version of the key is a job of its own.",
    **dict.fromkeys(
        (
            "transient",
            "s3_unavailable",
            "druid_unavailable",
            "ledger_unavailable",
            "datasource_busy",
            "contract_changed",
            "task_failed",
            "lease_lost",
            "worker_lost",
            "stopped",
        ),
        _AGAIN,
    ),
}
"""What to do about a failed job, by its outcome, which is the code of its error; `worker_lost` is the sweep's own."""


def ended(facts: Facts, job: Job) -> Answer:
    """A final job: what became of it, and of its rows since."""
    if job.outcome in LOADED_OUTCOMES:
        return _loaded(facts, job)
    if job.status is Status.FAILED:
        return _failed(facts, job)
    return _without_rows(job, Outcome(str(job.outcome)))


def _loaded(facts: Facts, job: Job) -> Answer:
    what = rows(job.rows_accepted)
    if facts.open_change is not None:
        return on_its_way(
            "being_changed",
            f"It is loaded, {what}; job {short(facts.open_change)} is about to replace or take out its rows.",
            f"Ask about that one: {command('why', facts.open_change)}.",
        )
    druid = facts.druid
    if isinstance(druid, NoAnswer) or (druid is not None and druid.counted is None and druid.problem):
        return needs_a_person(
            "druid_down",
            f"It was loaded, {what} counted in Druid, which cannot be asked now: {sentence(druid.problem or '')}",
            START_DRUID,
        )
    if druid is not None and druid.counted is not None and druid.counted != job.rows_accepted:
        return _other_count(job, druid, druid.counted)
    rejected = f" {rows(job.rows_rejected)} rejected." if job.rows_rejected else ""
    when = "counted when it was loaded and again now" if druid is not None and druid.counted is not None else "counted"
    return fine(
        str(job.outcome), f"It is loaded: {what} in Druid, {when}.{rejected}", _next_of_loaded(job, facts.family)
    )


def _other_count(job: Job, druid: DruidNow, counted: int) -> Answer:
    expected = job.rows_accepted
    if counted > expected:
        return needs_a_person(
            "count_over",
            f"It was loaded, {rows(expected)}, and Druid counts {counted:,} now: somebody else has loaded rows "
            "under its job id.",
            f"{command('replay', job)} loads it in place of whatever is there.",
        )
    short_by = f"It was loaded, {rows(expected)} counted in Druid, which counts {counted:,} now"
    if druid.loaded_percent is not None and druid.loaded_percent < 100:
        return on_its_way(
            "segments_loading",
            f"{short_by}: only {druid.loaded_percent:.0f} % of the segments of its time is served.",
            "Wait, if Druid's historicals were just started. If it stays, see that they run and have room on their "
            "disks: `ingestion-pipeline status`.",
        )
    return needs_a_person(
        "count_short",
        f"{short_by}, with all segments of its time served: rows were dropped in Druid itself, by hand or by a "
        "retention rule.",
        f"If they are still wanted, {command('replay', job)} loads the file in place of what is left.",
    )


def _failed(facts: Facts, job: Job) -> Answer:
    code = str(job.outcome)
    hint = str(job.result.get("hint") or "")
    told = f"It failed ({code}): {sentence(job.error_message or 'no reason was written down')}"
    if code in UNCERTAIN_OUTCOMES and isinstance(facts.druid, DruidNow) and facts.druid.counted is not None:
        told += f" Druid counts {facts.druid.counted:,} of {rows(job.rows_accepted)} now."
    if "replaced_by" in job.result:
        by = str(job.result["replaced_by"])
        return fine(code, told, f"Nothing: job {short(by)} has replaced whatever it had loaded.")
    if job.cause is Cause.UNDO:
        return needs_a_person(code, told, f"Try again: {command('undo', str(job.replaces_job_id))}.")
    step = FAILURE_STEPS.get(code, _MEND_AND_REPLAY).format(
        replay=command("replay", job),
        undo=command("undo", job),
        rejected=command("rejected", job),
        about=command("why", job.replaces_job_id or job.parent_job_id or job),
    )
    if hint and code not in ("unreadable", "too_many_rejects", "no_accepted_rows") and hint not in told:
        told += f" {sentence(hint)}"
    return needs_a_person(code, told, step)


def _without_rows(job: Job, outcome: Outcome) -> Answer:
    """Completed without rows in Druid, or canceled."""
    by = str(job.result.get("replaced_by", ""))
    if outcome is Outcome.DUPLICATE:
        twin = str(job.result.get("duplicate_of", ""))
        known = f"job {twin}" if twin else "a job before it"
        told = f"It has the very content that {known} has loaded already: its rows are in Druid, once."
        return fine(outcome, told, f"Nothing: job {twin or 'before it'} has the same rows.")
    if outcome is Outcome.SUPERSEDED:
        why = str(job.result.get("summary") or "a newer version of the object arrived before this one was read")
        return fine(outcome, sentence(f"It was not loaded: {why}"), FAILURE_STEPS["superseded"])
    if outcome is Outcome.REPLACED:
        return fine(
            outcome, f"It was loaded, and replaced by job {by}.", f"Nothing: the rows of job {by} are in their place."
        )
    if outcome is Outcome.UNDONE and job.cause is Cause.UNDO:
        return fine(outcome, f"It took the rows of job {job.replaces_job_id} out of Druid.", "Nothing.")
    if outcome is Outcome.UNDONE:
        told = f"It was loaded, and job {by} took its rows out of Druid again: somebody ordered that."
        return fine(outcome, told, f"{command('replay', job)} loads it again.")
    if outcome is Outcome.EMPTY:
        told = "It was read to its end and has a header and no rows: there is nothing to load."
        return fine(outcome, told, "Nothing, if that is as it should be; else upload the file with its rows.")
    if outcome is Outcome.EXPIRED:
        told = "It was announced, and its object never came into the bucket."
        return needs_a_person(outcome, told, "Upload it again if it is wanted.")
    told = f"It was stopped: {sentence(job.error_message or 'a person canceled its run')}"
    return needs_a_person(Outcome.STOPPED, told, f"If it is wanted after all: {command('replay', job)}.")


def _next_of_loaded(job: Job, family: Sequence[Job]) -> str:
    if unmended(job.job_id, job.warnings):
        return "Read its warning: rows in Druid were found to differ from what was proved."
    if job.outcome != Outcome.LOADED_WITH_REJECTS or not family:
        return "Nothing: every row was counted in Druid."
    root, id_ = keeper(family), job.job_id[:SHORT_ID]
    kind = (job.result.get("format") or {}).get("format", DELIMITED_TEXT)
    if not root.holds_rows or kind != DELIMITED_TEXT:
        # A replay or a second try, or no lines to send alone: what it rejected is corrected in the whole file.
        return f"Correct the rejected rows in the file and send it: `ingestion-pipeline upload FILE --replaces {id_}`."
    if not open_rejects(family):
        return "Nothing: every rejected row was corrected."
    return (
        f"Correct the rejected rows: `ingestion-pipeline rejected {id_} --fixable --output FILE` writes them; then "
        f"`ingestion-pipeline resubmit {short(root)} FILE`."
    )
