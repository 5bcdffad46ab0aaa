"""A JSON document as a stream: its array of rows is found and cut into elements, in bounded memory.

What belongs here: where a value begins and ends, the way to the array of rows, and damage to the document
around the rows. What does not: whether an element is a row and what it holds (`json_records`).

Elements are cut by their quotes and brackets alone. So an element that is wrong inside costs one record; what is
wrong between elements, or ends too early, is damage to the file.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.text import undecodable

# A record without an end in this much text is none.
MAX_RECORD_BYTES = 16 * 1024 * 1024
_MAX_DEPTH = 10_000
_CHUNK_ROWS = 100_000
_READ_BYTES = 64 * 1024

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STRING_TOKEN = re.compile(_STRING, re.DOTALL)
# A quote alone begins a string that has no end yet.
_TOKEN = re.compile(_STRING + rb'|[\[\]{}"]', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*+")
_WORD = re.compile(rb'[^ \t\r\n,:"\[\]{}]*+')
_SCALAR = re.compile(rb"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)\Z")


def _nested(depth: int) -> bytes:
    """An expression of a value in brackets with others inside it, so many levels deep."""
    inside = _STRING if depth == 0 else _STRING + b"|" + _nested(depth - 1)
    return rb'[\[{][^\[\]{}"]*+(?:(?:' + inside + rb')[^\[\]{}"]*+)*+[\]}]'


# Deeper values are walked through token by token.
_FLAT_ENOUGH = re.compile(_nested(4), re.DOTALL)
_OBJECT_AND_COMMA = re.compile(rb"[ \t\r\n]*+((?=\{)" + _nested(4) + rb")[ \t\r\n]*+,", re.DOTALL)
_OPEN, _QUOTE = (b"[", b"{"), ord('"')


@dataclass(slots=True)
class Elements:
    """Some elements of the array of rows, in order.

    Attributes:
        texts: The texts in curly brackets; each is one row, or will be malformed.
        lines: 1-based physical lines on which they begin.
        others: Line and text of the elements that are no objects.
    """

    texts: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    others: list[tuple[int, str]] = field(default_factory=list)


class JsonDocument:
    """One document that is read once, from its beginning.

    Args:
        stream: UTF-8 without a byte order mark.
        chunk_bytes: About how much text becomes one `Elements`.

    All methods raise `UnreadableFile` where the document is damaged or cut off.
    """

    def __init__(self, stream: Iterable[bytes], chunk_bytes: int) -> None:
        self._pieces = iter(stream)
        self._chunk_bytes = chunk_bytes
        self._data = b""
        self._at = 0
        self._line, self._counted = 1, 0  # the line of the offset up to which line feeds were counted

    def array(self) -> Iterator[Elements]:
        """The document is an array: its elements."""
        self._expect(b"[", "an array was expected")
        yield from self._elements()
        self._end()

    def row(self) -> Iterator[Elements]:
        """The document is one object: that one."""
        self._expect(b"{", "an object was expected", take=False)
        found = Elements()
        self._element(found)
        yield found
        self._end()

    def at_path(self, path: tuple[str, ...]) -> Iterator[Elements]:
        """The elements of the array behind these keys."""
        self._expect(b"{", f"there is no array at {'.'.join(path)}: an object was expected")
        yield from self._behind(path, path)
        self._end()

    def only_array(self) -> Iterator[Elements]:
        """The elements of the one array of objects that the topmost object has as a member."""
        self.enter()
        found = False
        for key in self.members():
            if self.array_of() != "objects":
                self.skip()
                continue
            if found:
                raise UnreadableFile(
                    f"The JSON has a second array of objects, '{key[:100]}', on line {self._line_here()}: "
                    "it is not clear which one has the rows.",
                    hint="Name the keys that lead to the rows in the contract (format.record_path).",
                    details={"line": self._line_here()},
                )
            found = True
            self._at += 1
            yield from self._elements()
        if not found:
            raise UnreadableFile(
                "The JSON object has none of the contract's required columns and no array of objects.",
                hint="Name the keys that lead to the rows in the contract (format.record_path).",
            )
        self._end()

    def members(self) -> Iterator[str]:
        """The keys of the object whose bracket was just read; the caller reads each value before the next key."""
        if self._peek() == ord("}"):
            self._at += 1
            return
        while True:
            if self._peek() != _QUOTE:
                raise self._damaged("a key in quotes was expected")
            end = self._string_end()
            try:
                key = msgspec.json.decode(self._data[self._at : end], type=str)
            except (msgspec.DecodeError, UnicodeError) as error:
                raise self._damaged("a key cannot be read") from error
            self._at = end
            self._expect(b":", "a colon was expected")
            self._peek()
            yield key
            if self._expect(b",}", "a comma or the end of the object was expected") == ord("}"):
                return

    def enter(self) -> None:
        """Go into the object that begins here."""
        self._expect(b"{", "an object was expected")

    def array_of(self) -> Literal["objects", "nothing", "others"] | None:
        """What the array that begins here holds, by its first element; None: it is no array."""
        if self._peek() != ord("["):
            return None
        while (found := _SPACE.match(self._data, self._at + 1)) and found.end() == len(self._data):
            if not self._grow(self._at):
                raise self._cut_off()
        assert found is not None
        first = self._data[found.end()]
        return "objects" if first == ord("{") else "nothing" if first == ord("]") else "others"

    def skip(self) -> None:
        """Pass over the value that begins here; only its brackets and quotes are looked at."""
        byte = self._peek()
        if byte == _QUOTE:
            self._at = self._string_end()
        elif self._data[self._at : self._at + 1] in _OPEN:
            self._at = self._bracket_end(keep=False)
        else:
            end = self._word_end()
            if not _SCALAR.match(self._data, self._at, end):
                raise self._damaged("a value was expected")
            self._at = end

    def _behind(self, path: tuple[str, ...], whole: tuple[str, ...]) -> Iterator[Elements]:
        found = False
        where = ".".join(whole)
        for key in self.members():
            if key != path[0]:
                self.skip()
                continue
            if found:
                raise self._damaged(f"the key '{key[:100]}' on the way to {where} occurs twice")
            found = True
            if len(path) > 1:
                self._expect(b"{", f"there is no array at {where}: an object was expected at '{key[:100]}'")
                yield from self._behind(path[1:], whole)
            else:
                self._expect(b"[", f"there is no array at {where}")
                yield from self._elements()
        if not found:
            raise UnreadableFile(
                f"The JSON has no array at {where}: the key '{path[0]}' is missing.",
                hint="Correct format.record_path of the contract.",
            )

    def _elements(self) -> Iterator[Elements]:
        """The elements of the array whose bracket was just read."""
        found, size = Elements(), 0
        if self._peek() == ord("]"):
            self._at += 1
            return
        more = True
        while more:
            size += self._objects(found, self._chunk_bytes - size)
            if size < self._chunk_bytes and len(found.texts) + len(found.others) < _CHUNK_ROWS:
                size += self._element(found)
                more = self._expect(b",]", "a comma or the end of the array was expected") == ord(",")
            if size >= self._chunk_bytes or len(found.texts) + len(found.others) >= _CHUNK_ROWS:
                yield found
                found, size = Elements(), 0
        if found.texts or found.others:
            yield found

    def _objects(self, found: Elements, wanted: int) -> int:
        """Read objects that are whole here, each with the comma behind it; how many bytes they are.

        The last element, and whatever is unusual, is left to `_element`.
        """
        start, room = self._at, _CHUNK_ROWS - len(found.texts) - len(found.others)
        match, data, texts, lines = _OBJECT_AND_COMMA.match, self._data, found.texts, found.lines
        while self._at - start < wanted and room > 0 and (element := match(data, self._at)):
            try:
                text = element[1].decode()
            except UnicodeDecodeError:
                break
            self._at = element.start(1)
            lines.append(self._line_here())
            texts.append(text)
            self._at, room = element.end(), room - 1
        return self._at - start

    def _element(self, found: Elements) -> int:
        """Read the value that begins here; how many bytes it is."""
        byte = self._peek()
        if byte == _QUOTE:
            end = self._string_end()
        elif self._data[self._at : self._at + 1] in _OPEN:
            flat = _FLAT_ENOUGH.match(self._data, self._at)
            end = self._bracket_end() if flat is None else flat.end()
        else:
            end = self._word_end()
            if end == self._at:
                raise self._damaged("a value was expected")
        line = self._line_here()
        try:
            text = self._data[self._at : end].decode()
        except UnicodeDecodeError as error:
            raise undecodable("utf-8", line + self._data.count(b"\n", self._at, self._at + error.start)) from error
        if byte == ord("{"):
            found.texts.append(text)
            found.lines.append(line)
        else:
            found.others.append((line, text))
        size, self._at = end - self._at, end
        return size

    def _end(self) -> None:
        if self._peek(at_end=True) is not None:
            raise self._damaged("there is something behind the end of the JSON")

    def _expect(self, wanted: bytes, otherwise: str, *, take: bool = True) -> int:
        byte = self._peek()
        if byte is None or byte not in wanted:
            raise self._damaged(otherwise)
        self._at += take
        return byte

    def _peek(self, *, at_end: bool = False) -> int | None:
        """The next byte that is no white space; None at the end, if the document may end here."""
        while True:
            found = _SPACE.match(self._data, self._at)
            assert found is not None
            self._at = found.end()
            if self._at < len(self._data):
                return self._data[self._at]
            if not self._grow(self._at):
                if at_end:
                    return None
                raise self._cut_off()

    def _string_end(self) -> int:
        while (found := _STRING_TOKEN.match(self._data, self._at)) is None:
            if not self._grow(self._at):
                raise self._cut_off()
        return found.end()

    def _word_end(self) -> int:
        while (found := _WORD.match(self._data, self._at)) and found.end() == len(self._data):
            if not self._grow(self._at):
                raise self._cut_off()
        assert found is not None
        return found.end()

    def _bracket_end(self, *, keep: bool = True) -> int:
        """The offset behind the value in brackets that begins here; `keep` False: its text may be forgotten."""
        position, depth = self._at, 0
        while True:
            token = _TOKEN.search(self._data, position)
            if token is None or token[0] == b'"':
                position = len(self._data) if token is None else token.start()
                if not keep:
                    self._at = position
                before = self._at
                if not self._grow(self._at):
                    raise self._cut_off()
                position -= before - self._at
                continue
            position = token.end()
            if token[0] in (b"{", b"["):
                depth += 1
                if depth > _MAX_DEPTH:
                    raise self._damaged(f"it is nested deeper than {_MAX_DEPTH:,} levels")
            elif token[0] in (b"}", b"]"):
                depth -= 1
                if depth == 0:
                    return position

    def _grow(self, start: int) -> bool:
        """Read on; what lies before the present offset is forgotten. False: there is nothing more.

        Args:
            start: Where the token or record begins that is not whole yet.
        """
        if len(self._data) - start > MAX_RECORD_BYTES:
            raise UnreadableFile(
                f"A JSON record on line {self._line_here()} is longer than {MAX_RECORD_BYTES // 1024 // 1024} MiB.",
                hint="Upload an array of smaller objects, or one object per line.",
                details={"line": self._line_here()},
            )
        self._line_here()
        parts = [self._data[self._at :]]
        self._at = self._counted = 0
        # In proportion to what is there, so that a long record is not copied once per piece.
        wanted = max(_READ_BYTES, len(parts[0]) // 2)
        for piece in self._pieces:
            parts.append(piece)
            wanted -= len(piece)
            if wanted <= 0:
                break
        self._data = b"".join(parts)
        return len(self._data) > len(parts[0])

    def _line_here(self) -> int:
        """The 1-based physical line of the present offset, which never goes back."""
        self._line += self._data.count(b"\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _damaged(self, what: str) -> UnreadableFile:
        line = self._line_here()
        return UnreadableFile(
            f"The JSON cannot be read on line {line}: {what}.",
            hint="Correct the file there, or write one object per line: then a bad one costs one row.",
            details={"line": line},
        )

    def _cut_off(self) -> UnreadableFile:
        line = self._line + self._data.count(b"\n", self._counted)
        return UnreadableFile(
            f"The JSON ends on line {line} before its end: the file was cut off.",
            hint="Upload the whole file again.",
            details={"line": line},
        )
