"""The way from samples to a draft.

What belongs here: the order of things. What does not: each judgement, which has its module.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import polars as pl

from ingestion_pipeline.domain.contract import Column, Contract, FileFormat
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.stages.infer.decisions import Decision, decide, null_words
from ingestion_pipeline.stages.infer.draft import (
    LOOK,
    NO_TIME,
    DraftColumn,
    DraftContract,
    origin_of,
    remarks_in,
    text_of,
)
from ingestion_pipeline.stages.infer.evidence import Evidence
from ingestion_pipeline.stages.infer.keys import is_id, key_of
from ingestion_pipeline.stages.infer.names import column_names, listed
from ingestion_pipeline.stages.infer.readings import Cast, written_column
from ingestion_pipeline.stages.infer.rules import checks_of
from ingestion_pipeline.stages.infer.samples import (
    Layout,
    Sample,
    Seen,
    cells_of,
    common_format,
    layout_of,
    text_contract,
)
from ingestion_pipeline.stages.infer.times import (
    Candidate,
    candidates,
    days_between,
    explicit_bounds,
    granularity,
    partition_start,
    rows_a_day,
)

_DEFAULT_START = date(2020, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A drafted contract.

    Attributes:
        text: The YAML.
        time_column: None: no column can be the time, so the contract is not one yet.
        remarks: What a person has to look at.
        seen: What was read of each sample.
    """

    datasource: str
    text: str
    time_column: str | None
    remarks: list[str]
    seen: list[Seen] = field(default_factory=list)


def infer(samples: Sequence[Sample], *, datasource: str, cast: Cast) -> Draft:
    """Draft the contract that all rows of the samples keep.

    Args:
        samples: Files of one datasource; they are read three times.
        cast: What each type accepts.

    Raises:
        UnreadableFile: A sample cannot be read, has no rows, or is written as no contract can say.
        ConfigurationError: The samples are written in different ways.
    """
    layouts = [layout_of(sample) for sample in samples]
    told = common_format(samples, layouts)
    sources = list(dict.fromkeys(source for layout in layouts for source in layout.sources))
    names = dict(zip(sources, column_names(sources), strict=True))
    contract = text_contract(names, told)
    columns = [Evidence(name=name, source=source) for source, name in names.items()]
    seen = []
    for sample, layout in zip(samples, layouts, strict=True):
        given = set(layout.sources)
        there = [column for column in columns if column.source in given]
        seen.append(_look_at(sample, contract, there, cast))
    decisions = decide(columns)
    return _Drafting(
        samples=samples,
        layouts=layouts,
        seen=seen,
        columns=columns,
        decisions=decisions,
        nulls=null_words(columns, decisions),
        contract=contract,
        datasource=datasource,
        cast=cast,
    ).draft()


def _look_at(sample: Sample, contract: Contract, there: Sequence[Evidence], cast: Cast) -> Seen:
    """Read one sample into the evidence on the columns that it has."""
    seen = Seen()
    for cells in cells_of(sample, contract, seen):
        nothing = pl.Series([None], dtype=pl.String).new_from_index(0, cells.height)
        given = {series.name: series for series in cells.get_columns()}
        for column in there:  # of JSON, a stretch may lack a key
            column.see(given.get(column.name, nothing), cast)
    if seen.rows == 0:
        why = f"no record is a row under its header ({seen.first_malformed})" if seen.malformed else "it has no rows"
        raise UnreadableFile(
            f"'{sample.name}' tells nothing about its columns: {why}.",
            hint="Give a file with rows; `ingestion-pipeline read FILE --to OUT.csv --report -` says how it is read.",
        )
    for column in there:
        column.samples += 1
    return seen


@dataclass(slots=True, kw_only=True)
class _Drafting:
    """Everything that is known, on its way into the draft.

    Attributes:
        contract: The one that the samples were read by.
        remarks: By the key that they are about; grows as the keys are decided.
    """

    samples: Sequence[Sample]
    layouts: Sequence[Layout]
    seen: list[Seen]
    columns: Sequence[Evidence]
    decisions: Sequence[Decision]
    nulls: list[str]
    contract: Contract
    datasource: str
    cast: Cast
    remarks: dict[str, str] = field(default_factory=dict)

    def draft(self) -> Draft:
        times = candidates(
            [
                Candidate(name=column.name, decision=decision, empty=self._empty(column, decision))
                for column, decision in zip(self.columns, self.decisions, strict=True)
            ]
        )
        time = times[0] if times else None
        drafted = DraftContract(
            datasource=self.datasource,
            origin=origin_of([sample.name for sample in self.samples], sum(seen.rows for seen in self.seen)),
            columns=[
                self._column(column, decision, is_time=time is not None and column.name == time.name)
                for column, decision in zip(self.columns, self.decisions, strict=True)
            ],
            left_out=list(dict.fromkeys(name for layout in self.layouts for name in layout.left_out)),
            time=self._time(times),
            partition_start=partition_start(time) if time is not None else _DEFAULT_START,
            granularity=self._granularity(time),
            told=self._told(),
            nulls=self._nulls(),
            unique=self._unique(time),
            remarks=self.remarks,
        )
        text = text_of(drafted)
        return Draft(
            datasource=self.datasource,
            text=text,
            time_column=time.name if time is not None else None,
            remarks=remarks_in(text),
            seen=self.seen,
        )

    def _empty(self, column: Evidence, decision: Decision) -> int:
        """Rows that leave the column empty, once the words for null mean that; at least one where a sample lacks it."""
        blanks = column.blanks if decision.type != "string" else 0
        absent = len(self.samples) - column.samples
        return column.nulls + blanks + absent + sum(column.words[word] for word in self.nulls)

    def _column(self, column: Evidence, decision: Decision, *, is_time: bool) -> DraftColumn:
        keys: dict[str, Any] = {"type": decision.type}
        if column.source != column.name:
            keys["source"] = column.source
        for key in ("format", "precision", "scale"):
            if (value := getattr(decision, key)) is not None:
                keys[key] = value
        if not is_time:
            # A key that some object lacks may be lacking in all objects of another file.
            if column.samples < len(self.samples) or (column.nulls and self._is_json()):
                keys["required"] = False
            if self._empty(column, decision):
                keys["nullable"] = True
        if checks := checks_of(column, decision, self.nulls):
            keys["checks"] = checks
        return DraftColumn(name=column.name, keys=keys, remark=decision.remark)

    def _is_json(self) -> bool:
        return any("JSON" in layout.facts.format for layout in self.layouts)

    def _time(self, times: Sequence[Candidate]) -> dict[str, Any]:
        if not times:
            self.remarks["time"] = (
                f"{LOOK}: no column has a date or a time in every way that is known; name the one that says when a row "
                "happened, and its type and format"
            )
            return {"column": NO_TIME}
        time = times[0]
        others = [other.name for other in times[1:] if not other.empty]
        if time.empty:
            self.remarks["time"] = f"{LOOK}: it is empty or absent in some rows, which will be rejected"
        elif time.decision.local:
            others_too = f"; also possible: {listed(others)}" if others else ""
            self.remarks["time"] = (
                f"{LOOK}: its times name no zone and are taken for UTC; if they are of another, say timezone: "
                f"Europe/Paris, for example, at the column{others_too}"
            )
        elif others:
            self.remarks["time"] = f"{LOOK}: also possible: {listed(others)}"
        return {"column": time.name, **explicit_bounds(time)}

    def _granularity(self, time: Candidate | None) -> str:
        if time is None:
            return "day"
        total = sum(seen.rows / sample.part for sample, seen in zip(self.samples, self.seen, strict=True))
        a_day = rows_a_day(time, total)
        self.remarks["druid"] = f"about {max(1, round(a_day)):,} rows a day; day is for 100,000 and more"
        return granularity(a_day, days=days_between(time))

    def _told(self) -> FileFormat:
        """How files are written, with the encoding if it was guessed and the samples agree on it."""
        told = self.contract.format
        if not told.header:
            self.remarks["header"] = f"{LOOK}: there is no header; give the columns their names, in this order"
        encodings = {seen.facts.encoding for seen in self.seen if seen.facts is not None}
        if len(encodings) == 1 and (encoding := encodings.pop()) and not encoding.startswith("utf"):
            self.remarks["encoding"] = f"{LOOK}: guessed by its letters; are they right?"
            return replace(told, encoding=encoding)
        return told

    def _unique(self, time: Candidate | None) -> list[str]:
        full = [
            (column, _typed_column(column, decision))
            for column, decision in zip(self.columns, self.decisions, strict=True)
            if not self._empty(column, decision) and decision.type in {"string", "integer", "date", "datetime"}
        ]
        ids = [typed for column, typed in full if is_id(column.name) and typed.type in {"string", "integer"}]
        few = [typed for column, typed in full if typed.type == "string" and column.values is not None]
        when = next((typed for column, typed in full if time is not None and column.name == time.name), None)
        return key_of(
            (self._cells(sample) for sample in self.samples),
            ids=ids,
            groups=list(dict.fromkeys([*ids, *few])) if when is not None else [],
            time=when,
            datasource=self.datasource,
            first=self.columns[0].name,
            cast=self.cast,
        )

    def _cells(self, sample: Sample) -> Iterator[pl.DataFrame]:
        return cells_of(sample, self.contract, Seen())

    def _nulls(self) -> list[str]:
        texts = [
            column.name
            for column, decision in zip(self.columns, self.decisions, strict=True)
            if decision.type == "string" and any(column.words[word] for word in self.nulls)
        ]
        if texts:
            self.remarks["null_values"] = f"{LOOK}: they also stand in {listed(texts)}, and will be null there"
        return self.nulls


def _typed_column(column: Evidence, decision: Decision) -> Column:
    return replace(written_column(decision.type, decision.format), name=column.name, source=column.source)
