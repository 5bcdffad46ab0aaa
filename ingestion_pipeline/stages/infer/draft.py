"""The draft of a contract as text: YAML with remarks, as a person would have typed it.

What belongs here: what is written and in which order. What does not: what is true of the samples (the other modules).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import yaml

from ingestion_pipeline.domain.contract import FileFormat

LOOK = "look at this"
NO_TIME = "CHANGE_ME"


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftColumn:
    """One line of the columns; `keys` in the order in which they are written."""

    name: str
    keys: Mapping[str, Any]
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftContract:
    """What the YAML says; a remark stands behind the key that it is about."""

    datasource: str
    origin: Sequence[str]
    columns: Sequence[DraftColumn]
    left_out: Sequence[str]
    time: Mapping[str, Any]
    partition_start: date
    granularity: str
    told: FileFormat
    nulls: Sequence[str]
    unique: Sequence[str]
    remarks: Mapping[str, str] = field(default_factory=dict)


def text_of(draft: DraftContract) -> str:
    """The YAML."""
    return "".join(f"{line}\n" for line in _lines(draft))


def remarks_in(text: str) -> list[str]:
    """What a person is asked to look at, each with what it is about."""
    found = []
    for line in text.splitlines():
        key, mark, remark = line.partition(f"  # {LOOK}: ")
        if mark:
            found.append(f"{key.split(':')[0].strip()}: {remark}")
    return found


def _lines(draft: DraftContract) -> Iterator[str]:
    remarks = draft.remarks
    for line in draft.origin:
        yield f"# {_one_line(line)}"
    yield f"datasource: {draft.datasource}"
    yield "# description: What one row is."
    yield "# owners: [team@example.com]"
    yield ""
    yield _noted(f"partition_start: {draft.partition_start}", remarks.get("partition_start"))
    yield "# files:  # besides uploads, which are always taken: objects that others put into the bucket"
    yield f"#   - pattern: exports/{draft.datasource}/{{date}}/*"
    yield "#     organization: acme"
    yield _noted(f"druid: {{segment_granularity: {draft.granularity}}}", remarks.get("druid"))
    yield from _format(draft)
    yield ""
    yield _noted(f"time: {_flow(draft.time)}", remarks.get("time"))
    yield ""
    yield "columns:"
    for column in draft.columns:
        yield _noted(f"  {_flow(column.name)}: {_flow(column.keys)}", column.remark)
    if draft.left_out:
        names = ", ".join(repr(name) for name in draft.left_out[:10])
        yield f"  # not read, since a contract cannot name what has no name or stands there twice: {_one_line(names)}"
    if draft.unique:
        yield ""
        yield _noted(f"unique: {_flow(list(draft.unique))}", remarks.get("unique"))


def _format(draft: DraftContract) -> Iterator[str]:
    usual, told = FileFormat(), draft.told
    said = {
        key: getattr(told, key)
        for key in ("delimiter", "quote", "escape", "encoding", "header")
        if getattr(told, key) != getattr(usual, key)
    }
    if not said and not draft.nulls:
        return
    yield "format:"
    for key, value in said.items():
        yield _noted(f"  {key}: {_flow(value)}", draft.remarks.get(key))
    if draft.nulls:
        yield _noted(f"  null_values: {_flow(list(draft.nulls))}", draft.remarks.get("null_values"))


def _noted(line: str, remark: str | None) -> str:
    return f"{line}  # {_one_line(remark)}" if remark else line


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _flow(value: Any) -> str:
    """A value in YAML's flow style, on one line."""
    written = yaml.safe_dump([value], default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf"))
    return written.strip()[1:-1]


def origin_of(samples: Sequence[str], rows: int) -> list[str]:
    """The comment above everything."""
    files = samples[0] if len(samples) == 1 else f"{len(samples)} files, {samples[0]} to {samples[-1]}"
    return [
        f"Drafted by `ingestion-pipeline contract infer` from {rows:,} rows of {files}.",
        f'Read every line: what a person has to decide is marked "{LOOK}".',
    ]
