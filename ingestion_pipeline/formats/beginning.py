"""What stands before the first row of delimited text: the dialect in which it is written, the header, lines before it.

What belongs here: finding them out, by a contract or by the text alone, from a sample. What does not: which dialect a
text looks like (`dialects`), what lies where in it (`layout`), reading the rows (`delimited`).
"""

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from ingestion_pipeline.domain.contract import FileFormat
from ingestion_pipeline.domain.contract_names import ColumnNames
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.base import FormatFacts
from ingestion_pipeline.formats.columns import UNUSED, fitted, names_by_contract, names_without_contract
from ingestion_pipeline.formats.dialects import detect, width_of
from ingestion_pipeline.formats.entries import records_with_starts
from ingestion_pipeline.formats.layout import layout_of, width_of_first_table
from ingestion_pipeline.formats.records import MAX_CELLS, Broken, Dialect, parse_record
from ingestion_pipeline.formats.samples import iterate_records

_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_RECORDS = 20
_HEADER_RECORDS = 50
_LOOKED_AT_CHARACTERS = 128 * 1024
# By its first line, Excel is told the delimiter.
_DELIMITER_LINE = re.compile(r'"?sep=([^\s\w"]|\t)"?\r?\n', re.IGNORECASE)


class Beginning(NamedTuple):
    """What stands before the first row, and how the rows are to be read.

    Attributes:
        names: Of the columns, in order; those that are not wanted are marked.
        characters: Before the first row.
        lines: Physical ones before the first row.
        repeats: Records that are no rows; see `Layout`.
    """

    dialect: Dialect
    header: list[str]
    names: list[str]
    characters: int
    lines: int
    preamble: list[str]
    repeats: Sequence[list[str]] = ()


def unknown_columns(begin: Beginning) -> dict[str, str]:
    """The marked names of columns that the contract does not name, each with the one that tells it in a report."""
    labels = names_without_contract(begin.header, len(begin.names))
    return {name: label for name, label in zip(begin.names, labels, strict=True) if name.startswith(UNUSED)}


def told_by_itself(sample: str, options: FileFormat, facts: FormatFacts, *, whole: bool) -> Beginning:
    """Dialect and layout by the text alone, as far as they are not told."""
    if len(sample) > _LOOKED_AT_CHARACTERS:
        cut = sample.rfind("\n", 0, _LOOKED_AT_CHARACTERS) + 1
        if sample.count("\n", 0, cut) >= _SAMPLE_RECORDS:  # lines may be long
            sample, whole = sample[:cut], False
    told = _DELIMITER_LINE.match(sample) if options.delimiter is None else None
    line = told[0] if told else ""
    sample = sample.removeprefix(line)
    if options.delimiter is not None:
        dialect = Dialect(options.delimiter, options.quote, options.escape)
        width = width_of(sample, dialect, whole=whole)
    else:
        found = detect(sample, whole=whole, delimiter=told[1] if told else None)
        dialect, width = found.dialect, found.width
        facts.confidence, facts.rival = found.confidence, found.rival
    if options.delimiter is None:
        width = width_of_first_table(sample, dialect, width, whole=whole)
    if dialect.runs:
        facts.warnings.append(f"Cells are told apart by {len(dialect.delimiter)} or more blanks.")
    layout = layout_of(sample, dialect, width, whole=whole, header=options.header)
    header = fitted(layout.header, width) if layout.header else []
    facts.header_rows = layout.header_rows
    if facts.rival:
        facts.warnings.append(
            f"Ambiguous: delimited by {dialect.delimiter!r} or as well by {facts.rival!r}; name it to be sure."
        )
    return Beginning(
        dialect,
        header,
        names_without_contract(header, width),
        len(line) + layout.characters,
        line.count("\n") + layout.lines,
        [text.rstrip("\r") for text in line.split("\n")[:-1]] + layout.preamble,
        # Who tells the dialect gets every record.
        layout.repeats if options.delimiter is None and options.header is None else (),
    )


def told_by_contract(
    sample: str, options: FileFormat, wanted: ColumnNames, facts: FormatFacts, lines_before: int
) -> Beginning:
    """Dialect by the contract, or the one with which a record looks most like its header."""
    dialect = _dialect(sample, options, wanted)
    start = len(sample) - len(sample.lstrip("\r\n"))
    blank_lines = sample.count("\n", 0, start)
    if not options.header:
        header = [column.source for column in wanted.columns]
        return Beginning(dialect, header, [column.name for column in wanted.columns], start, blank_lines, [])
    if start == len(sample):
        raise UnreadableFile("The file has no header: it is blank.", hint="Upload a file with rows.")
    start = _header_start(sample, start, dialect, wanted)
    before = sample.count("\n", 0, start)
    header_line = lines_before + before + 1
    record = parse_record(sample, start, dialect)
    if isinstance(record, Broken):
        if record.too_wide:
            raise UnreadableFile(
                f"The header on line {header_line} has more than {MAX_CELLS:,} columns.",
                hint="Leave out what the contract does not name; if it is one long line, cut it into rows.",
            )
        raise UnreadableFile(
            f"The header on line {header_line} cannot be read: {record.reason}.", hint="Correct its quotes."
        )
    header = [cell.strip() for cell in record.cells]
    facts.header_rows = 1
    preamble = sample[:start].split("\n")[:-1] if before > blank_lines else []
    names = names_by_contract(header, wanted, facts)
    if preamble:
        facts.warnings.append(f"The header is on line {header_line}; the lines before it were left out.")
    return Beginning(dialect, header, names, record.end, before + sample.count("\n", start, record.end), preamble)


def _header_start(sample: str, start: int, dialect: Dialect, wanted: ColumnNames) -> int:
    """Where the header begins: the first record, unless a later one has more of the wanted names."""
    best, most = start, -1
    for position, cells in islice(records_with_starts(sample, start, dialect), _HEADER_RECORDS):
        count = _wanted_among(cells, wanted)
        if count > most:
            best, most = position, count
        if count == len(wanted.columns):
            break
    return best


def _wanted_among(cells: Iterable[str], wanted: ColumnNames) -> int:
    """How many columns of the contract are named by the cells of a record."""
    return len({wanted.fits(cell.strip()) for cell in cells} - {None})


def _dialect(sample: str, options: FileFormat, wanted: ColumnNames) -> Dialect:
    """The contract's delimiter, or the one with which a record looks most like the contract."""
    if options.delimiter is not None:
        return Dialect(options.delimiter, options.quote, options.escape)
    best, best_score = Dialect(_DELIMITERS[0], options.quote, options.escape), (-1, -1)
    text = sample.lstrip("\r\n")
    for delimiter in _DELIMITERS:
        dialect = Dialect(delimiter, options.quote, options.escape)
        found = list(islice(iterate_records(text, dialect), _SAMPLE_RECORDS))
        if found and isinstance(found[0], Broken) and found[0].too_wide:
            return dialect  # the header will be refused
        records = [record for record in found if not isinstance(record, Broken)]
        if not records:
            continue
        if options.header:
            score = (max(_wanted_among(record.cells, wanted) for record in records), len(set(records[0].cells)))
        else:
            fitting = sum(len(record.cells) == len(wanted.columns) for record in records)
            score = (fitting, len(records[0].cells))
        if score > best_score:
            best, best_score = dialect, score
    return best
