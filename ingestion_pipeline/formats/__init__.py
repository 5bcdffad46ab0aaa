"""Readers: stored bytes to rows, one family of formats per module, chosen by content.

What belongs here: choosing the reader. To add a family, write a reader (`base.RowReader`) and a case in
`open_rows`. What does not: rules about values (`stages.validate`).
"""

from collections.abc import Iterable, Iterator

from ingestion_pipeline.domain.contract import Contract, CsvFormat
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.base import FormatFacts, RowReader
from ingestion_pipeline.formats.compression import compression_of, decompressed, refuse_nested
from ingestion_pipeline.formats.text import Decoded, encoding_of, first_bytes, line_end_of, with_line_feeds


def open_rows(stored: Iterable[bytes], *, contract: Contract | None, chunk_bytes: int) -> RowReader:
    """Find out what a file is and open it.

    Args:
        stored: The object's bytes in chunks of any size.
        contract: None: everything is found out by the file alone, and every column is kept as text.
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
    options = contract.format if contract else CsvFormat(header=None)
    encoding = encoding_of(head, options.encoding)
    decoded = Decoded(plain, encoding)
    head, text = first_bytes(decoded)
    facts = FormatFacts(
        format="delimited text", compression=compression, encoding=decoded.encoding, line_end=line_end_of(head)
    )
    return DelimitedReader(
        _told(with_line_feeds(text, head), decoded, facts),
        options=options,
        columns=contract.columns if contract else None,
        facts=facts,
        chunk_bytes=chunk_bytes,
    )


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


__all__ = ["FormatFacts", "RowReader", "open_rows"]
