"""Rejected rows as the sink gets them: an entry per broken rule with the value; the first has the row's text.

What belongs here: the shape of what is told. What does not: deciding what is rejected (`rules`).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from graphlib import TopologicalSorter
from io import BytesIO
from itertools import pairwise
from typing import NamedTuple

import polars as pl

from ingestion_pipeline.formats.base import MalformedRecord, RowChunk
from ingestion_pipeline.stages.validate.report import REJECTED_SCHEMA
from ingestion_pipeline.stages.validate.rules import Violation, any_of

MAX_ENTRIES = 25_000
HELD_ROWS = 2_000
_HELD_BYTES = 1024 * 1024
# `place` tells rows of one line apart (a JSON array may be one line); malformed records come after every row of theirs.
_ENTRY_SCHEMA = {"place": pl.UInt64(), **{name: kind for name, kind in REJECTED_SCHEMA.items() if name != "row"}}
_AFTER_ROWS = 1 << 32


class _Rule(NamedTuple):
    """A rule that rows broke; `number` tells rules apart that say the same."""

    name: str
    columns: tuple[str, ...]
    reason: str
    number: int


class RejectedRows:
    """Collects what is wrong, and tells it in file order, as frames of `REJECTED_SCHEMA`.

    Entries are made for the rows of many chunks at once. It takes some fifty calls into Polars, which for the hundred
    bad rows of a chunk took a third of the whole validation of a file with one bad row in a hundred.

    Wide rows that break a rule in every column have millions of entries: a frame has at most `MAX_ENTRIES`, or those of
    one line that breaks more rules.
    """

    def __init__(self, tell: Callable[[pl.DataFrame], None]) -> None:
        self._tell = tell
        self._schema = pl.Schema()
        self._begin()

    def _begin(self) -> None:
        self._parts: list[bytes] = []
        self._malformed: list[MalformedRecord] = []
        self._rules: dict[_Rule, int] = {}
        self._orders: set[tuple[int, int]] = set()  # pairs of rules of which the first is told first
        self._rows = self._bytes = 0

    def add(self, chunk: RowChunk, violations: Sequence[Violation]) -> None:
        """Take over the bad rows of a chunk and its malformed records."""
        if chunk.cells.schema != self._schema:
            self.flush()
            self._schema = chunk.cells.schema
        self._malformed += chunk.malformed
        self._rows += len(chunk.malformed)
        self._bytes += sum(len(record.text) for record in chunk.malformed)
        rejected = any_of(violations)
        if rejected is not None and rejected.any():
            self._add_rows(chunk, violations, rejected.arg_true())
        if self._rows >= HELD_ROWS or self._bytes >= _HELD_BYTES:
            self.flush()

    def _add_rows(self, chunk: RowChunk, violations: Sequence[Violation], rows: pl.Series) -> None:
        numbers = self._numbers(violations)
        cells = [cell.alias(f"cell {i}") for i, cell in enumerate(chunk.cells.get_columns())]
        broken = [v.rows.alias(f"rule {n}") for n, v in zip(numbers, violations, strict=True)]
        reasons = [
            v.reasons.alias(f"reason {n}") for n, v in zip(numbers, violations, strict=True) if v.reasons is not None
        ]
        part = pl.DataFrame([chunk.lines.alias("line"), *broken, *reasons, *cells])[rows]
        part = part.with_columns(chunk.original(rows).alias("row"))
        # Written out, because a frame of a few rows of a chunk keeps the memory of the whole chunk.
        buffer = BytesIO()
        part.write_ipc(buffer)
        self._parts.append(buffer.getvalue())
        self._bytes += buffer.tell()
        self._rows += part.height

    def _numbers(self, violations: Sequence[Violation]) -> list[int]:
        alike: Counter[tuple[str, tuple[str, ...], str]] = Counter()
        numbers = []
        for violation in violations:
            key = violation.name, violation.columns, violation.reason
            numbers.append(self._rules.setdefault(_Rule(*key, alike[key]), len(self._rules)))
            alike[key] += 1
        self._orders.update(pairwise(numbers))
        return numbers

    def flush(self) -> None:
        """Tell what is held."""
        if self._rows:
            for entries in self._entries():
                self._tell(entries)
        self._begin()

    def _entries(self) -> Iterator[pl.DataFrame]:
        # A chunk in which nothing breaks a rule has no column for it.
        held = pl.concat([pl.read_ipc(part) for part in self._parts] or [_nothing(self._schema)], how="diagonal")
        places = pl.Series(range(held.height), dtype=pl.UInt64)
        held = held.with_columns(places.alias("place"))
        # Each chunk had its rules in the contract's order, and all of them together are in one such order.
        order = TopologicalSorter({number: set() for number in self._rules.values()})
        for first, second in self._orders:
            order.add(second, first)
        rules = dict(zip(self._rules.values(), self._rules, strict=True))
        ordered = [(number, rules[number]) for number in order.static_order()]
        malformed_lines = pl.Series([record.line for record in self._malformed], dtype=pl.Int64)
        lines = pl.concat([held["line"], malformed_lines]).sort()
        step = max(1, MAX_ENTRIES // max(1, len(rules)))
        next_row = next_malformed = 0
        for start in range(0, len(lines), step):
            last = lines[min(start + step, len(lines)) - 1]
            first_row, next_row = next_row, held["line"].search_sorted(last, side="right")
            first_malformed, next_malformed = next_malformed, malformed_lines.search_sorted(last, side="right")
            rows, malformed = held[first_row:next_row], self._malformed[first_malformed:next_malformed]
            yield _entries(rows, ordered, self._schema.names(), malformed)


def _nothing(cells: pl.Schema) -> pl.DataFrame:
    schema = {"line": pl.Int64, "row": pl.String} | {f"cell {i}": kind for i, kind in enumerate(cells.dtypes())}
    return pl.DataFrame(schema=schema)


def _entries(
    rows: pl.DataFrame, rules: Sequence[tuple[int, _Rule]], names: Sequence[str], malformed: Sequence[MalformedRecord]
) -> pl.DataFrame:
    """What is wrong with some rows and malformed records; the text of each is told once, at its first entry."""
    broken = [_broken(rows, number, rule, names) for number, rule in rules]
    entries = pl.concat([_malformed(malformed), *broken]).sort("line", "place", maintain_order=True)
    whole = rows.select("line", "place", "row")
    cut = pl.DataFrame(
        [(record.line, _AFTER_ROWS + number, record.text) for number, record in enumerate(malformed)],
        schema=whole.schema,
        orient="row",
    )
    texts = pl.concat([whole, cut]).sort("line", "place")["row"]
    first = entries["place"].is_first_distinct()
    return entries.with_columns(row=pl.when(first).then(texts.gather(first.cum_sum() - 1))).select(*REJECTED_SCHEMA)


def _malformed(malformed: Sequence[MalformedRecord]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "place": range(_AFTER_ROWS, _AFTER_ROWS + len(malformed)),
            "line": [record.line for record in malformed],
            "column": [""] * len(malformed),
            "rule": ["row_shape"] * len(malformed),
            "value": [None] * len(malformed),
            "reason": [record.reason for record in malformed],
        },
        schema=_ENTRY_SCHEMA,
    )


def _broken(rows: pl.DataFrame, number: int, rule: _Rule, names: Sequence[str]) -> pl.DataFrame:
    """The entries of those of some rows that break one rule."""
    rows = rows.filter(pl.col(f"rule {number}"))
    reason = f"reason {number}"
    return rows.select(
        "place",
        "line",
        column=pl.lit(", ".join(rule.columns)),
        rule=pl.lit(rule.name),
        value=_value(rule.columns, names),
        reason=pl.col(reason) if reason in rows.columns else pl.lit(rule.reason),
    )


def _value(columns: Sequence[str], names: Sequence[str]) -> pl.Expr:
    """Cells as the file has them; `a=1, b=2` where a rule looks at several columns."""
    known = {name: pl.col(f"cell {names.index(name)}").cast(pl.String) for name in columns if name in names}
    if not known:
        return pl.lit(None, dtype=pl.String)
    if len(columns) == 1:
        return known[columns[0]]
    texts = [pl.format("{}={}", pl.lit(name), cell.fill_null("")) for name, cell in known.items()]
    return pl.concat_str(texts, separator=", ")
