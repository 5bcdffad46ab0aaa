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
# A missing value may be a dash, so that a line has two together, or three where blanks are; box drawing has its own.
_DRAWN = rb"(?:[-+=|:]|\xe2[\x94\x95][\x80-\xbf])"
_RULE = rb"(?=[^\n]*(?:--|==|\xe2\x94\x80|\xe2\x95\x90))" + _DRAWN + rb"++|(?=[^\n]*---)(?:" + _DRAWN + rb"|[ \t])++"
_BARS = re.compile(rb"^[ \t]*+" + _BAR + rb"(.*)" + _BAR + rb"[ \t]*+(?=\r?$)", re.MULTILINE)
# Begun only where blanks do: of a long run of them, each would look at all that follow.
_INNER = re.compile(rb"(?<![ \t])[ \t]*+(?<!\\)(" + _BAR + rb")[ \t]*+")
_RULES = re.compile(rb"^(?:" + _RULE + rb")(?=\r?$)", re.MULTILINE)
_QUOTED = re.compile(rb'^"((?:[^"\r\n]|"")*+)"[,;\t|]*(?=\r?$)', re.MULTILINE)
# As sqlcmd, SQL*Plus and Db2 print tables: `---- -------- ---`.
_RULER = re.compile(rb" *(?:-+|=+)(?: +(?:-+|=+))+ *")
_RULER_LINES = 20
_COUNTED = re.compile(r"\s*\(?\d+ +(?:rows?|record)\b")
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
    if ruled := _columns_under_a_rule(shown):
        facts.warnings.append(_PRINTED)
        delimiter = "\x1f" if b"\t" in head else "\t"
        return _changed(lines, lambda text: _cut(text, *ruled, delimiter))
    if quote == '"' and _stands_in_quotes(shown):
        facts.warnings.append("Each line stands in quotes as a whole; they were taken off.")
        return _changed(lines, _without_quotes)
    return lines


def _stands_between_bars(lines: list[bytes]) -> bool:
    """Whether nearly all lines begin and end with a bar, or are drawn between those; all that have a bar do."""
    others = [line for line in lines if not _RULES.fullmatch(line)]
    if len(others) == len(lines):
        return False
    rows = [found[1] for line in others if (found := _BARS.match(line))]
    if len(rows) < _FEWEST or len(lines) - len(others) + len(rows) < 0.6 * len(lines):
        return False
    outside = [line for line in others if _INNER.search(line) and not _BARS.match(line)]
    return not outside and any(_INNER.search(row) for row in rows)


def _without_bars(text: bytes) -> bytes:
    """Without the blanks that pad cells, too: they are drawn."""
    return _INNER.sub(rb"\1", _BARS.sub(_stripped, _RULES.sub(b"", text)))


def _stripped(row: re.Match[bytes]) -> bytes:
    return row[1].strip(b" \t")


def _columns_under_a_rule(lines: list[bytes]) -> tuple[bytes, list[int]] | None:
    """The ruled line and where its columns begin, if nearly all lines keep to it."""
    at = next((n for n, line in enumerate(lines[:_RULER_LINES]) if _RULER.fullmatch(line)), None)
    if at is None or any(b'"' in line for line in lines[:at]):
        return None
    starts = [found.start() for found in re.finditer(rb"[-=]+", lines[at])]
    below = [line.decode(errors="replace") for line in lines[at + 1 :] if line.strip() != lines[at].strip()]
    reaching = [line for line in below if len(line) > starts[1]]
    kept = sum(_keeps_to(line, starts) for line in reaching)
    is_kept = kept >= max(_FEWEST, 0.8 * len(reaching)) and len(reaching) >= 0.5 * len(below)
    return (lines[at].strip(), starts) if is_kept else None


def _keeps_to(line: str, starts: list[int]) -> bool:
    """Whether a blank stands before each column but the first."""
    return all(line[start - 1 : start].isspace() for start in starts[1:] if start <= len(line))


def _cut(text: bytes, ruler: bytes, starts: list[int], delimiter: str) -> bytes:
    ends = [*starts[1:], None]
    cut = []
    for line in text.decode(errors="surrogateescape").split("\n"):
        bare = line.rstrip("\r")
        if bare.strip().encode(errors="replace") == ruler:
            cut.append("")
        elif len(bare) > starts[1] and _keeps_to(bare, starts) and not _COUNTED.match(bare):
            cells = [bare[start:end].strip() for start, end in zip([0, *starts[1:]], ends, strict=True)]
            cut.append(delimiter.join(_quoted(cell, delimiter) for cell in cells))
        else:
            cut.append(line)
    return "\n".join(cut).encode(errors="surrogateescape")


def _quoted(cell: str, delimiter: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if '"' in cell or delimiter in cell else cell


def _stands_in_quotes(lines: list[bytes]) -> bool:
    if len(lines) <= _FEWEST or not lines[1].startswith(b'"'):
        return False
    quoted = [found[1] for line in lines if (found := _QUOTED.match(line))]
    if len(quoted) < len(lines) - 1:  # names may go without
        return False
    if not _QUOTED.match(lines[0]) and b"" in re.split(rb"[,;\t|]", lines[0]):
        return False  # a column without a name is one that is padded
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
