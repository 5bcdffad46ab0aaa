"""The judgement: every row of Druid against the model, every job against what it may end as.

What belongs here: reading all rows, comparing multisets of whole rows, and what is a violation. What does not: what
should be there (`model`) and how it is shown (`report`). Druid is asked past the pipeline's own code.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests

from ingestion_pipeline_tests.guarantees.suite.content import COLUMNS, Row, fingerprint
from ingestion_pipeline_tests.guarantees.system import FINAL

_NO_CACHE = {"useCache": False, "populateCache": False, "useResultLevelCache": False, "sqlTimeZone": "Etc/UTC"}
LOADED = ("loaded", "loaded_with_rejects")
_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Found:
    """A row as Druid has it."""

    job_id: str
    row: Row


@dataclass(slots=True)
class RowsVerdict:
    """How the rows of a datasource differ from what must be there.

    Attributes:
        lost: Rows that are not there, as often as they are missing.
        duplicated: Rows that are there more often than they should be.
        wrong: Rows that should not be there at all: of an older version, of an undone file, or altered.
        examples: Some of each, as text.
    """

    expected: int = 0
    found: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    lost_ids: set[str] = field(default_factory=set)
    examples: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.duplicated or self.wrong)


@dataclass(slots=True)
class JobsVerdict:
    """Jobs that did not end as they may.

    Attributes:
        stuck: Not final.
        failed: Ended failed or canceled though their file is good.
        untrue: The ledger says other rows than Druid has under the job's id.
        lost_by_s3: Failed because the server lost an object that it had acknowledged.
    """

    jobs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    stuck: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)
    lost_by_s3: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.stuck or self.failed or self.untrue)


def compare(expected: Iterable[Row], found: Iterable[Row]) -> RowsVerdict:
    """Compare rows as multisets of the hashes of their whole content."""
    wanted: dict[str, Row] = {}
    want: Counter[str] = Counter()
    for row in expected:
        mark = fingerprint(row)
        wanted[mark] = row
        want[mark] += 1
    have: Counter[str] = Counter()
    seen: dict[str, Row] = {}
    for row in found:
        mark = fingerprint(row)
        have[mark] += 1
        if mark not in wanted:
            seen[mark] = row
    missing, surplus = want - have, have - want
    verdict = RowsVerdict(expected=want.total(), found=have.total(), lost=missing.total())
    verdict.lost_ids = {str(wanted[mark][1]) for mark in missing}
    verdict.duplicated = sum(count for mark, count in surplus.items() if mark in wanted)
    verdict.wrong = sum(count for mark, count in surplus.items() if mark not in wanted)
    for what, marks in (("lost", missing), ("surplus", surplus)):
        for mark, count in list(marks.items())[:_EXAMPLES]:
            kind = what if what == "lost" else "duplicated" if mark in wanted else "wrong"
            verdict.examples.append(f"{kind} {count} x {wanted.get(mark) or seen[mark]}")
    return verdict


def read_rows(broker_url: str, datasource: str, columns: Sequence[str] = COLUMNS) -> Iterator[Found]:
    """Every row of a datasource, by organization and day, streamed.

    Raises:
        RuntimeError: An answer broke off, or its parts are not all the rows that a count finds.
    """
    http = requests.Session()
    http.trust_env = False
    days = [
        (row[0], row[1])
        for row in _sql(
            http,
            broker_url,
            f'SELECT "__organization", TIMESTAMP_TO_MILLIS(FLOOR(__time TO DAY)) FROM "{datasource}" GROUP BY 1, 2',
        )
    ]
    names = ", ".join(f'"{name}"' for name in ("__job_id", *columns))
    read = 0
    for organization, day in sorted(days, key=str):
        whose = '"__organization" = ?' if organization is not None else '"__organization" IS NULL'
        query = (
            f'SELECT {names} FROM "{datasource}" WHERE {whose} '
            f"AND __time >= MILLIS_TO_TIMESTAMP({day}) AND __time < MILLIS_TO_TIMESTAMP({day + 86_400_000})"
        )
        for row in _sql(http, broker_url, query, *([] if organization is None else [organization])):
            read += 1
            yield Found(job_id=str(row[0] or ""), row=tuple(row[1:]))
    counted = next(_sql(http, broker_url, f'SELECT COUNT(*) FROM "{datasource}"'), [0])[0]
    if counted != read:
        raise RuntimeError(f"{datasource}: {read} rows were read and {counted} are counted")


def _sql(http: requests.Session, broker_url: str, query: str, *parameters: str) -> Iterator[list[Any]]:
    body = {
        "query": query,
        "parameters": [{"type": "VARCHAR", "value": value} for value in parameters],
        "context": _NO_CACHE,
        "resultFormat": "arrayLines",
    }
    with http.post(f"{broker_url}/druid/v2/sql", json=body, timeout=120, stream=True) as answer:
        if answer.status_code == 400 and "not found" in answer.text:
            return  # no row of it was ever published
        answer.raise_for_status()
        complete = False
        for line in answer.iter_lines():
            if line:
                yield json.loads(line)
            else:
                complete = True  # an empty line ends a whole answer, and no broken one
        if not complete:
            raise RuntimeError(f"the answer broke off: {query}")


def read_everything(
    broker_url: str,
    datasource: str,
    *,
    settle_seconds: float,
    patience_seconds: float,
    columns: Sequence[str] = COLUMNS,
) -> list[Found]:
    """All rows, once two readings some seconds apart are the same; the last reading, if none are."""
    deadline = time.monotonic() + patience_seconds
    before: list[Found] | None = None
    while True:
        try:
            found: list[Found] | None = sorted(read_rows(broker_url, datasource, columns), key=str)
        except (requests.RequestException, RuntimeError):
            if time.monotonic() > deadline:
                raise
            found = None
        if found is not None and (found == before or time.monotonic() > deadline):
            return found
        before = found
        time.sleep(settle_seconds)


def judge_jobs(
    jobs: Sequence[Mapping[str, Any]],
    *,
    counted: Mapping[str, int],
    fails_with: Mapping[tuple[str, str], str | None],
    is_missing: Mapping[str, bool],
) -> JobsVerdict:
    """Judge how jobs ended.

    Args:
        jobs: Rows of `ingestion_jobs`.
        counted: Rows in Druid by job.
        fails_with: By key and etag: the outcome of a file that is bad, None for a good one.
        is_missing: By key: whether the bucket does not have it, though it was acknowledged.
    """
    verdict = JobsVerdict(jobs=len(jobs))
    for job in jobs:
        told = f"{job['job_id']} {job['datasource']} {job['object_key']} {job['cause']}: {job['status']}"
        verdict.outcomes[f"{job['status']}/{job['outcome'] or '-'}"] += 1
        if job["status"] not in FINAL:
            verdict.stuck.append(f"{told}, step {job['step']}, {job['waiting_reason'] or job['error_message'] or ''}")
        elif job["status"] != "completed":
            allowed = fails_with.get((job["object_key"], job["etag"] or ""))
            if job["outcome"] != allowed:
                lost = job["outcome"] == "object_missing" and is_missing.get(job["object_key"], False)
                (verdict.lost_by_s3 if lost else verdict.failed).append(
                    f"{told}/{job['outcome']}: {job['error_message']}"
                )
        says = int(job["rows_queryable"]) if job["outcome"] in LOADED else 0
        has = counted.get(str(job["job_id"]), 0)
        if says != has:
            verdict.untrue.append(f"{told}/{job['outcome']}: the ledger says {says} rows, Druid has {has}")
    known = {str(job["job_id"]) for job in jobs}
    verdict.untrue += [
        f"{job_id or 'no job'}: unknown to the ledger, {rows} rows in Druid"
        for job_id, rows in counted.items()
        if job_id not in known
    ]
    return verdict
