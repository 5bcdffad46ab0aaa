"""Why an object has no job: it is not there, nothing claims it, or nobody has noticed it yet."""

from ingestion_pipeline.domain.contract_patterns import OWN_PREFIXES
from ingestion_pipeline.domain.diagnosis import Absent, Facts, NoAnswer
from ingestion_pipeline.domain.routing import NoRoute
from ingestion_pipeline.domain.upload import StoredObject
from ingestion_pipeline.stages.diagnose.answer import Answer, ago, needs_a_person, on_its_way, sentence
from ingestion_pipeline.stages.diagnose.sensor import sensor_problem

NO_ROUTE_STEPS = {
    "folder_marker": "Nothing: only what lies in the folder is loaded. Ask for one of its files.",
    "no_contract": "Put it where a contract looks (`ingestion-pipeline contract show DATASOURCE` lists the patterns; "
    "uploads/ORGANIZATION/DATASOURCE/YYYY-MM-DD/ANYTHING/NAME always is one), or add a pattern to a contract: it is "
    "looked at again by itself.",
    "unknown_organization": "If it is a customer of yours: `ingestion-pipeline organizations add NAME`; the object is "
    "taken with the sensor's next tick. Else put it under the right organization; `ingestion-pipeline organizations "
    "list` has them.",
    "contract_broken": "`ingestion-pipeline contract check` shows the mistake with file and line; once it is mended "
    "the file is taken by itself.",
    "no_partition_day": "Give it a key with a date for which there is a partition, or an earlier partition_start in "
    "the contract.",
}
"""What to do about an object that belongs nowhere, by the reason that routing gives."""


def without_job(facts: Facts) -> Answer:
    """Why there is no job of this object (or of this version of it)."""
    if facts.ledger is not None:
        return needs_a_person(
            "ledger_unavailable",
            f"{sentence(facts.ledger.problem)} What became of files is not known without it.",
            facts.ledger.hint or "Start it, and ask again.",
        )
    place = f"s3://{facts.bucket}/{facts.key}"
    if facts.key.startswith(OWN_PREFIXES):
        return needs_a_person(
            "own_object",
            f"{place} lies where the system keeps its own objects ({', '.join(OWN_PREFIXES)}): nothing there is "
            "loaded.",
            "Put the file under another key.",
        )
    if isinstance(facts.stored, NoAnswer):
        return needs_a_person(
            "bucket_unknown",
            f"There is no job of it, and whether the object is there is not known: {sentence(facts.stored.problem)}",
            facts.stored.hint or "Ask again when the bucket answers.",
        )
    if isinstance(facts.stored, Absent) or facts.stored is None:
        whole = "" if "/" in facts.key else " If it lies in a folder, ask with the whole key."
        return needs_a_person(
            "no_such_object",
            f"There is no object {place}, and no job of that name: it never came, or was deleted before it was noticed."
            f"{whole}",
            "Put it into the bucket, or send it: `ingestion-pipeline upload FILE --datasource NAME`. "
            "`ingestion-pipeline jobs` lists what came.",
        )
    if isinstance(facts.route, NoRoute):
        return needs_a_person(facts.route.reason, facts.route.message, NO_ROUTE_STEPS[facts.route.reason])
    if isinstance(facts.route, NoAnswer):
        return needs_a_person(
            "contracts_unknown",
            f"The object is there; where it belongs is not known: {sentence(facts.route.problem)}",
            facts.route.hint or "`ingestion-pipeline contract check` says more.",
        )
    return sensor_problem(facts.dagster, facts.now) or _not_noticed(facts, facts.stored)


def _not_noticed(facts: Facts, stored: StoredObject) -> Answer:
    version = "This version of it" if facts.newer_object else "It"
    why = (
        "it belonged nowhere when it was first looked at, and contracts or organizations have changed since"
        if facts.known_since
        else "the sensor looks every few seconds; in a bucket of many thousands of objects an old or oddly dated key "
        "is reached by the sweep, which takes more ticks"
    )
    return on_its_way(
        "not_noticed_yet",
        f"{version} was put into the bucket {ago(stored.last_modified, facts.now)} and is to be loaded, and has not "
        f"been noticed yet: {why}.",
        "Wait for the sensor's next ticks; its page in Dagster's UI shows what each has seen.",
    )
