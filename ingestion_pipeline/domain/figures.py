"""How ingestion is doing: what waits, what is worked on, what ended, in numbers and in sentences.

What belongs here: the values, and what is said of them. What does not: counting (`adapters.postgres_figures`),
Dagster's page and the terminal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ingestion_pipeline.domain.job import Lane, Priority

COUNTED = 1_000
"""History and unmatched objects are counted so far: their number may be any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Files of one lane and priority that wait for a run.

    Attributes:
        oldest: When the first of them arrived.
    """

    lane: Lane
    priority: Priority
    files: int
    size_bytes: int
    oldest: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Files that ended in some time: counted rows are those that Druid has of them."""

    files: int = 0
    failed: int = 0
    rows: int = 0
    size_bytes: int = 0

    @property
    def failed_fraction(self) -> float:
        return round(self.failed / self.files, 6) if self.files else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One look at everything.

    Attributes:
        moment: Of the look.
        history: Older files that wait for a backfill; `COUNTED` + 1 means more.
        in_work: Files that a run has, or is to have; `runs` is how many runs those are.
        parked: Callbacks that were given up until somebody sends them again; `COUNTED` + 1 means more.
        arrivals: Periods that are late, missing, smaller_than_usual.
        dependencies: Outside systems that dispatch waits for: what is wrong, and since when.
        disabled: Datasources whose contract is broken, and how.
    """

    moment: datetime
    waiting: tuple[Waiting, ...] = ()
    history: int = 0
    in_work: int = 0
    runs: int = 0
    last_hour: Ended = Ended()
    last_day: Ended = Ended()
    unmatched: int = 0
    parked: int = 0
    arrivals: Mapping[str, int] = field(default_factory=dict)
    dependencies: Mapping[str, tuple[str, datetime]] = field(default_factory=dict)
    disabled: Mapping[str, str] = field(default_factory=dict)

    @property
    def oldest_seconds(self) -> int:
        """How long the first of the waiting files has waited."""
        return max((self._age(group.oldest) for group in self.waiting), default=0)

    @property
    def numbers(self) -> dict[str, int | float]:
        """Every figure by a name that stays: what Dagster plots, and scripts read."""
        waits = [(group.lane.value, group.priority.name.lower(), group.files) for group in self.waiting]
        return {
            "waiting_files": sum(files for _, _, files in waits),
            **{
                f"waiting_{lane}_{priority.name.lower()}": sum(
                    files for *kind, files in waits if kind == [lane.value, priority.name.lower()]
                )
                for lane in (Lane.LIVE, Lane.BACKFILL)
                for priority in Priority
            },
            "waiting_bytes": sum(group.size_bytes for group in self.waiting),
            "oldest_waiting_seconds": self.oldest_seconds,
            "waiting_for_backfill": self.history,
            "files_in_work": self.in_work,
            "live_runs": self.runs,
            **_numbers_of("hour", self.last_hour),
            **_numbers_of("day", self.last_day),
            "unmatched_objects": self.unmatched,
            "parked_callbacks": self.parked,
            "periods_late": self.arrivals.get("late", 0),
            "periods_missing": self.arrivals.get("missing", 0),
            "periods_smaller_than_usual": self.arrivals.get("smaller_than_usual", 0),
            "dependencies_away": len(self.dependencies),
            "disabled_datasources": len(self.disabled),
        }

    @property
    def problems(self) -> list[str]:
        """What a person should look at, each with where; empty: all is well."""
        told = [
            f"{name.capitalize()} is not ready since {since:%Y-%m-%d %H:%M} UTC: {problem} Files wait until it is."
            for name, (problem, since) in self.dependencies.items()
        ]
        told += [f"Datasource {name} is disabled: {problem}" for name, problem in self.disabled.items()]
        if self.last_hour.failed:
            told.append(
                f"{_counted(self.last_hour.failed, 'file')} failed within the last hour: "
                "`ingestion-pipeline jobs --status failed`."
            )
        lacking = {kind: count for kind, count in self.arrivals.items() if count}
        if lacking:
            counts = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(lacking.items()))
            told.append(f"Expected files: {counts}. `ingestion-pipeline arrivals` shows which.")
        if self.unmatched:
            told.append(f"{_counted(self.unmatched, 'object')} without a contract or an organization.")
        if self.parked:
            told.append(
                f"{_counted(self.parked, 'callback')} parked: `ingestion-pipeline callbacks list` shows whose, "
                "`callbacks redeliver` sends them."
            )
        return told

    def _age(self, since: datetime) -> int:
        return max(0, int((self.moment - since).total_seconds()))


def _numbers_of(name: str, ended: Ended) -> dict[str, int | float]:
    return {
        f"files_last_{name}": ended.files,
        f"failed_last_{name}": ended.failed,
        f"failed_fraction_last_{name}": ended.failed_fraction,
        f"rows_last_{name}": ended.rows,
        f"bytes_last_{name}": ended.size_bytes,
    }


def _counted(count: int, noun: str) -> str:
    more = "more than " if count > COUNTED else ""
    return f"{more}{min(count, COUNTED):,} {noun}{'' if count == 1 else 's'}".capitalize()
