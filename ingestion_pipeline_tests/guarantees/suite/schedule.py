"""Everything that will happen, decided beforehand from one seed. Pure: the same arguments give the same schedule.

What belongs here: which files are sent, corrected, replayed and undone, and what is hit, each at which second. What
does not: doing it (`sender`, `strikes`), what must come of it (`model`).

Files are ordered so that what must be in Druid in the end never depends on who was faster: a file is undone, replayed
or fixed only when its last change has ended, and nothing else is ordered for it before that has ended too. Corrections
and repeated puts of a key need no such order, since the newest version wins; they also come at the worst moment.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Literal

from ingestion_pipeline_tests.guarantees.faults import Point
from ingestion_pipeline_tests.guarantees.suite.content import Kind
from ingestion_pipeline_tests.guarantees.suite.surroundings import DATASOURCES, ORGANIZATIONS

Deed = Literal["send", "correct", "reput", "replay", "undo", "replace", "fix"]
When = Literal["any", "loading", "settled"]
Blow = Literal["kill", "away", "stop", "arm_kill", "arm_stop", "restart", "power_cut"]

FIRST_DAY = date(2024, 5, 1)
DAYS = 4
SERVICES = (
    "postgres",
    "s3",
    "zookeeper",
    "druid-coordinator",
    "druid-broker",
    "druid-historical",
    "druid-indexer",
    "code-server",
    "dagster-daemon",
    "dagster-webserver",
)
WORKER = "worker"
APPEND_POINTS: tuple[Point, ...] = ("reading", "after_save", "before_post", "after_post", "before_complete")
REPLACE_POINTS: tuple[Point, ...] = ("after_plan",)
LONG_SECONDS = 30.0
MAX_LONG = 8

# Shares of a hundred items.
_HISTORIES: tuple[tuple[int, tuple[tuple[Deed, When], ...]], ...] = (
    (50, ()),
    (8, (("correct", "loading"),)),
    (5, (("correct", "any"),)),
    (6, (("correct", "settled"),)),
    (3, (("correct", "settled"), ("correct", "loading"))),
    (3, (("correct", "settled"), ("undo", "settled"))),
    (4, (("reput", "settled"),)),
    (5, (("replay", "settled"),)),
    (7, (("undo", "settled"),)),
    (2, (("undo", "settled"), ("reput", "settled"))),
    (2, (("replay", "settled"), ("undo", "settled"))),
    (3, (("replace", "settled"),)),
    (2, (("fix", "settled"), ("undo", "settled"))),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing that a sender or an operator does.

    Attributes:
        at: Not before this second.
        when: And not before this is so of the item's newest job: anything, a run is at work on it (or was), ended.
        content: Seed of the file's content, for the deeds that bring one.
    """

    at: float
    item: int
    deed: Deed
    when: When
    content: int = 0
    kind: Kind = "good"
    rows: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file with everything that will be done to it, in order.

    Attributes:
        announced: Sent as the CLI sends it (announced, put, bound), not just put under a key that a contract claims.
    """

    number: int
    datasource: str
    organization: str
    day: date
    announced: bool
    compressed: bool
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One blow.

    Attributes:
        target: A service, "worker", or for armed blows `point:datasource`.
        seconds: How long it is stopped or away; for kills after how long it is started again.
        pick: Which worker, as a fraction of those that are there.
    """

    at: float
    blow: Blow
    target: str
    seconds: float
    pick: float = 0.0

    @property
    def is_armed(self) -> bool:
        return self.blow in ("arm_kill", "arm_stop")

    def __str__(self) -> str:
        how = {"kill": "started again after", "away": "killed, away for", "stop": "stopped for"}.get(self.blow, "for")
        return f"{self.at:7.1f} s  {self.blow:<10} {self.target:<32} {how} {self.seconds:.1f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    seed: int
    seconds: float
    items: tuple[Item, ...]
    strikes: tuple[Strike, ...]

    def lines(self) -> Iterator[str]:
        """The schedule for people, in the order of time."""
        entries: list[tuple[float, str]] = [(strike.at, f"{strike}") for strike in self.strikes]
        for item in self.items:
            way = "announced" if item.announced else "put"
            for action in item.actions:
                what = f"{action.kind}, {action.rows} rows, {action.rejected} rejected" if action.rows else ""
                where = f"{item.datasource}/{item.organization}/{item.day}"
                entries.append(
                    (
                        action.at,
                        f"{action.at:7.1f} s  {action.deed:<10} #{item.number:04} {where} {way}"
                        f"{f', when {action.when}' if action.when != 'any' else ''}{f', {what}' if what else ''}",
                    )
                )
        return (line for _, line in sorted(entries))


def make(
    *,
    seed: int,
    files: int,
    kills: int,
    seconds: float | None = None,
    services: Sequence[str] = SERVICES,
    longest_seconds: float = 120.0,
    full_restarts: bool = True,
    smallest_rows: int = 20,
    largest_rows: int = 200,
) -> Schedule:
    """Decide everything.

    Args:
        files: Items; what is corrected or replaced comes on top.
        kills: Strikes of any kind.
        seconds: How long; by default as long as the strikes need to be felt one by one, and the files to be loaded.
        services: Which may be hit, beside workers.
        full_restarts: Whether everything is restarted too.
    """
    random = Random(seed)
    blows = _blows(random, kills, services=services, longest=longest_seconds, full_restarts=full_restarts)
    gaps = [random.uniform(8, 36) + 0.6 * strike.seconds for strike in blows]
    if seconds is None:
        seconds = max(sum(gaps) + 20, 1.5 * files, 60.0)
    scale = (seconds - 5) / (sum(gaps) or 1.0)
    strikes, moment = [], 5.0
    for strike, gap in zip(blows, gaps, strict=True):
        strikes.append(_moved(strike, moment))
        moment += gap * scale
    items = [_item(random, number, seconds, smallest_rows, largest_rows) for number in range(files)]
    return Schedule(seed=seed, seconds=seconds, items=tuple(items), strikes=tuple(strikes))


def _moved(strike: Strike, at: float) -> Strike:
    return Strike(
        at=round(at, 1), blow=strike.blow, target=strike.target, seconds=strike.seconds, pick=strike.pick
    )  # fmt: skip


def _blows(random: Random, kills: int, *, services: Sequence[str], longest: float, full_restarts: bool) -> list[Strike]:
    """The strikes without their times: every kind once before any comes twice."""
    datasources = sorted(DATASOURCES)
    drawn: list[Strike] = []
    long_left = MAX_LONG
    while len(drawn) < kills:
        kinds: list[tuple[Blow, str]] = [
            *(("kill", service) for service in services),
            *(("stop", service) for service in services),
            *(("kill", WORKER) for _ in range(3)),
            *(("stop", WORKER) for _ in range(2)),
            *(("arm_kill", point) for point in (*APPEND_POINTS, *REPLACE_POINTS)),
            *(("arm_stop", point) for point in (*APPEND_POINTS, *REPLACE_POINTS)),
            *(("away", service) for service in random.sample(list(services), min(4, len(services)))),
        ]
        if full_restarts:
            kinds += [("restart", "everything"), ("power_cut", "everything")]
        random.shuffle(kinds)
        for blow, target in kinds[: kills - len(drawn)]:
            name = f"{target}:{random.choice(datasources)}" if blow in ("arm_kill", "arm_stop") else target
            longed = blow in ("away", "stop") and target != WORKER and long_left > 0 and random.random() < 0.4
            long_left -= longed
            low, high = (LONG_SECONDS, longest) if longed and longest > LONG_SECONDS else _USUAL[blow]
            drawn.append(
                Strike(at=0, blow=blow, target=name, seconds=round(random.uniform(low, high), 1), pick=random.random())
            )
    return drawn


_USUAL: dict[Blow, tuple[float, float]] = {
    "kill": (1, 5),
    "away": (8, 25),
    "stop": (3, 25),
    "arm_kill": (0, 0),
    "arm_stop": (5, 45),
    "restart": (0, 0),
    "power_cut": (1, 5),
}


def _item(random: Random, number: int, seconds: float, smallest: int, largest: int) -> Item:
    (history,) = random.choices([deeds for _, deeds in _HISTORIES], [share for share, _ in _HISTORIES])
    kind: Kind = "good"
    if not history:
        (kind,) = random.choices(("good", "header_only", "binary", "all_rejected"), (92, 2, 3, 3))
    rejected = random.randint(1, 9) if random.random() < 0.35 or ("fix", "settled") in history else 0
    key_matters = any(deed in ("correct", "reput") for deed, _ in history)
    first = Action(
        at=round(random.uniform(0, 0.88 * seconds), 1),
        item=number,
        deed="send",
        when="any",
        content=random.getrandbits(48),
        kind=kind,
        rows=random.randint(smallest, largest),
        rejected=rejected,
    )
    actions = [first]
    for position, (deed, when) in enumerate(history, 1):
        brings = deed in ("correct", "replace")
        emptied = deed == "correct" and position == len(history) and random.random() < 0.08
        actions.append(
            Action(
                # Two versions of a key within a second would have one time in S3.
                at=round(actions[-1].at + random.uniform(3, max(4.0, 0.05 * seconds)), 1),
                item=number,
                deed=deed,
                when=when,
                content=random.getrandbits(48) if brings else 0,
                kind="header_only" if emptied else "good",
                rows=random.randint(smallest, largest) if brings else 0,
                rejected=random.randint(0, 5) if brings else 0,
            )
        )
    return Item(
        number=number,
        datasource=random.choice(sorted(DATASOURCES)),
        organization=random.choice(ORGANIZATIONS),
        day=FIRST_DAY + timedelta(days=random.randrange(DAYS)),
        announced=not key_matters and ("replace" in dict(history) or random.random() < 0.4),
        compressed=random.random() < 0.25,
        actions=tuple(actions),
    )
