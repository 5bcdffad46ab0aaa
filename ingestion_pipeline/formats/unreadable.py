"""Bytes that are no text: they cost the record in which they stand, not the file.

What belongs here: finding their lines, taking rows out. What does not: decoding (`text`). In a text that was decoded
with `surrogateescape`, such a byte is a lone surrogate.
"""

import re

import polars as pl

from ingestion_pipeline.formats.base import MalformedRecord, RowChunk
from ingestion_pipeline.formats.records import Block

_SURROGATES = re.compile("[\udc80-\udcff]")


def shown_text(text: str) -> str:
    """The text with the mark for what cannot be shown; as long as before."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def unreadable_lines(text: str) -> set[int]:
    """Lines, from 0, on which bytes stand that are no text."""
    found: set[int] = set()
    line = at = 0
    for odd in _SURROGATES.finditer(text) if not text.isascii() else ():
        line += text.count("\n", at, odd.start())
        at = odd.start()
        found.add(line)
    return found


def behind_lines(block: bytes, count: int) -> bytes:
    """What comes after so many lines."""
    at = 0
    for _ in range(count):
        at = block.find(b"\n", at) + 1
        if not at:
            return b""
    return block[at:]


def without_unreadable(chunk: RowChunk, found: Block, unreadable: set[int], first: int) -> RowChunk:
    """The chunk without the rows on whose lines bytes stand that are no text; `first` is the block's first line."""
    lines = (chunk.lines - first).to_list()
    bad = [row for row, line in enumerate(lines) if any(at in unreadable for at in found.lines_of(line))]
    if not bad:
        return chunk
    keep = pl.Series(sorted(set(range(len(lines))).difference(bad)), dtype=pl.UInt32)
    texts = found.original(pl.Series(bad, dtype=pl.UInt32)).to_list()
    more = [
        MalformedRecord(first + lines[row], text, "a byte cannot be read in the file's encoding")
        for row, text in zip(bad, texts, strict=True)
    ]
    return RowChunk(
        cells=chunk.cells[keep],
        lines=chunk.lines.gather(keep),
        malformed=sorted([*chunk.malformed, *more], key=lambda record: record.line),
        original=lambda rows: found.original(keep.gather(rows)),
    )
