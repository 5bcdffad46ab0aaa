"""Rejected rows as their file had them: to correct and send again.

What belongs here: the original lines under the original header. What does not: fetching them (`cli.rejected`).
"""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from ingestion_pipeline.domain.contract import DELIMITED_TEXT, FileFormat
from ingestion_pipeline.errors import FileError


def original_lines(entries: Iterable[pl.DataFrame], found: Mapping[str, Any], options: FileFormat) -> Iterator[bytes]:
    """The rejected rows as the file had them, each once, in its encoding and dialect.

    Args:
        entries: In the file's order.
        found: Format, encoding, delimiter, quote and header as the report has them.
        options: The contract's; they decide how the result is read.

    Raises:
        FileError: The file was no text, or its header is too long to be in the report.
    """
    if found.get("format") != DELIMITED_TEXT:
        raise FileError(
            f"The file is {found.get('format')}; only rows of delimited text can be corrected by themselves.",
            hint="Correct the whole file and upload it.",
        )
    if options.header and not found.get("header_is_whole", True):
        raise FileError(
            "The file's header is too long to be kept with its job.", hint="Correct the whole file and upload it."
        )
    encoding = found.get("encoding") or "utf-8"
    if encoding == "utf-8" and (options.encoding or "utf-8") != "utf-8":
        encoding = "utf-8-sig"  # a mark in the file told it from what the contract says; it is to tell again
    encoder = codecs.getincrementalencoder(encoding)()
    if options.header:
        yield encoder.encode(header_line(found) + "\n")
    for frame in entries:
        # A row's text stands in the first of its entries.
        rows = frame["row"].drop_nulls()
        if len(rows):
            yield encoder.encode("\n".join([*rows, ""]))


def header_line(found: Mapping[str, Any]) -> str:
    """The header in the file's dialect, without a line end."""
    line = io.StringIO()
    quote = found.get("quote")
    csv.writer(
        line,
        delimiter=found["delimiter"],
        quotechar=quote,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        lineterminator="",
    ).writerow(found["header"])
    return line.getvalue()
