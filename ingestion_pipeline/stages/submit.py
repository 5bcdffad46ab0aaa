"""Submit: the task that asks Druid to append a batch's cleaned objects, or to replace rows by them, as a value.

What belongs here: task ids, specs, their fingerprint and what of them may be kept; all of it pure. What
does not: sending (`adapters.druid`), saving the attempt first (the ledger), waiting (`stages.monitor`).
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

from ingestion_pipeline.domain.druid import JOB_ID_COLUMN, TIME_COLUMN
from ingestion_pipeline.domain.interval import Interval, merged
from ingestion_pipeline.domain.redaction import redacted_json
from ingestion_pipeline.errors import CorrectionRefused

Granularity = Literal["hour", "day", "month", "year"]

# Druid accepts a task id of 255 characters, cannot run it, and then runs nothing else either.
TASK_ID_LIMIT = 120
_ROWS_PER_SEGMENT = 5_000_000
# Druid's CSV reader splits a cell at this text into several values; no cell may contain it, so it is one
# that no contract lets through (cells are text without NUL). Druid's default is one control character, \x01.
_NO_LIST = "\x00\x00"
_JSON = "COMPLEX<json>"
_JSON_HOLDS = {_JSON, "STRING", "LONG", "DOUBLE", "ARRAY<STRING>", "ARRAY<LONG>", "ARRAY<DOUBLE>"}
_SUFFIX = re.compile(r"\.(csv|ndjson)(\.(zst|gz))?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFiles:
    """The cleaned objects of a batch and how to read them.

    Args:
        kind: "http" for presigned URLs, "s3" for `s3://bucket/key` read with the cluster's own credentials.
        uris: In order. The path's suffix must name format and codec (`.csv.zst`, `.ndjson.zst`): Druid picks the
            codec by it, and says SUCCESS with 0 rows when it is missing.
        format: "csv" without a header row, or "ndjson".
        columns: Every column in the order of the cells (CSV), `__time` among them.
    """

    kind: Literal["http", "s3"]
    uris: Sequence[str]
    format: Literal["csv", "ndjson"]
    columns: Sequence[str]

    def __post_init__(self) -> None:
        if not self.uris:
            raise ValueError("A task needs at least one input object.")
        for uri in self.uris:
            suffix = _SUFFIX.search(urlsplit(uri).path)
            if suffix is None or suffix.group(1) != self.format:
                raise ValueError(f"A {self.format} object's key must end in .{self.format}[.zst|.gz].")
        if TIME_COLUMN not in self.columns:
            raise ValueError(f"The columns must hold {TIME_COLUMN}, in milliseconds since 1970.")


def task_id(*, datasource: str, attempt_id: str) -> str:
    """The attempt's Druid task id: `[A-Za-z0-9_-]`, at most 120 characters, the same for the same arguments.

    A name that had to be shortened or spelled differently ends in a hash of the whole, so that two never meet.
    """
    plain = f"ing-{datasource}-{attempt_id}"
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", plain)
    if safe == plain and len(safe) <= TASK_ID_LIMIT:
        return safe
    mark = hashlib.sha256(f"{datasource}\n{attempt_id}".encode()).hexdigest()[:16]
    return f"{safe[: TASK_ID_LIMIT - len(mark) - 1]}-{mark}"


def build_append_spec(
    *,
    task_id: str,
    datasource: str,
    inputs: InputFiles,
    dimensions: Sequence[Mapping[str, Any]],
    segment_granularity: Granularity,
    intervals: Sequence[Interval],
    max_subtasks: int = 1,
) -> dict[str, Any]:
    """The native batch task that appends the objects' rows, all or none of them.

    Args:
        task_id: From :func:`task_id`.
        datasource: Druid datasource.
        inputs: The cleaned objects.
        dimensions: Druid's dimension objects, explicit for every column but `__time`; lineage included.
        segment_granularity: The contract's; never changed per file, since a coarser append beside finer segments fails.
        intervals: Every time chunk that holds a row. Explicit, so that Druid reads the objects once, not twice;
            a row outside them is dropped, which the proof would find.
        max_subtasks: 1 reads the objects one after the other in one task (Druid never splits one object).

    Raises:
        ValueError: No interval, or two dimensions whose names differ only in case.
    """
    if not intervals:
        raise ValueError("An append needs the time chunks that its rows lie in.")
    names = [str(dimension["name"]).lower() for dimension in dimensions]
    if len(set(names)) != len(names):
        raise ValueError(f"Two dimensions of {datasource} have the same name but for case.")
    return _task(
        task_id=task_id,
        datasource=datasource,
        dimensions=dimensions,
        segment_granularity=segment_granularity,
        intervals=intervals,
        max_subtasks=max_subtasks,
        io_config={
            "inputSource": {"type": inputs.kind, "uris": list(inputs.uris)},
            "inputFormat": _input_format(inputs),
            "appendToExisting": True,
            "dropExisting": False,
        },
    )


def build_replace_spec(
    *,
    task_id: str,
    datasource: str,
    inputs: InputFiles | None,
    without_jobs: Sequence[str],
    dimensions: Sequence[Mapping[str, Any]],
    segment_granularity: Granularity,
    intervals: Sequence[Interval],
) -> dict[str, Any]:
    """The task that rewrites time chunks without some jobs' rows and with the objects' rows, all or nothing.

    Druid 33 has no delete: each chunk is read and written again. Trying it again changes nothing, as long as
    `without_jobs` names the added jobs too.

    Args:
        inputs: None for an undo.
        without_jobs: Jobs whose present rows are left out; rows of no job stay.
        dimensions: From :func:`rewritten_dimensions`: a column that is not listed vanishes.
        intervals: Every chunk that holds a row of the jobs or of the objects.

    Raises:
        ValueError: No interval.
    """
    if not intervals:
        raise ValueError("A replace needs the time chunks that it rewrites.")
    kept = {
        "type": "or",
        "fields": [
            # Not the opposite of "in" alone: nothing is known of a null, so it is not "not in" either.
            {"type": "null", "column": JOB_ID_COLUMN},
            {"type": "not", "field": {"type": "in", "dimension": JOB_ID_COLUMN, "values": sorted(without_jobs)}},
        ],
    }
    delegates: list[dict[str, Any]] = [
        {"type": "druid", "dataSource": datasource, "interval": str(interval), "filter": kept}
        for interval in merged(intervals)
    ]
    io_config: dict[str, Any] = {"appendToExisting": False, "dropExisting": True}  # else an emptied chunk stays full
    if inputs is not None:
        delegates.append({"type": inputs.kind, "uris": list(inputs.uris)})
        io_config["inputFormat"] = _input_format(inputs)
    combined = len(delegates) > 1
    io_config["inputSource"] = {"type": "combining", "delegates": delegates} if combined else delegates[0]
    return _task(
        task_id=task_id,
        datasource=datasource,
        dimensions=dimensions,
        segment_granularity=segment_granularity,
        intervals=intervals,
        # Read one after the other in one task, combined sources fail in Druid 33 (`needsFormat()`).
        max_subtasks=2 if combined else 1,
        # Nor does a combined source know its task's locks: it would read rows that were appended after the task had
        # its lock, which Druid carries over by itself, so they would be there twice. Appends must wait for it.
        concurrent=not combined,
        io_config=io_config,
    )


def rewritten_dimensions(
    own: Sequence[Mapping[str, Any]],
    present: Mapping[str, Collection[str]],
    beside: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """The dimensions of a replace: the contract's, and every other that is in the chunks or about to be.

    A column whose type differs between segments, or from the contract's, becomes a string, which loses nothing; or
    JSON if it is that somewhere: Druid 33 stores a segment's JSON as a plain type when all its values are of that.

    Args:
        own: The contract's (`stages.transform.druid_dimensions`).
        present: Columns of the chunks with Druid's types there, several where segments differ, none for a column
            without a value.
        beside: Dimensions of appends that may publish into the chunks.

    Raises:
        CorrectionRefused: A column that cannot be written again as it is (a sketch, say).
    """
    wanted: dict[str, set[str]] = {}
    for dimension in (*own, *beside):
        wanted.setdefault(str(dimension["name"]), set()).add(str(dimension["type"]).upper())
    for name, types in present.items():
        wanted.setdefault(name, set()).update(types)
    return [_rewritten(name, types) for name, types in wanted.items()]


def _rewritten(name: str, types: set[str]) -> dict[str, Any]:
    only = next(iter(types)) if len(types) == 1 else None
    if only in ("LONG", "DOUBLE", "FLOAT"):
        return {"type": only.lower(), "name": name}
    if only is not None and only.startswith("ARRAY<"):
        return {"type": "auto", "name": name, "castToType": only}
    if _JSON in types and types <= _JSON_HOLDS:
        return {"type": "json", "name": name}
    refused = sorted(kind for kind in types if kind.startswith(("COMPLEX<", "ARRAY<")))
    if refused:
        raise CorrectionRefused(
            f"The column {name} ({', '.join(refused)}) cannot be rewritten without losing something, so no row of its "
            "time chunks can be replaced or taken out.",
            hint="Rewrite these days with a task of your own, or move that column to another datasource.",
            details={"column": name, "types": refused},
        )
    # Several values of a cell keep their order.
    return {"type": "string", "name": name, "multiValueHandling": "ARRAY"}


def _task(
    *,
    task_id: str,
    datasource: str,
    dimensions: Sequence[Mapping[str, Any]],
    segment_granularity: Granularity,
    intervals: Sequence[Interval],
    max_subtasks: int,
    io_config: Mapping[str, Any],
    concurrent: bool = True,
) -> dict[str, Any]:
    return {
        "type": "index_parallel",
        "id": task_id,
        "spec": {
            "dataSchema": {
                "dataSource": datasource,
                "timestampSpec": {"column": TIME_COLUMN, "format": "millis"},
                "dimensionsSpec": {"dimensions": [dict(dimension) for dimension in dimensions]},
                "metricsSpec": [],
                "granularitySpec": {
                    "type": "uniform",
                    "segmentGranularity": segment_granularity.upper(),
                    "queryGranularity": "NONE",
                    "rollup": False,  # a row stays a row, or counting them proves nothing
                    "intervals": [str(interval) for interval in merged(intervals)],
                },
            },
            "ioConfig": {"type": "index_parallel", **io_config},
            "tuningConfig": {
                "type": "index_parallel",
                "partitionsSpec": {"type": "dynamic", "maxRowsPerSegment": _ROWS_PER_SEGMENT},
                "forceGuaranteedRollup": False,
                "maxNumConcurrentSubTasks": max_subtasks,
                "maxParseExceptions": 0,  # rows are validated: what Druid cannot read is our defect
                "logParseExceptions": False,  # they hold row data
            },
        },
        # Without it appends that meet in a time chunk fail on its lock. Never a priority: it revokes locks.
        "context": {"useConcurrentLocks": concurrent},  # explicit: a cluster's default context may have it
    }


def spec_fingerprint(spec: Mapping[str, Any]) -> str:
    """sha256 (hex) of the spec without URL query strings: the same however often its URLs are signed anew."""
    text = json.dumps(redacted(spec), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def redacted(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec as it may be stored and shown: URLs without their query strings."""
    stripped: dict[str, Any] = redacted_json(spec)
    return stripped


def chunk_intervals(chunks: Sequence[datetime], granularity: Granularity) -> list[Interval]:
    """The time chunks that start at these moments, neighbours merged, sorted.

    Args:
        chunks: Aware datetimes, each the start of a chunk in UTC; repetitions are fine.
        granularity: How long a chunk is.

    Raises:
        ValueError: A moment that no chunk starts at, or a naive one.
    """
    return merged(_chunk(start, granularity) for start in set(chunks))


def _chunk(start: datetime, granularity: Granularity) -> Interval:
    if start.tzinfo is None:
        raise ValueError(f"A time chunk starts at an aware datetime, not {start}.")
    utc = start.astimezone(UTC)
    floor = utc.replace(minute=0, second=0, microsecond=0)
    match granularity:
        case "hour":
            end = floor + timedelta(hours=1)
        case "day":
            floor = floor.replace(hour=0)
            end = floor + timedelta(days=1)
        case "month":
            floor = floor.replace(day=1, hour=0)
            end = (floor + timedelta(days=31)).replace(day=1)
        case "year":
            floor = floor.replace(month=1, day=1, hour=0)
            end = floor.replace(year=floor.year + 1)
    if floor != utc:
        raise ValueError(f"No {granularity} starts at {start.isoformat()}.")
    return Interval(floor, end)


def _input_format(inputs: InputFiles) -> dict[str, Any]:
    if inputs.format == "ndjson":
        return {"type": "json"}
    return {
        "type": "csv",
        "columns": list(inputs.columns),
        "findColumnsFromHeader": False,
        "skipHeaderRows": 0,
        "listDelimiter": _NO_LIST,
    }
