"""Command `rejected`: the rejected rows of a file, to look at or to correct.

What belongs here: fetching the quarantine file, and making of it what a person edits. What does not: rejecting rows
(`stages.validate`), sending them again (`cli.corrections`).
"""

import csv
import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from ingestion_pipeline.cli.connections import Connections, connected
from ingestion_pipeline.cli.family import open_rows
from ingestion_pipeline.cli.jobs import find_job
from ingestion_pipeline.cli.output import console, counted
from ingestion_pipeline.domain.contract import FileFormat
from ingestion_pipeline.domain.correction import fixes, keeper
from ingestion_pipeline.domain.orders import short
from ingestion_pipeline.errors import FileError, ObjectMissing

app = typer.Typer()

# Longer than any record that is read.
_MAX_CELL_CHARACTERS = 128 * 1024 * 1024
# As the reader of delimited text calls itself.
_TEXT = "delimited text"


@app.command()
def rejected(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its id, the beginning of it, its key or file name.")],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file; default: standard output.", show_default=False)
    ] = None,
    fixable: Annotated[
        bool, typer.Option("--fixable", help="The original lines with the header, each once, to correct and resubmit.")
    ] = False,
) -> None:
    """Get the rejected rows of a file: line, column, rule, value, reason, original text."""
    page = console(stderr=True)
    with connected() as systems:
        found = find_job(systems, job)
        key = _quarantine_key(systems, found)
        if output is not None and output.exists():
            raise FileError(f"{output} exists already.", hint="Name another file: this one may hold corrections.")
        try:
            pieces = systems.bucket.read(key)
            if fixable:
                pieces = fixable_lines(pieces, found["result"]["format"], _format(systems, found))
            _write(pieces, output)
        except ObjectMissing as error:
            raise FileError(
                f"{systems.bucket.url(key)} does not exist any more.", hint="Correct the whole file and upload it."
            ) from error
        family = systems.ledger.corrections.family(found["job_id"])
        made = fixes(family) if open_rows(family) is not None else []
        if fixable and made and found["job_id"] == keeper(family).job_id:
            page.print(
                f"Some of these are fixed already: `ingestion-pipeline rejected {short(made[-1])} --fixable` has those "
                "that its correction left.",
                style="yellow",
                markup=False,
                soft_wrap=True,
            )
        if output is not None:
            then = ""
            if fixable and open_rows(family):
                then = f" Correct it, then `ingestion-pipeline resubmit {short(keeper(family))} {output}`."
            page.print(
                f"{counted(found['rows_rejected'], 'rejected row')} in {output}.{then}", markup=False, soft_wrap=True
            )


def fixable_lines(quarantine: Iterator[bytes], found: Mapping[str, Any], options: FileFormat) -> Iterator[bytes]:
    """The rejected rows as the file had them, each once, in its encoding and dialect.

    Args:
        quarantine: A CSV of `REJECTED_SCHEMA`, by line.
        found: Format, encoding, delimiter, quote and header as the report has them.
        options: The contract's; they decide how the result is read.

    Raises:
        FileError: The file was no text, or its header is too long to be in the report.
    """
    if found.get("format") != _TEXT:
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
    text = io.TextIOWrapper(io.BufferedReader(_Pieces(quarantine)), encoding="utf-8", newline="")
    csv.field_size_limit(_MAX_CELL_CHARACTERS)
    out = io.BytesIO()
    writer = io.TextIOWrapper(out, encoding=encoding, newline="", write_through=True)
    if options.header:
        writer.write(_header(found) + "\n")
    last_line = ""
    for row in csv.DictReader(text):
        if row["line"] == last_line:
            continue  # another rule that the same row breaks
        last_line = row["line"]
        writer.write(row["row"] + "\n")
        if out.tell() > io.DEFAULT_BUFFER_SIZE:
            yield out.getvalue()
            out.seek(0)
            out.truncate()
    yield out.getvalue()


def _header(found: Mapping[str, Any]) -> str:
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


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def _quarantine_key(systems: Connections, job: Mapping[str, Any]) -> str:
    if not job["rows_rejected"] or not job["quarantine_url"]:
        raise FileError(
            f"Job {short(job['job_id'])} has no rejected rows ({job['status']}{'/' if job['outcome'] else ''}"
            f"{job['outcome'] or ''}).",
            hint=f"`ingestion-pipeline status {short(job['job_id'])}` tells what became of it.",
        )
    return str(job["quarantine_url"]).removeprefix(systems.bucket.url(""))


def _format(systems: Connections, job: Mapping[str, Any]) -> FileFormat:
    from ingestion_pipeline.cli.send import require_usable

    require_usable(job["datasource"], systems)
    return systems.contracts.contracts[job["datasource"]].format


def _write(pieces: Iterator[bytes], output: Path | None) -> None:
    """Everything or nothing: a part of a file would be taken for the whole."""
    with _target(output) as target:
        for piece in pieces:
            target.write(piece)


@contextmanager
def _target(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
