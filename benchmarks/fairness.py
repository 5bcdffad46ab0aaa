"""Fairness: how long a new file takes while history is loaded, and while another organization floods the system.

In one run, on one stack with Druid:

1. idle: live files, one after the other at random moments of the tick, from put to proved (their rows counted);
2. the same while a backfill of all history, launched on the asset's page in a real browser, is at work;
3. the same while another organization's files, put all at once, are at work; when they are done, as many follow.

The promise: the median of 2 is at most twice, that of 3 at most three times that of 1. Then what became of the rest is
checked, by Dagster and by Druid: every day green, every day's rows exact; the same backfill started again loads nothing
and says so; further history is stopped in the middle and started again, and is exact too.

How to run::

    python -m benchmarks.fairness                                     1,000 files over 90 days: about half an hour
    python -m benchmarks.fairness --files 60 --days 6 --live 3 --flood 60      to see that it works
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from uuid import uuid4

from benchmarks.common import Bench, run, running_stack, say, table, today, wait_until
from ingestion_pipeline_tests.entrypoints.browser import browser_page

HISTORY, LIVE = "seasons", "moments"
ORGANIZATION, CROWD = "acme", "crowd"
MOST_FLOODS = 20
FIRST_DAY = date(2024, 1, 1)
ROWS = 20
TICK_SECONDS = 5.0
BACKFILL_LIMIT, FLOOD_LIMIT = 2.0, 3.0
PATIENCE_SECONDS = 1800.0

_CONTRACT = """\
datasource: {name}
description: Readings of thermometers.
partition_start: 2024-01-01
{more}files:
  - pattern: exports/{name}/{{date}}/*
    organization: acme
time: {{column: at, min: 2024-01-01T00:00:00Z, max: 2025-01-01T00:00:00Z}}
columns:
  at: {{type: datetime}}
  place: {{type: string}}
  value: {{type: float, checks: {{in_range: [0, 100]}}}}
"""
_STATUSES = """query($k: AssetKeyInput!) { assetNodeOrError(assetKey: $k) { ... on AssetNode { assetPartitionStatuses {
  ... on TimePartitionStatuses { ranges { startKey endKey status } } } } } }"""
_BACKFILLS = """{ partitionBackfillsOrError(limit: 20) { ... on PartitionBackfills {
  results { id status assetSelection { path } } } } }"""
_OPEN = "SELECT count(*) AS n FROM ingestion_jobs WHERE datasource = %s AND lane = 'history' AND status = 'pending'"

_HELD = (
    ("exact", "the backfill: every day green, every day's rows exact"),
    ("nothing_again", "started again it loads nothing and says so"),
    ("floods_loaded", "every file of the floods was loaded"),
    ("resumed", "stopped in the middle and started again: exact"),
)


def contracts(*, days_per_run: int) -> dict[str, str]:
    """The texts of the two contracts: one whose objects are all history, one whose are all live."""
    history = f"live_from: 2100-01-01T00:00:00Z\nbackfill: {{days_per_run: {days_per_run}}}\n"
    return {HISTORY: _CONTRACT.format(name=HISTORY, more=history), LIVE: _CONTRACT.format(name=LIVE, more="")}


@dataclass
class Play:
    """What is put, how much of it, and what was seen of it.

    Attributes:
        days: Of history that is loaded in the browser; a third as many follow that are stopped in the middle.
        live: Files of each of the three series.
        flood: Files of the other organization.
    """

    bench: Bench
    files: int
    days: int
    live: int
    flood: int
    moments: random.Random
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def day(self, number: int) -> date:
        return FIRST_DAY + timedelta(days=number)

    # -- putting ------------------------------------------------------------------------------------------

    def put_all(self, files: Sequence[tuple[str, str]]) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda file: self.bench.bucket.put(file[0], file[1].encode()), files))

    def put_history(self, *, first: int, files: int, days: int) -> dict[str, int]:
        """Files over days, all different; the rows of each day."""
        wanted: dict[str, int] = {}
        batch = []
        for number in range(files):
            day = self.day(first + number % days)
            batch.append((f"exports/{HISTORY}/{day}/{number:05d}.csv", readings(day, f"place {first} {number}")))
            wanted[day.isoformat()] = wanted.get(day.isoformat(), 0) + ROWS
        before = self._waiting()
        self.put_all(batch)
        wait_until(
            lambda: self._waiting() >= before + files, seconds=PATIENCE_SECONDS, what="the ledger to know it", every=1
        )
        return wanted

    def _waiting(self) -> int:
        row = self.bench.row(_OPEN, HISTORY)
        assert row is not None
        return int(row["n"])

    def live_file(self) -> float:
        """Put a new file at a random moment of the tick; seconds until its rows are proved."""
        time.sleep(self.moments.uniform(0, TICK_SECONDS))
        key = f"uploads/{ORGANIZATION}/{LIVE}/{today()}/{uuid4()}/live.csv"
        self.bench.bucket.put(key, readings(FIRST_DAY, key).encode())
        put = time.time()
        job = wait_until(
            lambda: self.bench.row(
                "SELECT outcome, finished_at FROM ingestion_jobs WHERE object_key = %s AND finished_at IS NOT NULL", key
            ),
            seconds=PATIENCE_SECONDS,
            what=f"the end of {key}",
        )
        if job["outcome"] != "loaded":
            raise RuntimeError(f"{key} ended as {job['outcome']}.")
        return float(job["finished_at"].timestamp()) - put

    def series(self, name: str, *, still: Callable[[], bool] = lambda: True) -> None:
        """Measure live files one after the other, for as long as what they are measured beside goes on.

        Args:
            still: Whether it does; a file during which it ended does not count.
        """
        taken = self.seconds.setdefault(name, [])
        while len(taken) < self.live:
            seconds = self.live_file()
            if not still():
                return
            taken.append(seconds)
            say(f"  {name} {len(taken)}/{self.live}: put -> proved {seconds:.1f} s")

    # -- Dagster ------------------------------------------------------------------------------------------

    def launch_in_browser(self, first: date, last: date) -> str:
        """Start a backfill as a person does, on the asset's page; its id."""
        known = {one["id"] for one in self._backfills()}
        with browser_page() as page:
            page.goto(f"{self.bench.settings.dagster_url}/assets/{HISTORY}?view=partitions")
            page.get_by_role("button", name="Materialize").first.click()
            # The page has more such fields, with other days, as soon as all of it is loaded.
            days = page.get_by_placeholder(f"ex: {FIRST_DAY}")
            days.fill(f"[{first}...{last}]")
            days.press("Enter")
            page.get_by_text(f"{(last - first).days + 1} partitions", exact=True).wait_for()
            page.get_by_role("button", name="Launch backfill").click()
            return str(
                wait_until(
                    lambda: next((one["id"] for one in self._backfills() if one["id"] not in known), None),
                    seconds=120,
                    what="the backfill that the browser launched",
                    every=0.5,
                )
            )

    def _backfills(self) -> list[dict[str, Any]]:
        found = self.bench.graphql(_BACKFILLS)["partitionBackfillsOrError"]["results"]
        return [one for one in found if [key["path"] for key in one["assetSelection"] or []] == [[HISTORY]]]

    def is_going_on(self, backfill_id: str) -> bool:
        status = next(one["status"] for one in self._backfills() if one["id"] == backfill_id)
        return status == "REQUESTED"

    def green_days(self) -> set[str]:
        """Partition days that Dagster shows as materialized."""
        node = self.bench.graphql(_STATUSES, {"k": {"path": [HISTORY]}})["assetNodeOrError"]
        green = set()
        for span in node["assetPartitionStatuses"]["ranges"]:
            day, last = date.fromisoformat(span["startKey"][:10]), date.fromisoformat(span["endKey"][:10])
            while day <= last and span["status"] == "MATERIALIZED":
                green.add(day.isoformat())
                day += timedelta(days=1)
        return green

    # -- what became of it --------------------------------------------------------------------------------

    def rows_by_day(self) -> dict[str, int]:
        """What Druid counts, by the rows' own day."""
        answer = self.bench.http.post(
            f"{self.bench.settings.druid_broker_url}/druid/v2/sql",
            json={
                "query": f"SELECT TIME_FORMAT(__time, 'yyyy-MM-dd') AS d, COUNT(*) AS n FROM \"{HISTORY}\" GROUP BY 1",
                "context": {"useCache": False, "populateCache": False},
            },
            timeout=60,
        )
        answer.raise_for_status()
        return {row["d"]: int(row["n"]) for row in answer.json()}

    def check(self, what: str, wanted: dict[str, int]) -> bool:
        """Every day green, every day's rows exact; a line each."""
        green, rows = self.green_days(), self.rows_by_day()
        missing = sorted(set(wanted) - green)
        wrong = {day: (rows.get(day, 0), n) for day, n in wanted.items() if rows.get(day, 0) != n}
        say(f"  {what}: {len(set(wanted) & green)} of {len(wanted)} days green, {len(wanted) - len(wrong)} exact.")
        for day in missing[:5]:
            say(f"    {day} is not green")
        for day, (counted, due) in list(wrong.items())[:5]:
            say(f"    {day} has {counted:,} rows instead of {due:,}")
        return not missing and not wrong

    def cli(self, *words: str) -> tuple[int, str]:
        """Run `ingestion-pipeline`; its exit code and what it wrote."""
        done = subprocess.run(
            [sys.executable, "-m", "ingestion_pipeline.cli.main", *words],
            env={**os.environ, **self.bench.stack.environment()},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def range_words(self, first: int, days: int) -> list[str]:
        span = ("--from", str(self.day(first)), "--to", str(self.day(first + days - 1)))
        return ["backfill", "--datasource", HISTORY, *span]

    def loads_nothing_again(self) -> bool:
        code, said = self.cli(*self.range_words(0, self.days))
        say(f"  started again: {said.strip()}")
        return code == 0 and "Nothing to load" in said

    def stopped_and_started_again(self) -> bool:
        """Further history: a backfill stopped when a part of it is loaded, then started again by the same words."""
        files, days = max(self.files // 3, min(self.files, 24)), max(self.days // 3, min(self.days, 6))
        wanted = self.put_history(first=self.days, files=files, days=days)
        words = self.range_words(self.days, days)
        _, said = self.cli(*words, "--no-wait", "--json")
        backfill_id = json.loads(said[said.index("{") :].splitlines()[0])["backfill_id"]
        wait_until(
            lambda: self._loaded(backfill_id) >= files // 3,
            seconds=PATIENCE_SECONDS,
            what="a third of it",
            every=1,
        )
        code, said = self.cli("backfill", "stop", backfill_id)
        say(f"  stopped: {said.strip().splitlines()[-1]}")
        self.bench.wait_for_quiet(PATIENCE_SECONDS)
        loaded, waiting = self._loaded(backfill_id), self._waiting()
        time.sleep(3 * TICK_SECONDS)
        still = self._loaded(backfill_id) == loaded and self._waiting() == waiting == files - loaded
        more = "nothing" if still else "MORE"
        say(f"  after it: {loaded:,} loaded, {waiting:,} wait, and {more} is loaded by itself.")
        code_again, said = self.cli(*words)
        say(f"  started again: {said.strip().splitlines()[-1]}")
        return self.check("stopped and started again", wanted) and code == code_again == 0 and still and loaded > 0

    def _loaded(self, backfill_id: str) -> int:
        row = self.bench.row(
            "SELECT count(*) AS n FROM ingestion_jobs WHERE backfill_id = %s AND outcome = 'loaded'", backfill_id
        )
        assert row is not None
        return int(row["n"])

    # -- in order -----------------------------------------------------------------------------------------

    def all(self) -> dict[str, Any]:
        """The whole play; its figures."""
        say("Warming up with one live file ...")
        self.live_file()
        say(f"Idle: {self.live} files.")
        self.series("idle")
        say(f"Backfill of {self.files:,} files over {self.days} days, launched in a browser.")
        wanted = self.put_history(first=0, files=self.files, days=self.days)
        began = time.time()
        backfill_id = self.launch_in_browser(self.day(0), self.day(self.days - 1))
        self.series("backfill", still=lambda: self.is_going_on(backfill_id))
        wait_until(
            lambda: not self.is_going_on(backfill_id) and self._ended(HISTORY),
            seconds=PATIENCE_SECONDS,
            what="the end of the backfill",
            every=1,
        )
        say(f"  ended after {time.time() - began:.0f} s")
        exact = self.check("backfill", wanted)
        nothing = self.loads_nothing_again()
        self.bench.wait_for_quiet(PATIENCE_SECONDS)
        floods = self.floods()
        say("History stopped in the middle and started again.")
        resumed = self.stopped_and_started_again()
        return {
            "exact": exact,
            "nothing_again": nothing,
            "resumed": resumed,
            "floods_loaded": floods,
            "seconds": self.seconds,
        }

    def floods(self) -> bool:
        """Live files beside floods of another organization; a flood follows when one is over, until all are measured.

        Returns:
            Whether every file of the floods was loaded.
        """
        self.seconds["flood"] = []
        for number in range(MOST_FLOODS):
            if len(self.seconds["flood"]) == self.live:
                break
            say(f"Flood {number + 1} of {self.flood:,} files of another organization.")
            names = [f"{number}-{n}" for n in range(self.flood)]
            self.put_all(
                [(f"uploads/{CROWD}/{LIVE}/{today()}/{n}/{n}.csv", readings(FIRST_DAY, f"crowd {n}")) for n in names]
            )
            self.series("flood", still=lambda: not self._ended(LIVE))
            wait_until(lambda: self._ended(LIVE), seconds=PATIENCE_SECONDS, what="the end of the flood", every=1)
        row = self.bench.row(
            "SELECT count(*) FILTER (WHERE outcome = 'loaded') AS loaded, count(*) AS files FROM ingestion_jobs "
            "WHERE organization = %s",
            CROWD,
        )
        assert row is not None
        say(f"  {row['loaded']:,} of the floods' {row['files']:,} files were loaded.")
        return bool(row["loaded"] == row["files"] > 0)

    def _ended(self, datasource: str) -> bool:
        row = self.bench.row(
            "SELECT count(*) AS n FROM ingestion_jobs WHERE datasource = %s AND finished_at IS NULL", datasource
        )
        assert row is not None
        return int(row["n"]) == 0


def readings(day: date, place: str) -> str:
    """A file of rows of a day, all of it different from any other place's."""
    lines = [f"{day}T{row % 24:02}:{row % 60:02}:00Z,{place},{row % 100}" for row in range(ROWS)]
    return "\n".join(["at,place,value", *lines, ""])


def report(figures: dict[str, Any]) -> dict[str, Any]:
    """Print medians side by side, and what holds; returns the figures."""
    seconds: dict[str, list[float]] = figures["seconds"]
    idle = median(seconds["idle"])
    say("\nPut -> proved of live files (seconds)")
    rows, holds = [], all(figures[name] for name, _ in _HELD)
    for name, limit in (("idle", None), ("backfill", BACKFILL_LIMIT), ("flood", FLOOD_LIMIT)):
        taken = seconds[name]
        if not taken:
            rows.append((f"during the {name}", 0, "", "", "", "NOT MEASURED: it was over at once"))
            holds = False
            continue
        ratio = median(taken) / idle
        verdict = "" if limit is None else f"{'HOLDS' if ratio <= limit else 'FAILS'}: at most {limit:g}"
        holds = holds and (limit is None or ratio <= limit)
        p90 = quantiles(taken, n=10)[-1] if len(taken) > 1 else taken[0]
        rows.append((name if limit is None else f"during the {name}", len(taken), median(taken), p90, ratio, verdict))
    table(["", "files", "median", "p90", "times idle", ""], rows)
    for name, text in _HELD:
        say(f"  {'HOLDS' if figures[name] else 'FAILS'}: {text}")
    return {**figures, "holds": holds}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in contracts(days_per_run=arguments.days_per_run).items():
            (Path(scratch) / f"{name}.yaml").write_text(text, encoding="utf-8")
        with running_stack(arguments.data_dir, contracts_dir=Path(scratch)) as bench:
            for organization in (ORGANIZATION, CROWD):
                bench.ledger.discovery.add_organization(organization)
            play = Play(
                bench=bench,
                files=arguments.files,
                days=arguments.days,
                live=arguments.live,
                flood=arguments.flood,
                moments=random.Random(arguments.seed),
            )
            return report(play.all())


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--files", type=int, default=1000, help="of history")
    parser.add_argument("--days", type=int, default=90, help="that they are spread over")
    parser.add_argument("--live", type=int, default=20, help="live files of each series")
    parser.add_argument("--flood", type=int, default=1000, help="files of the other organization")
    parser.add_argument("--days-per-run", type=int, default=1, help="of the history's contract")
    parser.add_argument("--seed", type=int, default=1)


if __name__ == "__main__":
    run(__doc__, measure, options)
