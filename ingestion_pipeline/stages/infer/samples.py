"""Sample files as a contract would read them: what they are and how they are written, then their cells as text.

What belongs here: reading. What does not: judging cells (`evidence`), choosing what is read of a huge file (the
caller's streams).
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from ingestion_pipeline.domain.contract import Contract, FileFormat, TimeColumn, text_column
from ingestion_pipeline.errors import ConfigurationError, UnreadableFile
from ingestion_pipeline.formats import open_rows
from ingestion_pipeline.formats.base import FormatFacts, RowChunk, RowReader

_CHUNK_BYTES = 8 << 20
_FOUND_OUT = (",", ";", "\t", "|")  # delimiters that a contract need not name
_REWRITE = "Write it anew with `ingestion-pipeline read FILE --to OUT.csv`, and infer from that."


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A file, or stretches of one that read like a file.

    Attributes:
        open: Its bytes as they are stored; called several times.
        rows: How many are looked at, at most.
        part: How much of the file these bytes are, from 0 to 1.
    """

    name: str
    open: Callable[[], Iterable[bytes]]
    rows: int
    part: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a sample is.

    Attributes:
        sources: The names that a contract can call its columns by, in order.
        left_out: Names that it cannot: empty ones, and those that stand there twice.
        told: What a contract has to say of how it is written.
    """

    facts: FormatFacts
    sources: list[str]
    left_out: list[str]
    told: FileFormat


@dataclass(slots=True, kw_only=True)
class Seen:
    """What was read of a sample.

    Attributes:
        malformed: Records that are no rows; `first_malformed` says where the first is, and why.
        whole: It was read to its end.
    """

    rows: int = 0
    malformed: int = 0
    first_malformed: str = ""
    whole: bool = True
    facts: FormatFacts | None = None


def layout_of(sample: Sample) -> Layout:
    """Find out what a sample is.

    Raises:
        UnreadableFile: It cannot be read, or not by any contract.
    """
    reader = open_rows(sample.open(), contract=None, chunk_bytes=_CHUNK_BYTES)
    with _closing(reader) as chunks:
        first = next(chunks, None)
    facts = reader.facts
    if facts.delimiter is None:  # JSON, Parquet: names are there, and each is there once
        sources = first.cells.columns if first is not None else list(facts.header)
        return Layout(facts=facts, sources=sources, left_out=[], told=FileFormat())
    if facts.header_rows > 1 or not facts.header_is_whole or not facts.delimiter.isascii():
        why = (
            f"its header has {facts.header_rows} rows"
            if facts.header_rows > 1
            else f"its delimiter is {facts.delimiter!r}"
            if facts.header_is_whole
            else "its header is too long"
        )
        raise UnreadableFile(f"'{sample.name}' cannot be described by a contract: {why}.", hint=_REWRITE)
    names = facts.header or (first.cells.columns if first is not None else [])
    counts = Counter(names)
    sources = [name for name in names if name and counts[name] == 1]
    left_out = [name for name in counts if not name or counts[name] > 1]
    told = FileFormat(quote=facts.quote, escape=facts.escape, header=bool(facts.header))
    delimiter = facts.delimiter.strip(" ") or " "
    found = open_rows(
        sample.open(), contract=text_contract({s: s for s in sources}, told), chunk_bytes=_CHUNK_BYTES
    ).facts.delimiter
    if found != delimiter or (not told.header and len(sources) > 1):
        told = replace(told, delimiter=delimiter)
    return Layout(facts=facts, sources=sources, left_out=left_out, told=told)


def common_format(samples: Sequence[Sample], layouts: Sequence[Layout]) -> FileFormat:
    """What one contract says of all samples.

    Raises:
        ConfigurationError: They differ in what has to be said.
    """
    first: tuple[Sample, Layout] | None = None
    for sample, layout in zip(samples, layouts, strict=True):
        if layout.facts.delimiter is None:
            continue
        if first is None:
            first = (sample, layout)
        elif layout.told != first[1].told:
            raise ConfigurationError(
                f"'{first[0].name}' and '{sample.name}' are written in different ways: {_dialect(first[1])}; "
                f"{_dialect(layout)}.",
                hint="Files of one datasource are written alike. Infer from one of them, or rewrite the other with "
                "`ingestion-pipeline read FILE --to OUT.csv`.",
            )
    return first[1].told if first is not None else FileFormat()


def text_contract(names: dict[str, str], told: FileFormat) -> Contract:
    """A contract that takes every row: all columns are text, none must be there.

    Args:
        names: The column's name for each of the file's.
    """
    columns = tuple(text_column(name, source) for source, name in names.items())
    return Contract(
        datasource="sample",
        version="",
        files=(),
        columns=columns,
        time=TimeColumn(column=""),
        partition_start=date.min,
        format=told,
    )


def cells_of(sample: Sample, contract: Contract, seen: Seen) -> Iterator[pl.DataFrame]:
    """The cells of a sample as a contract reads them; `seen` grows on the way."""
    reader = open_rows(sample.open(), contract=contract, chunk_bytes=_CHUNK_BYTES)
    with _closing(reader) as chunks:
        for chunk in chunks:
            cells = chunk.cells.head(sample.rows - seen.rows)
            seen.rows += cells.height
            seen.malformed += len(chunk.malformed)
            if chunk.malformed and not seen.first_malformed:
                seen.first_malformed = f"line {chunk.malformed[0].line}: {chunk.malformed[0].reason}"
            seen.whole = cells.height == chunk.cells.height
            yield cells
            if seen.rows >= sample.rows:
                seen.whole = seen.whole and next(chunks, None) is None
                break
    seen.facts = reader.facts


def _closing(reader: RowReader) -> closing[Generator[RowChunk]]:
    """The rows; where they are left early, the reader's threads and files end too."""

    def chunks() -> Generator[RowChunk]:
        yield from reader.chunks()

    return closing(chunks())


def _dialect(layout: Layout) -> str:
    told, facts = layout.told, layout.facts
    header = "a header" if told.header else "no header"
    return f"delimiter {facts.delimiter!r}, quote {told.quote!r}, escape {told.escape!r}, {header}"
