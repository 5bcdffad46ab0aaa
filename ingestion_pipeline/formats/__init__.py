"""Readers: stored bytes to rows, one family of formats per module, chosen by content.

What belongs here: choosing the reader. To add a family, write a reader (`base.RowReader`) and a case in
`open_rows`. What does not: rules about values (`stages.validate`).
"""

import re
from collections.abc import Iterable, Iterator

from ingestion_pipeline.domain.contract import DELIMITED_TEXT, Contract, FileFormat
from ingestion_pipeline.domain.contract_names import ColumnNames
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.base import FormatFacts, RowReader
from ingestion_pipeline.formats.compression import compression_of, decompressed, refuse_nested
from ingestion_pipeline.formats.text import Decoded, encoding_of, first_bytes, line_end_of, undecodable, with_line_feeds

_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
# The module of a format is imported when a file is of it: each run would pay for all of them.


def open_rows(stored: Iterable[bytes], *, contract: Contract | None, chunk_bytes: int, table: int = 1) -> RowReader:
    """Find out what a file is and open it.

    Args:
        stored: The object's bytes in chunks of any size.
        contract: None: everything is found out by the file alone, and every column is kept as text.
        chunk_bytes: About how much plain text becomes one chunk of rows.
        table: Where there is no contract: which of the tables of a delimited text, from 1.

    Raises:
        UnreadableFile: It is empty, damaged, of no known format, not of the one that the contract asks for, or it
            lacks columns that the contract requires.
    """
    head, stored = first_bytes(stored)
    if not head:
        raise UnreadableFile("The file is empty: 0 bytes.", hint="Upload a file with a header and rows.")
    compression = compression_of(head)
    head, plain = first_bytes(decompressed(stored, compression))
    if not head:
        raise UnreadableFile(
            f"The file holds nothing: {compression} of 0 bytes.", hint="Upload a file with a header and rows."
        )
    if compression is not None:
        refuse_nested(head, compression)
    options = contract.format if contract else FileFormat(header=None, table=table)
    names = ColumnNames.of(contract) if contract else None
    wanted = options.type
    if wanted == "parquet" or (wanted == "auto" and is_parquet(head)):
        from ingestion_pipeline.formats.parquet import ParquetReader

        return ParquetReader(
            plain,
            names=names,
            null_values=options.null_values,
            facts=FormatFacts(format="Parquet", compression=compression),
            chunk_bytes=chunk_bytes,
        )
    # Without a contract nothing is loaded: what cannot be read costs its record, not the file.
    lenient = contract is None
    decoded = Decoded(plain, encoding_of(head, options.encoding, lenient=lenient), lenient=lenient)
    head, text = first_bytes(decoded)
    facts = FormatFacts(
        format=DELIMITED_TEXT, compression=compression, encoding=decoded.encoding, line_end=line_end_of(head)
    )
    lines = _told(with_line_feeds(text, head), decoded, facts)
    if wanted == "json" or (wanted == "auto" and may_be_json(head)):
        from ingestion_pipeline.formats.json_head import kind_of_json

        kind, lines = kind_of_json(lines, names=names, path=options.record_path, forced=wanted == "json")
        if kind is not None:
            from ingestion_pipeline.formats.json_keys import open_json

            return open_json(
                _unguessed(lines, decoded),
                kind=kind,
                options=options,
                names=names,
                facts=facts,
                chunk_bytes=chunk_bytes,
            )
    from ingestion_pipeline.formats.delimited import DelimitedReader
    from ingestion_pipeline.formats.frames import without_frame
    from ingestion_pipeline.formats.tables import from_table

    if options.delimiter is None:
        lines = without_frame(lines, facts, quote=options.quote)
    lines_before = 0
    if options.table > 1:
        lines, lines_before = from_table(options.table, lines, chunk_bytes)
    return DelimitedReader(
        lines, options=options, names=names, facts=facts, chunk_bytes=chunk_bytes, lines_before=lines_before
    )


def is_parquet(head: bytes) -> bool:
    """Parquet, also encrypted: the first bytes alone could begin a text too."""
    return head[:4] in (b"PAR1", b"PARE") and any(byte < 9 for byte in head)


def may_be_json(head: bytes) -> bool:
    """A text that begins as JSON does; more is found out by parsing it."""
    return head.lstrip(b" \t\r\n")[:1] in (b"[", b"{")


def _unguessed(text: Iterable[bytes], decoded: Decoded) -> Iterator[bytes]:
    """The text of a format that is UTF-8 unless another encoding is named (RFC 8259 for JSON): none is guessed."""
    line = 1
    for piece in text:
        if decoded.guessed and not piece.isascii() and (odd := _BEYOND_ASCII.search(piece)):
            raise undecodable("utf-8", line + piece.count(b"\n", 0, odd.start()))
        line += piece.count(b"\n")
        yield piece


def _told(text: Iterable[bytes], decoded: Decoded, facts: FormatFacts) -> Iterator[bytes]:
    """The text; an encoding that is only found out on the way is told as soon as it is known."""
    known = False
    for piece in text:
        if decoded.guessed and not known:
            known = True
            facts.encoding = decoded.encoding
            facts.warnings.append(
                f"It is not UTF-8 and was read as {decoded.encoding}, by the look of its letters. If they are wrong, "
                "name the encoding (format.encoding)."
            )
        yield piece
    if decoded.zeros:
        facts.warnings.append(
            "A zero byte was left out." if decoded.zeros == 1 else f"{decoded.zeros:,} zero bytes were left out."
        )


__all__ = ["FormatFacts", "RowReader", "open_rows"]
