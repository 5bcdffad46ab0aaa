"""Priority: urgent files before low ones, and low ones before urgent ones when they have waited long enough.

In one run, on one stack with Druid, with few files a run so that many wait:

1. five hundred low files are put at once, then urgent ones, one after the other: how many that waited longer each of
   them overtook, and how many were taken before it although it waited already;
2. with a file a run, urgent files wait, one low file that came with them, and one low file that came forty minutes
   before (entered as a file that was sent then): in which order their runs were started.

The promise: no low file is taken before an urgent one that waits, and the one that has waited goes before urgent ones.
That none waits for ever, whatever comes, is a property test's (`unit/test_dispatch.py`).

How to run::

    python -m benchmarks.priority                        five minutes
    python -m benchmarks.priority --low 150 --urgent 1   to see that it works (with fewer, none may be left waiting)
"""

import argparse
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.common import Bench, run, running_stack, say, table, today, wait_until
from benchmarks.fairness import FIRST_DAY, readings
from ingestion_pipeline.domain.job import Lane, Priority
from ingestion_pipeline.domain.upload import Upload

ORGANIZATION, DATASOURCE = "acme", "readings"
FILES_PER_RUN = 10
AGED = timedelta(minutes=40)
PATIENCE_SECONDS = 900.0

_CONTRACT = """\
datasource: readings
description: Readings of thermometers.
partition_start: 2024-01-01
time: {column: at, min: 2024-01-01T00:00:00Z, max: 2025-01-01T00:00:00Z}
columns:
  at: {type: datetime}
  place: {type: string}
  value: {type: float, checks: {in_range: [0, 100]}}
"""


class Play:
    """Files sent with a priority, and what became of them."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def send(self, count: int, priority: Priority, *, waited: timedelta = timedelta(0)) -> list[str]:
        """Put files and enter them as the command `send` does; their jobs' ids."""
        uploads = []
        for _ in range(count):
            key = f"uploads/{ORGANIZATION}/{DATASOURCE}/{today()}/{uuid4()}/{priority.name.lower()}.csv"
            self.bench.bucket.put(key, readings(FIRST_DAY, key).encode())
            stored = self.bench.bucket.head(key)
            assert stored is not None
            upload = Upload(
                organization=ORGANIZATION,
                datasource=DATASOURCE,
                bucket=self.bench.bucket.bucket,
                stored=stored,
                partition_day=today(),
            )
            uploads.append((upload, Lane.LIVE))
        entered = self.bench.ledger.discovery.enter(
            uploads,
            job_ids=[uuid4() for _ in uploads],
            now=datetime.now(UTC) - waited,
            priority=priority,
        )
        assert len(entered.new) == count
        return list(entered.new)

    def jobs(self, job_ids: list[str]) -> list[dict[str, Any]]:
        return self.bench.rows("SELECT * FROM ingestion_jobs WHERE job_id::text = ANY(%s)", job_ids)

    def wait(self, job_ids: list[str]) -> list[dict[str, Any]]:
        """Until all have ended; raises unless all are loaded."""
        wait_until(
            lambda: all(job["finished_at"] for job in self.jobs(job_ids)),
            seconds=PATIENCE_SECONDS,
            what=f"the end of {len(job_ids)} files",
            every=0.5,
        )
        jobs = self.jobs(job_ids)
        if wrong := [job["outcome"] for job in jobs if job["outcome"] != "loaded"]:
            raise RuntimeError(f"Files ended as {sorted(set(wrong))}.")
        return jobs

    def overtaking(self, low: int, urgent: int) -> list[dict[str, Any]]:
        """Urgent files behind many low ones."""
        self.bench.start_code_server(files_per_run=FILES_PER_RUN)
        waiting = self.send(low, Priority.LOW)
        say(f"{low} low files wait.")
        self.bench.stack.up(only=["dagster-daemon"])
        wait_until(
            lambda: any(job["finished_at"] for job in self.jobs(waiting)),
            seconds=PATIENCE_SECONDS,
            what="the first low file's end",
            every=0.5,
        )
        seen = []
        for _ in range(urgent):
            put = time.time()
            job = self.wait(self.send(1, Priority.URGENT))[0]
            others = self.jobs(waiting)
            seen.append(
                {
                    "seconds": job["finished_at"].timestamp() - put,
                    "waited_longer": sum(
                        o["claimed_at"] is None or o["claimed_at"] > job["created_at"] for o in others
                    ),
                    "before_it": sum(
                        o["claimed_at"] is not None and job["created_at"] < o["claimed_at"] < job["claimed_at"]
                        for o in others
                    ),
                    "still_waiting": sum(o["claimed_at"] is None for o in others),
                }
            )
            say(f"  urgent: {seen[-1]}")
        self.wait(waiting)
        return seen

    def aging(self, urgent: int) -> dict[str, int]:
        """Ranks of two low files among urgent ones, by the start of their runs."""
        self.bench.wait_for_quiet(PATIENCE_SECONDS)
        self.bench.start_code_server(files_per_run=1)
        urgent_ids = self.send(urgent, Priority.URGENT)
        new, old = self.send(1, Priority.LOW), self.send(1, Priority.LOW, waited=AGED)
        self.bench.stack.up(only=["dagster-daemon"])
        jobs = sorted(self.wait([*urgent_ids, *new, *old]), key=lambda job: job["started_at"])
        order = [str(job["job_id"]) for job in jobs]
        return {"old": order.index(old[0]) + 1, "new": order.index(new[0]) + 1, "all": len(order)}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / f"{DATASOURCE}.yaml").write_text(_CONTRACT, encoding="utf-8")
        with running_stack(arguments.data_dir, contracts_dir=Path(scratch)) as bench:
            bench.ledger.discovery.add_organization(ORGANIZATION)
            play = Play(bench)
            say("Warming up with one file ...")
            play.wait(play.send(1, Priority.MEDIUM))
            overtaking = play.overtaking(arguments.low, arguments.urgent)
            say("A file a run: urgent ones, a low one, and a low one that came forty minutes before.")
            aging = play.aging(arguments.aging)
    return report(overtaking, aging, arguments.low)


def report(overtaking: list[dict[str, Any]], aging: dict[str, int], low: int) -> dict[str, Any]:
    say(f"\nUrgent files behind {low} low ones")
    table(
        ["put -> proved (s)", "low ones waited longer", "taken before it all the same", "wait still at its end"],
        [tuple(one[name] for name in ("seconds", "waited_longer", "before_it", "still_waiting")) for one in overtaking],
    )
    overtakes = all(one["before_it"] == 0 and one["still_waiting"] > 0 for one in overtaking)
    ages = aging["old"] < aging["all"] // 2 and aging["new"] == aging["all"]
    say(f"  {'HOLDS' if overtakes else 'FAILS'}: no low file was taken before an urgent one that waited.")
    say(
        f"  {'HOLDS' if ages else 'FAILS'}: of {aging['all']} files the low one that had waited 40 minutes was started "
        f"as number {aging['old']}, the low one that came with the urgent ones as number {aging['new']}."
    )
    return {"overtaking": overtaking, "aging": aging, "holds": overtakes and ages}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--low", type=int, default=500)
    parser.add_argument("--urgent", type=int, default=3, help="put one after the other")
    parser.add_argument("--aging", type=int, default=18, help="urgent files beside the two low ones")


if __name__ == "__main__":
    run(__doc__, measure, options)
