"""Detection: what a tick costs beside many old objects, and whether new ones are found whatever their names and times.

First `discover_tick`, the sensor's way of looking at the bucket, is called as the sensor calls it, with 0, 5,000,
20,000 and 50,000 old objects in the bucket: tiny files with keys of 2013, older than the contract's first sight and so
of the lane `history`. Printed: LIST calls and seconds of a tick, while the old objects are entered and afterwards. A
bucket of less than `sweep_pages_per_tick` pages is walked whole in each tick; a larger one costs those pages and one
LIST for each hot prefix, however many objects there are. The promise is that bound: from there on, LIST calls do not
grow with the old objects.

Then, with all of them present, Dagster runs and its sensor finds: names that sort before others put earlier, two
objects of one second, a late file under an old day's prefix, and a multipart upload that was begun first of all and is
finished minutes later under a name before all others. Printed: seconds from the moment an object exists to its row in
the ledger, and the LIST calls of the sensor's own ticks. Druid is not started: dispatch waits, detection does not.

How to run::

    python -m benchmarks.detection                                                    about 15 minutes
    python -m benchmarks.detection --old 0 2500 --multipart-minutes 0.5 --ticks 3     to see that it works
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import psycopg

from benchmarks.common import DATASOURCE, Bench, run, running_stack, say, table, today, wait_until
from ingestion_pipeline.adapters.contracts import load_contracts
from ingestion_pipeline.embedded import postgres
from ingestion_pipeline.embedded.stack import DAGSTER

ROW = b"year,month,day\n2013,1,1\n"
FIRST_OLD_DAY = date(2013, 1, 1)
PATIENCE_SECONDS = 300.0
# S3's own least size of a part that is not the last.
PART_BYTES = 5 * 1024 * 1024


class Ticks:
    """Calls `discover_tick` as the sensor does, its cursor kept from call to call."""

    def __init__(self, bench: Bench) -> None:
        from ingestion_pipeline.defs.sensors import discover_tick

        self._bench, self._tick, self._cursor = bench, discover_tick, ""
        self._book = load_contracts(bench.settings.contracts_dir)

    def look(self) -> dict[str, Any]:
        """One tick: LIST calls, objects listed, uploads entered, seconds."""
        began = time.monotonic()
        settings = self._bench.settings
        self._cursor, found = self._tick(
            self._cursor or None,
            ledger=self._bench.ledger,
            bucket=self._bench.bucket,
            book=self._book,
            settings=settings,
            in_budget=lambda: time.monotonic() - began < settings.tick_budget_seconds,
        )
        return {
            "list_calls": found.list_calls,
            "objects": found.objects,
            "new": found.new,
            "seconds": time.monotonic() - began,
        }


def put_old(bench: Bench, start: int, end: int) -> float:
    """Put old objects number `start` to `end`, spread over the days of 2013; returns seconds."""
    began = time.monotonic()
    keys = (
        bench.key(FIRST_OLD_DAY + timedelta(days=number % 365), "rows.csv", f"old-{number:06d}")
        for number in range(start, end)
    )
    with ThreadPoolExecutor(24) as pool:
        for _ in pool.map(lambda key: bench.bucket.put(key, ROW), keys):
            pass
    return time.monotonic() - began


def age(bench: Bench) -> None:
    """Let the contracts be first seen now: what is in the bucket already is history."""
    time.sleep(1.1)  # objects' times are whole seconds
    url = postgres.url(bench.stack.site, "postgres", driver="postgresql")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE datasources SET first_seen_at = now()")


def costs(bench: Bench, levels: Sequence[int], count: int) -> list[dict[str, Any]]:
    """Ticks at each number of old objects: those that enter them, then `count` of everyday ones."""
    ticks, present, results = Ticks(bench), 0, []
    ticks.look()  # contracts get their first sight
    for level in sorted(levels):
        seconds = put_old(bench, present, level)
        age(bench)
        say(f"  {level:,} old objects: {level - present:,} put in {seconds:.0f} s")
        entering = []
        while _entered(bench) < level:
            entering.append(ticks.look())
            if len(entering) > 10 + level // 500:
                raise RuntimeError(f"After {len(entering)} ticks {_entered(bench)} of {level} old objects are known.")
        present = level
        ticks.look()
        everyday = [ticks.look() for _ in range(count)]
        results.append({"old": level, "entering": entering, "everyday": everyday})
    return results


def _entered(bench: Bench) -> int:
    row = bench.row("SELECT count(*) AS n FROM ingestion_jobs WHERE lane = 'history'")
    return int(row["n"]) if row else 0


class Multipart:
    """An upload in two parts; its object exists only when it is finished."""

    def __init__(self, bench: Bench, key: str) -> None:
        import boto3
        from botocore.config import Config

        settings = bench.settings
        assert settings.s3_access_key_id is not None
        assert settings.s3_secret_access_key is not None
        self._client = boto3.client(
            "s3",
            endpoint_url=settings.s3_endpoint_url,
            region_name=settings.s3_region,
            aws_access_key_id=settings.s3_access_key_id.get_secret_value(),
            aws_secret_access_key=settings.s3_secret_access_key.get_secret_value(),
            config=Config(s3={"addressing_style": "path"}),
        )
        self.key, self.began = key, time.time()
        self._where: dict[str, Any] = {"Bucket": settings.s3_bucket, "Key": key}
        self._id = self._client.create_multipart_upload(**self._where)["UploadId"]
        self._parts: list[Any] = [self._part(1, ROW + b"2013,1,1\n" * (PART_BYTES // 9))]

    def _part(self, number: int, body: bytes) -> dict[str, Any]:
        answer = self._client.upload_part(**self._where, UploadId=self._id, PartNumber=number, Body=body)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def finish(self) -> None:
        self._parts.append(self._part(2, b"2013,1,2\n"))
        self._client.complete_multipart_upload(**self._where, UploadId=self._id, MultipartUpload={"Parts": self._parts})


def finds(bench: Bench, multipart: Multipart, multipart_minutes: float) -> list[dict[str, Any]]:
    """Put awkward objects, one kind after the other, and time each until it is in the ledger."""
    day = today()
    found: list[dict[str, Any]] = []

    def put(*names: str, on: date = day) -> dict[str, float]:
        moments = {}
        for name in names:
            key = bench.key(on, "rows.csv", name)
            bench.bucket.put(key, ROW + name.encode() + b",,\n")
            moments[key] = time.time()
        return moments

    def expect(what: str, moments: dict[str, float]) -> None:
        found.append({"what": what, **_wait_for(bench, moments)})
        say(f"  {what}: {found[-1]['found']} of {len(moments)} found, {found[-1]['slowest']:.1f} s")

    mark = uuid4().hex[:6]
    expect("a name after all others", put(f"zzz-{mark}"))
    expect("names before those seen already", put(f"mmm-{mark}", f"aaa-{mark}", f"000-{mark}"))
    time.sleep(1 - time.time() % 1)  # the beginning of a second
    expect("two objects of one second", put(f"same-second-b-{mark}", f"same-second-a-{mark}"))
    expect("a late file under an old day's prefix", put(f"late-{mark}", on=FIRST_OLD_DAY))
    rest = multipart.began + 60 * multipart_minutes - time.time()
    if rest > 0:
        say(f"  waiting {rest:.0f} s until the multipart upload is due ...")
        time.sleep(rest)
    multipart.finish()
    expect(f"a multipart upload, finished {multipart_minutes:g} minutes after its start", {multipart.key: time.time()})
    return found


def _wait_for(bench: Bench, moments: dict[str, float]) -> dict[str, Any]:
    """Seconds until each key has its row; one that never comes counts as not found."""
    seconds: dict[str, float] = {}

    def all_there() -> bool:
        known = bench.rows("SELECT object_key FROM ingestion_jobs WHERE object_key = ANY(%s)", list(moments))
        for row in known:
            seconds.setdefault(row["object_key"], time.time() - moments[row["object_key"]])
        return len(seconds) == len(moments)

    try:
        wait_until(all_there, seconds=PATIENCE_SECONDS, what="the ledger")
    except TimeoutError:
        say(f"  NOT FOUND within {PATIENCE_SECONDS:.0f} s: {sorted(set(moments) - set(seconds))}")
    return {
        "objects": len(moments),
        "found": len(seconds),
        "slowest": round(max(seconds.values(), default=PATIENCE_SECONDS), 2),
        "seconds": [round(second, 2) for second in seconds.values()],
    }


def sensor_ticks(bench: Bench) -> list[dict[str, Any]]:
    """The summaries that the sensor's ticks have logged."""
    ticks = []
    for line in bench.stack.log_file("code-server").read_text(encoding="utf-8", errors="replace").splitlines():
        if '"event": "tick"' in line:
            ticks.append(json.loads(line[line.index("{") :]))
    return ticks


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with running_stack(arguments.data_dir, only=["postgres", "s3"]) as bench:
        # Begun before anything else is there; its name sorts before all others of its day.
        multipart = Multipart(bench, bench.key(today(), "rows.csv", f"0000-multipart-{uuid4().hex[:6]}"))
        say("Ticks by direct call:")
        cost = costs(bench, arguments.old, arguments.ticks)
        say("Starting Dagster ...")
        bench.stack.up(only=DAGSTER)
        wait_until(lambda: bool(sensor_ticks(bench)), seconds=120, what="the sensor's first tick", every=0.5)
        say("Objects put while the sensor looks every five seconds:")
        found = finds(bench, multipart, arguments.multipart_minutes)
        ticks = sensor_ticks(bench)
        bound = bench.settings.sweep_pages_per_tick + bench.settings.hot_prefixes_per_tick
    return report(cost, found, ticks, bound)


def report(
    cost: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]], ticks: Sequence[dict[str, Any]], bound: int
) -> dict[str, Any]:
    """Print and return the figures."""

    def highest(looks: Sequence[dict[str, Any]], name: str) -> Any:
        return max((look[name] for look in looks), default=0)

    def median(looks: Sequence[dict[str, Any]], name: str) -> float:
        return float(statistics.median([look[name] for look in looks])) if looks else 0.0

    say(f"\nOne tick by direct call ({DATASOURCE}; everyday: nothing new)")
    table(
        ["old objects", "ticks to enter", "LIST max", "seconds max", "everyday LIST max", "seconds median", "max"],
        [
            (
                level["old"],
                len(level["entering"]),
                highest(level["entering"], "list_calls"),
                highest(level["entering"], "seconds"),
                highest(level["everyday"], "list_calls"),
                median(level["everyday"], "seconds"),
                highest(level["everyday"], "seconds"),
            )
            for level in cost
        ],
    )
    say("\nSeconds from the object's existence to its row in the ledger, found by the sensor")
    table(
        ["", "objects", "found", "slowest"],
        [(one["what"], one["objects"], one["found"], one["slowest"]) for one in found],
    )
    say("\nThe sensor's own ticks meanwhile")
    table(
        ["ticks", "LIST median", "LIST max", "seconds median", "seconds max"],
        [
            (
                len(ticks),
                median(ticks, "list_calls"),
                highest(ticks, "list_calls"),
                median(ticks, "seconds"),
                highest(ticks, "seconds"),
            )
        ],
    )
    most = max(highest(level[kind], "list_calls") for level in cost for kind in ("entering", "everyday"))
    bounded = max(most, highest(ticks, "list_calls")) <= bound
    everything = all(one["found"] == one["objects"] for one in found)
    say(f"\n{'HOLDS' if bounded else 'DOES NOT HOLD'}: at most {bound} LIST calls a tick, whatever lies in the bucket.")
    say("HOLDS: everything was found." if everything else "DOES NOT HOLD: objects were not found.")
    return {
        "ticks": list(cost),
        "found": list(found),
        "sensor_ticks": list(ticks),
        "list_calls_bound": bound,
        "holds": bounded and everything,
    }


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--old", type=int, nargs="+", default=[0, 5_000, 20_000, 50_000], help="numbers of old objects")
    parser.add_argument("--ticks", type=int, default=10, help="everyday ticks at each number")
    parser.add_argument("--multipart-minutes", type=float, default=10, help="from the upload's start to its end")


if __name__ == "__main__":
    run(__doc__, measure, options)
