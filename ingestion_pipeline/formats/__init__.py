"""Readers: stored bytes to rows, one family of formats per module, chosen by content.

What belongs here: choosing the reader. To add a family, write a reader (`base.RowReader`) and a case in
`open_rows`. What does not: rules about values (`stages.validate`).
"""

from collections.abc import Iterable

from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.base import FormatFacts, RowReader
from ingestion_pipeline.formats.compression import compression_of, decompressed, refuse_nested
from ingestion_pipeline.formats.text import as_utf8, encoding_of, first_bytes, with_line_feeds


def open_rows(stored: Iterable[bytes], *, contract: Contract, chunk_bytes: int) -> RowReader:
    """Find out what a file is and open it.

    Args:
        stored: The object's bytes in chunks of any size.
        chunk_bytes: About how much plain text becomes one chunk of rows.

    Raises:
        UnreadableFile: It is empty, damaged, not text, or its header is not the contract's.
    """
    from ingestion_pipeline.formats.delimited import DelimitedReader

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
    encoding = encoding_of(head, contract.format.encoding)
    text = as_utf8(plain, encoding)
    head, text = first_bytes(text)
    facts = FormatFacts(format="delimited text", compression=compression, encoding=encoding)
    return DelimitedReader(
        with_line_feeds(text, head),
        options=contract.format,
        columns=contract.columns,
        facts=facts,
        chunk_bytes=chunk_bytes,
    )


__all__ = ["FormatFacts", "RowReader", "open_rows"]
