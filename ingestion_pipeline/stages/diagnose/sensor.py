"""Whether anything in Dagster would notice a file and launch a run for it."""

from datetime import datetime

from ingestion_pipeline.domain.diagnosis import DagsterNow, NoAnswer
from ingestion_pipeline.stages.diagnose.answer import Answer, ago, at, needs_a_person, sentence

SENSOR_NAME = "uploads"


def sensor_problem(dagster: DagsterNow | NoAnswer | None, now: datetime) -> Answer | None:
    """Why nobody looks for files at the moment; None when the sensor runs, or nobody asked."""
    if dagster is None:
        return None
    if isinstance(dagster, NoAnswer):
        return needs_a_person(
            "dagster_unknown",
            f"{sentence(dagster.problem)} Whether the sensor runs is not known.",
            "Start what is missing: `ingestion-pipeline status` shows Dagster's services, `ingestion-pipeline up` "
            "starts them.",
        )
    if not dagster.daemon_healthy:
        since = f"since {at(dagster.beat_at)}" if dagster.beat_at else "and never did"
        return needs_a_person(
            "daemon_down",
            f"Dagster's daemon does not run {since}: no file is noticed and no run is launched.",
            "Start it: `ingestion-pipeline up`.",
        )
    if dagster.sensor is None:
        return needs_a_person(
            "sensor_absent",
            f"Dagster has no sensor '{SENSOR_NAME}' at the moment: its code location is not loaded.",
            "The page Deployment of Dagster's UI says why; `ingestion-pipeline logs code-server` has the whole of it.",
        )
    if dagster.sensor != "RUNNING":
        return needs_a_person(
            "sensor_stopped",
            f"The sensor '{SENSOR_NAME}' is stopped: no file is noticed and no run is launched.",
            "Start it on its page in Dagster's UI.",
        )
    tick = dagster.last_tick
    if tick is not None and tick.failed:
        return needs_a_person(
            "sensor_failing",
            f"The sensor '{SENSOR_NAME}' fails; its last tick, {ago(tick.at, now)}, said: {sentence(tick.told)}",
            "Mend what it names; it goes on with its next tick by itself.",
        )
    return None
