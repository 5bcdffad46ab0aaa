"""Lines that stand in a frame: tables between bars or under a ruled line, and rows wholly in quotes.

What belongs here: seeing a frame, as consoles and Markdown draw it, and taking it off line by line, so that lines keep
their numbers. What does not: what is in it (`delimited`).
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator

from ingestion_pipeline.formats.base import FormatFacts
from ingestion_pipeline.formats.text import MAX_LINE_BYTES, first_bytes

_LINES = 100
_FEWEST = 2
# A bar as ASCII or box drawing has it; lines of nothing but them and dashes are drawn between rows.
_BAR = rb"(?:\||\xe2\x94[\x82\x83]|\xe2\x95\x91)"
_RULE = rb"(?:[-+=|: \t]|\xe2[\x94\x95][\x80-\xbf])+"
_BARS = re.compile(rb"^[ \t]*" + _BAR + rb"[ \t]*(.*?)[ \t]*" + _BAR + rb"[ \t]*(?=\r?$)", re.MULTILINE)
_INNER = re.compile(rb"[ \t]*(?<!\\)(" + _BAR + rb")[ \t]*")
_RULES = re.compile(rb"^" + _RULE + rb"(?=\r?$)", re.MULTILINE)
_QUOTED = re.compile(rb'^"((?:[^"\r\n]|"")*+)"[,;\t|]*(?=\r?$)', re.MULTILINE)
# As sqlcmd, SQL*Plus and Db2 print tables: `---- -------- ---`.
_RULER = re.compile(rb" *(?:-+|=+)(?: +(?:-+|=+))+ *")
_RULER_LINES = 20
_PRINTED = "Columns stand at fixed places under a ruled line; the line and the blanks that pad cells were left out."
_DELIMITERS = "\t;|,"


def without_frame(lines: Iterable[bytes], facts: FormatFacts, *, quote: str | None) -> Iterator[bytes]:
    """The text without its frame, if it has one; the facts say so.

    Args:
        lines: UTF-8 with LF or CRLF line ends.
        quote: That of cells; rows are only taken out of such.
    """
    head, lines = first_bytes(lines)
    # What stands behind the last line end may be cut off.
    shown = [line.rstrip(b"\r") for line in head.split(b"\n")[:-1] if line.strip()][:_LINES]
    if _stands_between_bars(shown):
        facts.warnings.append("The table is drawn with bars and lines; the outer bars and the lines were left out.")
        return _changed(lines, _without_bars)
    if starts := _columns_under_a_rule(shown):
        facts.warnings.append(_PRINTED)
        delimiter = "\x1f" if b"\t" in head else "\t"
        return _changed(lines, lambda text: _cut(text, starts, delimiter))
    if quote == '"' and _stands_in_quotes(shown):
        facts.warnings.append("Each line stands in quotes as a whole; they were taken off.")
        return _changed(lines, _without_quotes)
    return lines


def _stands_between_bars(lines: list[bytes]) -> bool:
    """Whether nearly all lines begin and end with a bar, or are drawn between those; all that have a bar do."""
    drawn = [line for line in lines if _RULES.fullmatch(line)]
    rows = [found[1] for line in lines if not _RULES.fullmatch(line) and (found := _BARS.match(line))]
    others = [line for line in lines if not _RULES.fullmatch(line) and not _BARS.match(line)]
    if len(rows) < _FEWEST or not drawn or len(drawn) + len(rows) < 0.6 * len(lines):
        return False
    return any(_INNER.search(row) for row in rows) and not any(_INNER.search(line) for line in others)


def _without_bars(text: bytes) -> bytes:
    """Without the blanks that pad cells, too: they are drawn."""
    return _INNER.sub(rb"\1", _BARS.sub(rb"\1", _RULES.sub(b"", text)))


def _columns_under_a_rule(lines: list[bytes]) -> list[int]:
    """Where the columns begin, if nearly all lines keep to a ruled one; else nothing."""
    at = next((n for n, line in enumerate(lines[:_RULER_LINES]) if _RULER.fullmatch(line)), None)
    if at is None:
        return []
    starts = [found.start() for found in re.finditer(rb"[-=]+", lines[at])]
    below = [line.decode(errors="replace") for line in lines[at + 1 :] if not _RULER.fullmatch(line)]
    kept = sum(_keeps_to(line, starts) for line in below)
    return starts if kept >= max(_FEWEST, 0.8 * len(below)) else []


def _keeps_to(line: str, starts: list[int]) -> bool:
    """Whether a blank stands before each column but the first."""
    return all(line[start - 1 : start].isspace() for start in starts[1:] if start <= len(line))


def _cut(text: bytes, starts: list[int], delimiter: str) -> bytes:
    ends = [*starts[1:], None]
    cut = []
    for line in text.decode(errors="surrogateescape").split("\n"):
        bare = line.rstrip("\r")
        if _RULER.fullmatch(bare.encode(errors="replace")):
            cut.append("")
        elif bare.strip() and len(bare) > starts[1] and _keeps_to(bare, starts):
            cells = [bare[start:end].strip() for start, end in zip([0, *starts[1:]], ends, strict=True)]
            cut.append(delimiter.join(_quoted(cell) for cell in cells))
        else:
            cut.append(line)
    return "\n".join(cut).encode(errors="surrogateescape")


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if '"' in cell else cell


def _stands_in_quotes(lines: list[bytes]) -> bool:
    if len(lines) <= _FEWEST or not lines[1].startswith(b'"'):
        return False
    quoted = [found[1] for line in lines if (found := _QUOTED.match(line))]
    if len(quoted) < len(lines) - 1:  # names may go without
        return False
    inner = [_without_quotes(line).decode(errors="replace") for line in lines]
    for delimiter in _DELIMITERS:
        widths = {len(cells) for cells in csv.reader(inner, delimiter=delimiter)}
        width = widths.pop()
        if not widths and width > 1:
            # Words with a comma are a cell that stands in quotes: three such in each line are none.
            are_words = delimiter == "," and all(", " in line for line in inner)
            return not are_words and (width > 2 or delimiter != "," or any(b'""' in line for line in quoted))
    return False


def _without_quotes(text: bytes) -> bytes:
    return _QUOTED.sub(lambda found: found[1].replace(b'""', b'"'), text)


def _changed(pieces: Iterable[bytes], change: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """Whole lines changed; one that is too long to be read is passed on as it is."""
    rest = b""
    for piece in pieces:
        data = rest + piece
        cut = data.rfind(b"\n") + 1
        rest = data[cut:]
        if cut:
            yield change(data[:cut])
        if len(rest) > MAX_LINE_BYTES:
            yield rest
            rest = b""
    if rest:
        yield change(rest)
