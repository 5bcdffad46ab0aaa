"""What kind of JSON a text is, by its beginning: lines, an array, one object, or an array inside an object.

What belongs here: the decision. What does not: reading (`json_scan`, `json_reader`).
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import msgspec

from ingestion_pipeline.domain.contract_names import ColumnNames
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.json_scan import MAX_RECORD_BYTES, JsonDocument

# Looked at before deciding; more only until the first line of one that begins an object ends.
_HEAD_BYTES = 1024 * 1024
_LINES = 100
_WHITE = b" \t\r\n"
# The beginnings of an array of objects and of an object that no header of delimited text has.
_STRING = rb'"(?:[^"\\\x00-\x1f]|\\.)*"'
_ARRAY = re.compile(rb"\[\s*\{\s*(?:" + _STRING + rb"\s*:|\})")
_OBJECT = re.compile(rb"\{\s*(?:" + _STRING + rb"\s*:|\}[ \t\r]*(?:\n|\Z))")

_BEGINNINGS = {"whole", "begun", "deep"}


@dataclass(frozen=True, slots=True)
class JsonKind:
    """How a JSON text is to be read.

    Attributes:
        form: `lines` of objects, an `array` of them, one object that is the only `row`, or an object with the
            rows in an array `inside`.
        path: Keys that lead to that array; empty: the only array of objects among the object's members.
        warning: What was decided without being told.
    """

    form: Literal["lines", "array", "row", "inside"]
    path: tuple[str, ...] = ()
    warning: str = ""


def kind_of_json(
    stream: Iterable[bytes], *, names: ColumnNames | None, path: tuple[str, ...], forced: bool
) -> tuple[JsonKind | None, Iterator[bytes]]:
    """Find out what kind of JSON a stream is.

    Args:
        stream: UTF-8 without a byte order mark.
        names: Of the contract's columns; None: there is no contract.
        path: The contract's way to the rows.
        forced: The contract says that it is JSON.

    Returns:
        The kind (None: it is no JSON), and the whole stream again.

    Raises:
        UnreadableFile: It should be JSON and is not, or the contract's path does not fit its kind.
    """
    head, whole, stream = _head(stream)
    form = _form(head.lstrip(_WHITE), whole=whole, forced=forced)
    if form is None and forced:
        why = "it begins with neither [ nor {" if head.strip(_WHITE) else "it is blank"
        raise UnreadableFile(
            f"The file is not JSON: {why}.", hint="Upload JSON, or correct format.type of the contract."
        )
    if form is None:
        return None, stream
    if form == "object":
        return (JsonKind("inside", path) if path else _kind_of_object(head, whole, names)), stream
    if path:
        what = "it is an array itself" if form == "array" else "it has one object per line"
        raise UnreadableFile(
            f"The JSON has no array at {'.'.join(path)}: {what}.",
            hint="Remove format.record_path from the contract, or upload an object with that array.",
        )
    return JsonKind(form), stream


def _form(start: bytes, *, whole: bool, forced: bool) -> Literal["lines", "array", "object"] | None:
    if start.startswith(b"["):
        if _ARRAY.match(start):
            return "array"
        verdict = _verdict(start)
        if verdict == "more" and _looks_like_lines(start, whole):
            return "lines"  # the first one is something else
        return "array" if forced or verdict in _BEGINNINGS else None
    if start.startswith(b"{") and (forced or _OBJECT.match(start) or _verdict(start) in _BEGINNINGS):
        return "lines" if _is_lines(start, whole) else "object"
    return "lines" if forced and _looks_like_lines(start, whole) else None


def _head(stream: Iterable[bytes]) -> tuple[bytes, bool, Iterator[bytes]]:
    """The beginning of a stream, whether it is all of it, and the whole stream again."""
    iterator = iter(stream)
    parts: list[bytes] = []
    size, line_ends, objects = 0, False, True
    for piece in iterator:
        parts.append(piece)
        size += len(piece)
        if not line_ends:
            # The first line is long: one object among others, or a document without line ends?
            text = piece if size > len(piece) else piece.lstrip(_WHITE)
            line_ends = b"\n" in text
            objects = objects and (size > len(piece) or text[:1] in (b"{", b""))
        if size >= _HEAD_BYTES and (line_ends or not objects or size >= MAX_RECORD_BYTES):
            return b"".join(parts), False, chain(parts, iterator)
    return b"".join(parts), True, iter(parts)


def _verdict(text: bytes) -> Literal["whole", "begun", "deep", "more", "broken"]:
    """Whether a text is a JSON value, the beginning of one, too deep to tell, one with more behind it, or none."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except RecursionError:
        return "deep"
    except (msgspec.DecodeError, UnicodeError) as error:
        # Its messages are the only way to tell; a test holds them.
        if "truncated" in str(error):
            return "begun"
        return "more" if "trailing characters" in str(error) else "broken"
    return "whole"


def _is_lines(start: bytes, whole: bool) -> bool:
    """Whether a text that begins with an object has one object per line.

    A single line that is all of the file is a document: with one object both are the same.
    """
    first, line_end, rest = start.partition(b"\n")
    verdict = _verdict(first) if line_end or whole else "begun"
    if verdict == "whole":
        return bool(rest.strip(_WHITE)) or not whole
    if verdict == "begun" and _verdict(start) in {"whole", "begun"}:
        return False
    return _looks_like_lines(start, whole)


def _looks_like_lines(start: bytes, whole: bool) -> bool:
    """Whether at least half of the first lines begin and end as objects do, be they damaged or not."""
    lines = start.split(b"\n", _LINES)
    if not whole or len(lines) > _LINES:
        lines.pop()  # not all of it is here
    lines = [stripped for line in lines if (stripped := line.strip(_WHITE))]
    return bool(lines) and 2 * sum(line[:1] == b"{" and line[-1:] == b"}" for line in lines) >= len(lines)


def _kind_of_object(head: bytes, whole: bool, names: ColumnNames | None) -> JsonKind:
    """Whether the one object of a document is a row, or has the rows in it.

    It is a row if it has the contract's required columns, or without a contract if it has not exactly one array of
    objects. Of an object longer than what was looked at, any of them before the first array of objects tells as much.
    """
    wanted = names or ColumnNames((), "exact")
    keys: list[str] = []
    arrays: list[str] = []
    empty: list[str] = []
    complete = False
    document = JsonDocument([head], 1)
    try:
        document.enter()
        for key in document.members():
            keys.append(key)
            array = document.array_of()
            if array == "nothing":
                empty.append(key)
            elif array == "objects":
                arrays.append(key)
                if not whole:
                    break
            document.skip()
        else:
            complete = True
    except UnreadableFile:
        pass  # the end of the head, or damage: the reader will tell
    seen = _required_among(keys, wanted)
    if complete:
        candidates = arrays or empty
        whole_row = len(seen) == sum(column.required for column in wanted.columns)
        is_row = len(arrays) != 1 if names is None else whole_row
        if is_row or not candidates or (seen and len(candidates) > 1):
            return JsonKind("row")
        if len(candidates) > 1:
            return JsonKind("inside")  # the reader refuses the second one, by its line
        return JsonKind("inside", (candidates[0],), _warning(candidates[0]))
    if _required_among(set(keys) - set(arrays), wanted) or any(wanted.fits(key) is not None for key in arrays):
        return JsonKind("row")
    return JsonKind("inside", (), _warning(arrays[0]) if arrays else "")


def _required_among(keys: Collection[str], names: ColumnNames) -> set[int]:
    """The positions of required columns that an object with these keys may have."""
    found = {position for key in keys if (position := names.fits(key)) is not None}
    roots = set(keys)
    for position, column in enumerate(names.columns):
        if any(name.partition(".")[0] in roots for name in (column.source, *column.aliases)):
            found.add(position)
    return {position for position in found if names.columns[position].required}


def _warning(key: str) -> str:
    return (
        f"The rows were read from the array '{key[:100]}', the only array of objects in the JSON object; "
        "format.record_path of the contract can name it."
    )
