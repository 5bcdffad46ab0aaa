"""Headers that come again: reports repeat them on every page, and so do files that were put one after the other.

What belongs here: leaving them out, and saying so. What does not: which records are a header (`layout`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import polars as pl

from ingestion_pipeline.formats.base import FormatFacts, RowChunk
from ingestion_pipeline.formats.entries import bare


def without_repeats(
    chunks: Iterator[RowChunk], repeats: Sequence[Sequence[str]], facts: FormatFacts
) -> Iterator[RowChunk]:
    """The chunks without the rows that are one of these records, whatever stands around their cells.

    Args:
        repeats: Of the table's width; each has a cell that says something.
    """
    count = 0
    for chunk in chunks:
        again = _again(chunk.cells, repeats)
        count += len(again)
        yield _without(chunk, again) if again else chunk
    if count:
        lines = "one line, which was" if count == 1 else f"{count} lines, which were"
        facts.warnings.append(f"The header comes again on {lines} left out.")


def _again(cells: pl.DataFrame, repeats: Sequence[Sequence[str]]) -> list[int]:
    found: set[int] = set()
    for record in repeats:
        # One column tells nearly always that there is none: the others are not looked at.
        column = next(position for position, cell in enumerate(record) if cell)
        may_be = cells.to_series(column).str.contains(record[column], literal=True).fill_null(value=False).arg_true()
        found |= {row for row in may_be if bare(cells.row(row)) == record}
    return sorted(found)


def _without(chunk: RowChunk, rows: Sequence[int]) -> RowChunk:
    kept = pl.int_range(chunk.cells.height, dtype=pl.UInt32, eager=True)
    kept = kept.filter(~kept.is_in(list(rows)))
    original = chunk.original
    return replace(
        chunk, cells=chunk.cells[kept], lines=chunk.lines.gather(kept), original=lambda at: original(kept.gather(at))
    )
