"""Readers: stored bytes to rows, one family of formats per module, chosen by content.

What belongs here: choosing the reader. To add a family, write a reader (`base.RowReader`) and a case in
`open_rows`. What does not: rules about values (`stages.validate`).
"""

from collections.abc import Iterable

from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.base import FormatFacts, RowReader
from ingestion_pipeline.formats.compression import compression_of, decompressed
from ingestion_pipeline.formats.text import as_utf8, encoding_of, first_bytes, with_line_feeds

# The module of a format is imported when a file is of it: each run would pay for all of them.


def open_rows(stored: Iterable[bytes], *, contract: Contract, chunk_bytes: int) -> RowReader:
    """Find out what a file is and open it.

    Args:
        stored: The object's bytes in chunks of any size.
        chunk_bytes: About how much plain text becomes one chunk of rows.

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
    wanted = contract.format.type
    if wanted == "parquet" or (wanted == "auto" and is_parquet(head)):
        from ingestion_pipeline.formats.parquet import ParquetReader

        return ParquetReader(
            plain,
            columns=contract.columns,
            null_values=contract.format.null_values,
            facts=FormatFacts(format="Parquet", compression=compression),
            chunk_bytes=chunk_bytes,
        )
    encoding = encoding_of(head, contract.format.encoding)
    head, text = first_bytes(as_utf8(plain, encoding))
    lines = with_line_feeds(text, head)
    facts = FormatFacts(format="delimited text", compression=compression, encoding=encoding)
    if wanted == "json" or (wanted == "auto" and may_be_json(head)):
        from ingestion_pipeline.formats.json_head import kind_of_json
        from ingestion_pipeline.formats.json_reader import JsonReader

        path = contract.format.record_path
        kind, lines = kind_of_json(lines, columns=contract.columns, path=path, forced=wanted == "json")
        if kind is not None:
            return JsonReader(
                lines,
                kind=kind,
                options=contract.format,
                columns=contract.columns,
                facts=facts,
                chunk_bytes=chunk_bytes,
            )
    from ingestion_pipeline.formats.delimited import DelimitedReader

    return DelimitedReader(
        lines, options=contract.format, columns=contract.columns, facts=facts, chunk_bytes=chunk_bytes
    )


def is_parquet(head: bytes) -> bool:
    """Parquet, also encrypted: the first bytes alone could begin a text too."""
    return head[:4] in (b"PAR1", b"PARE") and any(byte < 9 for byte in head)


def may_be_json(head: bytes) -> bool:
    """A text that begins as JSON does; more is found out by parsing it."""
    return head.lstrip(b" \t\r\n")[:1] in (b"[", b"{")


__all__ = ["FormatFacts", "RowReader", "open_rows"]
