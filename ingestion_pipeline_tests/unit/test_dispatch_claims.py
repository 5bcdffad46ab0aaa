"""What becomes of a claim, given the runs that carry its token: every case."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domain.batch import Claim
from ingestion_pipeline.stages.dispatch import ClaimRun, Fate, Judgement, RunState, judge_claim

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLAIM_TIMEOUT, HEARTBEAT_LIMIT, RETRY_LIMIT = timedelta(seconds=90), timedelta(seconds=60), timedelta(minutes=10)
MOMENT = timedelta(seconds=1)


def ago(span: timedelta) -> datetime:
    return NOW - span


def claim(
    *, claimed: timedelta = timedelta(hours=1), beat: timedelta | None = None, lease_runs: tuple[str, ...] = ()
) -> Claim:
    return Claim(
        token="claim-1",
        claimed_at=ago(claimed),
        heartbeat_at=None if beat is None else ago(beat),
        jobs=3,
        lease_runs=lease_runs,
        tries=0,
    )


def run(state: RunState, since: timedelta = MOMENT, run_id: str = "run-1", *, waits_for_turn: bool = False) -> ClaimRun:
    return ClaimRun(run_id=run_id, state=state, since=ago(since), waits_for_turn=waits_for_turn)


def judge(of: Claim, *runs: ClaimRun) -> Judgement:
    return judge_claim(
        of,
        runs,
        now=NOW,
        claim_timeout=CLAIM_TIMEOUT,
        heartbeat_limit=HEARTBEAT_LIMIT,
        retry_limit=RETRY_LIMIT,
    )


LONG = timedelta(hours=2)

CASES = {
    "no run yet, just claimed": (claim(claimed=CLAIM_TIMEOUT), [], Fate.KEEP),
    "no run, and time to launch one is over": (claim(claimed=CLAIM_TIMEOUT + MOMENT), [], Fate.RELEASE),
    "its run waits in the queue, for hours": (claim(), [run(RunState.WAITING, LONG)], Fate.KEEP),
    "its run has just started and not spoken yet": (claim(), [run(RunState.WORKING, HEARTBEAT_LIMIT)], Fate.KEEP),
    "its run works for hours and speaks": (claim(beat=HEARTBEAT_LIMIT), [run(RunState.WORKING, LONG)], Fate.KEEP),
    "its run never spoke": (claim(), [run(RunState.WORKING, HEARTBEAT_LIMIT + MOMENT)], Fate.FENCE),
    "its run fell silent": (claim(beat=HEARTBEAT_LIMIT + MOMENT), [run(RunState.WORKING, LONG)], Fate.FENCE),
    "a new try runs after the first fell silent": (
        claim(beat=LONG),
        [run(RunState.WILL_RETRY, LONG), run(RunState.WORKING, MOMENT, "run-2")],
        Fate.KEEP,
    ),
    "its retry waits for its turn before it has taken anything, for hours": (
        claim(beat=LONG, lease_runs=("run-1",)),
        [run(RunState.ENDED, LONG), run(RunState.WORKING, LONG, "run-2", waits_for_turn=True)],
        Fate.KEEP,
    ),
    "its retry does not take its turn": (
        claim(beat=LONG, lease_runs=("run-1",)),
        [run(RunState.ENDED, LONG), run(RunState.WORKING, HEARTBEAT_LIMIT + MOMENT, "run-2")],
        Fate.FENCE,
    ),
    "its run fell silent while it waits for its turn": (
        claim(beat=HEARTBEAT_LIMIT + MOMENT, lease_runs=("run-1",)),
        [run(RunState.WORKING, LONG, waits_for_turn=True)],
        Fate.FENCE,
    ),
    "its run died and is to be tried again": (claim(), [run(RunState.WILL_RETRY, RETRY_LIMIT)], Fate.KEEP),
    "the promised retry never came": (claim(), [run(RunState.WILL_RETRY, RETRY_LIMIT + MOMENT)], Fate.RELEASE),
    "the retry waits in the queue": (
        claim(),
        [run(RunState.ENDED, LONG), run(RunState.WAITING, LONG, "run-2")],
        Fate.KEEP,
    ),
    "its run ended and left jobs open": (claim(), [run(RunState.ENDED)], Fate.RELEASE),
    "its run was canceled": (claim(), [run(RunState.CANCELED)], Fate.CANCEL),
    "the retry was canceled": (
        claim(),
        [run(RunState.ENDED, LONG), run(RunState.CANCELED, MOMENT, "run-2")],
        Fate.CANCEL,
    ),
    "it was canceled first and the retry died later": (
        claim(),
        [run(RunState.CANCELED, LONG), run(RunState.ENDED, MOMENT, "run-2")],
        Fate.RELEASE,
    ),
}


@pytest.mark.parametrize(("of", "runs", "fate"), CASES.values(), ids=CASES.keys())
def test_the_fate_of_a_claim(of: Claim, runs: list[ClaimRun], fate: Fate) -> None:
    judgement = judge(of, *runs)
    assert judgement.fate is fate
    assert bool(judgement.reason) == (fate is not Fate.KEEP), "a claim that is not left alone says why"


def test_fencing_names_the_working_runs_alone() -> None:
    runs = [run(RunState.ENDED, LONG, "dead"), run(RunState.WORKING, LONG, "silent")]
    assert judge(claim(), *runs).run_ids == ("silent",)


spans = st.timedeltas(timedelta(0), timedelta(days=1))


@given(
    claimed=spans,
    beat=st.none() | spans,
    runs=st.lists(st.tuples(st.sampled_from(RunState), spans), max_size=4),
)
@settings(deadline=None)
def test_a_claim_with_a_live_run_is_never_given_away(
    claimed: timedelta, beat: timedelta | None, runs: list[tuple[RunState, timedelta]]
) -> None:
    judged = judge(
        claim(claimed=claimed, beat=beat), *(run(state, since, f"r{n}") for n, (state, since) in enumerate(runs))
    )
    if any(state in (RunState.WORKING, RunState.WAITING) for state, _ in runs):
        assert judged.fate in (Fate.KEEP, Fate.FENCE)
    if judged.fate is Fate.FENCE:
        assert judged.run_ids
