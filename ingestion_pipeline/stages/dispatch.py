"""Dispatch: which waiting jobs run next, in which batches; and what becomes of a claim. Pure.

What belongs here: order (priority with aging, turns between organizations), the filling of batches, the shares of
run slots that keep floods and backfills out of other files' way, and the judgement of claims whose run went away.
What does not: reading the queue, claiming, launching.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from ingestion_pipeline.domain.batch import Batch, Candidate, Claim, Share
from ingestion_pipeline.domain.job import Lane, Priority

AGING = timedelta(minutes=10)
"""A waiting job rises by one priority for each of these, so that none waits for ever."""

FLOOD = 20
"""With more live files of one priority than this waiting, an organization floods the queue."""

LONELY_AFTER_TRIES = 2
"""A job whose runs died this often runs alone: a file that kills its worker must not take siblings along."""


@dataclass(slots=True)
class _Open:
    """A batch being filled."""

    first: Candidate
    share: Share
    job_ids: list[str] = field(default_factory=list)
    size_bytes: int = 0
    closed: bool = False

    def add(self, candidate: Candidate) -> None:
        self.job_ids.append(candidate.job_id)
        self.size_bytes += candidate.size_bytes


def plan(
    candidates: Sequence[Candidate],
    *,
    slots: Mapping[Share, int],
    max_files: int,
    max_bytes: int,
    now: datetime,
) -> list[Batch]:
    """Fill batches from the waiting jobs, most urgent first.

    A batch takes what is there: one file when the system is idle, up to the caps under backlog. Organizations
    take turns within a priority, and one that floods the queue fills batches and a share of slots of its own, so
    that its flood does not delay another's file. Lanes do not wait for each other: each has its share.

    Args:
        candidates: Heads of the queues; a frozen batch (same `attempt_id`) must be complete.
        slots: How many runs may be launched of each share.
        max_bytes: Of stored input per batch; a single larger file still runs.
    """
    batches: list[_Open] = []
    by_kind: dict[tuple[str, date, Priority, Lane, str], _Open] = {}
    frozen: dict[str, _Open] = {}
    keys: set[tuple[str, str]] = set()
    used: Counter[Share] = Counter()
    waiting = [candidate for candidate in candidates if not candidate.superseded]
    crowds = Counter((c.organization, c.priority) for c in waiting if c.lane is Lane.LIVE)
    for candidate in _in_order(waiting, now):
        if (candidate.datasource, candidate.object_key) in keys:
            continue
        share = _share(candidate, crowds)
        crowd = candidate.organization if share is Share.FLOOD else ""
        kind = (candidate.datasource, candidate.partition_day, candidate.priority, candidate.lane, crowd)
        if candidate.attempt_id is not None:
            target = frozen.get(candidate.attempt_id)
        elif candidate.tries >= LONELY_AFTER_TRIES:
            target = None
        else:
            target = by_kind.get(kind)
            if target and (len(target.job_ids) >= max_files or target.size_bytes + candidate.size_bytes > max_bytes):
                target = None
        if target is None:
            if used[share] >= slots[share]:
                continue
            used[share] += 1
            target = _Open(candidate, share)
            batches.append(target)
            if candidate.attempt_id is not None:
                frozen[candidate.attempt_id] = target
            elif candidate.tries < LONELY_AFTER_TRIES:
                by_kind[kind] = target
        target.add(candidate)
        keys.add((candidate.datasource, candidate.object_key))
    return [
        Batch(
            datasource=batch.first.datasource,
            partition_day=batch.first.partition_day,
            priority=batch.first.priority,
            lane=batch.first.lane,
            share=batch.share,
            job_ids=tuple(batch.job_ids),
            launch_priority=launch_priority(
                share=batch.share, priority=batch.first.priority, waited=now - batch.first.created_at
            ),
        )
        for batch in batches
    ]


def _share(candidate: Candidate, crowds: Mapping[tuple[str, Priority], int]) -> Share:
    if candidate.lane is not Lane.LIVE:
        return Share.BACKFILL
    return Share.FLOOD if crowds[candidate.organization, candidate.priority] > FLOOD else Share.LIVE


def _in_order(candidates: Sequence[Candidate], now: datetime) -> list[Candidate]:
    ranks: dict[tuple[bool, int, str], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        aged = int((now - candidate.created_at) / AGING)
        ranks[(candidate.lane is not Lane.LIVE, max(0, candidate.priority - aged), candidate.organization)].append(
            candidate
        )
    ordered: list[tuple[bool, int, int, datetime, str, Candidate]] = []
    for (lane, priority, _), members in ranks.items():
        members.sort(key=lambda c: (c.created_at, c.job_id))
        ordered.extend((lane, priority, turn, c.created_at, c.job_id, c) for turn, c in enumerate(members))
    return [entry[-1] for entry in sorted(ordered, key=lambda entry: entry[:-1])]


def launch_priority(*, share: Share, priority: Priority, waited: timedelta = timedelta(0)) -> int:
    """What Dagster's queue is told: it starts the highest number first, and runs that are told nothing as 0.

    Live files before backfills, urgent before low, and of the same priority a flood's after the others'. What a live
    file has waited in the ledger counts there too; of a backfill's, that would be the age of history.
    """
    if share is Share.BACKFILL:
        return 0
    return aged_priority(2 * (len(Priority) - priority) - (share is Share.FLOOD), waited=waited)


def aged_priority(launched_with: int, *, waited: timedelta) -> int:
    """What it has risen to in Dagster's queue: as much as a waiting job does, up to that of urgent files."""
    return max(launched_with, min(2 * len(Priority), launched_with + 2 * int(waited / AGING)))


class RunState(StrEnum):
    """A Dagster run, as far as a claim's fate depends on it."""

    WAITING = "waiting"  # queued or starting
    WORKING = "working"
    CANCELED = "canceled"
    STOPPED = "stopped"  # canceled with the backfill that it belongs to
    ENDED = "ended"  # success or failure
    WILL_RETRY = "will_retry"  # failed, and Dagster will launch it again


_WAITING = frozenset({"QUEUED", "NOT_STARTED", "MANAGED", "STARTING"})
_WORKING = frozenset({"STARTED", "CANCELING"})


def run_state(status: str, *, will_retry: bool, stopped: bool = False) -> RunState:
    """The state that a status of Dagster's means.

    Args:
        will_retry: Dagster is going to launch a failed run again, and has not yet.
        stopped: The backfill that it belongs to was stopped, not this run alone.
    """
    if status in _WORKING:
        return RunState.WORKING
    if status in _WAITING:
        return RunState.WAITING
    if status == "CANCELED":
        return RunState.STOPPED if stopped else RunState.CANCELED
    return RunState.WILL_RETRY if will_retry else RunState.ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRun:
    """A run that carries a claim's token.

    Attributes:
        since: When it reached this state, or when the turn came that it had waited for (aware).
        waits_for_turn: It works, and its next op waits until fewer others do the same.
    """

    run_id: str
    state: RunState
    since: datetime
    waits_for_turn: bool = False


class Fate(StrEnum):
    KEEP = "keep"
    FENCE = "fence"  # its worker is silent: take the leases, fail the run
    RELEASE = "release"  # nobody will work on it: give the jobs back
    CANCEL = "cancel"  # a person stopped its run
    PUT_BACK = "put_back"  # a person stopped its backfill: its jobs wait for the next one


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    fate: Fate
    reason: str = ""
    run_ids: tuple[str, ...] = ()


def judge_claim(
    claim: Claim,
    runs: Sequence[ClaimRun],
    *,
    now: datetime,
    claim_timeout: timedelta,
    heartbeat_limit: timedelta,
    retry_limit: timedelta = timedelta(minutes=10),
) -> Judgement:
    """What becomes of a claim, given every run that carries its token.

    Args:
        claim_timeout: How long a claim may be without any run (launching takes seconds).
        heartbeat_limit: How long a working run may be silent.
        retry_limit: How long a promised retry may take to appear.
    """
    if not runs:
        if now - claim.claimed_at <= claim_timeout:
            return Judgement(fate=Fate.KEEP)
        return Judgement(fate=Fate.RELEASE, reason="No run was launched for it.")
    working = [run for run in runs if run.state is RunState.WORKING]
    if working:
        heard = max([run.since for run in working] + ([claim.heartbeat_at] if claim.heartbeat_at else []))
        # A retry that begins with an op that waits has no lease yet to beat for. Dead or alive: when its turn comes, it
        # takes it or is found out.
        if now - heard <= heartbeat_limit or any(
            run.waits_for_turn and run.run_id not in claim.lease_runs for run in working
        ):
            return Judgement(fate=Fate.KEEP)
        silent = int((now - heard).total_seconds())
        return Judgement(
            fate=Fate.FENCE,
            reason=f"Its worker has not been heard of for {silent} s.",
            run_ids=tuple(run.run_id for run in working),
        )
    if any(run.state is RunState.WAITING for run in runs):
        return Judgement(fate=Fate.KEEP)
    last = max(runs, key=lambda run: run.since)
    if last.state is RunState.WILL_RETRY and now - last.since <= retry_limit:
        return Judgement(fate=Fate.KEEP)
    if last.state is RunState.CANCELED:
        return Judgement(fate=Fate.CANCEL, reason=f"Its run {last.run_id[:8]} was canceled.", run_ids=(last.run_id,))
    if last.state is RunState.STOPPED:
        return Judgement(fate=Fate.PUT_BACK, reason="Its backfill was stopped.", run_ids=(last.run_id,))
    return Judgement(fate=Fate.RELEASE, reason=f"Its run {last.run_id[:8]} ended before it did.")
