"""Prove by counting that rows are in Druid, or are not."""

from collections.abc import Callable, Collection, Mapping, Sequence

from ingestion_pipeline.domain.interval import Interval, hull, merged
from ingestion_pipeline.errors import DruidUnavailable, Duplicated, ProofFailed, Unproved
from ingestion_pipeline.stages.monitor.waiting import (
    LAST_POLL_SECONDS,
    LOOK,
    PATIENCE_SECONDS,
    Clock,
    DruidReader,
    OnProgress,
    Progress,
    Sleep,
    Verdict,
    pauses,
)


def judge_counts(expected: Mapping[str, int], counted: Mapping[str, int]) -> Verdict:
    """Compare rows per job: "over" if any job has too many, else "short" if any has too few, else "proved"."""
    wrong = {
        job: {"expected": rows, "counted": counted.get(job, 0)}
        for job, rows in expected.items()
        if counted.get(job, 0) != rows
    }
    if not wrong:
        return Verdict(name="proved")
    over = any(entry["counted"] > entry["expected"] for entry in wrong.values())
    return Verdict(name="over" if over else "short", details={"jobs": wrong})


def prove_counts(
    druid: DruidReader,
    datasource: str,
    expected: Mapping[str, int],
    intervals: Sequence[Interval],
    *,
    deadline_seconds: float,
    sleep: Sleep,
    clock: Clock,
    progress: OnProgress,
    broker_refresh_seconds: float = 2.0,
) -> dict[str, int]:
    """Count the rows of each job until all are there: the proof that a load has happened.

    Fewer rows than expected mean "not yet" until the deadline; more are confirmed once, a broker refresh later.

    Args:
        druid: Where to ask.
        datasource: Druid datasource.
        expected: Rows per job.
        intervals: The attempt's time chunks.
        deadline_seconds: From this call on.
        sleep: Waits for seconds.
        clock: Monotonic seconds.
        progress: Called at every count.
        broker_refresh_seconds: After how long a broker has surely seen a change.

    Returns:
        Rows per job, equal to `expected`.

    Raises:
        Unproved: Rows are missing at the deadline; the hint says whether segments were still loading.
        Duplicated: A job has more rows than expected.
        DruidUnavailable: Druid did not answer at the deadline.
    """
    began = answered = clock()
    within = hull(intervals)
    nudged = False
    for pause in pauses():
        late = clock() - began >= deadline_seconds
        verdict = None
        try:
            counted = druid.count_by_job(datasource, list(expected), within)
            verdict = judge_counts(expected, counted)
            if verdict.name == "proved":
                return counted
            if verdict.name == "over":
                sleep(broker_refresh_seconds)
                counted = druid.count_by_job(datasource, list(expected), within)
                verdict = judge_counts(expected, counted)
                if verdict.name == "over":
                    raise _duplicated(datasource, verdict)
                if verdict.name == "proved":
                    return counted
            rows = sum(counted.values())
            progress(Progress(step="proving", rows=rows, seconds=clock() - began, state=verdict.name))
            if not nudged:
                # The coordinator learns of new segments by a poll that may be a minute away: have it poll now, once.
                loaded_percent(druid, datasource, intervals)
                nudged = True
            answered = clock()
        except DruidUnavailable as error:
            if late or clock() - answered >= PATIENCE_SECONDS:
                error.details["waited_seconds"] = clock() - answered
                raise
            progress(Progress(step="proving", rows=0, seconds=clock() - began, state="Druid away"))
            sleep(LAST_POLL_SECONDS)
            continue
        if late:
            raise _unproved(datasource, verdict, loaded_percent(druid, datasource, intervals), deadline_seconds)
        sleep(min(pause, max(0.0, deadline_seconds - (clock() - began))))
    raise AssertionError("the pauses never end")


def prove_absent(
    druid: DruidReader,
    datasource: str,
    job_ids: Sequence[str],
    intervals: Sequence[Interval],
    *,
    sleep: Sleep,
    clock: Clock,
    broker_refresh_seconds: float,
    deadline_seconds: float = 60.0,
    progress: OnProgress = lambda _: None,
) -> bool:
    """Whether none of the jobs has a row in Druid, by proof: all segments served, a broker refresh later, count 0.

    The segments are asked about again after the count: a broker that has just lost its historical counts 0, and
    says that the datasource does not exist, before the coordinator has noticed.

    Call it only when every attempt that holds the jobs is terminal: an open one may still publish.

    Returns:
        True when no row is there; False when rows are.

    Raises:
        DruidUnavailable: It cannot be proved now (Druid away, or segments not served); wait, post nothing.
    """
    began = clock()
    within = hull(intervals)
    loaded = 0.0
    for pause in pauses():
        served_before = loaded >= 100.0
        if any(druid.served_by_job(datasource, job_ids, within).values()):
            return False
        loaded = loaded_percent(druid, datasource, intervals)
        if loaded >= 100.0 and served_before:
            return True
        if loaded >= 100.0:
            sleep(broker_refresh_seconds)
            continue
        if clock() - began >= deadline_seconds:
            raise DruidUnavailable(
                f"Only {loaded:.0f} % of the segments of {datasource} are served, so it cannot be proved that "
                f"{len(job_ids)} jobs have no rows there.",
                hint="It is tried again when Druid's historicals are back.",
                details={"loaded_percent": loaded, "waited_seconds": clock() - began},
            )
        progress(Progress(step="clearing", rows=0, seconds=clock() - began, state=f"{loaded:.0f} % loaded"))
        sleep(max(pause, 1.0))  # a forced refresh reads the metadata store: not ten times a second
    raise AssertionError("the pauses never end")


# How often everything must be served and the rows still be wrong before a replace is judged by that.
_WRONG_LOOKS = 3


def judge_replaced(
    expected: Mapping[str, int], removed: Collection[str], before: Mapping[str, int], after: Mapping[str, int]
) -> Verdict:
    """Compare rows per job after a replace.

    Args:
        expected: Rows of each job that it put in.
        removed: Jobs whose rows it took out.
        before: Rows per job that nothing else was changing; those of no job ("") may have grown.
        after: Rows per job now; jobs that are in none of the others are none of its business.

    Returns:
        "proved", "over" (a job has too many rows, or some that should be gone) or "short".
    """
    wanted = {**before, **dict.fromkeys(removed, 0), **expected}
    wrong = {
        job: {"expected": rows, "counted": after.get(job, 0)}
        for job, rows in wanted.items()
        if after.get(job, 0) != rows and not (job == "" and after.get(job, 0) > rows)
    }
    if not wrong:
        return Verdict(name="proved")
    over = any(entry["counted"] > entry["expected"] for entry in wrong.values())
    return Verdict(name="over" if over else "short", details={"jobs": wrong})


def prove_replaced(
    druid: DruidReader,
    datasource: str,
    judge: Callable[[Mapping[str, int]], Verdict],
    intervals: Sequence[Interval],
    *,
    deadline_seconds: float,
    sleep: Sleep,
    clock: Clock,
    progress: OnProgress,
    broker_refresh_seconds: float,
) -> dict[str, int]:
    """Count every job's rows in the rewritten time until they are right twice, a broker refresh apart.

    Args:
        judge: :func:`judge_replaced` with what the attempt expects.

    Returns:
        Rows per job.

    Raises:
        ProofFailed: Everything is served, and the rows are wrong; or the deadline has passed.
        DruidUnavailable: Druid did not answer at the deadline.
    """
    began = answered = clock()
    right = wrong = 0
    for pause in pauses():
        late = clock() - began >= deadline_seconds
        try:
            counted = druid.rows_by_job(datasource, merged(intervals))
            verdict = judge(counted)
            loaded = loaded_percent(druid, datasource, intervals)
            answered = clock()
        except DruidUnavailable as error:
            if late or clock() - answered >= PATIENCE_SECONDS:
                error.details["waited_seconds"] = clock() - answered
                raise
            progress(Progress(step="proving", rows=0, seconds=clock() - began, state="Druid away"))
            sleep(LAST_POLL_SECONDS)
            continue
        served = loaded >= 100.0
        right = right + 1 if served and verdict.name == "proved" else 0
        wrong = wrong + 1 if served and verdict.name != "proved" else 0
        if right == 2:
            return counted
        if verdict.name != "proved" and (late or wrong == _WRONG_LOOKS):
            if verdict.name == "over":
                raise _duplicated(datasource, verdict)
            raise _unproved(datasource, verdict, loaded, clock() - began)
        progress(Progress(step="proving", rows=sum(counted.values()), seconds=clock() - began, state=verdict.name))
        sleep(broker_refresh_seconds if served else pause)
    raise AssertionError("the pauses never end")


def require_served(
    druid: DruidReader,
    datasource: str,
    intervals: Sequence[Interval],
    *,
    sleep: Sleep,
    clock: Clock,
    progress: OnProgress,
    broker_refresh_seconds: float,
    deadline_seconds: float = 60.0,
) -> None:
    """Wait until every segment of the intervals is served, so that what a query does not see is not there.

    Raises:
        DruidUnavailable: Not within the deadline, or Druid does not answer.
    """
    began = clock()
    served = False
    for pause in pauses():
        loaded = loaded_percent(druid, datasource, intervals)
        if loaded >= 100.0:
            if served:
                return
            served = True
            sleep(broker_refresh_seconds)
            continue
        served = False
        if clock() - began >= deadline_seconds:
            raise DruidUnavailable(
                f"Only {loaded:.0f} % of the segments of {datasource} are served, so its rows cannot be known.",
                hint="It is tried again when Druid's historicals are back.",
                details={"loaded_percent": loaded, "waited_seconds": clock() - began},
            )
        progress(Progress(step="clearing", rows=0, seconds=clock() - began, state=f"{loaded:.0f} % loaded"))
        sleep(max(pause, 1.0))
    raise AssertionError("the pauses never end")


def loaded_percent(druid: DruidReader, datasource: str, intervals: Sequence[Interval]) -> float:
    """The least percentage over the intervals; one without any used segment has nothing left to load."""
    shares = (druid.load_status(datasource, interval, force=True) for interval in merged(intervals))
    return min((share for share in shares if share is not None), default=100.0)


def _unproved(datasource: str, verdict: Verdict, loaded: float, seconds: float) -> ProofFailed:
    jobs = verdict.details["jobs"]
    missing = sum(entry["expected"] - entry["counted"] for entry in jobs.values())
    return Unproved(
        f"{missing} rows of {len(jobs)} jobs could not be counted in {datasource} within {seconds:.0f} s.",
        hint=(
            f"Druid has loaded {loaded:.0f} % of the segments: look at its coordinator and historicals."
            if loaded < 100.0
            else "Druid serves every segment, so the rows are not there: compare the task's report."
        ),
        details={**verdict.details, "loaded_percent": loaded},
    )


def _duplicated(datasource: str, verdict: Verdict) -> ProofFailed:
    jobs = verdict.details["jobs"]
    return Duplicated(
        f"{datasource} holds more rows than were loaded for {len(jobs)} of the jobs.",
        hint=LOOK,
        details=verdict.details,
    )
