"""A later table of a delimited text: where it begins, and the text from there.

What belongs here: finding it. What does not: telling where a table ends (`table_end`), reading it (`delimited`).
"""

from collections.abc import Iterable, Iterator

from ingestion_pipeline.domain.contract import DELIMITED_TEXT, FileFormat
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.base import FormatFacts
from ingestion_pipeline.formats.delimited import DelimitedReader
from ingestion_pipeline.formats.spool import Spool


def from_table(number: int, stream: Iterable[bytes], chunk_bytes: int) -> tuple[Iterator[bytes], int]:
    """The text from a table on, and how many lines stand before that.

    The text is read once to see where its tables are, and kept in a temporary file meanwhile.

    Args:
        number: From 1; the reports' `further_tables` begin with the second.
        stream: UTF-8.

    Raises:
        UnreadableFile: There are fewer tables.
    """
    spool = Spool(stream)
    before = spool.first(lambda kept: _lines_before(number, kept, chunk_bytes))
    return spool.again(lines_left_out=before), before


def _lines_before(number: int, stream: Iterable[bytes], chunk_bytes: int) -> int:
    facts = FormatFacts(format=DELIMITED_TEXT)
    options = FileFormat(header=None)
    reader = DelimitedReader(stream, options=options, names=None, facts=facts, chunk_bytes=chunk_bytes)
    for _ in reader.chunks():
        pass
    count = 1 + len(facts.further_tables)
    if number > count:
        raise UnreadableFile(
            f"The file has no table {number}: {count} found.",
            hint="`read` without --table tells on which lines the tables of a file begin.",
        )
    return facts.further_tables[number - 2]["line"] - 1
